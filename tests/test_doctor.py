"""``leadscore doctor``: a sound set-up is sound, every fault is found with a way out, and nothing is changed."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.server import free_port, point, put_bundle, serving
from training import doctor
from training.cli import app
from training.doctor import Check, examine
from training.tracking import Home

QUIET: Mapping[str, str] = {}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion."""
    home = tmp_path_factory.mktemp("made") / "home"
    home.mkdir()
    point(home, {"won": {**put_bundle(home, "one"), "version": "1", "run_id": "r"}})
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "home")
    return tmp_path / "home"


def look(
    home: Path, environ: Mapping[str, str] = QUIET, port: int | None = None, **more: Any
) -> dict[str, list[Check]]:
    out: dict[str, list[Check]] = {}
    for check in examine(Home(home, **more), port=port or free_port(), environ=environ):
        out.setdefault(check.name, []).append(check)
    return out


def only(found: list[Check]) -> Check:
    (check,) = found
    return check


def wrong(found: dict[str, list[Check]]) -> set[str]:
    return {name for name, checks in found.items() if any(c.state == "wrong" for c in checks)}


def tree(folder: Path) -> list[tuple[str, int, bytes]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path), path.stat().st_mtime_ns, path.read_bytes()) for path in files]


def test_a_sound_set_up_is_sound_and_stays_as_it_is(home: Path) -> None:
    before = tree(home)
    found = look(home)
    assert wrong(found) == set()
    assert only(found["champion"]).state == "ok"
    assert only(found["packages"]).state == only(found["home"]).state == only(found["clock"]).state == "ok"
    assert only(found["mlflow"]).state == "note"  # nothing was trained here
    assert tree(home) == before
    assert sorted(path.name for path in home.iterdir()) == ["bundles", "champion.json"]


def test_an_empty_place_is_a_beginning_and_no_fault(tmp_path: Path) -> None:
    found = look(tmp_path / "deep" / "home")
    assert wrong(found) == set()
    assert {only(found[name]).state for name in ("home", "champion", "mlflow")} == {"note"}
    assert list(tmp_path.iterdir()) == []


def test_the_command_ends_with_one_where_something_is_wrong(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("LEADSCORE_")]:
        monkeypatch.delenv(name)
    port = str(free_port())
    done = CliRunner().invoke(app, ["doctor", "--home", str(home), "--port", port, "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["ok"] is True
    assert {c["name"] for c in answer["checks"]} >= {"python", "packages", "settings", "clock", "home", "champion"}
    assert all(set(c) == {"name", "state", "text", "remedy"} for c in answer["checks"])
    (home / "bundles" / "one" / "model.txt").write_text("tree\n")
    for more in (["--json"], []):
        done = CliRunner().invoke(app, ["doctor", "--home", str(home), "--port", port, *more])
        assert done.exit_code == 1
    assert "leadscore promote 1" in done.stdout
    assert "wrong" in done.stdout


# -- the machine ------------------------------------------------------------------------------------------------------


def test_an_old_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "PYTHON", (99, 0))
    assert wrong(look(tmp_path)) == {"python"}


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = doctor.version

    def version(name: str) -> str:
        if name == "duckdb":
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", version)
    found = only(look(tmp_path)["packages"])
    assert (found.state, found.remedy) == ("wrong", "Install them: make install.")
    assert "duckdb" in found.text


def test_a_lightgbm_without_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def load(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "lightgbm":
            raise OSError("libgomp.so.1: cannot open shared object file")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", load)
    found = only(list(doctor._packages()))
    assert found.state == "wrong"
    assert "libgomp1" in found.remedy


def test_settings_are_told_each(tmp_path: Path) -> None:
    environ = {"LEADSCORE_REASON": "3", "LEADSCORE_REASONS": "many", "LEADSCORE_LANGUAGE": "de", "OTHER": "x"}
    found = look(tmp_path, environ)["settings"]
    assert [(c.state, c.text.split(":")[0].split()[0]) for c in found] == [
        ("note", "LEADSCORE_REASON"),
        ("wrong", "LEADSCORE_LANGUAGE"),
        ("wrong", "LEADSCORE_REASONS"),
    ]
    assert "LEADSCORE_REASONS" in found[0].remedy
    assert only(look(tmp_path, {"LEADSCORE_REASONS": "3", "LEADSCORE_PROOFS": "1"})["settings"]).state == "ok"


def test_a_clock_that_is_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = time.time() + 3600
    os.utime(home / "champion.json", (ahead, ahead))
    assert wrong(look(home)) == {"clock"}
    os.utime(home / "champion.json")
    assert wrong(look(home)) == set()
    monkeypatch.setattr(doctor.time, "time", lambda: 1e9)
    assert only(list(doctor._clock(Home(home)))).state == "wrong"


# -- the home ---------------------------------------------------------------------------------------------------------


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "home"
    file.write_text("")
    found = look(file)
    assert {"home", "champion"} <= wrong(found)
    assert "LEADSCORE_HOME" in only(found["home"]).remedy


def test_a_home_that_cannot_be_written_to() -> None:
    found = only(list(doctor._home(Home(Path("/proc/leadscore")))))  # not even by root
    assert (found.state, "cannot be written to" in found.text) == ("wrong", True)


@pytest.mark.parametrize(("free", "state"), [(1024, "wrong"), (10**9, "note"), (10**11, "ok")])
def test_a_disk_that_fills_up(free: int, state: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(home)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=free))
    assert only(list(doctor._home(Home(home)))).state == state


def cut(home: Path) -> None:
    path = home / "bundles" / "one" / "model.txt"
    path.write_bytes(path.read_bytes()[:-100])


def lose(home: Path) -> None:
    shutil.rmtree(home / "bundles")


def scribble(home: Path) -> None:
    (home / "champion.json").write_text("{")


@pytest.mark.parametrize("damage", [cut, lose, scribble], ids=lambda d: d.__name__)
def test_a_damaged_champion(home: Path, damage: Callable[[Path], None]) -> None:
    damage(home)
    found = look(home)
    assert wrong(found) == {"champion"}
    assert "leadscore promote" in only(found["champion"]).remedy


def test_a_tracking_server_that_is_away(home: Path) -> None:
    uri = f"http://user:secret@127.0.0.1:{free_port()}"
    found = only(look(home, tracking_uri=uri)["mlflow"])
    assert (found.state, "MLFLOW_TRACKING_URI" in found.remedy) == ("wrong", True)
    assert "secret" not in found.text


def test_a_check_that_fails_by_itself_is_a_finding(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Home) -> Iterator[Check]:
        raise RuntimeError("no\nway")
        yield

    monkeypatch.setattr(doctor, "_clock", broken)
    found = look(home)
    assert only(found["clock"]).text == "it cannot be looked at (RuntimeError: no)."
    assert only(found["champion"]).state == "ok"


# -- the stores ------------------------------------------------------------------------------------------------------


def test_the_live_store(home: Path) -> None:
    assert only(look(home)["store"]).state == "note"
    assert not (home / "live.db").exists()
    from serving.store import get_meta, open_store, store_url

    store = open_store(store_url("", home))
    store.ready()
    assert only(look(home)["store"]).state == "ok"
    assert store.read(lambda connection: get_meta(connection, "doctor")) is None  # the trial leaves nothing
    store.close()
    (home / "live.db").write_bytes(b"no database" * 1000)
    assert only(look(home)["store"]).state == "wrong"
    away = f"postgresql://nobody:secret@127.0.0.1:{free_port()}/none"
    found = only(look(home, {"LEADSCORE_STORE": away})["store"])
    assert found.state == "wrong"
    assert "secret" not in found.text


def test_the_keys(home: Path) -> None:
    from serving.keys import add_key, revoke_key

    assert only(look(home)["keys"]).state == "note"
    key, _ = add_key(home, "crm", ["score"])
    assert only(look(home)["keys"]).text == "1 key(s): crm."
    revoke_key(home, key.id)
    assert only(look(home)["keys"]).state == "wrong"
    (home / "keys.json").write_text("{")
    assert only(look(home)["keys"]).state == "wrong"


# -- the service ------------------------------------------------------------------------------------------------------


class _Stub(BaseHTTPRequestHandler):
    answers: Mapping[str, tuple[int, str]] = {}

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (404, "nothing"))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("answers", "state", "word"),
    [
        ({}, "wrong", "not leadscore"),
        ({"/": (200, "<html>")}, "wrong", "not leadscore"),
        ({"/": (200, '{"name": "other"}')}, "wrong", "not leadscore"),
        (
            {
                "/": (200, '{"name": "leadscore"}'),
                "/readyz": (503, '{"error": {"message": "no model.", "remedy": "x"}}'),
            },
            "wrong",
            "no model.",
        ),
        (
            {"/": (200, '{"name": "leadscore"}'), "/readyz": (200, '{"ready": true, "champions": [], "problems": []}')},
            "note",
            "other models",
        ),
        (
            {
                "/": (200, '{"name": "leadscore"}'),
                "/readyz": (
                    200,
                    '{"ready": true, "champions": [], "problems": [{"message": "broken.", "remedy": ""}]}',
                ),
            },
            "wrong",
            "broken.",
        ),
    ],
)
def test_what_answers_on_the_port(answers: dict[str, tuple[int, str]], state: str, word: str, home: Path) -> None:
    handler = type("Handler", (_Stub,), {"answers": answers})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        found = only(list(doctor._service(Home(home), server.server_address[1])))
        server.shutdown()
    assert (found.state, word in found.text) == (state, True), found


def test_a_port_that_says_nothing_at_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        found = only(list(doctor._service(Home(home), silent.getsockname()[1])))
    assert (found.state, "--port" in found.remedy) == ("wrong", True)


def test_our_own_service(home: Path, tmp_path: Path) -> None:
    with serving(home, tmp_path / "empty") as server:
        assert only(list(doctor._service(Home(home), server.port))).text.endswith("is ready (version: won 1).")
