"""A trained bundle as a folder of texts: written whole or not at all, and believed only after its digests.

Nothing in a bundle executes on load. ``read_bundle`` verifies and parses; it never hands anything to LightGBM, which
aborts the whole process on some damaged models. ``check_bundle`` therefore tries the model in a child process.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from features.contract import ROLES, Dataset, Goal, parse_time
from features.errors import BadBundle, BadInput, LeadscoreError
from features.spec import FeatureSet

FORMAT = 2
MANIFEST = "MANIFEST.json"
FILES = ("card.json", "constants.json", "model.txt", "reference.json", "spec.json")  # beside the manifest
TOLERANCE = 1e-9  # between the example's probability in the card and the one computed here
GRADES = ("A", "B", "C")  # below the last cut: D
# LightGBM imports these where they are installed; scoring needs none, and they cost seconds.
UNUSED = ("pandas", "pyarrow", "sklearn", "matplotlib")

_AGAIN = "Restore it from MLflow with leadscore promote VERSION; where MLflow's copy is damaged too, train again."
_MISSING = "Mend the path, restore the bundle from MLflow with leadscore promote VERSION, or train a model."
_TRAIN = "Train again with this version, or serve with the version that trained it."


class UsualEvent(NamedTuple):
    """The inbound event that training met most often from people of one role."""

    type: str
    channel: str | None


class AccountMap(NamedTuple):
    """From the prospects' probabilities p_1 .. p_n to their account's, for n of at least 2.

    ``logit P = intercept + naive * logit(1 - prod(1 - p_i)) + size * log(n)``; {0, 1, 0} is the naive product.
    ``error`` is the fit's standard error in log-odds.
    """

    intercept: float
    naive: float
    size: float
    error: float


@dataclass(frozen=True)
class Constants:
    """What was fitted beside the trees.

    ``edges`` are the K + 1 borders of the K intervals in days, from 0; ``starting_score`` their K log-odds.
    ``categories`` maps each category feature to its levels, whose positions are their codes; a level that is not
    among them gets the code ``len(levels)`` where ``has_other`` holds the feature, else it is missing. ``rare`` names
    levels that training met too seldom for a code of their own (optional; they are no surprise when scored).
    The interval's ``knots`` rise on the log-odds axis; ``low`` and ``high`` are the distances there, never negative.
    ``committee`` holds no role that was never seen inbound.
    """

    goal: Goal
    edges: tuple[int, ...]
    starting_score: tuple[float, ...]
    categories: Mapping[str, tuple[str, ...]]
    has_other: frozenset[str]
    rare: Mapping[str, frozenset[str]]
    slope: float
    intercept: float
    level: float
    knots: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    grade_cuts: tuple[float, ...]
    committee: Mapping[str, UsualEvent]
    account: AccountMap
    linear: Mapping[str, Any] | None = None  # checked: what ``serving.linear.Linear`` takes; None without that part


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory. ``digest`` is the sha256 of its manifest and so of everything in it.

    ``reference`` maps a regime (``""``: every other) to rising quantiles of the probability in its population.
    """

    folder: Path
    digest: str
    features: FeatureSet
    constants: Constants
    reference: Mapping[str, tuple[float, ...]]
    card: Mapping[str, Any]
    model_text: str


def write_bundle(
    folder: Path | str,
    *,
    spec: FeatureSet,
    model_text: str,
    constants: Mapping[str, Any],
    card: Mapping[str, Any],
    reference: Mapping[str, Any],
) -> str:
    """Write a bundle and return its digest; equal content gives equal bytes.

    The folder appears whole, by a rename, or not at all. The content must pass ``read_bundle``, else BadBundle is
    raised and nothing is left; an existing folder that is not empty is refused (BadInput ``bundle_exists``). Whether
    LightGBM can load ``model_text`` is for ``check_bundle`` to say.
    """
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(
            "bundle_exists",
            "there is something at this place already, and a bundle never changes.",
            where=str(folder),
            remedy="Choose another folder, or remove this one first.",
        )
    contents, _ = _contents(spec, model_text, constants, card, reference)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    draft.mkdir()
    try:
        for name, content in contents.items():
            with open(draft / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        digest = read_bundle(draft).digest
        _sync(draft)
        os.rename(draft, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return digest


def make_bundle(
    *,
    spec: FeatureSet,
    model_text: str,
    constants: Mapping[str, Any],
    card: Mapping[str, Any],
    reference: Mapping[str, Any],
) -> Bundle:
    """The bundle that ``write_bundle`` would write, in memory: a model can be evaluated by the scorer that serves."""
    contents, digest = _contents(spec, model_text, constants, card, reference)
    return _from_contents(contents, Path("bundle"), digest)


def _contents(
    spec: FeatureSet,
    model_text: str,
    constants: Mapping[str, Any],
    card: Mapping[str, Any],
    reference: Mapping[str, Any],
) -> tuple[dict[str, bytes], str]:
    """The bytes of every file, the manifest last, and the manifest's digest."""
    contents = {
        "spec.json": _dump(spec.to_json(), "spec.json"),
        "model.txt": model_text.encode(),
        "constants.json": _dump({"format": FORMAT, **constants}, "constants.json"),
        "card.json": _dump({"format": FORMAT, **card}, "card.json"),
        "reference.json": _dump({"format": FORMAT, **reference}, "reference.json"),
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[MANIFEST] = _dump({"format": FORMAT, "files": digests}, MANIFEST)
    return contents, hashlib.sha256(contents[MANIFEST]).hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _dump(data: Any, name: str) -> bytes:
    def plain(value: Any) -> Any:
        if hasattr(value, "tolist"):  # a numpy scalar or array
            return value.tolist()
        raise TypeError(f"a {type(value).__name__} is no plain data")

    try:
        text = json.dumps(data, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=1, default=plain)
        return (text + "\n").encode()
    except (TypeError, ValueError) as e:
        raise _bad("bundle_malformed", f"cannot be written as JSON: {e}.", Path(name), _TRAIN) from None


def read_bundle(folder: Path | str, expected_digest: str | None = None) -> Bundle:
    """Read and verify a bundle: the digest, the formats, that exactly its files are there, and their content.

    ``expected_digest`` is the sha256 of the manifest that the caller trusts (the champion pointer's); without it, a
    bundle is only held to agree with itself. Raises BadBundle whose ``where`` is the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise _bad("bundle_missing", "there is no bundle here.", folder, _MISSING)
    text = _read(folder / MANIFEST)
    digest = hashlib.sha256(text).hexdigest()
    if expected_digest is not None and digest != expected_digest:
        raise _bad(
            "bundle_digest",
            f"the bundle is not the one that was promoted: digest {digest[:12]}, not {expected_digest[:12]}.",
            folder / MANIFEST,
            _AGAIN,
        )
    manifest = _parse(text, folder / MANIFEST)
    _format(manifest, folder / MANIFEST)
    digests = manifest.get("files")
    if not isinstance(digests, dict) or set(digests) != set(FILES):
        raise _bad("bundle_malformed", f"a manifest lists exactly {', '.join(FILES)}.", folder / MANIFEST, _AGAIN)
    try:
        found = set(os.listdir(folder))
    except OSError as e:
        raise _unreadable(folder, e) from None
    extra = sorted(found - {MANIFEST, *FILES})
    if extra:
        raise _bad("bundle_extra_file", "this file does not belong to the bundle.", folder / extra[0], "Remove it.")
    contents = {name: _read(folder / name) for name in FILES}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != digests[name]:
            raise _bad(
                "bundle_damaged", "the file is damaged: its digest is not the manifest's.", folder / name, _AGAIN
            )
    return _from_contents(contents, folder, digest)


def _from_contents(contents: Mapping[str, bytes], folder: Path, digest: str) -> Bundle:
    try:
        model_text = contents["model.txt"].decode()
    except UnicodeDecodeError:
        raise _bad("bundle_malformed", "the model is no UTF-8 text.", folder / "model.txt", _TRAIN) from None
    parsed = {name: _parse(contents[name], folder / name) for name in FILES if name != "model.txt"}
    for name, data in parsed.items():
        if name != "spec.json":  # it has a format of its own, which ``FeatureSet.from_json`` checks
            _format(data, folder / name)
    try:
        features = FeatureSet.from_json(parsed["spec.json"])
    except BadInput as e:
        raise _bad(e.code, e.message, folder / "spec.json", e.remedy) from None
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise _bad("bundle_malformed", f"not a feature spec: {e!r}.", folder / "spec.json", _TRAIN) from None
    return Bundle(
        folder=folder,
        digest=digest,
        features=features,
        constants=_constants(parsed["constants.json"], features, folder / "constants.json"),
        reference=_reference(parsed["reference.json"], folder / "reference.json"),
        card=_card(parsed["card.json"], folder / "card.json"),
        model_text=model_text,
    )


def _bad(code: str, message: str, where: Path, remedy: str) -> BadBundle:
    return BadBundle(code, message, where=str(where), remedy=remedy)


def _read(path: Path) -> bytes:
    """The bytes of a regular file: neither a link to what is no part of the bundle nor a pipe, which would not end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            with open(handle, "rb") as file:
                return file.read()
        os.close(handle)
    except FileNotFoundError:
        raise _bad("bundle_incomplete", "the file is missing from the bundle.", path, _AGAIN) from None
    except OSError as e:
        if e.errno not in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise _unreadable(path, e) from None
    raise _bad("bundle_unreadable", "this is a link, a pipe or a folder, and no regular file.", path, _AGAIN)


def _unreadable(path: Path, error: OSError) -> BadBundle:
    reason = error.strerror or type(error).__name__
    return _bad("bundle_unreadable", f"cannot be read: {reason}.", path, "Mend its permissions.")


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no JSON number")

    try:
        data = json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError) as e:
        raise _bad("bundle_malformed", f"not valid JSON: {e}.", path, _AGAIN) from None
    if not isinstance(data, dict):
        raise _bad("bundle_malformed", "not a JSON object.", path, _AGAIN)
    return data


def _format(data: Mapping[str, Any], path: Path) -> None:
    found = data.get("format")
    if found != FORMAT or isinstance(found, bool):
        earlier = isinstance(found, int) and not isinstance(found, bool) and 0 < found < FORMAT
        of = ", which an earlier version of leadscore wrote" if earlier else ""
        message = f"the bundle has format {found!r}{of}; this version reads format {FORMAT}."
        raise _bad("bundle_format", message, path, _TRAIN)


class _Reader:
    """Takes typed values out of parsed JSON; whatever is not as agreed becomes a BadBundle naming its key."""

    def __init__(self, data: Mapping[str, Any], path: Path) -> None:
        self.data, self.path = data, path

    def fail(self, key: str, wish: str) -> BadBundle:
        return _bad("bundle_malformed", f"`{key}` must be {wish}.", self.path, _TRAIN)

    def part(self, key: str) -> _Reader:
        value = self.data.get(key)
        if not isinstance(value, dict):
            raise self.fail(key, "an object")
        return _Reader(value, self.path)

    def number(self, key: str) -> float:
        return self.numbers_of(key, [self.data.get(key)], "a number")[0]

    def numbers(self, key: str) -> tuple[float, ...]:
        return self.numbers_of(key, self.data.get(key), "a list of numbers")

    def numbers_of(self, key: str, value: Any, wish: str) -> tuple[float, ...]:
        if not isinstance(value, list) or any(isinstance(v, bool) or not isinstance(v, int | float) for v in value):
            raise self.fail(key, wish)
        if not all(math.isfinite(v) for v in value):  # 1e999 is valid JSON and infinite
            raise self.fail(key, f"{wish}, finite")
        return tuple(float(v) for v in value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.data.get(key)
        if not isinstance(value, list) or any(not isinstance(v, str) for v in value):
            raise self.fail(key, "a list of texts")
        return tuple(value)


def _rising(values: Sequence[float], strictly: bool) -> bool:
    return all(a < b if strictly else a <= b for a, b in pairwise(values))


def _constants(data: Mapping[str, Any], features: FeatureSet, path: Path) -> Constants:
    read = _Reader(data, path)
    try:
        goal = Dataset.from_json({"goal": data["goal"]}, str(path)).goal
    except KeyError:
        raise read.fail("goal", "there") from None
    except BadInput as e:
        raise _bad("bundle_malformed", e.message, path, _TRAIN) from None
    raw_edges = read.numbers("edges")
    edges = tuple(int(e) for e in raw_edges)
    if len(edges) < 2 or edges[0] != 0 or edges != raw_edges or not _rising(edges, True):
        raise read.fail("edges", "whole days rising from 0")
    for _, days in goal.horizons:
        if days not in edges:
            raise read.fail("edges", f"a list that holds every horizon; {days} is not in it")
    starting_score = read.numbers("starting_score")
    if len(starting_score) != len(edges) - 1:
        raise read.fail("starting_score", f"one number for each of the {len(edges) - 1} intervals")
    levels = read.part("categories")
    if set(levels.data) != set(features.categories):
        raise read.fail("categories", "the levels of exactly the category features of the spec")
    categories = {name: levels.texts(name) for name in features.categories}
    for name, texts in categories.items():
        if list(texts) != sorted(set(texts)):
            raise read.fail(f"categories.{name}", "a list of different levels, sorted")
    has_other = frozenset(read.texts("has_other"))
    if not has_other <= set(categories):
        raise read.fail("has_other", "a list of category features")
    rare_part = read.part("rare") if "rare" in data else _Reader({}, path)
    rare = {name: frozenset(rare_part.texts(name)) for name in rare_part.data}
    calibration, interval, cuts = read.part("calibration"), read.part("interval"), read.part("grade_cuts")
    slope = calibration.number("slope")
    if slope <= 0:
        raise read.fail("calibration.slope", "above 0")
    level, knots = interval.number("level"), interval.numbers("logit")
    low, high = interval.numbers("low"), interval.numbers("high")
    if not 0 < level < 1:
        raise read.fail("interval.level", "between 0 and 1")
    if not knots or not _rising(knots, True):
        raise read.fail("interval.logit", "rising, and not empty")
    if not len(knots) == len(low) == len(high) or min(*low, *high) < 0:
        raise read.fail("interval.low", "as long as logit and high, and never negative")
    grade_cuts = tuple(cuts.number(g) for g in GRADES)
    if set(cuts.data) != set(GRADES) or not _rising((0.0, *reversed(grade_cuts), 1.0), False):
        raise read.fail("grade_cuts", "probabilities for A, B and C, falling in this order")
    return Constants(
        goal=goal,
        edges=edges,
        starting_score=starting_score,
        categories=categories,
        has_other=has_other,
        rare=rare,
        slope=slope,
        intercept=calibration.number("intercept"),
        level=level,
        knots=knots,
        low=low,
        high=high,
        grade_cuts=grade_cuts,
        committee=_committee(read.part("committee")),
        account=_account(read.part("account")),
        linear=_linear(read.part("linear"), features, categories, len(edges) - 1) if "linear" in data else None,
    )


def _committee(read: _Reader) -> dict[str, UsualEvent]:
    out = {}
    for role in sorted(read.data):
        event = read.data[role]
        if role not in ROLES:
            raise read.fail("committee", f"events by role: {', '.join(ROLES)}")
        if (
            not isinstance(event, dict)
            or set(event) != {"type", "channel"}
            or not isinstance(event["type"], str)
            or not (event["channel"] is None or isinstance(event["channel"], str))
            or not event["type"]
            or event["channel"] == ""
        ):
            raise read.fail(f"committee.{role}", "an object of a type, a text, and a channel, a text or null")
        out[role] = UsualEvent(event["type"], event["channel"])
    return out


def _account(read: _Reader) -> AccountMap:
    error = read.number("error") if "error" in read.data else 0.0
    if error < 0:
        raise read.fail("account.error", "a standard error, never negative")
    naive = read.number("naive")
    if naive <= 0:  # else an account would be the less likely, the more likely its prospects are
        raise read.fail("account.naive", "above 0")
    return AccountMap(read.number("intercept"), naive, read.number("size"), error)


def _linear(
    read: _Reader, features: FeatureSet, categories: Mapping[str, Sequence[str]], count: int
) -> Mapping[str, Any]:
    """The tables of the logistic part, each as long as the features and intervals ask."""
    if not 0 <= read.number("trees") <= 1:
        raise read.fail("trees", "a weight between 0 and 1")
    for key in ("intervals", "late"):
        if len(read.numbers(key)) != count:
            raise read.fail(key, f"one number for each of the {count} intervals")
    numbers, levels = read.part("numbers"), read.part("levels")
    none = not numbers.data and not levels.data
    if not none and (set(levels.data) != set(categories) or set(numbers.data) != set(features.names) - set(categories)):
        raise read.fail("numbers", "tables for exactly the features of the spec, as `levels` for its categories")
    for name in numbers.data:
        entry = numbers.part(name)
        entry.number("centre")
        if entry.number("scale") <= 0:
            raise entry.fail("scale", "above 0")
        for key in ("slope", "known", "missing"):
            if len(entry.numbers(key)) != 2:
                raise entry.fail(key, "two numbers, soon and late")
    for name in levels.data:
        pairs, texts = levels.data[name], categories[name]
        wish = f"{len(texts) + 2} pairs of numbers: a level each, any other, missing"
        if not isinstance(pairs, list) or len(pairs) != len(texts) + 2:
            raise levels.fail(name, wish)
        if any(len(levels.numbers_of(name, pair, wish)) != 2 for pair in pairs):
            raise levels.fail(name, wish)
    tables = read.data.get("tables")
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise read.fail("tables", "a list of objects")
    for each in tables:
        table = _Reader(each, read.path)
        at, rows = table.numbers("at"), each.get("log_odds")
        feature = each.get("feature")
        if not isinstance(feature, str) or feature not in features.names:
            raise table.fail("feature", "a feature of the spec")
        if not at or at[0] < 0 or not _rising(at, True):
            raise table.fail("at", "rising from 0 or more, and not empty")
        if feature in categories and at != tuple(map(float, range(len(categories[feature]) + 1))):
            raise table.fail("at", "for a category, the code of each of its levels and that of any other")
        wish = f"{count} numbers for each of the {len(at)} values"
        if not isinstance(rows, list) or len(rows) != len(at):
            raise table.fail("log_odds", wish)
        if any(len(table.numbers_of("log_odds", row, wish)) != count for row in rows):
            raise table.fail("log_odds", wish)
    if "regimes" in read.data:
        _own_effects(read.part("regimes"), features, categories, none)
    return read.data


def _own_effects(read: _Reader, features: FeatureSet, categories: Mapping[str, Sequence[str]], none: bool) -> None:
    """What regimes add to the tables of the logistic part: by the code of a category's level."""
    feature = read.data.get("feature")
    if not isinstance(feature, str) or feature not in categories:
        raise read.fail("feature", "a category feature of the spec")
    effects = read.part("effects")
    if none or not set(effects.data) <= {str(code) for code in range(len(categories[feature]) + 1)}:
        raise read.fail("effects", "an object by the codes of that feature, beside `numbers` and `levels`")
    for code in effects.data:
        own = effects.part(code)
        numbers, levels = own.part("numbers"), own.part("levels")
        if set(levels.data) != set(categories) or set(numbers.data) != set(features.names) - set(categories):
            raise own.fail("numbers", "entries for exactly the features of the spec, as `levels` for its categories")
        for name in numbers.data:
            if len(numbers.numbers(name)) != 3:
                raise numbers.fail(name, "three numbers: slope, known, missing")
        for name, texts in categories.items():
            if len(levels.numbers(name)) != len(texts) + 2:
                raise levels.fail(name, f"{len(texts) + 2} numbers: a level each, any other, missing")


def _reference(data: Mapping[str, Any], path: Path) -> dict[str, tuple[float, ...]]:
    part = _Reader(data, path).part("by_regime")
    out = {regime: part.numbers(regime) for regime in part.data}
    if "" not in out:
        raise part.fail("by_regime", 'there for "", the population of every regime')
    for regime, quantiles in out.items():
        if not quantiles or not _rising((0.0, *quantiles, 1.0), False):
            raise part.fail(f"by_regime.{regime}", "rising probabilities, and not empty")
    return out


def _card(data: dict[str, Any], path: Path) -> dict[str, Any]:
    read = _Reader(data, path)
    warnings = data.get("warnings", [])
    if not isinstance(warnings, list) or any(
        not isinstance(w, dict) or not isinstance(w.get("code"), str) or not isinstance(w.get("text"), str)
        for w in warnings
    ):
        raise read.fail("warnings", "a list of objects with code and text")
    example = read.part("example")
    if not isinstance(example.data.get("request"), dict) or not isinstance(example.data["request"].get("as_of"), str):
        raise read.fail("example.request", "a score request with an as_of")
    if not 0 <= example.number("probability") <= 1:
        raise read.fail("example.probability", "between 0 and 1")
    return data


def check_bundle(folder: Path | str, expected_digest: str | None = None, timeout: float = 120.0) -> Bundle:
    """Verify a bundle, then let a child process load it and score its example; returns the verified bundle.

    Only what this returns should be given to a Scorer in a process that must live on. Raises BadBundle, also where
    the child dies of the model, takes longer than ``timeout`` seconds or finds another probability than the card's.
    """
    bundle = read_bundle(folder, expected_digest)
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
    model = bundle.folder / "model.txt"
    try:
        # -P: a stray json.py in the working folder must not be imported.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "serving.bundle", str(bundle.folder.absolute()), bundle.digest],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _bad("bundle_timeout", f"scored no example within {timeout:g} seconds.", model, _TRAIN) from None
    if done.returncode < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-done.returncode).name
            raise _bad("bundle_crashes", f"loading the model ends the process ({name}).", model, _TRAIN)
        raise _bad("bundle_crashes", f"loading the model ends the process ({-done.returncode}).", model, _TRAIN)
    try:
        answer = json.loads(done.stdout.decode(errors="replace").strip().splitlines()[-1])
        error, found = answer.get("error"), answer.get("probability")
    except (ValueError, IndexError, AttributeError):
        raise BadBundle(
            "bundle_crashes",
            f"loading the model ends the process (exit code {done.returncode}).",
            where=str(model),
            remedy=_TRAIN,
            details={"stderr": done.stderr.decode(errors="replace")[-2000:]},
        ) from None
    if error is not None:
        raise BadBundle(
            str(error.get("code")),
            str(error.get("message")),
            where=str(error.get("where")),
            remedy=str(error.get("remedy")),
        )
    wanted = float(bundle.card["example"]["probability"])
    if not isinstance(found, float) or not abs(found - wanted) <= TOLERANCE:
        raise _bad(
            "bundle_example",
            f"the example scores {found!r} here; the card says {wanted!r}.",
            bundle.folder / "card.json",
            "Serve with the library versions that the card names, or train again.",
        )
    return bundle


def score_example(bundle: Bundle) -> float:
    """The probability of the card's example, computed here and now (in this process: see ``check_bundle``)."""
    from serving.schema import parse_request
    from serving.scorer import Scorer

    request = bundle.card["example"]["request"]
    body = json.dumps(request, allow_nan=False)
    parsed = parse_request(body, bundle.features.dataset, parse_time(request["as_of"]))
    return Scorer(bundle, "check").score(parsed.records, parsed.as_of, reasons=1).probability


def main(arguments: Sequence[str]) -> int:
    """The child of ``check_bundle``: FOLDER DIGEST; one JSON object on standard output; 0 scored, 1 refused."""
    folder, digest = arguments
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort is foreseen: leave no core file behind
    for optional in UNUSED:
        sys.modules.setdefault(optional, None)  # type: ignore[arg-type]
    try:
        answer: dict[str, Any] = {"probability": score_example(read_bundle(folder, digest))}
    except LeadscoreError as e:
        place = str(Path(folder) / e.where) if isinstance(e, BadBundle) else f"{folder}/card.json: example.{e.where}"
        answer = {"error": {**e.to_json(), "where": place}}
    print(json.dumps(answer))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    from serving.bundle import main as run  # not this module's second copy: one class of every error

    sys.exit(run(sys.argv[1:]))
