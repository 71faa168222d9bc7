"""What HubSpot's webhooks say, in our terms: a signed delivery checked, and its notices turned into changes of records.

Pure but for reading the mapping, a table in TOML: the default below, or ``hubspot.toml`` under the home. A notice says
one property of one object, so a change of a record is a patch; and deliveries repeat and overtake each other, so every
change bears the time of its notice, and the ids of facts are made of what a repeated notice repeats.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from features.contract import DIRECTIONS, KEYS, STANDARD, format_time
from features.errors import BadInput, LeadscoreError
from serving.values import read_time, wrong

FILE = "hubspot.toml"
PATH = "/v1/hooks/hubspot"
SKEW_SECONDS = 300  # a delivery that is older, or from the future by more, is not taken

DEFAULT = """
# What HubSpot's objects become. A contact is a prospect and, as a person, a contact of its company; a company is an
# account. An object may feed several tables; with deals as prospects, say so in a table of your own.
[[records]]
object = "contact"
table = "prospects"
fields = {createdate = "created_at", associatedcompanyid = "account_id", hs_analytics_source = "source"}

[[records]]
object = "contact"
table = "contacts"
fields = {associatedcompanyid = "account_id", jobtitle = "job_title", hs_buying_role = "role"}
[records.values.hs_buying_role]
BUDGET_HOLDER = "buyer"
DECISION_MAKER = "buyer"
EXECUTIVE_SPONSOR = "buyer"
CHAMPION = "prescriber"
INFLUENCER = "prescriber"
BLOCKER = "prescriber"
LEGAL_AND_COMPLIANCE = "prescriber"
END_USER = "user"

[[records]]
object = "company"
table = "accounts"
fields = {country = "country", industry = "industry", numberofemployees = "headcount", annualrevenue = "revenue"}

# A property that holds the time of the latest engagement: each change of it is one more of them.
[[events]]
object = "contact"
property = "hs_email_last_open_date"
type = "email_open"
direction = "inbound"
channel = "email"

[[events]]
object = "contact"
property = "hs_email_last_click_date"
type = "email_click"
direction = "inbound"
channel = "email"

[[events]]
object = "contact"
property = "hs_email_last_reply_date"
type = "email_reply"
direction = "inbound"
channel = "email"

[[events]]
object = "contact"
property = "hs_email_last_send_date"
type = "email_sent"
direction = "outbound"
channel = "email"

[[events]]
object = "contact"
property = "hs_analytics_last_timestamp"
type = "page_view"
direction = "inbound"
channel = "web"

[[events]]
object = "contact"
property = "recent_conversion_date"
type = "form_submission"
direction = "inbound"
channel = "web"

# An engagement that is associated with the object.
[[events]]
object = "contact"
association = "meeting"
type = "meeting"
channel = "meeting"

[[events]]
object = "contact"
association = "call"
type = "call"
channel = "phone"

[[outcomes]]
object = "contact"
property = "lifecyclestage"
values = {customer = "won"}

[[outcomes]]
object = "contact"
property = "hs_lead_status"
values = {UNQUALIFIED = "lost"}
"""

_OBJECTS = {  # what HubSpot's newer notices call by number
    "0-1": "contact",
    "0-2": "company",
    "0-3": "deal",
    "0-5": "ticket",
    "0-18": "communication",
    "0-27": "task",
    "0-46": "note",
    "0-47": "meeting",
    "0-48": "call",
    "0-49": "email",
    "0-116": "postal_mail",
}
_DECODED = {  # the only characters that HubSpot decodes in the URI that it signs
    "%3A": ":",
    "%2F": "/",
    "%3F": "?",
    "%40": "@",
    "%21": "!",
    "%24": "$",
    "%27": "'",
    "%28": "(",
    "%29": ")",
    "%2A": "*",
    "%2C": ",",
    "%3B": ";",
}


# The signature


def signed_uri(base: str, query: str) -> str:
    """The URI that HubSpot signs: ours as it is known outside, some of its characters decoded."""
    uri = base.rstrip("/") + PATH + (f"?{query}" if query else "")
    for code, character in _DECODED.items():
        uri = uri.replace(code, character).replace(code.lower(), character)
    return uri


def sign(secret: str, method: str, uri: str, body: bytes, timestamp: str) -> str:
    """HubSpot's signature, version 3: base64 of the HMAC-SHA256 over method, URI, body and timestamp."""
    text = method.encode() + uri.encode() + body + timestamp.encode()
    return base64.b64encode(hmac.digest(secret.encode(), text, hashlib.sha256)).decode()


def check_signature(
    headers: Mapping[str, str], secret: str, method: str, base: str, query: str, body: bytes, now: int
) -> None:
    """Raise LeadscoreError ``bad_signature`` where a delivery was not signed with our secret, or too long ago.

    ``headers`` have names in lower case; ``now`` is in microseconds.
    """
    given, timestamp = headers.get("x-hubspot-signature-v3", ""), headers.get("x-hubspot-request-timestamp", "")
    if not given or not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 15:
        raise _unsigned("it bears no signature of version 3 with its time")
    if abs(now // 1000 - int(timestamp)) > SKEW_SECONDS * 1000:
        raise _unsigned("it was signed more than 5 minutes from now")
    wanted = sign(secret, method, signed_uri(base, query), body, timestamp)
    if not hmac.compare_digest(wanted.encode(), given.encode()):
        raise _unsigned("the signature is another one")


def _unsigned(why: str) -> LeadscoreError:
    return LeadscoreError(
        "bad_signature",
        f"the delivery is not taken for HubSpot's: {why}.",
        where="x-hubspot-signature-v3",
        remedy="Check LEADSCORE_HUBSPOT_SECRET (the app's client secret), LEADSCORE_HUBSPOT_URL (this service's "
        "address as HubSpot calls it) and the machine's clock.",
    )


# The mapping


@dataclass(frozen=True)
class RecordRule:
    """An object feeds a table: its properties by the fields that they become, values translated where told.

    ``associations`` are other objects whose ids become a field; ``kinds`` those of declared columns (``attributes.x``)
    that are no texts.
    """

    object: str
    table: str
    fields: Mapping[str, str] = field(default_factory=dict)
    associations: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EventRule:
    """A change of a property, or an association with an engagement, is an event of the object's prospect."""

    object: str
    type: str
    property: str = ""
    association: str = ""
    direction: str = ""
    channel: str = ""


@dataclass(frozen=True)
class OutcomeRule:
    """Some values of a property are outcomes of the object's prospect."""

    object: str
    property: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Rules:
    """The table of all rules."""

    records: tuple[RecordRule, ...]
    events: tuple[EventRule, ...]
    outcomes: tuple[OutcomeRule, ...]

    def tables(self, object: str) -> tuple[str, ...]:
        """The tables that an object feeds."""
        return tuple(dict.fromkeys(rule.table for rule in self.records if rule.object == object))


def read_mapping(home: Path) -> Rules:
    """The mapping of a home, by default ours. Raises LeadscoreError ``bad_mapping`` naming the place."""
    path = home / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = DEFAULT
    except (OSError, ValueError) as e:
        raise _bad(path, f"it cannot be read: {type(e).__name__}") from None
    return parse_mapping(text, path)


def parse_mapping(text: str, path: Path) -> Rules:
    """A mapping from TOML; ``path`` is named where it is wrong."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise _bad(path, f"it is not valid TOML: {e}") from None
    unknown = set(data) - {"records", "events", "outcomes"}
    if unknown:
        raise _bad(path, f"it has a part {sorted(unknown)[0]!r}; there are records, events and outcomes")
    made: dict[str, list[Any]] = {"records": [], "events": [], "outcomes": []}
    for part, kind in (("records", RecordRule), ("events", EventRule), ("outcomes", OutcomeRule)):
        rules = data.get(part, [])
        if not isinstance(rules, list):
            raise _bad(path, f"{part} is not a list of tables, [[{part}]]")
        for index, rule in enumerate(rules):
            place = f"{part}[{index}]"
            try:
                made[part].append(_checked(kind(**rule)))
            except TypeError:
                raise _bad(path, f"{place} lacks a key or has one that is not known") from None
            except ValueError as e:
                raise _bad(path, f"{place}: {e}") from None
    mapping = Rules(tuple(made["records"]), tuple(made["events"]), tuple(made["outcomes"]))
    named = [*(rule.object for rule in mapping.events), *(rule.object for rule in mapping.outcomes)]
    for name in named:
        if "prospects" not in mapping.tables(name):
            raise _bad(path, f"there are events or outcomes of the object {name!r}, which is no prospect")
    return mapping


def _checked(rule: Any) -> Any:
    for name, value in vars(rule).items():
        wanted = Mapping if name in ("fields", "associations", "values", "kinds") else str
        if not isinstance(value, wanted):
            raise ValueError(f"{name} is not a {'table' if wanted is Mapping else 'text'}")
    if isinstance(rule, RecordRule):
        if rule.table not in KEYS:
            raise ValueError(f"there is no table {rule.table!r}")
        known = {c.name for c in STANDARD[rule.table]} - {KEYS[rule.table], "observed_at"}
        for target in (*rule.fields.values(), *rule.associations.values()):
            if not isinstance(target, str) or not (target in known or target.startswith("attributes.")):
                raise ValueError(f"{rule.table} has no field {target!r}; declared columns are attributes.NAME")
        if not all(isinstance(table, Mapping) for table in rule.values.values()):
            raise ValueError("values are tables, one for each property")
        if not set(rule.kinds.values()) <= {"number", "boolean", "category", "text"}:
            raise ValueError("kinds are number, boolean, category or text")
    if isinstance(rule, EventRule):
        if bool(rule.property) == bool(rule.association):
            raise ValueError("an event has either a property or an association")
        if rule.direction and rule.direction not in DIRECTIONS:
            raise ValueError(f"direction is one of {', '.join(DIRECTIONS)}")
        if not rule.type:
            raise ValueError("type is empty")
    if isinstance(rule, OutcomeRule) and not all(isinstance(v, str) and v for v in rule.values.values()):
        raise ValueError("values map texts to outcomes")
    return rule


def _bad(path: Path, fault: str) -> LeadscoreError:
    return LeadscoreError(
        "bad_mapping",
        f"the mapping of HubSpot's objects is wrong: {fault}.",
        where=str(path),
        remedy="Correct it, or remove it to use the default: see docs/hubspot.md.",
    )


# The changes


@dataclass(frozen=True)
class Patch:
    """Fields of a record that are now so; ``at`` is the time of the notice in microseconds.

    A None takes a field back. A record that is not there is made; an empty patch makes it and changes nothing else.
    ``like`` are records that it will stand for: what is made says what they said, created when the first of them was.
    """

    table: str
    id: str
    fields: Mapping[str, Any]
    at: int
    like: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fact:
    """An event or an outcome, as ``POST /v1/events`` and ``/v1/outcomes`` take it."""

    table: str
    item: Mapping[str, Any]


@dataclass(frozen=True)
class Merge:
    """A record is another one from now on."""

    table: str
    id: str
    into: str


@dataclass(frozen=True)
class Erase:
    """A person asked to be forgotten."""

    table: str
    id: str


Change = Patch | Fact | Merge | Erase


def notices_of(payload: Any) -> list[dict[str, Any]]:
    """The notices of a decoded delivery, in the order of their time. Raises BadInput where it is no list of objects."""
    notices = [payload] if type(payload) is dict else payload
    if type(notices) is not list or any(type(notice) is not dict for notice in notices):
        raise wrong(payload, "a list of HubSpot's notices")
    return sorted(notices, key=lambda n: (_whole(n.get("occurredAt")) or 0, "creation" not in str(_kind(n)[1])))


def records_of(notice: Mapping[str, Any], mapping: Rules) -> list[Change]:
    """The changes that a notice makes, none where no rule is about it.

    Raises BadInput where it lacks what its kind must have, or a value cannot be read.
    """
    object, what = _kind(notice)
    millis = _whole(notice.get("occurredAt"))
    if millis is None:
        raise BadInput(
            "missing_field", "a notice bears no time.", where="occurredAt", remedy="Send it as HubSpot does."
        )
    at = millis * 1000
    if what == "merge":
        return list(_merges(notice, mapping.tables(object), at))
    if what == "associationChange":
        return list(_associated(notice, mapping, at))
    id = _id(notice.get("objectId"), "objectId")
    if what == "privacyDeletion":
        return [Erase(table, id) for table in mapping.tables(object) if table != "accounts"]
    if what == "creation":
        return [Patch(table, id, {}, at) for table in mapping.tables(object)]
    if what == "propertyChange":
        return list(_property(notice, mapping, object, id, at))
    return []  # deletions go into HubSpot's bin, from where they come back: only privacy deletions erase


def _property(notice: Mapping[str, Any], mapping: Rules, object: str, id: str, at: int) -> Iterator[Change]:
    name, value = notice.get("propertyName"), notice.get("propertyValue")
    if type(name) is not str:
        raise BadInput(
            "missing_field", "the notice names no property.", where="propertyName", remedy="Send it as HubSpot does."
        )
    text = "" if value is None else str(value)
    for rule in mapping.records:
        target = rule.fields.get(name)
        if rule.object == object and target is not None:
            yield Patch(rule.table, id, {target: _value(text, target, rule, name)}, at)
    for event in mapping.events:
        if event.object == object and event.property == name and text:
            key = f"{_part(notice, 'eventId')}-{_part(notice, 'subscriptionId')}-{id}-{at // 1000}-{event.type}"
            told = _whole(text)
            occurred = told * 1000 if told is not None and told * 1000 <= at else at
            yield Patch("prospects", id, {}, at)
            yield Fact("events", _event(event, key, id, occurred, mapping))
    for outcome in mapping.outcomes:
        found = outcome.values.get(text) if outcome.object == object and outcome.property == name else None
        if found is not None:
            yield Patch("prospects", id, {}, at)
            item = {"prospect_id": id, "outcome": found, "occurred_at": format_time(at)}
            yield Fact("outcomes", {"outcome_id": f"hubspot-{id}-{at // 1000}-{found}", **item})


def _associated(notice: Mapping[str, Any], mapping: Rules, at: int) -> Iterator[Change]:
    ends = _ends(notice)
    removed = notice.get("associationRemoved") is True
    for (mine, id), (other, other_id) in (ends, ends[::-1]):
        for rule in mapping.records:
            target = rule.associations.get(other)
            if rule.object == mine and target is not None:
                yield Patch(rule.table, id, {target: None if removed else other_id}, at)
        for event in mapping.events:
            if event.object == mine and event.association == other and not removed:
                # Both ends are told of: one event, named after the two.
                yield Patch("prospects", id, {}, at)
                yield Fact("events", _event(event, f"{other}-{other_id}-{id}-{event.type}", id, at, mapping))


def _merges(notice: Mapping[str, Any], tables: tuple[str, ...], at: int) -> Iterator[Change]:
    primary = _id(notice.get("primaryObjectId", notice.get("objectId")), "primaryObjectId")
    into = primary if notice.get("newObjectId") is None else _id(notice["newObjectId"], "newObjectId")
    merged = notice.get("mergedObjectIds", [])
    if type(merged) is not list:
        raise wrong(merged, "a list of ids")
    others = {_id(other, "mergedObjectIds") for other in merged} - {primary}
    gone = tuple(id for id in (primary, *sorted(others)) if id != into)
    for table in tables:
        yield Patch(table, into, {}, at, gone)
        for other in sorted(gone):
            yield Merge(table, other, into)


def _event(rule: EventRule, key: str, id: str, at: int, mapping: Rules) -> dict[str, Any]:
    item = {"event_id": f"hubspot-{key}", "prospect_id": id, "type": rule.type, "occurred_at": format_time(at)}
    if "contacts" in mapping.tables(rule.object):
        item["contact_id"] = id
    return {**item, **{k: v for k, v in (("direction", rule.direction), ("channel", rule.channel)) if v}}


def _kind(notice: Mapping[str, Any]) -> tuple[str, str]:
    """The object that a notice is about and what happened: ``contact.propertyChange``, ``object.creation``."""
    object, _, what = str(notice.get("subscriptionType", "")).partition(".")
    if object == "object":
        number = str(notice.get("objectTypeId", ""))
        object = _OBJECTS.get(number, number)
    return object, what


def _ends(notice: Mapping[str, Any]) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two objects of an association, each with its id."""
    first, _, second = str(notice.get("associationType", "")).lower().partition("_to_")
    numbers = (str(notice.get("fromObjectTypeId", "")), str(notice.get("toObjectTypeId", "")))
    names = tuple(_OBJECTS.get(n, n) or word for n, word in zip(numbers, (first, second), strict=True))
    ids = (_id(notice.get("fromObjectId"), "fromObjectId"), _id(notice.get("toObjectId"), "toObjectId"))
    return (names[0], ids[0]), (names[1], ids[1])


def _value(text: str, target: str, rule: RecordRule, name: str) -> Any:
    """A property's value, which HubSpot always gives as text, as the field's; None where it is empty or not mapped."""
    if name in rule.values:
        return rule.values[name].get(text)
    text = text.strip()
    if not text:
        return None
    kind = rule.kinds.get(target.removeprefix("attributes."), "category")
    for column in STANDARD[rule.table]:
        if column.name == target:
            kind = column.kind
    millis = _whole(text)
    try:
        if kind in ("number", "value"):
            return float(text)
        if kind == "boolean":
            return {"true": True, "false": False}[text.lower()]
        if kind == "time":
            return format_time(read_time(text) if millis is None else millis * 1000)
        if kind == "date":
            return text[:10] if millis is None else format_time(millis * 1000)[:10]
    except (ValueError, KeyError, OverflowError):
        raise BadInput(
            "wrong_type",
            f"the property's value is not a {kind}.",
            where="propertyValue",
            remedy="Map another property to this field, or correct it in HubSpot.",
        ) from None
    return text


def _whole(value: Any) -> int | None:
    """A time in milliseconds; None where the value is none."""
    text = str(value)
    return int(text) if type(value) in (int, str) and text.isascii() and text.isdigit() and len(text) <= 13 else None


def _id(value: Any, where: str) -> str:
    if type(value) in (int, str) and str(value):
        return str(value)
    raise BadInput("missing_field", "the notice names no object.", where=where, remedy="Send it as HubSpot does.")


def _part(notice: Mapping[str, Any], name: str) -> str:
    value = notice.get(name)
    return str(value) if type(value) in (int, str) else ""
