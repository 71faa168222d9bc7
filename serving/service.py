"""The service: a thin BentoML adapter around the champions, the reader of requests and the scorer.

BentoML gives the server, the workers, the APIs, health and metrics. What it would do otherwise than the contract is
set right at its own hooks: the APIs' input class takes the body as it came, since BentoML logs the input that its
validation refuses; and ``serving.gate`` around the whole ASGI app gives every error the one shape.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import Any, NamedTuple

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from features.compiled import absent
from features.contract import Dataset
from features.errors import BadInput, LeadscoreError
from serving import resources
from serving.account import AccountContacts, AccountScore, score_account, score_contacts
from serving.completion import Completed
from serving.faults import error_body, missing, within
from serving.gate import Gate, Limits
from serving.heads import bound_heads
from serving.hook import Hook, LiveWriter
from serving.hubspot import PATH
from serving.keys import Keys
from serving.live import Champion, Champions, State
from serving.load import Load, Passage, current
from serving.log import structured
from serving.metrics import FLUSH_SECONDS, Metrics, Watch
from serving.openapi_document import document
from serving.receipts import Receipts
from serving.record import Recorder, Scored
from serving.replay import Replayer
from serving.schema import ParsedRequest, bounded, goal_of, items_in
from serving.scorer import COMPILED, Score, Scorer
from serving.settings import Settings
from serving.store import open_store, store_url
from serving.together import MOST, Together
from serving.trees import load_alone
from serving.values import ReadEvents, ReadRequest, decode, decode_score
from serving.wire import crashed, encode, error_answer, json_answer, logger, read_body, text_answer

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
        "/livez",
        "/healthz",
        "/readyz",
        "/metrics",
        "/schema.json",
    }
)
_UNUSED = frozenset({"TimeoutMiddleware", "RunnerTrafficMetricsMiddleware"})
_STORE_SECONDS = 2.0  # between two looks at the store of live records
_SWITCH = 0.0005  # seconds: the event loop waits no longer for a thread that writes receipts, by default 0.005
_EVENTS = 200  # or contacts, weigh as much as the rest of a score


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read from its environment at the first call."""
    return Settings.from_environment(os.environ)


@lru_cache(maxsize=1)
def limits() -> Limits:
    """The largest bodies of this process."""
    return Limits.of(settings())


async def body_of(request: Request) -> bytes:
    """The body of a request within its path's limit; work on the request begins with it. Raises why it cannot."""
    body = await read_body(request, limits().at(request.scope["path"]) or 0, settings().body_seconds)
    await current().start()
    return body


async def read_json(request: Request) -> Any:
    """The JSON value of a request's body. Raises as ``body_of``, and BadInput where it is none."""
    return decode(await body_of(request))


class Body(bentoml.IODescriptor):  # type: ignore[misc]
    """What the APIs take: the body as it came. ``serving.openapi`` documents what it holds."""

    __root_input__ = True

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> bytes | LeadscoreError:
        """BentoML's hook: what the API is called with. Nothing may leave it, since BentoML would log its text."""
        try:
            return await body_of(request)
        except LeadscoreError as e:
            return e
        except Exception as e:
            return crashed(e)

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
def _current_service() -> Callable[[], Any]:
    found: Callable[[], Any] = bentoml.get_current_service  # looked up once: each look imports a module by name
    return found


def _service() -> LeadScore:
    """The running service of this worker."""
    service: LeadScore = _current_service()()
    return service


def resource(answer: Callable[[LeadScore, Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint below ``/v1``: what it returns is sent as JSON, what it raises as an error, counted."""

    async def endpoint(request: Request) -> Response:
        service = _service()
        try:
            if request.method not in ("POST", "PUT", "PATCH"):  # for these it starts with the body
                await current().start()
            found = await answer(service, request)
            return found if isinstance(found, Response) else json_answer(found)
        except Exception as e:
            return error_answer(service.told(e))

    return endpoint


async def _model(service: LeadScore, request: Request) -> Any:
    """``GET /v1/model?goal=``: the card of a champion."""
    state = service.state()
    champion = state.champion(request.query_params.get("goal"))
    card = {key: champion.scorer.card[key] for key in _PUBLIC if key in champion.scorer.card}
    return {**champion.to_json(), "default": champion.goal == state.default, "card": card}


async def _receipt(service: LeadScore, request: Request) -> Any:
    """``GET /v1/scores/{receipt_id}``: an answer that was given, on what grounds, and computed again."""
    return await service.recorder.find(request.path_params["receipt_id"], service.live.off)


@lru_cache(maxsize=1)
def _document() -> str:
    return encode(document())


async def _docs(request: Request) -> Response:
    """``GET /docs.json`` and ``GET /v1/openapi.json``: the contract."""
    return text_answer(_document())


async def _hubspot(service: LeadScore, request: Request) -> Any:
    """``POST /v1/hooks/hubspot``: a signed delivery of HubSpot's webhooks."""
    body = await body_of(request)
    query = request.scope["query_string"].decode("latin-1")
    return await service.live.off(partial(service.hook.take, request.headers, query, body))


async def _index(request: Request) -> Response:
    """``GET /``: where to look further."""
    return json_answer({"name": "leadscore", "links": ["/v1/openapi.json", "/docs.json", "/readyz", "/v1/model"]})


def _live(answer: resources.Call) -> Callable[[LeadScore, Request], Awaitable[Any]]:
    async def call(service: LeadScore, request: Request) -> Any:
        return await answer(service.live, request, read_json)

    return call


def _straight(answer: Callable[[LeadScore, bytes | LeadscoreError], Awaitable[Response]]) -> ASGIApp:
    """An app that gives the body to a method of the service, and its answer back.

    BentoML's own way there (its router, four middlewares of which this service uses none, a signature that is bound
    anew for every call) costs every score. Its API is declared all the same, for its clients and its
    document, and calls the same method.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await answer(_service(), await Body.from_http_request(Request(scope, receive), None))
        await response(scope, receive, send)

    return app


# The resources below /v1: a path, what answers it, and its methods.
_RESOURCES = [
    Route("/v1/model", resource(_model), methods=["GET"]),
    Route(PATH, resource(_hubspot), methods=["POST"]),
    Route("/v1/scores/{receipt_id}", resource(_receipt), methods=["GET"]),
    *(Route(path, resource(_live(answer)), methods=[method]) for path, method, answer in resources.CALLS),
]


class _Item(NamedTuple):
    """A score request as it was decoded: who serves, its path in a batch; ``whole`` is it with what is stored.

    Or why that cannot be had; None where it was not looked up, or something is stored. ``read_at`` is when the store
    was asked, in microseconds; ``looked`` whether that much was found out, which leaves those of whom something is.
    """

    data: Any
    state: State
    place: str = ""
    whole: Completed | Exception | None = None
    read_at: int = 0
    looked: bool = False

    def asked(self) -> resources.Asked:
        """It, and the reader of the model that is to answer it. Raises where there is no such model."""
        return self.data, self.state.champion(goal_of(self.data)).reader

    def weight(self) -> float:
        """As ``_weight``, with what is stored."""
        return _weight(self.whole.data if isinstance(self.whole, Completed) else self.data)


class _Asked(NamedTuple):
    """A request that was read: who is to answer it, its records, and what the look-up has to say."""

    champion: Champion
    parsed: ParsedRequest
    warnings: tuple[dict[str, str], ...]
    read_at: int


def _parts(items: Sequence[Any]) -> Iterator[range]:
    """A batch in parts, between which other requests are looked at: as heavy as one call of ``Together`` may be."""
    start, room = 0, MOST
    for i, item in enumerate(items):
        room -= _weight(item)
        if room < 0 and i > start:
            yield range(start, i)
            start, room = i, MOST - _weight(item)
    if start < len(items):
        yield range(start, len(items))


@contextmanager
def _uncollected() -> Iterator[None]:
    """The garbage collector waits for the end of this: what is made here lives till then, and is walked in vain."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _weight(data: Any) -> float:
    """About how long the score of a request takes, by the events and contacts in it; that of one with few is 1."""
    if type(data) is ReadRequest:
        weight: float = 1 + data.listed() / _EVENTS
        return weight
    if type(data) is not dict:
        return 1.0
    lists = [part.get("events") for part in (data, data.get("related")) if type(part) is dict]
    lists.append(data.get("contacts"))
    return 1 + sum(len(each) for each in lists if isinstance(each, (list, ReadEvents))) / _EVENTS


class LeadScoreService(bentoml.Service):  # type: ignore[misc]
    """BentoML's service, with our gate around its app and our contract in its OpenAPI document."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The app that a worker serves."""
        app = super().to_asgi(is_main)
        # BentoML's time limit leaves a timer behind each request until it runs out, a minute of them: they cost a
        # quarter of a bare request and make full garbage collections slow. Only bodies can be slow, and have their own.
        # Its own request metrics cost more than ours, and take every path for a label.
        app.user_middleware = [m for m in app.user_middleware if m.cls.__name__ not in _UNUSED]
        # BentoML's page loads a third party's scripts. Of its routes only those known to answer data are kept.
        app.router.routes[:] = [r for r in app.routes if getattr(r, "path", None) in _PATHS]
        app.router.routes += [Route("/", _index), Route("/docs.json", _docs), Route("/v1/openapi.json", _docs)]
        straight = {
            "/score": _straight(lambda service, body: service.score_one(body)),
            "/score_batch": _straight(lambda service, body: service.score_many(body)),
        }
        return Gate(app, Starlette(routes=_RESOURCES), limits(), _service, straight)

    @property
    def openapi_spec(self) -> Any:
        """BentoML's document, as it stands in a Bento: with what ours says, which is what is served."""
        import attr

        spec, ours = super().openapi_spec, document()
        item: type[Any] = type(next(iter(spec.paths.values())))
        paths = {path: item(**methods) for path, methods in ours["paths"].items()}
        info = attr.evolve(spec.info, **ours["info"], contact=None)
        return attr.evolve(spec, openapi=ours["openapi"], paths=paths, info=info, components=ours["components"])


bound_heads()


@bentoml.service(
    name="LeadScore",
    service_class=LeadScoreService,
    http={"host": "127.0.0.1"},
    logging={"access": {"enabled": False}},
    tracing={"sample_rate": 0.0, "excluded_urls": ["/score"]},
)
class LeadScore:
    """Scores the prospects of firms that sell to firms: the probability that they become customers, with reasons."""

    def __init__(self) -> None:
        self.settings = settings()
        self.champions = Champions(self.settings.home)
        self.keys = Keys(self.settings.home)
        self.metrics = Metrics()
        self.load = Load.of(self.settings)
        self.together = Together(self._scores, _Item.weight)
        self._watch: asyncio.Task[None] | None = None
        self._report: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self.store_problem: LeadscoreError | None = None
        store = open_store(store_url(self.settings.store, self.settings.home))
        store.on_failure = self.metrics.store_failed
        self.live = resources.LiveRecords(store, self._datasets, self.settings.batch_items)
        receipts = Receipts(store, self.settings.receipts_days, self.settings.receipts_queue)
        receipts.on_drop = self.metrics.drop
        replayer = Replayer(self.settings.home, self._scorers)
        self.recorder = Recorder(receipts, replayer, self.settings.language, self.settings.reasons)
        self.live.erasers.append(self.recorder.forget)
        hubspot = (self.settings.hubspot_secret, self.settings.hubspot_url)
        self.hook = Hook(LiveWriter(self.live), self.settings.home, *hubspot)

    def _datasets(self) -> list[Dataset]:
        return [champion.scorer.spec.dataset for champion in self.champions.state.champions.values()]

    def _scorers(self) -> dict[str, Scorer]:
        return {champion.digest: champion.scorer for champion in self.champions.state.champions.values()}

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Load the champions, then follow the pointer."""
        sys.setswitchinterval(_SWITCH)
        if plain := absent(COMPILED):
            logger.warning("Not compiled: %s. The plain forms serve, and scores take longer.", ", ".join(plain))
        await asyncio.to_thread(load_alone)
        self.recorder.start()
        if self.settings.log == "json":
            structured()
        await self._refresh()
        self._watch = asyncio.create_task(self._follow())
        self._report = asyncio.create_task(self._flush())
        self._probe = asyncio.create_task(self._look_at_store())

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Stop following the pointer, write down what was counted, and close the store."""
        for task in (self._watch, self._report, self._probe):
            if task is not None:
                task.cancel()
        await asyncio.to_thread(self.recorder.stop)
        self.metrics.flush(self.load)
        await asyncio.to_thread(self.live.close)

    async def _refresh(self) -> None:
        await asyncio.to_thread(self.keys.refresh)
        self.metrics.depth("receipts", self.recorder.receipts.waiting)
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
                crashed(e)

    async def _look_at_store(self) -> None:
        """Know whether the store of live records is there, for readiness; a task of its own, since it may hang."""
        while True:
            try:
                await asyncio.to_thread(self.live.store.ready)
                self.store_problem = None
            except LeadscoreError as e:
                self.store_problem = e
            except Exception as e:
                self.store_problem = crashed(e)
            await asyncio.sleep(_STORE_SECONDS)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.metrics.flush(self.load)

    @bentoml.api(input_spec=Body, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def score(self, body: bytes | LeadscoreError, /) -> Response:
        """Score one prospect with what the request holds: probability, interval, curve, rank, grade and reasons."""
        return await self.score_one(body)

    async def score_one(self, body: bytes | LeadscoreError) -> Response:
        """What ``score`` answers."""
        try:
            if isinstance(body, LeadscoreError):
                raise body
            watch = Watch(self.metrics)
            data = decode_score(body)
            watch("parse")
            return text_answer(await self._score(_Item(data, self.champions.state)))
        except Exception as e:
            return error_answer(self.told(e))

    @bentoml.api(input_spec=Body, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def score_batch(self, body: bytes | LeadscoreError, /) -> Response:
        """Score several prospects. Results come in the order of the items: a score, or an error for a bad item."""
        return await self.score_many(body)

    async def score_many(self, body: bytes | LeadscoreError) -> Response:
        """What ``score_batch`` answers."""
        try:
            if isinstance(body, LeadscoreError):
                raise body
            state = self.champions.state  # one state for the whole batch
            if not state.champions:
                state.champion(None)
            passage = current()
            async with passage.turn():
                with _uncollected():
                    results = await self._batch(body, state, passage)
            return text_answer(f'{{"results":[{",".join(results)}]}}')
        except Exception as e:
            return error_answer(self.told(e))

    async def _batch(self, body: bytes, state: State, passage: Passage) -> list[str]:
        """A score or an error for each item, scored in parts."""
        results: list[str] = []
        watch = Watch(self.metrics)
        items = items_in(body, self.settings.batch_items)
        watch("parse")
        now = time.time_ns() // 1000
        looked = self.live.alone(items, now)
        watch("lookup")
        for part in _parts(items):
            if part.start:
                await passage.pause()
            results += await self._score_part(
                [_Item(items[i], state, f"items[{i}]", looked[i], now, True) for i in part]
            )
        return results

    @bentoml.api(input_spec=Body, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def score_account(self, body: bytes | LeadscoreError, /) -> Response:
        """Score an account from all its open prospects, with the buying trio and the prospects ranked."""
        return await self._about_account(body, self._score_account)

    @bentoml.api(input_spec=Body, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def score_contacts(self, body: bytes | LeadscoreError, /) -> Response:
        """Rank the people of an account by how much the events with them move its probability."""
        return await self._about_account(body, self._score_contacts)

    async def _about_account(
        self, body: bytes | LeadscoreError, score: Callable[[Champion, Completed], AccountScore | AccountContacts]
    ) -> Response:
        try:
            if isinstance(body, LeadscoreError):
                raise body
            data = decode(body)
            champion: Champion = self.champions.state.champion(goal_of(data))
            # An account may hold hundreds of prospects: in a thread, others are answered meanwhile.
            now = time.time_ns() // 1000
            whole = await self.live.complete_account(data, now, champion.reader)
            found = await current().in_thread(score, champion, whole)
            if isinstance(found, AccountScore):
                receipt_id, text = self.recorder.account(found, champion, now)
                self._given([receipt_id], [(champion, [one.probability for one in found.prospects])])
            else:
                receipt_id, text = self.recorder.contacts(found, champion, now)
                self._given([receipt_id], [(champion, [found.probability])])
            return text_answer(text)
        except Exception as e:
            return error_answer(self.told(e))

    def _score_account(self, champion: Champion, whole: Completed) -> AccountScore:
        parsed = champion.reader.read_account(whole.data, whole.now)
        bounded(parsed.records, self.settings.batch_items, self.settings.account_steps, by_contact=False)
        score = score_account(
            champion.scorer,
            parsed.records,
            parsed.as_of,
            reasons=self.settings.reasons,
            language=self.settings.language,
        )
        return score.with_warnings((*whole.warnings, *parsed.warnings))

    def _score_contacts(self, champion: Champion, whole: Completed) -> AccountContacts:
        parsed = champion.reader.read_account(whole.data, whole.now)
        if parsed.records.contacts is None:
            raise missing("contacts", ", since they are what is ranked")
        bounded(parsed.records, self.settings.batch_items, self.settings.account_steps, by_contact=True)
        return score_contacts(champion.scorer, parsed.records, parsed.as_of).with_warnings(
            (*whole.warnings, *parsed.warnings)
        )

    async def _score(self, item: _Item) -> str:
        scored = await self.together.do(item)
        if scored is None:
            (whole,) = await self._completed([item])
            scored = await self.together.do(whole)
            assert scored is not None, "completed"
        (answer,) = await self._answers([scored])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _scores(self, items: Sequence[_Item]) -> list[Scored | Exception | None]:
        """The score of each, or why there is none, or None: what is stored takes long, and ``_completed`` brings it.

        Those that were not looked up are looked up in one go, and those of one champion are scored in one call.
        """
        watch = Watch(self.metrics)
        asked = self._read(items, watch)
        how: dict[str, Any] = {"reasons": self.settings.reasons, "language": self.settings.language, "ended": watch}
        out: list[Scored | Exception | None] = [None if isinstance(each, _Asked) else each for each in asked]
        by_champion: dict[int, list[int]] = {}
        for i, each in enumerate(asked):
            if isinstance(each, _Asked):
                by_champion.setdefault(id(each.champion), []).append(i)
        for group in by_champion.values():
            those = [each for i in group if isinstance(each := asked[i], _Asked)]
            scorer = those[0].champion.scorer
            found: list[Score | Exception] = []
            with suppress(Exception):  # it is the fault of one of them, and told of that one below
                found += scorer.score_each([(each.parsed.records, each.parsed.as_of) for each in those], **how)
            if not found:
                for i, each in zip(group, those, strict=True):
                    try:
                        found.append(scorer.score(each.parsed.records, each.parsed.as_of, **how))
                    except Exception as e:
                        found.append(within(e, items[i].place) if isinstance(e, BadInput) else e)
            for i, each, score in zip(group, those, found, strict=True):
                if isinstance(score, Exception):
                    out[i] = score
                    continue
                more = (*each.warnings, *each.parsed.warnings)
                out[i] = Scored(score.with_warnings(more) if more else score, each.champion, each.read_at)
        return out

    def _read(self, items: Sequence[_Item], watch: Watch) -> list[_Asked | Exception | None]:
        """Each request with the champion that is to answer it; why it cannot be read; None where that takes long."""
        now = time.time_ns() // 1000
        new = [item for item in items if item.whole is None]
        looked = self._looked(new, now) if new else []
        if new:
            watch("lookup")
        left = iter(looked)
        out: list[_Asked | Exception | None] = []
        for item in items:
            whole = item.whole or next(left)
            if whole is None:
                out.append(None)
                continue
            try:
                champion = item.state.champion(goal_of(item.data))
                if isinstance(whole, Exception):
                    raise whole
            except Exception as e:
                out.append(within(e, item.place) if isinstance(e, LeadscoreError) else e)
                continue
            try:
                parsed = champion.reader.read(whole.data, whole.now, item.place)
                read_at = now if item.whole is None else item.read_at
                out.append(_Asked(champion, parsed, whole.warnings, read_at))
            except Exception as e:
                out.append(e)
        watch("parse")
        return out

    def _looked(self, items: Sequence[_Item], now: int) -> list[Completed | Exception | None]:
        """Each request with what is stored, or why it cannot be had; None where that takes long to find out."""
        out: list[Completed | Exception | None] = [None] * len(items)
        new = [i for i, item in enumerate(items) if not item.looked]
        for i, whole in zip(new, self.live.alone([items[i].data for i in new], now) if new else (), strict=True):
            out[i] = whole
        asked: dict[int, resources.Asked] = {}
        for i, item in enumerate(items):
            if out[i] is None:
                try:
                    asked[i] = item.asked()
                except Exception as e:
                    out[i] = e
        found = self.live.at_once([*asked.values()], now) if asked else None
        for i, completed in zip(asked, found or (None,) * len(asked), strict=True):
            out[i] = completed
        return out

    async def _completed(self, items: Sequence[_Item]) -> list[_Item]:
        """The requests, whose champions are there, with what is stored about their prospects, or why it is not."""
        watch = Watch(self.metrics)
        now = time.time_ns() // 1000
        found = await self.live.complete_each([item.asked() for item in items], now)
        watch("lookup")
        return [item._replace(whole=whole, read_at=now) for item, whole in zip(items, found, strict=True)]

    async def _answers(self, scored: Sequence[Scored]) -> list[str | Exception]:
        """What is answered for each, or why it cannot be written."""
        found = await self.recorder.prospects(scored)
        out: list[str | Exception] = []
        ids: list[str] = []
        by_champion: dict[int, tuple[Champion, list[float]]] = {}
        for (score, champion, _), each in zip(scored, found, strict=True):
            if isinstance(each, Exception):
                out.append(each)
                continue
            receipt_id, text = each
            out.append(text)
            ids.append(receipt_id)
            by_champion.setdefault(id(champion), (champion, []))[1].append(score.probability)
        self._given(ids, by_champion.values())
        return out

    async def _score_part(self, items: list[_Item]) -> list[str]:
        """A score or an error for each item, scored together."""
        found = self._scores(items)
        left = [i for i, each in enumerate(found) if each is None]
        if left:
            for i, each in zip(left, self._scores(await self._completed([items[i] for i in left])), strict=True):
                found[i] = each
        answers = iter(await self._answers([each for each in found if isinstance(each, Scored)]))
        out = []
        for scored in found:
            answer = next(answers) if isinstance(scored, Scored) else scored
            assert answer is not None, "completed"
            out.append(self._fault(answer) if isinstance(answer, Exception) else answer)
        return out

    def _fault(self, e: Exception) -> str:
        """What stands for an item that cannot be scored."""
        return encode(error_body(self.told(e)))

    def _given(self, receipt_ids: Sequence[str], by: Iterable[tuple[Champion, Sequence[float]]]) -> None:
        """Count the probabilities that answers tell, by champion, and note them for the log.

        That notes receipts, and nothing of whom they are about.
        """
        note = current().note
        note.setdefault("receipt_ids", []).extend(receipt_ids)
        for champion, probabilities in by:
            self.metrics.scored(champion.goal, champion.version, probabilities)
            note["goal"], note["version"] = champion.goal, champion.version

    def told(self, e: Exception) -> LeadscoreError:
        """What is answered for an exception, counted."""
        error = e if isinstance(e, LeadscoreError) else crashed(e)
        self.count(error)
        return error

    def count(self, error: LeadscoreError) -> None:
        """Count an error that is answered."""
        self.metrics.refused(error.code)

    def state(self) -> State:
        """What serves at this moment; take it once for each request."""
        return self.champions.state
