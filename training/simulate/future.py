"""The truth at a midnight: futures drawn from the records alone, and the chances of a win summed up along them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from features.contract import DAY, REGIMES, ROLES
from features.errors import BadInput
from training.simulate.crowd import Crowd, Happened
from training.simulate.draws import Traits, draw_offers, follow_rate, known_size, make_traits
from training.simulate.mechanisms import (
    ABSENT,
    FAR,
    MAX_LAG,
    NO_REGIME,
    PLACES,
    Floats,
    Ints,
    Small,
)
from training.simulate.rates import Drive, Rates, spread
from training.simulate.renewal import Customers

if TYPE_CHECKING:
    import pandas as pd

    from training.simulate.world import World


class _Cells(NamedTuple):
    """Kinds of events on their way into the records: row (-1 none), copy, type, day, day of recording, their rate."""

    row: Ints
    copy: Ints
    kind: Ints
    day: Ints
    recorded: Ints
    present: Ints
    mean: Floats


class Future:
    """The records at a midnight, laid out for draws, in copies of accounts.

    Apart, each target has a copy of its account of its own: the target's row first, then its open siblings. Jointly, a
    copy is an account with all its open prospects, each a target. Prospects still to come join in the draws.

    Args:
        world: the world.
        day: the day that begins at the midnight.
        target: prospects open by the records.
        joint: see above; then the targets must be all open prospects of their accounts.
    """

    def __init__(self, world: World, day: int, target: Ints, *, joint: bool = False) -> None:
        self.world, self.day, self.target, self.joint = world, day, target, joint
        self.t = Rates(world.mechanisms, world.start)
        order, first = world.sorted_by("prospects")
        account = np.unique(world.account[target]) if joint else world.account[target]
        place, copy = spread(first[account], first[account + 1])
        member = order[place]
        created = world.created[member] < day * DAY
        among = np.zeros(len(world.created), dtype=bool)
        among[world.open_at(day)] = True
        if joint:
            self.row, self.copy = member[among[member]], copy[among[member]]
            self.lead = np.searchsorted(self.copy, np.arange(len(account)))
        else:
            sibling = among[member] & (member != target[copy])
            self.row = np.concatenate([target, member[sibling]])
            self.copy = np.concatenate([np.arange(len(target)), copy[sibling]])
            self.lead = np.arange(len(target))
        self.account = account  # of each copy

        every = np.unique(member[created])  # also the closed: what they did may be on its way into the records
        self._history(every)
        at = np.searchsorted(every, self.row)
        self.open_chance, self.shut = self.open_chance_of[at], self.shut_of[at]
        self._pending(every, member[created], copy[created])
        known = np.full(len(self.row), day * DAY)
        self.heat, self.state = world.heat(self.row, known, np.full(len(self.row), float(day)))
        self.roles: Small = self.state["roles"][:, self.lead]

    def _history(self, every: Ints) -> None:
        """Of the last days: the chance that a closing went unrecorded so far, and the rates of unrecorded events."""
        world, t, day = self.world, self.t, self.day
        n, recorded = len(every), world.closing_recorded()[every]
        created = world.created[every] // DAY
        staying = np.ones(n)
        shut = np.zeros((n, 2, MAX_LAG))  # closed, won or lost, and to be recorded on day, day + 1, ...
        self.rate_of: dict[int, tuple[Drive, Ints]] = {}
        for u in range(max(0, day - MAX_LAG), day):
            # On the day of creation the account's first rows are some hours old, no more.
            known = np.where(created == u, world.created[every], u * DAY)
            heat, state = world.heat(every, known, np.full(n, float(u)))
            active = (created <= u) & (recorded >= u)
            week = t.week(u)
            win, loss = t.hazards(heat, week)
            either = np.where(active, win + loss, 0.0)
            share = np.divide(win, win + loss, out=np.zeros(n), where=win + loss > 0)
            close = staying * -np.expm1(-either)
            for r in range(day, u + MAX_LAG + 1):
                shut[:, 0, r - day] += close * share * t.closing_lag[0, r - u]
                shut[:, 1, r - day] += close * (1 - share) * t.closing_lag[1, r - u]
            staying = staying * np.exp(-either)
            drive = t.drive(heat, week)
            self.rate_of[u] = drive._replace(base=np.where(active, drive.base, 0.0)), state["present"]
        whole = staying + shut.sum(axis=(1, 2))
        self.open_chance_of, self.shut_of = staying / whole, shut.reshape(n, 2 * MAX_LAG) / whole[:, None]

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
        for u, (drive, present) in self.rate_of.items():
            here = drive.at(at)
            for kind in range(len(t.rate)):
                rate = t.event_rate(here, kind)
                for r in range(day, u + MAX_LAG + 1):
                    mean = rate * t.lag[kind, r - u]
                    some = np.flatnonzero(mean > 0)
                    one = np.ones(len(some), dtype=np.int64)
                    cells.append((row[some], copy[some], kind * one, u * one, r * one, present[at[some]], mean[some]))
        joined = [np.concatenate(c) for c in zip(*cells, strict=True)]
        self.cells = _Cells(*joined) if joined and len(joined[0]) else None

    def engage(self, role: str, kind: int) -> None:
        """As if on this midnight one event of a type were recorded of each target, by a contact of that role."""
        world, t, state, n = self.world, self.t, self.state, len(self.target)
        code = 1 + ROLES.index(role)
        self.roles = self.roles.copy()
        mine = self.roles == code
        # The latest contact known in that role; else a new one.
        slot = np.where(
            mine.any(axis=0), PLACES - 1 - np.argmax(mine[::-1], axis=0), (self.roles != ABSENT).sum(axis=0)
        )
        named, row = np.flatnonzero(~world.anonymous[self.account]), np.arange(n)
        self.roles[slot[named], named] = code
        weight, stage = t.weight[kind], t.stage[kind]
        state["contact"][slot[named], named] += weight
        self.heat.family[t.family[kind], row] += weight
        state["own"][row] += weight
        state["account"][row] += weight  # the copy's own account: its lead is the target
        if stage >= 0:
            state["first"][stage, row] = np.minimum(state["first"][stage, row], self.day)
            state["last"][stage, row] = self.day

    def _crowd(self, rng: np.random.Generator, draws: int, span: int, guard: Ints | None) -> Crowd:
        """The rows and groups of some draws, as they stand on the morning of the day; targets are kept open if apart.

        ``guard`` are the rows' days without a win, from this day on; with all rows really open where it is given.
        """
        world, t, day, m = self.world, self.t, self.day, self.world.mechanisms
        copies, rows = len(self.account), len(self.row)
        n = 0 if self.joint else copies
        account = np.repeat(self.account, draws)  # by group

        # Prospects still to come.
        size = known_size(world.headcount(account, world.born[account]), world.band[account])
        coming = np.repeat(
            np.arange(len(account)), rng.poisson(np.where(world.anonymous[account], 0.0, follow_rate(m, size)) * span)
        )
        of = account[coming]
        offers = draw_offers(rng, m, size[coming], world.public[of])
        born = day + rng.integers(0, span, len(coming))
        traits = make_traits(m, born, world.firm_fit(of), world.public[of], offers)

        known = rows * draws
        mine = world.traits(self.row).at(np.repeat(np.arange(rows), draws))
        crowd = Crowd(
            t,
            rng,
            group=np.concatenate([(self.copy[:, None] * draws + np.arange(draws)).ravel(), coming]),
            traits=Traits.joined(mine, traits),
            headcount=np.repeat(self.state["headcount"][self.lead], draws),
            band=world.band[account],
            roles=np.repeat(self.roles, draws, axis=1),
            quiet=world.anonymous[account],
            target=np.arange(known + len(coming)) < n * draws,
            guard=None
            if guard is None
            else np.concatenate([np.repeat(day + guard, draws), np.zeros(len(coming), dtype=np.int64)]),
        )
        crowd.family[:, :known] = np.repeat(self.heat.family, draws, axis=1)
        crowd.own[:known] = np.repeat(self.state["own"], draws)
        for name in ("contact", "first", "last"):
            getattr(crowd, name)[:, :known] = np.repeat(self.state[name], draws, axis=1)
        crowd.account[:] = np.repeat(self.state["account"][self.lead], draws)
        crowd.outcomes[:] = np.repeat(self.state["outcomes"][:, self.lead], draws, axis=1)

        # Siblings that have closed already, unknown to the records.
        others = np.arange(n * draws, known)
        level = np.cumsum(np.repeat(self.shut[n:], draws, axis=0), axis=1)
        drawn = rng.random(len(others))
        shut = np.flatnonzero(drawn < level[:, -1])
        kind, late = np.divmod((drawn[shut, None] >= level[shut]).sum(axis=1), MAX_LAG)
        crowd.await_closings(others[shut], kind, day + late)

        if self.cells is not None:
            cells, total = self.cells, np.cumsum(self.cells.mean)
            cell = np.searchsorted(total, rng.random(rng.poisson(draws * total[-1])) * total[-1], side="right")
            draw = rng.integers(0, draws, len(cell))
            kind = cells.kind[cell]
            crowd.await_(
                Happened(
                    np.where(cells.row[cell] >= 0, cells.row[cell] * draws + draw, -1),
                    cells.copy[cell] * draws + draw,
                    kind,
                    cells.day[cell],
                    cells.recorded[cell],
                    t.draw_slots(rng, kind, cells.present[cell]),
                    t.draw_amounts(rng, kind),
                )
            )
        return crowd

    def run(self, rng: np.random.Generator, draws: int, horizons: Sequence[int]) -> Iterator[Floats]:
        """Win probabilities along drawn paths, given that the target is really open: (targets, draws) per horizon."""
        n, span = len(self.target), max(horizons)
        crowd = self._crowd(rng, draws, span, None)
        targets = n * draws
        alive, won = np.ones(targets), np.zeros(targets)
        out: dict[int, Floats] = {}
        for step in range(span):
            found = crowd.step(self.day + step)
            win, either = found.win[:targets], found.win[:targets] + found.loss[:targets]
            share = np.divide(win, either, out=np.zeros(targets), where=either > 0)
            won += alive * -np.expm1(-either) * share
            alive *= np.exp(-either)
            if step + 1 in horizons:
                out[step + 1] = won.copy().reshape(n, draws)
        for h in horizons:
            yield out[h]

    def run_joint(self, rng: np.random.Generator, draws: int, within: Ints) -> Floats:
        """Probabilities that any row wins within its days (rows,), along drawn paths without: (accounts, draws)."""
        span = int(within.max())
        crowd = self._crowd(rng, draws, span, within)
        for step in range(span):
            crowd.step(self.day + step)
        return -np.expm1(crowd.log_no_win).reshape(len(self.account), draws)


class _Mean:
    """Mean over draws and its error, a row each, made in blocks."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.total, self.squares, self.count = np.zeros(shape), np.zeros(shape), 0

    def of(self) -> tuple[Floats, Floats]:
        mean = self.total / self.count if self.count else self.total
        spread = np.maximum(self.squares / max(self.count, 1) - mean**2, 0.0)
        return mean, np.sqrt(spread / max(self.count - 1, 1))


def _blocks(draws: int, rows: int, chunk: int) -> Iterator[int]:
    block = max(1, chunk // max(1, rows))
    for first in range(0, draws if rows else 0, block):
        yield min(block, draws - first)


def _check(draws: int, horizons: Sequence[int]) -> None:
    if draws < 2 or not horizons or min(horizons) < 1:
        raise BadInput(
            "bad_setting",
            "the truth needs at least 2 draws and horizons from 1 day.",
            where="draws, horizons",
            remedy="Write, for example, horizons=(30, 90), draws=500.",
        )


def _some(world: World, day: int, of: Ints, sample: int | None) -> Ints:
    """A random sample of entries, in their order; all without one."""
    if sample is None or sample >= len(of):
        return of
    return np.sort(np.random.default_rng([world.seed, 5, day]).choice(of, size=sample, replace=False))


def truth(
    world: World,
    horizons: Sequence[int],
    draws: int,
    as_of: int | None,
    chunk: int,
    progress: Callable[[int], None] | None,
    sample: int | None,
    engage: tuple[str, str] | None,
) -> pd.DataFrame:
    """See ``World.truth``."""
    import pandas as pd

    _check(draws, horizons)
    day = world.day_of(world.until if as_of is None else as_of)
    types = [t.name for t in world.mechanisms.touches]
    if engage is not None and (engage[0] not in ROLES or engage[1] not in types):
        raise BadInput(
            "bad_setting",
            f"{engage!r} is no role with an event type.",
            where="engage",
            remedy=f"Use a role of {', '.join(ROLES)} and a type of {', '.join(types)}.",
        )
    future = Future(world, day, _some(world, day, world.open_at(day), sample))
    if engage is not None:
        future.engage(engage[0], types.index(engage[1]))
    n = len(future.target)
    found = _Mean((len(horizons), n))
    rng = np.random.default_rng([world.seed, 4, day])
    for count in _blocks(draws, len(future.row), chunk):
        for h, p in enumerate(future.run(rng, count, horizons)):
            found.total[h] += p.sum(axis=1)
            found.squares[h] += (p**2).sum(axis=1)
        found.count += count
        if progress is not None:
            progress(found.count)
    mean, error = found.of()
    is_open = future.open_chance[:n]
    return pd.DataFrame(
        {
            "prospect_id": world.prospect_ids[future.target],
            "as_of": world.start + day * DAY,
            "regime": np.array([*REGIMES, ""])[future.heat.regime[:n]],
            "still_open": is_open,
            **{f"probability_{d}d": is_open * mean[h] for h, d in enumerate(horizons)},
            **{f"error_{d}d": is_open * error[h] for h, d in enumerate(horizons)},
        }
    )


def truth_accounts(
    world: World,
    horizons: int | Mapping[str, int],
    draws: int,
    as_of: int | None,
    chunk: int,
    progress: Callable[[int], None] | None,
    sample: int | None,
    all_open: bool,
) -> pd.DataFrame:
    """See ``World.truth_accounts``."""
    import pandas as pd

    table = {"": horizons} if isinstance(horizons, int) else dict(horizons)
    _check(draws, tuple(table.values()))
    rest = table.get("", max(table.values()))
    days = np.array([*(table.get(regime, rest) for regime in REGIMES), rest])
    assert len(days) == NO_REGIME + 1
    day = world.day_of(world.until if as_of is None else as_of)
    target = world.open_at(day)
    target = target[~world.anonymous[world.account[target]]]
    accounts = _some(world, day, np.unique(world.account[target]), sample)
    future = Future(world, day, target[np.isin(world.account[target], accounts)], joint=True)
    if all_open:
        future.shut[:] = 0.0
    within = days[future.heat.regime]
    found = _Mean((len(accounts),))
    rng = np.random.default_rng([world.seed, 6, day])
    for count in _blocks(draws, len(future.row), chunk):
        p = future.run_joint(rng, count, within)
        found.total += p.sum(axis=1)
        found.squares += (p**2).sum(axis=1)
        found.count += count
        if progress is not None:
            progress(found.count)
    mean, error = found.of()
    return pd.DataFrame(
        {
            "account_id": world.account_ids[accounts],
            "as_of": world.start + day * DAY,
            "prospects": np.bincount(future.copy, minlength=len(accounts)),
            "probability": mean,
            "error": error,
        }
    )


def truth_renewal(world: World, horizons: Sequence[int], draws: int, as_of: int | None) -> pd.DataFrame:
    """See ``World.truth_renewal``."""
    import pandas as pd

    _check(draws, horizons)
    day = world.day_of(world.until if as_of is None else as_of)
    renewed = np.full(len(world.created), FAR * DAY)
    renewed[world.renewed_prospect] = world.renewed_at
    won = (world.outcome == 0) & (world.outcome_recorded < day * DAY)
    won &= renewed[world.outcome_prospect] >= day * DAY
    won_at = np.flatnonzero(won)
    prospect, n = world.outcome_prospect[won_at], int(won.sum())

    used = world.usage_at < day * DAY
    age = day - world.usage_at[used] // DAY
    place = np.full(len(world.created), -1)
    place[prospect] = np.arange(n)
    at = place[world.usage_prospect[used]]
    heat = np.zeros((len(world.mechanisms.usages), n))
    keep = at >= 0
    np.add.at(heat, (world.usage_type[used][keep], at[keep]), np.exp(-age[keep] / world.mechanisms.usage_tau))

    t, rng = Rates(world.mechanisms, world.start), np.random.default_rng([world.seed, 7, day])
    crowd = Customers(
        world.mechanisms,
        rng,
        won=np.repeat(world.outcome_at[won_at] // DAY, draws),
        recorded=np.repeat(world.outcome_recorded[won_at] // DAY, draws),
        fit=np.repeat(customer_fit(world, won_at), draws),
    )
    crowd.heat = np.repeat(heat, draws, axis=1)
    staying = np.ones(n * draws)
    out = {}
    for step in range(max(horizons)):
        staying *= 1 - crowd.chance(day + step)
        crowd.step(day + step, float(t.week(day + step)), renew=False)
        if step + 1 in horizons:
            out[step + 1] = 1 - staying.reshape(n, draws)
    return pd.DataFrame(
        {
            "prospect_id": world.prospect_ids[prospect],
            "as_of": world.start + day * DAY,
            **{f"probability_{d}d": out[d].mean(axis=1) for d in horizons},
            **{f"error_{d}d": out[d].std(axis=1, ddof=1) / np.sqrt(draws) for d in horizons},
        }
    )


def customer_fit(world: World, outcome: Ints) -> Floats:
    """The fit of won prospects as recorded when their win was, by places in the outcomes' arrays."""
    known = world.outcome_recorded[outcome]
    heat, _ = world.heat(world.outcome_prospect[outcome], known, (known // DAY).astype(np.float64))
    return heat.fit
