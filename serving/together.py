"""Requests that come in one turn of the event loop are scored in one call: the model costs little more for all of them
than for one, and the code that one has brought into the processor's cache is there for the next.

Nobody waits for others to come. Who is alone is scored alone, to the same bit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Done = TypeVar("Done")

MOST = 56.0  # of weight in one call, of 50 with 20 events: it holds the event loop for as long as that takes


class Together(Generic[Asked, Done]):
    """Does what is asked in the next turn of the loop, with all else that is asked in this one.

    ``work`` gives for each of those asked, in their order, what was done or the exception that it raised; ``weigh``
    says how heavy each is: in one call they are not more than ``MOST``, or only one.
    """

    def __init__(
        self, work: Callable[[Sequence[Asked]], Sequence[Done | Exception]], weigh: Callable[[Asked], float]
    ) -> None:
        self._work = work
        self._weigh = weigh
        self._waiting: deque[tuple[Asked, asyncio.Future[Done]]] = deque()
        self._called = False

    async def do(self, asked: Asked) -> Done:
        """What was done; raises what it raised."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Done] = loop.create_future()
        self._waiting.append((asked, mine))
        if not self._called:
            self._called = True
            loop.call_soon(self._next)
        return await mine

    def _next(self) -> None:
        part = [self._waiting.popleft()]
        room = MOST - self._weigh(part[0][0])
        while self._waiting and (room := room - self._weigh(self._waiting[0][0])) >= 0:
            part.append(self._waiting.popleft())
        self._called = bool(self._waiting)
        if self._called:
            asyncio.get_running_loop().call_soon(self._next)
        part = [(asked, mine) for asked, mine in part if not mine.done()]  # a cancelled one is
        if not part:
            return
        try:
            found = self._work([asked for asked, _ in part])
        except Exception as e:
            found = [e] * len(part)
        for (_, mine), done in zip(part, found, strict=True):
            if isinstance(done, Exception):
                mine.set_exception(done)
            else:
                mine.set_result(done)
