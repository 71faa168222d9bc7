"""Who the simulated firms and prospects are: their properties drawn, and what these add to the fit and the hazards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from features.contract import APPROACHES
from features.firms import BAND_STAFF, BANDS, MASS_BELOW
from training.simulate.mechanisms import (
    FAR,
    HEADCOUNT_LIMIT,
    NO_REGIME,
    PROJECT,
    Bools,
    Floats,
    Ints,
    Level,
    Mechanisms,
    Small,
)

_LOWEST = np.array([low for low, _ in BAND_STAFF.values()], dtype=float)
_HIGHEST = np.array([low if high is None else high for low, high in BAND_STAFF.values()], dtype=float)
_MIDDLE = np.sqrt(_LOWEST * _HIGHEST)
_FIRST_BAND = BANDS["01"]  # the lowest of those that employ somebody
_MASS, _INDUSTRIAL = 0, 1
_B2B2E, _B2B2U = APPROACHES.index("b2b2e"), APPROACHES.index("b2b2u")


class Offers(NamedTuple):
    """What is recorded of prospects at their creation: codes, -1 unknown; days around the creation, FAR none."""

    source: Small
    product: Small
    budget: Small  # 0 no, 1 yes
    regime: Small
    approach: Small
    announced: Ints  # days before
    deadline: Ints  # days after

    def at(self, keep: Any) -> Offers:
        """The rows of an index."""
        columns: tuple[Any, ...] = self
        return Offers(*(column[keep] for column in columns))


class Traits(NamedTuple):
    """What never changes of a row, a prospect, as the rates read it."""

    created: Ints  # day
    base_fit: Floats  # all of the fit but what follows the size
    suite: Bools
    regime: Small  # as recorded, -1 unknown
    deadline: Ints  # day, FAR none
    approach: Floats  # its part of the log hazard
    user_gain: Floats  # what engaged users weigh besides

    def at(self, keep: Any) -> Traits:
        """The rows of an index."""
        return Traits(*(column[keep] for column in self))

    @staticmethod
    def joined(*parts: Traits) -> Traits:
        """The rows of several, one after another."""
        return Traits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def effects(levels: Sequence[Level]) -> Floats:
    """The levels' effects, and 0 at the end: the place of the unknown, -1."""
    return np.array([*(level.effect for level in levels), 0.0])


def draw_levels(rng: np.random.Generator, levels: Sequence[Level], unknown: float, n: int) -> Small:
    """Codes of levels by their shares, -1 for the unknown."""
    share = np.array([level.share for level in levels])
    code = rng.choice(len(levels), size=n, p=share / share.sum())
    return np.asarray(np.where(rng.random(n) < unknown, -1, code), dtype=np.int8)


def draw_headcounts(rng: np.random.Generator, m: Mechanisms, band: Small) -> Floats:
    """Headcounts within their bands; of any size where the band is unknown."""
    n = len(band)
    free = np.exp(np.log(m.headcount_median) + m.headcount_spread * rng.standard_normal(n))
    low, high = np.maximum(_LOWEST[band], 1.0), np.maximum(_HIGHEST[band], 1.0) + 1
    within = np.floor(low * (high / low) ** rng.random(n))
    return np.asarray(np.clip(np.where(band >= 0, within, np.ceil(free)), 1, HEADCOUNT_LIMIT))


def draw_bands(rng: np.random.Generator, m: Mechanisms, headcount: Floats) -> Small:
    """The register's headcount bands (-1 unknown): some one off, of the smallest firms some without any staff."""
    n = len(headcount)
    band = np.searchsorted(_LOWEST, headcount, side="right") - 1
    off = np.where(rng.random(n) < m.band_off, rng.choice([-1, 1], size=n), 0)
    band = np.clip(band + off, _FIRST_BAND, len(BANDS) - 1)
    alone = rng.random(n)
    band = np.where((headcount <= 2) & (alone < 0.3), np.where(alone < 0.2, BANDS["NN"], BANDS["00"]), band)
    return np.asarray(np.where(rng.random(n) < m.unknown_band, -1, band), dtype=np.int8)


def known_size(headcount: Floats, band: Small) -> Floats:
    """The size that the records tell: the headcount, or else the middle of the band; nan where neither does."""
    return np.where(np.isnan(headcount), np.where(band >= 0, _MIDDLE[band], np.nan), headcount)


def draw_public(rng: np.random.Generator, m: Mechanisms, industry: Small) -> tuple[Bools, Bools]:
    """Public bodies, and the local authorities among them, by the division of the industry."""
    share = dict(m.public)
    division = [level.name[:2] for level in m.industries]
    by_industry = np.array([share.get(d, share[""]) for d in division])
    central = np.array([d == "84" for d in division])
    public = rng.random(len(industry)) < by_industry[industry]
    local = public & (rng.random(len(industry)) < np.where(central[industry], *m.local))
    return public, local


def draw_roles(rng: np.random.Generator, m: Mechanisms, n: int) -> Small:
    """Roles 1, 2, 3."""
    share = np.array(m.role_shares)
    return (1 + rng.choice(3, size=n, p=share / share.sum())).astype(np.int8)


def draw_offers(rng: np.random.Generator, m: Mechanisms, size: Floats, public: Bools) -> Offers:
    """New prospects of firms of a known size at birth (nan unknown), public bodies or not."""
    n = len(size)
    source = draw_levels(rng, m.sources, m.unknown_source, n)
    product = draw_levels(rng, m.products, m.unknown_product, n)
    budget = draw_levels(rng, (Level("no", 0.5), Level("yes", 0.5)), m.unknown_budget, n)
    small = np.where(np.isnan(size), rng.random(n) < 0.5, (size < MASS_BELOW) != (rng.random(n) < m.regime_off))
    regime = np.where(small, _MASS, _INDUSTRIAL)
    regime[rng.random(n) < np.where(public, m.project[1], m.project[0])] = PROJECT
    dated = (regime == PROJECT) & (rng.random(n) >= m.no_deadline)
    announced = np.where(dated, rng.integers(*m.announced, n), FAR)
    deadline = np.where(dated, rng.integers(*m.deadline, n), FAR)
    given = np.where(rng.random(n) < m.unknown_regime, -1, regime).astype(np.int8)
    level = np.cumsum(np.where(public[:, None], m.approaches_public, m.approaches_private), axis=1)
    approach = (rng.random((n, 1)) * level[:, -1:] >= level).sum(axis=1)
    approach = np.where(rng.random(n) < m.unknown_approach, -1, approach).astype(np.int8)
    return Offers(source, product, budget, given, approach, announced, deadline)


def make_traits(m: Mechanisms, created: Ints, firm_fit: Floats, public: Bools, offers: Offers) -> Traits:
    """The rows' traits from the day of creation, the firm's part of the fit, and what was recorded at the creation."""
    fit = firm_fit + effects(m.sources)[offers.source] + effects(m.products)[offers.product]
    fit = fit + np.array([m.budget_no, m.budget_yes, 0.0])[offers.budget]
    suite = [level.name for level in m.products].index("suite")
    body = np.where(public, m.approach_public, -m.approach_public)
    return Traits(
        created,
        fit,
        offers.product == suite,
        offers.regime,
        np.where(offers.deadline < FAR, created + offers.deadline, FAR),
        np.where(offers.approach == _B2B2U, body, 0.0),
        np.where(offers.approach == _B2B2E, m.approach_user, 0.0),
    )


def size_effect(m: Mechanisms, size: Floats, suite: Bools) -> Floats:
    """The part of the fit that follows the size on record; 0 where it is unknown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.log(size / m.size_peak) / m.size_width
        effect = m.size_effect * (np.exp(-0.5 * distance**2) - 0.5)
        effect += np.where(suite, np.where(size >= m.suite_from, m.suite_large, m.suite_small), 0.0)
    return np.where(np.isnan(size), 0.0, effect)


def told_regime(regime: Small, deadline: Ints, size: Floats) -> Small:
    """The regime that the records tell, by the rule of ``features.firms.infer_regime``; NO_REGIME where none."""
    by_size = np.where(np.isnan(size), NO_REGIME, np.where(size < MASS_BELOW, _MASS, _INDUSTRIAL))
    told = np.where(regime >= 0, regime, np.where(deadline < FAR, PROJECT, by_size))
    return np.asarray(told, dtype=np.int8)


def follow_rate(m: Mechanisms, size: Floats) -> Floats:
    """Further prospects a day, by the size known at the account's birth."""
    with np.errstate(divide="ignore"):
        log_size = np.nan_to_num(np.log(size / m.headcount_median), nan=0.0, neginf=-3.0)
    return np.asarray(m.followers * np.exp(m.follower_size * np.clip(log_size, -3, 3)))
