"""The notebook runs from top to bottom, and what it prints is what it was kept with."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebook import NOTEBOOK, executed

pytestmark = pytest.mark.timeout(1500)  # it trains three times
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
PICTURES = 5  # calibration, lift, importance, curves, reasons
MOST_LINES = 15
MOST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def kept() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return executed(tmp_path_factory.mktemp("clone") / "notebooks")


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell: Any) -> list[str]:
    """What a cell shows as text; a run of spaces is one, since pandas aligns by the widest."""
    found = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return [re.sub(r"[\s\\]+", " ", text).strip() for text in found]


def pictures(notebook: Any) -> int:
    return sum("image/png" in output.get("data", {}) for cell in code(notebook) for output in cell.outputs)


def assert_same(found: str, wanted: str) -> None:
    """The same words, and the same numbers but for the last digit that another processor may round otherwise."""
    assert NUMBER.sub("#", found) == NUMBER.sub("#", wanted)
    for a, b in zip(NUMBER.findall(found), NUMBER.findall(wanted), strict=True):
        assert math.isclose(float(a), float(b), rel_tol=1e-3, abs_tol=2e-3), (found, wanted)


def test_it_runs_from_top_to_bottom_and_prints_what_was_kept(kept: Any, now: Any) -> None:
    assert len(code(now)) == len(code(kept))
    for mine, theirs in zip(code(now), code(kept), strict=True):
        assert [o.output_type for o in mine.outputs] == [o.output_type for o in theirs.outputs], mine.source
        for found, wanted in zip(texts(mine), texts(theirs), strict=True):
            assert_same(found, wanted)
    assert pictures(now) == pictures(kept) == PICTURES


def test_what_it_came_to(now: Any) -> None:
    """A promoted challenger, better than a constant, and one answer on every path."""
    said = " ".join(text for cell in code(now) for text in texts(cell))
    assert "version 1 promoted: True (there was no champion)" in said
    assert "all as here to 1e-12: True" in said
    assert re.search(r"\b2 champion log loss", said)
    low = re.search(r"log_loss_gain \S+ (\S+)", said)
    assert low is not None
    assert float(low[1]) > 0


def test_changed_figures_are_noticed() -> None:
    assert_same("auc 0.7530 low", "auc 0.7531 low")
    for other in ("auc 0.7830 low", "auc 0.7530 high", "auc 0.7530 low 1"):
        with pytest.raises(AssertionError):
            assert_same(other, "auc 0.7530 low")


def test_its_cells_are_short_and_ran_in_order(kept: Any) -> None:
    assert [cell.source for cell in code(kept) if len(cell.source.splitlines()) > MOST_LINES] == []
    assert [cell.execution_count for cell in code(kept)] == list(range(1, len(code(kept)) + 1))


def test_it_holds_no_machine_path_no_error_and_little_weight(kept: Any, now: Any, tmp_path: Path) -> None:
    raw = NOTEBOOK.read_text(encoding="utf-8")
    assert len(raw.encode()) < MOST_BYTES
    machine = re.compile(r"/(?:home|Users|root|tmp|work|var|usr|opt)/|site-packages|[A-Z]:\\\\")
    for notebook in (kept, now):
        for cell in code(notebook):
            assert not machine.search(cell.source), cell.source
            for output in cell.outputs:
                data = {k: v for k, v in output.get("data", {}).items() if k != "image/png"}  # base64 holds anything
                assert output.output_type != "error"
                assert output.get("name") != "stderr", output.text
                assert not machine.search(output.get("text", "") + str(data))
    assert machine.search(str(tmp_path) + "/x")
