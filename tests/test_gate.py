"""When a training may replace the champion: never on older data, never on the same, never uncompared."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.contract import DAY
from features.errors import BadInput
from features.standard import standard_features
from features.tables import Tables
from serving.champion import read_pointer
from tests.funnels import planted
from training import registry
from training.registry import Home
from training.run import load_scorer, train


@pytest.fixture(scope="module")
def tables() -> Tables:
    """A funnel in which only `origin` tells who wins."""
    return planted(1200, seed=1)


@pytest.fixture(scope="module")
def home(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose champion, version 1, was trained until 40 days before the end of the data."""
    place = Home(tmp_path_factory.mktemp("gate") / "home")
    first = train(tables, home=place, until=tables.until - 40 * DAY)
    assert (first.version, first.promoted, first.reason) == ("1", True, "there was no champion")
    return place


def champion(home: Home) -> str:
    pointer = read_pointer(home.path)
    assert pointer is not None
    return str(pointer["goals"]["won"]["version"])


def test_older_and_equal_data_are_declined_fresher_ones_pass(tables: Tables, home: Home) -> None:
    older = train(tables, home=home, until=tables.until - 80 * DAY)
    assert not older.promoted
    assert "before those of the champion" in older.reason
    again = train(tables, home=home, until=tables.until - 40 * DAY, seed=3)
    assert not again.promoted
    assert "nothing new" in again.reason
    assert champion(home) == "1"
    cuts = load_scorer(home).constants.grade_cuts
    fresher = train(tables, home=home)
    assert fresher.promoted
    assert "fresher data" in fresher.reason
    assert champion(home) == fresher.version
    assert load_scorer(home).constants.grade_cuts == cuts  # grades do not move with a promotion
    decisions = {v.version: v.reason for v in registry.versions(home, "won")}
    assert "nothing new" in decisions[again.version]


def test_another_recipe_is_compared_forward_and_the_figures_say_so(tables: Tables, home: Home) -> None:
    before = champion(home)
    # A recipe that knows next to nothing: it must lose.
    poor = train(tables, home=home, features=standard_features(tables).without("origin"))
    assert not poor.promoted
    assert "against the champion's" in poor.reason
    assert champion(home) == before


def test_a_damaged_champion_does_not_bar_the_way(tables: Tables, tmp_path: Path, home: Home) -> None:
    pointer = read_pointer(home.path)
    assert pointer is not None
    model = home.path / pointer["goals"]["won"]["path"] / "model.txt"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + b"x")
    try:
        done = train(tables, home=home)
    finally:
        model.write_bytes(whole)
    assert not done.promoted
    assert "cannot be read" in done.reason


def test_the_scorer_of_another_goal_is_refused_by_name(home: Home) -> None:
    with pytest.raises(BadInput) as caught:
        load_scorer(home, goal="renewed")
    assert caught.value.code == "no_champion"
    assert "won" in caught.value.message
