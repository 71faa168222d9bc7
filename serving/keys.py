"""API keys: who may call what. One small file under the home holds their hashes; without it only this machine may.

A key is 256 random bits behind a public id, so a plain SHA-256 of it cannot be turned back, and its file needs no more
protection than the champion pointer beside it. Once there is a key file a key is asked of everybody, also after the
last one was revoked: a service never opens because something was taken away.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from features.contract import format_time
from features.errors import BadInput, LeadscoreError
from serving.champion import check_home

logger = logging.getLogger("bentoml.leadscore")  # below bentoml's, whose level lets information through

KEYS = "keys.json"
SCOPES = ("score", "write", "admin")
Access = Literal["keys", "loopback", "closed"]

_PREFIX = "lsk"
_KEY = re.compile(rf"{_PREFIX}_([0-9a-f]{{12}})_[A-Za-z0-9_-]{{43}}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LOCK = ".keys.lock"
_NAME_LENGTH = 100
# What a proxy adds: behind one, every client looks as if it were on this machine.
_FORWARDED = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)
_OPEN = frozenset(
    {
        "/",
        "/livez",
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs.json",
        "/schema.json",
        "/v1/openapi.json",
        "/v1/hooks/hubspot",  # signed: see serving.hubspot
    }
)
_SCORE = frozenset({"/score", "/score_batch", "/score_account", "/score_contacts", "/v1/model"})
_RECORDS = ("accounts", "contacts", "prospects", "events", "outcomes")


@dataclass(frozen=True)
class Key:
    """What is kept of a key. ``id`` is public; ``created_at`` is an ISO 8601 time; ``sha256`` is of the whole key."""

    id: str
    name: str
    scopes: tuple[str, ...]
    sha256: str
    created_at: str

    def allows(self, scope: str) -> bool:
        """Whether the key opens what needs this scope; ``admin`` opens everything."""
        return scope in self.scopes or "admin" in self.scopes

    def to_json(self) -> dict[str, Any]:
        """The key as it is listed: without its hash."""
        return {"id": self.id, "name": self.name, "scopes": list(self.scopes), "created_at": self.created_at}


def scope_of(path: str) -> str | None:
    """The scope that a path needs, None where it is open to all; ``admin`` for what is not known here."""
    if path in _OPEN:
        return None
    if path in _SCORE or path.startswith("/v1/scores/"):
        return "score"
    if path.startswith("/v1/") and path[4:].partition("/")[0] in _RECORDS:
        return "write"
    return "admin"


def read_keys(home: Path | str) -> tuple[Key, ...] | None:
    """The keys of a home, the oldest first; None where there is no key file.

    Raises LeadscoreError ``bad_keys`` where the file cannot be read as such, BadInput ``bad_home`` where the home is no
    folder. The file is replaced atomically by its writer, so a reader never sees half of one.
    """
    check_home(home)
    path = Path(home) / KEYS
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for its writer
            raise _bad(path, "it is not a file")
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as e:
        raise _bad(path, f"it cannot be read: {e.strerror or type(e).__name__}") from None
    except (ValueError, RecursionError):
        raise _bad(path, "it is not valid JSON") from None
    if not isinstance(data, list):
        raise _bad(path, "it is not a list")
    keys = tuple(_key(path, f"[{index}]", entry) for index, entry in enumerate(data))
    if len({key.id for key in keys}) < len(keys):
        raise _bad(path, "it has one id twice")
    return keys


def _key(path: Path, place: str, entry: Any) -> Key:
    if not isinstance(entry, Mapping):
        raise _bad(path, f"{place} is not an object")
    texts: dict[str, Any] = {name: entry.get(name) for name in ("id", "name", "sha256", "created_at")}
    scopes = entry.get("scopes")
    if (
        not all(isinstance(text, str) for text in texts.values())
        or not _ID.fullmatch(texts["id"])
        or not _DIGEST.fullmatch(texts["sha256"])
        or not isinstance(scopes, list)
        or not scopes
        or any(scope not in SCOPES for scope in scopes)
    ):
        raise _bad(path, f"{place} is not a key with id, name, scopes, sha256 and created_at")
    return Key(scopes=tuple(scopes), **texts)


def _bad(path: Path, fault: str) -> LeadscoreError:
    return LeadscoreError(
        "bad_keys",
        f"the key file is damaged: {fault}.",
        where=str(path),
        remedy=f"Restore {KEYS} from a backup, or remove it and make new keys: leadscore keys add NAME --scope score.",
    )


# Making and revoking


def add_key(home: Path | str, name: str, scopes: Iterable[str]) -> tuple[Key, str]:
    """Make a key: what is kept of it, and the key itself, which is known only here and now.

    Raises BadInput ``bad_name``, ``bad_scope`` or ``bad_home``, LeadscoreError ``bad_keys``.
    """
    name = " ".join(name.split())
    if not name or len(name) > _NAME_LENGTH or not name.isprintable():
        raise BadInput(
            "bad_name",
            f"a key needs a name of 1 to {_NAME_LENGTH} printable characters.",
            where="NAME",
            remedy="Name it after what will use it, such as crm.",
        )
    asked = set(scopes)
    if not asked or not asked <= set(SCOPES):
        wrong = ", ".join(sorted(asked - set(SCOPES))) or "none"
        raise BadInput(
            "bad_scope",
            f"there is no such scope: {wrong}." if asked else "a key needs a scope.",
            where="--scope",
            remedy=f"Use one or several of: {', '.join(SCOPES)}.",
        )
    with _lock(home):
        kept = read_keys(home) or ()
        taken = {key.id for key in kept}
        public = next(i for i in iter(lambda: secrets.token_hex(6), "") if i not in taken)
        text = f"{_PREFIX}_{public}_{secrets.token_urlsafe(32)}"
        ordered = tuple(scope for scope in SCOPES if scope in asked)
        key = Key(public, name, ordered, _hash(text.encode()), format_time(time.time_ns() // 1000))
        _write(home, (*kept, key))
    return key, text


def revoke_key(home: Path | str, key_id: str) -> tuple[Key, int]:
    """Revoke a key by its public id: the key that was, and how many are left.

    Services follow within their ``poll_seconds``. Raises BadInput ``unknown_key``.
    """
    with _lock(home):
        kept = read_keys(home) or ()
        found = next((key for key in kept if key.id == key_id), None)
        if found is None:
            raise BadInput(
                "unknown_key", "there is no key of this id.", where="ID", remedy="See the ids: leadscore keys list."
            )
        left = tuple(key for key in kept if key is not found)
        _write(home, left)
    return found, len(left)


def _hash(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


@contextmanager
def _lock(home: Path | str) -> Iterator[None]:
    """One writer of keys at a time. It is not the registry's lock: a revocation does not wait for a training."""
    check_home(home)
    try:
        Path(home).mkdir(parents=True, exist_ok=True)
        file = open(Path(home) / _LOCK, "w")  # noqa: SIM115 - closed below
    except OSError as e:
        raise BadInput(
            "bad_home",
            f"the home cannot be written: {e.strerror or type(e).__name__}.",
            where=str(home),
            remedy="Name another folder with --home, or mend its permissions.",
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(home: Path | str, keys: Sequence[Key]) -> None:
    path = Path(home) / KEYS
    draft = path.with_name(f".{KEYS}.draft")  # one writer at a time: the lock is held
    with open(draft, "w", encoding="utf-8") as file:
        json.dump([asdict(key) for key in keys], file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# Asking for one


class Keys:
    """The keys of a home as one worker knows them: followed on disk, and asked at every request."""

    def __init__(self, home: Path | str) -> None:
        self.home = Path(home)
        self.problem: LeadscoreError | None = None
        self._keys: dict[str, tuple[Key, bytes]] | None = None  # by id; None: no key file was ever seen
        self._seen: Any = object()

    @property
    def access(self) -> Access:
        """Who is answered: who has a key, whoever is on this machine, or nobody, since the key file is damaged."""
        if self._keys is not None:
            return "keys"
        return "loopback" if self.problem is None else "closed"

    def refresh(self) -> bool:
        """Follow the key file where it changed on disk; True where it did. Never raises.

        A damaged file leaves the keys before it in force, and admits nobody where there were none. So does a file that
        goes away: what was closed does not open by an accident.
        """
        seen = self._stat()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            found = read_keys(self.home)
        except LeadscoreError as e:
            self.problem = e
            logger.error("Refused the key file: %s: %s", e.code, e)
            return True
        self.problem = None
        if found is None:
            if self._keys is not None:
                logger.error("The key file is gone: the keys that it held stay in force until the service restarts.")
            else:
                logger.warning("There are no API keys: only clients on this machine are answered.")
            return True
        self._keys = {key.id: (key, key.sha256.encode()) for key in found}
        logger.info("API keys: %d in force.", len(found))
        return True

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = (self.home / KEYS).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def check(
        self, headers: Iterable[tuple[bytes, bytes]], scope: str | None, client: Sequence[Any] | None
    ) -> str | None:
        """The name of the key that a request bears, None where none is needed.

        Args:
            headers: the request's, their names in lower case, as ASGI gives them.
            scope: what the path needs (``scope_of``).
            client: the peer's (host, port), None where it is unknown.

        Raises:
            LeadscoreError: ``no_key`` or ``bad_key`` (401), ``scope`` or ``no_keys`` (403), ``bad_keys`` (503).
        """
        if scope is None:
            return None
        if self._keys is None:
            if self.problem is not None:
                raise LeadscoreError(
                    "bad_keys",
                    "the service cannot read its keys, so it answers nobody.",
                    remedy="See the service's log, and mend or remove the key file.",
                )
            if client is None or not _is_loopback(client[0]) or _from_elsewhere(headers):
                raise LeadscoreError(
                    "no_keys",
                    "the service has no keys yet, and so answers only clients on its own machine.",
                    remedy="Call it there as 127.0.0.1; or make a key: leadscore keys add NAME --scope score.",
                )
            return None
        given = _given(headers)
        if given is None:
            raise LeadscoreError(
                "no_key",
                "the request bears no key.",
                where="authorization",
                remedy="Send the header authorization: Bearer KEY, or x-api-key: KEY.",
            )
        key = self._found(given)
        if key is None:
            raise LeadscoreError(
                "bad_key",
                "the key is not valid.",
                where="authorization",
                remedy="Correct it, or make another: leadscore keys add NAME --scope score.",
            )
        if not key.allows(scope):
            raise LeadscoreError(
                "scope",
                f"the key does not have the scope that this needs: {scope}.",
                where="authorization",
                remedy=f"Make a key with it: leadscore keys add NAME --scope {scope}.",
            )
        return key.name

    def _found(self, given: bytes) -> Key | None:
        match = _KEY.fullmatch(given.decode("latin-1"))
        known = (self._keys or {}).get(match[1]) if match else None
        # The id is public and found as any word is; the rest is compared in a time that tells nothing of it.
        key, wanted = known if known is not None else (None, b"0" * 64)
        return key if hmac.compare_digest(_hash(given).encode(), wanted) else None


def _given(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key that a request bears; a scheme other than Bearer is not meant for us."""
    other = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return rest.strip()
        elif name == b"x-api-key":
            other = value.strip()
    return other


def _from_elsewhere(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether another machine asks through this one: a proxy, or a page that a browser here was made to load.

    A page's own script gives itself away by its origin, one behind a name that was bound to this address by that name.
    """
    for name, value in headers:
        if name in _FORWARDED or (name == b"host" and not _here(value)):
            return True
        if name == b"origin" and not _here(value.rpartition(b"://")[2]):
            return True
    return False


@lru_cache(maxsize=64)
def _here(host: bytes) -> bool:
    """Whether a host, with or without its port, is this machine by name or number."""
    if len(host) > 300:  # no name is so long, and what is kept here is to stay small
        return False
    name = host.lower() if host.endswith(b"]") else host.rpartition(b":")[0].lower() or host.lower()
    return name == b"localhost" or _is_loopback(name.strip(b"[]").decode("latin-1"))


@lru_cache(maxsize=1024)
def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def check_host(home: Path | str, host: str) -> None:
    """Raises BadInput ``no_keys`` where a service would listen to other machines without a key to ask of them."""
    if host == "localhost" or _is_loopback(host) or read_keys(home):
        return
    raise BadInput(
        "no_keys",
        f"without an API key the service listens on loopback only, not on {host}.",
        where="--host",
        remedy="Make a key first: leadscore keys add NAME --scope score; or leave --host out.",
    )
