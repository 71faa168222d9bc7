"""A score request with what is known of the prospect or the account that it names, merged by id.

The request's own state records count as the newest versions of their ids; its facts stand beside the stored ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from features.contract import format_time
from features.errors import BadInput, LeadscoreError
from features.records import first_recorded
from serving.history import LEVELS, Known, readable_id
from serving.rows import Row, Scope, careful_event, read_outcome
from serving.values import read_time

if TYPE_CHECKING:
    from serving.schema import RequestReader


class Completed(NamedTuple):
    """A request with what the store knows: the body to be read, the moment that is now, and what is to be warned of."""

    data: Any
    now: int
    warnings: tuple[dict[str, str], ...] = ()


def id_of(data: Any, part: str, key: str) -> str | None:
    """The id of the record that a request is about, where it can be read; what is wrong with it is the reader's."""
    record = data.get(part) if type(data) is dict else None
    if type(record) is list and record:
        record = record[0]
    return readable_id(record.get(key)) if type(record) is dict else None


def as_of_of(data: Row) -> int | None:
    """The time that a request asks for; None for now, and where the reader will refuse it."""
    value = data.get("as_of")
    try:
        return None if value is None else read_time(value)
    except BadInput:
        return None


def only_names(data: Row, part: str = "prospect", key: str = "prospect_id") -> bool:
    """Whether a request holds nothing of what it is about but its id."""
    record = data.get(part)
    if type(record) is not dict or record.get(key) is None:
        return False
    return all(value is None or name == key for name, value in record.items())


def complete(data: Row, known: Known, now: int, reader: RequestReader) -> Completed:
    """A request about a prospect with what is known of it; ``reader`` is that of the model, which can read so much.

    The request's own state records count as the newest versions of their ids, its facts stand beside the stored ones.
    Raises BadInput where one id comes with two contents.
    """
    stored, warnings = _readable(known.body, reader)
    now = max(now, known.newest)
    own = stored["prospect"]
    body = _renamed(data, known.names) if known.names else data
    if known.asked != known.id:
        warnings.append(
            {
                "code": "merged",
                "text": "the prospect was merged into the one that this answer names, and is scored as it.",
            }
        )
    out = {name: value for name, value in body.items() if value is not None}
    scope = Scope(known.id, False, None)
    given = out["prospect"]
    if only_names(out):
        out["prospect"] = own
    else:
        first = given[0] if type(given) is list else given
        out["prospect"] = _versions(given, own, {"created_at": own["created_at"]})
        _check_born(first, own, "prospect[0]" if type(given) is list else "prospect")
    if "account" in stored and _account_agrees(out["prospect"], stored["account"]):
        if "account" not in out:
            out["account"] = stored["account"]
        elif _same_id(out["account"], stored["account"], "account_id"):
            out["account"] = _versions(out["account"], stored["account"], {})
    _facts(out, stored, "events", "", lambda item: careful_event(item, scope))
    _facts(out, stored, "outcomes", "", lambda item: read_outcome(item, scope))
    if "contacts" in stored and not _account_agrees(out["prospect"], own):  # it has moved: who comes along is named
        named = _named_by(_lasting(stored.get("events", ()))) | _named_by(body.get("events"))
        people = [{**c, "account_id": None} for c in stored["contacts"] if c["contact_id"] in named]
        stored = {**stored, "contacts": people}
    _records(out, stored, "contacts", "contact_id")
    if "related" in stored and _account_agrees(out["prospect"], own):
        theirs = Scope(known.id, True, None)
        if type(out.get("related")) is not dict and "related" in out:
            return Completed(out, now, tuple(warnings))
        related = {name: value for name, value in out.get("related", {}).items() if value is not None}
        _records(related, stored["related"], "prospects", "prospect_id")
        _facts(related, stored["related"], "events", "related.", lambda item: careful_event(item, theirs))
        _facts(related, stored["related"], "outcomes", "related.", lambda item: read_outcome(item, theirs))
        out["related"] = related
    return Completed(out, now, tuple(warnings))


def complete_account(data: Row, known: Known, now: int, reader: RequestReader) -> Completed:
    """A request that names an account and lists no prospects, with what is known of it.

    Its own account, contacts, events and outcomes stand with the stored ones as in ``complete``.
    """
    stored, warnings = _readable(known.body, reader)
    if known.asked != known.id:
        text = "the account was merged into the one that this answer names, and is scored as it."
        warnings.append({"code": "merged", "text": text})
    if known.names:
        data = _renamed(data, known.names)
    out = {name: value for name, value in data.items() if value is not None}
    given = out["account"]
    if only_names(data, "account", "account_id"):
        out["account"] = stored["account"]
    else:
        out["account"] = _versions(given, stored["account"], {})
    scope = Scope("", True, None)
    _records(out, stored, "contacts", "contact_id")
    _facts(out, stored, "events", "", lambda item: careful_event(item, scope))
    _facts(out, stored, "outcomes", "", lambda item: read_outcome(item, scope))
    out["prospects"] = stored["prospects"]
    return Completed(out, max(now, known.newest), tuple(warnings))


def _readable(body: Row, reader: RequestReader) -> tuple[Row, list[dict[str, str]]]:
    """The stored body without what the model's data set does not declare, and a warning of what it cannot read."""
    unread: set[str] = set()

    def fit(table: str, record: Row) -> Row:
        attributes = record.get("attributes")
        if not attributes:
            return record
        kept = {}
        for name, value in attributes.items():
            found = reader.declared[table].get(name)
            if found is None:
                continue
            try:
                found[0](value)
            except BadInput:
                unread.add(name)
                continue
            kept[name] = value
        out = {name: value for name, value in record.items() if name != "attributes"}
        return {**out, "attributes": kept} if kept else out

    out = dict(body)
    for name, table in (("prospect", "prospects"), ("account", "accounts")):
        if name in out:
            out[name] = fit(table, out[name])
    for name in ("prospects", "contacts"):
        if name in out:
            out[name] = [fit(name, record) for record in out[name]]
    if "related" in out:
        out["related"] = {**out["related"], "prospects": [fit("prospects", r) for r in out["related"]["prospects"]]}
    warnings = []
    if unread:
        listed = ", ".join(sorted(unread)[:5])
        text = f"of the stored records, the model cannot read: {listed}; they are of another kind there, and missing."
        warnings.append({"code": "stored_unreadable", "text": text})
    return out, warnings


def _versions(given: Any, stored: Row, fill: Row) -> Any:
    """The versions that a request gives of a record, and the stored one where theirs have times of their own."""
    if type(given) is list:
        filled = [{**fill, **_told(item)} if type(item) is dict else item for item in given]
        return [*filled, {**stored, "observed_at": stored.get("observed_at", _OLD)}]
    if type(given) is not dict:
        return given
    one = {**fill, **_told(given)}
    if one.get("observed_at") is None:
        return one
    return [one, {**stored, "observed_at": stored.get("observed_at", _OLD)}]


_OLD = "1900-01-01T00:00:00Z"  # since when a record counts that was known always


def _told(record: Row) -> Row:
    return {name: value for name, value in record.items() if value is not None}


def _check_born(given: Any, stored: Row, place: str) -> None:
    told = given.get("created_at") if type(given) is dict else None
    if told is None:
        return
    try:
        same = read_time(told) == read_time(stored["created_at"])
    except BadInput:
        return
    if not same:
        raise BadInput(
            "created_at_changes",
            f"the store knows the prospect as created at {stored['created_at']}.",
            where=f"{place}.created_at",
            remedy="A prospect is created once: send the same created_at, or leave it out.",
        )


def _same_id(given: Any, stored: Row, key: str) -> bool:
    first = given[0] if type(given) is list and given else given
    return type(first) is dict and first.get(key) in (None, stored[key])


def _account_agrees(prospect: Any, stored: Row) -> bool:
    """Whether the prospect, as the request has it, is of the account of a stored record."""
    versions = prospect if type(prospect) is list else [prospect]
    return any(type(v) is dict and v.get("account_id") == stored.get("account_id") for v in versions)


def _records(out: Row, stored: Row, name: str, key: str) -> None:
    """Put the stored records of a list beside the given ones, by id."""
    if name not in stored:
        return
    given = out.get(name, [])
    if type(given) is not list:
        return
    by_id = {record[key]: record for record in stored[name]}
    merged = []
    for item in given:
        first = item[0] if type(item) is list and item else item
        known = by_id.pop(first.get(key), None) if type(first) is dict and type(first.get(key)) is str else None
        merged.append(item if known is None else _versions(item, known, {}))
    out[name] = [*merged, *by_id.values()]


def _facts(out: Row, stored: Row, name: str, place: str, read: Any) -> None:
    """Put the stored facts of a list beside the given ones; a given one that is stored too must say the same."""
    if name not in stored:
        return
    given = out.get(name, [])
    if type(given) is not list:
        return
    if given:
        by_id = {read(item)[0]: item for item in stored[name]}
        for index, item in enumerate(given):
            try:
                fact = read(item)
            except (BadInput, TypeError, AttributeError):
                continue  # the reader tells it, with its place
            try:
                first_recorded(read(by_id.get(fact[0], item)), fact)
            except BadInput:
                raise BadInput(
                    f"conflicting_{name[:-1]}",
                    "the store knows this id with another content.",
                    where=f"{place}{name}[{index}]",
                    remedy="A fact never changes: send a correction under an id of its own, or leave this one out.",
                ) from None
    out[name] = [*given, *stored[name]]


def _lasting(stored: Iterable[Row]) -> Iterator[Row]:
    """The stored facts that were not taken back by then: such an event may have been the wrong person's."""
    return (fact for fact in stored if "retracted_at" not in fact)


def _named_by(events: Any) -> set[str]:
    """The contacts that events name; what is no event is passed over, and told by the reader with its place."""
    dicts = (e for e in events if type(e) is dict) if isinstance(events, Iterable) else ()
    return {contact for e in dicts if type(contact := e.get("contact_id")) is str}


def _renamed(data: Any, names: Mapping[str, Mapping[str, str]], levels: int = LEVELS) -> Any:
    """A request with the aliases of ids replaced by the ids that remain; ``names`` says which, by their key."""
    if levels and type(data) is list:
        return [_renamed(item, names, levels - 1) for item in data]
    if levels and type(data) is dict:
        return {
            key: names[key].get(value, value)
            if key in names and type(value) is str
            else _renamed(value, names, levels - 1)
            for key, value in data.items()
        }
    return data


def unknown_at(one: str, t: int | None) -> LeadscoreError:
    """The refusal of a request that only names a prospect or an account of which the store knows nothing by then."""
    when = "" if t is None else f" as of {format_time(t)}"
    what = "record of this prospect" if one == "prospect" else "prospect of this account"
    sent = "PUT /v1/prospects/ID" if one == "prospect" else "PUT /v1/prospects/ID, naming their account"
    return LeadscoreError(
        f"unknown_{one}",
        f"the store holds no {what}{when}, and the request holds none.",
        where=f"{one}.{one}_id",
        remedy=f"Send it first with {sent}, or with the request; or check the id and the time.",
    )
