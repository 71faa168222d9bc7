"""The whole service killed (SIGKILL) again and again while it writes: what it acknowledged is there, and once.

50 kills on each database under ``LEADSCORE_PROOFS=1``, a tenth of them otherwise.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from serving.run import serve_command
from serving.store import FACTS, VERSIONS, open_store, store_url
from tests.live import CREATED, event
from tests.postgres import postgres
from tests.server import free_port, until

KILLS = 50 if os.environ.get("LEADSCORE_PROOFS") else 5
WRITERS = 3
SECONDS = 1.0  # of writing between two kills, at most


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they did."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parents.setdefault(int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(
                int(entry.name)
            )
    out, ask = [], [pid]
    while ask:
        found = parents.get(ask.pop(), [])
        out += found
        ask += found
    return out


def running(pid: int) -> bool:
    """Whether a process still runs: neither gone nor waiting for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


class Killed:
    """A service in a process group of its own, at one address through all its lives."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder, self.port = folder, free_port()
        (folder / "home").mkdir()
        (folder / "cwd").mkdir()
        environ = {"PATH": os.environ["PATH"], "LEADSCORE_STORE": store}
        self.command, self.environment = serve_command(folder / "home", port=self.port, workers=2, environ=environ)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers with both its workers.

        As a supervisor does, once more where it ends at once: BentoML looks for a free port for its own supervisor,
        which a writer's connection may take before it is bound.
        """
        self._launch()

        def alive() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                assert b"Address already in use" in (self.folder / "log").read_bytes()[-2000:]
                self._launch()
            with contextlib.suppress(httpx.TransportError):
                answers = httpx.get(f"{self.url}/livez", timeout=5).status_code == 200
                return answers and len(descendants(self.process.pid)) >= 2
            return False

        until(alive, "the service is alive")

    def _launch(self) -> None:
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, cwd=self.folder / "cwd", stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """End the service and all its workers, unasked: the workers lead sessions of their own."""
        assert self.process is not None
        all_of_it = [self.process.pid, *descendants(self.process.pid)]
        assert len(all_of_it) > 2 or self.process.poll() is not None
        for pid in all_of_it:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        until(lambda: not any(running(pid) for pid in all_of_it), "all of it is dead")


class Writer(threading.Thread):
    """A CRM's queue: what is not acknowledged is sent again, and sometimes what is."""

    def __init__(self, url: str, name: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.url, self.writer, self.stop = url, name, stop
        self.random = random.Random(name)
        self.events: set[str] = set()
        self.retracted: set[str] = set()
        self.versions = 0
        self.faults: list[str] = []
        self.answers: Counter[int] = Counter()

    def send(self, method: str, path: str, body: Any = None) -> None:
        """Until it is acknowledged."""
        while not self.stop.is_set():
            try:
                answer = httpx.request(method, self.url + path, json=body, timeout=20)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code == 200:
                if self.random.random() < 0.1:  # delivered twice
                    with contextlib.suppress(httpx.TransportError):
                        httpx.request(method, self.url + path, json=body, timeout=20)
                return
            if answer.status_code < 500:
                self.faults.append(f"{method} {path}: {answer.text}")
                return
            time.sleep(0.05)
        raise StopIteration

    def run(self) -> None:
        number = 0
        with contextlib.suppress(StopIteration):
            while True:
                number += 1
                name = f"{self.writer}-{number}"
                version = {"created_at": CREATED, "source": f"s{self.versions + 1}"}
                self.send("PUT", f"/v1/prospects/{self.writer}", version)
                self.versions += 1
                items = [event(f"{name}-{i}", self.writer) for i in range(self.random.randint(1, 20))]
                self.send("POST", "/v1/events", items)
                self.events.update(e["event_id"] for e in items)
                if number % 3 == 0:
                    gone = items[0]["event_id"]
                    self.send("DELETE", f"/v1/events/{gone}")
                    self.retracted.add(gone)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield store_url("", tmp_path)
    else:
        with postgres() as server:
            yield server.database()


def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(store: str, tmp_path: Path) -> None:
    service, stop = Killed(tmp_path, store), threading.Event()
    writers = [Writer(service.url, f"w{i}", stop) for i in range(WRITERS)]
    chance = random.Random(1)
    service.start()
    try:
        for writer in writers:
            writer.start()
        for _ in range(KILLS):
            done = sum(len(w.events) for w in writers)
            until(lambda done=done: sum(len(w.events) for w in writers) > done, "it writes")
            time.sleep(chance.uniform(0, SECONDS))
            service.kill()
            service.start()
        done = sum(len(w.events) for w in writers)
        until(lambda: sum(len(w.events) for w in writers) > done, "it writes after the last kill")
        stop.set()
        for writer in writers:
            writer.join(60)
    finally:
        stop.set()
        service.kill()
    assert [fault for w in writers for fault in w.faults] == []
    assert set().union(*(w.answers for w in writers)) <= {200, 503}
    opened = open_store(store)
    facts = opened.read(lambda c: c.execute(sa.select(FACTS)).all())
    versions = opened.read(lambda c: c.execute(sa.select(VERSIONS).order_by(VERSIONS.c.observed_at)).all())
    opened.close()
    for writer in writers:
        mine = [f for f in facts if f.prospect_id == writer.writer]
        kept = Counter(f.id for f in mine)
        assert writer.events <= set(kept)
        assert set(kept.values()) == {1}
        assert len(set(kept) - writer.events) <= 20  # no more than the list that was under way at the end
        assert writer.retracted <= {f.id for f in mine if f.retracted_at is not None}
        sources = [v.record.split('"source":"')[1].split('"')[0] for v in versions if v.id == writer.writer]
        assert sources == [f"s{i + 1}" for i in range(len(sources))]  # each once, in order
        assert 0 <= len(sources) - writer.versions <= 1
    assert sum(len(w.events) for w in writers) > 10 * KILLS
