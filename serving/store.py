"""The database of the live records: SQLite by default, PostgreSQL by URL, one SQLAlchemy Core code path.

``Store`` knows tables, schema versions, transactions and faults, and nothing of what a record means: that is
``serving.ledger`` (writing) and ``serving.history`` (reading). Its methods are synchronous and safe to call from
threads. A database that is gone costs its users an error of ours and comes back by itself.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from features.errors import BadInput, LeadscoreError

T = TypeVar("T")
Step = Callable[[Connection], None]
Ask = Callable[[sa.Select[Any], Mapping[str, Any]], Sequence[Any]]  # the rows of a query, with values for its names

FILE = "live.db"  # under the home
RETRY_AFTER = 1  # seconds until a caller should try again
_BUSY_SECONDS = 5.0  # how long a write waits for another one
_STATEMENT_SECONDS = 10
_CONNECT_SECONDS = 3
_POOL = 8
_PAGE = 8_192  # bytes of a page of a new file: of SQLite's own, of 4,096, a receipt fills nearly one alone
_CACHE = 8_192  # KiB of the file that a connection remembers: what a transaction of receipts changes is less
_STEP = 20_000  # of SQLite's instructions, between two looks at how many a question on the event loop has taken
_STEPS = 200_000  # of these at most: rows that are passed over take them too
_TRIES = 6
_LOCK = 0x1EAD5C0E  # of PostgreSQL's advisory locks: whoever migrates
TOMBSTONE_KEY = "tombstone_key"  # under this name the store keeps the key of the hashes that stand for erased ids
_DEADLOCKS = frozenset({"40001", "40P01"})

METADATA = sa.MetaData()
SCHEMA = sa.Table(
    "leadscore_schema",
    METADATA,
    sa.Column("part", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
NAMES = sa.Table(  # one row for each id that was ever spoken of: what writers lock, and where a look-up begins
    "live_names",
    METADATA,
    sa.Column("kind", sa.String, primary_key=True),  # accounts, contacts, prospects
    sa.Column("id", sa.String, primary_key=True),  # of an erased one, a keyed hash of its id
    sa.Column("target", sa.String),  # of an alias: the id that it was merged into
    sa.Column("since", sa.BigInteger),  # when it was merged or erased
    sa.Column("erased", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger),  # of a prospect whose record is there
    sa.Index("live_names_target", "kind", "target"),
    sqlite_with_rowid=False,
)
VERSIONS = sa.Table(  # of the state tables: whole rows, each known from observed_at on
    "live_versions",
    METADATA,
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("observed_at", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.String),
    sa.Column("record", sa.Text),  # canonical JSON; null ends a record that was merged into another
    sa.Index("live_versions_account", "account_id", "kind"),
    sqlite_with_rowid=False,
)
FACTS = sa.Table(  # events and outcomes; a fact that a merge moves is retracted and comes again as its next part
    "live_facts",
    METADATA,
    sa.Column("kind", sa.String, primary_key=True),  # events, outcomes
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("prospect_id", sa.String, nullable=False),
    sa.Column("contact_id", sa.String),
    sa.Column("occurred_at", sa.BigInteger, nullable=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("retracted_at", sa.BigInteger),
    sa.Column("replaces", sa.String),
    sa.Column("record", sa.Text, nullable=False),
    sa.Index("live_facts_prospect", "prospect_id"),
    sa.Index("live_facts_contact", "contact_id"),
)
META = sa.Table(  # what the store knows of itself: the key of its tombstones, what the loaded folders declared
    "live_meta",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


def _first(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[NAMES, VERSIONS, FACTS, META], checkfirst=True)
    put_meta(connection, TOMBSTONE_KEY, os.urandom(32).hex())


STEPS: tuple[Step, ...] = (_first,)  # each takes the schema one version further; never changed once released


def store_url(text: str | None, home: Path) -> str:
    """The URL of the store: as set, else the SQLite file ``live.db`` under the home."""
    return text or f"sqlite:///{(home / FILE).absolute()}"


def open_store(url: str) -> Store:
    """A store by its URL: ``sqlite:///FILE`` or ``postgresql://USER@HOST/DATABASE``.

    Nothing is opened yet: that happens at the first use, so that a service starts without its store.
    Raises BadInput ``bad_store`` where the URL is none or names another kind of database.
    """
    return Store(_checked(url))


def _checked(text: str) -> URL:
    def bad(what: str) -> BadInput:
        remedy = "Use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."
        return BadInput("bad_store", f"{what}.", where="LEADSCORE_STORE", remedy=remedy)

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise bad("the store is not named by a URL") from None
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise bad("the store is neither SQLite nor PostgreSQL")
    if not url.database or url.database == ":memory:":
        raise bad("a store in memory would be lost, and every worker would have its own")
    return url


def put_meta(connection: Connection, name: str, value: str) -> None:
    """Keep a text under a name, in place of what stood there."""
    connection.execute(META.delete().where(META.c.name == name))
    connection.execute(META.insert().values(name=name, value=value))


def get_meta(connection: Connection, name: str) -> str | None:
    """The text that is kept under a name."""
    found: str | None = connection.execute(sa.select(META.c.value).where(META.c.name == name)).scalar()
    return found


class TooLong(Exception):
    """What was asked takes longer than the event loop may be held."""


class Store:
    """A database with our tables. ``url`` shows no password; ``on_failure`` is told the code of what went wrong.

    ``add_part`` adds tables of somebody else's: their migrations run beside ours, with a version of their own.
    """

    def __init__(self, url: URL) -> None:
        self.metadata = METADATA
        self.url = url.render_as_string(hide_password=True)
        self.sqlite = url.get_backend_name() == "sqlite"
        self.on_failure: Callable[[str], None] = lambda code: None
        self._parts: dict[str, tuple[Step, ...]] = {"live": STEPS}
        self._ready = False
        self._migrating = threading.Lock()
        self._down_until = 0.0
        self._file = _File(Path(str(url.database))) if self.sqlite else None
        self._asker: _Asker | None = None
        self.engine = _sqlite(url, self._file) if self._file else _postgresql(url)
        self._texts: dict[Any, Prepared] = {}

    def add_part(self, name: str, steps: tuple[Step, ...]) -> None:
        """Let another part keep tables here; ``steps`` are its migrations, in order. To be called before first use."""
        self._parts[name] = steps
        self._ready = False

    def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` reads, in one snapshot. Raises LeadscoreError as ``write`` does."""
        return self._run(work, writing=False)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do ``work`` in one transaction, on disk when this returns. It may run more than once: it must be repeatable.

        Raises LeadscoreError ``store_unavailable``, ``store_full`` or ``store_schema``; and what ``work`` raises, with
        nothing written.
        """
        return self._run(work, writing=True)

    def ask(self, work: Callable[[Ask], T]) -> T:
        """What ``work`` finds by asking, in one snapshot. Raises LeadscoreError as ``write`` does.

        A query is made by SQLAlchemy, once; what it builds around each execution would take longer than the answer.
        """

        def asked(connection: Connection) -> T:
            def ask(query: sa.Select[Any], values: Mapping[str, Any]) -> Sequence[Any]:
                prepared = self.prepared(query)
                return connection.exec_driver_sql(prepared.text, prepared.given(values)).all()

            return work(ask)

        return self.read(asked)

    def at_once(self, work: Callable[[Ask], T]) -> T | None:
        """What ``ask`` gives, on the caller's own thread, where the way to another takes longer; for the event loop's.

        None where it cannot tell at once: the database is not SQLite, or fails. The long way finds out, and tells.
        Raises TooLong where it was broken off.
        """
        asker = self._quickly()
        if asker is None:
            return None
        execute = asker.connection.execute

        def ask(query: sa.Select[Any], values: Mapping[str, Any]) -> Sequence[Any]:
            prepared = self.prepared(query)
            return execute(prepared.text, prepared.given(values)).fetchall()

        asker.left = _STEPS
        try:
            execute("BEGIN")
            try:
                return work(ask)
            finally:
                execute("ROLLBACK")
        except sqlite3.Error:
            if asker.left <= 0:
                raise TooLong from None
            self._forget_asker()
            return None

    def quick(self, query: sa.Select[Any], values: tuple[Any, ...]) -> list[Any] | None:
        """What SQLite finds, of one query for one column: as ``at_once``. ``values`` are its parameters, in order."""
        asker = self._quickly()
        if asker is None:
            return None
        try:
            asker.left = _STEPS
            return [found for (found,) in asker.connection.execute(self.prepared(query).text, values)]
        except sqlite3.Error:
            self._forget_asker()
            return None

    def _quickly(self) -> _Asker | None:
        """The connection for quick questions, None where there is none."""
        if self._file is None or not self._ready or self.down:
            return None
        try:
            self._file.check(self.engine)
            asker = self._asker
            if asker is None or asker.file != self._file.seen:
                self._forget_asker()
                asker = self._asker = _Asker(self._file.connect(seconds=0.0), self._file.seen)
                asker.connection.set_progress_handler(asker.step, _STEP)
            return asker
        except (LeadscoreError, sqlite3.Error):
            self._forget_asker()
            return None

    def _forget_asker(self) -> None:
        if self._asker is not None:
            self._asker.connection.close()
        self._asker = None

    def prepared(self, query: sa.Select[Any]) -> Prepared:
        """A query as its driver takes it, made once."""
        found = self._texts.get(query)
        if found is None:
            compiled: Any = query.compile(dialect=self.engine.dialect)
            names = tuple(compiled.positiontup) if compiled.positional else None
            found = self._texts[query] = Prepared(str(compiled), names, compiled.params)
        return found

    @property
    def down(self) -> bool:
        """Whether the database was gone a moment ago; asked again once a second."""
        return time.monotonic() < self._down_until

    def ready(self) -> None:
        """Bring the schema up to date. Raises LeadscoreError as ``write`` does."""
        self.read(lambda _: None)

    def forget(self) -> None:
        """Take what was erased out of SQLite's write-ahead log too, as far as nobody reads it at this moment."""
        if self.sqlite:
            with suppress(LeadscoreError, DBAPIError), self.engine.connect() as connection:
                connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._forget_asker()
        self.engine.dispose()

    # What follows is how it is done --------------------------------------------------------------------------------

    def _run(self, work: Callable[[Connection], T], writing: bool) -> T:
        if self.down:
            raise self._count(_unavailable("it could not be reached a moment ago"))
        for attempt in range(1, _TRIES + 1):
            try:
                if not self._ready:
                    self._migrate()
                with self._transaction(writing) as connection:
                    return work(connection)
            except LeadscoreError as e:
                if e.code in ("store_schema", "store_unavailable"):
                    self._fail(e)
                raise
            except (DBAPIError, PoolTimeout, sqlite3.Error) as e:
                if attempt < _TRIES and _passing(e):
                    time.sleep(random.uniform(0, 0.01 * 2**attempt))
                    continue
                told = self._told(e)
                if told is None:
                    raise
                self._fail(told)
                raise told from None
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _transaction(self, writing: bool) -> Iterator[Connection]:
        if self._file is not None:
            self._file.check(self.engine)
        with self.engine.connect() as connection:
            if self.sqlite:
                connection.execution_options(leadscore_writing=writing)
            elif not writing:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def _migrate(self) -> None:
        with self._migrating:
            if self._ready:
                return
            if self._file is not None:
                self._file.make()
            with self._transaction(writing=False) as connection:  # a full or read-only disk still serves reads
                current = self._current(connection)
            if not current:
                with self._transaction(writing=True) as connection:
                    if not self.sqlite:
                        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                    SCHEMA.create(connection, checkfirst=True)
                    for part, steps in self._parts.items():
                        _migrate_part(connection, part, steps)
            self._ready = True

    def _current(self, connection: Connection) -> bool:
        if not sa.inspect(connection).has_table(SCHEMA.name):
            return False
        found = {row.part: row.version for row in connection.execute(sa.select(SCHEMA))}
        return all(found.get(part) == len(steps) for part, steps in self._parts.items())

    def _told(self, e: Exception) -> LeadscoreError | None:
        """The error of ours for a database's; None for a fault of ours."""
        original = getattr(e, "orig", None) or e
        if isinstance(original, sqlite3.Error):
            name = getattr(original, "sqlite_errorname", "")
            if name == "SQLITE_FULL":
                return _full()
            if name.startswith("SQLITE_READONLY"):
                return _unavailable("it can only be read")
            if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                return _unavailable("its file is damaged", "Restore it from a backup; see docs/operations.md.")
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                return _unavailable("other writers keep it busy")
            if name.startswith("SQLITE_IOERR"):
                remedy = "Look at its disk: room, quota, health. Then send it again; nothing of it was kept."
                return _unavailable(f"its file cannot be read or written ({name})", remedy)
            if "no such table" in str(original):
                self._ready = False
                return _unavailable("its tables are gone")
            if isinstance(original, sqlite3.OperationalError | sqlite3.InterfaceError):
                return _unavailable(f"it fails ({name or 'no answer'})")
            return None
        if isinstance(e, PoolTimeout):
            return _unavailable("all its connections are in use")
        state = getattr(original, "sqlstate", None)
        if state in ("53100", "53200"):
            return _full()
        if state == "42P01":
            self._ready = False
            return _unavailable("its tables are gone")
        if state == "25006":
            return _unavailable("it can only be read")
        known = ("08", "28", "3D", "53", "55", "57", "58", "XX")  # connection, login, resources, operator, system
        if state is None or state.startswith(known) or isinstance(e, InterfaceError):
            return _unavailable("it does not answer" if state is None else f"it fails (state {state})")
        return None

    def _count(self, error: LeadscoreError) -> LeadscoreError:
        self.on_failure(error.code)
        return error

    def _fail(self, error: LeadscoreError) -> None:
        self._count(error)
        if error.code == "store_unavailable" and "busy" not in error.message and "in use" not in error.message:
            self._down_until = time.monotonic() + RETRY_AFTER


def _migrate_part(connection: Connection, part: str, steps: tuple[Step, ...]) -> None:
    version = connection.execute(sa.select(SCHEMA.c.version).where(SCHEMA.c.part == part)).scalar()
    if version is None:
        connection.execute(SCHEMA.insert().values(part=part, version=0))
    if (version or 0) > len(steps):
        raise LeadscoreError(
            "store_schema",
            f"the store's tables ({part}) are of version {version}; this version of leadscore knows {len(steps)}.",
            where="LEADSCORE_STORE",
            remedy="Run the version of leadscore that made them, or a newer one.",
        )
    for step in steps[version or 0 :]:
        step(connection)
    connection.execute(SCHEMA.update().where(SCHEMA.c.part == part).values(version=len(steps)))


def _unavailable(why: str, remedy: str = "Send it again a little later; nothing of it was kept.") -> LeadscoreError:
    return LeadscoreError(
        "store_unavailable", f"the store of live records cannot be used: {why}.", where="LEADSCORE_STORE", remedy=remedy
    )


def slow() -> LeadscoreError:
    """The fault of a store that takes too long for those who can do without it."""
    return _unavailable("it takes too long")


def _full() -> LeadscoreError:
    return LeadscoreError(
        "store_full",
        "the store of live records has no room left; nothing of this was kept.",
        where="LEADSCORE_STORE",
        remedy="Make room on its disk, then send it again.",
    )


def _passing(e: Exception) -> bool:
    """Whether another try may well succeed: two writers met, or a connection was found dead."""
    if isinstance(e, sa.exc.IntegrityError):
        return True
    if not isinstance(e, DBAPIError):
        return False
    return bool(e.connection_invalidated) or getattr(e.orig, "sqlstate", None) in _DEADLOCKS


@dataclass
class _Asker:
    """A connection for quick questions, to the file that was seen then; it waits for nobody, and gives up on long ones.

    ``left`` counts the machine instructions of SQLite that a question may still take, whatever it finds by them.
    """

    connection: sqlite3.Connection
    file: tuple[int, int] | None
    left: int = 0

    def step(self) -> bool:
        """Whether to break off, asked every ``_STEP`` instructions."""
        self.left -= _STEP
        return self.left <= 0


@dataclass(frozen=True)
class Prepared:
    """The text of a query, the names of its parameters in their order (None: it names them), and those that are set."""

    text: str
    names: tuple[str, ...] | None
    fixed: Mapping[str, Any]

    def given(self, values: Mapping[str, Any]) -> Any:
        """The parameters, as the driver takes them."""
        every = {**self.fixed, **values}
        return every if self.names is None else tuple([every[name] for name in self.names])


class _File:
    """SQLite's file: made once, never made again in silence. Whoever removes it takes the records away."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._text = str(self.path)  # looked at for every score: a text costs less than a Path
        self.seen: tuple[int, int] | None = None

    def connect(self, seconds: float = _BUSY_SECONDS) -> sqlite3.Connection:
        """A connection to the file, which must be there; it waits so long for another one."""
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=seconds,
            isolation_level=None,
            check_same_thread=False,
        )

    def make(self) -> None:
        """Make the file where there was none yet, for its owner only."""
        if self.seen is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            except OSError as e:
                raise _unavailable(f"its file cannot be made ({e.strerror})", _PLACE) from None

    def check(self, engine: Engine) -> None:
        """Raise where the file is gone; leave the connections to a former one."""
        try:
            found = os.stat(self._text)
        except OSError as e:
            raise _unavailable(f"its file is not there ({e.strerror})", _PLACE) from None
        now = (found.st_dev, found.st_ino)
        if now != self.seen:
            if self.seen is not None:
                engine.dispose()
            self.seen = now


_PLACE = "Put the file back where LEADSCORE_STORE or the home says, or make its folder writable."


def _sqlite(url: URL, file: _File) -> Engine:
    engine = sa.create_engine(
        url,
        creator=file.connect,
        poolclass=sa.QueuePool,
        pool_size=_POOL,
        max_overflow=0,
        pool_timeout=_BUSY_SECONDS,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        _write_ahead(connection)
        for pragma in ("synchronous=FULL", "secure_delete=ON", "temp_store=MEMORY", f"cache_size=-{_CACHE}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("leadscore_writing", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let the file have a write-ahead log, as it has for good once one worker has done so.

    SQLite waits for nobody here, however long its timeout: where two workers meet over a new file, one of them is
    told that it is busy.
    """
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA page_size={_PAGE}")  # of a file that is there already, it stays as it is
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as e:
            if e.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > end:
                raise
            time.sleep(random.uniform(0.001, 0.02))


def _postgresql(url: URL) -> Engine:
    options: Mapping[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "options": f"-c statement_timeout={_STATEMENT_SECONDS * 1000} -c timezone=UTC "
        f"-c lock_timeout={int(_BUSY_SECONDS * 1000)} -c idle_in_transaction_session_timeout=60000",
        "tcp_user_timeout": _STATEMENT_SECONDS * 1000,
        "application_name": "leadscore",
        **url.query,
    }
    return sa.create_engine(
        url.set(query={}),
        connect_args=dict(options),
        pool_size=_POOL,
        max_overflow=0,
        pool_timeout=_BUSY_SECONDS,
        pool_recycle=1800,
    )
