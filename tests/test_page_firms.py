"""What the report says of regimes, accounts and effort, in words and figures; and nothing where nothing is told."""

from __future__ import annotations

from typing import Any

from tests.test_page import figures, full
from training.page import _name, page

REGIMES = {
    "pooled": "blend_100",
    "candidates": [
        {"name": "blend_100", "log_loss": 0.5064, "difference": 0.0, "standard_error": 0.0},
        {"name": "blend_100_by_regime", "log_loss": 0.4996, "difference": -0.0068, "standard_error": 0.001},
    ],
}


def card(**changes: Any) -> dict[str, Any]:
    found = full()
    found["rolling"]["by"]["regime"] = [{"level": "mass", "horizon_days": 30, **figures(0.7)}]
    found["account"] = {"text": "Learned from 320 accounts with several open prospects."}
    found["effort"] = {"text": "26 % of the gain over a constant rests on outbound effort."}
    return {**found, **changes}


def chosen(name: str) -> dict[str, Any]:
    found = card()
    return {**found, "choice": {**found["choice"], "chosen": name, "regimes": REGIMES}}


def test_accounts_and_effort_are_said_in_words() -> None:
    html = page(card(), {})
    assert "Learned from 320 accounts" in html
    assert "26 % of the gain over a constant rests on outbound effort." in html
    assert '<section id="firms">' in html
    silent = page({k: v for k, v in card().items() if k not in ("account", "effort")}, {})
    assert "firms" not in silent


def test_a_regime_stands_with_its_horizon() -> None:
    assert "mass (within 30 days)" in page(card(), {})


def test_one_model_of_all_or_one_of_each_is_said_with_its_figures() -> None:
    own = page(chosen("blend_100_by_regime"), {})
    assert "Taken is a model with effects of each regime" in own
    assert "one of all, the blend of 100 trees and logistic" in own.replace("&#39;", "'")
    pooled = page(chosen("blend_100"), {})
    assert "Taken is one model of all" in pooled
    assert "one model of all</td>" in pooled  # what the others are compared with
    assert "One model of all regimes, or one of each" not in page(card(), {})


def test_candidates_have_names_that_people_use() -> None:
    assert _name("blend_100_by_regime") == "blend of 100 trees and logistic, with effects of each regime's own"
    assert _name("logistic_by_regime") == "logistic hazard, with effects of each regime's own"
    assert _name("trees_50") == "50 trees"
