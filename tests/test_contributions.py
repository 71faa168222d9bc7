"""The trees as tables: the sums and the contributions are LightGBM's own, whatever the trees and the rows."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import BadBundle
from serving.contributions import BITS, Forest, Unsupported
from serving.hazards import Hazards
from serving.trees import Trees, expand

Matrix = npt.NDArray[np.float64]

COLUMNS = 7  # without the interval: 4 numbers, of which one is a small count, and 3 categories
CATEGORIES = (4, 5, 6)
INTERVALS = 5


def rows_of(rng: np.random.Generator, count: int, missing: float) -> Matrix:
    """Rows with ties, missing values and levels that training may not have met."""
    numbers = np.round(rng.normal(size=(count, 4)), 1)
    numbers[:, 3] = rng.integers(0, 4, count)
    levels = rng.integers(0, 9, (count, 3)).astype(np.float64)
    out = np.column_stack([numbers, levels])
    out[rng.random(out.shape) < missing] = np.nan
    return np.ascontiguousarray(out)


def trained(seed: int, *, rounds: int = 12, missing: float = 0.2, **params: Any) -> str:
    rng = np.random.default_rng(seed)
    matrix = expand(rows_of(rng, 400, missing), [INTERVALS] * 400)
    score = np.nan_to_num(matrix[:, 0]) + 0.5 * (np.nan_to_num(matrix[:, 4]) % 3) - 0.6 * matrix[:, -1]
    y = rng.random(len(score)) < 1 / (1 + np.exp(-score))
    data = lgb.Dataset(matrix, y, categorical_feature=list(CATEGORIES), free_raw_data=False)
    given = {
        **{"objective": "binary", "num_leaves": 15, "max_depth": 5, "min_data_in_leaf": 5, "learning_rate": 0.2},
        **{"verbosity": -1, "num_threads": 1, "seed": seed, "min_data_per_group": 5, "cat_smooth": 1.0},
        **params,
    }
    text: str = lgb.train(given, data, num_boost_round=rounds).model_to_string()
    return text


def compared(text: str, matrix: Matrix, weights: Matrix) -> None:
    """The tables against LightGBM: every sum, and every feature's contribution under the weights."""
    forest, trees = Forest(text, COLUMNS + 1, INTERVALS), Trees(text, COLUMNS + 1)
    expanded = expand(matrix, [INTERVALS] * len(matrix))
    index = forest.look(matrix)
    raw = trees.raw(expanded).reshape(-1, INTERVALS)
    np.testing.assert_allclose(forest.raw(index), raw, rtol=0, atol=1e-12)
    parts = trees.contributions(expanded).reshape(len(matrix), INTERVALS, -1)[:, :, :-1]
    wanted = (weights[:, :, None] * parts).sum(axis=1)
    np.testing.assert_allclose(forest.contributions(index, weights), wanted, rtol=0, atol=1e-10)


@given(
    seed=st.integers(0, 10_000),
    leaves=st.integers(2, 15),
    depth=st.integers(1, BITS),
    missing=st.sampled_from((0.0, 0.1, 0.6)),
    unseen=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_the_tables_are_the_trees(seed: int, leaves: int, depth: int, missing: float, unseen: bool) -> None:
    text = trained(seed, missing=missing, num_leaves=leaves, max_depth=depth)
    rng = np.random.default_rng(seed + 1)
    matrix = rows_of(rng, 20, 0.3)
    if unseen:  # beyond the levels that training met, and what no level is
        matrix[:5, 4] = (30.0, 999.0, -1.0, 1e9, 8.0)
        matrix[5:8, 0] = (np.inf, -np.inf, 1e300)
    compared(text, matrix, rng.random((20, INTERVALS)))


@pytest.mark.parametrize(
    "params", [{"use_missing": False}, {"num_leaves": 31, "max_depth": 8}, {"min_data_in_leaf": 1900}]
)
def test_other_trees(params: dict[str, Any]) -> None:
    """Missing values as zeros, more leaves than a byte has bits, trees of a single leaf."""
    rng = np.random.default_rng(5)
    compared(trained(5, **params), rows_of(rng, 50, 0.3), rng.random((50, INTERVALS)))


def test_on_the_thresholds_themselves() -> None:
    text = trained(3)
    thresholds = [float(x) for line in text.split("\n") if line.startswith("threshold=") for x in line[10:].split()]
    matrix = rows_of(np.random.default_rng(3), 40, 0.0)
    matrix[:, 0] = np.resize(thresholds, 40)
    matrix[:, 1] = np.nextafter(np.resize(thresholds, 40), np.inf)
    compared(text, matrix, np.full((40, INTERVALS), 1 / INTERVALS))


@pytest.mark.parametrize(
    "params",
    [
        {"max_depth": -1, "num_leaves": 60, "min_data_in_leaf": 1},
        {"zero_as_missing": True},
        {"linear_tree": True, "objective": "regression"},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    ],
    ids=["deep", "zeros", "linear", "averaged"],
)
def test_what_the_tables_do_not_hold_is_asked_of_lightgbm(params: dict[str, Any]) -> None:
    text = trained(7, **params)
    with pytest.raises(Unsupported):
        Forest(text, COLUMNS + 1, INTERVALS)
    hazards = Hazards(text, [f"f{i}" for i in range(COLUMNS)], INTERVALS)
    assert hazards.forest is None
    rng = np.random.default_rng(7)
    matrix, weights = rows_of(rng, 10, 0.2), rng.random((4, INTERVALS))
    seen = hazards.see(matrix)
    expanded = expand(matrix, [INTERVALS] * 10)
    assert (hazards.log_odds(seen).reshape(-1) == hazards.trees.raw(expanded)).all()
    if "linear_tree" not in params:  # LightGBM gives no contributions of these
        parts = hazards.trees.contributions(expanded).reshape(10, INTERVALS, -1)[:4, :, :COLUMNS]
        np.testing.assert_allclose(
            hazards.effects(seen, weights), (weights[:, :, None] * parts).sum(axis=1), atol=1e-12
        )


def test_a_split_at_no_number_is_left_to_lightgbm() -> None:
    head, _, tail = trained(7).partition("threshold=")
    thresholds, _, rest = tail.partition("\n")
    first = next(text for text in thresholds.split() if "." in text)  # that of a category is a whole number
    with pytest.raises(Unsupported, match="no number"):
        Forest(f"{head}threshold={thresholds.replace(first, 'nan', 1)}\n{rest}", COLUMNS + 1, INTERVALS)


def test_a_row_by_itself_has_the_bits_that_it_has_among_others() -> None:
    rng = np.random.default_rng(11)
    forest = Forest(trained(11, rounds=60), COLUMNS + 1, INTERVALS)
    matrix, weights = rows_of(rng, 64, 0.2), rng.random((64, INTERVALS))
    index = forest.look(matrix)
    raw, parts = forest.raw(index), forest.contributions(index, weights)
    for r in range(64):
        alone = forest.look(matrix[r : r + 1])
        assert (forest.raw(alone)[0] == raw[r]).all()
        assert (forest.contributions(alone, weights[r : r + 1])[0] == parts[r]).all()


def test_rows_for_one_interval_and_none_at_all() -> None:
    forest = Forest(trained(2), COLUMNS + 1, 1)
    matrix = rows_of(np.random.default_rng(2), 6, 0.2)
    wanted = Trees(trained(2), COLUMNS + 1).raw(expand(matrix, [1] * 6))
    np.testing.assert_allclose(forest.raw(forest.look(matrix))[:, 0], wanted, atol=1e-12)
    nothing = forest.look(matrix[:0])
    assert forest.raw(nothing).shape == (0, 1)
    assert forest.contributions(nothing, np.zeros((0, 1))).shape == (0, COLUMNS + 1)


@pytest.mark.parametrize("column", [-3, -1, COLUMNS + 1, COLUMNS + 2, 9_000_000])
def test_a_split_on_a_column_that_there_is_none_of_is_refused(column: int) -> None:
    """A damaged model: it would lead the look-ups out of the row."""
    text = trained(4)
    head, _, rest = text.partition("split_feature=")
    features, _, tail = rest.partition("\n")
    damaged = f"{head}split_feature={' '.join([str(column), *features.split()[1:]])}\n{tail}"
    with pytest.raises(BadBundle, match="has not"):
        Forest(damaged, COLUMNS + 1, INTERVALS)
