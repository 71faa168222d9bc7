"""The published contract: valid for the version it claims, importable by Salesforce, with examples that run; and what
schemathesis makes of the whole document is answered as documented.

``LEADSCORE_PROOFS=1`` (``make proofs``) sends ten times as many cases: 5,000 and more over all operations.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from openapi_spec_validator import validate

from serving.openapi_document import document
from tests.fixtures_bundle import make_request
from tests.server import Server, point, put_bundle, serving

PROOFS = os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0")
DOCUMENT = document()
OPERATIONS = [
    (path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]
ASKING = [o for o in OPERATIONS if o[2].get("parameters") or o[2].get("requestBody")]  # of the others there is one case
CASES = 5000 if PROOFS else 500  # over all operations
EACH = -(-CASES // len(ASKING))


# -- the document ------------------------------------------------------------------------------------------------------


def test_it_is_valid_for_the_version_it_claims() -> None:
    assert DOCUMENT["openapi"] == "3.0.3"
    validate(DOCUMENT)


APEX = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*")  # letters, digits, single underscores; begins with a letter
LONGEST = 1333  # characters that Salesforce keeps of a description
TYPES = {"string", "number", "integer", "boolean", "array", "object"}


def breaches(found: dict[str, Any]) -> list[str]:
    """Where a document breaks a rule of Salesforce's External Services, as the field notes list them."""
    out = []

    def name(text: str, place: str) -> None:
        if not APEX.fullmatch(text):
            out.append(f"{place}: {text!r} is no Apex identifier")

    def look(value: Any, place: str) -> None:
        if isinstance(value, list):
            for index, part in enumerate(value):
                look(part, f"{place}[{index}]")
        elif isinstance(value, dict):
            kind = value.get("type")
            if isinstance(kind, list) or kind == "null" or {"const", "$defs", "examples"} & set(value):
                out.append(f"{place}: a form of 3.1")
            elif isinstance(kind, str) and place.endswith("schema") and kind not in TYPES:
                out.append(f"{place}: no type {kind}")
            text = value.get("description")
            if isinstance(text, str) and len(text) > LONGEST:
                out.append(f"{place}: a description of {len(text)} characters")
            for key, part in value.items():
                if key in ("example", "enum", "default"):
                    continue
                if key == "properties":
                    for field in part:
                        name(field, f"{place}.properties")
                look(part, f"{place}.{key}")

    look(found, "")
    for schema in found["components"]["schemas"]:
        name(schema, "schemas")
    seen: set[str] = set()
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            place = f"{method} {path}"
            name(operation.get("operationId", ""), place)
            if operation.get("operationId") in seen:
                out.append(f"{place}: its name is taken")
            seen.add(operation.get("operationId"))
            if method in ("get", "delete") and "requestBody" in operation:
                out.append(f"{place}: a read with a body")
            for parameter in operation.get("parameters", ()):
                name(parameter["name"], place)
            for status, answer in operation["responses"].items():
                if set(answer.get("content", ())) - {"application/json", "text/plain"}:
                    out.append(f"{place} {status}: a media type that is not imported")
                if answer.get("headers"):
                    out.append(f"{place} {status}: headers, which are ignored")
    return out


def test_salesforce_can_import_it() -> None:
    assert breaches(DOCUMENT) == []


def _edited(edit: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(DOCUMENT))
    edit(changed)
    return changed


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["paths"]["/score"]["post"].update(operationId="LeadScore__score"),
        lambda d: d["paths"]["/score"]["post"].update(operationId="score_"),
        lambda d: d["paths"]["/score"]["post"].update(operationId="1score"),
        lambda d: d["paths"]["/score"]["post"].update(operationId="score_batch"),
        lambda d: d["paths"]["/score"]["post"].pop("operationId"),
        lambda d: d["paths"]["/score"]["post"].update(description="x" * 1334),
        lambda d: d["paths"]["/v1/model"]["get"].update(requestBody={}),
        lambda d: d["paths"]["/v1/model"]["get"]["parameters"][0].update(name="the-goal"),
        lambda d: d["components"]["schemas"]["Fault"]["properties"].update({"a__b": {"type": "string"}}),
        lambda d: d["components"]["schemas"].update({"_X": {"type": "object"}}),
        lambda d: d["components"]["schemas"]["Fault"]["properties"]["code"].update(type=["string", "null"]),
        lambda d: d["components"]["schemas"]["Fault"]["properties"]["code"].update(type="null"),
        lambda d: d["components"]["schemas"]["Fault"]["properties"]["code"].update(const="x"),
        lambda d: d["paths"]["/score"]["post"]["responses"]["429"].update(headers={"Retry-After": {}}),
    ],
)
def test_the_rules_of_salesforce_can_fail(edit: Callable[[dict[str, Any]], Any]) -> None:
    assert len(breaches(_edited(edit))) >= 1


def test_every_error_has_the_one_shape() -> None:
    for path, method, operation in OPERATIONS:
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (path, method, status)


HOOK = "/v1/hooks/hubspot"
SECRET = "a client secret"


def signed(body: bytes) -> dict[str, str]:
    """The headers with which HubSpot signs a delivery."""
    at = str(time.time_ns() // 1_000_000)
    text = b"POSThttps://crm.example/v1/hooks/hubspot" + body + at.encode()
    signature = base64.b64encode(hmac.new(SECRET.encode(), text, hashlib.sha256).digest()).decode()
    return {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": at}


# -- the service keeps it ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    point(home, {"won": {**put_bundle(home, "seven"), "version": "7"}})
    settings = {
        "LEADSCORE_BATCH_ITEMS": "50",
        "LEADSCORE_HUBSPOT_SECRET": SECRET,
        "LEADSCORE_HUBSPOT_URL": "https://crm.example",
    }
    with serving(home, tmp_path_factory.mktemp("served") / "empty", **settings) as server:
        yield server
        assert "Traceback" not in server.output()
        assert "Internal error" not in server.output()


def test_it_is_served_as_it_is(server: Server) -> None:
    for path in ("/v1/openapi.json", "/docs.json"):
        answer = server.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json() == DOCUMENT


def test_every_path_that_answers_is_in_it(server: Server) -> None:
    """And no other: what is documented is routed, and the other way round."""
    from serving.service import (
        _RESOURCES,
        LeadScore,  # noqa: F401  # loads the routes
    )

    routed = {
        (route.path.replace(":path", ""), method.lower())
        for route in _RESOURCES
        for method in route.methods or ()
        if method != "HEAD"
    }
    documented = {(path, method) for path, method, _ in OPERATIONS if path.startswith("/v1/")}
    assert documented - {("/v1/openapi.json", "get")} == routed
    for path, method, _ in OPERATIONS:
        wrong = "patch" if method != "patch" else "get"
        answer = server.client.request(wrong, path.replace("{id}", "x").replace("{receipt_id}", "x"))
        assert answer.status_code == 405, path
        assert answer.json()["error"]["code"] == "method_not_allowed"


def test_a_path_is_what_it_says_to_the_letter(server: Server) -> None:
    """An id may hold slashes, percent signs and more; a line's end makes it no other's."""
    record = {"created_at": "2026-03-01T09:00:00Z"}
    for id in ("a/b", "a%2Fb", "a?b#c", "ü €", "a/merge/b", "replaced \ufffd"):
        url = f"/v1/prospects/{quote(id, safe='')}"
        assert server.client.put(url, json=record).json()["prospect_id"] == id
        assert server.client.get(url).json()["prospect"]["prospect_id"] == id
    assert server.client.put("/v1/prospects/line", json=record).status_code == 200
    for method in ("GET", "PUT", "DELETE"):
        answer = server.client.request(method, "/v1/prospects/line%0A", json=record)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_path")
    assert server.client.get("/v1/prospects/line").status_code == 200
    for method, spelt in itertools.product(("GET", "PUT", "DELETE"), ("%E9", "%FF", "%ED%A0%80")):  # no UTF-8
        answer = server.client.request(method, f"/v1/prospects/{spelt}", json=record)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_text")


ORDER = ("put", "post", "get", "delete")


def test_the_examples_run(server: Server) -> None:
    """In the order of a life: records are put, scored and read, then merged, retracted and erased."""
    done = 0
    for path, method, operation in sorted(
        OPERATIONS, key=lambda o: (o[1] == "delete", o[0].endswith("/merge"), ORDER.index(o[1]))
    ):
        url = path
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                if parameter["name"] == "receipt_id":
                    example = server.client.post("/score", json=make_request()).json()["receipt_id"]
                else:
                    example = parameter["example"]
                url = url.replace(f"{{{parameter['name']}}}", example)
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if url.endswith("/merge"):  # who goes must be there
            kind = url.split("/")[2]
            record = {"prospects": {"created_at": "2026-03-01T09:00:00Z"}, "contacts": {"account_id": "a1"}}
            assert server.client.put(url.removesuffix("/merge"), json=record.get(kind, {})).status_code == 200
        sent = json.dumps(body["example"]).encode() if body else None
        headers = {"content-type": "application/json"} if body else {}
        if path == HOOK:
            headers |= signed(sent or b"")
        answer = server.client.request(method, url, content=sent, headers=headers)
        assert answer.status_code == 200, (method, url, answer.text)
        assert '"error"' not in answer.text or path in ("/v1/openapi.json", "/docs.json"), (method, url)
        done += 1
    assert done == len(OPERATIONS)


def test_bentomls_client_and_httpx_read_the_same(server: Server) -> None:
    import bentoml

    with bentoml.SyncHTTPClient(server.url) as client:
        one = client.score(make_request())
    other = httpx.post(f"{server.url}/score", json=make_request()).json()
    assert one["probability"] == other["probability"]


# -- schemathesis ------------------------------------------------------------------------------------------------------


def _schema() -> Any:
    import schemathesis

    return schemathesis.openapi.from_dict(json.loads(json.dumps(DOCUMENT)))


def _sign(request: Any) -> Any:
    body = request.body or b""
    request.headers.update(signed(body.encode() if isinstance(body, str) else body))
    return request


def _sent(server: Server, path: str, method: str, count: int) -> int:
    """Send ``count`` made-up cases of an operation, sound ones and broken ones; every answer must be documented."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    operation = _schema()[path][method.upper()]
    asking = any(o[:2] == (path, method) for o in ASKING)
    sent = 0
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[: 2 if asking else 1]:

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=-(-count // 2),
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def send(case: Any) -> None:
            nonlocal sent
            sent += 1
            response = case.call(base_url=server.url, **({"auth": _sign} if path == HOOK else {}))
            case.validate_response(
                response,
                checks=[
                    not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                ],
            )

        try:
            send()
        except Unsatisfiable:  # of some inputs, as any text, there are no broken ones
            assert mode is GenerationMode.NEGATIVE
    return sent


@pytest.mark.parametrize(("path", "method"), [o[:2] for o in OPERATIONS], ids=[f"{o[1]} {o[0]}" for o in OPERATIONS])
def test_whatever_is_sent_is_answered_as_documented(server: Server, path: str, method: str) -> None:
    sent = _sent(server, path, method, EACH)
    asking = any(o[:2] == (path, method) for o in ASKING)
    assert sent >= (EACH // 2 if asking else 1), sent
