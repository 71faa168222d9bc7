"""A whole training through the command against an MLflow server, and what its pages then have to compare."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from features.tables import read_tables
from serving.champion import read_pointer
from tests.server import free_port
from tests.test_registry import server
from training import compare
from training.cli import app
from training.registry import Home
from training.simulate import simulate

HORIZONS = "90, industrial: 90, mass: 30, project: 60"  # of the simulated world, by regime
PICTURES = {f"{name}.png" for name in ("calibration", "curve", "forward", "horizons", "importance", "lift")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracked")
    simulate(prospects=800, days=300, seed=1).write(folder / "crm")
    return folder


@pytest.fixture(scope="module")
def uri(place: Path) -> Iterator[str]:
    port = free_port()
    with server(place, port):
        yield f"http://127.0.0.1:{port}"


def leadscore(place: Path, uri: str, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(
        app,
        [*arguments, "--home", str(place / "home"), "--json"],
        env={"MLFLOW_TRACKING_URI": uri},
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def trained(place: Path, uri: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two trainings: the second on a spec with one feature less and another one more."""
    first = leadscore(place, uri, "train", str(place / "crm"))
    pointer = read_pointer(place / "home")
    assert pointer is not None
    spec = json.loads((place / "home" / pointer["goals"]["won"]["path"] / "spec.json").read_text())
    spec["features"] = [f for f in spec["features"] if f.get("column") != "campaign"]
    spec["features"].append({"kind": "aggregate", "operation": "count", "scope": "prospect", "days": 14})
    (place / "spec.json").write_text(json.dumps(spec))
    own = ("--features", str(place / "spec.json"), "--no-promote")
    second = leadscore(place, uri, "train", str(place / "crm"), *own)
    return first, second


@pytest.fixture(scope="module")
def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri, registry_uri=uri)


def test_everything_is_on_the_server_and_serving_needs_only_the_home(
    place: Path, trained: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    first, second = trained
    assert (first["version"], first["promoted"]) == ("1", True)
    assert (second["version"], second["promoted"]) == ("2", False)
    assert not (place / "home" / "mlflow.db").exists()
    assert not (place / "home" / "mlartifacts").exists()
    pointer = read_pointer(place / "home")
    assert pointer is not None
    assert pointer["goals"]["won"]["version"] == "1"


def test_runs_have_what_one_compares_them_by(trained: tuple[dict[str, Any], dict[str, Any]], client: Any) -> None:
    first, second = (client.get_run(t["run_id"]) for t in trained)
    for run, told in zip((first, second), trained, strict=True):
        assert run.info.status == "FINISHED"
        assert (run.data.tags["goal"], run.data.tags["horizon_days"]) == ("won", HORIZONS)
        assert run.data.params["num_iterations"] == "50"  # of the steady recipe: the outcomes are few
        assert run.data.params["trained_until"].startswith("2025-10-28")
        assert not {"verbosity", "num_threads", "features", "until"} & set(run.data.params)
        low, high = told["metrics"]["interval"]["auc"]
        kept = [run.data.metrics[f"rolling_{name}"] for name in ("auc", "auc_low", "auc_high", "log_loss")]
        assert kept == [told["metrics"]["auc"], low, high, told["metrics"]["log_loss"]]
        assert {f"folds_{name}" for name in ("auc", "log_loss", "calibration_error")} <= set(run.data.metrics)
    assert set(first.data.metrics) == set(second.data.metrics)
    assert "features_added" not in first.data.params  # there was no champion to compare it with
    assert second.data.params["against_version"] == "1"
    assert second.data.params["features_added"] == "event_count_14d"
    assert second.data.params["features_removed"] == "campaign"
    assert first.data.params["feature_count"] == second.data.params["feature_count"]


def test_pictures_and_feature_definitions_are_artifacts(
    trained: tuple[dict[str, Any], dict[str, Any]], client: Any, tmp_path: Path
) -> None:
    for told in trained:
        run_id = told["run_id"]
        assert told["report"] == f"{client.get_run(run_id).info.artifact_uri}/report/report.html"
        assert {Path(f.path).name for f in client.list_artifacts(run_id, "report")} == PICTURES | {"report.html"}
        for name in PICTURES:
            picture = Path(client.download_artifacts(run_id, f"report/{name}", str(tmp_path))).read_bytes()
            assert picture.startswith(b"\x89PNG")
            assert len(picture) > 5_000
    spec = json.loads(Path(client.download_artifacts(trained[1]["run_id"], "features.json", str(tmp_path))).read_text())
    assert spec["features"][-1]["days"] == 14


def test_the_data_set_is_logged_with_digest_and_source(
    place: Path, trained: tuple[dict[str, Any], dict[str, Any]], client: Any
) -> None:
    run = client.get_run(trained[0]["run_id"])
    (used,) = run.inputs.dataset_inputs
    digest = read_tables(place / "crm").digest
    assert digest.startswith(used.dataset.digest)
    assert len(used.dataset.digest) == 36
    assert run.data.tags["data_digest"] == digest
    assert json.loads(used.dataset.source) == {"uri": str(place / "crm")}
    assert used.dataset.name == "crm"
    assert json.loads(used.dataset.profile)["prospects"] == 800


def test_versions_carry_signature_tags_and_aliases(
    trained: tuple[dict[str, Any], dict[str, Any]], client: Any, uri: str, tmp_path: Path
) -> None:
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    assert client.get_registered_model("lead-scorer-won").aliases == {"champion": "1", "challenger": "2"}
    for told in trained:
        version = client.get_model_version("lead-scorer-won", told["version"])
        assert (version.tags["goal"], version.tags["horizon_days"]) == ("won", HORIZONS)
        assert version.run_id == told["run_id"]
    (logged,) = client.get_run(trained[1]["run_id"]).outputs.model_outputs
    assert client.get_logged_model(logged.model_id).status == "READY"
    place = f"{client.get_model_version_download_uri('lead-scorer-won', '2')}/MLmodel"
    signature = Model.load(download_artifacts(place, dst_path=str(tmp_path), tracking_uri=uri)).signature
    assert [(c.name, c.type.name) for c in signature.inputs] == [("request", "string")]
    assert [p.name for p in signature.params] == ["reasons", "language"]


def test_models_and_compare_tell_versions_figures_and_why(
    place: Path, uri: str, trained: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    second, first = leadscore(place, uri, "models")["models"]
    assert (first["version"], first["aliases"], first["reason"]) == ("1", ["champion"], "there was no champion")
    assert (second["aliases"], second["reason"]) == (["challenger"], "not asked for (--no-promote)")
    frame = compare(Home(place / "home", tracking_uri=uri)).set_index("version")
    for version, told in zip(("1", "2"), trained, strict=True):
        row = frame.loc[version]
        assert row["log_loss"] == told["metrics"]["log_loss"]
        assert [row["auc_low"], row["auc_high"]] == told["metrics"]["interval"]["auc"]
    assert frame["reason"].to_dict() == {"1": first["reason"], "2": second["reason"]}


def test_a_version_of_the_server_scores_and_is_promoted(
    place: Path, uri: str, trained: tuple[dict[str, Any], dict[str, Any]], client: Any
) -> None:
    out = place / "scores.csv"
    crm = str(place / "crm")
    found = leadscore(place, uri, "score", crm, "--as-of", "2025-10-01", "--out", str(out), "--version", "2")
    assert found["model_version"] == "2"
    assert len(out.read_text().splitlines()) == found["rows"] + 1 > 100
    leadscore(place, uri, "promote", "2")
    assert client.get_registered_model("lead-scorer-won").aliases == {"champion": "2"}
    pointer = read_pointer(place / "home")
    assert pointer is not None
    assert pointer["goals"]["won"]["version"] == "2"
