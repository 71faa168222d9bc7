"""What a training says of itself in words: whether there is a signal, and whether the world has moved.

A verdict is a mapping with ``code``, ``text`` (what it means and what to do) and its figures; None where there is
nothing to say. The thresholds were set on simulated worlds that do not change: of those, about one in thirty is warned
of in vain, from 20 outcomes to 3,000.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.contract import DAY, format_time

if TYPE_CHECKING:
    from training.dataset import TrainingSet

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# When the world moved is not known: the recent time is tried from half of the history down to a sixteenth of it.
SHARES = tuple(2 ** -(i / 2) for i in range(2, 9))
SURE = 2.33  # standard errors on either side: an interval of 98 %
BY = 1.15  # it must lie beyond this ratio: a smaller change misleads nobody, and a young CRM's rates settle by as much
LEAST = 20  # outcomes in all, below which no rate can be told from another
WEEK = 7 * DAY
WEEKS = 8  # that are needed to tell how rates scatter
BINS = 10
SHIFTED = 0.25  # the population stability index from which a shift is commonly called major
CHANCE = 21.7  # without a shift, the index is about chi-squared (9) x (1/n + 1/m): its 99 % point
FEW = 50  # prospects that a distribution can be told from
MOST = 10_000  # prospects that are scored for it


def weak_signal(figures: Mapping[str, Any]) -> dict[str, str] | None:
    """The warning that the gain over a constant is not clearly positive, or None where it is.

    ``figures`` are those of ``training.evaluate.metrics`` with intervals.
    """
    low, high = figures.get("interval", {}).get("log_loss_gain", (-math.inf, math.inf))
    if low > 0:
        return None
    found = "cannot be told" if not math.isfinite(low) else f"lies between {low:+.4f} and {high:+.4f} (log loss, 95 %)"
    means = (
        "the probabilities are worse than a constant, do not act on them. See whether outcomes are recorded as before; "
        "add what distinguishes prospects, or more outcomes."
        if math.isfinite(low) and high < 0
        else "the scores may rank no better than chance. Add what distinguishes prospects, or more outcomes."
    )
    return {"code": "weak_signal", "text": f"the gain over a constant {found}: {means}"}


def slope_off(figures: Mapping[str, Any]) -> dict[str, str] | None:
    """What a calibration slope means that is clearly off one, or None where its interval holds 1.

    For the report alone: it is no reason to warn of every score, as a card's warnings do.
    """
    low, high = figures.get("interval", {}).get("slope") or (None, None)
    if low is None or high is None or low <= 1 <= high:
        return None
    far, up, down = ("far from", "much", "little") if high < 1 else ("near to", "little", "much")
    order = "The order of the prospects stands; do" if low > 0 else "Their order may be no better than chance; do"
    return {
        "code": "calibration_slope",
        "text": f"the calibration slope lies between {low:.2f} and {high:.2f} (95 %), and 1 would be right: the "
        f"probabilities lie too {far} the base rate, so that high ones promise too {up} and low ones too {down}. "
        f"{order} not reckon with the highest and lowest as they are, and retrain once more "
        "outcomes are known.",
    }


def drift(training_set: TrainingSet, predict: Callable[[TrainingSet], Floats]) -> list[dict[str, Any]]:
    """The warnings that the recent time departs from the time before it: in its rate, or in its scores.

    Args:
        training_set: the landmarks that a model was trained on.
        predict: gives the probability of each row, as ``Model.predict`` does.

    Returns:
        Up to two mappings with the code ``drift``: see ``rate_drift`` and ``score_drift``.
    """
    found = (rate_drift(training_set), score_drift(training_set, predict))
    return [warning for warning in found if warning is not None]


def rate_drift(training_set: TrainingSet) -> dict[str, Any] | None:
    """Whether outcomes came clearly more or less often of late than before, prospects of the same age compared.

    Every prospect counts once, with its days from the first landmark to the outcome, or to T - d: recent days count
    before any horizon is over. Given the outcomes at an age, the recent ones are binomial in the recent share of the
    days (stratified rate ratio with score intervals: Breslow and Day 1987, chapter 3; Miettinen and Nurminen 1985).
    Where the earlier weeks scatter more than chance would have it, the interval is widened by as much.

    Returns:
        ``code``, ``text``, ``observed`` outcomes since ``since`` (ISO text), ``expected`` ones at the rates before,
        their ``ratio``, and its interval ``low`` and ``high`` (98 %).
    """
    days, outcomes = _weeks(training_set)
    recent = sorted({round(share * len(days)) for share in SHARES} - {0})
    compared = max((_compare(days, outcomes, weeks) for weeks in recent), key=_Compared.clear, default=None)
    if compared is None or not _is_clear(compared, outcomes):
        return None
    return _told(compared, format_time(training_set.observed_until - compared.weeks * WEEK))


def _is_clear(compared: _Compared, outcomes: Floats) -> bool:
    return bool(outcomes.sum() >= LEAST) and compared.clear() > math.log(BY)


def _told(compared: _Compared, since: str) -> dict[str, Any]:
    ratio, low, high = (f"{x:.2f}" if x < 100 else "over 100" for x in (compared.ratio, compared.low, compared.high))
    return {
        "code": "drift",
        "text": f"since {since[:10]} there were {compared.observed} outcomes where the rates before would have given "
        f"{compared.expected:.0f} ({ratio} times, 98 % {low} to {high}); probabilities may lag behind such a change. "
        "Check that outcomes are recorded as before; if so, retrain often until the rate has settled.",
        "observed": compared.observed,
        "expected": compared.expected,
        "ratio": compared.ratio,
        "low": compared.low,
        "high": compared.high,
        "since": since,
    }


def rate_since(training_set: TrainingSet, since: int) -> dict[str, Any] | None:
    """How often outcomes came since a moment against the time before it, as ``rate_drift`` compares them.

    Returns:
        What ``rate_drift`` returns, and ``drift``, whether it is clear; None where less than a week is known on a side.
    """
    days, outcomes = _weeks(training_set)
    weeks = (training_set.observed_until - since) // WEEK
    if not 0 < weeks < len(days):
        return None
    found = _compare(days, outcomes, weeks)
    return {**_told(found, format_time(since)), "drift": _is_clear(found, outcomes)}


def scores_since(
    training_set: TrainingSet, predict: Callable[[TrainingSet], Floats], since: int
) -> dict[str, Any] | None:
    """How the scores of landmarks after a moment are spread against those before it, as ``score_drift`` compares them.

    Returns:
        What ``score_drift`` returns, and ``drift``, whether it is clear; None with fewer than ``FEW`` prospects on a
        side.
    """
    training_set, who, age = _drawn(training_set)
    found, chance = _stability(predict(training_set), age, who, training_set.as_of > since)
    if not math.isfinite(chance):
        return None
    return {**_spread(found, since), "drift": found - chance > SHIFTED}


class _Compared(NamedTuple):
    """The last weeks against those before: outcomes, those expected, the ratio of the rates and its interval."""

    weeks: int
    observed: int
    expected: float
    ratio: float
    low: float
    high: float

    def clear(self) -> float:
        """How far from 1 the nearer end of the interval lies, in logarithms; below 0 where it holds 1."""
        return max(math.log(self.low), -math.log(self.high))


def _weeks(training_set: TrainingSet) -> tuple[Floats, Floats]:
    """Days watched and outcomes, each of shape (weeks up to T - d, ages): every prospect until its outcome."""
    from training.goal import AGES

    first = ~training_set.rows.duplicated("prospect_id").to_numpy()
    until = training_set.observed_until / DAY
    entry = training_set.as_of[first] / DAY - until  # from here on, times are days before T - d
    start = entry - training_set.rows["age_days"].to_numpy()[first]
    goal_at = training_set.goal_at[first] / DAY - until
    won, end = goal_at <= 0, np.minimum(goal_at, 0.0)
    times = -7.0 * np.arange(math.ceil(-entry.min() / 7), -1, -1)
    ages = np.array([*AGES, math.inf])
    days = np.empty((len(times) - 1, len(AGES)))
    for i, (younger, older) in enumerate(pairwise(ages)):
        here = (end > start + younger) & (entry < start + older) & (entry < end)
        since, to = np.maximum(entry, start + younger)[here], np.minimum(end, start + older)[here]
        days[:, i] = np.diff(_sum_up_to(times, to) - _sum_up_to(times, since))
    outcomes, *_ = np.histogram2d(end[won], (end - start)[won], (times, np.minimum(ages, 1e9)))
    return days, outcomes


def _sum_up_to(times: Floats, x: Floats) -> Floats:
    """The sum over x of min(x, time), for each time."""
    x = np.sort(x)
    below = np.searchsorted(x, times)
    return np.asarray(np.concatenate([[0.0], np.cumsum(x)])[below] + (len(x) - below) * times)


def _compare(days: Floats, outcomes: Floats, recent: int) -> _Compared:
    before, now = slice(None, -recent), slice(-recent, None)
    exposed, exposed_now = days[before].sum(axis=0), days[now].sum(axis=0)
    won, won_now = outcomes[before].sum(axis=0), outcomes[now].sum(axis=0)
    both = (exposed > 0) & (exposed_now > 0) & (won + won_now > 0)
    observed, odds, total = float(won_now[both].sum()), (exposed_now / np.maximum(exposed, 1e-9))[both], won + won_now

    def score(log_ratio: float) -> float:
        share = 1 - 1 / (1 + math.exp(log_ratio) * odds)
        spread = float((total[both] * share * (1 - share)).sum())
        return (observed - float((total[both] * share).sum())) / math.sqrt(max(spread, 1e-12))

    def ratio_at(errors: float) -> float:
        low, high = -8.0, 8.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > errors else (low, middle)
        return math.exp(low)

    rates = np.divide(won, exposed, out=np.zeros_like(won), where=exposed > 0)
    expected = (days * rates).sum(axis=1)  # in each week, at the rates before the recent time
    told = expected[before] > 0.5
    scatter = 1.0
    if told.sum() >= WEEKS:
        off = (outcomes[before].sum(axis=1) - expected[before])[told]
        scatter = max(1.0, float((off**2 / expected[before][told]).sum() / (told.sum() - 1)))
    sure, ratio = SURE * math.sqrt(scatter), ratio_at(0.0)
    return _Compared(
        recent,
        round(observed),
        observed / ratio if observed else float(expected[now].sum()),
        ratio if observed else 0.0,
        ratio_at(sure),
        ratio_at(-sure),
    )


def score_drift(training_set: TrainingSet, predict: Callable[[TrainingSet], Floats]) -> dict[str, Any] | None:
    """Whether the scores of recent landmarks are distributed otherwise than before, landmarks of one age compared.

    Each recent score has a rank among the earlier ones; without a shift a tenth of them falls into each tenth. The
    distance is the population stability index, which must exceed what is commonly called a major shift, and chance.

    Returns:
        ``code``, ``text``, ``index`` and ``since`` (ISO text).
    """
    training_set, who, age = _drawn(training_set)
    p, at = predict(training_set), training_set.as_of
    most, since, index = 0.0, 0, 0.0
    for share in SHARES:
        begins = training_set.until - round(share * (training_set.until - int(at.min())))
        found, chance = _stability(p, age, who, at > begins)
        if found - chance > most:
            most, since, index = found - chance, begins, found
    return None if most <= SHIFTED else _spread(index, since)


def _spread(index: float, since: int) -> dict[str, Any]:
    return {
        "code": "drift",
        "text": f"since {format_time(since)[:10]} the scores are spread otherwise than before (population stability "
        f"index {index:.2f}; 0.25 is a major shift): other prospects come in, or what is recorded of them has changed. "
        "Look for sources or event types that appeared or ceased; retrain once outcomes of the new kind are known.",
        "index": index,
        "since": format_time(since),
    }


def _drawn(training_set: TrainingSet) -> tuple[TrainingSet, Ints, Ints]:
    """The landmarks of at most ``MOST`` prospects, each landmark's prospect by number, and its age by number."""
    from training.goal import AGES

    ids, who = np.unique(training_set.rows["prospect_id"].to_numpy(dtype=object), return_inverse=True)
    if len(ids) > MOST:
        drawn = np.zeros(len(ids), dtype=bool)
        drawn[np.random.default_rng(0).permutation(len(ids))[:MOST]] = True
        training_set, who = training_set.select(drawn[who]), who[drawn[who]]
    return training_set, who, np.searchsorted(AGES, training_set.rows["age_days"].to_numpy() + 1e-6)


def _stability(p: Floats, age: Ints, who: Ints, recent: Mask) -> tuple[float, float]:
    """The population stability index of the recent scores, and what chance alone may make of it."""
    mass = np.zeros(BINS)
    used = np.zeros(len(p), dtype=bool)
    tenths = np.linspace(0, 1, BINS + 1)
    for a in np.unique(age[recent]):
        now, before = recent & (age == a), ~recent & (age == a)
        if before.sum() < FEW:
            continue
        used |= now | before
        ranked = np.sort(p[before])
        low, high = (np.searchsorted(ranked, p[now], side) for side in ("left", "right"))
        # A score may take any place among its equals: its mass is spread over them.
        low, high = low / (len(ranked) + 1), (high + 1) / (len(ranked) + 1)
        mass += np.diff(np.clip((tenths[:, None] - low) / (high - low), 0, 1).sum(axis=1))
    n, m = (len(np.unique(who[used & part])) for part in (recent, ~recent))
    if n < FEW:
        return 0.0, math.inf
    share = (mass + 0.5) / (mass.sum() + 0.5 * BINS)
    return float(((share - 1 / BINS) * np.log(share * BINS)).sum()), CHANCE * (1 / n + 1 / m)
