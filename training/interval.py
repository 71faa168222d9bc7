"""How far the truth may lie from a probability: by how much models differ that the same data would allow.

Two sources of doubt are added up, in log-odds. What other data would have changed: the jackknife over the
prospect-grouped folds (Efron 1981), at least as much as so few outcomes leave open. And what another kind of model
would have said: half the distance between the trees and the logistic model, the variance between equally likely models
in Bayesian model averaging (Hoeting et al. 1999). No outcome enters: a rate among neighbours knows nothing of how far
their true probabilities lie from each other. A variance that is known from so few folds has few degrees of freedom,
so the arms are as many standard deviations long as Student's distribution says, not the normal one (Student 1908).

The doubt is averaged over prospects of like probability, so that serving it costs an interpolation; on simulated worlds
a prospect's own doubt told no more of its error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL = 0.9
KNOTS = 16
FEWEST = 25  # prospects averaged at a knot
WIDEST = 6.0  # log-odds: no interval arm is longer


def interval(logit: Floats, folds: Floats, kinds: Floats, outcomes: int) -> dict[str, Any]:
    """How far, in log-odds, the truth may lie below and above a prediction: knots, which the scorer interpolates.

    Args:
        logit: predicted log-odds of prospects like those to be scored, shape (n,).
        folds: the same by the model of each fold, (folds, n).
        kinds: the same by the trees alone and by the logistic model alone, (2, n).
        outcomes: prospects that the model learned an outcome from.

    Returns:
        ``level``, and of one length ``logit`` (rising), ``low`` and ``high``.
    """
    from scipy.stats import t

    count = len(folds)
    sampling = (count - 1) / count * ((folds - folds.mean(axis=0)) ** 2).sum(axis=0)
    doubt = np.maximum(sampling, 1 / max(outcomes, 1)) + ((kinds[0] - kinds[1]) / 2) ** 2
    order = np.argsort(logit, kind="stable")
    parts = np.array_split(order, max(1, min(KNOTS, len(order) // FEWEST)))
    x = np.array([logit[part].mean() for part in parts])
    deviations = float(t.ppf((1 + LEVEL) / 2, count - 1))
    keep = np.concatenate([[True], np.diff(x) > 1e-9])  # parts of one probability are one part
    of = np.repeat(np.cumsum(keep) - 1, [len(part) for part in parts])
    arm = np.clip(deviations * np.sqrt(np.bincount(of, doubt[order]) / np.bincount(of)), 0.0, WIDEST)
    return {"level": LEVEL, "logit": x[keep].tolist(), "low": arm.tolist(), "high": arm.tolist()}
