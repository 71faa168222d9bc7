"""docs/live-records.md: its calls, in their order, are taken by a real service."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import httpx

from serving.faults import STATUS
from tests.server import point, put_bundle, serving, until

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "live-records.md").read_text(encoding="utf-8")


def calls() -> list[tuple[str, str, str | None]]:
    """Method, path and body of each call of curl."""
    out = []
    for line in re.findall(r"^curl (.*)$", TEXT, re.M):
        words = shlex.split(line)
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        (url,) = (w for w in words if w.startswith("localhost:3000"))
        body = words[words.index("-d") + 1] if "-d" in words else None
        assert (body is None) or "content-type: application/json" in words
        out.append((method, url.removeprefix("localhost:3000"), body))
    return out


def test_the_calls_are_taken(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    point(home, {"won": {**put_bundle(home, "seven"), "version": "7"}})
    made = calls()
    assert {(m, p.rsplit("/", 1)[0]) for m, p, _ in made} >= {("PUT", "/v1/accounts"), ("DELETE", "/v1/contacts")}
    assert len(made) > 10
    with serving(home, tmp_path / "cwd") as server:
        until(lambda: server.client.get("/readyz").status_code == 200, "it is ready")
        for method, path, body in made:
            headers = {} if body is None else {"content-type": "application/json"}
            answer = httpx.request(method, server.url + path, content=body, headers=headers)
            assert answer.status_code == 200, (method, path, answer.text)
            if path == "/v1/events":
                assert set(answer.json()) == {"accepted", "repeated", "recorded_at"}
            elif method == "PUT":
                assert set(answer.json()) >= {"observed_at", "created"}


def test_the_codes_are_those_of_the_service() -> None:
    for code in ("unknown_prospect", "erased", "store_unavailable", "store_full"):
        assert f"`{code}`" in TEXT
        assert code in STATUS
