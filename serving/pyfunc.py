"""The bundle as an MLflow pyfunc: a column of score requests in, a table of answers out, by the one scorer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from features.errors import BadInput
from serving.bundle import read_bundle
from serving.schema import RequestReader
from serving.scorer import Score, Scorer
from serving.values import decode

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "request"
# An answer's, and what is wrong with a request.
FIELDS = (*(field.name for field in fields(Score) if field.name != "evidence"), "error")


def _now() -> int:
    return time.time_ns() // 1_000


class BundleModel:
    """What ``mlflow.pyfunc.load_model`` holds for a bundle; ``clock`` gives the time of a request without ``as_of``."""

    def __init__(self, scorer: Scorer, clock: Callable[[], int] = _now) -> None:
        self.scorer = scorer
        self._reader = RequestReader(scorer.spec.dataset)
        self._clock = clock

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score each row's ``request``, the JSON body of ``POST /score``; one row of the answer's fields each.

        A request that cannot be scored spoils no other: its fields are None and ``error`` holds what is wrong, as in
        ``POST /score_batch``. ``params`` may hold ``reasons`` (their greatest number, 5) and ``language`` (``en``).
        Raises BadInput ``no_request_column`` where the frame has no such column.
        """
        import pandas as pd

        if COLUMN not in frame:
            raise BadInput(
                "no_request_column",
                f"the frame has no column `{COLUMN}`.",
                where=COLUMN,
                remedy="Give one text column `request` that holds bodies of POST /score.",
            )
        params = params or {}
        now = self._clock()
        answers: list[dict[str, Any]] = []
        for body in frame[COLUMN]:
            try:
                answers.append({**self._answer(body, now, params), "error": None})
            except BadInput as e:
                answers.append({"error": e.to_json()})
        rows = [{field: answer.get(field) for field in FIELDS} for answer in answers]
        return pd.DataFrame(rows, columns=list(FIELDS), index=frame.index)

    def _answer(self, body: Any, now: int, params: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(body, str):
            raise BadInput(
                "wrong_type", "the request is no text.", where="", remedy="Give the JSON body of POST /score as a text."
            )
        parsed = self._reader.read(decode(body), now)
        goal = parsed.goal
        if goal is not None and goal != self.scorer.goal.outcome:
            raise BadInput(
                "unknown_goal",
                f"this model scores {self.scorer.goal.outcome!r}, not {goal!r}.",
                where="goal",
                remedy="Leave `goal` out, or load the model of that goal.",
            )
        score = self.scorer.score(
            parsed.records,
            parsed.as_of,
            reasons=int(params.get("reasons", 5)),
            language=str(params.get("language", "en")),
        )
        return score.with_warnings(parsed.warnings).to_json()


def _load_pyfunc(data_path: str) -> BundleModel:
    """MLflow's entry: the model of the bundle folder ``data_path``; its version is the start of the bundle's digest."""
    bundle = read_bundle(data_path)
    return BundleModel(Scorer(bundle, bundle.digest[:12]))
