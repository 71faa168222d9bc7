"""``leadscore simulate --truth``: the true probabilities beside the tables, and ``benchmarks.truth`` against them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from benchmarks import truth as benchmark
from features.tables import read_tables
from training.cli import app
from training.simulate import simulate

SIZE = ("--prospects", 250, "--days", 150, "--seed", 4)


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("truth") / "data"
    return out, run("simulate", "--out", out, *SIZE, "--truth", "--draws", 40, "--json")


def test_the_truth_lies_beside_the_tables(written: tuple[Path, Result]) -> None:
    out, answer = written
    assert answer.exit_code == 0
    found = pd.read_parquet(out / "truth.parquet")
    world = simulate(prospects=250, days=150, seed=4)
    expected = world.truth(draws=40)
    assert json.loads(answer.stdout)["truth"] == {
        "file": str(out / "truth.parquet"),
        "rows": len(expected),
        "draws": 40,
    }
    assert len(found) > 50
    assert list(found.columns) == list(expected.columns)
    assert {f"{what}_{days}d" for what in ("probability", "error") for days in (30, 60, 90)} < set(found.columns)
    assert (found["as_of"] == pd.Timestamp(world.until, unit="us", tz="UTC")).all()
    pd.testing.assert_frame_equal(found.drop(columns="as_of"), expected.drop(columns="as_of"))
    # Those without a recorded closing, each once.
    outcomes = pd.read_parquet(out / "outcomes.parquet")
    prospects = pd.read_parquet(out / "prospects.parquet")
    assert set(found["prospect_id"]) == set(prospects["prospect_id"]) - set(outcomes["prospect_id"])
    assert found["prospect_id"].is_unique


def test_progress_is_said_on_standard_error(written: tuple[Path, Result]) -> None:
    assert "40 of 40 futures drawn" in written[1].stderr
    assert json.loads(written[1].stdout)  # and nothing else stands there


def test_the_truth_is_no_table_of_ours(written: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = written
    plain = tmp_path / "plain"
    assert run("simulate", "--out", plain, *SIZE, "--json").exit_code == 0
    assert not (plain / "truth.parquet").exists()
    assert run("check", out).exit_code == 0
    with_truth, without = read_tables(out), read_tables(plain)
    assert with_truth.digest == without.digest
    assert with_truth.rows == without.rows
    assert with_truth.notes == without.notes


def test_the_truth_takes_no_folder_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    found = run("simulate", "--out", tmp_path, *SIZE, "--truth", "--json")
    assert found.exit_code == 2
    assert json.loads(found.stdout)["error"]["code"] == "folder_not_empty"
    assert "futures" not in found.stderr  # refused before the work
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    assert run("simulate", "--out", tmp_path / "new", *SIZE, "--truth", "--draws", 1).exit_code == 2


def test_the_benchmark_measures_what_it_says(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    q = np.array([0.02, 0.1, 0.3, 0.7])
    assert benchmark.above_truth(q, q) == pytest.approx(0, abs=1e-15)
    p = np.array([0.05, 0.1, 0.4, 0.5])
    entropy = -np.mean(q * np.log(q) + (1 - q) * np.log(1 - q))
    loss = -np.mean(q * np.log(p) + (1 - q) * np.log(1 - p))
    assert benchmark.above_truth(q, p) == pytest.approx(loss - entropy)
    log_odds = np.log(q / (1 - q))
    assert benchmark.slope_of(q, 1 / (1 + np.exp(-2 * log_odds))) == pytest.approx(0.5, abs=1e-3)
    low, high = benchmark.interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 / np.sqrt(3), 2 + 4.302653 / np.sqrt(3)))

    seen = {}
    monkeypatch.setattr(benchmark, "show", lambda found, console: seen.update(found=found))
    code = benchmark.main(["--seeds", "1", "--first-seed", "7", "--prospects", "900", "--days", "270", "--draws", "10"])
    (found,) = seen["found"]
    assert found.rows > 200
    assert 0 < found.ours < found.constant  # it has learned, and nothing beats the truth
    assert 0 < found.peer < found.constant
    assert 0 < found.bare < found.constant
    assert found.known_buying == pytest.approx(found.ratio - found.bare_ratio)
    assert found.accounts > 20
    assert min(found.account, found.naive, found.best) > 0
    assert set(found.moved) <= {"buyer", "prescriber", "user"}
    assert found.moved["buyer"][1] > 0  # in truth a sign of the buyer helps
    assert 0 <= found.same_order <= 1
    assert 0 < found.held <= 1
    assert code == int(bool(benchmark.missed([found])))
    assert set(found.curve) == set(benchmark.HORIZONS)
    assert all(0.2 < ratio < 5 for ratio in found.curve.values())
    fine = replace(
        found,
        ours=found.peer,
        bare=(found.peer + found.constant) / 2,
        slope=1.0,
        held=0.9,
        held_top=0.9,
        curve=dict.fromkeys(found.curve, 1.0),
        account_slope=1.0,
        account=0.01,
        naive=0.02,
        best=0.03,
        moved={"buyer": (0.3, 0.4), "prescriber": (0.2, 0.3), "user": (0.1, 0.2)},
    )
    assert benchmark.missed([fine]) == []
    for change in (
        {"bare": found.peer},
        {"account_slope": 0.8},
        {"account": 0.025},
        {"moved": {**fine.moved, "user": (-0.1, 0.2)}},
        {"moved": {**fine.moved, "buyer": (0.15, 0.4)}},
    ):
        assert benchmark.missed([replace(fine, **change)]), change
    wrong = replace(fine, ours=found.constant, bare=2 * found.constant, held_top=0.8, curve={**fine.curve, 3: 1.2})
    assert len(benchmark.missed([wrong])) == 3
    assert f"{found.ratio:.1%}" in capsys.readouterr().out
