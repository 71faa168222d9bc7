"""The regime of a prospect as of t, given or inferred: what sets its horizon, its rank's reference and its figures.

The rule is the expression ``regime`` of the features, with both of its executions, so that rows of a training set, a
scored table and a request agree on it. A column that is filled in hindsight tells nothing here either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from features.contract import Dataset
from features.expressions import RULES
from features.firms import infer_regime
from features.online import as_of
from features.records import Records

if TYPE_CHECKING:
    from features.tables import Tables

# What the rule reads, in the order of its arguments.
READ = (
    ("prospects", "regime", "string"),
    ("prospects", "tender_deadline", "int64"),
    ("accounts", "headcount", "float64"),
    ("accounts", "headcount_band", "string"),
)
_NAMES = tuple((table, name) for table, name, _ in READ)


def regime_of(records: Records, t: int, dataset: Dataset) -> str | None:
    """The regime of one prospect by what its records tell at t; None where nothing does."""
    prospect = as_of(records.prospect, t) or {}
    account_id = prospect.get("account_id")
    versions = () if account_id is None or records.accounts is None else records.accounts.get(account_id, ())
    account = as_of(versions, t) or {}
    values = [
        prospect.get("regime"),
        prospect.get("tender_deadline"),
        account.get("headcount"),
        account.get("headcount_band"),
    ]
    hidden = dataset.hindsight
    if not hidden.isdisjoint(_NAMES):
        values = [None if name in hidden else value for name, value in zip(_NAMES, values, strict=True)]
    return infer_regime(*values)


def with_regime(tables: Tables, rows: Any, dataset: Dataset | None = None) -> Any:
    """Rows (Ibis, with prospect_id and as_of) with two more columns as of t: ``regime`` and ``account_id``.

    ``dataset`` says which columns are filled in hindsight; that of the tables when None.
    """
    import ibis

    from features.offline import with_state

    dataset = tables.dataset if dataset is None else dataset
    state = with_state(tables, rows)
    values = [
        state[f"{table[0]}_{name}"]
        if getattr(tables, table) is not None and (table, name) not in dataset.hindsight
        else ibis.null(kind)
        for table, name, kind in READ
    ]
    found = RULES["regime"].offline(None, values)
    return state.select(*rows.columns, regime=found, account_id=state.p_account_id)
