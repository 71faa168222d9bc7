"""The gate around the whole app: refuses early what no API would take, and gives foreign errors the one shape.

It stands outside of BentoML's middlewares, so that their errors are covered too, and so that an unknown path never
becomes a label of BentoML's metrics. The resources below ``/v1/`` bypass them: the path of a record names a person,
and would become a label as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from features.errors import BadInput, LeadscoreError
from serving.faults import error_body
from serving.keys import Keys, scope_of
from serving.live import State
from serving.load import Load, enter, overloaded
from serving.log import log_request
from serving.metrics import Metrics
from serving.settings import Settings
from serving.wire import OURS, crashed, error_answer, json_answer, too_large

RESOURCES = "/v1/"  # below it stand the resources, each of which may be written
DOCUMENT = "/v1/openapi.json"  # but not this, which is as open as health
_ELSE = "other"  # the label of every path that is not there
_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Served(Protocol):
    """What the gate asks of the service: what serves, who may call, and that errors are counted."""

    keys: Keys
    load: Load
    settings: Settings
    metrics: Metrics
    store_problem: LeadscoreError | None

    def state(self) -> State:
        """The champions of this moment."""

    def count(self, error: LeadscoreError) -> None:
        """Count an error that is answered."""


@dataclass(frozen=True)
class Limits:
    """The largest bodies in bytes: of the scoring paths by path, and of every resource below ``/v1/``."""

    paths: Mapping[str, int]
    resources: int

    @staticmethod
    def of(settings: Settings) -> Limits:
        """The limits that the settings give."""
        one, many = settings.score_bytes, settings.batch_bytes
        scoring = {"/score": one, "/score_batch": many, "/score_account": many, "/score_contacts": many}
        return Limits(scoring, many)

    def at(self, path: str) -> int | None:
        """The limit of a path's bodies; None where none is read."""
        limit = self.paths.get(path)
        if limit is None and path.startswith(RESOURCES) and path != DOCUMENT:
            return self.resources
        return limit


class Gate:
    """An ASGI app around BentoML's and that of the resources; ``served`` gives the service once it has started."""

    def __init__(
        self,
        app: Starlette,
        resources: Starlette,
        limits: Limits,
        served: Callable[[], Served],
        straight: Mapping[str, ASGIApp] | None = None,
    ) -> None:
        resources.router.redirect_slashes = False  # one path has one spelling
        self.app: ASGIApp = app
        self.resources: ASGIApp = resources
        self.routes = app.routes
        self.limits = limits
        self.served = served
        self.straight = straight or {}  # what answers a POST to these paths without BentoML's middlewares
        routes = [route for route in resources.routes if isinstance(route, Route)]
        self._templates = {route.endpoint: route.path.replace(":path", "") for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or let pass to the app; then tell what was answered."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began = time.perf_counter()
        served = self.served()
        shaped = _Shaped(send, served)
        note = await self._pass(scope, receive, shaped, served)
        seconds = time.perf_counter() - began
        path = self._template(scope)
        served.metrics.answered(path, shaped.status, seconds)
        if served.settings.log == "json":
            log_request(path, scope["method"], shaped.status, seconds, {**note, **shaped.note})

    async def _pass(self, scope: Scope, receive: Receive, shaped: _Shaped, served: Served) -> Mapping[str, Any]:
        """Answer a request; returns what the log is to tell of the answer."""
        path, method = scope["path"], scope["method"]
        limit = self.limits.at(path)
        if limit is None:  # health is always answered
            if path == "/readyz" and method in ("GET", "HEAD"):
                await ready(served.state(), served.keys, served.store_problem)(scope, receive, shaped)
            elif not self._known(scope):
                await shaped.refuse(foreign(404), scope, receive)
            elif (error := _stranger(served.keys, scope, path)) is not None:
                await shaped.refuse(error, scope, receive)
            elif path == "/metrics":
                served.metrics.flush(served.load)
                await self._call(self.app, scope, receive, shaped)
            else:
                await self._call(self.app, scope, receive, shaped)
            return {}
        error = _stranger(served.keys, scope, path) or (refused(scope, limit) if method in _WRITING else None)
        if error is None and "\n" in path:  # a route would match without it: another record's path
            error = foreign(404)
        if error is None and "\ufffd" in path and not _is_utf8(scope):
            error = BadInput(
                "bad_text",
                "the path is not percent-encoded UTF-8: ids that differ would be one.",
                where="path",
                remedy="Encode the id in UTF-8, then percent-encode it.",
            )
        if error is not None:
            await shaped.refuse(error, scope, receive)
            return {}
        passage = served.load.arrive(_size(scope, limit) if method in _WRITING else 0)
        if passage is None:
            await shaped.refuse(overloaded(), scope, receive)
            return {}
        enter(passage)
        try:
            app = self.resources if path.startswith(RESOURCES) else self.app
            if method == "POST":
                app = self.straight.get(path, app)
            await self._call(app, scope, receive, shaped)
        finally:
            passage.leave()
        return passage.note

    async def _call(self, app: ASGIApp, scope: Scope, receive: Receive, shaped: _Shaped) -> None:
        try:
            await app(scope, receive, shaped)
        except Exception as e:
            error = crashed(e)
            if not shaped.started:
                await shaped.refuse(error, scope, receive)

    def _template(self, scope: Scope) -> str:
        """The path of a request as a label: never with an id in it."""
        path: str = scope["path"]
        if path in self.limits.paths:
            return path
        if path.startswith(RESOURCES) and path != DOCUMENT:
            return self._templates.get(scope["endpoint"], _ELSE) if "endpoint" in scope else _ELSE
        return path if any(getattr(route, "path", None) == path for route in self.routes) else _ELSE

    def _known(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self.routes)


def _stranger(keys: Keys, scope: Scope, path: str) -> LeadscoreError | None:
    """Why whoever calls may not, if so."""
    needed = scope_of(path)
    if needed is not None:
        try:
            keys.check(scope["headers"], needed, scope.get("client"))
        except LeadscoreError as e:
            return e
    return None


def ready(state: State, keys: Keys, store: LeadscoreError | None = None) -> Response:
    """``GET /readyz``: whether the default champion serves, which ones do, to whom, and what could not be loaded.

    A ``store`` that cannot be used is a problem too, and no reason not to be ready: what a request holds is scored.
    """
    if keys.access == "closed" and keys.problem is not None:
        return error_answer(keys.problem, 503)
    if state.default in state.champions:
        return json_answer(
            {
                "ready": True,
                "default": state.default,
                "champions": [c.to_json() for c in state.champions.values()],
                "access": keys.access,
                "problems": [error_body(p)["error"] for p in (*state.problems, *filter(None, [keys.problem, store]))],
            }
        )
    if state.problems:  # 503 whatever its code: the probe asks for readiness, not for the reason
        return error_answer(state.problems[0], 503)
    try:
        state.champion(None)
    except LeadscoreError as e:
        return error_answer(e)
    raise AssertionError("not ready without a reason")


def refused(scope: Scope, limit: int) -> LeadscoreError | None:
    """Why the headers of a request rule it out, if they do; ``limit`` is that of its body, in bytes."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            if value != b"application/json" and not _is_json(value):
                return BadInput(
                    "unsupported_media_type",
                    "the body is not declared as JSON in UTF-8.",
                    where="content-type",
                    remedy="Send the header content-type: application/json.",
                )
        elif name == b"content-length":
            if value.isdigit() and int(value[:20]) > limit:
                return too_large(limit)
        elif name == b"content-encoding" and value.lower() != b"identity":
            return BadInput(
                "unsupported_media_type",
                "the body is compressed.",
                where="content-encoding",
                remedy="Send the body uncompressed.",
            )
    return None


def _is_utf8(scope: Scope) -> bool:
    """Whether the path as it came is UTF-8; what is not was replaced by the server when it decoded it."""
    try:
        unquote_to_bytes(scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _size(scope: Scope, limit: int) -> int:
    """How many bytes the body of a request may have: what it declares, its limit where it comes in pieces, else 0."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return min(int(value[:20]), limit) if value.isdigit() else limit
        if name == b"transfer-encoding":
            return limit
    return 0


def _is_json(value: bytes) -> bool:
    kind, _, rest = value.decode("latin-1").lower().partition(";")
    parameters = [p.strip() for p in rest.split(";") if p.strip()]
    charsets = [p.partition("=")[2].strip(' "') for p in parameters if p.startswith("charset")]
    return kind.strip() == "application/json" and set(charsets) <= {"utf-8", "utf8"}


_FOREIGN: Mapping[int, tuple[str, str, str]] = {
    404: ("unknown_path", "there is nothing at this path.", "See GET /docs.json for the paths."),
    405: ("method_not_allowed", "this path does not take this method.", "See GET /docs.json for the methods."),
    500: ("internal", "the service failed on this request.", "Report it with the service's log of this moment."),
    503: ("unavailable", "the service cannot answer now.", "Send it again a little later."),
    504: ("timeout", "the answer took too long.", "Send it again, or send less at a time."),
}


def foreign(status: int) -> LeadscoreError:
    """Our error for a status that another part answers."""
    code, message, remedy = _FOREIGN.get(status, (f"http_{status}", "the request was refused.", "Correct the request."))
    return LeadscoreError(code, message, remedy=remedy)


class _Shaped:
    """A ``send`` that lets answers pass and replaces errors that are not ours, keeping their status."""

    def __init__(self, send: Send, served: Served) -> None:
        self.send = send
        self.served = served
        self.started = False
        self.status = 0  # 0: the caller went before it was answered
        self.note: dict[str, str] = {}
        self._held: MutableMapping[str, Any] | None = None
        self._chunks: list[bytes] = []

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status < 400:
                self.started = True
                return await self.send(message)
            self._held = message
        elif self._held is None:
            await self.send(message)
        else:
            self._chunks.append(message.get("body", b""))
            if not message.get("more_body"):
                await self._finish(self._held, b"".join(self._chunks))

    async def refuse(self, error: LeadscoreError, scope: Scope, receive: Receive) -> None:
        """Answer with an error, counted."""
        self.served.count(error)
        self._held, self._chunks = None, []
        await error_answer(error)(scope, receive, self)

    async def _finish(self, start: MutableMapping[str, Any], body: bytes) -> None:
        if body.startswith(OURS):
            self.note["code"] = body[len(OURS) + 1 :].partition(b'"')[0].decode()
        else:
            error = foreign(start["status"])
            self.served.count(error)
            self.note["code"] = error.code
            answer = error_answer(error, start["status"])
            ours = {name.lower() for name, _ in answer.raw_headers}
            kept = [(name, value) for name, value in start["headers"] if name.lower() not in ours]
            start = {**start, "headers": [*kept, *answer.raw_headers]}
            body = bytes(answer.body)
        self.started = True
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})
