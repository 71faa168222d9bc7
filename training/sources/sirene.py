"""The Sirene register of French firms: what it says of the accounts that bear a siren, beside what the data say.

One file, an extract of ``StockUniteLegale`` in Parquet or CSV with the register's own column names. Choices and traps:

- accounts are found by ``siren``, else by the siren within their ``siret``;
- given values win: only what is unknown is filled; where the register says otherwise, that is counted and listed in
  ``sirene_conflicts.csv``;
- the band and the category are of a year Y, 31 December, and tell nothing of earlier days: a version of an account that
  was replaced by then keeps them unknown, and one that spans that moment is parted there. The rest (activity, legal
  form, creation) bears no date in the register and is taken to have always been so;
- ``NN`` is a firm that employs nobody, not an unknown band; ``[ND]`` (not to be published) and the creation day
  1900-01-01 are unknown; an activity of an older or newer nomenclature than NAF rev. 2 is left out;
- legal forms that begin with 7 are public bodies, those with 72 and 73 local authorities.

Everything is done in the engine; of the register only the wanted columns and the rows of the accounts are kept.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.columns import ident, number_of, quote, run
from features.contract import ALWAYS, NEVER, STANDARD
from features.errors import BadInput
from features.files import UnreadableError, csv_header, unreadable
from features.firms import BANDS, CATEGORIES, SPACES
from features.tables import Tables, read_tables
from training.sources import folder
from training.sources.folder import Summary

if TYPE_CHECKING:
    import pyarrow as pa

SIREN = "siren"
BAND, BAND_YEAR = "trancheEffectifsUniteLegale", "anneeEffectifsUniteLegale"
CATEGORY, CATEGORY_YEAR = "categorieEntreprise", "anneeCategorieEntreprise"
ACTIVITY, NOMENCLATURE = "activitePrincipaleUniteLegale", "nomenclatureActivitePrincipaleUniteLegale"
LEGAL_FORM, CREATED = "categorieJuridiqueUniteLegale", "dateCreationUniteLegale"
TELLING = (BAND, CATEGORY, ACTIVITY, LEGAL_FORM, CREATED)  # one of them at least must be there
READ = (SIREN, *TELLING, BAND_YEAR, CATEGORY_YEAR, NOMENCLATURE)

DATED = ("headcount_band", "headcount_band_year", "company_category")  # of a year
UNDATED = ("industry", "legal_form", "founded_on", "public_body", "local_authority")
FILLED = (*DATED, *UNDATED)
CONFLICTS = "sirene_conflicts.csv"


@dataclass(frozen=True)
class Enrichment(Summary):
    """What an enrichment wrote.

    Attributes:
        accounts: accounts by how they were found: ``found``, ``not_found`` in the register, ``without_siren``.
        filled: for each column, the accounts of which a version was filled.
        conflicts: for each column, the accounts whose latest version says otherwise than the register.
    """

    accounts: Mapping[str, int]
    filled: Mapping[str, int]
    conflicts: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The summary as plain data."""
        found = {"accounts": dict(self.accounts), "filled": dict(self.filled), "conflicts": dict(self.conflicts)}
        return {**super().to_json(), **found}


def import_sirene(data: Path, register: Path, out: Path, *, replace: bool = False) -> Enrichment:
    """Complete the accounts of a data folder with the French register of firms (an extract of StockUniteLegale).

    Args:
        data: a data folder whose accounts have a ``siren`` or a ``siret``.
        register: the extract, ``.parquet`` or ``.csv``; of its columns those in ``READ`` are read.
        out: the data folder to make, absent or empty; with ``replace``, an earlier one of ours. The other tables and
            ``dataset.toml`` are copied as they are.

    Raises:
        BadTables: the data folder breaks the contract.
        BadInput: no account has a number, the register lacks the siren or tells of no column of ours, or says two
            things of one firm; ``out`` is taken.
    """
    folder.check_target(out, replace=replace)
    tables = read_tables(data)
    if tables.accounts is None:
        raise BadInput(
            "missing_table",
            "there are no accounts to complete.",
            where=str(data),
            remedy="Add accounts.csv or accounts.parquet with the column siren.",
        )
    con = tables.connection.con
    numbered = _count(con, "SELECT count(*) FROM accounts WHERE siren IS NOT NULL OR siret IS NOT NULL")
    if not numbered:
        raise BadInput(
            "no_siren",
            "no account has a siren or a siret.",
            where="accounts: siren",
            remedy="Add the column siren (9 digits, as text) to accounts.",
        )
    lacking = _open_register(con, register)
    _look_up(con)
    filled = {c: _count(con, f"SELECT count(DISTINCT account_id) FROM known WHERE {_fills(c)}") for c in FILLED}
    conflicts = {c: _count(con, f"SELECT count(*) FROM known WHERE {_conflicts(c)}") for c in FILLED}
    accounts = _accounts(con)
    unread = _count(con, "SELECT count(*) FROM register WHERE activity_elsewhere")
    disagree = _count(con, "SELECT count(DISTINCT account_id) FROM accounts WHERE left(siret, 9) <> siren")
    table = _completed(tables, filled)
    copied = _copied(data)
    others = sorted(p.name for p in data.iterdir() if p not in copied and p.stem != "accounts" and p.name[0] != ".")
    parted = table.num_rows - tables.rows["accounts"]
    notes = [
        "Bands and categories count from the year after their own, the rest as if it had always been so.",
        *([f"The register lacks {', '.join(lacking)}."] if lacking else []),
        *([f"{number_of(parted, 'version')} of accounts were added, from the year after a band on."] if parted else []),
        *([f"{number_of(unread, 'activity', 'activities')} not in NAF rev. 2 were left out."] if unread else []),
        *([f"{number_of(disagree, 'account has', 'accounts have')} a siret of another siren."] if disagree else []),
        *([f"Not copied, no table of the contract: {', '.join(others)}."] if others else []),
    ]
    toml = data / "dataset.toml"
    folder.write_folder(
        out,
        {"accounts": table},
        _unmarked(toml.read_text(encoding="utf-8-sig")) if toml.exists() else "",
        title="import sirene",
        texts={CONFLICTS: _conflict_list(con)},
        copies=[p for p in copied if p.name != "dataset.toml"],
        replace=replace,
    )
    rows = {**tables.rows, "accounts": table.num_rows}
    return Enrichment("sirene", str(out), rows, {}, tuple(notes), accounts, filled, conflicts)


def _count(con: Any, query: str) -> int:
    return int(run(con, query)[0][0])


def _unmarked(toml: str) -> str:
    """The settings without the mark of an earlier import."""
    first, _, rest = toml.partition("\n")
    return rest if first.startswith(folder.MARK) else toml


def _copied(data: Path) -> list[Path]:
    """The files of the folder that are copied as they are: its settings, and its tables but the accounts."""
    names = {f"{t}.{kind}" for t in STANDARD if t != "accounts" for kind in ("csv", "parquet")} | {"dataset.toml"}
    return sorted(p for p in data.iterdir() if p.name in names)


# The register -------------------------------------------------------------------------------------------------------


def _open_register(con: Any, path: Path) -> list[str]:
    """Make the table ``register``, a row for each firm of the accounts, in our terms; returns the columns it lacks."""
    import duckdb

    if not path.is_file():
        raise BadInput(
            "missing_file", "there is no such file.", where=str(path), remedy="Give the register's file, not a folder."
        )
    try:
        names, source = _register_source(con, path)
        have = {name.lower(): name for name in names}
        columns = {c: have[c.lower()] for c in READ if c.lower() in have}
        _check_columns(columns, names, path)
        raw = [f"{_raw(columns[c]) if c in columns else 'NULL::VARCHAR'} AS {ident(c)}" for c in READ if c != SIREN]
        number = f"translate({ident(columns[SIREN])}::VARCHAR, {quote(SPACES)}, '')"
        run(
            con,
            "CREATE OR REPLACE TEMP TABLE wanted AS "
            "SELECT DISTINCT coalesce(siren, left(siret, 9)) AS siren FROM accounts",
        )
        run(
            con,
            "CREATE OR REPLACE TEMP TABLE extract AS "
            f"SELECT DISTINCT {_padded(number)} AS siren, {', '.join(raw)} FROM {source} "
            f"WHERE {_padded(number)} IN (SELECT siren FROM wanted)",
        )
        if not _count(con, "SELECT count(*) FROM extract"):
            digits = rf"regexp_full_match({_padded(number)}, '\d{{9}}')"
            total, sound = run(con, f"SELECT count(*), count(*) FILTER ({digits}) FROM {source}")[0]
            _check_numbers(int(total), int(sound), f"{path.name}: {columns[SIREN]}")
    except (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException, duckdb.OutOfMemoryException):
        raise  # our fault or the machine's, not the file's
    except (duckdb.Error, OSError, UnicodeDecodeError, csv.Error, UnreadableError) as e:
        raise unreadable("register", path.name, e, str(path.parent)) from None
    run(con, f"CREATE OR REPLACE TEMP TABLE register AS {_IN_OUR_TERMS}")
    _check_repeats(con, path)
    return [c for c in (*TELLING, BAND_YEAR) if c not in columns]


def _check_numbers(total: int, sound: int, where: str) -> None:
    if not sound:
        raise BadInput(
            "bad_siren",
            f"none of the {number_of(total, 'row')} has a siren of 9 digits.",
            where=where,
            remedy="Give the extract of StockUniteLegale as INSEE publishes it.",
        )


def _register_source(con: Any, path: Path) -> tuple[list[str], str]:
    """The columns of the register's file and how SQL reads them, each by its name."""
    if path.suffix.lower() in (".parquet", ".pq"):
        source = f"read_parquet({quote(str(path))}, hive_partitioning = false, binary_as_string = true)"
        return [row[0] for row in run(con, f"DESCRIBE SELECT * FROM {source}")], source
    names, delimiter = csv_header(path, dict.fromkeys(READ))
    columns = ", ".join(f"{quote(name or f'column {i}')}: 'VARCHAR'" for i, name in enumerate(names))
    if len({name.lower() for name in names}) < len(names):
        raise UnreadableError("has a column twice in its header", "Give the extract as INSEE publishes it.")
    options = f"auto_detect = false, columns = {{{columns}}}, header = true, delim = {quote(delimiter)}"
    return names, f"read_csv({quote(str(path))}, {options}, quote = '\"', escape = '\"', nullstr = '')"


def _check_columns(columns: Mapping[str, str], names: list[str], path: Path) -> None:
    told = f"It has: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."
    if SIREN not in columns:
        raise BadInput(
            "missing_column",
            "the register has no column siren, by which accounts are found.",
            where=str(path),
            remedy=f"Give an extract of StockUniteLegale with its own column names. {told}",
            details={"missing": [SIREN]},
        )
    if not any(c in columns for c in TELLING):
        raise BadInput(
            "missing_column",
            f"the register tells nothing of firms: none of {', '.join(TELLING)} is there.",
            where=str(path),
            remedy=f"Give an extract of StockUniteLegale with its own column names. {told}",
            details={"missing": list(TELLING)},
        )


def _raw(name: str) -> str:
    """A register's value as text, null where it is empty or not to be published."""
    text = f"trim({ident(name)}::VARCHAR, {quote(SPACES)})"
    return f"CASE WHEN {text} NOT IN ('', '[ND]') THEN {text} END"


def _padded(text: str) -> str:
    """A siren that a file holds as a number, without its leading zeros, whole again."""
    return f"CASE WHEN regexp_full_match({text}, '\\d{{6,9}}') THEN lpad({text}, 9, '0') ELSE {text} END"


def _year(name: str) -> str:
    """A year that there may be, as a number."""
    return (
        f"CASE WHEN try_cast({ident(name)} AS DOUBLE) BETWEEN 1973 AND 2100 THEN try_cast({ident(name)} AS DOUBLE) END"
    )


_BAND = f"CASE WHEN strlen({ident(BAND)}) = 1 THEN '0' || {ident(BAND)} ELSE upper({ident(BAND)}) END"
_NAF = r"'\d\d\.?\d\d[A-Za-z]'"
_PLAIN_NAF = f"upper(replace({ident(ACTIVITY)}, '.', ''))"
_REV2 = (
    rf"regexp_full_match({ident(ACTIVITY)}, {_NAF}) AND {_PLAIN_NAF} <> '0000Z' "
    f"AND coalesce(upper({ident(NOMENCLATURE)}), 'NAFREV2') = 'NAFREV2'"
)
_DAY = f"try_cast({ident(CREATED)} AS DATE)"
# The register's rows in our terms; `since` is the moment from which band and category count.
_IN_OUR_TERMS = f"""
    SELECT siren, headcount_band, CASE WHEN headcount_band IS NOT NULL THEN band_year END AS headcount_band_year,
        company_category, industry, activity_elsewhere, legal_form, founded_on, public_body, local_authority,
        epoch_us(make_timestamp(greatest(CASE WHEN headcount_band IS NOT NULL THEN band_year END,
            CASE WHEN company_category IS NOT NULL THEN category_year END)::BIGINT + 1, 1, 1, 0, 0, 0)) AS since
    FROM (SELECT siren,
        CASE WHEN {_BAND} IN ({", ".join(map(quote, BANDS))}) THEN {_BAND} END AS headcount_band,
        {_year(BAND_YEAR)} AS band_year,
        CASE WHEN upper({ident(CATEGORY)}) IN ({", ".join(map(quote, CATEGORIES))}) THEN upper({ident(CATEGORY)})
            END AS company_category,
        {_year(CATEGORY_YEAR)} AS category_year,
        CASE WHEN {_REV2} THEN {_PLAIN_NAF}[1:2] || '.' || {_PLAIN_NAF}[3:5] END AS industry,
        {ident(ACTIVITY)} IS NOT NULL AND NOT ({_REV2}) AND {_PLAIN_NAF} <> '0000Z' AS activity_elsewhere,
        CASE WHEN regexp_full_match({ident(LEGAL_FORM)}, '\\d{{4}}') THEN {ident(LEGAL_FORM)} END AS legal_form,
        CASE WHEN year({_DAY}) BETWEEN 1000 AND 2099 AND {_DAY} <> DATE '1900-01-01'
            THEN epoch_us({_DAY}::TIMESTAMP) END AS founded_on,
        legal_form[1] = '7' AS public_body,
        legal_form[1:2] IN ('72', '73') AS local_authority
        FROM extract)
"""


def _check_repeats(con: Any, path: Path) -> None:
    """One firm, one row: those that differ are refused, identical ones have been taken as one."""
    repeated = "SELECT siren FROM register GROUP BY siren HAVING count(*) > 1"
    run(con, "CREATE OR REPLACE TEMP TABLE register AS SELECT DISTINCT * FROM register")
    rows = run(con, f"SELECT siren, count(*) OVER () FROM ({repeated}) ORDER BY siren LIMIT 5")
    if rows:
        first = ", ".join(siren for siren, _ in rows)
        raise BadInput(
            "conflicting_rows",
            f"{number_of(rows[0][1], 'firm stands', 'firms stand')} in several rows that differ (first: {first}).",
            where=f"{path.name}: {SIREN}",
            remedy="Give StockUniteLegale, which has one row for each firm, not its history.",
            details={"count": rows[0][1], "rows": [siren for siren, _ in rows]},
        )


# The accounts -------------------------------------------------------------------------------------------------------


def _look_up(con: Any) -> None:
    """Make ``known``: every version of an account beside what the register says of it (``r_`` columns)."""
    said = ", ".join(f"r.{c} AS r_{c}" for c in FILLED)
    run(
        con,
        f"CREATE OR REPLACE TEMP TABLE known AS SELECT a.*, {said}, r.since, r.siren IS NOT NULL AS r_found "
        "FROM accounts AS a LEFT JOIN register AS r ON r.siren = coalesce(a.siren, left(a.siret, 9))",
    )


def _in_time(column: str) -> str:
    """Whether any moment of a version lies where the register's value counts."""
    return "(since IS NULL OR valid_to > since)" if column in DATED else "true"


def _fills(column: str) -> str:
    """Whether a version's column is filled, if only from `since` on; the year goes with the register's band."""
    filled = f"{column} IS NULL AND r_{column} IS NOT NULL AND {_in_time(column)}"
    if column == "headcount_band_year":
        filled += " AND coalesce(headcount_band, r_headcount_band) = r_headcount_band"
    return f"({filled})"


def _conflicts(column: str) -> str:
    """Whether an account's latest version says otherwise; a band of another year and an activity in words do not."""
    differs = f"valid_to = {NEVER} AND {column} <> r_{column}"
    if column == "headcount_band":
        differs += " AND coalesce(headcount_band_year = r_headcount_band_year, true)"
    if column == "headcount_band_year":
        differs += " AND headcount_band = r_headcount_band"
    if column == "industry":
        plain = "upper(replace(replace(industry, '.', ''), ' ', ''))"
        differs += rf" AND regexp_full_match({plain}, '\d{{4}}[A-Z]') AND {plain} <> replace(r_industry, '.', '')"
    if column == "legal_form":
        differs += r" AND regexp_full_match(legal_form, '\d{4}')"
    return f"({differs})"


def _accounts(con: Any) -> dict[str, int]:
    row = run(
        con,
        "SELECT count(*) FILTER (found), count(*) FILTER (numbered AND NOT found), count(*) FILTER (NOT numbered) "
        "FROM (SELECT bool_or(r_found) AS found, bool_or(siren IS NOT NULL OR siret IS NOT NULL) AS numbered "
        "FROM known GROUP BY account_id)",
    )[0]
    return dict(zip(("found", "not_found", "without_siren"), map(int, row), strict=True))


def _completed(tables: Tables, filled: Mapping[str, int]) -> pa.Table:
    """The accounts as a file holds them, each version filled, and parted where band or category begin to count."""
    con = tables.connection.con
    columns = tables.dataset.columns("accounts")
    dated = " OR ".join(_fills(c) for c in DATED)
    parted = f"(coalesce(since > valid_from, false) AND ({dated}))"
    written = [c for c in columns if c in tables.present["accounts"] or filled.get(c) or c == "observed_at"]

    def select(dated_too: str, observed_at: str, where: str) -> str:
        out = []
        for name in written:
            value = observed_at if name == "observed_at" else ident(name)
            if name in FILLED:
                when = _fills(name) + (f" AND {dated_too}" if name in DATED else "")
                value = f"CASE WHEN {when} THEN r_{name} ELSE {value} END"
            if columns[name].kind == "time":
                value = f"make_timestamptz({value})"
            elif columns[name].kind == "date":
                value = f"make_timestamp({value})::DATE"
            out.append(f"{value} AS {ident(name)}")
        return f"SELECT {', '.join(out)} FROM known WHERE {where}"

    own = f"CASE WHEN valid_from > {ALWAYS} THEN valid_from END"
    before = select(f"NOT {parted}", own, "true")
    after = select("true", "since", parted)
    result: pa.Table = con.sql(
        f"{before} UNION ALL {after} ORDER BY account_id, observed_at NULLS FIRST"
    ).to_arrow_table()
    if "observed_at" not in tables.present["accounts"] and result["observed_at"].null_count == result.num_rows:
        result = result.drop_columns(["observed_at"])
    return result


def _conflict_list(con: Any) -> str:
    """Each conflict in a line of CSV: the account, the column, what the data and what the register say."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("account_id", "siren", "column", "given", "register"))
    each = []
    for column in FILLED:
        shown = [f"make_timestamp({c})::DATE" if column == "founded_on" else c for c in (column, f"r_{column}")]
        number = "coalesce(siren, left(siret, 9))"
        each.append(
            f"SELECT account_id, {number}, {quote(column)}, {shown[0]}::VARCHAR, {shown[1]}::VARCHAR "
            f"FROM known WHERE {_conflicts(column)}"
        )
    writer.writerows(run(con, f"{' UNION ALL '.join(each)} ORDER BY ALL"))
    return text.getvalue()
