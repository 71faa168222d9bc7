"""One account in the world of ``tests.fixtures_bundle``: two open prospects, a closed one, four people."""

from __future__ import annotations

import json
from typing import Any

from features.contract import parse_time
from features.records import AccountRecords
from serving.schema import ParsedAccount, RequestReader
from serving.values import decode
from tests.fixtures_bundle import DATASET

NOW = parse_time("2026-06-01T00:00:00Z")
AS_OF = "2026-03-05T09:00:00Z"


def account_request() -> dict[str, Any]:
    """A request of ``/score_account``: p1 and p2 are open, p3 was won and is history."""
    return {
        "account": {"account_id": "a1", "country": "FR", "headcount": 40},
        "contacts": [
            {"contact_id": "c1", "role": "buyer"},
            {"contact_id": "c2", "job_title": "Directrice des systèmes d'information"},
            {"contact_id": "c3", "role": "user", "job_title": "Responsable achats"},
            {"contact_id": "c4"},
        ],
        "prospects": [
            {
                "prospect_id": "p1",
                "created_at": "2026-03-01T09:00:00Z",
                "account_id": "a1",
                "source": "webinar",
                "attributes": {"origin": "paid_search", "budget": 25_000.5, "vip": True},
            },
            {"prospect_id": "p2", "created_at": "2026-01-10T09:00:00Z", "source": "fair"},
            {"prospect_id": "p3", "created_at": "2025-06-01T09:00:00Z", "source": "fair"},
        ],
        "events": [
            {
                "event_id": "e1",
                "prospect_id": "p1",
                "type": "page_view",
                "occurred_at": "2026-03-02T10:00:00Z",
                "contact_id": "c1",
            },
            {
                "event_id": "e2",
                "prospect_id": "p1",
                "type": "meeting",
                "occurred_at": "2026-03-04T10:00:00Z",
                "value": 12.5,
                "contact_id": "c2",
            },
            {
                "event_id": "e3",
                "prospect_id": "p2",
                "type": "page_view",
                "occurred_at": "2026-02-20T10:00:00Z",
                "contact_id": "c1",
            },
            {
                "event_id": "e4",
                "prospect_id": "p3",
                "type": "meeting",
                "occurred_at": "2025-07-01T10:00:00Z",
                "contact_id": "c3",
            },
        ],
        "outcomes": [{"prospect_id": "p3", "outcome": "won", "occurred_at": "2025-09-01T09:00:00Z"}],
        "as_of": AS_OF,
    }


def parse_account(request: Any) -> ParsedAccount:
    """What the service reads, from an object or from a body."""
    body = request if isinstance(request, bytes) else json.dumps(request)
    return RequestReader(DATASET).read_account(decode(body), NOW)


def account_records() -> tuple[AccountRecords, int]:
    """The records of ``account_request``."""
    parsed = parse_account(account_request())
    return parsed.records, parsed.as_of
