"""MLflow as this product uses it: quiet, explicit about its address, and one run per training.

The client is given its address; the process's own (``mlflow.set_tracking_uri``) and its active run are left alone.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from features.errors import BadInput, LeadscoreError
from features.spec import slug
from serving.bundle import Bundle, read_bundle
from serving.champion import POINTER

CODE = Path(__file__).resolve().parents[1]
SHIPPED = ("features", "serving")  # the code that travels with a version, so that it loads elsewhere
_UNSHIPPED = shutil.ignore_patterns("__pycache__", ".*", "*.pyx", "*.px[di]", "*.c")
LIBRARIES = ("mlflow", "lightgbm", "numpy", "pandas", "pydantic")  # what that code runs on, as a pyfunc
STARTED_BY = "leadscore"  # a run's tag: ours, so that an abandoned one may be closed
BUNDLE = "bundle"


@dataclass(frozen=True)
class Home:
    """Where everything is kept. ``tracking_uri`` names an MLflow server; without it, a SQLite database under ``path``.

    The pointer and the model store are under ``path`` in either case: serving needs no server.
    """

    path: Path
    tracking_uri: str | None = None

    @property
    def database(self) -> Path:
        """MLflow's SQLite database."""
        return self.path.resolve() / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, beside its database."""
        return self.path.resolve() / "mlartifacts"

    @property
    def store(self) -> Path:
        """What BENTOML_HOME would name."""
        return self.path.resolve() / "bentoml"

    @property
    def pointer(self) -> Path:
        """The champion pointer's file."""
        return self.path.resolve() / POINTER

    @property
    def uri(self) -> str:
        """Where MLflow keeps runs and versions."""
        return self.tracking_uri or f"sqlite:///{self.database}"

    @property
    def address(self) -> str:
        """The ``uri`` for eyes: without a password."""
        return self.uri.replace(_secret(self.uri), "")


def model_name(goal: str) -> str:
    """The registered model, the experiment and the BentoML model of a goal's outcome."""
    return f"lead-scorer-{slug(goal).replace('_', '-')}"


def _secret(uri: str) -> str:
    """The part of an address that holds a user and a password."""
    with suppress(ValueError):
        user, at, _ = urlsplit(uri).netloc.rpartition("@")
        return user + at
    return ""


def _quiet() -> None:
    """Silence what MLflow says about itself, and keep it from calling home; the user's own settings win."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_UV_AUTO_DETECT": "false",  # else it copies project files of the working folder into the model
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its seven tries let one wait for minutes on a server that is away
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401 - it sets its levels when it loads

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)


@contextmanager
def connect(home: Home) -> Iterator[Any]:
    """MLflow's client for the home, without touching the process's own tracking address."""
    _quiet()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield MlflowClient(home.uri, registry_uri=home.uri)
    except (MlflowException, SQLAlchemyError, OSError) as e:
        words = (str(e).strip() or type(e).__name__).splitlines()[0].replace(_secret(home.uri) or "\0", "")
        raise LeadscoreError(
            "tracking_failed",
            f"MLflow did not answer as it should: {words[:300]}",
            where=home.address,
            remedy="See that the tracking server runs and MLFLOW_TRACKING_URI names it."
            if home.tracking_uri
            else "See that the folder is writable and the disk not full.",
        ) from e


def check_addressable(home: Home) -> None:
    """Raises BadInput ``bad_home`` where MLflow would lose its files: it decodes some signs of a path, and not all."""
    if not home.tracking_uri and set("%?#") & set(str(home.database)):
        raise BadInput(
            "bad_home",
            "MLflow cannot address a folder with %, ? or # in its path.",
            where=str(home.path),
            remedy="Name another folder with --home.",
        )


def has_registry(home: Home) -> bool:
    """Whether there may be versions at all: without this question, asking would create a database."""
    return bool(home.tracking_uri) or home.database.exists()


def _experiment(client: Any, home: Home, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    place = None if home.tracking_uri else home.artifacts.as_uri()  # a server knows its own
    return str(client.create_experiment(name, artifact_location=place))


def _close_abandoned(client: Any, home: Home, experiment: str) -> None:
    """Mark the runs of processes that died; in the home's own database nobody else can be at work, by the lock."""
    if not home.tracking_uri:
        running = f"attributes.status = 'RUNNING' and tags.{STARTED_BY} = '1'"
        for run in client.search_runs([experiment], running):
            client.set_terminated(run.info.run_id, "KILLED")


def log_run(
    client: Any,
    home: Home,
    bundle: Bundle,
    *,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    tags: Mapping[str, str],
    source: str,
    files: Sequence[Path],
    started_at: int | None,
    gate: Mapping[str, Any] | None = None,
) -> tuple[str, str, str]:
    """Log a verified bundle as a run and register it; returns the run, the version and where its report lies.

    The registration comes last: whatever fails before leaves a run marked FAILED and no version. ``started_at`` is in
    microseconds; ``gate`` is the record of ``training.gate.Verdict``.
    """
    experiment = _experiment(client, home, model_name(bundle.constants.goal.outcome))
    _close_abandoned(client, home, experiment)
    run = client.create_run(
        experiment,
        start_time=None if started_at is None else started_at // 1000,
        tags={
            **tags,
            "mlflow.source.name": "leadscore train",
            "mlflow.note.content": _note(bundle),
            STARTED_BY: "1",
            "feature_fingerprint": bundle.features.fingerprint,
            **_tags(bundle),
            **_gate_tags(gate),
        },
    )
    run_id = run.info.run_id
    try:
        figures = flat({**metrics, "gate": gate or {}})
        model = _log_content(client, run_id, experiment, bundle, params, figures, source, files, gate)
        client.set_terminated(run_id, "FINISHED")
        version = _register(client, run_id, model, bundle, gate)
        return run_id, version, _report_place(run.info.artifact_uri)
    except BaseException as e:
        with suppress(Exception):
            client.set_tag(run_id, "error", f"{type(e).__name__}: {e}"[:2000])
            client.set_terminated(run_id, "FAILED")
        raise


def _log_content(
    client: Any,
    run_id: str,
    experiment: str,
    bundle: Bundle,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    source: str,
    files: Sequence[Path],
    gate: Mapping[str, Any] | None,
) -> Any:
    """Everything of a run but its end; returns the logged model."""
    from mlflow.entities import LoggedModelOutput, Metric, Param

    goal = bundle.constants.goal
    texts = {
        "goal": goal.outcome,
        "horizon_days": json.dumps(goal.to_json()["horizon_days"]),
        "trained_until": bundle.card.get("trained_until", ""),
        "feature_count": len(bundle.features.names),
        **params,
    }
    model = client.create_logged_model(experiment, name=BUNDLE, source_run_id=run_id, model_type="leadscore")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(k, v, now, 0, model_id=model.model_id, run_id=run_id) for k, v in metrics.items()],
        params=[Param(k, str(v)[:6000]) for k, v in texts.items()],
    )
    client.log_inputs(run_id, [_dataset(bundle, source)])
    with tempfile.TemporaryDirectory() as scratch:
        stage = Path(scratch)
        saved = _save(bundle, stage, model, run_id)
        client.log_model_artifacts(model.model_id, str(saved))
        report = stage / "run"
        report.mkdir()
        _dump(report / "features.json", bundle.features.to_json())
        _dump(report / "warnings.json", bundle.card.get("warnings", []))
        if gate is not None:
            _dump(report / "gate.json", gate)
        for file in files:
            (report / "report").mkdir(exist_ok=True)
            shutil.copy(file, report / "report")
        client.log_artifacts(run_id, str(report))
    client.finalize_logged_model(model.model_id, "READY")
    return model


def _report_place(artifacts: str) -> str:
    """Where a run's ``report.html`` lies: a path where artifacts are files of this machine, else an address."""
    from urllib.request import url2pathname

    uri = f"{artifacts}/report/report.html"
    return url2pathname(urlsplit(uri).path) if uri.startswith("file:") else uri.replace(_secret(uri) or "\0", "")


def _register(client: Any, run_id: str, model: Any, bundle: Bundle, gate: Mapping[str, Any] | None) -> str:
    goal = bundle.constants.goal.outcome
    name = model_name(goal)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, tags={"goal": goal})
    version = client.create_model_version(
        name,
        source=model.artifact_location,
        run_id=run_id,
        model_id=model.model_id,
        tags={"trained_until": str(bundle.card.get("trained_until", "")), **_tags(bundle), **_gate_tags(gate)},
        description=_note(bundle),
    )
    return str(version.version)


def _tags(bundle: Bundle) -> dict[str, str]:
    """What a run and its version are both found by."""
    return {
        "goal": bundle.constants.goal.outcome,
        "horizon_days": ", ".join(f"{r}: {d}" if r else str(d) for r, d in bundle.constants.goal.horizons),
        "bundle_digest": bundle.digest,
        "data_digest": _data_digest(bundle),
        "warnings": ",".join(w["code"] for w in bundle.card.get("warnings", [])),
    }


def _gate_tags(gate: Mapping[str, Any] | None) -> dict[str, str]:
    """What the gate said, as tags of the run and the version: they stay as they are whatever is promoted later."""
    if gate is None:
        return {}
    digests = {name: gate[name] for name in ("champion_digest", "challenger_digest") if gate[name]}
    return {"gate_decision": gate["decision"], "gate_reason": gate["reason"], **digests}


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested metrics under joined names (``rolling_auc``); whatever is not a finite number is left out."""
    out: dict[str, float] = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}_")
        elif isinstance(value, int | float) and math.isfinite(value):
            out["".join(c if c.isalnum() or c in "_-. /" else "_" for c in f"{prefix}{key}")] = float(value)
    return out


def _dump(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")


def _data_digest(bundle: Bundle) -> str:
    data = bundle.card.get("data")
    return str(data.get("digest", "")) if isinstance(data, Mapping) else ""


def _note(bundle: Bundle) -> str:
    words = "".join(f"\n- {w['code']}: {w['text']}" for w in bundle.card.get("warnings", []))
    until = bundle.card.get("trained_until", "an unknown day")
    return f"Chance of `{bundle.constants.goal.outcome}`, learned from what was known on {until}.{words}"


def _dataset(bundle: Bundle, source: str) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = bundle.card.get("data")
    profile = {k: v for k, v in data.items() if k != "digest"} if isinstance(data, Mapping) else {}
    digest = _data_digest(bundle)[:36]  # MLflow keeps no more; the whole one is a tag
    dataset = Dataset(
        name=Path(source).name or "data",
        digest=digest or "unknown",
        source_type="local",
        source=json.dumps({"uri": source}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _save(bundle: Bundle, stage: Path, model: Any, run_id: str) -> Path:
    """Lay the pyfunc model out in a folder: the bundle, the code that scores it, and what that code runs on."""
    from importlib.metadata import version

    import pandas
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    for package in SHIPPED:
        shutil.copytree(CODE / package, stage / package, ignore=_UNSHIPPED)
    shutil.copytree(bundle.folder, stage / BUNDLE)
    saved = stage / "model"
    save_model(
        saved,
        loader_module="serving.pyfunc",
        data_path=str(stage / BUNDLE),
        code_paths=[str(stage / package) for package in SHIPPED],
        mlflow_model=Model(
            artifact_path=model.artifact_location, run_id=run_id, model_uuid=model.model_id, model_id=model.model_id
        ),
        signature=ModelSignature(
            inputs=Schema([ColSpec(DataType.string, "request")]),
            params=ParamSchema([ParamSpec("reasons", DataType.long, 5), ParamSpec("language", DataType.string, "en")]),
        ),
        input_example=pandas.DataFrame({"request": [json.dumps(bundle.card["example"]["request"])]}),
        pip_requirements=[f"{library}=={version(library)}" for library in LIBRARIES],
    )
    read_bundle(saved / "data" / BUNDLE, bundle.digest)
    return saved


def all_versions(client: Any, goal: str) -> list[Any]:
    """Every version that ``log_run`` registered for a goal, as MLflow's ModelVersion."""
    found, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{model_name(goal)}'", max_results=1000, page_token=token)
        found += [v for v in page if v.tags.get("goal") == goal and v.tags.get("bundle_digest")]
        token = page.token
        if not token:
            return found


def champion_aliases(client: Any) -> list[tuple[str, Any]]:
    """What the alias ``champion`` names, of every goal: the registered model's name and MLflow's ModelVersion."""
    found, token = [], None
    while True:
        page = client.search_registered_models(max_results=1000, page_token=token)
        for model in page:
            goal, version = model.tags.get("goal"), model.aliases.get("champion")
            if goal and version and model.name == model_name(goal):
                named = client.get_model_version(model.name, version)
                if named.tags.get("goal") == goal and named.tags.get("bundle_digest"):
                    found.append((model.name, named))
        token = page.token
        if not token:
            return found


def metrics_of(client: Any, name: str) -> dict[str, dict[str, float]]:
    """The metrics of every run of the experiment, by run."""
    experiment = client.get_experiment_by_name(name)
    out: dict[str, dict[str, float]] = {}
    token = None
    while experiment is not None:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        out |= {run.info.run_id: dict(run.data.metrics) for run in page}
        token = page.token
        if not token:
            break
    return out


def find_version(client: Any, version: str, goal: str) -> Any:
    """The registered version; raises BadInput ``unknown_version`` with the versions there are."""
    known = {str(v.version): v for v in all_versions(client, goal)}
    if version not in known:
        raise unknown_version(version, goal, sorted(known, key=int))
    return known[version]


def unknown_version(version: str, goal: str, known: Sequence[str]) -> BadInput:
    """The error for a version that is not among the known ones."""
    return BadInput(
        "unknown_version",
        f"there is no version {version!r} for the goal `{goal}`; there are: {', '.join(known) or 'none'}.",
        where="version",
        remedy="See `leadscore models`, or train: leadscore train DATA.",
    )


def fetch_bundle(client: Any, home: Home, version: Any, target: Path) -> Path:
    """The bundle's folder: where it lies, or downloaded into ``target``."""
    from mlflow.artifacts import download_artifacts

    uri = client.get_model_version_download_uri(version.name, version.version)
    if not home.tracking_uri:
        local = Path(download_artifacts(f"{uri}/data", tracking_uri=home.uri))
        return local / BUNDLE
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(download_artifacts(f"{uri}/data", dst_path=str(target), tracking_uri=home.uri)) / BUNDLE


def follow(client: Any, goal: str, entry: Mapping[str, str], words: Mapping[str, str]) -> None:
    """Let MLflow follow the pointer: the alias ``champion``, and the tag ``reason`` of the versions that it concerns.

    A champion of another registry is left alone. ``entry`` is the pointer's for the goal; ``words`` are the last ones
    on each version that ever was champion.
    """
    from mlflow.exceptions import MlflowException

    name, version = model_name(goal), entry["version"]
    try:
        aliases = client.get_registered_model(name).aliases
        tags = client.get_model_version(name, version).tags
    except MlflowException as e:
        if e.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return
    if tags.get("bundle_digest") != entry["digest"]:
        return
    if version in words and tags.get("reason") != words[version]:
        client.set_model_version_tag(name, version, "reason", words[version])
    before = str(aliases.get("champion", ""))
    if before != version:
        if before in words:  # before the alias moves: where this fails, the next command does both
            client.set_model_version_tag(name, before, "reason", words[before])
        client.set_registered_model_alias(name, "champion", version)
    if str(aliases.get("challenger")) == version:
        client.delete_registered_model_alias(name, "challenger")
