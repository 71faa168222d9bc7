"""The hindsight audit: which columns, event types and ids know the outcome that they should help to predict.

A *fact* is something that counts as known of a prospect from a moment on: a column of it holds a level or is filled,
or it has an event of a type. The audit asks of every fact whether it can have been known then. The signs, in the order
in which they are tried; a name is reported once, with the first sign that it shows:

``known_after`` (events)
    Prospects get it only once they are closed: it happens after the outcome, or it bears an early date and was recorded
    at or after the outcome. Where the data follow customers after the sale (they hold outcomes besides those that
    close, such as renewals) what only happens then is no suspect.
``filled_when_decided`` (columns, events)
    It comes with the decision, whatever date it bears. *By age*: few of the prospects that have it are still open, and
    many would be if it had been known at its date: as many as were open among its earlier holders at the same age.
    What is filled at the decision is had by decided prospects only, by the recent ones too. An honest feature passes,
    however strong it is: its holders are decided as early as they always were. So does a level that is no longer given.
    *By share*, where hardly any prospect is open (a file of closed leads): the newest prospects hardly hold a level
    that the older ones hold, and its holders' outcomes differ much from the others'.
``changes_at_outcome`` (events, columns with history)
    Most closed prospects that have it got it within the last day before they closed.
``separates_outcomes`` (columns, events)
    On its own it tells who converts: a column's levels rank prospects created at about the same time nearly without
    fault, or a level or an event type is had by nearly nobody but those who convert.
``late_only`` (events, columns with history)
    A day before the outcome it tells who converts, in the first week it does not.
``id_encodes_outcome`` (ids, stamps)
    A part of an id (a character, its length, its letters or its number) or of the creation's stamp tells who converts
    or who is decided; among prospects created at about the same time, so that the order of creation explains nothing.

What it cannot see: a leak that looks like an honest strong feature, such as a value that is refined but not filled as a
prospect warms up, or a field filled early for those whom sales people favour; a leak that few prospects have, or
few outcomes bear witness to (every verdict is a bound over counts); a value filled at a decision that follows creation
at once; an outcome hidden in an id by arithmetic. And some of what it names is honest: a true forerunner of the outcome
(a signed order), an event of the time after the sale, a level whose prospects were lately closed in bulk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, KEYS, NEVER, Goal, format_time
from features.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from features.tables import Tables

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

CODE = "suspected_leak"

# How sure. A share is judged by its bound (Wilson 1927) at three standard errors, since some hundred columns and levels
# are looked at. A count is too low where three quarters of what was expected would hardly ever give so few: a part, not
# the whole, because honest columns drift and business speeds up or slows down.
Z = 3.0
SHORT, CHANCE = 0.75, 1e-3
LEAST = 20  # prospects below which a level, an event type or a group to compare with says nothing
FEW_OPEN = 30  # open prospects expected in all, below which nothing can be told by age

# How much: what no honest single feature was seen to do. Whole models of lead scoring reach an AUC of 0.7 to 0.9, the
# best honest column of the real sets 0.76; their best honest level has odds of 22 to 1 over the other levels.
SEPARATES = 0.85  # a column's AUC on its own; that of an event type or a level a day before the outcome
ENCODES = 0.7  # an id's AUC: honest ones lie near 0.5, or a little above where a prefix names the origin
PURE, ODDS = 0.75, 50.0  # share of a level's holders who convert, and their odds over those of the others
AFTER = 0.75  # share of an event type's prospects who got it at or after their closing
AT_ONCE = 0.5  # share of the closed holders who got it within the last day; without a link, a few in a hundred do
EARLY = 0.6  # an AUC as good as none
DIFFERS = 3.0  # odds ratio from which a level's outcomes differ much

STRATA = 20  # groups of prospects created at about the same time: pairs are compared within one
BINS = 20  # of a number
LEVELS = 50  # of a column that are looked at one by one: the commonest
RARE = 5  # prospects below which a level is taken together with other such levels
NEWEST = 0.1  # the share of the prospects that counts as the newest
WEEK = 7 * DAY
PLACES = 64  # characters of an id that are looked at, from its start and from its end: all of a UUID or a SHA-256
LOOKED_AT = 100  # levels that CHANCE allows for; an id of many characters has more, and each is given less
SHOWN = 40  # characters of a level's name in a text


@dataclass(frozen=True)
class Finding:
    """One suspect: a column (``prospects.status``), an event type (``events.contract_sent``) or an id, with its sign.

    Attributes:
        name: table and column, or ``events.`` and the type.
        sign: which of the signs above.
        seen: what was seen, a sentence that goes on after the name.
        remedy: what to do about it.
        evidence: the numbers; ``level`` is the level that shows the sign, ``part`` the part of an id.
    """

    name: str
    sign: str
    seen: str
    remedy: str
    evidence: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What was seen and what to do."""
        return f"{self.name} {self.seen} {self.remedy}"

    def to_json(self) -> dict[str, Any]:
        """The finding as plain data: what the card and ``check --json`` hold."""
        return {
            "code": CODE,
            "name": self.name,
            "sign": self.sign,
            "text": self.text,
            "evidence": dict(self.evidence),
        }

    def warning(self) -> dict[str, str]:
        """What the card's warnings, and so every answer of the service, say of it."""
        return {"code": CODE, "text": self.text, "name": self.name}


def audit(tables: Tables, *, until: int | None = None, goal: Goal | None = None) -> tuple[Finding, ...]:
    """Look for hindsight in every column, event type and id that a feature could use.

    Columns declared ``known = "never"`` are left out: no feature may name them. Nothing recorded after T is looked at;
    but what bears no time of recording may have been written after T and passes for known before it, so it is asked at
    the end of the tables too.

    Args:
        tables: canonical tables; without outcomes there is nothing to find.
        until: T in microseconds; the tables' own end when None.
        goal: what is predicted; the tables' own when None.

    Returns:
        The findings: ids first, then columns by table, then events, then what only the end of the tables shows; none
        for a name twice.
    """
    if tables.outcomes is None:
        return ()
    goal, end = tables.dataset.goal if goal is None else goal, tables.until
    until, followed = end if until is None else until, _followed(tables.outcomes, goal)
    found = _found(tables, until, goal, followed)
    if until >= end:
        return found
    named = {f.name for f in found}
    undated = {table: _undated(tables, table) for table in tables.present}
    late = (f for f in _found(tables, end, goal, followed) if f.name not in named)
    later = [f for f in late if undated[f.name.partition(".")[0]]]
    return found + tuple(replace(f, evidence={**f.evidence, "seen_by": format_time(end)}) for f in later)


def _undated(tables: Tables, table: str) -> bool:
    """Whether rows of a table tell nothing of when they were written."""
    if table in ("events", "outcomes"):
        return "recorded_at" not in tables.present[table]
    return bool(getattr(tables, table).observed_at.isnull().any().execute())


def _found(tables: Tables, until: int, goal: Goal, followed: bool) -> tuple[Finding, ...]:
    """What the tables show as they stood at T."""
    from features.tables import known_by

    tables = known_by(tables, until)
    spine, who = _prospects(tables, goal, followed)
    if who.is_open.all():
        return ()
    found = _about_ids("prospects.prospect_id", who.ids, np.arange(len(who)), who) + _about_stamps(who)
    for table in ("prospects", "accounts", "contacts"):
        # Where a prospect's row or its link to the account comes in hindsight, so does all that the account says.
        linked = not any(f.name in ("prospects.account_id", "prospects.observed_at") for f in found)
        if linked and getattr(tables, table) is not None:
            found += _about_states(tables, table, spine, who)
    if tables.events is not None:
        found += _about_events(tables, spine, who)
    spine.release()
    return tuple(found)


def refuse(findings: Sequence[Finding]) -> None:
    """Raise BadInput ``suspected_leak`` with every finding, where there are any: what ``--strict`` asks for."""
    problems = [
        BadInput(CODE, f.seen, where=f.name, remedy=f.remedy, details={"sign": f.sign, "evidence": dict(f.evidence)})
        for f in findings
    ]
    if problems:
        first, details = problems[0], {"problems": [p.to_json() for p in problems]}
        raise BadInput(CODE, first.message, where=first.where, remedy=first.remedy, details=details)


@dataclass(frozen=True, eq=False)
class _Prospects:
    """The prospects in order of creation; times in microseconds, ``NEVER`` where there is none by T."""

    ids: npt.NDArray[np.object_]
    start: Ints
    closed: Ints
    goal: Ints
    until: int
    followed: bool  # whether the data go on after the closing: many have outcomes besides the closing ones

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def is_open(self) -> Mask:
        return np.asarray(self.closed == NEVER)

    @cached_property
    def won(self) -> Mask:
        return np.asarray(self.goal < NEVER)

    @cached_property
    def stratum(self) -> Ints:
        """The group of those created at about the same time."""
        return np.arange(len(self)) * min(STRATA, max(1, len(self) // LEAST)) // max(1, len(self))

    @cached_property
    def openness(self) -> Floats:
        """The share that is open, by stratum."""
        return np.bincount(self.stratum, self.is_open) / np.bincount(self.stratum)

    @cached_property
    def usual(self) -> tuple[float, int]:
        """``still_open`` of all prospects: how many are open, had they been decided at the pace of earlier ones."""
        return still_open(self.start, self.start, self.closed, self.until)


@dataclass(frozen=True, eq=False)
class _Fact:
    """Who has something and from when it counts as known: one entry per prospect, by index, in their order.

    ``dated`` is the date that an event bears, ``known`` when it counts as known: the later of it and its recording.
    """

    name: str
    level: str | None
    having: str
    who: Ints
    known: Ints
    dated: Ints

    def among(self, mask: Mask) -> _Fact:
        return _Fact(self.name, self.level, self.having, self.who[mask], self.known[mask], self.dated[mask])


def _prospects(tables: Tables, goal: Goal, followed: bool) -> tuple[Any, _Prospects]:
    """The episodes as a cached table with the prospects' indices ``i``, and as arrays."""
    import ibis

    from features.episodes import episodes

    until = tables.until
    found = episodes(tables, goal, until)
    found = found.filter(found.known_at <= until)
    spine = found.mutate(i=ibis.row_number().over(order_by=[found.started_at, found.prospect_id])).cache()
    rows = spine.select("i", "prospect_id", "started_at", "closed_at", "goal_at").order_by("i").to_pandas()
    ids = rows["prospect_id"].to_numpy(dtype=object)
    start, closed, goal_at = (rows[name].to_numpy(dtype=np.int64) for name in ("started_at", "closed_at", "goal_at"))
    return spine, _Prospects(ids, start, closed, goal_at, until, followed)


def _followed(outcomes: Any, goal: Goal) -> bool:
    """Whether the data go on after the closing, by all of their outcomes: at an early T few are renewed yet."""
    later = outcomes.filter(outcomes.outcome.notin([*goal.closing, goal.starts_at or ""]))
    return int(later.prospect_id.nunique().execute()) >= LEAST


# ---- what there is to look at ---------------------------------------------------------------------------------------


def _about_states(tables: Tables, table: str, spine: Any, who: _Prospects) -> list[Finding]:
    """The columns of a state table: each prospect's own, or those of its account and of the account's contacts."""
    columns = {
        c.name: c.kind
        for c in tables.dataset.columns(table).values()
        if c.name in tables.present[table] and c.known != "never"
    }
    stamped = "observed_at" in columns and table != "contacts"
    for name in (*KEYS.values(), "created_at", "observed_at"):
        if (table, name) != ("prospects", "account_id"):
            columns.pop(name, None)
    rows = _state_rows(tables, table, spine, list(columns))
    i, known = rows["i"].to_numpy(dtype=np.int64), rows["known"].to_numpy(dtype=np.int64)
    if stamped and (found := _about_versions(f"{table}.observed_at", *_earliest(i, known), who)):
        return found  # the rows as such come with the decision, so all of their columns do
    in_time = known < who.closed[i]
    rows, i, known = rows[in_time], i[in_time], known[in_time]
    found = []
    for column, kind in columns.items():
        name, values = f"{table}.{column}", rows[f"c__{column}"]
        code, labels = _coded(values, kind)
        facts = list(_level_facts(name, i, known, code, labels, who))
        hit = _suspect(facts, (_by_age, _at_outcome), who)
        if not hit and table != "contacts":  # of several contacts none is the prospect's own
            hit = _separates(name, i, code, who)
        if not hit and kind == "key":
            some = (code >= 0) & _is_first(i)
            hit = _about_ids(name, values.to_numpy(dtype=object)[some], i[some], who)
        found += hit or _suspect(facts, (_pure, _late, _by_share), who)
    return found


def _about_events(tables: Tables, spine: Any, who: _Prospects) -> list[Finding]:
    """The event types, and the levels of the events' other columns that a feature may filter by."""
    found = []
    for column in ("type", "direction", "channel", "value"):
        if column not in tables.present["events"]:
            continue
        facts: dict[str, list[_Fact]] = {}
        for key, mine in _event_rows(tables, column, spine).groupby(column, sort=True):
            level = str(key)
            if len(mine) >= LEAST:
                i, known, dated = (mine[c].to_numpy(dtype=np.int64) for c in ("i", "known", "dated"))
                if column == "type":
                    fact = _Fact(f"events.{level}", None, "have it", i, known, dated)
                else:
                    fact = _Fact(f"events.{column}", level, f"have an event with {_shown(level)}", i, known, dated)
                facts.setdefault(fact.name, []).append(fact)
        for same in facts.values():
            found += _suspect(same, (_after, _by_age, _at_outcome, _pure, _late), who)
    return found


def _about_ids(name: str, ids: npt.NDArray[np.object_], i: Ints, who: _Prospects) -> list[Finding]:
    """An id's parts, as if each were a column; ``i`` says whose they are."""
    import pandas as pd

    text = pd.Series(ids, dtype=object).astype(str)
    length = text.str.len()
    parts = {f"character {at + 1}": coded for at, coded in enumerate(_characters(text))}
    if length.nunique() > 1 or length.max() > PLACES:
        parts |= {f"character {at + 1} from the end": coded for at, coded in enumerate(_characters(text.str[::-1]))}
    parts["letters"] = _coded(text.str.extract(r"^(\D*)")[0], "category")
    parts["length"] = _coded(length, "number")
    parts["number"] = _coded(pd.to_numeric(text.str.extract(r"(\d{1,15})\D*$")[0], errors="coerce"), "number")
    return _of_parts(name, parts, i, who)


def _characters(text: pd.Series[Any]) -> Iterator[tuple[Ints, list[str]]]:
    """Codes and labels of the first characters, place by place; -1 where a text is shorter."""
    width = int(text.str.len().clip(upper=PLACES).max()) if len(text) else 0
    points = text.to_numpy(dtype=f"<U{max(1, width)}").view(np.uint32).reshape(len(text), -1)
    for place in points.T[:width]:
        levels, code = np.unique(place, return_inverse=True)
        absent = int(levels[0] == 0)  # what fills up a shorter text
        yield code.astype(np.int64) - absent, [chr(level) for level in levels[absent:]]


def _about_stamps(who: _Prospects) -> list[Finding]:
    """The creation's own stamp: its hour, and whether it is a whole day, hour, minute or second."""
    exact = np.sum([who.start % unit != 0 for unit in (DAY, DAY // 24, DAY // 1440, DAY // 86400)], axis=0)
    words = ["a whole day", "a whole hour", "a whole minute", "a whole second", "a part of a second"]
    hour = who.start // (DAY // 24) % 24
    parts = {"hour": (hour, [str(h) for h in range(24)]), "precision": (exact.astype(np.int64), words)}
    return _of_parts("prospects.created_at", parts, np.arange(len(who)), who)


def _about_versions(name: str, i: Ints, known: Ints, who: _Prospects) -> list[Finding]:
    """Rows first known when the prospect is decided, though others are known in time: ``observed_at`` is their last
    change, then, and a row that is known says that nothing will change any more."""
    late = known >= who.closed[i]
    if (who.is_open[i] & ~late).sum() < LEAST:
        return []
    start = who.start[i][late]
    return _suspect([_Fact(name, None, "have no row until they close", i[late], start, start)], (_by_age,), who)


def _suspect(facts: Sequence[_Fact], signs: Sequence[Sign], who: _Prospects) -> list[Finding]:
    """At most one finding: the first sign that any of the facts shows, of the fact with the most holders."""
    for sign in signs:
        hits = [found for fact in facts if (found := sign(fact, who)) is not None]
        if hits:
            return [max(hits, key=lambda f: f.evidence["holders"])]
    return []


def _separates(name: str, i: Ints, code: Ints, who: _Prospects) -> list[Finding]:
    """Whether a column's first value known of each prospect tells who converts."""
    whole = np.full(len(who), -1, dtype=np.int64)
    whole[i[_is_first(i)]] = code[_is_first(i)]
    whole[(np.bincount(whole + 1) < RARE)[whole + 1]] = whole.max() + 1
    auc, low, count = separation(whole, who.won, who.stratum)
    if low < SEPARATES:
        return []
    seen = (
        f"alone tells who converts: of two prospects created at about the same time it ranks the right one "
        f"first in {auc:.0%} of the cases."
    )
    return [_finding(name, "separates_outcomes", seen, auc=auc, auc_low=low, outcomes=count)]


def _of_parts(name: str, parts: Mapping[str, tuple[Ints, list[str]]], i: Ints, who: _Prospects) -> list[Finding]:
    """At most one finding: the part that tells best who converts, else one whose holders are all decided."""
    best, of = (0.5, 0.0, 0), ""
    facts: dict[str, list[_Fact]] = {}
    for part, (code, labels) in parts.items():
        if len(np.unique(code)) > 1:
            best, of = max((best, of), (separation(code, who.won[i], who.stratum[i]), part), key=lambda b: b[0][1])
            facts[part] = list(_level_facts(name, i, who.start[i], code, labels, who, part))
    auc, low, count = best
    if low >= ENCODES:
        seen = (
            f"encodes the outcome in its {of}: of two prospects created at about the same time it ranks the "
            f"right one first in {auc:.0%} of the cases."
        )
        return [_finding(name, "id_encodes_outcome", seen, part=of, auc=auc, auc_low=low, outcomes=count)]
    looked_at = sum(len(same) for same in facts.values())
    by_age = partial(_by_age, chance=CHANCE * min(1.0, LOOKED_AT / max(1, looked_at)))
    for part, same in facts.items():
        for found in _suspect(same, (by_age,), who):
            return [replace(found, sign="id_encodes_outcome", evidence={"part": part, **found.evidence})]
    return []


def _state_rows(tables: Tables, table: str, spine: Any, columns: Sequence[str]) -> pd.DataFrame:
    """The versions known at some time of the episode: ``i``, ``known`` (microseconds) and the columns as ``c__name``.

    Sorted by (i, known). A time is days since the start of the episode.
    """
    import ibis

    prospects, own = tables.prospects, table == "prospects"
    link = prospects.select(
        "prospect_id", p_account=prospects.account_id, p_from=prospects.valid_from, p_to=prospects.valid_to,
        **({f"c__{c}": prospects[c] for c in columns} if own else {}),
    )  # fmt: skip
    rows = spine.inner_join(link, "prospect_id")
    rows = rows.filter(rows.p_to > rows.started_at)
    since = [rows.started_at, rows.p_from]
    if not own:
        states = getattr(tables, table)
        states = states.select(
            p_account=states.account_id, a_from=states.valid_from, a_to=states.valid_to,
            **{f"c__{c}": states[c] for c in columns},
        )  # fmt: skip
        rows = rows.inner_join(states, "p_account")
        rows = rows.filter(rows.a_to > rows.p_from, rows.a_from < rows.p_to, rows.a_to > rows.started_at)
        since = [rows.started_at, rows.p_from, rows.a_from]
    kinds = tables.dataset.columns(table)
    shown = {
        f"c__{c}": (rows[f"c__{c}"] - rows.started_at) / DAY if kinds[c].kind == "time" else rows[f"c__{c}"]
        for c in columns
    }
    found: pd.DataFrame = rows.select("i", known=ibis.greatest(*since), **shown).order_by(["i", "known"]).to_pandas()
    return found


def _event_rows(tables: Tables, column: str, spine: Any) -> pd.DataFrame:
    """Per prospect ``i`` and level of the column: when its first event was ``known``, and the earliest date they bear.

    A value has one level, ``filled``.
    """
    import ibis

    from features.tables import lasting

    events: Any = tables.events
    rows = spine.select("i", "prospect_id", "started_at").inner_join(
        events.select("prospect_id", column, "occurred_at", "recorded_at", "retracted_at"), "prospect_id"
    )
    rows = rows.filter(rows[column].notnull())
    if column == "value":
        rows = rows.mutate(value=ibis.literal("filled"))
    rows = rows.mutate(
        known=ibis.greatest(rows.occurred_at, rows.recorded_at, rows.started_at),
        dated=ibis.greatest(rows.occurred_at, rows.started_at),
    )
    rows = rows.filter(lasting(rows, rows.known))  # what was retracted before it was known tells nobody anything
    first = rows.group_by(["i", column]).aggregate(known=ibis._.known.min(), dated=ibis._.dated.min())
    found: pd.DataFrame = first.order_by("i").to_pandas()
    return found


def _coded(values: pd.Series[Any], kind: str) -> tuple[Ints, list[str]]:
    """Codes and their labels, -1 for null: levels of a category, bins of a number, whether a text is filled."""
    import pandas as pd

    if kind in ("key", "text"):
        return np.where(values.notna(), 0, -1).astype(np.int64), ["filled"]
    if kind in ("number", "time", "date"):
        x = values.to_numpy(dtype=np.float64, na_value=np.nan)
        some = np.unique(x[np.isfinite(x)])
        edges = some[1:]
        if len(some) > BINS:
            edges = np.unique(np.quantile(x[np.isfinite(x)], np.linspace(0, 1, BINS + 1)[1:-1]))
        ends = [*([some[0]] if len(some) else []), *edges]
        labels = [f"from {e:g}" for e in ends] if len(some) > BINS else [f"{e:g}" for e in ends]
        return np.where(np.isfinite(x), np.searchsorted(edges, x, side="right"), -1).astype(np.int64), labels
    code, levels = pd.factorize(values, sort=True)
    return code.astype(np.int64), [str(level) for level in levels]


def _shown(level: str) -> str:
    return f"`{level}`" if len(level) <= SHOWN else f"`{level[: SHOWN - 1]}…`"


def _is_first(i: Ints) -> Mask:
    """Which rows are the first of their prospect, where they are sorted by it."""
    return np.asarray(np.diff(i, prepend=-1) != 0)


def _earliest(i: Ints, known: Ints) -> tuple[Ints, Ints]:
    """Each prospect once with its earliest ``known``; rows are sorted by (i, known)."""
    return i[_is_first(i)], known[_is_first(i)]


def _level_facts(
    name: str, i: Ints, known: Ints, code: Ints, labels: Sequence[str], who: _Prospects, part: str = ""
) -> Iterator[_Fact]:
    """That a column (or the part of an id) is filled, and each of its commonest levels; rows sorted by (i, known)."""
    mine, since = _earliest(i[code >= 0], known[code >= 0])
    if LEAST <= len(mine) < len(who):
        yield _Fact(name, None, f"have a {part}" if part else "have it filled", mine, since, since)
    counts = np.bincount(code[code >= 0], minlength=len(labels))
    for level in np.argsort(-counts, kind="stable")[:LEVELS]:
        mine, since = _earliest(i[code == level], known[code == level])
        if len(mine) >= LEAST and len(labels) > 1:
            having = f"have {_shown(labels[level])} as {part}" if part else f"hold {_shown(labels[level])}"
            yield _Fact(name, labels[level], having, mine, since, since)


Sign = Callable[[_Fact, _Prospects], Finding | None]

# ---- the signs ------------------------------------------------------------------------------------------------------


def _after(fact: _Fact, who: _Prospects) -> Finding | None:
    closed, count = who.closed[fact.who], len(fact.who)
    late = fact.known >= closed
    share, early = float(late.mean()), int((late & (fact.dated < closed)).sum())
    if lower(share, count) < AFTER or (who.followed and not early):
        return None
    how = "bears earlier dates but was recorded after" if 2 * early > late.sum() else "comes after"
    seen = (
        f"{how} the outcome: {share:.0%} of the {count:,} prospects that {fact.having} had closed when it became known."
    )
    return _finding(fact, "known_after", seen, holders=count, known_after=int(late.sum()), dated_before=early)


def _by_age(fact: _Fact, who: _Prospects, chance: float = CHANCE) -> Finding | None:
    fact = fact.among(fact.known < who.closed[fact.who])
    if len(fact.who) < 2 * LEAST:
        return None
    if poisson(int(who.is_open[fact.who].sum()), SHORT * who.openness[who.stratum[fact.who]].sum()) > chance:
        return None  # about as many are open as of all that were created when they were: nothing to explain
    expected, still = still_open(who.start[fact.who], fact.known, who.closed[fact.who], who.until)
    if who.usual[0]:  # where all prospects are decided faster than they were, so may these be
        expected *= min(1.0, who.usual[1] / who.usual[0])
    if poisson(still, SHORT * expected) > chance:
        return None
    seen = (
        f"comes with the decision: {still:,} of the {len(fact.who):,} prospects that {fact.having} are "
        f"open, where some {expected:,.0f} would be had it been known at its date."
    )
    return _finding(
        fact,
        "filled_when_decided",
        seen,
        holders=len(fact.who),
        open=still,
        open_expected=expected,
        converted=int(who.won[fact.who].sum()),
    )


def _by_share(fact: _Fact, who: _Prospects) -> Finding | None:
    if who.usual[0] >= FEW_OPEN or (fact.known > who.start[fact.who]).any():
        return None
    edge = len(who) - round(NEWEST * len(who))
    newest = int((fact.who >= edge).sum())
    expected = (len(fact.who) - newest) / max(1, edge) * (len(who) - edge)
    if poisson(newest, SHORT * expected) > CHANCE:
        return None
    count, share, others = _converted(fact, who)
    low, high = lower(share, count), 1 - lower(1 - share, count)
    if _odds(low) < DIFFERS * _odds(others) and _odds(high) * DIFFERS > _odds(others):
        return None
    seen = (
        f"is filled in later: {newest:,} of the newest prospects {fact.having}, where {expected:,.0f} "
        f"would by the share of older ones; {share:.0%} of those convert, {others:.0%} of the others."
    )
    return _finding(
        fact,
        "filled_when_decided",
        seen,
        holders=len(fact.who),
        newest=newest,
        newest_expected=expected,
        converted_share=share,
        converted_share_of_others=others,
    )


def _at_outcome(fact: _Fact, who: _Prospects) -> Finding | None:
    start, closed = who.start[fact.who], who.closed[fact.who]
    # Of those open for a week: where all is over within a day or two, everything happens at the outcome's time.
    judged = (closed < NEVER) & (closed - start >= WEEK) & (fact.known < closed)
    count = int(judged.sum())
    last = int((judged & (fact.known >= closed - DAY)).sum())
    if not count or lower(last / count, count) < AT_ONCE:
        return None
    seen = (
        f"changes at the outcome's time: {last / count:.0%} of the {count:,} closed prospects that "
        f"{fact.having} got it within the last day before they closed."
    )
    return _finding(fact, "changes_at_outcome", seen, holders=count, within_the_last_day=last)


def _pure(fact: _Fact, who: _Prospects) -> Finding | None:
    fact = fact.among(fact.known < who.closed[fact.who])
    count, share, others = _converted(fact, who)
    low = lower(share, count)
    if low < PURE or _odds(low) < ODDS * _odds(others):
        return None
    seen = (
        f"tells who converts: {share:.1%} of the {count:,} prospects that {fact.having} do, and "
        f"{others:.1%} of the others."
    )
    return _finding(
        fact,
        "separates_outcomes",
        seen,
        holders=count,
        converted_share=share,
        converted_share_low=low,
        converted_share_of_others=others,
    )


def _late(fact: _Fact, who: _Prospects) -> Finding | None:
    age = np.full(len(who), NEVER, dtype=np.int64)  # at which it got known
    age[fact.who] = fact.known - who.start[fact.who]
    to_goal, watched = who.goal - who.start, np.minimum(who.closed, who.until) - who.start
    slow = who.won & (who.goal <= who.closed) & (to_goal >= 2 * WEEK)
    count = int(slow.sum())
    before = float((age[slow] <= to_goal[slow] - DAY).mean()) if count >= LEAST else 0.0
    if lower((1 + before) / 2, count) < SEPARATES:
        return None
    # The others at the ages at which these convert, a tenth of them at each.
    moments = np.quantile(to_goal[slow], (np.arange(10) + 0.5) / 10)
    others = float(np.mean([(age[watched > m] <= m - DAY).mean() for m in moments]))
    old = watched > WEEK
    in_week = float((age[slow] <= WEEK).mean() - (age[old & ~slow] <= WEEK).mean()) if (old & ~slow).any() else 0.0
    auc, early = (1 + before - others) / 2, (1 + in_week) / 2
    if lower(auc, count) < SEPARATES or early > EARLY:
        return None
    seen = (
        f"tells who converts only at the last: a day before, {before:.0%} of those who convert "
        f"{fact.having} and {others:.0%} of the others at that age; after a week it tells nothing (AUC {early:.2f})."
    )
    return _finding(
        fact,
        "late_only",
        seen,
        holders=len(fact.who),
        outcomes=count,
        auc_day_before=auc,
        auc_first_week=early,
        converting_have_it=before,
        others_have_it=others,
    )


def _converted(fact: _Fact, who: _Prospects) -> tuple[int, float, float]:
    """How many have it, the share of them who convert, and the share of the others, weighed as those were created."""
    if not len(fact.who):
        return 0, 0.0, 1.0
    groups = int(who.stratum.max()) + 1
    mine, my_wins = (np.bincount(who.stratum[fact.who], w, groups) for w in (None, who.won[fact.who]))
    rest, rest_wins = np.bincount(who.stratum) - mine, np.bincount(who.stratum, who.won) - my_wins
    both = rest > 0
    count = int(mine[both].sum())
    if not count:
        return 0, 0.0, 1.0
    others = (mine[both] * rest_wins[both] / rest[both]).sum()
    return count, float(my_wins[both].sum() / count), float((others + 0.5) / (count + 1))


def _odds(share: float) -> float:
    return share / max(1e-9, 1 - share)


def _remedy(name: str, sign: str) -> str:
    if sign == "known_after":
        return "Record it when it happens, or leave it out of events: no feature of it is known in time."
    if name.startswith("events."):
        return "Give its true recorded_at, or leave it out of events."
    changed = sign in ("changes_at_outcome", "late_only")
    history = "check the observed_at of its rows" if changed else "give its history (rows with observed_at)"
    return _REMEDIES.get(name, f'Declare it known = "never" in dataset.toml, or {history}.')


_REMEDIES = {
    "prospects.prospect_id": "Use ids that are given when the prospect is created.",
    "prospects.created_at": "Give the time at which the prospect was first known.",
    "prospects.observed_at": "Give the time from which a row was known, not that of its last change.",
    "accounts.observed_at": "Give the time from which a row was known, not that of its last change.",
    "prospects.account_id": "Give its history: a row with observed_at for the time before the account was known.",
}


def _finding(of: _Fact | str, sign: str, seen: str, **evidence: Any) -> Finding:
    if isinstance(of, _Fact):
        evidence = ({} if of.level is None else {"level": of.level}) | evidence
        of = of.name
    plain = {name: round(float(v), 4) if isinstance(v, float) else v for name, v in evidence.items()}
    return Finding(of, sign, seen, _remedy(of, sign), plain)


# ---- statistics -----------------------------------------------------------------------------------------------------


def lower(share: float, count: float) -> float:
    """The lower bound of a share of ``count`` at ``Z`` standard errors (Wilson 1927); 0 where there is nothing."""
    if count <= 0:
        return 0.0
    middle, spread = share + Z**2 / (2 * count), share * (1 - share) / count + Z**2 / (4 * count**2)
    return float((middle - Z * sqrt(max(0.0, spread))) / (1 + Z**2 / count))


def poisson(count: float, mean: float) -> float:
    """The chance of at most ``count`` where ``mean`` are expected."""
    from scipy.special import pdtr

    return float(pdtr(count, mean)) if mean > 0 else 1.0


def separation(code: Ints, won: Mask, stratum: Ints) -> tuple[float, float, int]:
    """How well a column's levels alone rank those who convert before those who do not.

    Pairs are compared within a stratum, so that neither time to convert nor a drift of the levels counts. The levels
    are ranked by their conversions over those that their strata would have, learned on the other random half.

    Args:
        code: the level of each prospect, from -1.
        won: whether it converts, by T.
        stratum: its group, from 0.

    Returns:
        The AUC, its lower bound (that of a share of as many as the smaller class: a rank among the others lies in 0
        to 1, so it varies no more), and the number of conversions compared.
    """
    levels, strata = int(code.max()) + 2, int(stratum.max()) + 1
    half = np.random.default_rng(0).integers(0, 2, len(code))
    cell = (half * strata + stratum) * levels + code + 1
    shape = (2, strata, levels)
    size = 2 * strata * levels
    wins = np.bincount(cell[won], minlength=size).reshape(shape).astype(np.float64)
    rest = np.bincount(cell[~won], minlength=size).reshape(shape).astype(np.float64)
    ranks, pairs = 0.0, np.zeros(2)
    for mine, other in ((0, 1), (1, 0)):
        both = wins[other] + rest[other]
        rate = wins[other].sum(axis=1) / np.maximum(1, both.sum(axis=1))
        # A level that is rare there stays near 1, the level of all.
        lift = (wins[other].sum(axis=0) + 3) / ((both * rate[:, None]).sum(axis=0) + 3)
        _, rank = np.unique(lift, return_inverse=True)
        ranked = np.zeros((2, int(rank.max()) + 1, strata))
        np.add.at(ranked[0], rank, wins[mine].T)
        np.add.at(ranked[1], rank, rest[mine].T)
        below = np.cumsum(ranked[1], axis=0) - ranked[1] / 2
        totals = ranked.sum(axis=1)
        used = (totals > 0).all(axis=0)
        ranks += float(((ranked[0] * below).sum(axis=0)[used] / totals[1][used]).sum())
        pairs += totals[:, used].sum(axis=1)
    if not pairs[0]:
        return 0.5, 0.0, 0
    auc = ranks / float(pairs[0])
    return auc, lower(auc, float(pairs.min())), int(pairs[0])


def still_open(start: Ints, known: Ints, closed: Ints, until: int) -> tuple[float, int]:
    """How many holders of a fact should be open at T, by the pace of the earlier ones, and how many are.

    A holder of whom it became known a time c before T is open if the decision takes longer than c. Of those of whom it
    became known earlier that is observed, whatever became of them: they have been watched for longer than c. So their
    share that took longer than c is the chance that this one is open, for a fact of any strength. Holders are compared
    with earlier ones who were about as old when it became known, in ``STRATA`` steps of time.

    Args:
        start: creation of each holder, microseconds.
        known: when the fact became known of it, before ``closed``.
        closed: when it was decided, ``NEVER`` if it is open.
        until: T.
    """
    expected, still = 0.0, 0
    old = np.searchsorted([DAY, 30 * DAY], known - start)
    for group in range(3):
        mine = np.flatnonzero(old == group)
        mine = mine[np.argsort(known[mine], kind="stable")]
        took, age = (closed - known)[mine], until - known[mine]
        cuts = np.unique(np.linspace(0, len(mine), STRATA + 1).astype(int))
        for begin, end in pairwise(cuts):
            if begin >= LEAST:
                earlier = np.sort(took[:begin])
                expected += float((1 - np.searchsorted(earlier, age[begin:end], side="right") / begin).sum())
                still += int((closed[mine[begin:end]] == NEVER).sum())
    return expected, still
