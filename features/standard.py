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
# With more prospects to an account, a count of its events tells which account it is, not what happens there.
FEW_SIBLINGS = 10


def standard_features(tables: Tables, until: int | None = None) -> FeatureSet:
    """A good default feature set for the tables.

    Only what was recorded by ``until`` (microseconds; default: everything) is looked at, so that a set derived for a
    training at a cut does not know which event types came later. Hindsight columns, free text and ids are left out.
    """
    until = NEVER if until is None else until
    features: list[Feature] = [*_attributes(tables, "prospects", until), *_attributes(tables, "accounts", until)]
    features.append(Expression("age", (Attribute("prospects", "created_at"),)))
    if tables.dataset.goal.starts_at is not None:  # after a sale, the clock starts there
        features.append(Aggregate("days_since_first", tables.dataset.goal.starts_at, table="outcomes"))
    features.append(Expression("calendar", part="weekday"))  # few deals are closed on a Sunday: it tells of tomorrow
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
    counts = _row(known.aggregate(n=known.count(), values=known.value.count(), directed=known.direction.count()))
    directions = [d for d in DIRECTIONS if d in _commonest(known, "direction", len(DIRECTIONS))]

    out: list[Feature] = [Aggregate("count", days=days) for days in (*WINDOWS, None)]
    out += [Aggregate("days_since_last"), Aggregate("days_since_first")]
    # A filter that lets everything through only repeats what stands above, and a copy is noise to a small model.
    for type_ in types if len(types) > 1 else ():
        out += [Aggregate("count", type_, 30), Aggregate("count", type_), Aggregate("days_since_last", type_)]
    if len(directions) > 1 or 0 < counts["directed"] < counts["n"]:
        for direction in directions:
            out += [Aggregate("count", days=days, direction=direction) for days in (30, None)]
            out.append(Aggregate("days_since_last", direction=direction))
        if "inbound" in directions:
            out.append(Aggregate("share", days=90, direction="inbound"))
    if counts["values"]:
        out += [Aggregate("last"), Aggregate("sum", days=90), Aggregate("max")]
    if tables.contacts is not None:
        out += _committee(tables, known, until)
    if "account_id" in tables.present["prospects"]:
        if _siblings(tables, until) <= FEW_SIBLINGS:
            out.append(Aggregate("count", days=30, scope="account"))
        out.append(Aggregate("days_since_last", scope="account"))
    out.append(Expression("ratio", (Aggregate("count", days=7), Aggregate("count", days=30))))
    return out


def _committee(tables: Tables, known: Any, until: int) -> list[Feature]:
    """What contacts add: how many take part, and which roles, where these tell prospects apart."""
    contacts: Any = tables.contacts
    contacts = contacts.filter(contacts.valid_from <= until)
    pairs = known.filter(known.contact_id.notnull()).select("prospect_id", "contact_id").distinct()
    several = pairs.group_by("prospect_id").aggregate(n=pairs.count())
    most = _row(several.aggregate(n=several.n.max()))["n"]
    if most is None:
        return []
    out: list[Feature] = []
    if most > 1:
        out += [Aggregate("distinct_contacts", days=90), Aggregate("distinct_contacts")]
    roles = [r for r in ROLES if r in _commonest(contacts, "role", len(ROLES))]
    unknown = _row(contacts.aggregate(n=contacts.count(), known=contacts.role.count()))
    if len(roles) > 1 or (roles and unknown["known"] < unknown["n"]):
        for role in roles:
            out += [Aggregate("count", days=90, role=role), Aggregate("days_since_last", role=role)]
    return out


def _siblings(tables: Tables, until: int) -> float:
    """How many prospects the account of an average prospect has; 0 where none has an account."""
    rows = tables.prospects.filter(tables.prospects.valid_from <= until, tables.prospects.account_id.notnull())
    sizes = rows.group_by("account_id").aggregate(n=rows.prospect_id.nunique())
    found = _row(sizes.aggregate(whole=sizes.n.sum(), squares=(sizes.n * sizes.n).sum()))
    return float(found["squares"]) / float(found["whole"]) if found["whole"] else 0.0


def _commonest(table: Any, column: str, most: int) -> list[str]:
    """The commonest values of a column, ties by name, so that the order never depends on the engine's."""
    known = table.filter(table[column].notnull())
    rows = known.group_by(column).aggregate(n=known.count()).to_pyarrow().to_pylist()
    rows.sort(key=lambda r: (-r["n"], r[column]))
    return [r[column] for r in rows[:most]]


def _row(table: Any) -> dict[str, Any]:
    found: dict[str, Any] = table.to_pyarrow().to_pylist()[0]
    return found
