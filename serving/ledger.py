"""Writing the live records: versions, events and outcomes, retractions, merges, erasure; each all or nothing.

Whatever comes is stamped with the moment of its arrival, and a repeated delivery changes nothing. Every function is
the work of one transaction (``Store.write``) and may run again after a fault of the database. Who writes about an id
locks its row of ``live_names`` first, in one order, so that two workers meet there and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from features.contract import ALWAYS, KEYS, NEVER, format_time
from features.errors import BadInput, LeadscoreError
from serving.store import FACTS, NAMES, TOMBSTONE_KEY, VERSIONS, get_meta

Name = tuple[str, str]  # kind and id
_CHUNK = 400  # ids in one statement
_DEEP = 10_000  # aliases of aliases that are followed: more than anybody merges, and no ring holds up a writer

# The canonical text of a record.
text_of = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False).encode

Eraser = Callable[[Connection, Sequence[str], Sequence[str], int], Any]  # what else is kept of prospects, contacts; now


@dataclass(frozen=True)
class State:
    """A record of a state table, read: its canonical text without its keys and its time, and these.

    ``observed_at`` is given by a backfill only; None is stamped.
    """

    kind: str
    id: str
    record: str
    account_id: str | None = None
    created_at: int | None = None
    observed_at: int | None = None


@dataclass(frozen=True)
class Fact:
    """An event or an outcome, read: its canonical text without the ids of whom it is about, and these.

    ``recorded_at`` (and with it ``retracted_at``) is given by a backfill only; None is stamped. ``place`` is its path
    in the request, for messages.
    """

    kind: str
    id: str
    prospect_id: str
    occurred_at: int
    record: str
    contact_id: str | None = None
    recorded_at: int | None = None
    retracted_at: int | None = None
    replaces: str | None = None
    place: str = ""


@dataclass(frozen=True)
class Put:
    """What became of a record: the id that it stands under, since when its content is known, whether it is new."""

    id: str
    observed_at: int
    created: bool
    changed: bool


@dataclass(frozen=True)
class Added:
    """What became of facts: how many are new and how many were there; when the new ones were recorded."""

    accepted: int
    repeated: int
    recorded_at: int | None


def put(connection: Connection, state: State, now: int) -> Put:
    """Keep a record as the newest version of its id; one that says what the newest says changes nothing.

    Raises LeadscoreError ``erased``; BadInput ``missing_field``, ``created_at_changes``, ``outcome_before_creation``.
    """
    names = _Names(connection, _about(state))
    root = names.root(state.kind, state.id, KEYS[state.kind])
    account_id = state.account_id and names.root("accounts", state.account_id, "account_id")
    _births(connection, names, [state], [root])
    record = _record(names, state, root)
    newest = connection.execute(_NEWEST, {"kind": state.kind, "id": root}).first()
    if newest is not None and (newest.record, newest.account_id) == (record, account_id):
        return Put(root, newest.observed_at, False, False)
    stamp = now if newest is None else max(now, newest.observed_at + 1)
    _insert_version(connection, state.kind, root, stamp, account_id, record)
    return Put(root, stamp, newest is None, True)


def put_versions(connection: Connection, states: Sequence[State]) -> Added:
    """Keep versions of one kind that bring their own time (a backfill); the same version again changes nothing.

    What a record said before it was merged stays its own: the other one said nothing of it then. What is erased is
    left out. Raises BadInput ``conflicting_versions`` where another one is known from the same moment,
    ``created_at_changes``, ``outcome_before_creation``.
    """
    names = _Names(connection, [name for state in states for name in _about(state)])
    kept = [s for s in states if not names.erased(s.kind, s.id)]
    times = [ALWAYS if s.observed_at is None else s.observed_at for s in kept]
    roots = [names.root(s.kind, s.id, KEYS[s.kind], at) for s, at in zip(kept, times, strict=True)]
    _births(connection, names, kept, roots)
    known = _versions_of(connection, sorted({(s.kind, root) for s, root in zip(kept, roots, strict=True)}))
    rows = []
    for state, root, at in zip(kept, roots, times, strict=True):
        account_id = state.account_id and names.root("accounts", state.account_id, "account_id")
        key = (state.kind, root, at)
        content = (_record(names, state, root), account_id)
        if key not in known:
            known[key] = content
            rows.append(_version(*key, account_id, content[0]))
            _, ended = names.alias(state.kind, root)
            if ended is not None and (state.kind, root, ended) not in known:  # merged before anything of it was here
                known[state.kind, root, ended] = (None, None)
                rows.append(_version(state.kind, root, ended, None, None))
        elif not _alike(connection, known[key], content):
            raise BadInput(
                "conflicting_versions",
                "the store knows another version of this record from the same moment.",
                where=f"{state.kind}: {state.id}",
                remedy="Give the differing version an observed_at of its own.",
            )
    if rows:
        connection.execute(VERSIONS.insert(), rows)
    new = sum(row["record"] is not None for row in rows)
    return Added(new, len(kept) - new, None)


def _record(names: _Names, state: State, root: str) -> str:
    """A record as it is kept under the id that it stands under: a prospect keeps its own creation."""
    born = names.created_at(root) if state.kind == "prospects" and root != state.id else None
    if born is None or born == state.created_at:
        return state.record
    return text_of({**json.loads(state.record), "created_at": format_time(born)})


def _alike(connection: Connection, known: tuple[str | None, Any], given: tuple[str | None, Any]) -> bool:
    """Whether two versions say the same, an account that was merged meanwhile being the one that it is now."""
    if known[0] != given[0] or known[1] == given[1]:
        return known[0] == given[0]
    return known[1] is not None and follow(connection, "accounts", known[1]) == given[1]


def _versions_of(connection: Connection, ids: Sequence[Name]) -> dict[tuple[str, str, int], tuple[str | None, Any]]:
    out = {}
    for start in range(0, len(ids), _CHUNK):
        these = sa.tuple_(VERSIONS.c.kind, VERSIONS.c.id).in_(ids[start : start + _CHUNK])
        for row in connection.execute(sa.select(VERSIONS).where(these)):
            out[row.kind, row.id, row.observed_at] = (row.record, row.account_id)
    return out


def _about(state: State) -> list[Name]:
    about = [(state.kind, state.id)]
    return about if state.account_id is None else [*about, ("accounts", state.account_id)]


def _births(connection: Connection, names: _Names, states: Sequence[State], roots: Sequence[str]) -> None:
    """Keep the creation of prospects, which never changes and which no outcome precedes."""
    new: dict[str, int] = {}
    for state, root in zip(states, roots, strict=True):
        if state.kind != "prospects" or state.created_at is None:
            continue
        known = names.created_at(root)
        if known is None:
            names.born(root, state.created_at)
            new[root] = state.created_at
        elif state.created_at != known and root == state.id:  # what was merged keeps a creation of its own
            raise BadInput(
                "created_at_changes",
                f"the prospect was created at {format_time(known)}, by an earlier version of it.",
                where="created_at",
                remedy="A prospect is created once: send the same created_at, or leave it out.",
            )
    ids = sorted(new)
    for start in range(0, len(ids), _CHUNK):
        these = (FACTS.c.kind == "outcomes", FACTS.c.prospect_id.in_(ids[start : start + _CHUNK]))
        first = sa.select(FACTS.c.prospect_id, sa.func.min(FACTS.c.occurred_at)).where(*these)
        for prospect_id, occurred_at in connection.execute(first.group_by(FACTS.c.prospect_id)):
            if occurred_at < new[prospect_id]:
                raise _before_creation("created_at")
    if new:
        this = (NAMES.c.kind == "prospects", NAMES.c.id == sa.bindparam("of"))
        born = NAMES.update().where(*this).values(created_at=sa.bindparam("at"))
        connection.execute(born, [{"of": i, "at": new[i]} for i in ids])


def _before_creation(where: str) -> BadInput:
    return BadInput(
        "outcome_before_creation",
        "the outcome occurred before its prospect was created.",
        where=where,
        remedy="Correct the time of the one or of the other.",
    )


def add(connection: Connection, facts: Sequence[Fact], now: int, *, backfill: bool = False) -> Added:
    """Keep facts, all or none; those that are there already with the same content change nothing.

    A ``backfill`` brings their times, and an earlier ``recorded_at`` of what is there already counts; what is erased is
    left out. Raises BadInput ``conflicting_event``, ``conflicting_outcome``, ``outcome_before_creation``,
    LeadscoreError ``erased`` and ``unknown_event``, each with the place of the fact.
    """
    about = [("prospects", f.prospect_id) for f in facts]
    about += [("contacts", f.contact_id) for f in facts if f.contact_id is not None]
    names = _Names(connection, about)
    known = _known(connection, facts)
    rows: dict[Name, dict[str, Any]] = {}
    repeated = accepted = 0
    for fact in facts:
        if backfill and (
            names.erased("prospects", fact.prospect_id)
            or (fact.contact_id is not None and names.erased("contacts", fact.contact_id))
        ):
            continue
        owner = names.root("prospects", fact.prospect_id, _at(fact, "prospect_id"))
        contact_id = fact.contact_id
        contact = contact_id if contact_id is None else names.root("contacts", contact_id, _at(fact, "contact_id"))
        recorded_at = now if fact.recorded_at is None else fact.recorded_at
        retracted_at = fact.retracted_at
        if backfill:  # of the one that it was merged into, nobody knew it before the merge
            recorded_at = max(recorded_at, names.since("prospects", fact.prospect_id))
            retracted_at = retracted_at and max(retracted_at, recorded_at)
        content = (owner, contact, fact.occurred_at, fact.replaces, fact.record)
        key = (fact.kind, fact.id)
        old = known.get(key)
        if old is None and key in rows:
            row = rows[key]
            old = (row["prospect_id"], row["contact_id"], row["occurred_at"], row["replaces"], row["record"], 0)
        if old is not None:
            _same(connection, names, fact, old, content)
            if backfill and recorded_at < old[5]:
                earlier = FACTS.update().where(
                    FACTS.c.kind == fact.kind,
                    FACTS.c.id == fact.id,
                    FACTS.c.part == 0,
                    FACTS.c.recorded_at > recorded_at,
                )
                connection.execute(earlier.values(recorded_at=recorded_at))
            if backfill and fact.retracted_at is not None:
                _retracted(connection, fact.id, fact.retracted_at)
            repeated += 1
            continue
        created_at = names.created_at(owner)
        if fact.kind == "outcomes" and created_at is not None and fact.occurred_at < created_at:
            raise _before_creation(_at(fact, "occurred_at"))
        rows[key] = {
            "kind": fact.kind,
            "id": fact.id,
            "part": 0,
            "prospect_id": owner,
            "contact_id": contact,
            "occurred_at": fact.occurred_at,
            "recorded_at": recorded_at,
            "retracted_at": retracted_at,
            "replaces": fact.replaces,
            "record": fact.record,
        }
        accepted += 1
    if rows:
        connection.execute(FACTS.insert(), [rows[key] for key in sorted(rows)])
    for fact in facts:
        if fact.replaces is not None and (fact.kind, fact.id) in rows:
            _replace(connection, names, fact, now)
    return Added(accepted, repeated, now if accepted and not backfill else None)


def _retracted(connection: Connection, event_id: str, at: int) -> None:
    """A backfill says when an event was taken back; of two such times the earlier one counts.

    What a merge moved meanwhile was moved in vain: there it counts for no moment.
    """
    later = sa.or_(FACTS.c.retracted_at.is_(None), FACTS.c.retracted_at > at)
    never = sa.case((FACTS.c.recorded_at > at, FACTS.c.recorded_at), else_=at)
    connection.execute(
        FACTS.update().where(FACTS.c.kind == "events", FACTS.c.id == event_id, later).values(retracted_at=never)
    )


def _at(fact: Fact, field: str) -> str:
    return f"{fact.place}.{field}" if fact.place else field


def _known(connection: Connection, facts: Sequence[Fact]) -> dict[Name, tuple[Any, ...]]:
    """What is there under the ids of the facts: as it was sent."""
    out: dict[Name, tuple[Any, ...]] = {}
    for kind in ("events", "outcomes"):
        ids = sorted({f.id for f in facts if f.kind == kind})
        for start in range(0, len(ids), _CHUNK):
            query = sa.select(FACTS).where(
                FACTS.c.kind == kind, FACTS.c.part == 0, FACTS.c.id.in_(ids[start : start + _CHUNK])
            )
            for row in connection.execute(query):
                content = (row.prospect_id, row.contact_id, row.occurred_at, row.replaces, row.record, row.recorded_at)
                out[kind, row.id] = content
    return out


def _same(
    connection: Connection, names: _Names, fact: Fact, old: tuple[Any, ...], content: tuple[str | None, ...] | Any
) -> None:
    """Refuse another content under a known id; what was merged meanwhile is the same."""
    owner, contact, *rest = old[:5]
    if owner != content[0]:
        owner = follow(connection, "prospects", owner)
    if contact is not None and contact != content[1]:
        contact = follow(connection, "contacts", contact)
    if (owner, contact, *rest) != content:
        raise BadInput(
            f"conflicting_{fact.kind[:-1]}",
            "the id is known with another content.",
            where=fact.place,
            remedy="A fact never changes: send a correction under an id of its own"
            + (', with "replaces" naming this one.' if fact.kind == "events" else "."),
        )


def _replace(connection: Connection, names: _Names, fact: Fact, now: int) -> None:
    wanted = (FACTS.c.kind == "events", FACTS.c.id == fact.replaces)
    part = connection.execute(sa.select(FACTS.c.prospect_id).where(*wanted).order_by(FACTS.c.part.desc())).first()
    where = _at(fact, "replaces")
    if part is None:
        raise LeadscoreError(
            "unknown_event", "no event has this id.", where=where, remedy="Send that event first, or leave this out."
        )
    if follow(connection, "prospects", part.prospect_id) != names.root("prospects", fact.prospect_id, where):
        raise BadInput(
            "id_mismatch",
            "the ids do not agree: the event to be replaced is of another prospect.",
            where=where,
            remedy="Correct it, or leave it out.",
        )
    connection.execute(
        FACTS.update()
        .where(*wanted, FACTS.c.retracted_at.is_(None))
        .values(retracted_at=_after(FACTS.c.recorded_at, now))
    )


def _after(column: Any, now: int) -> Any:
    """``now``, but later than the column."""
    return sa.case((column >= now, column + 1), else_=now)


def retract(connection: Connection, event_id: str, now: int) -> int:
    """Take an event back: from now on it counts no more, what it counted for before stays. Returns since when.

    Raises LeadscoreError ``unknown_event``.
    """
    wanted = (FACTS.c.kind == "events", FACTS.c.id == event_id)
    _hold(connection, [], sa.and_(*wanted))
    query = sa.select(FACTS.c.part, FACTS.c.retracted_at, FACTS.c.recorded_at).where(*wanted)
    newest = connection.execute(query.order_by(FACTS.c.part.desc()).with_for_update()).first()
    if newest is None:
        raise LeadscoreError(
            "unknown_event", "no event has this id.", where="event_id", remedy="Check the id; nothing was changed."
        )
    if newest.retracted_at is not None:
        return int(newest.retracted_at)
    at = max(now, int(newest.recorded_at) + 1)
    connection.execute(FACTS.update().where(*wanted, FACTS.c.part == newest.part).values(retracted_at=at))
    return at


def merge(connection: Connection, kind: str, id: str, into: str, now: int) -> tuple[str, int, bool]:
    """Make ``id`` an alias of ``into``: what was known of the one is known of the other from now on.

    Returns the id that both now stand for, since when, and whether that is new. Raises LeadscoreError ``erased``,
    ``unknown_prospect`` (or ``unknown_account``, ``unknown_contact``) where ``into`` has no record; BadInput
    ``merge_cycle``, ``already_merged``.
    """
    names = _Names(connection, [(kind, id), (kind, into)])
    root = names.root(kind, into, "into")
    if names.erased(kind, id):
        raise erased(KEYS[kind])
    target, since = names.alias(kind, id)
    if target is not None:
        if names.root(kind, id, KEYS[kind]) == root:
            return root, int(since or 0), False
        raise BadInput(
            "already_merged",
            "the record is merged into another one already.",
            where=KEYS[kind],
            remedy="Merge the record that it was merged into, or leave it as it is.",
        )
    if root == id:
        raise BadInput(
            "merge_cycle",
            "the record would be merged into itself.",
            where="into",
            remedy="Name the record that is to stay, and merge the others into it.",
        )
    if connection.execute(_NEWEST, {"kind": kind, "id": root}).first() is None:
        raise unknown(kind, "into")
    own = connection.execute(_NEWEST, {"kind": kind, "id": id}).first()
    at = now if own is None else max(now, own.observed_at + 1)
    column = {"prospects": FACTS.c.prospect_id, "contacts": FACTS.c.contact_id}.get(kind)
    if column is not None:
        live = sa.and_(column == id, FACTS.c.retracted_at.is_(None))
        latest = connection.execute(sa.select(sa.func.max(FACTS.c.recorded_at)).where(live)).scalar()
        at = at if latest is None else max(at, latest + 1)
        _move(connection, kind, column, live, root, names.created_at(root) if kind == "prospects" else None, at)
    else:
        at = _move_members(connection, id, root, at)
    if own is not None:
        _insert_version(connection, kind, id, at, None, None)
    connection.execute(NAMES.update().where(NAMES.c.kind == kind, NAMES.c.id == id).values(target=root, since=at))
    return root, at, True


def _move(
    connection: Connection, kind: str, column: Any, live: Any, root: str, created_at: int | None, at: int
) -> None:
    """Retract the live facts and let them come again as those of the root; an outcome from before its creation not."""
    copied = {"part": FACTS.c.part + 1, column.name: sa.literal(root), "recorded_at": sa.literal(at, sa.BigInteger)}
    values = [copied.get(c.name, c) for c in FACTS.c]
    moved = sa.select(*values).where(live)
    if created_at is not None:
        moved = moved.where(sa.or_(FACTS.c.kind != "outcomes", FACTS.c.occurred_at >= created_at))
    ids = connection.execute(sa.select(FACTS.c.kind, FACTS.c.id, FACTS.c.part).where(live)).all()
    connection.execute(FACTS.insert().from_select([c.name for c in FACTS.c], moved))
    for start in range(0, len(ids), _CHUNK):
        keys = [tuple(row) for row in ids[start : start + _CHUNK]]
        this = sa.tuple_(FACTS.c.kind, FACTS.c.id, FACTS.c.part).in_(keys)
        connection.execute(FACTS.update().where(this).values(retracted_at=at))


def _move_members(connection: Connection, account_id: str, root: str, at: int) -> int:
    """Give the account's prospects and contacts a version each that names the root."""
    named = sa.select(VERSIONS.c.kind, VERSIONS.c.id).where(VERSIONS.c.account_id == account_id).distinct()
    members = sorted((row.kind, row.id) for row in connection.execute(named))
    _Names(connection, members)
    moved = []
    for kind, member in members:
        newest = connection.execute(_LAST, {"kind": kind, "id": member}).first()
        if newest is not None and newest.account_id == account_id:  # an ended one names none
            moved.append((kind, member, newest))
            at = max(at, newest.observed_at + 1)
    for kind, member, newest in moved:
        _insert_version(connection, kind, member, at, root, newest.record)
    return at


def erase(connection: Connection, kind: str, id: str, now: int, erasers: Iterable[Eraser]) -> dict[str, Any]:
    """Remove a prospect or a contact with all that is known of it; only that it was erased, and when, remains.

    ``erasers`` remove what others keep of the prospects concerned. Returns what was removed, counted; the same again
    for one that was erased before gives zeros and its time.
    """
    names = _Names(connection, [(kind, id)])
    since = names.erased(kind, id)
    if since is not None:
        return {"erased_at": since, "versions": 0, "events": 0, "outcomes": 0}
    ids = _family(connection, kind, names.root(kind, id, KEYS[kind]))
    column = FACTS.c.prospect_id if kind == "prospects" else FACTS.c.contact_id
    _hold(connection, [(kind, i) for i in ids], column.in_(ids))
    concerned = list(ids) if kind == "prospects" else _concerned(connection, ids)
    facts = {(r.kind, r.id) for r in connection.execute(sa.select(FACTS.c.kind, FACTS.c.id).where(column.in_(ids)))}
    for of in ("events", "outcomes"):
        gone = sorted(i for k, i in facts if k == of)
        for start in range(0, len(gone), _CHUNK):
            these = (FACTS.c.kind == of, FACTS.c.id.in_(gone[start : start + _CHUNK]))
            connection.execute(FACTS.delete().where(*these))
    versions = connection.execute(VERSIONS.delete().where(VERSIONS.c.kind == kind, VERSIONS.c.id.in_(ids))).rowcount
    connection.execute(NAMES.delete().where(NAMES.c.kind == kind, NAMES.c.id.in_(ids)))
    key = tombstone_key(connection)
    stones = [
        {"kind": kind, "id": tombstone(key, kind, i), "since": now, "erased": True, "target": None, "created_at": None}
        for i in ids
    ]
    connection.execute(NAMES.insert(), stones)
    for forget in erasers:
        forget(connection, concerned, ids if kind == "contacts" else (), now)
    counts = {of: sum(1 for k, _ in facts if k == of) for of in ("events", "outcomes")}
    return {"erased_at": now, "versions": versions, **counts}


def _hold(connection: Connection, held: Iterable[Name], these: Any) -> None:
    """Lock whom these facts are about, until no merge that is under way can move one of them unseen."""
    locked = set(held)
    while True:
        found = connection.execute(sa.select(FACTS.c.prospect_id, FACTS.c.contact_id).where(these).distinct()).all()
        about = {("prospects", row.prospect_id) for row in found}
        about |= {("contacts", row.contact_id) for row in found if row.contact_id is not None}
        if about <= locked:
            return
        _Names(connection, about)
        locked |= about


def _family(connection: Connection, kind: str, root: str) -> list[str]:
    """An id and all its aliases."""
    out, ask = [root], [root]
    while ask:
        query = sa.select(NAMES.c.id).where(NAMES.c.kind == kind, NAMES.c.target.in_(ask))
        ask = sorted(set(connection.execute(query).scalars()) - set(out))
        out += ask
    return out


def _concerned(connection: Connection, contacts: Sequence[str]) -> list[str]:
    """The prospects of whose answers a contact may be part: those of its events and of its accounts."""
    found = set(connection.execute(sa.select(FACTS.c.prospect_id).where(FACTS.c.contact_id.in_(contacts))).scalars())
    accounts = sa.select(VERSIONS.c.account_id).where(VERSIONS.c.kind == "contacts", VERSIONS.c.id.in_(contacts))
    query = sa.select(VERSIONS.c.id).where(VERSIONS.c.kind == "prospects", VERSIONS.c.account_id.in_(accounts))
    return sorted(found | set(connection.execute(query).scalars()))


def newest(connection: Connection, kind: str, id: str) -> dict[str, Any] | None:
    """The newest version of a record as it was put, None where there is none; nobody else writes it until the end.

    Raises LeadscoreError ``erased``.
    """
    root = _Names(connection, [(kind, id)]).root(kind, id, KEYS[kind])
    row = connection.execute(_NEWEST, {"kind": kind, "id": root}).first()
    if row is None or row.record is None:
        return None
    found: dict[str, Any] = json.loads(row.record)
    return found if row.account_id is None else {**found, "account_id": row.account_id}


# Names ----------------------------------------------------------------------------------------------------------------

_LAST = (
    sa.select(VERSIONS.c.observed_at, VERSIONS.c.record, VERSIONS.c.account_id)
    .where(VERSIONS.c.kind == sa.bindparam("kind"), VERSIONS.c.id == sa.bindparam("id"))
    .order_by(VERSIONS.c.observed_at.desc())
    .limit(1)
)
_NEWEST = _LAST.where(VERSIONS.c.record.is_not(None))


def _insert_version(
    connection: Connection, kind: str, id: str, observed_at: int, account_id: str | None, record: str | None
) -> None:
    connection.execute(VERSIONS.insert(), _version(kind, id, observed_at, account_id, record))


def _version(kind: str, id: str, observed_at: int, account_id: str | None, record: str | None) -> dict[str, Any]:
    return {"kind": kind, "id": id, "observed_at": observed_at, "account_id": account_id, "record": record}


def tombstone_key(connection: Connection) -> bytes:
    """The key of the hashes that stand for erased ids."""
    return bytes.fromhex(get_meta(connection, TOMBSTONE_KEY) or "")


@lru_cache(maxsize=16_384)  # whoever scores asks for it, and a moment later whoever writes the receipt
def tombstone(key: bytes, kind: str, id: str) -> str:
    """What stands for an erased id, an HMAC-SHA-256: nobody reads the id out of it, and who knows the id finds it."""
    begun = _begun(key, kind)
    inner, outer = begun[0].copy(), begun[1].copy()
    inner.update(id.encode())
    outer.update(inner.digest())
    stone: str = outer.hexdigest()
    return stone


@lru_cache(maxsize=16)
def _begun(key: bytes, kind: str) -> tuple[Any, Any]:
    """The inner and the outer hash of the HMACs of a kind, as RFC 2104 makes them, up to where they differ.

    Every score looks for one: to go on from here takes a third of the time.
    """
    block = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
    inner.update(f"{kind}/".encode())
    return inner, outer


def follow(connection: Connection, kind: str, id: str) -> str:
    """The id that an alias stands for by now; itself where it is none."""
    for _ in range(_DEEP):
        query = sa.select(NAMES.c.target).where(NAMES.c.kind == kind, NAMES.c.id == id)
        target = connection.execute(query).scalar()
        if target is None:
            break
        id = target
    return id


class _Names:
    """The rows of ``live_names`` about some ids and what they are aliases of, made where absent, and locked."""

    def __init__(self, connection: Connection, about: Iterable[Name]) -> None:
        self._key = tombstone_key(connection)
        self._rows: dict[Name, Any] = {}
        ask = sorted(set(about))
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        for _ in range(_DEEP):
            if not ask:
                break
            stones = self._stones(connection, ask)
            absent = [name for name in ask if name not in stones]
            if absent:
                made = [{"kind": kind, "id": id, "erased": False} for kind, id in absent]
                connection.execute(dialect.insert(NAMES).on_conflict_do_nothing(), made)
            for start in range(0, len(absent), _CHUNK):
                these = sa.tuple_(NAMES.c.kind, NAMES.c.id).in_(absent[start : start + _CHUNK])
                query = sa.select(NAMES).where(these).order_by(NAMES.c.kind, NAMES.c.id).with_for_update()
                for row in connection.execute(query):
                    self._rows[row.kind, row.id] = row
            # Once more: what is merged leads on, and what was erased while we waited for its lock is gone.
            targets = {(r.kind, r.target) for r in self._rows.values() if r.target is not None}
            ask = sorted((targets | set(absent)) - set(self._rows))
        self._born: dict[str, int] = {}

    def _stones(self, connection: Connection, ask: Sequence[Name]) -> set[Name]:
        hashes = {(kind, tombstone(self._key, kind, id)): (kind, id) for kind, id in ask if kind != "accounts"}
        keys = sorted(hashes)
        found = set()
        for start in range(0, len(keys), _CHUNK):
            these = sa.tuple_(NAMES.c.kind, NAMES.c.id).in_(keys[start : start + _CHUNK])
            for row in connection.execute(sa.select(NAMES).where(these)):
                name = hashes[row.kind, row.id]
                self._rows[name] = row
                found.add(name)
        return found

    def erased(self, kind: str, id: str) -> int | None:
        """When the id was erased, if it was."""
        row = self._rows[kind, id]
        return int(row.since) if row.erased else None

    def alias(self, kind: str, id: str) -> tuple[str | None, int | None]:
        """What the id was merged into, and when."""
        row = self._rows[kind, id]
        return row.target, row.since

    def root(self, kind: str, id: str, where: str, at: int = NEVER) -> str:
        """The id that this one stands for (at a time); raises ``erased`` with the place."""
        row = self._rows[kind, id]
        while row.target is not None and row.since <= at:
            row = self._rows[kind, row.target]
        if row.erased:
            raise erased(where)
        return str(row.id)

    def since(self, kind: str, id: str) -> int:
        """Since when the id stands for the one that it stands for now; always where it is no alias."""
        at, row = ALWAYS, self._rows[kind, id]
        while row.target is not None:
            at, row = max(at, int(row.since)), self._rows[kind, row.target]
        return at

    def created_at(self, prospect_id: str) -> int | None:
        """The creation of a prospect (not of an alias), where its record is there."""
        found: int | None = self._born.get(prospect_id, self._rows["prospects", prospect_id].created_at)
        return found

    def born(self, prospect_id: str, created_at: int) -> None:
        """Remember a creation that was just written."""
        self._born[prospect_id] = created_at


def erased(where: str) -> LeadscoreError:
    """The refusal of what was erased."""
    return LeadscoreError(
        "erased",
        "the person's records were erased, and nothing about them is kept again.",
        where=where,
        remedy="Stop sending it; a new relation needs a new id.",
    )


def unknown(kind: str, where: str) -> LeadscoreError:
    """The refusal of what has no record."""
    one = kind[:-1]
    return LeadscoreError(
        f"unknown_{one}",
        f"the store holds no record of this {one}.",
        where=where,
        remedy=f"Send it first with PUT /v1/{kind}/ID, or check the id.",
    )
