"""Planted hindsight is named with its sign and its numbers; honest data, however telling, are let through.

``LEADSCORE_PROOFS=1`` (``make proofs``) audits all ten clean simulated sets instead of three.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from features.contract import DAY, NEVER, Column, Dataset, Goal, format_time
from features.errors import BadInput
from features.tables import Tables, known_by, read_tables, tables_from_frames
from tests.funnels import at, by_hand, planted, times
from training import registry
from training.audit import Finding, audit, lower, poisson, refuse, separation, still_open
from training.cli import app
from training.registry import Home
from training.run import train
from training.simulate import Mechanisms, simulate
from training.sources import SOURCES

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PROOFS = os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0")
DECLARED = {"product": "category", "campaign": "category", "budget_known": "boolean", "lead_quality": "category"}

Frames = dict[str, pd.DataFrame]


# ---- a simulated CRM, and what can be done to it --------------------------------------------------------------------


@cache
def simulated(seed: int, prospects: int = 2000, days: int = 365) -> tuple[Mapping[str, pd.DataFrame], int]:
    before_the_sale = Mechanisms().without("customers")
    world = simulate(prospects=prospects, days=days, seed=seed, mechanisms=before_the_sale)
    return {name: table.to_pandas() for name, table in world.tables().items()}, world.until


class CRM:
    """The frames of a simulated CRM with what became of each prospect, to plant something in."""

    def __init__(self, seed: int = 3, prospects: int = 2000, days: int = 365) -> None:
        frames, self.until = simulated(seed, prospects, days)
        self.frames: Frames = {name: frame.copy() for name, frame in frames.items()}
        self.rng = np.random.default_rng(seed)
        ended = self.frames["outcomes"].drop_duplicates("prospect_id").set_index("prospect_id")
        ids = self.prospects["prospect_id"]
        self.outcome = ids.map(ended["outcome"]).fillna("open").to_numpy(dtype=object)
        self.closed_at = ids.map(ended["occurred_at"])
        self.recorded_at = ids.map(ended["recorded_at"])
        self.columns = {"prospects": dict(DECLARED), "accounts": {}}
        self.never = {"lead_quality"}

    @property
    def prospects(self) -> pd.DataFrame:
        return self.frames["prospects"]

    @property
    def won(self) -> np.ndarray:
        return np.asarray(self.outcome == "won")

    @property
    def decided(self) -> np.ndarray:
        return np.asarray(self.outcome != "open")

    def add(self, name: str, values: Any, kind: str = "category", table: str = "prospects") -> None:
        self.frames[table][name] = values
        self.columns[table][name] = kind

    def happen(
        self, who: np.ndarray, when: pd.Series, recorded: pd.Series | None = None, kind: str = "contract"
    ) -> None:
        """An event of each of these prospects; recorded when it happens unless told otherwise."""
        events = pd.DataFrame(
            {
                "event_id": [f"{kind}-{i}" for i in range(int(who.sum()))],
                "prospect_id": self.prospects["prospect_id"][who],
                "type": kind,
                "occurred_at": when[who].dt.floor("us"),
                "recorded_at": None if recorded is None else recorded[who],
                "direction": "outbound",
                "channel": "email",
            }
        )
        self.frames["events"] = pd.concat([self.frames["events"], events], ignore_index=True)

    def before(self, days: Any) -> pd.Series:
        """So many days before each prospect closes, though not before it is created."""
        return np.maximum(self.prospects["created_at"], self.closed_at - pd.to_timedelta(days, unit="D"))

    def rename(self, ids: list[str]) -> None:
        to = dict(zip(self.prospects["prospect_id"], ids, strict=True))
        for name in ("prospects", "events", "outcomes"):
            self.frames[name]["prospect_id"] = self.frames[name]["prospect_id"].map(to)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        return self.rng.uniform(low, high, len(self.outcome))

    def dataset(self) -> Dataset:
        declared = tuple(
            (
                table,
                tuple(Column(n, k, known="never" if n in self.never else "observed") for n, k in columns.items()),
            )
            for table, columns in self.columns.items()
        )
        return Dataset(complete_until=self.until, goal=Goal(), declared=declared)

    def tables(self) -> Tables:
        return tables_from_frames(self.frames, self.dataset(), need_outcomes=True)


def names(findings: tuple[Finding, ...]) -> list[str]:
    return [f.name for f in findings]


# ---- hindsight of every kind ----------------------------------------------------------------------------------------


def status(crm: CRM) -> None:
    """A status without history, that of the day of the export."""
    crm.add("status", np.where(crm.won, "closed won", np.where(crm.decided, "closed lost", "open")))


def status_of_the_won(crm: CRM) -> None:
    crm.add("status", np.where(crm.won, "customer", "lead"))


def status_of_the_decided(crm: CRM) -> None:
    """It tells nothing of who converts, only who is decided."""
    crm.add("status", np.where(crm.decided, "closed", "active"))


def status_wrong_at_times(crm: CRM) -> None:
    true = np.where(crm.won, "customer", np.where(crm.decided, "dead", "lead"))
    noise = crm.rng.choice(["customer", "dead", "lead"], len(true))
    crm.add("status", np.where(crm.uniform() < 0.1, noise, true))


def contract_number(crm: CRM) -> None:
    """Filled for the won alone, and another for each."""
    crm.add("contract", [f"C-{i}" if won else None for i, won in enumerate(crm.won)])


def contract_number_of_every_other(crm: CRM) -> None:
    crm.add("contract", [f"C-{i}" if won and i % 2 else None for i, won in enumerate(crm.won)])


def contract_text(crm: CRM) -> None:
    crm.add("contract", [f"signed by {i}" if won else None for i, won in enumerate(crm.won)], "text")


def contract_amount(crm: CRM) -> None:
    crm.add("amount", np.where(crm.won, crm.rng.lognormal(9, 1, len(crm.won)), np.nan), "number")


def reason_of_decision(crm: CRM) -> None:
    words = crm.rng.choice(["price", "timing", "fit"], len(crm.won)).astype(object)
    crm.add("reason", np.where(crm.decided, words, None))


def reason_of_some_losses(crm: CRM) -> None:
    crm.add("reason", np.where((crm.outcome == "lost") & (crm.uniform() < 0.3), "price", None))


def rating_after_the_fact(crm: CRM) -> None:
    """The simulator's own hindsight column, not declared as what it is."""
    crm.never = set()


def account_of_a_customer(crm: CRM) -> None:
    customers = set(crm.prospects["account_id"][crm.won].dropna())
    crm.add("customer", crm.frames["accounts"]["account_id"].isin(customers), "boolean", "accounts")


def account_only_when_won(crm: CRM) -> None:
    crm.prospects.loc[~crm.won, "account_id"] = None


def last_change_as_observed_at(crm: CRM) -> None:
    """One version a prospect, stamped when it was last changed: at the closing, where it closed."""
    created, end = crm.prospects["created_at"], pd.Timestamp(crm.until, unit="us", tz="UTC")
    any_time = created + (end - created) * crm.uniform()
    crm.prospects["observed_at"] = any_time.where(~crm.decided, crm.recorded_at).dt.floor("us")


def status_just_before(crm: CRM) -> None:
    """With history, but stamped some hours before the outcome."""
    with_history(crm, hours=-3)


def backdated(crm: CRM) -> None:
    """Written once it is won, with a date of some days before; without recorded_at it seems known then."""
    crm.happen(crm.won, crm.before(crm.uniform(1, 20)))


def backdated_far(crm: CRM) -> None:
    created = crm.prospects["created_at"]
    crm.happen(crm.won, created + (crm.closed_at - created) * crm.uniform())


def backdated_for_the_decided(crm: CRM) -> None:
    created = crm.prospects["created_at"]
    crm.happen(crm.decided, created + (crm.closed_at - created) * crm.uniform())


def backdated_but_recorded_at_the_outcome(crm: CRM) -> None:
    crm.happen(crm.won, crm.before(crm.uniform(1, 20)), crm.closed_at)


def backdated_but_recorded_after(crm: CRM) -> None:
    crm.happen(crm.won, crm.before(crm.uniform(1, 20)), crm.recorded_at)


def after_the_sale(crm: CRM) -> None:
    crm.happen(crm.won, crm.closed_at + pd.Timedelta(hours=2))


def on_the_day(crm: CRM) -> None:
    crm.happen(crm.decided, crm.before(crm.uniform(0, 0.8)))


def in_the_last_days(crm: CRM) -> None:
    """Of all the won and a quarter of the lost: neither date nor share gives it away, but it is nowhere early."""
    crm.happen(crm.won | (crm.decided & (crm.uniform() < 0.25)), crm.before(crm.uniform(2, 6)))


def id_prefix(crm: CRM) -> None:
    crm.rename([("c" if won else "l") + str(i) for i, won in enumerate(crm.won)])


def id_parity(crm: CRM) -> None:
    crm.rename([f"p{2 * i + won:06d}" for i, won in enumerate(crm.won)])


def id_order(crm: CRM) -> None:
    """Numbered anew, the won first: no character tells it, the number does."""
    order = np.argsort(np.argsort(np.where(crm.won, 0, 1) + crm.uniform(0, 0.5)))
    crm.rename([f"p{i:06d}" for i in order])


def id_middle(crm: CRM) -> None:
    """One character among digits that say nothing, far from both ends."""
    digits = crm.rng.integers(0, 10**8, (len(crm.won), 2))
    crm.rename([f"{a:08d}{int(won)}{b:08d}" for (a, b), won in zip(digits, crm.won, strict=True)])


def id_middle_of_any_length(crm: CRM) -> None:
    """At one place from the end, before a part that is as long as in a UUID."""
    digits = crm.rng.integers(0, 10**9, (len(crm.won), 3))
    crm.rename([f"{a}{'cl'[won]}{b:09d}{c:09d}" for (a, b, c), won in zip(digits, crm.won.astype(int), strict=True)])


def id_of_the_decided(crm: CRM) -> None:
    crm.rename([f"p{i:05d}" + ("x" if decided else "") for i, decided in enumerate(crm.decided)])


def created_when_won(crm: CRM) -> None:
    """Entered when they were won, at midnight of the day they were first seen."""
    crm.prospects.loc[crm.won, "created_at"] = crm.prospects["created_at"][crm.won].dt.floor("D")


HINDSIGHT: list[tuple[Callable[[CRM], None], str, str]] = [
    (status, "prospects.status", "filled_when_decided"),
    (status_of_the_won, "prospects.status", "filled_when_decided"),
    (status_of_the_decided, "prospects.status", "filled_when_decided"),
    (status_wrong_at_times, "prospects.status", "filled_when_decided"),
    (contract_number, "prospects.contract", "filled_when_decided"),
    (contract_number_of_every_other, "prospects.contract", ""),  # by age or by itself: both are at the edge
    (contract_text, "prospects.contract", "filled_when_decided"),
    (contract_amount, "prospects.amount", "filled_when_decided"),
    (reason_of_decision, "prospects.reason", "filled_when_decided"),
    (reason_of_some_losses, "prospects.reason", "filled_when_decided"),
    (rating_after_the_fact, "prospects.lead_quality", "filled_when_decided"),
    (account_of_a_customer, "accounts.customer", "separates_outcomes"),
    (account_only_when_won, "prospects.account_id", "filled_when_decided"),
    (last_change_as_observed_at, "prospects.observed_at", "filled_when_decided"),
    (status_just_before, "prospects.status", "changes_at_outcome"),
    (backdated, "events.contract", "separates_outcomes"),
    (backdated_far, "events.contract", "filled_when_decided"),
    (backdated_for_the_decided, "events.contract", "filled_when_decided"),
    (backdated_but_recorded_at_the_outcome, "events.contract", "known_after"),
    (backdated_but_recorded_after, "events.contract", "known_after"),
    (after_the_sale, "events.contract", "known_after"),
    (on_the_day, "events.contract", "changes_at_outcome"),
    (in_the_last_days, "events.contract", "late_only"),
    (id_prefix, "prospects.prospect_id", "id_encodes_outcome"),
    (id_parity, "prospects.prospect_id", "id_encodes_outcome"),
    (id_order, "prospects.prospect_id", "id_encodes_outcome"),
    (id_middle, "prospects.prospect_id", "id_encodes_outcome"),
    (id_middle_of_any_length, "prospects.prospect_id", "id_encodes_outcome"),
    (id_of_the_decided, "prospects.prospect_id", "id_encodes_outcome"),
    (created_when_won, "prospects.created_at", "id_encodes_outcome"),
]


@pytest.mark.parametrize(("plant", "name", "sign"), HINDSIGHT, ids=[h[0].__name__ for h in HINDSIGHT])
def test_planted_hindsight_is_named(plant: Callable[[CRM], None], name: str, sign: str) -> None:
    crm = CRM()
    plant(crm)
    found = audit(crm.tables())
    assert names(found) == [name]  # and nothing else with it
    (one,) = found
    assert sign in ("", one.sign)
    assert one.text.startswith(f"{name} ")
    data = json.loads(json.dumps(one.to_json(), allow_nan=False))
    assert data.keys() == {"code", "name", "sign", "text", "evidence"}
    assert data["code"] == "suspected_leak"
    assert any(isinstance(value, int | float) for value in data["evidence"].values())


def test_the_numbers_are_those_of_the_data() -> None:
    crm = CRM()
    status(crm)
    (found,) = audit(crm.tables())
    lost = int((crm.outcome == "lost").sum())
    assert found.evidence["level"] == "closed lost"
    assert found.evidence["holders"] == lost
    assert found.evidence["open"] == 0
    assert found.evidence["converted"] == 0
    assert 0.05 * lost < found.evidence["open_expected"] < 0.5 * lost
    assert f"0 of the {lost:,} prospects that hold `closed lost` are open" in found.text
    assert 'known = "never"' in found.remedy


def test_a_declared_column_is_left_out() -> None:
    crm = CRM()
    contract_number(crm)
    crm.never.add("contract")
    assert audit(crm.tables()) == ()


def test_several_suspects_are_named_each() -> None:
    crm = CRM(seed=5)
    for plant in (status, contract_number, backdated, id_parity):
        plant(crm)
    assert names(audit(crm.tables())) == [
        "prospects.prospect_id",
        "prospects.status",
        "prospects.contract",
        "events.contract",
    ]


def test_what_is_recorded_later_is_not_looked_at() -> None:
    crm = CRM()
    backdated_but_recorded_after(crm)
    tables = crm.tables()
    early = int(crm.frames["outcomes"]["recorded_at"].min().value // 1000) + 20 * DAY
    assert names(audit(tables)) == ["events.contract"]
    assert audit(tables, until=early) == audit(known_by(tables, early)) == ()  # too few were won by then


@pytest.mark.parametrize("plant", [status_of_the_decided, reason_of_decision])
def test_what_bears_no_time_of_recording_is_asked_at_the_end_of_the_tables_too(plant: Callable[[CRM], None]) -> None:
    """Most of it was filled after T, so at T none of those whom it tells of is decided."""
    crm = CRM()
    plant(crm)
    tables, early = crm.tables(), crm.until - 120 * DAY
    (found,) = audit(tables, until=early)
    (at_the_end,) = audit(tables)
    assert (found.name, found.sign) == (at_the_end.name, "filled_when_decided")
    assert found.evidence == {**at_the_end.evidence, "seen_by": format_time(crm.until)}
    dated = CRM()  # with its history it is known as it stood at T, and what came later is not looked at
    plant(dated)
    dated.prospects["observed_at"] = dated.prospects["created_at"]
    assert audit(dated.tables(), until=early) == ()


def test_a_training_up_to_t_asks_what_was_filled_later(tmp_path: Path) -> None:
    crm = CRM()
    reason_of_decision(crm)
    with pytest.raises(BadInput) as refused:
        train(crm.tables(), home=Home(tmp_path / "home"), until=crm.until - 120 * DAY, strict=True)
    assert (refused.value.code, refused.value.where) == ("suspected_leak", "prospects.reason")


@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
def test_a_clean_set_gives_no_alarm_at_an_earlier_moment(part: float) -> None:
    crm = CRM(4)
    assert audit(crm.tables(), until=round(crm.until - part * 365 * DAY)) == ()


# ---- honest data ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10) if PROOFS else (0, 4, 7))
def test_a_clean_set_gives_no_alarm(seed: int) -> None:
    assert audit(CRM(seed).tables()) == ()


def with_history(crm: CRM, hours: float) -> None:
    """A status with a version when it is created and one so many hours after the outcome."""
    crm.add("status", "open")
    crm.prospects["observed_at"] = crm.prospects["created_at"]
    closed = crm.prospects[crm.decided].assign(
        status=np.where(crm.won, "closed won", "closed lost")[crm.decided],
        observed_at=(crm.closed_at + pd.Timedelta(hours=hours))[crm.decided],
    )
    closed = closed[closed["observed_at"] > closed["created_at"]]
    crm.frames["prospects"] = pd.concat([crm.prospects, closed], ignore_index=True)


def history_at_the_outcome(crm: CRM) -> None:
    with_history(crm, hours=0)


def history_after_the_outcome(crm: CRM) -> None:
    with_history(crm, hours=5)


def nightly_copy(crm: CRM) -> None:
    crm.prospects["observed_at"] = crm.prospects["created_at"].dt.ceil("D")


def campaigns_one_after_another(crm: CRM) -> None:
    part = np.arange(len(crm.won)) / len(crm.won)
    crm.add("wave", np.where(part < 0.4, "first", np.where(part < 0.9, "second", "third")))


def forerunner(crm: CRM) -> None:
    """A draft of the order, some days before most wins; others have one too, and some of them are open."""
    end = crm.closed_at.fillna(pd.Timestamp(crm.until, unit="us", tz="UTC"))
    created = crm.prospects["created_at"]
    some = crm.uniform()
    crm.happen(crm.won & (some < 0.7), crm.before(crm.uniform(3, 15)), kind="order_draft")
    crm.happen(~crm.won & (some < 0.06), created + (end - created) * crm.uniform(), kind="other_draft")
    crm.frames["events"]["type"] = crm.frames["events"]["type"].replace("other_draft", "order_draft")


def ids_by_origin(crm: CRM) -> None:
    crm.rename([f"{str(source)[:3]}-{i}" for i, source in enumerate(crm.prospects["source"])])


def all_stale_ones_closed_at_the_end(crm: CRM) -> None:
    end = pd.Timestamp(crm.until, unit="us", tz="UTC")
    stale = ~crm.decided & (crm.prospects["created_at"] < end - pd.Timedelta(days=60)).to_numpy()
    purge = pd.DataFrame({"prospect_id": crm.prospects["prospect_id"][stale], "outcome": "lost"})
    purge["occurred_at"] = purge["recorded_at"] = end - pd.Timedelta(days=6)
    gone = crm.frames["events"]["prospect_id"].isin(purge["prospect_id"])
    late = crm.frames["events"]["recorded_at"] >= end - pd.Timedelta(days=6)
    crm.frames["events"] = crm.frames["events"][~(gone & late)]
    crm.frames["outcomes"] = pd.concat([crm.frames["outcomes"], purge], ignore_index=True)


HONEST = [
    history_at_the_outcome,
    history_after_the_outcome,
    nightly_copy,
    campaigns_one_after_another,
    forerunner,
    ids_by_origin,
    all_stale_ones_closed_at_the_end,
]


@pytest.mark.parametrize("change", HONEST, ids=[h.__name__ for h in HONEST])
def test_what_looks_like_hindsight_and_is_not(change: Callable[[CRM], None]) -> None:
    crm = CRM(seed=6)
    change(crm)
    assert audit(crm.tables()) == ()


@pytest.mark.parametrize("seed", range(20) if PROOFS else range(4))
def test_ids_of_many_random_characters_give_no_alarm(seed: int) -> None:
    """Of so many places and levels one or another stands out by chance."""
    crm = CRM(6)
    rng = np.random.default_rng(seed)
    crm.rename([rng.bytes(rng.integers(16, 33)).hex() for _ in crm.won])
    assert audit(crm.tables()) == ()


@pytest.mark.parametrize("seed", [0, 1])
def test_an_honest_feature_may_be_strong(seed: int) -> None:
    """Thirty times the rate between two levels, so that of the good ones few are still open."""
    assert audit(planted(3000, seed, daily={"good": 0.03, "fair": 0.01, "poor": 0.001})) == ()


@pytest.mark.parametrize("count", [6, 60])
def test_little_data_gives_no_alarm(count: int) -> None:
    """A handful of wins proves nothing, not even where a column holds them all."""
    rows = [
        {"prospect_id": f"p{i}", "created_at": i / 4, "origin": "good" if i % 6 == 0 else "fair"} for i in range(count)
    ]
    outcomes = [(f"p{i}", "won", i / 4 + 2) for i in range(0, count, 6)]
    declared = (("prospects", (Column("origin", "category"),)),)
    assert audit(by_hand(rows, outcomes, until=200, declared=declared)) == ()


def test_nothing_to_find_without_outcomes() -> None:
    assert (
        audit(tables_from_frames({"prospects": pd.DataFrame({"prospect_id": ["a"], "created_at": times([0])})})) == ()
    )
    assert audit(by_hand({"a": 0, "b": 1}, [("a", "won", 5)]), until=at(3)) == ()


# ---- real sets ------------------------------------------------------------------------------------------------------


def imported(source: str, folder: str, out: Path) -> Path:
    if not (DATA / folder).is_dir():
        pytest.skip(f"the evaluation data {folder} are not on this machine")
    SOURCES[source](DATA / folder, out)
    return out


@pytest.mark.parametrize(
    ("source", "folder"),
    [("olist", "olist_funnel"), ("relax", "relax_takehome"), ("x_education", "x_education")],
)
def test_real_sets_as_they_are_declared(source: str, folder: str, tmp_path: Path) -> None:
    assert audit(read_tables(imported(source, folder, tmp_path / "data"))) == ()


def test_x_education_without_its_declarations(tmp_path: Path) -> None:
    data = imported("x_education", "x_education", tmp_path / "data")
    toml = (data / "dataset.toml").read_text()
    assert 'known = "never"' in toml
    (data / "dataset.toml").write_text(toml.replace(', known = "never"', ""))
    found = set(names(audit(read_tables(data))))
    assert {"prospects.tags", "prospects.lead_quality", "prospects.last_notable_activity"} <= found
    # Nothing is named but what the importer knows to be filled in hindsight.
    assert found <= {"prospects.tags", "prospects.lead_quality", "prospects.lead_profile"} | {
        f"prospects.{name}" for name in ("last_activity", "last_notable_activity")
    }


# ---- the statistics -------------------------------------------------------------------------------------------------


def test_bounds() -> None:
    assert lower(0.5, 0) == 0.0
    assert lower(1.0, 9) == pytest.approx(0.5)  # 9 of 9 at three standard errors
    assert lower(0.9, 10) < lower(0.9, 100) < lower(0.9, 10_000) < 0.9
    assert poisson(0, 3.0) == pytest.approx(np.exp(-3))
    assert poisson(0, 0.0) == 1.0


def test_still_open_of_honest_and_of_hindsight_facts() -> None:
    rng = np.random.default_rng(0)
    start = np.sort(rng.integers(0, 300 * DAY, 4000))
    closed = start + (rng.exponential(40, 4000) * DAY).astype(np.int64)
    closed[closed > 300 * DAY] = NEVER
    expected, still = still_open(start, start, closed, 300 * DAY)
    assert still > 300
    assert abs(expected - still) < 4 * np.sqrt(still)
    done = closed < NEVER  # what is filled only when it is decided is had by these
    hindsight, none = still_open(start[done], start[done], closed[done], 300 * DAY)
    assert none == 0
    assert hindsight > 0.3 * still


def test_separation_compares_prospects_of_one_time() -> None:
    rng = np.random.default_rng(1)
    stratum = np.repeat(np.arange(20), 100)
    won = rng.random(2000) < 0.3
    auc, low, count = separation(won.astype(np.int64), won, stratum)
    assert auc == 1.0
    assert 0.9 < low < 1.0
    assert count == won.sum()
    auc, low, _ = separation(rng.integers(0, 5, 2000), won, stratum)
    assert abs(auc - 0.5) < 0.06
    assert low < 0.5
    unique = separation(np.arange(2000), won, stratum)[0]  # a level for each: nothing can be learned on one half
    assert unique == 0.5
    drifting = rng.random(2000) < stratum / 20  # the later, the more are won; the code is the time itself
    assert abs(separation(stratum.astype(np.int64), drifting, stratum)[0] - 0.5) < 0.01


# ---- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a status that was filled in later."""
    crm = CRM(8, prospects=600, days=200)
    status(crm)
    folder = tmp_path_factory.mktemp("leaky") / "data"
    folder.mkdir()
    for name, frame in crm.frames.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    lines = [f'{name} = {{kind = "{kind}"}}' for name, kind in crm.columns["prospects"].items()]
    lines = [line.replace("}", ', known = "never"}') if line.startswith("lead_quality") else line for line in lines]
    end = pd.Timestamp(crm.until, unit="us", tz="UTC").isoformat()
    text = f'complete_until = "{end}"\n[goal]\nhorizon_days = 30\n[prospects.columns]\n' + "\n".join(lines)
    (folder / "dataset.toml").write_text(text)
    return folder


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


def test_check_names_it_for_machines_and_people(leaky: Path) -> None:
    found = run("check", leaky, "--json")
    assert found.exit_code == 0
    (warning,) = [w for w in json.loads(found.stdout)["warnings"] if w["code"] == "suspected_leak"]
    assert warning["name"] == "prospects.status"
    assert warning["sign"] == "filled_when_decided"
    assert warning["evidence"]["open"] == 0
    shown = run("check", leaky)
    assert shown.exit_code == 0
    assert f"(suspected_leak) {warning['text']}" in " ".join(shown.stdout.split())


def test_strict_refuses_before_anything_is_written(leaky: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for args in (("check", leaky), ("train", leaky, "--home", home)):
        found = run(*args, "--strict", "--json")
        assert found.exit_code == 2, found.output
        error = json.loads(found.stdout)["error"]
        assert error["code"] == "suspected_leak"
        assert error["where"] == "prospects.status"
        assert 'known = "never"' in error["remedy"]
        (problem,) = error["details"]["problems"]
        assert problem["details"]["sign"] == "filled_when_decided"
    assert not home.exists()


def test_strict_lets_clean_tables_through() -> None:
    refuse(())
    with pytest.raises(BadInput) as refused:
        refuse([Finding(name, "known_after", "comes late.", "Mend it.", {}) for name in ("events.a", "events.b")])
    assert [p["where"] for p in refused.value.details["problems"]] == ["events.a", "events.b"]
    assert refused.value.exit_code == 2


def test_training_says_it_on_the_card(leaky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = []

    def record(bundle: Path, **_: Any) -> Any:  # the registry itself has tests of its own
        cards.append(json.loads((bundle / "card.json").read_text()))
        return SimpleNamespace(run_id="run", version="1", report="/there/report.html")

    monkeypatch.setattr(registry, "record", record)
    monkeypatch.setattr(registry, "decline", lambda *_, **__: None)
    tables = read_tables(leaky, need_outcomes=True)
    (finding,) = audit(tables)
    warning = {"code": "suspected_leak", "text": finding.text, "name": "prospects.status"}
    done = train(tables, home=Home(tmp_path / "home"), params={"num_iterations": 10}, promote=False)
    assert cards[0]["audit"] == [finding.to_json()]
    for warnings in (cards[0]["warnings"], done.warnings):
        assert [w for w in warnings if w["code"] == "suspected_leak"] == [warning]
    with pytest.raises(BadInput) as refused:
        train(tables, home=Home(tmp_path / "home"), strict=True)
    assert refused.value.code == "suspected_leak"
    assert len(cards) == 1


def test_what_customers_do_after_the_sale_is_no_suspect_where_the_data_follow_them() -> None:
    world = simulate(prospects=2000, days=365, seed=3)
    frames = {name: table.to_pandas() for name, table in world.tables().items()}
    crm = CRM()
    crm.frames = frames
    assert names(audit(crm.tables())) == []
    early = crm.until - 150 * DAY  # by when few were renewed: the tables follow customers all the same
    assert names(audit(crm.tables(), until=early)) == []
    outcomes = frames["outcomes"]
    frames["outcomes"] = outcomes[outcomes["outcome"] != "renewed"]  # the data end with the sale: then it is one
    assert "events.product_use" in names(audit(crm.tables()))
