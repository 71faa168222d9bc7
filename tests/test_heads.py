"""Heads are bounded in size and time, before any app is asked; what is refused is told in the one shape."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import MagicMock

import pytest
import uvicorn
from uvicorn.server import ServerState

from serving import heads
from serving.heads import MOST, bound_heads


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says how long the body was, and how many headers came."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = json.dumps({"size": size, "headers": len(scope["headers"]), "path": scope["path"]}).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    known = dict(uvicorn.config.HTTP_PROTOCOLS)
    bound_heads()
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_keep_alive=60))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    uvicorn.config.HTTP_PROTOCOLS.update(known)


def said(connection: socket.socket) -> list[tuple[int, Any]]:
    """The statuses and bodies that come until the server ends the connection, or has nothing more to say."""
    connection.settimeout(1.0)
    held = b""
    try:
        while got := connection.recv(1 << 16):
            held += got
    except (TimeoutError, ConnectionResetError):
        pass
    out = []
    while held:
        head, _, rest = held.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        out.append((int(head[9:12]), json.loads(rest[:size])))
        held = rest[size:]
    return out


def ask(port: int, *pieces: bytes) -> list[tuple[int, Any]]:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent
        return said(connection)


def refused(found: list[tuple[int, Any]]) -> tuple[int, str]:
    ((status, body),) = found
    assert set(body["error"]) == {"code", "message", "where", "remedy"}
    return status, body["error"]["code"]


START = b"POST /x HTTP/1.1\r\nhost: h\r\n"


def test_an_ordinary_head_and_one_just_small_enough_are_taken(port: int) -> None:
    assert ask(port, START + b"content-length: 2\r\n\r\nhi") == [(200, {"size": 2, "headers": 2, "path": "/x"})]
    wide = b"a: " + b"x" * (MOST - 40) + b"\r\n"
    assert ask(port, START + wide + b"\r\n") == [(200, {"size": 0, "headers": 2, "path": "/x"})]
    slices = [START, *(wide[i : i + 5_000] for i in range(0, len(wide), 5_000)), b"\r\n"]
    assert ask(port, *slices) == [(200, {"size": 0, "headers": 2, "path": "/x"})]


@pytest.mark.parametrize(
    "head",
    [
        b"".join(b"h%d: %s\r\n" % (i, b"x" * 100) for i in range(700)),
        b"a: " + b"x" * (MOST + 1) + b"\r\n",
        b"a" * (MOST + 1) + b": x\r\n",
    ],
)
def test_a_head_that_is_too_large_is_refused_in_one_piece_and_in_many(port: int, head: bytes) -> None:
    assert refused(ask(port, START + head + b"\r\n")) == (431, "head_too_large")
    assert refused(ask(port, START, *(head[i : i + 9_000] for i in range(0, len(head), 9_000)), b"\r\n")) == (
        431,
        "head_too_large",
    )


def test_a_path_is_part_of_the_head(port: int) -> None:
    assert refused(ask(port, b"GET /" + b"x" * MOST + b" HTTP/1.1\r\nhost: h\r\n\r\n")) == (431, "head_too_large")


ENDLESS = 1_000 * MOST  # more than the system holds of what was sent and not read


def sent_before_the_end(connection: socket.socket, piece: bytes) -> int:
    sent = 0
    with suppress(BrokenPipeError, ConnectionResetError):
        while sent < ENDLESS:
            sent += connection.send(piece)
    return sent


CHUNKED = START + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"


def test_trailers_are_taken(port: int) -> None:
    assert ask(port, CHUNKED + b"t: u\r\n\r\n")[0][0] == 200


@pytest.mark.parametrize("begin", [START, CHUNKED])
@pytest.mark.parametrize(("first", "piece"), [(b"a: ", b"x" * 10_000), (b"", b"a: " + b"x" * 100 + b"\r\n")])
def test_what_has_no_end_is_refused_while_it_arrives(port: int, begin: bytes, first: bytes, piece: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(begin + first)
        assert sent_before_the_end(connection, piece) < ENDLESS


def test_large_bodies_are_no_heads(port: int) -> None:
    body = b"x" * (8 * MOST)
    one = START + b"content-length: %d\r\n\r\n" % len(body) + body
    answer = (200, {"size": len(body), "headers": 2, "path": "/x"})
    assert ask(port, one) == [answer]
    assert ask(port, one + START[:10], START[10:] + b"\r\n") == [answer, (200, {"size": 0, "headers": 1, "path": "/x"})]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body), body) for _ in range(3)) + b"0\r\n\r\n"
    assert ask(port, START + b"transfer-encoding: chunked\r\n\r\n", chunks)[0][1]["size"] == 3 * len(body)


def test_what_came_before_a_head_is_no_part_of_it() -> None:
    async def fed() -> list[Any]:
        config = uvicorn.Config(app, lifespan="off", log_config=None)
        config.load()
        protocol, transport = heads.Bounded(config, ServerState(), {}), MagicMock()
        protocol.connection_made(transport)
        body = b"x" * (3 * MOST)
        protocol.data_received(START + b"content-length: %d\r\n\r\n" % len(body) + body + START[:10])
        await asyncio.sleep(0.1)
        protocol.connection_lost(None)
        return [call.args[0][:12] for call in transport.write.call_args_list]

    assert asyncio.run(fed())[0] == b"HTTP/1.1 200"


def test_a_head_that_takes_too_long_is_told_so(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(START)
        assert refused(said(connection)) == (408, "body_timeout")
    with socket.create_connection(("127.0.0.1", port)) as connection:  # at rest between two requests
        for _ in range(2):
            connection.sendall(START[:9])
            connection.sendall(START[9:] + b"\r\n")
            assert [status for status, _ in said(connection)] == [200]


def test_no_connection_becomes_a_websocket(port: int) -> None:
    upgrade = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n"
    found = ask(port, b"GET /x HTTP/1.1\r\nhost: h\r\n" + upgrade + b"\r\n")
    assert found == [(200, {"size": 0, "headers": 5, "path": "/x"})]


def test_what_is_no_http_is_answered_as_before(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
