"""The published contract of the live records: the models of what is written, asked for and erased below ``/v1``.

As in ``serving.openapi``, nothing is validated with them while serving: ``serving.intake`` reads, strictly.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from serving.openapi import (
    AccountRecord,
    ContactRecord,
    EventRecord,
    Key,
    Moment,
    OutcomeRecord,
    ProspectRecord,
    content,
    errors,
    reference,
)

Amount = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _made(name: str, text: str, fields: dict[str, Any]) -> type[BaseModel]:
    model: type[BaseModel] = create_model(name, __base__=_Model, __doc__=text, **fields)
    return model


def _but(model: type[BaseModel], name: str, text: str, *left_out: str, **others: Any) -> type[BaseModel]:
    """A model without some fields and with others, which come last."""
    fields: dict[str, Any] = {
        field: (given.annotation, given)
        for field, given in model.model_fields.items()
        if field not in left_out and field not in others
    }
    return _made(name, text, {**fields, **others})


_IMPLIED = (Key | None, Field(None, description="Implied by the path; where given, the same."))
AccountPut = _but(
    AccountRecord, "AccountPut", "What is known of an account from now on.", "observed_at", account_id=_IMPLIED
)
ContactPut = _but(
    ContactRecord,
    "ContactPut",
    "What is known of a person from now on.",
    "observed_at",
    contact_id=_IMPLIED,
    account_id=(Key, Field(description="The firm that the person is with.")),
)
ProspectPut = _but(
    ProspectRecord,
    "ProspectPut",
    "What is known of a prospect from now on.",
    "observed_at",
    prospect_id=_IMPLIED,
    created_at=(Moment | None, Field(None, description="Needed the first time; it never changes.")),
)
EventPost = _but(
    EventRecord,
    "EventPost",
    "Something that happened with a prospect; when it was recorded is stamped on arrival.",
    "recorded_at",
    "retracted_at",
    prospect_id=(Key, Field(description="The prospect that it happened with; it may be sent later.")),
    replaces=(Key | None, Field(None, description="The event that this one corrects: that one is retracted.")),
)
OutcomePost = _but(
    OutcomeRecord,
    "OutcomePost",
    "How a prospect ended, or what followed; when it was recorded is stamped on arrival.",
    "recorded_at",
    prospect_id=(Key, Field(description="The prospect that it happened to.")),
)
EventList = _made("EventList", "Several events.", {"items": (list[EventPost], ...)})  # type: ignore[valid-type]
OutcomeList = _made("OutcomeList", "Several outcomes.", {"items": (list[OutcomePost], ...)})  # type: ignore[valid-type]


def _kept(kind: str, name: str) -> type[BaseModel]:
    fields = {
        f"{kind}_id": (str, Field(description="Under which it stands: of a merged one, the other's.")),
        "observed_at": (AwareDatetime, Field(description="Since when the store knows this version.")),
        "created": (bool, Field(description="It is the first of its id.")),
    }
    return _made(name, "The record is on disk.", fields)


AccountKept = _kept("account", "AccountKept")
ContactKept = _kept("contact", "ContactKept")
ProspectKept = _kept("prospect", "ProspectKept")


class FactsKept(_Model):
    """All of them are on disk. A repeated delivery changes nothing."""

    accepted: Amount = Field(description="How many are new.")
    repeated: Amount = Field(description="How many were there before.")
    recorded_at: AwareDatetime | None = Field(description="When the new ones were recorded; null where none is.")


class EventRetracted(_Model):
    """The event counts no more for scores as of this time and later."""

    event_id: str
    retracted_at: AwareDatetime


class MergeRequest(_Model):
    """Which record another one is the same as."""

    into: Key


def _merged(kind: str, name: str) -> type[BaseModel]:
    fields = {
        f"{kind}_id": (str, ...),
        "into": (str, Field(description="What it stands for now.")),
        "merged_at": (AwareDatetime, ...),
        "merged": (bool, Field(description="It is now; false: it was before.")),
    }
    return _made(name, "From now on the id is another name of the other.", fields)


AccountMerged = _merged("account", "AccountMerged")
ContactMerged = _merged("contact", "ContactMerged")
ProspectMerged = _merged("prospect", "ProspectMerged")


def _erased(kind: str, name: str) -> type[BaseModel]:
    fields = {
        f"{kind}_id": (str, ...),
        "erased_at": (AwareDatetime, ...),
        "versions": (Amount, Field(description="Records removed.")),
        "events": (Amount, Field(description="Events removed.")),
        "outcomes": (Amount, Field(description="Outcomes removed.")),
    }
    return _made(name, "Everything about it is gone; only that it was erased, and when, is kept.", fields)


ContactErased = _erased("contact", "ContactErased")
ProspectErased = _erased("prospect", "ProspectErased")


class RefusedNotice(_Model):
    """A notice that could not be taken; the others were."""

    event_id: str | None
    code: str


class HookAnswer(_Model):
    """What became of a delivery. A repeated one changes nothing."""

    accepted: Amount = Field(description="Changes that are new.")
    repeated: Amount = Field(description="Changes that were known.")
    ignored: Amount = Field(description="Notices that no rule of the mapping is about.")
    refused: list[RefusedNotice]


MODELS: tuple[type[BaseModel], ...] = (
    AccountPut,
    ContactPut,
    ProspectPut,
    EventPost,
    OutcomePost,
    EventList,
    OutcomeList,
    AccountKept,
    ContactKept,
    ProspectKept,
    FactsKept,
    EventRetracted,
    MergeRequest,
    AccountMerged,
    ContactMerged,
    ProspectMerged,
    ContactErased,
    ProspectErased,
    HookAnswer,
)

_PUT: dict[Literal["accounts", "contacts", "prospects"], tuple[Any, ...]] = {
    "accounts": (
        "account",
        AccountPut,
        AccountKept,
        AccountMerged,
        None,
        {"country": "FR", "industry": "62.01Z", "headcount": 25},
    ),
    "contacts": (
        "contact",
        ContactPut,
        ContactKept,
        ContactMerged,
        ContactErased,
        {"account_id": "a1", "role": "buyer", "job_title": "Head of purchasing"},
    ),
    "prospects": (
        "prospect",
        ProspectPut,
        ProspectKept,
        ProspectMerged,
        ProspectErased,
        {"created_at": "2026-03-01T09:00:00Z", "account_id": "a1", "source": "webinar", "regime": "industrial"},
    ),
}
EXAMPLE_EVENT = {
    "event_id": "e1",
    "prospect_id": "p1",
    "type": "page_view",
    "occurred_at": "2026-03-02T10:00:00Z",
    "contact_id": "c1",
    "direction": "inbound",
}
EXAMPLE_OUTCOME = {"prospect_id": "p1", "outcome": "won", "occurred_at": "2026-04-20T10:00:00Z"}
EXAMPLE_NOTICE = {
    "eventId": 1,
    "subscriptionType": "company.propertyChange",
    "objectId": 7,
    "propertyName": "country",
    "propertyValue": "FR",
    "occurredAt": 1772442000000,
}
_READ = (401, 403, 422, 429, 503)
_WRITE = (400, 401, 403, 408, 410, 413, 415, 422, 429, 503)


def _id(what: str, example: str) -> dict[str, Any]:
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 256},
        "description": what,
        "example": example,
    }


def _done(model: type[BaseModel], text: str, *codes: int) -> dict[str, Any]:
    return {"200": {"description": text, "content": content(model)}, **errors(*codes)}


def _facts(one: type[BaseModel], several: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    choices = [reference(one), reference(several), {"type": "array", "items": reference(one)}]
    body = {"schema": {"oneOf": choices}, "example": {"items": [example]}}
    return {"required": True, "content": {"application/json": body}}


def operations(stored: type[BaseModel]) -> dict[str, dict[str, dict[str, Any]]]:
    """What the document says of each path of the live records, by method; ``stored`` models what is stored of one."""
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for plural, (kind, put, kept, merged, erased, example) in _PUT.items():
        an = f"an {kind}" if kind == "account" else f"a {kind}"
        key = _id(f"The id of the {kind}.", f"{kind[0]}1")
        of_one = out.setdefault(f"/v1/{plural}/{{id}}", {})
        of_one["put"] = {
            "operationId": f"put_{kind}",
            "summary": f"Keep {an}: a new version, known from now on",
            "description": "An identical repeat of the newest version changes nothing. "
            "Another account_id moves the record to that account.",
            "parameters": [key],
            "requestBody": {"required": True, "content": content(put, example)},
            "responses": _done(kept, "It is on disk.", *_WRITE),
        }
        if erased is not None:
            of_one["delete"] = {
                "operationId": f"erase_{kind}",
                "summary": f"Erase {an}: its records, events and receipts",
                "description": "What is written of the id later is refused. A repeat changes nothing.",
                "parameters": [_id(f"The id of the {kind}.", f"{kind[0]}9")],
                "responses": _done(erased, "Nothing of it is left.", *_READ, 415, 413),
            }
        out[f"/v1/{plural}/{{id}}/merge"] = {
            "post": {
                "operationId": f"merge_{kind}",
                "summary": f"Make {an} another name of a second one",
                "description": "From now on look-ups and writes by the id go to the other; "
                "what is known of the one is known of the other from the merge on.",
                "parameters": [_id(f"The id of the {kind} that goes.", f"{kind[0]}2")],
                "requestBody": {"required": True, "content": content(MergeRequest, {"into": f"{kind[0]}1"})},
                "responses": _done(merged, "They are one.", 404, *_WRITE),
            }
        }
    out["/v1/prospects/{id}"]["get"] = {
        "operationId": "get_prospect",
        "summary": "What is stored of a prospect: the request that would score it",
        "parameters": [
            _id("The id of the prospect.", "p1"),
            {
                "name": "as_of",
                "in": "query",
                "required": False,
                "schema": {"type": "string", "format": "date-time"},
                "description": "What was known at this time; now by default.",
            },
        ],
        "responses": _done(stored, "What is stored.", 404, 410, *_READ),
    }
    out["/v1/events"] = {
        "post": {
            "operationId": "post_events",
            "summary": "Keep events: one, a list, or items; all of them or none",
            "description": "A repeated delivery is acknowledged and changes nothing; "
            "the same id with other content is refused.",
            "requestBody": _facts(EventPost, EventList, EXAMPLE_EVENT),
            "responses": _done(FactsKept, "They are on disk.", 404, *_WRITE),
        }
    }
    out["/v1/events/{id}"] = {
        "delete": {
            "operationId": "retract_event",
            "summary": "Take an event back, from now on",
            "parameters": [_id("The id of the event.", "e1")],
            "responses": _done(EventRetracted, "It is taken back.", 404, 410, *_READ, 415, 413),
        }
    }
    out["/v1/outcomes"] = {
        "post": {
            "operationId": "post_outcomes",
            "summary": "Keep outcomes: one, a list, or items; all of them or none",
            "description": "A repeated delivery is acknowledged and changes nothing; "
            "the same id with other content is refused.",
            "requestBody": _facts(OutcomePost, OutcomeList, EXAMPLE_OUTCOME),
            "responses": _done(FactsKept, "They are on disk.", 404, *_WRITE),
        }
    }
    notice = {"type": "object", "additionalProperties": True}
    delivery = {"schema": {"type": "array", "items": notice}, "example": [EXAMPLE_NOTICE]}
    out["/v1/hooks/hubspot"] = {
        "post": {
            "operationId": "take_hubspot",
            "summary": "A delivery of HubSpot's webhooks",
            "description": "Signed, in version 3: headers X-HubSpot-Signature-v3 and X-HubSpot-Request-Timestamp.",
            "security": [],
            "requestBody": {"required": True, "content": {"application/json": delivery}},
            "responses": _done(HookAnswer, "It is on disk.", 404, *_WRITE),
        }
    }
    return out
