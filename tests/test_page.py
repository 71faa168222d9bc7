"""The report page: the right figures in words, whatever is missing or hostile, in one file that needs nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serving.scorer import Score
from training import report
from training.page import between, number, page, percent

pytestmark = pytest.mark.filterwarnings("ignore:Glyph")  # of a name that no font can show

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = "<script>alert('x')</script>"
VOID = {"meta", "br", "hr", "img", "input", "link", "wbr"}


def figures(auc: float, n: int = 1000, **more: Any) -> dict[str, Any]:
    return {
        "n": n,
        "rate": 0.137,
        "mean_predicted": 0.115,
        "auc": auc,
        "average_precision": 0.334,
        "log_loss": 0.3624,
        "brier": 0.1073,
        "brier_skill": 0.25,
        "log_loss_gain": 0.0408,
        "calibration_error": 0.024,
        "slope": 0.829,
        "intercept": -0.0737,
        "lift_top_tenth": 3.095,
        **more,
    }


def with_interval(auc: float, n: int = 1000) -> dict[str, Any]:
    interval = {"auc": [auc - 0.034, auc + 0.03], "rate": [0.1199, 0.1579], "log_loss_gain": [0.0242, 0.0623],
                "log_loss": [0.33, 0.41]}  # fmt: skip
    return figures(auc, n, interval=interval)


def cut(start: str, end: str, auc: float) -> dict[str, Any]:
    counts = {"tested": 1205, "prospects": 467, "trained": 3445, "trained_prospects": 583, "trained_outcomes": 50}
    return {"cut": f"{start}T00:00:00Z", "test_until": f"{end}T00:00:00Z", "base_rate": 0.11, "counts": counts,
            "figures": with_interval(auc), "by_age": []}  # fmt: skip


def full() -> dict[str, Any]:
    """A card with everything that a training may tell of itself."""
    leak = {
        "code": "suspected_leak",
        "name": f"prospects.{HOSTILE}",
        "sign": "filled_when_decided",
        "text": 'prospects.status is filled when decided; declare it known = "never".',
        "evidence": {"level": HOSTILE, "holders": 812, "expected_open": 143.25},
    }
    return {
        "goal": {"outcome": "won", "starts_at": None, "horizon_days": 90},
        "horizon_days": 90,
        "trained_until": "2026-01-01T00:00:00Z",
        "data": {
            "digest": "636529dfbdd5d08d72e70549163a1147",
            "landmarks": 13249,
            "late": 23,
            "rows": 13226,
            "prospects": 2000,
            "outcomes": 283,
            "pooled_rows": 78699,
            "learned_outcomes": 269,
            "from": "2025-01-01T07:43:10.047855Z",
            "until": "2026-01-01T00:00:00Z",
            "recording_delay_days": 5.7733,
        },
        "features": ["source", HOSTILE],
        "feature_fingerprint": "56b4f05298e1eca1",
        "model": "blend_100",
        "choice": {
            "chosen": "blend_100",
            "cuts": ["2025-07-25T10:26:43Z", "2025-09-14T11:27:50Z"],
            "candidates": [
                {"name": "trees_100", "log_loss": 0.34962, "difference": 0.0, "low": 0.0, "high": 0.0},
                {"name": "logistic", "log_loss": 0.3542, "difference": 0.0046, "low": -0.001, "high": 0.0102},
                {"name": "blend_100", "log_loss": 0.34333, "difference": -0.0063, "standard_error": 0.002},
            ],
        },
        "params": {"learning_rate": 0.05, "num_iterations": 100, "deterministic": True},
        "seed": 0,
        "base_rate": 0.12798,
        "intervals": [{"from_days": 0, "to_days": 1, "rows": 12859, "outcomes": 15}],
        "calibration": {"used": True, "slope": 1.42, "intercept": 0.1},
        "recent_level": -0.31,
        "metrics": {"folds": with_interval(0.742, 8736), "rolling": with_interval(0.708, 5291)},
        "rolling": {
            "cuts": [cut("2025-05-15", "2025-06-18", 0.728), cut("2025-06-18", "2025-07-22", 0.701)],
            "figures": with_interval(0.708, 5291),
            "by_age": [{"age_days": 1, **figures(0.61)}, {"age_days": 30, **figures(0.62)}],
            "by": {
                "regime": [{"level": "project", **figures(0.63)}],
                "size": [{"level": "10-49", **figures(0.64)}],
                "source": [{"level": HOSTILE, **figures(0.65)}, {"level": "unknown", **figures(0.66)}],
            },
            "by_horizon": [{"days": 30, **figures(0.67)}, {"days": 90, **figures(0.68)}],
            "skipped": [{"cut": "2025-04-01T00:00:00Z", "reason": "nothing to learn from"}],
        },
        "warnings": [
            {"code": "drift", "text": "since 2025-11 outcomes came 1.9 times as often, 98 % 1.3 to 2.9; retrain."},
            {"code": "weak_signal", "text": "the gain cannot be told; add what distinguishes prospects."},
            {"code": leak["code"], "text": leak["text"], "name": leak["name"]},
        ],
        "audit": [leak],
        "libraries": {"lightgbm": "4.7.0"},
    }


def drawn(card: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    p = rng.beta(1, 8, 400)
    rows = pd.DataFrame({"p": p, "y": (rng.random(400) < p).astype(int)})
    scores = [
        Score("p", 0, "won", 90, q, q / 2, q, ((30, q / 2), (90, q)), 50, "B", (), (), "1") for q in (0.5, 0.1, 0)
    ]
    return report.pictures(card, rows, pd.Series({HOSTILE: 0.5, "a$b$c": 0.2, "tab\x0bbed": 0.1}), scores)


@pytest.fixture(scope="module")
def whole() -> str:
    return page(full(), drawn(full()))


class Reader(HTMLParser):
    """Checks the nesting, and collects texts by section, tags, and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.section = ""
        self.texts: dict[str, list[str]] = {}
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {tag} {attrs}"
        if tag == "section":
            self.section = str(dict(attrs)["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"<{tag}/> closes nothing outside of SVG"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.setdefault(self.section, []).append(data.strip())

    def said(self, section: str | None = None) -> str:
        parts = [t for name, texts in self.texts.items() if section in (None, name) for t in texts]
        return " ".join(" ".join(parts).replace("\N{NO-BREAK SPACE}", " ").split())


def assert_self_contained(html: str) -> Reader:
    read = Reader(html)
    assert not re.search(r"(?:https?:)?//\w|@import|url\((?!#)|javascript:", html)
    ids = [str(attrs["id"]) for _, attrs in read.tags if "id" in attrs]
    assert len(ids) == len(set(ids)), "an id stands twice"
    for tag, attrs in read.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        assert not attrs.keys() & {"src", "srcset", "action", "data", "xlink:href"}
        for name in ("href", "clip-path"):
            if name in attrs:
                match = re.search(r"#([\w-]+)", str(attrs[name]))
                assert match, attrs
                assert match[1] in ids
    return read


def test_it_stands_alone_and_is_well_formed(whole: str) -> None:
    read = assert_self_contained(whole)
    assert whole.startswith("<!DOCTYPE html>")
    assert ("html", {"lang": "en"}) in read.tags
    assert len(whole) < 1_000_000
    assert "@media print" in whole
    assert '"Content-Security-Policy" content="default-src \'none\'' in whole


def test_tables_and_pictures_speak_to_those_who_cannot_see(whole: str) -> None:
    read = Reader(whole)
    tags = [tag for tag, _ in read.tags]
    assert tags.count("caption") == tags.count("table") >= 8
    assert all(attrs.get("scope") in ("row", "col") for tag, attrs in read.tags if tag == "th")
    shown = [attrs for tag, attrs in read.tags if tag == "svg" and attrs.get("aria-hidden") != "true"]
    assert len(shown) == 6
    assert all(attrs["role"] == "img" and len(str(attrs["aria-label"])) > 40 for attrs in shown)
    (importance,) = (str(a["aria-label"]) for a in shown if "greatest first" in str(a["aria-label"]))
    assert importance.index("script") < importance.index("a$b$c")


def test_what_the_data_say_is_escaped(whole: str) -> None:
    assert "<script" not in whole.lower()
    assert "&lt;script&gt;" in whole
    read = Reader(whole)
    for section in ("segments", "audit", "made", "importance", "verdicts"):
        assert HOSTILE in read.said(section), section
    assert "a$b$c" in read.said("importance")  # and no formula


def test_verdicts_come_first_gravest_on_top_each_once(whole: str) -> None:
    read = Reader(whole)
    assert list(read.texts)[1] == "verdicts"  # after the header
    said = read.said("verdicts")
    order = [said.index(code) for code in ("suspected_leak", "weak_signal", "drift")]
    assert order == sorted(order)
    assert said.count("declare it known") == 1
    assert "Since 2025-11 outcomes came 1.9 times as often, 98 % 1.3 to 2.9; retrain." in said
    assert "prospects.status is filled" in said  # a name keeps its small letter
    assert "Nothing to say" not in said


def test_nothing_to_warn_of_is_said() -> None:
    card = {**full(), "warnings": [], "audit": []}
    said = Reader(page(card, {}))
    assert "Nothing to say" in said.said("verdicts")
    assert "hindsight" in said.said("verdicts")
    assert "gave a sign" in said.said("audit")
    assert "calibration slope" not in said.said("verdicts").split("there is nothing to warn of")[0]
    del card["audit"]  # nobody looked: nothing is claimed
    said = Reader(page(card, {}))
    assert "hindsight" not in said.said("verdicts")
    assert "not audited" in said.said("audit")


def test_the_figures_are_those_of_the_card(whole: str) -> None:
    read = Reader(whole)
    assert read.said("").count("won within 90 days") == 2  # title and heading
    assert "Prospects 2,000" in read.said("")
    assert "0.708 0.674 to 0.738" in read.said("verdicts")
    data = read.said("data")
    for text in ("2025-01-01 to 2026-01-01", "283", "269", "78,699", "5.77 days", "0 to 1 12,859 15 0.117 %"):
        assert text in data
    forward = read.said("forward")
    assert "2025-05-15 to 2025-06-18" in forward
    assert "0.708 0.674 to 0.738 0.500 0.728 0.694 to 0.758 0.701 0.667 to 0.731 0.742 0.708 to 0.772" in forward
    assert "13.7 % 12.0 to 15.8 %" in forward
    assert "0.403" in forward  # the constant's log loss: 0.3624 + 0.0408
    assert "0.143" in forward  # and its Brier score: 0.1073 / (1 - 0.25)
    assert "2025-04-01: nothing to learn from" in forward
    assert "5,291" in forward
    calibration = read.said("calibration")
    assert "Calibration slope 0.829" in calibration
    assert "13.7 % (12.0 to 15.8 %)" in calibration
    assert "slope off one (slope 1.42): the probabilities are mapped by it" in calibration
    assert "no clear signal" not in calibration
    assert "30 days 1,000 11.5 % 13.7 % 0.670" in read.said("horizons")
    segments = read.said("segments")
    for text in ("1 day 1,000", "30 days 1,000", "project 1,000", "10-49 1,000", "unknown 1,000", "0.660"):
        assert text in segments
    audit = read.said("audit")
    assert "filled when the outcome is decided" in audit
    assert "holders: 812" in audit
    assert "expected open: 143.25" in audit
    assert "learning_rate 0.05" in read.said("made")


@pytest.mark.parametrize(
    ("ends", "means"), [((0.7, 0.9), "high ones promise too much"), ((0.9, 1.1), "Nothing to say")]
)
def test_a_slope_clearly_off_one_is_not_left_to_its_tile(ends: tuple[float, float], means: str) -> None:
    card = {**full(), "warnings": [], "audit": []}
    card["rolling"]["figures"]["interval"]["slope"] = list(ends)
    said = Reader(page(card, {})).said("verdicts")
    assert means in said
    assert ("Nothing to say" in said) == ("calibration_slope" not in said)


def test_what_is_kept_of_an_unclear_signal_is_told() -> None:
    card = full() | {"signal": {"kept": 0.25, "slope": 0.25, "slope_error": 0.2}}
    said = Reader(page(card, {})).said("calibration")
    assert "no clear signal: what sets a prospect apart from the base rate counts for 25.0 % of what" in said
    card["calibration"] = {"used": False, "slope": 0.9}
    assert "as the model gives them" not in Reader(page(card, {})).said("calibration")
    card["signal"] = {"kept": 1.0, "slope": 0.9, "slope_error": 0.1}
    said = Reader(page(card, {})).said("calibration")
    assert "no clear signal" not in said
    assert "as the model gives them" in said


def test_how_it_was_chosen() -> None:
    card = full()
    said = Reader(page(card, {})).said("choice")
    assert "Taken: blend of 100 trees and logistic." in said
    assert "2025-07-25, 2025-09-14" in said
    assert "100 trees 0.3496 plain recipe" in said
    assert "logistic hazard 0.3542 0.0046 (−0.0010 to 0.0102)" in said
    assert "(taken) 0.3433 −0.0063 (−0.0102 to −0.0024)" in said  # 1.96 standard errors either side
    assert "moved by −0.310" in said
    assert "only where it is clearly better than the plain recipe, 100 trees." in said
    card["data"] = {**card["data"], "learned_outcomes": 150}
    steady = "the steady recipe, blend of 50 trees and logistic, which is the usual one below 200 outcomes."
    assert f"only where it is clearly better than {steady}" in Reader(page(card, {})).said("choice")
    card["choice"] = {"chosen": "blend_50", "cuts": [], "candidates": []}
    assert f"too few outcomes to choose by. Taken: {steady}" in Reader(page(card, {})).said("choice")
    card["choice"] = {"chosen": "trees_100", "cuts": [], "candidates": []}
    assert "too few outcomes to choose by. Taken: the plain recipe, 100 trees." in Reader(page(card, {})).said("choice")
    del card["choice"]
    assert "The recipe was given" in Reader(page(card, {})).said("choice")


def test_what_came_of_a_search() -> None:
    card = full()
    assert "search" not in Reader(page(card, {})).said("choice")
    found = {"trials": 40, "taken": True, "cut": "2025-09-14T11:27:50Z", "against": "blend_100", "params": {}}
    found |= {"name": "searched_trees_73", "log_loss": 0.34, "difference": -0.01, "standard_error": 0.001}
    card["choice"] |= {"search": found, "chosen": "searched_trees_73"}
    said = Reader(page(card, {})).said("choice")
    assert "Taken: 73 trees with parameters of a search." in said
    assert "A search of 40 trials came to 73 trees with parameters of a search. After 2025-09-14, which the" in said
    assert "log loss was 0.3400, −0.0100 (−0.0120 to −0.0080) against the blend of 100 trees and logistic" in said
    assert "clearly better, so it took its place." in said
    card["choice"]["search"] = found | {"taken": False}
    assert "not clearly better, so it was left" in Reader(page(card, {})).said("choice")
    card["choice"]["search"] = {"trials": 40, "taken": False}
    assert "too few outcomes to search by" in Reader(page(card, {})).said("choice")


def test_what_was_not_judged_forward_is_said_and_the_folds_are_called_so() -> None:
    card = full()
    del card["rolling"], card["metrics"]["rolling"]
    card["warnings"] = [{"code": "not_judged", "text": "the data span too little."}]
    html = page(card, drawn(card))
    read = assert_self_contained(html)
    assert "Not judged forward in time" in read.said("verdicts")
    assert "0.742" in read.said("verdicts")
    assert "Out of fold, not forward in time" in read.said("verdicts")
    assert "could not be judged forward in time" in read.said("forward")
    assert "need a judgement forward in time" in read.said("segments")
    assert "not judged one by one" in read.said("horizons")
    assert "0.708 0.674" not in read.said()


@pytest.mark.parametrize("missing", sorted(full()))
def test_any_part_may_be_missing(missing: str) -> None:
    card = full()
    del card[missing]
    assert_self_contained(page(card, {"lift": None}))


def test_an_empty_card_is_said_to_be_empty() -> None:
    read = assert_self_contained(page({}, {}))
    for section, words in (
        ("data", "not on record"),
        ("choice", "not on record"),
        ("forward", "no figures"),
        ("calibration", "no picture"),
        ("lift", "no picture"),
        ("importance", "no picture"),
        ("segments", "no figures"),
        ("made", "not on record"),
    ):
        assert words in read.said(section)


def test_a_figure_that_is_not_defined_is_a_dash_on_page_and_picture() -> None:
    card = full()
    undefined = {**figures(0.5), **dict.fromkeys(("auc", "slope", "intercept", "lift_top_tenth")), "interval": {}}
    card["rolling"]["cuts"][0]["figures"] = undefined
    card["rolling"]["by_horizon"][0] |= {"rate": None, "auc": float("nan")}
    read = assert_self_contained(page(card, drawn(card)))
    assert "0.708 0.674 to 0.738 0.500 – 0.701" in read.said("forward")
    assert "30 days 1,000 11.5 % – –" in read.said("horizons")
    assert "nan" not in read.said()
    assert "None" not in read.said()


def test_horizons_by_regime_and_another_start_stand_in_the_title() -> None:
    card = full()
    card["goal"] = {"outcome": "renewed", "starts_at": "won", "horizon_days": {"mass": 30, "": 90}}
    said = Reader(page(card, {})).said("")
    assert "renewed within 30 days (mass), 90 days (otherwise)" in said
    assert "Counted from won" in said


def test_the_same_card_and_pictures_give_the_same_bytes(whole: str) -> None:
    card = full()
    pictures = drawn(card)
    assert page(card, pictures) == whole
    for figure in pictures.values():  # nor does drawing them elsewhere first change anything
        figure.savefig(Path("/dev/null"), format="png")
    assert page(card, pictures) == whole


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.70834, "0.708"),
        (0.0408, "0.0408"),
        (3.0949, "3.09"),
        (24.06, "24.1"),
        (1234, "1,234"),
        (12345.6, "12,346"),
        (-0.0737, "−0.0737"),
        (0.0, "0"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_numbers_are_for_people(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_an_interval_has_the_decimals_of_its_figure() -> None:
    assert between({"auc": 0.7083, "interval": {"auc": [0.6741, 0.7384]}}, "auc") == "0.708 (0.674 to 0.738)"
    assert between({"x": 0.00004, "interval": {"x": [-0.0051, 0.0062]}}, "x") == "0.00004 (−0.00510 to 0.00620)"
    assert between({"x": 0.5}, "x") == "0.500"
    assert number(-0.0001, [1.0]) == "0.00"
    assert percent(0.1374) == "13.7\N{NO-BREAK SPACE}%"


def test_the_layout_travels_with_the_package() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = table["tool"]["setuptools"]["package-data"]
    for package in table["tool"]["setuptools"]["packages"]:
        folder = ROOT / package.replace(".", "/")
        data = {
            p.name
            for p in folder.iterdir()
            if p.is_file() and p.suffix not in (".py", ".pyc", ".pyx", ".pxd", ".pxi", ".c", ".so")
        }
        assert data == set(declared.get(package, ())), package


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to print it with")
def test_chromium_prints_it(whole: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(whole, encoding="utf-8")
    out = tmp_path / "report.pdf"
    calm = ("gpu", "quic", "background-networking", "component-update", "sync")
    flags = [
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        "--no-pdf-header-footer",
        *(f"--disable-{x}" for x in calm),
    ]
    subprocess.run(
        [str(CHROMIUM), *flags, f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={out}",
         (tmp_path / "report.html").as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    printed = out.read_bytes()
    assert printed.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 10
