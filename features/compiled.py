"""What is compiled where the project was built with a C compiler, and its plain form where it was not.

Two kinds, both of which give the same as the plain form to the bit:

- straight lines, rewritten (``*.pyx``): each stands beside the plain module that defines what it does;
- whole modules as they stand (``WHOLE``), which lose what the interpreter takes. The build of one bears a digest of its
  text in its name, so that a text that was changed is never served by what was built of another.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

Plain = TypeVar("Plain")

WHOLE = ("features.expressions", "features.online", "serving.committee", "serving.scorer")
# What a score spends its time in, where built.
COMPILED = ("features._groups", "serving._rows", "serving._tables", *WHOLE)


def compiled(module: str, name: str, plain: Plain) -> Plain:
    """The compiled form of a function or class, or its plain one where that module was not built with it."""
    try:
        built: Any = import_module(module)
    except ImportError:
        return plain
    found: Plain = getattr(built, name, plain)
    return found


def build_of(name: str, text: bytes) -> str:
    """The name of the build of a whole module with this text."""
    package, _, own = name.rpartition(".")
    return f"{package}._{own}_{sha256(text).hexdigest()[:16]}"


def stand_in(name: str, file: str) -> None:
    """At the end of a whole module: let its build stand in its place, where there is one of this very text.

    Whoever imports the module gets the build then, with its own classes, and the plain form is forgotten.
    """
    if name not in WHOLE:  # the build itself, which runs this line too
        return
    try:
        sys.modules[name] = import_module(build_of(name, Path(file).read_bytes()))
    except (ImportError, OSError):
        return


def absent(modules: Iterable[str]) -> list[str]:
    """Those of these modules that were not built, or cannot be loaded here."""
    out = []
    for name in modules:
        try:
            found = import_module(name)
        except ImportError:
            out.append(name)
            continue
        if name in WHOLE and found.__name__ == name:
            out.append(name)
    return out
