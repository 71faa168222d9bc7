"""Requests of one turn of the event loop are scored in one call, each as it would be alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.service import _parts
from serving.together import MOST, Together
from tests.fixtures_bundle import GOAL, make_request
from tests.server import Server, point, put_bundle, serving

RENEWED = replace(GOAL, outcome="renewed")


class Work:
    """Doubles numbers; odd ones are its fault, and 7 brings the whole call down."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(asked))
        if 7 in asked:
            raise KeyError(7)
        return [ValueError(n) if n % 2 else 2 * n for n in asked]


def alike(_: int) -> float:
    return 1.0


async def gathered(together: Together[int, int], numbers: Sequence[int]) -> list[Any]:
    return await asyncio.gather(*map(together.do, numbers), return_exceptions=True)


def test_those_of_one_turn_are_done_in_one_call_and_each_gets_its_own() -> None:
    work = Work()
    found = asyncio.run(gathered(Together(work, alike), [2, 4, 5, 6]))
    assert work.calls == [[2, 4, 5, 6]]
    assert [found[0], found[1], found[3]] == [4, 8, 12]
    assert isinstance(found[2], ValueError)


def test_who_is_alone_does_not_wait() -> None:
    work = Work()

    async def one_after_the_other() -> list[int]:
        together = Together(work, alike)
        return [await together.do(2), await together.do(4)]

    assert asyncio.run(one_after_the_other()) == [4, 8]
    assert work.calls == [[2], [4]]


def test_a_call_holds_no_more_than_its_share_of_the_loop() -> None:
    work = Work()
    most = int(MOST)
    numbers = list(range(0, 4 * most + 2, 2))
    assert asyncio.run(gathered(Together(work, alike), numbers)) == [2 * n for n in numbers]
    assert [len(call) for call in work.calls] == [most, most, 1]
    work.calls.clear()
    heavy = Together(work, lambda n: MOST * 2 if n == 4 else MOST / 2)
    assert asyncio.run(gathered(heavy, [0, 2, 4, 6, 8, 10])) == [0, 4, 8, 12, 16, 20]
    assert work.calls == [[0, 2], [4], [6, 8], [10]]


def test_a_call_that_fails_as_a_whole_fails_for_all_of_its_own() -> None:
    work = Work()
    most = int(MOST)
    numbers = [*range(0, 2 * most - 2, 2), 7, 100]
    found = asyncio.run(gathered(Together(work, alike), numbers))
    assert all(isinstance(each, KeyError) for each in found[:most])
    assert found[most] == 200


def test_a_batch_is_worked_on_in_parts_of_like_weight() -> None:
    def item(events: int, related: int = 0) -> dict[str, Any]:
        return {"events": [{}] * events, "related": {"events": [{}] * related}}

    light, heavy = int(MOST), int(MOST) * 200
    assert list(_parts([item(0)] * (2 * light + 1))) == [
        range(light),
        range(light, 2 * light),
        range(2 * light, 2 * light + 1),
    ]
    assert list(_parts([item(heavy), item(0, heavy), item(0)])) == [range(1), range(1, 2), range(2, 3)]
    assert list(_parts([None, 7, {"events": 5, "related": []}, {"related": {"events": None}}])) == [range(4)]
    assert list(_parts([])) == []


def test_who_went_away_is_not_worked_for() -> None:
    work = Work()

    async def run() -> int:
        together = Together(work, alike)
        gone, stays = asyncio.create_task(together.do(2)), asyncio.create_task(together.do(4))
        asyncio.get_running_loop().call_soon(gone.cancel)  # after both have asked, before the call
        return await stays

    assert asyncio.run(run()) == 8
    assert work.calls == [[4]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home: Path = tmp_path_factory.mktemp("home")
    goals = {"won": put_bundle(home, "first"), "renewed": put_bundle(home, "second", goal=RENEWED.to_json())}
    point(home, {goal: {**entry, "version": "1"} for goal, entry in goals.items()})
    with serving(home, tmp_path_factory.mktemp("served") / "empty") as running:
        yield running


def test_an_answer_is_the_same_alone_and_among_others(server: Server) -> None:
    def body(n: int) -> dict[str, Any]:
        request = make_request()
        events = request["events"][: n % (len(request["events"]) + 1)]
        prospect = {**request["prospect"], "prospect_id": f"p{n}"}
        return {**request, "goal": ("won", "renewed")[n % 2], "prospect": prospect, "events": events}

    def ask(n: int) -> dict[str, Any]:
        answer = server.client.post("/score", json=body(n)).json()
        return {name: value for name, value in answer.items() if name not in ("receipt_id", "previous")}

    alone = [ask(n) for n in range(24)]
    assert len({answer["probability"] for answer in alone}) > 2
    with ThreadPoolExecutor(12) as pool:
        for _ in range(5):
            assert list(pool.map(ask, range(24))) == alone
