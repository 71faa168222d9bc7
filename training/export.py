"""The training table as a file, for whoever wants to model it their own way, with its feature spec beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from features.contract import DAY, NEVER, format_time
from features.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from training.dataset import TrainingSet

BEFORE = ("prospect_id", "as_of", "age_days", "account_id")
AFTER = ("horizon_days", "converted", "goal_at", "observed_days")
ENDINGS = (".parquet", ".csv")


def training_table(training_set: TrainingSet) -> pd.DataFrame:
    """The training set as one table: a line per (prospect, landmark), raw features and labels.

    Returns:
        pandas, sorted by prospect_id and as_of:

        - ``prospect_id``, ``as_of`` (UTC timestamp), ``age_days`` (since the episode's start), ``account_id`` (as of
          t; null where unknown: what shares one belongs into one fold);
        - the features by name, raw: text for a category, float64 for the rest, null or nan where missing;
        - ``horizon_days``: the row's own horizon; ``converted``: 1 when the goal came in (as_of, as_of + horizon],
          else 0, and null where that time had not been wholly observed (also where the goal has come already: rows
          that are known early only when they convert would bias a rate);
        - ``goal_at``: the goal's first outcome known by T (UTC timestamp), null if there is none;
        - ``observed_days``: up to how many days after as_of it is known whether the goal came. A row is at risk in the
          interval from a to b days, and wholly observed, when goal_at is null or later than as_of + a days, and b is
          at most observed_days; its label is whether goal_at is at most as_of + b days.

    Raises:
        BadInput: ``name_taken``, when a feature bears the name of one of the other columns.
    """
    import pandas as pd

    from training.dataset import labels

    taken = sorted({*BEFORE, *AFTER} & {name.lower() for name in training_set.features.names})
    if taken:
        raise BadInput(
            "name_taken",
            f"the feature `{taken[0]}` bears the name of a column that the table has anyway.",
            where="features",
            remedy="Rename that column in DATA, or give a spec without it: --features SPEC.",
        )
    y, observed = labels(training_set)
    rows, goal_at = training_set.rows, training_set.goal_at
    known = pd.Series(goal_at).where(goal_at < NEVER).astype("Int64")
    before = pd.DataFrame(
        {
            "prospect_id": rows["prospect_id"],
            "as_of": _timestamps(rows["as_of"]),
            "age_days": rows["age_days"],
            "account_id": rows["account_id"],
        }
    )
    after = pd.DataFrame(
        {
            "horizon_days": training_set.horizons(),
            "converted": pd.Series(y, dtype="Int8").where(observed),
            "goal_at": _timestamps(known),
            "observed_days": np.maximum(training_set.observed_until - training_set.as_of, 0) / DAY,
        }
    )
    return pd.concat([before, training_set.values, after], axis=1)


def _timestamps(micros: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.to_datetime(micros, unit="us", utc=True).astype("datetime64[us, UTC]")


def check_output(out: Path, *beside: Path, data: Path | None = None) -> None:
    """Raise BadInput ``bad_output`` where a table cannot be written to ``out``; called before the work.

    ``beside`` are the files that are written with it. With ``data``, a file in that folder is refused too: it could
    replace one of the tables that it is made from.
    """

    def bad(message: str, remedy: str) -> BadInput:
        return BadInput("bad_output", message, where="--out", remedy=remedy)

    if out.suffix.lower() not in ENDINGS:
        raise bad(f"{out.name!r} is neither .parquet nor .csv.", "Name one: table.parquet.")
    if not out.parent.is_dir():
        raise bad(f"there is no folder {str(out.parent)!r}.", "Make it first.")
    for path in (out, *beside):
        if path.is_dir():
            raise bad(f"{str(path)!r} is a folder.", "Name a file.")
    if not os.access(out.parent, os.W_OK):
        raise bad(f"the folder {str(out.parent)!r} cannot be written.", "Name a place that can.")
    if data is not None and data.is_dir() and out.parent.resolve() == data.resolve():
        raise bad("the file would lie among the tables that it is made from.", "Name a file in another folder.")


def spec_path(out: Path) -> Path:
    """Where the feature spec of a training table lies: ``training.spec.json`` beside ``training.parquet``."""
    return out.with_suffix(".spec.json")


def write_training_table(training_set: TrainingSet, out: Path) -> pd.DataFrame:
    """Write ``training_table`` into a .parquet or .csv file and its spec beside it; returns the table.

    Times in a CSV are ISO 8601 texts in UTC. Each file is written whole or not at all, the table last: where it stands,
    its spec does. ``training.run.read_features`` and ``leadscore train --features`` read the spec.

    Raises:
        BadInput: ``name_taken``, or ``bad_output`` when the file cannot be written.
    """
    frame = training_table(training_set)
    text = json.dumps(training_set.features.to_json(), indent=2, ensure_ascii=False) + "\n"

    def write_table(path: Path) -> None:
        if out.suffix.lower() == ".parquet":
            frame.to_parquet(path, index=False)
            return
        texts = frame.copy()
        texts["as_of"] = [format_time(at) for at in training_set.as_of.tolist()]
        texts["goal_at"] = [format_time(at) if at < NEVER else None for at in training_set.goal_at.tolist()]
        texts.to_csv(path, index=False)

    _write_all({spec_path(out): lambda path: _write_text(path, text), out: write_table})
    return frame


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_all(files: dict[Path, Callable[[Path], None]]) -> None:
    """Make every file as a draft beside its place, then put them in place in order; no draft stays behind."""
    drafts = {path.with_name(f".{path.name}.{os.getpid()}.draft"): path for path in files}
    with ExitStack() as cleaning:
        for draft in drafts:
            cleaning.callback(draft.unlink, missing_ok=True)
        try:
            for draft, path in drafts.items():
                files[path](draft)
            for draft, path in drafts.items():
                os.replace(draft, path)
        except OSError as error:
            raise BadInput(
                "bad_output",
                f"cannot be written: {error.strerror or error}.",
                where="--out",
                remedy="Name a file in a folder that may be written to and has room.",
            ) from None
