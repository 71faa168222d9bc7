"""After the sale: customers use what they bought, and renew about half a year later, the likelier the more they do.

Nothing here moves the hazards of a first win. Use is recorded as it happens, from the day after the win was recorded;
the renewal's clock counts from the win itself. Use brings more use, and trouble more trouble, so that customers come
apart; what they do is all that the renewal reads, besides the fit on the day on which the win was recorded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.simulate.mechanisms import FAR, Floats, Ints, Mechanisms


class Used(NamedTuple):
    """Events after the sale: row, type (an index into ``Mechanisms.usages``), day."""

    row: Ints
    kind: Ints
    day: Ints


class Customers:
    """Won prospects (or prospects x draws), moved on by days until they renew.

    Args:
        m: the coefficients.
        rng: of the random numbers.
        won: the day of each win.
        recorded: the day on which it was recorded; use begins on the next.
        fit: as the records told it then.
    """

    def __init__(self, m: Mechanisms, rng: np.random.Generator, *, won: Ints, recorded: Ints, fit: Floats) -> None:
        self.m, self.rng, self.won, self.recorded, self.fit = m, rng, won, recorded, fit
        self.heat = np.zeros((len(m.usages), len(won)))
        self.renewed = np.full(len(won), FAR)
        self.rate = np.array([u.rate for u in m.usages])
        self.lift = np.array([u.lift[: len(m.usages)] for u in m.usages])

    def chance(self, day: int) -> Floats:
        """Each row's chance to renew on a day, had it not yet."""
        m = self.m
        height, middle, width = m.renew_clock
        clock = height * np.exp(-0.5 * ((day - self.won - middle) / width) ** 2)
        use, trouble = np.log1p(self.heat)
        rate = np.exp(m.renew + clock + m.renew_fit * self.fit + m.renew_use * use + m.renew_trouble * trouble)
        return np.where(self.recorded < day, -np.expm1(-rate), 0.0)

    def step(self, day: int, week: float, *, renew: bool) -> Used:
        """One day: use, and (with ``renew``) renewals; the state is then the next day's."""
        m, rng = self.m, self.rng
        active = (self.recorded < day) & (self.renewed >= day)
        if renew:
            now = active & (rng.random(len(self.won)) < self.chance(day))
            self.renewed[now] = day
        hot = self.heat / (1 + self.heat)
        base = np.where(active, week * np.exp(m.usage_fit * self.fit), 0.0)
        count = rng.poisson(base * self.rate[:, None] * (1 + self.lift @ hot))
        kind, row = np.nonzero(count)
        times = count[kind, row]
        self.heat = (self.heat + count) * np.exp(-1 / m.usage_tau)
        return Used(np.repeat(row, times), np.repeat(kind, times), np.full(int(times.sum()), day))
