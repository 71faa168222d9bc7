"""The strict reader of score requests: how their records stand together, into the canonical records of one prospect
or of one account with all its prospects.

The published models stand in ``serving.openapi``. They are not what reads: the reader knows the columns that the
model's data set declares, sees repeated keys, gives every fault a code and its JSON path, and makes the records in one
pass. ``serving.rows`` reads a single record, ``serving.values`` a single value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from features.compiled import compiled
from features.contract import ALWAYS, DAY, KEYS, ROLES, Dataset, format_time
from features.errors import BadInput
from features.records import AccountRecords, Fact, Records, Version, Versions
from serving.faults import itself, mismatch, missing, optional, unknown_field, within
from serving.openapi import AccountRequest, Related, ScoreRequest
from serving.rows import Row, Scope, StateReader, read_event, read_facts, read_outcome
from serving.values import (
    ReadEvents,
    ReadRequest,
    decode,
    decode_items,
    read_category,
    read_list,
    read_time,
    unread,
    wrong,
)


@dataclass(frozen=True)
class ParsedRequest:
    """A request in canonical form: the records, t in microseconds, the goal asked for (None: the default)."""

    records: Records
    as_of: int
    goal: str | None
    warnings: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class ParsedAccount:
    """A request about an account in canonical form, as ``ParsedRequest`` is one about a prospect."""

    records: AccountRecords
    as_of: int
    goal: str | None
    warnings: tuple[dict[str, str], ...] = ()


_REQUEST = frozenset(ScoreRequest.model_fields)
_ACCOUNT = frozenset(AccountRequest.model_fields)
_RELATED = frozenset(Related.model_fields)
_CLOCK_SKEW = DAY // 24  # of a caller's clock ahead of ours, before we speak of it
_Placed = tuple[str, Row]  # a row and its path


class RequestReader:
    """Reads score requests for one declared data set; make one per model and keep it."""

    def __init__(self, dataset: Dataset) -> None:
        self._prospects = StateReader("prospects", dataset)
        self._accounts = StateReader("accounts", dataset)
        self._contacts = StateReader("contacts", dataset)
        # By table, the readers of its declared columns and whether a feature may name them.
        tables = [reader.compiled for reader in (self._prospects, self._accounts, self._contacts)]
        build = compiled("serving._rows", "Request", None)
        self._quick: Any = None if build is None else build(*tables, ParsedRequest)
        self.declared = {r.table: r.declared for r in (self._prospects, self._accounts, self._contacts)}

    def read(self, data: Any, now: int, place: str = "") -> ParsedRequest:
        """A decoded request in canonical form; ``now`` (microseconds) is the default of ``as_of``.

        Raises BadInput with a code and the JSON path; ``place`` is put before the path.
        """
        if type(data) is ReadRequest:
            taken: ParsedRequest | None = self._quick.take(data, now, now + _CLOCK_SKEW)
            if taken is not None:
                return taken
            data = unread(data)
        try:
            return self._read(data, now)
        except BadInput as e:
            raise within(e, place) from None

    def _read(self, data: Any, now: int) -> ParsedRequest:
        if type(data) is not dict:
            raise wrong(data, "an object")
        if not data.keys() <= _REQUEST:
            raise unknown_field(next(k for k in data if k not in _REQUEST), _REQUEST)
        get = data.get
        goal = _field(data, "goal", read_category)
        as_of = _field(data, "as_of", read_time)
        if get("prospect") is None:
            raise missing("prospect")
        t = now if as_of is None else as_of
        quick = None if self._quick is None else self._quick.read(data)
        if quick is not None and quick[1] <= t:
            return ParsedRequest(self._records(data, *quick), t, goal, _notices(as_of, now))
        rows = self._rows(self._prospects, get("prospect"), "prospect")
        prospect_id, created_at = _identity(rows)
        if created_at > t:
            raise BadInput(
                "as_of_before_creation",
                "the prospect did not exist yet at the time to score at.",
                where="prospect.created_at" if as_of is None else "as_of",
                remedy="Send an as_of at or after the prospect's created_at.",
            )
        related = _part(data, "related", _RELATED)
        siblings = self._many(self._prospects, related, "prospects", "related.prospects")
        accounts = None if get("account") is None else self._rows(self._accounts, data["account"], "account")
        ids = _accounts_of(rows, accounts, siblings)
        others = None if siblings is None else _related(siblings, prospect_id, ids)
        contacts = self._many(self._contacts, data, "contacts", "contacts")
        records = self._records(
            data,
            prospect_id,
            created_at,
            _versions(rows, "prospect_id")[prospect_id],
            None if accounts is None else _versions(accounts, "account_id"),
            None if contacts is None else _people(contacts, ids),
            others,
        )
        return ParsedRequest(records, t, goal, _notices(as_of, now))

    def _records(
        self,
        data: Any,
        prospect_id: str,
        created_at: int,
        prospect: Versions,
        accounts: dict[str, Versions] | None,
        contacts: dict[str, Versions] | None,
        others: dict[str, Versions] | None,
    ) -> Records:
        """The records of a request whose state records were read, with the facts that it holds."""
        related = _part(data, "related", _RELATED) or {}
        own = Scope(prospect_id, False, {prospect_id: created_at})
        created = None if others is None else {p: v[0].values["created_at"] for p, v in others.items()}
        theirs = Scope(prospect_id, True, created)
        seen: Row = {}
        events = read_facts(data.get("events"), "events", own, read_event, seen)
        if related.get("events") and type(events) is ReadEvents:
            seen.update((event.event_id, event) for event in events)
        related_events = read_facts(related.get("events"), "related.events", theirs, read_event, seen)
        seen = {}
        outcomes = read_facts(data.get("outcomes"), "outcomes", own, read_outcome, seen)
        related_outcomes = read_facts(related.get("outcomes"), "related.outcomes", theirs, read_outcome, seen)
        return Records(
            prospect_id=prospect_id,
            prospect=prospect,
            accounts=accounts,
            contacts=contacts,
            events=events,
            outcomes=outcomes,
            related=others,
            related_events=related_events,
            related_outcomes=related_outcomes,
        )

    def read_account(self, data: Any, now: int) -> ParsedAccount:
        """A decoded request about an account in canonical form; ``now`` (microseconds) is the default of ``as_of``.

        Raises BadInput with a code and the JSON path.
        """
        if type(data) is not dict:
            raise wrong(data, "an object")
        if not data.keys() <= _ACCOUNT:
            raise unknown_field(next(k for k in data if k not in _ACCOUNT), _ACCOUNT)
        goal = _field(data, "goal", read_category)
        as_of = _field(data, "as_of", read_time)
        if data.get("prospects") is None:
            raise missing("prospects")
        if data["prospects"] == []:
            raise BadInput(
                "empty_list", "the list of prospects is empty.", where="prospects", remedy="Send at least one prospect."
            )
        rows = self._many(self._prospects, data, "prospects", "prospects") or []
        accounts = None if data.get("account") is None else self._rows(self._accounts, data["account"], "account")
        account_id = _account_of(rows, accounts)
        created = {p: _identity(versions)[1] for p, versions in _by_id(rows, "prospect_id").items()}
        scope = Scope("", True, created, "prospects")
        events = read_facts(data.get("events"), "events", scope, read_event, {})
        outcomes = read_facts(data.get("outcomes"), "outcomes", scope, read_outcome, {})
        contacts = self._many(self._contacts, data, "contacts", "contacts")
        records = AccountRecords(
            account_id=account_id,
            prospects=_versions(rows, "prospect_id"),
            accounts=None if accounts is None else _versions(accounts, "account_id"),
            contacts=None if contacts is None else _people(contacts, {account_id}),
            events=_by_prospect(events),
            outcomes=_by_prospect(outcomes),
        )
        return ParsedAccount(records, now if as_of is None else as_of, goal, _notices(as_of, now))

    def _rows(self, reader: StateReader, data: Any, place: str) -> list[_Placed]:
        """One record or a list of its versions, each with its path."""
        if type(data) is not list:
            return [(place, self._row(reader, data, place))]
        if not data:
            raise BadInput(
                "empty_list", "the list of versions is empty.", where=place, remedy="Send at least one version."
            )
        out = []
        for index, version in enumerate(data):
            where = f"{place}[{index}]"
            row = self._row(reader, version, where)
            if row["observed_at"] is None:
                raise within(missing("observed_at", " in a list of versions"), where)
            out.append((where, row))
        return out

    def _row(self, reader: StateReader, data: Any, place: str) -> Row:
        try:
            row = reader.read(data)
            for name in reader.required:
                if row[name] is None:
                    raise missing(name)
        except BadInput as e:
            raise within(e, place) from None
        return row

    def _many(self, reader: StateReader, data: Any, name: str, place: str) -> list[_Placed] | None:
        """A list of records, each one or a list of its versions."""
        if data is None or data.get(name) is None:
            return None
        key = KEYS[reader.table]
        out: list[_Placed] = []
        for index, item in enumerate(read_list(data[name], place)):
            rows = self._rows(reader, item, f"{place}[{index}]")
            for where, row in rows[1:]:
                if row[key] != rows[0][1][key]:
                    raise mismatch(f"{where}.{key}", "versions of one record bear one id")
            out.extend(rows)
        return out


def _field(data: Row, name: str, read: Callable[[Any], Any]) -> Any:
    value = data.get(name)
    if value is None:
        return None
    try:
        return read(value)
    except BadInput as e:
        raise within(optional(e), name) from None


def _part(data: Row, name: str, known: frozenset[str]) -> Row | None:
    value = data.get(name)
    if value is None:
        return None
    if type(value) is not dict:
        raise within(optional(wrong(value, "an object")), name)
    for field in value:
        if field not in known:
            raise within(unknown_field(field, known), name)
    return value


def _identity(rows: list[_Placed]) -> tuple[str, int]:
    """The id and the creation that all versions of a prospect share."""
    first = rows[0][1]
    for where, row in rows[1:]:
        if row["prospect_id"] != first["prospect_id"]:
            raise mismatch(f"{where}.prospect_id", "versions of one record bear one id")
        if row["created_at"] != first["created_at"]:
            raise BadInput(
                "created_at_changes",
                "two versions of the prospect were created at two times.",
                where=f"{where}.created_at",
                remedy="A prospect is created once: send the same created_at in every version.",
            )
    return first["prospect_id"], first["created_at"]


def _named(rows: Iterable[_Placed]) -> dict[str, str]:
    """The accounts that the rows name, each with the path of its first naming."""
    out: dict[str, str] = {}
    for where, row in rows:
        if row["account_id"] is not None:
            out.setdefault(row["account_id"], f"{where}.account_id")
    return out


def _accounts_of(rows: list[_Placed], accounts: list[_Placed] | None, siblings: list[_Placed] | None) -> set[str]:
    """The accounts that the prospect belongs or belonged to; fills in what its place implies.

    Records that stand together without naming their account belong to one whose id is unknown: ``""`` stands for it.
    """
    own, given = _named(rows), _named(accounts or ())
    for account_id, where in given.items():
        if own and account_id not in own:
            raise mismatch(where, "the prospect names another account")
    known = own or given or _named(siblings or ())
    if not own:
        if len(known) > 1:
            raise within(missing("account_id", ", since several accounts are named"), rows[0][0])
        if not known and (accounts is not None or siblings is not None):
            known = {"": ""}
        for _, row in rows:
            row["account_id"] = next(iter(known), None)
    for where, row in accounts or ():
        if row["account_id"] is None:
            if len(known) > 1:
                raise within(missing("account_id", ", since the prospect names several accounts"), where)
            row["account_id"] = next(iter(known))
    return set(known)


def _account_of(rows: list[_Placed], accounts: list[_Placed] | None) -> str:
    """The one account that a request is about, ``""`` where nothing names it; fills in what its place implies."""
    given = _named(accounts or ())
    for where in list(given.values())[1:]:
        raise mismatch(where, "versions of one record bear one id")
    prospects = [(_named(versions), versions) for versions in _by_id(rows, "prospect_id").values()]
    if not given:
        for named, _ in prospects:
            for account_id, where in named.items():
                given.setdefault(account_id, where)
        for where in list(given.values())[1:]:
            raise mismatch(where, "the prospects name several accounts, and `account` does not say which one is meant")
    account_id = next(iter(given), "")
    for named, versions in prospects:
        if named and account_id not in named:
            raise mismatch(next(iter(named.values())), "the prospect belongs to another account")
        if not named:
            for _, row in versions:
                row["account_id"] = account_id
    for _, row in accounts or ():
        row["account_id"] = account_id
    return account_id


def _by_prospect(facts: tuple[Fact, ...] | None) -> dict[str, tuple[Fact, ...]] | None:
    if facts is None:
        return None
    out: dict[str, list[Fact]] = {}
    for fact in facts:
        out.setdefault(fact.prospect_id, []).append(fact)
    return {prospect_id: tuple(own) for prospect_id, own in out.items()}


def _versions(rows: Iterable[_Placed], key: str) -> dict[str, Versions]:
    """The versions by id, in the order of time; identical repeats collapsed."""
    found: dict[str, dict[int, Row]] = {}
    for where, row in rows:
        since = row["observed_at"]
        if since is None:
            since = row["created_at"] if key == "prospect_id" else ALWAYS  # others may declare a column of that name
        known = found.get(row[key])
        if known is None:
            found[row[key]] = {since: row}
            continue
        other = known.setdefault(since, row)
        if other is not row and {**other, "observed_at": None} != {**row, "observed_at": None}:
            raise BadInput(
                "conflicting_versions",
                "two differing versions of the record are known from the same moment.",
                where=where,
                remedy="Send one of them, or give each its own observed_at.",
            )
    return {name: tuple([Version(*item) for item in sorted(own.items(), key=_since)]) for name, own in found.items()}


_since = itemgetter(0)


def _by_id(rows: Iterable[_Placed], key: str) -> dict[str, list[_Placed]]:
    out: dict[str, list[_Placed]] = {}
    for placed in rows:
        out.setdefault(placed[1][key], []).append(placed)
    return out


def _agree(rows: list[_Placed], ids: set[str]) -> None:
    """At some time the record must have belonged to one of the prospect's accounts, where these are known by name."""
    named = _named(rows)
    known = ids - {""}
    if named and known and known.isdisjoint(named):
        raise mismatch(next(iter(named.values())), "the prospect belongs to another account")


def _related(rows: list[_Placed], prospect_id: str, ids: set[str]) -> dict[str, Versions]:
    for sibling, versions in _by_id(rows, "prospect_id").items():
        if sibling == prospect_id:
            raise itself(f"{versions[0][0]}.prospect_id")
        _identity(versions)
        _agree(versions, ids)
        if not _named(versions):
            if len(ids) > 1:
                reason = ", since the prospect names several accounts"
                raise within(missing("account_id", reason), versions[0][0])
            for _, row in versions:
                row["account_id"] = next(iter(ids))
    return _versions(rows, "prospect_id")


def _people(rows: list[_Placed], ids: set[str]) -> dict[str, Versions]:
    for versions in _by_id(rows, "contact_id").values():
        _agree(versions, ids)
        if len(ids) == 1:
            for _, row in versions:
                if row["account_id"] is None:
                    row["account_id"] = next(iter(ids))
    return _versions(rows, "contact_id")


def _notices(as_of: int | None, now: int) -> tuple[dict[str, str], ...]:
    if as_of is None or as_of <= now + _CLOCK_SKEW:
        return ()
    text = f"as_of lies after {format_time(now)}, when the request came: what happens until then is not known."
    return ({"code": "as_of_in_future", "text": text},)


def goal_of(data: Any) -> str | None:
    """The goal that a decoded request asks for, None for the default; raises BadInput where it is no text."""
    if type(data) is ReadRequest:
        goal: str | None = data.goal
        return goal
    return _field(data, "goal", read_category) if type(data) is dict else None


def items_of(data: Any, most: int) -> list[Any]:
    """The items of a decoded batch; raises BadInput where the frame is wrong or holds more than ``most``."""
    if type(data) is not dict:
        raise wrong(data, "an object")
    for name in data:
        if name != "items":
            raise unknown_field(name, ("items",))
    if data.get("items") is None:
        raise missing("items")
    items = data["items"]
    if type(items) is not list:
        raise within(wrong(items, "a list"), "items")
    if len(items) > most:
        raise BadInput(
            "too_many_items",
            f"the batch holds {len(items)} items, more than {most}.",
            where="items",
            remedy="Send several batches.",
        )
    return items


def items_in(body: bytes, most: int) -> list[Any]:
    """The items of a batch's body, each as ``decode_items`` gives it. Raises as ``decode`` and ``items_of``."""
    items = decode_items(body, most)
    return items_of(decode(body) if items is None else {"items": items}, most)


def bounded(account: AccountRecords, most: int, steps: int, by_contact: bool) -> None:
    """Raise BadInput where a request about an account holds or costs too much.

    At most ``most`` prospects or, with ``by_contact``, pairs of a prospect and a contact; and at most ``steps`` events
    to go through: each prospect is scored with the account's events as they are, once more for each sign that is
    supposed, and with ``by_contact`` with and without each contact.
    """
    prospects, contacts = len(account.prospects), len(account.contacts or ())
    events = sum(map(len, (account.events or {}).values()))
    remedy = "Send fewer prospects, such as the open ones and the latest others."
    if prospects > most:
        message = f"the account has {prospects} prospects, more than {most}."
        raise BadInput("too_many_items", message, where="prospects", remedy=remedy)
    if by_contact and prospects * contacts > most:
        message = f"{prospects} prospects times {contacts} contacts are more than {most}."
        raise BadInput("too_many_items", message, where="contacts", remedy="Send fewer prospects or contacts.")
    times = 1 + 2 * contacts if by_contact else 1 + 2 * len(ROLES)
    if prospects * times * events > steps:
        message = (
            f"{prospects} prospects, to be scored {times} times with {events} events, are too much for one request."
        )
        raise BadInput("too_many_items", message, where="events", remedy=remedy)


def parse_request(body: bytes | str | dict[str, Any], dataset: Dataset, now: int) -> ParsedRequest:
    """The canonical form of one score request: a JSON body, or what ``decode`` or ``json.loads`` made of it.

    ``now`` (microseconds since 1970) is the default of ``as_of``. Raises BadInput; nothing is coerced or guessed.
    """
    data = body if isinstance(body, dict) else decode(body)
    return RequestReader(dataset).read(data, now)
