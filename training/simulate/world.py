"""What a simulated CRM has recorded, and what those records say of a prospect at a moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, format_time
from features.errors import BadInput
from training.simulate.draws import (
    Offers,
    Traits,
    effects,
    known_size,
    make_traits,
    size_effect,
    told_regime,
)
from training.simulate.mechanisms import (
    ABSENT,
    FAR,
    HORIZON_DAYS,
    MAX_LAG,
    PLACES,
    Bools,
    Floats,
    Ints,
    Mechanisms,
    Small,
)
from training.simulate.rates import Heat, Rates, by_role, single_share, spread, staged

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


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
    offers: Offers
    campaign: Small
    # accounts
    born: Ints
    industry: Small
    country: Small
    legal_form: Small
    public: Bools
    local: Bools
    band: Small  # an index into features.firms.BANDS
    band_year: Ints
    category: Small  # an index into features.firms.CATEGORIES
    anonymous: Bools
    # versions: account, from when, headcount (nan unknown)
    size_account: Ints
    size_at: Ints
    size: Floats
    # versions: account, contact, from when, role (as recorded or as the title tells it)
    role_account: Ints
    role_slot: Small
    role_at: Ints
    role: Small
    # events before the sale
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
    # after the sale, recorded at once: events, and renewals
    usage_prospect: Ints
    usage_type: Small
    usage_at: Ints
    usage_slot: Small
    renewed_prospect: Ints
    renewed_at: Ints
    _index: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def until(self) -> int:
        """The end of the data, T: microseconds since 1970."""
        return self.start + self.days * DAY

    @property
    def prospect_ids(self) -> npt.NDArray[np.str_]:
        """The prospects' ids, in order of creation."""
        return ids("p", np.arange(len(self.created)), len(self.created))

    @property
    def account_ids(self) -> npt.NDArray[np.str_]:
        """The accounts' ids, those of the anonymous too, which no file holds."""
        return ids("a", np.arange(len(self.born)), len(self.born))

    # -- the files

    def tables(self) -> dict[str, pa.Table]:
        """The tables of the data contract, with a few identical repeats among the events and a hindsight column."""
        from training.simulate.files import tables

        return tables(self)

    def write(self, folder: Path, *, truth: pd.DataFrame | None = None, replace: bool = False) -> None:
        """Write the tables as Parquet and ``dataset.toml`` into ``folder``, all or nothing.

        With ``truth`` (as the method of that name gives it) also ``truth.parquet``, ``as_of`` as a UTC timestamp: no
        table of the contract, so that nothing which reads the folder reads it.

        Raises BadInput when the folder holds files already (unless ``replace`` and an earlier data folder of ours).
        """
        from training.simulate.files import write

        write(self, folder, truth=truth, replace=replace)

    # -- what the records say

    def sorted_by(self, name: str) -> Any:
        """Orders and first places by account (events, outcomes, prospects), or keys of versions; made once."""
        if not self._index:
            span = (self.days + 2) * DAY
            for place, owner in (
                ("events", self.account[self.event_prospect]),
                ("outcomes", self.account[self.outcome_prospect]),
                ("prospects", self.account),
            ):
                order = np.argsort(owner, kind="stable")
                self._index[place] = order, np.searchsorted(owner[order], np.arange(len(self.born) + 1))
            for place, key in (
                ("sizes", self.size_account * span + self.size_at),
                ("roles", (self.role_account * PLACES + self.role_slot) * span + self.role_at),
            ):
                order = np.argsort(key, kind="stable")
                self._index[place] = order, key[order]
        return self._index[name]

    def _as_of(self, name: str, owner: Ints, t: Ints) -> Ints:
        """The version of each owner as of t, as a place in the versions' arrays; -1 where there is none."""
        order, key = self.sorted_by(name)
        span = (self.days + 2) * DAY
        at = np.searchsorted(key, owner * span + np.clip(t, 0, span - 1), side="right") - 1
        found = (at >= 0) & (key[at] // span == owner)
        return np.where(found, order[at], -1)

    def headcount(self, account: Ints, known: Ints) -> Floats:
        """The headcounts recorded by a moment each (microseconds since the start), nan unknown."""
        version = self._as_of("sizes", account, known)
        return np.where(version >= 0, self.size[version], np.nan)

    def roles(self, account: Ints, known: Ints) -> Small:
        """The roles of the accounts' contacts as recorded by a moment each: (PLACES, n)."""
        every = (account * PLACES + np.arange(PLACES)[:, None]).ravel()
        version = self._as_of("roles", every, np.tile(known, PLACES))
        role = np.where(version >= 0, self.role[version], ABSENT)
        return np.asarray(role, dtype=np.int8).reshape(PLACES, len(account))

    def firm_fit(self, account: Ints) -> Floats:
        """The part of the fit that industry and country make."""
        m = self.mechanisms
        return np.asarray(effects(m.industries)[self.industry[account]] + effects(m.countries)[self.country[account]])

    def traits(self, prospect: Ints) -> Traits:
        """What never changes of prospects, as the rates read it."""
        account = self.account[prospect]
        return make_traits(
            self.mechanisms,
            self.created[prospect] // DAY,
            self.firm_fit(account),
            self.public[account],
            self.offers.at(prospect),
        )

    def heat(self, prospect: Ints, known: Ints, day: Floats) -> tuple[Heat, dict[str, Any]]:
        """What the records known at a moment say of prospects, a row per entry; the state that the crowd starts from.

        ``known`` is the moment in microseconds, ``day`` the time from which ages are counted, in days.
        """
        m = self.mechanisms
        t = Rates(m, self.start)
        n, account = len(prospect), self.account[prospect]
        order, first = self.sorted_by("events")
        place, entry = spread(first[account], first[account + 1])
        event = order[place]
        seen = self.event_recorded[event] <= known[entry]
        event, entry = event[seen], entry[seen]

        age = day[entry] - self.event_at[event] // DAY
        kind = self.event_type[event].astype(np.int64)
        weight = t.weight[kind] * t.worth(self.event_amount[event])
        near = weight * np.exp(-age / m.spill_tau)
        mine = self.event_prospect[event] == prospect[entry]
        whole = np.bincount(entry, near, n)
        own = np.bincount(entry[mine], near[mine], n)
        family = np.zeros((3, n))
        for f in range(3):
            of = mine & (t.family[kind] == f)
            family[f] = np.bincount(entry[of], weight[of] * np.exp(-age[of] / t.tau[f]), n)
        with_contact = mine & (self.event_slot[event] >= 0)
        cell = self.event_slot[event[with_contact]].astype(np.int64) * n + entry[with_contact]
        warm = weight[with_contact] * np.exp(-age[with_contact] / m.contact_tau)
        contact: Floats = np.bincount(cell, warm, n * PLACES).reshape(PLACES, n).astype(np.float64)
        of = mine & (t.stage[kind] >= 0)
        cells = t.stage[kind[of]], entry[of]
        on = (self.event_at[event[of]] // DAY).astype(float)
        began, ended = np.full((3, n), np.inf), np.full((3, n), -np.inf)
        np.minimum.at(began, cells, on)
        np.maximum.at(ended, cells, on)
        stage, regressed, stay = staged(began, ended, day, m.regress_after)

        order, first = self.sorted_by("outcomes")
        place, entry = spread(first[account], first[account + 1])
        outcome = order[place]
        seen = self.outcome_recorded[outcome] <= known[entry]
        outcome, entry = outcome[seen], entry[seen]
        warm = np.exp(-(day[entry] - self.outcome_recorded[outcome] // DAY) / m.trust_tau)
        was = [self.outcome[outcome] == kind for kind in (0, 1)]
        trust, doubt = (np.bincount(entry[on], warm[on], n).astype(np.float64) for on in was)

        headcount, roles = self.headcount(account, known), self.roles(account, known)
        traits = self.traits(prospect)
        size = known_size(headcount, self.band[account])
        heat = Heat(
            np.maximum(day - self.created[prospect] // DAY, 0.0),
            traits.base_fit + size_effect(m, size, traits.suite),
            told_regime(traits.regime, traits.deadline, size),
            np.where(traits.deadline < FAR, day - traits.deadline, np.nan),
            traits.approach,
            traits.user_gain,
            family,
            by_role(contact, roles),
            single_share(contact, m.single_from),
            np.maximum(whole - own, 0.0),
            trust,
            doubt,
            stage,
            regressed,
            stay,
        )
        state = {
            "own": own,
            "account": whole,
            "outcomes": np.stack([trust, doubt]),
            "contact": contact,
            "first": began,
            "last": ended,
            "headcount": headcount,
            "size": size,
            "roles": roles,
            "present": (roles != ABSENT).sum(axis=0),
        }
        return heat, state

    def closing_recorded(self) -> Ints:
        """The day on which each prospect's closing was recorded; FAR where none is."""
        out = np.full(len(self.created), FAR)
        out[self.outcome_prospect] = self.outcome_recorded // DAY
        return out

    def open_at(self, day: int) -> Ints:
        """The prospects created before a day and without a closing recorded before it."""
        return np.flatnonzero((self.created < day * DAY) & (self.closing_recorded() >= day))

    def day_of(self, as_of: int) -> int:
        """The day that begins at a midnight; raises BadInput where it is none of this world's."""
        day, rest = divmod(as_of - self.start, DAY)
        if rest or not 0 < day <= self.days:
            raise BadInput(
                "bad_moment",
                f"{format_time(as_of)} is no midnight within the simulated days.",
                where="as_of",
                remedy=f"Give one from {format_time(self.start + DAY)} to {format_time(self.until)}.",
            )
        return int(day)

    def mechanism_features(self, prospect_ids: Sequence[str], as_of: Sequence[int] | Ints) -> pd.DataFrame:
        """The true mechanisms' own inputs: the yardstick of a model that has to find them in the tables.

        Args:
            prospect_ids: the prospects, one per row.
            as_of: the moments, microseconds since 1970, one per row.

        Returns:
            a frame in the order given: prospect_id, as_of; the categories industry, division, country, source,
            product, regime (as the records tell it), approach (null unknown); budget_known and public (0, 1, null);
            size, age_days, clock (days since the tender's deadline); the heats digital, intent, human, spill, trust,
            doubt, and those of the contacts of each role: buyer, prescriber, user; all_roles (0, 1), single; stage
            (0 to 3), regressed (0, 1), stage_days. At a midnight these are exactly what that day's hazard reads;
            within a day ages are counted to the moment itself.

        Raises:
            BadInput: an id that this world does not hold.
        """
        from training.simulate.inputs import mechanism_features

        return mechanism_features(self, prospect_ids, as_of)

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
        day = self.day_of(self.until - span * DAY if as_of is None else as_of)
        if day > self.days - span:
            raise BadInput(
                "not_observed",
                f"{max(horizons)} days after that moment are not wholly recorded.",
                where="as_of",
                remedy=f"Give a moment at least {span} days before the end.",
            )
        row = self.open_at(day)
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

    def truth(
        self,
        horizons: Sequence[int] = (30, 60, 90),
        draws: int = 500,
        as_of: int | None = None,
        chunk: int = 30_000,
        progress: Callable[[int], None] | None = None,
        *,
        sample: int | None = None,
        engage: tuple[str, str] | None = None,
    ) -> pd.DataFrame:
        """The true probability of a win within each horizon, given everything recorded by a midnight.

        Args:
            horizons: days.
            draws: simulated futures per prospect.
            as_of: the midnight, microseconds since 1970; by default the end of the data.
            chunk: rows (prospects x draws) simulated at once; bounds the memory, not the result's law.
            progress: called now and then with the number of draws done.
            sample: of so many open prospects, drawn at random by the world's seed; by default of all.
            engage: (role, event type): as if at that midnight one such event were recorded, by the latest contact
                known in that role, or by a new one where there is none. Prospects without an account have no contacts:
                theirs is an event without one.

        Returns:
            a frame with a row per prospect open by the records: prospect_id, as_of, regime (as the records tell it,
            empty where they do not), still_open (the chance that no closing has occurred yet), and per horizon
            probability_90d and its Monte Carlo error error_90d.

        Raises:
            BadInput: ``as_of`` is no midnight of this world, a horizon or ``draws`` is not positive, an unknown role
                or event type.
        """
        from training.simulate.future import truth

        return truth(self, horizons, draws, as_of, chunk, progress, sample, engage)

    def truth_accounts(
        self,
        horizons: int | Mapping[str, int] = HORIZON_DAYS,
        draws: int = 500,
        as_of: int | None = None,
        chunk: int = 30_000,
        progress: Callable[[int], None] | None = None,
        *,
        sample: int | None = None,
        all_open: bool = False,
    ) -> pd.DataFrame:
        """The true probability that any of an account's open prospects wins within its horizon.

        The prospects of an account are simulated together: what one does, and that it is lost, the others feel.

        Args:
            horizons: days, of all or by regime (the key "" for the rest); each prospect has its own.
            draws: simulated futures per account.
            as_of: as in ``truth``.
            chunk: as in ``truth``.
            progress: as in ``truth``.
            sample: of so many accounts, drawn at random by the world's seed; by default of all.
            all_open: given that all prospects without a recorded closing are really open.

        Returns:
            a frame with a row per account with open prospects: account_id, as_of, prospects (how many are open by the
            records), probability and its Monte Carlo error.

        Raises:
            BadInput: as ``truth``.
        """
        from training.simulate.future import truth_accounts

        return truth_accounts(self, horizons, draws, as_of, chunk, progress, sample, all_open)

    def truth_renewal(
        self, horizons: Sequence[int] = (90,), draws: int = 200, as_of: int | None = None
    ) -> pd.DataFrame:
        """The true probability that a customer renews within each horizon, given everything recorded by a midnight.

        Returns:
            a frame with a row per prospect whose win is recorded and that has not renewed: prospect_id, as_of, and per
            horizon probability_90d and error_90d.

        Raises:
            BadInput: as ``truth``.
        """
        from training.simulate.future import truth_renewal

        return truth_renewal(self, horizons, draws, as_of)


def ids(letter: str, index: Ints, count: int) -> npt.NDArray[np.str_]:
    """Ids of one width, so that their order is that of the numbers."""
    width = max(5, len(str(count)))
    if not len(index):
        return np.zeros(0, dtype=str)
    return np.char.add(letter, np.char.zfill(np.asarray(index).astype(str), width))
