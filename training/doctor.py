"""What is wrong with a set-up, and the way out: what ``leadscore doctor`` asks of a machine, a home and its stores.

A check changes nothing that outlives it, and none keeps another from running: what it raises becomes its finding.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from features.compiled import absent
from features.errors import LeadscoreError
from serving.bundle import check_bundle
from serving.champion import POINTER, read_pointer
from serving.champion import check_home as check_folder
from serving.scorer import COMPILED
from serving.settings import Settings
from training.tracking import Home, check_addressable, connect, has_registry

State = Literal["ok", "note", "wrong", "skipped"]

PYTHON = (3, 11)
PACKAGES = ("bentoml", "duckdb", "ibis-framework", "lightgbm", "mlflow", "numpy", "pandas", "pydantic", "sqlalchemy")
LITTLE, FULL = 2 * 1024**3, 256 * 1024**2  # bytes that are free: worth a word; too few to train or to keep records
CLOCK_FROM = 1_735_689_600  # 2025-01-01: no machine that runs this is of a time before it
AHEAD = 60.0  # seconds that a file may be ahead of the clock, as on a network's disk
SECONDS = 5.0  # that a service may take to answer
OURS = ("LEADSCORE_PROOFS", "LEADSCORE_SHRINK", "LEADSCORE_SNAPSHOTS")  # of the tests


@dataclass(frozen=True)
class Check:
    """One finding: ``state`` is ok, note (worth knowing), wrong, or skipped; ``remedy`` the way out, if any."""

    name: str
    state: State
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """As plain data."""
        return asdict(self)


def examine(
    home: Home, *, port: int = 3000, environ: Mapping[str, str] | None = None, say: Callable[[str], None] | None = None
) -> tuple[Check, ...]:
    """Look at everything that a set-up needs.

    Args:
        home: where everything is kept, and the tracking server if there is one.
        port: where the service answers, or is to answer, on this machine.
        environ: the settings are read from it; this process's by default.
        say: is told what is looked at next.

    Returns:
        The findings in the order of the checks; several where a check has several things to tell.
    """
    given = os.environ if environ is None else environ
    checks: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("compiled", _compiled),
        ("settings", lambda: _settings(given)),
        ("clock", lambda: _clock(home)),
        ("home", lambda: _home(home)),
        ("champion", lambda: _champion(home)),
        ("mlflow", lambda: _mlflow(home)),
        ("store", lambda: _store(home, given)),
        ("keys", lambda: _keys(home)),
        ("service", lambda: _service(home, port)),
    )
    out: list[Check] = []
    for name, check in checks:
        if say is not None:
            say(f"looking at: {name}")
        try:
            out += check()
        except LeadscoreError as e:
            place = f"{e.where}: " if e.where else ""
            out.append(Check(name, "wrong", f"{place}{e.message}", e.remedy))
        except Exception as e:  # a doctor that dies of an illness helps nobody
            text = f"it cannot be looked at ({type(e).__name__}: {str(e).splitlines()[0] if str(e) else 'no words'})."
            out.append(Check(name, "wrong", text))
    return tuple(out)


def _python() -> Iterator[Check]:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        yield Check("python", "wrong", f"Python {found} is too old.", f"Install Python {wanted} or newer.")
    else:
        yield Check("python", "ok", f"Python {found}.")


def _packages() -> Iterator[Check]:
    absent, found = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            absent.append(name)
    if absent:
        yield Check("packages", "wrong", f"not installed: {', '.join(absent)}.", "Install them: make install.")
    try:
        import lightgbm
        import numpy as np

        lightgbm.Dataset(np.zeros((2, 1)), label=np.zeros(2), params={"verbosity": -1}).construct()
    except ImportError:
        return  # told above
    except OSError as e:
        remedy = "Install the system's OpenMP library (Debian and Ubuntu: apt-get install libgomp1)."
        yield Check("packages", "wrong", f"LightGBM does not load: {str(e).splitlines()[0]}.", remedy)
        return
    if not absent:
        yield Check("packages", "ok", f"{', '.join(found)}; LightGBM loads.")


def _compiled() -> Iterator[Check]:
    plain = absent(COMPILED)
    if plain:
        text = f"not built: {', '.join(plain)}; the plain forms serve, to the same bits, and scores take longer."
        remedy = (
            "Install a C compiler and Python's headers (Debian and Ubuntu: gcc, python3-dev), then: make -B install."
        )
        yield Check("compiled", "note", text, remedy)
    else:
        yield Check("compiled", "ok", "what a score spends its time in is compiled.")


def _settings(environ: Mapping[str, str]) -> Iterator[Check]:
    known = [f"LEADSCORE_{field.name.upper()}" for field in fields(Settings)]
    strange = sorted(name for name in environ if name.startswith("LEADSCORE_") and name not in (*known, *OURS))
    for name in strange:
        near = difflib.get_close_matches(name, known, 1)
        remedy = f"Did you mean {near[0]}?" if near else "Unset it, or see the table of settings in docs/operations.md."
        yield Check("settings", "note", f"{name} is no setting and changes nothing.", remedy)
    wrong = False
    for name in known:  # each by itself: the first bad one must not hide the others
        try:
            Settings.from_environment({name: environ.get(name, "")})
        except LeadscoreError as e:
            wrong = True
            yield Check("settings", "wrong", f"{e.where}: {e.message}", e.remedy)
    if not wrong:
        chosen = [name for name in known if environ.get(name, "").strip()]
        yield Check("settings", "ok", f"set: {', '.join(chosen)}." if chosen else "all are the defaults.")


def _clock(home: Home) -> Iterator[Check]:
    now = time.time()
    newest = max((_modified(path) for path in (home.pointer, home.database, home.path / "live.db")), default=0.0)
    remedy = "Set the clock (and let NTP keep it): times of arrival and as_of are taken from it."
    if now < CLOCK_FROM:
        yield Check("clock", "wrong", f"it says {_utc(now)}, before this program was written.", remedy)
    elif newest > now + AHEAD:
        text = f"it says {_utc(now)}, but the home was written to at {_utc(newest)}."
        yield Check("clock", "wrong", text, remedy)
    else:
        yield Check("clock", "ok", f"{_utc(now)}.")


def _modified(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _home(home: Home) -> Iterator[Check]:
    check_folder(home.path)
    check_addressable(home)
    there = home.path
    while not there.exists():
        there = there.parent
    trial = there / f".leadscore-doctor-{os.getpid()}"
    try:
        with trial.open("xb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as e:
        text = f"{there} cannot be written to: {e.strerror or type(e).__name__}."
        remedy = "Give the user that runs leadscore the folder, or name another with --home or LEADSCORE_HOME."
        yield Check("home", "wrong", text, remedy)
        return
    finally:
        trial.unlink(missing_ok=True)
    free = shutil.disk_usage(there).free
    room = f"{free / 1024**3:.1f} GiB are free"
    if free < LITTLE:
        state: State = "wrong" if free < FULL else "note"
        yield Check("home", state, f"{there}: only {room}.", "Free some space, or move the home to a larger disk.")
        return
    if there != home.path:
        yield Check("home", "note", f"{home.path} is not there yet; it can be made, {room}.", "leadscore train DATA")
        return
    yield Check("home", "ok", f"{home.path} is writable, {room}.")


def _champion(home: Home) -> Iterator[Check]:
    pointer = read_pointer(home.path)
    if pointer is None:
        remedy = "leadscore train DATA, or leadscore promote VERSION."
        yield Check("champion", "note", "there is none yet: the service would answer 503.", remedy)
        return
    for goal, entry in pointer["goals"].items():
        folder = home.path / entry["path"]
        try:
            check_bundle(folder, entry["digest"])
        except LeadscoreError as e:
            text = f"version {entry['version']} for {goal!r}: {e.where}: {e.message}"
            yield Check(
                "champion", "wrong", text, f"Promoting it again restores it: leadscore promote {entry['version']}."
            )
            continue
        text = f"version {entry['version']} for {goal!r} is whole and scores its example as in training."
        yield Check("champion", "ok", text)


def _mlflow(home: Home) -> Iterator[Check]:
    if not has_registry(home):
        yield Check("mlflow", "note", "nothing was trained here yet: there is no database.", "leadscore train DATA")
        return
    with connect(home) as client:
        models = client.search_registered_models(max_results=100)
    yield Check("mlflow", "ok", f"{home.address} answers; {len(models)} registered model(s).")


class _UndoneError(Exception):
    """Ends a trial write, so that nothing of it stays."""


def _store(home: Home, environ: Mapping[str, str]) -> Iterator[Check]:
    from serving.store import FILE, open_store, put_meta, store_url

    try:
        settings = Settings.from_environment({**environ, "LEADSCORE_HOME": str(home.path)})
    except LeadscoreError:
        yield Check("store", "skipped", "a setting is wrong: see above.")
        return
    file = home.path / FILE
    if not settings.store and not file.exists():
        yield Check("store", "note", f"{file} is not there yet; the first record or score makes it.")
        return
    store = open_store(store_url(settings.store, home.path))
    try:

        def trial(connection: Any) -> None:
            put_meta(connection, "doctor", "a trial")
            raise _UndoneError

        store.ready()
        with suppress(_UndoneError):
            store.write(trial)
    except LeadscoreError as e:
        yield Check("store", "wrong", f"{store.url}: {e.message}", e.remedy)
        return
    finally:
        store.close()
    yield Check("store", "ok", f"{store.url} can be read and written.")


def _keys(home: Home) -> Iterator[Check]:
    from serving.keys import read_keys

    found = read_keys(home.path)
    make = "leadscore keys add NAME --scope score"
    if found is None:
        yield Check("keys", "note", "there are none: the service answers clients on this machine alone.", make)
    elif not found:
        yield Check("keys", "wrong", "every key was revoked: the service answers nobody.", make)
    else:
        yield Check("keys", "ok", f"{len(found)} key(s): {', '.join(key.name for key in found)}.")


def _service(home: Home, port: int) -> Iterator[Check]:
    address = f"http://127.0.0.1:{port}"
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except PermissionError:
            remedy = "Take a port from 1024 on: leadscore serve --port 3000."
            yield Check("service", "wrong", f"port {port} is not for this user to listen on.", remedy)
            return
        except OSError:
            pass
        else:
            yield Check("service", "ok", f"none runs on port {port}, which is free: leadscore serve --port {port}.")
            return
    taken = f"port {port} is taken by something that is not leadscore."
    other = "End it, or serve elsewhere: leadscore serve --port PORT (and leadscore doctor --port PORT)."
    try:
        _, about = _get(f"{address}/")
    except (OSError, ValueError):
        yield Check("service", "wrong", taken, other)
        return
    if about.get("name") != "leadscore":
        yield Check("service", "wrong", taken, other)
        return
    status, ready = _get(f"{address}/readyz")
    if status != 200:
        error = ready.get("error", {})
        yield Check("service", "wrong", f"{address} is not ready: {error.get('message')}", str(error.get("remedy", "")))
        return
    for problem in ready.get("problems", ()):
        yield Check("service", "wrong", f"{address}: {problem.get('message')}", str(problem.get("remedy", "")))
    served = {c["goal"]: (c["version"], c["digest"]) for c in ready.get("champions", ())}
    with suppress(LeadscoreError):  # told with the champion
        pointer = read_pointer(home.path) or {"goals": {}}
        wanted = {goal: (e["version"], e["digest"]) for goal, e in pointer["goals"].items()}
        if served != wanted and not ready.get("problems"):
            text = f"{address} serves other models than {home.path / POINTER} names."
            yield Check("service", "note", text, "Is it the service of this home? Name its home with --home.")
            return
    if not ready.get("problems"):
        versions = ", ".join(f"{goal} {found[0]}" for goal, found in served.items())
        yield Check("service", "ok", f"{address} is ready (version: {versions}).")


def _get(url: str) -> tuple[int, dict[str, Any]]:
    """The status and the JSON object of an answer; raises OSError where there is none, ValueError for another one."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=SECONDS) as answer:
            status, body = answer.status, answer.read(1 << 20)
    except urllib.error.HTTPError as e:
        status, body = e.code, e.read(1 << 20)
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("no JSON object")
    return status, data
