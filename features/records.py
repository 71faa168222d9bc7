"""One prospect's records, canonical: what the online features and the scorer read.

Times are microseconds since 1970 (int), texts are cleaned, values are integers of 1e-6, numbers are float,
booleans bool; None is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from features.errors import BadInput


class Version(NamedTuple):
    """A whole row of a state table, known from ``observed_at`` on (``contract.ALWAYS`` where it has none)."""

    observed_at: int
    values: Mapping[str, Any]


class Event(NamedTuple):
    """Something that happened with a prospect; known once it has occurred and been recorded, until it is retracted.

    Known at t means ``occurred_at <= t`` and ``recorded_at <= t < retracted_at``; None was never retracted.
    """

    event_id: str
    prospect_id: str
    type: str
    occurred_at: int
    recorded_at: int
    contact_id: str | None = None
    direction: str | None = None
    channel: str | None = None
    value: int | None = None
    retracted_at: int | None = None


class Outcome(NamedTuple):
    """How a prospect ended, or what followed; known once it has occurred and been recorded."""

    outcome_id: str
    prospect_id: str
    outcome: str
    occurred_at: int
    recorded_at: int


Fact = TypeVar("Fact", Event, Outcome)


def first_recorded(one: Fact, other: Fact) -> Fact:
    """Of two records of one id, which must be of one content, the one that was recorded first.

    A retraction is a fact of its own: one that either of them tells of holds, the earlier where both do.
    Raises BadInput ``conflicting_event`` or ``conflicting_outcome``, without a place.
    """
    if _content(one) != _content(other):
        raise BadInput(
            f"conflicting_{type(one).__name__.lower()}",
            "the id comes twice, with two contents.",
            remedy="A fact never changes: send a correction under an id of its own.",
        )
    first = other if other.recorded_at < one.recorded_at else one
    if isinstance(one, Event) and isinstance(other, Event):
        retracted = min((e.retracted_at for e in (one, other) if e.retracted_at is not None), default=None)
        if first.retracted_at != retracted:
            return first._replace(retracted_at=retracted)
    return first


def _content(fact: Fact) -> Fact:
    """What must not differ between two records of one id: all but when they were recorded and retracted."""
    return fact._replace(recorded_at=0, retracted_at=None) if isinstance(fact, Event) else fact._replace(recorded_at=0)


Versions = tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Records:
    """Everything sent or stored about one prospect. None is unknown, an empty collection is empty.

    ``prospect`` holds the versions of its row (with created_at and account_id among the values), ``accounts`` and
    ``contacts`` the versions by id, ``related`` those of the account's other prospects by id. The events and
    outcomes of the related prospects stand apart, so that one may be known without the other.
    """

    prospect_id: str
    prospect: Versions
    accounts: Mapping[str, Versions] | None = None
    contacts: Mapping[str, Versions] | None = None
    events: Sequence[Event] | None = None
    outcomes: tuple[Outcome, ...] | None = None
    related: Mapping[str, Versions] | None = None
    related_events: tuple[Event, ...] | None = None
    related_outcomes: tuple[Outcome, ...] | None = None


@dataclass(frozen=True, slots=True)
class AccountRecords:
    """Everything sent or stored about one account and all its prospects. None is unknown, an empty collection is empty.

    ``prospects`` holds the versions of each prospect by id; ``events`` and ``outcomes`` those of each prospect by its
    id, absent where it has none. ``account_id`` stands in the rows of the prospects; ``""`` for an unnamed account.
    """

    account_id: str
    prospects: Mapping[str, Versions]
    accounts: Mapping[str, Versions] | None = None
    contacts: Mapping[str, Versions] | None = None
    events: Mapping[str, tuple[Event, ...]] | None = None
    outcomes: Mapping[str, tuple[Outcome, ...]] | None = None

    def of(self, prospect_id: str) -> Records:
        """One prospect's records, with the account's others as its related ones."""
        events, related_events = _split(self.events, prospect_id)
        outcomes, related_outcomes = _split(self.outcomes, prospect_id)
        return Records(
            prospect_id=prospect_id,
            prospect=self.prospects[prospect_id],
            accounts=self.accounts,
            contacts=self.contacts,
            events=events,
            outcomes=outcomes,
            related={p: versions for p, versions in self.prospects.items() if p != prospect_id},
            related_events=related_events,
            related_outcomes=related_outcomes,
        )

    def all_events(self) -> Iterator[Event]:
        """The events of all prospects."""
        return chain.from_iterable((self.events or {}).values())

    def adding(self, event: Event, contacts: Mapping[str, Versions] | None) -> AccountRecords:
        """The records with one more event, and these contacts."""
        events = dict(self.events or {})
        events[event.prospect_id] = (*events.get(event.prospect_id, ()), event)
        return replace(self, events=events, contacts=contacts)

    def without(self, contact_id: str) -> AccountRecords:
        """The records without the events of a contact."""
        kept = {p: tuple(e for e in own if e.contact_id != contact_id) for p, own in (self.events or {}).items()}
        return replace(self, events=None if self.events is None else kept)


def _split(
    facts: Mapping[str, tuple[Fact, ...]] | None, prospect_id: str
) -> tuple[tuple[Fact, ...] | None, tuple[Fact, ...] | None]:
    """The facts of one prospect and those of all others."""
    if facts is None:
        return None, None
    others = chain.from_iterable(own for p, own in facts.items() if p != prospect_id)
    return facts.get(prospect_id, ()), tuple(others)
