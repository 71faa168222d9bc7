"""A load for a server on this machine: some connections, each with one request under way, in one thread.

Made of plain sockets, so that it costs a tenth of what any of the measured servers does. The process time that the
server and its children spent is counted beside the wall's: on a busy machine it is the steadier of the two.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 120


@dataclass
class Run:
    """What came of one or several stretches of load: answers, seconds, the server's process time, each latency."""

    count: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.count / self.seconds

    @property
    def cost(self) -> float:
        """Seconds of the server's processes per answer."""
        return self.cpu / self.count


def post(path: str, body: bytes, method: str = "POST") -> bytes:
    """A request as it goes over the wire."""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    return f"{head}\r\n\r\n".encode() + body


class Connection:
    """One kept-alive connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self._held = b""
        self._wanted = -1

    def send(self, request: bytes) -> None:
        """Send a request; the answer to the last one must have been taken."""
        self._held, self._wanted = b"", -1
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def received(self) -> bytes | None:
        """Take what has arrived: the whole answer's body once it is there; raises where it is no 200."""
        got = self.socket.recv(1 << 18)
        if not got:
            raise ConnectionError("the server closed the connection")
        self._held = self._held + got if self._held else got
        if self._wanted < 0:
            end = self._held.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = self._held[:end].lower()
            if not head.startswith(b"http/1.1 200"):
                raise ConnectionError(f"the server refused a request: {self._held[:2000]!r}")
            at = head.index(b"content-length:") + 15
            self._wanted = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
        if len(self._held) < self._wanted:
            return None
        return self._held[self._held.index(b"\r\n\r\n") + 4 :]


class Server:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self._next = 0

    def ask(self, request: bytes) -> bytes:
        """The body of one answer."""
        connection = Connection(self.port)
        connection.send(request)
        while (body := connection.received()) is None:
            pass
        connection.socket.close()
        return body

    def load(self, requests: Sequence[bytes], connections: int, seconds: float) -> Run:
        """Keep this many requests under way for so long; the requests are sent in turn."""
        run = Run()
        poll = select.epoll()
        # New ones each time: a server may close what has been idle for some seconds.
        open_ = {c.socket.fileno(): c for c in (Connection(self.port) for _ in range(connections))}
        for number in open_:
            poll.register(number, select.EPOLLIN)
        turn, latencies, clock = self._next, run.latencies, time.perf_counter
        gc.disable()
        began, spent = clock(), self.cpu()
        for connection in open_.values():
            connection.send(requests[turn % len(requests)])
            turn += 1
        under_way, end = len(open_), began + seconds
        while under_way:
            for number, _ in poll.poll():
                connection = open_[number]
                if connection.received() is None:
                    continue
                now = clock()
                latencies.append(now - connection.sent)
                if now < end:
                    connection.send(requests[turn % len(requests)])
                    turn += 1
                else:
                    under_way -= 1
        run.seconds, run.cpu, run.count = clock() - began, self.cpu() - spent, len(latencies)
        gc.enable()
        poll.close()
        for connection in open_.values():
            connection.socket.close()
        self._next = turn
        return run

    def cpu(self) -> float:
        """Seconds that the process and its children have spent on a processor."""
        return sum(map(_spent, [self.process.pid, *_children(self.process.pid)]))


def _spent(pid: int) -> float:
    total = 0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9


def _children(pid: int) -> list[int]:
    out = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                out += [int(child), *_children(int(child))]
    return out


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], environment: Mapping[str, str], port: int, alive: str) -> Iterator[Server]:
    """Start a server, wait until ``alive`` answers 200, and end it at the end."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=dict(environment), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            end = time.monotonic() + START_SECONDS
            while not _alive(f"http://127.0.0.1:{port}{alive}"):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise SystemExit(f"a server did not start: {log.read()[-3000:].decode(errors='replace')}")
                time.sleep(0.2)
            yield Server(process, port)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _alive(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
