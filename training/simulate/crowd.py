"""The day step of the simulated world: prospects in accounts, moved on by days; it makes the world and its truth."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from training.simulate.draws import Traits, draw_headcounts, draw_roles, known_size, size_effect, told_regime
from training.simulate.mechanisms import (
    ABSENT,
    FAR,
    HEADCOUNT_LIMIT,
    PLACES,
    SLOTS,
    UNKNOWN,
    Bools,
    Floats,
    Ints,
    Small,
)
from training.simulate.rates import Heat, Rates, by_role, pick, single_share, spread, staged


class Happened(NamedTuple):
    """Events: the row and the group they belong to, type, day of occurrence and of recording, contact, amount."""

    row: Ints  # -1: a prospect that is no row of the crowd (only its account feels it)
    group: Ints
    kind: Ints
    day: Ints
    recorded: Ints
    slot: Small
    amount: Floats

    def at(self, keep: Any) -> Happened:
        """The events of an index."""
        return Happened(*(column[keep] for column in self))


class Closed(NamedTuple):
    """Closings: row, 0 won or 1 lost, day of occurrence and of recording."""

    row: Ints
    kind: Ints
    day: Ints
    recorded: Ints


class Changed(NamedTuple):
    """What changed in groups on a day: those with a new headcount, and (group, slot) with a new contact or role."""

    headcount: Ints
    contact: tuple[Ints, Ints]


class Step(NamedTuple):
    """What a day brought: its rates of win and loss by row, events, closings, changes."""

    win: Floats
    loss: Floats
    happened: Happened
    closed: Closed
    changed: Changed


class Crowd:
    """Rows (prospects, or prospects x draws) in groups (accounts, or accounts x targets x draws), moved by days.

    ``target`` rows are never closed: the caller sums up their chances. Rows with a ``guard`` do not win before that
    day of theirs; ``log_no_win`` sums up, by group, the log of the chance that this is so.
    """

    def __init__(
        self,
        rates: Rates,
        rng: np.random.Generator,
        *,
        group: Ints,
        traits: Traits,
        headcount: Floats,
        band: Small,
        roles: Small,
        quiet: Bools,
        target: Bools | None = None,
        guard: Ints | None = None,
    ) -> None:
        n, groups = len(group), len(headcount)
        self.t, self.m, self.rng = rates, rates.m, rng
        self.group, self.traits, self.created = group, traits, traits.created
        self.target = np.zeros(n, dtype=bool) if target is None else target
        self.guard = np.zeros(n, dtype=np.int64) if guard is None else guard
        self.guarded = guard is not None
        self.log_no_win = np.zeros(groups)
        self.headcount, self.band, self.roles = headcount, band, roles  # by group
        self.quiet = quiet  # by group: no account, or none yet: nothing changes
        self.family = np.zeros((3, n))
        self.own = np.zeros(n)  # its part of its account's heat
        self.contact = np.zeros((PLACES, n))
        self.first = np.full((3, n), np.inf)  # days of each stage's first and last event
        self.last = np.full((3, n), -np.inf)
        self.account = np.zeros(groups)
        self.outcomes = np.zeros((2, groups))  # heats of the account's won and lost
        self.closed = np.zeros(n, dtype=bool)  # truly
        self.closing_recorded = np.full(n, FAR)
        self.deadline = np.where(traits.deadline < FAR, traits.deadline, np.nan)
        self.fit, self.regime = np.zeros(n), np.zeros(n, dtype=np.int8)
        self._size(np.arange(n))
        self.awaiting: dict[int, list[Happened]] = {}
        self.closing: dict[int, list[tuple[Ints, Ints]]] = {}  # by the day of recording: groups and kinds
        order = np.argsort(group, kind="stable")
        self.rows_of = order, np.searchsorted(group[order], np.arange(groups + 1))

    def _size(self, row: Ints) -> None:
        """What follows the size on record, of rows."""
        group, traits = self.group[row], self.traits
        size = known_size(self.headcount[group], self.band[group])
        self.fit[row] = traits.base_fit[row] + size_effect(self.m, size, traits.suite[row])
        self.regime[row] = told_regime(traits.regime[row], traits.deadline[row], size)

    def await_(self, events: Happened) -> None:
        """Put events on the list of the day of their recording."""
        for day in np.unique(events.recorded):
            self.awaiting.setdefault(int(day), []).append(events.at(events.recorded == day))

    def await_closings(self, row: Ints, kind: Ints, recorded: Ints) -> None:
        """Close rows whose closing is recorded on a day to come: their account feels it from then on."""
        self.closed[row] = True
        self.closing_recorded[row] = recorded
        for day in np.unique(recorded):
            on = recorded == day
            self.closing.setdefault(int(day), []).append((self.group[row[on]], kind[on]))

    def heat(self, day: int, rows: Any = slice(None)) -> Heat:
        """What the hazards of a day read, from all that was recorded before it."""
        group, contact = self.group[rows], self.contact[:, rows]
        stage, regressed, stay = staged(self.first[:, rows], self.last[:, rows], float(day), self.m.regress_after)
        return Heat(
            np.maximum(day - self.created[rows], 0).astype(float),
            self.fit[rows],
            self.regime[rows],
            day - self.deadline[rows],
            self.traits.approach[rows],
            self.traits.user_gain[rows],
            self.family[:, rows],
            by_role(contact, np.take(self.roles, group, axis=1)),
            single_share(contact, self.m.single_from),
            np.maximum(self.account[group] - self.own[rows], 0.0),
            self.outcomes[0, group],
            self.outcomes[1, group],
            stage,
            regressed,
            stay,
        )

    def step(self, day: int) -> Step:
        """One day; the state is then the next day's."""
        t, rng, week = self.t, self.rng, self.t.week(day)
        active = (self.created <= day) & (self.closing_recorded >= day)
        of = np.flatnonzero(active)
        everyone = len(of) == len(active)
        heat = self.heat(day, slice(None) if everyone else of)
        win, loss = t.hazards(heat, week)
        drive = t.drive(heat, week)
        closed = self._close(day, of, win, loss)

        # Events: one Poisson process over all rows.
        level = np.cumsum(t.all_events(drive))
        count = rng.poisson(level[-1]) if len(level) else 0
        place = np.searchsorted(level, np.sort(rng.random(count)) * (level[-1] if len(level) else 0.0), side="right")
        row = of[place]
        kinds = t.draw_types(rng, drive.at(place))
        group = self.group[row]
        present = (self.roles[:, group] != ABSENT).sum(axis=0)
        slot = t.draw_slots(rng, kinds, present)
        recorded = day + pick(rng, t.lag[kinds])
        happened = Happened(row, group, kinds, np.full(len(row), day), recorded, slot, t.draw_amounts(rng, kinds))

        # What is recorded today is felt tomorrow.
        self.family *= np.exp(-1 / t.tau)[:, None]
        self.contact *= np.exp(-1 / self.m.contact_tau)
        for heat_sum in (self.own, self.account):
            heat_sum *= np.exp(-1 / self.m.spill_tau)
        self.feel(happened.at(recorded == day), day + 1)
        for late in self.awaiting.pop(day, ()):
            self.feel(late, day + 1)
        self.await_(happened.at(recorded > day))
        for groups, kind in self.closing.pop(day, ()):
            np.add.at(self.outcomes, (kind, groups), 1.0)
        self.outcomes *= np.exp(-1 / self.m.trust_tau)
        if everyone:
            return Step(win, loss, happened, closed, self.change(day))
        wins, losses = np.zeros((2, len(active)))
        wins[of], losses[of] = win, loss
        return Step(wins, losses, happened, closed, self.change(day))

    def _close(self, day: int, of: Ints, win: Floats, loss: Floats) -> Closed:
        """Close some of the active rows ``of``, by their rates; never the targets, and none of the guarded as won."""
        rng = self.rng
        at = np.flatnonzero(~self.closed[of] & ~self.target[of])
        row, win, loss = of[at], win[at], loss[at]
        closing, share = -np.expm1(-(win + loss)), win / np.maximum(win + loss, 1e-300)
        if self.guarded:
            kept = day < self.guard[row]
            no_win = 1 - closing * share
            np.add.at(self.log_no_win, self.group[row[kept]], np.log(no_win[kept]))
            closing = np.where(kept, closing * (1 - share) / no_win, closing)
            share = np.where(kept, 0.0, share)
        now = rng.random(len(row)) < closing
        kind = (rng.random(int(now.sum())) >= share[now]).astype(np.int64)
        recorded = day + pick(rng, self.t.closing_lag[kind])
        self.await_closings(row[now], kind, recorded)
        return Closed(row[now], kind, np.full(len(kind), day), recorded)

    def feel(self, events: Happened, day: int) -> None:
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
        np.add.at(self.contact, where, weight[known] * np.exp(-age[known] / self.m.contact_tau))
        staged = mine & (t.stage[events.kind] >= 0)
        where = t.stage[events.kind[staged]], events.row[staged]
        np.minimum.at(self.first, where, events.day[staged].astype(float))
        np.maximum.at(self.last, where, events.day[staged].astype(float))

    def change(self, day: int) -> Changed:
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
        self.headcount[sized] = np.where(np.isnan(before), draw_headcounts(rng, m, self.band[sized]), moved)
        self._size(_members(self.rows_of, sized))

        added = group[kind == 1]
        slot = (roles[:, added] != ABSENT).sum(axis=0)
        role = np.where(rng.random(len(added)) < m.unknown_role, UNKNOWN, draw_roles(rng, m, len(added)))
        roles[slot, added] = role
        changed = [added], [slot]
        for of, state in ((2, roles == UNKNOWN), (3, roles > UNKNOWN)):
            who = group[kind == of]
            slot = pick(rng, state[:, who].T.astype(float))
            roles[slot, who] = draw_roles(rng, m, len(who))
            changed[0].append(who)
            changed[1].append(slot)
        return Changed(sized, (np.concatenate(changed[0]), np.concatenate(changed[1])))


def _members(index: tuple[Ints, Ints], groups: Ints) -> Ints:
    """The rows of groups, group after group."""
    order, first = index
    at, _ = spread(first[groups], first[groups + 1])
    return order[at]
