"""What is compiled where the project was built with a C compiler, and its plain form where it was not.

Each compiled module (``*.pyx``) stands beside the plain one that defines what it does, and gives the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, TypeVar

Plain = TypeVar("Plain")

# Not built, for another Python, or of other sources than a module that it rests on (as Cython tells these two).
_UNUSABLE = (ImportError, TypeError, ValueError)


def compiled(module: str, name: str, plain: Plain) -> Plain:
    """The compiled form of a function or class, or its plain one where that module was not built with it."""
    try:
        built: Any = import_module(module)
    except _UNUSABLE:
        return plain
    found: Plain = getattr(built, name, plain)
    return found


def absent(modules: Iterable[str]) -> list[str]:
    """Those of these modules that were not built, or cannot be loaded here."""
    out = []
    for name in modules:
        try:
            import_module(name)
        except _UNUSABLE:
            out.append(name)
    return out
