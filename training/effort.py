"""How much of a model's gain rests on outbound effort: on what sales did because it already believed.

Calls and mails that sales sends out go to whom it thinks likely, so they foretell conversions without causing them, and
a model that leans on them tells sales what it knew. The recipe is therefore fitted once more, at the last cut of the
rolling evaluation and without anything that counts outbound events, and both are compared on the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import format_time

if TYPE_CHECKING:
    from features.spec import FeatureSet
    from features.tables import Tables
    from training.evaluate import Evaluation

Floats = npt.NDArray[np.float64]

RESAMPLES = 400
LEAST = 20  # prospects tested in the last window, below which nothing can be told
LEAST_OUTCOMES = 5  # of them that reached the goal within their horizon
LEFT_OUT: Mapping[str, Any] = {
    "left_out": True,
    "text": "Trained without anything that counts outbound events: nothing of the model rests on outbound effort.",
}


def has_outbound(tables: Tables) -> bool:
    """Whether any event of the tables is an outbound one."""
    if tables.events is None or "direction" not in tables.present["events"]:
        return False
    events: Any = tables.events
    return bool(events.filter(events.direction == "outbound").limit(1).count().execute())


def without_effort(tables: Tables, features: FeatureSet | None) -> FeatureSet:
    """The features of a recipe without anything that counts outbound events; of the standard ones when None."""
    from features.standard import drop_families, standard_features

    return standard_features(tables, effort=False) if features is None else drop_families(features, "effort")


def rests_on_effort(
    tables: Tables,
    given: FeatureSet | None,
    features: FeatureSet,
    last: Evaluation,
    *,
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    computed: Any = None,
) -> dict[str, Any] | None:
    """Compare the recipe with the same without outbound effort, both fitted at the last cut; None where there is none.

    Args:
        tables: canonical tables.
        given: the features that were asked for; None where they are the standard ones.
        features: those of the recipe.
        last: the recipe's evaluation at the last cut.
        params: LightGBM parameters of the recipe, as for ``training.model.fit``.
        seed: of the fit and the bootstrap.
        computed: the recipe's features, where they are at hand (``training.dataset.at_hand``).

    Returns:
        What the card holds under ``effort``: ``cut``, and with and without effort the ``log_loss_gain`` over a
        constant and the ``lift_top_tenth``; the differences ``gain_lost`` and ``lift_lost`` with their 95 % intervals
        (paired bootstrap by prospect), ``share`` (of the gain; None where there is no gain) and ``text``. Where the
        last window holds too little, only ``cut``, ``rows`` and ``text``.
    """
    from training.evaluate import evaluate_forward

    if not has_outbound(tables):
        return None
    own = without_effort(tables, given)
    if own == features:
        return None
    tested = last.rows.groupby("prospect_id")["y"].max()
    if len(tested) < LEAST or tested.sum() < LEAST_OUTCOMES:
        cut = format_time(last.cut)
        return {
            "left_out": False,
            "cut": cut,
            "rows": len(last.rows),
            "text": f"What rests on outbound effort cannot be told: the last window (from {cut[:10]}) "
            f"holds {len(tested)} prospects, of whom {int(tested.sum())} reached the goal; at least {LEAST} and "
            f"{LEAST_OUTCOMES} are needed.",
        }
    bare = evaluate_forward(
        tables,
        own,
        last.cut,
        last.test_until,
        params=params,
        seed=seed,
        resamples=0,
        folds=last.folds,
        computed=computed if all(feature in features.features for feature in own.features) else None,
    )
    return compare(last, bare, seed)


def compare(mine: Evaluation, bare: Evaluation, seed: int = 0) -> dict[str, Any]:
    """The figures of a recipe and of the same without effort, evaluated on the same rows."""
    from training.evaluate import log_losses, paired_interval

    keys = ["prospect_id", "as_of", "y"]
    if not mine.rows[keys].equals(bare.rows[keys]):
        raise ValueError("the two recipes were not tested on the same rows")
    y = mine.rows["y"].to_numpy(dtype=np.float64)
    prospects = mine.rows["prospect_id"].to_numpy(dtype=object)
    p, q = (e.rows["p"].to_numpy(dtype=np.float64) for e in (mine, bare))
    lost = log_losses(y, q) - log_losses(y, p)
    gain, gain_without = (float(e.figures["log_loss_gain"]) for e in (mine, bare))
    low, high = paired_interval(lost, prospects, resamples=RESAMPLES, seed=seed)
    lift, lift_without = (e.figures["lift_top_tenth"] for e in (mine, bare))
    out: dict[str, Any] = {
        "left_out": False,
        "cut": format_time(mine.cut),
        "rows": len(y),
        "with": {"log_loss_gain": gain, "lift_top_tenth": lift, "features": len(mine.model.spec.names)},
        "without": {
            "log_loss_gain": gain_without,
            "lift_top_tenth": lift_without,
            "features": len(bare.model.spec.names),
        },
        "gain_lost": float(lost.mean()),
        "gain_lost_interval": [low, high],
        "share": float(lost.mean()) / gain if gain > 0 else None,
    }
    if lift is not None and lift_without is not None:
        out["lift_lost"] = float(lift) - float(lift_without)
        out["lift_lost_interval"] = list(_lift_interval(y, p, q, prospects, seed))
    return {**out, "text": words(out)}


def words(found: Mapping[str, Any]) -> str:
    """The comparison as sentences; of the last window alone, as the headline's figures are not."""
    gain, (low, high) = found["with"]["log_loss_gain"], found["gain_lost_interval"]
    lost = 0.0 + round(found["gain_lost"], 4)
    ends = f"95 % {low:+.4f} to {high:+.4f}"
    window = f"In the last window (from {found['cut'][:10]}, {found['rows']:,} landmarks)"
    if gain <= 0:
        first = f"there is no gain over a constant that could rest on outbound effort (difference {lost:+.4f}, {ends})."
    elif low > 0:
        first = (
            f"{_percent(found['gain_lost'] / gain)} of the gain over a constant rests on outbound effort: of "
            f"{gain:.4f} in log loss, {lost:.4f} is gone without it ({ends})."
        )
    elif high < 0:
        first = f"nothing rests on outbound effort: without it the log loss is lower by {-lost:.4f} ({ends})."
    else:
        first = (
            f"what rests on outbound effort cannot be told from nothing: of the gain of {gain:.4f} over a constant, "
            f"{lost:+.4f} ({ends})."
        )
    first = f"{window}, {first}"
    if "lift_lost" not in found:
        return first
    low, high = found["lift_lost_interval"]
    return (
        f"{first} Its best tenth has {found['with']['lift_top_tenth']:.2f} times the average rate with it and "
        f"{found['without']['lift_top_tenth']:.2f} without (difference {found['lift_lost']:+.2f}, 95 % {low:+.2f} to "
        f"{high:+.2f})."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _lift_interval(y: Floats, p: Floats, q: Floats, prospects: npt.NDArray[Any], seed: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two lifts of the top tenth, resampling whole prospects."""
    from training.evaluate import lift_of

    _, index = np.unique(prospects, return_inverse=True)
    count = int(index.max()) + 1
    rng = np.random.default_rng(seed)
    levels = [np.unique(x, return_inverse=True)[1] for x in (p, q)]
    differences = []
    for _ in range(RESAMPLES):
        weight = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)[index]
        found = [lift_of(level, y, weight) for level in levels]
        if found[0] is not None and found[1] is not None:
            differences.append(found[0] - found[1])
    if not differences:
        return float("nan"), float("nan")
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)
