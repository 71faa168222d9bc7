"""A made-up request that a bundle carries to prove itself: every column and event type that the features name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from features.aggregates import needs_contacts
from features.contract import DAY, Goal, format_time
from features.spec import Aggregate, Attribute, FeatureSet, walk
from training.dataset import TrainingSet

TITLES = {"executive": "Chief Executive Officer", "head": "Head of Purchasing", "staff": "Purchasing Assistant"}


def example(
    features: FeatureSet, goal: Goal, categories: Mapping[str, Sequence[str]], training_set: TrainingSet
) -> dict[str, Any]:
    """A made-up request of ``POST /score`` that touches every column and event type the features name.

    No row of the data is in it: levels come from the fitted ones, numbers are medians, times are round days before T.
    """
    until = training_set.until // DAY * DAY

    def day(days: int) -> str:
        return format_time(until - days * DAY)

    prospect: dict[str, Any] = {"prospect_id": "example", "created_at": day(10)}
    account: dict[str, Any] = {}
    declared = {table: set(features.dataset.declared_columns(table)) for table in ("prospects", "accounts")}
    aggregates: list[Aggregate] = []
    for part in (part for f in features.features for part in walk(f)):
        if isinstance(part, Aggregate):
            aggregates.append(part)
        if not isinstance(part, Attribute) or part.column in ("created_at", "observed_at"):
            continue
        place = prospect if part.table == "prospects" else account
        column = features.dataset.columns(part.table)[part.column]
        value = _made_up(column.kind, column.values, categories.get(part.name, ()), part.name, training_set, day)
        if value is not None:
            if part.column in declared[part.table] and column.kind not in ("time", "date", "enum"):
                place.setdefault("attributes", {})[part.column] = value
            else:
                place[part.column] = value
    request: dict[str, Any] = {"prospect": prospect}
    wide = any(a.scope == "account" for a in aggregates)
    stages = dict(features.dataset.stages)
    outcomes = sorted({a.type for a in aggregates if a.table == "outcomes" and a.type})
    aggregates = [a for a in aggregates if a.table == "events"]
    if account or wide:
        prospect["account_id"] = account["account_id"] = "example-account"
        request["account"] = account
    roles = sorted({a.role for a in aggregates if a.role})
    ranks = sorted({a.rank for a in aggregates if a.rank})
    if any(needs_contacts(a) for a in aggregates):
        people = [{"contact_id": f"example-{r}", "role": r} for r in roles or ["buyer"]]
        request["contacts"] = [*people, *({"contact_id": f"example-{r}", "job_title": TITLES[r]} for r in ranks)]
    if aggregates:
        request["events"] = _events(aggregates, stages, [c["contact_id"] for c in request.get("contacts", [])], day)
    request["outcomes"] = []
    if goal.starts_at:
        request["outcomes"] = [{"outcome": goal.starts_at, "occurred_at": day(8)}]
    if wide:
        request["related"] = {"prospects": [], "events": [], "outcomes": []}
        if outcomes:  # of another prospect of the account: this one is open
            other = {"prospect_id": "example-other", "account_id": "example-account", "created_at": day(400)}
            request["related"]["prospects"] = [other]
            request["related"]["outcomes"] = [
                {"prospect_id": "example-other", "outcome": outcome, "occurred_at": day(60)} for outcome in outcomes
            ]
    return {**request, "as_of": day(0)}


def _made_up(
    kind: str,
    values: Sequence[str],
    levels: Sequence[str],
    name: str,
    training_set: TrainingSet,
    day: Callable[[int], str],
) -> Any:
    if kind in ("category", "enum"):
        return next(iter(levels), next(iter(values), None))
    if kind == "boolean":
        return True
    if kind == "time":
        return day(-30)
    if kind == "date":
        return day(3650)[:10]
    if name in training_set.values.columns:
        known = training_set.values[name].dropna()
        if len(known):
            return float(f"{known.median():.3g}")
    return 1.0


def _events(
    aggregates: Sequence[Aggregate],
    stages: Mapping[str, Sequence[str]],
    contacts: Sequence[str],
    day: Callable[[int], str],
) -> list[dict[str, Any]]:
    """One event for each distinct filter, on days that go back from t."""
    valued = any(a.operation in ("sum", "mean", "min", "max", "last") for a in aggregates)
    kinds = sorted(
        {(a.type or (stages[a.stage][0] if a.stage else ""), a.direction or "", a.channel or "") for a in aggregates}
    )
    kinds = [kind for kind in kinds if any(kind)] or [("", "", "")]
    kinds = [kind for kind in kinds if kind[0]] or kinds
    out = []
    for i, (type_, direction, channel) in enumerate(kinds):
        event: dict[str, Any] = {"event_id": f"example-{i + 1}", "type": type_ or "event"}
        event["occurred_at"] = day(1 + i % 8)
        if direction:
            event["direction"] = direction
        if channel:
            event["channel"] = channel
        if contacts:
            event["contact_id"] = contacts[i % len(contacts)]
        if valued:
            event["value"] = 1.0
        out.append(event)
    return out
