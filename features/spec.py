"""What a feature is, as data: attributes, aggregates and expressions, their names, and JSON both ways."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from features.contract import DIRECTIONS, ROLES, STAGES, Dataset
from features.errors import BadInput
from features.titles import RANKS

FORMAT = 2  # 1 knew no stages, ranks, outcomes nor open prospects, and a role was only a given one

OPERATIONS = (  # over events
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "last",
    "distinct_contacts",
    "distinct_roles",
    "top_contact_share",
    "days_since_first",
    "days_since_last",
    "share",
)
OUTCOME_OPERATIONS = ("count", "days_since_first", "days_since_last")
PROSPECT_OPERATIONS = ("open",)
SOURCES = {"events": OPERATIONS, "outcomes": OUTCOME_OPERATIONS, "prospects": PROSPECT_OPERATIONS}
EXPRESSIONS = (
    "ratio",
    "difference",
    "age",
    "days_until",
    "calendar",
    "band",
    "reached",
    "last_known",
    "latest",
    "naf",
    "band_order",
    "size_conflict",
    "regime",
)
CALENDAR_PARTS = ("month", "weekday", "hour")
NAF_PARTS = ("section", "division", "class")
SCOPES = ("prospect", "account")


@dataclass(frozen=True)
class Attribute:
    """A column of the prospect's or its account's row, as of t. ``table`` is ``prospects`` or ``accounts``."""

    table: str
    column: str

    @property
    def name(self) -> str:
        """The derived name."""
        return self.column if self.table == "prospects" else f"account_{self.column}"


@dataclass(frozen=True)
class Aggregate:
    """An operation over the rows of ``table`` known at t, within ``(t - days, t]`` or, without ``days``, since ever.

    Of ``events`` the filters ``type``, ``direction``, ``role``, ``channel``, ``stage`` (the type is one of that buying
    stage's) and ``rank`` hold together; None lets everything through. Role and rank are those of the event's contact
    as of t, the role given or read from the job title. Of ``outcomes`` only ``type``, the outcome, may be filtered.
    ``scope`` is ``prospect`` (its own rows) or ``account`` (those of all prospects of the account as of t). Of
    ``prospects`` there is ``open``: how many others the account has as of t that are neither won nor lost.
    """

    operation: str
    type: str | None = None
    days: int | None = None
    scope: str = "prospect"
    direction: str | None = None
    role: str | None = None
    channel: str | None = None
    stage: str | None = None
    rank: str | None = None
    table: str = "events"

    @property
    def name(self) -> str:
        """The derived name, for example ``meeting_count_30d`` or ``account_outcome_won_count``."""
        if self.table == "prospects":
            return f"{self.scope}_{self.operation}_prospects"
        parts = [
            "account" if self.scope == "account" else "",
            self.role or "",
            self.rank or "",
            self.direction or "",
            slug(self.channel) if self.channel else "",
            f"{self.stage}_stage" if self.stage else "",
            "outcome" if self.table == "outcomes" else "" if self.type else "event",
            slug(self.type) if self.type else "",
            self.operation,
            f"{self.days}d" if self.days else "",
        ]
        return "_".join(p for p in parts if p)


@dataclass(frozen=True)
class Expression:
    """A small closed algebra over features and t.

    ratio and difference take two numbers; age and days_until a time attribute, in days from or to it; calendar
    a ``part`` (month 1-12, weekday 0-6 from Monday, hour 0-23, all in UTC) of a time attribute or, without
    argument, of t itself; band the number of ``cuts`` that are at or below a number.

    Over numbers in order, of which some may be missing: reached is the position (from 1) of the last that is not, 0
    where all are; last_known is its value; latest is the position of the smallest (of equal ones the last), 0 where
    all are missing. With days since each stage's last event, latest is the stage of the latest event.

    Of firms (see ``features.firms``): naf the ``part`` (section, division, class) of a NAF code, as a category;
    band_order the rank of a headcount band among the register's; size_conflict (company_category, headcount,
    headcount_band) 1 where the category contradicts the firm's own size, else 0; regime (regime, tender_deadline,
    headcount, headcount_band) the given buying regime or else the one that the rest speaks for, as a category.
    """

    operation: str
    arguments: tuple[Feature, ...] = ()
    part: str | None = None
    cuts: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The derived name."""
        names = [a.name for a in self.arguments]
        match self.operation:
            case "ratio":
                return f"{names[0]}_per_{names[1]}"
            case "difference":
                return f"{names[0]}_minus_{names[1]}"
            case "age":
                return f"days_since_{names[0]}"
            case "days_until":
                return f"days_until_{names[0]}"
            case "calendar":
                return f"{names[0] if names else 'as_of'}_{self.part}"
            case "band":
                return f"{names[0]}_bands"  # not the register's own column, headcount_band
            case "reached" | "last_known" | "latest":
                by, (short, usual) = by_stage(self.arguments), _BY_STAGE[self.operation]
                if by is None:
                    return f"{self.operation}_of_{'_then_'.join(names)}"
                if replace(by, direction=None) == usual:
                    return f"{by.direction}_{short}" if by.direction else short
                return f"stage_{self.operation}_by_{by.name}"
            case "naf":
                return f"{names[0]}_{self.part}"
            case "band_order":
                return f"{names[0]}_order"
            case "size_conflict":
                return f"{names[0]}_size_conflict"
            case _:
                return f"inferred_{names[0]}"


_BY_STAGE = {  # a short name, and the aggregate of each stage for which it stands without further words
    "reached": ("stage_reached", Aggregate("days_since_first")),
    "last_known": ("days_in_stage", Aggregate("days_since_first")),
    "latest": ("stage_latest", Aggregate("days_since_last")),
}


def by_stage(arguments: tuple[Feature, ...]) -> Aggregate | None:
    """What the arguments are for each of several stages, in their order; None where they are anything else."""
    aggregates = [a for a in arguments if isinstance(a, Aggregate)]
    stages = [a.stage for a in aggregates]
    ordered = [s for s in STAGES if s in stages]
    rest = {replace(a, stage=None) for a in aggregates}
    if len(aggregates) < len(arguments) or len(rest) != 1 or len(stages) < 2 or stages != ordered:
        return None
    return rest.pop()


Feature = Attribute | Aggregate | Expression


def slug(text: str) -> str:
    """A text as a part of a name: lower case, without accents, runs of other signs become one underscore."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_") or "x" + hashlib.sha256(text.encode()).hexdigest()[:6]


@dataclass(frozen=True)
class FeatureSet:
    """The features of a model, in order, over a declared data set. Checked when made: raises BadInput."""

    dataset: Dataset
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        seen: dict[str, Feature] = {}
        for feature in self.features:
            _check(feature, self.dataset, top=True)
            if feature.name.lower() in seen:  # engines fold the case of column names
                raise BadInput(
                    "duplicate_feature",
                    f"two features are named `{feature.name}`.",
                    where="features",
                    remedy="Remove one of them, or rename the event type or column that makes them alike.",
                )
            seen[feature.name.lower()] = feature
        if not self.features:
            raise BadInput("no_features", "the feature set is empty.", where="features", remedy="Add a feature.")

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(f.name for f in self.features)

    def kind(self, feature: Feature) -> str:
        """What the feature yields: ``category``, ``boolean``, ``number`` (or ``time``, inside expressions)."""
        return kind_of(feature, self.dataset)

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the features that yield text."""
        return tuple(f.name for f in self.features if self.kind(f) == "category")

    def with_features(self, *more: Feature) -> FeatureSet:
        """The set with more features at its end."""
        return FeatureSet(self.dataset, (*self.features, *more))

    def without(self, *names: str) -> FeatureSet:
        """The set without the features of these names; raises BadInput for a name it does not hold."""
        for name in names:
            if name not in self.names:
                raise BadInput(
                    "unknown_feature",
                    f"there is no feature `{name}`.",
                    where="features",
                    remedy=f"Names: {', '.join(self.names)}.",
                )
        return FeatureSet(self.dataset, tuple(f for f in self.features if f.name not in names))

    def to_json(self) -> dict[str, Any]:
        """The set as plain data; ``from_json`` reads it back equal."""
        return {
            "format": FORMAT,
            "dataset": self.dataset.to_json(),
            "features": [feature_to_json(f) for f in self.features],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> FeatureSet:
        """Read what ``to_json`` gave; raises BadInput on another format or a malformed feature."""
        check_format(data)
        return FeatureSet(
            Dataset.from_json(data["dataset"], "spec.json"), tuple(feature_from_json(f) for f in data["features"])
        )

    @property
    def fingerprint(self) -> str:
        """sha256 of the canonical JSON: equal for equal definitions, whatever the data's zone and end."""
        data = self.to_json()
        data["dataset"] = {k: v for k, v in data["dataset"].items() if k not in ("timezone", "complete_until")}
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def check_format(data: Mapping[str, Any], where: str = "spec.json") -> None:
    """Refuse a feature spec that another version wrote: raises BadInput ``spec_format``."""
    if data.get("format") != FORMAT:
        raise BadInput(
            "spec_format",
            f"the feature spec has format {data.get('format')!r}; this version reads {FORMAT}.",
            where=where,
            remedy="Train again with this version, or serve with the version that trained it.",
        )


def walk(feature: Feature) -> Iterator[Feature]:
    """The feature and, for an expression, everything inside it."""
    yield feature
    if isinstance(feature, Expression):
        for argument in feature.arguments:
            yield from walk(argument)


def kind_of(feature: Feature, dataset: Dataset) -> str:
    """What a feature yields over a data set: category, boolean, number or time."""
    if isinstance(feature, Attribute):
        kind = dataset.columns(feature.table)[feature.column].kind
        return {"enum": "category", "key": "category", "date": "time", "value": "number"}.get(kind, kind)
    if isinstance(feature, Expression) and feature.operation in ("naf", "regime"):
        return "category"
    return "number"


def _bad(feature: Any, message: str, remedy: str, code: str = "bad_feature") -> BadInput:
    return BadInput(code, message, where=f"feature {feature!r}", remedy=remedy)


def _check(feature: Feature, dataset: Dataset, top: bool = False) -> None:
    if isinstance(feature, Attribute):
        _check_attribute(feature, dataset, top)
    elif isinstance(feature, Aggregate):
        _check_aggregate(feature, dataset)
    elif isinstance(feature, Expression):
        _check_expression(feature, dataset)
    else:
        raise _bad(feature, "not a feature.", "Use Attribute, Aggregate or Expression.")


def _check_attribute(feature: Attribute, dataset: Dataset, top: bool) -> None:
    if feature.table not in ("prospects", "accounts"):
        raise _bad(feature, f"`{feature.table}` has no attributes.", "Use the table prospects or accounts.")
    column = dataset.columns(feature.table).get(feature.column)
    if column is None:
        raise _bad(
            feature,
            f"{feature.table} has no column `{feature.column}`.",
            f'Declare it in dataset.toml: [{feature.table}.columns] {feature.column} = {{kind = "category"}}.',
            "unknown_column",
        )
    if column.known == "never":
        raise _bad(
            feature,
            f'`{feature.column}` is declared known = "never": it is filled in hindsight and would leak the outcome.',
            "Leave it out; only a column with its own observed_at history may be used.",
            "hindsight_column",
        )
    if column.kind in ("key", "text"):
        raise _bad(
            feature, f"`{feature.column}` is a {column.kind}, which no model can use.", "Declare it as a category."
        )
    if top and column.kind in ("time", "date"):
        raise _bad(
            feature,
            f"`{feature.column}` is a moment, not a number.",
            'Wrap it: Expression("age", (Attribute(...),)) or "days_until" or "calendar".',
        )


def _check_aggregate(feature: Aggregate, dataset: Dataset) -> None:
    def among(value: Any, allowed: Iterable[str], what: str) -> None:
        if value not in tuple(allowed):
            raise _bad(feature, f"unknown {what} {value!r}.", f"Use one of: {', '.join(allowed)}.")

    among(feature.table, SOURCES, "table")
    among(feature.operation, SOURCES[feature.table], "operation")
    among(feature.scope, SCOPES, "scope")
    for value, allowed, what in (
        (feature.direction, DIRECTIONS, "direction"),
        (feature.role, ROLES, "role"),
        (feature.rank, RANKS, "rank"),
        (feature.stage, STAGES, "stage"),
    ):
        if value is not None:
            among(value, allowed, what)
    if feature.stage is not None and feature.stage not in dict(dataset.stages):
        raise _bad(
            feature,
            f"dataset.toml names no event types of the stage `{feature.stage}`.",
            f'Declare them: [stages] {feature.stage} = ["demo_request"].',
            "unknown_stage",
        )
    days = feature.days
    if days is not None and (not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= 36_500):
        raise _bad(feature, f"a window is a whole number of days from 1, not {days!r}.", "Write, for example, days=30.")
    for text in (feature.type, feature.channel):
        if text is not None and (not isinstance(text, str) or not text):
            raise _bad(feature, "a type or channel is a text that is not empty.", "Leave it out to count every event.")
    _check_source(feature)


def _check_source(feature: Aggregate) -> None:
    """Outcomes know a type only, prospects no filter at all."""
    if feature.table == "events":
        return
    filters = [f for f in ("direction", "role", "channel", "stage", "rank") if getattr(feature, f) is not None]
    if feature.table == "prospects":
        filters += [f for f in ("type", "days") if getattr(feature, f) is not None]
        if feature.scope != "account":
            raise _bad(feature, "a prospect has no prospects of its own.", 'Write scope="account".')
    if filters:
        wrong = ", ".join(filters)
        raise _bad(feature, f"{feature.table} cannot be filtered by {wrong}.", f"Leave out: {wrong}.")


# What an expression takes: the kinds of its arguments in order, and those kinds in words.
_NUMBERS = frozenset({"number", "boolean"})
_TEXT = frozenset({"category"})
_MOMENT = frozenset({"time"})
_ARGUMENTS: Mapping[str, tuple[tuple[frozenset[str], ...], str]] = {
    "ratio": ((_NUMBERS, _NUMBERS), "two numbers"),
    "difference": ((_NUMBERS, _NUMBERS), "two numbers"),
    "band": ((_NUMBERS,), "one number"),
    "age": ((_MOMENT,), "one time attribute"),
    "days_until": ((_MOMENT,), "one time attribute"),
    "naf": ((_TEXT,), "one category"),
    "band_order": ((_TEXT,), "one category"),
    "size_conflict": ((_TEXT, _NUMBERS, _TEXT), "a category, a number and a category"),
    "regime": ((_TEXT, _MOMENT, _NUMBERS, _TEXT), "a category, a time attribute, a number and a category"),
}


def _check_expression(feature: Expression, dataset: Dataset) -> None:
    operation, arguments = feature.operation, feature.arguments
    if operation not in EXPRESSIONS:
        raise _bad(feature, f"unknown expression {operation!r}.", f"Use one of: {', '.join(EXPRESSIONS)}.")
    for argument in arguments:
        _check(argument, dataset)
    kinds = [kind_of(a, dataset) for a in arguments]
    if operation in _ARGUMENTS:
        wanted, words = _ARGUMENTS[operation]
        if len(kinds) != len(wanted) or any(kind not in allowed for kind, allowed in zip(kinds, wanted, strict=True)):
            raise _bad(feature, f"{operation} takes {words}, not {kinds}.", "Mend its arguments.")
    if operation in _BY_STAGE and (not kinds or not set(kinds) <= _NUMBERS):
        raise _bad(feature, f"{operation} takes numbers, not {kinds}.", "Mend its arguments.")
    if operation == "calendar" and (len(arguments) > 1 or set(kinds) - {"time"} or feature.part not in CALENDAR_PARTS):
        raise _bad(
            feature,
            "calendar takes a part and at most one time attribute.",
            f"Parts: {', '.join(CALENDAR_PARTS)}.",
        )
    if operation == "naf" and feature.part not in NAF_PARTS:
        raise _bad(feature, f"a NAF code has no part {feature.part!r}.", f"Parts: {', '.join(NAF_PARTS)}.")
    if operation == "band":
        cuts = feature.cuts
        if not cuts or any(not a < b for a, b in pairwise(cuts)):
            raise _bad(feature, "band needs cuts in rising order.", "Write, for example, cuts=(10, 50, 250).")


_KINDS = {"attribute": Attribute, "aggregate": Aggregate, "expression": Expression}


def feature_to_json(feature: Feature) -> dict[str, Any]:
    """A feature as plain data, without the fields that hold their default."""
    if isinstance(feature, Attribute):
        return {"kind": "attribute", "table": feature.table, "column": feature.column}
    if isinstance(feature, Aggregate):
        fields = ("type", "days", "direction", "role", "channel", "stage", "rank")
        filters = {f: getattr(feature, f) for f in fields if getattr(feature, f) is not None}
        if feature.table != "events":
            filters["table"] = feature.table
        return {"kind": "aggregate", "operation": feature.operation, "scope": feature.scope, **filters}
    out: dict[str, Any] = {"kind": "expression", "operation": feature.operation}
    if feature.arguments:
        out["arguments"] = [feature_to_json(a) for a in feature.arguments]
    if feature.part is not None:
        out["part"] = feature.part
    if feature.cuts:
        out["cuts"] = [float(c) for c in feature.cuts]
    return out


def feature_from_json(data: Mapping[str, Any]) -> Feature:
    """Read what ``feature_to_json`` gave; raises BadInput when it is malformed."""
    fields = dict(data)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise BadInput("bad_feature", f"unknown kind of feature {kind!r}.", where="spec.json", remedy="Train again.")
    if kind == "expression":
        fields["arguments"] = tuple(feature_from_json(a) for a in fields.get("arguments", ()))
        fields["cuts"] = tuple(float(c) for c in fields.get("cuts", ()))
    try:
        made: Feature = _KINDS[kind](**fields)
    except TypeError as e:
        raise BadInput("bad_feature", f"{e}.", where="spec.json", remedy="Train again.") from None
    return made
