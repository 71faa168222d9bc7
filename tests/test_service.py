"""The service as a CRM meets it: a real server process, few of them since each takes seconds to start."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from features.errors import BadInput
from serving import openapi
from serving.bundle import MANIFEST, read_bundle, write_bundle
from serving.run import serve_command
from serving.scorer import Scorer
from serving.settings import MIB, Settings
from tests.bad_requests import BAD, MARK
from tests.fixtures_bundle import make_request, parts, request_records
from tests.server import Server, point, put_bundle, serving, until

ROOT = Path(__file__).resolve().parents[1]
JSON = {"content-type": "application/json"}
GRADES = {"grade_cuts": {"A": 0.05, "B": 0.02, "C": 0.01}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion, version 7."""
    folder = tmp_path_factory.mktemp("home")
    point(folder, {"won": {**put_bundle(folder, "seven"), "version": "7"}})
    return folder


@pytest.fixture(scope="module")
def server(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "LEADSCORE_BATCH_ITEMS": "20",
        "LEADSCORE_BODY_SECONDS": "1",
        "LEADSCORE_POLL_SECONDS": "0.1",
        "BENTOML_DEBUG": "True",  # no body may reach the log at this level either
    }
    with serving(home, tmp_path_factory.mktemp("served") / "empty", **settings) as server:
        yield server
        check_the_log(server)


def check_the_log(server: Server) -> None:
    """Of all that was sent in this module, nothing stands in the log; checked again when the server ends."""
    output = server.output()
    assert "Champion won: version 7" in output  # it is the log
    assert MARK not in output
    assert "25000.5" not in output
    assert "Traceback" not in output


def shape(response: httpx.Response) -> dict[str, str]:
    """The error of an answer that must have the one shape."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, str] = body["error"]
    assert set(error) == {"code", "message", "where", "remedy"}
    assert all(isinstance(v, str) for v in error.values())
    assert error["code"]
    assert error["message"]
    assert error["remedy"]
    return error


def post(server: Server, content: Any, path: str = "/score", **headers: str) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return server.client.post(path, content=body, headers={**JSON, **headers})


# -- answers -----------------------------------------------------------------------------------------------------------


def test_a_worker_loads_lightgbm_without_what_lightgbm_merely_finds(server: Server) -> None:
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in server.children()]
    scoring = [found for found in maps if "lib_lightgbm" in found]
    assert scoring
    assert [name for found in scoring for name in ("pandas", "sklearn", "pyarrow", "matplotlib") if name in found] == []


def test_a_head_without_bounds_is_refused_before_anything_is_asked(server: Server) -> None:
    answer = httpx.get(f"{server.url}/livez", headers={"x-long": "x" * 100_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (431, "head_too_large")


@pytest.mark.parametrize("there", [True, False])
def test_lightgbm_is_loaded_alone_or_not_at_all_and_leaves_no_trace(there: bool) -> None:
    code = f"""
import sys
{"" if there else "sys.modules['lightgbm'] = None"}
from serving.trees import load_alone
load_alone()
assert (sys.modules.get("lightgbm") is not None) is {there}
import pandas  # whoever needs it finds it
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_score_is_the_scorers_own(server: Server, home: Path) -> None:
    answer = post(server, make_request())
    assert answer.status_code == 200
    scorer = Scorer(read_bundle(home / "bundles/seven"), "7")
    records, as_of = request_records()
    wanted = json.loads(json.dumps(scorer.score(records, as_of, reasons=5).to_json()))
    got = answer.json()
    assert got.pop("receipt_id")
    assert "previous" in got
    del got["previous"]
    assert got == wanted
    assert len(got["reasons"]) == 5
    openapi.ScoreAnswer.model_validate_json(answer.content)
    other = post(server, make_request()).json()
    assert other["receipt_id"] != answer.json()["receipt_id"]


def test_only_the_prospect_is_required(server: Server) -> None:
    answer = post(server, {"prospect": {"prospect_id": "p", "created_at": "2026-03-01T09:00:00Z"}})
    assert answer.status_code == 200
    codes = [w["code"] for w in answer.json()["warnings"]]
    assert {"events_unknown", "contacts_unknown", "account_unknown", "related_unknown"} <= set(codes)


def test_warnings_of_reading_come_first(server: Server) -> None:
    answer = post(server, {**make_request(), "as_of": "2090-01-01T00:00:00Z"})
    assert answer.json()["warnings"][0]["code"] == "as_of_in_future"


def test_a_goal_is_asked_for_by_name(server: Server) -> None:
    assert post(server, {**make_request(), "goal": "won"}).json()["goal"] == "won"
    answer = post(server, {**make_request(), "goal": "renewed"})
    assert answer.status_code == 404
    error = shape(answer)
    assert (error["code"], error["where"]) == ("unknown_goal", "goal")
    assert "won" in error["remedy"]


def test_the_collector_rests_during_a_batch_and_never_after_it() -> None:
    """Whatever becomes of the batch."""
    from serving.service import LeadScore

    score_many = LeadScore.inner.score_many
    during: list[bool] = []
    go = asyncio.Event()

    class Service:
        champions = SimpleNamespace(state=SimpleNamespace(champions={"won": None}))

        async def _batch(self, body: bytes, *how: Any) -> list[str]:
            during.append(gc.isenabled())
            if body == b"slow":
                await go.wait()
            if body == b"bad":
                raise BadInput("invalid_json", "no JSON.", where="body", remedy="Send JSON.")
            return []

        def told(self, e: Any) -> Any:
            return e

    async def check() -> None:
        for body, status in ((b"good", 200), (b"bad", 422)):
            assert (await score_many(Service(), body)).status_code == status
            assert gc.isenabled()
        slow = asyncio.create_task(score_many(Service(), b"slow"))
        while len(during) < 3:
            await asyncio.sleep(0)
        assert not gc.isenabled()
        slow.cancel()
        with suppress(asyncio.CancelledError):
            await slow
        assert gc.isenabled()

    asyncio.run(check())
    assert during == [False] * 3


def test_a_batch_answers_in_order_and_a_bad_item_spoils_no_other(server: Server) -> None:
    bad = [b for b in BAD if b.status == 422 and b.body.startswith(b"{")][:10]
    good = {**make_request(), "prospect": {**make_request()["prospect"], "prospect_id": "other"}}
    items: list[bytes] = [json.dumps(good).encode()]
    for b in bad:
        items += [b.body] if len(items) % 2 else [json.dumps(make_request()).encode(), b.body]
    items.append(b'{"prospect": {"prospect_id": "x", "created_at": "2026-03-01T09:00:00Z"}, "goal": "renewed"}')
    answer = post(server, b'{"items": [' + b",".join(items[:20]) + b"]}", "/score_batch")
    assert answer.status_code == 200
    openapi.BatchAnswer.model_validate_json(answer.content)
    results = answer.json()["results"]
    assert len(results) == len(items[:20])
    alone = post(server, make_request()).json()
    wanted = {b.body: b for b in bad}
    refused = 0
    for index, (item, result) in enumerate(zip(items, results, strict=False)):
        if item in wanted:
            place = f"items[{index}].{wanted[item].where}".rstrip(".")
            assert (result["error"]["code"], result["error"]["where"]) == (wanted[item].code, place)
            refused += 1
        elif json.loads(item).get("goal") == "renewed":
            assert result["error"]["code"] == "unknown_goal"
            assert result["error"]["where"] == f"items[{index}].goal"
        else:
            assert result["prospect_id"] == json.loads(item)["prospect"]["prospect_id"]
            assert result["probability"] == alone["probability"]
            assert result["reasons"] == alone["reasons"]
    assert refused >= 6


def test_an_empty_batch(server: Server) -> None:
    assert post(server, {"items": []}, "/score_batch").json() == {"results": []}


def test_bentomls_own_client(server: Server) -> None:
    """It learns of the APIs from the server and sends the request as it is."""
    import bentoml

    with bentoml.SyncHTTPClient(server.url) as client:
        assert client.score(make_request())["prospect_id"] == "p1"
        results = client.score_batch({"items": [make_request(), {}]})["results"]
    assert results[0]["model_version"] == "7"
    assert results[1]["error"]["where"] == "items[1].prospect"


def test_the_card_of_the_champion(server: Server, home: Path) -> None:
    answer = server.client.get("/v1/model")
    assert answer.status_code == 200
    openapi.ModelCard.model_validate_json(answer.content)
    body = answer.json()
    assert (body["goal"], body["version"], body["default"]) == ("won", "7", True)
    assert body["digest"] == read_bundle(home / "bundles/seven").digest
    assert body["card"]["trained_until"] == "2026-05-01T00:00:00Z"
    assert post(server, body["card"]["example"]["request"]).status_code == 200
    assert server.client.get("/v1/model?goal=won").json() == body
    unknown = server.client.get("/v1/model?goal=renewed")
    assert (unknown.status_code, shape(unknown)["code"]) == (404, "unknown_goal")


def test_no_path_serves_a_page(server: Server) -> None:
    """BentoML's own page at / loads a third party's scripts, and its files belong to that page."""
    answer = server.client.get("/", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    body = answer.json()
    assert body["name"] == "leadscore"
    assert {"/docs.json", "/readyz", "/v1/model"} <= set(body["links"])
    for link in body["links"]:
        assert server.client.get(link).status_code == 200
    assert server.client.head("/").status_code == 200
    posted = post(server, {}, "/")
    assert (posted.status_code, shape(posted)["code"]) == (405, "method_not_allowed")
    import bentoml._internal.server as pages

    files = [p.name for p in (Path(pages.__file__).parent / "static_content").iterdir()]
    assert files  # what BentoML would serve
    for path in (
        *(f"/static_content/{name}" for name in files),
        "/static_content/",
        "/index.html",
        "/assets/",
        "/docs",
    ):
        answer = server.client.get(path)
        assert (answer.status_code, shape(answer)["code"]) == (404, "unknown_path"), path


def test_health_says_which_model_serves(server: Server, home: Path) -> None:
    assert server.client.get("/livez").status_code == 200
    assert server.client.get("/healthz").status_code == 200
    answer = server.client.get("/readyz")
    assert answer.status_code == 200
    openapi.Readiness.model_validate_json(answer.content)
    digest = read_bundle(home / "bundles/seven").digest
    assert answer.json()["champions"] == [{"goal": "won", "version": "7", "digest": digest}]


def test_it_listens_on_loopback_only(server: Server) -> None:
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    assert [a for a in listening if a.endswith(f":{server.port:04X}")] == [f"0100007F:{server.port:04X}"]


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD, ids=lambda b: b.name)
def test_a_bad_request_gets_its_code_and_path(server: Server, bad: Any) -> None:
    answer = post(server, bad.body)
    error = shape(answer)
    assert (answer.status_code, error["code"], error["where"]) == (bad.status, bad.code, bad.where)
    assert MARK not in error["message"] + error["remedy"]


LARGE = json.dumps({"prospect": {"prospect_id": MARK * (2 * MIB // len(MARK))}}).encode()
MANY = json.dumps({"items": [MARK] * 21}).encode()
HTTP: list[tuple[str, str, str, bytes, dict[str, str], int, str]] = [
    # name, method, path, body, headers, status, code
    ("unknown path", "GET", "/nothing", b"", {}, 404, "unknown_path"),
    ("unknown path with a body", "POST", f"/nothing/{MARK}", MARK.encode(), JSON, 404, "unknown_path"),
    ("unknown resource", "GET", "/v1/nothing", b"", {}, 404, "unknown_path"),
    ("the mount itself", "GET", "/v1", b"", {}, 404, "unknown_path"),
    ("slash at the end", "POST", "/score/", MARK.encode(), JSON, 404, "unknown_path"),
    ("unknown static file", "GET", f"/static_content/{MARK}", b"", {}, 404, "unknown_path"),
    ("read a score", "GET", f"/score?prospect={MARK}", b"", {}, 405, "method_not_allowed"),
    ("put a score", "PUT", "/score", MARK.encode(), JSON, 405, "method_not_allowed"),
    ("delete a batch", "DELETE", "/score_batch", b"", {}, 405, "method_not_allowed"),
    ("post a card", "POST", "/v1/model", MARK.encode(), JSON, 405, "method_not_allowed"),
    ("post metrics", "POST", "/metrics", MARK.encode(), JSON, 405, "method_not_allowed"),
    ("post readiness", "POST", "/readyz", MARK.encode(), JSON, 405, "method_not_allowed"),
    ("too large", "POST", "/score", LARGE, JSON, 413, "body_too_large"),
    ("plain text", "POST", "/score", MARK.encode(), {"content-type": "text/plain"}, 415, "unsupported_media_type"),
    (
        "a form",
        "POST",
        "/score",
        f"prospect={MARK}".encode(),
        {"content-type": "application/x-www-form-urlencoded"},
        415,
        "unsupported_media_type",
    ),
    (
        "a file",
        "POST",
        "/score",
        MARK.encode(),
        {"content-type": "multipart/form-data; boundary=x"},
        415,
        "unsupported_media_type",
    ),
    (
        "a pickle",
        "POST",
        "/score",
        MARK.encode(),
        {"content-type": "application/vnd.bentoml+pickle"},
        415,
        "unsupported_media_type",
    ),
    (
        "another charset",
        "POST",
        "/score",
        MARK.encode(),
        {"content-type": "application/json; charset=latin-1"},
        415,
        "unsupported_media_type",
    ),
    (
        "compressed",
        "POST",
        "/score",
        gzip.compress(MARK.encode()),
        {**JSON, "content-encoding": "gzip"},
        415,
        "unsupported_media_type",
    ),
    ("batch without items", "POST", "/score_batch", b'{"item": ["%s"]}' % MARK.encode(), JSON, 422, "unknown_field"),
    ("batch of no JSON", "POST", "/score_batch", MARK.encode(), JSON, 400, "bad_json"),
    ("batch is a list", "POST", "/score_batch", b'["%s"]' % MARK.encode(), JSON, 422, "wrong_type"),
    ("items twice", "POST", "/score_batch", b'{"items": [], "items": []}', JSON, 422, "duplicate_key"),
    (
        "too many items",
        "POST",
        "/score_batch",
        json.dumps({"items": [MARK] * 21}).encode(),
        JSON,
        413,
        "too_many_items",
    ),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"), [row[1:] for row in HTTP], ids=[row[0] for row in HTTP]
)
def test_a_bad_call_gets_the_same_shape(
    server: Server, method: str, path: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = server.client.request(method, path, content=body, headers=headers)
    assert (answer.status_code, shape(answer)["code"]) == (status, code)
    if status == 405:
        assert answer.headers["allow"]


def test_json_may_be_declared_in_several_ways(server: Server) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"'):
        assert post(server, make_request(), **{"content-type": kind}).status_code == 200
    body = json.dumps(make_request()).encode()
    request = server.client.build_request("POST", "/score", content=body)
    request.headers.pop("content-type", None)
    assert server.client.send(request).status_code == 200


def test_a_body_in_pieces_is_bounded_too(server: Server) -> None:
    def pieces(size: int) -> Iterator[bytes]:
        yield b'{"prospect": "'
        for _ in range(size // 65536 + 1):
            yield MARK.encode() * (65536 // len(MARK))
        yield b'"}'

    small = server.client.post("/score", content=pieces(1), headers=JSON)
    assert (small.status_code, shape(small)["where"]) == (422, "prospect")
    large = server.client.post("/score", content=pieces(3 * MIB), headers=JSON)
    assert (large.status_code, shape(large)["code"]) == (413, "body_too_large")


def raw_call(server: Server, text: str, close: bool = False) -> bytes:
    """Send bytes as they are and read the answer until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
        s.sendall(text.encode())
        if close:
            return b""
        out = b""
        while chunk := s.recv(65536):
            out += chunk
        return out


def test_a_body_that_does_not_arrive(server: Server) -> None:
    lines = ("POST /score HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", "content-length: 999")
    head = "\r\n".join((*lines, "", MARK))
    answer = raw_call(server, head)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_timeout"' in answer
    before = server.metric('leadscore_errors_total{code="incomplete_body"}')
    raw_call(server, head, close=True)
    until(lambda: server.metric('leadscore_errors_total{code="incomplete_body"}') > before, "the early end is counted")
    assert post(server, make_request()).status_code == 200


# -- metrics, document, log --------------------------------------------------------------------------------------------


def test_metrics_count_scores_and_errors(server: Server) -> None:
    scores = 'leadscore_scores_total{goal="won",version="7"}'
    errors = 'leadscore_errors_total{code="missing_field"}'
    before = server.metric(scores), server.metric(errors)
    post(server, make_request())
    post(server, {})
    post(server, {"items": [make_request(), {}, make_request()]}, "/score_batch")
    assert (server.metric(scores), server.metric(errors)) == (before[0] + 3, before[1] + 2)
    text = server.client.get("/metrics").text
    assert "/nothing" not in text  # a path that does not exist is no label
    digest = server.client.get("/readyz").json()["champions"][0]["digest"]
    assert server.metric(f'leadscore_model_workers{{digest="{digest[:12]}",goal="won",version="7"}}') == 1


def test_the_document_lists_the_paths_and_its_examples_run(server: Server) -> None:
    document = server.client.get("/docs.json").json()
    assert document["openapi"].startswith("3.0.")
    ours = {"/score", "/score_batch", "/score_account", "/score_contacts", "/v1/model", "/v1/prospects/{id}"}
    assert {*ours, "/livez", "/readyz", "/healthz", "/metrics"} <= set(document["paths"])
    assert server.client.get("/v1/openapi.json").json() == document
    assert "BentoML Team" not in json.dumps(document)
    references = {r.split('"')[0] for r in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= set(document["components"]["schemas"])
    asked = {
        "/score": set(openapi.ScoreRequest.model_fields),
        "/score_batch": {"items"},
        "/score_account": set(openapi.AccountRequest.model_fields),
        "/score_contacts": set(openapi.AccountRequest.model_fields),
    }
    for path, wanted in asked.items():
        operation = document["paths"][path]["post"]
        assert set(operation["responses"]) >= {"200", "400", "404", "413", "415", "422", "503"}
        for status, response in operation["responses"].items():
            name = response["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
            assert (name == "ErrorAnswer") == (status != "200")
        content = operation["requestBody"]["content"]["application/json"]
        fields = document["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]["properties"]
        assert set(fields) == wanted
        answer = post(server, content["example"], path)
        assert answer.status_code == 200
        assert "error" not in answer.text


def test_no_body_reaches_the_log(server: Server) -> None:
    check_the_log(server)


# -- the champion changes ----------------------------------------------------------------------------------------------


def problems(server: Server) -> list[dict[str, str]]:
    found: list[dict[str, str]] = server.client.get("/readyz").json()["problems"]
    return found


def test_champions_are_swapped_and_broken_ones_refused(server: Server, home: Path) -> None:
    """In one story, since each step starts from the last: swap, three kinds of damage, mending, a second goal."""
    seven = json.loads((home / "champion.json").read_text())["goals"]["won"]
    assert post(server, make_request()).json()["grade"] == "C"

    # A new champion is picked up without a failed request.
    point(home, {"won": {**put_bundle(home, "eight", **GRADES), "version": "8"}})
    versions = []

    def eighth() -> bool:
        answer = post(server, make_request())
        assert answer.status_code == 200
        versions.append(answer.json()["model_version"])
        assert answer.json()["grade"] == ("A" if versions[-1] == "8" else "C")
        return bool(versions[-1] == "8")

    until(eighth, "version 8 serves")
    assert set(versions) <= {"7", "8"}
    assert server.metric(f'leadscore_model_workers{{digest="{seven["digest"][:12]}",goal="won",version="7"}}') == 0

    # A flipped byte and a truncated file: refused by their digests.
    failures = server.metric("leadscore_load_failures_total")
    nine = put_bundle(home, "nine")
    model = home / nine["path"] / "model.txt"
    whole = model.read_bytes()
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 1
    for n, damaged in enumerate((bytes(flipped), whole[:-100]), 1):
        model.write_bytes(damaged)
        point(home, {"won": {**nine, "version": f"9.{n}"}})
        until(lambda n=n: f"version 9.{n}: bundle_damaged" in server.output(), "the damage is told")
        assert [(p["code"], p["where"]) for p in problems(server)] == [("bundle_damaged", str(model))]
        assert post(server, make_request()).json()["model_version"] == "8"
        assert server.metric("leadscore_load_failures_total") == failures + n

    # Mended in place, it is taken without a new pointer.
    model.write_bytes(whole)
    until(lambda: post(server, make_request()).json()["model_version"] == "9.2", "the mended bundle serves")
    assert problems(server) == []

    # A model that ends LightGBM's process, under digests that agree: only a child dies of it.
    ten = write_bundle(home / "bundles/ten", **{**parts(), "model_text": parts()["model_text"][:-5000]})
    point(home, {"won": {"path": "bundles/ten", "digest": ten, "version": "10"}})
    until(lambda: "version 10: " in server.output(), "the deadly model is refused")
    assert problems(server)[0]["code"] in ("bundle_crashes", "bad_model")
    assert post(server, make_request()).json()["model_version"] == "9.2"

    # A pointer that is damaged, that names what is not there, or a bundle of another goal.
    (home / "champion.json").write_text("{")
    until(lambda: [p["code"] for p in problems(server)] == ["bad_pointer"], "the damaged pointer is told")
    point(home, {"won": {"path": "bundles/none", "digest": "0", "version": "11"}})
    until(lambda: [p["code"] for p in problems(server)] == ["bundle_missing"], "the missing bundle is told")
    point(home, {"won": {**seven, "version": "12"}, "lost": {**seven, "version": "12"}})
    until(lambda: [p["code"] for p in problems(server)] == ["wrong_goal"], "the wrong goal is told")
    answer = post(server, {**make_request(), "goal": "lost"})
    assert (answer.status_code, shape(answer)["code"]) == (503, "no_champion")

    # Two goals, then the other one the default.
    goals = {
        "won": {**seven, "version": "13"},
        "expanded": {**put_bundle(home, "expanded", goal={"outcome": "expanded", "horizon_days": 60}), "version": "1"},
    }
    point(home, goals)
    until(lambda: len(server.client.get("/readyz").json()["champions"]) == 2, "both goals serve")
    assert post(server, make_request()).json()["goal"] == "won"
    other = post(server, {**make_request(), "goal": "expanded"}).json()
    assert (other["goal"], other["horizon_days"], other["model_version"]) == ("expanded", 60, "1")
    point(home, goals, default="expanded")
    until(lambda: post(server, make_request()).json()["goal"] == "expanded", "the default has changed")

    # The pointer gone: what serves goes on serving.
    (home / "champion.json").unlink()
    time.sleep(0.5)
    assert post(server, make_request()).json()["goal"] == "expanded"
    assert server.process.poll() is None


# -- no champion -------------------------------------------------------------------------------------------------------


def test_without_a_champion_it_starts_and_says_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving(home, tmp_path / "empty", LEADSCORE_POLL_SECONDS="0.1") as server:
        for answer in (
            post(server, make_request()),
            post(server, {"items": [make_request()]}, "/score_batch"),
            server.client.get("/readyz"),
            server.client.get("/v1/model"),
        ):
            assert answer.status_code == 503
            error = shape(answer)
            assert error["code"] == "no_champion"
            assert "leadscore train" in error["remedy"]
        assert server.client.get("/livez").status_code == 200
        assert "No champion under" in server.output()
        point(home, {"won": {**put_bundle(home, "first"), "version": "1"}})
        until(lambda: server.client.get("/readyz").status_code == 200, "the first champion serves")
        assert post(server, make_request()).json()["model_version"] == "1"
        worker = server.children()
    assert server.process.returncode == 0
    assert worker
    assert [pid for pid in worker if Path(f"/proc/{pid}").exists()] == []


def test_a_broken_first_bundle_is_not_served_and_not_died_of(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    entry = put_bundle(home, "first")
    model = home / entry["path"] / "model.txt"
    model.write_bytes(model.read_bytes()[:1000])
    point(home, {"won": {**entry, "version": "1"}})
    with serving(home, tmp_path / "empty", LEADSCORE_POLL_SECONDS="0.1", LEADSCORE_LANGUAGE="fr") as server:
        ready = server.client.get("/readyz")
        assert ready.status_code == 503
        error = shape(ready)
        assert (error["code"], error["where"]) == ("bundle_damaged", str(model))
        answer = post(server, make_request())
        assert (answer.status_code, shape(answer)["code"]) == (503, "no_champion")
        assert "/readyz" in answer.json()["error"]["remedy"]
        assert "nothing serves in its place" in server.output()
        assert server.client.get("/livez").status_code == 200
        assert server.metric("leadscore_load_failures_total") == 1
        # and a manifest that was changed with it is not the one that was promoted
        (home / entry["path"] / MANIFEST).write_text("{}")
        until(lambda: shape(server.client.get("/readyz"))["code"] == "bundle_digest", "the changed manifest is told")
        point(home, {"won": {**put_bundle(home, "second"), "version": "2"}})
        until(lambda: server.client.get("/readyz").status_code == 200, "a whole champion serves")
        labels = [r["label"] for r in post(server, make_request()).json()["reasons"]]
        assert any("événement" in label for label in labels)


# -- faults of ours ----------------------------------------------------------------------------------------------------

FAULT = """
import asyncio, json, os, sys, tempfile
home, body = sys.argv[1], open(sys.argv[2], "rb").read()
os.environ.update(LEADSCORE_HOME=home, BENTOML_HOME=tempfile.mkdtemp(), PROMETHEUS_MULTIPROC_DIR=tempfile.mkdtemp())
import serving.live, serving.bundle
serving.live.check_bundle = serving.bundle.read_bundle
import bentoml
from bentoml._internal.log import configure_server_logging
configure_server_logging()
from serving.service import LeadScore
app = LeadScore.to_asgi()
async def call(path, body=body):
    sent = []
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}
    async def send(message):
        sent.append(message)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await app({"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "root_path": "",
               "query_string": b"", "headers": headers, "scheme": "http", "http_version": "1.1", "state": {},
               "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "asgi": {"version": "3.0"}}, receive, send)
    return sent[0]["status"], json.loads(b"".join(m.get("body", b"") for m in sent[1:]))
async def main():
    async with app.app.router.lifespan_context(app.app):
        service = bentoml.get_current_service()
        def fail(*given, **named):
            raise RuntimeError(f"cannot digest {given!r}")
        out = [await call("/score")]
        object.__setattr__(service.champions.state.champions["won"], "scorer",
                           type("Failing", (), {"score": fail})())
        out.append(await call("/score"))
        service._score = fail
        out.append(await call("/score_batch", b'{"items": [%s]}' % body))
        serving.service.read_body = fail
        out.append(await call("/score"))
    print("RESULT " + json.dumps(out))
asyncio.run(main())
"""


def test_a_fault_of_ours_is_a_500_that_quotes_nothing(tmp_path: Path) -> None:
    """Even where an exception's text holds the request, neither the log nor the answer does."""
    point(tmp_path, {"won": {**put_bundle(tmp_path, "one"), "version": "1"}})
    request = make_request()
    request["prospect"]["prospect_id"] = MARK
    body = tmp_path / "body.json"
    body.write_text(json.dumps({**request}))
    done = subprocess.run(
        [sys.executable, "-c", FAULT, str(tmp_path), str(body)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log, _, result = done.stdout.partition("RESULT ")
    (good, answer), *failed = json.loads(result)
    assert (good, answer["prospect_id"]) == (200, MARK)
    status, content = failed.pop(1)
    assert (status, content["results"][0]["error"]["code"]) == (200, "internal")
    assert MARK not in json.dumps(content)
    for status, content in failed:
        assert (status, content["error"]["code"]) == (500, "internal")
        assert MARK not in json.dumps(content)
    assert "Internal error RuntimeError at " in log + done.stderr
    assert MARK not in log + done.stderr


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_environment() -> None:
    assert Settings.from_environment({}) == Settings()
    given = {
        "LEADSCORE_HOME": "/x",
        "LEADSCORE_LANGUAGE": "fr",
        "LEADSCORE_REASONS": " 0 ",
        "LEADSCORE_BATCH_ITEMS": "",
    }
    assert Settings.from_environment(given) == Settings(home=Path("/x"), language="fr", reasons=0)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LEADSCORE_LANGUAGE", "de"),
        ("LEADSCORE_REASONS", "-1"),
        ("LEADSCORE_REASONS", "many"),
        ("LEADSCORE_SCORE_BYTES", "0"),
        ("LEADSCORE_BATCH_ITEMS", "1.5"),
        ("LEADSCORE_POLL_SECONDS", "nan"),
        ("LEADSCORE_BODY_SECONDS", "0"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    with pytest.raises(BadInput) as caught:
        Settings.from_environment({variable: value})
    assert (caught.value.code, caught.value.where) == ("bad_setting", variable)


def test_a_server_is_not_started_with_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        serve_command(tmp_path, environ={"LEADSCORE_REASONS": "all"})
    assert caught.value.where == "LEADSCORE_REASONS"
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput) as caught:
        serve_command(tmp_path / "file", environ={})
    assert (caught.value.code, caught.value.where) == ("bad_home", str(tmp_path / "file"))
    command, environment = serve_command(tmp_path, port=3999, workers=2, environ={"LEADSCORE_REASONS": "3"})
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert environment["LEADSCORE_HOME"] == str(tmp_path)
    assert environment["BENTOML_DO_NOT_TRACK"] == "True"
    assert json.loads(environment["BENTOML_CONFIG_OVERRIDES"]) == {"services": {"LeadScore": {"workers": 2}}}
