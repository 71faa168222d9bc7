"""From a simulated CRM to a served score: one home, trained once, and every path of scoring gives the same answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from features.contract import parse_moment
from features.episodes import open_prospects
from features.tables import read_tables
from serving.batch import requests
from serving.schema import parse_request
from serving.scorer import Scorer
from tests import readme
from tests.readme import rounded
from tests.server import Server, serving
from training.cli import app
from training.demo import REQUEST
from training.registry import Home, bundle_of
from training.run import load_scorer

AS_OF = "2026-01-01T00:00:00Z"
MANY = 1_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The home that `leadscore demo` makes, with its defaults."""
    path = tmp_path_factory.mktemp("demo")
    found = CliRunner().invoke(
        app, ["demo", "--no-serve", "--home", str(path / "home"), "--json"], catch_exceptions=False
    )
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert answer["promoted"]
    assert answer["version"] == "1"
    return Home(path / "home")


@pytest.fixture(scope="module")
def server(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(home.path, tmp_path_factory.mktemp("empty")) as running:
        yield running


@pytest.fixture(scope="module")
def data(home: Home) -> Path:
    return next((home.path / "demo").iterdir())


@pytest.fixture(scope="module")
def bodies(data: Path) -> list[dict[str, Any]]:
    """The requests of a thousand prospects open at the end of the data."""
    tables = read_tables(data)
    at = parse_moment(AS_OF)
    ids = sorted(open_prospects(tables, tables.dataset.goal, at).to_pyarrow()["prospect_id"].to_pylist())
    assert len(ids) >= MANY
    return list(requests(tables, at, ids[:MANY]))


@pytest.fixture(scope="module")
def scored(home: Home, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `leadscore score --reasons` writes, by prospect."""
    out = tmp_path_factory.mktemp("scores") / "scores.parquet"
    args = ["score", str(data), "--as-of", AS_OF, "--out", str(out), "--reasons", "--home", str(home.path), "--json"]
    found = CliRunner().invoke(app, args, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    frame = pd.read_parquet(out)
    assert list(frame.columns) == [
        *("prospect_id", "as_of", "probability", "probability_low", "probability_high", "score", "grade"),
        *("model_version", "reasons"),
    ]
    assert json.loads(found.stdout)["rows"] == len(frame)
    assert frame["as_of"].unique().tolist() == [pd.Timestamp(AS_OF)]
    return {row["prospect_id"]: row for row in frame.to_dict("records")}


def same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=0, abs_tol=1e-12)


def assert_same(answer: dict[str, Any], row: dict[str, Any]) -> None:
    for name in ("probability", "probability_low", "probability_high"):
        assert same(answer[name], row[name]), (answer["prospect_id"], name)
    assert (answer["score"], answer["grade"]) == (row["score"], row["grade"])
    wanted = json.loads(row["reasons"])
    assert [(r["feature"], r["label"], r["value"]) for r in answer["reasons"]] == [
        (r["feature"], r["label"], r["value"]) for r in wanted
    ]
    assert all(same(a["effect"], b["effect"]) for a, b in zip(answer["reasons"], wanted, strict=True))


def test_service_and_batch_agree(
    server: Server, bodies: list[dict[str, Any]], scored: dict[str, dict[str, Any]]
) -> None:
    answers = []
    for start in range(0, MANY - 100, 100):
        found = server.client.post("/score_batch", json={"items": bodies[start : start + 100]})
        assert found.status_code == 200
        answers += found.json()["results"]
    for body in bodies[-100:]:
        found = server.client.post("/score", json=body)
        assert found.status_code == 200, found.text
        answers.append(found.json())
    assert [a["prospect_id"] for a in answers] == [b["prospect"]["prospect_id"] for b in bodies]
    for answer in answers:
        assert_same(answer, scored[answer["prospect_id"]])
        assert answer["model_version"] == "1"
    # A prospect without an account is told so; others are warned of nothing but a tender that is over.
    alone = [
        a["prospect_id"]
        for a in answers
        if {w["code"] for w in a["warnings"]} >= {"account_unknown", "related_unknown", "related_outcomes_unknown"}
    ]
    assert alone == [b["prospect"]["prospect_id"] for b in bodies if "account" not in b]
    told = {w["code"] for a in answers if a["prospect_id"] not in set(alone) for w in a["warnings"]}
    assert told <= {"tender_closed"}
    # Not all alike: a constant would agree with itself too.
    assert len({a["probability"] for a in answers}) > MANY / 2


def test_reloaded_bundle_agrees(home: Home, bodies: list[dict[str, Any]], scored: dict[str, dict[str, Any]]) -> None:
    scorer = Scorer(bundle_of("1", home=home, goal="won"), "1")
    for body in bodies[::10]:
        parsed = parse_request(json.dumps(body), scorer.spec.dataset, 0)
        answer = scorer.score(parsed.records, parsed.as_of).to_json()
        assert_same(answer, scored[answer["prospect_id"]])


def test_pyfunc_from_the_registry_agrees(
    home: Home, bodies: list[dict[str, Any]], scored: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.uri)  # set_tracking_uri would outlast this test
    model = mlflow.pyfunc.load_model("models:/lead-scorer-won@champion")
    frame = pd.DataFrame({"request": [json.dumps(body) for body in bodies]})
    found = model.predict(frame)
    assert len(found) == MANY
    for answer in found.to_dict("records"):
        assert answer["error"] is None
        assert_same(answer, scored[answer["prospect_id"]])


def test_the_readmes_request_gives_the_readmes_answer(server: Server) -> None:
    request, wanted = readme.blocks()
    assert request == REQUEST  # what the demo prints
    answer = rounded(server.client.post("/score", json=request).json())
    assert answer.pop("receipt_id") != wanted.pop("receipt_id") == readme.RECEIPT
    assert answer == wanted


def test_demo_again_trains_nothing(home: Home) -> None:
    found = CliRunner().invoke(app, ["demo", "--no-serve", "--home", str(home.path), "--json"], catch_exceptions=False)
    assert json.loads(found.stdout)["version"] == "1"


def test_models_lists_the_champion_with_its_figures(home: Home) -> None:
    found = CliRunner().invoke(app, ["models", "--home", str(home.path), "--json"], catch_exceptions=False)
    (model,) = json.loads(found.stdout)["models"]
    assert "champion" in model["aliases"]
    assert model["reason"] == "there was no champion"
    assert 0.5 < model["metrics"]["rolling_auc"] < 1


def test_the_demo_world_is_learned(home: Home) -> None:
    """Forward in time, clearly better than a constant; a collapse of the features would show here."""
    figures = load_scorer(home).card["metrics"]["rolling"]
    assert figures["interval"]["log_loss_gain"][0] > 0.02
    assert figures["calibration_error"] < 0.05
