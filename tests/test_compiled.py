"""What is compiled gives what its plain form gives, to the bit, and refuses what would lead it out of its arrays.

``LEADSCORE_PROOFS=1`` (``make proofs``) tries ten times as many cases.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.compiled import absent, compiled
from features.contract import DAY, MICRO, ROLES, Column, Dataset, parse_time
from features.errors import BadInput
from features.groups import PlainGroups, PlainMatch, PlainPlan, Step, plain_still_open
from features.online import PlainPeople, compile_features, plain_as_of
from features.program import MADE, Input, PlainProgram
from features.program import Step as Made
from features.records import Event, Outcome, Records, Version
from features.spec import CALENDAR_PARTS, Aggregate, FeatureSet
from serving.bundle import UsualEvent
from serving.committee import BASIS, Committee, Missing, RoleStanding, Sign, plain_last_heard, supposed
from serving.contributions import Forest
from serving.linear import Linear
from serving.previous import plain_greatest_changes, plain_narrowed
from serving.receipts import plain_identifier, values_text
from serving.record import answer_text, plain_answer
from serving.rows import Scope, StateReader, careful_event, careful_outcome, plain_events
from serving.scorer import (
    _SCORES,
    COMPILED,
    Fixed,
    Reason,
    Score,
    Warned,
    _Encoder,
    interval_weights,
    plain_chance,
    plain_future,
    plain_greatest,
    plain_later,
    plain_outlook,
    plain_scores,
    plain_value,
)
from serving.values import plain_keys
from serving.wire import encode as to_text
from tests.agreement import as_read, plainly, same
from tests.fixtures_bundle import LEVELS, SPEC, make_records, make_scorer, request_records
from tests.histories import records_of_all
from tests.test_contributions import COLUMNS, INTERVALS, rows_of, trained

MANY = 10 if os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0") else 1
T = parse_time("2026-03-01T09:00:00Z")
NAMES = SPEC.names


def built(name: str) -> Any:
    """A compiled module; where there is none, its test says so."""
    try:
        return import_module(name)
    except ImportError:
        pytest.skip(f"{name} was not built")


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
@pytest.mark.parametrize("name", COMPILED)
def test_where_there_is_a_compiler_it_was_used(name: str) -> None:
    assert find_spec(name) is not None, "there is a C compiler: `make -B install`, and see what it says"
    assert str(built(name).__file__).endswith(".so")


def test_what_was_not_built_is_served_plainly() -> None:
    assert compiled("features._nowhere", "thing", 7) == 7
    assert absent(["features._nowhere", "features.records"]) == ["features._nowhere"]


@pytest.mark.parametrize("error", ["ImportError", "ValueError", "TypeError"])  # by Cython, of an older build
def test_what_was_built_of_other_sources_is_served_plainly(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"stale_{error}.py").write_text(f"raise {error}('_events.ReadEvents size changed')")
    monkeypatch.syspath_prepend(tmp_path)
    assert compiled(f"stale_{error}", "thing", 7) == 7
    assert absent([f"stale_{error}"]) == [f"stale_{error}"]


def test_what_is_looked_for_is_what_the_project_builds() -> None:
    with open(Path(__file__).parents[1] / "pyproject.toml", "rb") as file:
        modules = tomllib.load(file)["tool"]["setuptools"]["ext-modules"]
    assert tuple(module["name"] for module in modules) == COMPILED
    for module in modules:
        assert module["optional"]
        assert "-ffp-contract=off" in module["extra-compile-args"]


# -- answers and receipts ---------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(), max_size=6) | st.sampled_from(["won", 'a"b', "\\", "\x7f\x1f", "é\u2028😀", "\ud800"])
NUMBERS = st.floats() | st.sampled_from([0.0, -0.0, 7.0, -12.0, 1e15, 1e16, -1e15 + 1, 5e-324, 1e-7, 0.1, 2.0**53])
CELLS = NUMBERS | st.none() | st.booleans() | st.integers() | TEXTS


def written(write: Callable[..., str], *about: Any) -> Any:
    """A text, or the kind of exception that there is in its place."""
    try:
        return write(*about)
    except Exception as e:
        return type(e)


@st.composite
def scores(draw: st.DrawFn) -> Score:
    def some(make: Callable[..., Any], *of: Any) -> Any:
        return tuple(draw(st.lists(st.builds(make, *of), max_size=3)))

    known = Committee(
        some(RoleStanding, TEXTS, st.booleans(), st.booleans() | st.none(), NUMBERS | st.none()),
        some(Missing, TEXTS, TEXTS, NUMBERS),
    )
    return Score(
        prospect_id=draw(TEXTS),
        as_of=draw(st.sampled_from([T, T + 1, 0])),
        goal=draw(TEXTS),
        horizon_days=draw(st.integers()),
        probability=draw(NUMBERS),
        probability_low=draw(NUMBERS),
        probability_high=draw(NUMBERS),
        curve=tuple(draw(st.lists(st.tuples(st.integers(0, 400), NUMBERS), max_size=4))),
        score=draw(st.integers(0, 100)),
        grade=draw(TEXTS),
        reasons=some(Reason, TEXTS, TEXTS, CELLS, NUMBERS, TEXTS),
        committee=draw(st.none() | st.just(known)),
        warnings=some(Warned, TEXTS, TEXTS),
        model_version=draw(TEXTS),
    )


@settings(max_examples=200 * MANY, deadline=None)
@given(scores(), TEXTS, st.none() | st.dictionaries(TEXTS, CELLS | st.lists(st.dictionaries(TEXTS, CELLS)), max_size=3))
def test_an_answer_is_the_text_that_it_is_plainly(score: Score, receipt_id: str, previous: Any) -> None:
    wanted = written(plain_answer, score, receipt_id, previous)
    assert written(answer_text, score, receipt_id, previous) == wanted
    found = built("serving._answers").answer(score, receipt_id, previous, BASIS)
    assert found in (None, wanted)


def test_an_ordinary_answer_is_taken() -> None:
    """With every kind of value and with texts that are no ASCII or have to be escaped."""
    score = Score(
        prospect_id="p",
        as_of=T,
        goal="won",
        horizon_days=30,
        probability=0.25,
        probability_low=1e-7,
        probability_high=1.0,
        curve=((1, 0.125), (30, 1 / 3)),
        score=97,
        grade="A",
        reasons=(Reason("a", 'secteur "é"', 12, -0.5, "firm"), Reason("b", "b", None, 1e300, "need")),
        committee=Committee((RoleStanding("buyer", True, None, 2.5),), (Missing("user", "call", 0.1),)),
        warnings=(Warned("code", "text"),),
        model_version="1",
    )
    previous = {"probability": 0.5, "moved": [{"feature": "a", "before": True, "after": -3}]}
    found = built("serving._answers").answer(score, "r", previous, BASIS)
    assert found == plain_answer(score, "r", previous)


@settings(max_examples=200 * MANY, deadline=None)
@given(st.lists(CELLS, max_size=80))
def test_raw_values_are_the_text_that_they_are_plainly(row: list[Any]) -> None:
    assert written(values_text, row) == written(to_text, row)
    found = built("serving._answers").values(row)
    assert found in (None, written(to_text, row))


def test_values_that_are_no_list_are_left_to_the_plain_form() -> None:
    assert values_text((1.0, None)) == "[1.0,null]"


def test_ordinary_values_are_taken() -> None:
    row = ["mass", None, 1.5, -3.0, 0.0, True, 12, "é"]
    assert built("serving._answers").values(row) == to_text(row)


@given(st.lists(st.floats(), max_size=9))
def test_effects_are_kept_as_they_are_plainly(effects: list[float]) -> None:
    row = np.array([effects, effects])[1]
    with np.errstate(over="ignore"):
        assert built("serving._answers").narrowed(row) == plain_narrowed(row)


def test_what_is_no_row_of_effects_is_refused() -> None:
    for wrong in (np.zeros((2, 2)), np.zeros(2, np.float32), np.zeros(2, np.int64)):
        with pytest.raises(TypeError, match="no row of float64"):
            built("serving._answers").narrowed(wrong)
    with pytest.raises(ValueError, match="not C-contiguous"):
        built("serving._answers").narrowed(np.zeros(4)[::2])


@given(st.integers(0, 2**48 * 1000 - 1), st.integers(0, 2**64 - 1))
def test_ids_are_those_that_they_are_plainly(now: int, random: int) -> None:
    assert built("serving._answers").identifier(now, random) == plain_identifier(now, random)


@settings(max_examples=60 * MANY, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, 0.0005, 1e-3, math.nan, math.inf]), max_size=12),
    st.integers(-1, 14),
)
def test_what_moved_is_what_sorting_finds(values: list[float], most: int) -> None:
    before, after = bytes(4 * len(values)), np.array(values, np.float32).tobytes()
    for least in (0.0, 1e-3, 1.0):
        wanted = plain_greatest_changes(before, after, max(0, most), least)
        assert built("serving._answers").moved(before, after, most, least) == wanted
    for wrong in (after + bytes(4), after + b"x"):
        for one, other in ((before, wrong), (wrong, before)):
            for find in (built("serving._answers").moved, plain_greatest_changes):
                with pytest.raises(ValueError, match="features"):
                    find(one, other, most, 0.0)


def test_what_no_group_asks_for_is_not_kept() -> None:
    """Types and channels are texts from outside: kept, they would fill the room for those that are asked for."""
    records, t = request_records()
    own = [
        Event(f"e{i}", records.prospect_id, f"type {i}", t - i, t - i, None, "inbound", f"channel {i}")
        for i in range(500)
    ]
    features = compile_features(SPEC)
    assert features(replace(records, events=tuple(own)), t)
    assert 0 < len(features._matching) < 20


# -- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_supposed_events_change_what_they_change_plainly(seed: int) -> None:
    """Base rows are compared in ``tests.agreement``, for every world of ``test_features_agree``."""
    from tests.test_features_agree import batch

    _, worlds, features = batch(seed)
    r = random.Random(seed)
    compared = read = 0
    for world in worlds:
        ids = sorted({p for p, _ in world.pairs})
        records = dict(zip(ids, records_of_all(world.rows, ids, features.dataset, r), strict=True))
        for p, t in world.pairs:
            if records[p].events is None:
                continue
            signs = [_Sign(e, records[p].contacts) for e in _events(r, p, t, sorted(records[p].contacts or {}))]
            found = compile_features(features).supposing(records[p], t, signs)
            with plainly():
                wanted = compile_features(features).supposing(records[p], t, signs)
            for one, other in zip(found, wanted, strict=True):
                assert all(map(same, one, other)), (p, t, one, other)
                compared += 1
            straight = as_read(records[p])
            if straight is not None:
                read += 1
                assert compile_features(features).supposing(straight, t, signs) == found
    assert compared > 40
    assert read > 10 or absent(COMPILED)


def read_straight(events: list[Event]) -> Any:
    """Events as the service reads them from a text."""
    found = as_read(replace(request_records()[0], prospect_id="p", events=tuple(events)))
    if found is None:
        pytest.skip("features._events was not built")
    return found.events


@settings(max_examples=60 * MANY, deadline=None)
@given(st.data(), st.integers(0, 80))
def test_events_as_they_were_read_are_those_that_they_stand_for(data: st.DataObject, count: int) -> None:
    """Of few kinds and of many: beyond the first few, kinds, texts and ids are told apart in other ways."""
    built("features._events")
    few = data.draw(st.booleans())
    kinds = st.integers(0, 2 if few else 60)
    events = [
        Event(
            f"{data.draw(st.integers(0, 9))}-{i}",
            "p",
            f"type {data.draw(kinds)}",
            T + data.draw(st.integers(-3, 3)),
            T + data.draw(st.integers(-3, 3)),
            data.draw(st.none() | kinds.map(lambda n: f"contact {n}")),
            data.draw(st.sampled_from([None, "inbound", "outbound"])),
            data.draw(st.none() | kinds.map(lambda n: f"type {n}")),
            data.draw(st.none() | st.integers(-(10**15), 10**15)),
        )
        for i in range(count)
    ]
    read = read_straight(events)
    assert (len(read), list(read), read[0:2]) == (count, events, tuple(events[:2]))
    assert read == tuple(events)
    assert read != tuple(events[1:]) or not events
    assert hash(read) == hash(tuple(events))
    assert pickle.loads(pickle.dumps(read)) == tuple(events)
    for t in (T - 2, T, T + 3):
        assert built("serving._rows").later(read, t) == plain_later(events, t)
        assert built("serving._rows").last_heard(read, t) == plain_last_heard(events, t)
        records = replace(request_records()[0], prospect_id="p", contacts=_PEOPLE)
        rows = [_SUMS(replace(records, events=each), t) for each in (read, tuple(events))]
        assert rows[0] == rows[1]


_PEOPLE = {
    f"contact {n}": (Version(T - 1, {"contact_id": f"contact {n}", "role": ROLES[n % 3] if n % 4 else None}),)
    for n in range(0, 60, 2)
}
_SUMS = compile_features(
    FeatureSet(
        features=tuple(
            Aggregate(operation, role=role)
            for role in (None, "buyer")
            for operation in ("count", "sum", "last", "distinct_contacts", "distinct_roles", "top_contact_share")
        ),
        dataset=Dataset(),
    )
)


def test_of_events_of_one_moment_the_id_decides_which_is_the_last() -> None:
    built("features._events")
    for ids in (("e1", "e10"), ("e10", "e1"), ("e2", "e10"), ("E", "e"), ("a", "aa")):
        events = [Event(id, "p", "call", T, T, value=i) for i, id in enumerate(ids)]
        records = replace(request_records()[0], prospect_id="p", contacts={}, events=read_straight(events))
        last = _SUMS(records, T)[2] * MICRO
        assert last == ids.index(max(ids))


def test_a_contact_that_comes_after_many_other_texts_is_one_all_the_same() -> None:
    module = built("serving._rows")
    events = [Event(f"e{i}", "p", f"type {i}", T, T, "late" if i >= 40 else None) for i in range(80)]
    read = read_straight(events)
    assert module.last_heard(read, T) == plain_last_heard(events, T) == {"late": (40, T)}


def test_an_id_that_comes_twice_is_found_among_many() -> None:
    built("features._events")
    events = [Event(f"e{i}", "p", "call", T, T) for i in range(200)]
    assert type(read_straight(events)) is not tuple
    for i, j in ((0, 199), (98, 99), (7, 163)):
        twice = [*events]
        twice[j] = twice[i]
        assert as_read(replace(request_records()[0], prospect_id="p", events=tuple(twice))) is None


class _Sign:
    def __init__(self, event: Event, contacts: Any) -> None:
        self.event = event
        self._contacts = contacts

    def among(self, contacts: Any) -> Any:
        return self._contacts


def _events(r: random.Random, prospect_id: str, t: int, people: list[str]) -> list[Event]:
    kinds = ("page_view", "meeting", "demo_request", "call")
    contacts = [*people, "stranger"]
    return [supposed(UsualEvent(r.choice(kinds), None), prospect_id, r.choice(contacts), t) for _ in range(4)]


@settings(max_examples=100 * MANY, deadline=None)
@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.booleans())), st.integers(-2, 2))
def test_what_is_later_is_counted_as_plainly(stamps: list[tuple[int, int, bool]], t: int) -> None:
    module = built("serving._rows")
    facts = [
        Event(f"e{i}", "p", "call", T + a, T + b) if event else Outcome(f"o{i}", "p", "won", T + a, T + b)
        for i, (a, b, event) in enumerate(stamps)
    ]
    assert module.later(facts, T + t) == plain_later(facts, T + t)
    for wrong in ([("e1",)], [7], [None]):
        with pytest.raises(TypeError):
            module.later(wrong, T)


_STAMPS = st.integers(-2, 2)
_STATES = st.none() | st.dictionaries(st.integers(0, 9), st.lists(_STAMPS, max_size=3), max_size=3)
_FACTS = st.none() | st.lists(st.tuples(_STAMPS, _STAMPS), max_size=3)


@settings(max_examples=100 * MANY, deadline=None)
@given(st.lists(_STAMPS, max_size=3), st.tuples(_STATES, _STATES, _STATES), st.tuples(_FACTS, _FACTS, _FACTS, _FACTS))
def test_records_of_the_future_are_counted_as_plainly(own: list[int], states: Any, facts: Any) -> None:
    def versions(stamps: list[int]) -> tuple[Version, ...]:
        return tuple(Version(T + stamp, {}) for stamp in stamps)

    accounts, contacts, related = [each and {i: versions(stamps) for i, stamps in each.items()} for each in states]
    events, related_events = [
        each and tuple(Event("e", "p", "call", T + a, T + b) for a, b in each) for each in facts[:2]
    ]
    ends, related_ends = [each and tuple(Outcome("o", "p", "won", T + a, T + b) for a, b in each) for each in facts[2:]]
    records = Records("p", versions(own), accounts, contacts, events, ends, related, related_events, related_ends)
    module = built("serving._rows")
    assert module.future(records, T) == plain_future(records, T)
    for wrong in ([Version(T, {})], (7,), ((T,),), ((None, {}),)):
        with pytest.raises(TypeError):
            module.future(replace(records, prospect=wrong), T)


def test_groups_refuse_what_is_not_theirs() -> None:
    module = built("features._groups")
    event = Event("e1", "p", "call", T, T)
    match = module.Match([0], [1])
    plan = module.Plan([0.0, None], [[Step(0, "count", None)], [Step(1, "sum", None)]])
    groups = module.Groups((False, True), T)
    groups.add_events((event,), (), {}, "p", {}, lambda key: match, lambda contact: None)
    for wrong in (
        lambda: groups.add_events((event,), (), {}, "p", {}, lambda key: match, lambda contact: None),  # twice
        lambda: groups.reduce(plan, [0.0]),  # a row of other features
        lambda: groups.reduce(module.Plan([0.0], [[]]), [0.0]),  # other groups
        lambda: groups.suppose(plan, module.Match([7], []), event, None, None, [0.0, None]),
        lambda: groups.add_outcomes((), (), {}, [(2, "prospect", None)]),
        lambda: groups.add_outcomes((), (), {}, [(1, "prospect", None)]),  # one of events
        lambda: module.Plan([0.0], [[Step(1, "count", None)]]),  # no such cell
        lambda: module.Groups((False,), T).suppose(plan, match, event, None, None, [0.0, None]),
        lambda: module.Groups((False, True), T).suppose(plan, match, event, None, None, [0.0, None]),
        lambda: module.Groups((True,), T).add_events(
            (event,), (), {}, "p", {}, lambda key: module.Match([1], []), lambda contact: None
        ),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            wrong()
    failed = module.Groups((False, True), T)
    with pytest.raises(KeyError):
        failed.add_events((event,), (), {}, "p", {}, lambda key: {}["no"], lambda contact: None)
    for again in (
        lambda: failed.reduce(plan, [0.0, None]),
        lambda: failed.suppose(plan, match, event, None, None, [0, 0]),
    ):
        with pytest.raises(ValueError, match="could not be added"):
            again()
    for match_, person in ((None, None), (match, ("buyer",))):
        with pytest.raises((TypeError, ValueError)):
            module.Groups((False, True), T).add_events(
                (event._replace(contact_id="c"),), (), {}, "p", {}, lambda key, m=match_: m, lambda c, p=person: p
            )
    for thing in ((1, 2), "event", None, ("e",) * 10):
        with pytest.raises(TypeError):
            module.Groups((False,), T).add_events((thing,), (), {}, "p", {}, None, None)
    row = [0.0, None]
    groups.reduce(plan, row)
    assert row == [1.0, 0.0]


def test_sums_of_any_size_are_exact() -> None:
    """More than 2**63 millionths in all: the plain sums have no bound, and neither have these."""
    module = built("features._groups")
    largest = 10**15
    events = tuple(Event(f"e{i:06}", "p", "call", T - i, T - i, None, None, None, largest - i) for i in range(20_000))
    rows = []
    for groups, match, plan in (
        (module.Groups, module.Match, module.Plan),
        (PlainGroups, PlainMatch, PlainPlan),
    ):
        steps = [[Step(0, "sum", None), Step(1, "mean", None), Step(2, "min", 50), Step(3, "max", 50)]]
        here = groups((True,), T)
        to = match([], [0])
        here.add_events(events, (), {}, "p", {}, lambda key, to=to: to, lambda contact: None)
        row: list[Any] = [None] * 4
        here.reduce(plan(row, steps), row)
        rows.append(row)
    assert rows[0] == rows[1]
    assert rows[0][0] > 9.3e12


# -- rows -------------------------------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.none(),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf]),
    st.sampled_from([T, 0, -1, 2**62, 2**62 - 1, -(2**62), -(2**62) - 1, 2**63, -(2**70)]),
    st.integers(-(2**64), 2**64),
    st.booleans(),
    st.sampled_from([np.float64(0.5), "62.01Z", "11", "PME", ""]),
)
DETAILS = {"band": (0.0, 1.0, 10.0), "naf": "division"}
TAKES = {"days": 2, "share": 2, "ratio": 2, "difference": 2, "naf": 1, "band_order": 1, "size_conflict": 3, "regime": 4}
WIDTH = 9  # cells: six values, and three that are made of these and of one another


def ran(program: Any, row: list[Any], *rows: Any) -> Any:
    """The text of a row after a program, which tells any two values apart; or how it failed."""
    try:
        if rows:
            program.read(row, *rows)
        program.make(row)
    except (TypeError, ValueError, OverflowError, AttributeError) as e:
        return type(e)
    return [(type(value), repr(value)) for value in row]


@settings(max_examples=400 * MANY, deadline=None)
@given(st.data(), st.lists(CELLS, min_size=6, max_size=6))
def test_cells_are_made_of_others_as_plainly(data: st.DataObject, values: list[Any]) -> None:
    module = built("features._program")
    steps = []
    for cell in range(6, WIDTH):
        operation = data.draw(st.sampled_from([*MADE]))
        detail = data.draw(st.sampled_from(CALENDAR_PARTS)) if operation == "calendar" else DETAILS.get(operation)
        count = TAKES.get(operation) or (1 if detail else data.draw(st.integers(1, 4)))
        places = data.draw(st.lists(st.integers(0, cell - 1), min_size=count, max_size=count))
        steps.append(Made(cell, operation, MADE[operation], detail, tuple(places)))
    row = [*values, None, None, None]
    assert ran(module.Program(WIDTH, [], steps), [*row]) == ran(PlainProgram(WIDTH, [], steps), [*row])


def test_days_between_times_however_far_are_the_plain_ones() -> None:
    """And the weekdays of such times."""
    module = built("features._program")
    far = [sign * (2**power + more) for power in (0, 53, 62, 63, 64) for more in (-1, 0, 1) for sign in (-1, 1)]
    step = Made(2, "days", MADE["days"], None, (0, 1))
    for later, earlier in product([*far, T, None], repeat=2):
        row = [later, earlier, None]
        assert ran(module.Program(3, [], [step]), [*row]) == ran(PlainProgram(3, [], [step]), [*row])
    for micros in [*far, T, None, *(n * DAY + more for n in range(-8, 9) for more in (-1, 0, 1))]:
        row, step = [micros, None], Made(1, "calendar", MADE["calendar"], "weekday", (0,))
        assert ran(module.Program(2, [], [step]), [*row]) == ran(PlainProgram(2, [], [step]), [*row])


@settings(max_examples=100 * MANY, deadline=None)
@given(st.lists(CELLS, min_size=3, max_size=3), st.lists(st.booleans(), min_size=6, max_size=6), st.booleans())
def test_columns_are_read_as_plainly(values: list[Any], flags: list[bool], proxied: bool) -> None:
    module = built("features._program")
    rows: list[Any] = [dict(zip("ab", values, strict=False)), {"c": values[2], "d": None}]
    if proxied:
        rows = [MappingProxyType(row) for row in rows]
    inputs = [Input(i, flags[i], "abc"[i], flags[3 + i]) for i in range(3)]
    wanted = ran(PlainProgram(4, inputs, []), ["?"] * 4, *rows)
    assert ran(module.Program(4, inputs, []), ["?"] * 4, *rows) == wanted


def test_programs_refuse_what_is_not_theirs() -> None:
    module = built("features._program")
    ratio = Made(2, "ratio", MADE["ratio"], None, (0, 1))
    program = module.Program(3, [Input(0, True, "a", True)], [ratio])
    for wrong in (
        lambda: module.Program(2, [], [ratio]),
        lambda: module.Program(3, [], [ratio._replace(cell=-1)]),
        lambda: module.Program(3, [], [ratio._replace(places=(0, 3))]),
        lambda: module.Program(3, [], [ratio._replace(places=(0, -1))]),
        lambda: module.Program(3, [], [ratio._replace(places=(0,))]),
        lambda: module.Program(3, [Input(3, True, "a", True)], []),
        lambda: program.make([1.0, 2.0]),
        lambda: program.make([1.0, 2.0, 3.0, 4.0]),
        lambda: program.read([1.0], {}, {}),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            wrong()
    for row in ((1.0, 2.0, 3.0), None):
        with pytest.raises(TypeError):
            program.make(row)


VERSIONS = st.lists(
    st.builds(
        Version,
        st.integers(T - 2, T + 2),
        st.fixed_dictionaries(
            {"created_at": st.integers(T - 2, T + 2)},
            optional={
                "role": st.sampled_from([None, *ROLES]),
                "job_title": st.sampled_from([None, "", "Responsable achats", "CTO", "xyz"]),
            },
        ),
    ),
    max_size=3,
).map(tuple)
ENDED = st.lists(
    st.builds(
        Outcome,
        st.text("ab", max_size=2),
        st.sampled_from("pqr"),
        st.sampled_from(["won", "lost", "renewed"]),
        st.integers(T - 3, T + 1),
        st.integers(T - 3, T + 1),
    ),
    max_size=8,
).map(tuple)


@settings(max_examples=200 * MANY, deadline=None)
@given(VERSIONS, st.sampled_from([{}, {"role": None}, {"job_title": None}, {"role": None, "job_title": None}]))
def test_rows_and_people_as_of_a_time_are_those_that_they_are_plainly(
    versions: tuple[Version, ...], hindsight: dict[str, None]
) -> None:
    module = built("features._groups")
    for each in (versions, list(versions)):
        assert module.as_of(each, T) is plain_as_of(each, T)
    contacts = {"c": versions, "d": (*versions, Version(T, {}))}
    for contact in ("c", "d", "nobody"):
        found = module.People(contacts, T, hindsight)(contact)
        assert found == PlainPeople(contacts, T, hindsight)(contact)


@settings(max_examples=200 * MANY, deadline=None)
@given(ENDED, ENDED, st.dictionaries(st.sampled_from("qr"), st.integers(T - 1, T + 1)), st.data())
def test_outcomes_count_as_plainly(
    own: tuple[Outcome, ...], related: tuple[Outcome, ...], born: dict[str, int], data: st.DataObject
) -> None:
    module = built("features._groups")
    siblings = {key: {"created_at": at} for key, at in born.items()}
    assert same(module.still_open(siblings, related, T), plain_still_open(siblings, related, T))
    filters = [
        (i, data.draw(st.sampled_from(["prospect", "account"])), data.draw(st.sampled_from([None, "won", "lost"])))
        for i in range(3)
    ]
    steps = [
        [Step(3 * i, "count", 2), Step(3 * i + 1, "days_since_first", None), Step(3 * i + 2, "days_since_last", None)]
        for i in range(3)
    ]
    rows: list[Any] = []
    for groups, plan in ((module.Groups, module.Plan), (PlainGroups, PlainPlan)):
        here = groups((False,) * 3, T)
        here.add_outcomes(own, related, siblings, filters)
        rows.append([None] * 9)
        here.reduce(plan(rows[-1], steps), rows[-1])
    assert all(map(same, *rows)), rows


def test_outcomes_refuse_what_is_none() -> None:
    module = built("features._groups")
    for wrong in ((("o1", "p", "won"),), (7,), (None,), (Outcome("o1", "q", "won", None, T),)):
        with pytest.raises(TypeError):
            module.still_open({}, wrong, T)
        for own, related in ((wrong, ()), ((), wrong)):
            with pytest.raises(TypeError):
                module.Groups((False,), T).add_outcomes(own, related, {"q": {}}, [(0, "account", None)])
    groups = module.Groups((False,), T)
    groups.add_outcomes((), (), {}, [(0, "account", None)])
    with pytest.raises(ValueError, match="no such group"):  # twice
        groups.add_outcomes((), (), {}, [(0, "account", None)])
    event, match = Event("e1", "p", "call", T, T), module.Match([0], [])
    with pytest.raises(ValueError, match="no such group"):  # its times are those of outcomes
        groups.add_events((event,), (), {}, "p", {}, lambda key: match, lambda contact: None)


# -- what a request holds ---------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    ["e1", "page_view", " call", "a b", " ", "", "D\u00e9mo", "x\x00", "\ud800", "\x7f", "tab\t", "p1", "p2"]
)
ZONES = st.sampled_from(["Z", "z", "", "+02:00", "-0130", "+02", "+24:00", "-23:59", "+2:00", " Z", "+02:60", "+02:"])
SECONDS = st.sampled_from(
    ["", ":00", ":59", ":60", ":5", ":07.5", ":07,123456", ":07.123456789", ":07.1234567890", ":07."]
)
DAYS = st.sampled_from(
    ("2026-03-01", "2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29", "1899-12-31", "1900-01-01", "2100-01-01")
)
NO_DAYS = st.sampled_from(("2099-12-31", "2026-13-01", "2026-00-10", "2026-04-31", "0000-01-01", "2026-1-01"))
CLOCKS = st.sampled_from(["00:00", "23:59", "24:00", "09:60", "9:00", "12:30"])
MOMENTS = st.builds(
    lambda d, s, c, x, z: d + s + c + x + z, st.one_of(DAYS, NO_DAYS), st.sampled_from("Tt _"), CLOCKS, SECONDS, ZONES
)
ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(-3, 2**70), st.floats(), TEXTS, st.just([]), st.just({}))
SOUND = {
    "event_id": "e1",
    "type": "call",
    "occurred_at": "2026-03-01T09:00:00Z",
    "value": 1.5,
    "contact_id": "c1",
    "direction": "inbound",
    "channel": "phone",
    "outcome": "won",
    "outcome_id": "o1",
    "prospect_id": "p1",
    "recorded_at": "2026-03-01T10:00:00+01:00",
}
SCOPES = (Scope("p1", False, {"p1": 0}), Scope("p0", True, {"p1": T, "p2": 0}), Scope("p0", True, None))


def outcome_of(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except BadInput as e:
        return e.code, e.where, e.message


@settings(max_examples=100 * MANY, deadline=None)
@given(st.one_of(MOMENTS, st.text("0123456789-:TZ.+ ", max_size=30), TEXTS))
@example("2026-03-01T09:00:00\u0661Z")
def test_times_are_those_of_the_contract(text: str) -> None:
    found = built("serving._rows").quick_time(text)
    try:
        wanted = parse_time(text)
    except ValueError:
        wanted = None
    assert found in (None, wanted)
    if wanted is not None and " Z" not in text and not text.endswith(":60"):
        assert found == wanted  # all but the rarest forms are taken


@st.composite
def facts(draw: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """A sound fact, of which some fields are absent, and one or two are anything."""
    fact = {name: SOUND[name] for name in names if draw(st.integers(0, 5))}
    for name in draw(st.lists(st.sampled_from([*names, "stranger", "retracted_at"]), max_size=2)):
        fact[name] = draw(st.one_of(ANYTHING, MOMENTS, st.just(SOUND.get(name))))
    return fact


@settings(max_examples=150 * MANY, deadline=None)
@given(facts(("event_id", "type", "occurred_at", "recorded_at", "contact_id", "direction", "channel", "value")))
def test_events_are_read_as_field_by_field(fact: dict[str, Any]) -> None:
    module = built("serving._rows")
    for more in ({}, {"prospect_id": "p1"}, {"prospect_id": "p3"}):
        for scope in SCOPES:
            found = module.ordinary_event({**fact, **more}, scope)
            if found is not None:
                assert found == careful_event({**fact, **more}, scope)
                assert type(found) is Event


@settings(max_examples=150 * MANY, deadline=None)
@given(facts(("outcome", "occurred_at", "recorded_at", "outcome_id")))
def test_outcomes_are_read_as_field_by_field(fact: dict[str, Any]) -> None:
    module = built("serving._rows")
    for more in ({}, {"prospect_id": "p1"}, {"prospect_id": "p3"}):
        for scope in SCOPES:
            found = module.ordinary_outcome({**fact, **more}, scope)
            if found is not None:
                assert found == careful_outcome({**fact, **more}, scope)


def test_sound_facts_are_taken() -> None:
    module = built("serving._rows")
    event = {name: SOUND[name] for name in ("event_id", "type", "occurred_at", "value", "contact_id", "direction")}
    assert module.ordinary_event(event, SCOPES[0]) is not None
    assert module.ordinary_event({**event, "prospect_id": "p2"}, SCOPES[1]) is not None
    outcome = {"outcome": "won", "occurred_at": SOUND["occurred_at"], "recorded_at": None}
    assert module.ordinary_outcome(outcome, SCOPES[0]) is not None
    assert module.ordinary_outcome({**outcome, "prospect_id": "p2"}, SCOPES[1]) is not None
    items = [{**event, "event_id": f"e{i}"} for i in range(5)]
    seen: dict[str, Any] = {}
    assert module.ordinary_events(items, 0, SCOPES[0], seen) == 5
    assert list(seen) == [item["event_id"] for item in items]
    assert module.ordinary_events([*items, items[2]], 5, SCOPES[0], seen) == 5  # its id was seen
    assert module.ordinary_events([{}, *items], 0, SCOPES[0], {}) == 0
    assert plain_events(items, 0, SCOPES[0], {}) == 5


KINDS = Dataset(
    declared=(
        (
            "prospects",
            (
                Column("c_category", "category"),
                Column("c_number", "number"),
                Column("c_boolean", "boolean"),
                Column("c_time", "time"),
                Column("c_date", "date"),
                Column("c_late", "number", known="never"),
            ),
        ),
    )
)
DECLARED = ("c_category", "c_number", "c_boolean", "c_time", "c_date", "c_late")


@st.composite
def states(draw: Any) -> dict[str, Any]:
    values = st.one_of(ANYTHING, MOMENTS, st.sampled_from([1, 2.5, True, "FR", "mass", "2026-03-01", 2**53, 2**53 + 1]))
    names = ("prospect_id", "account_id", "created_at", "observed_at", "source", "regime", "approach", "c_number")
    row = {name: draw(values) for name in draw(st.lists(st.sampled_from(names), max_size=4, unique=True))}
    if draw(st.booleans()):
        row["attributes"] = draw(st.one_of(st.dictionaries(st.sampled_from([*DECLARED, "source"]), values), ANYTHING))
    return row


@settings(max_examples=200 * MANY, deadline=None)
@given(states())
def test_state_rows_are_read_as_field_by_field(row: dict[str, Any]) -> None:
    built("serving._rows")
    reader, careful = StateReader("prospects", KINDS), StateReader("prospects", KINDS)
    careful.compiled = None
    found, wanted = outcome_of(reader.read, row), outcome_of(careful.read, row)
    assert found == wanted
    if isinstance(found, dict):
        assert [type(v) for v in found.values()] == [type(v) for v in wanted.values()]


def test_a_sound_state_row_is_taken() -> None:
    reader = StateReader("prospects", KINDS)
    built("serving._rows")
    row = {
        "prospect_id": "p1",
        "created_at": SOUND["occurred_at"],
        "regime": "mass",
        "attributes": {"c_category": "a b", "c_number": 3, "c_boolean": False, "c_time": None, "c_late": 1.0},
    }
    found = reader.compiled.read(row)
    assert found is not None
    assert (found["c_number"], found["c_late"], found["created_at"]) == (3.0, None, T)


@settings(max_examples=30 * MANY, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a", "attributes", "events"]),
        st.recursive(
            st.one_of(st.none(), st.integers(), TEXTS),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "attributes"]), inner, max_size=2)
            ),
            max_leaves=12,
        ),
    )
)
def test_keys_are_counted_as_plainly(data: dict[str, Any]) -> None:
    assert built("serving._rows").count_keys(data) == plain_keys(data)


@settings(max_examples=20 * MANY, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda i, at, late, who, gone: Event(f"e{i}", "p", "call", at, at + late, who, retracted_at=gone),
            st.integers(0, 99),
            st.integers(-3, 3),
            st.integers(0, 2),
            st.sampled_from([None, "a", "b"]),
            st.sampled_from([None, None, -1, 0, 1]),
        ),
        max_size=8,
    )
)
def test_who_was_heard_last_is_who_it_is_plainly(events: list[Event]) -> None:
    assert built("serving._rows").last_heard(events, 0) == plain_last_heard(events, 0)


# -- the model's tables -----------------------------------------------------------------------------------------------


def bits(a: Any, b: Any) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


@settings(max_examples=5 * MANY, deadline=None)
@given(seed=st.integers(0, 10_000), leaves=st.integers(2, 15), rows=st.integers(0, 9))
def test_the_trees_have_the_bits_that_they_have_plainly(seed: int, leaves: int, rows: int) -> None:
    built("serving._tables")
    text = trained(seed, num_leaves=leaves)
    fast, plain = (Forest(text, COLUMNS + 1, INTERVALS) for _ in range(2))
    plain._tables = None
    rng = np.random.default_rng(seed)
    matrix, weights = rows_of(rng, rows, 0.3), rng.random((rows, INTERVALS))
    if rows > 5:
        matrix[:6, 4] = (30.0, 999.0, -1.0, 1e9, 8.0, -0.5)
        matrix[:3, 0] = (np.inf, -np.inf, 1e300)
    for r in range(rows):  # from some conditions' thresholds to those of others
        for c in rng.integers(0, len(fast._feature), 6):
            matrix[r, fast._feature[c]] = fast._threshold[c] if rng.random() < 0.8 else -fast._threshold[c]
    weights[rng.random(rows) < 0.5, INTERVALS // 2 :] = 0.0
    index = fast.look(matrix)
    assert bits(index, plain.look(matrix))
    assert bits(fast.raw(index), plain.raw(index))
    assert bits(fast.contributions(index, weights), plain.contributions(index, weights))


def linear_of(rng: np.random.Generator, regimes: bool, tables: int) -> tuple[list[str], dict[str, Any]]:
    numbers, levels = ["n0", "n1", "n2"], {"l0": 3, "l1": 5}
    pair = lambda: rng.normal(size=2).tolist()  # noqa: E731
    data: dict[str, Any] = {
        "trees": 0.5,
        "intervals": rng.normal(size=INTERVALS).tolist(),
        "late": rng.random(INTERVALS).tolist(),
        "numbers": {
            n: {"centre": rng.normal(), "scale": rng.random() + 0.1}
            | {key: pair() for key in ("slope", "known", "missing")}
            for n in numbers
        },
        "levels": {n: [pair() for _ in range(count)] for n, count in levels.items()},
        "tables": [
            {
                "feature": f"n{i}",
                "at": (np.cumsum(rng.random(i + 1) * 20)).tolist(),
                "log_odds": rng.normal(size=(i + 1, INTERVALS)).tolist(),
            }
            for i in range(tables)
        ],
    }
    if regimes:
        data["regimes"] = {
            "feature": "l0",
            "effects": {
                "1": {
                    "numbers": {n: rng.normal(size=3).tolist() for n in numbers},
                    "levels": {n: rng.normal(size=count).tolist() for n, count in levels.items()},
                }
            },
        }
    return [*numbers, *levels], data


@settings(max_examples=10 * MANY, deadline=None)
@given(seed=st.integers(0, 10_000), regimes=st.booleans(), tables=st.integers(0, 3), rows=st.integers(1, 6))
def test_the_tables_have_the_bits_that_they_have_plainly(seed: int, regimes: bool, tables: int, rows: int) -> None:
    built("serving._tables")
    rng = np.random.default_rng(seed)
    names, data = linear_of(rng, regimes, tables)
    fast, plain = Linear(names, data), Linear(names, data)
    plain._tables = None
    matrix = np.column_stack([rng.normal(size=(rows, 3)) * 30, rng.integers(0, 2, rows), rng.integers(0, 4, rows)])
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    matrix[0, :3] = (0.0, -0.0, 1e300)
    found, wanted = fast.see(matrix), plain.see(matrix)
    assert all(map(bits, found, wanted))
    assert bits(fast.of(found), plain.of(wanted))


def test_rows_are_encoded_as_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    built("serving._tables")
    rows = [
        ["a", 1, None, True],
        ["b", 2.5, 0.0, None],
        [None, -0.0, float("nan"), 3],
        [7, 1e300, 2, 1.0],
        ["z", "1.5", 1.0, np.float32(0.1)],
        [0.0, 2**60, -1, 0.0],
        ["", 1.0, 1.0, 1.0],
    ]
    columns = dict(zip("cxyz", map(list, zip(*rows, strict=True)), strict=True))
    for has_other in ([], ["c"]):
        encoder = _Encoder(("c", "x", "y", "z"), {"c": ("b", "a")}, has_other)
        strange: list[set[int]] = [set(), set(), set()]
        found = encoder.encode(rows, strange[0])
        with monkeypatch.context() as plain:
            plain.setattr("serving.scorer._encode", None)
            assert bits(found, encoder.encode(rows, strange[1]))
        assert bits(found, encoder.encode(columns, strange[2]))
        assert strange == [{4, 6}] * 3


@settings(max_examples=30 * MANY, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, 0.0005, 1e-3, float("nan")]), max_size=8), st.integers(0, 6)
)
def test_the_greatest_are_those_that_sorting_finds(values: list[float], most: int) -> None:
    module = built("serving._tables")
    array, rank = np.array(values), np.random.default_rng(len(values)).permutation(len(values))
    assert module.greatest(array, rank, most) == plain_greatest(array, rank, most)


HAZARDS = st.one_of(st.floats(-800, 800), st.floats(-9, 3), st.sampled_from([-1e300, 1e300, -0.0, -745.2, 36.8]))


@settings(max_examples=100 * MANY, deadline=None)
@given(st.lists(st.lists(HAZARDS, min_size=9, max_size=9), min_size=1, max_size=4), st.data())
def test_probabilities_and_weights_are_the_plain_ones(z: list[list[float]], data: Any) -> None:
    module = built("serving._tables")
    counts = data.draw(st.lists(st.integers(1, 9), min_size=len(z), max_size=len(z)))
    knots = sorted(data.draw(st.sets(st.floats(-40, 10), min_size=1, max_size=6)))
    low, high = (
        data.draw(st.lists(st.just(0.0) | st.floats(0, 9), min_size=len(knots), max_size=len(knots))) for _ in range(2)
    )
    edges, matrix, interval = tuple(range(0, 100, 10)), np.array(z), (knots, low, high)
    found = module.outlooks(matrix, counts, edges, *map(np.array, interval))
    wanted = [plain_outlook(row, count, edges, *interval) for row, count in zip(z, counts, strict=True)]
    assert repr(found) == repr(wanted)  # all digits, and the sign of 0
    for start in range(len(z)):
        some = [plain_chance(row, count) for row, count in zip(z[start:], counts[start:], strict=True)]
        assert repr(module.chances(matrix, start, counts[start:])) == repr(some)
    weights = module.weights(matrix, counts)
    if weights is not None:
        shares = [interval_weights(row[:count]) + [0.0] * (9 - count) for row, count in zip(z, counts, strict=True)]
        assert repr(weights.tolist()) == repr(shares)


SHARES = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 1.0])


@settings(max_examples=100 * MANY, deadline=None)
@given(st.integers(0, 4), st.data())
def test_scores_are_the_plain_ones(count: int, data: Any) -> None:
    def each(of: Any) -> list[Any]:
        return list(data.draw(st.lists(of, min_size=count, max_size=count)))

    told = st.lists(st.builds(Warned, TEXTS, TEXTS), max_size=2).map(tuple)
    rising = st.lists(SHARES, min_size=1, max_size=9).map(lambda x: tuple(sorted(x)))
    reference = data.draw(st.fixed_dictionaries({"": rising}, optional={"mass": rising}))
    cuts = tuple(sorted(data.draw(st.lists(SHARES, min_size=3, max_size=3))))
    fixed = Fixed("won", "7", data.draw(told), ("D", "C", "B", "A"), cuts, reference)
    curves = st.lists(st.tuples(st.integers(1, 400), SHARES), min_size=1, max_size=3).map(tuple)
    outlooks = [
        (curve, *some) for curve, some in zip(each(curves), each(st.tuples(SHARES, SHARES, SHARES)), strict=True)
    ]
    signs = st.lists(st.sampled_from(ROLES), max_size=3, unique=True).map(
        lambda roles: [
            Sign(role, supposed(UsualEvent("call", None), "p", "c", 5), None) for role in sorted(roles, key=ROLES.index)
        ]
    )
    roles = tuple(RoleStanding(role, False, False, None) for role in ROLES)
    looked = data.draw(st.none() | st.just(each(st.none() | st.tuples(st.just(roles), signs))))
    after = [data.draw(SHARES) for trio in looked or () if trio is not None for _ in trio[1]]
    rows = data.draw(st.none() | st.just([[1.0, "a"]] * count))
    effects = data.draw(st.none() | st.just(np.arange(2.0 * count).reshape(count, 2)))
    reasons = data.draw(st.none() | st.just([(Reason("f", "l", 1.0, 0.5, "firm"),)] * count))
    regimes = each(st.sampled_from([None, "", "mass", "project"]))
    about = (outlooks, each(TEXTS), each(st.integers(0, 2**60)), regimes, each(told), reasons, looked, after, rows)
    wanted = plain_scores(fixed, *about, effects)
    found = built("serving._tables").scores(_SCORES, fixed, *about, effects)
    assert found == wanted
    for one, other in zip(found, wanted, strict=True):
        assert (repr(one), type(one), vars(one).keys()) == (repr(other), Score, vars(other).keys())
        assert (type(one.evidence), type(one.committee)) == (type(other.evidence), type(other.committee))
        if one.evidence is not None:
            assert one.evidence[:2] == other.evidence[:2]
            assert one.evidence.effects is None or bits(one.evidence.effects, other.evidence.effects)
        assert one.committee is None or all(type(m) is Missing for m in one.committee.missing)


def test_scores_are_made_of_as_much_of_each() -> None:
    make = built("serving._tables").scores
    fixed = Fixed("won", "7", (), ("D",), (), {"": (0.5,)})
    curve = (((30, 0.5),), 0.5, 0.5, 0.5)
    one = Sign("buyer", supposed(UsualEvent("call", None), "p", "c", 5), None)
    for about in (
        ([curve], [], [0], [None], [()], None, None, [], None),
        ([curve], ["p"], [0, 1], [None], [()], None, None, [], None),
        ([curve], ["p"], [0], [None], [()], [], None, [], None),
        ([curve], ["p"], [0], [None], [()], None, [((), [one])], [], None),
        ([curve], ["p"], [0], [None], [()], None, None, [], [[1.0], [2.0]]),
    ):
        with pytest.raises(ValueError, match="not"):
            make(_SCORES, fixed, *about, None)
    fine = (["p"], [0], [None], [()], None, None, [], None, None)
    for error, wrong, outlook in (
        (ValueError, fixed._replace(reference={"": ()}), curve),
        (IndexError, fixed._replace(grades=()), curve),
        (IndexError, fixed, ((), 0.5, 0.5, 0.5)),
        (IndexError, fixed, (((),), 0.5, 0.5, 0.5)),
    ):
        with pytest.raises(error):
            make(_SCORES, wrong, [outlook], *fine)
    with pytest.raises(IndexError):
        make(_SCORES, fixed, [curve], *fine[:6], [], [[1.0]], [])
    assert make(_SCORES, fixed, [curve], *fine)[0].grade == "D"


def test_ordinary_weights_are_made_by_what_is_compiled() -> None:
    assert built("serving._tables").weights(np.full((2, 3), -4.0), [3, 1]) is not None


VALUES = st.one_of(
    st.sampled_from([None, "", "web", "never met", True, -0.0, float("nan"), float("inf"), 2.0**53, 2.0**53 - 1, 7]),
    st.floats(),
    st.integers(-(2**60), 2**60),
)


@settings(max_examples=100 * MANY, deadline=None)
@given(st.lists(st.lists(VALUES, min_size=3, max_size=3), max_size=3), st.integers(0, 4), st.data())
def test_reasons_are_the_plain_ones(rows: list[list[Any]], most: int, data: Any) -> None:
    module = built("serving._tables")
    sizes = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-300, 3.5, float("nan")])
    effects = np.array([[data.draw(sizes) for _ in row] for row in rows]).reshape(-1, 3)
    rank = np.array([2, 0, 1])
    kept: dict[Any, Reason] = {}
    asked = []

    def unkept(i: int, value: Any, language: str) -> Reason:
        asked.append((i, value, language))
        return kept.setdefault((i, value, language), Reason(f"f{i}", f"{value!r}", value, 0.0, "family"))

    wanted = []
    for row, mine in zip(rows, effects, strict=True):
        told = []
        for i in plain_greatest(mine, rank, most):
            if mine[i] == 0.0:
                break
            value = plain_value(row[i])
            told.append(Reason(f"f{i}", f"{value!r}", value, float(mine[i]), "family"))
        wanted.append(tuple(told))
    for _ in range(2):
        found = module.reasons(effects, rank, most, rows, "en", kept, unkept)
        assert repr(found) == repr(wanted)
    assert all(type(reason) is Reason for told in found for reason in told)
    assert len(asked) == len(set(asked))  # the second time, all are kept
    assert all(reason.effect == 0.0 for reason in kept.values())


@pytest.mark.parametrize("seed", range(3))
def test_a_score_is_the_one_that_plain_parts_give(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COMPILED:
        built(name)
    rng = random.Random(seed)
    asked = [make_records(rng.randrange(10**6)) for _ in range(40)]
    rows = [
        [
            rng.choice([None, rng.choice([*LEVELS[n], "never met"]) if n in LEVELS else rng.uniform(-9, 99)])
            for n in NAMES
        ]
        for _ in range(80)
    ]

    def scores() -> list[Any]:
        scorer = make_scorer()
        if plain:
            scorer._hazards.forest._tables = None  # type: ignore[union-attr]
        by_name = {name: [row[i] for row in rows] for i, name in enumerate(NAMES)}
        found = [*scorer.score_each(asked), *scorer.score_rows(rows, reasons=9), *scorer.score_rows(by_name, reasons=9)]
        found += scorer.score_each(asked, reasons=0, committee=False)
        effects = [
            None if s.evidence is None or s.evidence.effects is None else s.evidence.effects.tolist() for s in found
        ]
        return [
            *map(repr, found),
            repr(effects),
            repr(scorer.probabilities([r for r, _ in asked], asked[0][1] + 10**14)),
        ]

    plain = False
    fast = scores()
    plain = True
    for name in ("_encode", "_finished", "_weights", "_outlooks", "_chances", "_reasons"):
        monkeypatch.setattr(f"serving.scorer.{name}", None)
    monkeypatch.setattr("serving.scorer.greatest", plain_greatest)
    assert fast == scores()
    assert any("never met" in text for text in fast)


def test_tables_refuse_what_would_lead_out_of_them() -> None:
    module = built("serving._tables")
    forest = Forest(trained(1), COLUMNS + 1, INTERVALS)
    names, data = linear_of(np.random.default_rng(0), False, 1)
    linear = Linear(names, data)
    index = forest.look(np.zeros((2, COLUMNS)))
    parts = linear.see(np.zeros((2, 5)))
    level = np.zeros((1, 5))
    level[0, 4] = 99.0
    z, edges, one = np.zeros((2, 3)), (0, 1, 2, 3), np.zeros(1)
    for error, wrong in (
        (ValueError, lambda: forest.look(np.zeros((1, COLUMNS + 1)))),
        (ValueError, lambda: forest.raw(index[:, :-1].copy())),
        (ValueError, lambda: forest.raw(index + 10**9)),
        (ValueError, lambda: forest.raw(index - 10**9)),
        (ValueError, lambda: forest.contributions(index, np.zeros((1, INTERVALS)))),
        (ValueError, lambda: linear.see(np.zeros((1, 4)))),
        (IndexError, lambda: linear.see(level)),
        (ValueError, lambda: linear._tables.of(parts.soon, parts.late[:1], parts.tables)),
        (ValueError, lambda: module.encode([[1.0]], 2, [None, None], set())),
        (ValueError, lambda: module.encode([[1.0]], 1, [], set())),
        (ValueError, lambda: module.encode([[]], 1, [None], set())),
        (ValueError, lambda: module.outlooks(z, [4], edges, one, one, one)),
        (ValueError, lambda: module.outlooks(z, [0], edges, one, one, one)),
        (ValueError, lambda: module.outlooks(z, [-1], edges, one, one, one)),
        (ValueError, lambda: module.outlooks(z, [1, 1, 1], edges, one, one, one)),
        (ValueError, lambda: module.outlooks(z, [1], edges[:3], one, one, one)),
        (ValueError, lambda: module.outlooks(z, [1], edges, np.zeros(2), one, np.zeros(2))),
        (ValueError, lambda: module.outlooks(z, [1], edges, np.zeros(2), np.zeros(2), one)),
        (ValueError, lambda: module.outlooks(z, [1], edges, one[:0], one[:0], one[:0])),
        (ValueError, lambda: module.chances(z, 1, [1, 1])),
        (ValueError, lambda: module.chances(z, -1, [1])),
        (ValueError, lambda: module.chances(z, 0, [4])),
        (ValueError, lambda: module.weights(z, [4])),
        (ValueError, lambda: module.weights(z, [1, 1, 1])),
        (ValueError, lambda: module.reasons(z, np.zeros(2, np.intp), 1, [[1, 1, 1]] * 2, "en", {}, None)),
        (ValueError, lambda: module.reasons(z, np.zeros(3, np.intp), 1, [[1, 1, 1]], "en", {}, None)),
        (ValueError, lambda: module.reasons(z, np.zeros(3, np.intp), 1, [[1, 1]] * 2, "en", {}, None)),
        (TypeError, lambda: module.reasons(z + 1, np.zeros(3, np.intp), 1, [[1] * 3] * 2, "en", {}, lambda *_: (1, 2))),
        (
            TypeError,
            lambda: module.reasons(z + 1, np.zeros(3, np.intp), 1, [[1] * 3] * 2, "en", {}, lambda *_: "abcde"),
        ),
        (ValueError, lambda: module.greatest(np.zeros(2), np.zeros(3, np.intp), 1)),
        (ValueError, lambda: module.finished(np.zeros((1, 2)), np.zeros(3), 0.0, 1.0)),
        (ValueError, lambda: module.blended(1.0, np.zeros((1, 2)), np.zeros((2, 2)))),
    ):
        with pytest.raises(error):
            wrong()


def test_a_body_of_any_shape_is_read_the_same_way_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole reader, over a sound request, with each of its parts replaced in turn."""
    from serving import rows
    from serving.schema import parse_request
    from tests.fixtures_bundle import DATASET, make_request

    sound = make_request()
    bodies: list[Mapping[str, Any]] = [sound]
    anything = (None, [], {}, "x", 1, [None], [[]], [{}])
    for name in sound:
        bodies += [{**sound, name: value} for value in anything]
    for part in ("prospect", "account", "related"):
        for name in (*sound[part], "account_id", "observed_at", "prospects", "attributes"):
            bodies += [{**sound, part: {**sound[part], name: value}} for value in (*anything, "a2", sound["as_of"])]
    person = {"contact_id": "c9"}
    sibling = {"prospect_id": "p9", "created_at": "2026-01-01T00:00:00Z"}
    for more in ({}, {"account_id": "a1"}, {"account_id": "a2"}, {"observed_at": sound["as_of"]}, {"created_at": None}):
        bodies += [{**sound, "contacts": [{**person, **more}] * count} for count in (1, 2)]
        listed = [{**sound["related"], "prospects": [{**sibling, **more}] * count} for count in (1, 2)]
        bodies += [{**sound, "related": related} for related in listed]
        bodies.append({**sound, "related": {"prospects": [sound["prospect"] | more]}})
        bodies.append({**sound, "contacts": [[{**person, **more}]]})
    found = [outcome_of(parse_request, json.dumps(body), DATASET, T + 10**12) for body in bodies]
    for name, plain in (
        ("ordinary_event", rows.plain_event),
        ("ordinary_events", rows.plain_events),
        ("ordinary_outcome", lambda data, scope: None),
    ):
        monkeypatch.setattr(rows, name, plain)
    for module in ("rows", "schema"):
        monkeypatch.setattr(f"serving.{module}.compiled", lambda module, name, plain: plain)
    assert found == [outcome_of(parse_request, json.dumps(body), DATASET, T + 10**12) for body in bodies]
    assert sum(not isinstance(one, tuple) for one in found) > 20
    assert sum(isinstance(one, tuple) for one in found) > 20
