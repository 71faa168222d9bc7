"""Look-ups that come while others are under way go together, and none suffers for another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.gathered import _ABREAST, Gathered


class Desk:
    """Work that waits for leave; ``asked`` is what it was asked for, call by call."""

    def __init__(self, fails: Callable[[Sequence[int]], bool] = lambda asked: False) -> None:
        self.asked: list[list[int]] = []
        self.leave = threading.Event()
        self._fails = fails

    def work(self, asked: Sequence[int]) -> list[int]:
        self.asked.append(list(asked))
        assert self.leave.wait(30)
        if self._fails(asked):
            raise ValueError(len(asked))
        return [10 * each for each in asked]


def run(desk: Desk, given: Callable[[Gathered[int, int]], Any]) -> Any:
    async def main() -> Any:
        with ThreadPoolExecutor(8) as threads:
            try:
                return await given(Gathered(desk.work, threads))
            finally:
                desk.leave.set()

    return asyncio.run(main())


async def begun(desk: Desk, calls: int) -> None:
    while len(desk.asked) < calls:
        await asyncio.sleep(0.001)


def test_who_comes_while_others_are_under_way_goes_with_those_who_came_too() -> None:
    desk = Desk()

    async def given(gathered: Gathered[int, int]) -> Any:
        first = [gathered.do([1, 2]), gathered.do([3]), *(gathered.do([0]) for _ in range(_ABREAST - 2))]
        await begun(desk, _ABREAST)  # nobody waited for others
        later = [gathered.do([i, i + 1]) for i in range(4, 14, 2)]
        later[1].cancel()
        desk.leave.set()
        return [list(await each) for each in (*first[:2], *(one for one in later if not one.cancelled()))]

    found = run(desk, given)
    assert found == [[10, 20], [30], [40, 50], [80, 90], [100, 110], [120, 130]]
    assert desk.asked == [[1, 2], [3], *[[0]] * (_ABREAST - 2), [4, 5, 8, 9, 10, 11, 12, 13]]


def test_a_call_holds_so_many_or_one_caller() -> None:
    desk = Desk()

    async def given(gathered: Gathered[int, int]) -> None:
        first = [gathered.do([i]) for i in range(_ABREAST)]
        await begun(desk, _ABREAST)
        later = [gathered.do(range(40)), gathered.do(range(30)), gathered.do(range(100)), gathered.do([5])]
        desk.leave.set()
        for each in (*first, *later):
            await each

    run(desk, given)
    assert sorted(map(len, desk.asked)) == [*[1] * _ABREAST, 1, 30, 40, 100]


def test_what_fails_together_is_tried_for_each_alone() -> None:
    desk = Desk(lambda asked: 7 in asked)

    async def given(gathered: Gathered[int, int]) -> Any:
        first = [gathered.do([i]) for i in range(_ABREAST)]
        await begun(desk, _ABREAST)
        later = [gathered.do([i]) for i in (6, 7, 8)]
        desk.leave.set()
        return await asyncio.gather(*first, *later, return_exceptions=True)

    *sound, failed, last = run(desk, given)
    assert sound == [*([10 * i] for i in range(_ABREAST)), [60]]
    assert type(failed) is ValueError
    assert failed.args == (1,)
    assert last == [80]
    assert desk.asked[_ABREAST] == [6, 7, 8]
    assert sorted(desk.asked[_ABREAST + 1 :]) == [[6], [7], [8]]
