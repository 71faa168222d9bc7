"""A receipt played again: from its features and the very bundle that answered, found by its digest under the home.

Bundles are never changed and nothing of ours deletes one: they stand in the model store, where every champion was put
before the pointer moved, and the pointer's history names their places; MLflow's artifacts hold them a second time. So
an answer can be computed again, to the bit, also after promotions, as long as the home is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from features.contract import format_time
from features.errors import LeadscoreError
from serving.account import combine, interval
from serving.bundle import MANIFEST, Bundle, check_bundle
from serving.champion import read_pointer
from serving.receipts import Kept, moment_of
from serving.scorer import Score, Scorer, plain_value

_LOADED = 4  # bundles that are kept ready
_GONE = 60.0  # seconds for which a bundle that was not found is not looked for again
_SAME = (
    "probability",
    "probability_low",
    "probability_high",
    "curve",
    "score",
    "grade",
    "reasons",
    "horizon_days",
    "model_version",
)


class Replayer:
    """Plays receipts again, in seconds at worst; safe in threads. ``serving`` gives the scorers in use by digest."""

    def __init__(
        self, home: Path, serving: Callable[[], dict[str, Scorer]], check: Callable[[Path, str], Bundle] = check_bundle
    ) -> None:
        self.home = home
        self._serving = serving
        self._check = check  # of a folder and a digest; tried in a child process, since damage may end its process
        self._lock = threading.Lock()
        self._loaded: OrderedDict[tuple[str, str], Scorer] = OrderedDict()
        self._gone: dict[str, float] = {}

    def answer(self, kept: Kept) -> dict[str, Any]:
        """What ``GET /v1/scores/{receipt_id}`` answers: what was said, on what grounds, and what is computed now."""
        warnings: list[dict[str, str]] = []
        replay = None
        if kept.kind == "contacts":
            text = "A ranking of people is kept as it was given; the histories without each of them are not."
            warnings.append({"code": "not_replayed", "text": text})
        else:
            try:
                replay = self._replay(kept)
            except LeadscoreError as e:
                warnings.append({"code": e.code, "text": f"{e.message} {e.remedy}"})
        features = None
        if kept.features is not None and len(kept.names) == len(kept.features):
            features = {n: plain_value(v) for n, v in zip(kept.names, kept.features, strict=True)}
        given_at = moment_of(kept.id)
        return {
            "receipt_id": kept.id,
            "kind": kept.kind,
            "given_at": None if given_at is None else format_time(given_at),
            "goal": kept.goal,
            "model_version": kept.version,
            "digest": kept.digest,
            "score": kept.answer,
            "features": features,
            "prospects": [{"prospect_id": part.subject, "receipt_id": part.id} for part in kept.parts],
            "replay": replay,
            "warnings": warnings,
        }

    def _replay(self, kept: Kept) -> dict[str, Any]:
        scorer = self.scorer(kept.digest, kept.version)
        if kept.kind == "account":
            return self._account(kept, scorer)
        found = _again(kept, scorer).to_json()
        computed = {name: json.loads(json.dumps(found[name])) for name in _SAME}
        return {**computed, "same": all(computed[name] == kept.answer[name] for name in _SAME)}

    def _account(self, kept: Kept, scorer: Scorer) -> dict[str, Any]:
        """The account's figures from its prospects' features; its reasons are theirs, weighted, and not made anew."""
        scores = [_again(part, scorer) for part in kept.parts]
        if not scores:
            raise _not("receipt_incomplete", "The receipts of the account's prospects are not kept any more.")
        account, level = scorer.constants.account, scorer.constants.level
        low, high = interval(scores, account, level)
        probability = combine([s.probability for s in scores], account)
        computed: dict[str, Any] = {"probability": probability, "probability_low": low, "probability_high": high}
        parts = [json.loads(json.dumps(s.to_json())) for s in scores]
        same = all(computed[name] == kept.answer[name] for name in computed) and all(
            now[name] == then.answer[name] for now, then in zip(parts, kept.parts, strict=True) for name in _SAME
        )
        return {**computed, "same": same}

    def scorer(self, digest: str, version: str) -> Scorer:
        """The scorer of a bundle, in use or found on disk. Raises LeadscoreError ``bundle_gone``."""
        found = self._serving().get(digest)
        if found is not None and found.version == version:
            return found
        key = (digest, version)
        with self._lock:
            known = self._loaded.get(key)
            if known is None:
                known = self._loaded[key] = Scorer(self._bundle(digest), version)
                if len(self._loaded) > _LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return known

    def _bundle(self, digest: str) -> Bundle:
        if time.monotonic() < self._gone.get(digest, 0.0):
            raise _gone(digest)
        for folder in places(self.home, digest):
            try:
                return self._check(folder, digest)
            except LeadscoreError:
                continue  # damaged here; it may be whole elsewhere
        now = time.monotonic()
        self._gone = {**{d: t for d, t in self._gone.items() if t > now}, digest: now + _GONE}
        raise _gone(digest)


def _again(kept: Kept, scorer: Scorer) -> Score:
    if kept.features is None or len(kept.features) != len(scorer.spec.names):
        raise _not("receipt_incomplete", "The receipt does not hold the features.")
    return scorer.score_rows(
        [list(kept.features)],
        [kept.regime],
        reasons=len(kept.answer["reasons"]),
        prospect_ids=[kept.subject],
        as_of=[kept.as_of],
        language=kept.language,
    )[0]


def _not(code: str, message: str) -> LeadscoreError:
    return LeadscoreError(code, message)


def _gone(digest: str) -> LeadscoreError:
    return LeadscoreError(
        "bundle_gone",
        f"The bundle that answered ({digest[:12]}) is no longer under the home: its answer cannot be computed again.",
        remedy="Restore it from a backup of the home.",
    )


def places(home: Path, digest: str) -> Iterator[Path]:
    """Where a bundle may stand: where the pointer and its history say, then wherever under the home its manifest is."""
    seen: set[Path] = set()
    try:
        pointer = read_pointer(home)
    except LeadscoreError:
        pointer = None
    steps = [*pointer["goals"].values(), *reversed(pointer["history"])] if pointer else []
    for step in steps:
        folder = home / step["path"]
        if step["digest"] == digest and folder not in seen:
            seen.add(folder)
            yield folder
    for path, _, files in os.walk(home):
        folder = Path(path)
        if MANIFEST in files and folder not in seen and _digest(folder / MANIFEST) == digest:
            yield folder


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
