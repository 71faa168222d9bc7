from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from features.contract import DAY, NEVER, Column, Dataset, Goal
from features.errors import BadInput
from features.spec import Aggregate, Attribute, Expression, FeatureSet
from features.tables import Tables, tables_from_frames
from tests.funnels import ORIGIN, at, by_hand, planted, times
from training.dataset import META, TrainingSet, build, intervals, labels
from training.goal import edges, landmark_spine

AGE = Expression("age", (Attribute("prospects", "created_at"),))
MICRO = 1 / DAY
THREE = (0, 1, 3, 7)  # edges up to a horizon of seven days
WEEK = Goal(horizons=(("", 7),))


def built(tables: Tables, until: float | None = None, **more: object) -> TrainingSet:
    features = FeatureSet(tables.dataset, (AGE,))
    return build(tables, features, None if until is None else at(until), **more)  # type: ignore[arg-type]


def shown(rows: TrainingSet) -> list[tuple[str, float]]:
    """The rows as (prospect, days after the start)."""
    return [(p, (t - at(0)) / DAY) for p, t in zip(rows.rows["prospect_id"], rows.as_of.tolist(), strict=True)]


def pooled(rows: TrainingSet, borders: tuple[int, ...] = THREE) -> list[tuple[str, float, int, int]]:
    """The pooled rows as (prospect, days after the start, interval, label)."""
    row, k, y = intervals(rows, borders)
    names = shown(rows)
    return [(*names[r], int(i), int(z)) for r, i, z in zip(row, k, y, strict=True)]


def test_the_pooled_rows_of_a_win_by_hand() -> None:
    # Won at day 4; everything is known until day 12 and recorded at once.
    rows = built(by_hand({"a": 0}, [("a", "won", 4)], until=12, goal=WEEK))
    assert rows.delay == 0
    assert rows.goal_at.tolist() == [at(4)] * 3
    assert pooled(rows) == [
        *(("a", 0, 0, 0), ("a", 0, 1, 0), ("a", 0, 2, 1)),  # (0, 1], (1, 3], (3, 7]: won at 4
        *(("a", 1, 0, 0), ("a", 1, 1, 1)),  # (1, 2], (2, 4]: won at its very end; then no longer at risk
        *(("a", 3, 0, 1),),  # (3, 4]
    ]
    assert rows.counts == {"landmarks": 3, "late": 0, "rows": 3, "prospects": 1, "outcomes": 1}


def test_an_interval_holds_its_end_and_not_its_start() -> None:
    rows = built(by_hand({"a": 0}, [("a", "won", 3)], until=20, goal=WEEK))
    assert pooled(rows)[:2] == [("a", 0, 0, 0), ("a", 0, 1, 1)]
    rows = built(by_hand({"a": 0}, [("a", "won", 3 + MICRO)], until=20, goal=WEEK))
    assert pooled(rows)[:3] == [("a", 0, 0, 0), ("a", 0, 1, 0), ("a", 0, 2, 1)]


def test_only_wholly_observed_intervals_are_used() -> None:
    # Complete until day 7: from day 0 the third interval ends at the very end; from day 1 it would end at 8.
    rows = built(by_hand({"a": 0}, until=7, goal=WEEK))
    assert pooled(rows) == [("a", 0, 0, 0), ("a", 0, 1, 0), ("a", 0, 2, 0), ("a", 1, 0, 0), ("a", 1, 1, 0),
                            ("a", 3, 0, 0), ("a", 3, 1, 0)]  # fmt: skip
    assert max(k for _, t, k, _ in pooled(built(by_hand({"a": 0}, until=7 - MICRO, goal=WEEK))) if t == 0) == 1


def test_the_recording_delay_ends_the_observed_time_earlier() -> None:
    # b's win was recorded two days late, so of the last two days not everything is known, not even a's own win in it.
    tables = by_hand({"a": 0, "b": 0}, [("a", "won", 6, 6), ("b", "won", 0.5, 2.5)], until=7, goal=WEEK)
    rows = built(tables)
    assert rows.delay == 2 * DAY
    assert rows.observed_until == at(5)
    assert [x for x in pooled(rows) if x[0] == "a"] == [
        *(("a", 0, 0, 0), ("a", 0, 1, 0)),  # (3, 7] ends after day 5
        *(("a", 1, 0, 0), ("a", 1, 1, 0)),
        *(("a", 3, 0, 0),),
    ]


def test_a_lost_prospect_stays_at_risk() -> None:
    rows = built(by_hand({"a": 0}, [("a", "lost", 2)], until=20, goal=WEEK))
    assert pooled(rows) == [("a", 0, 0, 0), ("a", 0, 1, 0), ("a", 0, 2, 0),
                            ("a", 1, 0, 0), ("a", 1, 1, 0), ("a", 1, 2, 0)]  # fmt: skip


def test_a_win_after_a_loss_is_a_win() -> None:
    rows = built(by_hand({"a": 0}, [("a", "lost", 2), ("a", "won", 5)], until=20, goal=WEEK))
    assert [x for x in pooled(rows) if x[3]] == [("a", 0, 2, 1), ("a", 1, 2, 1)]


def test_rows_closed_already_but_recorded_later_are_kept_out_and_counted() -> None:
    tables = by_hand({"a": 0, "b": 0}, [("a", "lost", 1, 5), ("b", "won", 3, 8)], until=30, goal=WEEK)
    rows = built(tables)
    # a at 1 (its loss occurred at that moment) and 3; b at 3 and 7.
    assert shown(rows) == [("a", 0), ("b", 0), ("b", 1)]
    assert rows.counts["landmarks"] == 7
    assert rows.counts["late"] == 4
    # At day 4 nobody had recorded either: the rows were rows then.
    assert shown(built(tables, 4)) == [(p, t) for p in "ab" for t in (0, 1, 3)]
    assert built(tables, 4).counts["late"] == 0


def test_no_row_of_a_prospect_won_at_its_creation() -> None:
    rows = built(by_hand({"a": 0, "b": 0}, [("a", "won", 0)], until=3, goal=WEEK))
    assert shown(rows) == [("b", 0), ("b", 1)]
    assert rows.counts["outcomes"] == 0


def test_labels_at_any_horizon() -> None:
    rows = built(by_hand({"a": 0, "b": 2}, [("a", "won", 4)], until=10, goal=WEEK))
    assert shown(rows) == [("a", 0), ("a", 1), ("a", 3), ("b", 2), ("b", 3), ("b", 5), ("b", 9)]
    y, observed = labels(rows, 3)
    assert y.tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert observed.tolist() == [True] * 6 + [False]
    y, observed = labels(rows, 7)  # b at 3 + 7 ends at the very end
    assert y.tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert observed.tolist() == [True, True, True, True, True, False, False]
    assert [a.tolist() for a in labels(rows)] == [a.tolist() for a in labels(rows, 7)]
    each = np.array([3, 4, 1, 8, 8, 5, 1])
    y, observed = labels(rows, each)
    assert y.tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert observed.tolist() == [True, True, True, True, False, True, True]


def test_a_regime_has_its_own_horizon() -> None:
    prospects = [
        {"prospect_id": "a", "created_at": 0, "regime": "mass"},
        {"prospect_id": "b", "created_at": 0, "regime": "project"},
        {"prospect_id": "c", "created_at": 0, "regime": None},
    ]
    goal = Goal(horizons=(("", 7), ("mass", 3)))
    rows = built(by_hand(prospects, [(p, "won", 5) for p in "abc"], until=100, goal=goal))
    at_start = rows.select(rows.as_of == at(0))
    assert at_start.horizons().tolist() == [3, 7, 7]
    assert labels(at_start)[0].tolist() == [0, 1, 1]


def test_regime_and_account_are_those_as_of_t() -> None:
    prospects = [
        {"prospect_id": "a", "created_at": 0, "observed_at": 0, "account_id": "x", "regime": "mass"},
        {"prospect_id": "a", "created_at": 0, "observed_at": 1, "account_id": "y", "regime": None},
        {"prospect_id": "a", "created_at": 0, "observed_at": 5, "account_id": None, "regime": "project"},
    ]
    rows = built(by_hand(prospects, until=10, goal=WEEK)).rows
    known = rows[["regime", "account_id"]].astype(object).where(rows[["regime", "account_id"]].notna(), "-")
    assert known.to_numpy().tolist() == [["mass", "x"], ["-", "y"], ["-", "y"], ["project", "-"]]


def test_ages_are_days_since_the_start_of_the_episode() -> None:
    goal = Goal("renewed", horizons=(("", 7),), starts_at="won")
    rows = built(by_hand({"a": 0}, [("a", "won", 2.5)], until=10, goal=goal))
    assert rows.rows["age_days"].tolist() == [0, 1, 3, 7]
    assert rows.values["days_since_created_at"].tolist() == [2.5, 3.5, 5.5, 9.5]


def test_features_that_bear_the_names_of_the_row_do_not_mix_with_it() -> None:
    declared = (("prospects", (Column("age_days", "number"),)),)
    prospects = [{"prospect_id": "a", "created_at": 0, "regime": "mass", "age_days": 70.0}]
    tables = by_hand(prospects, until=2, declared=declared)
    features = FeatureSet(tables.dataset, tuple(Attribute("prospects", c) for c in ("age_days", "regime")))
    rows = build(tables, features)
    assert rows.rows["age_days"].tolist() == [0, 1]
    assert rows.values["age_days"].tolist() == [70, 70]
    assert list(rows.frame.columns) == ["prospect_id", "as_of", "account_id", "age_days", "regime"]
    assert rows.frame["age_days"].tolist() == [70, 70]
    assert list(built(tables).frame.columns) == [*META, "days_since_created_at"]


def test_nothing_recorded_after_the_end_is_used() -> None:
    outcomes = [("a", "won", 4, 6), ("b", "lost", 2, 2), ("c", "won", 5, 9), ("d", "lost", 1, 8)]
    events = [("a", "call", 0.5), ("a", "call", 2.5, 6.5), ("b", "call", 1, 8), ("d", "call", 3, 3), ("c", "mail", 7)]
    prospects = dict.fromkeys("abcd", 0.0) | {"e": 6.0, "f": 7.5}
    tables = by_hand(prospects, outcomes, events=events, until=20)
    before = by_hand(
        {p: d for p, d in prospects.items() if d < 7},
        [o for o in outcomes if (*o, o[2])[3] <= 7],
        events=[e for e in events if (*e, e[2])[3] <= 7],
        until=7,
    )
    features = FeatureSet(tables.dataset, (AGE, Aggregate("count"), Aggregate("days_since_last", "call")))
    later = build(tables, features, at(7))
    then = build(before, FeatureSet(before.dataset, features.features))
    pd.testing.assert_frame_equal(later.frame, then.frame)
    assert later.goal_at.tolist() == then.goal_at.tolist()
    assert later.delay == then.delay == 2 * DAY
    assert later.open_rows is not None
    assert then.open_rows is not None
    pd.testing.assert_frame_equal(later.open_rows, then.open_rows)
    # At day 7 it looked as if c and d were open; later it is known that they were not, or not for long.
    assert later.open_rows["prospect_id"].tolist() == ["c", "d", "e"]
    assert dict(later.counts) != dict(build(tables, features).counts)


def test_a_row_holds_its_features_as_of_its_time() -> None:
    events = [("a", "call", 0.5), ("a", "call", 1, 1), ("a", "call", 2, 4)]
    tables = by_hand({"a": 0}, events=events, until=10)
    rows = build(tables, FeatureSet(tables.dataset, (Aggregate("count"), Aggregate("count", days=1))))
    assert rows.values["event_count"].tolist() == [0, 2, 2, 3]
    assert rows.values["event_count_1d"].tolist() == [0, 2, 0, 0]


def test_a_spine_of_ones_own() -> None:
    tables = by_hand({"a": 0, "b": 1}, [("a", "won", 4, 6)], until=30, goal=WEEK)
    spine = landmark_spine(tables, WEEK, ages=(2, 5))
    twice = spine.union(spine)
    rows = built(tables, spine=twice)
    assert shown(rows) == [("a", 2), ("b", 3), ("b", 6)]  # a at 5 was closed and nobody knew
    assert rows.counts == {"landmarks": 4, "late": 1, "rows": 3, "prospects": 2, "outcomes": 1}
    assert rows.open_rows is None
    both = built(tables, 6, spine=spine, with_open=True)  # b at 6 is a row and open at the end
    assert shown(both) == [("a", 2), ("b", 3), ("b", 6)]
    assert both.open_rows is not None
    assert both.open_rows["prospect_id"].tolist() == ["b"]


def test_selecting_rows_counts_anew() -> None:
    rows = built(by_hand({"a": 0, "b": 0}, [("a", "won", 4)], until=7, goal=WEEK))
    part = rows.select(rows.as_of >= at(3))
    assert shown(part) == [("a", 3), ("b", 3)]
    assert (part.counts["rows"], part.counts["prospects"], part.counts["outcomes"]) == (2, 2, 1)
    assert part.goal_at.tolist() == [at(4), NEVER]
    assert list(part.values.index) == [0, 1]


def test_what_cannot_be_built_is_refused() -> None:
    tables = by_hand({"a": 0}, [("a", "won", 0)], until=3)
    with pytest.raises(BadInput, match="open at any landmark") as caught:
        built(tables)
    assert caught.value.code == "no_rows"
    with pytest.raises(BadInput) as caught:
        built(by_hand({"a": 5}, until=7), 5)
    assert caught.value.code == "no_rows"
    frame = pd.DataFrame({"prospect_id": ["a"], "created_at": times([0])})
    alone = tables_from_frames({"prospects": frame}, Dataset())
    with pytest.raises(BadInput) as caught:
        built(alone)
    assert caught.value.code == "missing_table"


def test_rows_and_labels_agree_with_a_plain_reading_of_the_rules() -> None:
    rng = random.Random(5)
    created = {f"p{i:03d}": float(rng.randrange(10)) for i in range(120)}
    outcomes = {}
    for prospect, day in created.items():
        for _ in range(rng.randrange(4)):
            occurred = day + rng.randrange(14)
            outcomes[prospect, rng.choice(("won", "lost")), occurred] = occurred + rng.choice((0, 0, 0, 1, 4))
    tables = by_hand(created, [(*key, recorded) for key, recorded in outcomes.items()], until=40, goal=WEEK)
    until = 19
    delays = sorted(r - o for (_, _, o), r in outcomes.items() if r <= until)
    observed_until = until - delays[-(-99 * len(delays) // 100) - 1]
    expected, late = [], 0
    for prospect, day in sorted(created.items()):
        known = [(o, r, what) for (p, what, o), r in outcomes.items() if p == prospect and r <= until]
        goal_at = min((o for o, _, what in known if what == "won"), default=float("inf"))
        for t in (day + age for age in (0, 1, 3, 7, 14) if day + age < until):
            if any(r <= t for _, r, _ in known):
                continue
            if any(o <= t for o, _, _ in known):
                late += 1
                continue
            for k, (start, end) in enumerate(pairwise(THREE)):
                if goal_at > t + start and t + end <= observed_until:
                    expected.append((prospect, t, k, int(goal_at <= t + end)))
    rows = built(tables, until)
    assert pooled(rows) == expected
    assert rows.counts["late"] == late
    assert late > 20
    assert sum(y for *_, y in expected) > 40


def test_the_pooled_rows_and_the_labels_tell_the_same_story() -> None:
    tables = planted(300, accounts=True, lag=2)
    rows = build(tables, FeatureSet(tables.dataset, (Attribute("prospects", "origin"), Attribute("prospects", "size"))))
    assert dict(tables.dataset.declared) == dict(ORIGIN)
    borders = edges(rows.goal)
    row, k, y = intervals(rows, borders)
    for index, horizon in enumerate(borders[1:]):
        label, observed = labels(rows, horizon)
        until_then = k <= index
        won = np.bincount(row[until_then], y[until_then], len(rows)) > 0
        assert (won[observed] == (label[observed] > 0)).all()
        assert label[observed].sum() > 0
    assert len(rows) > 1000
