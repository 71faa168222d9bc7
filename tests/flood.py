"""A flood of requests from a process of its own: ``python -m tests.flood`` reads its order on standard input as JSON
and prints what came of it. Many connections, each of which sends again at its next moment, answered or refused."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Seen:
    """What a flood met: by status, the seconds each answer took and when it was sent; and what was no answer."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    versions: list[tuple[float, float, str]] = field(default_factory=list)  # sent, answered, the version that answered
    without_retry: int = 0
    failures: list[str] = field(default_factory=list)


async def _read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body


async def _caller(order: dict[str, Any], number: int, until: float, seen: Seen) -> None:
    body = order["body"].encode()
    head = (
        f"POST {order['path']} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    pause = order["callers"] / order["rate"] if order["rate"] else 0.0  # between two sendings of one caller
    at = time.monotonic() + pause * number / order["callers"]
    writer = None
    while at < until:
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", order["port"])
            sent = time.monotonic()
            writer.write(request)
            status, headers, answer = await asyncio.wait_for(_read(reader), 60)
            now = time.monotonic()
            seen.seconds.setdefault(status, []).append(now - sent)
            if status in (429, 503) and not headers.get("retry-after", "").isdigit():
                seen.without_retry += 1
            if status == 200 and order.get("versions"):
                seen.versions.append((sent, now, json.loads(answer)["model_version"]))
            if headers.get("connection") == "close":
                writer.close()
                writer = None
        except Exception as e:
            seen.failures.append(f"{type(e).__name__}: {e}"[:200])
            writer = None
        at = max(at + pause, time.monotonic() if not pause else 0.0)
        at = max(at, time.monotonic() - pause)  # what could not be sent in time is not made up for
    if writer is not None:
        writer.close()


async def _flood(order: dict[str, Any]) -> dict[str, Any]:
    seen = Seen()
    began = time.monotonic()
    until = began + order["seconds"]
    await asyncio.gather(*(_caller(order, n, until, seen) for n in range(order["callers"])))
    return {**vars(seen), "took": time.monotonic() - began}


def main() -> None:
    """Read the order ({port, path, body, callers, seconds, rate: a second in all or 0, versions}), flood, tell."""
    print(json.dumps(asyncio.run(_flood(json.load(sys.stdin)))))


if __name__ == "__main__":
    main()
