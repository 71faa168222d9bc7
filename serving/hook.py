"""HubSpot's deliveries into the store: each change in its own transaction, older ones never over newer ones.

What a notice changed, and when, is remembered for each field, so that a delivery that comes again or too late changes
nothing. A change that cannot be taken is told in the answer and does not stop the others, since HubSpot would only send
all of them again; where the store fails, the answer is an error and HubSpot does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from features.contract import format_time, parse_time
from features.errors import BadInput, LeadscoreError
from serving import ledger
from serving.hubspot import (
    FILE,
    Change,
    Erase,
    Fact,
    Merge,
    Patch,
    Rules,
    check_signature,
    notices_of,
    read_mapping,
    records_of,
)
from serving.resources import LiveRecords
from serving.store import NAMES, VERSIONS
from serving.values import decode

PART = "hubspot"  # our table among those of the store
METADATA = sa.MetaData()
SEEN = sa.Table(  # since when each field is as it is, by the notice that said so
    "hubspot_seen",
    METADATA,
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("field", sa.String, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)


def _first(connection: Connection) -> None:
    METADATA.create_all(connection, checkfirst=True)


STEPS = (_first,)  # each takes the table one version further; never changed once released


class Writer(Protocol):
    """What changes are written through. Each raises LeadscoreError; each gives whether anything changed."""

    def patch(self, patch: Patch) -> bool:
        """Make a record's next version."""

    def add(self, fact: Fact) -> bool:
        """Keep an event or an outcome."""

    def merge(self, merge: Merge) -> bool:
        """Let a record be another one."""

    def erase(self, erase: Erase) -> bool:
        """Remove a person's records."""


class LiveWriter:
    """Writes through the live records. Made before the store's first use."""

    def __init__(self, live: LiveRecords) -> None:
        self.live = live
        live.store.add_part(PART, STEPS)
        live.erasers.append(forget)

    def patch(self, patch: Patch) -> bool:
        """Make a record's next version; fields of which something newer was told stay as they are."""

        def change(connection: Connection, record: dict[str, Any] | None) -> dict[str, Any] | None:
            fresh = _fresh(connection, patch)
            if record is not None and not fresh:
                return None
            if record is None and patch.like:
                return revised(None, patch, {**_joined(connection, patch), **fresh})
            return revised(record, patch, fresh)

        return self.live.revise(patch.table, patch.id, change)

    def add(self, fact: Fact) -> bool:
        """Keep an event or an outcome; one of its id that is there already stays as it is."""
        try:
            return bool(self.live.add(fact.table, dict(fact.item))["accepted"])
        except BadInput as e:
            if e.code in ("conflicting_event", "conflicting_outcome"):
                return False
            raise

    def merge(self, merge: Merge) -> bool:
        """Let a record be another one."""
        return bool(self.live.merge(merge.table, merge.id, {"into": merge.into})["merged"])

    def erase(self, erase: Erase) -> bool:
        """Remove a person's records."""
        gone = self.live.erase(erase.table, erase.id)
        return any(gone[name] for name in ("versions", "events", "outcomes"))


def revised(record: Mapping[str, Any] | None, patch: Patch, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A record with fields of a patch.

    A new prospect was created at the time of the first notice about it, unless it says when; that never changes
    later. A person whose company is not known stands in an account of its own, where its prospect does too.
    """
    out = dict(record or {})
    attributes = dict(out.pop("attributes", None) or {})
    for name, value in fields.items():
        if name.startswith("attributes."):
            attributes[name.removeprefix("attributes.")] = value
        elif name != "created_at" or record is None:
            out[name] = value
    if patch.table == "prospects" and out.get("created_at") is None:
        out["created_at"] = format_time(patch.at)
    if patch.table != "accounts" and out.get("account_id") is None:
        out["account_id"] = _own_account(patch.id)
    if attributes:
        out["attributes"] = attributes
    return {name: value for name, value in out.items() if value is not None}


def _joined(connection: Connection, patch: Patch) -> dict[str, Any]:
    """What the records said that a new one stands for: the first of them, and the earliest creation.

    HubSpot makes a new contact of two merged ones; created at the merge, it would lose the outcomes from before.
    """
    known = [ledger.newest(connection, patch.table, id) for id in patch.like if not _gone(connection, patch.table, id)]
    found = [record for record in known if record is not None]
    if not found:
        return {}
    out = {name: value for name, value in found[0].items() if name != "attributes"}
    out |= {f"attributes.{name}": value for name, value in (found[0].get("attributes") or {}).items()}
    if out.get("account_id") in {_own_account(id) for id in patch.like}:
        del out["account_id"]
    if patch.table == "prospects":
        out["created_at"] = min((record["created_at"] for record in found), key=parse_time)
    return out


def _gone(connection: Connection, table: str, id: str) -> bool:
    stone = ledger.tombstone(ledger.tombstone_key(connection), table, id)
    query = sa.select(sa.literal(1)).where(NAMES.c.kind == table, NAMES.c.id == stone, NAMES.c.erased.is_(True))
    return connection.execute(query).first() is not None


def _own_account(id: str) -> str:
    """The account of a person whose company is not known."""
    return f"of-{id}"


def _fresh(connection: Connection, patch: Patch) -> dict[str, Any]:
    """The fields of a patch of which nothing newer was told; from now on they are told of."""
    if not patch.fields:
        return {}
    mine = (SEEN.c.kind == patch.table, SEEN.c.id == patch.id, SEEN.c.field.in_(list(patch.fields)))
    known = {row.field: row.at for row in connection.execute(sa.select(SEEN.c.field, SEEN.c.at).where(*mine))}
    fresh = {name: value for name, value in patch.fields.items() if known.get(name, patch.at) <= patch.at}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(SEEN)
    newer = insert.on_conflict_do_update(index_elements=["kind", "id", "field"], set_={"at": insert.excluded.at})
    rows = [{"kind": patch.table, "id": patch.id, "field": name, "at": patch.at} for name in fresh]
    if rows:
        connection.execute(newer, rows)
    return fresh


def forget(connection: Connection, prospect_ids: Sequence[str], contact_ids: Sequence[str], now: int) -> None:
    """Remove what is remembered of erased people, as part of the transaction that erases them.

    Of prospects that an erased contact only had events with, nothing but the time of their fields is remembered. The
    name of an account that was theirs alone goes with the last record in it.
    """
    gone = (("contacts", contact_ids),) if contact_ids else (("prospects", prospect_ids),)
    for kind, ids in gone:
        for id in ids:
            connection.execute(SEEN.delete().where(SEEN.c.kind == kind, SEEN.c.id == id))
            own = _own_account(id)
            account = sa.and_(VERSIONS.c.kind == "accounts", VERSIONS.c.id == own)
            used = sa.exists().where(sa.or_(VERSIONS.c.account_id == own, account))
            alone = (NAMES.c.kind == "accounts", NAMES.c.id == own, NAMES.c.target.is_(None), ~used)
            connection.execute(NAMES.delete().where(*alone))


class Hook:
    """``POST /v1/hooks/hubspot`` of one worker; without a secret and an address of ours it is not there."""

    def __init__(self, writer: Writer, home: Path, secret: str, url: str) -> None:
        self._writer = writer
        self._home = home
        self._secret = secret
        self._url = url
        self._rules: tuple[Any, Rules] | None = None

    def take(self, headers: Mapping[str, str], query: str, body: bytes) -> dict[str, Any]:
        """Check a delivery and write what it says; to be called in a thread.

        Gives how many changes were new, how many were known, how many notices no rule is about, and which were refused.
        Raises LeadscoreError ``no_hook``, ``bad_signature``, ``bad_mapping``, what the store raises; BadInput for a
        body that is none of HubSpot's.
        """
        if not self._secret or not self._url:
            raise LeadscoreError(
                "no_hook",
                "deliveries from HubSpot are not taken here.",
                remedy="Set LEADSCORE_HUBSPOT_SECRET and LEADSCORE_HUBSPOT_URL where the service starts.",
            )
        check_signature(headers, self._secret, "POST", self._url, query, body, time.time_ns() // 1000)
        return apply(notices_of(decode(body)), self.rules(), self._writer)

    def rules(self) -> Rules:
        """The mapping as it is on disk now. Raises LeadscoreError ``bad_mapping``."""
        try:
            found = os.stat(self._home / FILE)
            seen: Any = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            seen = None
        if self._rules is None or self._rules[0] != seen:
            self._rules = (seen, read_mapping(self._home))
        return self._rules[1]


def apply(notices: Sequence[Mapping[str, Any]], rules: Rules, writer: Writer) -> dict[str, Any]:
    """Write the changes that notices make, in their order; the same again harms nothing. Raises what the store does."""
    counts = {"accepted": 0, "repeated": 0, "ignored": 0}
    refused: list[dict[str, Any]] = []
    for notice in notices:
        try:
            changes = records_of(notice, rules)
            counts["ignored"] += not changes
            stopped: LeadscoreError | None = None
            for change in changes:
                try:
                    counts["accepted" if _written(change, writer) else "repeated"] += 1
                except LeadscoreError as e:
                    if e.code != "erased":
                        raise
                    stopped = stopped or e  # of one who was erased; the others of a merge are still to be one
            if stopped is not None:
                raise stopped
        except LeadscoreError as e:
            if e.code.startswith("store_"):
                raise
            event_id = notice.get("eventId")
            refused.append({"event_id": str(event_id) if type(event_id) in (int, str) else None, "code": e.code})
    return {**counts, "refused": refused}


def _written(change: Change, writer: Writer) -> bool:
    if isinstance(change, Patch):
        return writer.patch(change)
    if isinstance(change, Fact):
        return writer.add(change)
    return writer.merge(change) if isinstance(change, Merge) else writer.erase(change)
