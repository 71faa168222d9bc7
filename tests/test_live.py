"""The champions in memory: what is promoted or mended while another bundle loads is not overlooked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from features.errors import LeadscoreError
from serving import live
from serving.bundle import MANIFEST, read_bundle
from tests.server import point, put_bundle


@pytest.fixture
def home(tmp_path: Path) -> Path:
    point(tmp_path, {"won": {**put_bundle(tmp_path, "one"), "version": "1"}})
    return tmp_path


def loading(monkeypatch: pytest.MonkeyPatch, meanwhile: Any) -> None:
    """What stands in for the check of a bundle, which takes seconds: ``meanwhile`` happens once, during the first."""
    waiting = [meanwhile]

    def check(folder: Path, digest: str) -> Any:
        try:
            return read_bundle(folder, digest)
        finally:
            while waiting:
                waiting.pop()()

    monkeypatch.setattr(live, "check_bundle", check)


def served(champions: live.Champions) -> str:
    return champions.state.champion(None).version


def test_a_promotion_while_a_champion_loads_is_taken_at_the_next_look(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = {"won": {**put_bundle(home, "two", grade_cuts={"A": 0.9, "B": 0.8, "C": 0.7}), "version": "2"}}
    loading(monkeypatch, lambda: point(home, second))
    champions = live.Champions(home)
    assert champions.refresh()
    assert served(champions) == "1"
    assert champions.refresh()
    assert served(champions) == "2"
    assert not champions.refresh()


def test_a_bundle_mended_while_it_is_refused_is_taken_at_the_next_look(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = home / "bundles/one/model.txt"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1])
    loading(monkeypatch, lambda: model.write_bytes(whole))
    champions = live.Champions(home)
    assert champions.refresh()
    assert [p.code for p in champions.state.problems] == ["bundle_damaged"]
    with pytest.raises(LeadscoreError, match="cannot be loaded"):
        champions.state.champion(None)
    assert champions.refresh()
    assert served(champions) == "1"
    assert not champions.state.problems
    assert not champions.refresh()
    assert champions.failures == 1


def test_a_rollback_to_what_was_tried_here_needs_no_child_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def check(folder: Path, digest: str) -> Any:
        tried.append(folder.name)
        return read_bundle(folder, digest)

    monkeypatch.setattr(live, "check_bundle", check)
    first = {"won": {"path": "bundles/one", "digest": read_bundle(home / "bundles/one").digest, "version": "1"}}
    champions = live.Champions(home)
    champions.refresh()
    point(home, {"won": {**put_bundle(home, "two", grade_cuts={"A": 0.9, "B": 0.8, "C": 0.7}), "version": "2"}})
    champions.refresh()
    point(home, first)
    champions.refresh()
    assert (served(champions), tried) == ("1", ["one", "two"])
    # but what it holds is looked at all the same
    model = home / "bundles/two/model.txt"
    model.write_bytes(model.read_bytes()[:-1])
    point(home, {"won": {"path": "bundles/two", "digest": manifest_digest(home, "two"), "version": "3"}})
    champions.refresh()
    assert (served(champions), [p.code for p in champions.state.problems]) == ("1", ["bundle_damaged"])


def manifest_digest(home: Path, name: str) -> str:
    """The digest of a bundle's manifest, whatever its files hold."""
    return hashlib.sha256((home / "bundles" / name / MANIFEST).read_bytes()).hexdigest()
