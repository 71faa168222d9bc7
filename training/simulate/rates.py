"""A day's rates: what the hazards and the events' intensities are, given what was recorded before that day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from features.contract import DAY, ROLES
from training.simulate.mechanisms import MAX_LAG, PROJECT, Bools, Floats, Ints, Mechanisms, Small

USER = ROLES.index("user")


class Heat(NamedTuple):
    """What the rates read, a column per prospect (or per prospect and draw)."""

    age: Floats  # days since the day of creation
    fit: Floats
    regime: Small  # as the records tell it
    clock: Floats  # days since the tender's deadline; negative before it, nan without one
    approach: Floats
    user_gain: Floats
    family: Floats  # (3, n)
    engaged: Floats  # (3, n) the heat of each role's contacts
    single: Floats  # the share of the most active contact, nought where nobody is active
    spill: Floats
    trust: Floats  # of the account's other outcomes, won
    doubt: Floats  # lost
    stage: Ints  # 0 none, 1, 2, 3: the last stage reached
    regressed: Bools
    stay: Floats  # days since that stage was reached, 0 without one


class Drive(NamedTuple):
    """What the rates of the events are made of."""

    base: Floats  # multiplies every type's rate
    hot: Floats  # (4, n) saturated heats, which lift them
    effort: Floats  # multiplies the outbound types' besides

    def at(self, keep: Any) -> Drive:
        """The columns of an index."""
        return Drive(self.base[keep], self.hot[:, keep], self.effort[keep])


def staged(first: Floats, last: Floats, day: Any, regress_after: float) -> tuple[Ints, Bools, Floats]:
    """Stage reached, whether regressed, days since it was reached; from the days of each stage's first and last event.

    ``first`` and ``last`` are (3, n), inf and -inf where a stage has no event.
    """
    has = np.isfinite(first)
    stage = np.where(has[2], 3, np.where(has[1], 2, np.where(has[0], 1, 0)))
    began = np.where(has[2], first[2], np.where(has[1], first[1], np.where(has[0], first[0], day)))
    own = np.where(has[2], last[2], last[1])
    lower = np.where(has[2], np.maximum(last[0], last[1]), last[0])
    regressed = (stage > 1) & (lower > own + regress_after)
    return stage, regressed, np.maximum(day - began, 0.0)


def single_share(contact: Floats, single_from: float) -> Floats:
    """The share of the most active contact among the contacts' heats (places, n)."""
    return np.asarray(contact.max(axis=0) / (single_from + contact.sum(axis=0)))


def by_role(contact: Floats, roles: Small) -> Floats:
    """The heat of each role's contacts, (3, n)."""
    return np.stack([np.where(roles == r, contact, 0.0).sum(axis=0) for r in range(1, len(ROLES) + 1)])


class Rates:
    """A world's coefficients as arrays, and the rates that they make."""

    def __init__(self, m: Mechanisms, start: int) -> None:
        self.m = m
        self.rate = np.array([t.rate for t in m.touches])
        self.lift = np.array([t.lift for t in m.touches])  # (types, 4)
        self.outbound = np.array([t.direction == "outbound" for t in m.touches])
        of = [~self.outbound, self.outbound]
        self.total = [float(self.rate[k].sum()) for k in of]
        self.lifted = [self.rate[k] @ self.lift[k] for k in of]
        self.weight = np.array([t.weight for t in m.touches])
        self.family = np.array([t.family for t in m.touches])
        self.stage = np.array([t.stage for t in m.touches])
        self.anonymous = np.array([t.anonymous for t in m.touches])
        self.lag = np.array([_padded(t.lag) for t in m.touches])
        self.closing_lag = np.array([_padded(m.won_lag), _padded(m.lost_lag)])
        self.types = [t.name for t in m.touches]
        self.quote = self.types.index("quote_view")
        self.tau = np.array(m.taus)
        self.monday = (start // DAY + 3) % 7  # of the first day; 1970 began on a Thursday
        self.by = {
            name: np.array(getattr(m, name))
            for name in ("fade", "pace", "win", "heat_strength", "committee_strength", "onset", "loss", "loss_onset")
        }

    def week(self, day: int | Ints) -> Any:
        """The weekday's factor on the rates of that day (counted from the world's first)."""
        return np.array(self.m.week)[(day + self.monday) % 7]

    def hazards(self, heat: Heat, week: Any) -> tuple[Floats, Floats]:
        """The day's rates of winning and losing."""
        m, by, regime = self.m, self.by, heat.regime
        warm = np.log1p(heat.family)
        engaged = heat.engaged / (1 + heat.engaged)
        committee = np.array(m.win_roles) @ engaged + m.win_single * heat.single
        committee += m.win_all * (heat.engaged >= m.engaged_from).all(axis=0)
        win = by["win"][regime] + m.win_fit * heat.fit + heat.approach + heat.user_gain * engaged[USER]
        win += by["heat_strength"][regime] * (np.array(m.win_heat) @ warm)
        win += by["committee_strength"][regime] * committee
        win += m.win_spill * np.log1p(heat.spill)
        win += m.win_trust * np.log1p(heat.trust) + m.win_doubt * np.log1p(heat.doubt)
        win += np.array(m.win_stage)[heat.stage] + m.win_regress * heat.regressed
        win += m.win_stay * np.log1p(heat.stay / m.stay_from)
        loss = by["loss"][regime] + m.loss_fit * heat.fit + np.array(m.loss_heat) @ warm
        clocked = np.flatnonzero((regime == PROJECT) & ~np.isnan(heat.clock))
        if len(clocked):
            near, over = self._tender(heat.clock[clocked])
            for total, (before, peak, after) in ((win, m.tender_win), (loss, m.tender_loss)):
                total[clocked] += before + peak * near + after * over
        return (
            week * np.exp(win) * -np.expm1(-heat.age / by["onset"][regime]),
            week * np.exp(loss) * -np.expm1(-heat.age / by["loss_onset"][regime]),
        )

    def _tender(self, clock: Floats) -> tuple[Floats, Floats]:
        """How near the decision is, and how far it is over, from the days since the deadline."""
        (middle, width), (end, abrupt) = self.m.tender_peak, self.m.tender_end
        near = np.exp(-0.5 * ((clock - middle) / width) ** 2)
        return near, 1 / (1 + np.exp(-np.clip((clock - end) / abrupt, -50, 50)))

    def drive(self, heat: Heat, week: Any) -> Drive:
        """What the day's rates of events are made of."""
        m, by, regime = self.m, self.by, heat.regime
        fading = m.floor + (1 - m.floor) * np.exp(-heat.age / by["fade"][regime])
        base = week * by["pace"][regime] * np.exp(m.activity * heat.fit) * fading
        hot = np.concatenate([heat.family, heat.spill[None]])
        return Drive(base, hot / (1 + hot), np.exp(m.effort * heat.fit))

    def all_events(self, drive: Drive) -> Floats:
        """The rate of events of any type."""
        inbound, outbound = (total + lifted @ drive.hot for total, lifted in zip(self.total, self.lifted, strict=True))
        return np.asarray(drive.base * (inbound + drive.effort * outbound))

    def event_rate(self, drive: Drive, kind: int) -> Floats:
        """The rate of events of one type."""
        own = drive.effort if self.outbound[kind] else 1.0
        return np.asarray(drive.base * own * self.rate[kind] * (1 + self.lift[kind] @ drive.hot))

    def worth(self, amount: Floats) -> Floats:
        """How much heavier or lighter an event is for its amount; 1 without one."""
        known = np.nan_to_num(amount, nan=self.m.quote_median)
        return np.asarray((known / self.m.quote_median) ** -self.m.quote_slope)

    def draw_types(self, rng: np.random.Generator, drive: Drive) -> Ints:
        """A type for each column, by the types' rates there."""
        share = self.rate[:, None] * (1 + self.lift @ drive.hot)
        share[self.outbound] *= drive.effort
        level = np.cumsum(share, axis=0)
        return np.asarray((level < rng.random(drive.hot.shape[1]) * level[-1]).sum(axis=0), dtype=np.int64)

    def draw_amounts(self, rng: np.random.Generator, kinds: Ints) -> Floats:
        """The amount of each quote, in cents; nan for the other types."""
        out = np.full(len(kinds), np.nan)
        quotes = kinds == self.quote
        normal = np.clip(rng.standard_normal(int(quotes.sum())), -2.5, 2.5)
        out[quotes] = np.round(self.m.quote_median * np.exp(self.m.quote_spread * normal), 2)
        return out

    def draw_slots(self, rng: np.random.Generator, kinds: Ints, present: Ints) -> Small:
        """The contact of each event among those present, -1 for none."""
        slot = np.floor(rng.random(len(kinds)) * present)
        nobody = (present == 0) | (rng.random(len(kinds)) < self.anonymous[kinds])
        return np.asarray(np.where(nobody, -1, slot), dtype=np.int8)


def _padded(shares: Sequence[float]) -> Floats:
    out = np.zeros(MAX_LAG + 1)
    out[: len(shares)] = shares
    return np.asarray(out / out.sum())


def pick(rng: np.random.Generator, shares: Floats) -> Ints:
    """An index for each row of shares, by weight."""
    level = np.cumsum(shares, axis=1)
    last = level[:, -1:] if shares.shape[1] else np.zeros((len(shares), 1))
    return np.asarray((level <= rng.random((len(shares), 1)) * last).sum(axis=1), dtype=np.int64)


def spread(first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """All places from first to last (without it) of each entry, one after another, and the entry of each place."""
    count = last - first
    entry = np.repeat(np.arange(len(first)), count)
    ends = np.cumsum(count)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - count, count)
    return first[entry] + within, entry
