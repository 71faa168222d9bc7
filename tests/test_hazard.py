"""The logistic part's fit: the optimum that it says it is, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from training import hazard
from training.hazard import _Logit

LANDMARKS, ROWS, COLUMNS, INTERVALS = 3_000, 9_000, 8, 3
STRENGTH = 0.01


@pytest.fixture
def rows() -> tuple[_Logit, np.ndarray]:
    """Rows of a logistic model, and the same written out as one matrix."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(LANDMARKS, COLUMNS)) @ rng.normal(size=(COLUMNS, COLUMNS))  # columns that go together
    place, k = rng.integers(0, LANDMARKS, ROWS), rng.integers(0, INTERVALS, ROWS)
    late = np.array([-1.2, 0.1, 1.1])[k]
    free = np.column_stack([np.eye(INTERVALS)[k], np.ones(ROWS)])
    z = matrix[place] @ rng.normal(size=COLUMNS) / 3 + late * matrix[place, 0] / 2 - 3 + k
    y = (rng.random(ROWS) < 1 / (1 + np.exp(-z))).astype(np.int64)
    weight = np.where(y == 1, 1.0, 7.5)
    expanded = np.hstack([matrix[place], matrix[place] * late[:, None], free[:, :-1]])
    return _Logit(matrix, place, (np.ones(ROWS), late), free, y, weight), expanded


def _fitted(logit: _Logit) -> np.ndarray:
    held = 2 * COLUMNS + INTERVALS
    return logit.ridge(np.append(np.full(held, 1 / STRENGTH), 0.0), np.zeros(held + 1))


def test_the_fit_is_the_optimum_of_the_rows_written_out(rows: tuple[_Logit, np.ndarray]) -> None:
    logit, expanded = rows
    plain = LogisticRegression(C=STRENGTH, tol=1e-12, solver="newton-cholesky").fit(expanded, logit.y, logit.weight)
    expected = np.append(plain.coef_[0], plain.intercept_[0])
    assert _fitted(logit) == pytest.approx(expected, abs=1e-5)


def test_the_beginning_and_the_rows_that_tell_the_curvature_do_not_move_it(
    rows: tuple[_Logit, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    logit, _ = rows
    expected = _fitted(logit)
    prior = np.append(np.full(len(expected) - 1, 1 / STRENGTH), 0.0)
    elsewhere = np.append(np.full(len(expected) - 1, 0.3), -5.0)
    assert logit.ridge(prior, elsewhere) == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr(hazard, "_CURVED", 100)
    assert _fitted(logit) == pytest.approx(expected, abs=1e-5)


def test_the_fit_has_the_same_bits_on_any_number_of_threads(rows: tuple[_Logit, np.ndarray]) -> None:
    found = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads):
            found.append(_fitted(rows[0]).tobytes())
    assert len(set(found)) == 1
