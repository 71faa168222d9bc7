"""The one shape of every error: its status and body, and how a fault's path grows on its way out of the reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from features.errors import BadInput, LeadscoreError

_Error = TypeVar("_Error", bound=LeadscoreError)

STATUS: Mapping[str, int] = {
    "bad_json": 400,
    "bad_encoding": 400,
    "empty_body": 400,
    "too_deep": 400,
    "number_too_long": 400,
    "incomplete_body": 400,
    "no_key": 401,
    "bad_signature": 401,
    "bad_key": 401,
    "scope": 403,
    "no_keys": 403,
    "unknown_path": 404,
    "unknown_goal": 404,
    "unknown_prospect": 404,
    "unknown_account": 404,
    "unknown_contact": 404,
    "unknown_event": 404,
    "unknown_receipt": 404,
    "no_hook": 404,
    "method_not_allowed": 405,
    "body_timeout": 408,
    "erased": 410,
    "body_too_large": 413,
    "too_many_items": 413,
    "unsupported_media_type": 415,
    "overloaded": 429,
    "head_too_large": 431,
    "internal": 500,
    "no_champion": 503,
    "bad_keys": 503,
    "bad_mapping": 503,
    "store_unavailable": 503,
    "store_full": 503,
    "store_schema": 503,
    "unavailable": 503,
    "deadline": 503,
    "timeout": 504,
}

# After how many seconds to send again what is answered 429 or 503.
RETRY: Mapping[str, int] = {
    "overloaded": 1,
    "deadline": 2,
    "store_unavailable": 1,
    "store_full": 30,
    "store_schema": 30,
}
RETRY_ELSE = 5


def status_of(code: str) -> int:
    """The HTTP status of an error code; a fault of the request's content is 422."""
    return STATUS.get(code, 422)


def error_body(error: LeadscoreError) -> dict[str, Any]:
    """The one shape of every error."""
    return {
        "error": {"code": error.code, "message": error.message, "where": error.where, "remedy": error.remedy},
    }


def within(error: _Error, place: str) -> _Error:
    """The error with its path prolonged to the front; faults carry relative paths until they leave the reader."""
    if not error.where:
        error.where = place
    elif place:
        error.where = f"{place}{error.where}" if error.where.startswith("[") else f"{place}.{error.where}"
    return error


def optional(error: BadInput) -> BadInput:
    """The error of a field that need not be there: one way out more."""
    if error.code in ("wrong_type", "empty_key"):
        error.remedy = f"{error.remedy.removesuffix('.')}, or leave it out."
    return error


def shown(name: str) -> str:
    """A field's name for a path: bounded, since anybody may send anything."""
    return name if len(name) <= 80 else name[:77] + "..."


def missing(name: str, reason: str = "") -> BadInput:
    """The fault of a field that must be there."""
    return BadInput(
        "missing_field", f"the field is required{reason}.", where=name, remedy=f"Send {name}, and not as null."
    )


def unknown_field(name: str, known: Iterable[str]) -> BadInput:
    """The fault of a field that the contract does not name."""
    return BadInput(
        "unknown_field",
        "the field is not part of the contract.",
        where=shown(name),
        remedy=f"Remove it; known fields: {', '.join(sorted(known))}.",
    )


def mismatch(where: str, rule: str) -> BadInput:
    """The fault of an id that is not the one its place implies."""
    return BadInput("id_mismatch", f"the ids do not agree: {rule}.", where=where, remedy="Correct it, or leave it out.")


def itself(where: str) -> BadInput:
    """The fault of a prospect among its own related ones."""
    return BadInput(
        "related_to_itself",
        "the prospect itself stands among its related ones.",
        where=where,
        remedy="Send its records in `events` and `outcomes`, and only other prospects under `related`.",
    )
