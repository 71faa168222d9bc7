"""The whole OpenAPI document, in version 3.0.3: what CRMs import from ``GET /v1/openapi.json``.

Salesforce's External Services make Apex of it, so names are Apex identifiers, there is no ``type: null``, no read has a
body, and descriptions are short; a test holds all of it.
"""

from __future__ import annotations

from typing import Any

from serving import openapi, openapi_live
from serving.openapi import DESCRIPTION, VERSION, errors

_OPEN = ("/livez", "/healthz", "/readyz", "/metrics", "/docs.json", "/v1/openapi.json")
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}, {}]
_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key as `leadscore keys add` prints it. Without any key, clients on the same machine "
        "are answered, and no others.",
    },
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}


def _text(operation: str, summary: str) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "responses": {"200": {"description": summary + ".", "content": content}},
        }
    }


def _document(operation: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object", "additionalProperties": True}}}
    return {
        "get": {
            "operationId": operation,
            "summary": "This document",
            "responses": {"200": {"description": "The document.", "content": content}},
        }
    }


def paths() -> dict[str, dict[str, dict[str, Any]]]:
    """Every path that answers, by method, with what stands in the way of each."""
    live = openapi_live.operations(openapi.ScoreRequest)
    out = {
        **openapi.operations(),
        **live,
        "/livez": _text("is_alive", "Whether the process lives"),
        "/healthz": _text("is_healthy", "Whether the process lives"),
        "/metrics": _text("read_metrics", "Metrics for Prometheus"),
        "/docs.json": _document("read_docs"),
        "/v1/openapi.json": _document("read_openapi"),
    }
    for path, methods in out.items():
        for operation in methods.values():
            operation["tags"] = ["live" if path in live else "scoring"]
            if path in _OPEN:
                operation["security"] = []
            else:
                operation["responses"].update(errors(401, 403, 429, 503))
            if "{" in path:
                operation["responses"].update(errors(404))
            operation["responses"] = dict(sorted(operation["responses"].items()))
    return out


def document() -> dict[str, Any]:
    """The document, as JSON."""
    return {
        "openapi": "3.0.3",
        "info": {"title": "LeadScore", "version": VERSION, "description": DESCRIPTION.replace("\n", " ")},
        "servers": [{"url": "/"}],
        "security": _SECURITY,
        "paths": paths(),
        "components": {"schemas": openapi.schemas(openapi_live.MODELS), "securitySchemes": _SCHEMES},
    }
