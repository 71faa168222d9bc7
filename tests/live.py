"""Live records to test with: one on SQLite or PostgreSQL, and a clock that only moves when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from features.contract import Dataset, format_time, parse_time
from features.errors import LeadscoreError
from serving import resources
from serving.resources import LiveRecords
from serving.store import open_store

START = parse_time("2026-06-01T00:00:00Z")
CREATED = "2026-03-01T09:00:00Z"


@dataclass
class Clock:
    now: int = START

    def __call__(self) -> int:
        return self.now

    def tick(self, seconds: int = 60) -> str:
        """Move on; returns the new moment as text."""
        self.now += seconds * 1_000_000
        return format_time(self.now)


def records(url: str, *datasets: Dataset, most: int = 1000) -> LiveRecords:
    return LiveRecords(open_store(url), lambda: datasets, most)


def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(resources, "_now", made)
    return made


def event(event_id: str, prospect_id: str = "p", **more: Any) -> dict[str, Any]:
    told = {"event_id": event_id, "prospect_id": prospect_id, "type": "call", "occurred_at": "2026-03-02T10:00:00Z"}
    return {**told, **more}


def refusal(call: Callable[[], Any]) -> LeadscoreError:
    """The error of ours that a call must raise."""
    with pytest.raises(LeadscoreError) as caught:
        call()
    error = caught.value
    assert error.remedy
    return error


def ids(items: list[dict[str, Any]], key: str = "event_id") -> list[str]:
    """The ids of what counts: not of what was retracted."""
    return [item[key] for item in items if item.get("retracted_at") is None]
