"""What goes over the wire: bodies as they come, answers in JSON, errors in their one shape."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import traceback
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from features.errors import BadInput, LeadscoreError
from serving.faults import RETRY, RETRY_ELSE, error_body, status_of

logger = logging.getLogger("bentoml.leadscore")  # below bentoml's, whose level lets information through

_escaped = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
OURS = b'{"error":{"code":'  # how our errors begin


def encode(content: Any) -> str:
    """JSON text, compact. Raises ValueError on a number that is not finite."""
    try:
        body: bytes = to_json(content, inf_nan_mode="constants")
    except ValueError:  # half of a surrogate pair, which only an escape can write
        return _escaped(content)
    return _escaped(content) if b"NaN" in body or b"Infinity" in body else body.decode()


def json_answer(content: Any, status: int = 200) -> Response:
    """An answer in JSON. Raises ValueError on a number that is not finite."""
    return text_answer(encode(content), status)


def text_answer(text: str, status: int = 200) -> Response:
    """An answer that is JSON already."""
    return _Text(text, status)


class _Text(Response):
    """A text of JSON as an answer, with the headers that Starlette would find out for each anew."""

    media_type = "application/json"

    def __init__(self, text: str, status: int) -> None:
        self.status_code = status
        self.background = None
        self.body = text.encode()
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), (b"content-type", b"application/json")]


def error_answer(error: LeadscoreError, status: int | None = None) -> Response:
    """The answer for an error, with the status of its code unless another is given."""
    response = json_answer(error_body(error), status_of(error.code) if status is None else status)
    # What is still on its way is not read, and who is refused for the load does not keep a connection.
    if error.code in ("body_timeout", "body_too_large", "overloaded"):
        response.headers["connection"] = "close"
    if error.code in ("no_key", "bad_key"):
        response.headers["www-authenticate"] = 'Bearer realm="leadscore"'
    if response.status_code in (429, 503):
        response.headers["retry-after"] = str(RETRY.get(error.code, RETRY_ELSE))
    return response


def crashed(e: Exception) -> LeadscoreError:
    """An error for a fault of ours. Its text may quote the request, so only its type and place are logged."""
    frames = traceback.extract_tb(e.__traceback__)
    trail = " < ".join(f"{os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in reversed(frames[-12:]))
    logger.error("Internal error %s at %s", type(e).__name__, trail)
    return LeadscoreError(
        "internal", "the service failed on this request.", remedy="Report it with the service's log of this moment."
    )


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The body as it came. Raises BadInput where it is larger than ``limit`` bytes, late, or ended early."""
    chunks: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise BadInput("incomplete_body", "the body ended early.", remedy="Send it again.")
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                chunks.append(chunk)
                more = message.get("more_body", False)
    except TimeoutError:
        raise BadInput(
            "body_timeout", f"the body did not arrive within {seconds:g} seconds.", remedy="Send it again."
        ) from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(limit: int) -> BadInput:
    """The fault of a body beyond ``limit`` bytes."""
    return BadInput("body_too_large", f"the body is larger than {limit} bytes.", remedy="Send less at a time.")
