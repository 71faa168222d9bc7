"""The usual event of each buying role: what the service imagines when it asks what one more sign would be worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from features.contract import ROLES

if TYPE_CHECKING:
    from features.tables import Tables


def usual_events(tables: Tables, until: int) -> dict[str, dict[str, str | None]]:
    """Of each role the commonest inbound event type by what was recorded by ``until``, and that type's usual channel.

    The role is the contact's as of ``until``, given or read from its job title. Where the data tell the direction of
    no event, all count. Ties go to the first by name; roles that were never seen are absent. The bundle's constants
    hold it as ``committee``: ``{role: {"type", "channel"}}``.
    """
    from features.tables import lasting

    if tables.events is None or tables.contacts is None:
        return {}
    events: Any = tables.events
    contacts: Any = tables.contacts
    people = contacts.filter(contacts.valid_from <= until, contacts.valid_to > until, contacts.buying_role.notnull())
    people = people.select(known_contact="contact_id", buying_role="buying_role")
    known = events.filter(events.occurred_at <= until, events.recorded_at <= until, lasting(events, until))
    seen = known.inner_join(people, known.contact_id == people.known_contact)
    counts = (
        seen.group_by("buying_role", "direction", "type", "channel").aggregate(n=seen.count()).to_pyarrow().to_pylist()
    )
    directed = bool(known.direction.count().execute())
    counts = [row for row in counts if not directed or row["direction"] == "inbound"]
    out: dict[str, dict[str, str | None]] = {}
    for role in ROLES:
        mine = [row for row in counts if row["buying_role"] == role]
        if mine:
            type_ = _commonest(mine, "type")
            out[role] = {"type": str(type_), "channel": _commonest([r for r in mine if r["type"] == type_], "channel")}
    return out


def _commonest(rows: list[dict[str, Any]], key: str) -> str | None:
    """The value with the most events; of equally common ones a known one before an unknown, then the first by name."""
    total: dict[str | None, int] = {}
    for row in rows:
        total[row[key]] = total.get(row[key], 0) + row["n"]
    return min(total, key=lambda value: (-total[value], value is None, value or ""))
