"""More than the service can take: what is beyond is refused at once, what is accepted is answered in time.

``LEADSCORE_PROOFS=1`` (``make proofs``) floods for a minute instead of six seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from features.errors import LeadscoreError
from serving.load import Load, Passage
from tests.fixtures_bundle import make_request
from tests.server import Server, point, put_bundle, serving, until

ROOT = Path(__file__).resolve().parents[1]
PROOFS = os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0")
SECONDS = 60 if PROOFS else 6
JSON = {"content-type": "application/json"}
DEADLINE = 10.0  # seconds: the default
AT_A_TIME = 16
MIB = 1024 * 1024


def busy_request(events: int) -> dict[str, Any]:
    """A prospect with many events, so that its score takes a while."""
    request = make_request()
    request["events"] = [
        {"event_id": f"e{i}", "type": "page_view", "occurred_at": f"2026-03-01T{10 + i % 10}:{i % 60:02}:00Z"}
        for i in range(events)
    ]
    return request


# -- what a worker takes on --------------------------------------------------------------------------------------------


def started(load: Load, count: int) -> list[str]:
    """What becomes of ``count`` requests whose bodies are there in one turn of the loop."""

    async def one() -> str:
        passage = load.arrive(10)
        if passage is None:
            return "refused at arrival"
        try:
            await passage.start()
            assert load.working <= load.most
            time.sleep(0.0015)
            return "answered"
        except LeadscoreError as e:
            return e.code
        finally:
            passage.leave()

    async def all_() -> list[str]:
        return list(await asyncio.gather(*(one() for _ in range(count))))

    return asyncio.run(all_())


def test_those_that_come_together_count_each_other() -> None:
    """The first work for as long as a turn may last; of the rest as many wait as may be worked on at a time."""
    load = Load(4, 10_000, 5.0)
    found = started(load, 20)
    assert 1 + 4 <= found.count("answered") <= 2 + 4
    assert set(found) == {"answered", "refused at arrival"}
    assert (load.arriving, load.working, load.bytes) == (0, 0, 0)


def test_bodies_on_their_way_are_counted_apart_and_their_bytes_bounded() -> None:
    async def check() -> None:
        load = Load(2, 1000, 5.0)
        slow = [load.arrive(100) for _ in range(10)]
        assert all(slow)
        assert load.arrive(1) is None  # a thousand bytes are at hand
        for passage in slow:
            assert passage is not None
            passage.leave()
            passage.leave()  # once is enough
        assert load.bytes == 0
        one = load.arrive(5000)  # alone, it is taken
        assert one is not None
        assert load.arrive(1) is None
        one.leave()
        many = [load.arrive(0) for _ in range(100)]
        assert sum(p is not None for p in many) == 32

    asyncio.run(check())


def test_a_body_that_is_there_when_all_is_taken_is_refused() -> None:
    async def check() -> None:
        load = Load(1, 1000, 5.0)
        first, second = load.arrive(1), load.arrive(1)
        assert first is not None
        assert second is not None
        await first.start()
        with pytest.raises(LeadscoreError) as caught:
            await second.start()
        assert caught.value.code == "overloaded"
        second.leave()
        first.leave()
        assert (load.arriving, load.working) == (0, 0)

    asyncio.run(check())


def test_the_deadline_holds_before_work_and_during_it() -> None:
    async def check() -> None:
        load = Load(8, 1000, 0.1)
        passages = [load.arrive(0) for _ in range(4)]

        async def late(passage: Passage | None) -> str:
            assert passage is not None
            try:
                await passage.start()
                time.sleep(0.15)
                return "answered"
            except LeadscoreError as e:
                return e.code

        # The first two block the loop past the deadline of the others, which wait behind them.
        assert await asyncio.gather(*map(late, passages)) == ["answered", "answered", "deadline", "deadline"]

        # A thread that is late keeps its turn to its end: a third piece of long work waits for one of two turns.
        ended: list[int] = []

        async def long(number: int) -> str:
            passage = load.arrive(0)
            assert passage is not None
            await passage.start()
            try:
                await passage.in_thread(lambda: (time.sleep(0.4), ended.append(number)))
                return "answered"
            except LeadscoreError as e:
                return e.code

        assert await asyncio.gather(long(1), long(2), long(3)) == ["deadline"] * 3
        assert ended == []
        await asyncio.sleep(0.6)
        assert sorted(ended) == [1, 2]  # the third was refused before it began
        passage = load.arrive(0)
        assert passage is not None
        await passage.start()
        assert await passage.in_thread(lambda: "free again") == "free again"

    asyncio.run(check())


# -- the service under a flood -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    point(home, {"won": {**put_bundle(home, "seven"), "version": "7"}})
    settings = {
        "LEADSCORE_CONCURRENCY": str(AT_A_TIME),
        "LEADSCORE_DEADLINE_SECONDS": str(DEADLINE),
        "LEADSCORE_LOG": "json",
    }
    with serving(home, tmp_path_factory.mktemp("served") / "empty", **settings) as server:
        yield server


def flood(server: Server, **order: Any) -> dict[str, Any]:
    """Run a flood in a process of its own; see ``tests.flood``."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.flood"],
        cwd=ROOT,
        input=json.dumps({"port": server.port, "path": "/score", "rate": 0, **order}),
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    found["seconds"] = {int(status): sorted(taken) for status, taken in found["seconds"].items()}
    return found


def share(taken: list[float], part: float) -> float:
    """A quantile of sorted seconds."""
    return taken[min(len(taken) - 1, int(part * len(taken)))]


def memory(pid: int) -> int:
    """The bytes that a process holds in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# A score that is mostly its body: a flood of these costs who sends them as much as who answers, so that a machine with
# two cores cannot offer ten times what is carried; and a batch, that is little to send and so much to answer that ten
# times what is carried can be offered beside another process of tests.
FLOODS = {
    "/score": busy_request(200),
    "/score_batch": {
        "items": [{"prospect": {"prospect_id": f"p{n}", "created_at": "2026-03-01T09:00:00Z"}} for n in range(700)]
    },
}


@pytest.mark.parametrize("path", FLOODS)
def test_ten_times_the_load_it_can_carry(server: Server, path: str) -> None:
    body = json.dumps(FLOODS[path])
    calm = flood(server, path=path, body=body, callers=4, seconds=max(2, SECONDS / 10))
    assert set(calm["seconds"]) == {200}
    carried = len(calm["seconds"][200]) / calm["took"]
    worker = server.children()
    before = sum(map(memory, worker))

    probes: list[tuple[int, float]] = []
    flooding = threading.Event()

    def probe() -> None:
        """Health is answered all the while."""
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not flooding.is_set():
                for path in ("/livez", "/readyz", "/metrics"):
                    began = time.monotonic()
                    probes.append((client.get(path).status_code, time.monotonic() - began))
                time.sleep(0.1)

    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(probe)
        try:
            overloaded = server.metric('leadscore_errors_total{code="overloaded"}')
            # A third more than is asked for, since who waits for an answer does not send meanwhile.
            most = flood(server, path=path, body=body, callers=AT_A_TIME * 10, seconds=SECONDS, rate=40 / 3 * carried)
        finally:
            flooding.set()
        probing.result()
    after = sum(map(memory, worker))

    answers = most["seconds"]
    offered = sum(map(len, answers.values())) / most["took"]
    figures = {
        "carried_per_second": round(carried),
        "offered_per_second": round(offered),
        "accepted_per_second": round(len(answers[200]) / most["took"]),
        "refused_per_second": round(len(answers.get(429, [])) / most["took"]),
        "calm_p99_ms": round(share(calm["seconds"][200], 0.99) * 1000, 1),
        "accepted_p50_ms": round(share(answers[200], 0.5) * 1000, 1),
        "accepted_p99_ms": round(share(answers[200], 0.99) * 1000, 1),
        "accepted_max_ms": round(answers[200][-1] * 1000, 1),
        "health_max_ms": round(max(seconds for _, seconds in probes) * 1000, 1),
        "memory_grown_mib": round((after - before) / MIB, 1),
    }
    print(f"FIGURES overload {path} " + json.dumps(figures))
    assert most["failures"] == []
    assert set(answers) <= {200, 429, 503}
    assert most["without_retry"] == 0
    assert len(answers.get(429, [])) > 0, figures
    if path == "/score_batch":
        assert offered > 9 * carried, figures
    assert share(answers[200], 0.99) <= max(2 * share(calm["seconds"][200], 0.99), DEADLINE), figures
    assert after - before < 150 * MIB, figures
    assert server.children() == worker  # nothing crashed and was started again
    assert {status for status, _ in probes} == {200}
    assert max(seconds for _, seconds in probes) < DEADLINE + 1, figures
    answer = server.client.post(path, content=body, headers=JSON)
    assert answer.status_code == 200
    assert server.metric('leadscore_errors_total{code="overloaded"}') - overloaded == len(answers[429])
    for queue in ("arriving", "working"):
        (depth,) = [
            float(line.rsplit(" ", 1)[1])
            for line in server.client.get("/metrics").text.splitlines()
            if line.startswith("leadscore_queue_depth{") and f'queue="{queue}"' in line
        ]
        assert depth == 0
    assert "Traceback" not in server.output()


def test_a_refusal_says_when_to_come_again(server: Server) -> None:
    """Bodies that never end take up what may be on its way; the next is told to come again."""
    import socket

    head = b"POST /score HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{"
    waiting = []
    try:
        for _ in range(AT_A_TIME * 16 + 16):  # some more: one may be late
            waiting.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            waiting[-1].sendall(head)

        def refused() -> httpx.Response | None:
            answer = server.client.post("/score", json=make_request())
            return answer if answer.status_code == 429 else None

        answer = until(refused, "too many bodies are on their way")
        assert answer.json()["error"]["code"] == "overloaded"
        assert answer.headers["retry-after"] == "1"
        assert server.client.get("/readyz").status_code == 200
    finally:
        for s in waiting:
            s.close()
    until(lambda: server.client.post("/score", json=make_request()).status_code == 200, "the bodies are given up")


def test_long_work_has_a_deadline(tmp_path: Path) -> None:
    """A batch and an account that take too long are told so, and the service goes on."""
    point(tmp_path, {"won": {**put_bundle(tmp_path, "seven"), "version": "7"}})
    settings = {"LEADSCORE_DEADLINE_SECONDS": "0.1", "LEADSCORE_ACCOUNT_STEPS": "1000000000"}
    with serving(tmp_path, tmp_path / "empty", **settings) as server:
        batch = {"items": [busy_request(1000)] * 200}
        answer = server.client.post("/score_batch", json=batch)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "deadline")
        assert int(answer.headers["retry-after"]) > 0
        account = {
            "prospects": [{**make_request()["prospect"], "prospect_id": f"p{i}"} for i in range(300)],
            "events": [
                {**e, "event_id": f"{p}-{e['event_id']}", "prospect_id": f"p{p}"}
                for p in range(300)
                for e in busy_request(10)["events"]
            ],
            "as_of": make_request()["as_of"],
        }
        answer = server.client.post("/score_account", json=account)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "deadline")
        assert server.client.post("/score", json=make_request()).status_code == 200


def test_what_was_accepted_is_finished_before_the_end(tmp_path: Path) -> None:
    """SIGTERM while a batch is worked on: it is answered, then the service ends; nothing new is taken."""
    point(tmp_path, {"won": {**put_bundle(tmp_path, "seven"), "version": "7"}})
    with serving(tmp_path, tmp_path / "empty", LEADSCORE_DEADLINE_SECONDS="60") as server:
        body = json.dumps({"items": [busy_request(1000)] * 200})
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(lambda: httpx.post(f"{server.url}/score_batch", content=body, headers=JSON, timeout=60))
            until(
                lambda: (
                    float(
                        next(
                            (
                                line.rsplit(" ", 1)[1]
                                for line in server.client.get("/metrics").text.splitlines()
                                if line.startswith("leadscore_queue_depth{") and 'queue="working"' in line
                            ),
                            "0",
                        )
                    )
                    > 0
                ),
                "the batch is worked on",
            )
            server.process.send_signal(signal.SIGTERM)
            answer = asked.result()
        assert answer.status_code == 200
        assert len(answer.json()["results"]) == 200
        server.process.wait(30)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/livez")


# -- the log -----------------------------------------------------------------------------------------------------------


def test_the_log_is_lines_of_json_with_receipts_and_nothing_of_the_prospect(server: Server) -> None:
    request = make_request()
    request["prospect"]["prospect_id"] = "anna.someone@firm.example"
    scored = server.client.post("/score", json=request).json()
    refused = server.client.post("/score", json={**request, "nonsense": "anna.someone@firm.example"})
    assert refused.status_code == 422
    server.client.get("/v1/anna.someone@firm.example")
    answered: list[dict[str, Any]] = []
    for _ in range(100):  # a line is written after its answer was sent
        lines = server.output().splitlines()
        own = [json.loads(line) for line in lines if line.startswith("{")]
        answered = [line for line in own if line["message"] == "answered"]
        if answered[-1:] and answered[-1]["path"] == "other":
            break
        time.sleep(0.05)
    (line,) = [line for line in answered if line.get("receipt_id") == scored["receipt_id"]]
    assert (line["path"], line["method"], line["status"], line["version"]) == ("/score", "POST", 200, "7")
    assert 0 < line["seconds"] < 60
    assert answered[-2]["code"] == "unknown_field"
    assert (answered[-1]["code"], answered[-1]["path"]) == ("unknown_path", "other")
    assert "anna" not in server.output()
    assert any("Champion won: version 7" in line["message"] for line in own)


# -- readiness ---------------------------------------------------------------------------------------------------------


def test_readiness_tells_of_a_store_that_is_gone_and_the_service_scores_on(tmp_path: Path) -> None:
    point(tmp_path, {"won": {**put_bundle(tmp_path, "seven"), "version": "7"}})
    folder = tmp_path / "stores"
    settings = {"LEADSCORE_STORE": f"sqlite:///{folder / 'live.db'}"}
    folder.write_text("")  # a file where the folder should be
    with serving(tmp_path, tmp_path / "empty", **settings) as server:

        def problems() -> list[str]:
            return [p["code"] for p in server.client.get("/readyz").json()["problems"]]

        until(lambda: problems() == ["store_unavailable"], "the store's absence is told")
        assert server.client.get("/readyz").status_code == 200
        assert server.client.post("/score", json=make_request()).status_code == 200
        refused = server.client.put("/v1/accounts/a1", json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        assert refused.headers["retry-after"]
        assert server.metric('leadscore_store_errors_total{code="store_unavailable"}') > 0
        folder.unlink()
        folder.mkdir()
        until(lambda: problems() == [], "the store is there again")
        assert server.client.put("/v1/accounts/a1", json={}).status_code == 200
