"""What was trained and which of it answers: MLflow's runs and versions, BentoML's model store, the champion pointer.

The pointer file is the truth, and it moves last: by then the bundle stands in the model store, verified and tried in a
child process. MLflow's alias ``champion`` follows the pointer; where the two differ (a server that was away, a process
that was killed in between), the next command that reaches MLflow mends the alias. Every writer holds the home's lock.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from features.contract import Goal, format_time
from features.errors import BadBundle, BadInput, LeadscoreError
from features.spec import slug
from serving.bundle import Bundle, check_bundle, read_bundle
from serving.champion import FORMAT, POINTER, read_pointer

CODE = Path(__file__).resolve().parents[1]
SHIPPED = ("features", "serving")  # the code that travels with a version, so that it loads elsewhere
LIBRARIES = ("mlflow", "lightgbm", "numpy", "pandas", "pydantic")  # what that code runs on, as a pyfunc
STARTED_BY = "leadscore"  # a run's tag: ours, so that an abandoned one may be closed
BUNDLE = "bundle"


@dataclass(frozen=True)
class Home:
    """Where everything is kept. ``tracking_uri`` names an MLflow server; without it, a SQLite database under ``path``.

    The pointer and the model store are under ``path`` in either case: serving needs no server.
    """

    path: Path
    tracking_uri: str | None = None

    @property
    def database(self) -> Path:
        """MLflow's SQLite database."""
        return self.path.resolve() / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, beside its database."""
        return self.path.resolve() / "mlartifacts"

    @property
    def store(self) -> Path:
        """What BENTOML_HOME would name."""
        return self.path.resolve() / "bentoml"

    @property
    def pointer(self) -> Path:
        """The champion pointer's file."""
        return self.path.resolve() / POINTER

    @property
    def uri(self) -> str:
        """Where MLflow keeps runs and versions."""
        return self.tracking_uri or f"sqlite:///{self.database}"

    @property
    def address(self) -> str:
        """The ``uri`` for eyes: without a password."""
        return self.uri.replace(_secret(self.uri), "")


@dataclass(frozen=True)
class RunInfo:
    """A recorded training: its MLflow run and the version it became; ``digest`` is the bundle's."""

    run_id: str
    version: str
    goal: str
    digest: str


@dataclass(frozen=True)
class Champion:
    """The version that answers for a goal. ``previous`` is the one before it; ``notes`` what is left to mend."""

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


def model_name(goal: str) -> str:
    """The registered model, the experiment and the BentoML model of a goal's outcome."""
    return f"lead-scorer-{slug(goal).replace('_', '-')}"


def default_goal(home: Home) -> str:
    """The goal that is meant where none is named: the pointer's, or else the contract's."""
    pointer = read_pointer(home.path)
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
) -> RunInfo:
    """Log a trained bundle as an MLflow run and register it as the goal's newest version, alias ``challenger``.

    The goal, the data's digest, the feature spec, the warnings and, unless given, the metrics are read from the
    bundle, which is verified and tried first (BadBundle; nothing is written then). Nested metrics get one name each
    (``rolling_auc``); what is not a finite number is left out. ``source`` says where the data came from; ``files``
    (reports, plots) are kept under ``report``; ``started_at`` is when the training began (microseconds). Whatever
    fails later leaves a run marked FAILED and no version.
    """
    for file in files:
        if not file.is_file():
            raise BadInput("no_file", "there is no such file.", where=str(file), remedy="Write it before recording.")
    _addressable(home)
    checked = check_bundle(bundle)
    goal = checked.constants.goal.outcome
    name = model_name(goal)
    with _lock(home), _client(home) as client:
        experiment = _experiment(client, home, name)
        _close_abandoned(client, home, experiment)
        run_id = client.create_run(
            experiment,
            start_time=None if started_at is None else started_at // 1000,
            tags={
                **(tags or {}),
                "mlflow.source.name": "leadscore train",
                STARTED_BY: "1",
                "goal": goal,
                "bundle_digest": checked.digest,
                "data_digest": _data_digest(checked),
                "feature_fingerprint": checked.features.fingerprint,
                "warnings": _warning_codes(checked),
            },
        ).info.run_id
        try:
            version = _log(client, run_id, experiment, checked, params or {}, metrics, source, files)
        except BaseException as e:
            with suppress(Exception):
                client.set_tag(run_id, "error", f"{type(e).__name__}: {e}"[:2000])
                client.set_terminated(run_id, "FAILED")
            raise
        client.set_registered_model_alias(name, "challenger", version)
        _follow(client, home)
    return RunInfo(run_id, version, goal, checked.digest)


def promote(version: str, *, home: Home, goal: str, reason: str = "") -> Champion:
    """Make a version the goal's champion: into the model store, tried there, then the pointer moves.

    Promoting the champion changes nothing. Raises BadInput ``unknown_version``, or BadBundle when the bundle is
    damaged or scores otherwise than when it was trained; the pointer then stands as it stood.
    """
    if not _has_registry(home):
        raise _unknown(version, goal, ())
    with _lock(home):
        with _client(home) as client, tempfile.TemporaryDirectory() as scratch:
            found = _find(client, version, goal)
            digest = found.tags["bundle_digest"]
            place = _into_store(_fetch(client, home, found, Path(scratch)), digest, goal, str(found.version), home)
        try:
            pointer = read_pointer(home.path) or _empty(goal)
        except LeadscoreError:  # promoting is the way out of a damaged pointer; what is left of it is kept
            os.replace(home.pointer, home.pointer.with_name(f"{POINTER}.damaged"))
            pointer = _empty(goal)
        entry = {"version": str(found.version), "path": place, "digest": digest, "run_id": str(found.run_id)}
        before = pointer["goals"].get(goal)
        if before is None or (before["version"], before["digest"]) != (entry["version"], digest):
            _move(home, pointer, goal, entry, {"action": "promote", "reason": reason})
        return _champion(goal, entry, home, before, _follow_if_reachable(home))


def rollback(home: Home, goal: str, *, reason: str = "") -> Champion:
    """Return to the champion before the present one, and on the next call to the one before that.

    Needs no MLflow while the bundle stands whole in the model store. Raises BadInput ``no_previous_champion`` where
    nothing came before.
    """
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
            entry["path"] = _restored(home, goal, entry)
        _move(home, pointer, goal, entry, {"action": "rollback", "from": before["version"], "reason": reason})
        return _champion(goal, entry, home, before, _follow_if_reachable(home))


def decline(version: str, *, home: Home, goal: str, reason: str) -> None:
    """Note why a version was not promoted; ``versions`` shows it, and so does MLflow as the version's tag."""
    if not _has_registry(home):
        raise _unknown(version, goal, ())
    with _lock(home), _client(home) as client:
        found = _find(client, version, goal)
        client.set_model_version_tag(found.name, found.version, "reason", reason)


def versions(home: Home, goal: str) -> tuple[Recorded, ...]:
    """Every version registered for a goal, newest first; empty where nothing was trained."""
    if not _has_registry(home):
        return ()
    with _lock(home), _client(home) as client:
        _follow(client, home)
        name = model_name(goal)
        found = [v for v in _all_versions(client, name) if v.tags.get("goal") == goal]
        if not found:
            return ()
        aliases = client.get_registered_model(name).aliases
        runs = _metrics_of(client, name)
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
    if not _has_registry(home):
        raise _unknown(version, goal, ())
    with _lock(home), _client(home) as client:
        found = _find(client, version, goal)
        digest = found.tags["bundle_digest"]
        kept = home.path.resolve() / "cache" / f"{found.name}-{found.version}-{digest[:12]}"
        if (kept / BUNDLE).exists():
            with suppress(BadBundle):
                return read_bundle(kept / BUNDLE, digest)
            shutil.rmtree(kept)
        return read_bundle(_fetch(client, home, found, kept), digest)


# The pointer


def _empty(goal: str) -> dict[str, Any]:
    return {"format": FORMAT, "default": goal, "goals": {}, "history": []}


def _pointer_if_whole(home: Home) -> dict[str, Any] | None:
    with suppress(LeadscoreError):
        return read_pointer(home.path)
    return None


def _move(home: Home, pointer: dict[str, Any], goal: str, entry: dict[str, str], step: dict[str, str]) -> None:
    """Replace the pointer by one that names the entry; a reader sees the old one or the new one, whole."""
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    pointer = {
        **pointer,
        "goals": {**pointer["goals"], goal: entry},
        "history": [*pointer.get("history", ()), {"goal": goal, **step, **entry, "at": at}],
    }
    draft = home.pointer.with_name(f".{POINTER}.draft")  # one writer at a time: the lock is held
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(pointer, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, home.pointer)
    _sync(home.pointer.parent)


def _steps(pointer: Mapping[str, Any], goal: str) -> Iterator[Mapping[str, Any]]:
    for step in pointer.get("history", ()):
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


def _into_store(bundle: Path, digest: str, goal: str, version: str, home: Home) -> str:
    """Try a bundle and put it into BentoML's model store; returns its place there, relative to the home.

    A place that was ever written is never written again, since workers may be reading it: a version number that
    another registry used for another bundle gets the digest beside it. What a killed process left half done is
    replaced.
    """
    check_bundle(bundle, digest)
    name = model_name(goal)
    for tag in (version, f"{version}-{digest[:12]}"):
        place = home.store / "models" / name / tag
        folder = place / BUNDLE
        if place.exists():
            with suppress(BadBundle):
                if read_bundle(folder).digest == digest:
                    return str(folder.relative_to(home.path.resolve()))
                continue
            shutil.rmtree(place)
        _create(bundle, f"{name}:{tag}", {"goal": goal, "version": version, "digest": digest}, home)
        read_bundle(folder, digest)
        return str(folder.relative_to(home.path.resolve()))
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


def _restored(home: Home, goal: str, entry: Mapping[str, str]) -> str:
    """Put a champion that is no longer whole in the model store back there, from MLflow."""
    with _client(home) as client, tempfile.TemporaryDirectory() as scratch:
        found = _find(client, entry["version"], goal)
        return _into_store(_fetch(client, home, found, Path(scratch)), entry["digest"], goal, entry["version"], home)


# MLflow


def _secret(uri: str) -> str:
    """The part of an address that holds a user and a password."""
    with suppress(ValueError):
        user, at, _ = urlsplit(uri).netloc.rpartition("@")
        return user + at
    return ""


def _quiet() -> None:
    """Silence what MLflow says about itself, and keep it from calling home; the user's own settings win."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_UV_AUTO_DETECT": "false",  # else it copies project files of the working folder into the model
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its seven tries let one wait for minutes on a server that is away
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401 - it sets its levels when it loads

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)


@contextmanager
def _client(home: Home) -> Iterator[Any]:
    """MLflow's client for the home, without touching the process's own tracking address."""
    _quiet()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield MlflowClient(home.uri, registry_uri=home.uri)
    except (MlflowException, SQLAlchemyError, OSError) as e:
        words = (str(e).strip() or type(e).__name__).splitlines()[0].replace(_secret(home.uri) or "\0", "")
        raise LeadscoreError(
            "tracking_failed",
            f"MLflow did not answer as it should: {words[:300]}",
            where=home.address,
            remedy="See that the tracking server runs and MLFLOW_TRACKING_URI names it."
            if home.tracking_uri
            else "See that the folder is writable and the disk not full.",
        ) from e


def _addressable(home: Home) -> None:
    if not home.tracking_uri and set("%?#") & set(str(home.database)):
        raise BadInput(
            "bad_home",
            "MLflow cannot address a folder with %, ? or # in its path.",
            where=str(home.path),
            remedy="Name another folder with --home.",
        )


def _has_registry(home: Home) -> bool:
    return bool(home.tracking_uri) or home.database.exists()


def _experiment(client: Any, home: Home, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    place = None if home.tracking_uri else home.artifacts.as_uri()  # a server knows its own
    return str(client.create_experiment(name, artifact_location=place))


def _close_abandoned(client: Any, home: Home, experiment: str) -> None:
    """Mark the runs of processes that died; in the home's own database nobody else can be at work, by the lock."""
    if not home.tracking_uri:
        running = f"attributes.status = 'RUNNING' and tags.{STARTED_BY} = '1'"
        for run in client.search_runs([experiment], running):
            client.set_terminated(run.info.run_id, "KILLED")


def _log(
    client: Any,
    run_id: str,
    experiment: str,
    bundle: Bundle,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    source: str,
    files: Sequence[Path],
) -> str:
    """Everything of a run, its registration last; returns the version."""
    from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag

    card = bundle.card
    goal = bundle.constants.goal
    name = model_name(goal.outcome)
    texts = {
        "goal": goal.outcome,
        "horizon_days": json.dumps(goal.to_json()["horizon_days"]),
        "trained_until": card.get("trained_until", ""),
        "feature_count": len(bundle.features.names),
        **params,
    }
    values = flat(card.get("metrics", {}) if metrics is None else metrics)
    model = client.create_logged_model(experiment, name=BUNDLE, source_run_id=run_id, model_type="leadscore")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(k, v, now, 0, model_id=model.model_id, run_id=run_id) for k, v in values.items()],
        params=[Param(k, str(v)[:6000]) for k, v in texts.items()],
        tags=[RunTag("mlflow.note.content", _note(bundle))],
    )
    client.log_inputs(run_id, [_dataset(bundle, source)])
    with tempfile.TemporaryDirectory() as scratch:
        stage = Path(scratch)
        saved = _save(bundle, stage, model, run_id)
        client.log_model_artifacts(model.model_id, str(saved))
        report = stage / "run"
        report.mkdir()
        _dump(report / "features.json", bundle.features.to_json())
        _dump(report / "warnings.json", card.get("warnings", []))
        for file in files:
            (report / "report").mkdir(exist_ok=True)
            shutil.copy(file, report / "report")
        client.log_artifacts(run_id, str(report))
    client.finalize_logged_model(model.model_id, "READY")
    client.set_terminated(run_id, "FINISHED")
    _registered(client, name, goal.outcome)
    version = client.create_model_version(
        name,
        source=model.artifact_location,
        run_id=run_id,
        model_id=model.model_id,
        tags={
            "goal": goal.outcome,
            "bundle_digest": bundle.digest,
            "data_digest": _data_digest(bundle),
            "trained_until": str(card.get("trained_until", "")),
            "warnings": _warning_codes(bundle),
        },
        description=_note(bundle),
    )
    return str(version.version)


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested metrics under joined names (``rolling_auc``); whatever is not a finite number is left out."""
    out: dict[str, float] = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}_")
        elif isinstance(value, int | float) and math.isfinite(value):
            out["".join(c if c.isalnum() or c in "_-. /" else "_" for c in f"{prefix}{key}")] = float(value)
    return out


def _dump(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")


def _data_digest(bundle: Bundle) -> str:
    data = bundle.card.get("data")
    return str(data.get("digest", "")) if isinstance(data, Mapping) else ""


def _warning_codes(bundle: Bundle) -> str:
    return ",".join(w["code"] for w in bundle.card.get("warnings", []))


def _note(bundle: Bundle) -> str:
    words = "".join(f"\n- {w['code']}: {w['text']}" for w in bundle.card.get("warnings", []))
    until = bundle.card.get("trained_until", "an unknown day")
    return f"Chance of `{bundle.constants.goal.outcome}`, learned from what was known on {until}.{words}"


def _dataset(bundle: Bundle, source: str) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = bundle.card.get("data")
    profile = {k: v for k, v in data.items() if k != "digest"} if isinstance(data, Mapping) else {}
    digest = _data_digest(bundle)[:36]  # MLflow keeps no more; the whole one is a tag
    dataset = Dataset(
        name=Path(source).name or "data",
        digest=digest or "unknown",
        source_type="local",
        source=json.dumps({"uri": source}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _save(bundle: Bundle, stage: Path, model: Any, run_id: str) -> Path:
    """Lay the pyfunc model out in a folder: the bundle, the code that scores it, and what that code runs on."""
    from importlib.metadata import version

    import pandas
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    for package in SHIPPED:
        shutil.copytree(CODE / package, stage / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.copytree(bundle.folder, stage / BUNDLE)
    saved = stage / "model"
    save_model(
        saved,
        loader_module="serving.pyfunc",
        data_path=str(stage / BUNDLE),
        code_paths=[str(stage / package) for package in SHIPPED],
        mlflow_model=Model(
            artifact_path=model.artifact_location, run_id=run_id, model_uuid=model.model_id, model_id=model.model_id
        ),
        signature=ModelSignature(
            inputs=Schema([ColSpec(DataType.string, "request")]),
            params=ParamSchema([ParamSpec("reasons", DataType.long, 5), ParamSpec("language", DataType.string, "en")]),
        ),
        input_example=pandas.DataFrame({"request": [json.dumps(bundle.card["example"]["request"])]}),
        pip_requirements=[f"{library}=={version(library)}" for library in LIBRARIES],
    )
    read_bundle(saved / "data" / BUNDLE, bundle.digest)
    return saved


def _registered(client: Any, name: str, goal: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, tags={"goal": goal})


def _all_versions(client: Any, name: str) -> list[Any]:
    found, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _metrics_of(client: Any, name: str) -> dict[str, dict[str, float]]:
    """The metrics of every run of the experiment, by run."""
    experiment = client.get_experiment_by_name(name)
    out: dict[str, dict[str, float]] = {}
    token = None
    while experiment is not None:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        out |= {run.info.run_id: dict(run.data.metrics) for run in page}
        token = page.token
        if not token:
            break
    return out


def _find(client: Any, version: str, goal: str) -> Any:
    """The registered version; raises BadInput ``unknown_version`` with the versions there are."""
    found = _all_versions(client, model_name(goal))
    known = {str(v.version): v for v in found if v.tags.get("goal") == goal and v.tags.get("bundle_digest")}
    if version not in known:
        raise _unknown(version, goal, sorted(known, key=int))
    return known[version]


def _unknown(version: str, goal: str, known: Sequence[str]) -> BadInput:
    return BadInput(
        "unknown_version",
        f"there is no version {version!r} for the goal `{goal}`; there are: {', '.join(known) or 'none'}.",
        where="version",
        remedy="See `leadscore models`, or train: leadscore train DATA.",
    )


def _fetch(client: Any, home: Home, version: Any, target: Path) -> Path:
    """The bundle's folder: where it lies, or downloaded into ``target``."""
    from mlflow.artifacts import download_artifacts

    uri = client.get_model_version_download_uri(version.name, version.version)
    if not home.tracking_uri:
        local = Path(download_artifacts(f"{uri}/data", tracking_uri=home.uri))
        return local / BUNDLE
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(download_artifacts(f"{uri}/data", dst_path=str(target), tracking_uri=home.uri)) / BUNDLE


def _follow(client: Any, home: Home) -> None:
    """Set the alias ``champion`` to what the pointer names; a champion of another registry is left alone."""
    from mlflow.exceptions import MlflowException

    pointer = _pointer_if_whole(home)
    for goal, entry in (pointer or _empty(""))["goals"].items():
        name, version = model_name(goal), entry["version"]
        try:
            aliases = client.get_registered_model(name).aliases
            if client.get_model_version(name, version).tags.get("bundle_digest") != entry["digest"]:
                continue
        except MlflowException as e:
            if e.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue
        if str(aliases.get("champion")) != version:
            client.set_registered_model_alias(name, "champion", version)
        if str(aliases.get("challenger")) == version:
            client.delete_registered_model_alias(name, "challenger")


def _follow_if_reachable(home: Home) -> tuple[str, ...]:
    """After the pointer moved: let the alias follow, or say that it will later."""
    if not _has_registry(home):
        return ()
    try:
        with _client(home) as client:
            _follow(client, home)
    except LeadscoreError as e:
        return (f"MLflow's alias will follow when {e.where} can be reached again.",)
    return ()
