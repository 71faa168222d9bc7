"""Where boosting starts: the base rates of an age and an interval, against worlds whose rates are known."""

from __future__ import annotations

import numpy as np
import pytest

from features.contract import DAY
from training.goal import AGES
from training.hazard import Pooled
from training.start import AGE, Pace, start

EDGES = (0, 1, 3, 7, 14, 30, 60, 90)
SPAN = 540
WIN, LOST, LATE_LOST, LATE = 0.002, 0.005, 0.08, 45.0  # a day; the lost leave faster from the age LATE on


def lossy(count: int, seed: int) -> Pooled:
    """Prospects that win at one rate at every age, and are lost sooner when they are old."""
    rng = np.random.default_rng(seed)
    begun = np.floor(rng.uniform(0, SPAN, count))
    young, old = rng.exponential(1 / LOST, count), LATE + rng.exponential(1 / LATE_LOST, count)
    gone, won = np.where(young < LATE, young, old), rng.exponential(1 / WIN, count)
    won[won > gone] = np.inf
    ages = np.array([a for a in AGES if a <= 360], dtype=float)
    prospect, at = np.nonzero((ages < np.minimum(won, gone)[:, None]) & (begun[:, None] + ages < SPAN))
    edges = np.array(EDGES)
    as_of, ahead = begun[prospect] + ages[at], won[prospect] - ages[at]
    row, k = np.nonzero((ahead[:, None] > edges[:-1]) & (as_of[:, None] + edges[1:] <= SPAN))
    return Pooled(
        encoded=ages[at][:, None],
        row=row,
        k=k,
        y=(ahead[row] <= edges[k + 1]).astype(np.int64),
        ends=((as_of[row] + edges[k + 1]) * DAY).astype(np.int64),
        edges=EDGES,
        levels={},
        names=(AGE,),
        prospect=prospect,
        came_on=np.zeros(len(prospect), dtype=np.int64),
        by_time=True,
    )


def first_day(pooled: Pooled, *ages: float) -> np.ndarray:
    """The hazard of the first day at some ages, as a share of the true one."""
    z = start(pooled).of(np.array(ages)[:, None])[:, 0]
    return np.asarray(1 / (1 + np.exp(-z)) / -np.expm1(-WIN))


def test_the_first_day_of_the_old_is_as_good_as_that_of_the_young_though_most_of_the_old_are_lost() -> None:
    found = np.array([first_day(lossy(3000, seed), 14, 60, 90) for seed in range(12)])
    assert found.mean(axis=0) == pytest.approx(1.0, abs=0.2), found.mean(axis=0)


def test_a_daily_rate_counts_those_really_open_and_each_outcome_once() -> None:
    """Of 800 at the age 0 half are lost in the first day and 40 win on it; nothing ever happens after that."""
    rows: list[tuple[int, float, int, int]] = []
    for prospect in range(800):
        won = prospect < 40
        rows += [(prospect, 0.0, k, int(won and k == 0)) for k in range(1 if won else 3)]
        if prospect >= 400:
            rows += [(prospect, 1.0, k, 0) for k in range(3)]
    who, age, k, y = (np.array(x) for x in zip(*rows, strict=True))
    landmark = np.unique(np.column_stack([who, age]), axis=0, return_inverse=True)
    edges, days = np.array((0, 1, 3, 7)), np.array([0.0, 1.0])
    pooled = Pooled(
        landmark[0][:, 1:], landmark[1], k, y, ((age + edges[k + 1]) * DAY).astype(np.int64), (0, 1, 3, 7), {}, (AGE,),
        landmark[0][:, 0].astype(np.int64), np.zeros(len(landmark[0]), dtype=np.int64),
    )  # fmt: skip
    pace = Pace.of(pooled, age, np.ones(len(age)), days)
    assert pace.leaving[0] == pytest.approx(np.log(801 / 401))
    open_days = 800 * (1 - 401 / 801) / np.log(801 / 401)
    assert pace.rate[0] == pytest.approx(40 / open_days, rel=0.1)
    assert pace.rate[1] < pace.rate[0] / 2
    soon, later, last = pace.hazard(days, pooled.edges)[0]
    assert soon == pytest.approx(pace.rate[0] * open_days / 800, rel=0.15)
    assert last < later
