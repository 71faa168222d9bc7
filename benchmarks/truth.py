"""How much of what can be known the default recipe finds: ``python -m benchmarks.truth``.

On the frozen simulator (``training.simulate``) the probability of every prospect is known, so that a model's expected
log loss can be computed without the luck of the outcomes, and cannot fall below the entropy of the truth. Per seed:

- the model, trained exactly as ``leadscore train`` does it (standard features, its own choice of model) on what was
  recorded by T, and scored by the scorer that serves on the prospects open at T;
- a peer: the same learner, LightGBM with all that the default recipe may choose, on the same rows and intervals, but on
  ``World.mechanism_features``, which is what the true hazard itself reads. It knows what matters; it too has to learn
  how much from the same outcomes.

Each prospect is judged at its own horizon, that of its regime as the records tell it at T. Printed is the share of the
gap between a constant and the truth that each closes, and, beside them,

- the model *without committee and regime features*: what knowing how firms buy is worth;
- the accounts with several open prospects: the probability that ``POST /score_account`` gives against the simulated
  truth that any of them wins, beside the naive product and the best prospect's own;
- the roles that ``POST /score`` calls missing: by how much one event of each moves the model's log-odds, and those of
  the truth when the simulator adds that very event at T; in a random sample of the prospects.

The world runs on for ``MARGIN`` days after T, to tell which of the rows had closed by then without a record; those no
evaluation keeps (and no account that has one of them). The exit code is 1 when the model closes less than 95 % of what
the peer does, or not clearly more than without committee and regime features, when the slope, the coverage of the 90 %
interval or a horizon of the curve is out of bounds, when the accounts' slope is or their loss is not the least, or
when the missing roles have another sign or order than in truth. No choice was made on the worlds that are printed by
default.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table

from features.contract import DAY, ROLES, Column, Dataset
from features.spec import Attribute, FeatureSet
from features.standard import standard_features
from features.tables import Tables, known_by, read_tables
from serving.account import combine
from serving.batch import requests, score_tables
from serving.bundle import AccountMap
from serving.schema import parse_request
from serving.scorer import Score
from training.dataset import TrainingSet, build
from training.model import Model, fit, is_regime
from training.simulate import FAMILIES, HORIZON_DAYS, MAX_LAG, World, simulate

Floats = npt.NDArray[np.float64]

LEAST = 0.95  # of what the peer closes
SLOPE = (0.9, 1.1)
HELD = (0.85, 0.95)  # share of the prospects whose truth the 90 % interval holds, of all and of the top tenth
CURVE = 0.1  # relative error of the mean of each horizon
MARGIN = MAX_LAG + 1  # days after T by which every closing before T is recorded
HORIZONS = (1, 3, 7, 14, 30, 60, 90)
CATEGORIES = ("industry", "division", "country", "source", "product", "regime", "approach")
NUMBERS = (
    *("budget_known", "public", "size", "age_days", "clock", *FAMILIES, "spill", "trust", "doubt"),
    *(*ROLES, "all_roles", "single", "stage", "regressed", "stage_days"),
)
SAMPLE = 400  # prospects whose missing roles are asked about


@dataclass(frozen=True)
class Found:
    """The figures of one seed. Losses are expected ones under the truth, in nats, less the entropy of the truth.

    ``constant`` is the best one, mean(q); ``base_rate`` the one that the training knows. ``slope`` is that of the
    truth on the predicted log-odds; ``held`` the share of rows whose truth lies in the model's interval, ``held_top``
    that among the tenth with the highest predictions; ``curve`` the mean prediction / the mean truth by horizon, of the
    prospects whose own horizon is as long. ``bare`` is the loss without committee and regime features; ``accounts``
    those with several open prospects, with the losses of the service's probability, of the naive product and of the
    best prospect's own; ``moved`` by role the mean change of the log-odds by one event, in the model and in truth.
    """

    seed: int
    rows: int
    mean_q: float
    entropy: float
    constant: float
    base_rate: float
    ours: float
    peer: float
    slope: float
    peer_slope: float
    mean_p: float
    peer_mean_p: float
    held: float
    held_top: float
    curve: Mapping[int, float]
    bare: float
    accounts: int
    account_slope: float
    every_account_slope: float
    account: float
    naive: float
    best: float
    moved: Mapping[str, tuple[float, float]]
    same_sign: float
    same_order: float
    seconds: float

    @property
    def closed(self) -> float:
        """The share of the gap from the best constant to the truth that the model closes."""
        return 1 - self.ours / self.constant

    @property
    def peer_closed(self) -> float:
        """The share that the peer closes."""
        return 1 - self.peer / self.constant

    @property
    def ratio(self) -> float:
        """What the model closes, as a share of what the peer closes."""
        return self.closed / self.peer_closed

    @property
    def bare_ratio(self) -> float:
        """What the model without committee and regime features closes, as a share of what the peer closes."""
        return (1 - self.bare / self.constant) / self.peer_closed

    @property
    def known_buying(self) -> float:
        """How much more of what the peer closes the model closes with committee and regime features than without."""
        return self.ratio - self.bare_ratio

    @property
    def base_rate_ratio(self) -> float:
        """The same, measured from the training base rate instead of the best constant."""
        return (self.base_rate - self.ours) / (self.base_rate - self.peer)


@dataclass(frozen=True)
class Case:
    """A simulated world at T: its tables as they stood then, and the truth of the prospects open at it.

    ``ids`` are those really open at T, by id, ``days`` their horizons and ``q`` their probability of a win within them.
    ``accounts`` holds the truth of the accounts whose prospects without a recorded closing are all really open:
    account_id, q and prospects, their ids.
    """

    world: World
    tables: Tables
    until: int
    ids: npt.NDArray[np.str_]
    days: npt.NDArray[np.int64]
    q: Floats
    by_horizon: Mapping[int, Floats]
    accounts: pd.DataFrame
    draws: int

    def engaged(self, role: str, kind: str, sample: int) -> pd.Series:
        """The truth of some prospects after an event of a role at T, at their own horizons, by id."""
        found = self.world.truth(HORIZONS, draws=self.draws, as_of=self.until, sample=sample, engage=(role, kind))
        return _own(found).loc[lambda q: q.index.isin(self.ids)]

    def plain(self, sample: int) -> pd.Series:
        """The truth of the same prospects as it is, from the same random numbers."""
        found = self.world.truth(HORIZONS, draws=self.draws, as_of=self.until, sample=sample)
        return _own(found).loc[lambda q: q.index.isin(self.ids)]


def _own(truth: pd.DataFrame) -> pd.Series:
    """Of a truth: the probability within each prospect's own horizon, given that it is really open, by id."""
    days = truth["regime"].map(HORIZON_DAYS).to_numpy()
    table = np.stack([truth[f"probability_{d}d"] / truth["still_open"] for d in HORIZONS])
    own = table[np.searchsorted(HORIZONS, days), np.arange(len(days))]
    return pd.Series(own, index=truth["prospect_id"].to_numpy(dtype=str))


def prepare(seed: int, prospects: int, days: int, draws: int) -> Case:
    """Simulate, keep what was recorded by T, and compute the truth there."""
    world = simulate(prospects=prospects, days=days + MARGIN, seed=seed)
    until = world.start + days * DAY
    with tempfile.TemporaryDirectory(prefix="leadscore-") as folder:
        world.write(Path(folder) / "data")
        tables = known_by(read_tables(Path(folder) / "data", need_outcomes=True), until)
    truth = world.truth(HORIZONS, draws=draws, as_of=until)
    came = world.realised((1,), as_of=until)
    if list(truth["prospect_id"]) != list(came["prospect_id"]):
        raise AssertionError("the truth and what came are not of the same prospects")
    shut = came["was_closed"].to_numpy()
    kept = ~shut
    q = {d: (truth[f"probability_{d}d"] / truth["still_open"]).to_numpy()[kept] for d in HORIZONS}

    ids = truth["prospect_id"].to_numpy(dtype=str)
    owner = world.account_ids[world.account[np.searchsorted(world.prospect_ids, ids)]]
    of = pd.DataFrame({"account_id": owner, "prospect_id": ids, "shut": shut}).groupby("account_id")
    members = of.agg(prospects=("prospect_id", list), shut=("shut", "any"))
    accounts = world.truth_accounts(HORIZON_DAYS, draws=draws, as_of=until, all_open=True)
    accounts = (
        accounts[["account_id", "probability"]].rename(columns={"probability": "q"}).join(members, on="account_id")
    )
    return Case(
        world=world,
        tables=tables,
        until=until,
        ids=ids[kept],
        days=truth["regime"].map(HORIZON_DAYS).to_numpy()[kept],
        q=_own(truth).to_numpy()[kept],
        by_horizon=q,
        accounts=accounts[~accounts["shut"]].drop(columns="shut").reset_index(drop=True),
        draws=draws,
    )


def without_buying(features: FeatureSet) -> FeatureSet:
    """The features without those that tell who takes part and in which regime the prospect buys."""
    from features.standard import drop_families

    kept = drop_families(features, "committee")
    return FeatureSet(kept.dataset, tuple(f for f in kept.features if not is_regime(f)))


def train_ours(case: Case, features: FeatureSet | None = None) -> tuple[Model, TrainingSet]:
    """The model that ``leadscore train`` would register, and the rows it learned from."""
    rows = build(case.tables, standard_features(case.tables) if features is None else features)
    return fit(rows), rows


def predict_ours(case: Case, model: Model) -> list[Score]:
    """The scores of the case's prospects, in the order of its ids."""
    scores = {s.prospect_id: s for s in score_tables(model.scorer, case.tables, case.until)}
    return [scores[i] for i in case.ids]


def predict_peer(case: Case, rows: TrainingSet) -> Floats:
    """The probabilities of the same recipe, fitted to the same rows, on the true mechanisms' own inputs."""
    declared = (*(Column(name, "category") for name in CATEGORIES), *(Column(name, "number") for name in NUMBERS))
    taken = {c.name for c in declared} & set(Dataset().columns("prospects"))
    names = {c.name: f"{c.name}_" if c.name in taken else c.name for c in declared}
    dataset = Dataset(
        goal=rows.goal, declared=(("prospects", tuple(replace(c, name=names[c.name]) for c in declared)),)
    )
    features = FeatureSet(dataset, tuple(Attribute("prospects", names[c.name]) for c in declared))

    def with_values(of: TrainingSet) -> TrainingSet:
        frame = case.world.mechanism_features(of.rows["prospect_id"].tolist(), of.as_of)
        values = frame[list(names)].rename(columns=names)
        for name in CATEGORIES:
            values[names[name]] = values[names[name]].astype(object).where(values[names[name]].notna(), None)
        census = None if of.census is None else replace(of.census, sample=with_values(of.census.sample))
        return replace(of, values=values, features=features, census=census, open_rows=None, open_values=None)

    model = fit(with_values(rows), folds=0)
    assert rows.open_rows is not None
    at_end = replace(
        rows, rows=rows.open_rows, values=rows.values.iloc[:0], goal_at=np.zeros(len(rows.open_rows), np.int64)
    )
    p = dict(zip(rows.open_rows["prospect_id"], model.predict(with_values(at_end)), strict=True))
    return np.array([p[i] for i in case.ids])


def above_truth(q: Floats, p: Floats) -> float:
    """The expected log loss of p where the truth is q, less that of q itself: mean Kullback-Leibler divergence."""
    return float(np.mean(q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))))


def slope_of(q: Floats, p: Floats) -> float:
    """The slope of q on the log-odds of p: 1 is right, less means that p is spread too far."""
    from sklearn.linear_model import LogisticRegression

    z = np.log(p) - np.log1p(-p)
    both = np.concatenate([z, z])[:, None]
    label = np.repeat([1, 0], len(z))
    fitted = LogisticRegression(C=np.inf).fit(both, label, sample_weight=np.concatenate([q, 1 - q]))
    return float(fitted.coef_[0, 0])


def judge_accounts(case: Case, p: Mapping[str, float], account: AccountMap) -> dict[str, float]:
    """The accounts' probabilities against their truth: of those with several prospects, and the slope over all."""
    parts = [[p[i] for i in ids] for ids in case.accounts["prospects"]]
    q = np.clip(case.accounts["q"].to_numpy(), 1e-9, 1 - 1e-9)
    several = np.array([len(part) > 1 for part in parts])
    ours = np.array([combine(part, account) for part in parts])
    naive = np.array([-np.expm1(np.log1p(-np.array(part)).sum()) for part in parts])
    best = np.array([max(part) for part in parts])
    return {
        "accounts": int(several.sum()),
        "account_slope": slope_of(q[several], ours[several]),
        "every_account_slope": slope_of(q, ours),
        "account": above_truth(q[several], ours[several]),
        "naive": above_truth(q[several], naive[several]),
        "best": above_truth(q[several], best[several]),
    }


def log_odds(p: npt.ArrayLike) -> Floats:
    """The log-odds of probabilities, away from 0 and 1."""
    x = np.clip(np.asarray(p, dtype=np.float64), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(x) - np.log1p(-x))


def judge_missing(case: Case, model: Model, sample: int = SAMPLE) -> dict[str, object]:
    """What one event of a missing role does to the log-odds, in the model's answer and in truth.

    ``same_sign`` is the share of (prospect, role) in which both move the same way; ``same_order`` that of the pairs of
    roles of one prospect, both missing, that both put in the same order. 0.5 is chance.
    """
    types = {t.name for t in case.world.mechanisms.touches}
    usual = {role: event.type for role, event in model.scorer.constants.committee.items() if event.type in types}
    plain = case.plain(sample)
    after = {role: case.engaged(role, kind, sample) for role, kind in usual.items()}
    rows = []
    for request in requests(case.tables, case.until, plain.index.tolist()):
        parsed = parse_request(request, model.scorer.spec.dataset, 0)
        score = model.scorer.score(parsed.records, parsed.as_of, reasons=0)
        for missing in () if score.committee is None else score.committee.missing:
            if missing.role in usual:
                told = float(log_odds(missing.probability) - log_odds(score.probability))
                true = float(log_odds(after[missing.role][score.prospect_id]) - log_odds(plain[score.prospect_id]))
                rows.append((score.prospect_id, missing.role, told, true))
    found = pd.DataFrame(rows, columns=["prospect_id", "role", "told", "true"])
    mean = found.groupby("role")[["told", "true"]].mean()
    pairs = found.merge(found, on="prospect_id", suffixes=("", "_other"))
    pairs = pairs[pairs["role"] < pairs["role_other"]]
    same = np.sign(pairs["told"] - pairs["told_other"]) == np.sign(pairs["true"] - pairs["true_other"])
    return {
        "moved": {role: (float(mean["told"][role]), float(mean["true"][role])) for role in ROLES if role in mean.index},
        "same_sign": float((np.sign(found["told"]) == np.sign(found["true"])).mean()),
        "same_order": float(same.mean()),
    }


def judge(case: Case, seed: int, seconds: Callable[[], float]) -> Found:
    """The model and its peer against the truth."""
    q = case.q
    model, rows = train_ours(case)
    scores = predict_ours(case, model)
    p, low, high = (np.array([getattr(s, f"probability{end}") for s in scores]) for end in ("", "_low", "_high"))
    other = predict_peer(case, rows)
    bare, _ = train_ours(case, without_buying(standard_features(case.tables)))
    held = (low <= q) & (q <= high)
    top = p >= np.quantile(p, 0.9)
    by_id = dict(zip(case.ids.tolist(), p.tolist(), strict=True))

    def curve(days: int) -> float:
        of = np.flatnonzero(case.days >= days)
        return float(np.mean([dict(scores[i].curve)[days] for i in of]) / case.by_horizon[days][of].mean())

    return Found(
        seed=seed,
        rows=len(q),
        mean_q=float(q.mean()),
        entropy=float(-np.mean(q * np.log(q) + (1 - q) * np.log1p(-q))),
        constant=above_truth(q, np.full(len(q), q.mean())),
        base_rate=above_truth(q, np.full(len(q), float(model.card["base_rate"]))),
        ours=above_truth(q, p),
        peer=above_truth(q, other),
        slope=slope_of(q, p),
        peer_slope=slope_of(q, other),
        mean_p=float(p.mean()),
        peer_mean_p=float(other.mean()),
        held=float(held.mean()),
        held_top=float(held[top].mean()),
        curve={days: curve(days) for days in HORIZONS},
        bare=above_truth(q, np.array([s.probability for s in predict_ours(case, bare)])),
        **judge_accounts(case, by_id, model.scorer.constants.account),  # type: ignore[arg-type]
        **judge_missing(case, model),  # type: ignore[arg-type]
        seconds=seconds(),
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean over seeds (Student's t); nan for one seed."""
    from scipy.stats import t

    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return float("nan"), float("nan")
    arm = float(t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return float(x.mean() - arm), float(x.mean() + arm)


_SHOWN = (
    ("prospects really open at T", "rows", ".0f"),
    ("mean of the truth q", "mean_q", ".4f"),
    ("mean prediction of the model", "mean_p", ".4f"),
    ("mean prediction of the peer", "peer_mean_p", ".4f"),
    ("entropy of q (the least log loss)", "entropy", ".4f"),
    ("above it: the constant mean(q)", "constant", ".4f"),
    ("above it: the training base rate", "base_rate", ".4f"),
    ("above it: the model", "ours", ".4f"),
    ("above it: the peer", "peer", ".4f"),
    ("gap from mean(q) that the model closes", "closed", ".1%"),
    ("gap from mean(q) that the peer closes", "peer_closed", ".1%"),
    ("model / peer", "ratio", ".1%"),
    ("model / peer, from the base rate", "base_rate_ratio", ".1%"),
    ("above it: the model without committee and regime", "bare", ".4f"),
    ("that / peer", "bare_ratio", ".1%"),
    ("what committee and regime features add to model / peer", "known_buying", ".1%"),
    ("slope of q on the model's log-odds", "slope", ".3f"),
    ("slope of q on the peer's log-odds", "peer_slope", ".3f"),
    ("q within the model's 90 % interval", "held", ".1%"),
    ("the same, top tenth by prediction", "held_top", ".1%"),
    *((f"mean prediction / mean truth within {days} days", f"curve_{days}", ".3f") for days in HORIZONS),
    ("accounts with several open prospects", "accounts", ".0f"),
    ("slope of their truth on their log-odds", "account_slope", ".3f"),
    ("the same, all accounts", "every_account_slope", ".3f"),
    ("above their truth: the account's probability", "account", ".4f"),
    ("above their truth: the naive product", "naive", ".4f"),
    ("above their truth: the best prospect's", "best", ".4f"),
    *((f"log-odds by one event of the missing {role}: model", f"told_{role}", ".3f") for role in ROLES),
    *((f"log-odds by one event of the missing {role}: truth", f"true_{role}", ".3f") for role in ROLES),
    ("missing roles that move both the same way", "same_sign", ".1%"),
    ("pairs of missing roles in the same order in both", "same_order", ".1%"),
    ("seconds", "seconds", ".0f"),
)


def _figure(found: Found, name: str) -> float:
    what, _, of = name.partition("_")
    if what == "curve":
        return found.curve[int(of)]
    if what in ("told", "true"):
        return found.moved.get(of, (float("nan"),) * 2)[what == "true"]
    return float(getattr(found, name))


def missed(found: Sequence[Found]) -> list[str]:
    """The bounds that the means over seeds miss, in words."""
    out = []
    if (ratio := float(np.mean([f.ratio for f in found]))) < LEAST:
        out.append(f"the model closes {ratio:.1%} of what the peer closes, less than {LEAST:.0%}")
    arm = interval([f.known_buying for f in found])[0] if len(found) > 1 else found[0].known_buying
    if not arm > 0:
        out.append("without committee and regime features the model does not close clearly less")
    for name, (low, high), words in (
        ("slope", SLOPE, "the slope"),
        ("account_slope", SLOPE, "the accounts' slope"),
        ("held", HELD, "the interval's coverage"),
        ("held_top", HELD, "its coverage in the top tenth"),
        *(
            (f"curve_{days}", (1 - CURVE, 1 + CURVE), f"the mean within {days} days over the truth")
            for days in HORIZONS
        ),
    ):
        mean = float(np.mean([_figure(f, name) for f in found]))
        if not low <= mean <= high:
            out.append(f"{words} is {mean:.3f}, not within {low} and {high}")
    account, naive, best = (float(np.mean([_figure(f, name) for f in found])) for name in ("account", "naive", "best"))
    if account >= min(naive, best):
        out.append(f"the accounts' loss {account:.4f} is not below {naive:.4f} (naive) and {best:.4f} (best prospect)")
    out += _missed_roles(found)
    return out


def _missed_roles(found: Sequence[Found]) -> Iterator[str]:
    """Roles whose mean effect has another sign than in truth; pairs of roles whose effects have another order."""
    mean = {
        role: [float(np.mean([_figure(f, f"{w}_{role}") for f in found])) for w in ("told", "true")] for role in ROLES
    }
    for role, (told, true) in mean.items():
        if not told * true > 0:
            yield f"one event of the missing {role} moves the model by {told:.3f} and the truth by {true:.3f}"
    for one, other in ((a, b) for a in ROLES for b in ROLES if a < b):
        told, true = (mean[one][k] - mean[other][k] for k in (0, 1))
        if not told * true > 0:
            yield f"the missing {one} less the missing {other}: {told:+.3f} in the model, {true:+.3f} in truth"


def show(found: Sequence[Found], console: Console) -> None:
    """Print a row per figure: each seed, the mean over seeds and its 95 % interval."""
    table = Table("expected log loss in nats", *(f"seed {f.seed}" for f in found), "mean", "95 % interval")
    for column in table.columns[1:]:
        column.justify = "right"
    for title, name, form in _SHOWN:
        values = [_figure(f, name) for f in found]
        low, high = (format(end, form) for end in interval(values))
        between = f"{low} to {high}" if len(found) > 1 and name != "seconds" else ""
        table.add_row(title, *(format(v, form) for v in values), format(float(np.mean(values)), form), between)
    console.print(table)


def run(seed: int, *, prospects: int, days: int, draws: int) -> Found:
    """The figures of one world."""
    started = time.monotonic()
    case = prepare(seed, prospects, days, draws)
    found = judge(case, seed, lambda: time.monotonic() - started)
    print(f"seed {seed}: ours/peer {found.ratio:.3f}, {found.seconds:.0f} s", file=sys.stderr, flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many worlds")
    parser.add_argument("--first-seed", type=int, default=0, help="the first world's seed")
    parser.add_argument("--prospects", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=540, help="days of history before T")
    parser.add_argument("--draws", type=int, default=200, help="simulated futures per prospect, for the truth")
    given = parser.parse_args(arguments)
    console = Console(width=160)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    one = partial(run, prospects=given.prospects, days=given.days, draws=given.draws)
    if given.seeds == 1:
        found = [one(given.first_seed)]
    else:  # worlds side by side, each in a process of its own
        with ProcessPoolExecutor(min(given.seeds, os.cpu_count() or 1), get_context("spawn")) as pool:
            found = list(pool.map(one, seeds))
    show(found, console)
    ratio = float(np.mean([f.ratio for f in found]))
    low, high = interval([f.ratio for f in found])
    between = f"95 % over seeds {low:.1%} to {high:.1%}; " if len(found) > 1 else ""
    console.print(
        f"{given.prospects} prospects and {given.days} days a world, horizons by regime: the model closes "
        f"{ratio:.1%} of what the peer closes ({between}wanted: at least {LEAST:.0%})."
    )
    wrong = missed(found)
    for text in wrong:
        console.print(f"[bold red]missed[/]: {text}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
