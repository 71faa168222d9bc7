"""The level of each interval among those who are served: exact counts, a systematic sample, what follows of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from features.contract import DAY, NEVER
from features.offline import feature_table
from tests.test_model import planted, rows_of
from training.census import WORTH, Census, OpenTime
from training.dataset import TrainingSet, build
from training.goal import landmark_spine
from training.model import Model, columns, fit

EDGES = (0, 1, 3, 7)


def days(*values: float) -> np.ndarray:
    return np.array([NEVER if v == np.inf else round(v * DAY) for v in values], dtype=np.int64)


def test_what_came_is_counted_over_all_the_open_time() -> None:
    inf = np.inf
    # Won on day 10 after being open from 0; won on day 2; lost on day 5 and won on day 6 all the same; open for good.
    time = OpenTime(days(0, 0, 0, 0), days(10, 2, 5, inf), days(10, 2, 6, inf), round(20 * DAY))
    # Of the first: a day, then two, then four days of moments before. Of the second a day and another. Of the third,
    # which was open until 5: none within a day, from 3 to 5 within one to three, and 0 to 3 within three to seven.
    assert time.came(EDGES) == pytest.approx([1 + 1 + 0, 2 + 1 + 2, 4 + 0 + 3])
    # What is not observed to its end is left out: if all ends on day 9, when the first is won, no interval in which
    # that lies is over, and of the third the moments before day 2 alone.
    early = replace(time, goal_at=days(9, 2, 6, inf), shut=days(9, 2, 5, inf), until=round(9 * DAY))
    assert early.came(EDGES) == pytest.approx([0 + 1 + 0, 0 + 1 + 2, 0 + 0 + 2])


def test_counts_are_those_of_a_fine_grid() -> None:
    rng = np.random.default_rng(0)
    opened = (rng.random(40) * 30 * DAY).astype(np.int64)
    goal_at = np.where(rng.random(40) < 0.5, opened + (rng.exponential(9, 40) * DAY).astype(np.int64), NEVER)
    shut = np.minimum(goal_at, opened + (rng.exponential(20, 40) * DAY).astype(np.int64))
    time = OpenTime(opened, shut, goal_at, 35 * DAY)
    step = DAY // 200
    counts = np.zeros(3)
    for t in range(0, 35 * DAY, step):
        here = (opened <= t) & (shut > t)
        for k in range(3):
            if t + EDGES[k + 1] * DAY <= time.until:
                after = (goal_at > t + EDGES[k] * DAY) & (goal_at <= t + EDGES[k + 1] * DAY)
                counts[k] += (here & after).sum() * step / DAY
    assert time.came(EDGES) == pytest.approx(counts, rel=0.02)


def test_moments_are_spread_over_the_open_time_alone() -> None:
    time = OpenTime(days(0, 5, 7), days(4, 5, 100), days(np.inf, np.inf, np.inf), 13 * DAY)
    who, at, each = time.moments(1_000)
    assert each == pytest.approx(10 / 1_000)
    assert np.bincount(who, minlength=3).tolist() == [400, 0, 600]
    assert (at >= time.opened[who]).all()
    assert (at < np.minimum(time.shut, time.until)[who]).all()
    assert at[who == 2].mean() / DAY == pytest.approx(10, abs=0.01)
    assert len(OpenTime(days(5), days(3), days(np.inf), 9 * DAY).moments(10)[0]) == 0


@pytest.fixture(scope="module")
def rows() -> TrainingSet:
    return rows_of(planted(1_500, seed=4))


@pytest.fixture(scope="module")
def model(rows: TrainingSet) -> Model:
    return fit(rows, folds=0)


def in_outcomes(rows: TrainingSet, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """What came in each interval over all the open time, and what the model expects at the sampled moments."""
    census = rows.census
    assert census is not None
    edges = np.array(model.constants["edges"])
    scores = model.scorer.score_rows(columns(census.sample.values, rows.features))
    curve = np.array([[1.0, *(1 - p for _, p in s.curve)] for s in scores])
    hazard = 1 - curve[:, 1:] / curve[:, :-1]
    t, goal_at = census.sample.as_of[:, None], census.sample.goal_at[:, None]
    at_risk = (goal_at > t + edges[:-1] * DAY) & (t + edges[1:] * DAY <= census.time.until)
    width = np.diff(edges)
    return census.time.came(edges.tolist()) / width, (at_risk * hazard).sum(axis=0) * census.days / width


def test_the_mean_of_every_interval_is_what_came_after_those_who_are_served(rows: TrainingSet, model: Model) -> None:
    came, expected = in_outcomes(rows, model)
    expected *= np.exp(-model.card["recent_level"])
    # By the shift's own definition: (came + WORTH) / (expected before it + WORTH), so that it goes most of the way.
    assert expected == pytest.approx(came, rel=0.12)
    without_census = fit(replace(rows, census=None), folds=0)
    _, before = in_outcomes(rows, without_census)
    far, near = (
        np.abs(np.log(came / e)).sum() for e in (before * np.exp(-without_census.card["recent_level"]), expected)
    )
    assert near < 0.6 * far


def test_a_shift_is_held_by_what_the_landmarks_gave(rows: TrainingSet) -> None:
    census = rows.census
    assert census is not None
    edges = (0, 1)
    z = np.full((len(census.sample), 1), -40.0)  # says that nobody ever comes
    shift = census.shift(z, edges)
    assert shift == pytest.approx(np.log((census.time.came(edges) + WORTH) / WORTH))
    nothing = Census(census.sample, census.days, replace(census.time, goal_at=np.full_like(census.time.goal_at, NEVER)))
    assert -0.5 < nothing.shift(np.full((len(census.sample), 1), -9.0), edges)[0] < 0


def test_the_sample_holds_nothing_that_was_not_known(rows: TrainingSet) -> None:
    census = rows.census
    assert census is not None
    assert len(census.sample) > 7_000
    assert census.sample.as_of.max() <= rows.observed_until
    closed = dict(zip(rows.rows["prospect_id"], rows.goal_at, strict=True))
    who = census.sample.rows["prospect_id"]
    assert all(t < closed.get(p, NEVER) for p, t in zip(who, census.sample.as_of, strict=True))


def test_features_at_hand_for_landmarks_leave_the_census_its_own(rows: TrainingSet) -> None:
    """A rolling evaluation computes the landmarks' features once for all cuts; the moments of each cut are others."""
    tables = planted(1_500, seed=4)
    at_hand = feature_table(rows.features, tables, landmark_spine(tables, rows.goal))
    again = build(tables, rows.features, computed=at_hand, with_open=False)
    assert rows.census is not None
    assert again.census is not None
    pd.testing.assert_frame_equal(again.census.sample.values, rows.census.sample.values)
    pd.testing.assert_frame_equal(again.values, rows.values)
