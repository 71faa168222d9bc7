"""A simulated CRM whose true probabilities are known: nothing moves the hazard that is not in the records.

The world, frozen at version 1: it was tuned by its own figures alone (rates, volumes, how far the truth itself
tells winners from losers), before any model was fitted to it, and changes only under a new ``WORLD``.

- **Accounts** are born on a uniform day with their first prospect; further prospects follow as a Poisson process whose
  rate depends on the headcount first recorded. Industry, country, headcount and legal form are recorded, with gaps; the
  headcount changes or becomes known in later versions. A few prospects belong to no account.
- **Contacts**: up to four per account, appearing over time, with the role buyer, prescriber or user, often unknown at
  first and sometimes changing. An event bears the id of a contact known on that morning, or none.
- **Fit** is the sum of the recorded firmographics' effects and of the prospect's source, product and budget, with one
  interaction (the suite suits large firms). Unknown values have no effect. Legal form and campaign have none at all.
- **Events** of eight types come as a Poisson process whose rate rises with fit, fades with age and is lifted by what
  happened lately: digital touches bring replies and demo requests, those bring meetings, those bring quotes.
- **Heats** are sums over the recorded events of (the type's weight) x exp(-age in days / tau): digital, intent, human;
  one over the events of the contacts whose role is buyer today; one over the events of the account's other prospects.
  A quote weighs less, the larger its amount.
- **The hazard** of a win is log-linear in the fit, log(1 + heat) and the number of roles that took part, with a slow
  start in the first days; that of a loss falls with heat and fit. Either closes the prospect for good.
- **Recording**: calls, meetings and outcomes are often typed in days later. Rates on a day depend on what was recorded
  before that day began, and events go on until the closing is *recorded*: the records then carry no hint of a closing
  that they do not hold.
- ``lead_quality`` is filled in by hand once the outcome is known, and declared ``known = "never"``.

Steps are days in UTC. Within a day: accounts and prospects are created from 7:00, events happen, versions change and
late records are typed in from 12:00, outcomes happen from 17:00; so the order of a day's stamps is causal too.

**The truth** at a midnight T is ``P(T < first win <= T + h | everything recorded before T)``. It is computed from the
records alone, never from the simulation's own state, in three parts:

1. *Closed already?* Given the records, the chance that a prospect without a recorded closing is really open is
   ``S / (S + sum_u S_u q_u L_u)``: u runs over the last days, q_u is that day's chance to close, L_u that its record is
   still to come, S_u the chance to be open at the start of day u, and S at T (both from the first of these days on;
   whatever closed earlier would be recorded).
2. *On their way.* Events that happened before T and are recorded after it are independent of those recorded
   (thinning of a Poisson process); they are drawn at the rates of their days.
3. *Forward.* Each draw runs the world's own day step for the prospect's account: events, recordings, versions, siblings
   that close, prospects still to come. The prospect itself is never closed within a draw. Its win probability is
   summed exactly along the drawn path (``sum_d S_d w_d``, with ``w_d`` the day's chance of a win), and averaged.

Probabilities are those given the records; divided by ``still_open`` they are those given also that the prospect is
really open, which is what rows are that a training or an evaluation keeps (DESIGN 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.contract import DAY, ROLES, format_time
from features.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

WORLD = 1  # the version of the frozen world

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]

HOUR = DAY // 24
FAR = 2**40  # a day that never comes
SLOTS = 4  # contacts an account may have
MAX_LAG = 7  # days; nothing is recorded later
ABSENT, UNKNOWN = -1, 0  # a contact that is not there yet; one without a role. Roles are 1, 2, 3 as in ROLES.
BUYER = 1 + ROLES.index("buyer")
FAMILIES = ("digital", "intent", "human")
HEADCOUNT_LIMIT = 50_000


class Level(NamedTuple):
    """A level of a category: its share among the known, and its effect on the fit."""

    name: str
    share: float
    effect: float = 0.0


class Touch(NamedTuple):
    """A type of event.

    Attributes:
        name: the type.
        family: which heat it feeds, an index into FAMILIES.
        rate: events a day at fit 0, age 0 and without any heat.
        weight: what one adds to the heats.
        lift: how far each heat (digital, intent, human, spill) raises the rate: 1 + lift x heat / (1 + heat).
        direction: inbound or outbound.
        channel: its channel.
        anonymous: share of the events without a contact.
        lag: chance that it is recorded 0, 1, 2, ... days later.
    """

    name: str
    family: int
    rate: float
    weight: float
    lift: tuple[float, float, float, float]
    direction: str
    channel: str
    anonymous: float
    lag: tuple[float, ...]


_TRACKED = (0.97, 0.02, 0.01)
_TYPED = (0.66, 0.17, 0.08, 0.04, 0.03, 0.02)


@dataclass(frozen=True)
class Mechanisms:
    """Every coefficient of the world; ``without`` switches mechanisms off. Rates are per day, times in days."""

    # who they are
    industries: tuple[Level, ...] = (
        Level("62.01Z", 0.16, 0.55),
        Level("70.22Z", 0.12, 0.25),
        Level("46.69B", 0.11, -0.10),
        Level("28.29B", 0.09, 0.45),
        Level("41.20B", 0.09, -0.55),
        Level("56.10A", 0.09, -0.90),
        Level("25.62B", 0.08, 0.10),
        Level("49.41B", 0.07, -0.35),
        Level("86.10Z", 0.06, 0.20),
        Level("71.12B", 0.06, 0.40),
        Level("84.11Z", 0.04, -0.45),
        Level("85.42Z", 0.03, 0.00),
    )
    countries: tuple[Level, ...] = (
        Level("FR", 0.62, 0.10),
        Level("BE", 0.12, -0.05),
        Level("DE", 0.10, -0.30),
        Level("CH", 0.07, 0.30),
        Level("ES", 0.05, -0.45),
        Level("LU", 0.03, 0.20),
        Level("NL", 0.01, 0.00),
    )
    legal_forms: tuple[Level, ...] = (Level("SAS", 0.5), Level("SARL", 0.35), Level("SA", 0.1), Level("public", 0.05))
    sources: tuple[Level, ...] = (
        Level("organic_search", 0.24, 0.10),
        Level("paid_search", 0.20, -0.35),
        Level("webinar", 0.14, 0.35),
        Level("trade_show", 0.12, 0.05),
        Level("outbound_list", 0.16, -0.75),
        Level("referral", 0.08, 0.90),
        Level("partner", 0.06, 0.50),
    )
    products: tuple[Level, ...] = (Level("core", 0.55, 0.15), Level("plus", 0.25, 0.0), Level("suite", 0.20, -0.25))
    campaigns: tuple[Level, ...] = tuple(Level(f"campaign_{i:02d}", 0.1) for i in range(1, 11))
    unknown_industry: float = 0.06
    unknown_country: float = 0.02
    unknown_headcount: float = 0.30
    unknown_source: float = 0.03
    unknown_product: float = 0.12
    unknown_budget: float = 0.55
    no_account: float = 0.06
    headcount_median: float = 45.0
    headcount_spread: float = 1.5  # of the logarithm
    size_peak: float = 120.0  # the headcount that fits best
    size_width: float = 1.3  # of the logarithm
    size_effect: float = 1.0
    suite_from: float = 200.0  # the headcount from which the suite fits
    suite_large: float = 0.9
    suite_small: float = -0.4
    budget_yes: float = 0.55
    budget_no: float = -0.35

    # accounts and contacts over time
    followers: float = 1.0 / 365  # further prospects of an account, a day
    follower_size: float = 0.25  # x (log headcount - its mean), capped
    headcount_known: float = 1.0 / 90
    headcount_change: float = 1.0 / 240
    headcount_step: float = 0.35
    contact_added: float = 1.0 / 120
    role_known: float = 1.0 / 45
    role_change: float = 1.0 / 400
    first_contacts: tuple[float, ...] = (0.45, 0.35, 0.20)  # 1, 2, 3 at birth
    unknown_role: float = 0.45
    role_shares: tuple[float, float, float] = (0.35, 0.30, 0.35)

    # events
    touches: tuple[Touch, ...] = (
        Touch("page_view", 0, 0.150, 0.6, (1.6, 1.2, 0.8, 1.0), "inbound", "web", 0.35, _TRACKED),
        Touch("email_open", 0, 0.110, 0.3, (1.0, 0.5, 0.5, 0.2), "inbound", "email", 0.05, _TRACKED),
        Touch("webinar", 0, 0.012, 1.6, (1.5, 0.5, 0.0, 0.8), "inbound", "web", 0.05, _TRACKED),
        Touch("email_reply", 1, 0.014, 1.0, (1.5, 2.0, 2.0, 0.5), "inbound", "email", 0.0, _TRACKED),
        Touch("demo_request", 1, 0.006, 2.0, (4.0, 0.5, 0.5, 1.5), "inbound", "web", 0.0, _TRACKED),
        Touch("call", 2, 0.045, 0.5, (0.5, 2.0, 0.5, 0.0), "outbound", "phone", 0.15, _TYPED),
        Touch("meeting", 2, 0.005, 2.0, (0.5, 8.0, 5.0, 0.5), "outbound", "visit", 0.10, _TYPED),
        Touch("quote_view", 1, 0.003, 1.5, (0.5, 4.0, 12.0, 0.0), "inbound", "web", 0.15, _TRACKED),
    )
    quote_median: float = 12_000.0
    quote_spread: float = 0.8  # of the logarithm
    quote_slope: float = 0.35  # a quote weighs (amount / median) ** -slope
    activity: float = 0.35  # x fit, on every rate
    fade: float = 25.0
    floor: float = 0.12  # the share of the rate that never fades
    week: tuple[float, ...] = (1.2, 1.3, 1.25, 1.25, 1.1, 0.5, 0.4)  # Monday first, mean 1

    # heats
    taus: tuple[float, float, float] = (6.0, 14.0, 21.0)
    buyer_tau: float = 21.0
    spill_tau: float = 14.0

    # the hazards
    win: float = -8.1  # log of the daily rate
    win_fit: float = 1.0
    win_heat: tuple[float, float, float] = (0.3, 0.7, 0.5)
    win_buyer: float = 0.4
    win_role: float = 0.2  # for each role that took part
    win_spill: float = 0.35
    onset: float = 6.0  # 1 - exp(-age / onset)
    loss: float = -4.75
    loss_fit: float = -0.25
    loss_heat: tuple[float, float, float] = (-0.15, -0.35, -0.35)
    loss_onset: float = 20.0
    won_lag: tuple[float, ...] = (0.82, 0.10, 0.04, 0.02, 0.01, 0.005, 0.005)
    lost_lag: tuple[float, ...] = (0.68, 0.14, 0.08, 0.05, 0.03, 0.01, 0.01)

    def without(self, *names: str) -> Mechanisms:
        """The same world with mechanisms switched off; names are the keys of ``SWITCHES``."""
        out = self
        for name in names:
            if name not in SWITCHES:
                raise BadInput(
                    "unknown_mechanism",
                    f"there is no mechanism {name!r}.",
                    where="mechanisms",
                    remedy=f"Use: {', '.join(SWITCHES)}.",
                )
            changes: dict[str, Any] = dict(SWITCHES[name])
            if name == "lags":
                changes["touches"] = tuple(t._replace(lag=(1.0,)) for t in out.touches)
            out = replace(out, **changes)
        return out


SWITCHES: Mapping[str, Mapping[str, Any]] = {
    "fit": {"win_fit": 0.0, "loss_fit": 0.0, "activity": 0.0},
    "heat": {"win_heat": (0.0, 0.0, 0.0), "loss_heat": (0.0, 0.0, 0.0)},
    "roles": {"win_buyer": 0.0, "win_role": 0.0},
    "spill": {"win_spill": 0.0},
    "onset": {"onset": 1e-9, "loss_onset": 1e-9},
    "week": {"week": (1.0,) * 7},
    "quotes": {"quote_slope": 0.0},
    "lags": {"won_lag": (1.0,), "lost_lag": (1.0,)},
    "versions": {"headcount_known": 0.0, "headcount_change": 0.0, "role_known": 0.0, "role_change": 0.0},
    "followers": {"followers": 0.0},
}


# ---- the parts of a day, common to the world and to its truth -------------------------------------------------------


class _Heat(NamedTuple):
    """What the hazards read, a row per prospect (or per prospect and draw)."""

    age: Floats  # days since the day of creation
    fit: Floats
    family: Floats  # (3, n)
    buyer: Floats
    roles: Floats  # distinct roles of the contacts that took part
    spill: Floats


class _Tables:
    """A world's coefficients as arrays."""

    def __init__(self, m: Mechanisms, start: int) -> None:
        self.m = m
        self.rate = np.array([t.rate for t in m.touches])
        self.lift = np.array([t.lift for t in m.touches])  # (types, 4)
        self.lifted = self.rate @ self.lift  # of the sum of all types
        self.total = float(self.rate.sum())
        self.weight = np.array([t.weight for t in m.touches])
        self.family = np.array([t.family for t in m.touches])
        self.anonymous = np.array([t.anonymous for t in m.touches])
        self.lag = np.array([_padded(t.lag) for t in m.touches])
        self.closing_lag = np.array([_padded(m.won_lag), _padded(m.lost_lag)])
        self.types = [t.name for t in m.touches]
        self.quote = self.types.index("quote_view")
        self.tau = np.array(m.taus)
        self.monday = (start // DAY + 3) % 7  # of the first day; 1970 began on a Thursday

    def week(self, day: int | Ints) -> Any:
        """The weekday's factor on the rates of that day (counted from the world's first)."""
        return np.array(self.m.week)[(day + self.monday) % 7]

    def rates(self, heat: _Heat, week: Any) -> tuple[Floats, Floats]:
        """The day's rates of winning and losing."""
        m = self.m
        warm = np.log1p(heat.family)
        win = m.win + m.win_fit * heat.fit + np.array(m.win_heat) @ warm
        win += m.win_buyer * np.log1p(heat.buyer) + m.win_role * heat.roles + m.win_spill * np.log1p(heat.spill)
        loss = m.loss + m.loss_fit * heat.fit + np.array(m.loss_heat) @ warm
        return (
            week * np.exp(win) * -np.expm1(-heat.age / m.onset),
            week * np.exp(loss) * -np.expm1(-heat.age / m.loss_onset),
        )

    def drive(self, heat: _Heat, week: Any) -> tuple[Floats, Floats]:
        """What multiplies every type's rate, and the saturated heats that lift them, (4, n)."""
        m = self.m
        fading = m.floor + (1 - m.floor) * np.exp(-heat.age / m.fade)
        drive = week * np.exp(m.activity * heat.fit) * fading
        hot = np.concatenate([heat.family, heat.spill[None]])
        return drive, hot / (1 + hot)

    def worth(self, amount: Floats) -> Floats:
        """How much heavier or lighter an event is for its amount; 1 without one."""
        known = np.nan_to_num(amount, nan=self.m.quote_median)
        return np.asarray((known / self.m.quote_median) ** -self.m.quote_slope)

    def draw_types(self, rng: np.random.Generator, hot: Floats) -> Ints:
        """A type for each column of the saturated heats, by the types' rates there."""
        share = self.rate[:, None] * (1 + self.lift @ hot)
        level = np.cumsum(share, axis=0)
        return np.asarray((level < rng.random(hot.shape[1]) * level[-1]).sum(axis=0), dtype=np.int64)

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


def _size_effect(m: Mechanisms, headcount: Floats, suite: Bools) -> Floats:
    """The part of the fit that follows the recorded headcount; 0 where it is unknown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.log(headcount / m.size_peak) / m.size_width
        effect = m.size_effect * (np.exp(-0.5 * distance**2) - 0.5)
        effect += np.where(suite, np.where(headcount >= m.suite_from, m.suite_large, m.suite_small), 0.0)
    return np.where(np.isnan(headcount), 0.0, effect)


def _effects(levels: Sequence[Level]) -> Floats:
    """The levels' effects, and 0 at the end: the place of the unknown, -1."""
    return np.array([*(level.effect for level in levels), 0.0])


def _draw_levels(rng: np.random.Generator, levels: Sequence[Level], unknown: float, n: int) -> Small:
    share = np.array([level.share for level in levels])
    code = rng.choice(len(levels), size=n, p=share / share.sum())
    return np.asarray(np.where(rng.random(n) < unknown, -1, code), dtype=np.int8)


def _draw_headcounts(rng: np.random.Generator, m: Mechanisms, n: int) -> Floats:
    drawn = np.exp(np.log(m.headcount_median) + m.headcount_spread * rng.standard_normal(n))
    return np.asarray(np.clip(np.ceil(drawn), 1, HEADCOUNT_LIMIT))


def _draw_roles(rng: np.random.Generator, m: Mechanisms, n: int) -> Small:
    share = np.array(m.role_shares)
    return (1 + rng.choice(3, size=n, p=share / share.sum())).astype(np.int8)


def _draw_offers(rng: np.random.Generator, m: Mechanisms, n: int) -> tuple[Small, Small, Small]:
    """Source, product and budget of new prospects (codes; -1 unknown; budget 0 no, 1 yes)."""
    source = _draw_levels(rng, m.sources, m.unknown_source, n)
    product = _draw_levels(rng, m.products, m.unknown_product, n)
    budget = _draw_levels(rng, (Level("no", 0.5), Level("yes", 0.5)), m.unknown_budget, n)
    return source, product, budget


def _offer_effect(m: Mechanisms, source: Small, product: Small, budget: Small) -> Floats:
    out = _effects(m.sources)[source] + _effects(m.products)[product]
    return np.asarray(out + np.array([m.budget_no, m.budget_yes, 0.0])[budget])


def _follow_rate(m: Mechanisms, headcount: Floats) -> Floats:
    """Further prospects a day, by the headcount first recorded."""
    size = np.nan_to_num(np.log(headcount / m.headcount_median))
    return np.asarray(m.followers * np.exp(m.follower_size * np.clip(size, -3, 3)))


class _Happened(NamedTuple):
    """Events: the row and the group they belong to, type, day of occurrence and of recording, contact, amount."""

    row: Ints  # -1: a prospect that is no row of the crowd (only its account feels it)
    group: Ints
    kind: Ints
    day: Ints
    recorded: Ints
    slot: Small
    amount: Floats

    def at(self, keep: Any) -> _Happened:
        return _Happened(*(column[keep] for column in self))


class _Closed(NamedTuple):
    """Closings: row, 0 won or 1 lost, day of occurrence and of recording."""

    row: Ints
    kind: Ints
    day: Ints
    recorded: Ints


class _Changed(NamedTuple):
    """What changed in groups on a day: those with a new headcount, and (group, slot) with a new contact or role."""

    headcount: Ints
    contact: tuple[Ints, Ints]


class _Crowd:
    """Rows (prospects, or prospects x draws) in groups (accounts, or accounts x targets x draws), moved by days.

    The same step makes the world (each prospect a row) and its truth (each draw its own rows).
    """

    def __init__(
        self,
        tables: _Tables,
        rng: np.random.Generator,
        *,
        group: Ints,
        created: Ints,
        base_fit: Floats,
        suite: Bools,
        target: Bools,
        headcount: Floats,
        roles: Small,
        quiet: Bools,
    ) -> None:
        n, groups = len(group), len(headcount)
        self.t, self.m, self.rng = tables, tables.m, rng
        self.group, self.created, self.base_fit, self.suite, self.target = group, created, base_fit, suite, target
        self.headcount, self.roles, self.quiet = headcount, roles, quiet  # by group; quiet: no account, nothing changes
        self.family = np.zeros((3, n))
        self.own = np.zeros(n)  # its part of its account's heat
        self.contact = np.zeros((SLOTS, n))
        self.took_part = np.zeros((SLOTS, n), dtype=bool)
        self.account = np.zeros(groups)
        self.closed = np.zeros(n, dtype=bool)  # truly
        self.closing_recorded = np.full(n, FAR)
        self.fit = base_fit + _size_effect(self.m, headcount[group], suite)
        self.awaiting: dict[int, list[_Happened]] = {}
        order = np.argsort(group, kind="stable")
        self.rows_of = order, np.searchsorted(group[order], np.arange(groups + 1))

    def await_(self, events: _Happened) -> None:
        """Put events on the list of the day of their recording."""
        for day in np.unique(events.recorded):
            self.awaiting.setdefault(int(day), []).append(events.at(events.recorded == day))

    def heat(self, day: int) -> _Heat:
        """What the hazards of a day read, from all that was recorded before it."""
        roles = np.take(self.roles, self.group, axis=1)
        buyer = (self.contact * (roles == BUYER)).sum(axis=0)
        taking = np.where(self.took_part, roles, 0)
        distinct = np.zeros(len(self.group))
        for role in range(1, len(ROLES) + 1):
            distinct += (taking == role).any(axis=0)
        spill = np.maximum(self.account[self.group] - self.own, 0.0)
        age = np.maximum(day - self.created, 0).astype(float)
        return _Heat(age, self.fit, self.family, buyer, distinct, spill)

    def step(self, day: int) -> tuple[Floats, Floats, _Happened, _Closed, _Changed]:
        """One day: its rates of win and loss by row, events, closings, changes; the state is then the next day's."""
        t, rng, week = self.t, self.rng, self.t.week(day)
        heat = self.heat(day)
        win, loss = t.rates(heat, week)
        active = (self.created <= day) & (self.closing_recorded >= day)

        # Closings, of all but the targets (whose chances the caller sums up).
        may = np.flatnonzero(active & ~self.closed & ~self.target)
        either = win[may] + loss[may]
        now = may[rng.random(len(may)) < -np.expm1(-either)]
        kind = (rng.random(len(now)) * (win[now] + loss[now]) >= win[now]).astype(np.int64)
        lag = _pick(rng, t.closing_lag[kind])
        self.closed[now] = True
        self.closing_recorded[now] = day + lag
        closed = _Closed(now, kind, np.full(len(now), day), day + lag)

        # Events: one Poisson process over all rows.
        drive, hot = t.drive(heat, week)
        level = np.cumsum(np.where(active, drive * (t.total + t.lifted @ hot), 0.0))
        row = np.searchsorted(level, np.sort(rng.random(rng.poisson(level[-1]))) * level[-1], side="right")
        kinds = t.draw_types(rng, hot[:, row])
        group = self.group[row]
        present = (self.roles[:, group] != ABSENT).sum(axis=0)
        slot = t.draw_slots(rng, kinds, present)
        recorded = day + _pick(rng, t.lag[kinds])
        happened = _Happened(row, group, kinds, np.full(len(row), day), recorded, slot, t.draw_amounts(rng, kinds))

        # What is recorded today is felt tomorrow.
        self.family *= np.exp(-1 / t.tau)[:, None]
        self.contact *= np.exp(-1 / self.m.buyer_tau)
        for heat_sum in (self.own, self.account):
            heat_sum *= np.exp(-1 / self.m.spill_tau)
        self.feel(happened.at(recorded == day), day + 1)
        for late in self.awaiting.pop(day, ()):
            self.feel(late, day + 1)
        self.await_(happened.at(recorded > day))
        return win, loss, happened, closed, self.change(day)

    def feel(self, events: _Happened, day: int) -> None:
        """Add recorded events to the heats of the morning of ``day``."""
        t, age = self.t, day - events.day
        weight = t.weight[events.kind] * t.worth(events.amount)
        near = weight * np.exp(-age / self.m.spill_tau)
        np.add.at(self.account, events.group, near)
        mine = events.row >= 0
        row, kind = events.row[mine], events.kind[mine]
        family = t.family[kind]
        np.add.at(self.own, row, near[mine])
        np.add.at(self.family, (family, row), weight[mine] * np.exp(-age[mine] / t.tau[family]))
        known = mine & (events.slot >= 0)
        where = events.slot[known], events.row[known]
        np.add.at(self.contact, where, weight[known] * np.exp(-age[known] / self.m.buyer_tau))
        self.took_part[where] = True

    def change(self, day: int) -> _Changed:
        """At most one change a day and group: of the headcount, of a role, or a contact more."""
        m, rng, roles = self.m, self.rng, self.roles
        unknown = (roles == UNKNOWN).sum(axis=0)
        known = (roles > UNKNOWN).sum(axis=0)
        rate = np.empty((4, len(self.headcount)))
        rate[0] = np.where(np.isnan(self.headcount), m.headcount_known, m.headcount_change)
        rate[1] = np.where(unknown + known < SLOTS, m.contact_added, 0.0)
        rate[2] = m.role_known * unknown
        rate[3] = m.role_change * known
        level = np.cumsum(rate, axis=0)
        level[:, self.quiet] = 0.0
        drawn = rng.random(len(self.headcount))
        group = np.flatnonzero(drawn < level[-1])
        kind = (drawn[group] >= level[:, group]).sum(axis=0)

        sized = group[kind == 0]
        before = self.headcount[sized]
        moved = np.clip(
            np.ceil(before * np.exp(m.headcount_step * rng.standard_normal(len(sized)))), 1, HEADCOUNT_LIMIT
        )
        self.headcount[sized] = np.where(np.isnan(before), _draw_headcounts(rng, m, len(sized)), moved)
        row = _members(self.rows_of, sized)
        self.fit[row] = self.base_fit[row] + _size_effect(m, self.headcount[self.group[row]], self.suite[row])

        added = group[kind == 1]
        slot = (roles[:, added] != ABSENT).sum(axis=0)
        role = np.where(rng.random(len(added)) < m.unknown_role, UNKNOWN, _draw_roles(rng, m, len(added)))
        roles[slot, added] = role
        changed = [added], [slot]
        for of, state in ((2, roles == UNKNOWN), (3, roles > UNKNOWN)):
            who = group[kind == of]
            slot = _pick(rng, state[:, who].T.astype(float))
            roles[slot, who] = _draw_roles(rng, m, len(who))
            changed[0].append(who)
            changed[1].append(slot)
        return _Changed(sized, (np.concatenate(changed[0]), np.concatenate(changed[1])))


def _pick(rng: np.random.Generator, shares: Floats) -> Ints:
    """An index for each row of shares, by weight."""
    level = np.cumsum(shares, axis=1)
    last = level[:, -1:] if shares.shape[1] else np.zeros((len(shares), 1))
    return np.asarray((level <= rng.random((len(shares), 1)) * last).sum(axis=1), dtype=np.int64)


def _members(index: tuple[Ints, Ints], groups: Ints) -> Ints:
    """The rows of groups, group after group."""
    order, first = index
    at, _ = _spread(first[groups], first[groups + 1])
    return order[at]


def _spread(first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """All places from first to last (without it) of each entry, one after another, and the entry of each place."""
    count = last - first
    entry = np.repeat(np.arange(len(first)), count)
    ends = np.cumsum(count)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - count, count)
    return first[entry] + within, entry


# ---- the world ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class World:
    """What a simulated CRM has recorded by its end, as arrays; times are microseconds since ``start``.

    Codes of categories index the mechanisms' levels; -1 is unknown. Rows are in order of time.
    """

    mechanisms: Mechanisms
    seed: int
    start: int  # microseconds since 1970, a midnight
    days: int
    # prospects
    created: Ints
    account: Ints  # every prospect has one inside; those of ``anonymous`` accounts are written without
    source: Small
    product: Small
    budget: Small
    campaign: Small
    # accounts
    born: Ints
    industry: Small
    country: Small
    legal_form: Small
    anonymous: Bools
    # versions: account, from when, headcount (nan unknown)
    size_account: Ints
    size_at: Ints
    size: Floats
    # versions: account, contact, from when, role
    role_account: Ints
    role_slot: Small
    role_at: Ints
    role: Small
    # events
    event_prospect: Ints
    event_type: Small
    event_at: Ints
    event_recorded: Ints
    event_slot: Small
    event_amount: Floats
    # outcomes: 0 won, 1 lost
    outcome_prospect: Ints
    outcome: Small
    outcome_at: Ints
    outcome_recorded: Ints
    _index: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def until(self) -> int:
        """The end of the data, T: microseconds since 1970."""
        return self.start + self.days * DAY

    @property
    def prospect_ids(self) -> npt.NDArray[np.str_]:
        """The prospects' ids, in order of creation."""
        return _ids("p", np.arange(len(self.created)), len(self.created))

    # -- the files

    def tables(self) -> dict[str, pa.Table]:
        """The tables of the data contract, with a few identical repeats among the events and a hindsight column."""
        import pyarrow as pa

        m, rng = self.mechanisms, np.random.default_rng([self.seed, 3])
        n_accounts, named = len(self.born), ~self.anonymous

        def time(offset: Ints) -> pa.Array:
            return pa.array(offset + self.start, pa.int64()).cast(pa.timestamp("us", tz="UTC"))

        def text(values: npt.NDArray[Any], known: Bools | None = None) -> pa.Array:
            return pa.array(values.astype(str), pa.string(), mask=None if known is None else ~known)

        def level(levels: Sequence[Level], code: Small) -> pa.Array:
            return text(np.array([*(x.name for x in levels), ""])[code], code >= 0)

        def account(index: Ints) -> npt.NDArray[np.str_]:
            return _ids("a", index, n_accounts)

        def contact(index: Ints, slot: Small) -> npt.NDArray[np.str_]:
            return _ids("c", index * SLOTS + np.maximum(slot, 0), n_accounts * SLOTS)

        ended = np.full(len(self.created), 2)
        ended[self.outcome_prospect] = self.outcome
        quality = np.array(["high", "medium", "low"])[
            _pick(rng, np.array([[0.75, 0.2, 0.05], [0.05, 0.25, 0.7], [0.2, 0.5, 0.3]])[ended])
        ]
        rated = rng.random(len(ended)) < np.array([0.95, 0.85, 0.2])[ended]
        prospects = {
            "prospect_id": text(self.prospect_ids),
            "created_at": time(self.created),
            "account_id": text(account(self.account), named[self.account]),
            "source": level(m.sources, self.source),
            "product": level(m.products, self.product),
            "campaign": level(m.campaigns, self.campaign),
            "budget_known": pa.array(self.budget == 1, pa.bool_(), mask=self.budget < 0),
            "lead_quality": text(quality, rated),
        }

        keep = named[self.size_account]
        who = self.size_account[keep]
        accounts = {
            "account_id": text(account(who)),
            "observed_at": time(self.size_at[keep]),
            "country": level(m.countries, self.country[who]),
            "industry": level(m.industries, self.industry[who]),
            "headcount": pa.array(np.nan_to_num(self.size[keep]), pa.float64(), mask=np.isnan(self.size[keep])),
            "legal_form": level(m.legal_forms, self.legal_form[who]),
        }
        contacts = {
            "contact_id": text(contact(self.role_account, self.role_slot)),
            "account_id": text(account(self.role_account)),
            "observed_at": time(self.role_at),
            "role": text(np.array(["", *ROLES])[self.role], self.role > UNKNOWN),
        }

        n = len(self.event_at)
        again = np.sort(rng.choice(n, size=n // 2000, replace=False))  # sent twice, arrived twice
        row = np.concatenate([np.arange(n), again])
        kind = self.event_type[row]
        amount = self.event_amount[row]
        events = {
            "event_id": text(_ids("e", row, n)),
            "prospect_id": text(self.prospect_ids[self.event_prospect[row]]),
            "type": text(np.array([t.name for t in m.touches])[kind]),
            "occurred_at": time(self.event_at[row]),
            "recorded_at": time(self.event_recorded[row]),
            "contact_id": text(
                contact(self.account[self.event_prospect[row]], self.event_slot[row]), self.event_slot[row] >= 0
            ),
            "direction": text(np.array([t.direction for t in m.touches])[kind]),
            "channel": text(np.array([t.channel for t in m.touches])[kind]),
            "value": pa.array(np.nan_to_num(amount), pa.float64(), mask=np.isnan(amount)),
        }
        outcomes = {
            "prospect_id": text(self.prospect_ids[self.outcome_prospect]),
            "outcome": text(np.array(["won", "lost"])[self.outcome]),
            "occurred_at": time(self.outcome_at),
            "recorded_at": time(self.outcome_recorded),
        }
        made = {
            "prospects": prospects,
            "accounts": accounts,
            "contacts": contacts,
            "events": events,
            "outcomes": outcomes,
        }
        return {name: pa.table(columns) for name, columns in made.items()}

    def write(self, folder: Path, *, truth: pd.DataFrame | None = None, replace: bool = False) -> None:
        """Write the tables as Parquet and ``dataset.toml`` into ``folder``, all or nothing.

        With ``truth`` (as the method of that name gives it) also ``truth.parquet``, ``as_of`` as a UTC timestamp: no
        table of the contract, so that nothing which reads the folder reads it.

        Raises BadInput when the folder holds files already (unless ``replace`` and an earlier data folder of ours).
        """
        from training.sources.folder import write_folder

        declaration = f"""
complete_until = "{format_time(self.until)}"

[goal]
outcome = "won"
horizon_days = 90

[prospects.columns]
product = {{kind = "category"}}
campaign = {{kind = "category"}}
budget_known = {{kind = "boolean"}}
lead_quality = {{kind = "category", known = "never"}}    # filled in by hand once the outcome is known
"""
        title = f"simulate (world {WORLD}, seed {self.seed}, {len(self.created)} prospects, {self.days} days)"
        tables = self.tables()
        if truth is not None:
            import pyarrow as pa

            made = pa.Table.from_pandas(truth, preserve_index=False)
            as_of = made["as_of"].cast(pa.timestamp("us", tz="UTC"))
            tables["truth"] = made.set_column(made.schema.get_field_index("as_of"), "as_of", as_of)
        write_folder(folder, tables, declaration, title=title, replace=replace)

    # -- what the records say

    def _sorted(self, name: str) -> Any:
        """Orders and first places by account (or prospect), made once."""
        if not self._index:
            span = (self.days + 2) * DAY
            owner = self.account[self.event_prospect]
            order = np.argsort(owner, kind="stable")
            self._index["events"] = order, np.searchsorted(owner[order], np.arange(len(self.born) + 1))
            key = self.size_account * span + self.size_at
            order = np.argsort(key, kind="stable")
            self._index["sizes"] = order, key[order]
            key = (self.role_account * SLOTS + self.role_slot) * span + self.role_at
            order = np.argsort(key, kind="stable")
            self._index["roles"] = order, key[order]
            order = np.argsort(self.account, kind="stable")
            self._index["prospects"] = order, np.searchsorted(self.account[order], np.arange(len(self.born) + 1))
        return self._index[name]

    def _as_of(self, name: str, owner: Ints, t: Ints) -> Ints:
        """The version of each owner as of t, as a place in the versions' arrays; -1 where there is none."""
        order, key = self._sorted(name)
        span = (self.days + 2) * DAY
        at = np.searchsorted(key, owner * span + np.clip(t, 0, span - 1), side="right") - 1
        found = (at >= 0) & (key[at] // span == owner)
        return np.where(found, order[at], -1)

    def _heat(self, prospect: Ints, known: Ints, day: Floats) -> tuple[_Heat, dict[str, Any]]:
        """What the records known at a moment say of prospects, a row per entry; the state that the crowd starts from.

        ``known`` is the moment in microseconds, ``day`` the time from which ages are counted, in days.
        """
        t = _Tables(self.mechanisms, self.start)
        n, account = len(prospect), self.account[prospect]
        order, first = self._sorted("events")
        place, entry = _spread(first[account], first[account + 1])
        event = order[place]
        seen = self.event_recorded[event] <= known[entry]
        event, entry = event[seen], entry[seen]

        age = day[entry] - self.event_at[event] // DAY
        kind = self.event_type[event].astype(np.int64)
        weight = t.weight[kind] * t.worth(self.event_amount[event])
        near = weight * np.exp(-age / self.mechanisms.spill_tau)
        mine = self.event_prospect[event] == prospect[entry]
        whole = np.bincount(entry, near, n)
        own = np.bincount(entry[mine], near[mine], n)
        family = np.zeros((3, n))
        for f in range(3):
            of = mine & (t.family[kind] == f)
            family[f] = np.bincount(entry[of], weight[of] * np.exp(-age[of] / t.tau[f]), n)
        with_contact = mine & (self.event_slot[event] >= 0)
        cell = self.event_slot[event[with_contact]].astype(np.int64) * n + entry[with_contact]
        warm = weight[with_contact] * np.exp(-age[with_contact] / self.mechanisms.buyer_tau)
        contact = np.bincount(cell, warm, n * SLOTS).reshape(SLOTS, n)
        took_part = np.bincount(cell, minlength=n * SLOTS).reshape(SLOTS, n) > 0

        version = self._as_of("sizes", account, known)
        headcount = np.where(version >= 0, self.size[version], np.nan)
        every = (account * SLOTS + np.arange(SLOTS)[:, None]).ravel()
        version = self._as_of("roles", every, np.tile(known, SLOTS))
        roles = np.where(version >= 0, self.role[version], ABSENT).astype(np.int8).reshape(SLOTS, n)

        base = self._base_fit(prospect)
        suite = self._suite(prospect)
        fit = base + _size_effect(self.mechanisms, headcount, suite)
        taking = np.where(took_part, roles, 0)
        distinct = sum(((taking == r).any(axis=0) for r in range(1, len(ROLES) + 1)), np.zeros(n))
        heat = _Heat(
            np.maximum(day - self.created[prospect] // DAY, 0.0),
            fit,
            family,
            (contact * (roles == BUYER)).sum(axis=0),
            distinct,
            np.maximum(whole - own, 0.0),
        )
        state = {
            "own": own,
            "account": whole,
            "contact": contact,
            "took_part": took_part,
            "headcount": headcount,
            "roles": roles,
            "present": (roles != ABSENT).sum(axis=0),
        }
        return heat, state

    def _base_fit(self, prospect: Ints) -> Floats:
        m, account = self.mechanisms, self.account[prospect]
        fit = _effects(m.industries)[self.industry[account]] + _effects(m.countries)[self.country[account]]
        return np.asarray(fit + _offer_effect(m, self.source[prospect], self.product[prospect], self.budget[prospect]))

    def _suite(self, prospect: Ints) -> Bools:
        names = [level.name for level in self.mechanisms.products]
        return np.asarray(self.product[prospect] == names.index("suite"))

    def _closing_recorded(self) -> Ints:
        """The day on which each prospect's closing was recorded; FAR where none is."""
        out = np.full(len(self.created), FAR)
        out[self.outcome_prospect] = self.outcome_recorded // DAY
        return out

    def mechanism_features(self, prospect_ids: Sequence[str], as_of: Sequence[int] | Ints) -> pd.DataFrame:
        """The true mechanisms' own inputs: the yardstick of a model that has to find them in the tables.

        Args:
            prospect_ids: the prospects, one per row.
            as_of: the moments, microseconds since 1970, one per row.

        Returns:
            a frame in the order given: prospect_id, as_of, the categories (null unknown), headcount, budget_known
            (0, 1, null), age_days, the heats digital, intent, human, buyer, spill, and roles. At a midnight these are
            exactly what that day's hazard reads; within a day ages are counted to the moment itself.

        Raises:
            BadInput: an id that this world does not hold.
        """
        import pandas as pd

        ids = self.prospect_ids
        asked = np.asarray(prospect_ids, dtype=str)
        at = np.clip(np.searchsorted(ids, asked), 0, len(ids) - 1)
        if (ids[at] != asked).any():
            raise BadInput(
                "unknown_prospect",
                f"{asked[ids[at] != asked][0]!r} is no prospect of this world.",
                where="prospect_ids",
                remedy="Give ids of World.prospect_ids.",
            )
        moments = np.asarray(as_of, dtype=np.int64)
        m = self.mechanisms
        frames = []
        for part in np.array_split(np.arange(len(at)), max(1, len(at) // 50_000)):
            known = moments[part] - self.start
            heat, state = self._heat(at[part], known, known / DAY)
            who, account = at[part], self.account[at[part]]

            def named(levels: Sequence[Level], code: Small) -> Any:
                return pd.Categorical.from_codes(code, pd.Index([x.name for x in levels]))

            frames.append(
                pd.DataFrame(
                    {
                        "prospect_id": asked[part],
                        "as_of": moments[part],
                        "industry": named(m.industries, self.industry[account]),
                        "country": named(m.countries, self.country[account]),
                        "source": named(m.sources, self.source[who]),
                        "product": named(m.products, self.product[who]),
                        "budget_known": np.where(self.budget[who] < 0, np.nan, self.budget[who]),
                        "headcount": state["headcount"],
                        "age_days": heat.age,
                        **dict(zip(FAMILIES, heat.family, strict=True)),
                        "buyer": heat.buyer,
                        "roles": heat.roles,
                        "spill": heat.spill,
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    # -- what was, and what will be

    def realised(self, horizons: Sequence[int] = (90,), as_of: int | None = None) -> pd.DataFrame:
        """What became of the prospects open at a midnight, from all that is recorded by the world's end.

        Args:
            horizons: days.
            as_of: the midnight in microseconds since 1970, at least the longest horizon and ``MAX_LAG`` days before
                the end; by default the last such.

        Returns:
            a frame with prospect_id, as_of, was_closed (its closing had occurred by then, and was recorded later), and
            won_30d etc.: whether the win came within so many days after.

        Raises:
            BadInput: ``as_of`` is no midnight of this world, or too late.
        """
        import pandas as pd

        span = max(horizons) + MAX_LAG
        day = self._day(self.until - span * DAY if as_of is None else as_of)
        if day > self.days - span:
            raise BadInput(
                "not_observed",
                f"{max(horizons)} days after that moment are not wholly recorded.",
                where="as_of",
                remedy=f"Give a moment at least {span} days before the end.",
            )
        row = self._open(day)
        at = np.full(len(self.created), FAR * DAY)
        at[self.outcome_prospect] = self.outcome_at
        won = np.zeros(len(self.created), dtype=bool)
        won[self.outcome_prospect] = self.outcome == 0
        after = (at - day * DAY)[row]
        return pd.DataFrame(
            {
                "prospect_id": self.prospect_ids[row],
                "as_of": self.start + day * DAY,
                "was_closed": after <= 0,
                **{f"won_{h}d": won[row] & (after > 0) & (after <= h * DAY) for h in horizons},
            }
        )

    def _day(self, as_of: int) -> int:
        day, rest = divmod(as_of - self.start, DAY)
        if rest or not 0 < day <= self.days:
            raise BadInput(
                "bad_moment",
                f"{format_time(as_of)} is no midnight within the simulated days.",
                where="as_of",
                remedy=f"Give one from {format_time(self.start + DAY)} to {format_time(self.until)}.",
            )
        return int(day)

    def _open(self, day: int) -> Ints:
        """The prospects created before a day and without a closing recorded before it."""
        return np.flatnonzero((self.created < day * DAY) & (self._closing_recorded() >= day))

    def truth(
        self,
        horizons: Sequence[int] = (30, 60, 90),
        draws: int = 500,
        as_of: int | None = None,
        chunk: int = 30_000,
        progress: Callable[[int], None] | None = None,
    ) -> pd.DataFrame:
        """The true probability of a win within each horizon, given everything recorded by a midnight.

        Args:
            horizons: days.
            draws: simulated futures per prospect.
            as_of: the midnight, microseconds since 1970; by default the end of the data.
            chunk: rows (prospects x draws) simulated at once; bounds the memory, not the result's law.
            progress: called now and then with the number of draws done.

        Returns:
            a frame with a row per prospect open by the records: prospect_id, as_of, still_open (the chance that no
            closing has occurred yet), and per horizon probability_90d and its Monte Carlo error error_90d.

        Raises:
            BadInput: ``as_of`` is no midnight of this world, a horizon or ``draws`` is not positive.
        """
        import pandas as pd

        if draws < 2 or not horizons or min(horizons) < 1:
            raise BadInput(
                "bad_setting",
                "the truth needs at least 2 draws and horizons from 1 day.",
                where="draws, horizons",
                remedy="Write, for example, horizons=(30, 90), draws=500.",
            )
        day = self._day(self.until if as_of is None else as_of)
        future = _Future(self, day)
        n = len(future.target)
        total, squares = np.zeros((len(horizons), n)), np.zeros((len(horizons), n))
        rng = np.random.default_rng([self.seed, 4, day])
        block = max(1, chunk // max(1, len(future.row)))
        for first in range(0, draws if n else 0, block):
            count = min(block, draws - first)
            for h, found in enumerate(future.run(rng, count, horizons)):
                total[h] += found.sum(axis=1)
                squares[h] += (found**2).sum(axis=1)
            if progress is not None:
                progress(first + count)
        mean = total / draws
        error = np.sqrt(np.maximum(squares / draws - mean**2, 0.0) / (draws - 1))
        return pd.DataFrame(
            {
                "prospect_id": self.prospect_ids[future.target],
                "as_of": self.start + day * DAY,
                "still_open": future.open_chance[:n],
                **{f"probability_{d}d": future.open_chance[:n] * mean[h] for h, d in enumerate(horizons)},
                **{f"error_{d}d": future.open_chance[:n] * error[h] for h, d in enumerate(horizons)},
            }
        )


def _ids(letter: str, index: Ints, count: int) -> npt.NDArray[np.str_]:
    """Ids of one width, so that their order is that of the numbers."""
    width = max(5, len(str(count)))
    if not len(index):
        return np.zeros(0, dtype=str)
    return np.char.add(letter, np.char.zfill(np.asarray(index).astype(str), width))


class _Future:
    """The records at a midnight, laid out for draws: each open prospect is the target of a copy of its account."""

    def __init__(self, world: World, day: int) -> None:
        self.world, self.day = world, day
        self.t = _Tables(world.mechanisms, world.start)
        self.target = world._open(day)
        n = len(self.target)

        # A copy per target: the target's row first, then its open siblings (and, in draws, those still to come).
        order, first = world._sorted("prospects")
        account = world.account[self.target]
        place, copy = _spread(first[account], first[account + 1])
        member = order[place]
        is_open = np.isin(member, self.target)
        created = world.created[member] < day * DAY
        sibling = is_open & (member != self.target[copy])
        self.row = np.concatenate([self.target, member[sibling]])
        self.copy = np.concatenate([np.arange(n), copy[sibling]])

        every = np.unique(member[created])  # also the closed: what they did may be on its way into the records
        self._history(every)
        at = np.searchsorted(every, self.row)
        self.open_chance, self.shut = self.open_chance_of[at], self.shut_of[at]
        self._pending(every, member[created], copy[created])
        known = np.full(len(self.row), day * DAY)
        self.heat, self.state = world._heat(self.row, known, np.full(len(self.row), float(day)))

    def _history(self, every: Ints) -> None:
        """Of the last days: the chance that a closing went unrecorded so far, and the rates of unrecorded events."""
        world, t, day = self.world, self.t, self.day
        n, recorded = len(every), world._closing_recorded()[every]
        created = world.created[every] // DAY
        staying = np.ones(n)
        shut = np.zeros((n, MAX_LAG))  # closed, and to be recorded on day, day + 1, ...
        self.rate_of: dict[int, tuple[Floats, Floats, Ints]] = {}
        for u in range(max(0, day - MAX_LAG), day):
            # On the day of creation the account's first rows are some hours old, no more.
            known = np.where(created == u, world.created[every], u * DAY)
            heat, state = world._heat(every, known, np.full(n, float(u)))
            active = (created <= u) & (recorded >= u)
            week = t.week(u)
            win, loss = t.rates(heat, week)
            either = np.where(active, win + loss, 0.0)
            share = np.divide(win, win + loss, out=np.zeros(n), where=win + loss > 0)
            close = staying * -np.expm1(-either)
            for r in range(day, u + MAX_LAG + 1):
                lag = t.closing_lag[:, r - u]
                shut[:, r - day] += close * (share * lag[0] + (1 - share) * lag[1])
            staying = staying * np.exp(-either)
            drive, hot = t.drive(heat, week)
            self.rate_of[u] = np.where(active, drive, 0.0), hot, state["present"]
        whole = staying + shut.sum(axis=1)
        self.open_chance_of, self.shut_of = staying / whole, shut / whole[:, None]

    def _pending(self, every: Ints, member: Ints, copy: Ints) -> None:
        """Rates of the events that happened before this day and are recorded from it on, per copy."""
        t, day = self.t, self.day
        at = np.searchsorted(every, member)
        row = np.full(len(member), -1)
        order = np.lexsort((self.row, self.copy))
        key = self.copy[order] * len(self.world.created) + self.row[order]
        asked = copy * len(self.world.created) + member
        found = np.clip(np.searchsorted(key, asked), 0, len(key) - 1) if len(key) else np.zeros(0, dtype=np.int64)
        hit = key[found] == asked
        row[hit] = order[found[hit]]
        cells: list[tuple[Any, ...]] = []
        for u, (drive, hot, present) in self.rate_of.items():
            for kind in range(len(t.rate)):
                rate = drive[at] * t.rate[kind] * (1 + t.lift[kind] @ hot[:, at])
                for r in range(day, u + MAX_LAG + 1):
                    mean = rate * t.lag[kind, r - u]
                    some = np.flatnonzero(mean > 0)
                    one = np.ones(len(some), dtype=np.int64)
                    cells.append((row[some], copy[some], kind * one, u * one, r * one, present[at[some]], mean[some]))
        joined = [np.concatenate(c) for c in zip(*cells, strict=True)]
        self.cells: list[Any] | None = joined if joined and len(joined[0]) else None

    def run(self, rng: np.random.Generator, draws: int, horizons: Sequence[int]) -> Iterator[Floats]:
        """Win probabilities along drawn paths, given that the target is really open: (targets, draws) per horizon."""
        world, t, day, m = self.world, self.t, self.day, self.world.mechanisms
        n, rows, span = len(self.target), len(self.row), max(horizons)
        group_of = (self.copy[:, None] * draws + np.arange(draws)).ravel()
        account = np.repeat(world.account[self.target], draws)  # by group

        # Prospects still to come.
        birth = world._as_of("sizes", account, world.born[account])
        rate = np.where(world.anonymous[account], 0.0, _follow_rate(m, world.size[birth]))
        coming = np.repeat(np.arange(len(account)), rng.poisson(rate * span))
        source, product, budget = _draw_offers(rng, m, len(coming))
        of = account[coming]
        fit = _effects(m.industries)[world.industry[of]] + _effects(m.countries)[world.country[of]]
        suite = [level.name for level in m.products].index("suite")

        crowd = _Crowd(
            t,
            rng,
            group=np.concatenate([group_of, coming]),
            created=np.concatenate(
                [np.repeat(world.created[self.row] // DAY, draws), day + rng.integers(0, span, len(coming))]
            ),
            base_fit=np.concatenate(
                [np.repeat(world._base_fit(self.row), draws), fit + _offer_effect(m, source, product, budget)]
            ),
            suite=np.concatenate([np.repeat(world._suite(self.row), draws), product == suite]),
            target=np.arange(rows * draws + len(coming)) < n * draws,
            headcount=np.repeat(self.state["headcount"][:n], draws),
            roles=np.repeat(self.state["roles"][:, :n], draws, axis=1),
            quiet=world.anonymous[account],
        )
        known = slice(0, rows * draws)
        crowd.family[:, known] = np.repeat(self.heat.family, draws, axis=1)
        crowd.own[known] = np.repeat(self.state["own"], draws)
        crowd.contact[:, known] = np.repeat(self.state["contact"], draws, axis=1)
        crowd.took_part[:, known] = np.repeat(self.state["took_part"], draws, axis=1)
        crowd.account[:] = np.repeat(self.state["account"][:n], draws)

        # Siblings that have closed already, unknown to the records.
        others = np.arange(n * draws, rows * draws)
        level = np.cumsum(np.repeat(self.shut[n:], draws, axis=0), axis=1)
        drawn = rng.random(len(others))
        shut = drawn < level[:, -1]
        crowd.closed[others[shut]] = True
        crowd.closing_recorded[others[shut]] = day + (drawn[shut, None] >= level[shut]).sum(axis=1)

        if self.cells is not None:
            row, copy, kind, when, recorded, present, mean = self.cells
            total = np.cumsum(mean)
            cell = np.searchsorted(total, rng.random(rng.poisson(draws * total[-1])) * total[-1], side="right")
            draw = rng.integers(0, draws, len(cell))
            crowd.await_(
                _Happened(
                    np.where(row[cell] >= 0, row[cell] * draws + draw, -1),
                    copy[cell] * draws + draw,
                    kind[cell],
                    when[cell],
                    recorded[cell],
                    t.draw_slots(rng, kind[cell], present[cell]),
                    t.draw_amounts(rng, kind[cell]),
                )
            )

        targets = n * draws
        alive, won = np.ones(targets), np.zeros(targets)
        out: dict[int, Floats] = {}
        for step in range(span):
            win, loss, *_ = crowd.step(day + step)
            either = win[:targets] + loss[:targets]
            share = np.divide(win[:targets], either, out=np.zeros(targets), where=either > 0)
            won += alive * -np.expm1(-either) * share
            alive *= np.exp(-either)
            if step + 1 in horizons:
                out[step + 1] = won.copy().reshape(n, draws)
        for h in horizons:
            yield out[h]


# ---- making a world -------------------------------------------------------------------------------------------------


def simulate(
    *,
    prospects: int = 5000,
    days: int = 365,
    seed: int = 0,
    start: datetime = datetime(2025, 1, 1, tzinfo=UTC),
    mechanisms: Mechanisms | None = None,
) -> World:
    """Simulate a CRM; the same arguments give the same world.

    Args:
        prospects: how many are created, spread over all days.
        days: how long it runs.
        seed: of the random numbers.
        start: the first midnight, with a time zone.
        mechanisms: other coefficients than the frozen world's own.

    Raises:
        BadInput: no prospects, no days, a negative seed, or a start that is no midnight in UTC.
    """
    m = mechanisms or Mechanisms()
    for name, value, least in (("prospects", prospects, 1), ("days", days, 1), ("seed", seed, 0)):
        if value < least:
            raise BadInput(
                "bad_setting", f"{value} is below {least}.", where=name, remedy=f"Give a whole number from {least}."
            )
    if start.tzinfo is None or start.timestamp() % 86_400:
        raise BadInput(
            "bad_time",
            "the start is no midnight in UTC.",
            where="start",
            remedy="Give, for example, datetime(2025, 1, 1, tzinfo=UTC).",
        )
    origin = int(start.timestamp()) * 1_000_000
    rng, stamps = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    t = _Tables(m, origin)

    # Accounts in random order of birth, until they make up the prospects; the last one's surplus is dropped.
    birth = rng.integers(0, days, prospects)
    headcount = np.where(rng.random(prospects) < m.unknown_headcount, np.nan, _draw_headcounts(rng, m, prospects))
    anonymous = rng.random(prospects) < m.no_account
    headcount[anonymous] = np.nan
    more = rng.poisson(np.where(anonymous, 0.0, _follow_rate(m, headcount)) * (days - 1 - birth))
    ends = np.cumsum(1 + more)
    count = int(np.searchsorted(ends, prospects)) + 1
    more[count - 1] -= ends[count - 1] - prospects
    birth, headcount, anonymous, more = birth[:count], headcount[:count], anonymous[:count], more[:count]
    order = np.argsort(birth, kind="stable")
    birth, headcount, anonymous, more = birth[order], headcount[order], anonymous[order], more[order]

    account = np.concatenate([np.arange(count), np.repeat(np.arange(count), more)])
    follows = np.arange(prospects) >= count
    created = birth[account]
    created[follows] += 1 + np.floor(rng.random(int(follows.sum())) * (days - 1 - created[follows])).astype(np.int64)
    order = np.argsort(created, kind="stable")
    account, created = account[order], created[order]
    source, product, budget = _draw_offers(rng, m, prospects)
    campaign = _draw_levels(rng, m.campaigns, 0.25, prospects)
    industry = np.where(anonymous, -1, _draw_levels(rng, m.industries, m.unknown_industry, count)).astype(np.int8)
    country = np.where(anonymous, -1, _draw_levels(rng, m.countries, m.unknown_country, count)).astype(np.int8)
    legal_form = _draw_levels(rng, m.legal_forms, 0.1, count)
    first = 1 + rng.choice(len(m.first_contacts), size=count, p=np.array(m.first_contacts))
    roles = np.where(
        rng.random((SLOTS, count)) < m.unknown_role, UNKNOWN, _draw_roles(rng, m, SLOTS * count).reshape(SLOTS, count)
    ).astype(np.int8)
    roles[(np.arange(SLOTS)[:, None] >= first) | anonymous] = ABSENT

    created_at = created * DAY + stamps.integers(7 * HOUR, 12 * HOUR, prospects)
    created_at = np.sort(created_at)  # the days are in order already: now their hours are too, and ids rise with time
    born = np.full(count, FAR * DAY)
    np.minimum.at(born, account, created_at)
    sizes = [(np.arange(count), born, headcount.copy())]
    slots = np.nonzero(roles != ABSENT)
    contacts = [(slots[1], slots[0], born[slots[1]], roles[slots])]

    names = [level.name for level in m.products]
    base = _effects(m.industries)[industry] + _effects(m.countries)[country]
    crowd = _Crowd(
        t,
        rng,
        group=account,
        created=created,
        base_fit=base[account] + _offer_effect(m, source, product, budget),
        suite=product == names.index("suite"),
        target=np.zeros(prospects, dtype=bool),
        headcount=headcount,
        roles=roles,
        quiet=np.ones(count, dtype=bool),
    )
    events, closings = [], []
    for day in range(days):
        crowd.quiet = anonymous | (birth >= day)  # what is not born yet does not change
        _, _, happened, closed, changed = crowd.step(day)
        events.append(happened)
        closings.append(closed)
        moment = day * DAY + stamps.integers(12 * HOUR, 20 * HOUR, len(changed.headcount))
        sizes.append((changed.headcount, moment, headcount[changed.headcount]))
        who, slot = changed.contact
        moment = day * DAY + stamps.integers(12 * HOUR, 20 * HOUR, len(who))
        contacts.append((who, slot, moment, roles[slot, who]))

    made = _Happened(*(np.concatenate(c) for c in zip(*events, strict=True)))
    at = made.day * DAY + stamps.integers(12 * HOUR, 17 * HOUR, len(made.day))
    typed = made.recorded * DAY + stamps.integers(12 * HOUR, 20 * HOUR, len(made.day))
    recorded = np.where(made.recorded == made.day, at, typed)
    by_time = np.lexsort((at, recorded))
    by_time = by_time[recorded[by_time] < days * DAY]
    ended = _Closed(*(np.concatenate(c) for c in zip(*closings, strict=True)))
    end_at = ended.day * DAY + stamps.integers(17 * HOUR, 20 * HOUR, len(ended.day))
    end_typed = ended.recorded * DAY + stamps.integers(12 * HOUR, 20 * HOUR, len(ended.day))
    end_recorded = np.where(ended.recorded == ended.day, end_at, end_typed)
    end_order = np.argsort(end_recorded, kind="stable")
    end_order = end_order[end_recorded[end_order] < days * DAY]
    return World(
        mechanisms=m,
        seed=seed,
        start=origin,
        days=days,
        created=created_at,
        account=account,
        source=source,
        product=product,
        budget=budget,
        campaign=campaign,
        born=born,
        industry=industry,
        country=country,
        legal_form=legal_form,
        anonymous=anonymous,
        size_account=np.concatenate([s[0] for s in sizes]),
        size_at=np.concatenate([s[1] for s in sizes]),
        size=np.concatenate([s[2] for s in sizes]),
        role_account=np.concatenate([c[0] for c in contacts]),
        role_slot=np.concatenate([c[1] for c in contacts]).astype(np.int8),
        role_at=np.concatenate([c[2] for c in contacts]),
        role=np.concatenate([c[3] for c in contacts]).astype(np.int8),
        event_prospect=made.row[by_time],
        event_type=made.kind[by_time].astype(np.int8),
        event_at=at[by_time],
        event_recorded=recorded[by_time],
        event_slot=made.slot[by_time],
        event_amount=made.amount[by_time],
        outcome_prospect=ended.row[end_order],
        outcome=ended.kind[end_order].astype(np.int8),
        outcome_at=end_at[end_order],
        outcome_recorded=end_recorded[end_order],
    )
