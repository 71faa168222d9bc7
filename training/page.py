"""The report of a training: one HTML page that needs nothing else, from the model's card and a few pictures.

``page`` is a function of plain data: the same card and the same figures give the same bytes. Whatever is missing (a
history too short to be judged, a figure that is not defined) is said in words. The layout is ``page.html``, a Jinja2
template with autoescape on, since levels and feature names are whatever a CRM's users wrote. The pictures stand in it
as SVG whose text is text: it can be searched, and printed at any size.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NONE = "–"  # where there is nothing to tell
MINUS, SPACE = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"

# The order in which verdicts stand: what makes the figures untrue comes before what makes them uncertain.
_TITLES = {
    "suspected_leak": "The outcome may have leaked into the data",
    "not_judged": "Not judged forward in time",
    "weak_signal": "No clear signal",
    "few_outcomes": "Few outcomes",
    "drift": "The world has moved",
    "calibration_slope": "The probabilities are not spread as they should be",
}
_SIGNS = {
    "known_after": "known only after the outcome",
    "filled_when_decided": "filled when the outcome is decided",
    "changes_at_outcome": "changes at the outcome",
    "separates_outcomes": "tells the outcome on its own",
    "late_only": "tells the outcome only shortly before it",
    "id_encodes_outcome": "an id that encodes the outcome",
}
# Figures in the order of the table: name, label, what it means, as a share.
_FIGURES = (
    ("rate", "Observed rate", "of the tested, how many converted", True),
    ("mean_predicted", "Promised rate", "the mean probability given", True),
    ("auc", "AUC", "chance that one who converts outranks one who does not", False),
    ("average_precision", "Average precision", "mean precision down the ranking", False),
    ("lift_top_tenth", "Lift, top tenth", "the rate among the best tenth, over the rate", False),
    ("log_loss", "Log loss", "lower is better", False),
    ("log_loss_gain", "Gain in log loss", "over the constant; above 0 is skill", False),
    ("brier", "Brier score", "lower is better", False),
    ("brier_skill", "Brier skill", "share of the constant's score that is gone", False),
    ("calibration_error", "Calibration error", "mean distance of promised and observed", False),
    ("slope", "Calibration slope", "1 is right; below 1, too much spread", False),
    ("intercept", "Calibration intercept", "0 is right", False),
)
_SEGMENTS = {"regime": "Regime", "size": "Size of the firm (headcount)", "source": "Source"}
_TILES = (
    ("auc", "Ranking (AUC)", "0.5 is chance, 1 is perfect"),
    ("lift_top_tenth", "Lift in the top tenth", "times the average rate"),
    ("log_loss_gain", "Gain over a constant", "in log loss; above 0 is skill"),
    ("calibration_error", "Calibration error", "0 is perfect"),
    ("slope", "Calibration slope", "1 is right"),
)


def page(card: Mapping[str, Any], pictures: Mapping[str, Figure | None]) -> str:
    """The report as one HTML text, without scripts and without a reference to anything outside of it.

    Args:
        card: what the model tells of itself (``card.json``); every part may be missing.
        pictures: figures by name, as ``training.report.pictures`` gives them; those that are missing are said to be.
    """
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("training").joinpath("page.html").read_text(encoding="utf-8"))
    drawn = {
        name: Markup(svg(figure, name, _seen(name, figure, card)))
        for name, figure in pictures.items()
        if figure is not None
    }
    return template.render(**_content(card), pictures=drawn, marks=_marks) + "\n"


def svg(figure: Figure, name: str, label: str) -> str:
    """A figure as an SVG element of an HTML page; the same figure gives the same bytes.

    Args:
        figure: drawn at its own size, which the page scales.
        name: sets its ids apart from those of the page's other pictures.
        label: what it shows, for those who cannot see it.
    """
    from xml.etree import ElementTree

    import matplotlib

    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"]}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    # A name from the data may hold a control character, which XML does not admit.
    root = ElementTree.fromstring(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "\ufffd", written.getvalue()))
    used: set[str] = set()
    for element in root.iter():
        for child in [c for c in element if c.tag.endswith(("}metadata", "}style"))]:
            element.remove(child)
        element.tag = element.tag.rpartition("}")[2]  # within HTML, names need no namespace
        for key, value in list(element.attrib.items()):
            plain = key.rpartition("}")[2]
            if plain in ("href", "clip-path"):
                used.update(re.findall(r"#([\w-]+)", value))
                value = value.replace("#", f"#{name}-")
            del element.attrib[key]
            element.set(plain, value)
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "role": "img", "aria-label": label})
    return ElementTree.tostring(root, encoding="unicode")


def number(value: Any, like: Sequence[Any] = ()) -> str:
    """Three significant digits of the greatest of the value and those that it stands beside; whole numbers whole."""
    if not _told(value):
        return NONE
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    greatest = max(abs(float(v)) for v in (value, *like) if _told(v))
    decimals = 2 - math.floor(math.log10(greatest)) if greatest > 0 else 0
    text = f"{value:,.{min(max(decimals, 0), 6)}f}"
    return (text if float(text.replace(",", "")) else text.lstrip("-")).replace("-", MINUS)


def percent(value: Any, like: Sequence[Any] = ()) -> str:
    """A share as a percentage."""
    if not _told(value):
        return NONE
    return number(100.0 * value, [100.0 * v for v in like if _told(v)]) + SPACE + "%"


def between(figures: Mapping[str, Any], name: str, share: bool = False) -> str:
    """A figure with its interval: ``0.708 (0.674 to 0.738)``."""
    value, ends = _with_ends(figures, name, share)
    return f"{value} ({ends})" if ends else value


def _with_ends(figures: Mapping[str, Any], name: str, share: bool = False) -> tuple[str, str]:
    write = percent if share else number
    value = figures.get(name)
    low, high = figures.get("interval", {}).get(name, (None, None))
    if not (_told(value) and _told(low) and _told(high)):
        return write(value), ""
    like = (low, value, high)
    low, value, high = (write(v, like) for v in like)
    return value, f"{low.removesuffix(SPACE + '%')} to {high}"


def _told(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _day(text: Any) -> str:
    return str(text)[:10]


def _days(count: Any) -> str:
    return f"{number(count)} day" + ("" if count == 1 else "s")


def _marks(
    scale: tuple[float, float],
    *,
    line: tuple[Any, Any] | None = None,
    dot: Any = None,
    ring: Any = None,
    at: Any = None,
) -> Any:
    """A small picture for a cell: a line between two values, a dot, a ring, and a reference ``at`` across."""
    from markupsafe import Markup

    low, high = scale

    def x(value: Any) -> str:
        return f"{5 + 110 * (min(max(value, low), high) - low) / ((high - low) or 1):.1f}"

    parts = []
    if _told(at):
        parts.append(f'<line class="at" x1="{x(at)}" x2="{x(at)}" y1="1" y2="15"/>')
    if line is not None and all(map(_told, line)):
        parts.append(f'<line class="span" x1="{x(line[0])}" x2="{x(line[1])}" y1="8" y2="8"/>')
    if _told(ring):
        parts.append(f'<circle class="ring" cx="{x(ring)}" cy="8" r="4"/>')
    if _told(dot):
        parts.append(f'<path class="dot" transform="translate({x(dot)} 8)" d="M0-4.5 4.5 0 0 4.5-4.5 0Z"/>')
    return Markup('<svg class="marks" viewBox="0 0 120 16" aria-hidden="true">' + "".join(parts) + "</svg>")


def _seen(name: str, figure: Figure, card: Mapping[str, Any]) -> str:
    """What a picture shows, in words."""
    figures, _ = _judged(card)
    if name == "importance":
        names = [t.get_text() for axes in figure.axes[:1] for t in axes.get_yticklabels()][::-1]
        return f"Bars of the mean absolute effect by feature, greatest first: {', '.join(names)}."
    return {
        "forward": "The observed and promised rates, the AUC and the log loss of each window; "
        "the table below holds the numbers.",
        "calibration": "Observed rate over promised probability in bins of equal size, with 95 % intervals. "
        f"The calibration error is {number(figures.get('calibration_error'))}, "
        f"the slope {number(figures.get('slope'))}.",
        "lift": f"Lift by tenth of the ranking as bars; the best tenth has {number(figures.get('lift_top_tenth'))} "
        "times the average rate. Beside it the share of conversions found over the share of prospects.",
        "horizons": "Promised and observed rates by horizon; the table below holds the numbers.",
        "curve": "Probability over the days to the horizon for the best, the middle and the last prospect.",
    }.get(name, name)


def _judged(card: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The figures that the report leads with, and whether they are forward in time."""
    metrics = card.get("metrics", {})
    rolling = card.get("rolling", {}).get("figures") or metrics.get("rolling")
    return (rolling, True) if rolling else (metrics.get("folds", {}), False)


# What stands on the page, as texts and numbers


def _content(card: Mapping[str, Any]) -> dict[str, Any]:
    figures, forward = _judged(card)
    rolling, goal = card.get("rolling", {}), card.get("goal", {})
    outcome = str(goal.get("outcome", "the goal"))
    return {
        "title": f"{outcome} {within(goal.get('horizon_days', card.get('horizon_days')))}".strip(),
        "facts": _facts(card),
        "verdicts": _verdicts(card),
        "checks": _checks(card),
        "forward": forward,
        "tiles": [{"label": label, "note": note, "value": _with_ends(figures, name)} for name, label, note in _TILES]
        if figures
        else [],
        "data": _data(card),
        "intervals": _intervals(card),
        "choice": _choice(card),
        "table": _table(card),
        "skipped": [(_day(s.get("cut")), str(s.get("reason", ""))) for s in rolling.get("skipped", ())],
        "calibration": _calibration(card),
        "firms": [text for part in ("account", "effort") if (text := (card.get(part) or {}).get("text"))],
        "horizons": _levels([{**h, "level": _days(h.get("days"))} for h in rolling.get("by_horizon", ())]),
        "segments": _segments(rolling),
        "audit": _audit(card),
        "features": [str(f) for f in card.get("features", ())],
        "made": _made(card),
    }


def within(horizon: Any) -> str:
    """A goal's horizon as a card holds it, in words: days, or days by regime."""
    if isinstance(horizon, Mapping):
        parts = [f"{days} days ({regime or 'otherwise'})" for regime, days in horizon.items()]
        return "within " + ", ".join(parts)
    return "" if horizon is None else f"within {horizon} days"


def _facts(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    goal, data = card.get("goal", {}), card.get("data", {})
    found = [
        ("Goal", goal.get("outcome")),
        ("Counted from", goal.get("starts_at") or ("creation" if goal else None)),
        ("Horizon", within(goal.get("horizon_days", card.get("horizon_days"))).removeprefix("within ")),
        ("Trained until", _day(card["trained_until"]) if "trained_until" in card else None),
        ("Prospects", number(data["prospects"]) if "prospects" in data else None),
        ("Outcomes", number(data["outcomes"]) if "outcomes" in data else None),
        ("Base rate", percent(card["base_rate"]) if "base_rate" in card else None),
        ("Model", _name(card["model"]) if "model" in card else None),
    ]
    return [(label, str(value)) for label, value in found if value]


def _verdicts(card: Mapping[str, Any]) -> list[dict[str, str]]:
    from training.verdicts import slope_off

    order, (figures, forward) = list(_TITLES), _judged(card)
    slope = slope_off(figures) if forward else None  # what the folds show is mended by a mapping
    found = [*card.get("warnings", ()), *(card.get("audit") or ()), *([slope] if slope else ())]
    out = {
        str(w.get("text", "")): {
            "code": str(w.get("code", "")),
            "title": _TITLES.get(w.get("code", ""), str(w.get("code", "")).replace("_", " ").capitalize()),
            "name": str(w.get("name", "")),
            "text": _sentence(str(w.get("text", ""))),
        }
        for w in found
    }
    return sorted(out.values(), key=lambda w: order.index(w["code"]) if w["code"] in order else len(order))


def _sentence(text: str) -> str:
    """With a capital unless it begins with a name; a number and its % stay on one line."""
    text = re.sub(r"(?<=\d) %", SPACE + "%", text)
    return text[:1].upper() + text[1:] if re.match("[a-z]+ ", text) else text


def _checks(card: Mapping[str, Any]) -> str:
    looked = ["the strength of the signal", "the number of outcomes", "drift"]
    if (_judged(card)[0].get("interval") or {}).get("slope"):
        looked.append("the calibration slope")
    if card.get("audit") is not None:
        looked.append("hindsight in columns, events and ids")
    return ", ".join(looked[:-1]) + " and " + looked[-1]


def _data(card: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of label, value and what it means."""
    data = card.get("data", {})
    rows = []
    if "from" in data and "until" in data:
        rows.append(
            ("Time span", f"{_day(data['from'])} to {_day(data['until'])}", "from the first landmark to the end")
        )
    for name, label, note in (
        ("prospects", "Prospects", "with a landmark while they were open"),
        ("outcomes", "Outcomes", "prospects that reached the goal by the end"),
        ("learned_outcomes", "Outcomes learned from", "those in an interval that was wholly observed"),
        ("rows", "Landmarks", "(prospect, time) pairs"),
        ("pooled_rows", "Intervals at risk", "what the hazard is fitted on"),
        ("late", "Kept out", "landmarks of prospects closed by then, but recorded later"),
    ):
        if name in data:
            rows.append((label, number(data[name]), note))
    if "recording_delay_days" in data:
        delay = number(data["recording_delay_days"])
        rows.append(("Recording delay", f"{delay} days", "99 % of the outcomes were recorded by then"))
    if "digest" in data:
        rows.append(("Digest", str(data["digest"])[:16], "of the tables; the same data have the same"))
    return rows


def _intervals(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "days": f"{i['from_days']} to {i['to_days']}",
            "rows": number(i["rows"]),
            "outcomes": number(i["outcomes"]),
            "rate": percent(i["outcomes"] / i["rows"] if i["rows"] else None),
        }
        for i in card.get("intervals", ())
    ]


def _name(model: Any) -> str:
    """A candidate as people call it: ``blend_100`` is the blend of 100 trees and a logistic hazard."""
    name = str(model).removeprefix("searched_")
    of_all = name.removesuffix("_by_regime")
    own = ", with effects of each regime's own" if of_all != name else ""
    own = f" with parameters of a search{own}" if name != model else own
    kind, _, trees = of_all.partition("_")
    if not trees.isdigit():
        return f"logistic hazard{own}" if of_all == "logistic" else str(model)
    return {"trees": f"{trees} trees{own}", "blend": f"blend of {trees} trees and logistic{own}"}.get(kind, str(model))


def _usual(few: bool) -> str:
    """What is taken unless another is clearly better."""
    from training.choice import FEW, PLAIN, STEADY

    if few:
        return f"the steady recipe, {_name(STEADY.name)}, which is the usual one below {FEW} outcomes"
    return f"the plain recipe, {_name(PLAIN.name)}"


def _choice(card: Mapping[str, Any]) -> dict[str, Any]:
    from training.choice import FEW, STEADY

    choice, level = card.get("choice"), card.get("recent_level")
    rows: list[dict[str, Any]] = []
    if choice is None:
        words = (
            "The recipe was given: nothing was chosen." if "params" in card else "How it came about is not on record."
        )
    elif not choice.get("cuts"):
        words = f"There were too few outcomes to choose by. Taken: {_usual(choice.get('chosen') == STEADY.name)}."
    else:
        words = (
            f"Taken: {_name(choice.get('chosen'))}. Each candidate learned from what was known at "
            f"{', '.join(map(_day, choice['cuts']))}, and was judged on the landmarks after it."
        )
        rows = _candidates(choice)
    return {
        "words": words,
        "rows": rows,
        "usual": _usual(card.get("data", {}).get("learned_outcomes", FEW) < FEW),
        "search": _search((choice or {}).get("search")),
        "regimes": _by_regime(choice or {}),
        "level": f"The level was moved by {number(level)} on the log-odds, after the recent past." if level else "",
        "recipe": [(str(name), _plain(value)) for name, value in card.get("params", {}).items()],
    }


def _search(found: Mapping[str, Any] | None) -> str:
    """What came of a search, in words; nothing where there was none."""
    if found is None:
        return ""
    if "cut" not in found:
        return f"A search of {found['trials']} trials was asked for, but there were too few outcomes to search by."
    difference, error = found["difference"], found["standard_error"]
    ends = [difference + sign * 1.96 * error for sign in (-1, 1)]
    return (
        f"A search of {found['trials']} trials came to {_name(found['name'])}. After {_day(found['cut'])}, which the "
        f"search had not seen, its log loss was {found['log_loss']:.4f}, {number(difference, ends)} "
        f"({number(ends[0], ends)} to {number(ends[1], ends)}) against the {_name(found['against'])}: "
        + ("clearly better, so it took its place." if found["taken"] else "not clearly better, so it was left.")
    )


def _by_regime(choice: Mapping[str, Any]) -> dict[str, Any] | None:
    """One model of all regimes against one with effects of each, in words and figures; None where none was tried."""
    found = choice.get("regimes")
    if not found:
        return None
    own = choice.get("chosen") != found.get("pooled")
    words = (
        f"Taken is a model with effects of each regime's own, shrunk to those of all: it is clearly better than one of "
        f"all, the {_name(found.get('pooled'))}."
        if own
        else f"Taken is one model of all, the {_name(found.get('pooled'))}: none with effects of each regime's own is "
        "clearly better."
    )
    return {"words": words, "rows": _candidates({**found, "chosen": choice.get("chosen")}, "one model of all")}


def _candidates(choice: Mapping[str, Any], plain: str = "plain recipe") -> list[dict[str, Any]]:
    found = []
    for c in choice.get("candidates", ()):
        difference, low, high = (c.get(name) for name in ("difference", "low", "high"))
        if low is None and _told(difference) and _told(c.get("standard_error")):
            low, high = (difference + sign * 1.96 * c["standard_error"] for sign in (-1, 1))
        found.append((c, difference, low, high))
    ends = [v for _, *three in found for v in three if _told(v)]
    scale = min(ends, default=0.0), max(ends, default=0.0)
    return [
        {
            "name": _name(c.get("name")),
            "chosen": c.get("name") == choice.get("chosen"),
            "log_loss": f"{c['log_loss']:.4f}" if _told(c.get("log_loss")) else NONE,
            "difference": plain
            if low == high == 0
            else f"{number(difference, ends)} ({number(low, ends)} to {number(high, ends)})",
            "marks": {"scale": scale, "line": (low, high), "dot": difference, "at": 0.0},
        }
        for c, difference, low, high in found
    ]


def _table(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """The figures with a column for all windows together, the constant, each window, and the folds."""
    figures, forward = _judged(card)
    if not figures:
        return None
    cuts = card.get("rolling", {}).get("cuts", ())
    columns: list[tuple[str, str, Mapping[str, Any]]] = [
        ("Together" if forward else "Out of fold", "all windows" if forward else "", figures),
        ("Constant", "the base rate", _constant(figures)),
        *((_day(c.get("cut")), f"to {_day(c.get('test_until'))}", c.get("figures", {})) for c in cuts),
    ]
    folds = card.get("metrics", {}).get("folds")
    if forward and folds:
        columns.append(("Out of fold", "not forward in time", folds))
    counts = []
    for label, note, name in (
        ("Tested landmarks", "", "tested"),
        ("of prospects", "", "prospects"),
        ("Outcomes trained on", "known at the window's start", "trained_outcomes"),
    ):
        cells = [number(c.get("counts", {}).get(name)) for c in cuts]
        if any(cell != NONE for cell in cells):
            cells = [number(figures.get("n")) if name == "tested" else NONE, NONE, *cells]
            cells += [NONE] * (len(columns) - len(cells))
            counts.append((label, note, [(cell, "") for cell in cells]))
    return {
        "columns": [(head, note) for head, note, _ in columns],
        "rows": [
            *counts,
            *(
                (label, note, [_with_ends(of, name, share) for _, _, of in columns])
                for name, label, note, share in _FIGURES
                if any(name in of for _, _, of in columns)
            ),
        ],
    }


def _constant(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What the constant's figures are, as far as the model's tell."""
    out: dict[str, Any] = {"auc": 0.5, "average_precision": figures.get("rate"), "lift_top_tenth": 1.0}
    loss, gain = figures.get("log_loss"), figures.get("log_loss_gain")
    if _told(loss) and _told(gain):
        out |= {"log_loss": loss + gain, "log_loss_gain": 0.0}
    brier, skill = figures.get("brier"), figures.get("brier_skill")
    if _told(brier) and _told(skill) and skill < 1:
        out |= {"brier": brier / (1 - skill), "brier_skill": 0.0}
    return out


def _calibration(card: Mapping[str, Any]) -> dict[str, Any]:
    figures, _ = _judged(card)
    guard = card.get("calibration", {})
    kept = card.get("signal", {}).get("kept", 1.0)
    words = ""
    if guard:
        as_given = (
            "the probabilities stand as the model gives them" if kept == 1 else "the probabilities are not mapped by it"
        )
        slope = f" (slope {number(guard['slope'])})" if _told(guard.get("slope")) else ""
        words = (
            f"The folds showed a slope off one{slope}: the probabilities are mapped by it."
            if guard.get("used")
            else f"The folds showed no slope clearly off one{slope}: {as_given}."
        )
    if kept < 1:
        words += (
            " The folds showed no clear signal: what sets a prospect apart from the base rate counts for "
            f"{percent(kept)} of what the model gives it."
        )
    rows = [
        (label, between(figures, name, share))
        for name, label, _, share in _FIGURES
        if name in ("rate", "mean_predicted", "calibration_error", "slope", "intercept") and name in figures
    ]
    return {"rows": rows, "guard": words}


def _segments(rolling: Mapping[str, Any]) -> list[dict[str, Any]]:
    by = rolling.get("by", {})
    ages = [{**a, "level": _days(a.get("age_days"))} for a in rolling.get("by_age", ())]
    found = [("Age of the prospect", ages)]
    for name, levels in by.items():
        named = [{**f, "level": _with_horizon(f)} for f in levels]
        found.append((_SEGMENTS.get(name, str(name)), named))
    return [{"name": name, "rows": _levels(levels)} for name, levels in found if levels]


def _with_horizon(figures: Mapping[str, Any]) -> str:
    """A level's name; with its horizon where it has one of its own."""
    level = str(figures.get("level"))
    return f"{level} (within {_days(figures['horizon_days'])})" if "horizon_days" in figures else level


def _levels(levels: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table of levels, with small pictures of promised and observed on one scale."""
    top = max((f[name] for f in levels for name in ("rate", "mean_predicted") if _told(f.get(name))), default=1.0)
    alike = ("auc", "log_loss_gain", "calibration_error", "lift_top_tenth")
    column = {name: [f.get(name) for f in levels] for name in alike}
    out = []
    for f in levels:
        promised, observed = f.get("mean_predicted"), f.get("rate")
        out.append(
            {
                "level": str(f.get("level")),
                "n": number(f.get("n")),
                "promised": percent(promised),
                "observed": percent(observed),
                "marks": {"scale": (0.0, top), "line": (promised, observed), "ring": promised, "dot": observed},
                **{name: number(f.get(name), column[name]) for name in alike},
            }
        )
    return out


def _audit(card: Mapping[str, Any]) -> dict[str, Any]:
    found = card.get("audit")
    suspects = [w for w in card.get("warnings", ()) if w.get("code") == "suspected_leak"] if found is None else found
    return {
        "looked": found is not None or bool(suspects),
        "rows": [
            {
                "name": str(f.get("name", "")),
                "sign": _SIGNS.get(f.get("sign", ""), str(f.get("sign", "")).replace("_", " ")),
                "evidence": _pairs(f.get("evidence", {})),
            }
            for f in suspects
        ],
    }


def _made(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """With what it was made, for those who want to make it again."""
    rows = [("Seed", number(card["seed"]))] if "seed" in card else []
    if "feature_fingerprint" in card:
        rows.append(
            ("Features", f"{len(card.get('features', ()))}, fingerprint {str(card['feature_fingerprint'])[:16]}")
        )
    return [*rows, *((str(name), str(version)) for name, version in card.get("libraries", {}).items())]


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of any plain data."""
    return [(str(name).replace("_", " "), _plain(value)) for name, value in values.items()]


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.6g}" if _told(value) else json.dumps(value, ensure_ascii=False, default=str)
