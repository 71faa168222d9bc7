"""The importers: one file per origin, each turning its files into a data folder of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from features.errors import BadInput
from training.sources.folder import Summary
from training.sources.olist import import_olist
from training.sources.relax import import_relax
from training.sources.sirene import Enrichment, import_sirene
from training.sources.x_education import import_x_education


class Importer(Protocol):
    """Reads the files in ``source`` and writes the data folder ``out``, all or nothing."""

    __doc__: str | None

    def __call__(self, source: Path, out: Path, *, replace: bool = False) -> Summary:
        """Import; raises BadInput with nothing written."""


SOURCES: Mapping[str, Importer] = {
    "olist": import_olist,
    "relax": import_relax,
    "x_education": import_x_education,
}


class Register(Protocol):
    """Completes the data folder ``data`` with what a register of firms says, as the data folder ``out``."""

    def __call__(self, data: Path, register: Path, out: Path, *, replace: bool = False) -> Enrichment:
        """Import; raises BadInput with nothing written."""


REGISTERS: Mapping[str, Register] = {"sirene": import_sirene}


def importer(name: str) -> Importer:
    """The importer of that name; raises BadInput for an unknown one."""
    if name not in SOURCES:
        raise BadInput(
            "unknown_source",
            f"there is no importer for {name!r}.",
            where="SOURCE",
            remedy=f"Use one of: {', '.join(SOURCES)}.",
        )
    return SOURCES[name]


def help_line(name: str) -> str:
    """What the importer reads, in one line: the first of its docstring."""
    return (importer(name).__doc__ or "").strip().splitlines()[0]


__all__ = ["REGISTERS", "SOURCES", "Enrichment", "Importer", "Register", "Summary", "help_line", "importer"]
