"""How good the default recipe is forward in time on real data: ``python -m benchmarks.quality``.

The data lie beside the repository (``../shared/data``), for evaluation only: no setting is chosen on these rows. Each
set has one cut: trained with what was recorded by then, tested on the landmarks after it whose horizon is over by the
end of the data. The exit code is 1 when a bound is missed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from features.contract import parse_moment
from features.tables import read_tables
from training.evaluate import Evaluation, evaluate_forward, metrics
from training.sources.olist import import_olist

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FIGURES = ("auc", "log_loss", "brier_skill", "calibration_error", "lift_top_tenth")


@dataclass(frozen=True)
class Case:
    """One data set with its cut, and the bounds that its figures have to keep.

    Old landmarks are easily told from young ones, which flatters the figures of all together: the bounds have to hold
    without those older than ``oldest`` days as well.
    """

    name: str
    folder: str
    load: Callable[..., Any]
    horizon: int
    cut: str
    test_until: str
    oldest: int
    least_auc: float
    most_log_loss: float
    reference: str


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
)


def main() -> int:
    console = Console()
    missed = []
    for case in CASES:
        source = DATA / case.folder
        if not source.is_dir():
            console.print(f"{case.name}: skipped, there is no folder {case.folder} beside the repository.")
            continue
        with tempfile.TemporaryDirectory(prefix="leadscore-") as folder:
            case.load(source, Path(folder) / case.name)
            tables = read_tables(Path(folder) / case.name, need_outcomes=True)
            found = evaluate_forward(tables, None, parse_moment(case.cut), parse_moment(case.test_until), case.horizon)
        missed += show(case, found, console)
    for text in missed:
        console.print(f"[bold red]missed[/]: {text}")
    return 1 if missed else 0


def show(case: Case, found: Evaluation, console: Console) -> list[str]:
    """Print the tables of a case; returns the bounds it missed, in words."""
    rows = found.rows
    young = rows[rows["age_days"] <= case.oldest]
    named = {
        "all landmarks": found.figures,
        f"landmarks of 0 to {case.oldest} days": metrics(
            young["y"], young["p"], constant=young["constant"].to_numpy(), groups=young["prospect_id"].to_numpy(object)
        ),
        "constant (training base rate), all": metrics(rows["y"], rows["constant"], constant=rows["constant"]),
        f"constant, 0 to {case.oldest} days": metrics(young["y"], young["constant"], constant=young["constant"]),
    }
    counts = found.counts
    console.print(
        f"\n[bold]{case.name}[/]: within {case.horizon} days. Trained to {case.cut} on {counts['trained']} landmarks "
        f"of {counts['trained_prospects']} prospects ({counts['trained_outcomes']} outcomes). Features: "
        f"{', '.join(found.model.spec.names)}. Tested on {counts['tested']} landmarks of {counts['prospects']} "
        f"prospects to {case.test_until}; left out: {counts['unobserved']} whose horizon is not over, "
        f"{counts['late']} closed but not yet recorded. A reference reached {case.reference}."
    )
    table = Table("figures with 95 % intervals by prospect", "rows", "rate", "predicted", *FIGURES)
    for name, figures in named.items():
        table.add_row(name, *cells(figures))
    console.print(table)
    table = Table("landmark age", "rows", "rate", "predicted", *FIGURES)
    for figures in found.by_age:
        table.add_row(f"{figures['age_days']} days", *cells(figures))
    console.print(table)
    missed = []
    for name, figures in list(named.items())[:2]:
        if figures["auc"] < case.least_auc:
            missed.append(f"{case.name}, {name}: AUC {figures['auc']:.4f} is below {case.least_auc}")
        if figures["log_loss"] > case.most_log_loss:
            missed.append(f"{case.name}, {name}: log loss {figures['log_loss']:.4f} is above {case.most_log_loss}")
    return missed


def cells(figures: Mapping[str, Any]) -> Sequence[str]:
    intervals = figures.get("interval", {})

    def cell(name: str) -> str:
        if figures[name] is None:
            return "-"
        low, high = intervals.get(name, (None, None))
        return f"{figures[name]:.4f}" + ("" if low is None else f"\n{low:.4f} to {high:.4f}")

    return (f"{figures['n']:.0f}", f"{figures['rate']:.4f}", f"{figures['mean_predicted']:.4f}", *map(cell, FIGURES))


if __name__ == "__main__":
    sys.exit(main())
