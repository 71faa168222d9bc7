"""The heads of requests, bounded: how large one may be, and how long it may take to arrive.

Bodies are bounded where they are read. A head is read by the server itself, before any app is asked, and uvicorn
takes one of any size and for any time with httptools. What is refused here is answered in the one shape of an error.
No connection is turned into a WebSocket: the service has none, and a request that asks for it is answered as any other.
"""

from __future__ import annotations

import asyncio

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from features.errors import BadInput
from serving.faults import error_body, status_of
from serving.wire import encode

MOST = 65_536  # bytes of a head: the path and the headers
SECONDS = 30.0  # in which a head that has begun arrives


def bound_heads() -> None:
    """Have the servers that are configured from now on bound their requests' heads."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Bounded.__name__}"


class Bounded(HttpToolsProtocol):
    """uvicorn's HTTP with bounded heads; what may follow a body in chunks, its trailers, is bounded with its head."""

    _arriving = False  # a head, or what follows a chunk's size, has begun and is not there
    _fresh = False  # it began in what came last
    _arrived = 0  # bytes of it in what came since
    _size = 0  # bytes of the headers that are there
    _timer: asyncio.TimerHandle | None = None
    _refused = False

    def data_received(self, data: bytes) -> None:
        """What came over the wire."""
        if self._refused:
            return
        super().data_received(data)
        if self._arriving and not self._refused:  # hardly ever: most heads come in one piece
            if not self._fresh:
                self._arrived += len(data)
            self._fresh = False
            if self._arrived > MOST:
                self._refuse(_too_large())
            elif self._timer is None:
                self._timer = self.loop.call_later(SECONDS, self._late)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._size = 0
        self._begin()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the path."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._at_rest()
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """The size of a chunk is there; what follows the last one are trailers."""
        self._begin()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._at_rest()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is there."""
        self._at_rest()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._at_rest()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, unless it was answered."""
        self._at_rest()
        if not self._refused:
            super().send_400_response(msg)

    def _should_upgrade(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of: that there are none is meant."""

    def _begin(self) -> None:
        self._arriving, self._fresh, self._arrived = True, True, 0

    def _count(self, size: int) -> None:
        """Raises ValueError, which ends the reading, where it is too much."""
        self._size += size
        if self._size > MOST:
            self._refuse(_too_large())
            raise ValueError("the head is too large")

    def _at_rest(self) -> None:
        self._arriving = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        message = f"the head did not arrive within {SECONDS:g} seconds."
        self._refuse(BadInput("body_timeout", message, remedy="Send it again."))

    def _refuse(self, error: BadInput) -> None:
        self._at_rest()
        self._refused = True
        body = encode(error_body(error)).encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status_of(error.code)] + head + body)
        self.transport.close()


def _too_large() -> BadInput:
    return BadInput(
        "head_too_large", f"the path and the headers are larger than {MOST} bytes.", remedy="Send fewer headers."
    )
