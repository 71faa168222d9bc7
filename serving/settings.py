"""The settings of the service: one frozen object, read from the environment once and passed down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from features.errors import BadInput
from serving.explain import LANGUAGES

MIB = 1024 * 1024
LOGS = ("text", "json")
DEFAULT_HOME = ".leadscore"


@dataclass(frozen=True)
class Settings:
    """What may be set from outside; each field ``x`` is read from ``LEADSCORE_X``.

    Attributes:
        home: the folder with the champion pointer and the bundles.
        store: the URL of the live records' database, ``sqlite:///FILE`` or ``postgresql://...``; empty for the file
            ``live.db`` under the home.
        language: of the reasons' labels, ``en`` or ``fr``.
        reasons: how many reasons an answer gives at most; 0 leaves them out.
        score_bytes: the largest body of ``/score``, in bytes.
        batch_bytes: the largest body of ``/score_batch``, ``/score_account`` and ``/score_contacts``, in bytes.
        batch_items: the most items of one batch, prospects of one account, or pairs of a prospect and a contact.
        account_steps: the most events that a request about an account may make the service go through: its prospects,
            times the scores of each, times its events.
        body_seconds: how long a body may take to arrive.
        receipts_days: for how many days each score is kept with its features; 0 keeps none.
        receipts_queue: the most receipts that wait in a worker to be written; beyond it they are dropped and counted.
        hubspot_secret: the client secret of the HubSpot app whose webhooks are taken; empty: none are.
        hubspot_url: this service's address as HubSpot calls it, without the path: it is part of what is signed.
        deadline_seconds: how long after its body's arrival a request may be answered.
        concurrency: how many requests a worker works on at a time; what is beyond is refused, to be sent again.
        pending_bytes: how much the bodies that a worker has at hand may hold, in bytes.
        log: ``text`` tells what happens to the service, ``json`` the same and each answer, one JSON object a line.
        poll_seconds: how often a worker looks at the champion pointer.
    """

    home: Path = Path(DEFAULT_HOME)
    store: str = ""
    language: str = "en"
    reasons: int = 5
    score_bytes: int = 2 * MIB
    batch_bytes: int = 20 * MIB
    batch_items: int = 1000
    account_steps: int = 2_000_000
    body_seconds: float = 30.0
    deadline_seconds: float = 10.0
    concurrency: int = 64
    pending_bytes: int = 256 * MIB
    log: str = "text"
    poll_seconds: float = 1.0
    hubspot_secret: str = field(default="", repr=False)
    hubspot_url: str = ""
    receipts_days: float = 90.0
    receipts_queue: int = 10_000

    @staticmethod
    def from_environment(environ: Mapping[str, str]) -> Settings:
        """Read the settings; an empty variable counts as absent. Raises BadInput naming the variable."""
        given: dict[str, Any] = {}
        for each in fields(Settings):
            variable = f"LEADSCORE_{each.name.upper()}"
            text = environ.get(variable, "").strip()
            if text:
                read, expected = _READERS[each.name]
                try:
                    given[each.name] = read(text)
                except ValueError:
                    raise BadInput(
                        "bad_setting",
                        f"the setting must be {expected}.",
                        where=variable,
                        remedy="Correct the variable, or unset it to use the default.",
                    ) from None
        return Settings(**given)


def _whole(low: int, high: int) -> tuple[Callable[[str], int], str]:
    def read(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return read, f"a whole number from {low} to {high}"


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        number = float(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return read


def _seconds(low: float, high: float) -> tuple[Callable[[str], float], str]:
    return _number(low, high), f"a number of seconds from {low} to {high}"


def _address(text: str) -> str:
    if not text.startswith(("https://", "http://")) or "?" in text or "#" in text or not text.isascii():
        raise ValueError
    return text


def _language(text: str) -> str:
    if text not in LANGUAGES:
        raise ValueError
    return text


def _store(text: str) -> str:
    if not text.startswith(("sqlite:///", "postgresql:", "postgresql+psycopg:", "postgres:")):
        raise ValueError
    return text


def _log(text: str) -> str:
    if text not in LOGS:
        raise ValueError
    return text


_READERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "home": (Path, "a folder"),
    "store": (_store, "sqlite:///FILE or postgresql://USER@HOST/DATABASE"),
    "language": (_language, f"one of: {', '.join(LANGUAGES)}"),
    "reasons": _whole(0, 100),
    "score_bytes": _whole(1024, 1024 * MIB),
    "batch_bytes": _whole(1024, 1024 * MIB),
    "batch_items": _whole(1, 100_000),
    "account_steps": _whole(1, 1_000_000_000),
    "body_seconds": _seconds(0.1, 3600),
    "deadline_seconds": _seconds(0.1, 3600),
    "concurrency": _whole(1, 100_000),
    "pending_bytes": _whole(1024, 1024 * 1024 * MIB),
    "log": (_log, f"one of: {', '.join(LOGS)}"),
    "poll_seconds": _seconds(0.05, 3600),
    "hubspot_secret": (str, "a text"),
    "hubspot_url": (_address, "an address: https://HOST, with a path where a proxy adds one"),
    "receipts_days": (_number(0, 36_500), "a number of days from 0 to 36500"),
    "receipts_queue": _whole(1, 1_000_000),
}
