"""docs/api.md: its requests are answered and its answers have the contract's fields, in every approach."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from features.contract import APPROACHES, parse_time
from serving import openapi
from serving.account import score_account, score_contacts
from serving.schema import parse_request
from serving.scorer import Scorer
from tests.fixtures_account import parse_account
from tests.fixtures_bundle import DATASET, make_scorer

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
ONE, ONE_ANSWER, ACCOUNT, ACCOUNT_ANSWER, PEOPLE_ANSWER = (
    json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.S)
)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return make_scorer()


def fields(model: type[BaseModel]) -> list[str]:
    return list(model.model_fields)


def test_the_shapes_are_those_of_the_contract(scorer: Scorer) -> None:
    pairs: list[tuple[dict[str, Any], type[BaseModel]]] = [
        (ONE_ANSWER, openapi.ScoreAnswer),
        (ONE_ANSWER["curve"][0], openapi.CurvePoint),
        (ONE_ANSWER["reasons"][0], openapi.Reason),
        (ONE_ANSWER["previous"], openapi.PreviousScore),
        (ONE_ANSWER["previous"]["moved"][0], openapi.Moved),
        (ONE_ANSWER["committee"], openapi.Committee),
        (ONE_ANSWER["committee"]["roles"][0], openapi.RoleStanding),
        (ONE_ANSWER["committee"]["missing"][0], openapi.MissingRole),
        (ACCOUNT_ANSWER, openapi.AccountAnswer),
        (ACCOUNT_ANSWER["reasons"][0], openapi.AccountReason),
        (PEOPLE_ANSWER, openapi.ContactsAnswer),
        (PEOPLE_ANSWER["contacts"][0], openapi.ContactScore),
    ]
    for shape, model in pairs:
        assert list(shape) == fields(model), model.__name__


def test_every_approach_has_a_row_that_names_its_call() -> None:
    rows = dict(re.findall(r"^\| `(\w+)`.*?\| `POST (/\w+)` \|", TEXT, re.M))
    assert rows == dict(zip(APPROACHES, ("/score_account", "/score_contacts", "/score"), strict=True))


def test_b2b_the_account(scorer: Scorer) -> None:
    openapi.AccountRequest.model_validate_json(json.dumps(ACCOUNT), strict=True)
    parsed = parse_account(ACCOUNT)
    found = score_account(scorer, parsed.records, parsed.as_of)
    assert {s.prospect_id for s in found.prospects} == {"p1", "p2"}
    assert found.warnings[0].code == "not_open"


def test_b2b2e_the_people(scorer: Scorer) -> None:
    parsed = parse_account(ACCOUNT)
    found = {c.contact_id: c for c in score_contacts(scorer, parsed.records, parsed.as_of).contacts}
    assert (found["c1"].role, found["c1"].role_inferred) == ("buyer", False)
    assert (found["c2"].role, found["c2"].role_inferred) == ("prescriber", True)
    assert all(c.effect != 0 for c in found.values())


def test_b2b2u_the_public_body_and_its_tender(scorer: Scorer) -> None:
    openapi.ScoreRequest.model_validate_json(json.dumps(ONE), strict=True)
    now = parse_time("2026-06-01T00:00:00Z")

    def codes(request: dict[str, Any]) -> list[str]:
        parsed = parse_request(request, DATASET, now)
        return [w.code for w in scorer.score(parsed.records, parsed.as_of).warnings]

    assert "tender_closed" not in codes(ONE)
    assert "tender_closed" in codes({**ONE, "as_of": "2026-04-15T10:00:01Z"})
    account = parse_request(ONE, DATASET, now).records.accounts or {}
    assert account["a1"][0].values["local_authority"] is True
