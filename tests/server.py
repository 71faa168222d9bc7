"""A real server in a process of its own, its whole output kept; and homes with champions to serve."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serving.bundle import write_bundle
from serving.run import serve_command
from tests.fixtures_bundle import parts

START_SECONDS = 120
WAIT_SECONDS = 60


def free_port() -> int:
    """A port below those that the system gives to connections, which another test may open before the server starts."""
    while True:
        port = random.SystemRandom().randrange(10_240, 32_768)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def put_bundle(home: Path, name: str, **changes: Any) -> dict[str, str]:
    """Write a bundle under a home; returns its entry in the pointer, without the version."""
    path = f"bundles/{name}"
    digest = write_bundle(home / path, **{**parts(**changes)})
    return {"path": path, "digest": digest}


def point(home: Path, goals: Mapping[str, Mapping[str, str]], default: str = "won") -> None:
    """Replace the champion pointer atomically."""
    text = json.dumps({"format": 1, "default": default, "goals": goals, "history": []})
    draft = home / "champion.json.draft"
    draft.write_text(text)
    draft.replace(home / "champion.json")


def until(check: Callable[[], Any], what: str) -> Any:
    """Wait until the check is true; returns what it gave."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {WAIT_SECONDS} seconds: {what}")


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    url: str
    port: int
    log: Path
    client: httpx.Client

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def children(self) -> list[int]:
        """The ids of the worker processes."""
        out = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == self.process.pid:
                    out.append(int(entry.name))
        return out

    def metric(self, name: str) -> float:
        """The value of a sample of /metrics, 0 where it is not there yet."""
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


@contextlib.contextmanager
def running(command: list[str], environment: Mapping[str, str], port: int, log: Path, cwd: Path) -> Iterator[Server]:
    """Start a server, wait until it is alive, and end it by its id at the end."""
    with open(log, "wb") as out:
        process = subprocess.Popen(command, env=dict(environment), stdout=out, stderr=subprocess.STDOUT, cwd=cwd)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            server = Server(process, url, port, log, client)
            end = time.monotonic() + START_SECONDS
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/livez").status_code == 200:
                        break
                assert process.poll() is None, f"the server ended: {server.output()[-3000:]}"
                assert time.monotonic() < end, f"the server did not start: {server.output()[-3000:]}"
                time.sleep(0.1)
            yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def serving(home: Path, folder: Path, **settings: str) -> Iterator[Server]:
    """Serve a home from ``folder``, an empty working directory, with further environment variables."""
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("LEADSCORE_", "BENTOML_"))}
    command, environment = serve_command(home, port=port, environ={**environ, **settings})
    folder.mkdir(parents=True, exist_ok=True)
    with running(command, environment, port, folder.parent / f"{folder.name}.log", folder) as server:
        yield server
