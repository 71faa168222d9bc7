"""From tables to a published bundle: training sets, the hazard model, its evaluation, and what publishes it.

The names below are what a notebook needs; ``notebooks/01_retrain.ipynb`` shows them at work. They are loaded when they
are asked for, so that ``import training`` stays light. Times are microseconds since 1970 in UTC, or ISO texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from features.spec import Aggregate as Aggregate
    from features.spec import Attribute as Attribute
    from features.spec import Expression as Expression
    from features.standard import standard_features as standard_features
    from features.tables import read_tables as read_tables
    from features.tables import tables_from_frames as tables_from_frames
    from serving.batch import requests as requests
    from serving.batch import score_tables as score_tables
    from training.registry import Home as Home
    from training.registry import promote as promote
    from training.registry import rollback as rollback
    from training.run import compare as compare
    from training.run import load_scorer as load_scorer
    from training.run import score_frame as score_frame
    from training.run import train as train

_HOMES = {
    "features.spec": ("Aggregate", "Attribute", "Expression"),
    "features.standard": ("standard_features",),
    "features.tables": ("read_tables", "tables_from_frames"),
    "serving.batch": ("requests", "score_tables"),
    "training.registry": ("Home", "promote", "rollback"),
    "training.run": ("compare", "load_scorer", "score_frame", "train"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
