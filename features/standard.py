"""The default feature set, derived from what the tables hold; and the families that features belong to.

A feature stands in the set only where the data tell something by it: one that copies another is noise to a model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from features.contract import DIRECTIONS, NEVER, ROLES
from features.errors import BadInput
from features.expressions import RULES
from features.firms import BANDS, naf_part
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet

if TYPE_CHECKING:
    from features.tables import Tables

MOST_TYPES = 12  # event types that get features of their own: the commonest
MOST_LEVELS = 5_000  # a category with more levels than this, or one per row, is an id
WINDOWS = (7, 30, 90)
# With more prospects to an account, a count of its events tells which account it is, not what happens there.
FEW_SIBLINGS = 10
LEADING_RANKS = ("executive", "head")
PAST_OUTCOMES = ("won", "lost", "renewed")

_REGIME, _DEADLINE = Attribute("prospects", "regime"), Attribute("prospects", "tender_deadline")
_INDUSTRY, _CATEGORY = Attribute("accounts", "industry"), Attribute("accounts", "company_category")
_HEADCOUNT, _BAND = Attribute("accounts", "headcount"), Attribute("accounts", "headcount_band")
REGIME = Expression("regime", (_REGIME, _DEADLINE, _HEADCOUNT, _BAND))  # the given regime, else the inferred one

FAMILIES = ("interest", "effort", "committee", "firm", "need", "tender", "stage", "account", "time", "activity")


def standard_features(tables: Tables, until: int | None = None, effort: bool = True) -> FeatureSet:
    """A good default feature set for the tables.

    Only what was recorded by ``until`` (microseconds; default: everything) is looked at, so that a set derived for a
    training at a cut does not know which event types came later. Hindsight columns, free text and ids are left out.
    Without ``effort`` no feature counts an outbound event: what sales did because it already believed in a prospect.
    """
    until = NEVER if until is None else until
    features: list[Feature] = [*_attributes(tables, "prospects", until), *_attributes(tables, "accounts", until)]
    features = _with_regime(features, tables, until)
    features += _of_register(features, tables, until)
    features.append(Expression("age", (Attribute("prospects", "created_at"),)))
    if tables.dataset.goal.starts_at is not None:  # after a sale, the clock starts there
        features.append(Aggregate("days_since_first", tables.dataset.goal.starts_at, table="outcomes"))
    features.append(Expression("calendar", part="weekday"))  # few deals are closed on a Sunday: it tells of tomorrow
    if "tender_deadline" in tables.present["prospects"]:
        features.append(Expression("days_until", (_DEADLINE,)))
    if _usable(tables, "prospects", "tender_announced_at"):
        features.append(Expression("age", (Attribute("prospects", "tender_announced_at"),)))
    if "founded_on" in tables.present.get("accounts", ()):
        features.append(Expression("age", (Attribute("accounts", "founded_on"),)))
    if tables.events is not None:
        features += _events(tables, until, effort)
    features += _past(tables, until)
    seen: dict[str, Feature] = {}
    for feature in features:  # types that differ only in case or accents share a name: the first keeps it
        seen.setdefault(feature.name.lower(), feature)
    return FeatureSet(tables.dataset, tuple(seen.values()))


def family(feature: Feature) -> str:
    """What a feature speaks of, one of ``FAMILIES``.

    interest: inbound events; effort: outbound ones; activity: events whose direction is not told; committee: roles,
    ranks and contacts; stage; account: its other prospects and past outcomes; firm; need: the prospect's own
    attributes; tender; time. An expression belongs to its first argument's.
    """
    if isinstance(feature, Attribute):
        if feature.table == "accounts":
            return "firm"
        if feature.column.startswith("tender_"):
            return "tender"
        return "time" if feature.column in ("created_at", "observed_at") else "need"
    if isinstance(feature, Expression):
        return family(feature.arguments[0]) if feature.arguments else "time"
    if feature.table != "events":
        return "account"
    if feature.direction == "outbound":
        return "effort"
    if feature.stage is not None:
        return "stage"
    of_contacts = feature.operation in ("distinct_contacts", "distinct_roles", "top_contact_share")
    if feature.role is not None or feature.rank is not None or of_contacts:
        return "committee"
    if feature.scope == "account":
        return "account"
    return "interest" if feature.direction == "inbound" else "activity"


def drop_families(features: FeatureSet, *families: str) -> FeatureSet:
    """The set without the features of these families; raises BadInput for a family that is none, or an empty rest."""
    for name in families:
        if name not in FAMILIES:
            raise BadInput(
                "unknown_family",
                f"there is no family of features {name!r}.",
                where="features",
                remedy=f"Use one of: {', '.join(FAMILIES)}.",
            )
    return FeatureSet(features.dataset, tuple(f for f in features.features if family(f) not in families))


def _usable(tables: Tables, table: str, column: str) -> bool:
    """Whether the data have the column, not filled in hindsight."""
    return column in tables.present.get(table, ()) and tables.dataset.columns(table)[column].known != "never"


def _with_regime(features: list[Feature], tables: Tables, until: int) -> list[Feature]:
    """The inferred regime instead of the bare one, where that is missing now and then and the rest tells of it."""
    needed = [a for a in REGIME.arguments if isinstance(a, Attribute)]
    if any(tables.dataset.columns(a.table)[a.column].known == "never" for a in needed):
        return features
    prospects = tables.prospects.filter(tables.prospects.valid_from <= until)
    counts = {column: prospects[column].count() for column in ("regime", "tender_deadline")}
    found = _row(prospects.aggregate(n=prospects.count(), **counts))
    tenders = 0 < found["tender_deadline"] < found["n"]
    if _REGIME in features:
        sized = any(_usable(tables, a.table, a.column) for a in (_HEADCOUNT, _BAND))
        told = found["regime"] < found["n"] and (tenders or sized)
        return [REGIME if f == _REGIME and told else f for f in features]
    return [REGIME, *features] if tenders and found["regime"] == 0 else features


def _of_register(features: list[Feature], tables: Tables, until: int) -> list[Feature]:
    """What the register's codes tell beyond their own levels: where an activity lies, bands in order, conflicts."""
    accounts: Any = tables.accounts
    if accounts is None:
        return []
    accounts = accounts.filter(accounts.valid_from <= until)
    out: list[Feature] = []
    if _usable(tables, "accounts", "industry"):
        levels = _levels(accounts, "industry")
        parts = {part: {x for v in levels if (x := naf_part(v, part))} for part in ("section", "division", "class")}
        classes = sum(naf_part(v, "class") is not None for v in levels)
        if 2 * classes > len(levels) and sum(naf_part(v, "division") is not None for v in levels) >= 0.9 * len(levels):
            divisions, sections = len(parts["division"]), len(parts["section"])
            if 1 < divisions < len(levels) or (divisions > 1 and _INDUSTRY not in features):
                out.append(Expression("naf", (_INDUSTRY,), part="division"))
            if 1 < sections < divisions:
                out.append(Expression("naf", (_INDUSTRY,), part="section"))
    if _usable(tables, "accounts", "headcount_band") and len(BANDS.keys() & {*_levels(accounts, "headcount_band")}) > 1:
        out.append(Expression("band_order", (_BAND,)))
    columns = ("company_category", "headcount", "headcount_band")
    if all(tables.dataset.columns("accounts")[c].known != "never" for c in columns):
        conflict = RULES["size_conflict"].offline(None, [accounts[c] for c in columns])
        if _row(accounts.aggregate(n=conflict.nunique()))["n"] > 1:
            out.append(Expression("size_conflict", (_CATEGORY, _HEADCOUNT, _BAND)))
    return out


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


def _events(tables: Tables, until: int, effort: bool) -> list[Feature]:
    from features.tables import lasting

    events: Any = tables.events
    known = events.filter(events.recorded_at <= until, lasting(events, until))
    if effort or "outbound" not in _levels(known, "direction"):
        return _of_known(tables, known, until, directed=True)
    inbound = known.filter(known.direction == "inbound")
    if not _row(inbound.aggregate(n=inbound.count()))["n"]:
        return []
    return [_inbound(f) for f in _of_known(tables, inbound, until, directed=False)]


def _inbound(feature: Feature) -> Feature:
    """The feature over inbound events only."""
    if isinstance(feature, Expression):
        return replace(feature, arguments=tuple(_inbound(a) for a in feature.arguments))
    return replace(feature, direction="inbound") if isinstance(feature, Aggregate) else feature


def _of_known(tables: Tables, known: Any, until: int, directed: bool) -> list[Feature]:
    """Aggregates over the events known by ``until``; if directed, told apart by direction."""
    types = _commonest(known, "type", MOST_TYPES)
    counts = _row(known.aggregate(n=known.count(), values=known.value.count(), directed=known.direction.count()))
    directions = [d for d in DIRECTIONS if d in _commonest(known, "direction", len(DIRECTIONS))]
    told = directed and (len(directions) > 1 or 0 < counts["directed"] < counts["n"])

    out: list[Feature] = [Aggregate("count", days=days) for days in (*WINDOWS, None)]
    out += [Aggregate("days_since_last"), Aggregate("days_since_first")]
    # A filter that lets everything through only repeats what stands above, and a copy is noise to a small model.
    ways = _directions_of(known) if told else {}
    for type_ in types if len(types) > 1 else ():
        for direction in ways.get(type_, (None,)):
            out += [Aggregate("count", type_, days, direction=direction) for days in (30, None)]
            out.append(Aggregate("days_since_last", type_, direction=direction))
    if told:
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
    return out + _stages(tables, known, set(types) if len(types) > 1 else set())


def _directions_of(known: Any) -> dict[str, tuple[str | None, ...]]:
    """By event type: the directions that all of its events have, None alone where some have none."""
    rows = known.select("type", "direction").distinct().to_pyarrow().to_pylist()
    found: dict[str, set[str | None]] = {}
    for row in rows:
        found.setdefault(row["type"], set()).add(row["direction"])
    return {t: (None,) if None in ways else tuple(d for d in DIRECTIONS if d in ways) for t, ways in found.items()}


def _stages(tables: Tables, known: Any, counted: set[str]) -> list[Feature]:
    """The buying stages whose event types occur: how often, how far, since when, and whether it went back.

    A stage of a single type that is ``counted`` on its own, or of every event, has no counts besides.
    """
    occurring = {*_levels(known, "type")}
    stages = {stage: occurring & {*types} for stage, types in tables.dataset.stages}
    stages = {stage: types for stage, types in stages.items() if types}
    out: list[Feature] = []
    for stage, types in stages.items():
        if types != occurring and not (len(types) == 1 and types <= counted):
            out += [Aggregate("count", days=days, stage=stage) for days in (30, None)]
    if len(stages) > 1:
        first = tuple(Aggregate("days_since_first", stage=stage) for stage in stages)
        reached, days = Expression("reached", first), Expression("last_known", first)
        latest = Expression("latest", tuple(Aggregate("days_since_last", stage=stage) for stage in stages))
        out += [reached, days, Expression("difference", (reached, latest))]
    return out


def _committee(tables: Tables, known: Any, until: int) -> list[Feature]:
    """What contacts add: how many take part, which roles and ranks, where these tell prospects apart."""
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
    roles = [r for r in ROLES if r in _levels(contacts, "buying_role")]
    ranks = _levels(contacts, "rank")
    counts = {column: contacts[column].count() for column in ("buying_role", "rank")}
    found = _row(contacts.aggregate(n=contacts.count(), **counts))
    if len(roles) > 1 or (roles and found["buying_role"] < found["n"]):
        for role in roles:
            out += [Aggregate("count", days=90, role=role), Aggregate("days_since_last", role=role)]
            if most > 1:
                out.append(Aggregate("distinct_contacts", role=role))
    if most > 1:
        if len(roles) > 1:
            out += [Aggregate("distinct_roles", days=days) for days in (30, 90, None)]
        out.append(Aggregate("top_contact_share", days=90))
    if len(ranks) > 1 or (ranks and found["rank"] < found["n"]):
        out += [Aggregate("days_since_last", rank=rank) for rank in LEADING_RANKS if rank in ranks]
    return out


def _past(tables: Tables, until: int) -> list[Feature]:
    """How the account's prospects ended before, and how many others are open, where accounts have several."""
    if tables.outcomes is None or "account_id" not in tables.present["prospects"]:
        return []
    siblings = _siblings(tables, until)
    if siblings <= 1:
        return []
    outcomes: Any = tables.outcomes
    found = _levels(outcomes.filter(outcomes.recorded_at <= until), "outcome")
    out: list[Feature] = []
    for name in (name for name in PAST_OUTCOMES if name in found):
        past = Aggregate("count", name, scope="account", table="outcomes")
        out += [past] if siblings <= FEW_SIBLINGS else []
        out.append(replace(past, operation="days_since_last"))
    if siblings <= FEW_SIBLINGS:
        out.append(Aggregate("open", scope="account", table="prospects"))
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


def _levels(table: Any, column: str) -> list[str]:
    """The distinct values of a column that are not null, in order."""
    found = table.filter(table[column].notnull()).select(column).distinct().to_pyarrow()[column].to_pylist()
    return sorted(found)


def _row(table: Any) -> dict[str, Any]:
    found: dict[str, Any] = table.to_pyarrow().to_pylist()[0]
    return found
