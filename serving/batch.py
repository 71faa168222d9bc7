"""From tables to answers: the prospects open at a time, scored as one batch, and the requests for single scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING, Any

from features.contract import STANDARD, Column, format_time
from features.errors import BadInput
from features.spec import Attribute, FeatureSet, walk
from serving.values import plain

if TYPE_CHECKING:
    from features.tables import Tables
    from serving.scorer import Score, Scorer


def score_tables(
    scorer: Scorer,
    tables: Tables,
    as_of: int,
    *,
    reasons: int = 0,
    prospect_ids: Sequence[str] | None = None,
) -> list[Score]:
    """Score the prospects open at ``as_of`` (or the given ones) in one batch, in the order of prospect_id.

    The features run in the engine, the scorer is the service's own. Raises BadInput when the tables lack a declared
    column that the model uses.
    """
    from features.episodes import open_prospects
    from features.offline import feature_table
    from features.regimes import with_regime

    check_columns(scorer.spec, tables)
    rows = open_prospects(tables, scorer.goal, as_of)
    if prospect_ids is not None:
        rows = rows.filter(rows.prospect_id.isin(list(prospect_ids)))
    frame = feature_table(scorer.spec, tables, rows)
    found = with_regime(tables, rows.select("prospect_id", "as_of"), scorer.spec.dataset)
    regimes = {r["prospect_id"]: r["regime"] for r in found.select("prospect_id", "regime").to_pyarrow().to_pylist()}
    table = frame.order_by("prospect_id").to_pyarrow()
    ids = table["prospect_id"].to_pylist()
    columns = [table[name].to_pylist() for name in scorer.spec.names]
    return scorer.score_rows(
        [list(row) for row in zip(*columns, strict=True)],
        prospect_ids=ids,
        as_of=[as_of] * len(ids),
        regimes=[regimes.get(i) for i in ids],
        reasons=reasons,
    )


def check_columns(spec: FeatureSet, tables: Tables) -> None:
    """Raise BadInput where a declared column of the model's data set is not declared in these tables."""
    for table in ("prospects", "accounts"):
        if getattr(tables, table) is None:  # unknown: its features are missing, and ``table_warnings`` says so
            continue
        wanted, have = spec.dataset.declared_columns(table), tables.dataset.columns(table)
        parts = (part for feature in spec.features for part in walk(feature))
        used = {part.column for part in parts if isinstance(part, Attribute) and part.table == table}
        for name in sorted(used & set(wanted)):
            if name not in have or have[name].kind != wanted[name].kind:
                raise BadInput(
                    "missing_column",
                    f"the model uses the {wanted[name].kind} `{name}`, which these tables do not declare as such.",
                    where=f"dataset.toml: [{table}.columns]",
                    remedy=f'Declare {name} = {{kind = "{wanted[name].kind}"}} and supply it, or train without it.',
                )


def table_warnings(scorer: Scorer, tables: Tables, as_of: int) -> list[dict[str, str]]:
    """What a reader of the scores should know of the tables, as {code, text}: what is absent, a time past the data."""
    out = []
    for table, part in (("events", "events"), ("contacts", "contacts"), ("accounts", "account")):
        if scorer.needs[part] and getattr(tables, table) is None:
            text = f"There is no table of {table}: the features that need it are missing."
            out.append({"code": f"{table}_unknown", "text": text})
    if tables.outcomes is None:
        text = "There is no table of outcomes: who is closed is unknown"
        text += ", and the features that need it are missing." if scorer.needs["outcomes"] else "."
        out.append({"code": "outcomes_unknown", "text": text})
    until = tables.until
    if as_of > until:
        text = f"The data end {format_time(until)}, before the time that is scored: what came since is unknown."
        out.append({"code": "as_of_after_data", "text": text})
    return out


def requests(tables: Tables, as_of: int, prospect_ids: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The body of ``POST /score`` for each prospect, with everything known of it at ``as_of``, ordered by id.

    State rows are sent as of ``as_of``; a table that is not in the folder is left out, an empty one is an empty list.
    By default for every prospect created by then.
    """
    world = _World(tables, as_of)
    wanted = sorted(world.created) if prospect_ids is None else list(prospect_ids)
    for prospect_id in wanted:
        yield world.request(prospect_id)


class _World:
    """The rows known at one time, grouped for look-up."""

    def __init__(self, tables: Tables, as_of: int) -> None:
        self.tables, self.as_of = tables, as_of
        self.prospects = {r["prospect_id"]: r for r in self._state("prospects")}
        self.created = self._created()
        self.accounts = {r["account_id"]: r for r in self._state("accounts")}
        self.contacts = {r["contact_id"]: r for r in self._state("contacts")}
        self.events = self._facts("events")
        self.outcomes = self._facts("outcomes")
        self.members: dict[str, list[str]] = defaultdict(list)
        for prospect_id in sorted(self.prospects):
            account_id = self.prospects[prospect_id]["account_id"]
            if account_id is not None:
                self.members[account_id].append(prospect_id)
        self.people: dict[str, list[str]] = defaultdict(list)
        for contact_id in sorted(self.contacts):
            self.people[self.contacts[contact_id]["account_id"]].append(contact_id)

    def _state(self, name: str) -> list[dict[str, Any]]:
        table = getattr(self.tables, name)
        if table is None:
            return []
        found = table.filter(table.valid_from <= self.as_of, table.valid_to > self.as_of).to_pyarrow().to_pylist()
        return list(found)

    def _created(self) -> dict[str, dict[str, Any]]:
        """Every prospect created by now: its row as of now, or the bare bones of one that is observed only later."""
        table = self.tables.prospects
        born = table.filter(table.created_at <= self.as_of)
        first = born.group_by("prospect_id").aggregate(
            created_at=born.created_at.min(), observed_at=born.valid_from.min()
        )
        bare = dict.fromkeys((*(c.name for c in STANDARD["prospects"]), *self._declared("prospects")))
        return {
            row["prospect_id"]: self.prospects.get(row["prospect_id"], {**bare, **row})
            for row in first.to_pyarrow().to_pylist()
        }

    def _declared(self, table: str) -> dict[str, Column]:
        return self.tables.dataset.declared_columns(table)

    def _facts(self, name: str) -> dict[str, list[dict[str, Any]]]:
        import ibis

        from features.tables import lasting

        table = getattr(self.tables, name)
        out: dict[str, list[dict[str, Any]]] = defaultdict(list)
        if table is not None:
            known = table.filter(table.occurred_at <= self.as_of, table.recorded_at <= self.as_of)
            if name == "events":  # of what is known now, a later retraction is not
                known = known.filter(lasting(known, self.as_of)).mutate(retracted_at=ibis.null("int64"))
            for row in known.order_by(["prospect_id", "occurred_at", "recorded_at"]).to_pyarrow().to_pylist():
                out[row["prospect_id"]].append(row)
        return out

    def request(self, prospect_id: str) -> dict[str, Any]:
        row = self.created.get(prospect_id)
        if row is None:
            raise BadInput(
                "unknown_prospect",
                f"no prospect {prospect_id!r} is known at {format_time(self.as_of)}.",
                where="prospect_id",
                remedy="Check the id and the time.",
            )
        account_id = row["account_id"]
        siblings = [p for p in self.members.get(account_id or "", ()) if p != prospect_id]
        out: dict[str, Any] = {"prospect": self._record("prospects", row)}
        if account_id in self.accounts:
            out["account"] = self._record("accounts", self.accounts[account_id])
        own, theirs = self.events[prospect_id], [e for p in siblings for e in self.events[p]]
        if self.tables.contacts is not None:
            named = {e["contact_id"] for e in (*own, *theirs)} & set(self.contacts)
            people = sorted({*self.people.get(account_id or "", ()), *named})
            out["contacts"] = [self._record("contacts", self.contacts[c], {"account_id"}) for c in people]
        if self.tables.events is not None:
            out["events"] = [self._record("events", e, {"prospect_id"}) for e in own]
        if self.tables.outcomes is not None:
            out["outcomes"] = [self._record("outcomes", o, {"prospect_id"}) for o in self.outcomes[prospect_id]]
        if account_id is not None:
            out["related"] = {"prospects": [self._record("prospects", self.prospects[p]) for p in siblings]}
            if self.tables.events is not None:
                out["related"]["events"] = [self._record("events", e) for e in theirs]
            if self.tables.outcomes is not None:
                out["related"]["outcomes"] = [self._record("outcomes", o) for p in siblings for o in self.outcomes[p]]
        out["as_of"] = format_time(self.as_of)
        return out

    def _record(self, table: str, row: dict[str, Any], implied: Set[str] = frozenset()) -> dict[str, Any]:
        """A canonical row as JSON: standard columns, then the declared ones under ``attributes``."""
        out = {}
        for column in STANDARD[table]:
            if row[column.name] is not None and column.name not in implied:
                out[column.name] = plain(column, row[column.name])
        attributes = {
            name: row[name]
            for name, column in self._declared(table).items()
            if name not in out and row[name] is not None and column.known != "never"
        }
        if attributes:
            out["attributes"] = attributes
        return out
