"""How the tests are run: the longest files first, so that no process is left alone with one at the end, and seldom
collected, since what Ibis makes of its queries has the collector take a tenth of the time."""

from __future__ import annotations

import gc

import pytest

LONGEST = (  # by `make test ARGS=--durations=25`, and those of that list that would come last by name
    "test_notebook.py",
    "test_end_to_end.py",
    "test_tracking_server.py",
    "test_how_firms_buy.py",
    "test_own_features.py",
    "test_gate.py",
    "test_search.py",
    "test_swaps.py",
    "test_truth.py",
    "test_verdicts.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_configure() -> None:
    gc.set_threshold(50_000, 20, 50)
