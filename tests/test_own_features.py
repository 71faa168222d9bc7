"""A feature added in code deploys with the model: the service that runs already serves it, and every path agrees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from features.contract import format_time
from features.spec import Aggregate, Attribute, Expression
from features.standard import drop_families, standard_features
from features.tables import Tables, read_tables
from features.titles import buying_role
from serving.batch import requests
from serving.schema import parse_request
from tests.server import Server, serving, until
from training.cli import app
from training.registry import Home, promote, rollback
from training.run import Trained, load_scorer, score_frame, train
from training.simulate import simulate

RECENT = Aggregate("count", days=21, role="buyer")
FIT = Expression("band", (Attribute("accounts", "headcount"),), cuts=(20, 60, 250))
MANY = 80


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def tables(place: Path) -> Tables:
    simulate(prospects=800, days=300, seed=2).write(place / "crm")
    return read_tables(place / "crm", need_outcomes=True)


@pytest.fixture(scope="module")
def home(place: Path, tables: Tables) -> Home:
    """A home whose champion is version 1, on the standard features."""
    home = Home(place / "home")
    done = train(tables, home=home)
    assert done.promoted
    assert not {RECENT.name, FIT.name} & set(done.model.spec.names)
    return home


@pytest.fixture(scope="module")
def server(home: Home, place: Path) -> Iterator[Server]:
    with serving(home.path, place / "empty", LEADSCORE_POLL_SECONDS="0.2") as running:
        yield running


@pytest.fixture(scope="module")
def bodies(tables: Tables, home: Home) -> list[dict[str, Any]]:
    """The prospects whose buyers did most in the last 21 days, among those open at the end of the data."""
    frame = score_frame(load_scorer(home), tables, tables.until)
    found = list(requests(tables, tables.until, list(frame["prospect_id"])))
    roles = {c["contact_id"]: buying_role(c) for body in found for c in body["contacts"]}
    since = format_time(tables.until - 21 * 86_400_000_000)

    def recent(body: dict[str, Any]) -> int:
        return sum(roles.get(e.get("contact_id")) == "buyer" and e["occurred_at"] > since for e in body["events"])

    return sorted(found, key=lambda body: (-recent(body), body["prospect"]["prospect_id"]))[:MANY]


def answers(server: Server, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = server.client.post("/score_batch", json={"items": bodies})
    assert found.status_code == 200, found.text
    return list(found.json()["results"])


def served_version(server: Server, body: dict[str, Any]) -> str:
    return str(server.client.post("/score", json=body).json()["model_version"])


@pytest.fixture(scope="module")
def deployed(
    tables: Tables, home: Home, server: Server, bodies: list[dict[str, Any]]
) -> tuple[Trained, list[dict[str, Any]], list[dict[str, Any]]]:
    """The training on own features, and what the one running service answered before and after its promotion."""
    before = answers(server, bodies)
    workers = server.children()
    assert {a["model_version"] for a in before} == {"1"}
    # Splits on so little data need smaller leaves, and no others that count events.
    events = ("interest", "effort", "activity", "committee", "stage", "account")
    mine = drop_families(standard_features(tables), *events).with_features(RECENT, FIT)
    done = train(tables, home=home, features=mine, promote=False, params={"min_data_in_leaf": 20})
    assert served_version(server, bodies[0]) == "1"  # registered is not promoted
    promote(done.version, home=home, goal="won", reason="own features")
    until(lambda: served_version(server, bodies[0]) == done.version, "the running service takes version 2")
    assert server.children() == workers
    return done, before, answers(server, bodies)


def test_the_running_service_serves_the_new_features(
    deployed: tuple[Trained, list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    done, before, after = deployed
    assert done.version == "2"
    assert {a["model_version"] for a in after} == {"2"}
    assert [a["probability"] for a in after] != [a["probability"] for a in before]
    assert {RECENT.name, FIT.name} <= set(done.importance[done.importance > 0].index)
    named = {r["feature"] for a in after for r in a["reasons"]}
    assert {RECENT.name, FIT.name} & named
    assert not {RECENT.name, FIT.name} & {r["feature"] for a in before for r in a["reasons"]}


def test_its_values_and_words_are_those_of_the_definition(
    tables: Tables,
    bodies: list[dict[str, Any]],
    deployed: tuple[Trained, list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    """The reason names what was counted by hand in the request."""
    named: dict[str, Any] = {}
    for body, answer in zip(bodies, deployed[2], strict=True):
        headcount = body.get("account", {}).get("headcount")
        wanted = None if headcount is None else sum(headcount >= cut for cut in (20, 60, 250))
        roles = {c["contact_id"]: buying_role(c) for c in body["contacts"]}
        since = format_time(tables.until - 21 * 86_400_000_000)
        count = sum(roles.get(e.get("contact_id")) == "buyer" and e["occurred_at"] > since for e in body["events"])
        for reason in answer["reasons"]:
            if reason["feature"] == FIT.name:
                assert reason["value"] == wanted
                named[answer["prospect_id"]] = wanted
            if reason["feature"] == RECENT.name:
                assert reason["value"] == count
                named[answer["prospect_id"]] = count
            assert reason["label"]
    assert named


def test_every_path_gives_the_same_answer(
    tables: Tables,
    home: Home,
    place: Path,
    bodies: list[dict[str, Any]],
    deployed: tuple[Trained, list[dict[str, Any]], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service, the command, pyfunc, `score_frame` and `Scorer.score`: to 1e-12, reasons too."""
    import mlflow

    scorer = load_scorer(home)
    assert scorer.version == "2"
    at = format_time(tables.until)
    out = place / "scores.parquet"
    arguments = ["score", str(place / "crm"), "--as-of", at, "--out", str(out), "--reasons", "--home", str(home.path)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    frames = {
        "command": pd.read_parquet(out),
        "score_frame": score_frame(scorer, tables, at, reasons=5),
    }
    paths: dict[str, dict[str, dict[str, Any]]] = {
        name: {row["prospect_id"]: {**row, "reasons": json.loads(row["reasons"])} for row in frame.to_dict("records")}
        for name, frame in frames.items()
    }
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.uri)
    model = mlflow.pyfunc.load_model("models:/lead-scorer-won@champion")
    texts = [json.dumps(body) for body in bodies]
    answered = model.predict(pd.DataFrame({"request": texts})).to_dict("records")
    paths["pyfunc"] = {row["prospect_id"]: row for row in answered}
    parsed = [parse_request(text, scorer.spec.dataset, 0) for text in texts]
    scores = [scorer.score(p.records, p.as_of).to_json() for p in parsed]
    paths["scorer"] = {score["prospect_id"]: score for score in scores}

    for answer in deployed[2]:
        for name, found in paths.items():
            row = found[answer["prospect_id"]]
            for figure in ("probability", "probability_low", "probability_high"):
                assert row[figure] == pytest.approx(answer[figure], rel=0, abs=1e-12), (name, figure)
            assert (row["score"], row["grade"]) == (answer["score"], answer["grade"]), name
            assert [(r["feature"], r["label"], r["value"]) for r in row["reasons"]] == [
                (r["feature"], r["label"], r["value"]) for r in answer["reasons"]
            ], name
            effects = [r["effect"] for r in answer["reasons"]]
            assert [r["effect"] for r in row["reasons"]] == pytest.approx(effects, rel=0, abs=1e-12), name


def test_rollback_takes_them_back(
    home: Home,
    server: Server,
    bodies: list[dict[str, Any]],
    deployed: tuple[Trained, list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    """The last test: the same service answers with version 1 as it did before, bit for bit."""
    rollback(home, "won")
    until(lambda: served_version(server, bodies[0]) == "1", "the running service goes back to version 1")
    again = answers(server, bodies)
    assert [a["probability"] for a in again] == [a["probability"] for a in deployed[1]]
