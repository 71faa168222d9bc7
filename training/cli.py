"""The command `leadscore`: thin, over the same calls that notebooks make."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from features.errors import BadInput, LeadscoreError

if TYPE_CHECKING:
    from features.tables import Tables
    from training.registry import Home
    from training.sources import Summary

UsageError: Any = typer.BadParameter.__base__


class _Commands(TyperGroup):
    """The commands; with ``--json``, a call that cannot be understood is answered in JSON as other refusals are."""

    def main(self, *args: Any, **settings: Any) -> Any:
        given = args[0] if args else settings.get("args")
        if "--json" not in (sys.argv[1:] if given is None else list(given)):
            return super().main(*args, **settings)
        try:
            code = super().main(*args, **{**settings, "standalone_mode": False})
        except UsageError as error:
            where = error.ctx.command_path if error.ctx else "leadscore"
            _refuse(BadInput("bad_usage", error.format_message(), where=where, remedy=f"See {where} --help."), True)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    name="leadscore",
    cls=_Commands,
    help="Lead scoring for firms that sell to firms: from CRM tables to served conversion probabilities.\n\n"
    "Start with [bold]leadscore demo[/]. With your own tables: [bold]leadscore check DATA[/], then "
    "[bold]leadscore train DATA[/], then [bold]leadscore serve[/].",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder with the tables (Parquet or CSV) and dataset.toml.")]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="LEADSCORE_HOME",
        show_default="./.leadscore",
        help="Where everything is kept: MLflow's database and artifacts, the bundles, the champion pointer.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output; logs stay on stderr.")]
GoalOption = Annotated[
    str | None, typer.Option("--goal", help="Of this goal; default: the one that was promoted first.")
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Refuse (exit code 2) tables in which something seems to know the outcome already."),
]
Time = Annotated[str, typer.Option("--as-of", metavar="T", help="ISO 8601 time; a bare date is its midnight in UTC.")]
_globals: dict[str, Any] = {"home": None, "json": False}


@app.callback()
def _main(home: HomeOption = None, as_json: Json = False) -> None:
    _globals.update(home=home, json=as_json)


def _home(home: Path | None) -> Home:
    from training.registry import Home

    path = home or _globals["home"] or Path(os.environ.get("LEADSCORE_HOME") or ".leadscore")
    return Home(Path(path).absolute(), tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or None)


def _wants_json(as_json: bool) -> bool:
    return as_json or bool(_globals["json"])


def _command(name: str, group: typer.Typer = app) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a command whose function returns what ``--json`` prints and prints for people itself."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            kwargs["as_json"] = as_json = _wants_json(kwargs.get("as_json", False))
            try:
                answer = function(*args, **kwargs)
            except LeadscoreError as error:
                _refuse(error, as_json)
            except KeyboardInterrupt:
                raise typer.Exit(130) from None
            if as_json and answer is not None:
                print(json.dumps(answer, ensure_ascii=False, allow_nan=False))

        return group.command(name)(run)

    return register


def _refuse(error: LeadscoreError, as_json: bool) -> NoReturn:
    """Say what is wrong, for people on standard error, and end with the error's exit code."""
    from rich.console import Console
    from rich.markup import escape

    if as_json:
        print(json.dumps({"error": error.to_json()}, ensure_ascii=False, default=str))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    problems = error.details.get("problems") or [error.to_json()]
    for problem in problems:
        place = f"[bold]{escape(problem['where'])}[/]: " if problem["where"] else ""
        console.print(f"[red]error[/] ({problem['code']}) {place}{escape(problem['message'])}")
        for row in problem.get("details", {}).get("rows", ()):
            console.print(f"    {escape(json.dumps(row, ensure_ascii=False, default=str))}")
        if problem["remedy"]:
            console.print(f"    [green]->[/] {escape(problem['remedy'])}")
    sys.exit(error.exit_code)


def _print(*parts: Any) -> None:
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(*parts)


def _warn(warnings: Iterable[Mapping[str, Any]]) -> None:
    """The warnings for people; what seems to know the outcome stands out, since it makes every figure too good."""
    from rich.markup import escape

    for warning in warnings:
        colour = "bold red" if warning["code"] == "suspected_leak" else "yellow"
        _print(f"[{colour}]warning[/] ({warning['code']}) {escape(warning['text'])}")


def _table(columns: list[str], rows: list[list[Any]], title: str = "") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*[str(cell) for cell in row])
    Console(highlight=False).print(table)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on standard error that tells the stage of long work; plain lines where it is no terminal."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    with console.status("") as status:

        def say(text: str) -> None:
            console.print(f"[dim]{text}[/]")
            status.update(text)

        yield say


def _read(data: Path, need_outcomes: bool = False) -> Tables:
    from time import time_ns

    from features.tables import read_tables

    return read_tables(data, now=time_ns() // 1000, need_outcomes=need_outcomes)


def _moment(text: str | None, option: str) -> int | None:
    from features.contract import parse_moment

    if text is None:
        return None
    try:
        return parse_moment(text)
    except ValueError as error:
        raise BadInput(
            "bad_time",
            f"{text!r}: {error}.",
            where=option,
            remedy="Write an ISO 8601 time with its zone, or a date: 2026-03-01T09:00:00Z, 2026-03-01.",
        ) from None


def _until(tables: Tables, text: str | None) -> int | None:
    """The end of the data that ``--until`` names; refused where it lies in the future or before all data."""
    from time import time_ns

    from features.tables import check_until

    at = _moment(text, "--until")
    if at is not None:
        check_until(tables, at, time_ns() // 1000)
    return at


@_command("demo")
def demo(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(help="Port on loopback.", min=1, max=65535)] = 3000,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Stop before serving.")] = False,
    prospects: Annotated[int, typer.Option(help="How many prospects to simulate.", min=200, max=200_000)] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.", min=0)] = 0,
    as_json: Json = False,
) -> dict[str, Any] | None:
    """Simulate a CRM, train, promote, serve, and show a request with its answer."""
    from training.demo import run_demo

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    return run_demo(
        _home(home), port=port, serve=not no_serve, prospects=prospects, seed=seed, as_json=as_json, say=say
    )


@_command("simulate")
def simulate_(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it must be new or empty.")],
    prospects: Annotated[int, typer.Option(help="How many prospects.", min=10, max=1_000_000)] = 5000,
    days: Annotated[int, typer.Option(help="How many days.", min=30, max=3650)] = 365,
    seed: Annotated[int, typer.Option(help="Same seed, same tables.", min=0)] = 0,
    truth: Annotated[
        bool, typer.Option("--truth", help="Write truth.parquet too: the true probabilities at the end of the data.")
    ] = False,
    draws: Annotated[int, typer.Option(help="Simulated futures per prospect, for --truth.", min=2, max=100_000)] = 500,
    as_json: Json = False,
) -> dict[str, Any]:
    """Write the tables of a simulated CRM: accounts, contacts, prospects, events, outcomes.

    With --truth also truth.parquet, which no other command reads: a row for each
    prospect open at the end of the data, with

    - prospect_id, as_of, and still_open: the chance that it has not closed
      already, without a record yet
    - probability_30d, _60d, _90d: the true probability of a win within so many
      days, given everything recorded by then
    - error_30d, _60d, _90d: their Monte Carlo errors

    Divided by still_open, a probability is that of a prospect that really is
    open: what a model is trained for. It takes about 40 ms for each row.
    """
    from training.simulate import simulate
    from training.sources.folder import check_target

    check_target(out)
    answer: dict[str, Any] = {"out": str(out), "prospects": prospects, "days": days, "seed": seed}
    with _progress() as say:
        say(f"simulating {prospects} prospects over {days} days")
        world = simulate(prospects=prospects, days=days, seed=seed)
        found = None
        if truth:
            said = 0

            def progress(done: int) -> None:
                nonlocal said
                if done * 10 // draws > said:
                    said = done * 10 // draws
                    say(f"{done} of {draws} futures drawn")

            say("computing the true probabilities of the prospects open at the end")
            found = world.truth(draws=draws, progress=progress)
            answer["truth"] = {"file": str(out / "truth.parquet"), "rows": len(found), "draws": draws}
        world.write(out, truth=found)
    if not as_json:
        if found is not None:
            _print(f"The truth of {len(found)} open prospects: {out / 'truth.parquet'}")
        _print(f"Wrote {out}. Next: leadscore check {out}, then leadscore train {out}")
    return answer


@_command("import")
def import_(
    source: Annotated[str, typer.Argument(help="Which origin: olist, relax, x_education; or sirene.")],
    folder: Annotated[Path, typer.Argument(help="Folder with the origin's own files; for sirene, your data folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it must be new or empty.")],
    register: Annotated[
        Path | None, typer.Option("--register", help="For sirene: the extract of StockUniteLegale, Parquet or CSV.")
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Turn the files of a known origin into the tables of the data contract.

    sirene completes a data folder instead: its accounts, by their siren, with
    what the French register of firms says of them: activity, headcount band
    and its year, category, legal form, founding day, public body, local
    authority. What your data say already stays as it is.
    """
    from training.sources import REGISTERS, SOURCES

    if source not in {**SOURCES, **REGISTERS}:
        known = ", ".join((*SOURCES, *REGISTERS))
        raise BadInput("unknown_source", f"there is no importer {source!r}.", where="SOURCE", remedy=f"Use {known}.")
    if (register is None) == (source in REGISTERS):
        message = "the register's file is missing." if register is None else f"{source} reads no register."
        remedy = "Add --register FILE." if register is None else "Leave --register out."
        raise BadInput("bad_usage", message, where="--register", remedy=remedy)
    summary: Summary
    if register is not None:
        summary = enriched = REGISTERS[source](folder, register, out)
        if not as_json:
            columns = [[name, enriched.filled[name], enriched.conflicts[name]] for name in enriched.filled]
            _table(["column of accounts", "filled", "conflicts"], columns)
            found, absent, bare = (enriched.accounts[how] for how in ("found", "not_found", "without_siren"))
            _print(f"Accounts: {found} found, {absent} not in the register, {bare} without a siren.")
            if any(enriched.conflicts.values()):
                _print("Conflicts stand in sirene_conflicts.csv; what the data said was kept.")
    else:
        summary = SOURCES[source](folder, out)
    if not as_json:
        _table(["table", "rows"], [[name, count] for name, count in summary.rows.items()])
        for reason, count in summary.set_aside.items():
            _print(f"[yellow]set aside[/] {count}: {reason} (listed in set_aside.csv)")
        for note in summary.notes:
            _print(f"[yellow]note[/] {note}")
        _print(f"Wrote {out}. Next: leadscore train {out}")
    return summary.to_json()


@_command("check")
def check(data: Data, strict: Strict = False, as_json: Json = False) -> dict[str, Any]:
    """Check a data folder: what is wrong with rows and remedy, what is odd with counts, what is hindsight.

    Rows that break the contract are refused. With outcomes, every column, event
    type and id is asked whether it knows the outcome that it should help to
    predict: filled only when a prospect is decided, written after the fact
    with an early date, changed at the outcome's time, or telling winners
    apart almost alone. Each suspect is a warning (suspected_leak) with its
    name, the sign it shows, the numbers and what to do, most often:

    - a column filled in later: declare it known = "never" in dataset.toml, or
      give its history, a row for each version with observed_at
    - an event written after the fact: give the true recorded_at
    """
    from rich.markup import escape

    from features.contract import format_time
    from training.audit import audit, refuse
    from training.page import within

    tables = _read(data)
    with _progress() as say:
        if tables.outcomes is not None:
            say("looking for columns and events that know the outcome")
        suspects = audit(tables)
    if strict:
        refuse(suspects)
    goal = tables.dataset.goal
    if not as_json:
        _table(["table", "rows"], [[name, count] for name, count in tables.rows.items()])
        for note in tables.notes:
            _print(f"[yellow]note[/] ({note.code}) {escape(f'{note.where}: {note.text}')}")
        _warn(s.warning() for s in suspects)
        kept = "[green]ok[/] The tables keep the contract"
        if suspects:
            kept += ", but a model would learn from hindsight: see the warnings (leadscore train --strict refuses)"
        horizon = within(goal.to_json()["horizon_days"])
        _print(f"{kept}. Goal: {goal.outcome} {horizon}; the data ends {format_time(tables.until)}.")
    notes = [{"code": n.code, "text": n.text, "count": n.count, "where": n.where} for n in tables.notes]
    return {
        "ok": True,
        "rows": dict(tables.rows),
        "until": format_time(tables.until),
        "digest": tables.digest,
        "goal": goal.to_json(),
        "warnings": [*notes, *(s.to_json() for s in suspects)],
    }


@_command("train")
def train_(
    data: Data,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="T", help="Use only what was recorded by T. A date is its midnight."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="SPEC", help="Feature spec (JSON) to train on; default: derived from DATA."),
    ] = None,
    no_promote: Annotated[bool, typer.Option("--no-promote", help="Register the version, promote nothing.")] = False,
    trials: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="For the patient: search N more models with Optuna, at the fit and at every cut that judges it. "
            "What is found is taken only where it is clearly better on a cut that the search has not seen.",
            min=0,
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Same data and seed, same model.", min=0)] = 0,
    strict: Strict = False,
    without_effort: Annotated[
        bool,
        typer.Option(
            "--without-effort", help="Leave out what counts outbound events: what sales did, not the prospect."
        ),
    ] = False,
    home: HomeOption = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Train on the tables, judge forward in time, register a version, and promote it if it deserves it."""
    from rich.markup import escape

    from training.run import read_features, train

    tables = _read(data, need_outcomes=True)
    at = _until(tables, until)
    spec = None if features is None else read_features(features, tables.dataset)
    with _progress() as say:
        done = train(
            tables,
            home=_home(home),
            features=spec,
            until=at,
            promote=not no_promote,
            trials=trials,
            seed=seed,
            strict=strict,
            effort=not without_effort,
            say=say,
        )
    if not as_json:
        figures, interval = (done.metrics, done.metrics.get("interval", {}))
        rows = [
            [name, _figure(figures.get(name)), *(_figure(end) for end in interval.get(name, ()))]
            for name in ("auc", "log_loss", "log_loss_gain", "brier_skill", "calibration_error", "lift_top_tenth")
        ]
        _table(["forward in time", "figure", "low", "high"], rows)
        if "by_regime" in figures:
            names = ("auc", "log_loss_gain", "calibration_error", "lift_top_tenth")
            _table(
                ["regime", "horizon", "rows", *(name.replace("_", " ") for name in names)],
                [
                    [f["level"], str(f.get("horizon_days", "")), str(f["n"]), *(_figure(f[name]) for name in names)]
                    for f in figures["by_regime"]
                ],
            )
        for part in ("account", "effort"):
            if text := (done.model.card.get(part) or {}).get("text"):
                _print(escape(text))
        _warn(done.warnings)
        word = "[green]promoted[/]" if done.promoted else "not promoted"
        _print(f"Version {done.version} {word}: {done.reason}")
        _print(escape(f"Report: {done.report_at}"))
        _print("Next: leadscore serve" if done.promoted else f"Next: leadscore promote {done.version}")
    return done.to_json()


@_command("dataset")
def dataset_(
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write: .parquet or .csv.")],
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="T", help="Use only what was recorded by T. A date is its midnight."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="SPEC", help="Feature spec (JSON) to compute; default: derived from DATA."),
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Write the training table itself, and its feature spec beside it, to model it your own way.

    A line is a prospect at a landmark t. Its columns:

    - prospect_id, as_of (t), age_days
    - account_id: keep the lines of one account in one fold
    - the raw features
    - horizon_days: the line's own horizon
    - converted: 1 when the goal came within it, else 0; empty where it was not
      wholly observed by T (less the usual delay of recording)
    - goal_at: the goal's first outcome; empty if none is known
    - observed_days: for how long after t it is known whether the goal came

    For a pooled hazard, a line counts in the interval from a to b days when
    goal_at is empty or after t + a days, and b is at most observed_days; its
    label there is whether goal_at is at most t + b days.

    The spec trains: leadscore train DATA --features FILE.spec.json
    """
    from features.contract import format_time
    from features.standard import standard_features
    from features.tables import known_by
    from training.dataset import build
    from training.export import check_output, spec_path, write_training_table
    from training.goal import edges
    from training.run import read_features

    check_output(out, spec_path(out), data=data)
    tables = _read(data, need_outcomes=True)
    at = _until(tables, until)
    spec = None if features is None else read_features(features, tables.dataset)
    with _progress() as say:
        tables = tables if at is None else known_by(tables, at)
        say("building the training rows")
        training_set = build(tables, standard_features(tables) if spec is None else spec, with_open=False)
        say(f"writing {training_set.counts['rows']} rows")
        frame = write_training_table(training_set, out)
    labelled = int(frame["converted"].notna().sum())
    if not as_json:
        _print(
            f"Wrote {len(frame)} landmarks of {training_set.counts['prospects']} prospects, {labelled} of them with a "
            f"label, to {out}. Next: leadscore train {data} --features {spec_path(out)}"
        )
    return {
        "out": str(out),
        "spec": str(spec_path(out)),
        "rows": len(frame),
        "labelled": labelled,
        "columns": list(frame.columns),
        "features": list(training_set.features.names),
        "counts": dict(training_set.counts),
        "goal": training_set.goal.to_json(),
        "edges": list(edges(training_set.goal)),
        "until": format_time(training_set.until),
        "observed_until": format_time(training_set.observed_until),
    }


def _figure(value: Any) -> str:
    return "" if value is None else f"{value:.4f}"


@_command("score")
def score(
    data: Data,
    as_of: Time,
    out: Annotated[Path, typer.Option("--out", help="File to write: .parquet or .csv.")],
    version: Annotated[str | None, typer.Option("--version", help="Score with this version, not the champion.")] = None,
    goal: Annotated[str | None, typer.Option(help="Score for this goal; default: that of DATA.")] = None,
    reasons: Annotated[bool, typer.Option("--reasons", help="Add the reasons, as JSON text.")] = False,
    home: HomeOption = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Score the prospects open at T, with the champion."""
    from serving.batch import table_warnings
    from training.export import check_output
    from training.run import load_scorer, write_scores

    at = _moment(as_of, "--as-of")
    assert at is not None
    check_output(out)
    tables = _read(data)
    scorer = load_scorer(_home(home), goal=goal or tables.dataset.goal.outcome, version=version)
    with _progress() as say:
        say("scoring")
        rows = write_scores(scorer, tables, at, out, reasons=reasons)
    warnings = table_warnings(scorer, tables, at)
    if not rows:
        warnings.append({"code": "no_open_prospects", "text": "No prospect was open at this time: nothing was scored."})
    if not as_json:
        _warn(warnings)
        _print(f"Scored {rows} open prospects for {scorer.goal.outcome} with version {scorer.version} into {out}.")
    return {
        "rows": rows,
        "out": str(out),
        "as_of": as_of,
        "goal": scorer.goal.outcome,
        "model_version": scorer.version,
        "warnings": warnings,
    }


@_command("serve")
def serve(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on; loopback unless told otherwise.")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1, max=64)] = 1,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Serve the champion: POST /score and /score_batch."""
    from serving.run import serve as run

    run(_home(home).path, host=host, port=port, workers=workers)


def _of_goal(home: Path | None, goal: str | None) -> tuple[Home, str]:
    """The home, and the goal whose versions are meant."""
    from training.registry import default_goal

    place = _home(home)
    return place, goal or default_goal(place)


def _say_champion(text: str, notes: Iterable[str], as_json: bool) -> None:
    if not as_json:
        _print(text)
        for note in notes:
            _print(f"[yellow]note[/] {note}")


def _store(home: Home) -> Any:
    """The store of live records: LEADSCORE_STORE, else the file under the home."""
    from serving.settings import Settings
    from serving.store import open_store, store_url

    settings = Settings.from_environment(os.environ)
    return open_store(store_url(settings.store, home.path))


@_command("load")
def load(data: Data, home: HomeOption = None, as_json: Json = False) -> dict[str, Any]:
    """Load the history of DATA into the store of live records, with its own times.

    So a score by prospect_id rests on all of it from the first day. What is
    there already is passed over: a load may be repeated, or started again
    where it was broken off.
    """
    from training.backfill import load_tables

    tables = _read(data)
    with _progress() as say:
        store = _store(_home(home))
        loaded = load_tables(tables, store, say)
        store.close()
    if not as_json:
        counts = [[t, n, loaded.repeated[t], loaded.erased[t]] for t, n in loaded.accepted.items()]
        _table(["table", "new", "there before", "erased"], counts)
        _print(f"The live records: {store.url}")
    return {"store": store.url, **loaded.to_json()}


@_command("export")
def export(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; it must be new or empty.")],
    home: HomeOption = None,
    goal: GoalOption = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Write the live records as a data folder, to check and to train with.

    Every record bears the time from which it was known. Who was erased is not
    there.
    """
    from training.live_export import champion_dataset, export_folder

    place = _home(home)
    store = _store(place)
    done = export_folder(store, out, champion_dataset(place.path, goal))
    store.close()
    if not as_json:
        _table(["table", "rows"], [[table, count] for table, count in done.rows.items()])
        for table, count in done.orphans.items():
            _print(f"[yellow]left out[/] {count} {table} of prospects without a record")
        for table, columns in done.inferred.items():
            _print(f"[yellow]inferred[/] the kinds of {table}: {', '.join(f'{n} ({k})' for n, k in columns.items())}")
        for column, count in done.unreadable.items():
            _print(f"[yellow]left out[/] {count} values of {column}: not of the kind that is declared")
        _print(f"Wrote {out}. Next: leadscore check {out}, then leadscore train {out}")
    return {"out": str(out), **done.to_json()}


@_command("models")
def models(goal: GoalOption = None, home: HomeOption = None, as_json: Json = False) -> dict[str, Any]:
    """List the versions: which one is the champion, their figures, and why each was promoted or not."""
    from features.contract import format_time
    from training.registry import versions

    place, goal = _of_goal(home, goal)
    found = versions(place, goal)
    if not as_json and not found:
        _print(f"There are no versions for `{goal}` under {place.path}. Train one: leadscore train DATA")
    elif not as_json:
        _table(
            ["version", "alias", "created", "auc", "log loss", "decision"],
            [
                [
                    v.version,
                    ", ".join(v.aliases),
                    format_time(v.created_at)[:16],
                    _figure(v.metrics.get("rolling_auc")),
                    _figure(v.metrics.get("rolling_log_loss")),
                    v.reason,
                ]
                for v in found
            ],
        )
    return {"models": [v.to_json() for v in found]}


@_command("monitor")
def monitor(
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="Folder with the tables up to now; default: the live records."),
    ] = None,
    goal: GoalOption = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Compare what the champion said with what came since, and say whether the world has moved.

    What counts has had its time: of a chance within 90 days, 90 days have gone
    by. Receipts are the answers that were given; the champion is also asked
    again about every week after its training. Ratio is outcomes observed over
    expected; 1 is right. Warnings:

    - outcomes_differ: clearly more or fewer outcomes than were expected
    - drift: the rate, or the spread of scores, has moved since the training
    - too_early: nothing has had its time yet
    """
    from serving.settings import Settings
    from training.monitor import live_tables, receipts_of, watch
    from training.run import load_scorer

    place, goal = _of_goal(home, goal)
    scorer = load_scorer(place, goal=goal)
    url = getattr(Settings.from_environment(os.environ), "store", "")
    with _progress() as say:
        say("reading the records")
        tables = live_tables(place.path, goal, url) if data is None else _read(data, need_outcomes=True)
        receipts = receipts_of(place.path, goal, url)
        say("comparing what was said with what came")
        found = watch(tables, scorer, receipts=receipts)
    if not as_json:
        names = ("days", "n", "expected", "observed", "ratio", "low", "high", "auc")
        rows: list[list[Any]] = []
        for line in found["matured"]:
            cells = ["" if line[c] is None else line[c] for c in names]
            shown = [f"{cell:.2f}" if isinstance(cell, float) else cell for cell in cells]
            rows.append([f"{line['source']} {line['version']}", *shown])
        _table(["said by version", *names], rows)
        _warn(found["warnings"])
        kept = "" if receipts is not None else " No receipts are kept here."
        _print(
            f"Version {found['model_version']} for {goal}, trained until {found['trained_until'][:10]}; "
            f"the records end {found['until'][:10]}.{kept}"
        )
    return found


@_command("doctor")
def doctor(
    port: Annotated[int, typer.Option(help="Port of the service on this machine.", min=1, max=65535)] = 3000,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Check a set-up and say what is wrong with it, with the way out; exit code 1 where something is.

    Looked at: Python and its packages, the settings, the clock, the home and
    its disk, the champion and its bundle, MLflow, the live records, the API
    keys, and the service or its port. Nothing is changed.
    """
    from rich.markup import escape

    from training.doctor import examine

    with _progress() as say:
        found = examine(_home(home), port=port, say=say)
    wrong = [check for check in found if check.state == "wrong"]
    if as_json:
        print(json.dumps({"ok": not wrong, "checks": [c.to_json() for c in found]}, ensure_ascii=False))
    else:
        colours = {"ok": "green", "note": "yellow", "wrong": "bold red", "skipped": "dim"}
        for check in found:
            _print(f"[{colours[check.state]}]{check.state:8}[/] {check.name:9} {escape(check.text)}")
            if check.remedy and check.state != "ok":
                _print(f"{'':19}[green]->[/] {escape(check.remedy)}")
    if wrong:
        raise typer.Exit(1)


@_command("promote")
def promote(
    version: Annotated[str, typer.Argument(help="A version as `leadscore models` lists it.")],
    goal: GoalOption = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Make a version the champion; running services pick it up by themselves."""
    from training import registry

    place, goal = _of_goal(home, goal)
    champion = registry.promote(version, home=place, goal=goal, reason="promoted by hand")
    undo = f" `leadscore rollback` returns to version {champion.previous}." if champion.previous else ""
    _say_champion(f"Version {version} is the champion.{undo}", champion.notes, as_json)
    return {"version": version, "champion": True}


@_command("rollback")
def rollback(goal: GoalOption = None, home: HomeOption = None, as_json: Json = False) -> dict[str, Any]:
    """Make the champion before this one the champion again."""
    from training import registry

    place, goal = _of_goal(home, goal)
    champion = registry.rollback(home=place, goal=goal)
    _say_champion(f"Version {champion.version} is the champion again.", champion.notes, as_json)
    return {"version": champion.version, "champion": True}


keys = typer.Typer(
    help="API keys: who may call the service. Without any key it answers only clients on its own machine.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(keys, name="keys")


@_command("add", keys)
def keys_add(
    name: Annotated[str, typer.Argument(help="What will use the key, such as crm.")],
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope",
            help="score: ask for scores. write: send and read records. admin: everything. May be repeated.",
        ),
    ],
    home: HomeOption = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Make an API key and print it, this once: only its hash is kept.

    Clients send it as Authorization: Bearer KEY, or as X-API-Key: KEY. Running
    services take it within a second. From the first key on, every client needs
    one, also on this machine.
    """
    from rich.markup import escape

    from serving.keys import add_key

    key, text = add_key(_home(home).path, name, scope)
    if not as_json:
        _print(f"Key {key.id} for {escape(key.name)}, scope {', '.join(key.scopes)}. It is shown only now:")
        print(text)
    return {**key.to_json(), "key": text}


@_command("list", keys)
def keys_list(home: HomeOption = None, as_json: Json = False) -> dict[str, Any]:
    """List the API keys: their ids, names and scopes."""
    from rich.markup import escape

    from serving.keys import read_keys

    found = read_keys(_home(home).path)
    if not as_json and not found:
        _print(
            "There are no keys: the service answers only clients on its own machine."
            if found is None
            else "Every key was revoked: the service answers nobody until you make one: leadscore keys add NAME"
        )
    elif not as_json:
        rows = [[k.id, escape(k.name), ", ".join(k.scopes), k.created_at[:16]] for k in found or ()]
        _table(["id", "name", "scopes", "created"], rows)
    return {"keys": [key.to_json() for key in found or ()]}


@_command("revoke", keys)
def keys_revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id as `leadscore keys list` shows it.")],
    home: HomeOption = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Revoke an API key; running services refuse it within a second."""
    from rich.markup import escape

    from serving.keys import revoke_key

    key, left = revoke_key(_home(home).path, key_id)
    if not as_json:
        _print(f"Key {key.id} ({escape(key.name)}) is revoked.")
        if not left:
            _print("It was the last one: the service answers nobody until you make another.")
    return {**key.to_json(), "left": left}


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
