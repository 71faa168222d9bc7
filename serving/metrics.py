"""Our metrics on ``/metrics``: scores, latency by stage and path, errors, queues, drops and what serves.

In the files that BentoML's workers share, an observation costs a call into a mapped file, and a score makes seven. What
is frequent is therefore counted in plain numbers and written down every second, and before each scrape of this worker.
Labels come from closed sets: versions, codes, stages, and the paths' templates. No id becomes one.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from serving.live import State
from serving.load import Load

STAGES = ("parse", "lookup", "features", "model", "reasons")
FLUSH_SECONDS = 1.0
_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class _Tally:
    """Observations of one histogram's child since they were last written down."""

    __slots__ = ("_bounds", "_child", "_counts", "_sum")

    def __init__(self, child: Any, bounds: Sequence[float]) -> None:
        self._child = child
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def flush(self) -> None:
        # prometheus_client takes one observation at a time; its buckets and its sum are values that take any number.
        for bucket, count in zip(self._child._buckets, self._counts, strict=True):
            if count:
                bucket.inc(count)
        self._child._sum.inc(self._sum)
        self._counts = [0] * len(self._counts)
        self._sum = 0.0


class Watch:
    """Times the stages of one score: each call ends a stage that began where the last one ended."""

    __slots__ = ("_at", "_metrics")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._at = time.perf_counter()

    def __call__(self, stage: str) -> None:
        """The named stage has ended."""
        now = time.perf_counter()
        self._metrics.stages[stage].add(now - self._at)
        self._at = now


class Metrics:
    """The metrics of one worker. Methods marked so may be called from any thread, the others from the event loop."""

    def __init__(self) -> None:
        # BentoML's workers know where metrics are kept only after this module was loaded.
        from prometheus_client import Counter, Gauge, Histogram

        self._scores = Counter("leadscore_scores", "Scores given.", ["goal", "version"])
        self._errors = Counter("leadscore_errors", "Errors answered, items of batches included.", ["code"])
        self._requests = Counter("leadscore_requests", "Requests answered.", ["path", "status"])
        self._seconds = Histogram(
            "leadscore_request_seconds", "From a request's arrival to its answer.", ["path"], buckets=_SECONDS
        )
        self._stage = Histogram(
            "leadscore_stage_seconds", "How long the stages of a score take.", ["stage"], buckets=_SECONDS
        )
        self._probability = Histogram("leadscore_probability", "The probabilities given.", ["goal"], buckets=_SHARES)
        self.failures = Counter("leadscore_load_failures", "Champions or pointers refused.")
        self.store_errors = Counter("leadscore_store_errors", "What the store of live records failed at.", ["code"])
        self.dropped = Counter("leadscore_receipts_dropped", "Receipts that could not be kept.")
        self.serving = Gauge(
            "leadscore_model_workers",
            "Workers that serve a model version.",
            ["goal", "version", "digest"],
            multiprocess_mode="livesum",
        )
        self.problems = Gauge(
            "leadscore_load_problems", "Champions that workers cannot load now.", multiprocess_mode="livesum"
        )
        self._depth = Gauge(
            "leadscore_queue_depth",
            "Requests whose bodies arrive, requests worked on, and receipts to be kept.",
            ["queue"],
            multiprocess_mode="livesum",
        )
        self.stages = {stage: _Tally(self._stage.labels(stage), _SECONDS) for stage in STAGES}
        self._paths: dict[str, _Tally] = {}
        self._goals: dict[str, _Tally] = {}
        self._counts: dict[tuple[Any, ...], int] = {}
        self._serving: set[tuple[str, str, str]] = set()

    def _count(self, counter: Any, *labels: str, by: int = 1) -> None:
        key = (counter, *labels)
        self._counts[key] = self._counts.get(key, 0) + by

    def scored(self, goal: str, version: str, probabilities: Sequence[float]) -> None:
        """Count scores that were given."""
        self._count(self._scores, goal, version, by=len(probabilities))
        tally = self._goals.get(goal)
        if tally is None:
            tally = self._goals[goal] = _Tally(self._probability.labels(goal), _SHARES)
        for probability in probabilities:
            tally.add(probability)

    def refused(self, code: str) -> None:
        """Count an error that is answered."""
        self._count(self._errors, code)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer to a path, given as its template."""
        self._count(self._requests, path, str(status))
        tally = self._paths.get(path)
        if tally is None:
            tally = self._paths[path] = _Tally(self._seconds.labels(path), _SECONDS)
        tally.add(seconds)

    def store_failed(self, code: str) -> None:
        """Count a failure of the store; from any thread."""
        self.store_errors.labels(code).inc()

    def drop(self, count: int = 1) -> None:
        """Count receipts that could not be kept; from any thread."""
        self.dropped.inc(count)

    def depth(self, queue: str, count: int) -> None:
        """Tell how much waits in a queue; from any thread."""
        self._depth.labels(queue).set(count)

    def serve(self, state: State) -> None:
        """Tell which versions serve from now on, and how many cannot be loaded."""
        now = {(c.goal, c.version, c.digest[:12]) for c in state.champions.values()}
        for labels in now ^ self._serving:
            self.serving.labels(*labels).set(1 if labels in now else 0)
        self._serving = now
        self.problems.set(len(state.problems))

    def flush(self, load: Load) -> None:
        """Write down what was counted, and how much is at hand."""
        counts, self._counts = self._counts, {}
        for (counter, *labels), count in counts.items():
            counter.labels(*labels).inc(count)
        for tally in (*self.stages.values(), *self._paths.values(), *self._goals.values()):
            tally.flush()
        self.depth("arriving", load.arriving)
        self.depth("working", load.working)
