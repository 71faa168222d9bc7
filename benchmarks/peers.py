"""What else one could score prospects with, on the same rows as ours: the peers of ``benchmarks.quality``.

A classifier needs rows whose answer is known: the *mature* ones, landmarks before the cut whose whole horizon had been
observed by then (``training.dataset.labels`` on the set built until the cut). Ours and the plain recipe learn from the
same landmarks by intervals, so that a young one counts for the time that has passed. All see the same features, and
all are tested on the same landmarks after the cut.

Every log loss is paired with ours, row by row. Intervals draw whole prospects over all the cuts of a set together,
since the landmarks of one prospect go together, within a cut and across; the trained models are taken as they are.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.contract import format_time
from features.offline import feature_table
from features.spec import FeatureSet
from features.standard import standard_features
from features.tables import Tables
from training import goal as goals
from training.dataset import TrainingSet, build, labels
from training.evaluate import evaluate_forward, log_losses, metrics, paired_interval
from training.model import DEFAULTS, RARE

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Predict = Callable[[TrainingSet], Floats]

BUDGET = 120.0  # seconds of FLAML at every cut
SMOOTHING = 0.1  # what open-source CRMs add to every count
FEW_WON = 1_000  # mature rows below which FLAML's folds are stratified
OURS, PLAIN, CONSTANT = "ours", "plain recipe", "constant"
FREQUENCY, LOGISTIC, CLASSIFIER, FLAML = "frequency table", "logistic", "default LightGBM", "FLAML"
METHODS = (OURS, PLAIN, CONSTANT, FREQUENCY, LOGISTIC, CLASSIFIER, FLAML)
HOW_TO_INSTALL = "not installed (pip install -e '.[benchmarks]')"
SIMULATOR = "simulator"
SETS = ("olist", "relax", SIMULATOR)
SLOPES = (0.9, 1.1)


@dataclass(frozen=True, eq=False)
class Split:
    """One cut: what a peer may learn from, and what everybody is tested on.

    Attributes:
        cut, test_until: the tested times t are in (cut, test_until], microseconds.
        mature, won: the landmarks before the cut whose whole horizon was observed by then, and whether the goal came
            within it (0 or 1 per row), by what was recorded by the cut.
        tested, y: the landmarks after it whose horizon is over by the end of the data, and the same.
        computed: the features of all landmarks, for ``evaluate_forward``.
        seconds: that computing the features took; 0 where they were at hand from an earlier cut.
    """

    cut: int
    test_until: int
    mature: TrainingSet
    won: Ints
    tested: TrainingSet
    y: Ints
    computed: Any = field(repr=False)
    seconds: float = 0.0

    @property
    def features(self) -> FeatureSet:
        """The standard features as they would have been derived at the cut."""
        return self.mature.features


def splits(tables: Tables, cuts: Sequence[int], end: int, horizon: int) -> Iterator[Split]:
    """The cuts in order, each tested up to the next one and the last up to ``end`` (all in microseconds)."""
    goal = replace(tables.dataset.goal, horizons=(("", horizon),))
    landmarks = goals.landmark_spine(tables, goal)
    computed: dict[str, Any] = {}
    for cut, test_until in zip(cuts, [*cuts[1:], end], strict=True):
        started = time.perf_counter()
        features = standard_features(tables, until=cut)
        if features.fingerprint not in computed:
            computed[features.fingerprint] = feature_table(features, tables, landmarks).cache()
        seconds = time.perf_counter() - started
        at_hand = computed[features.fingerprint]
        known = build(tables, features, until=cut, goal=goal, with_open=False, computed=at_hand)
        won, observed = labels(known)
        after = landmarks.filter(landmarks.as_of > cut, landmarks.as_of <= test_until)
        tested = build(tables, features, spine=after, goal=goal, computed=at_hand)
        y, over = labels(tested)
        yield Split(
            cut, test_until, known.select(observed), won[observed], tested.select(over), y[over], at_hand, seconds
        )


# ---- peers: each learns from the mature rows of a split and returns what predicts the probability of other rows ------


def frequency_table(split: Split) -> Predict:
    """The predictive scoring of open-source CRMs: naive Bayes on how often the won and the lost had each value.

    As Odoo's ``crm.lead`` computes it (``_pls_get_naive_bayes_probabilities``), without teams and stages, which these
    data do not have, and without its rounding to percents, which would make a 0 of a small probability: S_won = P(won)
    x the product over the fields that are set of count(value, won) / sum of these counts over the field's values, with
    0.1 added to each count; S_lost likewise; P = S_won / (S_won + S_lost). A value never seen is left out, as is an
    unset one. Only discrete fields take part: categories and booleans.
    """
    won = split.won == 1
    if won.all() or not won.any():
        raise ValueError("one class")
    evidence = {}
    for name in discrete(split.features):
        column = split.mature.values[name].astype(object)
        known = column.notna().to_numpy()
        counts = [column[known & side].value_counts() for side in (won, ~won)]
        levels = counts[0].index.union(counts[1].index)
        won_here, lost_here = (c.reindex(levels, fill_value=0) + SMOOTHING for c in counts)
        evidence[name] = np.log(won_here / won_here.sum()) - np.log(lost_here / lost_here.sum())
    prior = np.log(won.sum()) - np.log((~won).sum())

    def predict(rows: TrainingSet) -> Floats:
        odds = np.full(len(rows), prior)
        for name, weights in evidence.items():
            odds += rows.values[name].astype(object).map(weights).astype(np.float64).fillna(0.0).to_numpy()
        return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float64)

    return predict


def discrete(features: FeatureSet) -> tuple[str, ...]:
    """The features that a frequency table can count: categories and booleans."""
    return tuple(f.name for f in features.features if features.kind(f) in ("category", "boolean"))


def logistic(split: Split) -> Predict:
    """scikit-learn's logistic regression: numbers scaled, medians and a flag for the missing, levels one-hot."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    categories = list(split.features.categories)
    numbers = [name for name in split.features.names if name not in categories]

    def frame(rows: TrainingSet) -> pd.DataFrame:
        texts = {name: rows.values[name].astype(object).fillna("") for name in categories}
        return pd.DataFrame({**{name: rows.values[name] for name in numbers}, **texts})

    model = make_pipeline(
        make_column_transformer(
            (
                make_pipeline(
                    SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
                ),
                numbers,
            ),
            (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE), categories),
        ),
        LogisticRegression(max_iter=2_000),
    )
    model.fit(frame(split.mature), split.won)
    return lambda rows: np.asarray(model.predict_proba(frame(rows))[:, 1])


def default_classifier(split: Split) -> Predict:
    """LightGBM's own classifier as it comes, told which columns are categories.

    On one thread, which changes the seconds and not the model: several spin where cores are shared.
    """
    from lightgbm import LGBMClassifier

    frame = typed_columns(split.mature)
    model = LGBMClassifier(n_jobs=1, verbose=-1).fit(frame(split.mature), split.won)
    return lambda rows: np.asarray(model.predict_proba(frame(rows))[:, 1])


def flaml(split: Split, budget: float) -> Predict:
    """FLAML's AutoML, its default learners, searched for log loss within a budget of seconds.

    Its validation is told which rows are one prospect's. Left to split rows at random it takes another landmark of the
    same prospect for an unseen one: on development data its validation loss was then a fifth of what came, which was
    far worse than a constant. And where few were won, the folds share them out evenly: a fold with none fails.
    """
    from flaml import AutoML  # type: ignore[import-not-found]
    from sklearn.model_selection import StratifiedGroupKFold

    frame = typed_columns(split.mature)
    few = split.won.sum() < FEW_WON
    folds = {"split_type": StratifiedGroupKFold(5, shuffle=True, random_state=0), "eval_method": "cv"}
    model = AutoML()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(
            frame(split.mature),
            split.won,
            task="classification",
            metric="log_loss",
            time_budget=budget,
            groups=pd.factorize(split.mature.rows["prospect_id"])[0],
            seed=0,
            n_jobs=2,
            verbose=0,
            mlflow_logging=False,
            **(folds if few else {"split_type": "group"}),
        )
    if model.best_estimator is None:
        raise ValueError("FLAML found no model within its budget")
    return lambda rows: np.asarray(model.predict_proba(frame(rows))[:, 1])


def typed_columns(mature: TrainingSet) -> Callable[[TrainingSet], pd.DataFrame]:
    """Makes the frames of a tree learner: numbers as they are, categories typed, of the levels of the mature rows.

    The columns are numbered: a feature's name may hold what a learner does not take. A level that the mature rows do
    not have is missing.
    """
    categories = mature.features.categories
    levels = {name: sorted({v for v in mature.values[name] if isinstance(v, str)}) for name in categories}

    def frame(rows: TrainingSet) -> pd.DataFrame:
        columns: dict[str, Any] = {}
        for i, name in enumerate(mature.features.names):
            column = rows.values[name]
            if name in levels:
                known = column.astype(object).where(column.isin(levels[name]), None)
                columns[f"x{i}"] = pd.Categorical(known, categories=levels[name])
            else:
                columns[f"x{i}"] = column.to_numpy(np.float64)
        return pd.DataFrame(columns)

    return frame


# ---- a set: its cuts together ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Found:
    """What came of a set: the tested rows of all its cuts, one column of probabilities per method.

    Attributes:
        name: of the set.
        rows: pandas, one line per tested row: prospect_id, y, and under the name of each method its probability.
        cuts: the cuts, as texts.
        seconds: that each method's training took, choice included, over all cuts.
        absent: why a method has no probabilities.
        features_seconds: that computing the features took, which all share.
    """

    name: str
    rows: pd.DataFrame
    cuts: Sequence[str]
    seconds: Mapping[str, float]
    absent: Mapping[str, str]
    features_seconds: float


def run(
    name: str,
    worlds: Iterator[tuple[str, Tables, Sequence[int], int]],
    horizon: int,
    budget: float = BUDGET,
    say: Callable[[str], None] = lambda text: None,
) -> Found:
    """Train and test every method at every cut.

    Args:
        name: of the set.
        worlds: its tables, each with a label (its prospects are other ones than those of another label), its cuts, and
            the end of the last cut's test.
        horizon: days.
        budget: seconds of FLAML at each cut.
        say: told of progress.
    """
    learners: dict[str, Callable[[Split], Predict]] = {
        FREQUENCY: frequency_table,
        LOGISTIC: logistic,
        CLASSIFIER: default_classifier,
        FLAML: partial(flaml, budget=budget),
    }
    absent = {} if importlib.util.find_spec("flaml") else {FLAML: HOW_TO_INSTALL}
    seconds = dict.fromkeys(METHODS, 0.0)
    parts, cuts, computing = [], [], 0.0
    for label, tables, at, end in worlds:
        for split in splits(tables, at, end, horizon):
            when = " ".join(filter(None, (label, format_time(split.cut)[:10])))
            cuts.append(when)
            computing += split.seconds
            part, took = _hazards(tables, split, horizon)
            part["prospect_id"] = label + part["prospect_id"].astype(str)
            for method, learn in learners.items():
                if method in absent:
                    continue
                started = time.perf_counter()
                try:
                    predict = learn(split)
                except ValueError as e:  # too few won: none among the mature rows, or none in a part of them
                    absent[method] = f"failed at {when} ({split.won.sum()} mature rows won): {e}"
                    continue
                took[method] = time.perf_counter() - started
                part[method] = predict(split.tested)
            for method, passed in took.items():
                seconds[method] += passed
            parts.append(part)
            losses = {m: log_losses(part["y"], part[m]).mean() for m in METHODS if m in part}
            say(
                f"{name} {when}: " + ", ".join(f"{m} {loss:.4f} ({took.get(m, 0):.1f} s)" for m, loss in losses.items())
            )
    rows = pd.concat(parts, ignore_index=True).drop(columns=list(absent), errors="ignore")
    return Found(name, rows, cuts, seconds, absent, computing)


def _hazards(tables: Tables, split: Split, horizon: int) -> tuple[pd.DataFrame, dict[str, float]]:
    """Ours, the plain recipe and the training base rate, through ``evaluate_forward``; and the seconds of the fits."""
    part = split.tested.rows[["prospect_id"]].assign(y=split.y)
    took = {}
    for method, params in ((OURS, None), (PLAIN, DEFAULTS)):
        found = evaluate_forward(
            tables,
            split.features,
            split.cut,
            split.test_until,
            horizon,
            params=params,
            resamples=0,
            computed=split.computed,
        )
        same = [
            found.rows[column].tolist() == split.tested.rows[column].tolist() for column in ("prospect_id", "as_of")
        ]
        if not all(same) or found.rows["y"].tolist() != split.y.tolist():
            raise AssertionError("the rows that we are tested on are not those of the peers")
        part[method], part[CONSTANT] = found.rows["p"].to_numpy(), found.rows["constant"].to_numpy()
        took[method] = found.seconds
    return part, took


# ---- the table and what it says --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One method on one set. ``difference`` is its log loss less ours, both with their 95 % intervals by prospect."""

    set: str
    method: str
    log_loss: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    auc: float | None
    calibration_error: float
    slope: float | None
    seconds: float

    @property
    def worse_than_ours(self) -> bool:
        """Whether its log loss is clearly above ours."""
        return self.difference_low > 0

    @property
    def better_than_ours(self) -> bool:
        """Whether its log loss is clearly below ours."""
        return self.difference_high < 0


def lines(found: Found) -> list[Line]:
    """The table of a set, a line per method that has probabilities."""
    y, ids = found.rows["y"].to_numpy(), found.rows["prospect_id"].to_numpy(object)
    ours = log_losses(y, found.rows[OURS])
    out = []
    for method in METHODS:
        if method not in found.rows:
            continue
        p = found.rows[method].to_numpy()
        loss = log_losses(y, p)
        figures = metrics(y, p)
        out.append(
            Line(
                found.name,
                method,
                float(loss.mean()),
                *paired_interval(loss, ids),
                float((loss - ours).mean()),
                *paired_interval(loss - ours, ids),
                figures["auc"],
                figures["calibration_error"],
                figures["slope"],
                found.seconds[method],
            )
        )
    return out


@dataclass(frozen=True)
class Verdict:
    """A requirement, and whether it is ``held``; None where it cannot be judged. ``why`` gives the figures."""

    requirement: str
    held: bool | None
    why: str


def verdicts(table: Sequence[Line], budget: float = BUDGET, sets: Sequence[str] = SETS) -> list[Verdict]:
    """What the lines say about what is required of the sets. Clearly: by the whole 95 % interval.

    A requirement of all sets is missed where one misses it, and cannot be judged while one is absent; that of at least
    one set is held where one holds it.
    """
    by = {(line.set, line.method): line for line in table}

    def against(peer: str, requirement: str, held: Callable[[Line], bool], enough: bool = False) -> Verdict:
        theirs = {name: by.get((name, peer)) for name in sets}
        run = {line.set for line in table}
        absent = {name: f"no {peer} on {name}" if name in run else f"{name} was not run" for name in sets}
        why = [absent[name] if t is None else _difference(t) for name, t in theirs.items()]
        found = [held(t) for t in theirs.values() if t is not None]
        return Verdict(requirement, _judged(found, len(sets), enough), ", ".join(why))

    out = [
        against(PLAIN, "no worse than the plain recipe anywhere", lambda peer: not peer.better_than_ours),
        against(PLAIN, "better than the plain recipe on at least one set", lambda peer: peer.worse_than_ours, True),
        against(FREQUENCY, "better than the frequency table on all", lambda peer: peer.worse_than_ours),
        against(CLASSIFIER, "better than the default classifier on all", lambda peer: peer.worse_than_ours),
        against(FLAML, "no worse than FLAML anywhere", lambda peer: not peer.better_than_ours),
    ]
    times = [(by[name, OURS].seconds, by[name, FLAML].seconds, name) for name in sets if (name, FLAML) in by]
    why = ", ".join(f"{name} {ours:.0f} s of {theirs:.0f} s" for ours, theirs, name in times)
    held = _judged([ours <= theirs / 10 for ours, theirs, _ in times], len(sets))
    out.append(Verdict("at a tenth of FLAML's time", held, why or "no FLAML"))
    if budget != BUDGET:
        said = f"FLAML had {budget:.0f} s a cut, not {BUDGET:.0f}"
        out = [replace(v, held=None, why=f"{said}; {v.why}") if "FLAML" in v.requirement else v for v in out]
    simulated = by.get((SIMULATOR, OURS))
    if simulated is not None and simulated.slope is not None:
        low, high = SLOPES
        held = low <= simulated.slope <= high
        out.append(Verdict(f"slope within {low} and {high} on the simulator", held, f"{simulated.slope:.3f}"))
    return out


def _difference(line: Line) -> str:
    return f"{line.set} {line.difference:+.4f} ({line.difference_low:+.4f} to {line.difference_high:+.4f})"


def _judged(found: Sequence[bool], sets: int, enough: bool = False) -> bool | None:
    """All of the sets, or where one is ``enough`` any; None while an absent one may decide."""
    if enough in found:
        return enough
    return None if len(found) < sets else not enough
