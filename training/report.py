"""Pictures of a model: calibration, lift, importance, curves over horizons, reasons. Legible in grey.

Each function takes plain frames or scores and returns a ``matplotlib.figure.Figure``; only ``write`` writes. The
figures know nothing of pyplot, so that training needs no screen; a notebook shows them after ``%matplotlib inline``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from serving.scorer import Score
    from training.dataset import TrainingSet
    from training.model import Model

BINS = 10
SAMPLE = 500  # rows whose contributions are averaged for the importance
# Okabe and Ito's palette: distinct for colour-blind readers and in grey.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"
_COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7")
_STYLES = ("-", "--", ":", "-.")
DPI = 80


def _figure(title: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def write(pictures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write each picture into a folder as ``<name>.png``; the same figure gives the same bytes."""
    out = []
    for name, figure in pictures.items():
        out.append(folder / f"{name}.png")
        figure.savefig(out[-1], dpi=DPI, metadata={"Software": None})
    return out


def calibration_bins(rows: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Predicted against observed in bins of equal mass.

    Args:
        rows: one line per prediction with ``p`` (probability) and ``y`` (0 or 1), as ``Evaluation.rows`` and
            ``Model.folds`` hold them; with ``prospect_id``, the rows of one prospect count as one.
        bins: how many.

    Returns:
        pandas, one line per bin: predicted, observed, low, high (95 % Jeffreys interval of the observed rate, from as
        many independent trials as there are distinct prospects in the bin), n (rows).
    """
    import pandas as pd
    from scipy.stats import beta

    ordered = rows.sort_values("p", kind="stable")
    out = []
    for part in np.array_split(np.arange(len(ordered)), min(bins, len(ordered))):
        here = ordered.iloc[part]
        rate = float(here["y"].mean())
        n = here["prospect_id"].nunique() if "prospect_id" in here else len(here)
        low, high = beta.ppf((0.025, 0.975), n * rate + 0.5, n * (1 - rate) + 0.5)
        out.append((here["p"].mean(), rate, low, high, len(here)))
    return pd.DataFrame(out, columns=["predicted", "observed", "low", "high", "n"])


def calibration(rows: pd.DataFrame, bins: int = BINS) -> Figure:
    """Observed rate over predicted probability, with intervals; a calibrated model lies on the diagonal."""
    found = calibration_bins(rows, bins)
    figure, axes = _figure("Calibration: of those given p, how many converted")
    top = 1.08 * float(max(found["high"].max(), found["predicted"].max()))
    axes.plot([0, top], [0, top], color=GREY, linewidth=1, linestyle="--", label="as promised")
    errors = np.clip([found["observed"] - found["low"], found["high"] - found["observed"]], 0, None)
    axes.errorbar(
        found["predicted"], found["observed"], errors, fmt="o", color=BLUE, capsize=3, label="observed, 95 % interval"
    )
    axes.set(xlabel="predicted probability", ylabel="observed rate", xlim=(0, top), ylim=(0, top))
    axes.legend(frameon=False)
    return figure


def lift_tenths(rows: pd.DataFrame) -> pd.DataFrame:
    """The rate in each tenth by score, best first, and the share of all conversions found up to it.

    ``rows`` as for ``calibration_bins``. Returns pandas with tenth (1 to 10), rate, lift (rate / overall rate), gain;
    rate is NaN in a tenth without rows, lift and gain are NaN where nobody converted.
    """
    import pandas as pd

    ordered = rows.sort_values("p", ascending=False, kind="stable")["y"].to_numpy(dtype=float)
    parts = np.array_split(ordered, BINS)
    rate = np.array([part.mean() if len(part) else np.nan for part in parts])
    won = np.cumsum([part.sum() for part in parts])
    all_won = won[-1] or np.nan
    lift = rate / (all_won / len(ordered))
    return pd.DataFrame({"tenth": np.arange(1, BINS + 1), "rate": rate, "lift": lift, "gain": won / all_won})


def lift(rows: pd.DataFrame) -> Figure:
    """Lift by tenth as bars, and the share of conversions found so far as a line."""
    found = lift_tenths(rows)
    figure, axes = _figure("Lift: how much likelier than average, by tenth of the ranking")
    axes.bar(found["tenth"], found["lift"], color=BLUE, width=0.7, label="lift")
    axes.axhline(1, color=GREY, linewidth=1, linestyle="--")
    axes.set(xlabel="tenth of the prospects, best first", ylabel="lift", xticks=found["tenth"])
    right = axes.twinx()
    right.plot(found["tenth"], found["gain"], color=ORANGE, marker="o", label="share of conversions found")
    right.set(ylabel="share of conversions found", ylim=(0, 1.02))
    right.spines["top"].set_visible(False)
    handles = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, frameon=False, loc="center right")
    return figure


def importances(model: Model, rows: TrainingSet, seed: int = 0) -> pd.Series[float]:
    """How much each feature moves the predictions: its mean absolute effect, in log-odds.

    The effect is the one that reasons state (contributions to the hazards, weighted over the intervals), averaged over
    at most ``SAMPLE`` of the rows.

    Returns:
        pandas, indexed by feature, greatest first; a feature without any effect is 0.
    """
    import pandas as pd

    from training.model import columns

    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:SAMPLE])
    values = columns(rows.values.iloc[chosen], model.spec)
    regimes = _regimes(rows.rows.iloc[chosen])
    names = model.spec.names
    total = dict.fromkeys(names, 0.0)
    for score in model.scorer.score_rows(values, regimes, reasons=len(names)):
        for reason in score.reasons:
            total[reason.feature] += abs(reason.effect)
    return pd.Series(total, dtype=float).div(len(chosen)).sort_values(ascending=False, kind="stable")


def examples(model: Model, rows: TrainingSet) -> list[Score]:
    """The best, the middle and the last of the prospects open at T, scored (of the landmarks where none is open)."""
    from training.model import columns

    frame, values = rows.open_rows, rows.open_values
    if frame is None or values is None or frame.empty:
        frame, values = rows.rows, rows.values
    ids = [str(i) for i in frame["prospect_id"]]
    scores = model.scorer.score_rows(columns(values, model.spec), _regimes(frame), prospect_ids=ids)
    scores.sort(key=lambda s: (-s.probability, s.prospect_id))
    return [scores[0], scores[len(scores) // 2], scores[-1]]


def _regimes(rows: pd.DataFrame) -> list[str | None]:
    return [r if isinstance(r, str) else None for r in rows["regime"]]


def importance(effects: pd.Series[float], most: int = 20) -> Figure:
    """The greatest mean absolute effects as bars."""
    shown = effects.head(most)[::-1]
    figure, axes = _figure("Importance: mean absolute effect on the log-odds")
    figure.set_size_inches(6.4, 1.2 + 0.24 * len(shown))
    axes.barh(np.arange(len(shown)), shown.to_numpy(), color=BLUE, height=0.7)
    axes.set_yticks(np.arange(len(shown)), list(shown.index), fontsize=8)
    axes.set(xlabel="mean absolute effect", ylim=(-0.6, len(shown) - 0.4))
    return figure


def curves(scores: Sequence[Score], labels: Sequence[str] | None = None) -> Figure:
    """Probability of conversion over the days to the horizon for a few prospects, with the interval at its end.

    Args:
        scores: as the scorer gives them.
        labels: one name per score; the prospects' ids by default.
    """
    figure, axes = _figure("Curve: probability to have converted within so many days")
    for i, score in enumerate(scores):
        days = [0, *(d for d, _ in score.curve)]
        p = [0.0, *(q for _, q in score.curve)]
        name = labels[i] if labels else score.prospect_id
        colour = _COLOURS[i % len(_COLOURS)]
        axes.plot(days, p, _STYLES[i % 4], color=colour, marker=".", label=f"{name}: {score.probability:.0%}")
        ends = [[score.probability - score.probability_low], [score.probability_high - score.probability]]
        axes.errorbar([days[-1]], [p[-1]], ends, color=colour, capsize=3)
    axes.set(xlabel="days from now", ylabel="probability", ylim=(0, None))
    axes.legend(frameon=False)
    return figure


def reasons(scores: Sequence[Score], labels: Sequence[str] | None = None, most: int = 5) -> Figure:
    """What speaks for (right) and against (left) each of a few prospects: its reasons, in a salesperson's words.

    Args:
        scores: scored with ``reasons``.
        labels: one name per score; the prospects' ids by default.
        most: reasons shown for each, the greatest effects first.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, (0.55 + 0.24 * most) * len(scores) + 0.3), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(scores), sharex=True, squeeze=False)[:, 0]
    for i, (score, axes) in enumerate(zip(scores, panels, strict=True)):
        shown = score.reasons[:most][::-1]
        effects = np.array([r.effect for r in shown])
        axes.barh(np.arange(len(shown)), effects, color=np.where(effects > 0, BLUE, ORANGE), height=0.7)
        axes.set_yticks(np.arange(len(shown)), [r.label for r in shown], fontsize=8)
        axes.axvline(0, color=GREY, linewidth=1)
        name = labels[i] if labels else score.prospect_id
        axes.set_title(f"{name}: {score.probability:.0%} within {score.horizon_days} days", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("effect on the log-odds")
    return figure
