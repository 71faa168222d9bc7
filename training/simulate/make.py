"""Making a world: accounts and prospects are drawn, the days run, and what was recorded is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from features.contract import DAY
from features.errors import BadInput
from features.firms import CATEGORIES, CATEGORY_STAFF
from training.simulate.crowd import Closed, Crowd, Happened
from training.simulate.draws import (
    draw_bands,
    draw_headcounts,
    draw_levels,
    draw_offers,
    draw_public,
    draw_roles,
    effects,
    follow_rate,
    known_size,
    make_traits,
)
from training.simulate.future import customer_fit
from training.simulate.mechanisms import (
    ABSENT,
    FAR,
    HOUR,
    PLACES,
    UNKNOWN,
    Bools,
    Floats,
    Mechanisms,
    Small,
)
from training.simulate.rates import Rates
from training.simulate.renewal import Customers
from training.simulate.world import World


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
    t = Rates(m, origin)

    # Accounts in random order of birth, until they make up the prospects; the last one's surplus is dropped.
    birth = rng.integers(0, days, prospects)
    headcount = draw_headcounts(rng, m, np.full(prospects, -1, dtype=np.int8))
    band = draw_bands(rng, m, headcount)
    headcount[rng.random(prospects) < m.unknown_headcount] = np.nan
    anonymous = rng.random(prospects) < m.no_account
    headcount[anonymous], band[anonymous] = np.nan, -1
    size = known_size(headcount, band)  # as the records tell it at the birth
    more = rng.poisson(np.where(anonymous, 0.0, follow_rate(m, size)) * (days - 1 - birth))
    ends = np.cumsum(1 + more)
    count = int(np.searchsorted(ends, prospects)) + 1
    more[count - 1] -= ends[count - 1] - prospects
    order = np.argsort(birth[:count], kind="stable")
    birth, headcount, band = birth[:count][order], headcount[:count][order], band[:count][order]
    anonymous, size, more = anonymous[:count][order], size[:count][order], more[:count][order]

    account = np.concatenate([np.arange(count), np.repeat(np.arange(count), more)])
    follows = np.arange(prospects) >= count
    created = birth[account]
    created[follows] += 1 + np.floor(rng.random(int(follows.sum())) * (days - 1 - created[follows])).astype(np.int64)
    order = np.argsort(created, kind="stable")
    account, created = account[order], created[order]
    industry, public, local, legal_form = _draw_firms(rng, m, anonymous)
    country = np.where(anonymous, -1, draw_levels(rng, m.countries, m.unknown_country, count)).astype(np.int8)
    offers = draw_offers(rng, m, size[account], public[account])
    campaign = draw_levels(rng, m.campaigns, 0.25, prospects)
    first = 1 + rng.choice(len(m.first_contacts), size=count, p=np.array(m.first_contacts))
    roles = np.where(
        rng.random((PLACES, count)) < m.unknown_role, UNKNOWN, draw_roles(rng, m, PLACES * count).reshape(PLACES, count)
    ).astype(np.int8)
    roles[(np.arange(PLACES)[:, None] >= first) | anonymous] = ABSENT

    created_at = created * DAY + stamps.integers(7 * HOUR, 12 * HOUR, prospects)
    created_at = np.sort(created_at)  # the days are in order already: now their hours are too, and ids rise with time
    born = np.full(count, FAR * DAY)
    np.minimum.at(born, account, created_at)
    sizes = [(np.arange(count), born, headcount.copy())]
    slots = np.nonzero(roles != ABSENT)
    contacts = [(slots[1], slots[0], born[slots[1]], roles[slots])]

    firm_fit = effects(m.industries)[industry] + effects(m.countries)[country]
    crowd = Crowd(
        t,
        rng,
        group=account,
        traits=make_traits(m, created, firm_fit[account], public[account], offers),
        headcount=headcount,
        band=band,
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

    made = Happened(*(np.concatenate(c) for c in zip(*events, strict=True)))
    at = made.day * DAY + stamps.integers(12 * HOUR, 17 * HOUR, len(made.day))
    typed = made.recorded * DAY + stamps.integers(12 * HOUR, 20 * HOUR, len(made.day))
    recorded = np.where(made.recorded == made.day, at, typed)
    by_time = np.lexsort((at, recorded))
    by_time = by_time[recorded[by_time] < days * DAY]
    ended = Closed(*(np.concatenate(c) for c in zip(*closings, strict=True)))
    end_at = ended.day * DAY + stamps.integers(17 * HOUR, 20 * HOUR, len(ended.day))
    end_typed = ended.recorded * DAY + stamps.integers(12 * HOUR, 20 * HOUR, len(ended.day))
    end_recorded = np.where(ended.recorded == ended.day, end_at, end_typed)
    end_order = np.argsort(end_recorded, kind="stable")
    end_order = end_order[end_recorded[end_order] < days * DAY]
    none = np.zeros(0, dtype=np.int64)
    world = World(
        mechanisms=m,
        seed=seed,
        start=origin,
        days=days,
        created=created_at,
        account=account,
        offers=offers,
        campaign=campaign,
        born=born,
        industry=industry,
        country=country,
        legal_form=legal_form,
        public=public,
        local=local,
        band=band,
        band_year=2020 + stamps.integers(2, 5, count),
        category=_draw_categories(stamps, m, size),
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
        usage_prospect=none,
        usage_type=none.astype(np.int8),
        usage_at=none,
        usage_slot=none.astype(np.int8),
        renewed_prospect=none,
        renewed_at=none,
    )
    return _sell(world)


def _draw_firms(rng: np.random.Generator, m: Mechanisms, anonymous: Bools) -> tuple[Small, Bools, Bools, Small]:
    """Industry (-1 unknown), public bodies, local authorities among them, and the legal form (-1 unknown)."""
    n = len(anonymous)
    true = draw_levels(rng, m.industries, 0.0, n)
    public, local = draw_public(rng, m, true)
    public, local = public & ~anonymous, local & ~anonymous
    industry = np.where(anonymous | (rng.random(n) < m.unknown_industry), -1, true).astype(np.int8)
    form = draw_levels(rng, m.legal_forms, 0.0, n)
    last = len(m.legal_forms) - 1
    form = np.where(local, last, np.where(public, last - 1, form))
    return industry, public, local, np.where(rng.random(n) < 0.1, -1, form).astype(np.int8)


def _draw_categories(rng: np.random.Generator, m: Mechanisms, size: Floats) -> Small:
    """The category by the size on record, some those of a larger group; -1 unknown. It moves nothing."""
    n = len(size)
    least = np.array([CATEGORY_STAFF[name][0] for name in CATEGORIES])
    code = np.searchsorted(least, np.nan_to_num(size), side="right") - 1
    code = np.minimum(code + (rng.random(n) < 0.08), len(CATEGORIES) - 1)
    unknown = np.isnan(size) | (rng.random(n) < m.unknown_category)
    return np.where(unknown, -1, code).astype(np.int8)


def _sell(world: World) -> World:
    """The world with what its customers do after the sale."""
    won = np.flatnonzero(world.outcome == 0)
    rng = np.random.default_rng([world.seed, 8])
    prospect = world.outcome_prospect[won]
    crowd = Customers(
        world.mechanisms,
        rng,
        won=world.outcome_at[won] // DAY,
        recorded=world.outcome_recorded[won] // DAY,
        fit=customer_fit(world, won),
    )
    t = Rates(world.mechanisms, world.start)
    used = [crowd.step(day, float(t.week(day)), renew=True) for day in range(world.days)]
    row, kind, day = (np.concatenate(c) for c in zip(*used, strict=True))
    at = day * DAY + rng.integers(12 * HOUR, 17 * HOUR, len(row))
    present = (world.roles(world.account[prospect], world.outcome_recorded[won]) != ABSENT).sum(axis=0)
    anonymous = np.array([u.anonymous for u in world.mechanisms.usages])
    slot = np.floor(rng.random(len(row)) * present[row])
    nobody = (present[row] == 0) | (rng.random(len(row)) < anonymous[kind])
    order = np.argsort(at, kind="stable")
    again = np.flatnonzero(crowd.renewed < FAR)
    renewed_at = crowd.renewed[again] * DAY + rng.integers(17 * HOUR, 20 * HOUR, len(again))
    by_time = np.argsort(renewed_at, kind="stable")
    return replace(
        world,
        usage_prospect=prospect[row][order],
        usage_type=kind[order].astype(np.int8),
        usage_at=at[order],
        usage_slot=np.where(nobody, -1, slot)[order].astype(np.int8),
        renewed_prospect=prospect[again][by_time],
        renewed_at=renewed_at[by_time],
        _index={},
    )
