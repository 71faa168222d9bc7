"""Every answer gets its receipt: what stands between a score and the text that is sent.

An answer is written out once, and the same text is sent and kept.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection

from features.compiled import compiled
from features.errors import LeadscoreError
from serving.account import AccountContacts, AccountScore
from serving.committee import BASIS
from serving.live import Champion
from serving.load import overloaded
from serving.previous import Key, Last, Now, Previous, effects_of, told
from serving.receipts import Kept, Model, Receipt, Receipts, Waiting, forget, moment_of, new_id, read_receipt
from serving.replay import Replayer
from serving.scorer import Score
from serving.wire import encode

Off = Callable[[Callable[[], Any]], Awaitable[Any]]  # does synchronous work in a thread

_FRESH = 20_000_000  # microseconds from the reading of its records for which a receipt may not be written yet
_PATIENCE = 2.0  # seconds that who asks for such a one waits
_MOMENTS = 4_096  # whose last ids are remembered: more than come between two parts of a batch
_PATIENT = 8  # may wait at a time: an id can be made up


class Scored(NamedTuple):
    """A score, who gave it, and when its records were read, in microseconds."""

    score: Score
    champion: Champion
    read_at: int


class Recorder:
    """Gives answers their receipts, and finds them again. Made once for each worker."""

    def __init__(self, receipts: Receipts, replayer: Replayer, language: str, reasons: int) -> None:
        self.receipts = receipts
        self.previous = Previous(receipts)
        self.replayer = replayer
        self._language = language
        self._reasons = reasons
        self._models: dict[tuple[str, str], Model] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stamped: OrderedDict[int, int] = OrderedDict()  # by moment the last of its ids, in microseconds after it
        self._waiting = 0  # who asks for receipts that may not be written yet

    def start(self) -> None:
        """Begin to write receipts; to be called on the event loop."""
        self._loop = asyncio.get_running_loop()
        self.receipts.start()

    def stop(self) -> None:
        """Write what waits and close."""
        self.receipts.stop()
        self.previous.close()

    def forget(self, connection: Connection, prospect_ids: Sequence[str], contact_ids: Sequence[str], now: int) -> None:
        """Remove the receipts about these prospects and those that name these contacts, as part of a transaction."""
        forget(connection, prospect_ids, contact_ids, now)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.previous.forget, tuple(prospect_ids))

    async def prospects(self, scored: Sequence[Scored]) -> list[tuple[str, str] | Exception]:
        """The answers of ``POST /score`` to several, each with what changed since the score before.

        For each its receipt's id, and it as JSON; or why it cannot be written.
        """
        last = await self.previous.recall([(each.score.goal, each.score.prospect_id) for each in scored])
        out: list[tuple[str, str] | Exception] = []
        for some in _once(scored):
            out += self._prospects(some, last)
        return out

    def _prospects(self, scored: Sequence[Scored], last: dict[Key, Last | None]) -> list[tuple[str, str] | Exception]:
        """Of prospects of whom each is there once; what is given is the last score for the next ones."""
        out: list[tuple[str, str] | Exception] = []
        receipts = []
        for score, champion, read_at in scored:
            try:
                now, receipt_id = _now(score, self._model(champion)), self._new_id(read_at)
                before = last.get((score.goal, score.prospect_id))
                since = before and told(before, now, champion.scorer, self._language, self._reasons)
                text = answer_text(score, receipt_id, since)
            except Exception as e:
                out.append(e)
                continue
            out.append((receipt_id, text))
            receipts.append(self._receipt(receipt_id, score, now, text))
        last.update(self._remember(self.receipts.keep_each(receipts)))
        return out

    def account(self, score: AccountScore, champion: Champion, read_at: int) -> tuple[str, str]:
        """The answer of ``POST /score_account`` as ``prospect`` does; its prospects get receipts too.

        To be called on the event loop.
        """
        model = self._model(champion)
        whole_id = self._new_id(read_at)
        answer = score.to_json()
        texts = [encode(prospect) for prospect in answer["prospects"]]
        kept = encode({**answer, "prospects": [], "receipt_id": whole_id})
        nows = [_now(each, model) for each in score.prospects]
        parts = [
            self._receipt(self._new_id(read_at), each, now, text, whole_id)  # after the whole, in its order
            for each, now, text in zip(score.prospects, nows, texts, strict=True)
        ]
        whole = Receipt(
            id=whole_id,
            kind="account",
            subject=score.account_id or "",
            model=model,
            as_of=score.as_of,
            language=self._language,
            probability=score.probability,
            answer=kept,
            mentions=tuple(("prospects", each.prospect_id) for each in score.prospects),
        )
        self._remember(self.receipts.keep(whole, *parts)[1:])
        # Each text is written once, and put where it has its place; in a text of JSON, no id can look like that place.
        head, place, tail = kept.partition('"prospects":[')
        return whole_id, f"{head}{place}{','.join(texts)}{tail}"

    def contacts(self, score: AccountContacts, champion: Champion, read_at: int) -> tuple[str, str]:
        """The answer of ``POST /score_contacts``, as ``prospect`` does."""
        answer = score.to_json()
        answer["receipt_id"] = receipt_id = self._new_id(read_at)
        text = encode(answer)
        self.receipts.keep(
            Receipt(
                id=receipt_id,
                kind="contacts",
                subject=score.account_id or "",
                model=self._model(champion),
                as_of=score.as_of,
                language=self._language,
                probability=score.probability,
                answer=text,
                mentions=tuple(("contacts", contact.contact_id) for contact in score.contacts),
            )
        )
        return receipt_id, text

    async def find(self, receipt_id: str, off: Off) -> dict[str, Any]:
        """What ``GET /v1/scores/{receipt_id}`` answers.

        Raises LeadscoreError ``unknown_receipt``, ``overloaded`` where too many wait, and what the store raises.
        """
        given_at = moment_of(receipt_id)
        if given_at is None:
            raise _unknown()
        fresh = abs(time.time_ns() // 1000 - given_at) < _FRESH
        end = time.monotonic() + (_PATIENCE if fresh else 0.0)
        store = self.receipts.store
        while True:
            kept: Kept | None = await off(lambda: store.read(lambda connection: read_receipt(connection, receipt_id)))
            if kept is not None:
                return dict(await off(partial(self.replayer.answer, kept)))
            if time.monotonic() >= end:
                raise _unknown()
            if self._waiting >= _PATIENT:
                raise overloaded()
            self.receipts.hurry()
            self._waiting += 1
            try:
                await asyncio.sleep(0.1)
            finally:
                self._waiting -= 1

    def _new_id(self, read_at: int) -> str:
        """An id of the moment at which an answer's records were read, however late it is given.

        An erasure tells by it which answers may rest on what it erased. Those of one moment rise in their order, also
        where other answers are given between two of them, as between the parts of a batch.
        """
        stamped = self._stamped
        stamped[read_at] = more = stamped.get(read_at, -1) + 1
        stamped.move_to_end(read_at)
        if len(stamped) > _MOMENTS:
            stamped.popitem(last=False)
        return new_id(read_at + more)

    def _model(self, champion: Champion) -> Model:
        key = (champion.digest, champion.version)
        known = self._models.get(key)
        if known is None:
            names = tuple(champion.scorer.spec.names)
            known = self._models[key] = Model(champion.goal, champion.version, champion.digest, names)
        return known

    def _receipt(self, id: str, score: Score, now: Now, text: str, part_of: str | None = None) -> Receipt:
        evidence = score.evidence
        regime = None if evidence is None else evidence.regime
        about = score.as_of, self._language, score.probability, text
        return Receipt(id, "prospect", score.prospect_id, now.model, *about, regime, now.features, now.effects, part_of)

    def _remember(self, kept: Iterable[Waiting]) -> dict[Key, Last]:
        """The scores of prospects whose receipts will be written are now the last ones."""
        lasts = {}
        for _, _, _, model, row, _ in kept:
            id, _, subject, _, goal, version, digest, as_of, _, probability, _, features, effects, _ = row
            lasts[goal, subject] = Last(id, probability, as_of, version, digest, model.names, features, effects)
        self.previous.remember(lasts)
        return lasts


def _once(scored: Sequence[Scored]) -> Iterator[Sequence[Scored]]:
    """The scores in parts in which no prospect is there twice for a goal."""
    seen: set[Key] = set()
    begun = 0
    for i, (score, _, _) in enumerate(scored):
        key = (score.goal, score.prospect_id)
        if key in seen:
            yield scored[begun:i]
            seen.clear()
            begun = i
        seen.add(key)
    yield scored[begun:]


def plain_answer(score: Score, receipt_id: str, previous: dict[str, Any] | None) -> str:
    """The answer of ``POST /score`` as JSON. Raises ValueError on a number that is not finite."""
    return encode({**score.to_json(), "receipt_id": receipt_id, "previous": previous})


_quick_answer: Callable[..., str | None] = compiled("serving._answers", "answer", lambda *about: None)


def answer_text(score: Score, receipt_id: str, previous: dict[str, Any] | None) -> str:
    """As ``plain_answer``, by what is compiled where that takes it."""
    text = _quick_answer(score, receipt_id, previous, BASIS)
    return plain_answer(score, receipt_id, previous) if text is None else text


def _now(score: Score, model: Model) -> Now:
    return Now(model, () if score.evidence is None else score.evidence.features, effects_of(score))


def _unknown() -> LeadscoreError:
    return LeadscoreError(
        "unknown_receipt",
        "there is no receipt of this id.",
        where="receipt_id",
        remedy="Check the id. A receipt goes after LEADSCORE_RECEIPTS_DAYS days, and when its prospect is erased.",
    )
