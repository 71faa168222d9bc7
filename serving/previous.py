"""What changed since a prospect's last score: its last receipt, and the reasons that moved since then.

A look at the newest receipt must not cost a score its speed. What this worker gave is remembered for a while, bounded;
beyond that a receipt is looked up by one indexed statement: at once on SQLite, where it takes no way to a server,
and beside the event loop, for a bounded time, on PostgreSQL. Where the store is slow or gone, nothing is said.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.engine import Connection

from features.compiled import compiled
from features.contract import format_time
from features.errors import LeadscoreError
from serving.explain import human
from serving.receipts import MODELS, RECEIPTS, Effects, Model, Receipts
from serving.scorer import Score, Scorer, plain_value
from serving.store import Store

logger = logging.getLogger("bentoml.leadscore")  # below bentoml's, whose level lets information through

Key = tuple[str, str]  # goal and prospect

_MOST = 4_096  # prospects that are remembered
_TRUSTED = 1.0  # seconds for which what is remembered is not looked up again: other workers score too
_THREADS = 4
_SOME = 500  # prospects in one statement
_WAIT = 0.05  # seconds that a score waits for a look at PostgreSQL
_REST = 5.0  # seconds without a look after one that failed
_MOVED = 0.001  # of log-odds: a smaller change is none


class Last(NamedTuple):
    """The last score of a prospect: its features' raw values and their effects, both in the order of ``names``.

    The values are the text that is kept: few are ever asked for, and a list of numbers takes more room.
    """

    receipt_id: str
    probability: float
    as_of: int
    version: str
    digest: str
    names: tuple[str, ...]
    features: str | None
    effects: Effects | None

    def values(self) -> Sequence[Any]:
        """The features' raw values. Raises ValueError where they cannot be read."""
        found = from_json(self.features or "[]")
        if len(found) != len(self.names):
            raise ValueError("not the features of this model")
        return list(found)


_LAST = (
    sa.select(
        RECEIPTS.c.id,
        RECEIPTS.c.probability,
        RECEIPTS.c.as_of,
        RECEIPTS.c.version,
        RECEIPTS.c.digest,
        RECEIPTS.c.features,
        RECEIPTS.c.effects,
        RECEIPTS.c.subject,
    )
    .where(
        RECEIPTS.c.kind == sa.bindparam("kind"),
        RECEIPTS.c.subject == sa.bindparam("subject"),
        RECEIPTS.c.goal == sa.bindparam("goal"),
    )
    .order_by(RECEIPTS.c.id.desc())
    .limit(1)
)
# The last of each of several prospects: an id is the greatest of its prospect's. On SQLite it is found from the index,
# which names its row too.
_ASKED = sa.func.json_each(sa.bindparam("subjects", type_=sa.String)).table_valued("value")
_own = RECEIPTS.alias("own")
_NEWEST = (
    sa.select(sa.literal_column("own.rowid"))
    .select_from(_own)
    .where(
        _own.c.kind == sa.bindparam("kind"),
        _own.c.subject == _ASKED.c.value,
        _own.c.goal == sa.bindparam("goal"),
    )
    .order_by(_own.c.id.desc())
    .limit(1)
    .correlate(_ASKED)
    .scalar_subquery()
)
_EACH_OF_FILE = sa.select(*_LAST.selected_columns).select_from(
    _ASKED.join(RECEIPTS, sa.literal_column("receipts.rowid") == _NEWEST)
)
_EACH = sa.select(*_LAST.selected_columns).where(
    RECEIPTS.c.id.in_(
        sa.select(sa.func.max(RECEIPTS.c.id))
        .where(
            RECEIPTS.c.kind == sa.bindparam("kind"),
            RECEIPTS.c.goal == sa.bindparam("goal"),
            RECEIPTS.c.subject.in_(sa.bindparam("subjects", expanding=True)),
        )
        .group_by(RECEIPTS.c.subject)
    )
)
_NOTHING: tuple[float, Last | None] = (-math.inf, None)  # is remembered
_NAMES = sa.select(MODELS.c.names).where(MODELS.c.digest == sa.bindparam("digest"))


class Previous:
    """The last scores as one worker knows them. Its methods belong to the event loop's thread.

    ``wait`` is how many seconds a score waits at most for a look that is not at hand.
    """

    def __init__(self, receipts: Receipts, wait: float = _WAIT) -> None:
        self.receipts = receipts
        self.store = receipts.store
        self.failures = 0
        self._kept: OrderedDict[Key, tuple[float, Last]] = OrderedDict()
        self._names: dict[str, tuple[str, ...]] = {}
        self._resting = 0.0
        self._asking: list[set[str]] = []  # of each look that is waited for: who was forgotten meanwhile
        self._wait = wait
        self._file = _File(self.store) if self.store.sqlite else None
        self._thread = None if self.store.sqlite else ThreadPoolExecutor(_THREADS, thread_name_prefix="previous")

    def close(self) -> None:
        """Close what is open."""
        if self._file is not None:
            self._file.close()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def remember(self, lasts: Mapping[Key, Last]) -> None:
        """These scores are now the prospects' last."""
        kept, now = self._kept, time.monotonic()
        for key, last in lasts.items():
            kept[key] = (now, last)
            kept.move_to_end(key)
        # What the store does not know yet stays, of which the queue of receipts bounds how much there is.
        while len(kept) > _MOST and next(iter(kept.values()))[0] < self.receipts.written_until:
            kept.popitem(last=False)

    def forget(self, prospect_ids: Iterable[str]) -> None:
        """Nothing is known of these prospects any more."""
        gone = set(prospect_ids)
        for each in self._asking:
            each |= gone
        for key in [key for key in self._kept if key[1] in gone]:
            del self._kept[key]

    async def last(self, goal: str, prospect_id: str) -> Last | None:
        """The last score of a prospect, None where there is none or the store does not say. Never raises."""
        key = (goal, prospect_id)
        return (await self.recall([key])).get(key)

    async def recall(self, keys: Iterable[Key]) -> dict[Key, Last | None]:
        """The last score of each prospect, None where there is none, looked up in one go. Never raises.

        Those of whom the store does not say are left out.
        """
        found: dict[Key, Last | None] = {}
        if self.receipts.days <= 0:
            return found
        now = time.monotonic()
        kept, written_until = self._kept, self.receipts.written_until
        asked: dict[str, dict[str, None]] = {}
        for key in keys:
            at, last = kept.get(key, _NOTHING)
            if now - at < _TRUSTED or at >= written_until:  # it is young, or still waits to be written
                found[key] = last
            else:
                asked.setdefault(key[0], {})[key[1]] = None
        if not asked or now < self._resting or self.store.down:
            return found
        gone: set[str] = set()
        self._asking.append(gone)
        try:
            for goal, prospect_ids in asked.items():
                found.update(await self._look(goal, [*prospect_ids]))
        except Exception as e:  # the scores do not suffer for it
            self._failed(e)
        finally:
            self._asking = [each for each in self._asking if each is not gone]
        if self._file is None:  # others were scored or erased while the store was asked
            for key in found:
                at, last = kept.get(key, _NOTHING)
                if at >= now:
                    found[key] = last
                elif key[1] in gone:
                    found[key] = None
        return found

    async def _look(self, goal: str, prospect_ids: Sequence[str]) -> dict[Key, Last | None]:
        found: dict[Key, Last | None] = {}
        for start in range(0, len(prospect_ids), _SOME):
            some = prospect_ids[start : start + _SOME]
            found |= self._at_once(goal, some) if self._file is not None else await self._beside(goal, some)
        return found

    def _failed(self, e: Exception) -> None:
        if self.failures % 100 == 0:
            logger.warning("The last score could not be looked up (%s): answers say nothing of it.", _word(e))
        self.failures += 1
        self._resting = time.monotonic() + _REST

    def _at_once(self, goal: str, prospect_ids: Sequence[str]) -> dict[Key, Last | None]:
        assert self._file is not None
        found: dict[Key, Last | None] = {(goal, prospect_id): None for prospect_id in prospect_ids}
        if len(prospect_ids) == 1:
            rows = self._file.rows(_LAST, {"kind": "prospect", "goal": goal, "subject": prospect_ids[0]})
        else:
            wanted = {"kind": "prospect", "goal": goal, "subjects": json.dumps(prospect_ids)}
            rows = self._file.rows(_EACH_OF_FILE, wanted)
        for row in rows:
            key = (goal, row[-1])
            found[key] = self._read(row, self._kept.get(key, _NOTHING)[1])
        return found

    async def _beside(self, goal: str, prospect_ids: Sequence[str]) -> dict[Key, Last | None]:
        def look(connection: Connection) -> dict[Key, Last | None]:
            def names(digest: str) -> list[Any]:
                return [tuple(row) for row in connection.execute(_NAMES, {"digest": digest})]

            found: dict[Key, Last | None] = {(goal, prospect_id): None for prospect_id in prospect_ids}
            for row in connection.execute(_EACH, {"kind": "prospect", "goal": goal, "subjects": list(prospect_ids)}):
                found[goal, row[-1]] = self._read(row, None, names)
            return found

        # Not asyncio.wait_for, which would wait for a thread that cannot be cancelled.
        asked = asyncio.get_running_loop().run_in_executor(self._thread, self.store.read, look)
        done, _ = await asyncio.wait({asked}, timeout=self._wait)
        if not done:
            asked.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise TimeoutError
        return asked.result()

    def _read(self, row: Sequence[Any], known: Last | None, names: Any = None) -> Last | None:
        id, probability, as_of, version, digest, features, effects, _ = row
        if known is not None and known.receipt_id == id:
            return known
        if digest not in self._names:
            found = names(digest) if names else self._file.rows(_NAMES, {"digest": digest}) if self._file else []
            if not found:
                return None
            self._names[digest] = tuple(json.loads(found[0][0]))
        return Last(id, probability, as_of, version, digest, self._names[digest], features, effects)


def _word(e: Exception) -> str:
    return e.code if isinstance(e, LeadscoreError) else type(e).__name__


class _File:
    """SQLite's file, read on the event loop itself: a statement takes less time there than the way to a thread.

    A reader of a write-ahead log waits for nobody, and this one would rather fail than wait.
    """

    def __init__(self, store: Store) -> None:
        self._path = Path(str(store.engine.url.database)).absolute()
        self._store = store
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None

    def rows(self, statement: sa.Select[Any], values: Mapping[str, str]) -> list[Any]:
        """The rows of a statement, none where there is no such table yet. Raises OSError or sqlite3.Error."""
        try:
            found = self._path.stat()  # another file in its place is another store
        except FileNotFoundError:
            return []
        if self._connection is None or self._seen != (found.st_dev, found.st_ino):
            self.close()
            self._connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode=ro", uri=True, timeout=0, isolation_level=None, check_same_thread=False
            )
            self._seen = (found.st_dev, found.st_ino)
        prepared = self._store.prepared(statement)
        try:
            return self._connection.execute(prepared.text, prepared.given(values)).fetchall()
        except sqlite3.OperationalError as e:
            if "no such table: receipt" in str(e):
                return []
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def effects_of(score: Score) -> Effects | None:
    """The effects of a score's features as they are kept."""
    evidence = score.evidence
    return None if evidence is None or evidence.effects is None else narrowed(evidence.effects)


def plain_narrowed(effects: npt.NDArray[np.float64]) -> Effects:
    """One row of effects as it is kept."""
    return effects.astype(np.float32).tobytes()


narrowed: Callable[[npt.NDArray[np.float64]], Effects] = compiled("serving._answers", "narrowed", plain_narrowed)


class Now(NamedTuple):
    """The score that is given: its model, its features' raw values and their effects."""

    model: Model
    features: Sequence[Any]
    effects: Effects | None


def told(last: Last | None, now: Now, scorer: Scorer, language: str, most: int) -> dict[str, Any] | None:
    """What an answer says of the score before it; ``scorer`` is of the present one.

    ``moved`` holds the features whose effects changed most, at most ``most`` of them; none where reasons are off.
    None where there is none, or what was kept of it cannot be read: the score does not suffer for it.
    """
    if last is None:
        return None
    try:
        moved = _moved(last, now, scorer, language, most)
    except (IndexError, TypeError, ValueError):
        logger.warning("The last score's features (receipt %s) cannot be read.", last.receipt_id)
        return None
    return {
        "probability": last.probability,
        "receipt_id": last.receipt_id,
        "as_of": format_time(last.as_of),
        "model_version": last.version,
        "moved": moved,
    }


def _moved(last: Last, now: Now, scorer: Scorer, language: str, most: int) -> list[dict[str, Any]]:
    if last.effects is None or now.effects is None or most <= 0:
        return []
    if last.digest == now.model.digest:
        order = greatest_changes(last.effects, now.effects, most, _MOVED)
        values = last.values() if order else ()
        return [_change(last, values, now, scorer, language, i, i) for i in order]
    values = last.values()
    before = {name: i for i, name in enumerate(last.names)}
    pairs: list[tuple[int | None, int | None]] = [(before.pop(name, None), j) for j, name in enumerate(now.model.names)]
    pairs += [(i, None) for i in before.values()]

    def change(pair: tuple[int | None, int | None]) -> float:
        return abs(_at(now.effects, pair[1]) - _at(last.effects, pair[0]))

    pairs.sort(key=lambda pair: -change(pair))
    return [_change(last, values, now, scorer, language, i, j) for i, j in pairs[:most] if change((i, j)) >= _MOVED]


def plain_greatest_changes(before: Effects, after: Effects, most: int, least: float) -> list[int]:
    """The places that changed most, the most first, equal ones in their order; those that changed by ``least``.

    Raises ValueError where the two are not of the same features.
    """
    if len(before) != len(after):
        raise ValueError("not of the same features")
    changes = np.abs(np.frombuffer(after, np.float32) - np.frombuffer(before, np.float32))
    order: list[int] = np.argsort(-changes, kind="stable")[:most].tolist()
    return [i for i in order if changes[i] >= least]


greatest_changes: Callable[[Effects, Effects, int, float], list[int]] = compiled(
    "serving._answers", "moved", plain_greatest_changes
)


def _at(effects: Effects | None, i: int | None) -> float:
    return 0.0 if i is None or effects is None else float(memoryview(effects).cast("f")[i])


def _change(
    last: Last, values: Sequence[Any], now: Now, scorer: Scorer, language: str, i: int | None, j: int | None
) -> dict[str, Any]:
    if j is None:  # of a model that is no longer the champion
        assert i is not None
        name = last.names[i]
        after, text = None, human(name)
    else:
        name = now.model.names[j]
        after, text = scorer.described(j, now.features[j], language)
    return {
        "feature": name,
        "label": text,
        "before": None if i is None else plain_value(values[i]),
        "after": after,
        "effect_before": round(_at(last.effects, i), 6),
        "effect_after": round(_at(now.effects, j), 6),
    }
