"""Reading the live records: what was known of a prospect or an account at a time, as the request body that scores it,
and that body merged by id with what a request brings itself.

Only what was known at t is read: the newest version of each record, the facts recorded by then, and which of them had
been retracted. What is merged is read under the id that remains.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from features.contract import ALWAYS, KEYS, NEVER, Column, format_time
from features.errors import BadInput, LeadscoreError
from features.records import first_recorded
from serving.ledger import erased, tombstone, tombstone_key
from serving.rows import Scope, careful_event, read_outcome
from serving.store import FACTS, NAMES, VERSIONS, Store
from serving.values import read_time, reader_of

if TYPE_CHECKING:
    from serving.schema import RequestReader

Row = dict[str, Any]
_CHUNK = 400
_MOST = 50_000  # facts of one look-up: what a request could hold too, and a score can go through
_ID = reader_of(Column("id", "key"))
_LEVELS = 5  # of a request at most: itself, related, a list, a record's versions, one of these; ids stand no deeper


@dataclass(frozen=True)
class Known:
    """What was known of a prospect (or an account): the body of a request about it, under the id that remains.

    ``newest`` is the latest moment at which any of it was recorded. A table is in the body where the store held
    anything of it by then: the others are unknown, not empty. ``names`` says, by their key, which of the ids that a
    request holds were merged by then, and into which.
    """

    id: str
    body: Row
    newest: int
    asked: str = ""
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Completed:
    """A request with what the store knows: the body to be read, the moment that is now, and what is to be warned of."""

    data: Any
    now: int
    warnings: tuple[dict[str, str], ...] = field(default=())


_newer = VERSIONS.alias("newer")
_T = sa.bindparam("t", type_=sa.BigInteger)
_CURRENT = sa.and_(
    VERSIONS.c.observed_at <= _T,
    VERSIONS.c.record.is_not(None),
    ~sa.exists().where(
        _newer.c.kind == VERSIONS.c.kind,
        _newer.c.id == VERSIONS.c.id,
        _newer.c.observed_at > VERSIONS.c.observed_at,
        _newer.c.observed_at <= _T,
    ),
)
_COLUMNS = (VERSIONS.c.kind, VERSIONS.c.id, VERSIONS.c.observed_at, VERSIONS.c.account_id, VERSIONS.c.record)
_ONE = (
    sa.select(*_COLUMNS)
    .where(VERSIONS.c.kind == sa.bindparam("kind"), VERSIONS.c.id == sa.bindparam("id"), VERSIONS.c.observed_at <= _T)
    .order_by(VERSIONS.c.observed_at.desc())
    .limit(1)
)
_SEVERAL = sa.select(*_COLUMNS).where(
    VERSIONS.c.kind == sa.bindparam("kind"), VERSIONS.c.id.in_(sa.bindparam("ids", expanding=True)), _CURRENT
)
_MEMBERS = sa.select(*_COLUMNS).where(VERSIONS.c.account_id == sa.bindparam("account_id"), _CURRENT)
_FACTS = (
    sa.select(FACTS)
    .where(
        FACTS.c.prospect_id.in_(sa.bindparam("ids", expanding=True)),
        FACTS.c.recorded_at <= _T,
        FACTS.c.occurred_at <= sa.bindparam("until", type_=sa.BigInteger),
    )
    .limit(_MOST + 1)
)
_NAME = sa.select(NAMES).where(
    NAMES.c.kind == sa.bindparam("kind"), sa.or_(NAMES.c.id == sa.bindparam("id"), NAMES.c.id == sa.bindparam("stone"))
)
_ALIASES = sa.select(NAMES.c.id, NAMES.c.target).where(
    NAMES.c.kind == sa.bindparam("kind"),
    NAMES.c.id.in_(sa.bindparam("ids", expanding=True)),
    NAMES.c.target.is_not(None),
    NAMES.c.since <= _T,
)
_HELD = {
    table: sa.select(sa.literal(1)).where(of.c.kind == table, since <= _T).limit(1)
    for of, since, tables in (
        (VERSIONS, VERSIONS.c.observed_at, tuple(KEYS)),
        (FACTS, FACTS.c.recorded_at, ("events", "outcomes")),
    )
    for table in tables
}


_AT_ONCE = 256  # prospects that are asked for at once: an old SQLite takes 999 parameters


def _quick(count: int) -> sa.Select[Any]:
    """Which of so many ids the store knows."""
    ids: list[sa.BindParameter[str]] = [sa.bindparam(f"id{i}") for i in range(count)]
    return sa.select(NAMES.c.id).where(NAMES.c.kind == sa.bindparam("kind"), NAMES.c.id.in_(ids))


# By the length of their count: one statement for every size of a batch would be a thousand of them, kept for good.
_QUICK = [_quick(1 << length) for length in range((2 * _AT_ONCE).bit_length())]


class History:
    """Reads a store. Made once for each process; what it remembers is only what cannot change."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._key: bytes | None = None
        self._held: dict[str, int] = {}  # by table a time by which the store was seen to hold something of it

    def prospect(self, prospect_id: str, t: int | None, request: Any = None) -> Known | None:
        """What was known of a prospect at t (microseconds), or is known (None); None where its record was not there.

        ``request`` is the one whose ids are looked up too. Raises LeadscoreError ``erased``, and as ``Store.read``
        does.
        """
        return self.store.read(lambda connection: self._prospect(connection, prospect_id, t, request))

    def account(self, account_id: str, t: int | None, request: Any = None) -> Known | None:
        """What was known of an account with all its prospects, as ``prospect`` gives it for one."""
        return self.store.read(lambda connection: self._account(connection, account_id, t, request))

    def spoken_of(self, prospect_ids: Sequence[str]) -> set[str] | None:
        """Those of these prospects of which the store knows something, or knew before they were erased.

        None: it cannot tell at once. It can where it is SQLite, once a prospect was looked up.
        """
        if self._key is None:
            return None  # the first look-up finds it
        out: set[str] = set()
        for start in range(0, len(prospect_ids), _AT_ONCE):
            ids = prospect_ids[start : start + _AT_ONCE]
            stones = [tombstone(self._key, "prospects", id) for id in ids]
            length = (2 * len(ids) - 1).bit_length()
            rest = (None,) * ((1 << length) - 2 * len(ids))
            found = self.store.quick(_QUICK[length], ("prospects", *ids, *stones, *rest))
            if found is None:
                return None
            if found:
                known = set(found)
                out.update(id for id, stone in zip(ids, stones, strict=True) if id in known or stone in known)
        return out

    def root(self, connection: Connection, kind: str, id: str, t: int | None) -> str | None:
        """The id that this one stands for at t; None where nobody spoke of it. Raises LeadscoreError ``erased``."""
        at = NEVER if t is None else t
        known = False
        while True:
            key = self._stone_key(connection)
            wanted = {"kind": kind, "id": id, "stone": tombstone(key, kind, id)}
            row = connection.execute(_NAME, wanted).first()
            if row is None:
                return id if known else None
            if row.erased:
                raise erased(KEYS[kind])
            known = True
            if row.target is None or row.since > at:
                return id
            id = row.target

    def _stone_key(self, connection: Connection) -> bytes:
        if self._key is None:
            self._key = tombstone_key(connection)
        return self._key

    def _prospect(self, connection: Connection, prospect_id: str, t: int | None, request: Any) -> Known | None:
        root = self.root(connection, "prospects", prospect_id, t)
        if root is None:
            return None
        at = NEVER if t is None else t
        own = connection.execute(_ONE, {"kind": "prospects", "id": root, "t": at}).first()
        if own is None or own.record is None:
            return None
        seen = _Seen(own.observed_at)
        body: Row = {"prospect": seen.state(own)}
        account_id = own.account_id
        siblings, people = self._around(connection, account_id, at, seen, body, root)
        events, outcomes = self._facts(connection, [root, *(s["prospect_id"] for s in siblings)], t, seen)
        self._named(connection, people, (*events, *outcomes), at, seen)
        own_id = {root}
        if self._holds(connection, "contacts", people, at):
            body["contacts"] = [people[c] for c in sorted(people)]
        if self._holds(connection, "events", events, at):
            body["events"] = [_bare(e) for e in events if e["prospect_id"] in own_id]
        if self._holds(connection, "outcomes", outcomes, at):
            body["outcomes"] = [_bare(o) for o in outcomes if o["prospect_id"] in own_id]
        if account_id is not None:
            related: Row = {"prospects": siblings}
            if "events" in body:
                related["events"] = [e for e in events if e["prospect_id"] not in own_id]
            if "outcomes" in body:
                related["outcomes"] = [o for o in outcomes if o["prospect_id"] not in own_id]
            body["related"] = related
        names = self._names(connection, request, at, ("prospects", prospect_id, root))
        return Known(root, body, seen.newest, prospect_id, names)

    def _account(self, connection: Connection, account_id: str, t: int | None, request: Any) -> Known | None:
        root = self.root(connection, "accounts", account_id, t)
        if root is None:
            return None
        at = NEVER if t is None else t
        seen = _Seen(ALWAYS)
        body: Row = {}
        prospects, people = self._around(connection, root, at, seen, body, None)
        if not prospects:
            return None
        body.setdefault("account", {"account_id": root})
        events, outcomes = self._facts(connection, [p["prospect_id"] for p in prospects], t, seen)
        self._named(connection, people, (*events, *outcomes), at, seen)
        body["prospects"] = prospects
        if self._holds(connection, "contacts", people, at):
            body["contacts"] = [people[c] for c in sorted(people)]
        if self._holds(connection, "events", events, at):
            body["events"] = events
        if self._holds(connection, "outcomes", outcomes, at):
            body["outcomes"] = outcomes
        names = self._names(connection, request, at, ("accounts", account_id, root))
        return Known(root, body, seen.newest, account_id, names)

    def _names(
        self, connection: Connection, request: Any, at: int, known: tuple[str, str, str]
    ) -> dict[str, dict[str, str]]:
        """By key, the ids in a request that were merged by then, each with the one that it stands for.

        ``known`` is the kind of the one that is asked for, its id, and what that stands for.
        """
        of, asked, root = known
        out, ids = {}, _ids(request)
        for kind, key in KEYS.items():
            into = {asked: root} if kind == of and asked != root else {}
            ask = sorted(ids[key] - ({asked, root} if kind == of else set()))
            while ask:
                for start in range(0, len(ask), _CHUNK):
                    wanted = {"kind": kind, "ids": ask[start : start + _CHUNK], "t": at}
                    into.update((row.id, row.target) for row in connection.execute(_ALIASES, wanted))
                ask = sorted({target for target in into.values() if target not in into} - set(ask))
            if into:
                out[key] = {id: _end(id, into) for id in into}
        return out

    def _around(
        self, connection: Connection, account_id: str | None, at: int, seen: _Seen, body: Row, prospect_id: str | None
    ) -> tuple[list[Row], dict[str, Row]]:
        """The account, its prospects but for the one, its contacts."""
        if account_id is None:
            return [], {}
        account = connection.execute(_ONE, {"kind": "accounts", "id": account_id, "t": at}).first()
        if account is not None and account.record is not None:
            body["account"] = seen.state(account)
        prospects: dict[str, Row] = {}
        people: dict[str, Row] = {}
        for row in connection.execute(_MEMBERS, {"account_id": account_id, "t": at}):
            if row.kind == "contacts":
                people[row.id] = seen.state(row)
            elif row.id != prospect_id:
                prospects[row.id] = seen.state(row)
        return [prospects[p] for p in sorted(prospects)], people

    def _facts(self, connection: Connection, ids: Sequence[str], t: int | None, seen: _Seen) -> tuple[list[Row], ...]:
        at = NEVER if t is None else t
        found: list[Any] = []
        for start in range(0, len(ids), _CHUNK):
            wanted = {"ids": list(ids[start : start + _CHUNK]), "t": at, "until": at}
            found += connection.execute(_FACTS, wanted).all()
            if len(found) > _MOST:
                raise BadInput(
                    "too_many_items",
                    f"the store holds more than {_MOST:,} events and outcomes of this prospect and its account.",
                    where="prospect_id",
                    remedy="Send what it is to be scored with in the request, under an id that was never stored.",
                )
        found.sort(key=lambda row: (row.occurred_at, row.recorded_at, row.id, row.part))
        last: dict[tuple[str, str], int] = {}  # a fact that was moved is read where it came to
        for row in found:
            last[row.kind, row.id] = max(row.part, last.get((row.kind, row.id), 0))
        out: dict[str, list[Row]] = {"events": [], "outcomes": []}
        for row in found:
            if row.part == last[row.kind, row.id]:
                out[row.kind].append(seen.fact(row, at))
        return out["events"], out["outcomes"]

    def _named(
        self, connection: Connection, people: dict[str, Row], facts: Iterable[Row], at: int, seen: _Seen
    ) -> None:
        """The contacts of other accounts that the events name, too; here they stand for this one."""
        ids = sorted(_named_by(_lasting(facts)) - set(people))
        for start in range(0, len(ids), _CHUNK):
            wanted = {"kind": "contacts", "ids": ids[start : start + _CHUNK], "t": at}
            for row in connection.execute(_SEVERAL, wanted):
                people[row.id] = {name: value for name, value in seen.state(row).items() if name != "account_id"}

    def _holds(self, connection: Connection, table: str, found: Any, at: int) -> bool:
        """Whether the store held anything of a table by then: else it is unknown to us, and not empty."""
        held = self._held.get(table, NEVER + 1)
        if held <= at:
            return True
        if not found and connection.execute(_HELD[table], {"t": at}).scalar() is None:
            return False
        self._held[table] = min(held, at)
        return True


class _Seen:
    """Rows as JSON, and the latest moment at which one of them was recorded."""

    def __init__(self, newest: int) -> None:
        self.newest = newest

    def state(self, row: Any) -> Row:
        self.newest = max(self.newest, row.observed_at)
        out: Row = {KEYS[row.kind]: row.id, **json.loads(row.record)}
        if row.observed_at != ALWAYS:
            out["observed_at"] = format_time(row.observed_at)
        if row.account_id is not None:
            out["account_id"] = row.account_id
        return out

    def fact(self, row: Any, at: int) -> Row:
        """A fact as it was known at a time: that it was taken back later was not."""
        self.newest = max(self.newest, row.recorded_at)
        out: Row = {"prospect_id": row.prospect_id, **json.loads(row.record)}
        if row.kind == "events":
            out["event_id"] = row.id
        if row.contact_id is not None:
            out["contact_id"] = row.contact_id
        out["recorded_at"] = format_time(row.recorded_at)
        if row.retracted_at is not None and row.retracted_at <= at:
            self.newest = max(self.newest, row.retracted_at)
            out["retracted_at"] = format_time(row.retracted_at)
        return out


def _bare(fact: Row) -> Row:
    return {name: value for name, value in fact.items() if name != "prospect_id"}


# A request and what is known ------------------------------------------------------------------------------------------


def _ids(request: Any) -> dict[str, set[str]]:
    """By key, the ids anywhere in a request that can be read; what is wrong with the others is the reader's."""
    found: dict[str, set[str]] = {key: set() for key in KEYS.values()}
    parts = [request]
    for _ in range(_LEVELS):
        inner: list[Any] = []
        for part in parts:
            if type(part) is list:
                inner += part
            elif type(part) is dict:
                for key, value in part.items():
                    if key in found and type(value) is str:
                        found[key].add(value)
                    else:
                        inner.append(value)
        parts = inner
    return {key: {id for id in ids if _read_id(id) is not None} for key, ids in found.items()}


def _read_id(value: Any) -> str | None:
    """An id as it is read, None where it cannot be."""
    try:
        found: str | None = None if value is None else _ID(value)
    except BadInput:
        return None
    return found


def _end(id: str, into: Mapping[str, str]) -> str:
    while id in into:
        id = into[id]
    return id


def id_of(data: Any, part: str, key: str) -> str | None:
    """The id of the record that a request is about, where it can be read; what is wrong with it is the reader's."""
    record = data.get(part) if type(data) is dict else None
    if type(record) is list and record:
        record = record[0]
    return _read_id(record.get(key)) if type(record) is dict else None


def as_of_of(data: Row) -> int | None:
    """The time that a request asks for; None for now, and where the reader will refuse it."""
    value = data.get("as_of")
    try:
        return None if value is None else read_time(value)
    except BadInput:
        return None


def only_names(data: Row, part: str = "prospect", key: str = "prospect_id") -> bool:
    """Whether a request holds nothing of what it is about but its id."""
    record = data.get(part)
    if type(record) is not dict or record.get(key) is None:
        return False
    return all(value is None or name == key for name, value in record.items())


def complete(data: Row, known: Known, now: int, reader: RequestReader) -> Completed:
    """A request about a prospect with what is known of it; ``reader`` is that of the model, which can read so much.

    The request's own state records count as the newest versions of their ids, its facts stand beside the stored ones.
    Raises BadInput where one id comes with two contents.
    """
    stored, warnings = _readable(known.body, reader)
    now = max(now, known.newest)
    own = stored["prospect"]
    body = _renamed(data, known.names) if known.names else data
    if known.asked != known.id:
        warnings.append(
            {
                "code": "merged",
                "text": "the prospect was merged into the one that this answer names, and is scored as it.",
            }
        )
    out = {name: value for name, value in body.items() if value is not None}
    scope = Scope(known.id, False, None)
    given = out["prospect"]
    if only_names(out):
        out["prospect"] = own
    else:
        first = given[0] if type(given) is list else given
        out["prospect"] = _versions(given, own, {"created_at": own["created_at"]})
        _check_born(first, own, "prospect[0]" if type(given) is list else "prospect")
    if "account" in stored and _account_agrees(out["prospect"], stored["account"]):
        if "account" not in out:
            out["account"] = stored["account"]
        elif _same_id(out["account"], stored["account"], "account_id"):
            out["account"] = _versions(out["account"], stored["account"], {})
    _facts(out, stored, "events", "", lambda item: careful_event(item, scope))
    _facts(out, stored, "outcomes", "", lambda item: read_outcome(item, scope))
    if "contacts" in stored and not _account_agrees(out["prospect"], own):  # it has moved: who comes along is named
        named = _named_by(_lasting(stored.get("events", ()))) | _named_by(body.get("events"))
        people = [{**c, "account_id": None} for c in stored["contacts"] if c["contact_id"] in named]
        stored = {**stored, "contacts": people}
    _records(out, stored, "contacts", "contact_id")
    if "related" in stored and _account_agrees(out["prospect"], own):
        theirs = Scope(known.id, True, None)
        if type(out.get("related")) is not dict and "related" in out:
            return Completed(out, now, tuple(warnings))
        related = {name: value for name, value in out.get("related", {}).items() if value is not None}
        _records(related, stored["related"], "prospects", "prospect_id")
        _facts(related, stored["related"], "events", "related.", lambda item: careful_event(item, theirs))
        _facts(related, stored["related"], "outcomes", "related.", lambda item: read_outcome(item, theirs))
        out["related"] = related
    return Completed(out, now, tuple(warnings))


def complete_account(data: Row, known: Known, now: int, reader: RequestReader) -> Completed:
    """A request that names an account and lists no prospects, with what is known of it.

    Its own account, contacts, events and outcomes stand with the stored ones as in ``complete``.
    """
    stored, warnings = _readable(known.body, reader)
    if known.asked != known.id:
        text = "the account was merged into the one that this answer names, and is scored as it."
        warnings.append({"code": "merged", "text": text})
    if known.names:
        data = _renamed(data, known.names)
    out = {name: value for name, value in data.items() if value is not None}
    given = out["account"]
    if only_names(data, "account", "account_id"):
        out["account"] = stored["account"]
    else:
        out["account"] = _versions(given, stored["account"], {})
    scope = Scope("", True, None)
    _records(out, stored, "contacts", "contact_id")
    _facts(out, stored, "events", "", lambda item: careful_event(item, scope))
    _facts(out, stored, "outcomes", "", lambda item: read_outcome(item, scope))
    out["prospects"] = stored["prospects"]
    return Completed(out, max(now, known.newest), tuple(warnings))


def _readable(body: Row, reader: RequestReader) -> tuple[Row, list[dict[str, str]]]:
    """The stored body without what the model's data set does not declare, and a warning of what it cannot read."""
    unread: set[str] = set()

    def fit(table: str, record: Row) -> Row:
        attributes = record.get("attributes")
        if not attributes:
            return record
        kept = {}
        for name, value in attributes.items():
            found = reader.declared[table].get(name)
            if found is None:
                continue
            try:
                found[0](value)
            except BadInput:
                unread.add(name)
                continue
            kept[name] = value
        out = {name: value for name, value in record.items() if name != "attributes"}
        return {**out, "attributes": kept} if kept else out

    out = dict(body)
    for name, table in (("prospect", "prospects"), ("account", "accounts")):
        if name in out:
            out[name] = fit(table, out[name])
    for name in ("prospects", "contacts"):
        if name in out:
            out[name] = [fit(name, record) for record in out[name]]
    if "related" in out:
        out["related"] = {**out["related"], "prospects": [fit("prospects", r) for r in out["related"]["prospects"]]}
    warnings = []
    if unread:
        listed = ", ".join(sorted(unread)[:5])
        text = f"of the stored records, the model cannot read: {listed}; they are of another kind there, and missing."
        warnings.append({"code": "stored_unreadable", "text": text})
    return out, warnings


def _versions(given: Any, stored: Row, fill: Row) -> Any:
    """The versions that a request gives of a record, and the stored one where theirs have times of their own."""
    if type(given) is list:
        filled = [{**fill, **_told(item)} if type(item) is dict else item for item in given]
        return [*filled, {**stored, "observed_at": stored.get("observed_at", _OLD)}]
    if type(given) is not dict:
        return given
    one = {**fill, **_told(given)}
    if one.get("observed_at") is None:
        return one
    return [one, {**stored, "observed_at": stored.get("observed_at", _OLD)}]


_OLD = "1900-01-01T00:00:00Z"  # since when a record counts that was known always


def _told(record: Row) -> Row:
    return {name: value for name, value in record.items() if value is not None}


def _check_born(given: Any, stored: Row, place: str) -> None:
    told = given.get("created_at") if type(given) is dict else None
    if told is None:
        return
    try:
        same = read_time(told) == read_time(stored["created_at"])
    except BadInput:
        return
    if not same:
        raise BadInput(
            "created_at_changes",
            f"the store knows the prospect as created at {stored['created_at']}.",
            where=f"{place}.created_at",
            remedy="A prospect is created once: send the same created_at, or leave it out.",
        )


def _same_id(given: Any, stored: Row, key: str) -> bool:
    first = given[0] if type(given) is list and given else given
    return type(first) is dict and first.get(key) in (None, stored[key])


def _account_agrees(prospect: Any, stored: Row) -> bool:
    """Whether the prospect, as the request has it, is of the account of a stored record."""
    versions = prospect if type(prospect) is list else [prospect]
    return any(type(v) is dict and v.get("account_id") == stored.get("account_id") for v in versions)


def _records(out: Row, stored: Row, name: str, key: str) -> None:
    """Put the stored records of a list beside the given ones, by id."""
    if name not in stored:
        return
    given = out.get(name, [])
    if type(given) is not list:
        return
    by_id = {record[key]: record for record in stored[name]}
    merged = []
    for item in given:
        first = item[0] if type(item) is list and item else item
        known = by_id.pop(first.get(key), None) if type(first) is dict and type(first.get(key)) is str else None
        merged.append(item if known is None else _versions(item, known, {}))
    out[name] = [*merged, *by_id.values()]


def _facts(out: Row, stored: Row, name: str, place: str, read: Any) -> None:
    """Put the stored facts of a list beside the given ones; a given one that is stored too must say the same."""
    if name not in stored:
        return
    given = out.get(name, [])
    if type(given) is not list:
        return
    if given:
        by_id = {read(item)[0]: item for item in stored[name]}
        for index, item in enumerate(given):
            try:
                fact = read(item)
            except (BadInput, TypeError, AttributeError):
                continue  # the reader tells it, with its place
            try:
                first_recorded(read(by_id.get(fact[0], item)), fact)
            except BadInput:
                raise BadInput(
                    f"conflicting_{name[:-1]}",
                    "the store knows this id with another content.",
                    where=f"{place}{name}[{index}]",
                    remedy="A fact never changes: send a correction under an id of its own, or leave this one out.",
                ) from None
    out[name] = [*given, *stored[name]]


def _lasting(stored: Iterable[Row]) -> Iterator[Row]:
    """The stored facts that were not taken back by then: such an event may have been the wrong person's."""
    return (fact for fact in stored if "retracted_at" not in fact)


def _named_by(events: Any) -> set[str]:
    """The contacts that events name; what is no event is passed over, and told by the reader with its place."""
    dicts = (e for e in events if type(e) is dict) if isinstance(events, Iterable) else ()
    return {contact for e in dicts if type(contact := e.get("contact_id")) is str}


def _renamed(data: Any, names: Mapping[str, Mapping[str, str]], levels: int = _LEVELS) -> Any:
    """A request with the aliases of ids replaced by the ids that remain; ``names`` says which, by their key."""
    if levels and type(data) is list:
        return [_renamed(item, names, levels - 1) for item in data]
    if levels and type(data) is dict:
        return {
            key: names[key].get(value, value)
            if key in names and type(value) is str
            else _renamed(value, names, levels - 1)
            for key, value in data.items()
        }
    return data


def unknown_at(one: str, t: int | None) -> LeadscoreError:
    """The refusal of a request that only names a prospect or an account of which the store knows nothing by then."""
    when = "" if t is None else f" as of {format_time(t)}"
    what = "record of this prospect" if one == "prospect" else "prospect of this account"
    sent = "PUT /v1/prospects/ID" if one == "prospect" else "PUT /v1/prospects/ID, naming their account"
    return LeadscoreError(
        f"unknown_{one}",
        f"the store holds no {what}{when}, and the request holds none.",
        where=f"{one}.{one}_id",
        remedy=f"Send it first with {sent}, or with the request; or check the id and the time.",
    )
