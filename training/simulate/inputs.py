"""The true mechanisms' own inputs as a table, the yardstick of a model that has to find them in the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import APPROACHES, DAY, REGIMES, ROLES
from features.errors import BadInput
from training.simulate.mechanisms import FAMILIES, Ints, Level, Small

if TYPE_CHECKING:
    import pandas as pd

    from training.simulate.world import World


def mechanism_features(world: World, prospect_ids: Sequence[str], as_of: Sequence[int] | Ints) -> pd.DataFrame:
    """See ``World.mechanism_features``."""
    import pandas as pd

    every = world.prospect_ids
    asked = np.asarray(prospect_ids, dtype=str)
    at = np.clip(np.searchsorted(every, asked), 0, len(every) - 1)
    if (every[at] != asked).any():
        raise BadInput(
            "unknown_prospect",
            f"{asked[every[at] != asked][0]!r} is no prospect of this world.",
            where="prospect_ids",
            remedy="Give ids of World.prospect_ids.",
        )
    moments = np.asarray(as_of, dtype=np.int64)
    m = world.mechanisms
    division = np.array([level.name[:2] for level in m.industries])
    divisions, division_of = np.unique(division, return_inverse=True)
    division_of = np.append(division_of, -1)
    frames = []
    for part in np.array_split(np.arange(len(at)), max(1, len(at) // 50_000)):
        known = moments[part] - world.start
        heat, state = world.heat(at[part], known, known / DAY)
        who, account = at[part], world.account[at[part]]
        offers = world.offers.at(who)

        def named(names: Sequence[str], code: npt.NDArray[Any]) -> Any:
            return pd.Categorical.from_codes(code, pd.Index(list(names)))

        def level(levels: Sequence[Level], code: Small, named: Any = named) -> Any:
            return named([x.name for x in levels], code)

        frames.append(
            pd.DataFrame(
                {
                    "prospect_id": asked[part],
                    "as_of": moments[part],
                    "industry": level(m.industries, world.industry[account]),
                    "division": named(divisions.tolist(), division_of[world.industry[account]]),
                    "country": level(m.countries, world.country[account]),
                    "source": level(m.sources, offers.source),
                    "product": level(m.products, offers.product),
                    "regime": named(REGIMES, np.where(heat.regime < len(REGIMES), heat.regime, -1)),
                    "approach": named(APPROACHES, offers.approach),
                    "budget_known": np.where(offers.budget < 0, np.nan, offers.budget),
                    "public": np.where(world.anonymous[account], np.nan, world.public[account]),
                    "size": state["size"],
                    "age_days": heat.age,
                    "clock": heat.clock,
                    **dict(zip(FAMILIES, heat.family, strict=True)),
                    "spill": heat.spill,
                    "trust": heat.trust,
                    "doubt": heat.doubt,
                    **dict(zip(ROLES, heat.engaged, strict=True)),
                    "all_roles": (heat.engaged >= m.engaged_from).all(axis=0).astype(float),
                    "single": heat.single,
                    "stage": heat.stage,
                    "regressed": heat.regressed.astype(float),
                    "stage_days": heat.stay,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
