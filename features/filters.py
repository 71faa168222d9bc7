"""The filters of features that nothing in the tables matches: a mistyped event type would be a feature of zeros."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from features.columns import number_of
from features.spec import Aggregate, FeatureSet, walk
from features.tables import Note, nearest, there_are

if TYPE_CHECKING:
    from features.tables import Tables


def idle_filters(features: FeatureSet, tables: Tables) -> tuple[Note, ...]:
    """A note ``filter_matches_nothing`` for each event type and channel that features name and no event bears.

    ``count`` is the number of these features. Without a table of events there is nothing to compare with.
    """
    if tables.events is None:
        return ()
    return tuple(note for column in ("type", "channel") for note in _idle(features, tables.events, column))


def _idle(features: FeatureSet, events: Any, column: str) -> Iterator[Note]:
    users: dict[str, list[str]] = {}
    for feature in features.features:
        for text in {getattr(part, column) for part in walk(feature) if isinstance(part, Aggregate)} - {None}:
            users.setdefault(text, []).append(feature.name)
    if not users:
        return
    known = events.filter(events[column].notnull())
    rows = known.group_by(column).aggregate(n=known.count()).to_pyarrow().to_pylist()
    occurring = {row[column]: row["n"] for row in sorted(rows, key=lambda row: (-row["n"], row[column]))}
    for text in sorted(users.keys() - occurring.keys()):
        first, *others = users[text]
        more = f" and {number_of(len(others), 'other feature')}" if others else ""
        near = nearest(text, occurring)
        hint = f"; the nearest is {near!r}" if near is not None else ""
        message = f"no event has the {column} {text!r}, for which {first}{more} will be 0 or missing always; "
        yield Note(
            "filter_matches_nothing", f"{message}{there_are(occurring)}{hint}.", 1 + len(others), f"events: {column}"
        )
