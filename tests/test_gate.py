"""When a training may replace the champion: never on older data, never on the same, never uncompared.

``LEADSCORE_PROOFS=1`` (``make proofs``) counts promotions over ten times as many worlds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from features.contract import DAY, Goal
from features.errors import BadInput, LeadscoreError
from features.standard import standard_features
from features.tables import Tables, known_by
from serving.champion import read_pointer
from tests.funnels import at, planted
from training import registry
from training.dataset import TrainingSet, build, labels
from training.evaluate import log_losses, rolling
from training.gate import FEWEST, Comparison, compare, decide, judge, refit
from training.goal import landmark_spine
from training.model import DEFAULTS, columns, fit
from training.registry import Home
from training.run import Trained, load_scorer, train

WORLDS = 400 if os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0") else 40
SIZE = 150  # prospects of a world
QUICK = {"num_iterations": 30}
PLAIN: dict[str, Any] = {}
LOOSE = {
    "num_iterations": 200,
    "max_depth": -1,
    "num_leaves": 63,
    "min_data_in_leaf": 5,
    "lambda_l2": 0.0,
    "learning_rate": 0.1,
    "feature_fraction": 1.0,
}  # learns its rows by heart


@pytest.fixture(scope="module")
def tables() -> Tables:
    """A funnel in which only `origin` tells who wins."""
    return planted(400, seed=1)


@pytest.fixture(scope="module")
def home(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose champion, version 1, was trained until 40 days before the end of the data."""
    place = Home(tmp_path_factory.mktemp("gate") / "home")
    first = train(tables, home=place, until=tables.until - 40 * DAY, params=PLAIN)
    assert (first.version, first.promoted, first.reason) == ("1", True, "there was no champion")
    assert first.gate is not None
    assert (first.gate["decision"], first.gate["champion_digest"]) == ("promoted", None)
    return place


def champion(home: Home) -> str:
    pointer = read_pointer(home.path)
    assert pointer is not None
    return str(pointer["goals"]["won"]["version"])


def client(home: Home) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(home.uri, registry_uri=home.uri)


def test_older_and_equal_data_are_declined_fresher_ones_pass(tables: Tables, home: Home) -> None:
    standing = registry.bundle_of("1", home=home, goal="won")
    features, recipe = standard_features(tables), {**DEFAULTS, **PLAIN}
    older = judge(known_by(tables, tables.until - 80 * DAY), standing, features, recipe, ())
    assert not older.promoted
    assert "before those of the champion" in older.reason
    again = judge(known_by(tables, tables.until - 40 * DAY), standing, features, recipe, (), seed=3)
    assert not again.promoted
    assert "nothing new" in again.reason
    cuts = load_scorer(home).constants.grade_cuts
    fresher = train(tables, home=home, params=PLAIN)
    assert fresher.promoted
    assert "fresher data" in fresher.reason
    assert champion(home) == fresher.version
    assert load_scorer(home).constants.grade_cuts == cuts  # grades do not move with a promotion
    assert registry.versions(home, "won")[0].reason == fresher.reason


def test_another_recipe_is_compared_forward_and_mlflow_has_the_record(
    tables: Tables, home: Home, tmp_path: Path
) -> None:
    before = champion(home)
    # A recipe that knows next to nothing: it must lose.
    poor = train(tables, home=home, features=standard_features(tables).without("origin"), params=PLAIN)
    assert not poor.promoted
    assert "against the champion's" in poor.reason
    assert champion(home) == before

    gate = poor.gate
    assert gate is not None
    assert gate == poor.to_json()["gate"]
    assert (gate["decision"], gate["reason"]) == ("declined", poor.reason)
    digests = {v.version: v.digest for v in registry.versions(home, "won")}
    assert (gate["champion_digest"], gate["challenger_digest"]) == (digests[before], digests[poor.version])
    assert gate["difference"] == pytest.approx(gate["log_loss"] - gate["champion_log_loss"])
    assert gate["low"] <= gate["difference"] <= gate["high"]
    assert gate["log_loss"] == pytest.approx(poor.metrics["log_loss"])  # on all rows of all windows
    assert (gate["rows"], gate["prospects"]) == (len(poor.rows), poor.rows["prospect_id"].nunique())
    assert gate["outcomes"] == poor.rows.loc[poor.rows["y"] == 1, "prospect_id"].nunique()
    assert len(gate["cuts"]) == 4

    run = client(home).get_run(poor.run_id)
    kept = json.loads(Path(client(home).download_artifacts(poor.run_id, "gate.json", str(tmp_path))).read_text())
    assert kept == json.loads(json.dumps(gate))
    names = ("log_loss", "champion_log_loss", "difference", "low", "high", "rows", "prospects", "outcomes")
    assert {name: run.data.metrics[f"gate_{name}"] for name in names} == {name: gate[name] for name in names}
    version = client(home).get_model_version("lead-scorer-won", poor.version)
    for tags in (run.data.tags, version.tags):
        assert (tags["gate_decision"], tags["gate_reason"]) == ("declined", poor.reason)
        assert tags["champion_digest"] == gate["champion_digest"]
        assert tags["challenger_digest"] == gate["challenger_digest"]
    assert version.tags["reason"] == poor.reason

    # By hand it may pass: the last word is the hand's, and the gate's stays what it was.
    registry.promote(poor.version, home=home, goal="won", reason="fewer questions to ask")
    tags = client(home).get_model_version("lead-scorer-won", poor.version).tags
    assert (tags["reason"], tags["gate_decision"]) == ("fewer questions to ask", "declined")
    registry.rollback(home, "won")
    tags = client(home).get_model_version("lead-scorer-won", poor.version).tags
    assert tags["reason"] == "rolled back"


def test_a_training_that_asks_for_no_promotion_asks_no_gate(tables: Tables, home: Home) -> None:
    done = train(tables, home=home, params=QUICK, promote=False)
    assert (done.promoted, done.gate) == (False, None)
    artifacts = {f.path for f in client(home).list_artifacts(done.run_id)}
    assert "features.json" in artifacts
    assert "gate.json" not in artifacts
    assert "gate_decision" not in client(home).get_run(done.run_id).data.tags


def test_a_damaged_champion_does_not_bar_the_way(tables: Tables, tmp_path: Path, home: Home) -> None:
    pointer = read_pointer(home.path)
    assert pointer is not None
    model = home.path / pointer["goals"]["won"]["path"] / "model.txt"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + b"x")
    try:
        done = train(tables, home=home, params=QUICK)
    finally:
        model.write_bytes(whole)
    assert not done.promoted
    assert "cannot be read" in done.reason
    assert done.gate is not None
    assert done.gate["decision"] == "declined"


def test_the_scorer_of_another_goal_is_refused_by_name(home: Home) -> None:
    with pytest.raises(BadInput) as caught:
        load_scorer(home, goal="renewed")
    assert caught.value.code == "no_champion"
    assert "won" in caught.value.message


def test_what_cannot_be_compared_is_declined_with_the_reason(tables: Tables, home: Home) -> None:
    standing = registry.bundle_of("1", home=home, goal="won")
    features = standard_features(tables)
    longer = replace(tables, dataset=replace(tables.dataset, goal=Goal(horizons=(("", 60),))))
    other = judge(longer, standing, features, QUICK, ())
    assert not other.promoted
    assert "horizon_days 30 became 60" in other.reason
    nothing = judge(tables, standing, features, QUICK, ())
    assert not nothing.promoted
    assert "no time is left" in nothing.reason


# The rule


FOUND = Comparison(0.19, 0.2, -0.01, -0.03, 0.01, 900, 300, 40, ("2025-01-01T00:00:00Z", "2025-03-01T00:00:00Z"))


@pytest.mark.parametrize(
    ("difference", "low", "high", "newer", "promoted", "words"),
    [
        (-0.02, -0.03, -0.01, False, True, "clearly better"),
        (-0.01, -0.03, 0.01, False, True, "better, by no more than chance may give"),
        (0.01, -0.01, 0.03, True, False, "worse, by no more than chance may give"),
        (0.02, 0.01, 0.03, True, False, "clearly worse"),
        (0.0, 0.0, 0.0, True, True, "no difference"),
        (0.0, 0.0, 0.0, False, False, "no difference"),
    ],
)
def test_the_lower_loss_wins_and_a_tie_goes_to_newer_data(
    difference: float, low: float, high: float, newer: bool, promoted: bool, words: str
) -> None:
    verdict = decide(replace(FOUND, difference=difference, low=low, high=high), newer=newer)
    assert verdict.promoted is promoted
    assert verdict.reason.endswith(f": {words}")


def test_a_handful_of_outcomes_decides_nothing() -> None:
    assert decide(replace(FOUND, outcomes=FEWEST), newer=True).promoted
    few = decide(replace(FOUND, outcomes=FEWEST - 1), newer=True)
    assert not few.promoted
    assert "too few" in few.reason


def test_recipes_tested_on_other_rows_are_not_compared() -> None:
    (world,) = worlds(1)
    mine = evaluated(world, 0)
    theirs = [SimpleNamespace(cut=e.cut, rows=e.rows.iloc[1:]) for e in mine]
    with pytest.raises(ValueError, match="same rows"):
        compare(mine, theirs)


# How often chance promotes

World = list[tuple[int, TrainingSet, TrainingSet]]  # at each cut: what was known, and what came after it


def worlds(count: int) -> Iterator[World]:
    """Small worlds that never change: the prospects of a large one, dealt out at random. Features are computed once."""
    large = planted(SIZE * count, seed=11)
    features, goal = standard_features(large), large.dataset.goal
    sets = []
    for cut, end in ((at(100), at(135)), (at(135), at(170))):
        spine = landmark_spine(large, goal)
        spine = spine.filter(spine.as_of > cut, spine.as_of <= end)
        sets.append((cut, build(large, features, until=cut, with_open=False), build(large, features, spine=spine)))
    dealt = np.random.default_rng(0).permutation(SIZE * count) // SIZE
    for number in range(count):

        def mine(part: TrainingSet, number: int = number) -> TrainingSet:
            return part.select(dealt[part.rows["prospect_id"].str[1:].astype(int)] == number)

        yield [(cut, mine(before), mine(after)) for cut, before, after in sets]


def evaluated(world: World, seed: int, *without: str) -> Any:
    """The evaluations of a recipe: fitted before each window, tested on it."""
    out = []
    for cut, before, after in world:
        model = fit(narrowed(before, without), QUICK, seed=seed, folds=0)
        y, observed = labels(after)
        rows = after.rows.assign(y=y, p=model.predict(narrowed(after, without)))
        out.append(SimpleNamespace(cut=cut, rows=rows[observed].reset_index(drop=True)))
    return out


def narrowed(part: TrainingSet, without: Sequence[str]) -> TrainingSet:
    features = part.features.without(*without) if without else part.features
    return replace(part, features=features, values=part.values[list(features.names)])


def test_a_mere_retrain_passes_as_often_as_chance_says_and_a_worse_recipe_seldom() -> None:
    """In a world that stands still, a recipe against itself with other random numbers: one time in two.

    The two are exchangeable, so that whichever is the challenger, it has the lower loss with probability one half. A
    recipe that misses what decides is let through far less often: then the one that has it stays, or takes its place.
    """
    from scipy.stats import binomtest

    passed = fell = 0
    for number, world in enumerate(worlds(WORLDS)):
        one, other = evaluated(world, 2 * number), evaluated(world, 2 * number + 1)
        passed += decide(compare(one, other), newer=True).promoted
        blind = evaluated(world, 2 * number, "origin")
        fell += decide(compare(blind, one), newer=True).promoted
        if number == 0:  # whichever is the challenger, the better one wins
            assert compare(one, blind).difference == -compare(blind, one).difference != 0
    print(f"of {WORLDS}: {passed} retrainings and {fell} worse recipes passed")
    assert binomtest(passed, WORLDS).pvalue > 0.01
    assert fell <= WORLDS / 5


@pytest.fixture(scope="module")
def loose(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose champion learned its rows by heart, until T."""
    place = Home(tmp_path_factory.mktemp("loose") / "home")
    assert train(tables, home=place, params=LOOSE).promoted
    return place


def test_a_race_for_the_pointer_leaves_the_other_champion(
    tables: Tables, loose: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that passed the gate against a champion that is no longer one is not promoted, and says so."""

    def taken(*_: Any, **__: Any) -> None:
        raise LeadscoreError("champion_changed", "another one.")

    monkeypatch.setattr(registry, "promote", taken)
    done: Trained = train(tables, home=loose, params=PLAIN)
    assert not done.promoted
    assert "meanwhile" in done.reason
    assert done.gate is not None
    assert done.gate["decision"] == "promoted"  # the gate's own word
    tags = client(loose).get_model_version("lead-scorer-won", done.version).tags
    assert tags["reason"] == done.reason


def test_a_champion_that_has_seen_the_test_wins_only_where_it_is_compared_as_it_stands(
    tables: Tables, loose: Home
) -> None:
    stored = load_scorer(loose)
    features = standard_features(tables)
    done = train(tables, home=loose, params=PLAIN)
    assert done.gate is not None

    # As it stands: it was trained until T, on the very outcomes that it is tested on.
    tested = build(tables, features)
    p = dict(zip(zip(tested.rows["prospect_id"], tested.as_of, strict=True), predicted(stored, tested), strict=True))
    keys = zip(done.rows["prospect_id"], done.rows["as_of"], strict=True)
    naive = log_losses(done.rows["y"], [p[key] for key in keys]).mean()
    assert naive < done.gate["log_loss"] - 0.02

    # By its recipe, fitted before each window: it knew by heart what does not come again.
    assert done.gate["champion_log_loss"] > done.gate["log_loss"] + 0.02
    assert done.gate["low"] < done.gate["high"] < 0
    assert done.promoted
    assert champion(loose) == done.version


def predicted(scorer: Any, rows: TrainingSet) -> list[float]:
    scores = scorer.score_rows(columns(rows.values, rows.features), [None] * len(rows))
    return [score.probability for score in scores]


def test_a_refit_knows_nothing_of_its_window(tables: Tables) -> None:
    """With what was recorded after each cut forgotten, the champion's recipe says the same."""
    features = standard_features(tables)
    evaluations = rolling(tables, features, params=QUICK, resamples=0).evaluations
    for e in refit(tables, features, PLAIN, evaluations):
        assert e.model.card["trained_until"] == e.to_json()["cut"]
        past = known_by(tables, e.cut)
        again = fit(build(past, features, with_open=False), PLAIN, folds=0)
        assert again.model_text == e.model.model_text
