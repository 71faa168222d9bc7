from __future__ import annotations

import random
from typing import Any

import pytest

from features.contract import DAY, NEVER, TIME_MAX, TIME_MIN, Goal
from features.episodes import census_spine, episodes, open_prospects
from features.errors import BadInput
from features.tables import Tables
from tests.funnels import at, by_hand
from training.goal import AGES, edges, landmark_spine, recording_delay, weekly

WON = Goal()
RENEWED = Goal("renewed", starts_at="won")


def found(spine: Any) -> set[tuple[str, float]]:
    """The spine's rows as (prospect, days after the start)."""
    rows = spine.to_pyarrow().to_pylist()
    assert set(rows[0] if rows else {"prospect_id", "as_of"}) == {"prospect_id", "as_of"}
    pairs = [(r["prospect_id"], (r["as_of"] - at(0)) / DAY) for r in rows]
    assert len(pairs) == len(set(pairs))
    return set(pairs)


COLUMNS = ("started_at", "known_at", "goal_at", "closed_at", "closed_known_at")


def episode(tables: Tables, goal: Goal, until: float, prospect: str = "a") -> tuple[float | None, ...]:
    """The prospect's episode in days after the start, in the order of COLUMNS; None is never."""
    rows = [r for r in episodes(tables, goal, at(until)).to_pyarrow().to_pylist() if r["prospect_id"] == prospect]
    assert len(rows) == 1
    return tuple(None if rows[0][c] == NEVER else (rows[0][c] - at(0)) / DAY for c in COLUMNS)


def goal_at(tables: Tables, goal: Goal, until: float) -> float | None:
    return episode(tables, goal, until)[COLUMNS.index("goal_at")]


def test_edges_are_the_common_ones_up_to_the_longest_horizon_and_every_declared_one() -> None:
    assert edges(Goal(horizons=(("", 90),))) == (0, 1, 3, 7, 14, 30, 60, 90)
    assert edges(Goal(horizons=(("", 45), ("mass", 10)))) == (0, 1, 3, 7, 10, 14, 30, 45)
    assert edges(Goal(horizons=(("", 1),))) == (0, 1)
    assert edges(Goal(horizons=(("", 1000),))) == (0, 1, 3, 7, 14, 30, 60, 90, 180, 360, 720, 1000)


def test_landmark_ages_double_on_beyond_every_time_of_the_contract() -> None:
    assert AGES[:13] == (0, 1, 3, 7, 14, 30, 60, 90, 180, 360, 720, 1440, 2880)
    assert AGES[-1] * DAY > TIME_MAX - TIME_MIN


def test_an_open_prospect_has_a_landmark_at_every_age_before_the_end() -> None:
    tables = by_hand({"a": 0, "b": 4.5}, until=14)
    # 14 is the end itself: nothing lies ahead of it.
    assert found(landmark_spine(tables, WON)) == {
        *(("a", age) for age in (0, 1, 3, 7)),
        *(("b", 4.5 + age) for age in (0, 1, 3, 7)),
    }


def test_ages_and_end_may_be_given() -> None:
    tables = by_hand({"a": 0}, until=14)
    assert found(landmark_spine(tables, WON, at(6), ages=(0, 2, 5, 6))) == {("a", 0), ("a", 2), ("a", 5)}


def test_a_prospect_created_after_the_end_has_no_episode() -> None:
    tables = by_hand({"a": 0, "b": 10}, until=20)
    assert found(landmark_spine(tables, WON, at(8))) == {("a", 0), ("a", 1), ("a", 3), ("a", 7)}
    assert {r["prospect_id"] for r in episodes(tables, WON, at(10)).to_pyarrow().to_pylist()} == {"a", "b"}
    assert {r["prospect_id"] for r in episodes(tables, WON, at(10) - 1).to_pyarrow().to_pylist()} == {"a"}


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_a_closing_outcome_closes_from_its_very_moment(outcome: str) -> None:
    tables = by_hand({"a": 0}, [("a", outcome, 3)], until=100)
    assert found(landmark_spine(tables, WON)) == {("a", 0), ("a", 1)}
    tables = by_hand({"a": 0}, [("a", outcome, 3 + 1 / DAY)], until=100)
    assert found(landmark_spine(tables, WON)) == {("a", 0), ("a", 1), ("a", 3)}


def test_an_outcome_that_closes_nothing_leaves_it_open() -> None:
    tables = by_hand({"a": 0}, [("a", "expanded", 2)], until=5)
    assert found(landmark_spine(tables, WON)) == {("a", 0), ("a", 1), ("a", 3)}


def test_a_closing_outcome_closes_when_it_is_recorded() -> None:
    tables = by_hand({"a": 0}, [("a", "lost", 2, 14)], until=100)
    assert found(landmark_spine(tables, WON)) == {("a", 0), ("a", 1), ("a", 3), ("a", 7)}
    assert episode(tables, WON, 100) == (0, 0, None, 2, 14)


def test_of_two_outcomes_the_first_recorded_closes_and_the_first_occurred_is_the_late_one() -> None:
    tables = by_hand({"a": 0}, [("a", "lost", 2, 14), ("a", "won", 5, 6)], until=100)
    assert found(landmark_spine(tables, WON)) == {("a", 0), ("a", 1), ("a", 3)}
    assert episode(tables, WON, 100) == (0, 0, 5, 2, 6)


def test_an_outcome_at_creation_leaves_no_landmark() -> None:
    tables = by_hand({"a": 2}, [("a", "won", 2)], until=100)
    assert found(landmark_spine(tables, WON)) == set()
    assert goal_at(tables, WON, 100) == 2


def test_the_goal_is_its_first_outcome_even_after_a_loss() -> None:
    tables = by_hand({"a": 0}, [("a", "lost", 2), ("a", "won", 9, 9), ("a", "won", 8, 30)], until=100)
    assert goal_at(tables, WON, 100) == 8
    # At 20 the earlier win was not recorded yet.
    assert goal_at(tables, WON, 20) == 9


def test_what_is_recorded_after_the_end_is_not_known() -> None:
    tables = by_hand({"a": 0}, [("a", "won", 5, 10)], until=100)
    assert goal_at(tables, WON, 10) == 5
    assert episode(tables, WON, 10 - 1 / DAY) == (0, 0, None, None, None)


def test_with_starts_at_the_episode_begins_at_that_outcome() -> None:
    tables = by_hand(
        {"a": 0, "b": 0, "c": 0},
        [("a", "lost", 1), ("a", "won", 2), ("a", "won", 9), ("a", "renewed", 17), ("b", "lost", 3)],
        until=1000,
    )
    assert found(landmark_spine(tables, RENEWED)) == {("a", 2 + age) for age in (0, 1, 3, 7, 14)}
    assert episode(tables, RENEWED, 1000) == (2, 2, 17, 17, 17)


def test_with_starts_at_only_what_comes_after_the_start_counts() -> None:
    tables = by_hand({"a": 0}, [("a", "renewed", 1), ("a", "won", 2), ("a", "renewed", 2), ("a", "lost", 2)], until=10)
    assert found(landmark_spine(tables, RENEWED)) == {("a", 2), ("a", 3), ("a", 5), ("a", 9)}
    assert goal_at(tables, RENEWED, 10) is None
    tables = by_hand({"a": 0}, [("a", "won", 2), ("a", "lost", 2 + 1 / DAY)], until=10)
    assert found(landmark_spine(tables, RENEWED)) == {("a", 2)}


def test_with_starts_at_a_start_recorded_late_gives_landmarks_from_then_on() -> None:
    tables = by_hand({"a": 0}, [("a", "won", 2, 5)], until=20)
    assert found(landmark_spine(tables, RENEWED)) == {("a", 5), ("a", 9), ("a", 16)}
    assert found(open_prospects(tables, RENEWED, at(5))) == {("a", 5)}
    assert found(open_prospects(tables, RENEWED, at(5) - 1)) == set()


def test_with_starts_at_and_no_outcomes_the_goal_is_refused() -> None:
    tables = by_hand({"a": 0}, until=10)
    without = type(tables)(**{**vars(tables), "outcomes": None})
    with pytest.raises(BadInput) as caught:
        open_prospects(without, RENEWED, at(5))
    assert caught.value.code == "missing_table"
    assert found(open_prospects(without, WON, at(5))) == {("a", 5)}


def test_a_census_holds_everyone_open_at_each_time() -> None:
    tables = by_hand({"a": 0, "b": 3, "c": 8}, [("a", "won", 7), ("b", "lost", 8, 20)], until=30)
    assert found(census_spine(tables, WON, weekly(at(0), at(21)))) == {
        *(("b", 7), ("b", 14)),
        *(("c", 14), ("c", 21)),
    }
    assert weekly(at(0), at(21)) == (at(7), at(14), at(21))
    assert weekly(at(0), at(21) - 1) == (at(7), at(14))
    assert found(open_prospects(tables, WON, at(3))) == {("a", 3), ("b", 3)}
    with pytest.raises(BadInput):
        census_spine(tables, WON, ())


def test_the_delay_is_the_99th_percentile_by_nearest_rank() -> None:
    hundred = [(f"p{i}", "won" if i % 2 else "lost", 1, 1 + i / 10) for i in range(100)]
    tables = by_hand({f"p{i}": 0 for i in range(100)}, hundred, until=100)
    assert recording_delay(tables, WON, at(100)) == round(9.8 * DAY)  # the 99th of 100
    # At day 6, fifty-one of them are known (delays to 5.0), and the 51st is the 99th percentile.
    assert recording_delay(tables, WON, at(6)) == 5 * DAY
    assert recording_delay(tables, WON, at(0.5)) == 0


def test_the_delay_counts_closing_outcomes_only() -> None:
    tables = by_hand({"a": 0, "b": 0}, [("a", "won", 1, 3), ("b", "expanded", 1, 9)], until=100)
    assert recording_delay(tables, WON, at(100)) == 2 * DAY
    assert recording_delay(tables, Goal("expanded"), at(100)) == 8 * DAY
    assert recording_delay(by_hand({"a": 0}, until=100), WON, at(100)) == 0


def histories(seed: int, count: int = 150) -> tuple[dict[str, int], list[tuple[str, str, int, int]]]:
    """Many prospects on a coarse grid of days, so that ties are everywhere."""
    rng = random.Random(seed)
    created = {f"p{i}": rng.randrange(12) for i in range(count)}
    outcomes = set()
    for prospect, day in created.items():
        for _ in range(rng.randrange(4)):
            occurred = day + rng.randrange(15)
            late = rng.choice((0, 0, 1, 4, 9))
            outcomes.add((prospect, rng.choice(("won", "lost", "renewed", "expanded")), occurred, occurred + late))
    unique = {(p, o, at_): (p, o, at_, r) for p, o, at_, r in sorted(outcomes, reverse=True)}
    return created, list(unique.values())


@pytest.mark.parametrize("goal", [WON, RENEWED, Goal("expanded")], ids=lambda g: g.outcome)
def test_landmarks_agree_with_a_plain_reading_of_the_rules(goal: Goal) -> None:
    created, outcomes = histories(1)
    until = 17
    expected = set()
    for prospect, day in created.items():
        mine = [(o, occurred, recorded) for p, o, occurred, recorded in outcomes if p == prospect and recorded <= until]
        start, known = day, day
        if goal.starts_at:
            starts = [(occurred, recorded) for o, occurred, recorded in mine if o == goal.starts_at]
            if not starts:
                continue
            start, known = min(starts)
        closing = [x for x in mine if x[0] in goal.closing and (not goal.starts_at or x[1] > start)]
        for age in (0, 1, 3, 7, 14):
            t = start + age
            if known <= t < until and not any(recorded <= t for _, _, recorded in closing):
                expected.add((prospect, float(t)))
    tables = by_hand({p: float(d) for p, d in created.items()}, outcomes, until=until)
    assert found(landmark_spine(tables, goal)) == expected
    assert len(expected) > 50
