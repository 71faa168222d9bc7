"""How firms buy, from tables to answers: every way has an effect where it is on, and none where it is off.

Two simulated worlds of 4,000 prospects, in one of which none of the mechanisms works; a model of the first sale and one
of the renewal in each, and the same requests to both. Where they work they are stronger than in the frozen world
(``tests.buying.lively``): so few prospects show no more. A real server answers docs/how-firms-buy.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from features.contract import APPROACHES, REGIMES
from features.firms import infer_regime
from features.standard import family
from features.tables import Tables, read_tables
from serving import openapi
from tests.buying import (
    SWITCHED,
    Effect,
    Request,
    contrasts,
    effects,
    lively,
    open_requests,
    renewals,
    switched_off,
    trained,
    written,
)
from tests.server import Server, point, serving
from training.cli import app
from training.model import Model
from training.simulate import Mechanisms

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "how-firms-buy.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
(TOML,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)

# The least effect in log-odds where a mechanism is on. Where it is off, less than half of what it then is, either way.
LEAST = {
    "mass": 0.4,
    "industrial": 0.1,
    "project": 0.25,
    "tender": 0.6,
    "committee": 0.6,
    "b2b": 0.4,
    "b2b2e": 0.5,
    "b2b2u": 0.5,
    "stages": 0.25,
    "renewal": 0.3,
}


def example(name: str) -> tuple[str, Request]:
    """The path and the request of a section of the page."""
    path, request = re.findall(r"^`POST (/\w+)`.*?```json\n(.*?)```", SECTIONS[name], re.M | re.S)[0]
    return path, json.loads(request)


def with_renewal(folder: Path) -> Tables:
    """The same tables with the goal that the page shows."""
    file = folder / "dataset.toml"
    declared = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"\[goal\].*?(?=\n\[)", lambda _: TOML, declared, count=1, flags=re.S), encoding="utf-8")
    return read_tables(folder, need_outcomes=True)


@dataclass(frozen=True)
class Learned:
    """A world's tables, the models of the first sale and of the renewal, and what is asked of both."""

    folder: Path
    tables: Tables
    sale: Model
    renewal: Model
    asked: tuple[list[Request], list[Request]]

    def effects(self, other: Learned | None = None) -> dict[str, Effect]:
        """All contrasts by name, on this world's requests or on those of the other."""
        sales, sold = (other or self).asked
        t = self.tables.until
        return {**effects(self.sale, sales, contrasts(t)), **effects(self.renewal, sold, renewals(t))}


def learn(folder: Path, m: Mechanisms, prospects: int = 4_000, seed: int = 1) -> Learned:
    _, tables = written(folder, m, prospects, seed)
    sale = trained(tables)
    after = with_renewal(folder)
    renewal = trained(after)
    return Learned(folder, tables, sale, renewal, (open_requests(tables, sale, 40), open_requests(after, renewal, 40)))


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learn(tmp_path_factory.mktemp("on") / "crm", lively())


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    every = sorted({switch for switches in SWITCHED.values() for switch in switches})
    m = switched_off(lively(), *every)
    m = replace(m, win=tuple(w + 0.5 for w in m.win))  # about as many sales as where they are on
    return learn(tmp_path_factory.mktemp("off") / "crm", m)


@pytest.fixture(scope="module")
def found(on: Learned, off: Learned) -> dict[str, tuple[Effect, Effect]]:
    moved, still = on.effects(), off.effects(on)
    return {name: (moved[name], still[name]) for name in moved}


# ---- the effect of each mechanism


@pytest.mark.slow
@pytest.mark.parametrize("name", SWITCHED)
def test_it_moves_the_answer_where_it_is_on_and_not_where_it_is_off(
    found: dict[str, tuple[Effect, Effect]], name: str
) -> None:
    moved, still = found[name]
    assert moved.mean > LEAST[name]
    assert abs(still.mean) < moved.mean / 2
    assert moved.mean > 4 * moved.error  # of most prospects, not of one


# ---- the page


@pytest.fixture(scope="module")
def server(on: Learned, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    goals = {}
    for model in (on.sale, on.renewal):
        path = f"bundles/{model.goal.outcome}"
        goals[model.goal.outcome] = {"path": path, "digest": model.write(home / path), "version": "1"}
    point(home, goals)
    with serving(home, tmp_path_factory.mktemp("served") / "empty") as running:
        yield running


def ask(server: Server, path: str, request: Request) -> Any:
    found = server.client.post(path, json=request)
    assert found.status_code == 200, found.text
    return found.json()


def codes(answer: Any) -> set[str]:
    return {w["code"] for w in answer["warnings"]}


def test_every_mechanism_has_a_row_and_an_example() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert rows == list(SECTIONS) == list(SWITCHED)
    assert {*REGIMES, *APPROACHES} < set(rows)
    models = {
        "/score": openapi.ScoreRequest,
        "/score_account": openapi.AccountRequest,
        "/score_contacts": openapi.AccountRequest,
    }
    for name in rows:
        path, request = example(name)
        models[path].model_validate_json(json.dumps(request), strict=True)


@pytest.mark.slow
def test_the_features_of_the_table_are_those_of_the_models(on: Learned) -> None:
    names = {f.name: family(f) for model in (on.sale, on.renewal) for f in model.spec.features}
    table = PAGE.split("\n\n")[2]
    cells = [row.split("|")[4] for row in table.splitlines()[2:]]
    told = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert len(told) > 12
    assert told <= set(names)
    for prefix in re.findall(r"`(\w+)\.\.\.`", table):
        assert any(name.startswith(prefix) for name in names), prefix
    assert {"committee", "account", "tender", "stage"} < set(names.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SWITCHED if name != "renewal"])
def test_every_example_is_answered_without_a_doubt(server: Server, name: str) -> None:
    answer = ask(server, *example(name))
    assert 0 < answer["probability"] < 1
    allowed = {"tender": {"tender_closed"}, "b2b": {"not_open"}}
    assert codes(answer) - {"mixed_horizons"} == allowed.get(name, set())
    assert answer["goal"] == "won"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "days"), [("mass", 30), ("industrial", 90), ("project", 60), ("tender", 60)])
def test_the_regime_sets_the_horizon(server: Server, name: str, days: int) -> None:
    path, request = example(name)
    answer = ask(server, path, request)
    assert answer["horizon_days"] == days
    assert answer["curve"][-1] == {"days": days, "probability": answer["probability"]}
    deadline = 0 if "tender_deadline" in request["prospect"] else None
    told = infer_regime(request["prospect"].get("regime"), deadline, request["account"]["headcount"], None)
    assert told == ("project" if name == "tender" else name)


@pytest.mark.slow
def test_a_tender_is_closed_once_its_deadline_has_passed(server: Server) -> None:
    path, request = example("tender")
    closed = ask(server, path, request)
    request["prospect"]["tender_deadline"] = "2026-01-05T12:00:00Z"
    ahead = ask(server, path, request)
    assert "tender_closed" in codes(closed)
    assert "tender_closed" not in codes(ahead)
    assert ahead["probability"] > closed["probability"]


@pytest.mark.slow
def test_the_committee_says_who_is_known_engaged_and_missing(server: Server) -> None:
    answer = ask(server, *example("committee"))
    roles = {r["role"]: (r["known"], r["engaged"]) for r in answer["committee"]["roles"]}
    assert roles == {"buyer": (True, True), "prescriber": (True, False), "user": (False, False)}
    missing = {m["role"]: m["probability"] for m in answer["committee"]["missing"]}
    assert set(missing) == {"prescriber", "user"}
    assert missing["prescriber"] > answer["probability"]
    assert answer["committee"]["basis"] == "model_sensitivity"
    path, request = example("committee")
    alone = ask(server, path, {k: v for k, v in request.items() if k != "contacts"})
    assert alone["committee"] is None


@pytest.mark.slow
def test_an_account_is_scored_over_its_prospects_and_remembers(server: Server) -> None:
    path, request = example("b2b")
    answer = ask(server, path, request)
    single = [p["probability"] for p in answer["prospects"]]
    assert {p["prospect_id"] for p in answer["prospects"]} == {"p1", "p2"}
    assert max(single) <= answer["probability"] < 1
    request["outcomes"][0]["outcome"] = "lost"
    assert ask(server, path, request)["probability"] < answer["probability"]


@pytest.mark.slow
def test_people_are_ranked_by_what_they_move(server: Server) -> None:
    answer = ask(server, *example("b2b2e"))
    people = {c["contact_id"]: c for c in answer["contacts"]}
    assert [(people[c]["role"], people[c]["role_inferred"]) for c in ("c1", "c2", "c3")] == [
        ("user", True),
        ("buyer", True),
        (None, False),
    ]
    assert people["c2"]["rank"] == "executive"
    assert people["c3"]["effect"] == 0 == people["c3"]["events"]
    told = [c["effect"] for c in answer["contacts"]]
    assert told == sorted(told, reverse=True)
    assert max(told) > 0


@pytest.mark.slow
def test_a_public_body_of_users_is_another_customer(server: Server) -> None:
    path, request = example("b2b2u")
    answer = ask(server, path, request)
    assert answer["horizon_days"] == 60
    assert "tender_closed" not in codes(answer)
    assert "tender_closed" in codes(ask(server, path, {**request, "as_of": "2026-01-20T10:00:01Z"}))
    request["prospect"]["approach"] = "b2b"
    assert ask(server, path, request)["probability"] < answer["probability"]


@pytest.mark.slow
def test_the_stages_come_from_the_settings(server: Server, on: Learned) -> None:
    path, request = example("stages")
    answer = ask(server, path, request)
    stages = dict(on.sale.spec.dataset.stages)
    types = [e["type"] for e in request["events"]]
    assert [next(s for s, of in stages.items() if t in of) for t in types] == ["discover", "compare", "decide"]
    assert {f.name for f in on.sale.spec.features if family(f) == "stage"} > {"stage_reached", "days_in_stage"}
    request["events"] = request["events"][:1]  # still in the first stage
    assert ask(server, path, request)["probability"] < answer["probability"]


@pytest.mark.slow
def test_a_renewal_counts_from_the_sale(server: Server) -> None:
    path, request = example("renewal")
    answer = ask(server, path, request)
    assert (answer["goal"], answer["horizon_days"]) == ("renewed", 60)
    assert not codes(answer)
    troubled = [{**e, "type": "support_ticket"} for e in request["events"]]
    assert ask(server, path, {**request, "events": troubled})["probability"] < answer["probability"]
    assert "not_started" in codes(ask(server, path, {**request, "outcomes": []}))
    fresh = [{"outcome": "won", "occurred_at": "2025-12-28T12:00:00Z"}]
    assert ask(server, path, {**request, "outcomes": fresh})["probability"] < answer["probability"]


@pytest.mark.slow
def test_the_folder_of_the_renewal_is_sound(on: Learned) -> None:
    assert on.renewal.goal.starts_at == "won"
    found = CliRunner().invoke(app, ["check", str(on.folder), "--json"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["goal"]["outcome"] == "renewed"
