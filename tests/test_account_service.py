"""Accounts and their people as a CRM asks for them: a real server process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving import openapi
from serving.account import score_account, score_contacts
from serving.bundle import read_bundle
from serving.scorer import Scorer
from tests.bad_requests import MARK
from tests.fixtures_account import AS_OF, account_records, account_request
from tests.fixtures_bundle import make_request, write_format_1
from tests.server import Server, point, put_bundle, serving, until
from tests.test_account import BAD, Edit, bad_account

JSON = {"content-type": "application/json"}
PATHS = ("/score_account", "/score_contacts")
MOST = 40  # items: 3 prospects and 4 contacts are 12 pairs


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    point(folder, {"won": {**put_bundle(folder, "seven"), "version": "7"}})
    return folder


@pytest.fixture(scope="module")
def server(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"LEADSCORE_BATCH_ITEMS": str(MOST), "LEADSCORE_BATCH_BYTES": "200000", "LEADSCORE_POLL_SECONDS": "0.1"}
    with serving(home, tmp_path_factory.mktemp("served") / "empty", **settings) as server:
        yield server
        assert MARK not in server.output()
        assert "Traceback" not in server.output()


def post(server: Server, content: Any, path: str) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return server.client.post(path, content=body, headers=JSON)


def fault(answer: httpx.Response) -> tuple[int, str, str]:
    """The status, code and place of an error that must have the one shape."""
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "where", "remedy"}
    assert body["error"]["remedy"]
    assert MARK not in body["error"]["message"] + body["error"]["remedy"]
    return answer.status_code, body["error"]["code"], body["error"]["where"]


def test_the_answers_are_the_pure_ones(server: Server, home: Path) -> None:
    scorer = Scorer(read_bundle(home / "bundles/seven"), "7")
    records, as_of = account_records()
    models = (openapi.AccountAnswer, openapi.ContactsAnswer)
    wanted = (score_account(scorer, records, as_of).to_json(), score_contacts(scorer, records, as_of).to_json())
    for path, model, expected in zip(PATHS, models, wanted, strict=True):
        answer = post(server, account_request(), path)
        assert answer.status_code == 200, answer.text
        model.model_validate_json(answer.content)
        got = answer.json()
        assert got.pop("receipt_id") != post(server, account_request(), path).json()["receipt_id"]
        assert got == json.loads(json.dumps(expected))
        assert "\\u0000" not in answer.text  # nothing that was only supposed


def test_an_account_of_one_prospect_is_what_score_says(server: Server) -> None:
    request = make_request()
    alone = post(server, request, "/score").json()
    asked = {
        "account": request["account"],
        "contacts": request["contacts"],
        "prospects": [request["prospect"]],
        "events": [{**e, "prospect_id": "p1"} for e in request["events"]],
        "outcomes": [],
        "as_of": request["as_of"],
    }
    found = post(server, asked, "/score_account").json()
    for answer in (alone, found):
        del answer["receipt_id"]
    del alone["previous"]
    assert found["prospects"] == [alone]
    for name in ("as_of", "goal", "horizon_days", "probability", "probability_low", "probability_high", "committee"):
        assert found[name] == alone[name], name
    assert [{k: v for k, v in r.items() if k != "prospect_id"} for r in found["reasons"]] == alone["reasons"]
    assert post(server, asked, "/score_contacts").json()["probability"] == alone["probability"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("edit", "code", "where"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_request_gets_its_code_and_path(server: Server, path: str, edit: Edit, code: str, where: str) -> None:
    assert fault(post(server, bad_account(edit), path)) == (422, code, where)


@pytest.mark.parametrize("path", PATHS)
def test_other_refusals_have_the_same_shape(server: Server, path: str) -> None:
    closed = account_request()
    closed["outcomes"] += [{"prospect_id": p, "outcome": "lost", "occurred_at": AS_OF} for p in ("p1", "p2")]
    assert fault(post(server, closed, path)) == (422, "no_open_prospect", "prospects")
    assert fault(post(server, {**account_request(), "goal": "renewed"}, path)) == (404, "unknown_goal", "goal")
    many = account_request()
    many["prospects"] += [{"prospect_id": f"x{i}", "created_at": AS_OF} for i in range(MOST)]
    assert fault(post(server, many, path)) == (413, "too_many_items", "prospects")
    assert fault(post(server, b"{", path))[:2] == (400, "bad_json")
    assert fault(post(server, b'{"x": "' + b"y" * 300_000 + b'"}', path))[:2] == (413, "body_too_large")
    assert fault(server.client.get(path))[:2] == (405, "method_not_allowed")
    plain = server.client.post(path, content=b"{}", headers={"content-type": "text/plain"})
    assert fault(plain)[:2] == (415, "unsupported_media_type")


def test_who_is_ranked_must_be_given_and_is_bounded(server: Server) -> None:
    request = account_request()
    request["contacts"] += [{"contact_id": f"x{i}"} for i in range(10)]  # 3 prospects times 14
    assert fault(post(server, request, "/score_contacts")) == (413, "too_many_items", "contacts")
    assert post(server, request, "/score_account").status_code == 200
    del request["contacts"]
    assert fault(post(server, request, "/score_contacts")) == (422, "missing_field", "contacts")
    assert post(server, request, "/score_account").json()["committee"] is None


def test_every_prospect_that_was_scored_is_counted(server: Server) -> None:
    name = 'leadscore_scores_total{goal="won",version="7"}'
    before = server.metric(name)
    post(server, account_request(), "/score_account")  # two open ones
    assert server.metric(name) == before + 2


def test_a_bundle_of_format_1_is_told_and_the_champion_before_it_serves_on(server: Server, home: Path) -> None:
    digest = write_format_1(home / "bundles/old")
    point(home, {"won": {"path": "bundles/old", "digest": digest, "version": "8"}})
    until(lambda: server.client.get("/readyz").json()["problems"], "the old format is told")
    (problem,) = server.client.get("/readyz").json()["problems"]
    assert problem["code"] == "bundle_format"
    assert "format 1" in problem["message"]
    assert "Train again" in problem["remedy"]
    assert post(server, account_request(), "/score_account").json()["model_version"] == "7"
