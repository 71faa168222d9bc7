"""How far the truth may lie from a probability: an interval for every prediction, from out-of-fold neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL = 0.9
NEIGHBOURS = 50
KNOTS = 32
WIDEST = 6.0  # log-odds: no interval arm is longer


def interval(p: Floats, y: Ints, prospects: npt.NDArray[Any]) -> dict[str, Any]:
    """How far, in log-odds, the probability may lie below and above a prediction, by out-of-fold neighbours.

    Rows are sorted by prediction and cut into bins of equal mass, of ``NEIGHBOURS`` rows or a few more. They do not
    grow with the data: the interval is about one prospect among its like, not about the mean of a large group. A bin
    with n distinct prospects and rate r gives the quantiles of Beta(nr + 1/2, n(1 - r) + 1/2) (Jeffreys); the rates
    are made monotone.
    An arm is the longer of what the bin's outcomes say and what as many outcomes at the predicted rate would say, so
    that it never vanishes. Arms are averaged to at most ``KNOTS`` knots, which the scorer interpolates.
    """
    from scipy.special import betaincinv
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    _, who = np.unique(prospects[order], return_inverse=True)
    bins = max(1, len(p) // NEIGHBOURS)
    parts = np.array_split(np.arange(len(p)), bins)
    n = np.array([len(np.unique(who[i])) for i in parts], dtype=np.float64)
    centre = np.clip([p[i].mean() for i in parts], 1e-6, 1 - 1e-6)
    rate = IsotonicRegression(y_min=0, y_max=1).fit_transform(centre, [y[i].mean() for i in parts], sample_weight=n)
    at = np.log(centre) - np.log1p(-centre)
    tail = (1 - LEVEL) / 2

    def arms(r: Floats) -> tuple[Floats, Floats]:
        ends = [np.clip(betaincinv(n * r + 0.5, n * (1 - r) + 0.5, q), 1e-9, 1 - 1e-9) for q in (tail, 1 - tail)]
        down, up = (np.log(e) - np.log1p(-e) for e in ends)
        return at - down, up - at

    low, high = (np.clip(np.maximum(a, b), 0, WIDEST) for a, b in zip(arms(rate), arms(centre), strict=True))
    knots = np.array_split(np.arange(bins), min(KNOTS, bins))
    x = np.array([at[i].mean() for i in knots])
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(x)) > 1e-9])
    return {
        "level": LEVEL,
        "logit": x[keep].tolist(),
        "low": np.array([low[i].mean() for i in knots])[keep].tolist(),
        "high": np.array([high[i].mean() for i in knots])[keep].tolist(),
    }
