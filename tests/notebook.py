"""The notebook as the tests run it; `python -m tests.notebook` runs it and keeps its outputs in the repository."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "01_retrain.ipynb"
SECONDS = 1200  # for one cell; a training takes a tenth of it


def executed(folder: Path) -> Any:
    """The notebook, run from top to bottom in ``folder`` (what it writes lies beside that folder)."""
    folder.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.record_timing = False
    return client.execute()


def main() -> None:
    """Run it in a folder of its own and keep the outputs."""
    with tempfile.TemporaryDirectory() as scratch:
        notebook = executed(Path(scratch) / "notebooks")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
