"""One training, from tables to a registered and perhaps promoted version; and the answers of a registered version."""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.contract import format_time, parse_moment
from features.errors import BadInput, LeadscoreError
from serving.champion import read_pointer
from training import registry
from training.registry import Home
from training.search import silent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from features.contract import Dataset
    from features.spec import FeatureSet
    from features.tables import Tables
    from serving.scorer import Scorer
    from training.evaluate import Evaluation
    from training.model import Model


@dataclass(frozen=True)
class Trained:
    """What a training came to: its MLflow run and version, whether it was promoted and why, figures and warnings.

    Attributes:
        gate: what the gate decided, as MLflow keeps it in ``gate.json``: ``decision`` (promoted or declined),
            ``reason``, ``champion_digest``, ``challenger_digest``, and the figures of ``training.gate.Comparison``
            where two recipes were compared; None where it was not asked (``promote=False``).
        metrics: the rolling figures forward in time with their 95 % intervals, under ``by_regime`` those of each regime
            with its ``horizon_days`` (where any is known), and under ``folds`` the out-of-fold ones.
        warnings: {code, text, ...} each.
        model: the fitted model itself.
        rows: pandas, one line per tested (prospect, t): prospect_id, as_of (int64 microseconds), age_days, regime,
            y (0 or 1), p (probability). Forward in time, or out of fold where nothing lies forward in time (the
            warning ``not_judged``).
        importance: pandas, mean absolute effect in log-odds by feature, greatest first.
        pictures: by name (see ``training.report.pictures``), as MLflow keeps them under ``report/``.
        report: the page of all that a training tells of itself, as MLflow keeps it in ``report/report.html``.
        report_at: where that lies: a path, or the artifact's address on a tracking server.
    """

    run_id: str
    version: str
    goal: str
    promoted: bool
    reason: str
    gate: Mapping[str, Any] | None
    metrics: Mapping[str, Any]
    warnings: tuple[Mapping[str, Any], ...]
    model: Model = field(repr=False)
    rows: pd.DataFrame = field(repr=False)
    importance: pd.Series[float] = field(repr=False)
    pictures: Mapping[str, Figure] = field(repr=False)
    report: str = field(repr=False)
    report_at: str

    def to_json(self) -> dict[str, Any]:
        """What ``leadscore train --json`` prints."""
        return {
            "run_id": self.run_id,
            "version": self.version,
            "goal": self.goal,
            "promoted": self.promoted,
            "reason": self.reason,
            "gate": None if self.gate is None else dict(self.gate),
            "metrics": dict(self.metrics),
            "choice": self.model.card.get("choice"),
            "account": self.model.card.get("account"),
            "effort": self.model.card.get("effort"),
            "report": self.report_at,
            "warnings": [dict(w) for w in self.warnings],
        }


@contextmanager
def seldom_collected() -> Iterator[None]:
    """The garbage collector comes seldom: what Ibis makes of a query would have it come all the time, for nothing."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@seldom_collected()
def train(
    tables: Tables,
    *,
    home: Home,
    features: FeatureSet | None = None,
    until: int | str | None = None,
    promote: bool = True,
    params: Mapping[str, Any] | None = None,
    trials: int = 0,
    seed: int = 0,
    strict: bool = False,
    effort: bool = True,
    say: Callable[[str], None] = silent,
) -> Trained:
    """Train on what was recorded by T, judge the recipe forward in time, register a version, promote it if it may be.

    Args:
        tables: canonical tables with outcomes (``features.tables.read_tables``).
        home: where runs, versions and the champion pointer are kept.
        features: the feature set; ``standard_features`` of the tables when None.
        until: T in microseconds or as an ISO text (``"2026-01-01"``); the tables' own end when None.
        promote: whether the version may become the champion: it does when there is none, or when it passes the gate.
        params: LightGBM parameters over ``training.model.DEFAULTS``, for trees alone; None lets the data choose among
            a few models (``training.choice``).
        trials: how many more models to search for with Optuna (``training.search``), at the fit and at every cut anew;
            what is found is taken only where it is clearly better on a cut that the search has not seen.
        seed: same tables, features, parameters and seed give the same bundle but for its creation time.
        strict: refuse where a column, an event type or an id seems to know the outcome (``training.audit``); they
            stand in the warnings and on the card otherwise.
        effort: whether features may count outbound events, which follow what sales believed; False leaves them out.
        say: called with the name of each stage.

    Raises:
        BadInput: the tables do not suffice (``one_class``, ``too_few_outcomes``, ``horizon_too_long``, ...) or, with
            ``strict``, are suspected (``suspected_leak``); nothing has been written then.
    """
    from time import time_ns

    import pandas as pd

    from features.standard import standard_features
    from features.tables import known_by
    from training import report
    from training.audit import audit, refuse
    from training.dataset import at_hand, build
    from training.effort import LEFT_OUT, rests_on_effort, without_effort
    from training.evaluate import default_cuts, rolling
    from training.gate import Verdict, judge
    from training.model import DEFAULTS, FOLDS, fit
    from training.page import page
    from training.verdicts import drift

    started = time_ns() // 1000
    whole = tables
    tables = tables if until is None else known_by(tables, _moment(until, "until"))
    goal = tables.dataset.goal.outcome
    given = features
    if not effort:
        features = without_effort(tables, features)
    features = standard_features(tables) if features is None else features
    if trials and params is not None:
        raise BadInput(
            "two_recipes",
            "parameters are given, and to be searched for.",
            where="trials",
            remedy="Give `params` or `trials`, not both.",
        )
    recipe: dict[str, Any] | None = {"trials": trials} if trials else None
    if params is not None:
        recipe = {**DEFAULTS, **params}
    registry.check_home(home)
    champion, damage = _champion_or_damage(home, goal)

    say("looking for columns and events that know the outcome")
    suspects = audit(whole, until=tables.until)
    if strict:
        refuse(suspects)
    say("building the training rows")
    training_set = build(tables, features)
    say(
        f"fitting on {training_set.counts['rows']} landmarks of {training_set.counts['prospects']} prospects, "
        f"{training_set.counts['outcomes']} of them {goal}"
    )
    grade_cuts = None if champion is None else champion[0].constants.grade_cuts
    grades = None if grade_cuts is None else dict(zip("ABC", grade_cuts, strict=True))
    model = fit(training_set, recipe, seed, grade_cuts=grades, say=say)
    model = model.with_card(
        audit=[s.to_json() for s in suspects], warnings=[*model.card["warnings"], *(s.warning() for s in suspects)]
    )
    say("judging it forward in time" + (", with a search at every cut" if trials else ""))
    judged: Sequence[Evaluation] = ()
    cuts = default_cuts(tables, tables.dataset.goal)
    computed = at_hand(tables, features, tables.dataset.goal, cuts)
    try:
        # What is judged is what would be served: where guards act, they act at every cut, by the folds of that time.
        forward = rolling(
            tables, features, cuts, params=recipe, seed=seed, folds=FOLDS if model.guarded else 0, computed=computed
        )
    except BadInput as error:
        if error.code != "no_cuts":
            raise
        text = f"{error.message} The only figures are out of fold, not forward in time."
        model = model.with_card(warnings=[*model.card["warnings"], {"code": "not_judged", "text": text}])
        metrics: dict[str, Any] = {"folds": model.card["metrics"]["folds"]}
        tested = model.folds
        assert tested is not None  # ``fit`` makes folds unless told otherwise
    else:
        judged = forward.evaluations
        tested = pd.concat([e.rows for e in forward.evaluations], ignore_index=True).drop(columns="constant")
        model = model.with_rolling(forward.figures, forward.to_json())
        metrics = {**forward.figures, "folds": model.card["metrics"]["folds"]}
        if "regime" in forward.by:
            metrics["by_regime"] = [dict(level) for level in forward.by["regime"]]
    if not effort:
        model = model.with_card(effort=LEFT_OUT)
    elif judged:
        say("asking how much rests on outbound effort")
        found = rests_on_effort(tables, given, features, judged[-1], params=recipe, seed=seed, computed=computed)
        model = model if found is None else model.with_card(effort=found)
    model = model.with_card(warnings=[*model.card["warnings"], *drift(training_set, model.predict)])

    verdict = Verdict(True, "there was no champion")
    if not promote:
        verdict = Verdict(False, "not asked for (--no-promote)")
    elif damage is not None:
        verdict = Verdict(False, f"the champion cannot be read to compare with ({damage}); promote by hand")
    elif champion is not None:
        say("comparing it with the champion")
        verdict = judge(tables, champion[0], features, recipe, judged, seed)
    may, reason = verdict.promoted, verdict.reason

    say("registering the version")
    importance = report.importances(model, training_set, seed)
    pictures = report.pictures(model.card, tested, importance, report.examples(model, training_set))
    html = page(model.card, pictures)
    with tempfile.TemporaryDirectory(prefix="leadscore-") as folder:
        bundle = Path(folder) / "bundle"
        digest = model.write(bundle, created_at=format_time(started), recipe=recipe)
        gate = verdict.to_json(digest, None if champion is None else champion[0].digest) if promote else None
        run = registry.record(
            bundle,
            home=home,
            params={
                **_logged(model.card["params"]),
                **({"trials": trials} if trials else {}),
                **_changes(features, champion),
            },
            metrics={name: _with_ends(figures) for name, figures in model.card["metrics"].items()},
            tags={"source": tables.source},
            source=tables.source,
            files=report.write(pictures, Path(folder), html),
            started_at=started,
            gate=gate,
        )
    if may:
        try:
            registry.promote(
                run.version, home=home, goal=goal, reason=reason, expected=None if champion is None else champion[1]
            )
        except LeadscoreError as error:
            if error.code != "champion_changed":
                raise
            may, reason = False, "another version became the champion meanwhile; compare with it, or promote by hand"
    if not may:
        registry.decline(run.version, home=home, goal=goal, reason=reason)
    return Trained(
        run.run_id,
        run.version,
        goal,
        may,
        reason,
        gate,
        metrics,
        tuple(model.card["warnings"]),
        model,
        tested,
        importance,
        pictures,
        html,
        run.report,
    )


_NOT_LOGGED = {
    "verbosity",
    "num_threads",
    "force_col_wise",
    "deterministic",
    "feature_pre_filter",
    "boost_from_average",
}


def _logged(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters by which runs differ, without those that never change and move no figure."""
    return {name: value for name, value in params.items() if name not in _NOT_LOGGED}


def _changes(features: FeatureSet, champion: tuple[Any, str] | None) -> dict[str, str]:
    """What sets the features apart from the champion's, as a run's parameters; nothing where there is no champion."""
    if champion is None:
        return {}
    before, now = champion[0].features.names, features.names
    return {
        "against_version": champion[1],
        "features_added": ", ".join(name for name in now if name not in before) or "none",
        "features_removed": ", ".join(name for name in before if name not in now) or "none",
    }


def _with_ends(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with the ends of their intervals beside them (``auc``, ``auc_low``, ``auc_high``) for MLflow."""
    ends = {
        f"{name}_{end}": value
        for name, pair in figures.get("interval", {}).items()
        for end, value in zip(("low", "high"), pair, strict=True)
    }
    return {**{name: value for name, value in figures.items() if name != "interval"}, **ends}


def _moment(at: int | str, where: str) -> int:
    """Microseconds as they are, an ISO text (a bare date is its midnight in UTC) as microseconds."""
    if isinstance(at, int):
        return at
    try:
        return parse_moment(at)
    except ValueError as error:
        raise BadInput(
            "bad_time",
            f"{at!r}: {error}.",
            where=where,
            remedy="Write an ISO 8601 time with its zone, or a date: 2026-03-01T09:00:00Z, 2026-03-01.",
        ) from None


def compare(home: Home, goal: str | None = None) -> pd.DataFrame:
    """Every version of a goal, newest first, side by side: what `leadscore models` and MLflow show of it.

    Returns:
        pandas, one line per version: version, alias, trained_until (ISO text), then the figures forward in time: auc,
        auc_low, auc_high (95 %), log_loss, log_loss_gain (over a constant), calibration_error, lift_top_tenth (NaN
        where it could not be judged), then reason (why it was promoted or not; empty where nothing was decided) and
        run_id. Empty where nothing was trained.
    """
    import pandas as pd

    names = ("auc", "auc_low", "auc_high", "log_loss", "log_loss_gain", "calibration_error", "lift_top_tenth")
    rows = [
        {
            "version": v.version,
            "alias": ", ".join(v.aliases),
            "trained_until": v.trained_until,
            **{name: v.metrics.get(f"rolling_{name}", float("nan")) for name in names},
            "reason": v.reason,
            "run_id": v.run_id,
        }
        for v in registry.versions(home, goal or registry.default_goal(home))
    ]
    return pd.DataFrame(rows, columns=["version", "alias", "trained_until", *names, "reason", "run_id"])


def _champion(home: Home, goal: str) -> tuple[Any, str] | None:
    from serving.bundle import read_bundle

    pointer = read_pointer(home.path)
    entry = pointer["goals"].get(goal) if pointer else None
    if entry is None:
        return None
    return read_bundle(home.path / entry["path"], entry["digest"]), str(entry["version"])


def read_features(path: Path, dataset: Dataset) -> FeatureSet:
    """The features of a spec file, over the declarations of ``dataset``; raises BadInput where they do not fit."""
    from features.spec import FORMAT, FeatureSet, check_format, feature_from_json

    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        listed = data["features"]
        check_format(data, str(path))
        found = tuple(feature_from_json(f) for f in listed)
    except OSError as error:
        raise BadInput(
            "unreadable_file", f"{error.strerror}.", where=str(path), remedy="Name a feature spec in JSON."
        ) from None
    except LeadscoreError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BadInput(
            "bad_features",
            "not a feature spec.",
            where=str(path),
            remedy=f'Write {{"format": {FORMAT}, "features": [...]}} as spec.json of a bundle holds it.',
        ) from None
    return FeatureSet(dataset, found)


def _champion_or_damage(home: Home, goal: str) -> tuple[tuple[Any, str] | None, str | None]:
    """The champion to compare with, or in words why it cannot be read: training is then a way out."""
    try:
        return _champion(home, goal), None
    except BadInput:
        raise
    except LeadscoreError as error:
        return None, f"{error.where}: {error.message}".rstrip(".")


def load_scorer(home: Home, goal: str | None = None, version: str | None = None) -> Scorer:
    """The scorer of the champion, or of a version. Raises BadInput ``no_champion`` or ``unknown_version``."""
    from serving.scorer import Scorer

    goal = goal or registry.default_goal(home)
    if version is not None:
        return Scorer(registry.bundle_of(version, home=home, goal=goal), version)
    champion = _champion(home, goal)
    if champion is None:
        pointer = read_pointer(home.path)
        others = ", ".join(sorted(pointer["goals"])) if pointer else ""
        raise BadInput(
            "no_champion",
            f"no version has been promoted for `{goal}` under {home.path}"
            + (f"; there are champions for {others}." if others else "."),
            where="--home",
            remedy="Train one: leadscore train DATA, or promote one: leadscore promote VERSION.",
        )
    return Scorer(*champion)


COLUMNS = ("prospect_id", "as_of", "probability", "probability_low", "probability_high", "score", "grade",
           "model_version")  # fmt: skip


def score_frame(scorer: Scorer, tables: Tables, as_of: int | str, *, reasons: int = 0) -> pd.DataFrame:
    """Score every prospect that is open at a time.

    Args:
        scorer: of the champion or of a version (``load_scorer``).
        tables: canonical tables.
        as_of: t in microseconds or as an ISO text (``"2026-01-01"``); what was recorded later is not looked at.
        reasons: the greatest number of reasons for each.

    Returns:
        pandas, one line per open prospect in the order of prospect_id, with ``COLUMNS``: ``as_of`` is a UTC
        timestamp, the probability of the goal within the horizon and its 90 % interval are float64 in 0 to 1, score
        is the rank 0 to 100. With ``reasons``, a further column of that name: JSON text.
    """
    import pandas as pd

    from serving.batch import score_tables

    scores = score_tables(scorer, tables, _moment(as_of, "as_of"), reasons=reasons)
    frame = pd.DataFrame({name: [getattr(s, name) for s in scores] for name in COLUMNS}, columns=list(COLUMNS))
    frame["as_of"] = pd.to_datetime(frame["as_of"], unit="us", utc=True)
    if reasons:
        frame["reasons"] = [json.dumps([r._asdict() for r in s.reasons], ensure_ascii=False) for s in scores]
    return frame


def write_scores(scorer: Scorer, tables: Tables, as_of: int, out: Path, *, reasons: bool = False) -> int:
    """Score the open prospects into a .parquet or .csv file, whole or not at all; returns the number of rows."""
    from training.export import check_output

    check_output(out)
    frame = score_frame(scorer, tables, as_of, reasons=5 if reasons else 0)
    draft = out.with_name(f".{out.name}.draft")
    try:
        if out.suffix.lower() == ".parquet":
            frame.to_parquet(draft, index=False)
        else:
            frame.assign(as_of=format_time(as_of)).to_csv(draft, index=False)
        os.replace(draft, out)
    except OSError as error:
        raise LeadscoreError(
            "not_written", f"{error.strerror}.", where=str(out), remedy="Free space, or name another place."
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    return len(frame)
