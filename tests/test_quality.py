"""``benchmarks.quality``: the bounds of the named cuts, and peers that learn from no more than the cut's own rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import peers, quality
from features.contract import DAY, NEVER, Column, Dataset, Goal, parse_moment
from features.spec import Attribute, FeatureSet, walk
from features.tables import Tables
from tests.funnels import at, by_hand, planted
from training.dataset import TrainingSet, build
from training.evaluate import evaluate_forward
from training.model import DEFAULTS

LEARNERS = {
    peers.FREQUENCY: peers.frequency_table,
    peers.LOGISTIC: peers.logistic,
    peers.CLASSIFIER: peers.default_classifier,
}


# ---- named cuts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", quality.CASES, ids=lambda case: case.name)
def test_a_named_cut_keeps_its_bounds(case: quality.Case, tmp_path: Path) -> None:
    if not (quality.DATA / case.folder).is_dir():
        pytest.skip(f"the data of {case.name} are not beside the repository")
    found = quality.evaluate(case, tmp_path / case.name)
    assert quality.missed_bounds(case, quality.young_figures(case, found)) == []
    assert found.counts["unobserved"] == 0
    assert 0 < (found.rows["age_days"] <= case.oldest).sum() <= len(found.rows)
    if case.name == "olist":
        parts = [part for feature in found.model.spec.features for part in walk(feature)]
        columns = {part.column for part in parts if isinstance(part, Attribute)}
        assert columns == {"source", "landing_page", "created_at"}  # nothing of the deals, which only the won have


@pytest.mark.parametrize(
    ("figure", "value", "said"),
    [
        ("auc", 0.65, "AUC 0.6500"),
        ("auc", 0.95, "AUC 0.9500"),
        ("log_loss", 0.18, "log loss 0.1800"),
        ("calibration_error", 0.016, "calibration error 0.0160"),
    ],
)
def test_a_missed_bound_is_named(figure: str, value: float, said: str) -> None:
    case = quality.Case("x", "x", print, 90, "2018-01-01", None, 60, 0.66, 0.9, 0.175, 0.015)
    good = {"auc": 0.7, "log_loss": 0.17, "calibration_error": 0.01}
    assert quality.missed_bounds(case, good) == []
    (text,) = quality.missed_bounds(case, {**good, figure: value})
    assert text.startswith(f"x: {said} is ")


def test_a_set_that_is_not_there_is_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quality, "DATA", tmp_path)
    assert quality.main(["--sets", "olist", "relax"]) == 0
    assert capsys.readouterr().out.count("skipped, there is no folder") == 2


def test_choices_are_made_where_nothing_is_reported() -> None:
    reported, development = quality.REPORTED, quality.DEVELOPMENT
    for name in ("olist", "relax"):
        end = getattr(development, f"{name}_end")
        mine = [parse_moment(cut) for cut in getattr(reported, name)]
        theirs = [parse_moment(cut) for cut in getattr(development, name)]
        assert len(mine) >= 4
        assert mine == sorted(mine)
        assert theirs == sorted(theirs)
        assert theirs[-1] < parse_moment(end) <= mine[0]
    assert len(reported.simulator) >= 4
    assert max(reported.seeds) < 100 <= min(development.seeds)


# ---- what a peer learns from -----------------------------------------------------------------------------------------


DATASET = Dataset(declared=(("prospects", (Column("trial", "boolean"), Column("size", "number"))),))
FEATURES = FeatureSet(DATASET, tuple(Attribute("prospects", name) for name in ("source", "trial", "size")))


def rows_of(source: list[str | None], trial: list[float], size: list[float]) -> TrainingSet:
    count = len(source)
    rows = pd.DataFrame({"prospect_id": [f"p{i}" for i in range(count)], "as_of": at(0), "age_days": 0.0})
    rows["regime"], rows["account_id"] = None, None
    values = pd.DataFrame({"source": source, "trial": trial, "size": size})
    return TrainingSet(rows, values, np.full(count, NEVER), FEATURES, Goal(), at(200), 0, {}, "")


def split_of(mature: TrainingSet, won: list[int], tested: TrainingSet) -> peers.Split:
    y = np.zeros(len(tested), dtype=np.int64)
    return peers.Split(at(150), at(200), mature, np.array(won), tested, y, None)


def test_the_frequency_table_by_hand() -> None:
    nan = math.nan
    mature = rows_of(
        ["web", "web", "web", "fair", "fair", None], [1, nan, 0, 0, nan, 1], [5, 900, 5, 5, 5, 5]
    )  # the number is in no table
    tested = rows_of(["web", "fair", "phone", None, None], [1, nan, nan, nan, 0], [5, 5, 5, 900, 5])
    p = peers.frequency_table(split_of(mature, [1, 1, 0, 0, 0, 0], tested))(tested)
    # Of the 2 won, both web (2.1 of 2.2) and the one that says so with a trial (1.1 of 1.2); of the 4 lost one web and
    # two fair (1.1 and 2.1 of 3.2), two without a trial and one with (2.1 and 1.1 of 3.2).
    scores = [
        (2 / 6 * 2.1 / 2.2 * 1.1 / 1.2, 4 / 6 * 1.1 / 3.2 * 1.1 / 3.2),
        (2 / 6 * 0.1 / 2.2, 4 / 6 * 2.1 / 3.2),
        (2 / 6, 4 / 6),  # a source never seen
        (2 / 6, 4 / 6),  # nothing is set
        (2 / 6 * 0.1 / 1.2, 4 / 6 * 2.1 / 3.2),
    ]
    assert p == pytest.approx([won / (won + lost) for won, lost in scores])
    with pytest.raises(ValueError, match="one class"):
        peers.frequency_table(split_of(mature, [0] * 6, tested))


def test_categories_are_typed_and_an_unseen_level_is_missing() -> None:
    mature = rows_of(["web", "fair", None], [1, 0, math.nan], [1, 2, 3])
    frame = peers.typed_columns(mature)
    assert frame(mature)["x0"].cat.categories.tolist() == ["fair", "web"]
    other = frame(rows_of(["phone", "web"], [1, 0], [1, 2]))
    assert other["x0"].cat.categories.tolist() == ["fair", "web"]
    assert other["x0"].isna().tolist() == [True, False]
    assert other["x1"].tolist() == [1.0, 0.0]


GOAL = Goal(horizons=(("", 14),))


def funnel(*, future: bool) -> Tables:
    """300 prospects over 100 days; with a future, also what is recorded or created after day 85."""
    prospects: list[dict[str, Any]] = [
        {"prospect_id": f"p{i:03d}", "created_at": i / 3, "source": ("web", "fair", "phone")[i * i % 3]}
        for i in range(300)
    ]
    days = {row["prospect_id"]: row["created_at"] for row in prospects}
    outcomes: list[tuple[Any, ...]] = [
        (name, "won", day + 1 + i % 9)
        for i, (name, day) in enumerate(days.items())
        if i % (3 if prospects[i]["source"] == "web" else 5) == 0 and day < 75
    ]
    if future:
        early = {name for name, *_ in outcomes}
        outcomes += [(name, "won", day + 2, day + 40) for name, day in days.items() if day > 50 and name not in early]
        more = [{"prospect_id": f"q{i}", "created_at": 86 + i / 5, "source": "fair"} for i in range(60)]
        prospects, outcomes = prospects + more, outcomes + [(row["prospect_id"], "won", 107) for row in more]
    return by_hand(prospects, outcomes, until=150, goal=GOAL)


def the_split(tables: Tables) -> peers.Split:
    (only,) = peers.splits(tables, [at(85)], at(110), 14)
    return only


def test_a_peer_learns_from_mature_rows_alone() -> None:
    tables = planted(900, seed=11, lag=1.5)
    (first, second) = peers.splits(tables, [at(100), at(130)], at(150), 30)
    assert (first.test_until, second.test_until) == (at(130), at(150))
    for split, cut in ((first, at(100)), (second, at(130))):
        mature, delay = split.mature, split.mature.delay
        assert 0 < delay < 15 * DAY
        assert mature.as_of.max() + 30 * DAY <= cut - delay
        known = build(tables, split.features, cut)
        assert len(mature) == (known.as_of + 30 * DAY <= cut - delay).sum() > 500
        outcomes = tables.outcomes.filter(tables.outcomes.outcome == "won").to_pandas()
        outcomes = outcomes[np.maximum(outcomes["occurred_at"], outcomes["recorded_at"]) <= cut]
        won_at = mature.rows["prospect_id"].map(outcomes.set_index("prospect_id")["occurred_at"])
        expected = (won_at > mature.as_of) & (won_at <= mature.as_of + 30 * DAY)
        assert split.won.tolist() == expected.astype(int).tolist()
        assert 0.03 < split.won.mean() < 0.5
        after = split.tested.as_of
        assert ((after > cut) & (after <= split.test_until)).all()
        assert split.computed is not None


@pytest.mark.parametrize("name", LEARNERS)
def test_what_is_recorded_after_the_cut_changes_the_test_and_no_peer(name: str) -> None:
    without, with_it = the_split(funnel(future=False)), the_split(funnel(future=True))
    assert with_it.y.mean() > without.y.mean() + 0.05
    a, b = (LEARNERS[name](split)(without.tested) for split in (without, with_it))
    assert a == pytest.approx(b, abs=0, rel=0)
    assert a.min() < a.max()
    assert ((a >= 0) & (a <= 1)).all()
    # It can fail: one more won row among the mature ones moves every peer.
    without.won[np.flatnonzero(without.won == 0)[0]] = 1
    assert not np.array_equal(LEARNERS[name](without)(without.tested), a)


def test_flaml_learns_where_it_is_installed() -> None:
    pytest.importorskip("flaml", reason="an extra of the benchmarks")
    split = the_split(funnel(future=False))
    p = peers.flaml(split, 3)(split.tested)
    assert ((p >= 0) & (p <= 1)).all()  # which of its learners wins is a matter of seconds, and a forest may say never
    assert p.min() < p.max()
    assert p.mean() == pytest.approx(split.won.mean(), abs=0.15)


# ---- the table -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found() -> peers.Found:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers.importlib.util, "find_spec", lambda name: None)
        tables = planted(500, seed=3)
        return peers.run("tiny", iter([("seed 1", tables, [at(100), at(130)], at(160))]), 30)


def test_all_are_tested_on_the_rows_of_evaluate_forward(found: peers.Found) -> None:
    tables = planted(500, seed=3)
    assert list(found.cuts) == ["seed 1 2024-04-10", "seed 1 2024-05-10"]
    for method, params in ((peers.OURS, None), (peers.PLAIN, DEFAULTS)):
        parts = [
            evaluate_forward(tables, None, cut, end, 30, params=params, resamples=0).rows
            for cut, end in ((at(100), at(130)), (at(130), at(160)))
        ]
        expected = pd.concat(parts, ignore_index=True)
        assert found.rows[method].tolist() == expected["p"].tolist()
        assert found.rows["y"].tolist() == expected["y"].tolist()
        assert found.rows[peers.CONSTANT].tolist() == expected["constant"].tolist()
        assert found.rows["prospect_id"].tolist() == ("seed 1" + expected["prospect_id"]).tolist()
    assert all(found.seconds[method] > 0 for method in (peers.OURS, peers.PLAIN, *LEARNERS))


def test_what_is_not_installed_says_how(found: peers.Found) -> None:
    assert found.absent == {peers.FLAML: "not installed (pip install -e '.[benchmarks]')"}
    assert [line.method for line in peers.lines(found)] == [m for m in peers.METHODS if m != peers.FLAML]


def test_a_line_pairs_the_log_loss_with_ours(found: peers.Found) -> None:
    table = {line.method: line for line in peers.lines(found)}
    y = found.rows["y"].to_numpy()
    loss = {m: -np.log(np.where(y == 1, found.rows[m], 1 - found.rows[m])) for m in table}
    for method, line in table.items():
        assert line.log_loss == pytest.approx(loss[method].mean())
        assert line.low < line.log_loss < line.high
        assert line.difference == pytest.approx((loss[method] - loss[peers.OURS]).mean())
        assert line.difference_low <= line.difference <= line.difference_high
    ours = table[peers.OURS]
    assert (ours.difference, ours.difference_low, ours.difference_high) == (0, 0, 0)
    assert table[peers.CLASSIFIER].worse_than_ours


def test_the_intervals_draw_whole_prospects_over_all_cuts(found: peers.Found) -> None:
    # Ten copies of every row tell no more than one.
    copies = pd.concat([found.rows] * 10, ignore_index=True)
    again = peers.lines(peers.Found("tiny", copies, found.cuts, found.seconds, found.absent, 0.0))
    for line, same in zip(peers.lines(found), again, strict=True):
        assert (same.low, same.high) == pytest.approx((line.low, line.high))
        assert (same.difference_low, same.difference_high) == pytest.approx((line.difference_low, line.difference_high))


def line(name: str, method: str, low: float, high: float, seconds: float = 10.0) -> peers.Line:
    return peers.Line(name, method, 0.2, 0.1, 0.3, (low + high) / 2, low, high, 0.7, 0.01, 1.0, seconds)


def a_table(**changed: peers.Line) -> list[peers.Line]:
    """Ours clearly better than everything but the plain recipe, which it equals on all sets but one."""
    rows = {}
    for name in peers.SETS:
        rows[f"{name}_ours"] = line(name, peers.OURS, 0, 0)
        rows[f"{name}_plain"] = line(name, peers.PLAIN, 0.001 if name == "olist" else -0.001, 0.002)
        rows[f"{name}_frequency"] = line(name, peers.FREQUENCY, 0.01, 0.02)
        rows[f"{name}_classifier"] = line(name, peers.CLASSIFIER, 0.01, 0.02)
        rows[f"{name}_flaml"] = line(name, peers.FLAML, -0.001, 0.02, seconds=100.0)
    assert set(changed) <= set(rows)
    return list({**rows, **changed}.values())


REQUIRED = [
    "no worse than the plain recipe anywhere",
    "better than the plain recipe on at least one set",
    "better than the frequency table on all",
    "better than the default classifier on all",
    "no worse than FLAML anywhere",
    "at a tenth of FLAML's time",
    "slope within 0.9 and 1.1 on the simulator",
]


def states(table: list[peers.Line], **kwargs: Any) -> dict[str, bool | None]:
    return {v.requirement: v.held for v in peers.verdicts(table, **kwargs)}


def test_all_held() -> None:
    assert states(a_table()) == dict.fromkeys(REQUIRED, True)


@pytest.mark.parametrize(
    ("which", "changed"),
    [
        (0, {"relax_plain": line("relax", peers.PLAIN, -0.003, -0.001)}),
        (1, {"olist_plain": line("olist", peers.PLAIN, -0.001, 0.002)}),
        (2, {"simulator_frequency": line("simulator", peers.FREQUENCY, -0.001, 0.02)}),
        (3, {"relax_classifier": line("relax", peers.CLASSIFIER, 0.0, 0.02)}),
        (4, {"olist_flaml": line("olist", peers.FLAML, -0.02, -0.001, seconds=100.0)}),
        (5, {"olist_flaml": line("olist", peers.FLAML, 0.0, 0.02, seconds=99.0)}),
    ],
)
def test_one_missed(which: int, changed: dict[str, peers.Line]) -> None:
    assert states(a_table(**changed)) == {**dict.fromkeys(REQUIRED, True), REQUIRED[which]: False}


def test_what_is_absent_is_not_judged_but_a_miss_stands() -> None:
    whole = a_table(relax_plain=line("relax", peers.PLAIN, -0.003, -0.001))
    partly = states([entry for entry in whole if entry.set != "olist"])
    assert partly[REQUIRED[0]] is False
    assert [partly[name] for name in REQUIRED[1:6]] == [None] * 5
    assert states([entry for entry in whole if entry.set == "olist"])[REQUIRED[1]] is True
    without = states([entry for entry in a_table() if entry.method != peers.FLAML])
    assert (without[REQUIRED[4]], without[REQUIRED[5]]) == (None, None)
    quick = states(a_table(), budget=5.0)
    assert [quick[name] for name in REQUIRED] == [True, True, True, True, None, None, True]


def test_a_miss_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, found: peers.Found, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quality.peers, "run", lambda name, *rest: found)
    monkeypatch.setattr(quality.peers, "lines", lambda of: a_table())
    assert quality.main(["--sets", "simulator"]) == 0
    bad = a_table(relax_plain=line("relax", peers.PLAIN, -0.003, -0.001))
    monkeypatch.setattr(quality.peers, "lines", lambda of: bad)
    capsys.readouterr()
    assert quality.main(["--sets", "simulator"]) == 1
    said = capsys.readouterr().out
    assert "missed: no worse than the plain recipe anywhere" in said
    assert "held: at a tenth of FLAML's time" in said
    assert "not installed (pip install" in said
