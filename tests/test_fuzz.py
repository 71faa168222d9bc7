"""Bodies that nobody should send: each is answered with a documented status and the one shape, and no 5xx.

``LEADSCORE_PROOFS=1`` (``make proofs``) sends ten times as many mutations.
"""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from serving.openapi_document import document
from tests.bad_requests import MARK
from tests.fixtures_account import account_request
from tests.fixtures_bundle import make_request
from tests.server import Server, point, put_bundle, serving

MUTATIONS = 5000 if os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0") else 500
JSON = {"content-type": "application/json"}
DOCUMENT = document()
SOUND: dict[tuple[str, str], Any] = {
    (method, path): operation["requestBody"]["content"]["application/json"].get("example")
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if "requestBody" in operation and "hooks" not in path
}
SOUND["post", "/score"] = make_request()
SOUND["post", "/score_account"] = account_request()
TARGETS = sorted(SOUND)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    point(home, {"won": {**put_bundle(home, "seven"), "version": "7"}})
    with serving(home, tmp_path_factory.mktemp("served") / "empty", BENTOML_DEBUG="True") as server:
        yield server
        assert MARK not in server.output()
        assert "Traceback" not in server.output()
        assert "Internal error" not in server.output()


def send(server: Server, method: str, path: str, body: bytes) -> int:
    """Send a body; the answer must be as documented. Gives its status."""
    url = path.replace("{id}", f"id-{MARK}")
    answer = server.client.request(method, url, content=body, headers=JSON)
    assert answer.status_code < 500, (method, path, body[:300], answer.text)
    assert str(answer.status_code) in DOCUMENT["paths"][path][method]["responses"], (method, path, body[:300])
    found = answer.json()
    if answer.status_code >= 400:
        assert set(found) == {"error"}
        assert set(found["error"]) == {"code", "message", "where", "remedy"}
        assert found["error"]["code"] != "internal"
        assert len(answer.content) < 4000  # the request is not sent back
    return answer.status_code


DEEP = 100_000
NASTY: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "a byte": b"\x00",
    "no UTF-8": b'{"prospect": "\xff\xfe"}',
    "UTF-16": '{"prospect": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"prospect": {}}',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep in a known place": b'{"prospect": ' * DEEP + b"1" + b"}" * DEEP,
    "deep and open": b"[" * DEEP,
    "beyond a double": b'{"prospect": {"prospect_id": "p", "created_at": 1e309}}',
    "beyond a double, elsewhere": b'{"headcount": 1e309, "items": [1e309], "into": 1e309, "prospect": 1e309}',
    "a long number": b'{"prospect": ' + b"9" * 100_000 + b"}",
    "a long exponent": b'{"prospect": 1e' + b"9" * 10_000 + b"}",
    "not a number": b'{"prospect": NaN, "items": [Infinity, -Infinity]}',
    "a lone surrogate": b'{"prospect": {"prospect_id": "\\ud800", "created_at": "2026-03-01T09:00:00Z"}}',
    "a lone surrogate as a key": b'{"\\udfff": 1}',
    "a lone surrogate in each text": b'{"country": "\\ud800", "source": "\\ud800", "job_title": "\\ud800",'
    b' "account_id": "a", "created_at": "2026-03-01T09:00:00Z"}',
    "a zero character": b'{"prospect": {"prospect_id": "\\u0000", "created_at": "2026-03-01T09:00:00Z"}}',
    "a zero character in a text": b'{"country": "F\\u0000R", "account_id": "a"}',
    "a huge text": b'{"prospect": {"prospect_id": "' + MARK.encode() * 40_000 + b'"}}',
    "a huge text to keep": b'{"country": "' + MARK.encode() * 40_000 + b'"}',
    "a huge key": b'{"' + MARK.encode() * 40_000 + b'": 1}',
    "many keys": b"{" + b",".join(b'"k%d": 1' % i for i in range(100_000)) + b"}",
    "one key many times": b"{" + b",".join(b'"prospect": 1' for _ in range(100_000)) + b"}",
    "a key twice": b'{"prospect": {"prospect_id": "p", "prospect_id": "p"}}',
    "a key twice, deep": b'{"items": [{"event_id": "e", "event_id": "e"}]}',
    "a million events": b'{"prospect": {"prospect_id": "p", "created_at": "2026-03-01T09:00:00Z"}, "events": ['
    + b"0," * 999_000
    + b"0]}",
    "a million items": b'{"items": [' + b"0," * 999_999 + b"0]}",
    "a million items without a name": b"[" + b"0," * 999_999 + b"0]",
    "a million empty objects": b"[" + b"{}," * 999_999 + b"{}]",
    "a million empty lists": b"[" + b"[]," * 999_999 + b"[]]",
    "escapes": b'{"prospect": "' + b"\\u0041" * 100_000 + b'"}',
    "a broken escape": b'{"prospect": "\\u12"}',
    "two values": b"{} {}",
    "a comment": b"{} // x",
    "null": b"null",
    "true": b"true",
    "a text": b'"prospect"',
    "minus zero": b'{"prospect": -0}',
}


@pytest.mark.parametrize("name", NASTY)
def test_no_body_is_too_nasty(server: Server, name: str) -> None:
    for method, path in TARGETS:
        send(server, method, path, NASTY[name])
    assert send(server, "post", "/score", json.dumps(make_request()).encode()) == 200


def test_as_many_sound_events_as_a_body_holds(server: Server) -> None:
    """What is within all limits is answered, and others meanwhile."""
    event = {"type": "page_view", "occurred_at": "2026-03-01T10:00:00Z"}
    request = make_request()
    request["events"] = [{"event_id": f"e{i}", **event} for i in range(25_000)]
    began = time.monotonic()
    assert send(server, "post", "/score", json.dumps(request).encode()) == 200
    assert time.monotonic() - began < 60
    account = account_request()
    account["events"] = [{"event_id": f"e{i}", "prospect_id": "p1", **event} for i in range(180_000)]
    assert send(server, "post", "/score_account", json.dumps(account, separators=(",", ":")).encode()) in (200, 413)


EXTREMES: list[Any] = [
    None, True, False, 0, -1, 1e308, -1e308, 5e-324, 2**63, -(2**63), 2**64, 10**30, 0.1, "", " ", "\u0000", "\ud800",
    "é", "e\u0301", "\u202e", "😀" * 50, "x" * 300, "2026-03-01", "2026-03-01T09:00:00", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+23:59", "2026-02-30T00:00:00Z", "-2026-03-01T09:00:00Z", [], {}, [[]], [{}], {"a": 1},
    ["a", "a"], "won", "p1", "a1", "buyer",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def mutated(sound: Any, rng: random.Random) -> bytes:
    """A sound body with a few changes: other values at some places, keys renamed, doubled or gone, bytes changed."""
    value = json.loads(json.dumps(sound))
    for _ in range(rng.randint(1, 3)):
        path = rng.choice(places(value))
        if not path:
            if rng.random() < 0.1:
                value = copy.deepcopy(rng.choice(EXTREMES))
            continue
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        what = rng.randrange(4)
        if what == 0:
            del inner[path[-1]]
        elif what == 1 and isinstance(inner, dict):
            inner[rng.choice(["observed_at", "recorded_at", "attributes", "x", "", "\ud800"])] = inner.pop(path[-1])
        elif what == 2 and isinstance(inner, list):
            inner.append(copy.deepcopy(inner[path[-1]]))
        else:
            inner[path[-1]] = copy.deepcopy(rng.choice(EXTREMES))
        if not isinstance(value, dict | list):
            break
    body = json.dumps(value).encode()
    if rng.random() < 0.2:
        data = bytearray(body)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) or 1)
            what = rng.randrange(3)
            if what == 0 and data:
                data[at % len(data)] = rng.randrange(256)
            elif what == 1:
                data[at:at] = rng.choice([b'"', b"{", b"}", b"[", b",", b":", b"\\", b"e", b"\x80", b"0"])
            else:
                del data[at:]
        body = bytes(data)
    return body


def test_mutations_of_sound_bodies_are_answered_as_documented(server: Server) -> None:
    seed = int(os.environ.get("LEADSCORE_SEED", "6"))
    rng = random.Random(seed)
    statuses: dict[int, int] = {}
    for n in range(MUTATIONS):
        method, path = TARGETS[n % len(TARGETS)]
        status = send(server, method, path, mutated(SOUND[method, path], rng))
        statuses[status] = statuses.get(status, 0) + 1
    print(
        "FIGURES fuzz "
        + json.dumps(
            {
                "seed": seed,
                "mutations": MUTATIONS,
                "nasty": len(NASTY) * len(TARGETS),
                "statuses": dict(sorted(statuses.items())),
            }
        )
    )
    assert statuses[200] > MUTATIONS / 20  # some stay sound
    assert statuses[422] > MUTATIONS / 5
