"""The search for the patient: what it proposes, what judges it, and that only what is clearly better is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.errors import BadInput
from features.spec import FeatureSet
from features.tables import Tables
from tests.funnels import planted
from tests.test_choice import FEATURES, pooled_of
from training import choice, hazard
from training.choice import Choice, choose
from training.dataset import TrainingSet, build
from training.hazard import DEFAULTS, Pooled
from training.model import fit
from training.search import SHARES, SPACE, Proposal, search

USUAL = {**DEFAULTS, "num_iterations": 100}


@pytest.fixture(scope="module")
def tables() -> Tables:
    return planted(1_200, seed=3)


@pytest.fixture(scope="module")
def rows(tables: Tables) -> TrainingSet:
    return build(tables, FeatureSet(tables.dataset, FEATURES))


def of(rows: TrainingSet, params: Mapping[str, Any] = DEFAULTS, trials: int = 0, **how: Any) -> Choice:
    pooled = how.pop("pooled", None) or pooled_of(rows)
    return choose(pooled, rows.as_of, rows.horizons(), rows.observed_until, params, trials=trials, **how)


def test_it_begins_with_the_usual_one_comes_near_the_best_and_tells_how_far_it_is() -> None:
    tried: list[Proposal] = []
    said: list[str] = []

    def loss(proposal: Proposal) -> float:
        tried.append(proposal)
        off = np.log(proposal.params["learning_rate"] / 0.1) ** 2 + np.log(proposal.trees / 300) ** 2
        return float(off + (proposal.logistic == 0))

    best = search(loss, 40, USUAL, seed=1, say=said.append)
    assert (tried[0].params, tried[0].logistic) == (USUAL, 0.0)
    assert len(tried) == 40
    assert loss(best) == min(map(loss, tried[:40])) < loss(tried[0]) / 2
    assert {proposal.logistic for proposal in tried} == set(SHARES)
    for proposal in tried:
        assert proposal.params.keys() == USUAL.keys()
        assert proposal.logistic in SHARES
        assert all(least <= proposal.params[name] <= most for name, (least, most) in SPACE.items())
    assert [text.split(",")[0] for text in said] == [f"searching: {n} of 40 tried" for n in (10, 20, 30, 40)]
    assert search(loss, 40, USUAL, seed=1) == best
    assert search(loss, 12, USUAL, seed=2) != search(loss, 12, USUAL, seed=1)


def proposing(params: Mapping[str, Any], logistic: float = 0.0) -> Callable[..., Proposal]:
    """A search that finds these; it asks for their loss once, as a true one does."""

    def found(loss: Callable[[Proposal], float], *_: Any, **__: Any) -> Proposal:
        proposal = Proposal({**USUAL, **params}, logistic)
        assert np.isfinite(loss(proposal))
        return proposal

    return found


def test_what_is_clearly_better_on_the_last_cut_is_taken(rows: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {**DEFAULTS, "learning_rate": 1e-4}  # trees that learn nothing, and no logistic model to choose
    monkeypatch.setattr(choice, "CANDIDATES", tuple(b for b in choice.CANDIDATES if b.logistic == 0))
    monkeypatch.setattr(choice, "search", proposing({"num_iterations": 70}, 0.5))
    found = of(rows, slow, trials=5)
    assert found.chosen == hazard.Blend(70, 0.5, searched=True)
    assert found.chosen.name == "searched_blend_70"
    assert found.search is not None
    assert (found.search["trials"], found.search["taken"]) == (5, True)
    assert found.search["difference"] < -2 * found.search["standard_error"] < 0
    assert found.params == {name: {**USUAL, "num_iterations": 70}[name] for name in SPACE}
    assert found.to_json()["search"] == found.search
    assert all(not c["name"].startswith("searched") for c in found.candidates)  # the ladder's table stays the ladder's


def test_what_is_worse_or_no_better_is_not_taken(rows: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(rows)
    assert before.search is None
    for params in ({"num_iterations": 400, "learning_rate": 0.2, "min_data_in_leaf": 20, "lambda_l2": 0.1}, {}):
        monkeypatch.setattr(choice, "search", proposing(params))
        found = of(rows, trials=5)
        assert replace(found, search=None) == before
        assert found.search is not None
        assert found.search["taken"] is False
        assert found.params == {}


def test_nothing_that_was_not_over_by_the_last_cut_is_seen_by_the_search(
    rows: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came later may change: the losses of proposals are the same to the bit."""
    pooled = pooled_of(rows)
    cuts = of(rows).cuts
    other = replace(pooled, y=np.where(pooled.ends > cuts[-1], 1 - pooled.y, pooled.y))
    monkeypatch.setattr(choice, "_cuts", lambda *_: cuts)  # which follow all outcomes, as does what is thinned
    monkeypatch.setattr(choice, "TO_CHOOSE", hazard.Kept(1, 10**9, 10**9))
    losses: list[float] = []

    def found(loss: Callable[[Proposal], float], *_: Any, **__: Any) -> Proposal:
        for trees, share in ((30, 0.0), (200, 0.5)):
            losses.append(loss(Proposal({**USUAL, "num_iterations": trees}, share)))
        return Proposal(USUAL, 0.0)

    monkeypatch.setattr(choice, "search", found)
    judged = [of(rows, trials=2, pooled=each).search for each in (pooled, other)]
    assert losses[:2] == losses[2:]
    assert len(set(losses)) == 2
    assert judged[0] is not None
    assert judged[1] is not None
    assert judged[0]["log_loss"] != judged[1]["log_loss"]  # the last cut is judged by what came after it


def test_with_too_few_cuts_nothing_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Proposal:
        raise AssertionError("searched")

    monkeypatch.setattr(choice, "search", never)
    few = planted(120, seed=1)
    rows = build(few, FeatureSet(few.dataset, FEATURES))
    assert of(rows, trials=3).search == {"trials": 3, "taken": False}
    assert of(rows, trials=3).params == {}


def test_a_model_with_parameters_of_a_search_is_fitted_served_and_told_as_such(
    rows: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {name: {**USUAL, "num_iterations": 40, "num_leaves": 7, "learning_rate": 0.11}[name] for name in SPACE}
    blend = hazard.Blend(40, 0.5, searched=True)
    searched = {"trials": 9, "taken": True, "params": params}
    monkeypatch.setattr("training.model.choose", lambda *_: Choice(blend, (), (), search=searched))
    rows = replace(rows, census=None)
    model = fit(rows, {"trials": 9}, folds=0)
    assert model.card["model"] == "searched_blend_40"
    assert {name: model.card["params"][name] for name in params} == params
    pooled: Pooled = pooled_of(rows)
    (fitted,) = hazard.train(pooled, blend, {**DEFAULTS, **params}, 0, [None])
    z = fitted.log_odds(pooled.encoded) + model.constants["calibration"]["intercept"]
    assert model.predict(rows) == pytest.approx(1 - np.prod(1 / (1 + np.exp(z)), axis=1), abs=1e-12)


def test_the_parameters_of_a_search_that_regimes_beat_are_not_used() -> None:
    found = Choice(hazard.Blend(100, 0.5, by_regime=True), (), (), search={"taken": True, "params": {"num_leaves": 9}})
    assert found.params == {}


def test_a_training_searches_at_every_cut_and_the_recipe_says_so(tables: Tables, tmp_path: Path) -> None:
    from training.registry import Home
    from training.run import train

    home = Home(tmp_path / "home")
    features = FeatureSet(tables.dataset, FEATURES)
    said: list[str] = []
    with pytest.raises(BadInput, match="to be searched for") as refused:
        train(tables, home=home, features=features, trials=3, params={"num_leaves": 7})
    assert refused.value.code == "two_recipes"
    assert not (tmp_path / "home").exists()
    first = train(tables, home=home, features=features, trials=2, say=said.append)
    assert first.model.card["choice"]["search"]["trials"] == 2
    assert first.model.card["choice"]["search"]["cut"] in first.model.card["choice"]["cuts"]
    assert any(text.startswith("searching: 2 of 2 tried") for text in said)
    assert "judging it forward in time, with a search at every cut" in said
    assert "A search of 2 trials came to" in first.report
    # A recipe of its own: against one without a search it is compared, with a search at each cut.
    other = train(tables, home=home, features=features)
    assert other.gate is not None
    assert other.gate["champion_log_loss"] == pytest.approx(first.metrics["log_loss"], abs=1e-12)
