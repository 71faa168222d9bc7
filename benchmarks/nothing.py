"""A peer of ``benchmarks.serve``: the service one would write with BentoML and our models, which answers a constant.

It has the settings of ``serving.service`` and does everything that BentoML does for a service: it reads the body into
the published request model, and writes an instance of the published answer model. Nothing is computed.
"""

from __future__ import annotations

import bentoml

from serving.openapi import BatchAnswer, BatchRequest, ScoreAnswer, ScoreRequest

ANSWER = {
    "prospect_id": "p1",
    "as_of": "2026-01-01T00:00:00Z",
    "goal": "won",
    "horizon_days": 90,
    "probability": 0.23812345678901234,
    "probability_low": 0.11031234567890123,
    "probability_high": 0.44061234567890123,
    "curve": [{"days": days, "probability": 0.0012345678901234 * days} for days in (1, 3, 7, 14, 30, 60, 90)],
    "score": 94,
    "grade": "A",
    "reasons": [
        {"feature": name, "label": f"{name}: 3", "value": 3, "effect": 0.7129123456789, "family": "interest"}
        for name in ("page_view_count_7d", "page_view_count_30d", "meeting_count_30d", "call_count_30d", "email_count")
    ],
    "committee": {
        "roles": [
            {"role": role, "known": True, "engaged": True, "days_since": 12.333333333333334}
            for role in ("buyer", "prescriber", "user")
        ],
        "missing": [{"role": "prescriber", "event_type": "page_view", "probability": 0.3526123456789012}],
        "basis": "model_sensitivity",
    },
    "warnings": [],
    "model_version": "1",
    "previous": None,
    "receipt_id": "3f0e8f5c-6f0a-4a49-8f8e-0a4e1f5b2c11",
}


@bentoml.service(
    name="Nothing",
    http={"host": "127.0.0.1"},
    logging={"access": {"enabled": False}},
    tracing={"sample_rate": 0.0, "excluded_urls": ["/score", "/v1/"]},
)
class Nothing:
    """Answers every score request with the same score."""

    def __init__(self) -> None:
        self.answer = ScoreAnswer.model_validate(ANSWER)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def score(self, request: ScoreRequest, /) -> ScoreAnswer:
        """The constant."""
        return self.answer

    @bentoml.api  # type: ignore[untyped-decorator]
    async def score_batch(self, request: BatchRequest, /) -> BatchAnswer:
        """The constant, once for each item."""
        return BatchAnswer(results=[self.answer] * len(request.items))
