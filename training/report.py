"""Pictures of a model: windows forward in time, calibration, lift, importance, curves, reasons. Legible in grey.

Each function takes plain frames, scores or the card's figures and returns a ``matplotlib.figure.Figure``; only
``write`` writes. The figures know nothing of pyplot, so that training needs no screen; a notebook shows them after
``%matplotlib inline``.
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
# Okabe and Ito's palette: distinct for colour-blind readers. Marks and line styles differ too, for paper in grey.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
_COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7")
_STYLES = ("-", "--", ":", "-.")
_MARKS = "osD^"
DPI = 100
WIDTH, WIDE, HEIGHT = 5.6, 8.0, 3.9  # inches


def pictures(
    card: Mapping[str, Any], rows: pd.DataFrame, effects: pd.Series[float], scores: Sequence[Score]
) -> dict[str, Figure]:
    """Every picture of a training by name; ``forward`` and ``horizons`` only where it was judged forward in time.

    Args:
        card: what the model tells of itself.
        rows: the tested rows, as for ``calibration_bins``.
        effects: as ``importances`` gives them.
        scores: the best, the middle and the last prospect, as ``examples`` gives them.
    """
    rolling = card.get("rolling", {})
    out = {
        **({"forward": forward(rolling["cuts"])} if rolling.get("cuts") else {}),
        "calibration": calibration(rows),
        "lift": lift(rows),
        **({"horizons": horizons(rolling["by_horizon"])} if rolling.get("by_horizon") else {}),
        "importance": importance(effects),
        "curve": curves(scores, ("best", "middle", "last")),
    }
    for figure in out.values():  # a layout that is computed anew for each drawing may not come out the same
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return out


def _figure(title: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    _dress(axes, title)
    return figure, axes


def _dress(axes: Any, title: str, grid: str = "y") -> None:
    # A name from the data may hold dollar signs, which would start a formula.
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _percent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def _share(p: float) -> str:
    return f"{100 * p:.{0 if p >= 0.1 else 1}f} %"


def write(pictures: Mapping[str, Figure], folder: Path, page: str | None = None) -> list[Path]:
    """Write each picture into a folder as ``<name>.png``, the same figure as the same bytes, and a page of them.

    Args:
        pictures: figures by name.
        folder: where to.
        page: the text of ``report.html``, if there is one.
    """
    out = []
    if page is not None:
        out.append(folder / "report.html")
        out[0].write_text(page, encoding="utf-8")
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
    _percent(axes.xaxis)
    _percent(axes.yaxis)
    axes.legend(frameon=False, loc="upper left")
    return figure


def forward(cuts: Sequence[Mapping[str, Any]]) -> Figure:
    """Window by window forward in time: the rate promised and observed, the AUC, and the log loss beside a constant's.

    Args:
        cuts: as the card's ``rolling`` holds them: ``cut`` and ``test_until`` (ISO texts), and ``figures`` with their
            95 % intervals.
    """
    from matplotlib.dates import DateFormatter
    from matplotlib.figure import Figure

    starts, ends = (np.array([str(c[name])[:10] for c in cuts], "datetime64[D]") for name in ("cut", "test_until"))
    days = starts.astype(float), np.maximum(ends, starts + 1).astype(float)
    figure = Figure(figsize=(WIDE, 5.6), dpi=DPI, layout="constrained")
    panels = figure.subplots(3, sharex=True)

    def values(name: str, end: int | None = None) -> Any:
        of = [c["figures"] if end is None else c["figures"].get("interval", {}) for c in cuts]
        found = [f.get(name) for f in of]
        return np.array([np.nan if v is None else v if end is None else v[end] for v in found], dtype=float)

    def draw(axes: Any, at: Any, label: str, colour: str, mark: str, style: str, of: str | None = None) -> None:
        axes.hlines(at, *days, color=colour, linewidth=1.5, linestyle=style)
        middle, face = (days[0] + days[1]) / 2, colour if of else "white"
        axes.plot(middle, at, mark, color=colour, markerfacecolor=face, label=label)
        if of:
            axes.vlines(middle, values(of, 0), values(of, 1), color=colour, linewidth=1.5)

    rates, ranking, losses = panels
    _dress(rates, "Rate")
    draw(rates, values("rate"), "observed, 95 % interval", ORANGE, "D", "-", "rate")
    draw(rates, values("mean_predicted"), "promised", BLUE, "o", "--")
    _percent(rates.yaxis)
    _dress(ranking, "Ranking (AUC)")
    draw(ranking, values("auc"), "model, 95 % interval", BLUE, "o", "-", "auc")
    ranking.axhline(0.5, color=GREY, linewidth=1, linestyle="--", label="chance")
    _dress(losses, "Log loss: lower is better")
    draw(losses, values("log_loss"), "model, 95 % interval", BLUE, "o", "-", "log_loss")
    draw(losses, values("log_loss") + values("log_loss_gain"), "constant", GREY, "s", "--")
    losses.set_xticks([*days[0], days[1][-1]][:: 1 + len(cuts) // 6])
    losses.xaxis.set_major_formatter(DateFormatter("%Y-%m-%d"))
    for axes in panels:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def horizons(by_horizon: Sequence[Mapping[str, Any]]) -> Figure:
    """The rate promised and the rate observed within so many days, for every point of the curve.

    Args:
        by_horizon: as the card's ``rolling`` holds it: ``days``, ``rate`` and ``mean_predicted`` each.
    """
    figure, axes = _figure("Horizons: promised and observed within so many days")
    at = np.arange(len(by_horizon))
    for name, label, style, colour in (
        ("mean_predicted", "promised", "o--", BLUE),
        ("rate", "observed", "D-", ORANGE),
    ):
        found = [np.nan if h.get(name) is None else h[name] for h in by_horizon]
        axes.plot(at, found, style, color=colour, markerfacecolor="white" if "--" in style else colour, label=label)
    axes.set(xlabel="days", ylabel="rate", ylim=(0, None))
    axes.set_xticks(at, [str(h["days"]) for h in by_horizon])
    _percent(axes.yaxis)
    axes.legend(frameon=False, loc="upper left")
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
    """Lift by tenth as bars; beside it the gain, the share of conversions found down the ranking."""
    from matplotlib.figure import Figure

    found = lift_tenths(rows)
    figure = Figure(figsize=(WIDE, 3.4), dpi=DPI, layout="constrained")
    bars, line = figure.subplots(1, 2)
    _dress(bars, "Lift: how much likelier than average")
    bars.bar(found["tenth"], found["lift"], color=BLUE, width=0.7)
    bars.axhline(1, color=GREY, linewidth=1, linestyle="--", label="average")
    bars.set(xlabel="tenth of the prospects, best first", ylabel="lift", xticks=found["tenth"])
    bars.margins(y=0.2)
    bars.legend(frameon=False, loc="upper right")
    _dress(line, "Gain: the conversions found so far", "both")
    share = np.arange(BINS + 1) / BINS
    line.plot(share, [0, *found["gain"]], "o-", color=BLUE, markersize=5, label="by the ranking")
    line.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="in any order")
    line.set(xlabel="share of the prospects, best first", ylabel="share of the conversions", ylim=(0, 1.04))
    _percent(line.xaxis)
    _percent(line.yaxis)
    line.legend(frameon=False, loc="lower right")
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
    figure.set_size_inches(WIDE, 1.2 + 0.22 * len(shown))
    axes.grid(visible=False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.barh(np.arange(len(shown)), shown.to_numpy(), color=BLUE, height=0.7)
    axes.set_yticks(np.arange(len(shown)), list(shown.index), fontsize=9, parse_math=False)
    axes.set(xlabel="mean absolute effect", ylim=(-0.6, len(shown) - 0.4))
    if not shown.any():
        axes.set_xlim(0, 1)
        axes.text(0.5, 0.5, "no feature moves the probability", transform=axes.transAxes, ha="center")
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
        label = f"{name}: {_share(score.probability)}"
        axes.plot(days, p, _STYLES[i % 4], color=colour, marker=_MARKS[i % 4], markersize=4, label=label)
        ends = [[score.probability - score.probability_low], [score.probability_high - score.probability]]
        axes.errorbar([days[-1]], [p[-1]], ends, color=colour, capsize=3)
    axes.set(xlabel="days from now", ylabel="probability", ylim=(0, None))
    _percent(axes.yaxis)
    for text in axes.legend(frameon=False).get_texts():
        text.set_parse_math(False)
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
        axes.set_yticks(np.arange(len(shown)), [r.label for r in shown], fontsize=8, parse_math=False)
        axes.axvline(0, color=GREY, linewidth=1)
        name = labels[i] if labels else score.prospect_id
        _dress(axes, f"{name}: {_share(score.probability)} within {score.horizon_days} days", "x")
    panels[-1].set_xlabel("effect on the log-odds")
    return figure
