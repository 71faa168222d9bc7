"""The buying trio as of t: who is known, engaged or silent, and what the model would say after a sign from the rest.

A buyer, a prescriber and a user decide together, and who is missing matters as much as how active the others are. For
each role that is not known or not engaged, the model is asked again with one more inbound event at t, of the type
that training met most often from that role. That is the model's sensitivity, and no claim that bringing the person to
the table would raise the chance so: those who came by themselves differ from those who are fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from features.compiled import compiled
from features.contract import ALWAYS, DAY, ROLES
from features.online import as_of
from features.records import Event, Records, Version, Versions
from features.titles import buying_role
from serving.bundle import UsualEvent

ENGAGED_DAYS = 90  # a role is engaged where one of its people has an event in (t - 90 days, t]
BASIS = "model_sensitivity"
_UNREAL = "\0"  # begins the ids of what is only supposed: no id of a request or a table holds it


class RoleStanding(NamedTuple):
    """One role: ``engaged`` is None where the events are unknown, ``days_since`` also where there never was one."""

    role: str
    known: bool
    engaged: bool | None
    days_since: float | None


class Missing(NamedTuple):
    """The probability after one inbound event of this type from a role that is not known or not engaged."""

    role: str
    event_type: str
    probability: float


class Committee(NamedTuple):
    """The trio in the order of ``ROLES``, and ``missing``, the most promising first."""

    roles: tuple[RoleStanding, ...]
    missing: tuple[Missing, ...]

    def to_json(self) -> dict[str, Any]:
        """The committee of an answer; ``basis`` says what its probabilities rest on."""
        return {
            "roles": [standing._asdict() for standing in self.roles],
            "missing": [missing._asdict() for missing in self.missing],
            "basis": BASIS,
        }


class Person(NamedTuple):
    """A contact of the account as of t, and the events known of it: their number and the last one's time."""

    contact_id: str
    row: Mapping[str, Any]
    role: str | None
    events: int
    last: int | None


class Sign(NamedTuple):
    """A supposed event, and the person that had to be supposed with it, if any."""

    role: str
    event: Event
    person: tuple[str, Versions] | None

    def among(self, contacts: Mapping[str, Versions] | None) -> Mapping[str, Versions] | None:
        """The contacts, with the supposed person."""
        return contacts if self.person is None else {**(contacts or {}), self.person[0]: self.person[1]}


Trio = tuple[tuple[RoleStanding, ...], list[Sign]]


def people(
    contacts: Mapping[str, Versions], events: Iterable[Event], account_id: str | None, t: int
) -> dict[str, Person]:
    """The contacts that belong to the account as of t (any, where either names none), with the events known of them."""
    heard = last_heard(events, t)
    out = {}
    for contact in sorted(contacts):
        row = as_of(contacts[contact], t)
        if row is None:
            continue
        home = row.get("account_id")
        if account_id is None or home is None or home == account_id:
            out[contact] = Person(contact, row, buying_role(row), *heard.get(contact, (0, None)))
    return out


def plain_last_heard(events: Iterable[Event], t: int) -> dict[str, tuple[int, int]]:
    """Of each contact, how many of its events are known at t, and when the last of these occurred."""
    out: dict[str, tuple[int, int]] = {}
    for event in events:
        contact = event.contact_id
        if (
            contact is not None
            and event.occurred_at <= t
            and event.recorded_at <= t
            and (event.retracted_at is None or t < event.retracted_at)
        ):
            count, last = out.get(contact, (0, ALWAYS))
            out[contact] = (count + 1, max(last, event.occurred_at))
    return out


# Compiled where that was built.
last_heard: Callable[[Iterable[Event], int], dict[str, tuple[int, int]]] = compiled(
    "serving._rows", "last_heard", plain_last_heard
)


def _latest(persons: Iterable[Person]) -> dict[str, Person]:
    """Of each role the person who was last heard of, the first by id among equals."""
    out: dict[str, Person] = {}
    for person in persons:
        if person.role is None:
            continue
        known = out.get(person.role)
        if known is not None:
            at, before = (ALWAYS if p.last is None else p.last for p in (person, known))
            if at < before or (at == before and person.contact_id > known.contact_id):
                continue
        out[person.role] = person
    return out


def standing(persons: Iterable[Person], t: int, events_known: bool) -> tuple[RoleStanding, ...]:
    """Each role as of t; where the events are unknown, only whether it is known."""
    latest = _latest(persons)
    out = []
    for role in ROLES:
        person = latest.get(role)
        at = None if person is None or not events_known else person.last
        engaged = None if not events_known else at is not None and at > t - ENGAGED_DAYS * DAY
        out.append(RoleStanding(role, person is not None, engaged, None if at is None else (t - at) / DAY))
    return tuple(out)


def signs(
    roles: Iterable[RoleStanding],
    persons: Iterable[Person],
    usual: Mapping[str, UsualEvent],
    prospect_id: str,
    account_id: str | None,
    t: int,
) -> list[Sign]:
    """One for each role that is not known or not engaged and whose usual inbound event training met.

    The event comes from the person of that role who was last heard of, or from one that is supposed with it. There is
    none where the events are unknown: one added to an unknown list would make it a known one.
    """
    latest = _latest(persons)
    out = []
    for role, _, engaged, _ in roles:
        if engaged is False and role in usual:
            of = latest.get(role)
            contact = _UNREAL + role if of is None else of.contact_id
            row = {"contact_id": contact, "account_id": account_id, "role": role}
            person = (contact, (Version(ALWAYS, row),)) if of is None else None
            out.append(Sign(role, supposed(usual[role], prospect_id, contact, t), person))
    return out


def plain_trio(
    contacts: Mapping[str, Versions],
    events: Iterable[Event] | None,
    usual: Mapping[str, UsualEvent],
    prospect_id: str,
    account_id: str | None,
    t: int,
) -> Trio:
    """The ``standing`` and the ``signs`` of the people; the events are None where they are unknown."""
    persons = people(contacts, events or (), account_id, t).values()
    roles = standing(persons, t, events is not None)
    return roles, signs(roles, persons, usual, prospect_id, account_id, t)


# Compiled where that was built, which makes no people.
_trio: Any = compiled("serving._tables", "trio", None)
_TRIO = (RoleStanding, Sign, ENGAGED_DAYS * DAY, _UNREAL, last_heard)
trio: Callable[..., Trio] = plain_trio if _trio is None else partial(_trio, _TRIO)


def supposed(usual: UsualEvent, prospect_id: str, contact_id: str, t: int) -> Event:
    """One more inbound event at t."""
    return Event(_UNREAL, prospect_id, usual.type, t, t, contact_id, "inbound", usual.channel)


def with_sign(records: Records, sign: Sign) -> Records:
    """A prospect's records with a supposed event of its own; the given records stay as they are."""
    return replace(records, events=(*(records.events or ()), sign.event), contacts=sign.among(records.contacts))


def ranked(signs: Sequence[Sign], probabilities: Sequence[float]) -> tuple[Missing, ...]:
    """What is missing, the highest probability first; equal ones in the order of the roles."""
    out = [Missing(s.role, s.event.type, p) for s, p in zip(signs, probabilities, strict=True)]
    if len(out) > 1:
        out.sort(key=lambda m: (-m.probability, ROLES.index(m.role)))
    return tuple(out)
