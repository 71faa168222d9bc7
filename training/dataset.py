"""Spine, features and labels become a training set: the engine selects and computes, pandas holds the result.

A row is (prospect, time t): its features as of t, and when the goal came. Labels for any horizon, and the pooled rows
of the hazard, follow from it without another query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd

from features.contract import DAY, NEVER, Goal, format_time
from features.episodes import episodes as find_episodes
from features.episodes import open_prospects
from features.errors import BadInput
from features.offline import feature_table
from features.regimes import with_regime
from features.spec import FeatureSet
from training import goal as goals
from training.account import sibling_spine
from training.census import MOMENTS, Census, OpenTime, open_time
from training.committee import usual_events

if TYPE_CHECKING:
    from features.tables import Tables

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

META = ("prospect_id", "as_of", "age_days", "regime", "account_id")


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The rows that a model learns from or is tested on, sorted by (prospect_id, as_of).

    Attributes:
        rows: pandas, one line per row: prospect_id, as_of (int64, microseconds), age_days (float, since the start of
            the episode), regime (given or inferred) and account_id, both as of t; None where unknown.
        values: pandas, the same lines: one raw column per feature, text for a category and float64 for the rest.
        goal_at: int64 microseconds per row, the goal's first outcome of the episode; ``NEVER`` if none known by T.
        open_rows, open_values: as ``rows`` and ``values``, for the prospects open at T itself (None unless asked for).
        siblings: the prospects that were open beside another one of their account, at a few times (see
            ``training.account``); None unless asked for, and where there is none.
        census: moments at which prospects were open, with what came after all of them (see ``training.census``); None
            for rows of another spine.
        committee: each role's usual event, as ``training.committee`` gives it; empty unless asked for.
        features: what the columns of ``values`` are.
        goal: what is predicted.
        until: T, the end of the data (int microseconds): nothing recorded later was used.
        delay: d, how late outcomes get recorded (99th percentile, microseconds).
        counts: ``landmarks`` (rows of the spine), ``late`` (kept out: a closing outcome had occurred by t and was
            recorded later), ``rows``, ``prospects`` and ``outcomes`` (prospects among the rows with the goal known).
        digest: of the data the set was built from.
    """

    rows: pd.DataFrame
    values: pd.DataFrame
    goal_at: Ints
    features: FeatureSet
    goal: Goal
    until: int
    delay: int
    counts: Mapping[str, int]
    digest: str
    open_rows: pd.DataFrame | None = None
    open_values: pd.DataFrame | None = None
    siblings: TrainingSet | None = None
    census: Census | None = None
    committee: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def as_of(self) -> Ints:
        """The time t of each row (int64 microseconds)."""
        return np.asarray(self.rows["as_of"], dtype=np.int64)

    @property
    def observed_until(self) -> int:
        """T - d: what an interval ending by then holds is known."""
        return self.until - self.delay

    @property
    def frame(self) -> pd.DataFrame:
        """Everything but the label in one pandas frame; a feature named as one of the row's own columns is last."""
        shared = [name for name in self.values.columns if name in META]
        return pd.concat([self.rows.drop(columns=shared), self.values], axis=1)

    def horizons(self) -> Ints:
        """Each row's own horizon in days: that of its regime."""
        return regime_horizons(self.goal, self.rows)

    def select(self, mask: Mask) -> TrainingSet:
        """The set with only the rows where the mask (one bool per row) is true."""
        rows = self.rows[mask].reset_index(drop=True)
        goal_at = self.goal_at[mask]
        return TrainingSet(
            rows,
            self.values[mask].reset_index(drop=True),
            goal_at,
            self.features,
            self.goal,
            self.until,
            self.delay,
            {**self.counts, **_counted(rows, goal_at)},
            self.digest,
            self.open_rows,
            self.open_values,
            self.siblings,
            self.census,
            self.committee,
        )


def build(
    tables: Tables,
    features: FeatureSet,
    until: int | None = None,
    spine: Any = None,
    *,
    goal: Goal | None = None,
    with_open: bool | None = None,
    computed: Any = None,
) -> TrainingSet:
    """Make the training set of the tables, using nothing that was recorded after T.

    Args:
        tables: canonical tables, with outcomes.
        features: what to compute for each row.
        until: T in microseconds; the tables' own end when None.
        spine: Ibis table (prospect_id, as_of) of open prospects, for a test on other times; the landmarks when None.
        goal: what is predicted; the tables' own when None.
        with_open: whether the prospects open at T are computed too; by default when no spine is given.
        computed: a ``feature_table`` that is at hand: a feature at t is the same for every T, so that one computation
            serves several. Rows that it lacks are computed.

    Raises:
        BadInput: there are no outcomes, or no row is left (``no_rows``).
    """
    goal = tables.dataset.goal if goal is None else goal
    until = tables.until if until is None else until
    learning = spine is None
    with_open = learning if with_open is None else with_open
    if tables.outcomes is None:
        raise BadInput(
            "missing_table",
            "there is no table of outcomes to learn from.",
            where="outcomes",
            remedy="Add outcomes.csv or outcomes.parquet with prospect_id, outcome, occurred_at.",
        )
    if spine is None:
        spine = goals.landmark_spine(tables, goal, until)
    delay = goals.recording_delay(tables, goal, until)
    parts = {"is_row": spine}
    moments = _moments(tables, goal, until, delay) if learning else None
    if moments is not None:
        parts["is_census"] = ibis.memtable(moments[0])
    if with_open:
        parts["is_open"] = open_prospects(tables, goal, until)
        among = sibling_spine(tables, goal, until, delay)
        if among is not None:
            parts["is_sibling"] = among
    chosen = _with_meta(tables, goal, until, _flagged(parts))
    here_still = chosen.closed_at > chosen.as_of
    chosen = chosen.mutate(
        is_row=chosen.is_row & here_still, is_sibling=chosen.is_sibling & here_still, landmark=chosen.is_row
    ).cache()
    landmarks = int(chosen.filter(chosen.landmark).count().execute())
    kept = chosen.filter(chosen.is_row | chosen.is_open | chosen.is_sibling | chosen.is_census).cache()
    frame = _computed(features, tables, kept, computed)
    kept.release()
    chosen.release()

    here, is_open, among_others, asked = (np.asarray(frame[f"m__{flag}"], dtype=bool) for flag in _FLAGS)
    rows = pd.DataFrame(
        {
            "prospect_id": frame["prospect_id"],
            "as_of": frame["as_of"].astype(np.int64),
            "age_days": (frame["as_of"] - frame["m__started_at"]) / DAY,
            "regime": frame["m__regime"],
            "account_id": frame["m__account_id"],
        }
    )
    values = frame[[f"f__{i}" for i in range(len(features.names))]].set_axis(list(features.names), axis=1)
    if not here.any():
        raise BadInput(
            "no_rows",
            f"no prospect was open at any landmark before {format_time(until)}.",
            where="prospects",
            remedy="Give a later --until, or data in which prospects are created before their outcomes.",
        )
    goal_at = np.asarray(frame["m__goal_at"], dtype=np.int64)

    def part(which: Mask, counts: Mapping[str, int], **more: Any) -> TrainingSet:
        mine = rows[which].reset_index(drop=True)
        known = {**counts, **_counted(mine, goal_at[which])}
        chosen_values = values[which].reset_index(drop=True)
        return TrainingSet(
            mine, chosen_values, goal_at[which], features, goal, until, delay, known, tables.digest, **more
        )

    counts = {"landmarks": landmarks, "late": landmarks - int(here.sum())}
    census = None if moments is None else Census(part(asked, {}), *moments[1:])
    if not with_open:
        return part(here, counts, census=census)
    return part(
        here,
        counts,
        census=census,
        open_rows=rows[is_open].reset_index(drop=True),
        open_values=values[is_open].reset_index(drop=True),
        siblings=part(among_others, {}) if among_others.any() else None,
        committee=usual_events(tables, until),
    )


def at_hand(tables: Tables, features: FeatureSet, goal: Goal, cuts: Sequence[int]) -> Any:
    """The features of all landmarks and of each cut's census, once for the sets of the cuts and of their tests.

    None where a start that is recorded late moves the landmarks.
    """
    if goal.starts_at is not None:
        return None
    spine = goals.landmark_spine(tables, goal)
    asked = (_moments(tables, goal, cut, goals.recording_delay(tables, goal, cut)) for cut in cuts)
    samples = [moments[0] for moments in asked if moments is not None]
    if samples:
        spine = spine.union(ibis.memtable(pd.concat(samples)), distinct=True)
    return feature_table(features, tables, spine).cache()


_FLAGS = ("is_row", "is_open", "is_sibling", "is_census")


def _moments(tables: Tables, goal: Goal, until: int, delay: int) -> tuple[pd.DataFrame, float, OpenTime] | None:
    """Sampled moments of the open time as a spine, the days that each stands for, and all the open time."""
    ids, time = open_time(tables, goal, until, until - delay)
    who, as_of, days = time.moments(MOMENTS)
    if not len(who):
        return None
    return pd.DataFrame({"prospect_id": ids[who], "as_of": as_of}), days, time


def _flagged(parts: Mapping[str, Any]) -> Any:
    """The rows of several spines, each once, with a flag for each spine that holds it."""
    marked = [
        spine.select("prospect_id", "as_of").mutate(**{name: ibis.literal(name == flag) for name in _FLAGS})
        for flag, spine in parts.items()
    ]
    together = marked[0]
    for more in marked[1:]:
        together = together.union(more)
    return together.group_by(["prospect_id", "as_of"]).aggregate(**{name: ibis._[name].any() for name in _FLAGS})


def regime_horizons(goal: Goal, rows: pd.DataFrame) -> Ints:
    """The horizon in days of each row: that of its regime."""
    regimes = [regime if isinstance(regime, str) else None for regime in rows["regime"]]
    days = {regime: goal.horizon(regime) for regime in set(regimes)}
    return np.array([days[regime] for regime in regimes], dtype=np.int64)


def labels(training_set: TrainingSet, horizon_days: int | Ints | None = None) -> tuple[Ints, Mask]:
    """Whether the goal came within ``(t, t + h]``, and whether that whole time had been observed by T - d.

    Args:
        training_set: the rows.
        horizon_days: h in days, one for all or one per row; each row's own horizon (by regime) when None.

    Returns:
        ``y`` (0 or 1 per row; 0 also where it is not observed) and ``observed`` (bool per row).
    """
    days = training_set.horizons() if horizon_days is None else np.asarray(horizon_days, dtype=np.int64)
    end = training_set.as_of + days * DAY
    y = (training_set.goal_at > training_set.as_of) & (training_set.goal_at <= end)
    return y.astype(np.int64), end <= training_set.observed_until


def intervals(training_set: TrainingSet, edges: Sequence[int]) -> tuple[Ints, Ints, Ints]:
    """The pooled rows of the hazard: each row with each interval at risk and wholly observed.

    Args:
        training_set: the rows.
        edges: interval edges in days, rising from 0.

    Returns:
        Three int64 arrays of one length: the row's index, the interval's index k (from edges[k] to edges[k + 1]
        days after t, open at its start and closed at its end), and whether the goal came in it (0 or 1).
    """
    steps = np.asarray(edges, dtype=np.int64) * DAY
    at = training_set.as_of[:, None] + steps[None, :]
    goal_at = training_set.goal_at[:, None]
    used = (goal_at > at[:, :-1]) & (at[:, 1:] <= training_set.observed_until)
    row, k = np.nonzero(used)
    y = training_set.goal_at[row] <= at[row, k + 1]
    return row.astype(np.int64), k.astype(np.int64), y.astype(np.int64)


def _with_meta(tables: Tables, goal: Goal, until: int, spine: Any) -> Any:
    """The spine with the episode of each prospect and, as of t, its regime and account."""
    episodes = find_episodes(tables, goal, until)
    rows = spine.inner_join(episodes, "prospect_id").select(*spine.columns, "started_at", "goal_at", "closed_at")
    return with_regime(tables, rows)


def _computed(features: FeatureSet, tables: Tables, kept: Any, computed: Any) -> pd.DataFrame:
    """Features beside the rows' own columns, each under a prefix: a feature may bear the name of one of those."""
    spine = kept.select("prospect_id", "as_of")
    if computed is None:
        parts = [feature_table(features, tables, spine)]
    else:
        parts = [computed]
        rest = spine.anti_join(computed, ["prospect_id", "as_of"])
        if int(rest.count().execute()):
            parts.append(feature_table(features, tables, rest))
    named = [
        part.select("prospect_id", "as_of", **{f"f__{i}": part[name] for i, name in enumerate(features.names)})
        for part in parts
    ]
    computed = named[0] if len(named) == 1 else named[0].union(named[1])
    meta = kept.select(
        m__prospect_id=kept.prospect_id,
        m__as_of=kept.as_of,
        **{f"m__{name}": kept[name] for name in (*_FLAGS, "started_at", "goal_at", "regime", "account_id")},
    )
    joined = computed.inner_join(meta, [computed.prospect_id == meta.m__prospect_id, computed.as_of == meta.m__as_of])
    frame: pd.DataFrame = joined.order_by(["prospect_id", "as_of"]).to_pandas()
    for i, feature in enumerate(features.features):
        if features.kind(feature) != "category":
            frame[f"f__{i}"] = frame[f"f__{i}"].astype(np.float64)
    return frame


def _counted(rows: pd.DataFrame, goal_at: Ints) -> dict[str, int]:
    with_goal = rows.loc[goal_at < NEVER, "prospect_id"]
    return {
        "rows": len(rows),
        "prospects": int(rows["prospect_id"].nunique()),
        "outcomes": int(with_goal.nunique()),
    }
