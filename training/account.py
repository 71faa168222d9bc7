"""The probability of an account from those of its prospects: a map from the naive product, fitted to what accounts did.

The prospects of one account share a budget, a committee and a decision, so ``1 - prod(1 - p_i)`` is wrong: they may
come together or stand in for each other. The map ``logit P = a + b logit(naive) + c log n`` corrects both ways. It
learns from censuses: the accounts with several open prospects at a few times t, each prospect scored by a model that
saw neither it nor its account, and whether any of them reached the goal within its horizon. Such a model says less of
an account than the one that is served, which has seen it; so the prospects' probabilities are first brought in line
with what each of them did, and what is left to learn is how they depend on each other. That is one number, the
dependence of a Clayton copula: it runs from prospects that exclude each other over independent ones to those with one
fate, and leaves small chances alone, which three free coefficients learned from a few hundred accounts do not. The map
is what comes nearest to it among the accounts seen. What cannot be told from chance stays the naive product (0, 1, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, Goal
from serving.account import combine
from serving.bundle import AccountMap as Served
from training.evaluate import logistic_line

if TYPE_CHECKING:
    from features.tables import Tables

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TIMES = 12  # censuses at most
STEP = 3  # of them in a horizon: closer ones would tell the same again
LEAST_STEP = 7  # days
MOST_ROWS = 60_000  # prospects in the censuses taken together; the earliest are left out first
FEWEST = 50  # accounts with several open prospects
FEWEST_EACH = 20  # of them with the outcome, and without
RANGE = (-5.0, 5.0)  # of the dependence: from one excluding the other to nothing but the best prospect counting
PRIOR = 2.5  # standard deviation of the prior about independence, which is 0
CHANCE = 3.84  # the 95 % point of chi-squared (1): what a dependence may seem to gain where there is none
HELD = 1e-3  # a ridge that only decides what the accounts leave open, as a size where all are alike
LEAST_SLOPE = 0.1
_TINY = 1e-12
_NEAR = 1e-3  # a step of numerical derivatives


@dataclass(frozen=True)
class AccountMap:
    """The fitted map, and how many accounts it was learned from; the naive product where they were too few.

    ``accounts`` had several open prospects at some census, ``rows`` are pairs of account and census, ``outcomes``
    the accounts that reached the goal. ``error`` is the standard error of the map in log-odds.
    """

    intercept: float = 0.0
    naive: float = 1.0
    size: float = 0.0
    error: float = 0.0
    accounts: int = 0
    rows: int = 0
    outcomes: int = 0
    fitted: bool = False

    def of(self, p: Sequence[float]) -> float:
        """The probability of an account from those of its open prospects, as the service gives it."""
        return combine(p, Served(self.intercept, self.naive, self.size, self.error))

    def apply(self, naive: npt.ArrayLike, log_n: npt.ArrayLike) -> Floats:
        """The map for many accounts of at least two prospects: from the naive product's log-odds, and log n."""
        z = self.intercept + self.naive * np.asarray(naive) + self.size * np.asarray(log_n)
        return np.asarray(1 / (1 + np.exp(-z)), dtype=np.float64)

    def constants(self) -> dict[str, float]:
        """As the bundle's constants hold it."""
        return {"intercept": self.intercept, "naive": self.naive, "size": self.size, "error": self.error}

    def to_json(self) -> dict[str, Any]:
        """As the card holds it."""
        return {
            "fitted": self.fitted,
            **self.constants(),
            "accounts": self.accounts,
            "rows": self.rows,
            "outcomes": self.outcomes,
            "text": self.words,
        }

    @property
    def words(self) -> str:
        """What it comes to, as a sentence."""
        seen = f"{self.accounts} accounts with several open prospects, {self.outcomes} of which reached the goal"
        if not self.accounts:
            return (
                "There was no account with several open prospects to learn from, so an account's probability is the "
                "naive product."
            )
        if not self.fitted:
            return (
                f"There were {seen}: too few to learn how prospects of one account depend on each other (at least "
                f"{FEWEST} are needed, {FEWEST_EACH} with the goal and {FEWEST_EACH} without), so an account's "
                "probability is the naive product."
            )
        if (self.intercept, self.naive, self.size) == (0.0, 1.0, 0.0):
            return (
                f"There were {seen}. Nothing could be told from chance in how prospects of one account depend on each "
                "other, so an account's probability is the naive product."
            )
        return (
            f"Learned from {seen}. Two prospects of 10 % each, which would give 19 % if they were independent, give "
            f"{100 * self.of([0.1, 0.1]):.0f} %."
        )


def naive_logit(log_none: npt.ArrayLike) -> Floats:
    """The log-odds of the naive product from ``sum(log(1 - p_i))``, the logarithm of none converting."""
    none = np.minimum(np.asarray(log_none, dtype=np.float64), -_TINY)
    return np.asarray(np.log(-np.expm1(none)) - none, dtype=np.float64)


def fit_map(p: Floats, y: Ints, account: Ints, as_of: Ints, step: float, horizon: float) -> AccountMap:
    """The map from prospects scored out of fold, one row per prospect and census.

    Args:
        p: probability within the prospect's horizon.
        y: whether the goal came within it.
        account: a number of the account as of the census.
        as_of: when the census was.
        step: days between censuses; closer than a horizon, each counts for the part of it that is new.
        horizon: days.
    """
    order = np.lexsort((account, as_of))
    p, y, account, as_of = np.clip(p[order], _TINY, 1 - _TINY), y[order], account[order], as_of[order]
    if not len(p):
        return AccountMap()
    p, aligned = _in_line(p, y)
    first = np.flatnonzero(np.concatenate([[True], (np.diff(account) != 0) | (np.diff(as_of) != 0)]))
    n = np.diff(np.append(first, len(p)))
    none = np.add.reduceat(np.log1p(-p), first)
    any_ = np.maximum.reduceat(y, first)
    several = n > 1
    who, z, log_n, won = account[first][several], naive_logit(none)[several], np.log(n[several]), any_[several]
    accounts, outcomes = len(np.unique(who)), len(np.unique(who[won == 1]))
    none_yet = AccountMap(accounts=accounts, rows=len(who), outcomes=outcomes)
    without = len(np.unique(who[won == 0]))
    if accounts < FEWEST or min(outcomes, without) < FEWEST_EACH:
        return none_yet
    from scipy.optimize import minimize_scalar

    weight = np.full(len(who), min(1.0, step / horizon))

    def log_odds(u: float, eta: Floats) -> Floats:
        return naive_logit(_log_none(np.logaddexp(0.0, eta), first, u)[several])

    def loss(u: float) -> float:
        x = log_odds(u, line)
        return float(weight @ (np.logaddexp(0.0, x) - won * x)) + 0.5 * (u / PRIOR) ** 2

    line = np.log(p) - np.log1p(-p)
    u = float(minimize_scalar(loss, bounds=RANGE, method="bounded").x)
    q = 1 / (1 + np.exp(-log_odds(u, line)))
    slope = (log_odds(u + _NEAR, line) - log_odds(u - _NEAR, line)) / (2 * _NEAR)
    information = float(weight @ (slope**2 * q * (1 - q))) + 1 / PRIOR**2
    # The sandwich, clustered by account, with the prior as one more independent witness. That the prospects were
    # brought in line with the same outcomes takes out most of their luck: what is left is how they fell together.
    near = np.column_stack([np.ones(len(p)), line])
    moved = [(log_odds(u, line + _NEAR * by) - log_odds(u, line - _NEAR * by)) / (2 * _NEAR) for by in near.T]
    pull = np.stack(moved) @ (weight * slope * q * (1 - q)) @ np.linalg.pinv((near.T * (p * (1 - p))) @ near) * aligned
    _, number = np.unique(np.concatenate([who, account]), return_inverse=True)
    score = np.bincount(number, np.concatenate([weight * slope * (won - q), -(y - p) * (near @ pull)]))
    variance = (float(score @ score) + 1 / PRIOR**2) / information**2
    error = float(np.sqrt(variance * np.mean(slope**2)))
    # Where it can be told from chance: as much of it as is expected to be no luck, of u**2 = signal + variance.
    if u**2 <= CHANCE * variance:
        return replace(none_yet, error=error, fitted=True)
    u *= 1 - variance / u**2
    intercept, naive, size = _projected(log_odds(u, line), z, log_n, weight)
    return replace(none_yet, intercept=intercept, naive=naive, size=size, error=error, fitted=True)


def _log_none(h: Floats, first: Ints, u: float) -> Floats:
    """The log of the chance that none of each account comes, from the prospects' own, ``h = -log(1 - p)``: Clayton's.

    ``(1 + sum(exp(v h) - 1)) ** (-1 / v)`` with ``v = exp(u) - 1``: at v = -1 the chances add up, since one excludes
    the other; at 0 they are independent; as v grows, only the best prospect's is left.
    """
    v = float(np.expm1(u if abs(u) > _TINY**0.5 else _TINY**0.5))
    n = np.diff(np.append(first, len(h)))
    over = np.maximum(v * np.maximum.reduceat(h, first) - 500, 0.0)  # kept out of the exponent
    each = np.repeat(over, n)
    part = np.where(each > 0, np.exp(v * h - each) - np.exp(-each), np.expm1(v * h - each))
    inside = np.exp(-over) + np.add.reduceat(part, first)
    return np.asarray(-(over + np.log(np.maximum(inside, _TINY))) / v, dtype=np.float64)


def _projected(told: Floats, z: Floats, log_n: Floats, weight: Floats) -> tuple[float, float, float]:
    """The map that comes nearest to what is told of the accounts, in log-odds; held to (0, 1, 0) where that is open."""
    centre = np.array([z.mean(), log_n.mean()])
    x = np.column_stack([np.ones(len(z)), z - centre[0], log_n - centre[1]])
    want = 1 / (1 + np.exp(-told))
    theta = np.zeros(3)  # about the naive product: a shift at the average account, slope less 1, size
    for _ in range(50):
        q = 1 / (1 + np.exp(-(z + x @ theta)))
        information = (x * (weight * q * (1 - q))[:, None]).T @ x + HELD * np.eye(3)
        move = np.linalg.solve(information, x.T @ (weight * (want - q)) - HELD * theta)
        theta = theta + np.clip(move, -1, 1)
        if np.abs(move).max() < 1e-10:
            break
    slope = max(1 + float(theta[1]), LEAST_SLOPE)
    return float(theta[0] - theta[1] * centre[0] - theta[2] * centre[1]), slope, float(theta[2])


def _in_line(p: Floats, y: Ints) -> tuple[Floats, bool]:
    """The probabilities on the logistic line of what came on their log-odds, and whether there is one."""
    z = np.log(p) - np.log1p(-p)
    line = logistic_line(z, y.astype(np.float64), np.ones(len(y)))
    if line is None or line[0] <= 0:
        return p, False
    return np.clip(1 / (1 + np.exp(-(line[1] + line[0] * z))), _TINY, 1 - _TINY), True


def census_times(first: int, last: int, goal: Goal) -> tuple[int, ...]:
    """Up to ``TIMES`` times, the latest first at ``last``, ``STEP`` to a horizon, none before ``first``."""
    step = census_step(goal) * DAY
    return tuple(t for t in (last - i * step for i in range(TIMES)) if t >= first)


def census_step(goal: Goal) -> int:
    """Days between censuses."""
    return max(LEAST_STEP, longest(goal) // STEP)


def longest(goal: Goal) -> int:
    """The longest horizon in days."""
    return max(days for _, days in goal.horizons)


def sibling_spine(tables: Tables, goal: Goal, until: int, delay: int) -> Any:
    """The prospects that were open beside another one of their account, at census times whose horizon is over by T - d.

    Returns:
        Ibis table (prospect_id, as_of); None where no prospect has an account or no horizon is over.
    """
    from features.episodes import census_spine, episodes
    from features.regimes import with_regime

    if "account_id" not in tables.present["prospects"]:
        return None
    first = episodes(tables, goal, until).started_at.min().execute()
    last = until - delay - longest(goal) * DAY
    if first is None or first != first:
        return None
    times = census_times(int(first), last, goal)
    if not times:
        return None
    rows = with_regime(tables, census_spine(tables, goal, times))
    rows = rows.filter(rows.account_id.notnull())
    crowd = rows.group_by("account_id", "as_of").aggregate(n=rows.count())
    crowd = crowd.filter(crowd.n > 1)
    sizes = {
        r["as_of"]: int(r["n"]) for r in crowd.group_by("as_of").aggregate(n=crowd.n.sum()).to_pyarrow().to_pylist()
    }
    kept: list[int] = []
    total = 0
    for t in times:
        total += sizes.get(t, 0)
        if total > MOST_ROWS and kept:
            break
        kept.append(t)
    if not total:
        return None
    rows = rows.inner_join(crowd, ["account_id", "as_of"]).select("prospect_id", "as_of")
    return rows.filter(rows.as_of.isin(kept))
