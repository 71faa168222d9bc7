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
        self.receipts = Counter("leadscore_receipts", "Receipts by what became of them.", ["fate"])
        self.waiting = Gauge("leadscore_receipts_waiting", "Receipts to be written.", multiprocess_mode="livesum")
        self._receipts = {"written": 0, "dropped": 0}
        self._serving: set[tuple[str, str, str]] = set()

    def scored(self, goal: str, version: str, count: int = 1) -> None:
        """Count scores that were given."""
        self.scores.labels(goal, version).inc(count)

    def refused(self, code: str) -> None:
        """Count an error that is answered."""
        self.errors.labels(code).inc()

    def kept(self, written: int, dropped: int, waiting: int) -> None:
        """Tell what became of the receipts of this worker so far."""
        for fate, count in (("written", written), ("dropped", dropped)):
            if count > self._receipts[fate]:
                self.receipts.labels(fate).inc(count - self._receipts[fate])
                self._receipts[fate] = count
        self.waiting.set(waiting)

    def serve(self, state: State) -> None:
        """Tell which versions serve from now on."""
        now = {(c.goal, c.version, c.digest[:12]) for c in state.champions.values()}
        for labels in now ^ self._serving:
            self.serving.labels(*labels).set(1 if labels in now else 0)
        self._serving = now
