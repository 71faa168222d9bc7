"""API keys: made, kept as hashes, asked for by every path that is not open, revoked under a running service."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from features.errors import BadInput, LeadscoreError
from serving.keys import KEYS, Keys, add_key, read_keys, revoke_key, scope_of
from serving.run import serve_command
from tests.fixtures_bundle import make_request
from tests.server import Server, free_port, point, put_bundle, running, serving, until
from training.cli import app

HERE = ("127.0.0.1", 50_000)
THERE = ("192.0.2.7", 50_000)


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", f"Bearer {key}".encode())]


def code_of(keys: Keys, headers: list[tuple[bytes, bytes]], scope: str | None, client: Any = HERE) -> str:
    """The code of the refusal, "" where there is none."""
    try:
        keys.check(headers, scope, client)
    except LeadscoreError as e:
        return e.code if e.remedy else f"{e.code} without a remedy"
    return ""


# -- making and keeping ------------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    key, text = add_key(tmp_path, " crm  of the north ", ["write", "score"])
    assert (key.name, key.scopes) == ("crm of the north", ("score", "write"))
    kept = (tmp_path / KEYS).read_text()
    secret = text.split("_", 2)[2]
    assert len(secret) == 43  # 256 bits
    assert secret not in kept
    assert text.split("_")[1] == key.id
    assert read_keys(tmp_path) == (key,)
    assert set(json.loads(kept)[0]) == {"id", "name", "scopes", "sha256", "created_at"}
    assert add_key(tmp_path, "crm", ["score"])[1] != text


@pytest.mark.parametrize(
    ("name", "scopes", "code"),
    [
        ("", ["score"], "bad_name"),
        ("a\x00b", ["score"], "bad_name"),
        ("x" * 101, ["score"], "bad_name"),
        ("crm", [], "bad_scope"),
        ("crm", ["score", "read"], "bad_scope"),
    ],
)
def test_a_bad_wish_makes_no_key(tmp_path: Path, name: str, scopes: list[str], code: str) -> None:
    with pytest.raises(BadInput) as caught:
        add_key(tmp_path, name, scopes)
    assert caught.value.code == code
    assert not (tmp_path / KEYS).exists()


def test_writers_at_the_same_time_lose_no_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: add_key(tmp_path, f"key {n}", ["score"])[0], range(40)))
    assert {key.id for key in read_keys(tmp_path) or ()} == {key.id for key in made}
    assert len({key.id for key in made}) == 40


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[[]]",
        '[{"id": "x"}]',
        '[{"id": "0123456789ab", "name": "crm", "scopes": ["all"], "sha256": "%s", "created_at": ""}]' % ("0" * 64),
        '[{"id": "0123456789ab", "name": "crm", "scopes": ["score"], "sha256": "plain", "created_at": ""}]',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_admits_nobody_and_is_not_written_over(tmp_path: Path, text: str) -> None:
    (tmp_path / KEYS).write_text(text)
    with pytest.raises(LeadscoreError) as caught:
        add_key(tmp_path, "crm", ["score"])
    assert caught.value.code == "bad_keys"
    assert (tmp_path / KEYS).read_text() == text
    keys = Keys(tmp_path)
    assert keys.refresh()
    assert keys.access == "closed"
    assert code_of(keys, [], "score") == "bad_keys"
    assert code_of(keys, [], None) == ""  # what is open stays so


# -- asking ------------------------------------------------------------------------------------------------------------


def test_without_keys_only_this_machine_is_answered(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.refresh()
    assert keys.access == "loopback"
    for here in ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"):
        assert keys.check([], "admin", (here, 1)) is None
    for there in (THERE, ("10.0.0.1", 1), ("::ffff:10.0.0.1", 1), ("fe80::1", 1), ("", 1), ("localhost", 1), None):
        assert code_of(keys, [], "score", there) == "no_keys"
        assert code_of(keys, [], None, there) == ""
    # a proxy on this machine speaks for whoever stands behind it
    for name in (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via", b"x-forwarded-host", b"x-forwarded-proto"):
        assert code_of(keys, [(name, b"192.0.2.7")], "score") == "no_keys"
    # and a browser on this machine for the page that it shows
    for name in (b"localhost", b"127.0.0.1", b"[::1]", b"LOCALHOST"):
        for port in (b"", b":3000"):
            assert keys.check([(b"host", name + port), (b"origin", b"http://" + name + port)], "admin", HERE) is None
    for name in (
        b"evil.example",
        b"127.0.0.1.evil.example",
        b"evil:127.0.0.1",
        b"localhost.evil",
        b"192.0.2.7:80",
        b"",
    ):
        assert code_of(keys, [(b"host", name)], "score") == "no_keys"
        assert code_of(keys, [(b"host", b"localhost"), (b"origin", b"https://" + name)], "score") == "no_keys"
    assert code_of(keys, [(b"host", b"localhost"), (b"origin", b"null")], "score") == "no_keys"


def test_a_key_opens_what_its_scopes_name(tmp_path: Path) -> None:
    made = {scope: add_key(tmp_path, scope, [scope])[1] for scope in ("score", "write", "admin")}
    made["both"] = add_key(tmp_path, "both", ["score", "write"])[1]
    keys = Keys(tmp_path)
    keys.refresh()
    assert keys.access == "keys"
    opens = {"score": {"score"}, "write": {"write"}, "admin": {"score", "write", "admin"}, "both": {"score", "write"}}
    for name, key in made.items():
        for scope in ("score", "write", "admin"):
            code = "" if scope in opens[name] else "scope"
            assert code_of(keys, bearer(key), scope, THERE) == code, (name, scope)
        assert keys.check([(b"x-api-key", key.encode())], next(iter(opens[name])), THERE) == name
        assert keys.check([(b"authorization", b"bEaReR  " + key.encode())], next(iter(opens[name])), THERE) == name


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    key, text = add_key(tmp_path, "crm", ["admin"])
    keys = Keys(tmp_path)
    keys.refresh()
    for headers in ([], [(b"authorization", b"Basic eDp5")], [(b"cookie", text.encode())]):
        assert code_of(keys, headers, "score") == "no_key"
    other = text[:-1] + ("A" if text[-1] != "A" else "B")
    unknown = text.replace(key.id, "0" * 12)
    for wrong in ("", "x", other, unknown, text + "A", text[:-1], text.upper(), key.sha256, f"{text}\u00e9", "\x00"):
        assert code_of(keys, bearer(wrong), "score") == "bad_key", wrong
        assert code_of(keys, [(b"x-api-key", wrong.encode())], "score") == "bad_key", wrong


def test_the_comparison_takes_the_same_path_for_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A known id with a wrong secret, an unknown id and no key at all are each compared, whole digests both."""
    compared: list[tuple[int, int]] = []

    def spy(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr("hmac.compare_digest", spy)
    key, text = add_key(tmp_path, "crm", ["score"])
    keys = Keys(tmp_path)
    keys.refresh()
    for wrong in (text[:-2] + "zz", text.replace(key.id, "0" * 12), "x"):
        assert code_of(keys, bearer(wrong), "score") == "bad_key"
    assert compared == [(64, 64)] * 3


def test_the_key_file_is_followed(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    assert keys.refresh()
    assert not keys.refresh()
    first, text = add_key(tmp_path, "first", ["score"])
    assert keys.refresh()
    assert keys.check(bearer(text), "score", THERE) == "first"
    assert code_of(keys, [], "score") == "no_key"  # on this machine too, from the first key on
    second, other = add_key(tmp_path, "second", ["score"])
    assert revoke_key(tmp_path, first.id) == (first, 1)
    assert keys.refresh()
    assert code_of(keys, bearer(text), "score") == "bad_key"
    assert keys.check(bearer(other), "score", THERE) == "second"
    # damaged or gone: what was closed does not open
    whole = (tmp_path / KEYS).read_text()
    for spoil in (lambda: (tmp_path / KEYS).write_text("["), lambda: (tmp_path / KEYS).unlink()):
        spoil()
        assert keys.refresh()
        assert code_of(keys, [], "score") == "no_key"
        assert keys.check(bearer(other), "score", THERE) == "second"
        assert (keys.problem is not None) == (tmp_path / KEYS).exists()
        (tmp_path / KEYS).write_text(whole)
        assert keys.refresh()
        assert keys.problem is None
    # the last one revoked: nobody
    assert revoke_key(tmp_path, second.id) == (second, 0)
    assert keys.refresh()
    assert code_of(keys, bearer(other), "score") == "bad_key"
    assert code_of(keys, [], "score") == "no_key"
    with pytest.raises(BadInput) as caught:
        revoke_key(tmp_path, second.id)
    assert caught.value.code == "unknown_key"


def test_every_path_has_its_scope() -> None:
    wanted = {
        None: "/ /livez /readyz /healthz /metrics /docs.json /v1/openapi.json /v1/hooks/hubspot",
        "score": "/score /score_batch /score_account /score_contacts /v1/model /v1/scores/x",
        "write": "/v1/accounts/a /v1/contacts/a /v1/prospects/a /v1/prospects/a/merge /v1/events /v1/events/e "
        "/v1/outcomes",
        "admin": "/v1/other /v1/scores /v1/hooks/other /v1/hooks/hubspot/x /v1/eventsx /other /livez/ //",
    }
    for scope, paths in wanted.items():
        for path in paths.split():
            assert scope_of(path) == scope, path


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_makes_lists_and_revokes(tmp_path: Path) -> None:
    at = ("--home", tmp_path, "--json")
    assert json.loads(run("keys", "list", *at).stdout) == {"keys": []}
    made = json.loads(run("keys", "add", "crm", "--scope", "score", "--scope", "write", *at).stdout)
    text = made.pop("key")
    assert set(made) == {"id", "name", "scopes", "created_at"}
    keys = Keys(tmp_path)
    keys.refresh()
    assert keys.check(bearer(text), "write", THERE) == "crm"
    listed = run("keys", "list", *at).stdout
    assert json.loads(listed) == {"keys": [made]}
    assert text not in listed
    assert json.loads(run("keys", "revoke", made["id"], *at).stdout) == {**made, "left": 0}
    again = run("keys", "revoke", made["id"], *at)
    assert (again.exit_code, json.loads(again.stdout)["error"]["code"]) == (2, "unknown_key")
    assert run("keys", "add", "crm", *at).exit_code == 2  # no scope
    shown = run("keys", "add", "[red]crm", "--scope", "score", "--home", tmp_path)
    assert re.search(r"lsk_[0-9a-f]{12}_[\w-]{43}\n", shown.stdout)
    assert "[red]crm" in shown.stdout
    assert "[red]crm" in run("keys", "list", "--home", tmp_path).stdout


def test_serving_other_machines_needs_a_key(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.7", "crm.example"):
        with pytest.raises(BadInput) as caught:
            serve_command(tmp_path, host=host, environ={})
        assert (caught.value.code, caught.value.where) == ("no_keys", "--host")
    for host in ("127.0.0.1", "::1", "localhost"):
        assert host in serve_command(tmp_path, host=host, environ={})[0]
    key, _ = add_key(tmp_path, "crm", ["score"])
    assert "0.0.0.0" in serve_command(tmp_path, host="0.0.0.0", environ={})[0]
    revoke_key(tmp_path, key.id)
    with pytest.raises(BadInput):
        serve_command(tmp_path, host="0.0.0.0", environ={})


# -- a running service -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    point(home, {"won": {**put_bundle(home, "one"), "version": "1"}})
    return home


@pytest.fixture(scope="module")
def server(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(home, tmp_path_factory.mktemp("served") / "empty", LEADSCORE_POLL_SECONDS="0.05") as server:
        yield server


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of a refusal in the one shape."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "where", "remedy"}
    assert (answer.status_code == 401) == ("www-authenticate" in answer.headers)
    return answer.status_code, error["code"]


OPEN = ("/", "/livez", "/readyz", "/healthz", "/metrics", "/docs.json")
CLOSED = [
    ("POST", "/score"),
    ("POST", "/score_batch"),
    ("POST", "/score_account"),
    ("POST", "/score_contacts"),
    ("GET", "/score"),
    ("GET", "/v1/model"),
    ("GET", "/v1/scores/x"),
    ("GET", "/v1/prospects/x"),
    ("PUT", "/v1/prospects/x"),
    ("DELETE", "/v1/contacts/x"),
    ("POST", "/v1/events"),
    ("GET", "/v1/anything"),
]


def test_a_service_asks_for_keys_from_the_first_one_on(server: Server, home: Path) -> None:
    """In one story, since each step starts from the last: no key, the first, a second, none that is left."""

    def score(key: str = "", **headers: str) -> httpx.Response:
        bears = {"authorization": f"Bearer {key}"} if key else {}
        return server.client.post("/score", json=make_request(), headers={**bears, **headers})

    assert "There are no API keys" in server.output()
    assert server.client.get("/readyz").json()["access"] == "loopback"
    assert score().status_code == 200
    assert refusal(score(**{"x-forwarded-for": "192.0.2.7"})) == (403, "no_keys")
    assert refusal(score(**{"x-forwarded-for": "127.0.0.1"})) == (403, "no_keys")
    assert refusal(score(**{"forwarded": "for=192.0.2.7"})) == (403, "no_keys")
    assert refusal(score(origin="https://evil.example")) == (403, "no_keys")
    assert refusal(score(host="evil.example")) == (403, "no_keys")

    first, key = add_key(home, "crm", ["score"])
    until(lambda: score().status_code == 401, "the first key is asked for")
    assert server.client.get("/readyz").json()["access"] == "keys"
    refused = server.metric('leadscore_errors_total{code="no_key"}')
    for method, path in CLOSED:
        assert refusal(server.client.request(method, path, json={})) == (401, "no_key"), path
    assert server.metric('leadscore_errors_total{code="no_key"}') == refused + len(CLOSED)
    for path in OPEN:
        assert server.client.get(path).status_code == 200, path
    assert refusal(server.client.get("/nothing")) == (404, "unknown_path")
    assert score(key).status_code == 200
    assert score(**{"x-api-key": key}).status_code == 200
    assert score(key, **{"x-forwarded-for": "192.0.2.7"}).status_code == 200
    assert refusal(score(key[:-1])) == (401, "bad_key")
    # who is not known is told so before the size and the kind of the body are looked at
    assert refusal(server.client.post("/score", content=b"x", headers={"content-type": "text/plain"}))[1] == "no_key"
    assert refusal(server.client.put("/v1/prospects/p", json={}, headers={"x-api-key": key})) == (403, "scope")

    second, other = add_key(home, "erp", ["write"])
    until(lambda: refusal(score(other)) == (403, "scope"), "the second key is known, for what it may")
    revoke_key(home, first.id)
    until(lambda: score(key).status_code == 401, "the revoked key is refused")
    revoke_key(home, second.id)
    until(lambda: refusal(score(other)) == (401, "bad_key"), "the last key is refused")
    assert refusal(score()) == (401, "no_key")
    assert key.split("_", 2)[2] not in server.output()


def test_bentomls_own_client_bears_a_key(server: Server, home: Path) -> None:
    import bentoml

    _, key = add_key(home, "client", ["score"])
    until(lambda: server.client.get("/v1/model", headers={"x-api-key": key}).status_code == 200, "the key is known")
    with bentoml.SyncHTTPClient(server.url, token=key) as client:
        assert client.score(make_request())["prospect_id"] == "p1"
    with bentoml.SyncHTTPClient(server.url) as client, pytest.raises(bentoml.exceptions.BentoMLException):
        client.score(make_request())


def test_a_damaged_key_file_at_the_start_admits_nobody(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    point(home, {"won": {**put_bundle(home, "one"), "version": "1"}})
    (home / KEYS).write_text("[")
    with serving(home, tmp_path / "empty", LEADSCORE_POLL_SECONDS="0.05") as server:
        assert refusal(server.client.post("/score", json=make_request())) == (503, "bad_keys")
        assert refusal(server.client.get("/readyz")) == (503, "bad_keys")
        assert server.client.get("/livez").status_code == 200
        (home / KEYS).unlink()
        until(
            lambda: server.client.post("/score", json=make_request()).status_code == 200, "the file is out of the way"
        )


def test_other_machines_are_refused_without_a_key(tmp_path: Path) -> None:
    """A service started by other means than ``leadscore serve``, and reached by another address than loopback."""
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    home = tmp_path / "home"
    home.mkdir()
    point(home, {"won": {**put_bundle(home, "one"), "version": "1"}})
    port = free_port()
    command, environment = serve_command(home, port=port, environ=dict(os.environ))
    command[command.index("--host") + 1] = "0.0.0.0"
    (tmp_path / "empty").mkdir()
    with running(command, environment, port, tmp_path / "log", tmp_path / "empty") as server:
        assert server.client.post("/score", json=make_request()).status_code == 200
        with httpx.Client(base_url=f"http://{address}:{port}") as other:
            assert refusal(other.post("/score", json=make_request())) == (403, "no_keys")
            assert other.get("/livez").status_code == 200
            _, key = add_key(home, "crm", ["score"])
            headers = {"authorization": f"Bearer {key}"}
            until(
                lambda: other.post("/score", json=make_request(), headers=headers).status_code == 200, "the key opens"
            )


def own_address() -> str | None:
    """An address of this machine that is not loopback; asking for it sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = s.getsockname()[0]
    return None if address.startswith("127.") else address
