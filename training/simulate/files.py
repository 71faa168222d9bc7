"""A simulated world as the tables of the data contract and their ``dataset.toml``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import APPROACHES, DAY, REGIMES, ROLES, STAGES, format_time
from features.firms import BANDS, CATEGORIES
from training.simulate.mechanisms import (
    FAR,
    HORIZON_DAYS,
    PLACES,
    TITLES,
    UNKNOWN,
    WORLD,
    Bools,
    Ints,
    Level,
    Mechanisms,
    Small,
)
from training.simulate.rates import pick
from training.simulate.world import ids

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from training.simulate.world import World

Texts = npt.NDArray[np.str_]


def tables(world: World) -> dict[str, pa.Table]:
    """See ``World.tables``."""
    import pyarrow as pa

    m, rng = world.mechanisms, np.random.default_rng([world.seed, 3])
    n_accounts, named = len(world.born), ~world.anonymous

    def time(offset: Ints, known: Bools | None = None) -> pa.Array:
        offset = offset if known is None else np.where(known, offset, 0)
        mask = None if known is None else ~known
        return pa.array(offset + world.start, pa.int64(), mask=mask).cast(pa.timestamp("us", tz="UTC"))

    def text(values: npt.NDArray[Any], known: Bools | None = None) -> pa.Array:
        return pa.array(values.astype(str), pa.string(), mask=None if known is None else ~known)

    def coded(names: Sequence[str], code: npt.NDArray[Any]) -> pa.Array:
        return text(np.array([*names, ""])[code], code >= 0)

    def level(levels: Sequence[Level], code: Small) -> pa.Array:
        return coded([x.name for x in levels], code)

    def contact(index: Ints, slot: Small) -> Texts:
        return ids("c", index * PLACES + np.maximum(slot, 0), n_accounts * PLACES)

    ended = np.full(len(world.created), 2)
    ended[world.outcome_prospect] = world.outcome
    quality = np.array(["high", "medium", "low"])[
        pick(rng, np.array([[0.75, 0.2, 0.05], [0.05, 0.25, 0.7], [0.2, 0.5, 0.3]])[ended])
    ]
    rated = rng.random(len(ended)) < np.array([0.95, 0.85, 0.2])[ended]
    offers, day = world.offers, world.created // DAY
    dated = offers.deadline < FAR
    prospects = {
        "prospect_id": text(world.prospect_ids),
        "created_at": time(world.created),
        "account_id": text(world.account_ids[world.account], named[world.account]),
        "source": level(m.sources, offers.source),
        "regime": coded(REGIMES, offers.regime),
        "approach": coded(APPROACHES, offers.approach),
        "tender_announced_at": time((day - offers.announced) * DAY + DAY // 3, dated),
        "tender_deadline": time((day + offers.deadline) * DAY + DAY // 2, dated),
        "product": level(m.products, offers.product),
        "campaign": level(m.campaigns, world.campaign),
        "budget_known": pa.array(offers.budget == 1, pa.bool_(), mask=offers.budget < 0),
        "lead_quality": text(quality, rated),
    }

    keep = named[world.size_account]
    who = world.size_account[keep]
    french = np.array([x.name == "FR" for x in m.countries] + [False])[world.country]
    registered = french & (rng.random(n_accounts) < 0.75)
    banded = world.band[who] >= 0
    accounts = {
        "account_id": text(world.account_ids[who]),
        "observed_at": time(world.size_at[keep]),
        "siren": text(sirens(n_accounts, world.seed)[who], registered[who]),
        "country": level(m.countries, world.country[who]),
        "industry": level(m.industries, world.industry[who]),
        "headcount": pa.array(np.nan_to_num(world.size[keep]), pa.float64(), mask=np.isnan(world.size[keep])),
        "headcount_band": coded(list(BANDS), world.band[who]),
        "headcount_band_year": pa.array(world.band_year[who].astype(float), pa.float64(), mask=~banded),
        "company_category": coded(CATEGORIES, world.category[who]),
        "legal_form": level(m.legal_forms, world.legal_form[who]),
        "public_body": pa.array(world.public[who], pa.bool_()),
        "local_authority": pa.array(world.local[who], pa.bool_()),
    }

    role, title = _described(world, rng)
    contacts = {
        "contact_id": text(contact(world.role_account, world.role_slot)),
        "account_id": text(world.account_ids[world.role_account]),
        "observed_at": time(world.role_at),
        "role": text(role, role != ""),
        "job_title": text(title, title != ""),
    }
    outcomes = {
        "prospect_id": text(world.prospect_ids[np.concatenate([world.outcome_prospect, world.renewed_prospect])]),
        "outcome": text(
            np.concatenate([np.array(["won", "lost"])[world.outcome], np.full(len(world.renewed_prospect), "renewed")])
        ),
        "occurred_at": time(np.concatenate([world.outcome_at, world.renewed_at])),
        "recorded_at": time(np.concatenate([world.outcome_recorded, world.renewed_at])),
    }
    return {
        "prospects": pa.table(prospects),
        "accounts": pa.table(accounts),
        "contacts": pa.table(contacts),
        "events": _events(world, rng, time, text, contact),
        "outcomes": pa.table(outcomes),
    }


def _events(world: World, rng: np.random.Generator, time: Any, text: Any, contact: Any) -> pa.Table:
    """The events of before and after the sale in the order of their recording."""
    import pyarrow as pa

    m = world.mechanisms
    types = (*m.touches, *m.usages)
    recorded = np.concatenate([world.event_recorded, world.usage_at])
    order = np.argsort(recorded, kind="stable")
    n = len(order)
    again = np.sort(rng.choice(n, size=n // 2000, replace=False))  # sent twice, arrived twice
    row = np.concatenate([np.arange(n), again])
    of = order[row]
    kind = np.concatenate([world.event_type, world.usage_type + len(m.touches)])[of]
    prospect = np.concatenate([world.event_prospect, world.usage_prospect])[of]
    slot = np.concatenate([world.event_slot, world.usage_slot])[of]
    amount = np.concatenate([world.event_amount, np.full(len(world.usage_at), np.nan)])[of]
    return pa.table(
        {
            "event_id": text(ids("e", row, n)),
            "prospect_id": text(world.prospect_ids[prospect]),
            "type": text(np.array([t.name for t in types])[kind]),
            "occurred_at": time(np.concatenate([world.event_at, world.usage_at])[of]),
            "recorded_at": time(recorded[of]),
            "contact_id": text(contact(world.account[prospect], slot), slot >= 0),
            "direction": text(np.array([t.direction for t in types])[kind]),
            "channel": text(np.array([t.channel for t in types])[kind]),
            "value": pa.array(np.nan_to_num(amount), pa.float64(), mask=np.isnan(amount)),
        }
    )


def _described(world: World, rng: np.random.Generator) -> tuple[Texts, Texts]:
    """Role and job title of each version of a contact; empty where not recorded.

    A contact's manner is always the same: the role alone, both, or the title alone, which then tells the role.
    """
    m = world.mechanisms
    n = len(world.role)
    manner = rng.random(len(world.born) * PLACES)[world.role_account * PLACES + world.role_slot]
    by_title = manner < m.title_only
    with_title = by_title | (manner < m.title_only + m.title_too)
    chance = rng.random(n)
    title = np.full(n, "", dtype=object)
    for code, role in enumerate(("", *ROLES)):
        choices = np.array(TITLES[role], dtype=object)
        of = (world.role == code) & with_title
        title[of] = choices[np.floor(chance[of] * len(choices)).astype(np.int64)]
    known = (world.role > UNKNOWN) & ~by_title
    return np.where(known, np.array(["", *ROLES])[world.role], ""), title.astype(str)


def sirens(count: int, seed: int) -> Texts:
    """So many different numbers of nine digits with a sound check digit (Luhn)."""
    scale = 10 ** np.arange(7, -1, -1)
    number = 10_000_000 + (np.arange(count) * 48_271 + seed * 7_919) % 89_999_999
    digit = number[:, None] // scale % 10
    double = 2 * digit[:, 1::2]
    total = digit[:, 0::2].sum(axis=1) + (double - 9 * (double > 9)).sum(axis=1)
    return np.asarray(number * 10 + -total % 10).astype(str)


def declaration(m: Mechanisms, until: int) -> str:
    """The text of ``dataset.toml``."""
    horizons = ", ".join(f"{regime or json.dumps('')} = {days}" for regime, days in HORIZON_DAYS.items())
    stages = "\n".join(
        f"{name} = {json.dumps([t.name for t in m.touches if t.stage == place])}" for place, name in enumerate(STAGES)
    )
    return f"""
complete_until = "{format_time(until)}"

[goal]
outcome = "won"
horizon_days = {{{horizons}}}

[stages]
{stages}

[prospects.columns]
product = {{kind = "category"}}
campaign = {{kind = "category"}}
budget_known = {{kind = "boolean"}}
lead_quality = {{kind = "category", known = "never"}}    # filled in by hand once the outcome is known
"""


def write(world: World, folder: Path, *, truth: pd.DataFrame | None, replace: bool) -> None:
    """See ``World.write``."""
    from training.sources.folder import write_folder

    title = f"simulate (world {WORLD}, seed {world.seed}, {len(world.created)} prospects, {world.days} days)"
    made = tables(world)
    if truth is not None:
        import pyarrow as pa

        frame = pa.Table.from_pandas(truth, preserve_index=False)
        as_of = frame["as_of"].cast(pa.timestamp("us", tz="UTC"))
        made["truth"] = frame.set_column(frame.schema.get_field_index("as_of"), "as_of", as_of)
    write_folder(folder, made, declaration(world.mechanisms, world.until), title=title, replace=replace)
