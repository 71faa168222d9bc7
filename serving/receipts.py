"""Receipts: every score is kept with its features, its version and its answer, for as long as the setting says.

Keeping one never fails a score, nor lets it wait: it is put into a bounded queue, and a thread writes what waits there
to the store, many in one transaction and many in one statement. The interpreter's lock, which the scores need too, is
let go while the database works. To take it again costs the scores more than what is done with it, so that little is
left to do with it: the row is made ready by whoever scored, on whose core its values lie. What finds no room is dropped
and counted. The ids rise with the time at which the records were read, so that the newest receipt of a prospect has its
greatest id, and the old ones are those below an id.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from features.compiled import compiled
from features.contract import DAY
from features.errors import LeadscoreError
from serving.ledger import tombstone, tombstone_key
from serving.store import NAMES, Store
from serving.wire import encode

logger = logging.getLogger("bentoml.leadscore")  # below bentoml's, whose level lets information through

Effects = bytes  # of a score's features, as float32 in their order

PART = "receipts"  # our tables among those of the store
_EVERY = 0.5  # seconds that few receipts wait: a transaction costs as much as many of them
_LONGEST = 1.0  # seconds that they wait for a moment without scores
_QUIET = 0.02  # seconds without a new one are such a moment
_LOOK = 0.1  # seconds between two looks at how many wait
_CHUNK = 500  # receipts in one transaction: it holds the store's only writer for some milliseconds
_SLICE = 250  # receipts in one statement
_AGAIN = 1.0  # seconds until the next attempt after a failure
_LAST = 5.0  # seconds that the end of the service waits for what is still in the queue
_PRUNED = 3600.0  # seconds between two looks for what is too old
_OLD = 500  # receipts that are removed in one transaction
_MIB = 1024 * 1024
_MOST_BYTES = 64 * _MIB  # of the texts that wait
_UNDER_WAY = 2_000_000  # microseconds after a contact's erasure in which an answer may still rest on it
_WAITED = 3_600_000_000  # microseconds for which no receipt waits to be written
_LOCK = 0x1EAD5C0F  # of PostgreSQL's advisory locks: whoever erases, against those that write receipts

METADATA = sa.MetaData()
RECEIPTS = sa.Table(
    "receipts",
    METADATA,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),  # prospect, account, contacts
    sa.Column("subject", sa.String, nullable=False),  # the id of whom the answer is about
    sa.Column("part_of", sa.String),  # of an account's prospect: the receipt of the account
    sa.Column("goal", sa.String, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("as_of", sa.BigInteger, nullable=False),
    sa.Column("language", sa.String, nullable=False),
    sa.Column("probability", sa.Float(53), nullable=False),
    sa.Column("regime", sa.String),
    sa.Column("features", sa.Text),  # a JSON list in the order of the model's
    sa.Column("effects", sa.LargeBinary),  # ``Effects``
    sa.Column("answer", sa.Text, nullable=False),  # as it was given
    sa.Index("receipts_subject", "kind", "subject", "goal", "id"),
    sa.Index(
        "receipts_part_of",
        "part_of",
        sqlite_where=sa.text("part_of IS NOT NULL"),
        postgresql_where=sa.text("part_of IS NOT NULL"),
    ),
)
MODELS = sa.Table(  # the bundles that receipts need, each by its digest
    "receipt_models",
    METADATA,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("goal", sa.String, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("names", sa.Text, nullable=False),  # of its features, a JSON list
)
MENTIONS = sa.Table(  # whom else an answer speaks of: the people in a ranking, the prospects behind it
    "receipt_mentions",
    METADATA,
    sa.Column("kind", sa.String, primary_key=True),  # prospects, contacts
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("receipt_id", sa.String, primary_key=True),
    sa.Index("receipt_mentions_receipt", "receipt_id"),
)

ENDS = (
    sa.Table(  # prospects whose answers rested on a contact that was erased: what was answered until then is not kept
        "receipt_ends",
        METADATA,
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
)


def _first(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[RECEIPTS, MODELS, MENTIONS], checkfirst=True)


def _second(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[ENDS], checkfirst=True)


STEPS = (_first, _second)  # each takes the tables one version further; never changed once released


class Model(NamedTuple):
    """Which bundle answered, and the names of its features in their order."""

    goal: str
    version: str
    digest: str
    names: tuple[str, ...]


class Receipt(NamedTuple):
    """One answer to be kept.

    ``kind`` is ``prospect``, ``account`` or ``contacts`` (a ranking of people); ``subject`` the prospect's or the
    account's id. ``features`` are raw values in the model's order, ``effects`` their effects; both None but for a
    prospect. ``answer`` is its JSON text as given, ``as_of`` in microseconds. ``mentions`` are the (kind, id) of others
    that the answer names.
    """

    id: str
    kind: str
    subject: str
    model: Model
    as_of: int
    language: str
    probability: float
    answer: str
    regime: str | None = None
    features: Sequence[Any] | None = None
    effects: Effects | None = None
    part_of: str | None = None
    mentions: tuple[tuple[str, str], ...] = ()


class Waiting(NamedTuple):
    """A receipt that is to be written: its row, whom it names, and the letters of its texts."""

    id: str
    names: tuple[tuple[str, str], ...]
    mentions: tuple[tuple[str, str], ...]
    model: Model
    row: tuple[Any, ...]
    size: int


@dataclass(frozen=True)
class Kept:
    """A receipt as it was kept; ``names`` are its features', ``parts`` the receipts of an account's prospects."""

    id: str
    kind: str
    subject: str
    part_of: str | None
    goal: str
    version: str
    digest: str
    as_of: int
    language: str
    probability: float
    regime: str | None
    features: tuple[Any, ...] | None
    names: tuple[str, ...]
    answer: Any
    parts: tuple[Kept, ...] = ()


def new_id(now: int) -> str:
    """An id of a moment (microseconds): a UUID of version 7, whose text rises with time. It cannot be guessed."""
    return identifier(now, _random())


def plain_identifier(now: int, random: int) -> str:
    """The UUID of version 7 of a moment and of 64 random bits, of which it takes 62."""
    millis, rest = divmod(now, 1000)
    value = (millis << 80) | (7 << 76) | ((rest * 4096 // 1000) << 64) | (2 << 62)
    text = f"{value | (random >> 2):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


identifier: Callable[[int, int], str] = compiled("serving._answers", "identifier", plain_identifier)


_spare: list[int] = []  # random numbers: to ask the system for each takes longer than all else of an id
os.register_at_fork(after_in_child=_spare.clear)


def _random() -> int:
    """64 random bits from the system."""
    try:
        return _spare.pop()
    except IndexError:
        first, *more = struct.unpack("=512Q", os.urandom(4096))
        _spare.extend(more)
        return int(first)


def moment_of(receipt_id: str) -> int | None:
    """When the answer was given, in microseconds to the millisecond; None where the text is no id of ours."""
    digits = receipt_id.replace("-", "")
    if len(receipt_id) != 36 or len(digits) != 32 or digits[12] != "7":
        return None
    try:
        return int(digits[:12], 16) * 1000
    except ValueError:
        return None


class Receipts:
    """The receipts of one worker: ``keep`` from anywhere, ``start`` and ``stop`` once. ``days`` 0 keeps none.

    Attributes:
        written: how many were written.
        dropped: how many were lost, for want of room in the queue or since they could not be written.
        on_drop: is told how many were dropped, from any thread.
        failures: how many times writing failed.
        written_until: a time of the monotonic clock; what was kept before it is in the store for sure, or was dropped.
    """

    def __init__(self, store: Store, days: float, most: int, clock: Callable[[], int] | None = None) -> None:
        self.store = store
        self.days = days
        self.written = 0
        self.dropped = 0
        self.failures = 0
        self.written_until = 0.0
        self.on_drop: Callable[[int], None] = lambda count: None
        self._clock = clock or (lambda: time.time_ns() // 1000)
        self._most = most
        self._queue: deque[Waiting] = deque()
        self._size = 0
        self._kept_at = 0.0  # when the last one came
        self._since = 0.0  # how long they wait: the first came then or later
        self._writing = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._models: set[str] = set()
        self._failing = False
        store.add_part(PART, STEPS)

    @property
    def waiting(self) -> int:
        """How many are not written yet."""
        return len(self._queue) + self._writing

    def keep(self, *receipts: Receipt) -> list[Waiting]:
        """Let receipts be written soon, and return them as they wait; none where any is dropped.

        Where they do not all find room, all are dropped. Neither waits nor raises.
        """
        kept = self._take(receipts, together=True)
        return kept if len(kept) == len(receipts) else []

    def keep_each(self, receipts: Sequence[Receipt]) -> list[Waiting]:
        """As ``keep``, but each for itself: those that wait are returned."""
        return self._take(receipts, together=False)

    def _take(self, receipts: Sequence[Receipt], together: bool) -> list[Waiting]:
        if self.days <= 0:
            return []
        ready: list[Waiting] = []
        # Where nothing finds room, nothing is made ready.
        room = self._most - len(self._queue) if self._size < _MOST_BYTES else 0
        if room >= len(receipts) or not together:
            for receipt in receipts[: max(0, room)]:
                try:
                    ready.append(_waiting(receipt))
                except Exception as e:
                    logger.error("A receipt cannot be written (%s) and is dropped.", type(e).__name__)
        with self._lock:
            kept = self._fitting(ready, together)
            if kept:
                self._kept_at = time.monotonic()
                if not self._queue:
                    self._since = self._kept_at
            self._queue.extend(kept)
            self._size += sum([one.size for one in kept])
            if len(kept) < len(receipts):
                self._drop(len(receipts) - len(kept))
        if self._pressing() and not (self._failing or self._wake.is_set()):
            self._wake.set()
        return kept

    def _fitting(self, ready: list[Waiting], together: bool) -> list[Waiting]:
        room, size = self._most - len(self._queue), _MOST_BYTES - self._size
        if len(ready) <= room and sum([one.size for one in ready]) <= size:
            return ready
        kept: list[Waiting] = []
        for one in () if together else ready:
            if len(kept) < room and one.size <= size:
                kept.append(one)
                size -= one.size
        return kept

    def _drop(self, count: int) -> None:
        self.dropped += count
        self.on_drop(count)

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="receipts", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Write what waits now: somebody asks for it."""
        self._wake.set()

    def stop(self) -> None:
        """Write what waits, for five seconds at most; what is left then is dropped, counted and told."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_LAST)
        left = self.waiting
        if left:
            self._drop(left)
            logger.error("%d receipts could not be written before the end and are lost.", left)

    def _run(self) -> None:
        pruned = -_PRUNED
        self._quietly(self.store.ready)  # the first score is not to wait for it
        while True:
            ending = self._ending
            failed = not self._flush()
            if ending:
                while self._queue and not failed:  # what came meanwhile
                    failed = not self._flush()
                return
            if self.days > 0 and time.monotonic() - pruned > _PRUNED and not failed:
                pruned = time.monotonic()
                self._quietly(self.prune)
            if failed:
                self._wake.wait(_AGAIN)
            else:
                self._pause()
            if not self._ending:
                self._wake.clear()

    def _pause(self) -> None:
        """Wait until it is time to write: some wait for a while or many do, and no score is given at this moment.

        While scores are given, to write takes the processor's time from them: that waits until the oldest is a second
        old, or room gets scarce.
        """
        if not self._queue:
            self._wake.wait(_EVERY)
        while self._queue and not (self._wake.is_set() or self._pressing()):
            now = time.monotonic()
            waited = now - self._since
            due = waited >= _EVERY or len(self._queue) >= _CHUNK
            if waited >= _LONGEST or (due and now - self._kept_at >= _QUIET):
                return
            self._wake.wait(min(_QUIET, _LOOK) if due else _LOOK)

    def _pressing(self) -> bool:
        """Whether room gets scarce, and what waits is written at once."""
        return 4 * len(self._queue) >= 3 * self._most or 4 * self._size >= 3 * _MOST_BYTES

    def _flush(self) -> bool:
        """Write what waits at its beginning; False where that failed, with everything still waiting.

        What comes meanwhile waits for the next time: some always does, and few in a transaction cost the most.
        """
        begun = time.monotonic()
        with self._lock:
            left = len(self._queue)
        while left > 0:
            with self._lock:
                batch = [self._queue.popleft() for _ in range(min(_CHUNK, left))]
                self._writing = len(batch)
            left -= len(batch)
            done = self._quietly(partial(self._write, batch))
            with self._lock:
                self._writing = 0
                if not done:
                    self._queue.extendleft(reversed(batch))
                    return False
                self._size -= sum(each.size for each in batch)
        self.written_until = self._since = begun
        return True

    def _quietly(self, work: Callable[[], Any]) -> bool:
        try:
            work()
        except LeadscoreError as e:
            self.failures += 1
            if not self._failing:
                logger.error("Receipts wait, since they cannot be written: %s: %s", e.code, e.message)
            self._failing = True
            return False
        if self._failing:
            logger.info("Receipts are written again.")
        self._failing = False
        return True

    def _write(self, batch: list[Waiting]) -> None:
        try:
            kept = self.store.write(lambda connection: self._insert(connection, batch))
        except LeadscoreError:
            raise
        except Exception as e:  # something in one of them: the others are not to suffer for it
            if len(batch) > 1:
                for each in batch:
                    self._write([each])
                return
            self._drop(1)
            logger.error("A receipt cannot be written (%s) and is dropped.", type(e).__name__)
            return
        self._models.update(each.model.digest for each in batch)
        self.written += kept

    def _insert(self, connection: Connection, batch: list[Waiting]) -> int:
        if connection.dialect.name == "postgresql":  # nobody is erased between the look and the writing
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(_LOCK)))
        gone = _erased(connection, {name for each in batch for name in each.names})
        ended: dict[str, int] = {row.subject: row.until for row in connection.execute(sa.select(ENDS))}
        if gone or ended:
            batch = [each for each in batch if gone.isdisjoint(each.names) and not _over(each, ended)]
        if not batch:
            return 0
        models = {each.model.digest: each.model for each in batch}
        new = [m for digest, m in models.items() if digest not in self._models]
        if new:
            named = [{**m._asdict(), "names": encode(m.names)} for m in new]
            connection.execute(_insert_new(connection, MODELS), named)
        step = _step(connection)
        for start in range(0, len(batch), step):
            some = batch[start : start + step]
            text = _insert_rows(connection.dialect.name, len(some))
            connection.exec_driver_sql(text, tuple(chain.from_iterable(each.row for each in some)))
        mentions = [{"kind": kind, "id": id, "receipt_id": each.id} for each in batch for kind, id in each.mentions]
        if mentions:
            connection.execute(_insert_new(connection, MENTIONS), mentions)
        return len(batch)

    def prune(self) -> int:
        """Remove what is older than the setting says, and the bundles that no receipt needs any more from their list.

        Returns how many receipts were removed. Raises LeadscoreError where the store fails.
        """
        bound = new_id(max(0, self._clock() - int(self.days * DAY)))
        removed = 0
        over = ENDS.c.until < self._clock() - _WAITED
        self.store.write(lambda connection: connection.execute(ENDS.delete().where(over)))
        old = sa.select(RECEIPTS.c.id).where(RECEIPTS.c.id < bound).order_by(RECEIPTS.c.id).limit(_OLD)

        def some(connection: Connection) -> int:
            ids = list(connection.execute(old).scalars())
            _remove(connection, ids)
            return len(ids)

        while True:
            count = self.store.write(some)
            removed += count
            if count < _OLD or self._ending:
                break
        if removed:
            needed = sa.exists().where(RECEIPTS.c.digest == MODELS.c.digest)
            self.store.write(lambda connection: connection.execute(MODELS.delete().where(~needed)))
            self._models = set()
        return removed


def _over(waiting: Waiting, ended: Mapping[str, int]) -> bool:
    """Whether it was given before the erasure of a contact that it may rest on."""
    if not ended:
        return False
    until = max((ended.get(id, 0) for kind, id in waiting.names if kind == "prospects"), default=0)
    return (moment_of(waiting.id) or 0) <= until


_quick_values: Callable[[Sequence[Any]], str | None] = compiled("serving._answers", "values", lambda row: None)


def values_text(row: Sequence[Any]) -> str:
    """Raw feature values as JSON."""
    text = _quick_values(row)
    return encode(row) if text is None else text


def _waiting(receipt: Receipt) -> Waiting:
    """A receipt with its values in the order of the table's columns."""
    id, kind, subject, model, as_of, language, probability, answer, regime, raw, effects, part_of, mentions = receipt
    features = None if raw is None else values_text(raw)
    goal, version, digest, _ = model
    said = regime, features, effects, answer
    row = id, kind, subject, part_of, goal, version, digest, as_of, language, probability, *said
    names = (("prospects", subject), *mentions) if kind == "prospect" else mentions
    return Waiting(id, names, mentions, model, row, len(answer) + len(features or ""))


def _step(connection: Connection) -> int:
    """How many receipts one statement holds: an old SQLite takes few parameters."""
    if connection.dialect.name != "sqlite":
        return _SLICE
    file: Any = connection.connection.driver_connection
    return min(_SLICE, int(file.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)) // len(RECEIPTS.c))


@lru_cache(maxsize=2 * _SLICE)
def _insert_rows(dialect: str, count: int) -> str:
    """The statement that inserts so many receipts; one that is there stays, since a transaction may run twice."""
    names = RECEIPTS.c.keys()
    values = ", ".join(["?" if dialect == "sqlite" else "%s"] * len(names))
    rows = ", ".join([f"({values})"] * count)
    return f"INSERT INTO {RECEIPTS.name} ({', '.join(names)}) VALUES {rows} ON CONFLICT DO NOTHING"


def _insert_new(connection: Connection, table: sa.Table) -> Any:
    """An insert that leaves alone what is there."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


_OF_PEOPLE = sa.select(NAMES.c.kind, NAMES.c.id).where(
    NAMES.c.kind.in_(("prospects", "contacts")), NAMES.c.erased.is_(True)
)
_STONES = _OF_PEOPLE.where(NAMES.c.id.in_(sa.bindparam("ids", expanding=True)))
_LISTED = sa.func.json_each(sa.bindparam("ids", type_=sa.String)).table_valued("value")
_STONES_OF_FILE = _OF_PEOPLE.where(NAMES.c.id.in_(sa.select(_LISTED.c.value)))  # one parameter for all of them


def _erased(connection: Connection, names: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the (kind, id) that were erased from the store."""
    key = tombstone_key(connection)
    stones = {(kind, tombstone(key, kind, id)): (kind, id) for kind, id in names}
    asked = sorted({stone for _, stone in stones})
    found: set[tuple[str, str]] = set()
    for start in range(0, len(asked), _OLD):
        ids = asked[start : start + _OLD]
        of_file = connection.dialect.name == "sqlite"
        some = (
            connection.execute(_STONES_OF_FILE, {"ids": encode(ids)})
            if of_file
            else connection.execute(_STONES, {"ids": ids})
        )
        found.update(stones[kind, id] for kind, id in some if (kind, id) in stones)
    return found


def _remove(connection: Connection, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), _OLD):
        these = ids[start : start + _OLD]
        connection.execute(MENTIONS.delete().where(MENTIONS.c.receipt_id.in_(these)))
        connection.execute(RECEIPTS.delete().where(RECEIPTS.c.id.in_(these)))


def forget(connection: Connection, prospect_ids: Sequence[str], contact_ids: Sequence[str], now: int) -> int:
    """Remove every receipt about these prospects or that names them or these contacts; returns how many.

    It is part of the transaction that erases them, after their tombstones. With a prospect's own receipts go those of
    the accounts that it was scored with; what was said of their other prospects stays. With contacts, the prospects
    are those whose answers rest on them: what was answered about these until ``now`` (microseconds), or is being
    answered, is not written either.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    found: set[str] = set()
    for kind, ids in (("prospects", prospect_ids), ("contacts", contact_ids)):
        for start in range(0, len(ids), _OLD):
            these = ids[start : start + _OLD]
            named = sa.select(MENTIONS.c.receipt_id).where(MENTIONS.c.kind == kind, MENTIONS.c.id.in_(these))
            found.update(connection.execute(named).scalars())
            if kind == "prospects":
                own = sa.select(RECEIPTS.c.id, RECEIPTS.c.part_of).where(
                    RECEIPTS.c.kind == "prospect", RECEIPTS.c.subject.in_(these)
                )
                for row in connection.execute(own):
                    found.update(filter(None, row))
    _remove(connection, sorted(found))
    if contact_ids and prospect_ids:
        for start in range(0, len(prospect_ids), _OLD):
            these = prospect_ids[start : start + _OLD]
            connection.execute(ENDS.delete().where(ENDS.c.subject.in_(these)))
            connection.execute(ENDS.insert(), [{"subject": i, "until": now + _UNDER_WAY} for i in these])
    return len(found)


def read_receipt(connection: Connection, receipt_id: str) -> Kept | None:
    """A receipt, an account's with those of its prospects; None where there is none of this id."""
    row = connection.execute(sa.select(RECEIPTS).where(RECEIPTS.c.id == receipt_id)).first()
    if row is None:
        return None
    model = connection.execute(sa.select(MODELS.c.names).where(MODELS.c.digest == row.digest)).scalar()
    names = tuple(json.loads(model)) if model else ()
    found = sa.select(RECEIPTS).where(RECEIPTS.c.part_of == receipt_id).order_by(RECEIPTS.c.id)
    parts = tuple(_kept(part, names) for part in connection.execute(found)) if row.kind == "account" else ()
    return _kept(row, names, parts)


def _kept(row: Any, names: tuple[str, ...], parts: tuple[Kept, ...] = ()) -> Kept:
    answer = json.loads(row.answer)
    if parts:
        answer["prospects"] = [part.answer for part in parts]
    return Kept(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        part_of=row.part_of,
        goal=row.goal,
        version=row.version,
        digest=row.digest,
        as_of=row.as_of,
        language=row.language,
        probability=row.probability,
        regime=row.regime,
        features=None if row.features is None else tuple(json.loads(row.features)),
        names=names,
        answer=answer,
        parts=parts,
    )
