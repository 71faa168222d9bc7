"""Every coefficient of the simulated world, as frozen data, and the switches that take mechanisms out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.contract import DAY, REGIMES, ROLES
from features.errors import BadInput

WORLD = 2  # the version of the frozen world

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]

HOUR = DAY // 24
FAR = 2**24  # a day that never comes; its microseconds still fit into 64 bits
SLOTS = 5  # contacts an account may have
PLACES = SLOTS + 1  # one more than ever come by themselves: for the contact that the truth may imagine
MAX_LAG = 7  # days; nothing is recorded later
ABSENT, UNKNOWN = -1, 0  # a contact that is not there yet; one whose role nothing tells. Roles are 1, 2, 3 as in ROLES.
FAMILIES = ("digital", "intent", "human")
PROJECT = REGIMES.index("project")
NO_REGIME = len(REGIMES)  # the code of a regime that nothing tells, where it picks a coefficient
HORIZON_DAYS: Mapping[str, int] = {"mass": 30, "industrial": 90, "project": 60, "": 90}  # of the data's goal
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
        stage: the buying stage that it shows, an index into STAGES; -1 none.
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
    stage: int = -1


def _division(effect: float, *classes: tuple[str, float]) -> tuple[Level, ...]:
    """The classes of a division with their shares: the rare ones have the effect of the whole."""
    return tuple(Level(code, share, effect) for code, share in classes)


_TRACKED = (0.97, 0.02, 0.01)
_TYPED = (0.66, 0.17, 0.08, 0.04, 0.03, 0.02)

By = tuple[float, float, float, float]  # a coefficient for each regime: mass, industrial, project, and not told


@dataclass(frozen=True)
class Mechanisms:
    """Every coefficient of the world; ``without`` switches mechanisms off. Rates are per day, times in days."""

    # who they are
    industries: tuple[Level, ...] = (
        *_division(0.55, ("62.01Z", 0.10), ("62.02A", 0.05), ("62.03Z", 0.004), ("62.09Z", 0.006)),
        *_division(0.25, ("70.22Z", 0.10), ("70.10Z", 0.02), ("70.21Z", 0.005)),
        *_division(-0.10, ("46.69B", 0.06), ("46.51Z", 0.02), ("46.74A", 0.015), ("46.73A", 0.006), ("46.49Z", 0.008)),
        *_division(0.65, ("28.29B", 0.02), ("28.22Z", 0.01), ("28.41Z", 0.008), ("28.93Z", 0.006), ("28.99B", 0.006)),
        *_division(0.65, ("28.13Z", 0.005), ("28.92Z", 0.005), ("28.25Z", 0.005), ("28.15Z", 0.005)),
        *_division(-0.55, ("41.20B", 0.05), ("41.20A", 0.02)),
        *_division(-0.40, ("43.22A", 0.04), ("43.21A", 0.03), ("43.32A", 0.012), ("43.99C", 0.01)),
        *_division(-0.90, ("56.10A", 0.05), ("56.21Z", 0.008), ("56.30Z", 0.006)),
        *_division(0.10, ("25.62B", 0.04), ("25.11Z", 0.012), ("25.50A", 0.005), ("25.73A", 0.005), ("25.61Z", 0.004)),
        *_division(-0.35, ("49.41B", 0.03), ("49.41A", 0.02), ("49.42Z", 0.006)),
        *_division(0.20, ("86.10Z", 0.025), ("86.21Z", 0.03), ("86.23Z", 0.015), ("86.90D", 0.006)),
        *_division(0.40, ("71.12B", 0.03), ("71.11Z", 0.025), ("71.20B", 0.008)),
        *_division(-0.30, ("84.11Z", 0.06), ("84.12Z", 0.006), ("84.25Z", 0.005), ("84.30C", 0.003)),
        *_division(0.00, ("85.42Z", 0.012), ("85.31Z", 0.02), ("85.20Z", 0.015), ("85.59A", 0.008)),
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
    legal_forms: tuple[Level, ...] = (  # the last two are those of public bodies, and of local authorities
        Level("SAS", 0.45),
        Level("SARL", 0.35),
        Level("SASU", 0.12),
        Level("SA", 0.08),
        Level("établissement public", 0.0),
        Level("collectivité territoriale", 0.0),
    )
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
    unknown_headcount: float = 0.35
    unknown_band: float = 0.30
    unknown_category: float = 0.35
    unknown_source: float = 0.03
    unknown_product: float = 0.12
    unknown_budget: float = 0.55
    no_account: float = 0.06
    public: tuple[tuple[str, float], ...] = (("84", 1.0), ("85", 0.5), ("86", 0.35), ("", 0.01))  # by division
    local: tuple[float, float] = (0.75, 0.1)  # local authorities among the public bodies of division 84, of others
    headcount_median: float = 20.0
    headcount_spread: float = 1.7  # of the logarithm
    band_off: float = 0.10  # bands that are one lower or higher than the firm's size
    size_peak: float = 80.0  # the headcount that fits best
    size_width: float = 1.5  # of the logarithm
    size_effect: float = 1.0
    suite_from: float = 100.0  # the headcount from which the suite fits
    suite_large: float = 0.9
    suite_small: float = -0.4
    budget_yes: float = 0.55
    budget_no: float = -0.35

    # how they buy
    unknown_regime: float = 0.30
    project: tuple[float, float] = (0.12, 0.50)  # of private firms, of public bodies
    regime_off: float = 0.06  # small firms that buy as large ones do, and the reverse
    no_deadline: float = 0.08  # projects without a tender's dates
    announced: tuple[int, int] = (1, 21)  # days before the creation
    deadline: tuple[int, int] = (10, 71)  # days after the creation
    unknown_approach: float = 0.12
    approaches_private: tuple[float, float, float] = (0.62, 0.33, 0.05)  # b2b, b2b2e, b2b2u
    approaches_public: tuple[float, float, float] = (0.30, 0.10, 0.60)

    # accounts and contacts over time
    followers: float = 1.0 / 220  # further prospects of an account, a day
    follower_size: float = 0.20  # x (log of the size - its mean), capped
    headcount_known: float = 1.0 / 90
    headcount_change: float = 1.0 / 240
    headcount_step: float = 0.35
    contact_added: float = 1.0 / 60
    role_known: float = 1.0 / 45
    role_change: float = 1.0 / 400
    first_contacts: tuple[float, ...] = (0.30, 0.35, 0.35)  # 1, 2, 3 at birth
    unknown_role: float = 0.30  # neither the role nor a title that tells it
    title_only: float = 0.40  # of the contacts: no role is recorded, the title tells it
    title_too: float = 0.30  # of the contacts: both
    role_shares: tuple[float, float, float] = (0.32, 0.30, 0.38)

    # events
    touches: tuple[Touch, ...] = (
        Touch("page_view", 0, 0.150, 0.6, (1.6, 1.2, 0.8, 1.0), "inbound", "web", 0.25, _TRACKED, 0),
        Touch("email_open", 0, 0.110, 0.3, (1.0, 0.5, 0.5, 0.2), "inbound", "email", 0.05, _TRACKED, 0),
        Touch("webinar", 0, 0.012, 1.6, (1.5, 0.5, 0.0, 0.8), "inbound", "web", 0.05, _TRACKED, 0),
        Touch("email_reply", 1, 0.016, 1.0, (1.5, 2.0, 2.0, 0.5), "inbound", "email", 0.0, _TRACKED, 1),
        Touch("demo_request", 1, 0.007, 2.0, (4.0, 0.5, 0.5, 1.5), "inbound", "web", 0.0, _TRACKED, 1),
        Touch("call", 2, 0.045, 0.1, (0.2, 0.5, 0.2, 0.0), "outbound", "phone", 0.15, _TYPED),
        Touch("email_sent", 2, 0.060, 0.05, (0.2, 0.3, 0.0, 0.0), "outbound", "email", 0.05, _TRACKED),
        Touch("meeting", 2, 0.006, 2.0, (0.5, 8.0, 5.0, 0.5), "inbound", "visit", 0.10, _TYPED, 2),
        Touch("quote_view", 1, 0.004, 1.5, (0.5, 4.0, 12.0, 0.0), "inbound", "web", 0.10, _TRACKED, 2),
    )
    quote_median: float = 12_000.0
    quote_spread: float = 0.8  # of the logarithm
    quote_slope: float = 0.35  # a quote weighs (amount / median) ** -slope
    activity: float = 0.30  # x fit, on the rate of every type
    effort: float = 0.70  # x fit, on the rates of the outbound types besides
    fade: By = (14.0, 40.0, 35.0, 25.0)
    floor: float = 0.12  # the share of the rate that never fades
    pace: By = (1.25, 0.85, 1.0, 1.0)  # x every rate
    week: tuple[float, ...] = (1.2, 1.3, 1.25, 1.25, 1.1, 0.5, 0.4)  # Monday first, mean 1

    # heats
    taus: tuple[float, float, float] = (6.0, 14.0, 21.0)
    contact_tau: float = 30.0
    spill_tau: float = 14.0
    trust_tau: float = 90.0  # of the account's outcomes

    # the hazards, logs of daily rates
    win: By = (-6.9, -8.5, -7.5, -7.7)
    win_fit: float = 0.6
    win_heat: tuple[float, float, float] = (0.2, 0.6, 0.4)
    heat_strength: By = (1.2, 0.6, 0.6, 0.8)
    win_roles: tuple[float, float, float] = (1.0, 0.6, 0.3)  # x heat / (1 + heat) of each role
    win_all: float = 0.8  # where all three are engaged
    engaged_from: float = 0.25  # the heat from which a role counts as engaged
    win_single: float = -0.5  # x the share of the most active contact
    single_from: float = 0.3  # the heat of all contacts at which that share counts by half or so
    committee_strength: By = (0.3, 1.15, 0.9, 0.8)
    win_spill: float = 0.30
    win_trust: float = 0.8  # x log(1 + won heat of the account)
    win_doubt: float = -0.4  # x log(1 + lost heat of the account)
    win_stage: tuple[float, float, float, float] = (-0.2, 0.0, 0.2, 0.5)  # none, and each stage that was reached
    win_regress: float = -0.5  # back in an earlier stage
    regress_after: float = 7.0  # days by which the earlier stage's last event is the newer
    win_stay: float = -0.3  # x log(1 + days since the stage was reached / stay_from)
    stay_from: float = 20.0
    approach_public: float = 0.45  # b2b2u: + with a public body, - with any other
    approach_user: float = 0.9  # b2b2e: x heat / (1 + heat) of the users, besides
    tender_win: tuple[float, float, float] = (-1.2, 2.8, -2.5)  # before, at the peak more, long after more
    tender_loss: tuple[float, float, float] = (-0.8, 2.2, 1.5)
    tender_peak: tuple[float, float] = (14.0, 9.0)  # days after the deadline: middle and width
    tender_end: tuple[float, float] = (42.0, 4.0)  # days after the deadline: when it is over, and how abruptly
    onset: By = (2.0, 14.0, 4.0, 6.0)  # 1 - exp(-age / onset)
    loss: By = (-4.1, -5.3, -4.6, -4.75)
    loss_fit: float = -0.25
    loss_heat: tuple[float, float, float] = (-0.15, -0.35, -0.35)
    loss_onset: By = (6.0, 30.0, 10.0, 20.0)
    won_lag: tuple[float, ...] = (0.82, 0.10, 0.04, 0.02, 0.01, 0.005, 0.005)
    lost_lag: tuple[float, ...] = (0.68, 0.14, 0.08, 0.05, 0.03, 0.01, 0.01)

    # after the sale
    usages: tuple[Touch, ...] = (  # family: 0 feeds the heat of use, 1 that of trouble
        Touch("product_use", 0, 0.060, 1.0, (3.0, 0.0, 0.0, 0.0), "inbound", "product", 0.1, (1.0,)),
        Touch("support_ticket", 1, 0.012, 1.0, (0.5, 1.5, 0.0, 0.0), "inbound", "support", 0.0, (1.0,)),
    )
    usage_tau: float = 30.0
    usage_fit: float = 0.30
    renew: float = -9.6
    renew_fit: float = 0.3
    renew_use: float = 1.7  # x log(1 + heat of use)
    renew_trouble: float = -0.9  # x log(1 + heat of trouble)
    renew_clock: tuple[float, float, float] = (2.2, 150.0, 25.0)  # height, middle and width, days after the win

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
            if name == "leads":
                changes["touches"] = tuple(t._replace(lift=(0.0,) * 4) for t in out.touches)
            if name == "customers":
                changes["usages"] = tuple(t._replace(rate=0.0) for t in out.usages)
            if name == "regimes":
                changes |= {by: (getattr(out, by)[NO_REGIME],) * 4 for by in _BY_REGIME}
            out = replace(out, **changes)
        return out


_BY_REGIME = ("fade", "pace", "win", "heat_strength", "committee_strength", "onset", "loss", "loss_onset")

# What each switch sets; `lags`, `leads`, `customers` and `regimes` set more (see `without`).
SWITCHES: Mapping[str, Mapping[str, Any]] = {
    "fit": {"win_fit": 0.0, "loss_fit": 0.0, "activity": 0.0, "effort": 0.0},
    "heat": {"win_heat": (0.0, 0.0, 0.0), "loss_heat": (0.0, 0.0, 0.0)},
    "committee": {"win_roles": (0.0, 0.0, 0.0), "win_all": 0.0, "win_single": 0.0},
    "spill": {"win_spill": 0.0},
    "trust": {"win_trust": 0.0, "win_doubt": 0.0},
    "stages": {"win_stage": (0.0, 0.0, 0.0, 0.0), "win_regress": 0.0, "win_stay": 0.0},
    "approach": {"approach_public": 0.0, "approach_user": 0.0},
    "tender": {"tender_win": (0.0, 0.0, 0.0), "tender_loss": (0.0, 0.0, 0.0)},
    "regimes": {},
    "onset": {"onset": (1e-9,) * 4, "loss_onset": (1e-9,) * 4},
    "week": {"week": (1.0,) * 7},
    "quotes": {"quote_slope": 0.0},
    "effort": {"effort": 0.0},
    "leads": {},
    "lags": {"won_lag": (1.0,), "lost_lag": (1.0,)},
    "versions": {"headcount_known": 0.0, "headcount_change": 0.0, "role_known": 0.0, "role_change": 0.0},
    "titles": {"title_only": 0.0},
    "followers": {"followers": 0.0},
    "renewal": {"renew_fit": 0.0, "renew_use": 0.0, "renew_trouble": 0.0},
    "customers": {"renew": -50.0},
}

# Titles by which a role is known where none is recorded, French and English; and some that tell none.
TITLES: Mapping[str, tuple[str, ...]] = {
    "buyer": (
        "Acheteur",
        "Acheteuse",
        "Responsable achats",
        "Directrice des achats",
        "Resp. approvisionnements",
        "Chargé d'achats",
        "DAF",
        "Purchasing Manager",
        "Head of Procurement",
        "VP Procurement",
        "CFO",
    ),
    "prescriber": (
        "Architecte",
        "Ingénieur d'études",
        "Responsable bureau d'études",
        "Directeur technique",
        "DSI",
        "RSSI",
        "Responsable méthodes",
        "CTO",
        "Solution Architect",
        "IT Manager",
        "Design Engineer",
    ),
    "user": (
        "Technicien de maintenance",
        "Opératrice",
        "Chef d'atelier",
        "Conducteur de travaux",
        "Assistante administrative",
        "Responsable production",
        "Comptable",
        "Infirmière",
        "Field Technician",
        "Machine Operator",
        "Production Supervisor",
        "Office Assistant",
    ),
    "": ("Collaborateur", "Associate", "Manager"),
}
assert set(TITLES) - {""} == set(ROLES)
