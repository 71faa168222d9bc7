"""The command: its help, its refusals with exit code 2 and nothing written, its JSON."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from features.spec import FORMAT
from training.cli import app

TOML = """
[goal]
outcome = "won"
horizon_days = 30
[prospects.columns]
origin = {kind = "category"}
lead_quality = {kind = "category", known = "never"}
"""


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


def days(numbers: list[int]) -> pd.Series:
    return pd.Series(pd.Timestamp("2025-01-01", tz="UTC") + pd.to_timedelta(numbers, unit="D"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small data folder: 60 prospects, every third won after twelve days."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dataset.toml").write_text(TOML)
    ids = [f"p{i}" for i in range(60)]
    prospects = pd.DataFrame({"prospect_id": ids, "created_at": days([i % 90 for i in range(60)])})
    prospects["origin"] = ["web" if i % 2 else "fair" for i in range(60)]
    prospects["lead_quality"] = ["high" if i % 3 == 0 else None for i in range(60)]
    prospects.to_csv(folder / "prospects.csv", index=False)
    won = prospects.iloc[::3]
    outcomes = pd.DataFrame({"prospect_id": won["prospect_id"], "outcome": "won"})
    outcomes["occurred_at"] = won["created_at"] + pd.Timedelta(days=12)
    outcomes.to_csv(folder / "outcomes.csv", index=False)
    events = pd.DataFrame({"event_id": [f"e{i}" for i in range(60)], "prospect_id": ids, "type": "page_view"})
    events["occurred_at"] = prospects["created_at"] + pd.Timedelta(days=3)
    events["recorded_at"] = events["occurred_at"].where(events["prospect_id"] != "p59", days([200])[0])
    events.to_csv(folder / "events.csv", index=False)
    return folder


def test_trials_are_asked_for_and_what_came_of_them_is_told(data: Path, tmp_path: Path) -> None:
    found = run("train", data, "--home", tmp_path / "home", "--trials", 2, "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["choice"]["search"] == {"trials": 2, "taken": False}  # too few to search by
    assert run("train", data, "--home", tmp_path / "other", "--trials", -1).exit_code == 2
    assert not (tmp_path / "other").exists()


def test_help_teaches_and_is_quick_to_import() -> None:
    code = "import sys; from training.cli import app; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in (
        "pandas",
        "ibis",
        "duckdb",
        "mlflow",
        "lightgbm",
        "sklearn",
        "bentoml",
        "numpy",
        "matplotlib",
        "optuna",
    ):
        assert f"'{heavy}'" not in loaded
    homeless = ("simulate", "import", "check", "dataset")
    for command in (*homeless, "demo", "train", "score", "serve", "models", "promote", "rollback", "monitor", "doctor"):
        help_ = run(command, "--help")
        assert help_.exit_code == 0
        assert ("--home" in help_.output) == (command not in homeless)


def test_check_says_what_there_is(data: Path) -> None:
    found = run("check", data, "--json")
    assert found.exit_code == 0
    answer = json.loads(found.stdout)
    assert answer["rows"] == {"prospects": 60, "events": 60, "outcomes": 20}
    assert answer["goal"] == {"outcome": "won", "starts_at": None, "horizon_days": 30}
    assert answer["until"] == "2025-07-20T00:00:00Z"


def test_check_tells_the_horizons_as_the_report_does(data: Path) -> None:
    toml = data / "dataset.toml"
    toml.write_text(toml.read_text().replace("horizon_days = 30", 'horizon_days = {mass = 30, "" = 90}'))
    said = " ".join(run("check", data).stdout.split())
    assert "Goal: won within 90 days (otherwise), 30 days (mass); the data ends 2025-07-20T00:00:00Z." in said


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def rewrite(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name
        path.write_text(change(path.read_text()))

    return edit


def header_only(text: str) -> str:
    return text.splitlines()[0] + "\n"


SPEC = {"format": FORMAT, "features": [{"kind": "attribute", "table": "prospects", "column": "lead_quality"}]}

REFUSED = [
    ("hindsight_column", "", lambda folder: (folder / "spec.json").write_text(json.dumps(SPEC))),
    (
        "undeclared_column",
        "prospects.csv",
        rewrite("dataset.toml", lambda t: t.replace('origin = {kind = "category"}\n', "")),
    ),
    ("future_time", "outcomes.csv", rewrite("outcomes.csv", lambda t: t.replace("2025-01-13", "2090-01-13"))),
    ("empty_table", "prospects.csv", rewrite("prospects.csv", header_only)),
    ("empty_table", "outcomes.csv", rewrite("outcomes.csv", header_only)),
    ("missing_table", "outcomes", drop("outcomes.csv")),
    ("one_class", "", rewrite("outcomes.csv", lambda t: t.replace(",won,", ",lost,"))),
    ("zoneless_time", "events.csv", rewrite("events.csv", lambda t: t.replace("+00:00", ""))),
    ("bad_dataset_toml", "dataset.toml", rewrite("dataset.toml", lambda t: t + "\n[goal")),
]


@pytest.mark.parametrize(("code", "place", "spoil"), REFUSED, ids=[f"{r[0]}-{r[1]}" for r in REFUSED])
def test_bad_data_are_refused_whole(
    data: Path, tmp_path: Path, code: str, place: str, spoil: Callable[[Path], None]
) -> None:
    spoil(data)
    home = tmp_path / "home"
    spec = ("--features", data / "spec.json") if (data / "spec.json").exists() else ()
    found = run("train", data, "--home", home, "--json", *spec)
    assert found.exit_code == 2, found.output
    error = json.loads(found.stdout)["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["remedy"]
    assert place in error["where"]
    assert not home.exists()


def test_errors_for_people_name_place_and_remedy(data: Path) -> None:
    shutil.copy(data / "prospects.csv", data / "accounts.csv")
    found = subprocess.run(
        [sys.executable, "-m", "training.cli", "check", str(data)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert found.stdout == ""
    assert "accounts.csv" in found.stderr
    assert "->" in found.stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("score", "DATA", "--as-of", "yesterday", "--out", "x.csv"), "bad_time"),
        (("score", "DATA", "--as-of", "2025-03-01", "--out", "x.txt"), "bad_output"),
        (("score", "DATA", "--as-of", "2025-03-01", "--out", "x.csv"), "no_champion"),
        (("train", "DATA", "--until", "2025-13-01"), "bad_time"),
        (("train", "DATA", "--until", "2090-01-01"), "future_time"),
        (("train", "DATA", "--until", "1990-01-01"), "empty_span"),
        (("promote", "7"), "unknown_version"),
        (("rollback",), "no_previous_champion"),
        (("import", "nowhere", "DATA", "--out", "x"), "unknown_source"),
        (("check", "nowhere"), "missing_folder"),
    ],
)
def test_bad_calls_are_refused(data: Path, tmp_path: Path, args: tuple[str, ...], code: str) -> None:
    filled = [str(data) if a == "DATA" else a for a in args]
    home = () if args[0] in ("import", "check") else ("--home", tmp_path / "home")
    found = run(*filled, *home, "--json")
    assert found.exit_code == 2, found.output
    assert json.loads(found.stdout)["error"]["code"] == code


def test_simulate_does_not_overwrite(data: Path) -> None:
    found = run("simulate", "--out", data, "--prospects", 50, "--days", 60, "--json")
    assert found.exit_code == 2
    assert json.loads(found.stdout)["error"]["code"] == "folder_not_empty"
    assert (data / "prospects.csv").exists()


def test_train_says_where_its_report_lies(data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shown = run("train", data, "--home", home)
    assert shown.exit_code == 0, shown.output
    (place,) = [line.removeprefix("Report: ") for line in shown.stdout.splitlines() if line.startswith("Report: ")]
    assert Path(place).is_relative_to(home)
    assert "Training report" in Path(place).read_text(encoding="utf-8")
    assert json.loads(run("train", data, "--home", home, "--json").stdout)["report"] != place  # each has its own
