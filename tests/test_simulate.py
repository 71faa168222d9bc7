"""The simulated world: the same from the same seed, valid by the contract, and true to its truth."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from features.contract import DAY, parse_dataset
from features.errors import BadInput
from features.firms import BANDS, infer_regime, naf_part, valid_siren
from features.tables import read_tables
from features.titles import buying_role
from training.simulate import HORIZON_DAYS, MAX_LAG, SWITCHES, TITLES, WORLD, Mechanisms, World, simulate
from training.simulate.crowd import Crowd
from training.simulate.mechanisms import NO_REGIME
from training.simulate.rates import Rates

SLOW = (0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2)


@pytest.fixture(scope="module")
def world() -> World:
    return simulate(prospects=2500, days=365, seed=3)


@pytest.fixture(scope="module")
def late_world() -> World:
    """Everything is recorded late, siblings are many and matter: what the truth must get right shows here."""
    m = Mechanisms()
    m = replace(
        m,
        touches=tuple(t._replace(lag=SLOW) for t in m.touches),
        won_lag=SLOW,
        lost_lag=SLOW,
        win=(-7.6, -8.3, -7.4, -7.8),
        win_heat=(0.3, 1.0, 1.4),
        win_spill=1.0,
        win_trust=1.5,
        win_doubt=-1.0,
        win_roles=(1.5, 0.8, 0.5),
        followers=5 / 365,
        role_known=0.1,
        role_change=0.03,
        headcount_known=0.05,
        headcount_change=0.03,
    )
    return simulate(prospects=6000, days=330, seed=8, mechanisms=m)


@pytest.fixture(scope="module")
def judged(late_world: World) -> pd.DataFrame:
    """The truth at two moments beside what came."""
    frames = []
    for back in (150, 105, 60):
        t = late_world.until - (back + MAX_LAG) * DAY
        truth = late_world.truth((7, 30, 60), draws=20, as_of=t)
        came = late_world.realised((7, 30, 60), as_of=t)
        assert list(truth["prospect_id"]) == list(came["prospect_id"])
        frames.append(truth.join(came.drop(columns=["prospect_id", "as_of"])))
    return pd.concat(frames, ignore_index=True)


def deviation(came: pd.Series, expected: pd.Series) -> float:
    """How many standard errors lie between what came and what was expected."""
    return float((came.sum() - expected.sum()) / np.sqrt((expected * (1 - expected)).sum()))


# ---- the truth


@pytest.mark.parametrize("horizon", [7, 30, 60])
def test_the_truth_is_what_comes(judged: pd.DataFrame, horizon: int) -> None:
    expected, came = judged[f"probability_{horizon}d"], judged[f"won_{horizon}d"]
    assert len(judged) > 2000
    assert came.sum() > 50
    assert abs(deviation(came, expected)) < 3
    fifth = expected.rank(method="first") * 5 // (len(expected) + 1)
    for q in range(5):
        # Siblings share their account's fate a little: a bit more than the binomial error is allowed.
        assert abs(deviation(came[fifth == q], expected[fifth == q])) < 3.5, q
    assert expected[fifth == 4].mean() > 4 * expected[fifth == 0].mean()


def test_the_truth_weighs_closings_that_are_not_recorded_yet(judged: pd.DataFrame) -> None:
    closed = 1 - judged["still_open"]
    assert judged["was_closed"].sum() > 80
    assert abs(deviation(judged["was_closed"], closed)) < 3
    high = closed.rank(method="first") > len(closed) / 2
    for half in (high, ~high):
        assert abs(deviation(judged["was_closed"][half], closed[half])) < 3.5
    # Taking every prospect for open, as its records say, would be far off.
    naive = judged["probability_7d"] / judged["still_open"]
    assert naive.sum() > 1.02 * judged["probability_7d"].sum()


def test_given_that_they_are_open_is_what_comes_for_those_that_are(judged: pd.DataFrame) -> None:
    really = ~judged["was_closed"]
    expected = (judged["probability_30d"] / judged["still_open"])[really]
    assert abs(deviation(judged["won_30d"][really], expected)) < 3


@pytest.fixture(scope="module")
def replayed() -> tuple[World, int, pd.DataFrame, pd.DataFrame]:
    """A world run on many times from its records, closings drawn and nobody set apart: who won, by row and replica.

    Nothing is recorded late here, so that the records are the whole state; siblings and versions matter much.
    """
    m = replace(
        Mechanisms(), win=(-6.2, -7.3, -6.4, -6.8), win_spill=1.2, win_trust=2.0, role_known=0.1, role_change=0.05
    )
    w = simulate(prospects=800, days=100, seed=6, mechanisms=replace(m, followers=20 / 365).without("lags"))
    w = replace(w, mechanisms=w.mechanisms.without("followers"), _index={})  # none to come: the same rows all along
    span, replicas, day = 40, 300, w.days
    rows = w.open_at(day)
    heat, state = w.heat(rows, np.full(len(rows), day * DAY), np.full(len(rows), float(day)))
    accounts, account = np.unique(w.account[rows], return_inverse=True)
    some = np.unique(account, return_index=True)[1]  # a row of each account
    copies = np.arange(replicas)[:, None]
    crowd = Crowd(
        Rates(w.mechanisms, w.start),
        np.random.default_rng(1),
        group=(copies * len(accounts) + account).ravel(),
        traits=w.traits(np.tile(rows, replicas)),
        headcount=np.tile(state["headcount"][some], replicas),
        band=np.tile(w.band[accounts], replicas),
        roles=np.tile(state["roles"][:, some], replicas),
        quiet=np.tile(w.anonymous[accounts], replicas),
    )
    crowd.family[:] = np.tile(heat.family, replicas)
    crowd.own[:] = np.tile(state["own"], replicas)
    for name in ("contact", "first", "last"):
        getattr(crowd, name)[:] = np.tile(state[name], replicas)
    crowd.account[:] = np.tile(state["account"][some], replicas)
    crowd.outcomes[:] = np.tile(state["outcomes"][:, some], replicas)
    won = np.zeros(len(rows) * replicas)
    for step in range(span):
        closed = crowd.step(day + step).closed
        won[closed.row[closed.kind == 0]] = 1
    of_row = pd.DataFrame(won.reshape(replicas, len(rows)).T, index=w.prospect_ids[rows])
    return w, span, of_row, of_row.groupby(w.account_ids[w.account[rows]]).max()


def like(share: pd.Series, p: pd.Series, error: pd.Series, replicas: int) -> None:
    told = p.between(0.02, 0.98)  # near nothing and near certainty the errors are no normal ones
    z = ((share - p) / np.hypot(np.sqrt(p * (1 - p) / replicas), error))[told]
    assert told.sum() > 40
    assert 0.7 < (z**2).mean() < 1.3
    assert abs(z.mean()) < 0.35


def test_the_truth_of_siblings_is_what_the_world_itself_would_do(replayed: Any) -> None:
    w, span, of_row, _ = replayed
    truth = w.truth((span,), draws=300).set_index("prospect_id")
    account = w.account[np.searchsorted(w.prospect_ids, of_row.index)]
    together = np.bincount(account)[account] > 1
    assert together.sum() > 80
    for part in (together, ~together):
        found = truth.loc[of_row.index[part]]
        like(of_row.mean(axis=1)[part], found[f"probability_{span}d"], found[f"error_{span}d"], of_row.shape[1])


def test_the_truth_of_accounts_is_what_the_world_itself_would_do(replayed: Any) -> None:
    w, span, _, of_account = replayed
    truth = w.truth_accounts(span, draws=300).set_index("account_id")
    came = of_account.loc[truth.index]
    several = truth["prospects"] > 1
    assert several.sum() > 40
    for part in (several, ~several):
        like(came.mean(axis=1)[part], truth["probability"][part], truth["error"][part], came.shape[1])
    # The naive product of the prospects' own truths would not do: siblings move each other.
    alone = w.truth((span,), draws=300)
    account = w.account_ids[w.account[np.searchsorted(w.prospect_ids, alone["prospect_id"])]]
    naive = 1 - (1 - alone[f"probability_{span}d"]).groupby(account).prod().loc[truth.index]
    share = came.mean(axis=1)
    error = np.hypot(truth["error"], np.sqrt(share * (1 - share) / came.shape[1]))
    assert (((naive - share) / error)[several]).mean() > 1
    # One prospect alone is its own account.
    one = truth.index[~several]
    np.testing.assert_allclose(naive[one], truth["probability"][one], atol=0.12)


def test_the_truth_of_accounts_is_what_comes(late_world: World) -> None:
    horizons = {"mass": 30, "industrial": 60, "project": 40, "": 50}
    expected, came = [], []
    for back in (150, 105, 70):
        t = late_world.until - (back + MAX_LAG) * DAY
        truth = late_world.truth_accounts(horizons, draws=20, as_of=t, sample=1200)
        assert list(truth["account_id"]) == sorted(truth["account_id"])
        single = late_world.truth(tuple(horizons.values()), draws=2, as_of=t)
        real = late_world.realised(tuple(horizons.values()), as_of=t)
        days = single["regime"].map(horizons)
        won = np.select([days == d for d in horizons.values()], [real[f"won_{d}d"] for d in horizons.values()])
        at = np.searchsorted(late_world.prospect_ids, real["prospect_id"])
        named = ~late_world.anonymous[late_world.account[at]]
        owner = late_world.account_ids[late_world.account[at]][named]
        any_won = pd.Series(won.astype(float)[named]).groupby(owner).max()
        expected.append(truth["probability"])
        came.append(any_won.loc[truth["account_id"]])
        assert len(truth) == len(any_won) or len(truth) == 1200
        assert truth["prospects"].max() > 3
    p, y = pd.concat(expected, ignore_index=True), pd.concat(came, ignore_index=True)
    assert abs(deviation(y, p)) < 3
    fifth = p.rank(method="first") * 5 // (len(p) + 1)
    for q in range(5):
        assert abs(deviation(y[fifth == q], p[fifth == q])) < 3.5, q


def test_accounts_whose_prospects_are_all_open_win_the_more(late_world: World) -> None:
    t = late_world.until - 60 * DAY
    given, unsure = (late_world.truth_accounts(30, draws=30, as_of=t, sample=600, all_open=a) for a in (True, False))
    assert list(given["account_id"]) == list(unsure["account_id"])
    assert given["probability"].mean() > 1.01 * unsure["probability"].mean()


def test_the_frozen_world_is_true_too(world: World) -> None:
    t = world.until - (90 + MAX_LAG) * DAY
    truth, came = world.truth((30, 90), draws=40, as_of=t), world.realised((30, 90), as_of=t)
    for h in (30, 90):
        assert abs(deviation(came[f"won_{h}d"], truth[f"probability_{h}d"])) < 3
    assert (truth["probability_30d"] < truth["probability_90d"]).all()
    assert truth["probability_90d"].between(0, 1, inclusive="neither").all()


def test_the_error_is_that_of_the_draws(world: World) -> None:
    t = world.until - 30 * DAY
    one, other = (world.truth((30,), draws=60, as_of=t, chunk=c) for c in (20_000, 30_000))  # other random numbers
    spread = (one["probability_30d"] - other["probability_30d"]) / np.hypot(one["error_30d"], other["error_30d"])
    assert 0.6 < spread.std() < 1.5
    assert one["error_30d"].mean() < 0.01


def test_without_any_mechanism_all_are_alike() -> None:
    flat = simulate(prospects=400, days=120, seed=1, mechanisms=Mechanisms().without(*SWITCHES))
    truth = flat.truth((30,), draws=5)
    rate = np.exp(flat.mechanisms.win[0])
    loss = np.exp(flat.mechanisms.loss[0])
    expected = rate / (rate + loss) * -np.expm1(-30 * (rate + loss))
    assert truth["still_open"].eq(1).all()
    np.testing.assert_allclose(truth["probability_30d"], expected, rtol=1e-6)


HAZARDS = ("fit", "heat", "committee", "spill", "trust", "stages", "approach", "tender", "regimes")


@pytest.mark.parametrize("name", HAZARDS)
def test_each_mechanism_moves_the_truth(world: World, name: str) -> None:
    without = replace(world, mechanisms=world.mechanisms.without(name), _index={})
    one, other = (w.truth((30,), draws=20, sample=500)["probability_30d"] for w in (world, without))
    assert (one - other).abs().mean() > 0.0005


def test_the_records_hold_the_whole_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the records say on a morning is what the world's own step read on it, number for number."""
    seen: dict[int, Any] = {}
    original = Crowd.heat

    def spy(self: Any, day: int, rows: Any = slice(None)) -> Any:
        seen[day] = {name: np.array(part) for name, part in original(self, day)._asdict().items()}
        return original(self, day, rows)

    monkeypatch.setattr(Crowd, "heat", spy)
    w = simulate(prospects=900, days=150, seed=5)
    for day in (1, 40, 149):
        born = np.flatnonzero(w.created < day * DAY)
        heat, _ = w.heat(born, np.full(len(born), day * DAY), np.full(len(born), float(day)))
        for name, mine in heat._asdict().items():
            np.testing.assert_allclose(mine, seen[day][name][..., born], rtol=1e-9, atol=1e-9, err_msg=name)
    last = seen[149]
    for name in ("spill", "trust", "doubt", "engaged", "single", "regressed", "stay", "user_gain"):
        assert last[name].max() > 0, name
    assert set(np.unique(last["regime"])) == {0, 1, 2, NO_REGIME}
    assert set(np.unique(last["stage"])) == {0, 1, 2, 3}
    assert np.nanmin(last["clock"]) < 0 < np.nanmax(last["clock"])


# ---- each mechanism, on and off


def told(w: World) -> Any:
    """The regimes as the records tell them at the creation."""
    n = len(w.created)
    return w.heat(np.arange(n), w.created, w.created / DAY)[0].regime


def spread_by_regime(w: World) -> float:
    """The ratio of the slowest to the fastest regime's median time to a closing."""
    took = ((w.outcome_at - w.created[w.outcome_prospect]) / DAY)[:]
    regime = told(w)[w.outcome_prospect]
    medians = [np.median(took[regime == code]) for code in range(3)]
    return float(max(medians) / min(medians))


def tender_share(w: World) -> float:
    """The share of the tenders' wins that come within five weeks after the deadline."""
    deadline = w.offers.deadline[w.outcome_prospect] + w.created[w.outcome_prospect] // DAY
    dated = (w.offers.deadline[w.outcome_prospect] < 2**24) & (w.outcome == 0)
    after = (w.outcome_at // DAY - deadline)[dated]
    return float(((after >= 0) & (after < 35)).mean())


def effort_slope(w: World) -> float:
    """How much more outbound events the better half by fit gets than the other, over the same of inbound ones."""
    fit = w.heat(np.arange(len(w.created)), w.created, w.created / DAY)[0].fit
    high = (fit > np.median(fit))[w.event_prospect]
    outbound = np.array([t.direction == "outbound" for t in w.mechanisms.touches])[w.event_type]
    calls, others = high[outbound].mean(), high[~outbound].mean()
    return float((calls / (1 - calls)) / (others / (1 - others)))


def later_stages(w: World) -> float:
    """The share of the events that show a decision."""
    return float((np.array([t.stage for t in w.mechanisms.touches])[w.event_type] == 2).mean())


def renewal_gap(w: World) -> float:
    """How much oftener the customers who use more by the 130th day renew later, of those won long ago."""
    won = np.flatnonzero((w.outcome == 0) & (w.outcome_recorded < (w.days - 200) * DAY))
    prospect = w.outcome_prospect[won]
    won_at, renewed_at = np.full((2, len(w.created)), 2**60)
    won_at[prospect] = w.outcome_at[won]
    renewed_at[w.renewed_prospect] = w.renewed_at
    age = (w.usage_at - won_at[w.usage_prospect]) / DAY
    lately = (w.usage_type == 0) & (age > 70) & (age < 130)
    use = np.bincount(w.usage_prospect[lately], minlength=len(w.created))[prospect]
    left = (renewed_at - won_at)[prospect] > 130 * DAY
    renewed = renewed_at[prospect] < 2**60
    high = use > np.median(use[left])
    return float(renewed[left & high].mean() - renewed[left & ~high].mean())


@pytest.fixture(scope="module")
def grown() -> World:
    return simulate(prospects=5000, days=480, seed=12)


@pytest.mark.parametrize(
    ("name", "figure", "on", "off"),
    [
        ("regimes", spread_by_regime, (1.6, 6), (0.9, 1.5)),
        ("tender", tender_share, (0.6, 1), (0, 0.5)),
        ("effort", effort_slope, (1.3, 5), (0.7, 1.1)),
        ("leads", later_stages, (0.03, 0.2), (0, 0.025)),
        ("renewal", renewal_gap, (0.12, 1), (-0.12, 0.1)),
    ],
)
def test_a_mechanism_shows_when_on_and_not_when_off(grown: World, name: str, figure: Any, on: Any, off: Any) -> None:
    assert on[0] < figure(grown) < on[1]
    without = simulate(prospects=5000, days=480, seed=12, mechanisms=Mechanisms().without(name))
    assert off[0] < figure(without) < off[1]


WITH_A_RATIO: dict[str, Any] = {
    # Which prospects the mechanism favours, by what the hazard reads.
    "committee": lambda h: (h.engaged > 0.25).all(axis=0),
    "trust": lambda h: h.trust > 0.5,
    "stages": lambda h: (h.stage == 3) & ~h.regressed,
    "approach": lambda h: (h.user_gain > 0) & (h.engaged[2] > 0.5),
    "spill": lambda h: h.spill > 2,
}


@pytest.mark.parametrize("name", sorted(WITH_A_RATIO))
def test_the_hazard_follows_a_mechanism_by_itself(grown: World, name: str) -> None:
    """With everything else off the favoured win more; with it off as well they win as all do."""
    day = grown.days
    rows = grown.open_at(day)
    others = [n for n in SWITCHES if n != name]
    for names, favoured in ((others, True), (SWITCHES, False)):
        w = replace(grown, mechanisms=Mechanisms().without(*names), _index={})
        heat, _ = w.heat(rows, np.full(len(rows), day * DAY), np.full(len(rows), float(day)))
        seen, _ = grown.heat(rows, np.full(len(rows), day * DAY), np.full(len(rows), float(day)))
        win, _ = Rates(w.mechanisms, w.start).hazards(heat, 1.0)
        of = WITH_A_RATIO[name](seen)
        assert of.sum() > 15
        ratio = win[of].mean() / win[~of].mean()
        assert (ratio > 1.1) == favoured
        if not favoured:
            assert ratio == pytest.approx(1)


def test_outbound_effort_looks_predictive_and_moves_little(grown: World) -> None:
    """More calls, more wins: but a call itself adds next to nothing."""
    outbound = np.array([t.direction == "outbound" for t in grown.mechanisms.touches])[grown.event_type]
    early = grown.event_at - grown.created[grown.event_prospect] < 14 * DAY
    calls = np.bincount(grown.event_prospect[outbound & early], minlength=len(grown.created))
    won = np.zeros(len(grown.created), dtype=bool)
    won[grown.outcome_prospect[grown.outcome == 0]] = True
    mature = grown.created < (grown.days - 150) * DAY
    assert won[mature & (calls > 2)].mean() > 1.25 * won[mature & (calls == 0)].mean()
    day = grown.days
    plain = grown.truth((30,), draws=10, sample=300)
    called = grown.truth((30,), draws=10, sample=300, engage=("user", "call"))
    met = grown.truth((30,), draws=10, sample=300, engage=("user", "meeting"))
    assert day == grown.days
    gain = [np.log(x["probability_30d"] / plain["probability_30d"]).mean() for x in (called, met)]
    assert gain[0] < 0.35 * gain[1]


def test_titles_tell_the_roles_that_are_not_recorded(grown: World) -> None:
    for role, titles in TITLES.items():
        for title in titles:
            assert buying_role({"job_title": title}) == (role or None), title
    given = simulate(prospects=300, days=60, mechanisms=Mechanisms().without("titles"))
    for w, some in ((grown, True), (given, False)):
        contacts = w.tables()["contacts"].to_pandas().astype(object)
        contacts = contacts.where(contacts.notna(), None)
        told = contacts.apply(buying_role, axis=1)
        assert list(told.fillna("")) == list(np.array(["", "buyer", "prescriber", "user"])[w.role])
        by_title = contacts["role"].isna() & told.notna()
        assert (by_title.mean() > 0.15) == some
        assert not by_title.any() or some
        assert told.isna().mean() > 0.05


def test_the_files_tell_the_regime_that_the_hazard_reads(grown: World) -> None:
    made = {name: table.to_pandas() for name, table in grown.tables().items()}
    accounts = made["accounts"].sort_values("observed_at").drop_duplicates("account_id", keep="last")
    frame = made["prospects"].merge(accounts, on="account_id", how="left")
    frame = frame.astype(object).where(frame.notna(), None)
    columns = ("regime", "tender_deadline", "headcount", "headcount_band")
    rule = [infer_regime(*values) for values in zip(*(frame[c] for c in columns), strict=True)]
    seen = grown.mechanism_features(grown.prospect_ids.tolist(), [grown.until] * len(frame))["regime"]
    assert [r or "" for r in rule] == list(seen.astype(object).fillna(""))
    assert frame["regime"].isna().sum() > 500


def test_the_firms_are_french(grown: World) -> None:
    accounts = grown.tables()["accounts"].to_pandas()
    known = accounts["siren"].dropna()
    assert known.nunique() == accounts.loc[known.index, "account_id"].nunique() > 500
    assert all(valid_siren(s) for s in known)
    assert set(accounts["headcount_band"].dropna()) <= set(BANDS)
    assert accounts["headcount_band"].nunique() > 12
    assert all(naf_part(code, "class") for code in accounts["industry"].dropna().unique())
    assert (accounts["local_authority"] <= accounts["public_body"]).all()
    public = grown.public[grown.account]
    b2b2u = grown.offers.approach == 2
    assert b2b2u[public].mean() > 4 * b2b2u[~public].mean()
    share = accounts.drop_duplicates("account_id")["industry"].value_counts(normalize=True)
    assert (share < 0.01).sum() > 10  # rare classes


# ---- what an engaged role would do


@pytest.mark.parametrize("kind", ["email_reply", "meeting"])
def test_an_engaged_role_raises_the_truth_and_in_the_order_of_the_roles(grown: World, kind: str) -> None:
    plain = grown.truth((60,), draws=20, sample=400)
    gain = {}
    for role in ("buyer", "prescriber", "user"):
        moved = grown.truth((60,), draws=20, sample=400, engage=(role, kind))
        assert list(moved["prospect_id"]) == list(plain["prospect_id"])
        logs = np.log(moved["probability_60d"] / plain["probability_60d"])
        gain[role] = logs[plain["regime"] == "industrial"].mean()
    assert gain["buyer"] > gain["prescriber"] > gain["user"] > 0.1


# ---- after the sale


def test_the_truth_of_a_renewal_is_what_comes(grown: World) -> None:
    expected, came = [], []
    at = np.full(len(grown.created), 2**60)
    at[grown.renewed_prospect] = grown.renewed_at
    for back in (160, 100):
        t = grown.until - back * DAY
        truth = grown.truth_renewal((30, 90), draws=40, as_of=t)
        row = np.searchsorted(grown.prospect_ids, truth["prospect_id"])
        for days in (30, 90):
            expected.append(truth[f"probability_{days}d"])
            came.append(pd.Series(at[row] < t - grown.start + days * DAY).astype(float))
    p, y = pd.concat(expected, ignore_index=True), pd.concat(came, ignore_index=True)
    assert y.sum() > 80
    assert abs(deviation(y, p)) < 3
    third = p.rank(method="first") * 3 // (len(p) + 1)
    for q in range(3):
        assert abs(deviation(y[third == q], p[third == q])) < 3.5, q
    assert y[third == 2].mean() > 2 * y[third == 0].mean()


# ---- the world


def test_the_frozen_world_has_not_moved() -> None:
    """A changed coefficient is another world: raise WORLD, say so in the docstring, and measure again."""
    assert WORLD == 2
    assert hashlib.sha256(repr(Mechanisms()).encode()).hexdigest()[:16] == "1fb881572a055d19"


def test_the_figures_of_the_world(world: World) -> None:
    n = len(world.created)
    assert n == 2500
    assert 20 < len(world.event_at) / n < 36
    closed = np.full(n, 2**60)
    closed[world.outcome_prospect] = world.outcome_at
    won = np.zeros(n, dtype=bool)
    won[world.outcome_prospect] = world.outcome == 0
    regime = told(world)
    mature = world.created < (world.days - 120 - MAX_LAG) * DAY
    quick = (closed - world.created <= 120 * DAY) & mature
    for code, share in enumerate((0.24, 0.58, 0.16)):
        of = regime == code
        assert abs(of.mean() - share) < 0.04
        assert 0.06 < (won & quick)[of & mature].mean() < 0.24, code
        assert 0.15 < (~won & quick)[of & mature].mean() < 0.85, code
    t = world.until - (90 + MAX_LAG) * DAY
    truth, came = world.truth(draws=30, as_of=t), world.realised(as_of=t)
    assert 0.7 < roc_auc_score(came["won_90d"], truth["probability_90d"]) < 0.88
    assert np.bincount(np.bincount(world.account))[2:].sum() > 300  # accounts with several prospects


def test_records_are_causal(world: World) -> None:
    w = world
    until = w.days * DAY
    assert (w.event_at > w.created[w.event_prospect]).all()
    assert (w.outcome_at > w.created[w.outcome_prospect]).all()
    for at, recorded in ((w.event_at, w.event_recorded), (w.outcome_at, w.outcome_recorded)):
        assert (at <= recorded).all()
        assert (recorded < until).all()
        assert 0.02 < (at < recorded).mean() < 0.5
        assert (recorded - at).max() < (MAX_LAG + 1) * DAY
    assert len(np.unique(w.outcome_prospect)) == len(w.outcome_prospect)
    # Nothing happens with a prospect after its closing has been recorded.
    known = np.full(len(w.created), 2**60)
    known[w.outcome_prospect] = w.outcome_recorded
    assert (w.event_at // DAY <= known[w.event_prospect] // DAY).all()
    # An event's contact was known by then.
    first = {
        (a, s): t for a, s, t in sorted(zip(w.role_account, w.role_slot, w.role_at, strict=True), key=lambda x: -x[2])
    }
    with_contact = np.flatnonzero(w.event_slot >= 0)
    assert len(with_contact) > 1000
    assert all(first[w.account[w.event_prospect[e]], w.event_slot[e]] < w.event_at[e] for e in with_contact)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    def files(name: str, seed: int) -> dict[str, str]:
        simulate(prospects=300, days=90, seed=seed).write(tmp_path / name)
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / name).iterdir()}

    one, again, other = files("one", 4), files("again", 4), files("other", 5)
    assert set(one) == {
        "prospects.parquet",
        "accounts.parquet",
        "contacts.parquet",
        "events.parquet",
        "outcomes.parquet",
        "dataset.toml",
    }
    assert one == again
    assert all(one[name] != other[name] for name in one)


def test_same_seed_same_truth() -> None:
    one, again = (simulate(prospects=100, days=60, seed=4).truth((30,), draws=4) for _ in range(2))
    pd.testing.assert_frame_equal(one, again)


def test_it_keeps_the_contract(world: World, tmp_path: Path) -> None:
    world.write(tmp_path / "crm")
    tables = read_tables(tmp_path / "crm", now=world.until, need_outcomes=True)
    assert tables.until == world.until == int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert tables.rows["prospects"] == 2500
    counts = {note.code: note.count for note in tables.notes}
    assert set(counts) == {"identical_repeats", "late_outcomes", "events_after_close"}
    events = len(world.event_at) + len(world.usage_at)
    assert counts["identical_repeats"] == events // 2000
    # After the closing come what the customers do, and what happened until the closing was recorded.
    assert 0 < counts["events_after_close"] - len(world.usage_at) < 0.01 * events
    goal = tables.dataset.goal
    assert {regime: goal.horizon(regime) for regime in ("mass", "industrial", "project", "")} == HORIZON_DAYS
    assert [name for name, _ in tables.dataset.stages] == ["discover", "compare", "decide"]

    def count(table: Any, keep: Any = None) -> int:
        return int((table if keep is None else table.filter(keep)).count().execute())

    assert count(tables.events) == events
    assert count(tables.outcomes, tables.outcomes.outcome == "renewed") == len(world.renewed_at) > 20
    assert count(tables.outcomes, tables.outcomes.outcome == "won") == (world.outcome == 0).sum()
    assert count(tables.prospects, tables.prospects.account_id.isnull()) == world.anonymous[world.account].sum() > 0
    for table, column in (
        (tables.prospects, "source"),
        (tables.prospects, "product"),
        (tables.prospects, "budget_known"),
        (tables.prospects, "regime"),
        (tables.prospects, "approach"),
        (tables.prospects, "tender_deadline"),
        (tables.prospects, "tender_announced_at"),
        (tables.accounts, "siren"),
        (tables.accounts, "industry"),
        (tables.accounts, "headcount"),
        (tables.accounts, "headcount_band"),
        (tables.accounts, "headcount_band_year"),
        (tables.accounts, "company_category"),
        (tables.contacts, "role"),
        (tables.contacts, "job_title"),
        (tables.contacts, "buying_role"),
        (tables.events, "contact_id"),
        (tables.events, "value"),
    ):
        nulls = count(table, table[column].isnull())
        assert 0 < nulls < count(table), column
    assert count(tables.accounts) > count(tables.accounts.account_id.as_table().distinct())  # versions
    assert count(tables.contacts) > count(tables.contacts.contact_id.as_table().distinct())


def test_the_hindsight_column_is_declared_so_and_would_give_the_outcome_away(world: World, tmp_path: Path) -> None:
    world.write(tmp_path / "crm")
    declared = parse_dataset((tmp_path / "crm" / "dataset.toml").read_text()).declared_columns("prospects")
    assert declared["lead_quality"].known == "never"
    prospects = pd.read_parquet(tmp_path / "crm" / "prospects.parquet").set_index("prospect_id")
    outcomes = pd.read_parquet(tmp_path / "crm" / "outcomes.parquet").set_index("prospect_id")
    outcomes = outcomes[outcomes["outcome"] != "renewed"]
    known = outcomes.join(prospects["lead_quality"]).dropna(subset=["lead_quality"])
    high = known["lead_quality"] == "high"
    assert (known["outcome"][high] == "won").mean() > 0.7 > 0.2 > (known["outcome"][~high] == "won").mean()


def test_writing_never_overwrites_what_is_not_ours(world: World, tmp_path: Path) -> None:
    small = simulate(prospects=30, days=30)
    small.write(tmp_path / "crm")
    with pytest.raises(BadInput) as e:
        small.write(tmp_path / "crm")
    assert e.value.code == "folder_not_empty"
    small.write(tmp_path / "crm", replace=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "prospects.csv").write_text("prospect_id\n1\n")
    with pytest.raises(BadInput) as e:
        small.write(tmp_path / "mine", replace=True)
    assert e.value.code == "folder_not_ours"
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["prospects.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["crm", "mine"]  # no temporary folder is left


def test_mechanism_features_are_in_the_order_asked(world: World) -> None:
    ids = world.prospect_ids
    t = world.until - 30 * DAY + DAY // 3
    born = np.flatnonzero(world.created + world.start < t)[:400]
    asked = [*ids[born][::-1], *ids[born][::-1]]
    moments = [t] * len(born) + [t + 5 * DAY] * len(born)
    frame = world.mechanism_features(asked, moments)
    assert list(frame["prospect_id"]) == asked
    assert list(frame["as_of"]) == moments
    early, later = frame.iloc[: len(born)], frame.iloc[len(born) :]
    np.testing.assert_allclose(later["age_days"].to_numpy() - early["age_days"].to_numpy(), 5)
    heats = ["digital", "intent", "human", "spill", "trust", "doubt", "buyer", "prescriber", "user", "single"]
    assert (frame[heats] >= 0).all().all()
    assert (frame[heats].max() > 0).all()
    assert frame["stage"].isin([0, 1, 2, 3]).all()
    for name in ("size", "industry", "division", "regime", "approach", "clock", "public"):
        assert 0 < frame[name].isna().mean() < 1, name
    one = world.mechanism_features([asked[7]], [moments[7]])
    pd.testing.assert_frame_equal(one, frame.iloc[[7]].reset_index(drop=True))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda w: simulate(prospects=0), "bad_setting"),
        (lambda w: simulate(days=0), "bad_setting"),
        (lambda w: simulate(seed=-1), "bad_setting"),
        (lambda w: simulate(start=datetime(2025, 1, 1)), "bad_time"),
        (lambda w: simulate(start=datetime(2025, 1, 1, 5, tzinfo=UTC)), "bad_time"),
        (lambda w: w.truth(draws=1), "bad_setting"),
        (lambda w: w.truth(horizons=()), "bad_setting"),
        (lambda w: w.truth(as_of=w.until + DAY), "bad_moment"),
        (lambda w: w.truth(as_of=w.until - 1), "bad_moment"),
        (lambda w: w.truth(engage=("boss", "call")), "bad_setting"),
        (lambda w: w.truth(engage=("buyer", "fax")), "bad_setting"),
        (lambda w: w.truth_accounts(draws=1), "bad_setting"),
        (lambda w: w.truth_accounts({"mass": 0}), "bad_setting"),
        (lambda w: w.truth_renewal(as_of=w.until - 1), "bad_moment"),
        (lambda w: w.realised((90,), as_of=w.until - 90 * DAY), "not_observed"),
        (lambda w: w.mechanism_features(["p99999x"], [w.until]), "unknown_prospect"),
        (lambda w: Mechanisms().without("luck"), "unknown_mechanism"),
    ],
)
def test_what_cannot_be_is_refused(world: World, call: Any, code: str) -> None:
    with pytest.raises(BadInput) as e:
        call(world)
    assert e.value.code == code
    assert e.value.remedy


@pytest.mark.parametrize(("prospects", "days"), [(1, 1), (3, 2), (50, 10)])
def test_small_worlds_stand(prospects: int, days: int, tmp_path: Path) -> None:
    w = simulate(prospects=prospects, days=days, seed=2)
    assert len(w.created) == prospects
    w.write(tmp_path / "crm")
    assert read_tables(tmp_path / "crm").rows["prospects"] == prospects
    truth = w.truth((5,), draws=3)
    assert truth["probability_5d"].between(0, 1).all()
    assert w.truth_accounts(5, draws=3)["probability"].between(0, 1).all()
    assert w.truth_renewal((5,), draws=3)["probability_5d"].between(0, 1).all()
    early = w.truth((5,), draws=3, as_of=w.start + DAY)  # perhaps nobody is there yet
    assert len(early) == (w.created < DAY).sum()
