"""Who is open when: a prospect's episode, from its start to its closing, by what is known at a time (DESIGN 4).

Row selection only, as Ibis expressions: nothing is computed before somebody asks for the rows. Training takes its
landmarks from here, and scoring its open prospects, so that the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ibis

from features.contract import NEVER, Goal
from features.errors import BadInput

if TYPE_CHECKING:
    from features.tables import Tables


def episodes(tables: Tables, goal: Goal, until: int) -> Any:
    """One row per prospect whose episode had begun by ``until``, from what was recorded by then.

    Columns: ``prospect_id``; ``started_at`` (creation, or the first outcome ``starts_at``); ``known_at`` (when that
    start was known); ``goal_at`` (the goal's first outcome after the start); ``closed_at`` (the first closing
    outcome's time); ``closed_known_at`` (when the first one was known). ``NEVER`` where there is none.
    """
    outcomes = known_outcomes(tables, until)
    if goal.starts_at is None:
        # Every version of a row bears the same creation; a closing outcome at the very creation closes it.
        starts = tables.prospects.group_by("prospect_id").aggregate(started_at=ibis._.created_at.min())
        starts = starts.mutate(known_at=ibis._.started_at)
        starts = starts.filter(ibis._.started_at <= until)
    else:
        if outcomes is None:
            raise BadInput(
                "missing_table",
                f"the goal starts at the outcome `{goal.starts_at}`, and there is no table of outcomes.",
                where="outcomes",
                remedy="Add the outcomes, or remove starts_at from [goal] in dataset.toml.",
            )
        begun = outcomes.filter(outcomes.outcome == goal.starts_at)
        begun = begun.mutate(started_at=begun.occurred_at.min().over(ibis.window(group_by="prospect_id")))
        begun = begun.filter(begun.occurred_at == begun.started_at)
        starts = begun.group_by(["prospect_id", "started_at"]).aggregate(known_at=ibis._.known_at.min())
    never = ibis.literal(NEVER, type="int64")
    if outcomes is None:
        return starts.mutate(goal_at=never, closed_at=never, closed_known_at=never)
    closing = outcomes.filter(outcomes.outcome.isin(goal.closing))
    closing = closing.inner_join(starts, "prospect_id").select(
        "prospect_id", "outcome", "occurred_at", closing_known_at=closing.known_at, started_at=starts.started_at
    )
    if goal.starts_at is not None:
        closing = closing.filter(closing.occurred_at > closing.started_at)
    ends = closing.group_by("prospect_id").aggregate(
        goal_at=ibis._.occurred_at.min(where=ibis._.outcome == goal.outcome),
        closed_at=ibis._.occurred_at.min(),
        closed_known_at=ibis._.closing_known_at.min(),
    )
    out = starts.left_join(ends, "prospect_id")
    return out.select(
        "prospect_id",
        "started_at",
        "known_at",
        **{name: ibis.coalesce(out[name], never) for name in ("goal_at", "closed_at", "closed_known_at")},
    )


def census_spine(tables: Tables, goal: Goal, times: Sequence[int]) -> Any:
    """Every prospect open at each of the times, as (``prospect_id``, ``as_of``): what is served, week by week."""
    if not times:
        raise BadInput("no_times", "a census needs at least one time.", where="times", remedy="Give a time.")
    return only_open(at_each(episodes(tables, goal, max(times)), "as_of", sorted(set(times))))


def open_prospects(tables: Tables, goal: Goal, at: int) -> Any:
    """The prospects open at one time, as (``prospect_id``, ``as_of``): those that a scoring run answers for."""
    return census_spine(tables, goal, (at,))


def known_outcomes(tables: Tables, until: int) -> Any:
    """The outcomes known at ``until``, with ``known_at``: the later of occurring and being recorded."""
    outcomes = tables.outcomes
    if outcomes is None:
        return None
    outcomes = outcomes.select(
        "prospect_id",
        "outcome",
        "occurred_at",
        known_at=ibis.greatest(outcomes.occurred_at, outcomes.recorded_at),
    )
    return outcomes.filter(outcomes.known_at <= until)


def at_each(table: Any, name: str, numbers: Sequence[int]) -> Any:
    """The table once for each number, which becomes a column."""
    return table.mutate(ibis.literal([int(n) for n in numbers], type="array<int64>").unnest().name(name))


def only_open(spine: Any) -> Any:
    """The rows (prospect_id, as_of) whose episode had begun and not closed, by what was known at as_of itself."""
    spine = spine.filter(spine.known_at <= spine.as_of, spine.closed_known_at > spine.as_of)
    return spine.select("prospect_id", "as_of")
