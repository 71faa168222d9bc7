"""The live records as resources under ``/v1``: what each call takes and gives, off the event loop, and how a score
request is completed with what is stored.

Plain Starlette requests; the adapter turns what is returned into JSON and what is raised into the one error shape.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from starlette.requests import Request

from features.contract import KEYS, Dataset, format_time
from features.errors import BadInput, LeadscoreError
from serving import ledger
from serving.completion import Completed, as_of_of, complete, complete_account, id_of, only_names, unknown_at
from serving.faults import missing, unknown_field, within
from serving.gathered import Gathered
from serving.history import Answer, History, Question
from serving.intake import Intake, one_line, read_id, union
from serving.load import in_time
from serving.schema import RequestReader, items_of
from serving.store import NAMES, Store, get_meta, slow
from serving.values import ReadRequest, listed, read_time, wrong

T = TypeVar("T")
Asked = tuple[Any, RequestReader]  # a score request, decoded, and the reader of the model that is to answer it
DATASET = "dataset"  # under this name the store keeps what the loaded folders declare
COMPLETE = "complete_until"  # and under this, up to when their records are complete
_THREADS = 8
_PATIENCE = 1.0  # seconds that a request which can do without the store waits for it; of several, each adds as much


class LiveRecords:
    """The live records of one process; methods that are not ``async`` are synchronous and safe to call from threads.

    ``datasets`` gives the data sets of the models that serve: what they declare may be sent. ``most`` bounds a list.
    """

    def __init__(self, store: Store, datasets: Callable[[], Iterable[Dataset]], most: int) -> None:
        self.store = store
        self.history = History(store)
        self.erasers: list[ledger.Eraser] = []
        self._datasets = datasets
        self._most = most
        self._intake: tuple[Any, Intake] | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self._prospects = Gathered(self.history.prospects, self._threads)

    async def off(self, work: Callable[[], T]) -> T:
        """Do synchronous work in one of the store's threads. Raises ``deadline`` where a request waits too long."""
        return await in_time(asyncio.get_running_loop().run_in_executor(self._threads, work))

    def close(self) -> None:
        """Finish what was begun and close the store."""
        self._threads.shutdown(wait=True)
        self.store.close()

    # Writing ------------------------------------------------------------------------------------------------------

    def put(self, kind: str, id: str, data: Any) -> dict[str, Any]:
        """Keep a record of a state table (``accounts``, ``contacts``, ``prospects``) as the newest version of its id.

        Gives the id that it stands under, since when it is known, and whether it is the first. Raises LeadscoreError.
        """

        def work(connection: Connection) -> ledger.Put:
            now = _now()
            created_at = None
            if kind == "prospects" and type(data) is dict and data.get("created_at") is None:
                root = ledger.follow(connection, kind, id)
                created_at = connection.execute(
                    sa.select(NAMES.c.created_at).where(NAMES.c.kind == kind, NAMES.c.id == root)
                ).scalar()
            return ledger.put(connection, self._reader(connection).state(kind, id, data, now, created_at), now)

        read_id(id, KEYS[kind])
        done = self.store.write(work)
        return {KEYS[kind]: done.id, "observed_at": format_time(done.observed_at), "created": done.created}

    def revise(self, kind: str, id: str, change: Callable[[Connection, Any], dict[str, Any] | None]) -> bool:
        """Make the next version of a record out of its newest one (None: there is none), in one transaction.

        ``change`` gives the record as ``put`` takes it, None where nothing changes. Returns whether anything did.
        Raises LeadscoreError.
        """

        def work(connection: Connection) -> bool:
            now = _now()
            data = change(connection, ledger.newest(connection, kind, id))
            if data is None:
                return False
            return ledger.put(connection, self._reader(connection).state(kind, id, data, now), now).changed

        read_id(id, KEYS[kind])
        return self.store.write(work)

    def add(self, kind: str, data: Any) -> dict[str, Any]:
        """Keep ``events`` or ``outcomes``: one, a list, or ``{"items": [...]}``; all of them or none.

        Gives how many are new, how many were there, and when the new ones were recorded. Raises LeadscoreError.
        """
        items, place = _items(data, self._most)
        intake = Intake(None)  # what happened has no declared columns
        facts = intake.facts(kind, items, _now(), place)
        added = self.store.write(lambda connection: ledger.add(connection, facts, _now()))
        recorded_at = None if added.recorded_at is None else format_time(added.recorded_at)
        return {"accepted": added.accepted, "repeated": added.repeated, "recorded_at": recorded_at}

    def retract(self, event_id: str) -> dict[str, Any]:
        """Take an event back from now on. Raises LeadscoreError ``unknown_event``."""
        read_id(event_id, "event_id")
        at = self.store.write(lambda connection: ledger.retract(connection, event_id, _now()))
        return {"event_id": event_id, "retracted_at": format_time(at)}

    def merge(self, kind: str, id: str, data: Any) -> dict[str, Any]:
        """Make a record an alias of another, ``{"into": ID}``. Raises LeadscoreError."""
        if type(data) is not dict:
            raise wrong(data, "an object")
        for name in data:
            if name != "into":
                raise unknown_field(name, ("into",))
        if data.get("into") is None:
            raise missing("into")
        read_id(id, KEYS[kind])
        into = read_id(data["into"], "into")
        root, at, new = self.store.write(lambda connection: ledger.merge(connection, kind, id, into, _now()))
        return {KEYS[kind]: id, "into": root, "merged_at": format_time(at), "merged": new}

    def erase(self, kind: str, id: str) -> dict[str, Any]:
        """Remove a prospect or a contact and everything about it; raises LeadscoreError where the store fails."""
        read_id(id, KEYS[kind])
        gone = self.store.write(lambda connection: ledger.erase(connection, kind, id, _now(), self.erasers))
        self.store.forget()
        return {KEYS[kind]: id, **gone, "erased_at": format_time(gone["erased_at"])}

    def _reader(self, connection: Connection) -> Intake:
        """The reader for what the models and the loaded folders declare."""
        serving = tuple(self._datasets())
        loaded = get_meta(connection, DATASET)
        seen = (serving, loaded)
        if self._intake is None or self._intake[0] != seen:
            declared = [*serving, *([] if loaded is None else [Dataset.from_json(json.loads(loaded))])]
            self._intake = (seen, Intake(union(declared)))
        return self._intake[1]

    # Reading ------------------------------------------------------------------------------------------------------

    def prospect(self, prospect_id: str, as_of: str | None) -> dict[str, Any]:
        """The body of the score request that the store holds about a prospect, as of now or a time.

        Raises LeadscoreError ``unknown_prospect``, ``erased``, BadInput for the time.
        """
        read_id(prospect_id, "prospect_id")
        t = None
        if as_of is not None:
            try:
                t = read_time(as_of)
            except BadInput as e:
                raise within(e, "as_of") from None
        known = self.history.prospect(prospect_id, t)
        if known is None:
            raise ledger.unknown("prospects", "prospect_id")
        return known.body if t is None else {**known.body, "as_of": format_time(t)}

    def alone(self, data: Sequence[Any], now: int) -> list[Completed | LeadscoreError | None]:
        """Of score requests, in one look for all: those of whose prospects the store knows nothing, as they stand.

        Where it does, or cannot tell at once, there is None: ``at_once`` or ``complete_each`` find out. An error is
        what is answered: ``unknown_prospect`` where a request does not hold the record either, and BadInput.
        """
        asked: dict[int, str] = {}
        out: list[Completed | LeadscoreError | None] = [Completed(each, now) for each in data]
        for i, each in enumerate(data):
            if type(each) is ReadRequest:
                asked[i] = each.prospect_id  # plain, and so of one line
                continue
            prospect_id = id_of(each, "prospect", "prospect_id")
            if prospect_id is None:
                continue
            try:
                asked[i] = one_line(prospect_id)  # its receipt is kept under it
            except BadInput as e:
                out[i] = within(e, "prospect.prospect_id")
        known = self.history.spoken_of([*asked.values()]) if asked else set()
        for i, prospect_id in asked.items():
            if known is None or prospect_id in known:
                out[i] = None
            elif _bare(data[i]):
                out[i] = unknown_at("prospect", as_of_of(listed(data[i])))
        return out

    def at_once(self, requests: Sequence[Asked], now: int) -> list[Completed | Exception] | None:
        """What ``complete_each`` gives, on the event loop's own thread; None where that would take long, or fail."""
        whole = [listed(data) for data, _ in requests]
        found = self.history.at_once([_question(data) for data in whole])
        if found is None:
            return None
        return [
            _completed(data, reader, known, now)
            for data, (_, reader), known in zip(whole, requests, found, strict=True)
        ]

    async def complete_each(self, requests: Sequence[Asked], now: int) -> list[Completed | Exception]:
        """Score requests, each with the reader of its model, with what is stored about the prospects that they name.

        Where there is none, why: ``unknown_prospect`` where neither holds the record, ``erased``, what the store
        raises where the request needs it, and BadInput where the two contradict each other.
        """
        whole = [listed(data) for data, _ in requests]
        out: list[Completed | Exception] = [Completed(data, now) for data in whole]

        async def look(places: Sequence[int], needed: bool) -> None:
            questions = [_question(whole[i]) for i in places]
            try:
                found = await self._look_up(self._prospects.do(questions), None if needed else len(places) * _PATIENCE)
            except LeadscoreError as e:
                for i in places:
                    out[i] = e
                return
            for n, i in enumerate(places):
                if isinstance(found, LeadscoreError):
                    out[i] = Completed(whole[i], now, (_unread(found),))
                else:
                    out[i] = _completed(whole[i], requests[i][1], found[n], now)

        bare: list[int] = []
        others: list[int] = []
        for i, data in enumerate(whole):
            if id_of(data, "prospect", "prospect_id") is not None:
                (bare if only_names(data) else others).append(i)
        # Those that can do without the store do not wait for it as long as those that cannot.
        if bare:
            await look(bare, True)
        if others:
            await look(others, False)
        return out

    async def complete(self, data: Any, now: int, reader: RequestReader) -> Completed:
        """One score request with what is stored about its prospect; raises what ``complete_each`` gives."""
        (found,) = await self.complete_each([(data, reader)], now)
        if isinstance(found, Exception):
            raise found
        return found

    async def complete_account(self, data: Any, now: int, reader: RequestReader) -> Completed:
        """A request about an account with what is stored about it, as ``complete`` does for a prospect.

        One that lists prospects itself stands alone.
        """
        account_id = id_of(data, "account", "account_id")
        if account_id is None or data.get("prospects") is not None:
            return Completed(data, now)
        t = as_of_of(data)
        look = partial(self.history.account, account_id, t, data)
        found = await self._look_up(asyncio.get_running_loop().run_in_executor(self._threads, look), None)
        if isinstance(found, LeadscoreError):
            raise found
        if found is None:
            if only_names(data, "account", "account_id"):
                raise unknown_at("account", t)
            return Completed(data, now)  # the reader says what is missing
        return complete_account(data, found, now, reader)

    async def _look_up(self, look: Awaitable[T], seconds: float | None) -> T | LeadscoreError:
        """What is found within so many seconds, or why it cannot be had; raises that where there is no such limit."""
        try:
            async with asyncio.timeout(seconds):
                return await in_time(look)
        except TimeoutError:
            return slow()
        except LeadscoreError as e:
            if seconds is None or not e.code.startswith("store_"):
                raise
            return e


def _bare(data: Any) -> bool:
    """Whether a request holds nothing of its prospect but the id."""
    if type(data) is ReadRequest:
        bare: bool = data.bare
        return bare
    return only_names(data, "prospect", "prospect_id")


def _question(data: Any) -> Question:
    return Question(id_of(data, "prospect", "prospect_id") or "", as_of_of(data), data)


def _completed(data: Any, reader: RequestReader, found: Answer, now: int) -> Completed | Exception:
    """A score request with what was found of its prospect, or why there is none."""
    if isinstance(found, Exception):
        return found
    if found is None:
        return unknown_at("prospect", as_of_of(data)) if only_names(data) else Completed(data, now)
    try:
        return complete(data, found, now, reader)
    except Exception as e:  # a fault of ours, too, is this request's alone
        return e


def _now() -> int:
    return time.time_ns() // 1000


def _unread(error: LeadscoreError) -> dict[str, str]:
    text = f"{error.message} The score rests on the request alone."
    return {"code": error.code, "text": text}


def _items(data: Any, most: int) -> tuple[list[Any], str]:
    """The items of what was sent, and the path before the index of each, empty for a single one."""
    if type(data) is list:
        return items_of({"items": data}, most), "["
    if type(data) is dict and "items" in data:
        return items_of(data, most), "items["
    return [data], ""


# The calls ------------------------------------------------------------------------------------------------------------

Call = Callable[[LiveRecords, Request, Callable[[Request], Awaitable[Any]]], Awaitable[Any]]


def _with_body(work: Callable[[LiveRecords, Request, Any], Any]) -> Call:
    """A call that works with the body that it is sent."""

    async def answer(live: LiveRecords, request: Request, body: Callable[[Request], Awaitable[Any]]) -> Any:
        data = await body(request)
        return await live.off(lambda: work(live, request, data))

    return answer


def _put(kind: str) -> Call:
    return _with_body(lambda live, request, data: live.put(kind, request.path_params["id"], data))


def _add(kind: str) -> Call:
    return _with_body(lambda live, _, data: live.add(kind, data))


def _merge(kind: str) -> Call:
    return _with_body(lambda live, request, data: live.merge(kind, request.path_params["id"], data))


def _erase(kind: str) -> Call:
    async def answer(live: LiveRecords, request: Request, body: Callable[[Request], Awaitable[Any]]) -> Any:
        return await live.off(lambda: live.erase(kind, request.path_params["id"]))

    return answer


async def _retract(live: LiveRecords, request: Request, body: Callable[[Request], Awaitable[Any]]) -> Any:
    return await live.off(lambda: live.retract(request.path_params["id"]))


async def _prospect(live: LiveRecords, request: Request, body: Callable[[Request], Awaitable[Any]]) -> Any:
    for name in request.query_params:
        if name != "as_of":  # a slip of the pen would get what is known today
            raise unknown_field(name, ("as_of",))
    as_of = request.query_params.get("as_of")
    return await live.off(lambda: live.prospect(request.path_params["id"], as_of))


# Path, method, what answers. An id may hold anything, slashes too: what follows one is matched first.
CALLS: tuple[tuple[str, str, Call], ...] = (
    *((f"/v1/{kind}/{{id:path}}/merge", "POST", _merge(kind)) for kind in KEYS),
    *((f"/v1/{kind}/{{id:path}}", "PUT", _put(kind)) for kind in KEYS),
    ("/v1/prospects/{id:path}", "GET", _prospect),
    *((f"/v1/{kind}/{{id:path}}", "DELETE", _erase(kind)) for kind in ("prospects", "contacts")),
    ("/v1/events", "POST", _add("events")),
    ("/v1/events/{id:path}", "DELETE", _retract),
    ("/v1/outcomes", "POST", _add("outcomes")),
)
