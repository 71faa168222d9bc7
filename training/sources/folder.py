"""Writing a data folder: every file of it, or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MARK = "# Written by leadscore"  # the first words of a dataset.toml that this module wrote


@dataclass(frozen=True)
class Summary:
    """What an import wrote.

    Attributes:
        source: the name of the importer.
        folder: the data folder that now exists.
        rows: rows written, by table.
        set_aside: rows left out, by reason; each stands in ``set_aside.csv`` of the folder.
        notes: what a reader of the data should know (zones assumed, columns left out), one sentence each.
    """

    source: str
    folder: str
    rows: Mapping[str, int]
    set_aside: Mapping[str, int]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The summary as plain data."""
        return {
            "source": self.source,
            "folder": self.folder,
            "rows": dict(self.rows),
            "set_aside": dict(self.set_aside),
            "notes": list(self.notes),
        }


def check_target(out: Path, *, replace: bool = False) -> None:
    """Raise BadInput when ``out`` may not become a data folder; called before the work, and again before writing.

    An absent or empty folder is fine. With ``replace`` so is one whose ``dataset.toml`` bears our mark; a folder
    of somebody else's files is never replaced.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise BadInput(
            "not_a_folder", "this is a file.", where=str(out), remedy="Name a folder that does not exist yet."
        )
    if not any(out.iterdir()):
        return
    if not replace:
        raise BadInput(
            "folder_not_empty",
            "the folder holds files already; nothing was written.",
            where=str(out),
            remedy="Name another folder, or remove this one first.",
        )
    declaration = out / "dataset.toml"
    if not declaration.is_file() or not declaration.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        raise BadInput(
            "folder_not_ours",
            "the folder holds files that leadscore did not write; nothing was replaced.",
            where=str(out),
            remedy="Name another folder, or remove this one first.",
        )


def write_folder(
    out: Path,
    tables: Mapping[str, pa.Table],
    declaration: str,
    *,
    title: str,
    texts: Mapping[str, str] | None = None,
    copies: Sequence[Path] = (),
    replace: bool = False,
) -> None:
    """Write the Parquet tables, ``dataset.toml``, text files and copies of files as the folder ``out``, all or nothing.

    The files are made in a hidden folder beside ``out``, which is then renamed: whoever looks sees the whole folder
    or none. ``title`` completes the mark in the first line of ``dataset.toml``. Raises BadInput as ``check_target``.
    """
    import pyarrow.parquet as pq

    check_target(out, replace=replace)
    parent = out.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    try:
        for name, table in tables.items():
            pq.write_table(table, made / f"{name}.parquet", compression="zstd")
        (made / "dataset.toml").write_text(f"{MARK}: {title}\n{declaration.strip()}\n", encoding="utf-8")
        for name, text in (texts or {}).items():
            (made / name).write_text(text, encoding="utf-8", newline="")
        for path in copies:
            shutil.copyfile(path, made / path.name)
        made.chmod(0o777 & ~_umask())
        if out.exists() and any(out.iterdir()):
            check_target(out, replace=replace)
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=parent))
            os.replace(out, old)
            try:
                os.replace(made, out)
            except OSError:
                os.replace(old, out)
                raise
            shutil.rmtree(old)
        else:
            os.replace(made, out)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


# ---- shared by the importers ----------------------------------------------------------------------------------------


def read_source_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The file with every column as text, empty cells null; raises BadInput when it or a column is missing."""
    import pandas as pd

    if not path.is_file():
        raise BadInput(
            "missing_file",
            "there is no such file.",
            where=str(path),
            remedy=f"Give the folder that holds {path.name}.",
        )
    try:
        frame = pd.read_csv(path, dtype="str", keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError) as e:
        first = str(e).strip().splitlines()[0].rstrip(".")
        raise BadInput(
            "bad_csv",
            f"the file cannot be read as CSV in UTF-8: {first}.",
            where=str(path),
            remedy="Save it again as comma-separated UTF-8 with one header line.",
        ) from None
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise BadInput(
            "missing_column",
            f"the file lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}.",
            where=str(path),
            remedy=f"It has: {', '.join(map(str, frame.columns)) or 'none'}.",
            details={"missing": missing},
        )
    if frame.empty:
        raise BadInput("empty_table", "the file has no rows.", where=str(path), remedy="Give the full export.")
    return frame


def refuse_rows(bad: pd.Series, frame: pd.DataFrame, code: str, what: str, where: str, remedy: str) -> None:
    """Raise BadInput with the count and the first rows (line numbers and content) where ``bad`` is true."""
    count = int(bad.sum())
    if not count:
        return
    first = frame[bad].head(3)
    rows = [
        {"line": int(str(i)) + 2, **{str(k): None if v != v else str(v) for k, v in row.items()}}
        for i, row in first.iterrows()
    ]
    lines = ", ".join(str(r["line"]) for r in rows)
    raise BadInput(
        code,
        f"{count} row{'s' if count > 1 else ''} {what} (first at line {lines}).",
        where=where,
        remedy=remedy,
        details={"count": count, "rows": rows},
    )


def unique_keys(frame: pd.DataFrame, key: str, where: str) -> pd.DataFrame:
    """The frame without identical repeats of a row; raises BadInput on a null key or one key with two contents."""
    refuse_rows(frame[key].isna(), frame, "null_key", f"have no {key}", where, "Give every row its key.")
    frame = frame.drop_duplicates()
    refuse_rows(
        frame[key].duplicated(keep=False),
        frame,
        "conflicting_rows",
        f"share a {key} but differ",
        where,
        "Keep one row for each key.",
    )
    return frame


def moments(frame: pd.DataFrame, column: str, format: str, where: str) -> pd.Series:
    """A column of texts as UTC times of microseconds, null where null; raises BadInput where a text is no time."""
    import pandas as pd

    out = pd.to_datetime(frame[column], format=format, errors="coerce", utc=True)
    refuse_rows(
        out.isna() & frame[column].notna(),
        frame,
        "bad_time",
        f"hold a {column} that is no time like {format}",
        where,
        "Mend or remove these rows.",
    )
    return out.astype("datetime64[us, UTC]")


def days(frame: pd.DataFrame, column: str, where: str) -> pd.Series:
    """A column of days (a time of day, if any, is cut off) as the UTC midnights at their start."""
    cut = frame.assign(**{column: frame[column].str.slice(0, 10)})
    return moments(cut, column, "%Y-%m-%d", where)


def end_of_day(midnight: pd.Series) -> pd.Series:
    """The last microsecond of the day: where a date without a time is stamped, so that nothing is known too early."""
    import pandas as pd

    return midnight + pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)


def toml_time(moment: pd.Timestamp) -> str:
    """A UTC time as ``dataset.toml`` writes it."""
    return moment.tz_convert("UTC").tz_localize(None).isoformat() + "Z"


def arrow(frame: pd.DataFrame) -> pa.Table:
    """The frame as an Arrow table without pandas' own metadata; times in microseconds, texts as plain strings."""
    import pandas as pd
    import pyarrow as pa

    columns = {}
    for name in frame:
        column = frame[name]
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            micros = column.dt.tz_convert(None).to_numpy().astype("datetime64[us]").astype("int64")
            made = pa.array(micros).cast(pa.timestamp("us", tz="UTC"))
        else:
            made = pa.array(column, from_pandas=True)
            if pa.types.is_large_string(made.type) or pa.types.is_null(made.type):
                made = made.cast(pa.string())
        columns[str(name)] = made
    return pa.table(columns)


@dataclass(frozen=True)
class SetAside:
    """The rows an importer leaves out, with why; becomes ``set_aside.csv``."""

    rows: tuple[pd.DataFrame, ...] = ()

    def add(self, table: str, keys: pd.Series, reason: str, details: pd.Series) -> SetAside:
        """One more group of rows: their table, key, reason and what they held."""
        import pandas as pd

        frame = pd.DataFrame(
            {"table": table, "key": keys.to_numpy(), "reason": reason, "details": details.to_numpy()}, dtype="object"
        )
        return SetAside((*self.rows, frame))

    def counts(self) -> dict[str, int]:
        """Rows by reason."""
        out: dict[str, int] = {}
        for frame in self.rows:
            for reason, count in frame["reason"].value_counts().items():
                out[str(reason)] = out.get(str(reason), 0) + int(count)
        return out

    def csv(self) -> str:
        """The file's text; only its header when nothing was left out."""
        import pandas as pd

        head = pd.DataFrame(columns=["table", "key", "reason", "details"])
        frames = [f for f in self.rows if len(f)]
        return str((pd.concat(frames) if frames else head).to_csv(index=False, lineterminator="\n"))
