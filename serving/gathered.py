"""Look-ups in threads: those that come while others are under way wait for these, and go together then.

Where a database is asked over a network, most of a look-up is the way there, which is one for all that go together.
Nobody waits for others to come. What fails is tried again for each that was asked for it by itself: one that takes too
long, or is too much, is no other's fault.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, NamedTuple, TypeVar

Asked = TypeVar("Asked")
Found = TypeVar("Found")

_ABREAST = 4  # look-ups under way at a time, so that one that takes long does not hold up all
_MOST = 64  # asked for in one


class _Caller(NamedTuple, Generic[Asked, Found]):
    """What one caller asks for, and what is to be told of it."""

    asked: Sequence[Asked]
    mine: asyncio.Future[Sequence[Found]]
    alone: bool = False


class Gathered(Generic[Asked, Found]):
    """Does ``work``, which gives what was found of each that is asked for, in threads. For the event loop's thread."""

    def __init__(self, work: Callable[[Sequence[Asked]], Sequence[Found]], threads: Executor) -> None:
        self._work = work
        self._threads = threads
        self._waiting: deque[_Caller[Asked, Found]] = deque()
        self._under_way = 0

    def do(self, asked: Sequence[Asked]) -> asyncio.Future[Sequence[Found]]:
        """What is found; fails as ``work`` does. Cancelled, nobody waits for it any more."""
        mine: asyncio.Future[Sequence[Found]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Caller(asked, mine))
        self._next()
        return mine

    def _next(self) -> None:
        while self._under_way < _ABREAST and (callers := self._taken()):
            every = [one for caller in callers for one in caller.asked]
            job = asyncio.get_running_loop().run_in_executor(self._threads, self._work, every)
            self._under_way += 1
            job.add_done_callback(partial(self._done, callers))

    def _taken(self) -> list[_Caller[Asked, Found]]:
        """Those who go next, together."""
        out: list[_Caller[Asked, Found]] = []
        room = _MOST
        while self._waiting:
            first = self._waiting[0]
            if not first.mine.done():  # a cancelled one is
                room -= len(first.asked)
                if out and (room < 0 or first.alone):
                    break
                out.append(first)
            self._waiting.popleft()
            if first.alone and out:
                break
        return out

    def _done(self, callers: Sequence[_Caller[Asked, Found]], job: asyncio.Future[Sequence[Found]]) -> None:
        self._under_way -= 1
        left = [caller for caller in callers if not caller.mine.done()]
        error = job.exception()
        if error is None:
            found, start = job.result(), 0
            for caller in callers:
                if not caller.mine.done():
                    caller.mine.set_result(found[start : start + len(caller.asked)])
                start += len(caller.asked)
        elif len(callers) == 1:
            for caller in left:
                caller.mine.set_exception(error)
        else:
            self._waiting.extendleft(caller._replace(alone=True) for caller in reversed(left))
        self._next()
