"""Reading the live records: what was known of a prospect or an account at a time, as the request body that scores it.

Only what was known at t is read: the newest version of each record, the facts recorded by then, and which of them had
been retracted. What is merged is read under the id that remains.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic_core import from_json

from features.contract import ALWAYS, KEYS, NEVER, Column, format_time
from features.errors import BadInput, LeadscoreError
from serving.ledger import erased, tombstone
from serving.rows import Row
from serving.store import FACTS, META, NAMES, TOMBSTONE_KEY, VERSIONS, Ask, Store, TooLong
from serving.values import reader_of

_MOST = 50_000  # facts of one look-up: what a request could hold too, and a score can go through
_FEW = 4_000  # rows of one on the event loop: it holds that for about as long as their scores
_HEAVY_SECONDS = 60.0  # for which it is remembered that a prospect has more
_HEAVIES = 1_024
_ID = reader_of(Column("id", "key"))
LEVELS = 5  # of a request at most: itself, related, a list, a record's versions, one of these; ids stand no deeper


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


_newer = VERSIONS.alias("newer")
_T = sa.bindparam("t", type_=sa.BigInteger)
_KIND = sa.bindparam("kind", type_=sa.String)
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
_SELECTED = sa.select(VERSIONS.c.kind, VERSIONS.c.id, VERSIONS.c.observed_at, VERSIONS.c.account_id, VERSIONS.c.record)
_MEMBERS = _SELECTED.where(_CURRENT).limit(sa.bindparam("most", type_=sa.BigInteger))
_SEVERAL = _SELECTED.where(VERSIONS.c.kind == _KIND, _CURRENT)
_FACTS = (
    sa.select(
        FACTS.c.kind,
        FACTS.c.id,
        FACTS.c.part,
        FACTS.c.prospect_id,
        FACTS.c.contact_id,
        FACTS.c.occurred_at,
        FACTS.c.recorded_at,
        FACTS.c.retracted_at,
        FACTS.c.record,
    )
    .where(FACTS.c.recorded_at <= _T, FACTS.c.occurred_at <= _T)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_ROOTS = sa.select(NAMES.c.id, NAMES.c.target, NAMES.c.since, NAMES.c.erased).where(NAMES.c.kind == _KIND)
_ALIASES = sa.select(NAMES.c.id, NAMES.c.target).where(
    NAMES.c.kind == _KIND, NAMES.c.target.is_not(None), NAMES.c.since <= _T
)
_KNOWN = sa.select(NAMES.c.id).where(NAMES.c.kind == _KIND)
_META = sa.select(META.c.value).where(META.c.name == sa.bindparam("name", type_=sa.String))
_HELD = {
    table: sa.select(sa.literal(1)).where(of.c.kind == table, since <= _T).limit(1)
    for of, since, tables in (
        (VERSIONS, VERSIONS.c.observed_at, tuple(KEYS)),
        (FACTS, FACTS.c.recorded_at, ("events", "outcomes")),
    )
    for table in tables
}

_CHUNK = 256  # ids of one query at most: an old SQLite takes 999 parameters
_IDS = tuple(f"id{i}" for i in range(2 * _CHUNK))


@cache
def _of(query: sa.Select[Any], column: sa.Column[str], length: int) -> sa.Select[Any]:
    """A query for the rows of some ids: so many that their count has this length in bits.

    A query for every count would be hundreds of them, kept for good.
    """
    return query.where(column.in_([sa.bindparam(name, type_=sa.String) for name in _IDS[: 1 << length]]))


def _rows(ask: Ask, query: sa.Select[Any], column: sa.Column[str], ids: Sequence[str], **values: Any) -> list[Any]:
    """The rows of a query for these ids, a few hundred at a time."""
    out: list[Any] = []
    for start in range(0, len(ids), _CHUNK):
        some = ids[start : start + _CHUNK]
        length = (len(some) - 1).bit_length()
        padded = (*some, *[some[-1]] * ((1 << length) - len(some)))
        out += ask(_of(query, column, length), {**values, **dict(zip(_IDS, padded, strict=False))})
    return out


class Question(NamedTuple):
    """A prospect that is asked for, as of when (microseconds; None: now), and the request whose ids are looked up."""

    prospect_id: str
    t: int | None = None
    request: Any = None


# An error is that it was erased, that too much is stored of it, or that this cannot be read.
Answer = Known | Exception | None


class _TooMany(Exception):
    """More than one look-up may bring: facts, or on the event loop rows of any kind."""


class _Fact(NamedTuple):
    """A row of the facts."""

    kind: str
    id: str
    part: int
    prospect_id: str
    contact_id: str | None
    occurred_at: int
    recorded_at: int
    retracted_at: int | None
    record: str


@dataclass(frozen=True)
class _Members:
    """What is of one account: its own row, and those of its prospects and contacts, by id."""

    account: Any
    prospects: Mapping[str, Any]
    contacts: Mapping[str, Any]


class _Draft(NamedTuple):
    """A prospect or an account that was found, before the contacts are there whom its events name."""

    question: Question
    root: str
    own: Any  # a prospect's row
    members: _Members
    siblings: list[str]  # the account's prospects but for the one, in order
    facts: list[_Fact]
    named: set[str]  # contacts that are not the account's

    def weight(self) -> int:
        """How many rows it is put together from."""
        return len(self.siblings) + len(self.members.contacts) + len(self.named) + len(self.facts)


class History:
    """Reads a store. Made once for each process; what it remembers is only what cannot change."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._key: bytes | None = None
        self._held: dict[str, int] = {}  # by table a time by which the store was seen to hold something of it
        self._heavy: OrderedDict[str, float] = OrderedDict()  # until when a prospect is not asked for at once

    def prospect(self, prospect_id: str, t: int | None, request: Any = None) -> Known | None:
        """What was known of a prospect at t (microseconds), or is known (None); None where its record was not there.

        ``request`` is the one whose ids are looked up too. Raises LeadscoreError ``erased`` and ``too_many_items``,
        and as ``Store.read`` does.
        """
        (found,) = self.prospects([Question(prospect_id, t, request)])
        if isinstance(found, Exception):
            raise found
        return found

    def prospects(self, questions: Sequence[Question]) -> list[Answer]:
        """What ``prospect`` gives for each, in a few queries for all of them. Raises as ``Store.read`` does."""
        return self.store.ask(lambda ask: self._answers(ask, questions, _MOST))

    def at_once(self, questions: Sequence[Question]) -> list[Answer] | None:
        """What ``prospects`` gives, asked on the event loop's own thread; None where that takes too long, or fails."""
        now = time.monotonic()
        if self._heavy and any(self._heavy.get(question.prospect_id, 0.0) > now for question in questions):
            return None
        try:
            return self.store.at_once(lambda ask: self._answers(ask, questions, min(_FEW, _MOST)))
        except (_TooMany, TooLong):
            if len(questions) == 1:
                self._heavy[questions[0].prospect_id] = now + _HEAVY_SECONDS
                if len(self._heavy) > _HEAVIES:
                    self._heavy.popitem(last=False)
            return None

    def account(self, account_id: str, t: int | None, request: Any = None) -> Known | None:
        """What was known of an account with all its prospects, as ``prospect`` gives it for one."""
        question = Question(account_id, t, request)
        try:
            found = self.store.ask(lambda ask: self._account(ask, question))
        except _TooMany:
            raise _too_many() from None
        if isinstance(found, Exception):
            raise found
        return found

    def spoken_of(self, prospect_ids: Sequence[str]) -> set[str] | None:
        """Those of these prospects of which the store knows something, or knew before they were erased.

        None: it cannot tell at once. It can where it is SQLite, once a prospect was looked up.
        """
        if self._key is None:
            return None  # the first look-up finds it
        out: set[str] = set()
        for start in range(0, len(prospect_ids), _CHUNK):
            ids = prospect_ids[start : start + _CHUNK]
            stones = [tombstone(self._key, "prospects", id) for id in ids]
            length = (2 * len(ids) - 1).bit_length()
            rest = stones[-1:] * ((1 << length) - 2 * len(ids))
            found = self.store.quick(_of(_KNOWN, NAMES.c.id, length), ("prospects", *ids, *stones, *rest))
            if found is None:
                return None
            if found:
                known = set(found)
                out.update(id for id, stone in zip(ids, stones, strict=True) if id in known or stone in known)
        return out

    def _answers(self, ask: Ask, questions: Sequence[Question], most: int) -> list[Answer]:
        """What was known of each.

        With less than ``_MOST`` for ``most``, raises _TooMany where that is more than so many rows.
        """
        by_time: dict[int | None, list[int]] = {}
        for i, question in enumerate(questions):
            by_time.setdefault(question.t, []).append(i)
        out: list[Answer] = [None] * len(questions)
        if most < _MOST:
            most //= max(len(by_time), 1)
        for places in by_time.values():
            for i, found in zip(places, self._then(ask, [questions[i] for i in places], most), strict=True):
                out[i] = found
        return out

    def _then(self, ask: Ask, questions: Sequence[Question], most: int) -> list[Answer]:
        """The answers to questions about one time."""
        try:
            return self._together(ask, questions, most)
        except _TooMany:
            if most < _MOST:
                raise
            if len(questions) == 1:
                return [_too_many()]
            return [found for question in questions for found in self._then(ask, [question], most)]

    def _together(self, ask: Ask, questions: Sequence[Question], most: int) -> list[Answer]:
        at = _moment(questions[0].t)
        if most < _MOST and sum(_size(question.request) for question in questions) > most:
            raise _TooMany  # ids to be looked up
        roots = self._roots(ask, "prospects", {q.prospect_id for q in questions}, at)
        ids = sorted({root for root in roots.values() if isinstance(root, str)})
        own = {row[1]: row for row in _rows(ask, _SEVERAL, VERSIONS.c.id, ids, kind="prospects", t=at)}
        members = self._members(ask, {row[3] for row in own.values()} - {None}, at, most)
        nobody = _Members(None, {}, {})
        around = {root: members[row[3]] if row[3] is not None else nobody for root, row in own.items()}
        facts = self._facts(ask, {*own, *(p for found in around.values() for p in found.prospects)}, at, most)
        drafts = []
        for question in questions:
            root = roots[question.prospect_id]
            if isinstance(root, str) and root in own:
                drafts.append(_draft(question, root, own[root], around[root], facts, at))
        if most < _MOST and sum(draft.weight() for draft in drafts) > most:  # those of one account repeat its rows
            raise _TooMany
        people = self._people(ask, drafts, at)
        held: dict[str, bool] = {}
        made: dict[int, Answer] = {}
        for draft in drafts:
            try:
                made[id(draft.question)] = self._prospect(ask, draft, people, at, held)
            except (TypeError, ValueError) as e:  # a damaged record is nobody else's fault
                made[id(draft.question)] = e
        answers: list[Answer] = []
        for question in questions:
            root = roots[question.prospect_id]
            answers.append(root if isinstance(root, LeadscoreError) else made.get(id(question)))
        return answers

    def _roots(self, ask: Ask, kind: str, ids: Set[str], at: int) -> dict[str, str | LeadscoreError | None]:
        """The id that each stands for at a time; None where nobody spoke of it, and the error where it was erased."""
        if self._key is None:
            self._key = bytes.fromhex(next((value for (value,) in ask(_META, {"name": TOMBSTONE_KEY})), ""))
        out: dict[str, str | LeadscoreError | None] = dict.fromkeys(ids)
        left = {id: id for id in ids}  # what is to be looked up for each
        while left:
            stones = {id: tombstone(self._key, kind, id) for id in left.values()}
            found = {row[0]: row for row in _rows(ask, _ROOTS, NAMES.c.id, [*stones, *stones.values()], kind=kind)}
            following = {}
            for asked, id in left.items():
                row = found.get(stones[id]) or found.get(id)
                if row is None:
                    out[asked] = None if asked == id else id
                    continue
                _, target, since, gone = row
                if gone:
                    out[asked] = erased(KEYS[kind])
                elif target is None or since > at:
                    out[asked] = id
                else:
                    following[asked] = target
            left = following
        return out

    def _prospect(self, ask: Ask, draft: _Draft, people: Mapping[str, Any], at: int, held: dict[str, bool]) -> Known:
        question, root, own, members = draft.question, draft.root, draft.own, draft.members
        seen = _Seen(own[2])
        body: Row = {"prospect": seen.state(own)}
        if members.account is not None:
            body["account"] = seen.state(members.account)
        siblings = [seen.state(members.prospects[id]) for id in draft.siblings]
        contacts = _contacts(draft, people, seen)
        if self._holds(ask, "contacts", contacts, at, held):
            body["contacts"] = contacts
        lists: dict[str, tuple[list[Row], list[Row]]] = {"events": ([], []), "outcomes": ([], [])}  # its own, others'
        for fact, record in zip(draft.facts, _records_of(draft.facts), strict=True):
            mine = fact.prospect_id == root
            lists[fact.kind][not mine].append(seen.fact(fact, record, at, named=not mine))
        for table, (ours, theirs) in lists.items():
            if self._holds(ask, table, ours or theirs, at, held):
                body[table] = ours
        if own[3] is not None:
            body["related"] = {
                "prospects": siblings,
                **{table: theirs for table, (_, theirs) in lists.items() if table in body},
            }
        names = self._names(ask, question.request, at, ("prospects", question.prospect_id, root))
        return Known(root, body, seen.newest, question.prospect_id, names)

    def _account(self, ask: Ask, question: Question) -> Answer:
        at = _moment(question.t)
        account_id, _, request = question
        root = self._roots(ask, "accounts", {account_id}, at)[account_id]
        if not isinstance(root, str):
            return root
        members = self._members(ask, {root}, at, _MOST)[root]
        if not members.prospects:
            return None
        draft = _draft(question, root, None, members, self._facts(ask, set(members.prospects), at, _MOST), at)
        seen = _Seen(ALWAYS)
        body: Row = {"account": {"account_id": root} if members.account is None else seen.state(members.account)}
        body["prospects"] = [seen.state(members.prospects[id]) for id in draft.siblings]
        contacts = _contacts(draft, self._people(ask, [draft], at), seen)
        held: dict[str, bool] = {}
        if self._holds(ask, "contacts", contacts, at, held):
            body["contacts"] = contacts
        lists: dict[str, list[Row]] = {"events": [], "outcomes": []}
        for fact, record in zip(draft.facts, _records_of(draft.facts), strict=True):
            lists[fact.kind].append(seen.fact(fact, record, at))
        for table, facts in lists.items():
            if self._holds(ask, table, facts, at, held):
                body[table] = facts
        names = self._names(ask, request, at, ("accounts", account_id, root))
        return Known(root, body, seen.newest, account_id, names)

    def _names(self, ask: Ask, request: Any, at: int, known: tuple[str, str, str]) -> dict[str, dict[str, str]]:
        """By key, the ids in a request that were merged by then, each with the one that it stands for.

        ``known`` is the kind of the one that is asked for, its id, and what that stands for.
        """
        of, asked, root = known
        out, ids = {}, _ids(request)
        for kind, key in KEYS.items():
            into = {asked: root} if kind == of and asked != root else {}
            wanted = ids[key] - ({asked, root} if kind == of else set())
            tried: set[str] = set()
            while wanted:
                tried |= wanted
                into.update(_rows(ask, _ALIASES, NAMES.c.id, sorted(wanted), kind=kind, t=at))
                wanted = {target for target in into.values() if target not in into} - tried
            if into:
                out[key] = {id: _end(id, into) for id in into}
        return out

    def _members(self, ask: Ask, account_ids: Set[str], at: int, most: int) -> dict[str, _Members]:
        """What is of each of these accounts at a time. Raises _TooMany, as ``_answers`` says."""
        wanted = sorted(account_ids)
        bound = most if most < _MOST else NEVER - 1
        accounts = {row[1]: row for row in _rows(ask, _SEVERAL, VERSIONS.c.id, wanted, kind="accounts", t=at)}
        out = {id: _Members(accounts.get(id), {}, {}) for id in wanted}
        rows = _rows(ask, _MEMBERS, VERSIONS.c.account_id, wanted, t=at, most=bound + 1)
        if len(rows) > bound:
            raise _TooMany
        for row in rows:
            found = out[row[3]]
            (found.contacts if row[0] == "contacts" else found.prospects)[row[1]] = row  # type: ignore[index]
        return out

    def _facts(self, ask: Ask, prospect_ids: Set[str], at: int, most: int) -> dict[str, list[_Fact]]:
        """The facts of each prospect that were known at a time. Raises _TooMany."""
        out: dict[str, list[_Fact]] = {}
        count = 0
        wanted = sorted(prospect_ids)
        for start in range(0, len(wanted), _CHUNK):
            some = wanted[start : start + _CHUNK]
            for row in _rows(ask, _FACTS, FACTS.c.prospect_id, some, t=at, most=most + 1):
                out.setdefault(row[3], []).append(_Fact._make(row))
                count += 1
            if count > most:
                raise _TooMany
        return out

    def _people(self, ask: Ask, drafts: Sequence[_Draft], at: int) -> dict[str, Any]:
        """The contacts of other accounts that the events name."""
        ids = sorted({id for draft in drafts for id in draft.named})
        return {row[1]: row for row in _rows(ask, _SEVERAL, VERSIONS.c.id, ids, kind="contacts", t=at)}

    def _holds(self, ask: Ask, table: str, found: Any, at: int, held: dict[str, bool]) -> bool:
        """Whether the store held anything of a table by then: else it is unknown to us, and not empty.

        ``held`` remembers it for this time: that nothing was there may take long to find out.
        """
        since = self._held.get(table, NEVER + 1)
        if since <= at:
            return True
        if not found:
            if table not in held:
                held[table] = bool(ask(_HELD[table], {"t": at}))
            if not held[table]:
                return False
        self._held[table] = min(since, at)
        return True


def _size(request: Any) -> int:
    """How many records a request lists."""
    parts = (request, request.get("related")) if type(request) is dict else ()
    return sum(len(value) for part in parts if type(part) is dict for value in part.values() if type(value) is list)


def _moment(t: int | None) -> int:
    return NEVER if t is None else t


def _too_many() -> BadInput:
    return BadInput(
        "too_many_items",
        f"the store holds more than {_MOST:,} events and outcomes of this prospect and its account.",
        where="prospect_id",
        remedy="Send what it is to be scored with in the request, under an id that was never stored.",
    )


def _draft(
    question: Question,
    root: str,
    own: Any,
    members: _Members,
    facts: Mapping[str, list[_Fact]],
    at: int,
) -> _Draft:
    """What was found of a prospect (or, without its row, of an account), its facts in order."""
    siblings = sorted(id for id in members.prospects if own is None or id != root)
    every = [fact for id in ((root, *siblings) if own is not None else siblings) for fact in facts.get(id, ())]
    every.sort(key=_ORDER)
    last: dict[tuple[str, str], int] = {}  # a fact that was moved is read where it came to
    for fact in every:
        if fact.part:
            last[fact.kind, fact.id] = max(fact.part, last.get((fact.kind, fact.id), 0))
    if last:
        every = [fact for fact in every if fact.part == last.get((fact.kind, fact.id), 0)]
    # Of those that were taken back by then the person may have been the wrong one.
    named = {f.contact_id for f in every if f.retracted_at is None or f.retracted_at > at}
    others = {id for id in named if id is not None and id not in members.contacts}
    return _Draft(question, root, own, members, siblings, every, others)


_ORDER = itemgetter(5, 6, 1, 2)  # occurred_at, recorded_at, id, part


def _contacts(draft: _Draft, people: Mapping[str, Any], seen: _Seen) -> list[Row]:
    """The account's contacts and those that its events name, who stand for this account here, in order."""
    found = {id: seen.state(row) for id, row in draft.members.contacts.items()}
    for id in draft.named:
        if id in people:
            found[id] = {name: value for name, value in seen.state(people[id]).items() if name != "account_id"}
    return [found[id] for id in sorted(found)]


class _Seen:
    """Rows as JSON, and the latest moment at which one of them was recorded."""

    def __init__(self, newest: int) -> None:
        self.newest = newest

    def state(self, row: Any) -> Row:
        kind, id, observed_at, account_id, record = row
        self.newest = max(self.newest, observed_at)
        out: Row = {KEYS[kind]: id, **from_json(record)}
        if observed_at != ALWAYS:
            out["observed_at"] = format_time(observed_at)
        if account_id is not None:
            out["account_id"] = account_id
        return out

    def fact(self, fact: _Fact, record: Row, at: int, named: bool = True) -> Row:
        """A fact as it was known at a time (that it was taken back later was not), put to what is kept of it.

        ``named``: with its prospect.
        """
        kind, id, _, prospect_id, contact_id, _, recorded_at, retracted_at, _ = fact
        if recorded_at > self.newest:
            self.newest = recorded_at
        if named:
            record["prospect_id"] = prospect_id
        if kind == "events":
            record["event_id"] = id
        if contact_id is not None:
            record["contact_id"] = contact_id
        record["recorded_at"] = format_time(recorded_at)
        if retracted_at is not None and retracted_at <= at:
            self.newest = max(self.newest, retracted_at)
            record["retracted_at"] = format_time(retracted_at)
        return record


def _records_of(facts: Sequence[_Fact]) -> list[Row]:
    """What is kept of each, read in one go."""
    found: list[Row] = from_json(f"[{','.join([fact.record for fact in facts])}]", cache_strings="keys")
    return found


def _ids(request: Any) -> dict[str, set[str]]:
    """By key, the ids anywhere in a request that can be read; what is wrong with the others is the reader's."""
    found: dict[str, set[str]] = {key: set() for key in KEYS.values()}
    parts = [request]
    for _ in range(LEVELS):
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
    return {key: {id for id in ids if readable_id(id) is not None} for key, ids in found.items()}


def readable_id(value: Any) -> str | None:
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
