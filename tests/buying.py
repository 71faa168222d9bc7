"""How firms buy in simulated worlds: each mechanism on or off, the models of both, and what each model makes of it.

A *contrast* changes in the requests of open prospects only what a mechanism reads, and tells by how much the answer
moves: in log-odds of a win within 30 days, whatever the regime's own horizon, so that all are compared alike.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from features.contract import DAY, format_time
from features.episodes import open_prospects
from features.standard import standard_features
from features.tables import Tables, read_tables
from serving.batch import requests
from serving.schema import parse_request
from training.dataset import build
from training.model import Model, fit
from training.simulate import Mechanisms, World, simulate

Request = dict[str, Any]
Terms = Sequence[tuple[int, Request]]  # requests whose log-odds are added or taken off

DAYS = 30  # the horizon of a contrast
TREES = {"num_iterations": 250}
# What makes each way to buy, as switches of the simulator.
SWITCHED: Mapping[str, tuple[str, ...]] = {
    "mass": ("regimes",),
    "industrial": ("regimes",),
    "project": ("regimes", "tender"),
    "tender": ("tender",),
    "committee": ("committee",),
    "b2b": ("trust", "spill"),
    "b2b2e": ("approach",),
    "b2b2u": ("approach",),
    "stages": ("stages",),
    "renewal": ("renewal",),
}


def lively() -> Mechanisms:
    """The frozen world with the mechanisms of buying about twice as strong, more sales and no rare approach.

    A few thousand prospects then show what takes some ten thousand in the frozen world.
    """
    m = Mechanisms()
    return replace(
        m,
        win=(m.win[0] + 1.6, *(w + 0.7 for w in m.win[1:])),
        project=(0.35, 0.55),
        committee_strength=(0.1, 1.6, 0.9, 0.8),
        win_roles=(2.0, 1.0, 0.0),
        win_single=-1.0,
        win_trust=1.6,
        win_doubt=-0.8,
        win_stay=-0.9,
        win_regress=-1.0,
        approach_public=1.5,
        approach_user=2.5,
        approaches_private=(0.4, 0.3, 0.3),
        approaches_public=(0.3, 0.3, 0.4),
        unknown_approach=0.05,
        followers=1 / 120,
    )


def switched_off(m: Mechanisms, *switches: str) -> Mechanisms:
    """The world without these; where it is less use that brings renewals, as many come by themselves."""
    off = m.without(*switches)
    return replace(off, renew=-6.8) if "renewal" in switches else off


def written(folder: Path, m: Mechanisms, prospects: int, seed: int) -> tuple[World, Tables]:
    """A world and its tables, read back from its files."""
    world = simulate(prospects=prospects, days=365, seed=seed, mechanisms=m)
    world.write(folder)
    return world, read_tables(folder, need_outcomes=True)


def trained(tables: Tables) -> Model:
    """The model of the tables' goal: standard features, boosted trees of one size."""
    model = fit(build(tables, standard_features(tables)), TREES, folds=0)
    assert model.scorer is not None
    return model


@dataclass(frozen=True)
class Effect:
    """The mean of a contrast over prospects, and its standard error over them."""

    mean: float
    error: float


def effects(model: Model, asked: Sequence[Request], contrasts: Mapping[str, Callable[[Request], Terms]]) -> Any:
    """Each contrast's effect on a model's answers to the requests."""
    out = {}
    for name, contrast in contrasts.items():
        moved = [sum(sign * _log_odds(model, request) for sign, request in contrast(one)) for one in asked]
        out[name] = Effect(float(np.mean(moved)), float(np.std(moved, ddof=1) / np.sqrt(len(moved))))
    return out


def _log_odds(model: Model, request: Request) -> float:
    parsed = parse_request(request, model.spec.dataset, 0)
    p = dict(model.scorer.score(parsed.records, parsed.as_of, reasons=0).curve)[DAYS]
    return float(np.log(p) - np.log1p(-p))


def open_requests(tables: Tables, model: Model, count: int) -> list[Request]:
    """The requests of so many prospects with an account that are open at the end of the data."""
    ids = sorted(open_prospects(tables, model.goal, tables.until).to_pyarrow()["prospect_id"].to_pylist())
    found = requests(tables, tables.until, ids[:: max(1, len(ids) // (2 * count))])
    return [r for r in found if "account" in r][:count]


def contrasts(t: int) -> dict[str, Callable[[Request], Terms]]:
    """What each mechanism of a first sale reads, changed; t is the time of the requests, in microseconds."""

    def ago(days: float) -> str:
        return format_time(t - int(days * DAY))

    def event(i: int, kind: str, days: float, contact: str | None = None) -> Request:
        of = {"event_id": f"x{i}", "type": kind, "occurred_at": ago(days), "direction": "inbound"}
        return of if contact is None else {**of, "contact_id": contact}

    def people(*roles: str) -> list[Request]:
        return [{"contact_id": f"c{i}", "role": role} for i, role in enumerate(roles)]

    def regime(one: Request, name: str) -> Request:
        return _changed(one, {"regime": name, "tender_announced_at": None, "tender_deadline": None})

    def older(one: Request) -> Request:
        return _changed(one, {"created_at": ago(95)})

    def project(one: Request, days: float) -> Request:
        """A project that is old enough for any of the deadlines, so many days after its own (before it, if below 0)."""
        dates = {"tender_announced_at": ago(100), "tender_deadline": ago(days)}
        return _changed(older(one), {"regime": "project", **dates})

    replies = [event(i, "email_reply", 3 + i, f"c{i % 3}") for i in range(3)]
    from_one = [event(i, "email_reply", 3 + i, "c0") for i in range(3)]

    def committee(one: Request, name: str) -> Terms:
        """The same signs of three people, as of one who buys, one who prescribes and one who uses, and of users."""
        every, users = people("buyer", "prescriber", "user"), people("user", "user", "user")
        return [
            (sign, {**regime(one, name), "contacts": who, "events": replies}) for sign, who in ((1, every), (-1, users))
        ]

    def sibling(one: Request, outcome: str) -> Request:
        other = {"prospect_id": "s", "account_id": one["account"]["account_id"], "created_at": ago(90)}
        ended = {"prospect_id": "s", "outcome": outcome, "occurred_at": ago(10)}
        return {**one, "related": {"prospects": [other], "events": [], "outcomes": [ended]}}

    def approach(one: Request, name: str, public: bool) -> Request:
        return _changed(one, {"approach": name}, {"public_body": public, "local_authority": False})

    def by_user(one: Request, name: str) -> Request:
        who = people("user", "prescriber", "buyer")
        return {**approach(one, name, public=False), "contacts": who, "events": from_one}

    def staged(one: Request, first: str) -> Request:
        """A meeting lately, and sixty days ago the same or a mere visit of a page: how long it has been deciding."""
        return {**one, "events": [event(0, "page_view", 61), event(1, first, 60), event(2, "meeting", 3)]}

    def opposite(terms: Terms) -> Terms:
        return [(-sign, request) for sign, request in terms]

    return {
        "mass": lambda one: [(1, regime(one, "mass")), (-1, regime(one, "industrial"))],
        "industrial": lambda one: [*committee(one, "industrial"), *opposite(committee(one, "mass"))],
        "project": lambda one: [(1, project(one, -5)), (-1, older(regime(one, "industrial")))],
        "tender": lambda one: [(1, project(one, -5)), (-1, project(one, 25))],
        "b2b": lambda one: [(1, sibling(one, "won")), (-1, sibling(one, "lost"))],
        "b2b2e": lambda one: [(1, by_user(one, "b2b2e")), (-1, by_user(one, "b2b"))],
        "b2b2u": lambda one: [
            *((1, approach(one, "b2b2u", public=True)), (-1, approach(one, "b2b", public=True))),
            *((-1, approach(one, "b2b2u", public=False)), (1, approach(one, "b2b", public=False))),
        ],
        "committee": lambda one: committee(one, "industrial"),
        "stages": lambda one: [(1, staged(one, "page_view")), (-1, staged(one, "meeting"))],
    }


def renewals(t: int) -> dict[str, Callable[[Request], Terms]]:
    """What the renewal reads: the customer uses what was sold, or asks for help as often."""

    def after_sale(one: Request, kind: str) -> Request:
        times = [format_time(t - (2 + 3 * i) * DAY) for i in range(8)]
        more = [
            {"event_id": f"x{i}", "type": kind, "occurred_at": at, "direction": "inbound"} for i, at in enumerate(times)
        ]
        return {**one, "events": [*one.get("events", []), *more]}

    return {"renewal": lambda one: [(1, after_sale(one, "product_use")), (-1, after_sale(one, "support_ticket"))]}


def _changed(one: Request, prospect: Mapping[str, Any], account: Mapping[str, Any] | None = None) -> Request:
    """The request with these fields set, or taken out where None."""
    out = copy.deepcopy(one)
    for part, changes in (("prospect", prospect), ("account", account or {})):
        out[part] = {k: v for k, v in {**out[part], **changes}.items() if v is not None}
    return out
