"""Receipts: kept beside the score and never in its way, played again to the bit, erased with their prospect."""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from features.contract import DAY, parse_time
from features.errors import LeadscoreError
from serving import ledger, openapi
from serving.account import score_account, score_contacts
from serving.bundle import make_bundle, read_bundle
from serving.live import Champion
from serving.previous import Previous
from serving.receipts import (
    ENDS,
    MENTIONS,
    MODELS,
    RECEIPTS,
    Model,
    Receipt,
    Receipts,
    Waiting,
    _waiting,
    forget,
    moment_of,
    new_id,
    read_receipt,
)
from serving.record import Recorder, Scored
from serving.replay import Replayer, places
from serving.schema import RequestReader
from serving.scorer import Scorer
from serving.store import Store, open_store
from tests.fixtures_account import parse_account
from tests.fixtures_bundle import SPEC, make_records, make_request, parts
from tests.postgres import Postgres, postgres
from tests.server import Server, point, put_bundle, serving, until

ROUNDS = 60 if os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0") else 6
NOW = parse_time("2026-11-20T10:00:00Z")
MODEL = Model("won", "7", "d" * 64, ("a", "b"))


@pytest.fixture(scope="module")
def server_of_postgres() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'live.db'}"
    found: str = request.getfixturevalue("server_of_postgres").database()
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_store(url)
    yield store
    store.close()


def receipt(subject: str = "p1", at: int = NOW, **changes: Any) -> Receipt:
    """A receipt of nothing in particular."""
    one = Receipt(
        new_id(at), "prospect", subject, MODEL, at, "en", 0.25, '{"reasons":[]}', "mass", [1.5, None], bytes(8)
    )
    return one._replace(**changes)


def flush(receipts: Receipts) -> None:
    """Write what waits, as the thread does."""
    assert receipts._flush()


def bundles_of(store: Store) -> set[str]:
    """The digests of the bundles that receipts are said to need."""
    return set(store.read(lambda c: c.execute(sa.select(MODELS.c.digest)).scalars().all()))


def count(store: Store, table: sa.Table = RECEIPTS, *where: Any) -> int:
    """How many rows a table has."""
    found = store.read(lambda c: c.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar())
    return int(found or 0)


def begun(receipts: Receipts) -> None:
    """Start them; the first look has found nothing."""
    receipts.start()
    end = time.monotonic() + 30
    while not (receipts.written_until or time.monotonic() > end):
        time.sleep(0.01)


def until_written(receipts: Receipts) -> None:
    end = time.monotonic() + 30
    while receipts.waiting and time.monotonic() < end:
        time.sleep(0.005)


def champion(scorer: Scorer) -> Champion:
    return Champion(scorer.goal.outcome, scorer.version, scorer.digest, scorer, RequestReader(scorer.spec.dataset))


class Home:
    """A home with one bundle after the other, and a recorder over a store."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.serving: dict[str, Scorer] = {}
        self.receipts = Receipts(store, 90, 100_000)
        replayer = Replayer(folder, lambda: self.serving, read_bundle)
        self.recorder = Recorder(self.receipts, replayer, "en", 5)
        self.recorder.previous = Previous(self.receipts, wait=30)

    def champion(self, version: str, **changes: Any) -> Champion:
        """Another bundle, which serves from now on."""
        entry = put_bundle(self.folder, f"v{version}", **changes)
        scorer = Scorer(read_bundle(self.folder / entry["path"]), version)
        self.serving = {scorer.digest: scorer}
        return champion(scorer)

    def score(self, champion: Champion, seed: int, **changes: Any) -> dict[str, Any]:
        """The answer about a random prospect."""
        records, t = make_records(seed, changes.pop("prospect_id", ""))
        score = champion.scorer.score(replace(records, **changes), t)
        return dict(json.loads(self.given(Scored(score, champion, time.time_ns() // 1000))[0][1]))

    def given(self, *scored: Scored) -> list[tuple[str, str]]:
        """The ids and the texts of answers that are given in one go."""
        found = asyncio.run(self.recorder.prospects(scored))
        assert not [each for each in found if isinstance(each, Exception)]
        return [each for each in found if not isinstance(each, Exception)]

    def found(self, receipt_id: str) -> dict[str, Any]:
        async def off(work: Callable[[], Any]) -> Any:
            return work()

        return dict(json.loads(json.dumps(asyncio.run(self.recorder.find(receipt_id, off)))))


@pytest.fixture
def home(tmp_path: Path, store: Store) -> Home:
    folder = tmp_path / "home"
    folder.mkdir()
    return Home(folder, store)


# -- ids ---------------------------------------------------------------------------------------------------------------


def test_ids_rise_with_time_and_tell_it() -> None:
    times = [NOW, NOW + 1, NOW + 999, NOW + 1000, NOW + DAY]
    ids = [new_id(t) for t in times]
    assert ids == sorted(ids)
    assert [moment_of(i) for i in ids] == [t // 1000 * 1000 for t in times]
    assert len({new_id(NOW) for _ in range(1000)}) == 1000
    for other in ("", "x", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", ids[0][:-1], ids[0] + "0", "z" * 36, "-" * 36):
        assert moment_of(other) is None


def test_a_forked_process_gives_ids_of_its_own() -> None:
    new_id(NOW)  # there are random numbers at hand
    with multiprocessing.get_context("fork").Pool(1) as pool:
        others = pool.map(new_id, [NOW] * 3)
    assert not {new_id(NOW) for _ in range(20)} & set(others)


# -- keeping -----------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_read_as_it_was(store: Store) -> None:
    receipts = Receipts(store, 90, 10)
    one = receipt("p\u00e9 1", answer='{"x":1.5,"reasons":[]}')
    assert receipts.keep(one)
    assert receipts.waiting == 1
    flush(receipts)
    assert (receipts.waiting, receipts.written, receipts.dropped) == (0, 1, 0)
    kept = store.read(lambda c: read_receipt(c, one.id))
    assert kept is not None
    assert (kept.subject, kept.features, kept.names, kept.regime) == ("p\u00e9 1", (1.5, None), ("a", "b"), "mass")
    assert kept.answer == {"x": 1.5, "reasons": []}
    assert store.read(lambda c: read_receipt(c, new_id(NOW))) is None
    receipts._write([_waiting(one)])  # a transaction whose end was not heard of comes again
    assert count(store) == 1
    assert receipts.dropped == 0
    assert bundles_of(store) == {MODEL.digest}


def test_the_queue_is_bounded_and_what_is_dropped_is_counted(store: Store) -> None:
    receipts = Receipts(store, 90, 3)
    assert receipts.keep(receipt())
    assert not receipts.keep(receipt(), receipt(), receipt())  # all of an account or none of it
    assert (receipts.waiting, receipts.dropped) == (1, 3)
    assert receipts.keep(receipt(), receipt())
    assert not receipts.keep(receipt())
    flush(receipts)
    assert receipts.keep(receipt())
    huge = receipt(answer=" " * (64 * 1024 * 1024))
    assert not receipts.keep(huge)
    assert (receipts.waiting, receipts.written, receipts.dropped) == (1, 3, 5)
    none = Receipts(store, 0, 3)
    assert not none.keep(receipt())
    assert (none.waiting, none.dropped) == (0, 0)


def test_of_those_that_stand_for_themselves_as_many_are_kept_as_find_room(store: Store) -> None:
    receipts = Receipts(store, 90, 3)
    huge = receipt("huge", answer=" " * (64 * 1024 * 1024 + 1))
    kept = receipts.keep_each([receipt("p1"), receipt("p2", features=(math.inf, None)), huge])
    assert ([one.row[2] for one in kept], receipts.dropped) == (["p1"], 2)
    kept = receipts.keep_each([receipt(f"p{i}") for i in range(2, 6)])
    assert ([one.row[2] for one in kept], receipts.waiting, receipts.dropped) == (["p2", "p3"], 3, 4)
    assert receipts.keep_each([receipt("p6")]) == []
    flush(receipts)
    assert (count(store), receipts._size) == (3, 0)


def test_what_comes_while_receipts_are_written_waits_for_the_next_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a load that never ends, some always comes: each transaction of the few would cost as much as of many."""
    receipts = Receipts(store, 90, 10_000)
    real, sizes = receipts._write, []

    def writing(batch: list[Waiting]) -> None:
        sizes.append(len(batch))
        receipts.keep(receipt("later"))
        real(batch)

    monkeypatch.setattr(receipts, "_write", writing)
    for i in range(600):
        receipts.keep(receipt(f"p{i}"))
    begun = time.monotonic()
    assert receipts._flush()
    assert (sizes, receipts.waiting) == ([500, 100], 2)
    assert begun <= receipts.written_until <= time.monotonic()
    assert receipts._flush()
    assert (sizes[2:], receipts.waiting) == ([2], 1)


def test_they_are_written_in_a_moment_without_scores(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_EVERY", 0.1), ("_LOOK", 0.05), ("_QUIET", 1.0), ("_LONGEST", 60.0)):
        monkeypatch.setattr(f"serving.receipts.{name}", seconds)
    receipts = Receipts(store, 90, 10_000)
    begun(receipts)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        receipts.keep(receipt())
        time.sleep(0.01)
    assert receipts.written == 0
    kept = receipts.waiting
    until_written(receipts)
    assert receipts.written == kept
    receipts.stop()


@pytest.mark.parametrize(
    "never",
    [
        {"_EVERY": 0.1, "_QUIET": 60.0, "_LONGEST": 0.2},  # scores are given all the time
        {"_EVERY": 60.0, "_LOOK": 0.05, "_QUIET": 0.1, "_LONGEST": 60.0, "_CHUNK": 5},  # many wait, and none is given
    ],
)
def test_no_receipt_waits_for_long(store: Store, monkeypatch: pytest.MonkeyPatch, never: dict[str, Any]) -> None:
    receipts = Receipts(store, 90, 10_000)
    begun(receipts)
    for name, value in never.items():
        monkeypatch.setattr(f"serving.receipts.{name}", value)
    receipts.keep_each([receipt() for _ in range(9)])
    until_written(receipts)
    assert receipts.written == 9
    receipts.stop()


def test_old_ones_go_where_nothing_is_scored(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.receipts._PRUNED", 0.1)
    receipts = Receipts(store, 90, 10)
    looks: list[int] = []
    monkeypatch.setattr(receipts, "prune", lambda: looks.append(1))
    receipts.start()
    end = time.monotonic() + 30
    while len(looks) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    receipts.stop()
    assert len(looks) >= 3


def test_a_receipt_begins_to_wait_when_it_comes(store: Store) -> None:
    """However long there was none: the first of a burst waits for its end."""
    receipts = Receipts(store, 90, 10)
    receipts.keep(receipt())
    first = receipts._since
    assert receipts._kept_at == first > 0
    receipts.keep(receipt())
    assert (receipts._since, receipts._kept_at > first) == (first, True)
    flush(receipts)
    assert first < receipts._since == receipts.written_until
    receipts.keep(receipt())
    assert receipts._since == receipts._kept_at


@pytest.mark.parametrize("scarce", ["number", "bytes"])
def test_a_store_that_fails_is_not_asked_for_each_score(
    store: Store, monkeypatch: pytest.MonkeyPatch, scarce: str
) -> None:
    """Also where the queue is full: what comes is dropped, and the next attempt is a second later."""
    attempts = []

    def failing(work: Any) -> Any:
        attempts.append(time.monotonic())
        raise LeadscoreError("store_unavailable", "it is away.", where="", remedy="")

    receipts = Receipts(store, 90, 8 if scarce == "number" else 10_000)
    begun(receipts)
    monkeypatch.setattr(store, "write", failing)
    if scarce == "bytes":
        receipts.keep(receipt(answer=" " * (50 * 1024 * 1024)))
    end = time.monotonic() + 3
    while time.monotonic() < end:
        receipts.keep(receipt())
        time.sleep(0.002)
    assert 1 <= len(attempts) <= 6
    assert receipts.failures == len(attempts)
    monkeypatch.undo()
    until_written(receipts)
    receipts.stop()
    assert receipts.waiting == 0


@pytest.mark.parametrize("scarce", ["number", "bytes"])
def test_when_the_room_gets_scarce_they_are_written_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, scarce: str
) -> None:
    receipts = Receipts(store, 90, 8 if scarce == "number" else 1_000)
    begun(receipts)
    for name in ("_EVERY", "_LONGEST", "_QUIET", "_LOOK"):
        monkeypatch.setattr(f"serving.receipts.{name}", 60.0)
    receipts.hurry()  # no pause has begun before
    time.sleep(0.2)
    assert receipts.keep(*(receipt(f"p{i}") for i in range(5)))
    assert not receipts._wake.is_set()
    assert receipts.keep(receipt("p5", answer=" " * (50 * 1024 * 1024 if scarce == "bytes" else 1)))
    until_written(receipts)
    assert receipts.written == 6
    receipts.stop()


def test_what_comes_in_the_last_flush_is_written_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = Receipts(store, 90, 100)
    real = receipts._write

    def writing(batch: list[Waiting]) -> None:
        if receipts.written < 3:
            receipts.keep(receipt("later"))
        real(batch)

    monkeypatch.setattr(receipts, "_write", writing)
    receipts.keep(receipt("p1"))
    receipts._ending = True
    receipts._run()
    assert (receipts.waiting, receipts.dropped, count(store)) == (0, 0, 4)


def test_one_that_is_no_json_spoils_no_other(store: Store) -> None:
    receipts = Receipts(store, 90, 10)
    told: list[int] = []
    receipts.on_drop = told.append
    assert not receipts.keep(receipt("p1"), receipt("p2", features=(math.inf, None)), receipt("p3"))
    flush(receipts)
    assert (receipts.written, receipts.dropped, told) == (2, 1, [1])
    kept = store.read(lambda c: set(c.execute(sa.select(RECEIPTS.c.subject)).scalars()))
    assert kept == {"p1", "p3"}


def test_an_sqlite_that_takes_few_parameters_is_given_few(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'live.db'}")

    @sa.event.listens_for(store.engine, "checkout")
    def old(connection: Any, *_: Any) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

    receipts = Receipts(store, 90, 1_000)
    assert receipts.keep(*(receipt(f"p{i}") for i in range(300)))
    flush(receipts)
    assert (count(store), receipts.waiting, receipts.failures) == (300, 0, 0)
    store.close()


def test_what_is_written_is_told_by_when_it_was_kept(store: Store) -> None:
    receipts = Receipts(store, 90, 10)
    before = time.monotonic()
    assert receipts.written_until < before
    receipts.keep(receipt(at=NOW))
    flush(receipts)
    assert before < receipts.written_until <= time.monotonic()


def test_an_answer_is_of_when_its_records_were_read(home: Home) -> None:
    """However late it is given: who erases a contact meanwhile is not answered with what rests on it later on."""
    best = home.champion("1")
    records, t = make_records(3, "p1")
    score = best.scorer.score(records, t)
    erased_at = time.time_ns() // 1000 - 60_000_000
    home.recorder.receipts.store.write(lambda c: forget(c, ["p1"], ["carol"], erased_at))

    def given(read_at: int) -> str:
        return home.given(Scored(score, best, read_at))[0][0]

    late, two, three = given(erased_at - 1), given(erased_at + 10_000_000), given(erased_at + 10_000_000)
    flush(home.receipts)
    kept = home.receipts.store.read(lambda c: set(c.execute(sa.select(RECEIPTS.c.id)).scalars()))
    assert kept == {two, three}
    assert late < two < three  # those of one moment in their order


def test_the_last_of_one_moment_has_the_greatest_id_also_where_others_are_given_in_between(home: Home) -> None:
    best = home.champion("1")
    score = best.scorer.score(*make_records(3, "p1"))

    def given(read_at: int) -> str:
        return home.given(Scored(score, best, read_at))[0][0]

    of_one = []
    for i in range(20):  # a batch's parts, between which others are answered
        of_one.append(given(NOW))
        given(NOW + 1_000 + i)
    assert of_one == sorted(of_one)


def test_keeping_waits_for_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'live.db'}")
    begun, go = threading.Event(), threading.Event()
    real = store.write

    def slow(work: Any) -> Any:
        if receipts._writing:  # and not looking for what is too old
            begun.set()
            assert go.wait(30)
        return real(work)

    monkeypatch.setattr(store, "write", slow)
    receipts = Receipts(store, 90, 1000)
    receipts.start()
    receipts.keep(receipt())
    assert begun.wait(30)
    kept = [receipts.keep(receipt(f"p{i}")) for i in range(1200)]  # the writer is in the middle of its work
    assert len([each for each in kept if each]) == 1000
    assert receipts.dropped == 200
    assert not go.is_set()
    go.set()
    receipts.stop()
    assert (receipts.waiting, receipts.written) == (0, 1001)
    assert count(store) == 1001


def test_what_waits_at_the_end_is_written(store: Store) -> None:
    receipts = Receipts(store, 90, 10_000)
    receipts.start()
    for i in range(2000):
        receipts.keep(receipt(f"p{i}"))
    receipts.stop()
    assert count(store) == receipts.written == 2000


def test_one_that_cannot_be_written_spoils_no_other(store: Store) -> None:
    receipts = Receipts(store, 90, 10)
    receipts.keep(receipt("p1"), receipt("a lone \ud800 surrogate"), receipt("p2"))
    flush(receipts)
    assert (receipts.written, receipts.dropped) == (2, 1)
    assert count(store) == 2


def test_a_store_that_was_away_gets_what_waited(tmp_path: Path, server_of_postgres: Postgres) -> None:
    """SQLite's file moved away, PostgreSQL's server stopped: receipts wait, scores say nothing of the one before."""

    def away(store: Store, take: Callable[[], None], give: Callable[[], None]) -> None:
        home = Home(tmp_path / store.engine.dialect.name, store)
        best = home.champion("1")
        home.recorder.previous._wait = 0.05
        home.score(best, 1)
        flush(home.receipts)
        take()
        time.sleep(1.1)  # what is remembered of p1 is not trusted any more
        begun = time.monotonic()
        assert home.score(best, 1)["previous"] is None
        assert time.monotonic() - begun < 2
        assert not home.receipts._flush()
        assert home.receipts.waiting == 1
        give()
        until(home.receipts._flush, "the receipts are written")
        assert count(store) == 2
        assert home.receipts.dropped == 0
        store.close()

    file = tmp_path / "live.db"
    away(
        open_store(f"sqlite:///{file}"),
        lambda: file.rename(tmp_path / "gone.db") and None,
        lambda: (tmp_path / "gone.db").rename(file) and None,
    )
    away(open_store(server_of_postgres.database()), server_of_postgres.stop, server_of_postgres.start)


# -- playing again -----------------------------------------------------------------------------------------------------


def test_a_receipt_is_played_again_to_the_bit(home: Home) -> None:
    """Also after promotions, from the bundle that answered; and a receipt that was tampered with is told."""
    first = home.champion("1")
    answers = [home.score(first, seed) for seed in range(40)]
    flush(home.receipts)
    assert len({a["probability"] for a in answers}) > 20
    for other in ("2", "3"):
        home.champion(other, grade_cuts={"A": 0.9, "B": 0.5, "C": float(other) / 10})
    for answer in answers:
        found = home.found(answer["receipt_id"])
        openapi.Receipt.model_validate_json(json.dumps(found))
        assert found["score"] == answer
        assert found["replay"]["same"] is True
        for name in ("probability", "probability_low", "probability_high", "curve", "reasons", "grade", "score"):
            assert found["replay"][name] == answer[name]
        assert found["warnings"] == []
        assert list(found["features"]) == list(SPEC.names)
        for reason in answer["reasons"]:
            assert found["features"][reason["feature"]] == reason["value"]
    victim = answers[0]["receipt_id"]

    def tamper(connection: Connection) -> None:
        row = connection.execute(sa.select(RECEIPTS.c.answer).where(RECEIPTS.c.id == victim)).scalar_one()
        changed = json.dumps({**json.loads(row), "probability": answers[0]["probability"] + 1e-12})
        connection.execute(RECEIPTS.update().where(RECEIPTS.c.id == victim).values(answer=changed))

    home.receipts.store.write(tamper)
    assert home.found(victim)["replay"]["same"] is False


def test_the_bundle_is_found_by_its_digest_wherever_it_stands(home: Home) -> None:
    answer = home.score(home.champion("1"), 3)
    flush(home.receipts)
    home.champion("2", grade_cuts={"A": 0.9, "B": 0.5, "C": 0.2})
    digest = home.found(answer["receipt_id"])["digest"]
    bundle = home.folder / "bundles/v1"
    moved = home.folder / "somewhere/else"

    def placed() -> list[Path]:
        return list(places(home.folder, digest))

    assert placed() == [bundle]
    # damaged in one place, whole in another
    shutil.copytree(bundle, moved)
    (bundle / "model.txt").write_text("")
    home.recorder.replayer._loaded.clear()
    assert set(placed()) == {bundle, moved}
    assert home.found(answer["receipt_id"])["replay"]["same"] is True
    # what the pointer's history names is looked at first
    entry = {"version": "1", "path": "somewhere/else", "digest": digest, "run_id": "", "goal": "won"}
    step = {**entry, "action": "promote", "reason": ""}
    text = json.dumps({"format": 1, "default": "won", "goals": {"won": entry}, "history": [step]})
    (home.folder / "champion.json").write_text(text)
    assert placed()[0] == moved
    # nowhere whole: said plainly, and what was said stays readable
    shutil.rmtree(moved)
    home.recorder.replayer._loaded.clear()
    found = home.found(answer["receipt_id"])
    assert found["replay"] is None
    assert [w["code"] for w in found["warnings"]] == ["bundle_gone"]
    assert found["score"] == answer
    assert found["features"]


ACCOUNT = {**openapi.EXAMPLE_ACCOUNT}


def test_an_account_has_its_receipt_and_so_have_its_prospects(home: Home) -> None:
    best = home.champion("1")
    parsed = parse_account(ACCOUNT)
    score = score_account(best.scorer, parsed.records, parsed.as_of)
    answer = json.loads(home.recorder.account(score, best, time.time_ns() // 1000)[1])
    openapi.AccountAnswer.model_validate_json(json.dumps(answer))
    assert {k: v for k, v in answer.items() if k != "receipt_id"} == json.loads(json.dumps(score.to_json()))
    flush(home.receipts)
    home.champion("2", grade_cuts={"A": 0.9, "B": 0.5, "C": 0.2})
    found = home.found(answer["receipt_id"])
    openapi.Receipt.model_validate_json(json.dumps(found))
    assert found["score"] == answer
    assert list(found["score"]) == list(answer)
    assert found["replay"] == {
        "probability": score.probability,
        "probability_low": score.probability_low,
        "probability_high": score.probability_high,
        "same": True,
    }
    assert [p["prospect_id"] for p in found["prospects"]] == [p["prospect_id"] for p in answer["prospects"]]
    for index, part in enumerate(found["prospects"]):
        one = home.found(part["receipt_id"])
        assert one["score"] == answer["prospects"][index]
        assert one["replay"]["same"] is True
    # the prospects' receipts are their last scores
    last = asyncio.run(home.recorder.previous.last("won", "p1"))
    assert last is not None
    assert last.receipt_id in {p["receipt_id"] for p in found["prospects"]}


def test_a_ranking_of_people_is_kept_as_it_was_given(home: Home) -> None:
    best = home.champion("1")
    parsed = parse_account(ACCOUNT)
    ranking = score_contacts(best.scorer, parsed.records, parsed.as_of)
    answer = json.loads(home.recorder.contacts(ranking, best, time.time_ns() // 1000)[1])
    flush(home.receipts)
    found = home.found(answer["receipt_id"])
    openapi.Receipt.model_validate_json(json.dumps(found))
    assert found["score"] == answer
    assert (found["replay"], [w["code"] for w in found["warnings"]]) == (None, ["not_replayed"])


def test_what_is_not_there_is_told(home: Home) -> None:
    flush(home.receipts)
    for unknown in ("x", new_id(NOW), "../../etc"):
        with pytest.raises(LeadscoreError) as caught:
            home.found(unknown)
        assert caught.value.code == "unknown_receipt"


def test_few_wait_for_a_receipt_that_may_not_be_written_yet(home: Home) -> None:
    """An id of this moment can be made up: whoever asks for many of them keeps no others from being answered."""
    flush(home.receipts)
    now = time.time_ns() // 1000

    async def off(work: Callable[[], Any]) -> Any:
        return work()

    async def code(moment: int) -> str:
        try:
            await home.recorder.find(new_id(moment), off)
        except LeadscoreError as e:
            return e.code
        return ""

    async def ask() -> tuple[list[str], str, str]:
        asked = [asyncio.create_task(code(now)) for _ in range(20)]
        await asyncio.sleep(0.05)
        early = [task.result() for task in asked if task.done()]
        others = await code(now + DAY // 24), await code(now - DAY)
        assert sum(not task.done() for task in asked) == 8  # of a time to come, or long past: nobody waits
        late = await asyncio.gather(*asked)
        assert early == ["overloaded"] * 12
        return late, *others

    late, ahead, old = asyncio.run(ask())
    assert sorted(late) == ["overloaded"] * 12 + ["unknown_receipt"] * 8
    assert (ahead, old) == ("unknown_receipt", "unknown_receipt")


# -- what moved --------------------------------------------------------------------------------------------------------


def test_the_score_before_is_told_with_what_moved(home: Home) -> None:
    best = home.champion("1")
    first = home.score(best, 7)
    assert first["previous"] is None
    records, t = make_records(7)
    more = tuple(e._replace(event_id=f"more-{i}") for i, e in enumerate(make_records(8, records.prospect_id)[0].events))
    changed = (*(records.events or ()), *more)
    second = home.score(best, 7, events=changed)
    openapi.ScoreAnswer.model_validate_json(json.dumps(second))
    before = second["previous"]
    for name in ("probability", "receipt_id", "as_of", "model_version"):
        assert before[name] == first[name]
    # the oracle: every effect of both scores, as an answer with all its reasons gives them
    effects = []
    for events in (records.events, changed):
        score = best.scorer.score(replace(records, events=events), t, reasons=1000)
        effects.append({r.feature: (r.value, r.effect, r.label) for r in score.reasons})
    zero = (None, 0.0, "")
    change = {n: abs(effects[1].get(n, zero)[1] - effects[0].get(n, zero)[1]) for n in {*effects[0], *effects[1]}}
    wanted = sorted((n for n in change if change[n] >= 0.001), key=lambda n: -change[n])[:5]
    assert len(wanted) == 5
    assert [m["feature"] for m in before["moved"]] == wanted
    for m in before["moved"]:
        assert m["effect_before"] == pytest.approx(effects[0].get(m["feature"], zero)[1], abs=1e-5)
        assert m["effect_after"] == pytest.approx(effects[1].get(m["feature"], zero)[1], abs=1e-5)
        if m["feature"] in effects[1]:
            assert (m["after"], m["label"]) == (effects[1][m["feature"]][0], effects[1][m["feature"]][2])
        if m["feature"] in effects[0]:
            assert m["before"] == effects[0][m["feature"]][0]
    third = home.score(best, 7, events=changed)
    assert third["previous"]["receipt_id"] == second["receipt_id"]
    assert third["previous"]["moved"] == []


def test_the_score_before_may_be_of_another_model(home: Home) -> None:
    home.score(home.champion("1"), 7)
    other = home.champion("2", grade_cuts={"A": 0.9, "B": 0.5, "C": 0.2})
    before = home.score(other, 7)["previous"]
    assert (before["model_version"], before["moved"]) == ("1", [])  # the same trees: nothing moved
    # features that the one or the other does not have
    renamed = asyncio.run(home.recorder.previous.last("won", "p7"))
    assert renamed is not None
    names = tuple("gone" if n == "meeting_count" else n for n in renamed.names)
    effects = np.frombuffer(renamed.effects or b"", np.float32).copy()
    effects[names.index("gone")] = 2.0
    renamed = renamed._replace(names=names, effects=effects.tobytes(), digest="other")
    home.recorder.previous.remember({("won", "p7"): renamed})
    moved = home.score(other, 7)["previous"]["moved"]
    openapi.PreviousScore.model_validate({**before, "moved": moved})
    assert (moved[0]["feature"], moved[0]["after"], moved[0]["effect_after"]) == ("gone", None, 0.0)
    new = [m for m in moved if m["feature"] == "meeting_count"]
    assert all((m["before"], m["effect_before"]) == (None, 0.0) for m in new)


@pytest.mark.parametrize("kept", ["{", "[1.0]", "5"])
def test_a_last_score_that_cannot_be_read_fails_no_score(home: Home, kept: str) -> None:
    best = home.champion("1")
    home.score(best, 7)
    last = asyncio.run(home.recorder.previous.last("won", "p7"))
    assert last is not None
    effects = np.full(len(last.names), 9.0, np.float32).tobytes()  # all of them moved
    home.recorder.previous.remember({("won", "p7"): last._replace(features=kept, effects=effects)})
    found = home.score(best, 7)
    assert found["previous"] is None
    assert found["probability"] == last.probability


def test_another_worker_knows_the_last_score_too(home: Home, url: str, tmp_path: Path) -> None:
    """From the store, since its memory is its own; the figures are those that the first worker remembers."""
    best = home.champion("1")
    first = home.score(best, 7)
    flush(home.receipts)
    other = Home(tmp_path / "other", open_store(url))
    remembered = asyncio.run(home.recorder.previous.last("won", "p7"))
    looked_up = asyncio.run(other.recorder.previous.last("won", "p7"))
    assert remembered is not None
    assert looked_up is not None
    assert looked_up._replace(effects=None, features=()) == remembered._replace(effects=None, features=())
    assert list(looked_up.values()) == list(remembered.values())
    assert looked_up.effects == remembered.effects
    second = other.score(best, 7)
    assert second["previous"]["receipt_id"] == first["receipt_id"]
    flush(other.receipts)
    time.sleep(1.1)  # by now the first does not trust its memory any more
    third = home.score(best, 7)
    assert third["previous"]["receipt_id"] == second["receipt_id"]
    assert home.score(best, 9)["previous"] is None
    other.receipts.store.close()


def test_the_last_scores_of_a_batch_are_looked_up_together(home: Home, url: str, tmp_path: Path) -> None:
    best = home.champion("1")
    for seed in (1, 2, 3, 2):
        home.score(best, seed)
    flush(home.receipts)
    wanted = {seed: home.recorder.previous._kept["won", f"p{seed}"][1] for seed in (1, 2, 3)}
    other = Home(tmp_path / "other", open_store(url)).recorder.previous
    other._wait = 30
    looks: list[int] = []
    beside = other._beside

    async def counted(goal: str, ids: Any) -> Any:
        looks.append(len(ids))
        return await beside(goal, ids)

    other._beside = counted  # type: ignore[method-assign]
    if other._file is not None:
        rows, statements = other._file.rows, []

        def counted_rows(statement: Any, values: Any) -> Any:
            statements.append(statement)
            return rows(statement, values)

        other._file.rows = counted_rows  # type: ignore[method-assign]

    found = asyncio.run(other.recall(("won", prospect_id) for prospect_id in ("p1", "p2", "p3", "p2", "unknown")))
    assert found.pop(("won", "unknown")) is None
    assert {key: last and last.receipt_id for key, last in found.items()} == {
        ("won", f"p{seed}"): last.receipt_id for seed, last in wanted.items()
    }
    assert looks == ([] if other._file is not None else [4])
    if other._file is not None:
        assert len(statements) == 2  # one for the receipts, one for the names of the features
    other.store.close()


def test_of_several_answers_each_is_told_of_the_one_before_it(home: Home) -> None:
    """Also where a prospect is there twice, where its receipts are not written yet, and beside one that fails."""
    best = home.champion("1")
    before = home.score(best, 1)["receipt_id"]
    now = time.time_ns() // 1000
    of = {seed: best.scorer.score(*make_records(seed)) for seed in (1, 2)}
    broken = replace(of[2], probability=math.nan)
    asked = [Scored(score, best, now) for score in (of[1], of[2], broken, of[1], of[1], of[2])]
    found = asyncio.run(home.recorder.prospects(asked))
    assert isinstance(found.pop(2), ValueError)
    texts = [json.loads(each[1]) for each in found if not isinstance(each, Exception)]
    assert [text["prospect_id"] for text in texts] == ["p1", "p2", "p1", "p1", "p2"]
    ids = [text["receipt_id"] for text in texts]
    assert ids == sorted(ids) == [each[0] for each in found if not isinstance(each, Exception)]
    told = [text["previous"] and text["previous"]["receipt_id"] for text in texts]
    assert told == [before, None, ids[0], ids[2], ids[1]]
    flush(home.receipts)
    assert {home.found(id)["score"]["receipt_id"] for id in ids} == {*ids}


def test_an_answer_that_finds_no_room_is_no_last_score(home: Home) -> None:
    best = home.champion("1")
    home.receipts._most = 2
    now = time.time_ns() // 1000
    one, other = (best.scorer.score(*make_records(seed)) for seed in (1, 2))
    asked = [Scored(score, best, now) for score in (one, other, one, one)]
    texts = [json.loads(text) for _, text in home.given(*asked)]
    assert [t["previous"] and t["previous"]["receipt_id"] for t in texts[2:]] == [texts[0]["receipt_id"]] * 2
    assert (home.receipts.waiting, home.receipts.dropped) == (2, 2)


def test_what_the_store_does_not_know_yet_is_not_forgotten_for_others(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.previous._MOST", 2)
    best = home.champion("1")
    first = {seed: home.score(best, seed)["receipt_id"] for seed in range(5)}
    time.sleep(1.1)
    assert home.score(best, 0)["previous"]["receipt_id"] == first[0]
    kept = home.recorder.previous._kept
    assert len(kept) == 5
    flush(home.receipts)
    assert home.score(best, 1)["previous"]["receipt_id"] == first[1]
    assert len(kept) == 2  # the others can be looked up


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_who_is_erased_while_the_store_is_asked_has_no_last_score(home: Home) -> None:
    """Neither one that was remembered, nor one that was read before."""
    best = home.champion("1")
    for seed in (1, 2):
        home.score(best, seed)
    flush(home.receipts)
    previous = home.recorder.previous
    del previous._kept["won", "p2"]
    beside = previous._beside

    async def slowly(goal: str, ids: Any) -> Any:
        found = await beside(goal, ids)
        previous.forget(["p1", "p2"])
        return found

    previous._beside = slowly  # type: ignore[method-assign]
    keys = [("won", "p1"), ("won", "p2")]
    assert asyncio.run(previous.recall(keys)) == dict.fromkeys(keys)
    assert previous._asking == []


def test_what_waits_is_remembered_for_as_long_as_it_waits(home: Home) -> None:
    best = home.champion("1")
    first = home.score(best, 7)
    time.sleep(1.1)
    assert home.score(best, 7)["previous"]["receipt_id"] == first["receipt_id"]  # the store does not know it yet


# -- going -------------------------------------------------------------------------------------------------------------


def test_receipts_go_after_their_days(store: Store) -> None:
    receipts = Receipts(store, 30, 10_000, clock=lambda: NOW)
    young = Model("won", "8", "e" * 64, ("a", "b"))
    old = [receipt(f"p{i}", NOW - 30 * DAY - 1 - i) for i in range(700)]
    late = [receipt(f"p{i}", NOW - 30 * DAY + 1_000_000 + i, model=young) for i in range(5)]
    old[0] = old[0]._replace(kind="contacts", mentions=(("contacts", "c1"),))
    receipts.keep(*old, *late)
    flush(receipts)
    assert bundles_of(store) == {MODEL.digest, young.digest}
    assert receipts.prune() == 700
    assert count(store) == 5
    assert count(store, MENTIONS) == 0
    assert bundles_of(store) == {young.digest}
    assert receipts.prune() == 0
    receipts.keep(receipt(at=NOW))  # a bundle that is needed again
    flush(receipts)
    assert bundles_of(store) == {MODEL.digest, young.digest}


def erase(store: Store, kind: str, id: str) -> None:
    """Erase as the resource does, a prospect that was once put there."""
    if kind == "prospects":
        store.write(lambda c: ledger.put(c, ledger.State(kind, id, "{}", created_at=NOW - DAY), NOW))
    else:
        store.write(lambda c: ledger.put(c, ledger.State(kind, id, "{}", account_id="a1"), NOW))
    store.write(lambda c: ledger.erase(c, kind, id, NOW, [forget]))


def test_an_erased_prospect_leaves_no_receipt(store: Store) -> None:
    receipts = Receipts(store, 90, 100)
    whole = receipt("a1", kind="account", features=None, mentions=(("prospects", "p1"), ("prospects", "p2")))
    receipts.keep(receipt("p1"), receipt("p2"), receipt("p1"), receipt("p10"))
    receipts.keep(whole, receipt("p1", part_of=whole.id), receipt("p2", part_of=whole.id))
    flush(receipts)
    assert count(store) == 7
    receipts.keep(receipt("p1"), receipt("p3"))  # still waiting when p1 is erased
    waiting = receipt("a1", kind="account", features=None, mentions=(("prospects", "p1"),))
    receipts.keep(waiting)
    erase(store, "prospects", "p1")
    assert count(store) == 3
    flush(receipts)
    left = store.read(lambda c: [tuple(r) for r in c.execute(sa.select(RECEIPTS.c.kind, RECEIPTS.c.subject))])
    assert sorted(left) == [("prospect", s) for s in ("p10", "p2", "p2", "p3")]
    assert count(store, MENTIONS) == 0
    assert count(store, MODELS) == 1


def test_no_answer_that_rests_on_an_erased_contact_is_written_after_it(store: Store) -> None:
    receipts = Receipts(store, 90, 100, clock=lambda: NOW + 2 * 3_600_000_000)
    event = ledger.Fact("events", "e1", "p1", NOW - DAY, '{"type":"call"}', "c1")
    store.write(lambda c: ledger.put(c, ledger.State("prospects", "p1", "{}", created_at=NOW - DAY), NOW))
    store.write(lambda c: ledger.add(c, [event], NOW))
    seconds = 1_000_000
    whole = receipt("a1", at=NOW, kind="account", features=None, mentions=(("prospects", "p1"),))
    receipts.keep(receipt("p1", at=NOW - seconds), receipt("p1", at=NOW + seconds), whole)  # waiting, and under way
    receipts.keep(receipt("p2", at=NOW - seconds), receipt("p1", at=NOW + 5 * seconds))
    erase(store, "contacts", "c1")
    flush(receipts)
    left = store.read(lambda c: [tuple(r) for r in c.execute(sa.select(RECEIPTS.c.kind, RECEIPTS.c.subject))])
    assert sorted(left) == [("prospect", "p1"), ("prospect", "p2")]
    assert count(store, ENDS) == 1
    receipts.prune()
    assert count(store, ENDS) == 0  # remembered no longer than anything waits


def test_an_erased_contact_is_in_no_receipt(store: Store) -> None:
    receipts = Receipts(store, 90, 100)

    def ranking(*people: str) -> Receipt:
        return receipt("a1", kind="contacts", mentions=tuple(("contacts", p) for p in people))

    receipts.keep(ranking("c1", "c2"), ranking("c2"), receipt("p1"))
    flush(receipts)
    receipts.keep(ranking("c1"), ranking("c3"))
    erase(store, "contacts", "c1")
    flush(receipts)
    assert count(store, RECEIPTS, RECEIPTS.c.kind == "contacts") == 2
    assert count(store) == 3


def test_erasing_and_writing_at_the_same_time_leave_nothing(store: Store, url: str) -> None:
    """Receipts of one prospect are written all the time while it is erased: none remains, whoever comes first."""
    receipts = Receipts(store, 90, 100_000)
    flush(receipts)
    store.ready()
    mine = Receipts(open_store(url), 90, 100_000)
    for round in range(ROUNDS):
        who = f"p{round}"
        end = threading.Event()

        def write(who: str = who, end: threading.Event = end) -> None:
            while not end.is_set():
                mine.keep(receipt(who))
                assert mine._flush()

        before = mine.written
        writer = threading.Thread(target=write)
        writer.start()
        until(lambda before=before: mine.written > before, "something is written")
        erase(store, "prospects", who)
        time.sleep(0.02)
        end.set()
        writer.join()
        assert count(store, RECEIPTS, RECEIPTS.c.subject == who) == 0
    mine.store.close()


# -- a running service -------------------------------------------------------------------------------------------------


def post(server: Server, body: Any, path: str = "/score") -> dict[str, Any]:
    answer = server.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _micros(receipt_id: str) -> int:
    """The moment of a receipt's id, to the microsecond."""
    digits = receipt_id.replace("-", "")
    return int(digits[:12], 16) * 1000 + -(-int(digits[13:16], 16) * 1000 // 4096)


def test_a_service_keeps_finds_and_forgets(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    entry = put_bundle(home, "one")
    point(home, {"won": {**entry, "version": "1"}})
    request = make_request()

    def found(answer: dict[str, Any]) -> httpx.Response:
        return server.client.get(f"/v1/scores/{answer['receipt_id']}")

    with serving(home, tmp_path / "empty", LEADSCORE_POLL_SECONDS="0.05") as server:
        first = post(server, request)
        assert first["previous"] is None
        assert found(first).json()["score"] == first  # at once: it is waited for
        second = post(server, request)
        assert second["previous"]["receipt_id"] == first["receipt_id"]
        batch = post(server, {"items": [request, {}, request]}, "/score_batch")["results"]
        assert batch[2]["previous"]["receipt_id"] == batch[0]["receipt_id"]
        assert found(batch[2]).json()["score"] == batch[2]
        # One moment of reading, whenever each is answered: the ids bear it, a microsecond more for each after another.
        several = post(server, {"items": [request] * 10}, "/score_batch")["results"]
        stamps = [_micros(answer["receipt_id"]) for answer in several]
        assert stamps == [stamps[0] + i for i in range(10)]
        # Nothing is kept of a batch that turns out at its end to be no JSON.
        bodies = [{**request, "prospect": {**request["prospect"], "prospect_id": f"b{i}"}} for i in range(60)]
        broken = json.dumps({"items": bodies}).encode()[:-3]
        refused = server.client.post("/score_batch", content=broken, headers={"content-type": "application/json"})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (400, "bad_json")
        assert error["where"].endswith(f"column {len(broken) + 1}")
        assert post(server, bodies[0])["previous"] is None
        account = post(server, openapi.EXAMPLE_ACCOUNT, "/score_account")
        people = post(server, openapi.EXAMPLE_ACCOUNT, "/score_contacts")
        for answer in (account, people):
            openapi.Receipt.model_validate_json(found(answer).content)
            assert found(answer).json()["score"] == answer
        # promoted over: the answer of the old one is played again by the old one
        point(home, {"won": {**put_bundle(home, "two", grade_cuts={"A": 0.05, "B": 0.02, "C": 0.01}), "version": "2"}})
        until(lambda: post(server, request)["model_version"] == "2", "version 2 serves")
        # A bundle that serves no longer is tried in a child process first, once: that may take until the deadline.
        until(lambda: found(first).status_code == 200, "the former bundle is ready")
        old = found(first).json()
        assert (old["model_version"], old["replay"]["grade"], old["replay"]["same"]) == ("1", first["grade"], True)
        assert old["digest"] == entry["digest"]
        assert found(post(server, request)).json()["replay"]["grade"] == "A"
        unknown = server.client.get(f"/v1/scores/{new_id(NOW)}")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_receipt")
        until(lambda: server.metric('leadscore_queue_depth{queue="receipts"}') == 0, "nothing waits any more")
        assert server.metric("leadscore_receipts_dropped_total") == 0
        # erased with its prospect, also what the worker remembers
        record = request["prospect"]
        put = server.client.put("/v1/prospects/p1", json={k: v for k, v in record.items() if k != "prospect_id"})
        assert put.status_code < 300, put.text
        # What is stored is read for all of a part at once.
        bare = [{"prospect": {"prospect_id": "p1"}}] * 5
        stamps = [_micros(one["receipt_id"]) for one in post(server, {"items": bare}, "/score_batch")["results"]]
        assert stamps == [stamps[0] + i for i in range(5)]
        assert server.client.delete("/v1/prospects/p1").status_code == 200
        assert found(first).status_code == 404
        assert found(account).status_code == 404
        assert found(people).status_code == 200
        # what is given last is on disk when the service has ended
        last = [post(server, {**request, "prospect": {**record, "prospect_id": f"q{i}"}}) for i in range(50)]
    store = open_store(f"sqlite:///{home / 'live.db'}")
    kept = store.read(lambda c: set(c.execute(sa.select(RECEIPTS.c.id)).scalars()))
    assert {answer["receipt_id"] for answer in last} <= kept
    assert make_bundle(**parts()).digest == entry["digest"]


def test_without_retention_nothing_is_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    point(home, {"won": {**put_bundle(home, "one"), "version": "1"}})
    with serving(home, tmp_path / "empty", LEADSCORE_RECEIPTS_DAYS="0") as server:
        first = post(server, make_request())
        second = post(server, make_request())
        assert (first["previous"], second["previous"]) == (None, None)
        assert server.client.get(f"/v1/scores/{first['receipt_id']}").status_code == 404
