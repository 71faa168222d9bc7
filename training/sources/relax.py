"""Relax's take-home data: sign-ups in organisations and their log of logins; the goal is adoption.

Two files, ``takehome_users.csv`` and ``takehome_user_engagement.csv``. Choices and traps:

- a user is a prospect, its organisation the account, and the same user the account's contact;
- adopted: logged in on three distinct days, the third at most ``WINDOW`` days after the first of them, counted at the
  third. With times cut to days, seven days apart is how the data's known rate (13.8 %) comes about;
- logins are days without a time, stamped at the day's end, and so is the adoption that the third of them makes;
- the creation has minutes but no zone, and is read as UTC; a login on an earlier day is set aside. Its minutes are
  dropped and it is stamped at its day's end as the logins are: with two resolutions, an age of k days would fall
  within a day whose logins are not known yet. Nothing is known earlier by it, since no time moves back;
- ``last_session_creation_time`` is the last login ever, known in hindsight only: left out;
- logins go on after adoption and stay in the data (``check`` counts them as events after the closing outcome).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from training.sources import folder
from training.sources.folder import SetAside, Summary

if TYPE_CHECKING:
    import pandas as pd

USERS = "takehome_users.csv"
LOGINS = "takehome_user_engagement.csv"
DAYS = 3  # distinct login days that make an adoption
WINDOW = 7  # the third at most so many days after the first

_USER_COLUMNS = [
    "object_id",
    "creation_time",
    "creation_source",
    "opted_in_to_mailing_list",
    "enabled_for_marketing_drip",
    "org_id",
    "invited_by_user_id",
    "email_domain",
]


def import_relax(source: Path, out: Path, *, replace: bool = False) -> Summary:
    """Relax's take-home: product sign-ups and logins, adoption as the goal (folder of two CSV files).

    Args:
        source: the folder with the two files.
        out: the data folder to make, absent or empty; with ``replace``, an earlier one of ours.

    Returns:
        the rows written and set aside. Goal: adopted within 60 days; the data end with the log's last day.

    Raises:
        BadInput: a file or column is missing, a time is none, a key repeats with other content, ``out`` is taken.
    """
    import pandas as pd

    folder.check_target(out, replace=replace)
    users_at, logins_at = str(source / USERS), str(source / LOGINS)
    users = folder.read_source_csv(source / USERS, _USER_COLUMNS)[_USER_COLUMNS]
    logins = folder.read_source_csv(source / LOGINS, ["time_stamp", "user_id"])[["time_stamp", "user_id"]]
    users = folder.unique_keys(users, "object_id", users_at)
    for frame, column, where in (
        (users, "creation_time", users_at),
        (users, "org_id", users_at),
        (logins, "time_stamp", logins_at),
        (logins, "user_id", logins_at),
    ):
        folder.refuse_rows(frame[column].isna(), frame, "null_key", f"have no {column}", where, "Mend or remove them.")

    signed_up = folder.moments(users, "creation_time", "%d-%m-%Y %H:%M", users_at)
    users["created_at"] = folder.end_of_day(signed_up.dt.normalize())
    for column in ("opted_in_to_mailing_list", "enabled_for_marketing_drip"):
        users[column] = _flag(users, column, users_at)
    users["inviter"] = _whole(users, "invited_by_user_id", users_at)
    logins["day"] = folder.days(logins, "time_stamp", logins_at)
    logins = logins.drop_duplicates(["user_id", "day"])
    logins = logins.merge(
        users[["object_id", "created_at", "org_id"]], left_on="user_id", right_on="object_id", how="left"
    )

    aside = SetAside()
    for bad, why in (
        (logins["object_id"].isna(), "login of an unknown user"),
        (logins["day"] < logins["created_at"].dt.normalize(), "login before the day of the sign-up"),
    ):
        aside = aside.add("events", logins["user_id"][bad], why, "login " + logins["time_stamp"][bad])
    logins = logins[logins["object_id"].notna() & (logins["day"] >= logins["created_at"].dt.normalize())]

    logins = logins.sort_values(["user_id", "day"], kind="stable")
    third = logins["day"] - logins.groupby("user_id")["day"].shift(DAYS - 1) <= pd.Timedelta(days=WINDOW)
    adopted = logins[third].drop_duplicates("user_id")  # the earliest third day of each user

    logins = logins.sort_values(["day", "user_id"], kind="stable")
    prospects = pd.DataFrame(
        {
            "prospect_id": users["object_id"],
            "created_at": users["created_at"],
            "account_id": "org-" + users["org_id"],
            "source": users["creation_source"],
            "opted_in_to_mailing_list": users["opted_in_to_mailing_list"],
            "enabled_for_marketing_drip": users["enabled_for_marketing_drip"],
            "email_domain": users["email_domain"],
            "invited": users["inviter"].notna(),
            "inviter": users["inviter"],
        }
    ).sort_values(["created_at", "prospect_id"])
    accounts = pd.DataFrame({"account_id": sorted(prospects["account_id"].unique())})
    contacts = pd.DataFrame(
        {
            "contact_id": "user-" + prospects["prospect_id"],
            "account_id": prospects["account_id"],
            "observed_at": prospects["created_at"],
            "role": "user",
        }
    )
    events = pd.DataFrame(
        {
            "event_id": "login-" + logins["user_id"] + "-" + logins["day"].dt.strftime("%Y%m%d"),
            "prospect_id": logins["user_id"],
            "type": "login",
            "occurred_at": folder.end_of_day(logins["day"]),
            "contact_id": "user-" + logins["user_id"],
            "direction": "inbound",
            "channel": "product",
        }
    )
    outcomes = pd.DataFrame(
        {"prospect_id": adopted["user_id"], "outcome": "adopted", "occurred_at": folder.end_of_day(adopted["day"])}
    ).sort_values(["occurred_at", "prospect_id"])

    last = max([users["created_at"].max().normalize(), *logins["day"].tail(1)])
    until = folder.end_of_day(pd.Series([last])).iloc[0]
    notes = (
        "Times carry no zone and were read as UTC; logins, and so sign-ups, are stamped at their day's end.",
        f"adopted: logins on {DAYS} distinct days, the last, which dates it, at most {WINDOW} days after the first.",
        "last_session_creation_time was left out: it is known in hindsight only.",
        "Logins after adoption are kept.",
    )
    declaration = f"""
complete_until = "{folder.toml_time(until)}"

[goal]
outcome = "adopted"
horizon_days = 60

[prospects.columns]
opted_in_to_mailing_list = {{kind = "boolean"}}
enabled_for_marketing_drip = {{kind = "boolean"}}
email_domain = {{kind = "category"}}
invited = {{kind = "boolean"}}
inviter = {{kind = "text"}}    # the id of a user: thousands of them, a link and not a level
"""
    frames = {
        "prospects": prospects,
        "accounts": accounts,
        "contacts": contacts,
        "events": events,
        "outcomes": outcomes,
    }
    tables = {name: folder.arrow(frame) for name, frame in frames.items()}
    folder.write_folder(
        out, tables, declaration, title="import relax", texts={"set_aside.csv": aside.csv()}, replace=replace
    )
    return Summary("relax", str(out), {k: t.num_rows for k, t in tables.items()}, aside.counts(), notes)


def _flag(frame: pd.DataFrame, column: str, where: str) -> pd.Series:
    """0 and 1 as booleans, null as null."""
    known = frame[column].isin(["0", "1"]) | frame[column].isna()
    folder.refuse_rows(~known, frame, "bad_boolean", f"hold a {column} other than 0 or 1", where, "Write 0 or 1.")
    return frame[column].map({"0": False, "1": True}).astype("boolean")


def _whole(frame: pd.DataFrame, column: str, where: str) -> pd.Series:
    """Ids that a spreadsheet wrote as ``10803.0``, as the text ``10803``."""
    text = frame[column].str.replace(r"\.0$", "", regex=True)
    bad = text.notna() & ~text.fillna("0").str.fullmatch(r"\d+")
    folder.refuse_rows(bad, frame, "bad_key", f"hold a {column} that is no whole number", where, "Mend these rows.")
    return text
