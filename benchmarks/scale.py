"""How long a training takes on much data, and how much memory: ``python -m benchmarks.scale``.

A simulated CRM of 100,000 prospects and some 3 million events is written to a folder, read and trained on exactly as
``leadscore train`` does it, in a process of its own: every stage with its seconds, and the peak of the process's
memory. The simulation runs in another process, and counts for neither.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

DAYS = 540
BUSIER = 1.4  # times the events of the frozen world, for 30 a prospect


def write(out: Path, prospects: int, seed: int) -> None:
    """Simulate a busier world into a folder."""
    from training.simulate import Mechanisms, simulate

    plain = Mechanisms()
    busier = replace(plain, touches=tuple(t._replace(rate=BUSIER * t.rate) for t in plain.touches))
    simulate(prospects=prospects, days=DAYS, seed=seed, mechanisms=busier).write(out)


def measure(data: Path, home: Path) -> None:
    """Read and train; print the stages as they end, then a table."""
    from features.tables import read_tables
    from training.registry import Home
    from training.run import train

    console = Console(width=120, highlight=False)
    stages: list[tuple[str, float]] = [("reading and checking the tables", time.monotonic())]

    def say(stage: str) -> None:
        now = time.monotonic()
        print(f"{stages[-1][0]}: {now - stages[-1][1]:.0f} s", file=sys.stderr, flush=True)
        stages.append((stage, now))

    tables = read_tables(data, need_outcomes=True)
    say("training")
    done = train(tables, home=Home(home), say=say)
    say("done")
    table = Table("stage", "seconds")
    for (stage, began), (_, ended) in pairwise(stages):
        table.add_row(stage, f"{ended - began:.0f}")
    table.add_row("in all", f"{stages[-1][1] - stages[0][1]:.0f}")
    console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # Linux counts in KiB
    console.print(
        f"{tables.rows['prospects']} rows of prospects and {tables.rows['events']} events; the model "
        f"{done.model.card['model']}; peak memory {peak:.1f} GiB."
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--prospects", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write is not None:
        write(given.write, given.prospects, given.seed)
        return 0
    with tempfile.TemporaryDirectory(prefix="leadscore-") as folder:
        data = Path(folder) / "data"
        size = ["--prospects", str(given.prospects), "--seed", str(given.seed)]
        subprocess.run([sys.executable, "-m", "benchmarks.scale", "--write", str(data), *size], check=True)
        measure(data, Path(folder) / "home")
    return 0


if __name__ == "__main__":
    sys.exit(main())
