"""How much of what can be known the default recipe finds: ``python -m benchmarks.truth``.

On the frozen simulator (``training.simulate``) the probability of every prospect is known, so that a model's expected
log loss can be computed without the luck of the outcomes, and cannot fall below the entropy of the truth. Per seed:

- the model, trained exactly as ``leadscore train`` does it (standard features, its own choice of model) on what was
  recorded by T, and scored by the scorer that serves on the prospects open at T;
- a peer: LightGBM by the plain recipe on the same rows and intervals, but on ``World.mechanism_features``, which is
  what the true hazard itself reads. It knows what matters; it too has to learn how much from the same outcomes.

Printed is the share of the gap between a constant and the truth that each closes. The world runs on for ``MARGIN``
days after T, to tell which of the rows had closed by then without a record; those no evaluation keeps. The exit code
is 1 when the model closes less than 90 % of what the peer does, when the slope, the coverage of the 90 % interval or a
horizon of the curve is out of bounds. No choice was made on the worlds that are printed by default.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from features.contract import DAY, Column, Dataset
from features.spec import Attribute, FeatureSet
from features.standard import standard_features
from features.tables import Tables, known_by, read_tables
from serving.batch import score_tables
from serving.scorer import Score
from training.dataset import TrainingSet, build
from training.model import DEFAULTS, Model, fit
from training.simulate import FAMILIES, MAX_LAG, World, simulate

Floats = npt.NDArray[np.float64]

LEAST = 0.9  # of what the peer closes
SLOPE = (0.9, 1.1)
HELD = (0.85, 0.95)  # share of the prospects whose truth the 90 % interval holds, of all and of the top tenth
CURVE = 0.1  # relative error of the mean of each horizon
MARGIN = MAX_LAG + 1  # days after T by which every closing before T is recorded
HORIZON = 90
HORIZONS = (1, 3, 7, 14, 30, 60, HORIZON)
CATEGORIES = ("industry", "country", "source", "product")
NUMBERS = ("budget_known", "headcount", "age_days", *FAMILIES, "buyer", "roles", "spill")


@dataclass(frozen=True)
class Found:
    """The figures of one seed. Losses are expected ones under the truth, in nats, less the entropy of the truth.

    ``constant`` is the best one, mean(q); ``base_rate`` the one that the training knows. ``slope`` is that of the
    truth on the predicted log-odds; ``held`` the share of rows whose truth lies in the model's interval, ``held_top``
    that among the tenth with the highest predictions; ``curve`` the mean prediction / the mean truth by horizon.
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
    def base_rate_ratio(self) -> float:
        """The same, measured from the training base rate instead of the best constant."""
        return (self.base_rate - self.ours) / (self.base_rate - self.peer)


@dataclass(frozen=True)
class Case:
    """A simulated world at T: its tables as they stood then, and the truth of the prospects open at it.

    ``ids`` are those really open at T, by id, and ``q`` their probability of a win within the horizon.
    """

    world: World
    tables: Tables
    until: int
    ids: npt.NDArray[np.str_]
    q: Floats
    by_horizon: Mapping[int, Floats]


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
    kept = ~came["was_closed"].to_numpy()
    q = {days: (truth[f"probability_{days}d"] / truth["still_open"]).to_numpy()[kept] for days in HORIZONS}
    return Case(world, tables, until, truth["prospect_id"].to_numpy(dtype=str)[kept], q[HORIZON], q)


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
        return replace(of, values=values, features=features, open_rows=None, open_values=None)

    model = fit(with_values(rows), DEFAULTS, folds=0)
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


def judge(case: Case, seed: int, seconds: Callable[[], float]) -> Found:
    """The model and its peer against the truth."""
    q = case.q
    model, rows = train_ours(case)
    scores = predict_ours(case, model)
    p, low, high = (np.array([getattr(s, f"probability{end}") for s in scores]) for end in ("", "_low", "_high"))
    other = predict_peer(case, rows)
    held = (low <= q) & (q <= high)
    top = p >= np.quantile(p, 0.9)
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
        curve={
            days: float(np.mean([dict(s.curve)[days] for s in scores]) / case.by_horizon[days].mean())
            for days in HORIZONS
        },
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
    ("slope of q on the model's log-odds", "slope", ".3f"),
    ("slope of q on the peer's log-odds", "peer_slope", ".3f"),
    ("q within the model's 90 % interval", "held", ".1%"),
    ("the same, top tenth by prediction", "held_top", ".1%"),
    *((f"mean prediction / mean truth within {days} days", f"curve_{days}", ".3f") for days in HORIZONS),
    ("seconds", "seconds", ".0f"),
)


def _figure(found: Found, name: str) -> float:
    return found.curve[int(name[6:])] if name.startswith("curve_") else float(getattr(found, name))


def missed(found: Sequence[Found]) -> list[str]:
    """The bounds that the means over seeds miss, in words."""
    out = []
    if (ratio := float(np.mean([f.ratio for f in found]))) < LEAST:
        out.append(f"the model closes {ratio:.1%} of what the peer closes, less than {LEAST:.0%}")
    for name, (low, high), words in (
        ("slope", SLOPE, "the slope"),
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
    return out


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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many worlds")
    parser.add_argument("--first-seed", type=int, default=0, help="the first world's seed")
    parser.add_argument("--prospects", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=540, help="days of history before T")
    parser.add_argument("--draws", type=int, default=200, help="simulated futures per prospect, for the truth")
    given = parser.parse_args(arguments)
    console = Console(width=160)
    found = []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        started = time.monotonic()
        case = prepare(seed, given.prospects, given.days, given.draws)
        found.append(judge(case, seed, lambda started=started: time.monotonic() - started))  # type: ignore[misc]
        print(f"seed {seed}: ours/peer {found[-1].ratio:.3f}, {found[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    show(found, console)
    ratio = float(np.mean([f.ratio for f in found]))
    low, high = interval([f.ratio for f in found])
    between = f"95 % over seeds {low:.1%} to {high:.1%}; " if len(found) > 1 else ""
    console.print(
        f"{given.prospects} prospects and {given.days} days a world, {HORIZON} days' horizon: the model closes "
        f"{ratio:.1%} of what the peer closes ({between}wanted: at least {LEAST:.0%})."
    )
    wrong = missed(found)
    for text in wrong:
        console.print(f"[bold red]missed[/]: {text}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
