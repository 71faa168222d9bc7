"""Completing accounts from the Sirene register: given values win, nothing is known before its time, all or nothing."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features.contract import NEVER, parse_time
from features.errors import BadInput
from features.firms import valid_siren
from features.tables import read_tables
from training.cli import app
from training.sources import Enrichment, import_sirene

BIG, SMALL, TOWN, HOSPITAL, HIDDEN, UNLISTED, OLD = (
    next(s for i in range(10) if valid_siren(s := f"{n:08d}{i}")) for n in range(32_100_000, 32_100_007)
)
REGISTER: list[dict[str, Any]] = [
    {
        "siren": BIG,
        "trancheEffectifsUniteLegale": "52",
        "anneeEffectifsUniteLegale": "2024",
        "categorieEntreprise": "GE",
        "anneeCategorieEntreprise": "2023",
        "activitePrincipaleUniteLegale": "26.30Z",
        "nomenclatureActivitePrincipaleUniteLegale": "NAFRev2",
        "categorieJuridiqueUniteLegale": "5710",
        "dateCreationUniteLegale": "1955-03-01",
    },
    {
        "siren": f"{SMALL[:3]} {SMALL[3:6]} {SMALL[6:]}",
        "trancheEffectifsUniteLegale": "NN",
        "activitePrincipaleUniteLegale": "62.01Z",
        "categorieJuridiqueUniteLegale": "1000",
        "dateCreationUniteLegale": "1900-01-01",  # what the register writes for a day that it does not know
    },
    {"siren": TOWN, "trancheEffectifsUniteLegale": "22", "categorieJuridiqueUniteLegale": "7210"},
    {"siren": HOSPITAL, "trancheEffectifsUniteLegale": "99", "categorieJuridiqueUniteLegale": "7113"},
    {"siren": HIDDEN, "trancheEffectifsUniteLegale": "[ND]", "activitePrincipaleUniteLegale": "[ND]"},
    {
        "siren": OLD,
        "activitePrincipaleUniteLegale": "77.09",
        "nomenclatureActivitePrincipaleUniteLegale": "NAP",
        "anneeEffectifsUniteLegale": "2024",
    },
]
COLUMNS = tuple(dict.fromkeys(name for row in REGISTER for name in row))
ACCOUNTS: list[dict[str, Any]] = [
    {"account_id": "big", "siren": BIG},
    {"account_id": "small", "siren": f" {SMALL[:3]} {SMALL[3:]}", "industry": "software"},
    {"account_id": "town", "siren": TOWN},
    {"account_id": "hospital", "siren": HOSPITAL},
    {"account_id": "hidden", "siren": HIDDEN},
    {"account_id": "unlisted", "siren": UNLISTED},
    {"account_id": "old", "siren": OLD},
    {"account_id": "none", "siren": ""},
]
FROM_2025 = parse_time("2025-01-01T00:00:00Z")


def write_csv(path: Path, rows: list[dict[str, Any]], columns: Any = None, delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(dict.fromkeys(n for r in rows for n in r)), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def data(path: Path, accounts: list[dict[str, Any]] = ACCOUNTS, toml: str = "") -> Path:
    path.mkdir()
    write_csv(path / "accounts.csv", accounts)
    ids = dict.fromkeys(a["account_id"] for a in accounts)
    rows = [{"prospect_id": f"p-{a}", "created_at": "2024-03-01T09:00:00Z", "account_id": a} for a in ids]
    write_csv(path / "prospects.csv", rows)
    (path / "dataset.toml").write_text(toml, encoding="utf-8")
    return path


def register(path: Path, rows: list[dict[str, Any]] = REGISTER, columns: Any = COLUMNS) -> Path:
    return write_csv(path, rows, columns)


def versions(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The versions of each account, read back as any data folder is, in the order of their time."""
    tables = read_tables(folder)
    assert tables.accounts is not None
    out: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(tables.accounts.to_pyarrow().to_pylist(), key=lambda r: r["valid_from"]):
        out.setdefault(row["account_id"], []).append(row)
    return out


def run(tmp_path: Path, accounts: list[dict[str, Any]], rows: list[dict[str, Any]]) -> tuple[Enrichment, Any]:
    found = import_sirene(data(tmp_path / "in", accounts), register(tmp_path / "register.csv", rows), tmp_path / "out")
    return found, versions(tmp_path / "out")


def picked(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def test_what_is_unknown_is_filled(tmp_path: Path) -> None:
    found, made = run(tmp_path, ACCOUNTS, REGISTER)
    band, firm = ("headcount_band", "headcount_band_year"), ("industry", "legal_form", "public_body", "local_authority")
    assert found.accounts == {"found": 6, "not_found": 1, "without_siren": 1}
    assert [picked(v, *firm) for v in made["big"]] == [("26.30Z", "5710", False, False)] * 2
    assert {v["founded_on"] for v in made["big"]} == {parse_time("1955-03-01T00:00:00Z")}
    assert [picked(v, *band, *firm, "founded_on") for v in made["small"]] == [
        ("NN", None, "software", "1000", False, False, None)
    ]
    assert [picked(v, *band, *firm) for v in made["town"]] == [("22", None, None, "7210", True, True)]
    assert [picked(v, *band, *firm) for v in made["hospital"]] == [(None, None, None, "7113", True, False)]
    for unknown in ("hidden", "unlisted", "old", "none"):
        assert [picked(v, *band, *firm) for v in made[unknown]] == [(None,) * 6]
    expected = {"headcount_band": 3, "headcount_band_year": 1, "company_category": 1, "industry": 1, "legal_form": 4}
    assert found.filled == {**expected, "founded_on": 1, "public_body": 4, "local_authority": 4}
    assert set(found.conflicts.values()) == {0}
    assert any("1 activity not in NAF rev. 2" in note for note in found.notes)
    assert (tmp_path / "out" / "sirene_conflicts.csv").read_text() == "account_id,siren,column,given,register\n"


def test_a_band_tells_nothing_of_the_time_before_it(tmp_path: Path) -> None:
    """The band of 2024 counts from 2025 on; the version that spans that moment is parted there, no other."""
    accounts = [
        {"account_id": "one", "siren": BIG, "country": "FR", "observed_at": ""},
        {"account_id": "many", "siren": BIG, "country": "FR", "observed_at": "2023-06-01T00:00:00Z"},
        {"account_id": "many", "siren": BIG, "country": "BE", "observed_at": "2024-06-01T00:00:00Z"},
        {"account_id": "many", "siren": BIG, "country": "DE", "observed_at": "2025-06-01T00:00:00Z"},
        {"account_id": "exact", "siren": BIG, "country": "FR", "observed_at": "2025-01-01T00:00:00Z"},
    ]
    found, made = run(tmp_path, accounts, REGISTER)
    names = ("country", "headcount_band", "headcount_band_year", "company_category", "industry")
    before, after = (None, None, None, "26.30Z"), ("52", 2024.0, "GE", "26.30Z")
    assert [picked(v, *names) for v in made["one"]] == [("FR", *before), ("FR", *after)]
    assert made["one"][0]["valid_to"] == made["one"][1]["valid_from"] == FROM_2025
    assert [picked(v, *names) for v in made["many"]] == [
        ("FR", *before),
        ("BE", *before),
        ("BE", *after),
        ("DE", *after),
    ]
    assert [v["valid_from"] for v in made["many"]][2] == FROM_2025
    assert [picked(v, *names) for v in made["exact"]] == [("FR", *after)]
    assert found.rows["accounts"] == 7
    assert any(note.startswith("2 versions of accounts were added") for note in found.notes)


def test_a_version_replaced_before_the_band_counts_stays_without_it(tmp_path: Path) -> None:
    accounts = [
        {"account_id": "a", "siren": BIG, "headcount_band": "", "observed_at": "2023-01-01T00:00:00Z"},
        {"account_id": "a", "siren": BIG, "headcount_band": "51", "observed_at": "2024-01-01T00:00:00Z"},
    ]
    found, made = run(tmp_path, accounts, REGISTER)
    assert [v["headcount_band"] for v in made["a"]] == [None, "51", "51"]  # parted for the category alone
    assert [v["company_category"] for v in made["a"]] == [None, None, "GE"]
    assert [v["headcount_band_year"] for v in made["a"]] == [None] * 3  # the year is that of the register's band
    assert (found.filled["headcount_band"], found.conflicts["headcount_band"]) == (0, 1)


def test_given_values_win_and_what_differs_is_listed(tmp_path: Path) -> None:
    given = {
        "headcount_band": "53",
        "headcount_band_year": "2024",
        "company_category": "ETI",
        "industry": "26.20Z",
        "legal_form": "5499",
        "founded_on": "1955-03-02",
        "public_body": "true",
        "local_authority": "false",
    }
    _, made = run(tmp_path, [{"account_id": "big", "siren": BIG, **given}], REGISTER)
    (row,) = made["big"]
    assert row["valid_to"] == NEVER
    assert picked(row, "headcount_band", "company_category", "industry", "legal_form") == (
        "53",
        "ETI",
        "26.20Z",
        "5499",
    )
    with (tmp_path / "out" / "sirene_conflicts.csv").open(encoding="utf-8") as file:
        listed = [(r["account_id"], r["siren"], r["column"], r["given"], r["register"]) for r in csv.DictReader(file)]
    assert sorted(listed) == [
        ("big", BIG, "company_category", "ETI", "GE"),
        ("big", BIG, "founded_on", "1955-03-02", "1955-03-01"),
        ("big", BIG, "headcount_band", "53", "52"),
        ("big", BIG, "industry", "26.20Z", "26.30Z"),
        ("big", BIG, "legal_form", "5499", "5710"),
        ("big", BIG, "public_body", "true", "false"),
    ]


@pytest.mark.parametrize(
    "same",
    [
        {"industry": "2630Z"},  # another way to write it
        {"industry": "telecoms"},  # in words
        {"legal_form": "SAS"},
        {"headcount_band": "51", "headcount_band_year": "2021"},  # of another year
    ],
)
def test_what_is_only_written_otherwise_or_of_another_time_is_no_conflict(tmp_path: Path, same: Any) -> None:
    found, made = run(tmp_path, [{"account_id": "big", "siren": BIG, **same}], REGISTER)
    assert set(found.conflicts.values()) == {0}
    for name, value in same.items():
        assert {str(v[name]).removesuffix(".0") for v in made["big"]} == {value}


def test_a_siret_will_do(tmp_path: Path) -> None:
    siret = next(t for i in range(100_000) if _luhn(t := f"{TOWN}{i:05d}"))
    found, made = run(tmp_path, [{"account_id": "town", "siret": siret}], REGISTER)
    assert found.accounts["found"] == 1
    assert made["town"][0]["local_authority"] is True


def _luhn(digits: str) -> bool:
    return sum(sum(map(int, str(int(d) * (1 + i % 2)))) for i, d in enumerate(reversed(digits))) % 10 == 0


@pytest.mark.parametrize("form", ["csv", "semicolons", "parquet", "numbers"])
def test_every_form_of_the_register_is_read_alike(tmp_path: Path, form: str) -> None:
    """In Parquet also with numbers where the register has text, and a day where it has one as text."""
    path = tmp_path / ("register.csv" if form in ("csv", "semicolons") else "register.parquet")
    if form == "csv":
        register(path)
    elif form == "semicolons":
        write_csv(path, [{**r, "denominationUniteLegale": 'A, "B"; C'} for r in REGISTER], None, ";")
    else:
        columns: dict[str, Any] = {name: [row.get(name) for row in REGISTER] for name in COLUMNS}
        if form == "numbers":
            columns["siren"] = [int(s.replace(" ", "")) for s in columns["siren"]]
            for name in ("anneeEffectifsUniteLegale", "anneeCategorieEntreprise"):
                columns[name] = [None if v is None else float(v) for v in columns[name]]
            columns["categorieJuridiqueUniteLegale"] = [
                None if v is None else int(v) for v in columns["categorieJuridiqueUniteLegale"]
            ]
            days = columns["dateCreationUniteLegale"]
            columns["dateCreationUniteLegale"] = [None if v is None else date.fromisoformat(v) for v in days]
        pq.write_table(pa.table(columns), path)
    import_sirene(data(tmp_path / "in"), path, tmp_path / "out")
    import_sirene(tmp_path / "in", register(tmp_path / "plain.csv"), tmp_path / "plain")
    assert versions(tmp_path / "out") == versions(tmp_path / "plain")


def test_the_rest_of_the_folder_is_kept(tmp_path: Path) -> None:
    toml = 'timezone = "Europe/Paris"\n[goal]\nhorizon_days = 30\n[accounts.columns]\ntier = {kind = "category"}\n'
    accounts = [{**a, "tier": "gold", "revenue": "12.5"} for a in ACCOUNTS]
    source = data(tmp_path / "in", accounts, toml)
    (source / "notes.md").write_text("mine")
    found = import_sirene(source, register(tmp_path / "register.csv"), tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "accounts.parquet",
        "prospects.csv",
        "dataset.toml",
        "sirene_conflicts.csv",
    }
    assert (tmp_path / "out" / "prospects.csv").read_bytes() == (source / "prospects.csv").read_bytes()
    before, after = read_tables(source), read_tables(tmp_path / "out")
    assert after.dataset == before.dataset
    assert {picked(v[0], "tier", "revenue") for v in versions(tmp_path / "out").values()} == {("gold", 12.5)}
    assert any("notes.md" in note for note in found.notes)
    again = import_sirene(tmp_path / "out", tmp_path / "register.csv", tmp_path / "again")
    assert set(again.filled.values()) == {0}
    assert versions(tmp_path / "again") == versions(tmp_path / "out")
    assert (tmp_path / "again" / "dataset.toml").read_text().count("Written by leadscore") == 1


@pytest.mark.parametrize(
    ("rows", "columns", "code", "said"),
    [
        ([{"SIRENE": BIG, **REGISTER[2]}], ("SIRENE", "trancheEffectifsUniteLegale"), "missing_column", "siren"),
        (REGISTER, ("siren", "anneeEffectifsUniteLegale"), "missing_column", "tells nothing"),
        ([{"siren": "x", "categorieEntreprise": "PME"}], ("siren", "categorieEntreprise"), "bad_siren", "none of the"),
        (
            [{"siren": BIG, "categorieEntreprise": c} for c in ("PME", "GE")],
            ("siren", "categorieEntreprise"),
            "conflicting_rows",
            BIG,
        ),
    ],
)
def test_a_register_that_is_none_is_refused(tmp_path: Path, rows: Any, columns: Any, code: str, said: str) -> None:
    kept = [{name: row.get(name, "") for name in columns} for row in rows]
    path = register(tmp_path / "register.csv", kept, columns)
    with pytest.raises(BadInput) as caught:
        import_sirene(data(tmp_path / "in"), path, tmp_path / "out")
    assert caught.value.code == code
    assert said in caught.value.message
    assert caught.value.remedy
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "register.csv"]


@pytest.mark.parametrize("content", [b"PK\x03\x04zip", b"", b"\xff\xfes\0i\0", b"siren,categorieEntreprise\n1,2,3\n"])
@pytest.mark.parametrize("name", ["register.csv", "register.parquet"])
def test_a_file_that_is_no_register_is_refused(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as caught:
        import_sirene(data(tmp_path / "in"), tmp_path / name, tmp_path / "out")
    assert caught.value.code in ("unreadable_file", "missing_column")
    assert not (tmp_path / "out").exists()


def test_identical_repeats_of_a_firm_are_one(tmp_path: Path) -> None:
    found, _ = run(tmp_path, ACCOUNTS, [*REGISTER, *REGISTER])
    assert found.accounts["found"] == 6


def test_accounts_without_numbers_are_refused(tmp_path: Path) -> None:
    path = register(tmp_path / "register.csv")
    with pytest.raises(BadInput) as caught:
        import_sirene(data(tmp_path / "in", [{"account_id": "a"}]), path, tmp_path / "out")
    assert caught.value.code == "no_siren"
    (tmp_path / "in" / "accounts.csv").unlink()
    with pytest.raises(BadInput) as caught:
        import_sirene(tmp_path / "in", path, tmp_path / "out")
    assert caught.value.code == "missing_table"
    with pytest.raises(BadInput) as caught:
        import_sirene(tmp_path / "in", path, tmp_path / "in")
    assert caught.value.code == "folder_not_empty"


def test_a_large_register_is_read_in_the_engine(tmp_path: Path) -> None:
    """A million firms, of which seven are ours: none of the others is taken in."""
    path = tmp_path / "register.parquet"
    sirens = ", ".join(f"'{a['siren'].replace(' ', '')}'" for a in ACCOUNTS[:7])
    with duckdb.connect() as con:
        con.execute(
            f"COPY (SELECT unnest([{sirens}]) AS siren, '11' AS trancheEffectifsUniteLegale UNION ALL "
            "SELECT (400000000 + range)::VARCHAR, '12' FROM range(1000000)) "
            f"TO '{path}' (FORMAT parquet)"
        )
    source = data(tmp_path / "in")
    found = import_sirene(source, path, tmp_path / "out")
    assert found.filled["headcount_band"] == 7
    assert {v[0]["headcount_band"] for v in versions(tmp_path / "out").values()} == {"11", None}


def test_the_command(tmp_path: Path) -> None:
    source, path = data(tmp_path / "in"), register(tmp_path / "register.csv")

    def call(*args: object) -> Any:
        return CliRunner().invoke(app, ["import", *map(str, args)])

    told = call("sirene", source, "--register", path, "--out", tmp_path / "told")
    assert told.exit_code == 0, told.output
    assert "headcount_band" in told.output
    assert "6 found, 1 not in the register, 1 without a siren" in told.output
    answer = call("sirene", source, "--register", path, "--out", tmp_path / "out", "--json")
    made = json.loads(answer.stdout)
    assert made["accounts"] == {"found": 6, "not_found": 1, "without_siren": 1}
    assert made["filled"]["public_body"] == 4
    for args in (
        ("sirene", source, "--out", tmp_path / "no"),
        ("olist", source, "--register", path, "--out", tmp_path / "no"),
    ):
        refused = call(*args, "--json")
        assert refused.exit_code == 2
        error = json.loads(refused.stdout)["error"]
        assert (error["code"], error["where"]) == ("bad_usage", "--register")
    assert not (tmp_path / "no").exists()
