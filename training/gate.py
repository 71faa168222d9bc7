"""The gate: whether a challenger may replace the champion, by their recipes and not by the models themselves.

A model that has seen a test always wins it. So both recipes (features and parameters) are fitted anew at the start of
each rolling test window, on what was known by then, and compared on that window. The lower mean log loss over all
windows wins; the challenger is the winner's recipe fitted until T, or the champion stays. A difference of nothing goes
to the newer data.

Why the plain mean, and no level of significance: of two recipes that cannot be told apart either may serve, so that a
wrong pick costs nothing on average, whereas a champion that only evidence can move grows old where evidence is scarce.
A recipe that differs by nothing but its random numbers therefore passes one time in two. The interval of the
difference (paired bootstrap by prospect) says how sure the pick was, and stands in the reason. It knows the chance in
who was tested, not that in the fit, so it would pass such recipes more often than its level says. All windows count
because on the last one alone that chance is greater: its rows are a quarter of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from features.contract import format_time, parse_time
from features.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from features.spec import FeatureSet
    from features.tables import Tables
    from serving.bundle import Bundle
    from training.evaluate import Evaluation

FEWEST = 10  # prospects that reached the goal in the tests: below, whichever recipe says less than it should may win


@dataclass(frozen=True)
class Comparison:
    """Two recipes on the same rows, each probability from a fit at the start of the row's window.

    Attributes:
        log_loss, champion_log_loss: the challenger's and the champion's mean, nats per row.
        difference: the first less the second; negative where the challenger is better.
        low, high: its 95 % interval, resampling whole prospects.
        rows, prospects, outcomes: what was tested on; ``outcomes`` are prospects that reached the goal.
        cuts: the starts of the windows, ISO texts.
    """

    log_loss: float
    champion_log_loss: float
    difference: float
    low: float
    high: float
    rows: int
    prospects: int
    outcomes: int
    cuts: tuple[str, ...]

    @property
    def words(self) -> str:
        """The figures as a sentence, with what they come to."""
        if self.difference == 0:
            verdict = "no difference"
        else:
            verdict = "better" if self.difference < 0 else "worse"
            clear = self.high < 0 or self.low > 0
            verdict = f"clearly {verdict}" if clear else f"{verdict}, by no more than chance may give"
        times = "that date" if len(self.cuts) == 1 else f"the starts of the {len(self.cuts)} windows"
        return (
            f"log loss {self.log_loss:.4f} against the champion's {self.champion_log_loss:.4f} on {self.rows} "
            f"landmarks from {self.cuts[0][:10]}, both fitted at {times} (difference {self.difference:+.4f}, "
            f"95 % {self.low:+.4f} to {self.high:+.4f}): {verdict}"
        )


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger may be promoted, why, and the comparison where there was one."""

    promoted: bool
    reason: str
    comparison: Comparison | None = None

    def to_json(self, challenger_digest: str, champion_digest: str | None) -> dict[str, Any]:
        """The record that MLflow keeps: both bundles' digests, the figures, and the decision in words."""
        return {
            "decision": "promoted" if self.promoted else "declined",
            "reason": self.reason,
            "champion_digest": champion_digest,
            "challenger_digest": challenger_digest,
            **({} if self.comparison is None else asdict(self.comparison)),
        }


def judge(
    tables: Tables,
    champion: Bundle,
    features: FeatureSet,
    recipe: Mapping[str, Any] | None,
    evaluations: Sequence[Evaluation],
    seed: int = 0,
) -> Verdict:
    """Whether the challenger may replace the champion.

    Args:
        tables: canonical tables that end at the challenger's T.
        champion: its bundle; of it only the recipe and T are used.
        features: the challenger's.
        recipe: the challenger's LightGBM parameters, None for the choice among models, ``{"trials": n}`` for that
            with a search; as the card's ``recipe``.
        evaluations: the challenger's rolling evaluations on these tables; empty where nothing lies forward in time.
        seed: of the champion's fits and of the bootstrap.

    Returns:
        A decline where the data end before the champion's, where the goal is another one, where the two cannot be
        compared, or where the challenger does worse.
    """
    goal, old_goal = tables.dataset.goal, champion.constants.goal
    until, before = format_time(tables.until), str(champion.card["trained_until"])
    newer = tables.until > parse_time(before)
    if tables.until < parse_time(before):
        return Verdict(
            False, f"the data end {until[:10]}, before those of the champion ({before[:10]}); promote by hand"
        )
    if goal != old_goal:
        now, then = goal.to_json(), old_goal.to_json()
        changed = ", ".join(f"{name} {then[name]} became {now[name]}" for name in now if now[name] != then[name])
        return Verdict(False, f"the champion predicts something else ({changed}); promote by hand")
    if champion.features.fingerprint == features.fingerprint and champion.card.get("recipe") == recipe:
        if newer:  # fitted at one date, the two are one model
            return Verdict(
                True, f"the champion's own recipe on fresher data (until {until[:10]}, before: {before[:10]})"
            )
        return Verdict(False, f"the champion's own recipe on data of the same end ({until[:10]}): nothing new to gain")
    if not evaluations:
        return Verdict(False, "no time is left to compare it forward with the champion; promote by hand")
    try:
        others = refit(tables, champion.features, champion.card.get("recipe"), evaluations, seed)
    except BadInput as error:
        words = f"the champion's recipe cannot be fitted on these tables ({error.message.rstrip('.')}); promote by hand"
        return Verdict(False, words)
    return decide(compare(evaluations, others, seed), newer=newer)


def decide(found: Comparison, *, newer: bool) -> Verdict:
    """The verdict on a comparison; ``newer`` is whether the challenger's data end later than the champion's."""
    if found.outcomes < FEWEST:
        few = f"only {found.outcomes} prospects reached the goal in the tests: too few to compare by; promote by hand"
        return Verdict(False, few, found)
    return Verdict(found.difference < 0 or (newer and found.difference == 0), found.words, found)


def refit(
    tables: Tables,
    features: FeatureSet,
    recipe: Mapping[str, Any] | None,
    evaluations: Sequence[Evaluation],
    seed: int = 0,
) -> list[Evaluation]:
    """Another recipe fitted at the cuts of the evaluations and tested on their windows; features are computed once."""
    from training.dataset import at_hand
    from training.evaluate import evaluate_forward

    computed = at_hand(tables, features, tables.dataset.goal, [e.cut for e in evaluations])
    return [
        evaluate_forward(
            tables,
            features,
            e.cut,
            e.test_until,
            params=recipe,
            seed=seed,
            resamples=0,
            folds=e.folds,
            computed=computed,
        )
        for e in evaluations
    ]


def compare(challenger: Sequence[Evaluation], champion: Sequence[Evaluation], seed: int = 0) -> Comparison:
    """The figures of two recipes, evaluated at the same cuts on the same rows; ``seed`` is the bootstrap's."""
    import pandas as pd

    from training.evaluate import log_losses, paired_interval

    mine, theirs = (pd.concat([e.rows for e in part], ignore_index=True) for part in (challenger, champion))
    _check_paired(mine, theirs)
    loss, other = log_losses(mine["y"], mine["p"]), log_losses(theirs["y"], theirs["p"])
    prospects = mine["prospect_id"].to_numpy(dtype=object)
    low, high = paired_interval(loss - other, prospects, seed=seed)
    return Comparison(
        log_loss=float(loss.mean()),
        champion_log_loss=float(other.mean()),
        difference=float((loss - other).mean()),
        low=low,
        high=high,
        rows=len(mine),
        prospects=int(mine["prospect_id"].nunique()),
        outcomes=int(mine.loc[mine["y"] == 1, "prospect_id"].nunique()),
        cuts=tuple(format_time(e.cut) for e in challenger),
    )


def _check_paired(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    keys = ["prospect_id", "as_of", "y"]
    if not mine[keys].equals(theirs[keys]):
        raise ValueError("the two recipes were not tested on the same rows")
