"""The structured log: one JSON object a line, with the receipt of each score and nothing of what was scored."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

logger = logging.getLogger("bentoml.leadscore")  # below bentoml's, whose level lets information through


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, message, and what it was given under ``extra={"fields": ...}``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:  # its text may quote a request: only the type is told
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False, default=str)


def structured() -> None:
    """Let every handler of this process write JSON lines."""
    for name in (None, "bentoml", "uvicorn", "uvicorn.error"):
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(JsonLines())


def log_request(path: str, method: str, status: int, seconds: float, note: dict[str, Any]) -> None:
    """One line about an answer: the path as its template, and the note that was made of it (receipt, version, code)."""
    fields = {"path": path, "method": method, "status": status, "seconds": round(seconds, 6), **note}
    if len(note.get("receipt_ids", ())) == 1:
        fields["receipt_id"] = fields.pop("receipt_ids")[0]
    logger.info("answered", extra={"fields": fields})
