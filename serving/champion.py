"""The champion pointer: one small file under the home that says which bundle answers for which goal."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from features.errors import BadInput, LeadscoreError

FORMAT = 1
POINTER = "champion.json"
_ENTRY = ("version", "path", "digest")
_STEP = ("goal", "action", "reason", "run_id", *_ENTRY)


def check_home(home: Path | str) -> None:
    """Raises BadInput ``bad_home`` where the home is a file or cannot be looked at; it need not be there yet."""
    try:
        if stat.S_ISDIR(Path(home).stat().st_mode):
            return
        fault = "the home is a file"
    except FileNotFoundError:
        return
    except NotADirectoryError:
        fault = "a part of the home's path is a file"
    except OSError as e:
        fault = f"the home cannot be looked at: {e.strerror or type(e).__name__}"
    raise BadInput("bad_home", f"{fault}.", where=str(home), remedy="Name a folder with --home or LEADSCORE_HOME.")


def read_pointer(home: Path | str) -> dict[str, Any] | None:
    """The pointer as parsed JSON, or None where there is no champion yet.

    It holds ``default`` (a goal), ``goals`` ({goal: {version, path relative to home, digest, ...}}) and ``history``.
    Raises LeadscoreError ``bad_pointer`` when the file is not readable as such, BadInput ``bad_home`` when the home is
    no folder. The file is replaced atomically by its writer, so a reader never sees half of one.
    """
    check_home(home)
    path = Path(home) / POINTER
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for its writer
            raise _bad(path, "not a file")
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as e:
        raise _bad(path, f"cannot be read: {e.strerror or type(e).__name__}") from None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise _bad(path, f"not valid JSON: {e}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else None
        raise _bad(path, f"format {found!r}; this version reads {FORMAT}")
    history, goals, default = data.get("history"), data.get("goals"), data.get("default")
    if not isinstance(history, list):
        raise _bad(path, "it has no history")
    if not isinstance(goals, dict) or not isinstance(default, str) or default not in goals:
        raise _bad(path, "`default` names none of its goals")
    for goal, entry in goals.items():
        _check(path, f"the goal {goal!r}", entry, _ENTRY)
    for index, step in enumerate(history):
        _check(path, f"history[{index}]", step, _STEP)
        if step["action"] not in ("promote", "rollback"):
            raise _bad(path, f"history[{index}] is neither a promote nor a rollback")
        if step["action"] == "rollback":
            _check(path, f"history[{index}]", step, ("from",))
    return data


def _check(path: Path, what: str, entry: Any, keys: tuple[str, ...]) -> None:
    """That the keys hold texts, and that the bundle stands inside the home."""
    if not isinstance(entry, Mapping) or any(not isinstance(entry.get(key), str) for key in keys):
        raise _bad(path, f"{what} needs {', '.join(keys)}")
    place = PurePosixPath(entry["path"])
    if place.is_absolute() or ".." in place.parts or not place.parts:
        raise _bad(path, f"{what} has a path that is not inside the home")


def _bad(path: Path, fault: str) -> LeadscoreError:
    return LeadscoreError(
        "bad_pointer",
        f"the champion pointer is damaged: {fault}.",
        where=str(path),
        remedy="Promote a version again: leadscore promote VERSION.",
    )
