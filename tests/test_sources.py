"""The importers: every trap of their files, nothing half-written, and the real files where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.contract import parse_dataset
from features.errors import BadInput
from features.spec import Attribute, FeatureSet
from features.tables import read_tables
from training.sources import SOURCES, help_line, importer
from training.sources.x_education import HINDSIGHT

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
END = pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)


def real(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"the evaluation data {name} are not on this machine")
    return DATA / name


def write(folder: Path, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows, columns=list(columns)).to_csv(folder / name, index=False)


def read(folder: Path) -> dict[str, pd.DataFrame]:
    return {p.stem: pd.read_parquet(p) for p in sorted(folder.glob("*.parquet"))}


def at(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def notes(folder: Path) -> dict[str, int]:
    """The codes and counts of what the contract's check says of a folder."""
    return {n.code: n.count for n in read_tables(folder, need_outcomes=True).notes}


# ---- olist

LEADS = "olist_marketing_qualified_leads_dataset.csv"
DEALS = "olist_closed_deals_dataset.csv"
LEAD_COLUMNS = ("mql_id", "first_contact_date", "landing_page_id", "origin")
DEAL_COLUMNS = ("mql_id", "seller_id", "won_date", "business_segment", "lead_type", "declared_monthly_revenue")
LEAD_ROWS = (
    ("a", "2018-01-10", "page-1", "organic search"),
    ("same", "2018-01-11", "page-1", "email"),
    ("early", "2018-01-12", "page-2", "social"),
    ("open", "2018-01-13", "page-2", None),
    ("late", "2018-01-14", None, "unknown"),
)
DEAL_ROWS = (
    ("a", "s1", "2018-02-26 19:58:54", "pet", "online_big", 0.0),
    ("same", "s2", "2018-01-11 03:00:00", "toys", "offline", 10.0),
    ("early", "s3", "2018-01-10 23:00:00", "pet", "offline", 0.0),
    ("ghost", "s4", "2018-03-01 10:00:00", "pet", "offline", 0.0),
    ("late", "s5", "2018-05-01 12:00:00", "pet", "offline", 0.0),
)


def olist(folder: Path, leads: Sequence[Any] = LEAD_ROWS, deals: Sequence[Any] = DEAL_ROWS) -> Path:
    write(folder, LEADS, LEAD_COLUMNS, leads)
    write(folder, DEALS, DEAL_COLUMNS, deals)
    return folder


def test_olist_takes_nothing_of_the_deals_but_the_day(tmp_path: Path) -> None:
    summary = importer("olist")(olist(tmp_path / "raw"), tmp_path / "out")
    made = read(tmp_path / "out")
    assert set(made) == {"prospects", "outcomes"}
    assert list(made["prospects"]) == ["prospect_id", "created_at", "source", "landing_page"]
    assert list(made["outcomes"]) == ["prospect_id", "outcome", "occurred_at"]
    assert summary.rows == {"prospects": 4, "outcomes": 3}
    assert notes(tmp_path / "out") == {}


def test_olist_stamps_days_at_their_end_and_the_same_day_at_its_start(tmp_path: Path) -> None:
    importer("olist")(olist(tmp_path / "raw"), tmp_path / "out")
    made = read(tmp_path / "out")
    created = made["prospects"].set_index("prospect_id")["created_at"]
    assert created["a"] == at("2018-01-10") + END
    assert created["open"] == at("2018-01-13") + END
    assert created["same"] == at("2018-01-11")
    won = made["outcomes"].set_index("prospect_id")["occurred_at"]
    assert won["same"] == at("2018-01-11 03:00:00")
    assert won["a"] == at("2018-02-26 19:58:54")
    assert set(made["outcomes"]["outcome"]) == {"won"}
    dataset = parse_dataset((tmp_path / "out" / "dataset.toml").read_text())
    assert dataset.complete_until == (at("2018-05-01") + END).value // 1000
    assert dataset.goal.outcome == "won"
    assert dataset.goal.horizon() == 90


def test_olist_sets_contradictions_aside_and_lists_them(tmp_path: Path) -> None:
    summary = importer("olist")(olist(tmp_path / "raw"), tmp_path / "out")
    aside = pd.read_csv(tmp_path / "out" / "set_aside.csv")
    assert {(r.table, r.key) for r in aside.itertuples()} == {
        ("outcomes", "ghost"),
        ("outcomes", "early"),
        ("prospects", "early"),
    }
    assert "2018-01-12" in aside.set_index(["table", "key"]).loc[("prospects", "early"), "details"]
    assert summary.set_aside == {"won, but no such lead": 1, "won before the day of its first contact": 2}
    assert "early" not in set(read(tmp_path / "out")["prospects"]["prospect_id"])


def test_olist_keeps_null_apart_from_the_level_unknown(tmp_path: Path) -> None:
    importer("olist")(olist(tmp_path / "raw"), tmp_path / "out")
    source = read(tmp_path / "out")["prospects"].set_index("prospect_id")["source"]
    assert source.isna().to_dict() == {"a": False, "same": False, "open": True, "late": False}
    assert source["late"] == "unknown"


def test_olist_collapses_identical_repeats(tmp_path: Path) -> None:
    raw = olist(tmp_path / "raw", [*LEAD_ROWS, LEAD_ROWS[0]], [*DEAL_ROWS, DEAL_ROWS[0]])
    assert importer("olist")(raw, tmp_path / "out").rows == {"prospects": 4, "outcomes": 3}


def test_olist_real(tmp_path: Path) -> None:
    summary = importer("olist")(real("olist_funnel"), tmp_path / "out")
    assert summary.rows == {"prospects": 7999, "outcomes": 841}
    assert summary.set_aside == {"won before the day of its first contact": 2}
    made = read(tmp_path / "out")
    created = made["prospects"].set_index("prospect_id")["created_at"]
    assert (created == created.dt.normalize()).sum() == 33
    assert notes(tmp_path / "out") == {}
    tables = read_tables(tmp_path / "out", need_outcomes=True)
    assert tables.until == (at("2018-11-14") + END).value // 1000


# ---- relax

USERS = "takehome_users.csv"
LOGINS = "takehome_user_engagement.csv"
USER_COLUMNS = (
    "object_id",
    "creation_time",
    "creation_source",
    "last_session_creation_time",
    "opted_in_to_mailing_list",
    "enabled_for_marketing_drip",
    "org_id",
    "invited_by_user_id",
    "email_domain",
)
USER_ROWS = (
    (1, "22-04-2014 03:53", "GUEST_INVITE", 1398138810.0, 1, 0, 11, 4.0, "yahoo.com"),
    (2, "01-03-2014 10:00", "SIGNUP", 1396237504.0, 0, 1, 11, None, "gustr.com"),
    (3, "01-03-2014 23:59", "ORG_INVITE", None, 0, 0, 0, 2.0, None),
    (4, "02-03-2014 08:00", "SIGNUP", 1394000000.0, 0, 0, 5, None, "yahoo.com"),
)


def days(user: int, *dates: str) -> list[tuple[Any, ...]]:
    return [(d, user, 1) for d in dates]


LOGIN_ROWS = (
    *days(1, "2014-04-22"),
    # The third day of a window of seven comes on the 15th: 8th, 10th, 15th; not 1st, 8th, 10th (nine days apart).
    *days(2, "2014-03-15", "2014-03-01", "2014-03-10", "2014-03-08", "2014-03-16", "2014-05-01"),
    *days(3, "2014-03-01", "2014-03-01", "2014-03-01"),  # one day, thrice
    *days(4, "2014-03-01", "2014-03-10", "2014-03-18", "2014-03-19"),  # the first one before its sign-up
    *days(99, "2014-03-10"),  # nobody
)


def relax(folder: Path, users: Sequence[Any] = USER_ROWS, logins: Sequence[Any] = LOGIN_ROWS) -> Path:
    write(folder, USERS, USER_COLUMNS, users)
    write(folder, LOGINS, ("time_stamp", "user_id", "visited"), logins)
    return folder


def test_relax_dates_adoption_at_the_third_day(tmp_path: Path) -> None:
    importer("relax")(relax(tmp_path / "raw"), tmp_path / "out")
    outcomes = read(tmp_path / "out")["outcomes"]
    assert outcomes.to_dict("records") == [
        {"prospect_id": "2", "outcome": "adopted", "occurred_at": at("2014-03-15") + END}
    ]
    dataset = parse_dataset((tmp_path / "out" / "dataset.toml").read_text())
    assert (dataset.goal.outcome, dataset.goal.horizon()) == ("adopted", 60)
    assert dataset.complete_until == (at("2014-05-01") + END).value // 1000


@pytest.mark.parametrize(("third", "adopted"), [("2014-03-17", True), ("2014-03-18", False)])
def test_relax_window_ends_seven_days_after_its_first_day(tmp_path: Path, third: str, adopted: bool) -> None:
    raw = relax(tmp_path / "raw", logins=days(2, "2014-03-10", "2014-03-12", third))
    assert importer("relax")(raw, tmp_path / "out").rows["outcomes"] == int(adopted)


def test_relax_tables(tmp_path: Path) -> None:
    summary = importer("relax")(relax(tmp_path / "raw"), tmp_path / "out")
    made = read(tmp_path / "out")
    assert sorted(made["accounts"]["account_id"]) == ["org-0", "org-11", "org-5"]
    assert sorted(made["contacts"]["contact_id"]) == ["user-1", "user-2", "user-3", "user-4"]
    prospects = made["prospects"].set_index("prospect_id")
    assert "last_session_creation_time" not in prospects
    assert prospects["created_at"].to_dict() == {
        "1": at("2014-04-22") + END,
        "2": at("2014-03-01") + END,
        "3": at("2014-03-01") + END,
        "4": at("2014-03-02") + END,
    }
    assert prospects["invited"].to_dict() == {"1": True, "2": False, "3": True, "4": False}
    assert prospects["inviter"]["1"] == "4"
    assert prospects["opted_in_to_mailing_list"].to_dict() == {"1": True, "2": False, "3": False, "4": False}
    assert prospects["enabled_for_marketing_drip"]["2"]
    events = made["events"]
    assert (events["occurred_at"] == events["occurred_at"].dt.normalize() + END).all()
    assert (events["prospect_id"] == "3").sum() == 1
    assert (events["contact_id"] == "user-" + events["prospect_id"]).all()
    assert len(events[(events["prospect_id"] == "2") & (events["occurred_at"] > at("2014-03-16"))]) == 2
    aside = pd.read_csv(tmp_path / "out" / "set_aside.csv", dtype=str)
    assert sorted(zip(aside["key"], aside["reason"], strict=True)) == [
        ("4", "login before the day of the sign-up"),
        ("99", "login of an unknown user"),
    ]
    assert summary.set_aside == {"login before the day of the sign-up": 1, "login of an unknown user": 1}
    assert notes(tmp_path / "out") == {"events_after_close": 2}


def test_relax_real(tmp_path: Path) -> None:
    summary = importer("relax")(real("relax_takehome"), tmp_path / "out")
    assert summary.rows == {
        "prospects": 12000,
        "accounts": 417,
        "contacts": 12000,
        "events": 207_917,
        "outcomes": 1656,  # 13.8 %, the rate the data's source gives
    }
    assert summary.set_aside == {}
    assert set(notes(tmp_path / "out")) == {"events_after_close"}


# ---- x_education

X_COLUMNS = (
    "Prospect ID",
    "Lead Number",
    "Lead Origin",
    "Lead Source",
    "Do Not Email",
    "Do Not Call",
    "Converted",
    "TotalVisits",
    "Total Time Spent on Website",
    "Page Views Per Visit",
    "Last Activity",
    "Country",
    "Specialization",
    "How did you hear about X Education",
    "What is your current occupation",
    "What matters most to you in choosing a course",
    "Search",
    "Magazine",
    "Newspaper Article",
    "X Education Forums",
    "Newspaper",
    "Digital Advertisement",
    "Through Recommendations",
    "Receive More Updates About Our Courses",
    "Tags",
    "Lead Quality",
    "Update me on Supply Chain Content",
    "Get updates on DM Content",
    "Lead Profile",
    "City",
    "Asymmetrique Activity Index",
    "Asymmetrique Profile Index",
    "Asymmetrique Activity Score",
    "Asymmetrique Profile Score",
    "I agree to pay the amount through cheque",
    "A free copy of Mastering The Interview",
    "Last Notable Activity",
)


def x_row(i: int, **changes: Any) -> dict[str, Any]:
    """A lead whose every column differs between odd and even, but for Magazine."""
    odd = i % 2
    row: dict[str, Any] = dict.fromkeys(X_COLUMNS, f"level {odd}")
    row |= {
        name: "Yes" if odd else "No"
        for name in X_COLUMNS
        if name
        in {
            "Do Not Email",
            "Do Not Call",
            "Search",
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
        }
    }
    row |= {
        "Prospect ID": f"id-{i}",
        "Lead Number": 660_000 + 7 * i,
        "Converted": odd,
        "Magazine": "No",
        "TotalVisits": 2.0 + odd,
        "Total Time Spent on Website": 600 + i,
        "Page Views Per Visit": 1.5 + odd,
        "Asymmetrique Activity Score": 14.0 + odd,
        "Asymmetrique Profile Score": 15.0 + odd,
        **changes,
    }
    return row


def x_education(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    write(folder, "Leads.csv", X_COLUMNS, [[row[c] for c in X_COLUMNS] for row in rows])
    return folder


def test_x_education_stands_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    raw = x_education(tmp_path / "raw", [x_row(i) for i in (5, 2, 9, 1)])
    importer("x_education")(raw, tmp_path / "out")
    made = read(tmp_path / "out")
    prospects = made["prospects"].set_index("prospect_id")["created_at"]
    assert list(prospects.sort_values().index) == ["id-1", "id-2", "id-5", "id-9"]
    assert prospects.is_unique
    outcomes = made["outcomes"].set_index("prospect_id")
    assert outcomes["outcome"].to_dict() == {"id-1": "won", "id-2": "lost", "id-5": "won", "id-9": "won"}
    assert (outcomes["occurred_at"] - prospects == pd.Timedelta(days=1)).all()
    dataset = parse_dataset((tmp_path / "out" / "dataset.toml").read_text())
    assert dataset.order_only
    assert dataset.goal.horizon() == 2
    # The last lead's two days are over: every lead's outcome is wholly observed.
    assert dataset.complete_until == (prospects.max() + pd.Timedelta(days=2)).value // 1000


def test_x_education_declares_hindsight_and_no_feature_may_name_it(tmp_path: Path) -> None:
    importer("x_education")(x_education(tmp_path / "raw", [x_row(i) for i in range(6)]), tmp_path / "out")
    dataset = parse_dataset((tmp_path / "out" / "dataset.toml").read_text())
    declared = dataset.declared_columns("prospects")
    never = {name for name, column in declared.items() if column.known == "never"}
    assert never == {
        "tags",
        "lead_quality",
        "lead_profile",
        "asymmetrique_activity_index",
        "asymmetrique_profile_index",
        "asymmetrique_activity_score",
        "asymmetrique_profile_score",
        "last_activity",
        "last_notable_activity",
    }
    assert len(never) == len(HINDSIGHT)
    for name in never:
        with pytest.raises(BadInput) as e:
            FeatureSet(dataset, (Attribute("prospects", name),))
        assert e.value.code == "hindsight_column"
    kinds = {name: declared[name].kind for name in ("total_visits", "do_not_email", "country")}
    assert kinds == {"total_visits": "number", "do_not_email": "boolean", "country": "category"}
    assert not set(declared) & {"converted", "lead_number", "prospect_id"}


def test_x_education_reads_select_as_null_and_leaves_constants_out(tmp_path: Path) -> None:
    rows = [x_row(i) for i in range(6)]
    rows[0] |= {"City": "Select", "Specialization": " Select "}
    rows[1] |= {"City": None, "TotalVisits": None, "Do Not Email": None}
    rows = [row | {"Newspaper": "No" if row["Prospect ID"] != "id-2" else None} for row in rows]
    summary = importer("x_education")(x_education(tmp_path / "raw", rows), tmp_path / "out")
    made = read(tmp_path / "out")["prospects"].set_index("prospect_id")
    assert made["city"].isna().to_dict() == {f"id-{i}": i < 2 for i in range(6)}
    assert made["specialization"].isna()["id-0"]
    assert made["total_visits"].isna()["id-1"]
    assert "magazine" not in made  # one same value everywhere
    assert "newspaper" in made  # one value, but not everywhere
    assert any("Magazine" in note and "Newspaper" not in note for note in summary.notes)
    assert made["do_not_email"].dropna().to_dict() == {f"id-{i}": bool(i % 2) for i in range(6) if i != 1}
    assert made["source"].to_dict()["id-3"] == "level 1"
    assert notes(tmp_path / "out") == {}


def test_x_education_real(tmp_path: Path) -> None:
    summary = importer("x_education")(real("x_education"), tmp_path / "out")
    assert summary.rows == {"prospects": 9240, "outcomes": 9240}
    constants = next(note for note in summary.notes if "one same value" in note)
    assert constants.count(",") == 5
    made = read(tmp_path / "out")
    assert round((made["outcomes"]["outcome"] == "won").mean(), 3) == 0.385
    assert not any((made["prospects"][c] == "Select").any() for c in made["prospects"].select_dtypes("str"))
    assert notes(tmp_path / "out") == {}


# ---- what holds for every importer

RAW = {
    "olist": olist,
    "relax": relax,
    "x_education": lambda folder: x_education(folder, [x_row(i) for i in range(6)]),
}


def test_every_importer_is_tried_here() -> None:
    assert set(RAW) == set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_help_is_one_line(name: str) -> None:
    assert 20 < len(help_line(name)) < 120


def test_an_unknown_source_is_told_which_there_are() -> None:
    with pytest.raises(BadInput) as e:
        importer("oracle")
    assert e.value.code == "unknown_source"
    assert all(name in e.value.remedy for name in SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_same_files_same_bytes(name: str, tmp_path: Path) -> None:
    raw = RAW[name](tmp_path / "raw")
    for out in ("one", "two"):
        importer(name)(raw, tmp_path / out)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / out).iterdir()} for out in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("name", SOURCES)
def test_a_folder_in_use_is_left_alone(name: str, tmp_path: Path) -> None:
    raw, out = RAW[name](tmp_path / "raw"), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for replace, code in ((False, "folder_not_empty"), (True, "folder_not_ours")):
        with pytest.raises(BadInput) as e:
            importer(name)(raw, out, replace=replace)
        assert e.value.code == code
        assert e.value.remedy
    assert [p.name for p in out.iterdir()] == ["notes.txt"]
    (out / "notes.txt").unlink()
    importer(name)(raw, out)  # an empty folder is fine
    importer(name)(raw, out, replace=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "raw"]
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput) as e:
        importer(name)(raw, tmp_path / "file")
    assert e.value.code == "not_a_folder"


@pytest.mark.parametrize("name", SOURCES)
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    raw = RAW[name](tmp_path / "raw")
    for file in sorted(raw.iterdir()):
        text = file.read_bytes()
        file.unlink()
        with pytest.raises(BadInput) as e:
            importer(name)(raw, tmp_path / "out")
        assert (e.value.code, e.value.where) == ("missing_file", str(file))
        file.write_bytes(text)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "code"),
    [
        ("olist", LEADS, "mql_id", "lead", "missing_column"),
        ("olist", DEALS, "won_date", "date", "missing_column"),
        ("olist", LEADS, "2018-01-10", "10/01/2018", "bad_time"),
        ("olist", LEADS, "2018-01-10", "2018-02-30", "bad_time"),
        ("olist", LEADS, "2018-01-10", "", "null_time"),
        ("olist", DEALS, "2018-02-26 19:58:54", "soon", "bad_time"),
        ("olist", DEALS, "ghost,", ",", "null_key"),
        ("olist", LEADS, "\nsame,", "\na,", "conflicting_rows"),
        ("olist", DEALS, "\nsame,", "\na,", "conflicting_rows"),
        ("relax", USERS, "org_id", "organisation", "missing_column"),
        ("relax", LOGINS, "user_id", "user", "missing_column"),
        ("relax", USERS, "22-04-2014 03:53", "2014-04-22 03:53", "bad_time"),
        ("relax", LOGINS, "2014-04-22", "22-04-2014", "bad_time"),
        ("relax", USERS, ",1,0,11,", ",maybe,0,11,", "bad_boolean"),
        ("relax", USERS, ",4.0,", ",Tom,", "bad_key"),
        ("relax", USERS, "\n2,", "\n1,", "conflicting_rows"),
        ("relax", USERS, "\n2,", "\n,", "null_key"),
        ("x_education", "Leads.csv", "Lead Number", "Number", "missing_column"),
        ("x_education", "Leads.csv", "660007", "many", "bad_order"),
        ("x_education", "Leads.csv", "660007", "660000", "bad_order"),
        ("x_education", "Leads.csv", "id-1", "id-0", "conflicting_rows"),
        ("x_education", "Leads.csv", "3.0,601", "3.0,long", "bad_number"),
        ("x_education", "Leads.csv", ",Yes,", ",Perhaps,", "bad_boolean"),
        ("x_education", "Leads.csv", ",Yes,1,3.0", ",Yes,2,3.0", "bad_boolean"),
    ],
)
def test_bad_files_are_refused_whole(tmp_path: Path, name: str, file: str, old: str, new: str, code: str) -> None:
    path = RAW[name](tmp_path / "raw") / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput) as e:
        importer(name)(tmp_path / "raw", tmp_path / "out")
    assert e.value.code == code
    assert str(path) in e.value.where
    assert e.value.remedy
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw"]


def test_a_refusal_counts_and_shows_the_rows(tmp_path: Path) -> None:
    path = olist(tmp_path / "raw") / LEADS
    path.write_text(path.read_text().replace("2018-01-1", "1/"))
    with pytest.raises(BadInput) as e:
        importer("olist")(tmp_path / "raw", tmp_path / "out")
    assert e.value.details["count"] == 5
    assert [row["line"] for row in e.value.details["rows"]] == [2, 3, 4]
    assert e.value.details["rows"][0]["mql_id"] == "a"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "bad_csv"),
        (b"mql_id,first_contact_date,landing_page_id,origin\n", "empty_table"),
        (b"\xff\xfe\x00", "bad_csv"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    (olist(tmp_path / "raw") / LEADS).write_bytes(content)
    with pytest.raises(BadInput) as e:
        importer("olist")(tmp_path / "raw", tmp_path / "out")
    assert e.value.code == code


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    original, calls = pq.write_table, []

    def fail(table: Any, path: Path, **options: Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise OSError("no space left")
        original(table, path, **options)

    raw = olist(tmp_path / "raw")
    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="no space"):
        importer("olist")(raw, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw"]
