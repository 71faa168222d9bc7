"""The loop: a data folder into the live records and out again teaches the same; what came live teaches honestly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from features.contract import parse_time
from features.standard import standard_features
from features.tables import Tables, read_tables, tables_from_frames
from serving.batch import requests
from serving.schema import RequestReader
from serving.store import store_url
from tests.live import CREATED, clock, event, ids, records
from training.backfill import load_tables
from training.cli import app
from training.dataset import build
from training.export import training_table
from training.live_export import export_folder
from training.simulate import simulate


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loop") / "data"
    simulate(prospects=150, days=365, seed=5).write(folder)
    return folder


@pytest.fixture(scope="module")
def home(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose store holds the folder, loaded by the command."""
    folder = tmp_path_factory.mktemp("home")
    answer = run("load", data, "--home", folder, "--json")
    assert answer.exit_code == 0
    told = json.loads(answer.stdout)
    assert told["accepted"] == dict(read_tables(data).rows)
    assert set(told["repeated"].values()) == {0}
    return folder


def learnt(tables: Tables) -> pd.DataFrame:
    return training_table(build(tables, standard_features(tables)))


def rows(versions: dict[str, Any]) -> dict[str, Any]:
    """The newest row of each; batches leave out since when an account is known that is known always."""
    return {key: {**of[-1].values, "observed_at": None} for key, of in versions.items()}


def test_load_and_export_give_the_same_training_table(data: Path, home: Path, tmp_path: Path) -> None:
    answer = run("export", tmp_path / "out", "--home", home, "--json")
    assert answer.exit_code == 0
    before, after = read_tables(data), read_tables(tmp_path / "out")
    assert after.dataset == replace(before.dataset, complete_until=after.dataset.complete_until)
    assert after.until == before.until
    assert after.rows == before.rows
    pd.testing.assert_frame_equal(learnt(after), learnt(before))


def test_a_repeated_load_changes_nothing(data: Path, home: Path) -> None:
    told = json.loads(run("load", data, "--home", home, "--json").stdout)
    assert set(told["accepted"].values()) == {0}
    assert told["repeated"] == dict(read_tables(data).rows)


def test_a_load_that_contradicts_the_store_says_where_and_what_stays(data: Path, home: Path, tmp_path: Path) -> None:
    frames = {t: pd.read_parquet(data / f"{t}.parquet") for t in ("prospects", "events")}
    last = frames["events"]["event_id"] == frames["events"]["event_id"].iloc[-1]
    frames["events"].loc[last, "type"] = "something else"
    tables = tables_from_frames(frames, read_tables(data).dataset)
    live = records(store_url("", home))
    with pytest.raises(Exception, match="another content") as caught:
        load_tables(tables, live.store)
    assert caught.value.code == "load_stopped"  # type: ignore[attr-defined]
    live.close()


def test_the_stored_history_is_the_request_that_batches_make(data: Path, home: Path) -> None:
    """What a look-up reads, at times in the midst of the data, is what the tables say was known then."""
    tables = read_tables(data)
    live = records(store_url("", home))
    reader = RequestReader(tables.dataset)
    count = 0
    for as_of in ("2025-05-01T00:00:00Z", "2025-08-01T12:00:00Z", "2025-12-01T00:00:00Z"):
        t = parse_time(as_of)
        for wanted in list(requests(tables, t))[::7]:
            name = wanted["prospect"]["prospect_id"]
            known = live.history.prospect(name, t)
            assert known is not None
            own, theirs = (reader.read(body, t).records for body in (known.body, wanted))
            for part in ("prospect_id", "events", "outcomes", "related_events", "related_outcomes"):
                mine, other = getattr(own, part), getattr(theirs, part)
                assert (mine is None) == (other is None)
                assert sorted(mine or ()) == sorted(other or ()), (name, part)
            for part in ("accounts", "contacts", "related"):
                mine, other = getattr(own, part) or {}, getattr(theirs, part) or {}
                assert rows(mine) == rows(other), (name, part)
            count += 1
    assert count > 20
    live.close()


def test_what_came_live_is_exported_with_the_time_of_its_arrival(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock(monkeypatch)
    live = records(store_url("", tmp_path))

    def put(name: str, **more: Any) -> None:
        live.put("prospects", name, {"created_at": CREATED, **more})

    put("p", account_id="a", attributes={"origin": "x", "size": 3})
    put("old", account_id="never put", attributes={"origin": "y", "vip": True})
    put("gone", source="secret")
    live.put("contacts", "c", {"account_id": "a", "role": "buyer"})
    first = now.now
    live.add("events", [event("e1", contact_id="c"), event("e2", "old"), event("e3", "gone"), event("e4", "orphan")])
    live.add("outcomes", {"prospect_id": "old", "outcome": "won", "occurred_at": "2026-05-01T00:00:00Z"})
    now.tick()
    live.merge("prospects", "old", {"into": "p"})
    merged = now.now
    live.erase("prospects", "gone")
    now.tick()
    live.add("events", event("e5", replaces="e1"))
    last = now.now
    done = export_folder(live.store, tmp_path / "out")
    assert done.orphans == {"events": 1}
    assert done.inferred == {"prospects": {"origin": "category", "size": "number"}}  # the merged one's own are not
    tables = read_tables(tmp_path / "out", now=last, need_outcomes=True)
    assert tables.until == last
    frames = {t: getattr(tables, t).to_pyarrow().to_pylist() for t in ("prospects", "events", "outcomes", "accounts")}
    assert ids(frames["prospects"], "prospect_id") == ["p"]
    assert frames["prospects"][0]["observed_at"] == first
    known = {e["event_id"]: e["recorded_at"] for e in frames["events"]}
    assert known["e2"] == merged
    assert known["e5"] == last
    assert "e3" not in known
    assert {e["event_id"]: e["retracted_at"] for e in frames["events"] if e["retracted_at"]} == {"e1": last}
    assert [(o["outcome"], o["recorded_at"]) for o in frames["outcomes"]] == [("won", merged)]
    assert ids(frames["accounts"], "account_id") == ["a"]
    assert "secret" not in str(frames)
    live.close()


def test_an_empty_store_is_no_data_folder(tmp_path: Path) -> None:
    answer = run("export", tmp_path / "out", "--home", tmp_path, "--json")
    assert answer.exit_code == 2
    assert json.loads(answer.stdout)["error"]["code"] == "empty_store"
    assert not (tmp_path / "out").exists()


def test_erased_people_stay_away_when_the_folder_is_loaded_again(data: Path, tmp_path: Path) -> None:
    tables = read_tables(data)
    live = records(store_url("", tmp_path))
    load_tables(tables, live.store)
    name = tables.events.limit(1).to_pyarrow().to_pylist()[0]["prospect_id"]  # type: ignore[union-attr]
    gone = live.erase("prospects", name)
    again = load_tables(tables, live.store)
    assert set(again.accepted.values()) == {0}
    assert again.erased["prospects"] >= 1
    assert again.erased["events"] == gone["events"] > 0
    export_folder(live.store, tmp_path / "out")
    assert name not in read_tables(tmp_path / "out").prospects.prospect_id.execute().tolist()
    live.close()


FOLDER = {
    "accounts": "account_id,country\na,FR\nb,FR\n",
    "contacts": "contact_id,account_id,role\nc,a,buyer\nd,a,user\n",
    "prospects": "prospect_id,created_at,account_id,source\n"
    "p,2026-01-01T00:00:00Z,a,web\nq,2026-02-01T00:00:00Z,a,fair\nr,2026-02-01T00:00:00Z,b,fair\n",
    "events": "event_id,prospect_id,type,occurred_at,contact_id,retracted_at\n"
    "e1,p,call,2026-03-01T00:00:00Z,c,\ne2,p,call,2026-03-02T00:00:00Z,c,\n",
    "outcomes": "prospect_id,outcome,occurred_at\nr,won,2026-03-01T00:00:00Z\n",
}


def folder_of(folder: Path, files: dict[str, str]) -> Tables:
    folder.mkdir()
    (folder / "dataset.toml").write_text('[goal]\noutcome = "won"\nhorizon_days = 30\n')
    for table, text in files.items():
        (folder / f"{table}.csv").write_text(text)
    return read_tables(folder)


@pytest.mark.parametrize(
    ("kind", "gone", "into"), [("prospects", "p", "q"), ("accounts", "a", "b"), ("contacts", "c", "d")]
)
def test_a_load_after_a_merge_tells_nothing_of_before_it(kind: str, gone: str, into: str, tmp_path: Path) -> None:
    """The history that a merged record had stays its own: the other one was not what it was."""
    tables = folder_of(tmp_path / "data", FOLDER)
    live = records(store_url("", tmp_path))
    load_tables(tables, live.store)
    live.merge(kind, gone, {"into": into})
    now = parse_time("2026-04-01T00:00:00Z")
    before = [live.history.prospect(name, t) for name in "pqr" for t in (now, None)]
    again = load_tables(tables, live.store)
    assert set(again.accepted.values()) == {0}
    assert again.repeated == dict(tables.rows)
    assert [live.history.prospect(name, t) for name in "pqr" for t in (now, None)] == before
    export_folder(live.store, tmp_path / "out")
    found = set(read_tables(tmp_path / "out").prospects.prospect_id.execute())
    assert found == {"p", "q", "r"} - ({gone} if kind == "prospects" else set())
    live.close()


def test_history_that_comes_after_its_merge_is_known_of_the_other_from_then_on(tmp_path: Path) -> None:
    tables = folder_of(tmp_path / "data", FOLDER)
    live = records(store_url("", tmp_path))
    live.put("prospects", "q", {"created_at": "2026-02-01T00:00:00Z", "account_id": "a"})
    live.merge("prospects", "p", {"into": "q"})
    load_tables(tables, live.store)
    then = live.history.prospect("q", parse_time("2026-04-01T00:00:00Z"))
    now = live.history.prospect("q", None)
    assert then is not None
    assert now is not None
    assert then.body["prospect"]["source"] == "fair"
    assert "events" not in then.body  # the store knew of none by then
    assert ids(now.body["events"]) == ["e1", "e2"]
    assert now.body["related"]["prospects"] == []  # what was merged stands beside nobody
    # Taken back before the merge, told after it: it counts for no moment of the other.
    told = {**FOLDER, "events": FOLDER["events"].replace("02T00:00:00Z,c,", "02T00:00:00Z,c,2026-03-05T00:00:00Z")}
    load_tables(folder_of(tmp_path / "more", told), live.store)
    now = live.history.prospect("q", None)
    assert now is not None
    assert ids(now.body["events"]) == ["e1"]
    live.close()


def test_a_merged_contact_plays_no_role_in_an_export(tmp_path: Path) -> None:
    live = records(store_url("", tmp_path))
    load_tables(folder_of(tmp_path / "data", FOLDER), live.store)
    live.merge("contacts", "c", {"into": "d"})
    export_folder(live.store, tmp_path / "out")
    versions = pd.read_parquet(tmp_path / "out" / "contacts.parquet")
    assert versions.loc[versions["contact_id"] == "c", "role"].fillna("").tolist() == ["buyer", ""]
    read_tables(tmp_path / "out")
    live.close()
