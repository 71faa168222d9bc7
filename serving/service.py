"""The service: a thin BentoML adapter around the champions, the reader of requests and the scorer.

BentoML gives the server, the workers, the APIs, health and metrics. What it would do otherwise than the contract is
set right at its own hooks: the APIs' input class takes the body as it came, since BentoML logs the input that its
validation refuses; and ``_Gate`` around the whole ASGI app gives every error the one shape.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from features.errors import BadInput, LeadscoreError
from serving import openapi
from serving.account import AccountContacts, AccountScore, score_account, score_contacts
from serving.faults import error_body, missing, status_of, within
from serving.live import Champion, Champions, State
from serving.schema import bounded, goal_of, items_of
from serving.settings import Settings
from serving.values import decode

logger = logging.getLogger("bentoml.leadscore")  # below bentoml's, whose level lets information through

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_OURS = b'{"error":{"code":'  # how our errors begin
_PUBLIC = (
    "goal",
    "horizon_days",
    "trained_until",
    "created_at",
    "data",
    "features",
    "feature_fingerprint",
    "base_rate",
    "calibration",
    "metrics",
    "warnings",
    "libraries",
    "example",
)
_PATHS = frozenset(
    {
        "/score",
        "/score_batch",
        "/score_account",
        "/score_contacts",
        "/v1",
        "/livez",
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs.json",
        "/schema.json",
    }
)
_PAUSE = 16  # items of a batch between two looks at other requests


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read from its environment at the first call."""
    return Settings.from_environment(os.environ)


def _json(content: Any, status: int = 200) -> Response:
    return Response(_encode(content), status, media_type="application/json")


def _error(error: LeadscoreError) -> Response:
    response = _json(error_body(error), status_of(error.code))
    if error.code in ("body_timeout", "body_too_large"):  # what is still on its way is not read
        response.headers["connection"] = "close"
    return response


def _crashed(e: Exception) -> LeadscoreError:
    """An error for a fault of ours. Its text may quote the request, so only its type and place are logged."""
    frames = traceback.extract_tb(e.__traceback__)
    trail = " < ".join(f"{os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in reversed(frames[-12:]))
    logger.error("Internal error %s at %s", type(e).__name__, trail)
    return LeadscoreError(
        "internal", "the service failed on this request.", remedy="Report it with the service's log of this moment."
    )


class _Metrics:
    """Our counters, beside BentoML's own on ``/metrics``."""

    def __init__(self) -> None:
        # BentoML's workers know where metrics are kept only after this module was loaded.
        from prometheus_client import Counter, Gauge

        self.scores = Counter("leadscore_scores", "Scores given.", ["goal", "version"])
        self.errors = Counter("leadscore_errors", "Errors answered, items of batches included.", ["code"])
        self.failures = Counter("leadscore_load_failures", "Champions or pointers refused.")
        self.serving = Gauge(
            "leadscore_model_workers",
            "Workers that serve a model version.",
            ["goal", "version", "digest"],
            multiprocess_mode="livesum",
        )
        self._serving: set[tuple[str, str, str]] = set()

    def serve(self, state: State) -> None:
        """Tell which versions serve from now on."""
        now = {(c.goal, c.version, c.digest[:12]) for c in state.champions.values()}
        for labels in now ^ self._serving:
            self.serving.labels(*labels).set(1 if labels in now else 0)
        self._serving = now


async def _body(request: Request, limit: int, seconds: float) -> bytes | LeadscoreError:
    """The body as it came, or why it cannot be had."""
    chunks: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    return BadInput("incomplete_body", "the body ended early.", remedy="Send it again.")
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    return _too_large(limit)
                chunks.append(chunk)
                more = message.get("more_body", False)
    except TimeoutError:
        return BadInput("body_timeout", f"the body did not arrive within {seconds:g} seconds.", remedy="Send it again.")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> BadInput:
    return BadInput("body_too_large", f"the body is larger than {limit} bytes.", remedy="Send less at a time.")


class Body(bentoml.IODescriptor):  # type: ignore[misc]
    """What the APIs take: the body as it came. ``serving.openapi`` documents what it holds."""

    __root_input__ = True

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> bytes | LeadscoreError:
        """BentoML's hook: what the API is called with. Nothing may leave it, since BentoML would log its text."""
        try:
            return await _body(request, _limits()[request.scope["path"]], settings().body_seconds)
        except Exception as e:
            return _crashed(e)

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """BentoML's hook: makes its clients send an object as it is."""
        return {"type": "object", "title": "Body", "root_input": True}


class Answer(bentoml.IODescriptor):  # type: ignore[misc]
    """What the APIs give: JSON that is already written. ``serving.openapi`` documents what it holds."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """BentoML's hook: makes its clients hand the object over as it is."""
        return {"type": "object", "title": "Answer"}


@lru_cache(maxsize=1)
def _limits() -> Mapping[str, int]:
    """The largest body of each API, in bytes."""
    one, many = settings().score_bytes, settings().batch_bytes
    return {"/score": one, "/score_batch": many, "/score_account": many, "/score_contacts": many}


async def _model(request: Request) -> Response:
    """``GET /v1/model?goal=``: the card of a champion."""
    service: Any = bentoml.get_current_service()
    state = service.champions.state
    try:
        champion = state.champion(request.query_params.get("goal"))
    except LeadscoreError as e:
        _count(e)
        return _error(e)
    card = {key: champion.scorer.card[key] for key in _PUBLIC if key in champion.scorer.card}
    return _json({**champion.to_json(), "default": champion.goal == state.default, "card": card})


async def _index(request: Request) -> Response:
    """``GET /``: where to look further."""
    return _json({"name": "leadscore", "links": ["/docs.json", "/readyz", "/v1/model"]})


def _ready(state: State) -> Response:
    """``GET /readyz``: whether the default champion serves, which ones do, and what could not be loaded."""
    if state.default in state.champions:
        return _json(
            {
                "ready": True,
                "default": state.default,
                "champions": [c.to_json() for c in state.champions.values()],
                "problems": [error_body(p)["error"] for p in state.problems],
            }
        )
    if state.problems:  # 503 whatever its code: the probe asks for readiness, not for the reason
        return _json(error_body(state.problems[0]), 503)
    try:
        state.champion(None)
    except LeadscoreError as e:
        return _error(e)
    raise AssertionError("not ready without a reason")


class _Gate:
    """Around the whole app: refuses early what no API would take, and gives foreign errors the one shape.

    It stands outside of BentoML's middlewares, so that their errors are covered too, and so that an unknown path
    never becomes a label of BentoML's metrics.
    """

    def __init__(self, app: Starlette) -> None:
        self.app: ASGIApp = app
        self.routes = app.routes
        self.limits = _limits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"]
        limit = self.limits.get(path)
        if limit is not None:
            error = _refused(scope, limit) if scope["method"] == "POST" else None
        elif path == "/readyz" and scope["method"] in ("GET", "HEAD"):
            return await _ready(bentoml.get_current_service().champions.state)(scope, receive, send)
        else:
            error = None if self._known(scope) else _foreign(404)
        if error is not None:
            _count(error)
            return await _error(error)(scope, receive, send)
        shaped = _Shaped(send)
        try:
            await self.app(scope, receive, shaped)
        except Exception as e:
            error = _crashed(e)
            if not shaped.started:
                _count(error)
                await _error(error)(scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self.routes)


def _count(error: LeadscoreError) -> None:
    bentoml.get_current_service().metrics.errors.labels(error.code).inc()


def _refused(scope: Scope, limit: int) -> LeadscoreError | None:
    """Why the headers of a request rule it out, if they do."""
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
                return _too_large(limit)
        elif name == b"content-encoding" and value.lower() != b"identity":
            return BadInput(
                "unsupported_media_type",
                "the body is compressed.",
                where="content-encoding",
                remedy="Send the body uncompressed.",
            )
    return None


def _is_json(value: bytes) -> bool:
    kind, _, rest = value.decode("latin-1").lower().partition(";")
    parameters = [p.strip() for p in rest.split(";") if p.strip()]
    charsets = [p.partition("=")[2].strip(' "') for p in parameters if p.startswith("charset")]
    return kind.strip() == "application/json" and set(charsets) <= {"utf-8", "utf8"}


_FOREIGN: Mapping[int, tuple[str, str, str]] = {
    404: ("unknown_path", "there is nothing at this path.", "See GET /docs.json for the paths."),
    405: ("method_not_allowed", "this path does not take this method.", "See GET /docs.json for the methods."),
    429: ("overloaded", "the service has more requests than it can take.", "Send it again a little later."),
    500: ("internal", "the service failed on this request.", "Report it with the service's log of this moment."),
    503: ("unavailable", "the service cannot answer now.", "Send it again a little later."),
    504: ("timeout", "the answer took too long.", "Send it again, or send less at a time."),
}


def _foreign(status: int) -> LeadscoreError:
    code, message, remedy = _FOREIGN.get(status, (f"http_{status}", "the request was refused.", "Correct the request."))
    return LeadscoreError(code, message, remedy=remedy)


class _Shaped:
    """A ``send`` that lets answers pass and replaces errors that are not ours, keeping their status."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.started = False
        self._held: MutableMapping[str, Any] | None = None
        self._chunks: list[bytes] = []

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            if message["status"] < 400:
                self.started = True
                return await self.send(message)
            self._held = message
        elif self._held is None:
            await self.send(message)
        else:
            self._chunks.append(message.get("body", b""))
            if not message.get("more_body"):
                await self._finish(self._held, b"".join(self._chunks))

    async def _finish(self, start: MutableMapping[str, Any], body: bytes) -> None:
        if not body.startswith(_OURS):
            error = _foreign(start["status"])
            _count(error)
            body = _encode(error_body(error)).encode()
            replaced = (b"content-length", b"content-type")
            kept = [(name, value) for name, value in start["headers"] if name.lower() not in replaced]
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            start = {**start, "headers": [*kept, *headers]}
        self.started = True
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})


class LeadScoreService(bentoml.Service):  # type: ignore[misc]
    """BentoML's service, with our gate around its app and our contract in its OpenAPI document."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The app that a worker serves."""
        app = super().to_asgi(is_main)
        # BentoML's time limit leaves a timer behind each request until it runs out, a minute of them: they cost a
        # quarter of a bare request and make full garbage collections slow. Only bodies can be slow, and have their own.
        app.user_middleware = [m for m in app.user_middleware if m.cls.__name__ != "TimeoutMiddleware"]
        # BentoML's page loads a third party's scripts. Of its routes only those known to answer data are kept.
        app.router.routes[:] = [r for r in app.routes if getattr(r, "path", None) in _PATHS]
        app.router.routes.append(Route("/", _index))
        return _Gate(app)

    @property
    def openapi_spec(self) -> Any:
        """BentoML's document, with every body, answer and error as they are."""
        import attr

        spec = super().openapi_spec
        paths = dict(spec.paths)
        for path, operation in openapi.operations().items():
            (method, ours), *_ = operation.items()
            given = getattr(paths[path], method) if path in paths else None
            theirs = given if isinstance(given, dict) else {} if given is None else attr.asdict(given, recurse=False)
            merged = {**{k: v for k, v in theirs.items() if v is not None}, **ours}
            paths[path] = _path_item(spec, method, merged)
        info = attr.evolve(spec.info, version=openapi.VERSION, description=openapi.DESCRIPTION, contact=None)
        return attr.evolve(spec, paths=paths, info=info, components={"schemas": openapi.schemas()})


def _path_item(spec: Any, method: str, operation: dict[str, Any]) -> Any:
    """One more of BentoML's path items."""
    item: type[Any] = type(next(iter(spec.paths.values())))
    return item(**{method: operation})


@bentoml.service(
    name="LeadScore",
    service_class=LeadScoreService,
    http={"host": "127.0.0.1"},
    logging={"access": {"enabled": False}},
    tracing={"sample_rate": 0.0, "excluded_urls": ["/score", "/v1/"]},
)
@bentoml.asgi_app(Starlette(routes=[Route("/model", _model)]), path="/v1", name="v1")
class LeadScore:
    """Scores the prospects of firms that sell to firms: the probability that they become customers, with reasons."""

    def __init__(self) -> None:
        self.settings = settings()
        self.champions = Champions(self.settings.home)
        self.metrics = _Metrics()
        self._watch: asyncio.Task[None] | None = None

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Load the champions, then follow the pointer."""
        await self._refresh()
        self._watch = asyncio.create_task(self._follow())

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Stop following the pointer."""
        if self._watch is not None:
            self._watch.cancel()

    async def _refresh(self) -> None:
        failures = self.champions.failures
        if await asyncio.to_thread(self.champions.refresh):
            self.metrics.failures.inc(self.champions.failures - failures)
            self.metrics.serve(self.champions.state)
            # What is loaded stays: full collections need not walk over it again and again.
            gc.unfreeze()
            gc.collect()
            gc.freeze()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            try:
                await self._refresh()
            except Exception as e:
                _crashed(e)

    @bentoml.api(input_spec=Body, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def score(self, body: bytes | LeadscoreError, /) -> Response:
        """Score one prospect with what the request holds: probability, interval, curve, rank, grade and reasons."""
        try:
            if isinstance(body, LeadscoreError):
                raise body
            return _json(self._score(decode(body), self.champions.state))
        except Exception as e:
            return _error(self._told(e))

    @bentoml.api(input_spec=Body, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def score_batch(self, body: bytes | LeadscoreError, /) -> Response:
        """Score several prospects. Results come in the order of the items: a score, or an error for a bad item."""
        try:
            if isinstance(body, LeadscoreError):
                raise body
            state = self.champions.state  # one state for the whole batch
            if not state.champions:
                state.champion(None)
            results = []
            for index, item in enumerate(items_of(decode(body), self.settings.batch_items)):
                try:
                    results.append(self._score(item, state, f"items[{index}]"))
                except Exception as e:
                    results.append(error_body(self._told(e)))
                if index % _PAUSE == _PAUSE - 1:
                    await asyncio.sleep(0)
            return _json({"results": results})
        except Exception as e:
            return _error(self._told(e))

    @bentoml.api(input_spec=Body, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def score_account(self, body: bytes | LeadscoreError, /) -> Response:
        """Score an account from all its open prospects, with the buying trio and the prospects ranked."""
        return await self._about_account(body, self._score_account)

    @bentoml.api(input_spec=Body, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def score_contacts(self, body: bytes | LeadscoreError, /) -> Response:
        """Rank the people of an account by how much the events with them move its probability."""
        return await self._about_account(body, self._score_contacts)

    async def _about_account(
        self, body: bytes | LeadscoreError, score: Callable[[Champion, Any], AccountScore | AccountContacts]
    ) -> Response:
        try:
            if isinstance(body, LeadscoreError):
                raise body
            data = decode(body)
            champion: Champion = self.champions.state.champion(goal_of(data))
            # An account may hold hundreds of prospects: in a thread, others are answered meanwhile.
            answer = (await asyncio.to_thread(score, champion, data)).to_json()
            answer["receipt_id"] = str(uuid.uuid4())
            self.metrics.scores.labels(champion.goal, champion.version).inc(len(answer.get("prospects", [None])))
            return _json(answer)
        except Exception as e:
            return _error(self._told(e))

    def _score_account(self, champion: Champion, data: Any) -> AccountScore:
        parsed = champion.reader.read_account(data, time.time_ns() // 1000)
        bounded(parsed.records, self.settings.batch_items, self.settings.account_steps, by_contact=False)
        score = score_account(
            champion.scorer,
            parsed.records,
            parsed.as_of,
            reasons=self.settings.reasons,
            language=self.settings.language,
        )
        return score.with_warnings(parsed.warnings)

    def _score_contacts(self, champion: Champion, data: Any) -> AccountContacts:
        parsed = champion.reader.read_account(data, time.time_ns() // 1000)
        if parsed.records.contacts is None:
            raise missing("contacts", ", since they are what is ranked")
        bounded(parsed.records, self.settings.batch_items, self.settings.account_steps, by_contact=True)
        return score_contacts(champion.scorer, parsed.records, parsed.as_of).with_warnings(parsed.warnings)

    def _score(self, data: Any, state: State, place: str = "") -> dict[str, Any]:
        try:
            champion: Champion = state.champion(goal_of(data))
        except LeadscoreError as e:
            raise within(e, place) from None
        parsed = champion.reader.read(data, time.time_ns() // 1000, place)
        score = champion.scorer.score(
            parsed.records, parsed.as_of, reasons=self.settings.reasons, language=self.settings.language
        )
        answer = score.with_warnings(parsed.warnings).to_json()
        answer["receipt_id"] = str(uuid.uuid4())
        self.metrics.scores.labels(champion.goal, champion.version).inc()
        return answer

    def _told(self, e: Exception) -> LeadscoreError:
        """What is answered for an exception, counted."""
        error = e if isinstance(e, LeadscoreError) else _crashed(e)
        self.metrics.errors.labels(error.code).inc()
        return error
