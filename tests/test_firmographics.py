"""The columns that tell how a firm buys, in files and online alike: register numbers, categories, stages, titles."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features.contract import STAGES, Dataset, parse_dataset, parse_time
from features.errors import BadInput, BadTables
from features.firms import LA_POSTE, clean_number, valid_siren, valid_siret
from features.spec import Aggregate, Attribute, FeatureSet
from features.tables import Tables, read_tables, tables_from_frames
from features.titles import buying_role, read_title
from serving.schema import RequestReader

NOW = parse_time("2026-07-01T00:00:00Z")
PROSPECT = {"prospect_id": "p1", "created_at": "2026-03-01T09:00:00Z", "account_id": "a1"}


def folder(path: Path, toml: str = "", **tables: list[dict[str, Any]]) -> Path:
    """A data folder in CSV of one prospect and whatever else is given."""
    path.mkdir(exist_ok=True)
    (path / "dataset.toml").write_text(toml, encoding="utf-8")
    for table, rows in {"prospects": [PROSPECT], **tables}.items():
        with (path / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)
    return path


def rows_of(tables: Tables, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = getattr(tables, table).to_pyarrow().to_pylist()
    return found


def online(dataset: Dataset | None = None, **records: Any) -> Any:
    return RequestReader(dataset or Dataset()).read({"prospect": PROSPECT, **records}, NOW).records


# The register's numbers ---------------------------------------------------------------------------------------------


def numbers(count: int, length: int) -> list[str]:
    """Numbers of all kinds: sound, off by a digit, too short, spaced, of La Poste, none at all."""
    r = random.Random(length)
    valid = valid_siren if length == 9 else valid_siret
    out = ["0" * length, "0" * length + "0", "", " ", "abc", "1" * 40, "-" + "1" * (length - 1), "٧" * length, "N/A"]
    while len(out) < count:
        siren = f"{r.randrange(10**9):09d}" if r.random() < 0.6 else LA_POSTE
        siren = next(s for i in range(10) if valid_siren(s := siren[:8] + str(i))) if siren != LA_POSTE else siren
        text = siren + "".join(r.choice("0123456789") for _ in range(length - 9))
        if r.random() < 0.5 and length == 14:
            text = next((t for i in range(10) if valid(t := text[:13] + str(i))), text)
        if r.random() < 0.3:
            place = r.randrange(length)
            text = text[:place] + r.choice("0123456789 O") + text[place + 1 :]
        if r.random() < 0.3:
            text = r.choice((" ", "\u00a0", "\u202f", "\t")).join((text[:3], text[3:6], text[6:]))
        out.append(text)
    return out


@pytest.mark.parametrize(("column", "length", "valid"), [("siren", 9, valid_siren), ("siret", 14, valid_siret)])
def test_the_engine_and_the_service_judge_numbers_alike(column: str, length: int, valid: Any) -> None:
    texts = numbers(800, length)
    sound = [t for t in texts if valid(t)]
    wrong = [t for t in texts if clean_number(t) and not valid(t)]
    assert min(len(sound), len(wrong)) > 100

    def read(texts: list[str]) -> Tables:
        accounts = pa.table({"account_id": [f"a{n:04d}" for n in range(len(texts))], column: texts})
        prospects = pa.table({name: [value] for name, value in {**PROSPECT, "account_id": "a0000"}.items()})
        return tables_from_frames({"prospects": prospects, "accounts": accounts})

    kept = sorted(rows_of(read([*sound, ""]), "accounts"), key=lambda row: row["account_id"])
    assert [row[column] for row in kept] == [*map(clean_number, sound), None]
    with pytest.raises(BadTables) as caught:
        read([*wrong, *sound])
    (problem,) = caught.value.problems
    assert (problem.code, problem.details["count"]) == (f"bad_{column}", len(wrong))
    assert problem.details["column"] == column
    assert [row["value"] for row in problem.details["rows"]] == [w[:100] for w in wrong[:5]]
    for text in texts:
        account = {"account_id": "a1", column: text}
        if text in wrong:
            with pytest.raises(BadInput) as refused:
                online(account=account)
            assert (refused.value.code, refused.value.where) == (f"bad_{column}", f"account.{column}")
        else:
            assert online(account=account).accounts["a1"][0].values[column] == (clean_number(text) or None)


def test_a_siren_may_be_a_whole_number_whose_leading_zeros_are_lost() -> None:
    sirens = ["005520135", "732829320"]
    assert all(map(valid_siren, sirens))
    accounts = pa.table({"account_id": ["a1", "a2"], "siren": pa.array(map(int, sirens), pa.int64())})
    tables = tables_from_frames({"prospects": pa.table({k: [v] for k, v in PROSPECT.items()}), "accounts": accounts})
    assert {row["siren"] for row in rows_of(tables, "accounts")} == set(sirens)
    for bad in (-732829320, 7328293200, 732829321):
        accounts = pa.table({"account_id": ["a1"], "siren": [bad]})
        with pytest.raises(BadTables) as caught:
            tables_from_frames({"prospects": pa.table({k: [v] for k, v in PROSPECT.items()}), "accounts": accounts})
        assert [p.code for p in caught.value.problems] == ["bad_siren"]


@pytest.mark.parametrize(
    ("value", "code"), [(732829320, "wrong_type"), (True, "wrong_type"), ("73282932", "bad_siren")]
)
def test_a_siren_online_is_a_text(value: Any, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        online(account={"account_id": "a1", "siren": value})
    assert (caught.value.code, caught.value.where) == (code, "account.siren")


def test_a_number_of_the_register_is_no_feature() -> None:
    with pytest.raises(BadInput, match="no model can use") as caught:
        FeatureSet(Dataset(), (Attribute("accounts", "siren"),))
    assert caught.value.code == "bad_feature"


# The other columns --------------------------------------------------------------------------------------------------


def test_the_new_columns_are_read_in_files_and_online(tmp_path: Path) -> None:
    account = {"account_id": "a1", "siren": "732 829 320", "siret": "732 829 320 00074", "company_category": "GE"}
    account |= {"headcount_band": "NN", "headcount_band_year": "2024", "local_authority": "no"}
    announced = "2026-02-01T08:00:00+01:00"
    prospect = {**PROSPECT, "tender_announced_at": announced}
    tables = read_tables(folder(tmp_path, prospects=[prospect], accounts=[account]))
    (row,) = rows_of(tables, "accounts")
    expected = {
        "siren": "732829320",
        "siret": "73282932000074",
        "company_category": "GE",
        "headcount_band": "NN",
        "headcount_band_year": 2024.0,
        "local_authority": False,
    }
    assert {name: row[name] for name in expected} == expected
    assert rows_of(tables, "prospects")[0]["tender_announced_at"] == parse_time(announced)

    json_account = {**account, "headcount_band_year": 2024, "local_authority": False}
    records = RequestReader(Dataset()).read({"prospect": prospect, "account": json_account}, NOW).records
    assert records.accounts is not None
    values = records.accounts["a1"][0].values
    assert {name: values[name] for name in expected} == expected
    assert records.prospect[0].values["tender_announced_at"] == parse_time(announced)


def test_a_category_of_firms_is_one_of_three(tmp_path: Path) -> None:
    with pytest.raises(BadTables) as caught:
        read_tables(folder(tmp_path, accounts=[{"account_id": "a1", "company_category": "pme"}]))
    (problem,) = caught.value.problems
    assert (problem.code, problem.details["column"]) == ("unknown_value", "company_category")
    assert "PME, ETI, GE, in capitals" in problem.remedy
    with pytest.raises(BadInput) as refused:
        online(account={"account_id": "a1", "company_category": "TPE"})
    assert (refused.value.code, refused.value.where) == ("unknown_value", "account.company_category")


def test_a_column_known_in_hindsight_keeps_its_form(tmp_path: Path) -> None:
    toml = '[accounts.columns]\nsiren = {known = "never"}\n'
    with pytest.raises(BadTables) as caught:
        read_tables(folder(tmp_path, toml, accounts=[{"account_id": "a1", "siren": "732829321"}]))
    assert [p.code for p in caught.value.problems] == ["bad_siren"]


# Titles -------------------------------------------------------------------------------------------------------------

CONTACTS: list[dict[str, Any]] = [
    {"contact_id": "c1", "account_id": "a1", "role": "user", "job_title": "Directrice des achats"},
    {"contact_id": "c2", "account_id": "a1", "role": "", "job_title": "  Directrice des achats"},
    {"contact_id": "c3", "account_id": "a1", "role": "", "job_title": "Inge\u0301nieure me\u0301thodes"},
    {"contact_id": "c4", "account_id": "a1", "role": "", "job_title": "Rockstar"},
    {"contact_id": "c5", "account_id": "a1", "role": "prescriber", "job_title": ""},
    {"contact_id": "c6", "account_id": "a1", "role": "", "job_title": ""},
]
READ = {
    "c1": ("user", "executive"),
    "c2": ("buyer", "executive"),
    "c3": ("prescriber", "staff"),
    "c4": (None, None),
    "c5": ("prescriber", None),
    "c6": (None, None),
}


def test_contacts_have_the_role_and_the_rank_of_their_title(tmp_path: Path) -> None:
    """The same in the engine as of a record online."""
    found = rows_of(read_tables(folder(tmp_path, contacts=CONTACTS)), "contacts")
    assert {r["contact_id"]: (r["buying_role"], r["rank"]) for r in found} == READ
    given = [{name: value for name, value in c.items() if value} for c in CONTACTS]
    for key, versions in online(contacts=given).contacts.items():
        values = versions[0].values
        assert (buying_role(values), read_title(values["job_title"]).rank) == READ[key]


def test_contacts_without_a_title_keep_their_role(tmp_path: Path) -> None:
    bare = [{"contact_id": "c1", "account_id": "a1", "role": "user"}]
    (row,) = rows_of(read_tables(folder(tmp_path, contacts=bare)), "contacts")
    assert (row["buying_role"], row["rank"]) == ("user", None)


@pytest.mark.parametrize(("hindsight", "expected"), [("role", ("buyer", "executive")), ("job_title", ("user", None))])
def test_what_is_known_in_hindsight_tells_no_role(tmp_path: Path, hindsight: str, expected: Any) -> None:
    toml = f'[contacts.columns]\n{hindsight} = {{known = "never"}}\n'
    path = folder(tmp_path, toml, contacts=CONTACTS)
    found = {r["contact_id"]: r for r in rows_of(read_tables(path), "contacts")}
    assert (found["c1"]["buying_role"], found["c1"]["rank"]) == expected
    given = [{name: value for name, value in c.items() if value} for c in CONTACTS[:1]]
    values = online(parse_dataset(toml), contacts=given).contacts["c1"][0].values
    assert (buying_role(values), read_title(values["job_title"]).rank) == expected


@pytest.mark.parametrize("name", ["rank", "buying_role", "Rank"])
def test_the_names_of_what_titles_tell_are_kept(tmp_path: Path, name: str) -> None:
    contacts = [{"contact_id": "c1", "account_id": "a1", name: "x"}]
    with pytest.raises(BadTables) as caught:
        read_tables(folder(tmp_path, f'[contacts.columns]\n{name} = {{kind = "category"}}\n', contacts=contacts))
    assert [p.code for p in caught.value.problems] == ["bad_column"]
    with pytest.raises(BadTables) as caught:
        read_tables(folder(tmp_path, contacts=contacts))
    assert "kept for internal use" in caught.value.problems[0].remedy
    toml = f'[accounts.columns]\n{name} = {{kind = "category"}}\n'  # of accounts they are nobody's
    assert read_tables(folder(tmp_path, toml, accounts=[{"account_id": "a1", name: "x"}], contacts=CONTACTS))


# Stages -------------------------------------------------------------------------------------------------------------


def test_stages_are_read_in_their_order_and_written_back() -> None:
    text = '[stages]\ndecide = ["demo", " quote "]\ndiscover = ["page_view"]\ncompare = []\n'
    dataset = parse_dataset(text)
    assert dataset.stages == (("discover", ("page_view",)), ("decide", ("demo", "quote")))
    assert Dataset.from_json(json.loads(json.dumps(dataset.to_json()))) == dataset
    assert "stages" not in Dataset().to_json()
    assert Dataset.from_json(Dataset().to_json()) == Dataset()
    assert STAGES == ("discover", "compare", "decide")


def test_stages_are_part_of_the_fingerprint() -> None:
    def fingerprint(text: str) -> str:
        return FeatureSet(parse_dataset(text), (Aggregate("count"),)).fingerprint

    found = {fingerprint(t) for t in ("", '[stages]\ndecide = ["demo"]', '[stages]\ncompare = ["demo"]')}
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("stages = 3", "bad_stages"),
        ('[stages]\nconsider = ["demo"]', "unknown_setting"),
        ('[stages]\ndecide = "demo"', "bad_stages"),
        ("[stages]\ndecide = [3]", "bad_stages"),
        ('[stages]\ndecide = [" "]', "bad_stages"),
        ('[stages]\ndecide = ["demo"]\ncompare = ["demo"]', "bad_stages"),
        ('[stages]\ndecide = ["demo", "demo "]', "bad_stages"),
    ],
)
def test_bad_stages_are_refused(text: str, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_dataset(text)
    assert caught.value.code == code
    assert caught.value.remedy


def test_a_stage_whose_events_never_occur_is_noted(tmp_path: Path) -> None:
    event = {"event_id": "e1", "prospect_id": "p1", "type": "page_view", "occurred_at": "2026-03-02T10:00:00Z"}
    toml = '[stages]\ndiscover = ["page_view"]\ncompare = ["Page_views"]\n'
    notes = [n for n in read_tables(folder(tmp_path, toml, events=[event])).notes if n.code == "stage_never_occurs"]
    assert len(notes) == 1
    assert "'Page_views'" in notes[0].text
    assert "Did you mean 'page_view'?" in notes[0].text
