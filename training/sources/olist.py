"""Olist's marketing funnel (sellers signing up to a marketplace): leads and the deals that were closed.

Two files, ``olist_marketing_qualified_leads_dataset.csv`` and ``olist_closed_deals_dataset.csv``. The traps:

- every column of the closed deals exists only for the won, so a single one of them as a feature gives the outcome
  away: nothing but ``won_date`` is taken;
- the first contact is a day without a time and is stamped at that day's end; a lead won on that very day is created
  at the day's start, so that its win does not come before it;
- a lead whose win lies on an earlier day than its first contact is contradictory: lead and deal are set aside
  (the lead alone would be counted as never won);
- losses are not recorded: a lead that was not won stays open;
- the times carry no zone and are read as UTC.
"""

from __future__ import annotations

from pathlib import Path

from training.sources import folder
from training.sources.folder import SetAside, Summary

LEADS = "olist_marketing_qualified_leads_dataset.csv"
DEALS = "olist_closed_deals_dataset.csv"


def import_olist(source: Path, out: Path, *, replace: bool = False) -> Summary:
    """Olist's marketing funnel: qualified leads and won deals (folder of two CSV files).

    Args:
        source: the folder with the two files.
        out: the data folder to make, absent or empty; with ``replace``, an earlier one of ours.

    Returns:
        the rows written and set aside. Goal: won within 90 days; the data end with the day of the last win.

    Raises:
        BadInput: a file or column is missing, a time is none, a key repeats with other content, ``out`` is taken.
    """
    import pandas as pd

    folder.check_target(out, replace=replace)
    leads_at, deals_at = str(source / LEADS), str(source / DEALS)
    leads = folder.read_source_csv(source / LEADS, ["mql_id", "first_contact_date", "landing_page_id", "origin"])
    deals = folder.read_source_csv(source / DEALS, ["mql_id", "won_date"])
    leads = folder.unique_keys(leads[["mql_id", "first_contact_date", "landing_page_id", "origin"]], "mql_id", leads_at)
    deals = folder.unique_keys(deals[["mql_id", "won_date"]], "mql_id", deals_at)
    for frame, column, where in ((leads, "first_contact_date", leads_at), (deals, "won_date", deals_at)):
        folder.refuse_rows(frame[column].isna(), frame, "null_time", f"have no {column}", where, "Mend or remove them.")

    leads["day"] = folder.days(leads, "first_contact_date", leads_at)
    deals["won_at"] = folder.moments(deals, "won_date", "%Y-%m-%d %H:%M:%S", deals_at)
    deals = deals.merge(leads[["mql_id", "day"]], on="mql_id", how="left")

    aside = SetAside()
    orphan = deals["day"].isna()
    aside = aside.add("outcomes", deals["mql_id"][orphan], "won, but no such lead", "won " + deals["won_date"][orphan])
    early = deals["won_at"] < deals["day"]
    why = "won before the day of its first contact"
    story = "first contact " + deals["day"][early].dt.strftime("%Y-%m-%d") + ", won " + deals["won_date"][early]
    aside = aside.add("outcomes", deals["mql_id"][early], why, story)
    aside = aside.add("prospects", deals["mql_id"][early], why, story)
    leads = leads[~leads["mql_id"].isin(deals["mql_id"][early])]
    deals = deals[~orphan & ~early]

    stamped = folder.end_of_day(leads["day"])
    won_at = leads["mql_id"].map(deals.set_index("mql_id")["won_at"])
    same_day = won_at < stamped
    prospects = pd.DataFrame(
        {
            "prospect_id": leads["mql_id"],
            "created_at": stamped.where(~same_day, leads["day"]),
            "source": leads["origin"],
            "landing_page": leads["landing_page_id"],
        }
    ).sort_values(["created_at", "prospect_id"])
    outcomes = pd.DataFrame(
        {"prospect_id": deals["mql_id"], "outcome": "won", "occurred_at": deals["won_at"]}
    ).sort_values(["occurred_at", "prospect_id"])

    # Where nothing was won the leads themselves are the last that is known.
    last = (outcomes if len(outcomes) else prospects).iloc[:, -1 if len(outcomes) else 1].max()
    until = folder.end_of_day(pd.Series([last.normalize()])).iloc[0]
    notes = (
        "Times carry no zone and were read as UTC.",
        "Of the closed deals only won_date was taken: every other column exists only for the won.",
        "Losses are not recorded: a lead that was not won stays open.",
        f"{int(same_day.sum())} leads won on the day of their first contact are created at that day's start, "
        "all others at its end.",
    )
    declaration = f"""
complete_until = "{folder.toml_time(until)}"

[goal]
outcome = "won"
horizon_days = 90

[prospects.columns]
landing_page = {{kind = "category"}}
"""
    tables = {"prospects": folder.arrow(prospects), "outcomes": folder.arrow(outcomes)}
    folder.write_folder(
        out, tables, declaration, title="import olist", texts={"set_aside.csv": aside.csv()}, replace=replace
    )
    return Summary("olist", str(out), {k: t.num_rows for k, t in tables.items()}, aside.counts(), notes)
