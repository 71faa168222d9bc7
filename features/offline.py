"""A feature set over tables and a spine of (prospect_id, as_of), as one Ibis expression that reads the events once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ibis

from features.aggregates import CLOSED, OPERATIONS, how_many, needs_contacts
from features.contract import DAY
from features.expressions import RULES
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet, walk
from features.tables import lasting

if TYPE_CHECKING:
    from features.tables import Tables

Stages = Mapping[str, tuple[str, ...]]  # of each stage, its event types


def feature_table(features: FeatureSet, tables: Tables, spine: Any) -> Any:
    """The feature rows of a spine.

    Args:
        features: what to compute.
        tables: canonical tables (see ``features.tables``), on any Ibis backend.
        spine: Ibis table with unique rows (prospect_id string, as_of int64 microseconds).

    Returns:
        Ibis table: prospect_id, as_of, then one column per feature by its name; text for a category, float64 for
        the rest (a boolean is 0.0 or 1.0), NULL where missing. Row order is not defined.
    """
    inside = [part for f in features.features for part in walk(f) if isinstance(part, Aggregate)]
    aggregates = {_key(a): a for a in inside}
    rows = _with_aggregates(aggregates, features, tables, with_state(tables, spine.select("prospect_id", "as_of")))
    columns = {f.name: _value(f, features, tables, rows) for f in features.features}
    return rows.select("prospect_id", "as_of", **columns)


def with_state(tables: Tables, spine: Any) -> Any:
    """The spine with the prospect's and the account's row as of t, under the prefixes p_ and a_."""
    prospects = tables.prospects.rename("p_{name}")
    rows = spine.left_join(
        prospects,
        [
            spine.prospect_id == prospects.p_prospect_id,
            prospects.p_valid_from <= spine.as_of,
            prospects.p_valid_to > spine.as_of,
        ],
    )
    if tables.accounts is None:
        return rows
    accounts = tables.accounts.rename("a_{name}")
    return rows.left_join(
        accounts,
        [
            rows.p_account_id == accounts.a_account_id,
            accounts.a_valid_from <= rows.as_of,
            accounts.a_valid_to > rows.as_of,
        ],
    )


def _with_aggregates(aggregates: dict[str, Aggregate], features: FeatureSet, tables: Tables, rows: Any) -> Any:
    """The rows with one column per aggregate, keyed by content; NULL and 0 as DESIGN says of empty windows."""
    known = {key: a for key, a in aggregates.items() if _is_known(a, tables)}
    stages = dict(features.dataset.stages)
    members = _members(tables, rows, any(a.scope == "account" for a in known.values()))
    found = []
    for table, make in (("events", _of_events), ("outcomes", _of_outcomes), ("prospects", _of_prospects)):
        of_table = {key: a for key, a in known.items() if a.table == table}
        if of_table:
            found += make(of_table, stages, tables, members)
    columns = rows
    for part in found:
        mine = [key for key in aggregates if key in part.columns]
        part = part.rename(found_prospect_id="prospect_id", found_as_of="as_of")
        on = [columns.prospect_id == part.found_prospect_id, columns.as_of == part.found_as_of]
        columns = columns.left_join(part, on).select(*columns.columns, *mine)
    return columns.mutate(
        **{
            key: _filled(a, columns[key], columns) if key in known else ibis.null("float64")
            for key, a in aggregates.items()
        }
    )


def _is_known(aggregate: Aggregate, tables: Tables) -> bool:
    """Whether the tables are there without which the aggregate is missing everywhere."""
    if needs_contacts(aggregate) and tables.contacts is None:
        return False
    return (tables.events if aggregate.table == "events" else tables.outcomes) is not None


def _members(tables: Tables, rows: Any, wide: bool) -> Any:
    """Who counts for a row: the prospect itself (``own``) and, if wide, the others of its account as of t."""
    members = rows.select("prospect_id", "as_of", member_id=rows.prospect_id, own=ibis.literal(True), born=rows.as_of)
    if not wide:
        return members
    prospects = tables.prospects.select(
        member_id="prospect_id", member_account_id="account_id", from_="valid_from", to_="valid_to", born="created_at"
    )
    siblings = rows.inner_join(
        prospects,
        [
            rows.p_account_id == prospects.member_account_id,
            prospects.from_ <= rows.as_of,
            prospects.to_ > rows.as_of,
            prospects.member_id != rows.prospect_id,
        ],
    ).select("prospect_id", "as_of", "member_id", own=ibis.literal(False), born="born")
    return members.union(siblings)


def _of_events(aggregates: dict[str, Aggregate], stages: Stages, tables: Tables, members: Any) -> list[Any]:
    """The events' aggregates by (prospect_id, as_of): one table, and one more where contacts are counted each."""
    if not any(a.scope == "account" for a in aggregates.values()):
        members = members.filter(members.own)
    events = _joined_events(tables, members)
    each_contact = {key: a for key, a in aggregates.items() if OPERATIONS[a.operation].by_contact}
    columns: dict[str, Any] = {}
    for key, aggregate in aggregates.items():
        if key in each_contact:
            continue
        columns[key] = OPERATIONS[aggregate.operation].offline(events, _where(events, aggregate, stages))
        if aggregate.operation == "share":
            whole = Aggregate("count", days=aggregate.days, scope=aggregate.scope)
            columns[key] = columns[key] / how_many(events, _where(events, whole, stages)).cast("float64").nullif(0.0)
    found = []
    if columns:
        found.append(events.group_by("prospect_id", "as_of").aggregate(**columns))
    if each_contact:
        named = events.filter(events.known_contact.notnull())
        counts = named.group_by("prospect_id", "as_of", "known_contact", "role").aggregate(
            **{key: how_many(named, _where(named, a, stages)) for key, a in each_contact.items()}
        )
        columns = {key: OPERATIONS[a.operation].offline(counts, key) for key, a in each_contact.items()}
        found.append(counts.group_by("prospect_id", "as_of").aggregate(**columns))
    return found


def _joined_events(tables: Tables, members: Any) -> Any:
    """Every event known at t of every member, with its contact's role and rank as of t."""
    events: Any = tables.events
    events = events.rename(event_prospect_id="prospect_id")
    known = [
        members.member_id == events.event_prospect_id,
        events.occurred_at <= members.as_of,
        events.recorded_at <= members.as_of,
    ]
    if "retracted_at" in tables.present["events"]:  # costs nothing where no file has the column
        known.append(lasting(events, members.as_of))
    joined = members.inner_join(events, known)
    if tables.contacts is None:
        joined = joined.mutate(**{name: ibis.null("string") for name in ("known_contact", "role", "rank")})
    else:
        contacts = tables.contacts.select(
            known_contact="contact_id",
            role="buying_role",
            rank="rank",
            contact_from="valid_from",
            contact_to="valid_to",
        )
        joined = joined.left_join(
            contacts,
            [
                joined.contact_id == contacts.known_contact,
                contacts.contact_from <= joined.as_of,
                contacts.contact_to > joined.as_of,
            ],
        )
    order = ibis.struct({"occurred_at": joined.occurred_at, "recorded_at": joined.recorded_at, "id": joined.event_id})
    return joined.mutate(order=order)


def _of_outcomes(aggregates: dict[str, Aggregate], stages: Stages, tables: Tables, members: Any) -> list[Any]:
    """The outcomes' aggregates by (prospect_id, as_of)."""
    outcomes: Any = tables.outcomes
    outcomes = outcomes.select(
        outcome_prospect_id="prospect_id", type="outcome", occurred_at="occurred_at", recorded_at="recorded_at"
    )
    joined = members.inner_join(
        outcomes,
        [
            members.member_id == outcomes.outcome_prospect_id,
            outcomes.occurred_at <= members.as_of,
            outcomes.recorded_at <= members.as_of,
        ],
    )
    columns = {key: OPERATIONS[a.operation].offline(joined, _where(joined, a, stages)) for key, a in aggregates.items()}
    return [joined.group_by("prospect_id", "as_of").aggregate(**columns)]


def _of_prospects(aggregates: dict[str, Aggregate], stages: Stages, tables: Tables, members: Any) -> list[Any]:
    """How many of the account's other prospects exist at t and are, by what is known then, neither won nor lost."""
    outcomes: Any = tables.outcomes
    ends = outcomes.filter(outcomes.outcome.isin(CLOSED))
    ends = ends.mutate(known_at=ibis.greatest(ends.occurred_at, ends.recorded_at))
    ends = ends.group_by(closed_id=ends.prospect_id).aggregate(closed_at=ends.known_at.min())
    joined = members.left_join(ends, members.member_id == ends.closed_id)
    lasting = joined.closed_at.isnull() | (joined.closed_at > joined.as_of)
    is_open = ~joined.own & (joined.born <= joined.as_of) & lasting
    columns = {key: how_many(joined, is_open).cast("float64") for key in aggregates}
    return [joined.group_by("prospect_id", "as_of").aggregate(**columns)]


def _where(rows: Any, aggregate: Aggregate, stages: Stages) -> Any:
    """The condition that selects an aggregate's rows: its filters, its scope and the window (t - w, t]."""
    where = ibis.literal(True) if aggregate.scope == "account" else rows.own
    for column in ("type", "direction", "role", "channel", "rank"):
        wanted = getattr(aggregate, column)
        if wanted is not None:
            where = where & (rows[column] == wanted)
    if aggregate.stage is not None:
        where = where & rows.type.isin(stages[aggregate.stage])
    if aggregate.days is not None:
        where = where & (rows.occurred_at > rows.as_of - aggregate.days * DAY)
    return where


def _filled(aggregate: Aggregate, column: Any, rows: Any) -> Any:
    empty = 0.0 if aggregate.table == "prospects" else OPERATIONS[aggregate.operation].empty
    if empty is not None and aggregate.operation != "share":
        column = column.fill_null(empty)
    if aggregate.scope == "account":
        column = rows.p_account_id.isnull().ifelse(ibis.null("float64"), column)
    return column


def _key(aggregate: Aggregate) -> str:
    # Table and column names fold case in some engines, event types do not: keyed by content, not by name.
    return "x" + hashlib.sha256(repr(aggregate).encode()).hexdigest()[:16]


def _value(feature: Feature, features: FeatureSet, tables: Tables, rows: Any) -> Any:
    if isinstance(feature, Attribute):
        if feature.table == "accounts" and tables.accounts is None:
            return ibis.null("string" if features.kind(feature) == "category" else "float64")
        column = rows[f"{'p' if feature.table == 'prospects' else 'a'}_{feature.column}"]
        return column.cast("float64") if features.kind(feature) in ("number", "boolean") else column
    if isinstance(feature, Aggregate):
        return rows[_key(feature)]
    return _expression(feature, [_value(a, features, tables, rows) for a in feature.arguments], rows)


def _expression(feature: Expression, arguments: list[Any], rows: Any) -> Any:
    if feature.operation == "calendar":
        micros = (arguments[0] if arguments else rows.as_of).cast("int64")
        rest = (micros % 1000 + 1000) % 1000  # floored also before 1970: engines truncate towards zero
        moment = ((micros - rest) / 1000).cast("int64").as_timestamp("ms")
        parts = {"month": moment.month, "weekday": moment.day_of_week.index, "hour": moment.hour}
        return parts[feature.part or ""]().cast("float64")
    if feature.operation == "band":
        x = arguments[0].cast("float64")
        number = sum(((x >= cut).cast("int64") for cut in feature.cuts), start=ibis.literal(0))
        return number.cast("float64")
    if feature.operation == "age":
        return (rows.as_of - arguments[0].cast("int64")).cast("float64") / float(DAY)
    if feature.operation == "days_until":
        return (arguments[0].cast("int64") - rows.as_of).cast("float64") / float(DAY)
    if feature.operation in RULES:
        return RULES[feature.operation].offline(feature.part, arguments)
    first, second = (a.cast("float64") for a in arguments)
    number = first / second.nullif(0.0) if feature.operation == "ratio" else first - second
    return number.isinf().ifelse(ibis.null("float64"), number)  # too large for a double: missing, as online
