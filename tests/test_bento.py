"""The built Bento, installed from its own short list into a clean environment and served from an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.fixtures_bundle import make_request, parts
from tests.server import free_port, point, put_bundle, running

ROOT = Path(__file__).resolve().parents[1]
ABSENT = ("mlflow", "duckdb", "ibis", "pandas", "sklearn", "training")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(*command: str | Path, **environment: str) -> str:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("LEADSCORE_", "BENTOML_", "PYTHON"))}
    environment = {**kept, "BENTOML_DO_NOT_TRACK": "True", **environment}
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BentoML store with nothing in it but our Bento, built without a network."""
    store = tmp_path_factory.mktemp("store")
    nowhere = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), nowhere)
    run(sys.executable, "-m", "bentoml", "build", "--output", "tag", BENTOML_HOME=str(store), **proxies)
    return store


@pytest.fixture(scope="module")
def bento(store: Path) -> Path:
    (folder,) = (entry for entry in (store / "bentos" / "leadscore").iterdir() if entry.is_dir())
    return folder


@pytest.fixture(scope="module")
def python(bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a clean environment that holds what the Bento asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    requirements = bento / "env" / "python" / "requirements.txt"
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", "-r", requirements)
    return python


def test_the_bento_holds_the_service_and_no_model(bento: Path) -> None:
    files = {str(path.relative_to(bento / "src")) for path in (bento / "src").rglob("*") if path.is_file()}
    assert {"serving/service.py", "features/online.py"} <= files
    assert {name.split("/")[0] for name in files} == {"features", "serving", "bentofile.yaml"}
    assert "models: []" in (bento / "bento.yaml").read_text()
    asked = (bento / "env" / "python" / "requirements.txt").read_text()
    for heavy in ("pandas", "scikit-learn", "pyarrow", "duckdb", "ibis", "mlflow"):
        assert heavy not in asked
    document = (bento / "apis" / "openapi.yaml").read_text()
    assert "ScoreRequest" in document
    assert "BentoML Team" not in document


# The Bento loaded and served as BentoML's worker does it, and what is loaded once it has scored.
MODULES = """
import asyncio, json, os, sys
from _bentoml_impl.loader import load
import bentoml
body = json.loads(sys.argv[2])
service = load(sys.argv[1], standalone_load=True)
app = service.to_asgi()
async def main():
    async with app.app.router.lifespan_context(app.app):
        answer = await bentoml.get_current_service().score.local(json.dumps(body).encode())
        assert answer.status_code == 200, answer.body
asyncio.run(main())
print(json.dumps(sorted(sys.modules)))
"""


def test_it_answers_from_an_empty_folder_and_loads_nothing_heavy(
    store: Path, bento: Path, python: Path, tmp_path: Path
) -> None:
    home, empty = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    empty.mkdir()
    point(home, {"won": {**put_bundle(home, "one"), "version": "1"}})
    tag = f"leadscore:{bento.name}"
    port = free_port()
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("LEADSCORE_", "BENTOML_", "PYTHON"))}
    environment = {**kept, "LEADSCORE_HOME": str(home), "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True"}
    command = [str(python), "-m", "bentoml", "serve", tag, "--port", str(port)]
    with running(command, environment, port, tmp_path / "log", empty) as server:
        answer = server.client.post("/score", json=make_request())
        assert answer.status_code == 200
        assert abs(answer.json()["probability"] - parts()["card"]["example"]["probability"]) < 1e-12
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert f"0100007F:{port:04X}" in listening  # loopback, without being told so
        assert f"00000000:{port:04X}" not in listening
        workers = [pid for pid in server.children() if "lib_lightgbm" in Path(f"/proc/{pid}/maps").read_text()]
        assert workers
        for pid in workers:
            maps = Path(f"/proc/{pid}/maps").read_text()
            for name in ("duckdb", "pandas", "sklearn", "pyarrow"):
                assert name not in maps
            assert str(ROOT) not in maps
    assert list(empty.iterdir()) == []

    metrics = tmp_path / "metrics"
    metrics.mkdir()
    more = {"LEADSCORE_HOME": str(home), "BENTOML_HOME": str(store), "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
    loaded = json.loads(run(python, "-c", MODULES, tag, json.dumps(make_request()), **more).splitlines()[-1])
    assert {"serving.service", "serving.scorer", "features.online", "lightgbm"} <= set(loaded)
    assert sorted({name.split(".")[0] for name in loaded} & set(ABSENT)) == []
