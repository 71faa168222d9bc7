"""The champions in memory: loaded from the pointer, swapped whole when it changes, kept when the new one is broken."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from features.errors import LeadscoreError
from serving.bundle import check_bundle, read_bundle
from serving.champion import POINTER, read_pointer
from serving.schema import RequestReader
from serving.scorer import Scorer

logger = logging.getLogger("bentoml.leadscore")  # below bentoml's, whose level lets information through


@dataclass(frozen=True)
class Champion:
    """A model that answers for a goal: its scorer and the reader of requests for its columns."""

    goal: str
    version: str
    digest: str
    scorer: Scorer
    reader: RequestReader

    def to_json(self) -> dict[str, str]:
        """Which model it is."""
        return {"goal": self.goal, "version": self.version, "digest": self.digest}


@dataclass(frozen=True)
class State:
    """What serves at one moment. ``goals`` are all that the pointer names, loaded or not; ``problems`` say why not."""

    default: str | None = None
    goals: tuple[str, ...] = ()
    champions: Mapping[str, Champion] = field(default_factory=dict)
    problems: tuple[LeadscoreError, ...] = ()

    def champion(self, goal: str | None) -> Champion:
        """The champion of a goal, None being the default; raises ``unknown_goal`` or ``no_champion``."""
        name = self.default if goal is None else goal
        found = self.champions.get(name or "")
        if found is not None:
            return found
        if goal is not None and self.goals and goal not in self.goals:
            raise LeadscoreError(
                "unknown_goal",
                "no champion answers for this goal.",
                where="goal",
                remedy=f"Leave `goal` out, or ask for one of: {', '.join(self.goals)}.",
            )
        if self.problems:
            raise LeadscoreError(
                "no_champion",
                "the champion cannot be loaded.",
                remedy="See GET /readyz for what is wrong with it; promote another version: leadscore promote VERSION.",
            )
        raise LeadscoreError(
            "no_champion",
            "there is no model to score with yet.",
            remedy="Train one with `leadscore train DATA`, or promote a version with `leadscore promote VERSION`.",
        )


class Champions:
    """Follows the champion pointer under ``home``. ``state`` is replaced whole: take it once for each request."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = State()
        self.failures = 0
        self._seen: Any = object()
        self._broken: dict[Path, Any] = {}  # what each refused bundle held when it was tried
        self._sound: set[str] = set()  # the digests of bundles that a child process has tried: a rollback needs none

    def refresh(self) -> bool:
        """Follow the pointer if it, or a bundle that was broken, has changed on disk. True where something was tried.

        Never raises: what cannot be loaded is logged, told in ``state.problems`` and leaves the old champion in place.
        """
        # Looked at before it is read: what is promoted or mended while bundles load is seen at the next look.
        seen = _stat(self.home / POINTER)
        if seen == self._seen and all(_contents(folder) == held for folder, held in self._broken.items()):
            return False
        self._seen = seen
        try:
            pointer = read_pointer(self.home)
        except LeadscoreError as e:
            self._tell("champion pointer", e, bool(self.state.champions))
            self.state = State(self.state.default, self.state.goals, self.state.champions, (e,))
            return True
        if pointer is None:
            if not self.state.champions:
                logger.warning("No champion under %s: answers are 503 until one is promoted.", self.home)
            return True
        self._load(pointer)
        return True

    def _load(self, pointer: Mapping[str, Any]) -> None:
        champions: dict[str, Champion] = {}
        problems: list[LeadscoreError] = []
        self._broken = {}
        for goal, entry in pointer["goals"].items():
            old = self.state.champions.get(goal)
            if old is not None and (old.version, old.digest) == (entry["version"], entry["digest"]):
                champions[goal] = old
                continue
            folder = self.home / entry["path"]
            contents = _contents(folder)
            try:
                champions[goal] = _champion(goal, entry, folder, entry["digest"] in self._sound)
                self._sound.add(entry["digest"])
                logger.info("Champion %s: version %s (%s) serves.", goal, entry["version"], entry["digest"][:12])
            except LeadscoreError as e:
                self._broken[folder] = contents
                problems.append(e)
                self._tell(f"champion {goal}, version {entry['version']}", e, old is not None)
                if old is not None:
                    champions[goal] = old
        self.state = State(pointer["default"], tuple(pointer["goals"]), champions, tuple(problems))

    def _tell(self, what: str, error: LeadscoreError, old: bool) -> None:
        self.failures += 1
        then = "the one before it keeps serving" if old else "nothing serves in its place"
        logger.error("Refused the %s: %s: %s (%s)", what, error.code, error, then)


def _champion(goal: str, entry: Mapping[str, Any], folder: Path, sound: bool) -> Champion:
    try:
        bundle = (read_bundle if sound else check_bundle)(folder, entry["digest"])
        if bundle.constants.goal.outcome != goal:
            raise LeadscoreError(
                "wrong_goal",
                f"the bundle predicts {bundle.constants.goal.outcome!r}, not {goal!r}.",
                where=str(folder),
                remedy="Promote a version that was trained for this goal.",
            )
        scorer = Scorer(bundle, entry["version"])
        return Champion(goal, entry["version"], bundle.digest, scorer, RequestReader(bundle.features.dataset))
    except LeadscoreError:
        raise
    except Exception as e:  # whatever is wrong with a bundle, it must not end the service
        raise LeadscoreError(
            "broken_champion",
            f"the bundle cannot be loaded ({type(e).__name__}: {e}).",
            where=str(folder),
            remedy="Promote another version: leadscore promote VERSION.",
        ) from None


def _stat(path: Path | os.DirEntry[str]) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _contents(folder: Path) -> Any:
    try:
        return sorted((entry.name, _stat(entry)) for entry in os.scandir(folder))
    except OSError:
        return None
