"""How the tests are run: the longest files first, so that no process is left alone with one at the end, and with the
garbage collector of a training, since most of their time is spent in what trainings do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from training.run import seldom_collected

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


@pytest.fixture(scope="session", autouse=True)
def collector() -> Iterator[None]:
    with seldom_collected():
        yield
