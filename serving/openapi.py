"""The published contract of the service: the models of requests and answers, and the OpenAPI document made of them.

Nothing is validated with these models while serving: ``serving.schema`` reads requests, strictly and with the path of
every fault, and a test holds the two to the same fields. Names and types keep to OpenAPI 3.0, which CRMs import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

Key = Annotated[str, Field(min_length=1, description="An identifier, compared exactly.")]
Moment = Annotated[AwareDatetime, Field(description="An ISO 8601 time with its zone; kept to the microsecond.")]
ObservedAt = Annotated[
    AwareDatetime,
    Field(description="From when on this version of the record was known. Needed in a list of versions."),
]
RecordedAt = Annotated[AwareDatetime, Field(description="When it became known; by default when it occurred.")]
RetractedAt = Annotated[
    AwareDatetime,
    Field(
        description="When it became known that the event is not true, or was taken back: it counts until then and not "
        "from then on. Not before recorded_at."
    ),
]
Day = Annotated[
    str,
    Field(pattern=r"^\d{4}-\d\d-\d\d$", description="A day, YYYY-MM-DD.", json_schema_extra={"format": "date"}),
]
Attributes = Annotated[
    dict[str, str | float | bool | None],
    Field(description="The columns that the model's data set declares beyond the standard ones, by name."),
]
Regime = Literal["mass", "industrial", "project"]
Approach = Literal["b2b", "b2b2e", "b2b2u"]
Category = Literal["PME", "ETI", "GE"]
Role = Literal["buyer", "prescriber", "user"]
Direction = Literal["inbound", "outbound"]
Rank = Literal["executive", "head", "staff"]
Family = Annotated[
    Literal["interest", "effort", "committee", "firm", "need", "tender", "stage", "account", "time", "activity"],
    Field(
        description="What it is of: interest is inbound, effort is outbound, that is our own doing; activity "
        "is events whose direction is not told."
    ),
]
Basis = Annotated[
    Literal["model_sensitivity"],
    Field(
        description="What the supposed figures rest on: the model's sensitivity to one more or fewer events in its "
        "input. They make no causal claim: those who came by themselves differ from those who are fetched."
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProspectRecord(_Model):
    """A prospect: a firm, or a project of one, that may become a customer. Null and absent both mean unknown."""

    prospect_id: Key
    created_at: Moment
    observed_at: ObservedAt | None = None
    account_id: Key | None = None
    source: str | None = Field(None, description="Where the prospect came from.")
    regime: Regime | None = Field(None, description="How the firm buys.")
    approach: Approach | None = Field(None, description="Whom the sale addresses.")
    tender_deadline: Moment | None = None
    tender_announced_at: Moment | None = None
    attributes: Attributes | None = None


class AccountRecord(_Model):
    """The firm behind the prospect."""

    account_id: Key | None = None
    observed_at: ObservedAt | None = None
    country: str | None = None
    industry: str | None = Field(None, description="An activity code or name, as in training.")
    headcount: float | None = None
    headcount_band: str | None = Field(None, description="As in training; for France the register's code, such as 12.")
    headcount_band_year: float | None = Field(None, description="The year that the band is of.")
    revenue: float | None = None
    founded_on: Day | None = None
    legal_form: str | None = None
    public_body: bool | None = None
    local_authority: bool | None = None
    company_category: Category | None = Field(None, description="Of the group that the firm belongs to.")
    siren: str | None = Field(None, description="9 digits with a sound check digit; spaces are taken out.")
    siret: str | None = Field(None, description="14 digits with sound check digits; spaces are taken out.")
    attributes: Attributes | None = None


class ContactRecord(_Model):
    """A person at the account."""

    contact_id: Key
    account_id: Key | None = None
    observed_at: ObservedAt | None = None
    role: Role | None = Field(
        None, description="The part that the person plays in the purchase; by default what the job title tells of it."
    )
    job_title: str | None = Field(None, description="In English or French.")
    attributes: Attributes | None = None


class EventRecord(_Model):
    """Something that happened with the prospect. It never changes: one id has one content."""

    event_id: Key
    prospect_id: Key | None = Field(None, description="Implied; where given, the prospect's own.")
    type: str = Field(min_length=1, description="For example page_view or meeting.")
    occurred_at: Moment
    recorded_at: RecordedAt | None = None
    contact_id: Key | None = None
    direction: Direction | None = None
    channel: str | None = None
    value: float | None = Field(None, ge=-1e9, le=1e9, description="Kept to six decimals.")
    retracted_at: RetractedAt | None = None


class OutcomeRecord(_Model):
    """How the prospect ended, or what followed. It never changes: one id has one content."""

    outcome_id: Key | None = Field(None, description="By default made of the prospect, the outcome and its time.")
    prospect_id: Key | None = Field(None, description="Implied; where given, the prospect's own.")
    outcome: str = Field(min_length=1, description="won, lost, renewed, expanded, ...")
    occurred_at: Moment
    recorded_at: RecordedAt | None = None


class RelatedEvent(EventRecord):
    """An event of one of the account's other prospects."""

    prospect_id: Key = Field(description="Which of the related prospects it belongs to.")


class RelatedOutcome(OutcomeRecord):
    """An outcome of one of the account's other prospects."""

    prospect_id: Key = Field(description="Which of the related prospects it belongs to.")


class AccountEvent(EventRecord):
    """An event of one of the account's prospects."""

    prospect_id: Key = Field(description="Which of `prospects` it belongs to.")


class AccountOutcome(OutcomeRecord):
    """An outcome of one of the account's prospects."""

    prospect_id: Key = Field(description="Which of `prospects` it belongs to.")


class NamedProspect(_Model):
    """A prospect of which the store holds the records: those are scored."""

    prospect_id: Key


class Related(_Model):
    """The account's other prospects, with their events and outcomes. An absent list is unknown, an empty one empty."""

    prospects: list[ProspectRecord | list[ProspectRecord]] | None = None
    events: list[RelatedEvent] | None = None
    outcomes: list[RelatedOutcome] | None = None


EXAMPLE: dict[str, Any] = {
    "prospect": {
        "prospect_id": "p1",
        "created_at": "2026-03-01T09:00:00Z",
        "account_id": "a1",
        "source": "webinar",
        "regime": "industrial",
    },
    "account": {"account_id": "a1", "country": "FR", "industry": "62.01Z", "headcount": 25},
    "contacts": [{"contact_id": "c1", "role": "buyer"}],
    "events": [
        {
            "event_id": "e1",
            "type": "page_view",
            "occurred_at": "2026-03-02T10:00:00Z",
            "contact_id": "c1",
            "direction": "inbound",
        }
    ],
    "outcomes": [],
    "related": {"prospects": [], "events": [], "outcomes": []},
    "as_of": "2026-03-08T09:00:00Z",
}


class ScoreRequest(_Model):
    """One prospect with everything known about it. Only ``prospect`` is required.

    An absent list is unknown (its features are missing); an empty one is empty (its counts are 0). A prospect, an
    account or a contact may be a list of its versions, each with its ``observed_at``. Times after ``as_of`` are not
    used. What the store holds of the prospect counts too, merged by id; of a stored prospect its id is enough.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": EXAMPLE})

    prospect: ProspectRecord | list[ProspectRecord] | NamedProspect
    account: AccountRecord | list[AccountRecord] | None = None
    contacts: list[ContactRecord | list[ContactRecord]] | None = None
    events: list[EventRecord] | None = None
    outcomes: list[OutcomeRecord] | None = None
    related: Related | None = None
    as_of: Moment | None = Field(None, description="The moment to score at; now by default.")
    goal: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="Which champion to ask; the default goal's by default."
    )


EXAMPLE_ACCOUNT: dict[str, Any] = {
    "account": {"account_id": "a1", "country": "FR", "industry": "62.01Z", "headcount": 25},
    "contacts": [
        {"contact_id": "c1", "role": "buyer"},
        {"contact_id": "c2", "job_title": "Directrice des systèmes d'information"},
    ],
    "prospects": [
        {"prospect_id": "p1", "created_at": "2026-03-01T09:00:00Z", "source": "webinar", "regime": "industrial"},
        {"prospect_id": "p2", "created_at": "2026-02-10T09:00:00Z", "source": "fair", "regime": "industrial"},
        {"prospect_id": "p3", "created_at": "2025-06-02T09:00:00Z", "source": "fair", "regime": "industrial"},
    ],
    "events": [
        {
            "event_id": "e1",
            "prospect_id": "p1",
            "type": "page_view",
            "occurred_at": "2026-03-02T10:00:00Z",
            "contact_id": "c1",
            "direction": "inbound",
        },
        {
            "event_id": "e2",
            "prospect_id": "p2",
            "type": "meeting",
            "occurred_at": "2026-02-20T14:00:00Z",
            "contact_id": "c2",
            "direction": "outbound",
        },
    ],
    "outcomes": [{"prospect_id": "p3", "outcome": "won", "occurred_at": "2025-09-15T12:00:00Z"}],
    "as_of": "2026-03-08T09:00:00Z",
}


class AccountRequest(_Model):
    """One account with all its prospects: open ones, of which it may convert, and closed ones, its history.

    An absent list is unknown, an empty one empty. A prospect, the account or a contact may be a list of its versions,
    each with its ``observed_at``. Times after ``as_of`` are not used.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": EXAMPLE_ACCOUNT})

    account: AccountRecord | list[AccountRecord] | None = None
    contacts: list[ContactRecord | list[ContactRecord]] | None = None
    prospects: list[ProspectRecord | list[ProspectRecord]] | None = Field(
        None,
        min_length=1,
        description="All of one account; its other prospects are to each what `related` is in /score. "
        "Left out beside an account_id: those that are stored.",
    )
    events: list[AccountEvent] | None = None
    outcomes: list[AccountOutcome] | None = None
    as_of: Moment | None = Field(None, description="The moment to score at; now by default.")
    goal: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="Which champion to ask; the default goal's by default."
    )


class BatchRequest(_Model):
    """Several score requests, answered in their order."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"items": [EXAMPLE]}})

    items: list[ScoreRequest]


class CurvePoint(_Model):
    """The probability within a number of days."""

    days: int
    probability: float


class Reason(_Model):
    """What moved the probability: ``effect`` is in log-odds, above 0 it raised it."""

    feature: str
    label: str
    value: str | float | bool | None
    effect: float
    family: Family


class RoleStanding(_Model):
    """One role of the buying trio at ``as_of``."""

    role: Role
    known: bool = Field(description="A contact of the account has it, given or read from the job title.")
    engaged: bool | None = Field(
        description="Such a contact has an event, in either direction, in the last 90 days; null: events unknown."
    )
    days_since: float | None = Field(description="Since the last event of such a contact; null: there was none.")


class MissingRole(_Model):
    """What the model would say if a role that is not known or not engaged gave one sign."""

    role: Role
    event_type: str = Field(description="The inbound event that training met most often from this role.")
    probability: float = Field(
        ge=0,
        le=1,
        description="After one such event at as_of. The model's sensitivity, and no claim of cause and effect.",
    )


class Committee(_Model):
    """The buying trio: who is known, engaged or silent. A role that training never met inbound is never in
    ``missing``."""

    roles: list[RoleStanding]
    missing: list[MissingRole] = Field(description="Roles not known or not engaged, the highest probability first.")
    basis: Basis


class Notice(_Model):
    """Something to know about the answer."""

    code: str
    text: str


class ProspectScore(_Model):
    """What is said of one prospect."""

    prospect_id: str
    as_of: AwareDatetime
    goal: str
    horizon_days: int
    probability: float = Field(ge=0, le=1)
    probability_low: float = Field(ge=0, le=1)
    probability_high: float = Field(ge=0, le=1)
    curve: list[CurvePoint]
    score: int = Field(
        ge=0,
        le=100,
        description="The rank within the regime's reference population; equals share the middle of their places.",
    )
    grade: Literal["A", "B", "C", "D"]
    reasons: list[Reason]
    committee: Committee | None = Field(description="The buying trio; null where the contacts are unknown.")
    warnings: list[Notice]
    model_version: str


class Moved(_Model):
    """A feature whose effect changed since the prospect's last score; effects are in log-odds."""

    feature: str
    label: str = Field(description="What it says now.")
    before: str | float | bool | None
    after: str | float | bool | None
    effect_before: float
    effect_after: float


class PreviousScore(_Model):
    """The prospect's last score for this goal before this one."""

    probability: float = Field(ge=0, le=1)
    receipt_id: str
    as_of: AwareDatetime
    model_version: str
    moved: list[Moved] = Field(description="Whose effects changed most, the greatest change first.")


class ScoreAnswer(ProspectScore):
    """The probability that the goal is reached within the horizon, and what stands behind it."""

    receipt_id: str = Field(description="Names this very answer: see GET /v1/scores/{receipt_id}.")
    previous: PreviousScore | None = Field(
        description="The prospect's last score, and what moved since; null where none is kept."
    )


class AccountReason(Reason):
    """What moved the account's probability: ``effect`` is in log-odds, above 0 it raised it."""

    prospect_id: str | None = Field(description="Whose reason it is; null where several prospects share it.")


class AccountAnswer(_Model):
    """The probability that the account converts from any of its open prospects, each within its own horizon."""

    account_id: str | None
    as_of: AwareDatetime
    goal: str
    horizon_days: int = Field(description="The longest of the prospects' horizons; a warning says where they differ.")
    probability: float = Field(
        ge=0,
        le=1,
        description="Fitted to what accounts did, since their prospects are not independent; of one, its own.",
    )
    probability_low: float = Field(ge=0, le=1)
    probability_high: float = Field(ge=0, le=1)
    prospects: list[ProspectScore] = Field(description="The open ones, best first, each as /score answers.")
    reasons: list[AccountReason]
    committee: Committee | None = Field(description="The buying trio over all prospects of the account.")
    warnings: list[Notice]
    model_version: str
    receipt_id: str = Field(description="Names this very answer.")


class ContactScore(_Model):
    """One person of the account, and how much the events with them move its probability."""

    contact_id: str
    role: Role | None
    role_inferred: bool = Field(description="The role was read from the job title; it was not given.")
    rank: Rank | None = Field(description="Read from the job title.")
    events: int | None = Field(description="Known at as_of, in either direction; null: events unknown.")
    days_since: float | None = Field(description="Since the last of them.")
    effect: float | None = Field(description="The account's log-odds with the person's events, less those without.")
    probability_without: float | None = Field(ge=0, le=1, description="The account's, without the person's events.")
    probability_after: float | None = Field(
        ge=0,
        le=1,
        description="The account's, after one more inbound event of the role's usual type at as_of; null where the "
        "role is unknown or training met no such event.",
    )


class ContactsAnswer(_Model):
    """The people of an account, ranked by their effect on its probability."""

    account_id: str | None
    as_of: AwareDatetime
    goal: str
    horizon_days: int
    probability: float = Field(ge=0, le=1, description="The account's, as /score_account gives it.")
    contacts: list[ContactScore]
    basis: Basis
    warnings: list[Notice]
    model_version: str
    receipt_id: str = Field(description="Names this very answer.")


class Replay(_Model):
    """What is computed now from the kept features, by the bundle that answered. An account's has its three figures."""

    probability: float = Field(ge=0, le=1)
    probability_low: float = Field(ge=0, le=1)
    probability_high: float = Field(ge=0, le=1)
    curve: list[CurvePoint] | None = None
    score: int | None = None
    grade: Literal["A", "B", "C", "D"] | None = None
    reasons: list[Reason] | None = None
    horizon_days: int | None = None
    model_version: str | None = None
    same: bool = Field(description="All of it is what was answered, to the bit; of an account, its prospects' too.")


class ReceiptPart(_Model):
    """A prospect of an account that was scored."""

    prospect_id: str
    receipt_id: str


class Receipt(_Model):
    """An answer that was given, on what grounds, and computed again."""

    receipt_id: str
    kind: Literal["prospect", "account", "contacts"] = Field(description="What was scored or ranked.")
    given_at: AwareDatetime
    goal: str
    model_version: str
    digest: str = Field(description="Of the bundle that answered.")
    score: dict[str, Any] = Field(description="The answer as it was given.")
    features: dict[str, str | float | bool | None] | None = Field(
        description="What the model saw of the prospect; null for an account and for people."
    )
    prospects: list[ReceiptPart] = Field(description="Of an account: the receipts of its open prospects.")
    replay: Replay | None = Field(description="Null where `warnings` say why.")
    warnings: list[Notice]


class Fault(_Model):
    """What is wrong, where, and the way out."""

    code: str = Field(description="A stable word in snake_case.")
    message: str
    where: str = Field(description="The JSON path of the field, or empty.")
    remedy: str


class ErrorAnswer(_Model):
    """The one shape of every error."""

    error: Fault


class BatchAnswer(_Model):
    """For each item, in order, its score or its error."""

    results: list[ScoreAnswer | ErrorAnswer]


class Champion(_Model):
    """A model that serves."""

    goal: str
    version: str
    digest: str = Field(description="The sha256 of the bundle's manifest.")


class Readiness(_Model):
    """The answer of ``/readyz`` where the service is ready; where it is not, an error."""

    ready: Literal[True]
    default: str = Field(description="The goal that is scored when a request names none.")
    champions: list[Champion]
    access: Literal["keys", "loopback"] = Field(
        description="Who is answered: those with an API key or, where none was ever made, clients on the same machine."
    )
    problems: list[Fault] = Field(description="What could not be loaded or reached; what was there before serves on.")


class ModelCard(_Model):
    """What a champion was trained on and how good it is."""

    goal: str
    version: str
    digest: str
    default: bool
    card: dict[str, Any]


REFERENCE = "#/components/schemas/{model}"


def schemas(more: Iterable[type[BaseModel]] = ()) -> dict[str, Any]:
    """The components of the OpenAPI document: every model by name, ``more`` too, in the dialect of OpenAPI 3.0."""
    models: tuple[type[BaseModel], ...] = (
        ScoreRequest,
        BatchRequest,
        AccountRequest,
        ScoreAnswer,
        BatchAnswer,
        AccountAnswer,
        ContactsAnswer,
        ErrorAnswer,
        Readiness,
        ModelCard,
        Receipt,
        *more,
    )
    _, definitions = models_json_schema([(m, "validation") for m in models], ref_template=REFERENCE)
    return {name: plain(schema) for name, schema in sorted(definitions["$defs"].items())}


def plain(schema: Any) -> Any:
    """A JSON schema as OpenAPI 3.0 writes it: ``nullable`` instead of a null type, ``oneOf`` for what excludes."""
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            out[key] = {name: plain(part) for name, part in value.items()}
        elif key in ("default", "example", "enum", "required"):
            if not (key == "default" and value is None):
                out[key] = value
        elif key != "title":
            out[key] = plain(value)
    if "const" in out:
        out["enum"] = [out.pop("const")]
    choices = out.pop("anyOf", None)
    if choices is None:
        return out
    some = [choice for choice in choices if choice != {"type": "null"}]
    if len(some) < len(choices):
        out["nullable"] = True
    if len(some) > 1:
        return {**out, "oneOf": some}
    if "$ref" in some[0]:  # 3.0 ignores what stands beside a reference
        return {**out, "allOf": some}
    if "enum" in some[0] and "nullable" in out:  # null is no value of an enum unless it is listed
        out["enum"] = [*some[0]["enum"], None]
    return {**some[0], **out}


def reference(model: type[BaseModel]) -> dict[str, str]:
    """A reference to a model among the components."""
    return {"$ref": REFERENCE.format(model=model.__name__)}


def content(model: type[BaseModel], example: Any = None) -> dict[str, Any]:
    """The JSON content of a body."""
    return {"application/json": {"schema": reference(model), **({} if example is None else {"example": example})}}


_ERRORS: Mapping[int, str] = {
    400: "The body is no JSON.",
    401: "An API key is needed, or the one that came is not known.",
    403: "The key has not the scope that this needs, or the service has no key and answers its own machine only.",
    404: "There is no such thing: no champion for the goal, no record or receipt of the id.",
    408: "The body took too long to arrive.",
    410: "The record was erased.",
    413: "The body, the batch or the account is too large.",
    415: "The body is not declared as JSON.",
    422: "A field is wrong; `where` names it.",
    429: "There are more requests than the service can take; the header Retry-After says when to send it again.",
    503: "No model serves yet, the store of live records is not there, or it took too long; see Retry-After.",
}


def errors(*codes: int) -> dict[str, Any]:
    """The error answers of an operation by status."""
    return {str(code): {"description": _ERRORS[code], "content": content(ErrorAnswer)} for code in codes}


def answers(model: type[BaseModel], description: str, codes: Iterable[int]) -> dict[str, Any]:
    """All answers of an operation."""
    return {"200": {"description": description, "content": content(model)}, **errors(*codes)}


VERSION = "1"  # of the contract
DESCRIPTION = """Scores the prospects of firms that sell to firms: the probability that they become customers within a
horizon, with its interval, a rank, a grade and reasons. Send what is known about a prospect to `POST /score`; only
`prospect` is required, and what is absent is unknown. `POST /score_account` and `POST /score_contacts` take all the
prospects of one account. Or let the service keep the records (`/v1/prospects`, `/v1/accounts`, `/v1/contacts`,
`/v1/events`, `/v1/outcomes`) and ask by id. Every error has one shape, with a code and the field's path."""


def operations() -> dict[str, dict[str, dict[str, Any]]]:
    """What the document says of each path, by method: bodies, answers and errors."""
    faults = (400, 404, 408, 410, 413, 415, 422, 503)
    return {
        "/score": {
            "post": {
                "operationId": "score",
                "summary": "Score one prospect",
                "requestBody": {"required": True, "content": content(ScoreRequest, EXAMPLE)},
                "responses": answers(ScoreAnswer, "The score.", faults),
            }
        },
        "/score_batch": {
            "post": {
                "operationId": "score_batch",
                "summary": "Score several prospects",
                "requestBody": {"required": True, "content": content(BatchRequest, {"items": [EXAMPLE]})},
                "responses": answers(BatchAnswer, "A score or an error for each item, in order.", faults),
            }
        },
        "/score_account": {
            "post": {
                "operationId": "score_account",
                "summary": "Score an account from all its open prospects",
                "requestBody": {"required": True, "content": content(AccountRequest, EXAMPLE_ACCOUNT)},
                "responses": answers(AccountAnswer, "The account's score, and its prospects', best first.", faults),
            }
        },
        "/score_contacts": {
            "post": {
                "operationId": "score_contacts",
                "summary": "Rank the people of an account",
                "requestBody": {"required": True, "content": content(AccountRequest, EXAMPLE_ACCOUNT)},
                "responses": answers(ContactsAnswer, "The people by their effect, the greatest first.", faults),
            }
        },
        "/readyz": {
            "get": {
                "operationId": "is_ready",
                "summary": "Whether a model serves, and which",
                "responses": answers(Readiness, "A model serves.", (503,)),
            }
        },
        "/v1/model": {
            "get": {
                "summary": "The card of a champion",
                "description": "What the model was trained on, until when, for which goal, and how good it is.",
                "operationId": "read_model",
                "parameters": [
                    {
                        "name": "goal",
                        "in": "query",
                        "required": False,
                        "schema": {"type": "string"},
                        "description": "Of which goal; the default goal's champion by default.",
                    }
                ],
                "responses": answers(ModelCard, "The card.", (404, 503)),
            }
        },
        "/v1/scores/{receipt_id}": {
            "get": {
                "operationId": "read_score",
                "summary": "An answer that was given, on what grounds, and computed again",
                "parameters": [
                    {
                        "name": "receipt_id",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "minLength": 1},
                        "description": "The receipt_id of the answer.",
                    }
                ],
                "responses": answers(Receipt, "The answer and its replay.", (404, 503)),
            }
        },
    }
