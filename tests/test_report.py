"""The pictures: their numbers against hand-made ones, and what the figures show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serving.scorer import Reason, Score
from training import report


def rows(p: list[float], y: list[int], **more: Any) -> pd.DataFrame:
    return pd.DataFrame({"p": p, "y": y, **more})


def made(prospect_id: str, curve: tuple[tuple[int, float], ...], *effects: float) -> Score:
    p = curve[-1][1]
    reasons = tuple(Reason(f"f{i}", f"label {i}", 1, e, "activity") for i, e in enumerate(effects))
    return Score(prospect_id, 0, "won", curve[-1][0], p, p / 2, p * 1.2, curve, 50, "B", reasons, (), "1")


def test_calibration_bins_have_equal_mass_and_observed_rates() -> None:
    found = report.calibration_bins(rows([0.4, 0.1, 0.3, 0.2], [1, 0, 1, 0]), bins=2)
    assert found["predicted"].tolist() == pytest.approx([0.15, 0.35])
    assert found["observed"].tolist() == [0, 1]
    assert found["n"].tolist() == [2, 2]
    assert found["low"].iloc[1] == pytest.approx(0.3332, abs=1e-3)  # Jeffreys' for two of two
    assert found["high"].iloc[0] == pytest.approx(0.6668, abs=1e-3)  # and for none of two


def test_rows_of_one_prospect_make_the_interval_no_narrower() -> None:
    p, y = [0.1] * 40, [0, 1] * 20
    apart = report.calibration_bins(rows(p, y, prospect_id=[str(i) for i in range(40)]), bins=1)
    together = report.calibration_bins(rows(p, y, prospect_id=[str(i // 10) for i in range(40)]), bins=1)
    assert together["observed"].tolist() == apart["observed"].tolist()
    assert (together["high"] - together["low"] > 2 * (apart["high"] - apart["low"])).all()
    assert report.calibration_bins(rows(p, y), bins=1)["high"].tolist() == apart["high"].tolist()


def test_lift_counts_from_the_best() -> None:
    found = report.lift_tenths(rows(list(np.linspace(0.01, 0.99, 100)), [0] * 80 + [1] * 20))
    assert found["lift"].tolist() == [5, 5, *[0] * 8]
    assert found["gain"].tolist() == [0.5, *[1] * 9]


def test_lift_without_conversions_is_unknown() -> None:
    found = report.lift_tenths(rows([0.1] * 20, [0] * 20))
    assert found["lift"].isna().all()
    assert found["gain"].isna().all()
    report.lift(rows([0.1] * 20, [0] * 20))


def test_lift_and_gain_are_drawn_side_by_side() -> None:
    bars, line = report.lift(rows(list(np.linspace(0.01, 0.99, 100)), [0] * 80 + [1] * 20)).axes
    assert [bar.get_height() for bar in bars.patches] == [5, 5, *[0] * 8]
    assert line.lines[0].get_ydata().tolist() == [0, 0.5, *[1] * 9]
    assert line.lines[1].get_xydata().tolist() == [[0, 0], [1, 1]]  # what any order would find


def cut(start: str, end: str, **figures: Any) -> dict[str, Any]:
    return {"cut": f"{start}T00:00:00Z", "test_until": f"{end}T00:00:00Z", "figures": figures}


def test_windows_stand_in_their_time_beside_the_constant_and_chance() -> None:
    first = {"rate": 0.1, "mean_predicted": 0.2, "auc": 0.7, "log_loss": 0.3, "log_loss_gain": 0.05}
    interval = {"rate": [0.05, 0.15], "auc": [0.6, 0.8], "log_loss": [0.25, 0.35]}
    cuts = [
        cut("1970-01-11", "1970-01-21", **first, interval=interval),
        cut("1970-01-21", "1970-01-31", **{**first, "auc": None}, interval={}),  # one class: no AUC, no intervals
    ]
    rates, ranking, losses = report.forward(cuts).axes
    observed, promised = rates.lines
    assert observed.get_xydata().tolist() == [[15, 0.1], [25, 0.1]]
    assert promised.get_ydata().tolist() == [0.2, 0.2]
    assert rates.collections[0].get_segments()[0].tolist() == [[10, 0.1], [20, 0.1]]  # the window
    assert rates.collections[1].get_segments()[0].tolist() == [[15, 0.05], [15, 0.15]]  # the interval
    auc, chance = ranking.lines
    assert auc.get_ydata()[0] == 0.7
    assert np.isnan(auc.get_ydata()[1])
    assert chance.get_ydata() == [0.5, 0.5]
    model, constant = losses.lines
    assert model.get_ydata().tolist() == [0.3, 0.3]
    assert constant.get_ydata().tolist() == pytest.approx([0.35, 0.35])
    assert [t.get_text() for t in losses.get_xticklabels()] == ["1970-01-11", "1970-01-21", "1970-01-31"]


def test_horizons_show_what_was_promised_beside_what_came() -> None:
    found = [{"days": 30, "rate": 0.1, "mean_predicted": 0.12}, {"days": 90, "rate": None, "mean_predicted": 0.2}]
    axes = report.horizons(found).axes[0]
    promised, observed = axes.lines
    assert promised.get_ydata().tolist() == [0.12, 0.2]
    assert observed.get_ydata()[0] == 0.1
    assert np.isnan(observed.get_ydata()[1])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["30", "90"]
    assert promised.get_linestyle() != observed.get_linestyle()  # in grey too
    assert promised.get_marker() != observed.get_marker()


def test_pictures_are_those_that_there_is_something_to_show_for() -> None:
    tested, effects, scores = (
        rows([0.1, 0.9] * 10, [0, 1] * 10),
        pd.Series({"a$1$": 0.5}),
        [made("p", ((30, 0.2),))] * 3,
    )
    always = {"calibration", "lift", "importance", "curve"}
    assert set(report.pictures({}, tested, effects, scores)) == always
    rolling = {
        "cuts": [cut("2025-01-01", "2025-02-01", log_loss=0.3, log_loss_gain=0.1)],
        "by_horizon": [{"days": 30, "rate": 0.1, "mean_predicted": 0.1}],
    }
    found = report.pictures({"rolling": rolling}, tested, effects, scores)
    assert set(found) == always | {"forward", "horizons"}
    assert found["importance"].axes[0].get_yticklabels()[0].get_text() == "a$1$"


def test_calibration_draws_the_bins_and_the_line() -> None:
    data = rows([0.1, 0.2, 0.6, 0.7], [0, 0, 1, 1])
    axes = report.calibration(data, bins=2).axes[0]
    drawn = axes.containers[0].lines[0].get_xydata()
    assert drawn.tolist() == pytest.approx(np.array([[0.15, 0], [0.65, 1]]))
    assert axes.lines[0].get_xydata()[0].tolist() == [0, 0]


def test_importance_shows_the_greatest_first_from_the_top() -> None:
    effects = pd.Series({"a": 0.5, "b": 0.2, "c": 0.1})
    axes = report.importance(effects, most=2).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["b", "a"]
    assert [bar.get_width() for bar in axes.patches] == [0.2, 0.5]
    assert not axes.texts
    none = report.importance(pd.Series({"a": 0.0, "b": 0.0})).axes[0]  # the base rate for all
    assert none.get_xlim()[0] == 0
    assert [t.get_text() for t in none.texts] == ["no feature moves the probability"]


def test_curves_start_at_nothing_and_end_at_the_probability() -> None:
    scores = [made("p1", ((30, 0.2), (90, 0.5))), made("p2", ((30, 0.01), (90, 0.02)))]
    axes = report.curves(scores).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0, 0], [30, 0.2], [90, 0.5]]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["p1: 50 %", "p2: 2.0 %"]


def test_reasons_show_for_and_against_in_words() -> None:
    figure = report.reasons([made("p1", ((90, 0.5),), 0.9, -0.4), made("p2", ((90, 0.1),))], ["first", "second"])
    first, second = figure.axes
    assert first.get_title(loc="left") == "first: 50 % within 90 days"
    assert [t.get_text() for t in first.get_yticklabels()] == ["label 1", "label 0"]
    against, speaks_for = first.patches
    assert (against.get_width(), speaks_for.get_width()) == (-0.4, 0.9)
    assert against.get_facecolor() != speaks_for.get_facecolor()
    assert not second.patches  # nothing moved it


def test_written_pictures_are_png_and_the_same_each_time(tmp_path: Path) -> None:
    def one(folder: Path) -> bytes:
        folder.mkdir()
        (path,) = report.write({"lift": report.lift(rows([0.1, 0.9] * 10, [0, 1] * 10))}, folder)
        assert path.name == "lift.png"
        return path.read_bytes()

    first = one(tmp_path / "a")
    assert first.startswith(b"\x89PNG")
    assert first == one(tmp_path / "b")
    (html,) = report.write({}, tmp_path, "<p>é</p>")
    assert html == tmp_path / "report.html"
    assert html.read_text(encoding="utf-8") == "<p>é</p>"
