"""A feature set over tables and a spine of (prospect_id, as_of), as one Ibis expression that reads the events once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import ibis

from features.aggregates import OPERATIONS, needs_contacts
from features.contract import DAY
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet, walk

if TYPE_CHECKING:
    from features.tables import Tables


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
    rows = with_state(tables, spine.select("prospect_id", "as_of"))
    if aggregates and tables.events is not None:
        rows = _with_aggregates(aggregates, tables, rows)
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


def _with_aggregates(aggregates: dict[str, Aggregate], tables: Tables, rows: Any) -> Any:
    """The rows with one column per aggregate, keyed by content; NULL and 0 as DESIGN says of empty windows."""
    wide = any(a.scope == "account" for a in aggregates.values())
    events = _joined_events(tables, rows, wide)
    columns: dict[str, Any] = {}
    for key, aggregate in aggregates.items():
        operation = OPERATIONS[aggregate.operation]
        columns[key] = operation.offline(events, _where(events, aggregate))
        if aggregate.operation == "share":
            whole = Aggregate("count", days=aggregate.days, scope=aggregate.scope)
            columns[key] = columns[key] / events.count(where=_where(events, whole)).cast("float64").nullif(0.0)
    found = events.group_by(event_prospect_id=events.prospect_id, event_as_of=events.as_of).aggregate(**columns)
    rows = rows.left_join(found, [rows.prospect_id == found.event_prospect_id, rows.as_of == found.event_as_of])
    return rows.mutate(**{key: _filled(a, rows[key], rows, tables) for key, a in aggregates.items()})


def _joined_events(tables: Tables, rows: Any, wide: bool) -> Any:
    """Every event known at t of every row: own ones and, for account scope, those of the account's prospects."""
    members = rows.select("prospect_id", "as_of", member_id=rows.prospect_id, own=ibis.literal(True))
    if wide:
        prospects = tables.prospects.select(
            member_id="prospect_id", member_account_id="account_id", from_="valid_from", to_="valid_to"
        )
        siblings = rows.inner_join(
            prospects,
            [
                rows.p_account_id == prospects.member_account_id,
                prospects.from_ <= rows.as_of,
                prospects.to_ > rows.as_of,
                prospects.member_id != rows.prospect_id,
            ],
        ).select("prospect_id", "as_of", "member_id", own=ibis.literal(False))
        members = members.union(siblings)
    events: Any = tables.events
    events = events.rename(event_prospect_id="prospect_id")
    joined = members.inner_join(
        events,
        [
            members.member_id == events.event_prospect_id,
            events.occurred_at <= members.as_of,
            events.recorded_at <= members.as_of,
        ],
    )
    if tables.contacts is None:
        joined = joined.mutate(role=ibis.null("string"), known_contact=ibis.null("string"))
    else:
        contacts = tables.contacts.select(
            known_contact="contact_id", role="role", contact_from="valid_from", contact_to="valid_to"
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


def _where(events: Any, aggregate: Aggregate) -> Any:
    """The condition that selects an aggregate's events: its filters, its scope and the window (t - w, t]."""
    where = ibis.literal(True) if aggregate.scope == "account" else events.own
    for column in ("type", "direction", "role", "channel"):
        wanted = getattr(aggregate, column)
        if wanted is not None:
            where = where & (events[column] == wanted)
    if aggregate.days is not None:
        where = where & (events.occurred_at > events.as_of - aggregate.days * DAY)
    return where


def _filled(aggregate: Aggregate, column: Any, rows: Any, tables: Tables) -> Any:
    operation = OPERATIONS[aggregate.operation]
    if needs_contacts(aggregate) and tables.contacts is None:
        return ibis.null("float64")
    if operation.empty is not None and aggregate.operation != "share":
        column = column.fill_null(operation.empty)
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
        return ibis.null("float64") if tables.events is None else rows[_key(feature)]
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
    first, second = (a.cast("float64") for a in arguments)
    number = first / second.nullif(0.0) if feature.operation == "ratio" else first - second
    return number.isinf().ifelse(ibis.null("float64"), number)  # too large for a double: missing, as online
