"""How much a worker takes on at a time, and how long a request may take: what keeps it fast when too much is asked.

A worker scores on its event loop, so what waits does so in the loop's own queue, where nothing counts it. A request is
therefore counted when its body is there, and where a turn of the loop has been worked in for long enough, it waits in a
queue of ours: the others of that turn count themselves, and those beyond the bound are refused at once instead of
waiting behind it.

The event loop (libuv) takes one new connection in each of its turns. With long turns, callers would wait unseen for
their connection, so where many wait, some turns only look who is there; and a refusal ends its connection, so that it
is not the refused who fill the turns.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from features.errors import LeadscoreError
from serving.settings import Settings

T = TypeVar("T")
_ARRIVING = 16  # times as many bodies may be on their way as requests are worked on: these only wait
_AGES = 86_400.0  # seconds: no bound that a call could meet
_SLICE = 0.002  # seconds of work in one turn of the loop, before others wait for the next
_MANY = 8  # waiting requests from which on turns are spent on looking
_LOOKS = (
    3,
    10,
)  # turns between two requests' work: so many always, since a caller needs three to appear; so many at most
_GLANCES = 32  # turns between two parts of long work, which take longer than a request, as long as someone comes
_LONG = 2  # long pieces of work at a time: each takes from the short ones


def overloaded() -> LeadscoreError:
    """The refusal of what is too much."""
    return LeadscoreError(
        "overloaded",
        "the service has more requests than it can take.",
        remedy="Send it again after the seconds that the header retry-after names.",
    )


def too_late(seconds: float) -> LeadscoreError:
    """The refusal of what would be, or has become, too late."""
    return LeadscoreError(
        "deadline",
        f"the answer was not there within {seconds:g} seconds.",
        remedy="Send it again a little later, or less at a time; what is written twice counts once.",
    )


class Load:
    """The requests at hand in one worker: those whose body arrives, and those that are worked on.

    Args:
        most: how many may be worked on at a time.
        most_bytes: how much the bodies at hand may hold; a single one is taken whatever its size.
        seconds: how long after its body's arrival a request may be answered.
    """

    def __init__(self, most: int, most_bytes: int, seconds: float) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.seconds = seconds
        self.arriving = 0
        self.working = 0
        self.bytes = 0
        self._turn_ends: float | None = None  # when enough has been done in this turn of the loop; None: nothing was
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._looked = 0  # turns since the last work
        self._someone = False  # has come in this turn
        self.long = asyncio.Semaphore(_LONG)

    @staticmethod
    def of(settings: Settings) -> Load:
        """The load that the settings allow."""
        return Load(settings.concurrency, settings.pending_bytes, settings.deadline_seconds)

    def arrive(self, size: int) -> Passage | None:
        """Take a request with a body of at most ``size`` bytes; None where it is too much."""
        self._someone = True
        if self.working >= self.most or self.arriving >= _ARRIVING * self.most:
            return None
        if self.bytes and self.bytes + size > self.most_bytes:
            return None
        return Passage(self, size)

    async def begin(self) -> None:
        """Wait, where others do or where this turn of the loop has been worked in for long enough."""
        now = time.monotonic()
        if self._turn_ends is None:
            self._open(now)
        elif self._waiting or now >= self._turn_ends:
            mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(mine)
            await mine

    def _open(self, now: float) -> None:
        self._turn_ends = now + _SLICE
        asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        least, most = _LOOKS
        if len(self._waiting) >= _MANY and (self._looked < least or (self._someone and self._looked < most)):
            self._looked += 1
            self._someone = False
            asyncio.get_running_loop().call_soon(self._next_turn)
            return
        self._turn_ends = None
        self._looked = 0
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():  # a cancelled one is
                first.set_result(None)
                self._open(time.monotonic())
                return


class Passage:
    """One request on its way through. ``leave`` must be called once at its end."""

    __slots__ = ("_left", "_load", "_size", "_started", "_until", "note")

    def __init__(self, load: Load, size: int) -> None:
        self._load = load
        self._size = size
        self._started = False
        self._left = False
        self._until = 0.0
        self.note: dict[str, Any] = {}  # for the log: what the answer was, nothing of the request
        load.arriving += 1
        load.bytes += size

    async def start(self) -> None:
        """Begin to work, the body being there; once. Raises ``overloaded`` or ``deadline``."""
        load = self._load
        if self._started:
            return
        if load.working >= load.most:
            raise overloaded()
        self._started = True
        load.arriving -= 1
        load.working += 1
        self._until = time.monotonic() + load.seconds
        await load.begin()
        self.check()

    async def pause(self) -> None:
        """Between two parts of long work: let the loop see who is there. Raises ``deadline`` where it is too late."""
        quiet = 0
        for _ in range(_GLANCES):
            self._load._someone = False
            await asyncio.sleep(0)
            quiet = 0 if self._load._someone else quiet + 1
            if quiet == _LOOKS[0]:
                break
        self.check()

    def check(self) -> None:
        """Raise ``deadline`` where it is too late to go on."""
        if self.left() <= 0:
            raise too_late(self._load.seconds)

    def left(self) -> float:
        """The seconds until the deadline."""
        return self._until - time.monotonic()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn for a long piece of work, of which few run at a time. Raises ``deadline`` where it comes too late."""
        await self._wait_for_turn()
        try:
            yield
        finally:
            self._load.long.release()

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Long work in a thread, in its turn. Raises ``deadline``; a thread that is late keeps its turn to its end."""
        await self._wait_for_turn()
        work = asyncio.ensure_future(asyncio.to_thread(function, *args))
        work.add_done_callback(self._finished)
        return await self.within(asyncio.shield(work))

    async def within(self, awaited: Awaitable[T]) -> T:
        """What is awaited, cancelled at the deadline. Raises ``deadline``."""
        limit = asyncio.timeout(self.left())
        try:
            async with limit:
                return await awaited
        except TimeoutError:
            if limit.expired():
                raise too_late(self._load.seconds) from None
            raise

    async def _wait_for_turn(self) -> None:
        await self.within(self._load.long.acquire())

    def _finished(self, work: asyncio.Future[Any]) -> None:
        self._load.long.release()
        if not work.cancelled():
            work.exception()  # looked at, so that asyncio does not log what nobody waits for any more

    def leave(self) -> None:
        """The request is answered, or gone."""
        if self._left:
            return
        self._left = True
        self._load.bytes -= self._size
        if self._started:
            self._load.working -= 1
        else:
            self._load.arriving -= 1


def _forgotten(work: asyncio.Future[Any]) -> None:
    """Look at what became of work that nobody waits for, so that asyncio does not log it."""
    if not work.cancelled():
        work.exception()


_CURRENT: ContextVar[Passage | None] = ContextVar("leadscore_passage")


def enter(passage: Passage) -> None:
    """Make the passage that of the current task, which is one for each request."""
    _CURRENT.set(passage)


def current() -> Passage:
    """The passage of the current request; one without bounds for a call within the process, past the gate."""
    passage = _CURRENT.get(None)
    if passage is None:
        passage = Passage(Load(sys.maxsize, sys.maxsize, _AGES), 0)
        passage._until = time.monotonic() + _AGES
        _CURRENT.set(passage)
    return passage


async def in_time(awaited: Awaitable[T]) -> T:
    """What is awaited, no longer than the current request's deadline, where there is a request. Raises ``deadline``."""
    passage = _CURRENT.get(None)
    return await (awaited if passage is None else passage.within(awaited))
