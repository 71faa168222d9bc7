"""The default feature set, derived from what the tables hold: their columns, event types, directions, roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from features.contract import DIRECTIONS, NEVER, ROLES
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet

if TYPE_CHECKING:
    from features.tables import Tables

MOST_TYPES = 12  # event types that get features of their own: the commonest
MOST_LEVELS = 5_000  # a category with more levels than this, or one per row, is an id
WINDOWS = (7, 30, 90)


def standard_features(tables: Tables, until: int | None = None) -> FeatureSet:
    """A good default feature set for the tables.

    Only what was recorded by ``until`` (microseconds; default: everything) is looked at, so that a set derived for a
    training at a cut does not know which event types came later. Hindsight columns, free text and ids are left out.
    """
    until = NEVER if until is None else until
    features: list[Feature] = [*_attributes(tables, "prospects", until), *_attributes(tables, "accounts", until)]
    features.append(Expression("age", (Attribute("prospects", "created_at"),)))
    if "tender_deadline" in tables.present["prospects"]:
        features.append(Expression("days_until", (Attribute("prospects", "tender_deadline"),)))
    if "founded_on" in tables.present.get("accounts", ()):
        features.append(Expression("age", (Attribute("accounts", "founded_on"),)))
    if tables.events is not None:
        features += _events(tables, until)
    seen: dict[str, Feature] = {}
    for feature in features:  # types that differ only in case or accents share a name: the first keeps it
        seen.setdefault(feature.name.lower(), feature)
    return FeatureSet(tables.dataset, tuple(seen.values()))


def _attributes(tables: Tables, table: str, until: int) -> list[Feature]:
    rows = getattr(tables, table)
    if rows is None:
        return []
    columns = tables.dataset.columns(table)
    usable = [
        columns[name]
        for name in columns
        if name in tables.present[table]
        and columns[name].known != "never"
        and columns[name].kind in ("category", "enum", "number", "boolean")
    ]
    if not usable:
        return []
    known = rows.filter(rows.valid_from <= until)
    counts = {c.name: known[c.name].nunique() for c in usable}
    found = _row(known.aggregate(rows__=known.count(), **counts))
    out: list[Feature] = []
    for column in usable:
        levels = found[column.name]
        few = column.kind not in ("category", "enum") or levels <= min(MOST_LEVELS, max(20, 0.5 * found["rows__"]))
        if levels > 0 and few:  # an empty column says nothing yet, one with a level a row is an id
            out.append(Attribute(table, column.name))
    return out


def _events(tables: Tables, until: int) -> list[Feature]:
    events: Any = tables.events
    known = events.filter(events.recorded_at <= until)
    types = _commonest(known, "type", MOST_TYPES)
    directions = [d for d in DIRECTIONS if d in _commonest(known, "direction", len(DIRECTIONS))]
    has_values = _row(known.aggregate(n=known.value.count()))["n"] > 0
    has_contacts = tables.contacts is not None and _row(known.aggregate(n=known.contact_id.count()))["n"] > 0
    roles = [r for r in ROLES if has_contacts and r in _commonest(tables.contacts, "role", len(ROLES))]

    out: list[Feature] = [Aggregate("count", days=days) for days in (*WINDOWS, None)]
    out += [Aggregate("days_since_last"), Aggregate("days_since_first")]
    for type_ in types:
        out += [Aggregate("count", type_, 30), Aggregate("count", type_), Aggregate("days_since_last", type_)]
    for direction in directions:
        out += [Aggregate("count", days=days, direction=direction) for days in (30, None)]
        out.append(Aggregate("days_since_last", direction=direction))
    if "inbound" in directions:
        out.append(Aggregate("share", days=90, direction="inbound"))
    if has_values:
        out += [Aggregate("last"), Aggregate("sum", days=90), Aggregate("max")]
    if has_contacts:
        out += [Aggregate("distinct_contacts", days=90), Aggregate("distinct_contacts")]
    for role in roles:
        out += [Aggregate("count", days=90, role=role), Aggregate("days_since_last", role=role)]
    if "account_id" in tables.present["prospects"]:
        out += [Aggregate("count", days=days, scope="account") for days in (30, None)]
        out.append(Aggregate("days_since_last", scope="account"))
    out.append(Expression("ratio", (Aggregate("count", days=7), Aggregate("count", days=30))))
    return out


def _commonest(table: Any, column: str, most: int) -> list[str]:
    """The commonest values of a column, ties by name, so that the order never depends on the engine's."""
    known = table.filter(table[column].notnull())
    rows = known.group_by(column).aggregate(n=known.count()).to_pyarrow().to_pylist()
    rows.sort(key=lambda r: (-r["n"], r[column]))
    return [r[column] for r in rows[:most]]


def _row(table: Any) -> dict[str, Any]:
    found: dict[str, Any] = table.to_pyarrow().to_pylist()[0]
    return found
