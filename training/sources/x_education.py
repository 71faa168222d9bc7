"""X Education's leads: who asked about a course and who bought one; no times, only an order.

One file, ``Leads.csv``. Choices and traps:

- there are no times. The leads are put in the order of their ``Lead Number``, one an hour from a made-up first day on,
  and each outcome comes one day after its lead; ``dataset.toml`` says ``order_only``, and only the order is real.
  An hour, not a minute: the day between lead and outcome then hides two dozen leads from a model, not a thousand;
- the columns in ``HINDSIGHT`` are filled in after contact by sales people who know how it went: declared
  ``known = "never"``, so that no feature may name them;
- ``Select`` is what the form shows before anything is chosen: null;
- columns that hold one same value everywhere are left out and listed.
"""

from __future__ import annotations

import re
from pathlib import Path

from training.sources import folder
from training.sources.folder import SetAside, Summary

LEADS = "Leads.csv"
FIRST_DAY = "2020-01-01T00:00:00Z"  # made up: only the order is real

HINDSIGHT = (
    "Tags",
    "Lead Quality",
    "Lead Profile",
    "Asymmetrique Activity Index",
    "Asymmetrique Profile Index",
    "Asymmetrique Activity Score",
    "Asymmetrique Profile Score",
    "Last Activity",
    "Last Notable Activity",
)
_NUMBERS = (
    "TotalVisits",
    "Total Time Spent on Website",
    "Page Views Per Visit",
    "Asymmetrique Activity Score",
    "Asymmetrique Profile Score",
)
_CATEGORIES = (
    "Lead Origin",
    "Lead Source",
    "Last Activity",
    "Country",
    "Specialization",
    "How did you hear about X Education",
    "What is your current occupation",
    "What matters most to you in choosing a course",
    "Tags",
    "Lead Quality",
    "Lead Profile",
    "City",
    "Asymmetrique Activity Index",
    "Asymmetrique Profile Index",
    "Last Notable Activity",
)
_YES_NO = (
    "Do Not Email",
    "Do Not Call",
    "Search",
    "Magazine",
    "Newspaper Article",
    "X Education Forums",
    "Newspaper",
    "Digital Advertisement",
    "Through Recommendations",
    "Receive More Updates About Our Courses",
    "Update me on Supply Chain Content",
    "Get updates on DM Content",
    "I agree to pay the amount through cheque",
    "A free copy of Mastering The Interview",
)
_KEYS = ("Prospect ID", "Lead Number", "Converted")


def import_x_education(source: Path, out: Path, *, replace: bool = False) -> Summary:
    """X Education's leads, without times: only their order is real (folder with Leads.csv).

    Args:
        source: the folder with ``Leads.csv``.
        out: the data folder to make, absent or empty; with ``replace``, an earlier one of ours.

    Returns:
        the rows written; the notes name the columns left out. Goal: won within 2 days of the made-up clock.

    Raises:
        BadInput: the file or a column is missing, a value is of the wrong kind, a key repeats, ``out`` is taken.
    """
    import pandas as pd

    folder.check_target(out, replace=replace)
    where = str(source / LEADS)
    wanted = [*_KEYS, *dict.fromkeys((*_NUMBERS, *_CATEGORIES, *_YES_NO))]
    raw = folder.read_source_csv(source / LEADS, wanted)
    ignored = [str(c) for c in raw.columns if c not in wanted]
    leads = folder.unique_keys(raw[wanted], "Prospect ID", where)
    number = pd.to_numeric(leads["Lead Number"], errors="coerce")
    folder.refuse_rows(number.isna(), leads, "bad_order", "have no whole Lead Number", where, "It gives the order.")
    folder.refuse_rows(
        number.duplicated(keep=False), leads, "bad_order", "share a Lead Number", where, "Give each its own."
    )
    converted = leads["Converted"].isin(["0", "1"])
    folder.refuse_rows(~converted, leads, "bad_boolean", "hold a Converted other than 0 or 1", where, "Write 0 or 1.")
    leads = leads.iloc[number.argsort(kind="stable").to_numpy()].reset_index(drop=True)

    created = pd.Timestamp(FIRST_DAY) + pd.to_timedelta(pd.Series(range(len(leads))), unit="h")
    columns: dict[str, pd.Series] = {
        "prospect_id": leads["Prospect ID"],
        "created_at": created.astype("datetime64[us, UTC]"),
    }
    declared, constant = [], []
    for label in wanted[len(_KEYS) :]:
        values = leads[label].str.strip()
        values = values.mask(values.isin(["Select", ""]))
        if values.nunique(dropna=False) < 2:
            constant.append(label)
            continue
        name = "source" if label == "Lead Source" else _snake(label)
        if label in _NUMBERS:
            columns[name] = pd.to_numeric(values, errors="coerce").astype("float64")
            bad = columns[name].isna() & values.notna()
            folder.refuse_rows(bad, leads, "bad_number", f"hold a {label} that is no number", where, "Mend these rows.")
            kind = "number"
        elif label in _YES_NO:
            columns[name] = values.map({"Yes": True, "No": False}).astype("boolean")
            bad = columns[name].isna() & values.notna()
            folder.refuse_rows(
                bad, leads, "bad_boolean", f"hold a {label} other than Yes or No", where, "Write Yes or No."
            )
            kind = "boolean"
        else:
            columns[name] = values
            kind = "category"
        if name != "source":
            never = ', known = "never"' if label in HINDSIGHT else ""
            declared.append(f'{name} = {{kind = "{kind}"{never}}}')
    prospects = pd.DataFrame(columns)
    outcomes = pd.DataFrame(
        {
            "prospect_id": prospects["prospect_id"],
            "outcome": leads["Converted"].map({"1": "won", "0": "lost"}),
            "occurred_at": prospects["created_at"] + pd.Timedelta(days=1),
        }
    )
    until = outcomes["occurred_at"].max() + pd.Timedelta(days=1)  # the last lead's two days are over

    notes = (
        "There are no times: the leads stand an hour apart in the order of their Lead Number, outcomes a day later.",
        f'Filled in hindsight, declared known = "never": {", ".join(HINDSIGHT)}.',
        f"Left out, one same value everywhere: {', '.join(constant) or 'none'}.",
        *([f"Left out, not known to this importer: {', '.join(ignored)}."] if ignored else []),
    )
    declaration = "\n".join(
        [
            "order_only = true    # made-up times: only the order of the leads is real",
            f'complete_until = "{folder.toml_time(until)}"',
            '\n[goal]\noutcome = "won"\nhorizon_days = 2',
            "\n[prospects.columns]",
            *declared,
        ]
    )
    tables = {"prospects": folder.arrow(prospects), "outcomes": folder.arrow(outcomes)}
    folder.write_folder(
        out, tables, declaration, title="import x_education", texts={"set_aside.csv": SetAside().csv()}, replace=replace
    )
    return Summary("x_education", str(out), {k: t.num_rows for k, t in tables.items()}, {}, notes)


def _snake(label: str) -> str:
    """A heading as a column name: ``TotalVisits`` becomes ``total_visits``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")
