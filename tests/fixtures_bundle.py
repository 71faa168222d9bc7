"""A small world for the tests of bundle and scorer: random prospects, a LightGBM hazard really trained on them."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from features.contract import ALWAYS, DAY, Column, Dataset, Goal, format_time, parse_time
from features.online import compile_features
from features.records import Event, Outcome, Records, Version
from features.spec import Aggregate, Attribute, Expression, FeatureSet
from serving.bundle import make_bundle
from serving.scorer import Scorer, encode
from serving.trees import expand

BIRTH = parse_time("2026-01-01T00:00:00Z")
EDGES = [0, 1, 3, 7, 14, 30, 60, 90]
GOAL = Goal("won", (("", 90), ("mass", 30)))
DATASET = Dataset(
    goal=GOAL,
    declared=(("prospects", (Column("origin", "category"), Column("budget", "number"), Column("vip", "boolean"))),),
)
SPEC = FeatureSet(
    DATASET,
    (
        Attribute("prospects", "source"),
        Attribute("prospects", "origin"),
        Attribute("prospects", "budget"),
        Attribute("prospects", "vip"),
        Attribute("accounts", "country"),
        Attribute("accounts", "headcount"),
        Aggregate("count", days=7),
        Aggregate("count", "page_view", 30),
        Aggregate("count", "meeting"),
        Aggregate("days_since_last"),
        Aggregate("sum", days=90),
        Aggregate("count", days=90, role="buyer"),
        Aggregate("distinct_contacts"),
        Aggregate("count", days=30, scope="account"),
        Expression("age", (Attribute("prospects", "created_at"),)),
        Expression("ratio", (Aggregate("count", days=7), Aggregate("count", days=30))),
    ),
)
LEVELS = {
    "source": ["fair", "phone", "webinar"],
    "origin": ["organic", "paid_search", "partner"],
    "account_country": ["DE", "FR"],
}
HAS_OTHER = ["origin"]
RARE = {"origin": ["leaflet"]}
COMMITTEE = {"buyer": {"type": "meeting", "channel": None}, "user": {"type": "page_view", "channel": "web"}}
ACCOUNT = {"intercept": -0.1, "naive": 0.9, "size": -0.2, "error": 0.15}


def make_records(seed: int, prospect_id: str = "") -> tuple[Records, int]:
    """A random prospect and a time at which to score it; some of its records come after that time."""
    rng = random.Random(seed)
    pid = prospect_id or f"p{seed}"
    created = BIRTH + rng.randrange(60 * DAY)
    t = created + rng.randrange(40 * DAY)

    def pick(values: list[Any], unknown: float = 0.15) -> Any:
        return None if rng.random() < unknown else rng.choice(values)

    values = {
        "prospect_id": pid,
        "created_at": created,
        "account_id": "a1",
        "source": pick(LEVELS["source"]),
        "regime": pick(["mass", "industrial"], 0.3),
        "origin": pick([*LEVELS["origin"], "leaflet", "radio"]),
        "budget": pick([1_000.0, 25_000.5, 80_000.0]),
        "vip": pick([True, False]),
    }
    types = ["page_view", "meeting", "call"]
    events = tuple(
        Event(
            f"{pid}-{i}",
            pid,
            rng.choice(types),
            at := t - rng.randrange(-2 * DAY, 35 * DAY),
            at + rng.choice([0, 0, DAY]),
            pick(["c1", "c2", "c9"]),
            pick(["inbound", "outbound"]),
            None,
            pick([1_500_000, 20_000_000]),
        )
        for i in range(rng.randrange(12))
    )
    siblings = {"s1": (Version(ALWAYS, {"prospect_id": "s1", "created_at": BIRTH, "account_id": "a1"}),)}
    related = tuple(
        Event(f"{pid}-s{i}", "s1", "call", t - rng.randrange(50 * DAY), BIRTH) for i in range(rng.randrange(4))
    )
    records = Records(
        prospect_id=pid,
        prospect=(Version(created, values),),
        accounts={"a1": (Version(ALWAYS, {"account_id": "a1", "country": pick(["DE", "FR"]), "headcount": 40.0}),)},
        contacts={
            "c1": (Version(ALWAYS, {"contact_id": "c1", "role": "buyer"}),),
            "c2": (Version(ALWAYS, {"contact_id": "c2", "role": "user"}),),
        },
        events=events,
        outcomes=(),
        related=siblings,
        related_events=related,
        related_outcomes=(),
    )
    return records, t


def make_request() -> dict[str, Any]:
    """A score request, as the example of a card."""
    return {
        "prospect": {
            "prospect_id": "p1",
            "created_at": "2026-03-01T09:00:00Z",
            "account_id": "a1",
            "source": "webinar",
            "attributes": {"origin": "paid_search", "budget": 25_000.5, "vip": True},
        },
        "account": {"account_id": "a1", "country": "FR", "headcount": 40},
        "contacts": [{"contact_id": "c1", "role": "buyer"}],
        "events": [
            {"event_id": "e1", "type": "page_view", "occurred_at": "2026-03-02T10:00:00Z", "contact_id": "c1"},
            {"event_id": "e2", "type": "meeting", "occurred_at": "2026-03-04T10:00:00Z", "value": 12.5},
        ],
        "outcomes": [],
        "related": {"prospects": [], "events": [], "outcomes": []},
        "as_of": "2026-03-05T09:00:00Z",
    }


def request_records() -> tuple[Records, int]:
    """What ``make_request`` means, written by hand."""
    created = parse_time("2026-03-01T09:00:00Z")
    values = {
        "prospect_id": "p1",
        "created_at": created,
        "account_id": "a1",
        "source": "webinar",
        "origin": "paid_search",
        "budget": 25_000.5,
        "vip": True,
    }
    first, second = parse_time("2026-03-02T10:00:00Z"), parse_time("2026-03-04T10:00:00Z")
    records = Records(
        prospect_id="p1",
        prospect=(Version(created, values),),
        accounts={"a1": (Version(ALWAYS, {"account_id": "a1", "country": "FR", "headcount": 40.0}),)},
        contacts={"c1": (Version(ALWAYS, {"contact_id": "c1", "account_id": "a1", "role": "buyer"}),)},
        events=(
            Event("e1", "p1", "page_view", first, first, "c1"),
            Event("e2", "p1", "meeting", second, second, value=12_500_000),
        ),
        outcomes=(),
        related={},
        related_events=(),
        related_outcomes=(),
    )
    return records, parse_time("2026-03-05T09:00:00Z")


@lru_cache(maxsize=1)
def training_rows(count: int = 3_000) -> tuple[list[list[Any]], list[str | None]]:
    """Raw feature rows and regimes of random prospects."""
    run = compile_features(SPEC)
    rows, regimes = [], []
    for seed in range(count):
        records, t = make_records(seed)
        rows.append(run(records, t))
        regimes.append(records.prospect[0].values["regime"])
    return rows, regimes


@lru_cache(maxsize=1)
def trained_text() -> str:
    """The text of a LightGBM hazard fitted on ``training_rows``, boosted from a starting score per interval."""
    import lightgbm

    rows, _ = training_rows()
    matrix = encode(rows, SPEC.names, LEVELS, HAS_OTHER)
    expanded = expand(matrix, [len(EDGES) - 1] * len(rows))
    rng = np.random.default_rng(7)
    views, meetings = (expanded[:, SPEC.names.index(n)] for n in ("page_view_count_30d", "meeting_count"))
    k = expanded[:, -1]
    origin = np.nan_to_num(expanded[:, SPEC.names.index("origin")], nan=3.0)
    z = STARTING[k.astype(int)] + 0.5 * views + 0.9 * meetings * (k < 3) - 0.8 * origin + 0.6 * (k == 6)
    y = (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(float)
    columns = [f"f{i}" for i in range(expanded.shape[1])]
    coded = [SPEC.names.index(n) for n in SPEC.categories]
    data = lightgbm.Dataset(
        expanded, y, init_score=STARTING[k.astype(int)], feature_name=columns, categorical_feature=coded
    )
    settings = {
        "objective": "binary",
        "num_leaves": 15,
        "max_depth": 5,
        "learning_rate": 0.1,
        "min_data_in_leaf": 50,
        "seed": 3,
        "deterministic": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    return str(lightgbm.train(settings, data, 40).model_to_string())


STARTING = np.array([-4.5, -4.2, -4.0, -3.8, -3.6, -3.5, -3.7])


def parts(spec: FeatureSet | None = None, model_text: str | None = None, **changes: Any) -> dict[str, Any]:
    """The parts of a bundle (the arguments of ``write_bundle``); ``changes`` replace keys of the constants.

    The card's example holds its true probability, unless the spec is another one.
    """
    constants: dict[str, Any] = {
        "goal": GOAL.to_json(),
        "edges": EDGES,
        "starting_score": STARTING.tolist(),
        "categories": LEVELS,
        "has_other": HAS_OTHER,
        "rare": RARE,
        "calibration": {"slope": 0.9, "intercept": -0.1},
        "interval": {"level": 0.9, "logit": [-4.0, -1.0, 1.0], "low": [0.6, 0.3, 0.5], "high": [0.5, 0.25, 0.7]},
        "grade_cuts": {"A": 0.4, "B": 0.2, "C": 0.1},
        "committee": COMMITTEE,
        "account": ACCOUNT,
    }
    constants.update(changes)
    card: dict[str, Any] = {
        "goal": GOAL.to_json(),
        "trained_until": format_time(BIRTH + 120 * DAY),
        "created_at": format_time(BIRTH + 121 * DAY),
        "feature_fingerprint": SPEC.fingerprint,
        "warnings": [{"code": "few_outcomes", "text": "only 80 outcomes were known.", "count": 80}],
        "example": {"request": make_request(), "probability": 0.5},
    }
    reference: dict[str, Any] = {
        "by_regime": {"": [i / 200 for i in range(101)], "mass": [i / 400 for i in range(101)]}
    }
    out = {
        "spec": spec or SPEC,
        "model_text": model_text or trained_text(),
        "constants": constants,
        "card": card,
        "reference": reference,
    }
    if spec is None:
        records, t = request_records()
        card["example"]["probability"] = Scorer(make_bundle(**out), "0").score(records, t).probability
    return out


def write_format_1(folder: Path) -> str:
    """Write the bundle that leadscore wrote before format 2, byte for byte; returns its digest."""
    made = parts()
    constants = {k: v for k, v in made["constants"].items() if k not in ("committee", "account")}
    written = {
        "spec.json": made["spec"].to_json(),
        "constants.json": constants,
        "card.json": made["card"],
        "reference.json": made["reference"],
    }
    folder.mkdir(parents=True)
    (folder / "model.txt").write_bytes(made["model_text"].encode())
    for name, data in written.items():
        (folder / name).write_bytes(_text({**data, "format": 1}))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    (folder / "MANIFEST.json").write_bytes(_text({"format": 1, "files": files}))
    return hashlib.sha256((folder / "MANIFEST.json").read_bytes()).hexdigest()


def _text(data: Any) -> bytes:
    return (json.dumps(data, sort_keys=True, ensure_ascii=False, indent=1) + "\n").encode()


def make_scorer(**changes: Any) -> Scorer:
    """A scorer, version 7, of the bundle of ``parts(**changes)``."""
    return Scorer(make_bundle(**parts(**changes)), "7")


def with_outcome(records: Records, outcome: str, at: int, recorded_at: int | None = None) -> Records:
    """The records with one more outcome."""
    more = Outcome(f"o-{outcome}", records.prospect_id, outcome, at, at if recorded_at is None else recorded_at)
    return replace(records, outcomes=(*(records.outcomes or ()), more))
