"""What was trained and which of it answers: MLflow's runs and versions, BentoML's model store, the champion pointer.

The pointer file is the truth, and it moves last: by then the bundle stands in the model store, verified and tried in a
child process. MLflow's alias ``champion`` follows the pointer; where the two differ (a server that was away, a process
that was killed in between), the next command that reaches MLflow mends alias and reasons. Every writer holds the lock.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

from features.contract import Goal, format_time
from features.errors import BadBundle, BadInput, LeadscoreError
from serving.bundle import Bundle, check_bundle, read_bundle
from serving.champion import FORMAT, POINTER, read_pointer
from serving.champion import check_home as _check_folder
from training.tracking import (
    BUNDLE,
    all_versions,
    champion_aliases,
    check_addressable,
    connect,
    fetch_bundle,
    find_version,
    follow,
    has_registry,
    log_run,
    metrics_of,
    model_name,
    unknown_version,
)
from training.tracking import Home as Home  # the registry's users find it here


class _Any(Enum):
    ANY = "any"


ANY: Final = _Any.ANY  # whichever version is the champion, or none


@dataclass(frozen=True)
class RunInfo:
    """A recorded training: its MLflow run and the version it became; ``digest`` is the bundle's.

    ``report`` is where ``report.html`` lies, if it was among the files: a path, or the artifact's address on a server.
    """

    run_id: str
    version: str
    goal: str
    digest: str
    report: str


@dataclass(frozen=True)
class Champion:
    """The version that answers for a goal. ``previous`` is the one before it.

    ``notes`` say what is left to mend, and what was lost where the pointer was damaged.
    """

    goal: str
    version: str
    path: Path
    digest: str
    run_id: str
    previous: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """A version as the registry knows it; ``created_at`` in microseconds since 1970.

    ``champion`` is what the pointer says. ``reason`` is the last word on the version: why it was promoted, declined
    or rolled back; empty where nothing was decided. ``warnings`` are the codes that its training raised.
    """

    version: str
    goal: str
    champion: bool
    aliases: tuple[str, ...]
    created_at: int
    trained_until: str
    metrics: Mapping[str, float]
    reason: str
    warnings: tuple[str, ...]
    run_id: str
    digest: str

    def to_json(self) -> dict[str, Any]:
        """As plain data, ``created_at`` as text."""
        return {**asdict(self), "metrics": dict(self.metrics), "created_at": format_time(self.created_at)}


def check_home(home: Home) -> None:
    """Raises BadInput ``bad_home`` where no version could be kept: it is a file, or MLflow cannot address it."""
    _check_folder(home.path)
    check_addressable(home)


def default_goal(home: Home) -> str:
    """The goal that is meant where none is named: the pointer's, or else (or where it is damaged) the contract's.

    Raises BadInput ``bad_home`` where the home is a file, as all that follow do.
    """
    _check_folder(home.path)
    pointer = _pointer_if_whole(home)
    return str(pointer["default"]) if pointer else Goal().outcome


def record(
    bundle: Path,
    *,
    home: Home,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    source: str = "",
    files: Sequence[Path] = (),
    started_at: int | None = None,
    gate: Mapping[str, Any] | None = None,
) -> RunInfo:
    """Log a trained bundle as an MLflow run and register it as the goal's newest version, alias ``challenger``.

    The goal, the data's digest, the feature spec, the warnings and, unless given, the metrics are read from the
    bundle, which is verified and tried first (BadBundle; nothing is written then). Nested metrics get one name each
    (``rolling_auc``); what is not a finite number is left out. ``source`` says where the data came from; ``files``
    (reports, plots) are kept under ``report``; ``started_at`` is when the training began (microseconds). ``gate``,
    the record of ``training.gate.Verdict``, becomes ``gate.json``, metrics (``gate_difference``), and tags of the run
    and the version (``gate_decision``, ``gate_reason``, ``champion_digest``, ``challenger_digest``). Whatever fails
    later leaves a run marked FAILED and no version.
    """
    for file in files:
        if not file.is_file():
            raise BadInput("no_file", "there is no such file.", where=str(file), remedy="Write it before recording.")
    check_home(home)
    checked = check_bundle(bundle)
    goal = checked.constants.goal.outcome
    with _lock(home), connect(home) as client:
        run_id, version, report = log_run(
            client,
            home,
            checked,
            params=params or {},
            metrics=checked.card.get("metrics", {}) if metrics is None else metrics,
            tags=tags or {},
            source=source,
            files=files,
            started_at=started_at,
            gate=gate,
        )
        client.set_registered_model_alias(model_name(goal), "challenger", version)
        _follow(client, home)
    return RunInfo(run_id, version, goal, checked.digest, report)


def promote(version: str, *, home: Home, goal: str, reason: str = "", expected: str | _Any | None = ANY) -> Champion:
    """Make a version the goal's champion: into the model store, tried there, then the pointer moves.

    Promoting the champion only restores its bundle where the model store's is damaged. ``expected`` is the version
    that the caller takes for the champion, None for no champion yet: another one raises LeadscoreError
    ``champion_changed``. ``reason`` is kept in the pointer, and in MLflow as the version's tag. Raises BadInput
    ``unknown_version``, or BadBundle when the bundle is damaged or scores otherwise than when it was trained; the
    pointer then stands as it stood. A damaged pointer is written anew: see ``_rebuilt``.
    """
    _check_folder(home.path)
    if not has_registry(home):
        raise unknown_version(version, goal, ())
    with _lock(home):
        with connect(home) as client:
            found = find_version(client, version, goal)
            damaged = False
            notes: tuple[str, ...] = ()
            try:
                pointer = read_pointer(home.path) or _empty(goal)
            except LeadscoreError:  # promoting is the way out of it
                damaged = True
                pointer, notes = _rebuilt(client, home, goal)
            before = pointer["goals"].get(goal)
            _expect(expected, before, version, goal)
            entry = _entry(client, home, goal, found)
        same = before is not None and (before["version"], before["digest"]) == (entry["version"], entry["digest"])
        if damaged:
            aside = _set_aside(home)
            notes = (f"{POINTER} was damaged and written anew; what was left of it is {aside}.", *notes)
        if not same:
            _move(home, pointer, goal, entry, {"action": "promote", "reason": reason})
        elif damaged:
            _write(home, pointer)
        return _champion(goal, entry, home, before, (*notes, *_follow_if_reachable(home)))


def rollback(home: Home, goal: str, *, reason: str = "") -> Champion:
    """Return to the champion before the present one, and on the next call to the one before that.

    Needs no MLflow while the bundle stands whole in the model store. Raises BadInput ``no_previous_champion`` where
    nothing came before.
    """
    _check_folder(home.path)
    if not home.pointer.exists():
        raise _no_previous(goal)
    with _lock(home):
        pointer = read_pointer(home.path)
        standing = _standing(pointer, goal) if pointer else []
        if pointer is None or len(standing) < 2:
            raise _no_previous(goal)
        entry = {key: standing[-2][key] for key in ("version", "path", "digest", "run_id")}
        before = pointer["goals"][goal]
        try:
            check_bundle(home.path / entry["path"], entry["digest"])
        except BadBundle:
            entry["path"] = str(_restored(home, goal, entry).relative_to(home.path.resolve()))
        _move(home, pointer, goal, entry, {"action": "rollback", "from": before["version"], "reason": reason})
        return _champion(goal, entry, home, before, _follow_if_reachable(home))


def decline(version: str, *, home: Home, goal: str, reason: str) -> None:
    """Note why a version was not promoted; ``versions`` shows it, and so does MLflow as the version's tag."""
    _check_folder(home.path)
    if not has_registry(home):
        raise unknown_version(version, goal, ())
    with _lock(home), connect(home) as client:
        found = find_version(client, version, goal)
        client.set_model_version_tag(found.name, found.version, "reason", reason)


def versions(home: Home, goal: str) -> tuple[Recorded, ...]:
    """Every version registered for a goal, newest first; empty where nothing was trained."""
    _check_folder(home.path)
    if not has_registry(home):
        return ()
    with _lock(home), connect(home) as client:
        _follow(client, home)
        name = model_name(goal)
        found = all_versions(client, goal)
        if not found:
            return ()
        aliases = client.get_registered_model(name).aliases
        runs = metrics_of(client, name)
    pointer = _pointer_if_whole(home)
    champion = pointer["goals"].get(goal, {}) if pointer else {}
    reasons = _reasons(pointer, goal) if pointer else {}
    recorded = [
        Recorded(
            version=str(v.version),
            goal=goal,
            champion=champion.get("version") == str(v.version) and champion.get("digest") == v.tags["bundle_digest"],
            aliases=tuple(sorted(alias for alias, at in aliases.items() if str(at) == str(v.version))),
            created_at=int(v.creation_timestamp) * 1000,
            trained_until=v.tags.get("trained_until", ""),
            metrics=runs.get(v.run_id, {}),
            reason=reasons.get(str(v.version), v.tags.get("reason", "")),
            warnings=tuple(filter(None, v.tags.get("warnings", "").split(","))),
            run_id=str(v.run_id),
            digest=v.tags["bundle_digest"],
        )
        for v in found
    ]
    return tuple(sorted(recorded, key=lambda r: int(r.version), reverse=True))


def bundle_of(version: str, *, home: Home, goal: str) -> Bundle:
    """The verified bundle of any version, promoted or not; its ``folder`` is under the home or MLflow's artifacts.

    A bundle that is only on a tracking server is kept under ``<home>/cache``. Raises BadInput ``unknown_version``,
    BadBundle when it is damaged.
    """
    _check_folder(home.path)
    if not has_registry(home):
        raise unknown_version(version, goal, ())
    with _lock(home), connect(home) as client:
        found = find_version(client, version, goal)
        digest = found.tags["bundle_digest"]
        kept = home.path.resolve() / "cache" / f"{found.name}-{found.version}-{digest[:12]}"
        if (kept / BUNDLE).exists():
            with suppress(BadBundle):
                return read_bundle(kept / BUNDLE, digest)
            shutil.rmtree(kept)
        return read_bundle(fetch_bundle(client, home, found, kept), digest)


# The pointer


def _empty(goal: str) -> dict[str, Any]:
    return {"format": FORMAT, "default": goal, "goals": {}, "history": []}


def _pointer_if_whole(home: Home) -> dict[str, Any] | None:
    with suppress(LeadscoreError):
        return read_pointer(home.path)
    return None


def _expect(expected: str | _Any | None, before: Mapping[str, str] | None, version: str, goal: str) -> None:
    """Raises LeadscoreError ``champion_changed`` where the champion is not the one that the caller takes it for."""
    found = before["version"] if before else None
    if expected is ANY or found == expected:
        return
    now, then = (f"version {v}" if v else "none" for v in (found, expected))
    raise LeadscoreError(
        "champion_changed",
        f"the champion for `{goal}` is {now} by now, and not {then}; version {version} was not promoted.",
        where="promote",
        remedy=f"Compare with it by training again, or promote by hand: leadscore promote {version}.",
    )


def _rebuilt(client: Any, home: Home, goal: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A pointer in place of a damaged one, from MLflow's aliases, and what is told of it; nothing is written yet.

    Each goal has the champion that its alias names, ``goal`` itself included. On a tracking server, which other homes
    may use, only the goals are looked at whose champions this home's model store has held. The history is lost.
    """
    from mlflow.exceptions import MlflowException

    pointer = _empty(goal)
    notes: list[str] = []
    for name, version in champion_aliases(client):
        other = version.tags["goal"]
        if home.tracking_uri and not (home.store / "models" / name).exists():
            continue
        try:
            entry = _stored(home, version) or _entry(client, home, other, version)
        except (BadBundle, MlflowException, OSError) as e:
            notes.append(f"The goal `{other}` has lost its champion, version {version.version}: {e}")
            continue
        pointer = _with(pointer, other, entry, {"action": "promote", "reason": "restored from MLflow's alias"})
    others = {o: entry["version"] for o, entry in pointer["goals"].items() if o != goal}
    default = _default_left(home)
    if default in pointer["goals"]:
        pointer["default"] = default
    elif others:
        notes.append(f"Requests that name no goal are answered for `{goal}` from now on.")
    restored = ", ".join(f"`{other}` version {version}" for other, version in others.items())
    words = f"Champions of other goals, restored from MLflow's aliases: {restored or 'none'}."
    return pointer, (words, "The history of promotions and rollbacks is lost.", *notes)


def _default_left(home: Home) -> str | None:
    """The default goal that a damaged pointer still names, if it does."""
    with suppress(OSError, ValueError, RecursionError):
        data = json.loads(home.pointer.read_bytes()) if home.pointer.is_file() else None
        if isinstance(data, dict) and isinstance(data.get("default"), str):
            return str(data["default"])
    return None


def _set_aside(home: Home) -> Path:
    """Keep a damaged pointer under a name that is free. It stays in its place too, so that no moment is without one."""
    names = (f"{POINTER}.damaged" + (f".{n}" if n > 1 else "") for n in itertools.count(1))
    aside = next(p for p in map(home.pointer.with_name, names) if not os.path.lexists(p))
    try:
        os.link(home.pointer, aside)
    except OSError:  # a folder, or a file system without links
        os.replace(home.pointer, aside)
    return aside


def _stored(home: Home, found: Any) -> dict[str, str] | None:
    """What the pointer says of a version whose bundle stands whole in the model store; else None."""
    digest = found.tags["bundle_digest"]
    for folder in _places(home, found.name, str(found.version), digest):
        with suppress(BadBundle):
            check_bundle(folder, digest)
            return _named(home, found, folder)
    return None


def _places(home: Home, name: str, version: str, digest: str) -> list[Path]:
    """Where a version's bundle may stand in the model store."""
    return [home.store / "models" / name / tag / BUNDLE for tag in (version, f"{version}-{digest[:12]}")]


def _named(home: Home, found: Any, folder: Path) -> dict[str, str]:
    return {
        "version": str(found.version),
        "path": str(folder.relative_to(home.path.resolve())),
        "digest": found.tags["bundle_digest"],
        "run_id": str(found.run_id),
    }


def _entry(client: Any, home: Home, goal: str, found: Any) -> dict[str, str]:
    """What the pointer says of a version, whose bundle then stands in the model store."""
    digest = found.tags["bundle_digest"]
    with tempfile.TemporaryDirectory() as scratch:
        bundle = fetch_bundle(client, home, found, Path(scratch))
        place = _into_store(bundle, digest, goal, str(found.version), home)
    return _named(home, found, place)


def _with(pointer: dict[str, Any], goal: str, entry: dict[str, str], step: dict[str, str]) -> dict[str, Any]:
    """The pointer after a step that makes the entry the goal's champion."""
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {
        **pointer,
        "goals": {**pointer["goals"], goal: entry},
        "history": [*pointer["history"], {"goal": goal, **step, **entry, "at": at}],
    }


def _move(home: Home, pointer: dict[str, Any], goal: str, entry: dict[str, str], step: dict[str, str]) -> None:
    _write(home, _with(pointer, goal, entry, step))


def _write(home: Home, pointer: dict[str, Any]) -> None:
    """Replace the pointer; a reader sees the old one or the new one, whole."""
    draft = home.pointer.with_name(f".{POINTER}.draft")  # one writer at a time: the lock is held
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(pointer, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, home.pointer)
    _sync(home.pointer.parent)


def _steps(pointer: Mapping[str, Any], goal: str) -> Iterator[Mapping[str, Any]]:
    for step in pointer["history"]:
        if step["goal"] == goal:
            yield step


def _standing(pointer: Mapping[str, Any], goal: str) -> list[Mapping[str, Any]]:
    """The promotions that still stand, the champion's own last; a rollback takes one off."""
    stack: list[Mapping[str, Any]] = []
    for step in _steps(pointer, goal):
        if step["action"] == "promote":
            stack.append(step)
        else:
            del stack[-1:]
    return stack


def _no_previous(goal: str) -> BadInput:
    return BadInput(
        "no_previous_champion",
        f"there is no champion for `{goal}` to return to.",
        where="rollback",
        remedy="Promote a version instead: leadscore models lists them.",
    )


def _reasons(pointer: Mapping[str, Any], goal: str) -> dict[str, str]:
    """The last word on each version that ever was champion."""
    words: dict[str, str] = {}
    for step in _steps(pointer, goal):
        if step["action"] == "promote":
            words[step["version"]] = step["reason"]
        else:
            words[step["from"]] = f"rolled back: {step['reason']}" if step["reason"] else "rolled back"
            words[step["version"]] = f"champion again, after version {step['from']}"
    return words


def _champion(
    goal: str, entry: Mapping[str, str], home: Home, before: Mapping[str, str] | None, notes: tuple[str, ...]
) -> Champion:
    return Champion(
        goal=goal,
        version=entry["version"],
        path=home.path.resolve() / entry["path"],
        digest=entry["digest"],
        run_id=entry["run_id"],
        previous=before["version"] if before else None,
        notes=notes,
    )


@contextmanager
def _lock(home: Home) -> Iterator[None]:
    """One writer per home at a time; the system lets go of the lock when its holder dies."""
    try:
        home.path.mkdir(parents=True, exist_ok=True)
        file = open(home.path / ".lock", "w")  # noqa: SIM115 - closed below
    except OSError as e:
        raise BadInput(
            "bad_home",
            f"the home cannot be written: {e.strerror or type(e).__name__}.",
            where=str(home.path),
            remedy="Name another folder with --home, or mend its permissions.",
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# The model store


def _into_store(bundle: Path, digest: str, goal: str, version: str, home: Home) -> Path:
    """Try a bundle and put it into BentoML's model store; returns its place there.

    A place that was ever written is never written again, since workers may be reading it: a version number that
    another registry used for another bundle gets the digest beside it. What a killed process left half done is
    replaced.
    """
    check_bundle(bundle, digest)
    name = model_name(goal)
    for folder in _places(home, name, version, digest):
        place = folder.parent
        if place.exists():
            with suppress(BadBundle):
                if read_bundle(folder).digest == digest:
                    return folder
                continue
            shutil.rmtree(place)
        _create(bundle, f"{name}:{place.name}", {"goal": goal, "version": version, "digest": digest}, home)
        read_bundle(folder, digest)
        return folder
    raise BadBundle(
        "store_taken",
        f"the model store holds other bundles under version {version}.",
        where=str(home.store),
        remedy=f"Remove {name}:{version} from it, or use another home.",
    )


def _create(bundle: Path, tag: str, metadata: Mapping[str, str], home: Home) -> None:
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    import bentoml
    from bentoml._internal.models.model import ModelStore  # public functions know one store per process only

    store = home.store / "models"
    store.mkdir(parents=True, exist_ok=True)
    with bentoml.models.create(tag, metadata=dict(metadata), _model_store=ModelStore(store)) as model:
        shutil.copytree(bundle, model.path_of(BUNDLE))
    shutil.rmtree(model.path)  # BentoML copies it into the store and leaves it behind
    for path in (store / tag.replace(":", "/")).rglob("*"):
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _restored(home: Home, goal: str, entry: Mapping[str, str]) -> Path:
    """Put a champion that is no longer whole in the model store back there, from MLflow."""
    with connect(home) as client, tempfile.TemporaryDirectory() as scratch:
        found = find_version(client, entry["version"], goal)
        return _into_store(
            fetch_bundle(client, home, found, Path(scratch)), entry["digest"], goal, entry["version"], home
        )


def _follow(client: Any, home: Home) -> None:
    """Mend what MLflow says of the champions: the pointer is the truth."""
    pointer = _pointer_if_whole(home)
    if pointer is not None:
        for goal, entry in pointer["goals"].items():
            follow(client, goal, entry, _reasons(pointer, goal))


def _follow_if_reachable(home: Home) -> tuple[str, ...]:
    """After the pointer moved: let alias and reasons follow, or say that they will later."""
    if not has_registry(home):
        return ()
    try:
        with connect(home) as client:
            _follow(client, home)
    except LeadscoreError as e:
        return (f"MLflow's alias will follow when {e.where} can be reached again.",)
    return ()
