"""The champion pointer: one small file under the home that says which bundle answers for which goal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from features.errors import LeadscoreError

FORMAT = 1
POINTER = "champion.json"


def read_pointer(home: Path | str) -> dict[str, Any] | None:
    """The pointer as parsed JSON, or None where there is no champion yet.

    It holds ``default`` (a goal), ``goals`` ({goal: {version, path relative to home, digest, ...}}) and ``history``.
    Raises LeadscoreError ``bad_pointer`` when the file is not readable as such; it is replaced atomically by its
    writer, so a reader never sees half of one.
    """
    path = Path(home) / POINTER
    try:
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
    if not isinstance(data.get("history"), list):
        raise _bad(path, "it has no history")
    goals = data.get("goals")
    if not isinstance(goals, dict) or data.get("default") not in goals:
        raise _bad(path, "`default` names none of its goals")
    for goal, entry in goals.items():
        wanted = ("version", "path", "digest")
        if not isinstance(entry, dict) or any(not isinstance(entry.get(key), str) for key in wanted):
            raise _bad(path, f"the goal {goal!r} needs {', '.join(wanted)}")
    return data


def _bad(path: Path, fault: str) -> LeadscoreError:
    return LeadscoreError(
        "bad_pointer",
        f"the champion pointer is damaged: {fault}.",
        where=str(path),
        remedy="Promote a version again: leadscore promote VERSION.",
    )
