"""Our metrics, beside BentoML's own on ``/metrics``."""

from __future__ import annotations

from serving.live import State


class Metrics:
    """The counters and gauges of one worker."""

    def __init__(self) -> None:
        # BentoML's workers know where metrics are kept only after this module was loaded.
        from prometheus_client import Counter, Gauge

        self.scores = Counter("leadscore_scores", "Scores given.", ["goal", "version"])
        self.errors = Counter("leadscore_errors", "Errors answered, items of batches included.", ["code"])
        self.failures = Counter("leadscore_load_failures", "Champions or pointers refused.")
        self.serving = Gauge(
            "leadscore_model_workers",
            "Workers that serve a model version.",
            ["goal", "version", "digest"],
            multiprocess_mode="livesum",
        )
        self._serving: set[tuple[str, str, str]] = set()

    def scored(self, goal: str, version: str, count: int = 1) -> None:
        """Count scores that were given."""
        self.scores.labels(goal, version).inc(count)

    def refused(self, code: str) -> None:
        """Count an error that is answered."""
        self.errors.labels(code).inc()

    def serve(self, state: State) -> None:
        """Tell which versions serve from now on."""
        now = {(c.goal, c.version, c.digest[:12]) for c in state.champions.values()}
        for labels in now ^ self._serving:
            self.serving.labels(*labels).set(1 if labels in now else 0)
        self._serving = now
