"""The README's request and answer; `python -m tests.readme` asks a running demo and renews the answer there."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[1] / "README.md"
RECEIPT = "3f0e8f5c-6f0a-4a49-8f8e-0a4e1f5b2c11"  # each answer has its own
_BLOCK = re.compile(r"```json\n(.*?)```", re.S)


def blocks() -> tuple[dict[str, Any], dict[str, Any]]:
    """The request and the answer that the README shows."""
    request, answer = (json.loads(block) for block in _BLOCK.findall(README.read_text(encoding="utf-8")))
    return request, answer


def rounded(value: Any) -> Any:
    """The same, with its fractions to the four digits that the README shows."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: entry if name == "value" else rounded(entry) for name, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, list) else value


def shown(answer: dict[str, Any]) -> str:
    """The answer as the README prints it: a line per field, and one per reason, warning and the like."""
    lines = []
    for name, value in {**rounded(answer), "receipt_id": RECEIPT}.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value and name != "curve":
            text = "[\n  " + ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "]"
        lines.append(f'"{name}": {text}')
    return "{" + ",\n ".join(lines) + "}\n"


def main() -> None:
    """Train the demo, ask it, and write its answer into the README."""
    from tests.server import serving
    from training.demo import prepare
    from training.registry import Home

    request, _ = blocks()
    with tempfile.TemporaryDirectory() as scratch:
        home = Home(Path(scratch) / "home")
        prepare(home, prospects=10_000, seed=0, say=print)
        with serving(home.path, Path(scratch) / "empty") as server:
            answer = server.client.post("/score", json=request).raise_for_status().json()
    text = README.read_text(encoding="utf-8")
    _, old = _BLOCK.findall(text)
    README.write_text(text.replace(old, shown(answer)), encoding="utf-8")


if __name__ == "__main__":
    main()
