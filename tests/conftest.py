"""How the tests are run: the longest files first, so that no process is left alone with one at the end; with the
garbage collector of a training, since most of their time is spent in what trainings do; and with MLflow's migrations of
a new database run once a process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from training import tracking
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


@pytest.fixture(scope="session", autouse=True)
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The first home's empty database is copied for the others of the process: MLflow takes a second to make one."""
    quiet, template = tracking._quiet, tmp_path_factory.mktemp("mlflow") / "empty.db"

    def prepared() -> None:
        quiet()
        from mlflow.store.db import utils

        initialize = utils._initialize_tables

        def copy(engine: Any) -> None:
            database = Path(engine.url.database)
            if engine.url.drivername == "sqlite" and template.exists():
                _copy(template, database)
                return
            initialize(engine)
            if engine.url.drivername == "sqlite":
                _copy(database, template)

        patch.setattr(utils, "_initialize_tables", copy)
        patch.setattr(tracking, "_quiet", quiet)  # once is enough

    with pytest.MonkeyPatch.context() as patch:
        # Whoever uses MLflow calls this first; to import it here would take seconds of the processes that do not.
        patch.setattr(tracking, "_quiet", prepared)
        yield


def _copy(database: Path, to: Path) -> None:
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)
