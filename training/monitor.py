"""How the champion does since it was trained: what it said against what came, and whether the world has moved.

Two sources of what it said: the receipts of the answers that were really given, and the champion asked again, week by
week, about all prospects that were open after its training. Only what has had its time counts: a chance of winning
within 90 days is right or wrong after 90 days, while the same curve's first week can be judged after one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, format_time, parse_moment
from features.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from features.tables import Tables
    from serving.scorer import Scorer
    from training.dataset import TrainingSet

Floats = npt.NDArray[np.float64]

SAID = ("prospect_id", "as_of", "days", "probability")  # one probability that was said, of the goal within so many days
SURE = 2.33  # standard errors on either side: an interval of 98 %
BY = 1.15  # it must lie beyond this ratio: a smaller difference misleads nobody
TIMES = 53  # the champion is asked again about at most so many weeks, evenly spread
ROWS = 300_000  # and about so many prospects and weeks: of more prospects, one in so many is drawn
FEW = 5  # expected or observed outcomes from which a ratio tells something


def watch(
    tables: Tables, scorer: Scorer, *, until: int | None = None, receipts: pd.DataFrame | None = None
) -> dict[str, Any]:
    """What is to be known of a champion by the records up to now.

    Args:
        tables: canonical tables, with outcomes; they should hold what came before the training too.
        scorer: the champion.
        until: T in microseconds; the tables' own end when None.
        receipts: what was really answered, as ``receipts_of`` gives it; None without any.

    Returns:
        ``goal``, ``model_version``, ``trained_until``, ``until``, ``observed_until`` (T less the usual delay of
        recording); ``asked``: about how many ``times`` and ``rows`` the champion was asked again, and of which share of
        the prospects (``one_in``); ``matured``: per source, version and horizon in ``days``: ``n``, ``prospects``,
        outcomes ``expected`` and ``observed``, their ``ratio`` with its interval ``low`` and ``high`` (98 %), ``auc``,
        ``log_loss``; ``rate`` and ``scores``: the drift since the training (``training.verdicts``), None where too
        little has come since; ``warnings``: [{code, text}].

    Raises:
        BadInput: there are no outcomes, or the tables lack a column that the model uses.
    """
    from features.episodes import census_spine
    from features.tables import known_by
    from serving.batch import check_columns
    from training.dataset import build
    from training.goal import weekly
    from training.verdicts import rate_since, scores_since

    check_columns(scorer.spec, tables)
    tables = tables if until is None else known_by(tables, until)
    until, trained = tables.until, parse_moment(scorer.card["trained_until"])
    goal = scorer.goal
    landmarks = build(tables, scorer.spec, until, goal=goal, with_open=False)
    out: dict[str, Any] = {
        "goal": goal.outcome,
        "model_version": scorer.version,
        "trained_until": format_time(trained),
        "until": format_time(until),
        "observed_until": format_time(landmarks.observed_until),
    }
    lines: list[dict[str, Any]] = []
    out["asked"] = {"times": 0, "rows": 0, "one_in": 1}
    times = weekly(trained, until)
    times = times[:: -(-len(times) // TIMES) or 1]
    if times:
        spine = census_spine(tables, goal, times)
        one_in = max(1, -(-int(spine.count().execute()) // ROWS))
        if one_in > 1:  # whole prospects, the same ones at every time
            spine = spine.filter(spine.prospect_id.hash() % one_in == 0)
        try:
            asked = build(tables, scorer.spec, until, spine, goal=goal)
        except BadInput as e:
            if e.code != "no_rows":
                raise
        else:
            out["asked"] = {"times": len(times), "rows": len(asked), "one_in": one_in}
            for days, said in _curves(scorer, asked):
                lines.append({"source": "champion", "version": scorer.version, "days": days, **said})
    if receipts is not None:
        goal_at = _goal_at(tables, goal, until)
        # Who was merged is gone from the live records; what became of it is what became of the other.
        here = receipts["prospect_id"].isin(goal_at.keys())
        receipts = receipts.assign(prospect_id=receipts["prospect_id"].where(here, receipts["stands_for"]))
        for version, days in sorted(set(zip(receipts["version"], receipts["days"], strict=True))):
            part = receipts[(receipts["version"] == version) & (receipts["days"] == days)]
            found = matured(part, goal_at, landmarks.observed_until)
            lines.append({"source": "receipts", "version": str(version), "days": int(days), **figures(found)})
    out["matured"] = [line for line in lines if line["n"]]
    out["rate"] = rate_since(landmarks, trained)
    out["scores"] = scores_since(landmarks, lambda rows: _predict(scorer, rows), trained)
    out["warnings"] = _warnings(out, trained, until)
    return out


def matured(said: pd.DataFrame, goal_at: Mapping[str, int], observed_until: int) -> pd.DataFrame:
    """What was said and has had its time, with what came: the columns ``SAID`` and ``y``.

    Of one prospect's, those of overlapping time are left out, the earliest stays: the same outcome must not count
    twice. Left out are also those about prospects that had reached the goal already, or that the tables do not hold.

    Args:
        said: ``SAID``.
        goal_at: of each prospect of the tables, when the goal came (microseconds), ``NEVER`` where it did not.
        observed_until: up to when outcomes are known.
    """
    from features.contract import NEVER

    said = said.sort_values(["prospect_id", "as_of"], kind="stable").reset_index(drop=True)
    at = said["as_of"].to_numpy(dtype=np.int64)
    end = at + said["days"].to_numpy(dtype=np.int64) * DAY
    ids = said["prospect_id"].to_numpy(dtype=object)
    known = np.array([i in goal_at for i in ids], dtype=bool)
    came = np.array([goal_at.get(i, NEVER) for i in ids], dtype=np.int64)
    able = known & (end <= observed_until) & (came > at)
    kept = np.zeros(len(said), dtype=bool)
    who, free = None, 0
    for i in np.flatnonzero(able):
        if ids[i] != who or at[i] >= free:
            kept[i], who, free = True, ids[i], end[i]
    return said[kept].assign(y=(came <= end)[kept].astype(np.int64)).reset_index(drop=True)


def figures(found: pd.DataFrame) -> dict[str, Any]:
    """The figures of what was said against what came; see ``watch``. The interval takes the outcomes as independent."""
    from training.evaluate import metrics

    p, y = found["probability"].to_numpy(dtype=np.float64), found["y"].to_numpy(dtype=np.float64)
    expected, observed = float(p.sum()), int(y.sum())
    out: dict[str, Any] = {"n": len(found), "prospects": int(found["prospect_id"].nunique())}
    out |= {"expected": expected, "observed": observed, "ratio": None, "low": None, "high": None}
    if max(expected, observed) >= FEW and expected > 0:
        # Score interval: under a ratio r the outcomes have about the mean r E and the variance of the p, times r.
        spread = SURE**2 * float((p * (1 - p)).sum()) / expected
        middle = observed + spread / 2
        half = math.sqrt(max(middle**2 - observed**2, 0.0))
        out |= {"ratio": observed / expected, "low": (middle - half) / expected, "high": (middle + half) / expected}
    told = metrics(y, p, resamples=0) if len(found) else {}
    return {**out, "auc": told.get("auc"), "log_loss": told.get("log_loss")}


def receipts_of(home: Path, goal: str, url: str = "") -> pd.DataFrame | None:
    """What the service answered about prospects as of the moment of asking, for one goal; None where nothing is kept.

    Args:
        home: the home.
        goal: the goal's outcome.
        url: of the live store, as the setting ``LEADSCORE_STORE`` says it.

    Returns:
        ``SAID`` with ``version``, and ``stands_for``: the prospect that this one was merged into by now, or itself.
        Raises LeadscoreError where the store fails.
    """
    import pandas as pd
    import sqlalchemy as sa

    from serving.receipts import PART, RECEIPTS, STEPS, moment_of
    from serving.store import FILE, NAMES, open_store, store_url

    if not url and not (home / FILE).exists():
        return None
    table = RECEIPTS.c
    query = sa.select(table.id, table.subject, table.version, table.as_of, table.probability, table.answer)
    query = query.where(table.kind == "prospect", table.goal == goal)
    merged = sa.select(NAMES.c.id, NAMES.c.target).where(NAMES.c.kind == "prospects", NAMES.c.target.is_not(None))
    store = open_store(store_url(url, home))
    try:
        store.add_part(PART, STEPS)
        rows, into = store.read(lambda c: (c.execute(query).all(), {r.id: r.target for r in c.execute(merged)}))
    finally:
        store.close()
    found = []
    for row in rows:
        given = moment_of(row.id)
        if given is not None and abs(given - row.as_of) <= DAY:  # not asked in hindsight
            days = json.loads(row.answer)["horizon_days"]
            stands_for = row.subject
            while stands_for in into:
                stands_for = into[stands_for]
            found.append((row.subject, row.as_of, days, row.probability, row.version, stands_for))
    return pd.DataFrame(found, columns=[*SAID, "version", "stands_for"])


def live_tables(home: Path, goal: str | None, url: str = "") -> Tables:
    """The live records as tables, by the way of ``leadscore export``. Raises BadInput ``no_data`` without any."""
    import tempfile

    from features.tables import read_tables
    from serving.store import FILE, open_store, store_url
    from training.live_export import champion_dataset, export_folder

    if not url and not (home / FILE).exists():
        remedy = "Name a data folder: leadscore monitor DATA."
        raise BadInput("no_data", "there are no live records yet.", where=str(home / FILE), remedy=remedy)
    store = open_store(store_url(url, home))
    try:
        with tempfile.TemporaryDirectory(prefix="leadscore-") as folder:
            export_folder(store, Path(folder) / "live", champion_dataset(home, goal))
            return read_tables(Path(folder) / "live", need_outcomes=True)
    finally:
        store.close()


def _predict(scorer: Scorer, rows: TrainingSet) -> Floats:
    return np.array([score.probability for score in _scores(scorer, rows)], dtype=np.float64)


def _scores(scorer: Scorer, rows: TrainingSet) -> Sequence[Any]:
    from training.model import columns

    regimes = [r if isinstance(r, str) else None for r in rows.rows["regime"]]
    return scorer.score_rows(columns(rows.values, scorer.spec), regimes)


def _curves(scorer: Scorer, asked: TrainingSet) -> Sequence[tuple[int, dict[str, Any]]]:
    """The figures of every point of the champion's curves that has had its time: (days, figures)."""
    import pandas as pd

    ids, at = asked.rows["prospect_id"].to_numpy(dtype=object), asked.as_of
    goal_at = dict(zip(ids, (int(t) for t in asked.goal_at), strict=True))
    points: dict[int, list[tuple[Any, ...]]] = {}
    for i, score in enumerate(_scores(scorer, asked)):
        for days, p in score.curve:
            points.setdefault(days, []).append((ids[i], at[i], days, p))
    return [
        (days, figures(matured(pd.DataFrame(rows, columns=list(SAID)), goal_at, asked.observed_until)))
        for days, rows in sorted(points.items())
    ]


def _goal_at(tables: Tables, goal: Any, until: int) -> dict[str, int]:
    from features.episodes import episodes

    found = episodes(tables, goal, until).select("prospect_id", "goal_at").to_pyarrow()
    return dict(zip(found["prospect_id"].to_pylist(), found["goal_at"].to_pylist(), strict=True))


def _warnings(found: Mapping[str, Any], trained: int, until: int) -> list[dict[str, str]]:
    out = []
    if until - trained < 7 * DAY:
        text = f"the records end {format_time(until)[:10]}, less than a week after the training's: there is nothing to "
        out.append({"code": "too_early", "text": text + "compare with yet."})
    elif not found["matured"]:
        text = "nothing that was said since the training has had its time yet."
        out.append({"code": "too_early", "text": text})
    for source in ("receipts", "champion"):
        off = [
            line
            for line in found["matured"]
            if line["source"] == source
            and line["version"] == found["model_version"]
            and line["ratio"] is not None
            and (line["low"] > BY or line["high"] < 1 / BY)
        ]
        if off:
            line = max(off, key=lambda part: int(part["days"]))
            whose = "the answers given" if source == "receipts" else "the champion's probabilities since its training"
            text = (
                f"of {line['n']} prospects that had {line['days']} days, {line['observed']} reached the goal where "
                f"{whose} expected {line['expected']:.1f} ({line['ratio']:.2f} times, 98 % {line['low']:.2f} to "
                f"{line['high']:.2f}). Check that outcomes are recorded as before; if so, train again."
            )
            out.append({"code": "outcomes_differ", "text": text})
    for name in ("rate", "scores"):
        drift = found[name]
        if drift is not None and drift["drift"]:
            out.append({"code": "drift", "text": drift["text"]})
    return out
