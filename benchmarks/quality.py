"""How good the default recipe is forward in time: ``python -m benchmarks.quality``.

Two parts, and the exit code is 1 when either misses what is required of it:

- *named cuts*: real sets, each trained with what was recorded by one cut and tested on the landmarks after it whose
  horizon is over by the end of the data, beside the bounds that its figures have to keep;
- *peers* (``benchmarks.peers``): over rolling cuts of two real sets and of the simulator, what else one could use,
  trained on the same rows and tested on the same rows, in one table, and what it says of the requirements.

The real data lie beside the repository (``../shared/data``), for evaluation only; a set that is not there is skipped.
FLAML is an extra, not a dependency: ``.venv/bin/python -m pip install -e '.[benchmarks]'``. It takes two minutes at
each of twenty cuts; ``--budget 5`` is a quick look, which judges nothing about FLAML, and ``--sets`` leaves sets out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import peers
from features.contract import DAY, parse_moment
from features.tables import Tables, read_tables
from training.evaluate import Evaluation, evaluate_forward, metrics
from training.simulate import simulate
from training.sources.olist import import_olist
from training.sources.relax import import_relax
from training.sources.x_education import import_x_education

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FIGURES = ("auc", "log_loss", "brier_skill", "calibration_error", "lift_top_tenth")


@dataclass(frozen=True)
class Case:
    """One data set with its cut, and the bounds that its figures have to keep.

    ``cut`` is a time, or the share of the prospects, in order of creation, that lies before it. Old landmarks are
    easily told from young ones, which flatters the figures of all together: the bounds hold on those up to ``oldest``
    days. An AUC above ``most_auc`` would be a leak.
    """

    name: str
    folder: str
    load: Callable[..., Any]
    horizon: int
    cut: str | float
    test_until: str | None
    oldest: int
    least_auc: float
    most_auc: float = 1.0
    most_log_loss: float = 1.0
    most_calibration_error: float = 1.0
    reference: str = ""


CASES = (
    Case(
        name="olist",
        folder="olist_funnel",
        load=import_olist,
        horizon=90,
        cut="2018-04-20",
        test_until="2018-07-30",
        oldest=60,
        least_auc=0.66,
        most_log_loss=0.175,
        most_calibration_error=0.015,
        reference="AUC 0.694, log loss 0.1667",
    ),
    Case(
        name="relax",
        folder="relax_takehome",
        load=import_relax,
        horizon=60,
        cut="2013-10-27",
        test_until="2014-04-07",
        oldest=60,
        least_auc=0.79,
        most_log_loss=0.256,
        most_calibration_error=0.012,
        reference="AUC 0.802, log loss 0.2492; static columns alone AUC 0.57",
    ),
    Case(
        name="x_education",
        folder="x_education",
        load=import_x_education,
        horizon=2,
        cut=0.7,
        test_until=None,
        oldest=0,
        least_auc=0.86,
        most_auc=0.90,
        reference="AUC 0.86 to 0.90; above it, look for the leak",
    ),
)

SETS = (*(case.name for case in CASES), peers.SIMULATOR)
PROSPECTS, DAYS, HORIZON = 5_000, 540, 90  # of every simulated world


@dataclass(frozen=True)
class Cuts:
    """Rolling cuts of each set: times, with the end of the last one's test (None: of the data); days in a world."""

    olist: tuple[str, ...]
    olist_end: str | None
    relax: tuple[str, ...]
    relax_end: str | None
    simulator: tuple[int, ...]
    seeds: tuple[int, ...]


# The cuts that are reported were fixed by the calendar before anything was fitted at them, and no choice (of a
# candidate, a setting or a threshold) was made on them, nor on these worlds.
REPORTED = Cuts(
    olist=("2018-03-01", "2018-04-01", "2018-05-01", "2018-06-01"),
    olist_end=None,
    relax=("2013-04-01", "2013-07-01", "2013-10-01", "2014-01-01"),
    relax_end=None,
    simulator=(270, 315, 360, 405),
    seeds=(0, 1),
)
# Choices are made here (``--development``): the tests end before the first reported one begins, the worlds are others.
DEVELOPMENT = Cuts(
    olist=("2018-01-01", "2018-01-15", "2018-02-01", "2018-02-15"),
    olist_end="2018-03-01",
    relax=("2012-11-01", "2012-12-01", "2013-01-01", "2013-02-01"),
    relax_end="2013-04-01",
    simulator=(270, 315, 360, 405),
    seeds=(100, 101, 102),
)


def evaluate(case: Case, folder: Path) -> Evaluation:
    """Import a set into ``folder`` and evaluate the default recipe at its cut."""
    case.load(DATA / case.folder, folder)
    tables = read_tables(folder, need_outcomes=True)
    cut = parse_moment(case.cut) if isinstance(case.cut, str) else _after(tables, case.cut)
    test_until = parse_moment(case.test_until) if case.test_until else tables.until
    return evaluate_forward(tables, None, cut, test_until, case.horizon)


def _after(tables: Tables, share: float) -> int:
    created = sorted(tables.prospects.created_at.to_pyarrow().to_pylist())
    return int(created[int(share * len(created))])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.split("\n\n")[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="only these")
    parser.add_argument("--budget", type=float, default=peers.BUDGET, help="seconds of FLAML at each cut")
    parser.add_argument("--development", action="store_true", help="the peers at the cuts on which choices are made")
    given = parser.parse_args(arguments)
    console = Console(width=150, highlight=False)
    chosen = [name for name in SETS if name in given.sets]
    for case in CASES:
        if case.name in chosen and not (DATA / case.folder).is_dir():
            chosen.remove(case.name)
            console.print(f"{case.name}: skipped, there is no folder {case.folder} beside the repository.")
    missed = [] if given.development else named_cuts(chosen, console)
    missed += compare(chosen, DEVELOPMENT if given.development else REPORTED, given.budget, console)
    return 1 if missed else 0


# ---- named cuts ------------------------------------------------------------------------------------------------------


def named_cuts(chosen: Sequence[str], console: Console) -> list[str]:
    """Evaluate and print the cases at their named cuts; returns the bounds they missed, in words."""
    missed = []
    for case in CASES:
        if case.name not in chosen:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="leadscore-") as folder:
            found = evaluate(case, Path(folder) / case.name)
        missed += show(case, found, console, time.perf_counter() - started)
    for text in missed:
        console.print(f"[bold red]missed[/]: {text}")
    return missed


def young_figures(case: Case, found: Evaluation) -> Mapping[str, Any]:
    """The figures on the landmarks that the bounds hold for, with intervals by prospect."""
    young = found.rows[found.rows["age_days"] <= case.oldest]
    return metrics(
        young["y"], young["p"], constant=young["constant"].to_numpy(), groups=young["prospect_id"].to_numpy(object)
    )


def show(case: Case, found: Evaluation, console: Console, seconds: float) -> list[str]:
    """Print the tables of a case; returns the bounds it missed, in words."""
    rows = found.rows
    young = rows[rows["age_days"] <= case.oldest]
    bound = f"landmarks of 0 to {case.oldest} days"
    named = {
        bound: young_figures(case, found),
        "  a constant (training base rate)": metrics(young["y"], young["constant"], constant=young["constant"]),
    }
    if len(young) < len(rows):
        named["all landmarks"] = found.figures
        named["  a constant (training base rate) "] = metrics(rows["y"], rows["constant"], constant=rows["constant"])
    counts = found.counts
    console.print(
        f"\n[bold]{case.name}[/]: within {case.horizon} days. Trained to {found.to_json()['cut'][:10]} on "
        f"{counts['trained']} landmarks of {counts['trained_prospects']} prospects ({counts['trained_outcomes']} "
        f"outcomes), {len(found.model.spec.names)} features; tested on {counts['tested']} landmarks of "
        f"{counts['prospects']} prospects; left out: {counts['unobserved']} whose horizon is not over, "
        f"{counts['late']} closed but not yet recorded. {seconds:.0f} s. Reference: {case.reference}."
    )
    table = Table("figures with 95 % intervals by prospect", "rows", "rate", "predicted", *FIGURES)
    for name, figures in named.items():
        table.add_row(name, *cells(figures))
    console.print(table)
    table = Table("landmark age", "rows", "rate", "predicted", *FIGURES)
    for figures in found.by_age:
        table.add_row(f"{figures['age_days']} days", *cells(figures))
    console.print(table)
    return missed_bounds(case, named[bound])


def missed_bounds(case: Case, figures: Mapping[str, Any]) -> list[str]:
    """The bounds of the case that the figures miss, in words."""
    auc, log_loss = figures["auc"], figures["log_loss"]
    out = []
    if not case.least_auc <= auc <= case.most_auc:
        out.append(f"{case.name}: AUC {auc:.4f} is not within {case.least_auc} and {case.most_auc}")
    if log_loss > case.most_log_loss:
        out.append(f"{case.name}: log loss {log_loss:.4f} is above {case.most_log_loss}")
    if (error := figures["calibration_error"]) > case.most_calibration_error:
        out.append(f"{case.name}: calibration error {error:.4f} is above {case.most_calibration_error}")
    return out


def cells(figures: Mapping[str, Any]) -> Sequence[str]:
    """The figures as cells of a table, intervals below."""
    intervals = figures.get("interval", {})

    def cell(name: str) -> str:
        if figures[name] is None:
            return "-"
        low, high = intervals.get(name, (None, None))
        return f"{figures[name]:.4f}" + ("" if low is None else f"\n{low:.4f} to {high:.4f}")

    return (f"{figures['n']:.0f}", f"{figures['rate']:.4f}", f"{figures['mean_predicted']:.4f}", *map(cell, FIGURES))


# ---- peers -----------------------------------------------------------------------------------------------------------


def compare(chosen: Sequence[str], cuts: Cuts, budget: float, console: Console) -> list[str]:
    """Run the peers on the sets that have times, print the table and its verdicts; returns what is missed, in words."""
    found = []
    for name in peers.SETS:
        if name in chosen:
            with tempfile.TemporaryDirectory(prefix="leadscore-") as folder:
                horizon = HORIZON if name == peers.SIMULATOR else next(c.horizon for c in CASES if c.name == name)
                found.append(peers.run(name, worlds(name, cuts, Path(folder)), horizon, budget, _say))
    if not found:
        return []
    table = {f.name: peers.lines(f) for f in found}
    show_peers(found, table, budget, console)
    verdicts = peers.verdicts([line for lines in table.values() for line in lines], budget)
    for verdict in verdicts:
        state = {True: "held", False: "[bold red]missed[/]", None: "not judged"}[verdict.held]
        console.print(f"{state}: {verdict.requirement}: {verdict.why}.")
    return [f"{v.requirement}: {v.why}" for v in verdicts if v.held is False]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def worlds(name: str, cuts: Cuts, folder: Path) -> Iterator[tuple[str, Tables, Sequence[int], int]]:
    """The tables of a set with its cuts and the end of the last test; the simulator has as many as seeds."""
    if name == peers.SIMULATOR:
        for seed in cuts.seeds:
            world = simulate(prospects=PROSPECTS, days=DAYS, seed=seed)
            world.write(folder / str(seed))
            tables = read_tables(folder / str(seed), need_outcomes=True)
            yield f"seed {seed}", tables, [world.start + days * DAY for days in cuts.simulator], tables.until
        return
    case = next(c for c in CASES if c.name == name)
    case.load(DATA / case.folder, folder / name)
    tables = read_tables(folder / name, need_outcomes=True)
    at, end = (cuts.olist, cuts.olist_end) if name == "olist" else (cuts.relax, cuts.relax_end)
    yield "", tables, [parse_moment(cut) for cut in at], parse_moment(end) if end else tables.until


def show_peers(
    found: Sequence[peers.Found], table: Mapping[str, Sequence[peers.Line]], budget: float, console: Console
) -> None:
    """Print what was tested, and the one table of all sets and methods."""
    console.print("\n[bold]peers[/]: same rows, same features, same cuts; intervals are 95 % ones by prospect.")
    for f in found:
        console.print(
            f"{f.name}: cuts {', '.join(f.cuts)}; tested on {len(f.rows)} landmarks of "
            f"{f.rows['prospect_id'].nunique()} prospects, rate {f.rows['y'].mean():.4f}; "
            f"the features, which all share, took {f.features_seconds:.0f} s."
        )
    shown = Table(
        "set", "method", "log loss", "peer - ours", "AUC", "calibration error", "slope", "seconds of training"
    )
    for f in found:
        for line in table[f.name]:
            ours = line.method == peers.OURS
            less = f"{line.difference:+.4f} ({line.difference_low:+.4f} to {line.difference_high:+.4f})"
            shown.add_row(
                f.name if ours else "",
                f"{line.method}, {budget:.0f} s a cut" if line.method == peers.FLAML else line.method,
                f"{line.log_loss:.4f} ({line.low:.4f} to {line.high:.4f})",
                "" if ours else less,
                "-" if line.auc is None else f"{line.auc:.4f}",
                f"{line.calibration_error:.4f}",
                "-" if line.slope is None or line.method == peers.CONSTANT else f"{line.slope:.3f}",
                "-" if line.method == peers.CONSTANT else f"{line.seconds:.1f}",
            )
        for method, why in f.absent.items():
            shown.add_row("", method, escape(why))
        shown.add_section()
    console.print(shown)


if __name__ == "__main__":
    sys.exit(main())
