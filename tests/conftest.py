"""The files that take longest come first, so that no process is left alone with one at the end."""

from __future__ import annotations

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
