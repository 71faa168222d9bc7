"""How fast the service is beside its peers, all in one run: ``python -m benchmarks.serve [--home HOME]``.

Five servers run at the same time, with one worker each, and are loaded in turn, for a fraction of a second at a time,
so that whatever else the machine does falls on all of them alike:

- *ours*, with five reasons and with none (``LEADSCORE_REASONS``), which reads, computes and explains;
- *nothing*, a BentoML service with the same request and answer models and the same settings that computes nothing:
  what the framework itself costs (``benchmarks.nothing``);
- *MLflow*, ``mlflow models serve`` with the same trees on ready-made features, one interval of one prospect a request
  (ours computes the features, all intervals, the interval of the probability and the committee's). The model has a
  signature, as MLflow's documentation asks for;
- *bare MLflow*, the same without one: to check a request against a signature is most of what that server does.

A ratio is the median over the rounds of what ours did in a round against what the peer did in the same one. Beside the
ratio of the answers per second stands that of the processor's time per answer, turned the same way up (above 1 is
cheaper than the peer): on a machine with other work it is the steadier.

The requests are made of the champion's own example, so that any model can be measured; the prospect has a buyer and a
user, its prescriber is missing, so that its answer holds what a sign from one would do. Where the records are *stored*,
the same ones are sent to the service's store first, and the requests, to the peer as well, hold only the prospect's id.
The store is one of the benchmark's own, not the home's. Without ``--home`` a champion is trained on the demo's
simulated CRM first, which takes some minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.load import Run, Server, free_port, post, running
from features.contract import DAY, format_time, parse_time
from serving.bundle import Bundle, read_bundle
from serving.champion import read_pointer
from serving.run import SERVICE, serve_command

REASONS, PLAIN, NOTHING, MLFLOW, BARE = "ours, 5 reasons", "ours, no reasons", "nothing", "MLflow", "bare MLflow"
EVENTS = (0, 20, 200)
CONNECTIONS = (1, 8)
BATCH = 100
KINDS = ("singles", "stored", "tail", "batch")
VARIANTS = 5_000  # different requests of one kind: who was scored within a second is remembered
STORED = 500  # of them, where the records have to be stored first
SPREAD_DAYS = 60  # over which the events of a prospect lie
Runs = dict[str, list[Run]]


def bodies(example: Mapping[str, Any], events: int, variants: int = VARIANTS) -> list[dict[str, Any]]:
    """Requests of so many events about as many prospects, made of a bundle's example."""
    t = parse_time(example["as_of"])
    kinds = example.get("events") or [{"type": "page_view", "direction": "inbound"}]
    people = [{"contact_id": "c1", "role": "buyer"}, {"contact_id": "c2", "role": "user"}]
    out = []
    for variant in range(variants):
        prospect = {
            **example["prospect"],
            "prospect_id": f"prospect-{variant}",
            "created_at": format_time(t - (SPREAD_DAYS + variant % 50) * DAY),
        }
        listed = []
        for i in range(events):
            event = {**kinds[(i + variant) % len(kinds)], "event_id": f"event-{variant}-{i}"}
            event["occurred_at"] = format_time(
                t - ((i + 1) * SPREAD_DAYS * DAY // (events + 1)) // 1_000_000 * 1_000_000
            )
            event["contact_id"] = people[i % 2]["contact_id"]
            listed.append(event)
        request = {**example, "prospect": prospect, "contacts": people, "events": listed}
        for name, empty in (("outcomes", []), ("related", {"prospects": [], "events": [], "outcomes": []})):
            request.setdefault(name, empty)
        out.append(request)
    return out


def stored(example: Mapping[str, Any], events: int, server: Server) -> list[dict[str, Any]]:
    """Requests that hold only an id; the records, as of now, are sent to the store of a server before."""
    now = format_time(time.time_ns() // 1_000_000_000 * 1_000_000)
    out = []
    for variant, body in enumerate(bodies({**example, "as_of": now}, events, STORED)):
        own = f"stored-{events}-{variant}"
        account = {n: v for n, v in body.get("account", {}).items() if n != "account_id"}
        prospect = {n: v for n, v in body["prospect"].items() if n not in ("prospect_id", "observed_at")}
        server.ask(post(f"/v1/accounts/{own}", _dump(account), "PUT"))
        server.ask(post(f"/v1/prospects/{own}", _dump({**prospect, "account_id": own}), "PUT"))
        for person in body["contacts"]:
            record = {"role": person["role"], "account_id": own}
            server.ask(post(f"/v1/contacts/{own}-{person['contact_id']}", _dump(record), "PUT"))
        facts = []
        for event in body["events"]:
            ids = {"event_id": f"{own}-{event['event_id']}", "contact_id": f"{own}-{event['contact_id']}"}
            facts.append({**event, **ids, "prospect_id": own})
        if facts:
            server.ask(post("/v1/events", _dump(facts)))
        out.append({"prospect": {"prospect_id": own}})
    return out


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _singles(every: Sequence[Mapping[str, Any]]) -> list[bytes]:
    return [post("/score", _dump(body)) for body in every]


def _batches(every: Sequence[Mapping[str, Any]]) -> list[bytes]:
    starts = range(0, len(every), BATCH)
    return [post("/score_batch", _dump({"items": every[start : start + BATCH]})) for start in starts]


def _mlflow_rows(bundle: Bundle, example: Mapping[str, Any]) -> list[bytes]:
    """The ready-made features of the requests, as the trees take them: one row of one interval each."""
    from serving.schema import RequestReader
    from serving.scorer import encode
    from serving.trees import expand

    reader = RequestReader(bundle.features.dataset)
    from features.online import compile_features

    compute, constants, names = compile_features(bundle.features), bundle.constants, bundle.features.names
    out = []
    for body in bodies(example, 20, 50):
        parsed = reader.read(body, parse_time(example["as_of"]))
        row = encode([compute(parsed.records, parsed.as_of)], names, constants.categories, constants.has_other)
        # A missing one is NaN: null would make a column of objects, which LightGBM refuses.
        data = {"dataframe_split": {"columns": [*names, "interval"], "data": expand(row, [1]).tolist()}}
        out.append(post("/invocations", _dump(data)))
    return out


@contextlib.contextmanager
def _ours(home: Path, reasons: int, store: Path) -> Iterator[Server]:
    port = free_port()
    set_ = {"LEADSCORE_REASONS": str(reasons), "LEADSCORE_STORE": f"sqlite:///{store.absolute()}"}
    command, environment = serve_command(home, port=port, environ={**os.environ, **set_})
    with running(command, environment, port, "/readyz") as server:
        yield server


@contextlib.contextmanager
def _nothing(home: Path) -> Iterator[Server]:
    port = free_port()
    command, environment = serve_command(home, port=port)
    command = ["benchmarks.nothing:Nothing" if part == SERVICE else part for part in command]
    environment["BENTOML_CONFIG_OVERRIDES"] = environment["BENTOML_CONFIG_OVERRIDES"].replace("LeadScore", "Nothing")
    with running(command, environment, port, "/readyz") as server:
        yield server


@contextlib.contextmanager
def _mlflow(bundle: Bundle, folder: Path, row: bytes | None) -> Iterator[Server]:
    """MLflow's server of the trees; with a signature where a row of theirs is given to infer it from."""
    import lightgbm
    import mlflow.lightgbm
    import pandas as pd

    booster = lightgbm.Booster(model_str=bundle.model_text)
    signature = None
    if row is not None:
        sent = json.loads(row.split(b"\r\n\r\n", 1)[1])["dataframe_split"]
        frame = pd.DataFrame(sent["data"], columns=sent["columns"]).astype("float64")
        signature = mlflow.models.infer_signature(frame, booster.predict(frame.to_numpy()))
    model = folder / ("mlflow-bare" if row is None else "mlflow-signed")
    mlflow.lightgbm.save_model(booster, str(model), signature=signature)
    port = free_port()
    command = [str(Path(sys.executable).parent / "mlflow"), "models", "serve", "-m", str(model)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # `mlflow models serve` starts `uvicorn` by its name.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    with running(command, {**os.environ, "PATH": path}, port, "/ping") as server:
        yield server


def alternate(loads: Mapping[str, Callable[[], Run]], rounds: int) -> Runs:
    """Give every load its turn in each round, in an order that turns too."""
    names, out = list(loads), {name: [] for name in loads}
    for round_ in range(rounds):
        shift = round_ % len(names)
        for name in names[shift:] + names[:shift]:
            out[name].append(loads[name]())
    return out


def rates(runs: Runs, ours: str, peer: str) -> float:
    """Answers per second against the peer's, the median of the rounds."""
    return statistics.median(a.rate / b.rate for a, b in zip(runs[ours], runs[peer], strict=True))


def costs(runs: Runs, ours: str, peer: str) -> float:
    """The peer's processor time per answer against ours, the median of the rounds."""
    return statistics.median(b.cost / a.cost for a, b in zip(runs[ours], runs[peer], strict=True))


def _quantile(values: Sequence[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


class Bench:
    """The servers, and what is asked of them."""

    def __init__(self, servers: Mapping[str, Server], bundle: Bundle, slice_: float, rounds: int) -> None:
        self.servers = servers
        self.bundle = bundle
        self.example: dict[str, Any] = bundle.card["example"]["request"]
        self.slice = slice_
        self.rounds = rounds
        self.console = Console(width=180, highlight=False)
        self._stored: dict[int, list[dict[str, Any]]] = {}

    def stored(self, events: int) -> list[dict[str, Any]]:
        """Requests about prospects of so many events that are in the store, sent there once."""
        if events not in self._stored:
            self._stored[events] = stored(self.example, events, self.servers[PLAIN])
        return self._stored[events]

    def singles(self, events: Sequence[int], connections: Sequence[int], from_store: bool = False) -> None:
        """Single requests: by events, connections and reasons; their records in the body, or in the store."""
        table = Table(
            "events\nin the store" if from_store else "events\nin the body",
            "connections",
            "answers of nothing",
            *(f"{n}\n/ nothing" for n in (PLAIN, REASONS)),
        )
        for peer in (MLFLOW, BARE):
            for name in (PLAIN, REASONS):
                if peer in self.servers:
                    table.add_column(f"{name}\n/ {peer}")
        table.title = "answers per second against the peer's (processor time per answer, the same way up)"
        ready_made = _mlflow_rows(self.bundle, self.example)
        for count in events:
            every = self.stored(count) if from_store else bodies(self.example, count)
            requests = _singles(every)
            for connected in connections:

                def load(name: str, requests: list[bytes] = requests, connected: int = connected) -> Callable[[], Run]:
                    sent = ready_made if name in (MLFLOW, BARE) else requests
                    return lambda: self.servers[name].load(sent, connected, self.slice)

                runs = alternate({name: load(name) for name in self.servers}, self.rounds)
                cells = [f"{count}", f"{connected}"]
                base = runs[NOTHING]
                rate = statistics.median(run.rate for run in base)
                cells.append(f"{rate:,.0f}/s ({1e6 * statistics.median(run.cost for run in base):.0f} µs)")
                for peer in (NOTHING, MLFLOW, BARE):
                    for ours in (PLAIN, REASONS):
                        if peer in runs:
                            cells.append(f"{rates(runs, ours, peer):.2f} ({costs(runs, ours, peer):.2f})")
                table.add_row(*cells)
        self.console.print(table)

    def tail(self, events: int, connected: int, seconds: float) -> None:
        """p99 against p50 in five runs."""
        table = Table("", "p50", "p99", "p99 / p50", title=f"latency with {events} events, {connected} connections")
        requests = _singles(bodies(self.example, events))
        names = [name for name in (PLAIN, REASONS, NOTHING) if name in self.servers]
        runs = alternate(
            {name: lambda name=name: self.servers[name].load(requests, connected, seconds) for name in names}, 5
        )
        for name in names:
            middle = [_quantile(run.latencies, 0.5) for run in runs[name]]
            late = [_quantile(run.latencies, 0.99) for run in runs[name]]
            ratio = statistics.median(b / a for a, b in zip(middle, late, strict=True))
            cells = (f"{1e3 * statistics.median(x):.2f} ms" for x in (middle, late))
            table.add_row(name, *cells, f"{ratio:.1f}")
        self.console.print(table)

    def batch(self, events: int) -> None:
        """What a prospect costs in a batch, against a single call."""
        table = Table("", "single call", f"in a batch of {BATCH}", "part of a single call")
        table.title = f"time per prospect with {events} events, 1 connection (processor time)"
        names = [name for name in (PLAIN, REASONS, NOTHING) if name in self.servers]
        sent = bodies(self.example, events)
        kept = self.stored(events)
        of = {name: (name, sent) for name in names} | {f"{name}, of stored records": (name, kept) for name in names[:2]}
        loads: dict[str, Callable[[], Run]] = {}
        for label, (name, every) in of.items():
            for one, requests in (("single", _singles(every)), ("batch", _batches(every))):
                load = self.servers[name].load
                loads[f"{label} {one}"] = lambda load=load, requests=requests: load(requests, 1, self.slice)
        runs = alternate(loads, self.rounds)
        for label in of:
            one, many = f"{label} single", f"{label} batch"
            times = [1e6 / statistics.median(r.rate for r in runs[n]) for n in (one, many)]
            spent = [1e6 * statistics.median(r.cost for r in runs[n]) for n in (one, many)]
            parts = (f"{t / n:.0f} µs ({c / n:.0f} µs)" for t, c, n in zip(times, spent, (1, BATCH), strict=True))
            share, cost = 1 / rates(runs, many, one) / BATCH, 1 / costs(runs, many, one) / BATCH
            table.add_row(label, *parts, f"{share:.2f} ({cost:.2f})")
        for caller, called in (("httpx", _httpx), ("BentoML's client", _bentoml)):
            for name in names:
                table.add_row(f"{name}, to a caller with {caller}", *self._called(name, events, called))
        self.console.print(table)

    def _called(self, name: str, events: int, called: Called) -> tuple[str, ...]:
        """The same as a caller with one connection sees it, who writes the JSON and reads it too."""
        every = bodies(self.example, events)
        singles, batches = [], []
        with called(f"http://127.0.0.1:{self.servers[name].port}") as (one, many):
            for round_ in range(self.rounds):
                start = 2 * BATCH * round_ % (VARIANTS - 2 * BATCH)
                items, others = every[start : start + BATCH], every[start + BATCH : start + 2 * BATCH]
                began = time.perf_counter()
                for item in items:
                    one(item)
                between = time.perf_counter()
                many({"items": others})
                singles.append((between - began) / BATCH)
                batches.append((time.perf_counter() - between) / BATCH)
        share = statistics.median(b / a for a, b in zip(singles, batches, strict=True))
        return *(f"{1e6 * statistics.median(times):.0f} µs" for times in (singles, batches)), f"{share:.2f}"


Ask = Callable[[dict[str, Any]], Any]
Called = Callable[[str], contextlib.AbstractContextManager[tuple[Ask, Ask]]]  # of a server's URL: a score, a batch


@contextlib.contextmanager
def _httpx(url: str) -> Iterator[tuple[Ask, Ask]]:
    import httpx

    with httpx.Client(base_url=url) as client:

        def ask(path: str) -> Ask:
            return lambda body: client.post(path, json=body).raise_for_status().json()

        yield ask("/score"), ask("/score_batch")


@contextlib.contextmanager
def _bentoml(url: str) -> Iterator[tuple[Ask, Ask]]:
    import bentoml

    with bentoml.SyncHTTPClient(url) as client:
        yield client.score, client.score_batch


def _champion(home: Path) -> Bundle:
    pointer = read_pointer(home)
    if pointer is None:
        raise SystemExit(f"there is no champion under {home}")
    return read_bundle(home / pointer["goals"][pointer["default"]]["path"])


def _train(home: Path) -> None:
    from training.demo import prepare
    from training.registry import Home

    prepare(Home(home), prospects=10_000, seed=0, say=lambda text: print(text, file=sys.stderr, flush=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--home", type=Path, help="a home with a champion; by default one is trained")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--slice", type=float, default=0.4, help="seconds of load at a time")
    parser.add_argument("--events", type=int, nargs="*", default=EVENTS)
    parser.add_argument("--connections", type=int, nargs="*", default=CONNECTIONS)
    parser.add_argument("--only", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--without-mlflow", action="store_true", help="leave these peers out")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leadscore-")))
        home = given.home
        if home is None:
            home = folder / "home"
            _train(home)
        bundle = _champion(home)
        began = time.monotonic()
        servers = {
            PLAIN: stack.enter_context(_ours(home, 0, folder / "live.db")),
            REASONS: stack.enter_context(_ours(home, 5, folder / "live.db")),
            NOTHING: stack.enter_context(_nothing(home)),
        }
        if not given.without_mlflow:
            row = _mlflow_rows(bundle, bundle.card["example"]["request"])[0]
            servers[MLFLOW] = stack.enter_context(_mlflow(bundle, folder, row))
            servers[BARE] = stack.enter_context(_mlflow(bundle, folder, None))
        bench = Bench(servers, bundle, given.slice, given.rounds)
        bench.console.print(
            f"model: {bundle.card.get('model', '?')}, {len(bundle.features.names)} features; "
            f"servers up after {time.monotonic() - began:.0f} s"
        )
        if "singles" in given.only:
            bench.singles(given.events, given.connections)
        if "stored" in given.only:
            bench.singles(given.events, given.connections, from_store=True)
        if "tail" in given.only:
            bench.tail(20, 8, 3.0)
        if "batch" in given.only:
            bench.batch(20)
    return 0


if __name__ == "__main__":
    sys.exit(main())
