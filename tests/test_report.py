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
    reasons = tuple(Reason(f"f{i}", f"label {i}", 1, e) for i, e in enumerate(effects))
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


def test_curves_start_at_nothing_and_end_at_the_probability() -> None:
    scores = [made("p1", ((30, 0.2), (90, 0.5))), made("p2", ((30, 0.01), (90, 0.02)))]
    axes = report.curves(scores).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0, 0], [30, 0.2], [90, 0.5]]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["p1: 50%", "p2: 2%"]


def test_reasons_show_for_and_against_in_words() -> None:
    figure = report.reasons([made("p1", ((90, 0.5),), 0.9, -0.4), made("p2", ((90, 0.1),))], ["first", "second"])
    first, second = figure.axes
    assert first.get_title(loc="left") == "first: 50% within 90 days"
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
