"""The live records as a CRM meets them: a real service, its resources under /v1, and scores from what is stored."""

from __future__ import annotations

import json
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from serving.run import serve_command
from serving.store import FILE
from tests.fixtures_bundle import make_request
from tests.live import CREATED, event
from tests.server import Server, free_port, point, put_bundle, running, serving, until

JSON = {"content-type": "application/json"}
SECRET = "ZZsecretZZ"


def make_home(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    point(folder, {"won": {**put_bundle(folder, "seven"), "version": "7"}})
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers on one store."""
    folder = tmp_path_factory.mktemp("resources")
    home, port = make_home(folder / "home"), free_port()
    command, environment = serve_command(home, port=port, workers=2, environ={"PATH": "/usr/bin:/bin"})
    (folder / "cwd").mkdir()
    with running(command, environment, port, folder / "log", folder / "cwd") as made:
        until(lambda: made.client.get("/readyz").status_code == 200, "it is ready")
        yield made
        assert SECRET not in made.output()  # no record is ever logged
        assert "Traceback" not in made.output()


def call(server: Server, method: str, path: str, body: Any = None) -> httpx.Response:
    """One call on a connection of its own, so that any worker may answer."""
    content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if body is None else JSON
    return httpx.request(method, server.url + path, content=content, headers=headers, timeout=60)


def ok(server: Server, method: str, path: str, body: Any = None) -> Any:
    answer = call(server, method, path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def error(answer: httpx.Response, status: int, code: str, where: str | None = None) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    told: dict[str, str] = answer.json()["error"]
    assert set(told) == {"code", "message", "where", "remedy"}
    assert told["code"] == code
    assert told["remedy"]
    if where is not None:
        assert told["where"] == where
    return told


def store(server: Server, request: dict[str, Any]) -> str:
    """Send the records of a score request to be kept; returns the prospect's id."""
    name: str = request["prospect"]["prospect_id"]
    account = {**request["account"]}
    ok(server, "PUT", f"/v1/accounts/{account.pop('account_id')}", account)
    ok(server, "PUT", f"/v1/prospects/{name}", request["prospect"])
    for contact in request["contacts"]:
        ok(server, "PUT", f"/v1/contacts/{contact['contact_id']}", {"account_id": "a1", **contact})
    ok(server, "POST", "/v1/events", [{"prospect_id": name, **e} for e in request["events"]])
    ok(server, "POST", "/v1/outcomes", {"prospect_id": "other", "outcome": "lost", "occurred_at": CREATED})
    return name


def codes(answer: dict[str, Any]) -> list[str]:
    """The codes of the warnings, without the model's own."""
    return [w["code"] for w in answer["warnings"] if w["code"] != "few_outcomes"]


def test_a_score_by_id_is_the_score_of_what_was_sent(server: Server) -> None:
    request = {k: v for k, v in make_request().items() if k != "as_of"}
    name = store(server, request)
    by_id = ok(server, "POST", "/score", {"prospect": {"prospect_id": name}})
    in_body = ok(server, "POST", "/score", {**request, "as_of": by_id["as_of"]})
    kept = ok(server, "GET", f"/v1/prospects/{name}")
    again = ok(server, "POST", "/score", {**kept, "as_of": by_id["as_of"]})
    each = {"receipt_id": None, "previous": None}  # these are of each answer
    for answer in (in_body, again):
        assert {**answer, **each} == {**by_id, **each}
    assert codes(by_id) == []
    items: list[dict[str, Any]] = [{"prospect": {"prospect_id": n}} for n in (name, "nobody", name, name)]
    items[2]["goal"], items[3]["goal"] = "renewed", 7
    batch = ok(server, "POST", "/score_batch", {"items": items})
    assert batch["results"][0]["prospect_id"] == name
    wrong = [result["error"] for result in batch["results"][2:]]
    assert [(e["code"], e["where"]) for e in wrong] == [
        ("unknown_goal", "items[2].goal"),
        ("wrong_type", "items[3].goal"),
    ]
    assert batch["results"][1]["error"]["code"] == "unknown_prospect"
    assert batch["results"][1]["error"]["where"] == "items[1].prospect.prospect_id"
    account = ok(server, "POST", "/score_account", {"account": {"account_id": "a1"}})
    assert account["prospects"][0]["prospect_id"] == name
    people = ok(server, "POST", "/score_contacts", {"account": {"account_id": "a1"}})
    assert people["contacts"][0]["contact_id"] == "c1"
    error(
        call(server, "POST", "/score_account", {"account": {"account_id": "nobody"}}),
        404,
        "unknown_account",
        "account.account_id",
    )
    bare = {"account": {"account_id": "nobody", "country": "FR"}}
    error(call(server, "POST", "/score_account", bare), 422, "missing_field", "prospects")
    before = ok(server, "GET", f"/v1/prospects/{name}?as_of={by_id['as_of']}")
    assert before == {**kept, "as_of": by_id["as_of"]}
    error(call(server, "GET", f"/v1/prospects/{name}?as_of=yesterday"), 422, "bad_time", "as_of")


def test_what_one_worker_acknowledged_every_worker_knows(server: Server) -> None:
    assert len(server.children()) >= 2
    ok(server, "PUT", "/v1/prospects/shared", {"created_at": CREATED})
    for i in range(40):
        ok(server, "POST", "/v1/events", event(f"shared-{i}", "shared"))
        assert len(ok(server, "GET", "/v1/prospects/shared")["events"]) == i + 1
    for i in range(10):
        ok(server, "PUT", "/v1/prospects/shared", {"created_at": CREATED, "source": f"s{i}"})
        assert ok(server, "GET", "/v1/prospects/shared")["prospect"]["source"] == f"s{i}"


@pytest.mark.parametrize("name", ["a/b", "a b", "Zoë", "100%", "x?y#z", "../up", "a/merge/b", "漢字", "."])
def test_an_id_may_hold_anything(server: Server, name: str) -> None:
    path = f"/v1/prospects/{quote(name, safe='').replace('.', '%2E')}"
    assert ok(server, "PUT", path, {"created_at": CREATED})["prospect_id"] == name
    assert ok(server, "GET", path)["prospect"]["prospect_id"] == name
    ok(server, "POST", "/v1/events", event(f"of {name}", name))
    ok(server, "DELETE", f"/v1/events/{quote(f'of {name}', safe='')}")
    assert ok(server, "DELETE", path)["versions"] == 1
    error(call(server, "PUT", path, {"created_at": CREATED}), 410, "erased", "prospect_id")
    error(call(server, "POST", "/score", {"prospect": {"prospect_id": name, "created_at": CREATED}}), 410, "erased")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "where"),
    [
        ("PUT", "/v1/prospects/x", b"{", 400, "bad_json", "line 1, column 2"),
        ("PUT", "/v1/prospects/x", b"", 400, "empty_body", ""),
        ("PUT", "/v1/prospects/x", b'{"source": "a", "source": "b"}', 422, "duplicate_key", "source"),
        ("PUT", "/v1/prospects/x", {"created_at": "2026-03-01T09:00:00"}, 422, "zoneless_time", "created_at"),
        ("PUT", "/v1/prospects/x", {"created_at": CREATED, "source": SECRET, "note": 1}, 422, "unknown_field", "note"),
        ("PUT", "/v1/contacts/x", {"account_id": "a", "job_title": 3}, 422, "wrong_type", "job_title"),
        ("POST", "/v1/events", {"items": [event("x"), {**event("y"), "value": "much"}]}, 422, "wrong_type", None),
        ("POST", "/v1/events", {"items": 3}, 422, "wrong_type", "items"),
        ("POST", "/v1/events", {"items": [], "more": 1}, 422, "unknown_field", "more"),
        # A line break ends a path: what bears one could be neither read nor erased.
        ("POST", "/v1/events", event("x\ny"), 422, "bad_id", "event_id"),
        ("POST", "/v1/events", [event("x", "p\n1")], 422, "bad_id", "[0].prospect_id"),
        ("POST", "/v1/outcomes", {"prospect_id": "x\ny", "outcome": "won"}, 422, "bad_id", "prospect_id"),
        ("PUT", "/v1/prospects/x%0Ay", {"created_at": CREATED}, 404, "unknown_path", None),
        ("POST", "/score", {"prospect": {"prospect_id": "x\ny", "created_at": CREATED}}, 422, "bad_id", None),
        ("POST", "/v1/outcomes", [3], 422, "wrong_type", "[0]"),
        ("POST", "/v1/outcomes", {"prospect_id": "x"}, 422, "missing_field", None),
        ("POST", "/v1/prospects/x/merge", {"into": "x"}, 422, "merge_cycle", "into"),
        ("POST", "/v1/prospects/x/merge", {"into": "nobody at all"}, 404, "unknown_prospect", "into"),
        ("GET", "/v1/prospects/nobody", None, 404, "unknown_prospect", "prospect_id"),
        ("GET", "/v1/prospects/x?as_off=2026-03-01T09:00:00Z", None, 422, "unknown_field", "as_off"),
        ("DELETE", "/v1/events/nobody", None, 404, "unknown_event", "event_id"),
        ("PUT", "/v1/prospects/", {"created_at": CREATED}, 422, "empty_key", "prospect_id"),
        ("GET", "/v1/accounts/x", None, 405, "method_not_allowed", None),
        ("PATCH", "/v1/prospects/x", {}, 405, "method_not_allowed", None),
        ("GET", "/v1/events", None, 405, "method_not_allowed", None),
        ("GET", "/v1/nothing", None, 404, "unknown_path", None),
    ],
)
def test_what_is_refused_has_the_one_shape(
    server: Server, method: str, path: str, body: Any, status: int, code: str, where: str | None
) -> None:
    error(call(server, method, path, body), status, code, where)


def test_no_name_of_a_record_becomes_a_label_of_the_metrics(server: Server) -> None:
    ok(server, "PUT", "/v1/prospects/labelled-person", {"created_at": CREATED})
    assert "labelled-person" not in server.client.get("/metrics").text


def test_a_list_beyond_the_bound_is_refused(server: Server) -> None:
    many = [event(f"m{i}") for i in range(1001)]
    error(call(server, "POST", "/v1/events", many), 413, "too_many_items")


# The database goes and comes ------------------------------------------------------------------------------------------


def test_without_its_store_the_service_scores_what_it_is_given_and_recovers(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    body = {k: v for k, v in make_request().items() if k != "as_of"}
    with serving(home, tmp_path / "cwd") as server:
        until(lambda: server.client.get("/readyz").status_code == 200, "it is ready")
        name = store(server, body)
        files = [path for path in home.iterdir() if path.name.startswith(FILE)]
        away = tmp_path / "away"
        away.mkdir()
        for path in files:
            path.rename(away / path.name)
        refused = call(server, "POST", "/v1/events", event("lost?", name))
        assert "Put the file back" in error(refused, 503, "store_unavailable")["remedy"]
        assert refused.headers["retry-after"] == "1"
        answer = ok(server, "POST", "/score", body)
        assert codes(answer) == ["store_unavailable"]
        error(call(server, "POST", "/score", {"prospect": {"prospect_id": name}}), 503, "store_unavailable")
        assert not (home / FILE).exists()  # and no empty one in its place
        for path in files:
            (away / path.name).rename(path)
        until(lambda: call(server, "POST", "/v1/events", event("kept", name)).status_code == 200, "writes again")
        kept = ok(server, "GET", f"/v1/prospects/{name}")
        assert [e["event_id"] for e in kept["events"] if e["event_id"] in ("lost?", "kept")] == ["kept"]
        assert codes(ok(server, "POST", "/score", body)) == []


def test_a_service_starts_without_its_store(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    with serving(home, tmp_path / "cwd", LEADSCORE_STORE="postgresql://nobody@127.0.0.1:1/nothing") as server:
        until(lambda: server.client.get("/readyz").status_code == 200, "it is ready")
        answer = ok(server, "POST", "/score", make_request())
        assert codes(answer) == ["store_unavailable"]
        error(call(server, "PUT", "/v1/prospects/p", {"created_at": CREATED}), 503, "store_unavailable")


def test_a_disk_that_is_full_is_told_and_corrupts_nothing(tmp_path: Path) -> None:
    """The workers' files may grow no further, as on a full disk; then they may again."""
    home = make_home(tmp_path / "home")
    with serving(home, tmp_path / "cwd") as server:
        until(lambda: server.client.get("/readyz").status_code == 200, "it is ready")
        ok(server, "PUT", "/v1/prospects/p", {"created_at": CREATED})
        workers = server.children()
        room = sum(path.stat().st_size for path in home.iterdir() if path.name.startswith(FILE)) + 200_000
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        acknowledged, refused = [], 0
        for i in range(200):
            items = [event(f"{i}-{j}", channel="x" * 500) for j in range(20)]
            answer = call(server, "POST", "/v1/events", items)
            if answer.status_code == 200:
                acknowledged += [e["event_id"] for e in items]
            else:
                assert answer.json()["error"]["code"] in ("store_full", "store_unavailable"), answer.text
                assert answer.status_code == 503
                refused += 1
                if refused > 3:
                    break
        assert refused > 3
        assert acknowledged
        assert ok(server, "POST", "/score", make_request())
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: call(server, "POST", "/v1/events", event("after")).status_code == 200, "writes again")
    with sqlite3.connect(home / FILE) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = {row[0] for row in connection.execute("SELECT id FROM live_facts")}
    assert {*acknowledged, "after"} <= kept
