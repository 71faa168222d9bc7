"""The calibration guards: what prospect-grouped folds at T say of a hazard's log-odds, and what is done about it.

A map fitted on older models' time-forward predictions did harm when the rate moved (DESIGN 6); this one comes from
folds at T (Platt 1999), and is the identity unless the slope is clearly off.

The slope of the whole log-odds hides noise: most of their spread is that of the intervals' base rates, which are right.
So another one is fitted to the departures from the base rates alone, and where it is not clearly above nought, what
sets prospects apart is shrunk by it (van Houwelingen and le Cessie 1990): ``tests/test_little_data.py`` holds what that
saves where there is nothing to tell against what it costs where there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SURE = 3.0  # standard errors by which the slope must be off one
OFF = 0.1  # and by how much, for a map to be worth its own error
CLEAR = 2.0  # standard errors by which the departures' slope must be above nought, for them to stand


@dataclass(frozen=True)
class Platt:
    """Slope and intercept of the outcome on the hazard's log-odds, and the slope's standard error by prospect."""

    slope: float = 1.0
    intercept: float = 0.0
    error: float = float("inf")

    @property
    def used(self) -> tuple[float, float]:
        """The slope and intercept that the scorer applies: 1 and 0 unless the slope is clearly off one."""
        off = abs(self.slope - 1)
        return (self.slope, self.intercept) if self.slope > 0 and off > max(OFF, SURE * self.error) else (1.0, 0.0)

    @property
    def kept(self) -> float:
        """The share of a hazard's departures from the base rates that is kept: all, unless no signal is clear."""
        clear = not np.isfinite(self.error) or self.slope >= CLEAR * self.error
        return 1.0 if clear else float(np.clip(self.slope, 0.0, 1.0))

    def to_json(self) -> dict[str, Any]:
        """As the card holds it; without folds there is nothing to tell."""
        if not np.isfinite(self.error):
            return {"used": False}
        return {
            "used": self.used != (1.0, 0.0),
            "slope": self.slope,
            "intercept": self.intercept,
            "slope_error": self.error,
        }

    def to_signal(self) -> dict[str, Any]:
        """The slope of the departures from the base rates, as the card holds it, and what was kept of them."""
        told = {"slope": self.slope, "slope_error": self.error} if np.isfinite(self.error) else {}
        return {"kept": self.kept, **told}


def platt(z: Floats, y: Ints, prospect: Ints, weight: Floats | None = None, offset: Floats | float = 0.0) -> Platt:
    """Fit y on the log-odds z by Newton's method; the identity, without an error, where it cannot be told.

    Args:
        z: log-odds of the hazard of pooled rows, from folds.
        y: 0 or 1 each.
        prospect: a number each: rows of one go together in the slope's standard error.
        weight: how many rows each stands for.
        offset: log-odds that are given, beside those that have the slope.
    """
    w = np.ones(len(z)) if weight is None else weight
    slope, intercept = 1.0, 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(offset + slope * z + intercept, -500, 500)))
        information, miss = w * p * (1 - p), w * (y - p)
        a, b, c = (float(part.sum()) for part in (information * z * z, information * z, information))
        up, over = float((miss * z).sum()), float(miss.sum())
        determinant = a * c - b * b
        if determinant <= 1e-9 * a * c:
            break
        steps = np.clip(((c * up - b * over) / determinant, (a * over - b * up) / determinant), -2, 2)
        slope, intercept = slope + float(steps[0]), intercept + float(steps[1])
        if np.abs(steps).max() < 1e-9:
            # The sandwich, clustered by prospect: each prospect's influence on the slope.
            influence = np.bincount(prospect, (c * miss * z - b * miss) / determinant)
            return Platt(slope, intercept, float(np.sqrt((influence**2).sum())))
    return Platt()
