"""How good the default recipe is forward in time on real data: ``python -m benchmarks.quality``.

The data lie beside the repository (``../shared/data``), for evaluation only: no setting is chosen on these rows. Each
set has one cut: trained with what was recorded by then, tested on the landmarks after it whose horizon is over by the
end of the data. The exit code is 1 when a bound is missed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from features.contract import parse_moment
from features.tables import Tables, read_tables
from training.evaluate import Evaluation, evaluate_forward, metrics
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


def main() -> int:
    console = Console(width=150, highlight=False)
    missed = []
    for case in CASES:
        if not (DATA / case.folder).is_dir():
            console.print(f"{case.name}: skipped, there is no folder {case.folder} beside the repository.")
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="leadscore-") as folder:
            found = evaluate(case, Path(folder) / case.name)
        missed += show(case, found, console, time.perf_counter() - started)
    for text in missed:
        console.print(f"[bold red]missed[/]: {text}")
    return 1 if missed else 0


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


if __name__ == "__main__":
    sys.exit(main())
