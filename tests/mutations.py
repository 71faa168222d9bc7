"""Do the agreement tests notice? Each known mistake is put into a copy of ``features/``, and the tests run against it.

``python -m tests.mutations [word ...]`` (part of ``make proofs``) prints for each mutant the tests that failed, and
ends with 1 when one survives or when its text no longer stands in the source. Words select mutants by name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOREVER = "2**62 - 1"
COMPILED = "_groups.pyx"
BUILD = """
import sys
from Cython.Build import cythonize
from setuptools import Extension
from setuptools.dist import Distribution
module = Extension("features._groups", ["features/_groups.pyx"], extra_compile_args=["-O1", "-ffp-contract=off"])
build = Distribution({"ext_modules": cythonize([module], quiet=True), "packages": []}).get_command_obj("build_ext")
build.inplace = 1
build.ensure_finalized()
build.run()
"""
ORDER = '("occurred_at", "recorded_at", "event_id")'
TITLE_FIRST = '(read_title(row.get("job_title")).role or row.get("role"))'


@dataclass(frozen=True)
class Mutation:
    """A mistake: in ``file``, every ``old`` becomes ``new``."""

    name: str
    file: str
    old: str
    new: str


class BreakdownError(Exception):
    """The mutant does not run at all, so that its failing proves nothing."""


MUTATIONS = (
    # The window: open at t - w, closed at t.
    Mutation(
        "offline: window open on the wrong side",
        "offline.py",
        "rows.occurred_at > rows.as_of - aggregate.days * DAY",
        "rows.occurred_at >= rows.as_of - aggregate.days * DAY",
    ),
    Mutation(
        "online: window open on the wrong side",
        "groups.py",
        "bisect_right(times, t - window)",
        "bisect_right(times, t - window - 1)",
    ),
    Mutation(
        "offline: an event at t is not yet known",
        "offline.py",
        "events.occurred_at <= members.as_of",
        "events.occurred_at < members.as_of",
    ),
    Mutation(
        "online: an event at t is not yet known",
        "groups.py",
        "if e.occurred_at <= t and e.recorded_at <= t",
        "if e.occurred_at < t and e.recorded_at <= t",
    ),
    # Events count once they are recorded.
    Mutation(
        "offline: recorded_at ignored",
        "offline.py",
        "        events.recorded_at <= members.as_of,\n",
        "",
    ),
    Mutation(
        "online: recorded_at ignored",
        "groups.py",
        "if e.occurred_at <= t and e.recorded_at <= t",
        "if e.occurred_at <= t",
    ),
    # And until they are retracted.
    Mutation(
        "offline: retractions ignored",
        "tables.py",
        "return events.retracted_at.isnull() | (events.retracted_at > t)",
        "return True",
    ),
    Mutation(
        "offline: gone only after its retraction",
        "tables.py",
        "(events.retracted_at > t)",
        "(events.retracted_at >= t)",
    ),
    Mutation("online: retractions ignored", "groups.py", "t < e.retracted_at", "True"),
    Mutation("online: gone only after its retraction", "groups.py", "t < e.retracted_at", "t <= e.retracted_at"),
    Mutation(
        "online: retractions of the related ignored",
        "groups.py",
        "            and (e.retracted_at is None or t < e.retracted_at)\n",
        "",
    ),
    Mutation(
        "offline: only the first record's retraction", "checks.py", "min(retracted_at) AS earliest", "NULL AS earliest"
    ),
    Mutation("offline: the last retraction holds", "checks.py", "min(retracted_at) AS", "max(retracted_at) AS"),
    Mutation(
        "online: only the first record's retraction", "records.py", "if first.retracted_at != retracted:", "if False:"
    ),
    Mutation(
        "online: a repeat keeps its last recording",
        "records.py",
        "other.recorded_at < one.recorded_at",
        "other.recorded_at > one.recorded_at",
    ),
    Mutation(
        "offline: a repeat keeps its last recording", "checks.py", '"__recorded, __row"', '"__recorded DESC, __row"'
    ),
    Mutation(
        "offline: nanoseconds cut towards 1970",
        "columns.py",
        "(epoch_ns({x}) - ((epoch_ns({x}) % 1000) + 1000) % 1000) // 1000",
        "epoch_ns({x}) // 1000",
    ),
    # State is that as of t.
    Mutation(
        "offline: observed_at of prospects ignored",
        "offline.py",
        "            prospects.p_valid_from <= spine.as_of,\n            prospects.p_valid_to > spine.as_of,\n",
        f"            prospects.p_valid_to > {FOREVER},\n",
    ),
    Mutation(
        "offline: observed_at of accounts ignored",
        "offline.py",
        "            accounts.a_valid_from <= rows.as_of,\n            accounts.a_valid_to > rows.as_of,\n",
        f"            accounts.a_valid_to > {FOREVER},\n",
    ),
    Mutation("online: observed_at ignored", "online.py", "if observed_at <= t and (best is None", "if (best is None"),
    Mutation(
        "online: observed_at of prospects ignored",
        "online.py",
        "as_of(records.prospect, t)",
        f"as_of(records.prospect, {FOREVER})",
    ),
    Mutation(
        "online: observed_at of accounts ignored",
        "online.py",
        "as_of(accounts.get(account_id, ()), t)",
        f"as_of(accounts.get(account_id, ()), {FOREVER})",
    ),
    Mutation(
        "offline: members of the account of today",
        "offline.py",
        "            prospects.from_ <= rows.as_of,\n            prospects.to_ > rows.as_of,\n",
        f"            prospects.to_ > {FOREVER},\n",
    ),
    Mutation(
        "online: members of the account of today",
        "online.py",
        "row = as_of(versions, t)",
        f"row = as_of(versions, {FOREVER})",
    ),
    Mutation(
        "offline: role of today",
        "offline.py",
        "                contacts.contact_from <= joined.as_of,\n                contacts.contact_to > joined.as_of,\n",
        f"                contacts.contact_to > {FOREVER},\n",
    ),
    Mutation(
        "online: role of today",
        "online.py",
        "as_of(contacts.get(contact, ()), t)",
        f"as_of(contacts.get(contact, ()), {FOREVER})",
    ),
    # Sums are of integers.
    Mutation(
        "offline: float sums",
        "aggregates.py",
        "return _double(chosen(events.value, where).sum()) / float(MICRO)",
        "return (chosen(events.value, where).cast('float64') / 1e6).sum()",
    ),
    Mutation(
        "online: float sums",
        "aggregates.py",
        "float(g.sums[-1] - g.sums[start]) / float(MICRO)",
        "sum((v or 0) / 1e6 for v in g.values[start:]) + 0.0",
    ),
    Mutation(
        "offline: float means",
        "aggregates.py",
        "return _double(values.sum()) / number.nullif(0.0)",
        "return (values.cast('float64') / 1e6).mean()",
    ),
    Mutation(
        "online: float means",
        "aggregates.py",
        "float(group.sums[-1] - group.sums[start]) / float(number * MICRO)",
        "sum((v or 0) / 1e6 for v in group.values[start:]) / number",
    ),
    Mutation(
        "offline: negative sums lose their last digit",
        "aggregates.py",
        'return (total < 0).ifelse(-((-total).cast("float64")), total.cast("float64"))',
        'return total.cast("float64")',
    ),
    # Ties go by (occurred_at, recorded_at, event_id).
    Mutation(
        "offline: ties by row order",
        "offline.py",
        '{"occurred_at": joined.occurred_at, "recorded_at": joined.recorded_at, "id": joined.event_id}',
        '{"occurred_at": joined.occurred_at}',
    ),
    Mutation("online: ties by row order", "groups.py", ORDER, '("occurred_at", "occurred_at")'),
    Mutation(
        "offline: ties of recorded_at too by row order",
        "offline.py",
        '{"occurred_at": joined.occurred_at, "recorded_at": joined.recorded_at, "id": joined.event_id}',
        '{"occurred_at": joined.occurred_at, "recorded_at": joined.recorded_at}',
    ),
    Mutation(
        "online: ties of recorded_at too by row order",
        "groups.py",
        ORDER,
        '("occurred_at", "recorded_at")',
    ),
    # Unknown is not empty.
    Mutation(
        "online: an unknown contact is a distinct one",
        "groups.py",
        "                    contact = None\n",
        "                    pass\n",
    ),
    Mutation(
        "offline: without an account its scope is empty",
        "offline.py",
        'rows.p_account_id.isnull().ifelse(ibis.null("float64"), column)',
        "column",
    ),
    # How firms buy: stages of types, roles by title, the most active contact.
    Mutation("offline: stages ignored", "offline.py", "rows.type.isin(stages[aggregate.stage])", "rows.type.notnull()"),
    Mutation("online: stages ignored", "online.py", "self._stages.get(kind)", "None"),
    Mutation("offline: only a given role", "offline.py", 'role="buying_role"', 'role="role"'),
    Mutation("online: only a given role", "online.py", "buying_role(row)", 'row.get("role")'),
    Mutation("online: the title before the role", "online.py", "buying_role(row)", TITLE_FIRST),
    Mutation("online: roles filled in hindsight", "online.py", "if self._hindsight:", "if False:"),
    Mutation(
        "offline: unknown contacts are the most active one",
        "offline.py",
        "events.filter(events.known_contact.notnull())",
        "events.filter(events.event_id.notnull())",
    ),
    Mutation(
        "online: unknown contacts are the most active one",
        "aggregates.py",
        "for contact in group.contacts[start:] if contact is not None",
        "for contact in group.contacts[start:]",
    ),
    Mutation("online: nobody is somebody", "aggregates.py", "    found.discard(None)\n", ""),
    # Outcomes count once they are known; open is who exists and is neither won nor lost.
    Mutation("offline: late outcomes known", "offline.py", "            outcomes.recorded_at <= members.as_of,\n", ""),
    Mutation(
        "online: late outcomes known", "groups.py", "o.occurred_at <= t and o.recorded_at <= t", "o.occurred_at <= t"
    ),
    Mutation("online: outcomes of strangers", "groups.py", " and o.prospect_id in siblings", ""),
    Mutation(
        "online: outcomes out of order", "groups.py", "        known.sort(key=lambda item: item[0].occurred_at)\n", ""
    ),
    Mutation(
        "offline: closed before it is known",
        "offline.py",
        "ibis.greatest(ends.occurred_at, ends.recorded_at)",
        "ends.occurred_at",
    ),
    Mutation(
        "offline: closed only after its moment",
        "offline.py",
        "joined.closed_at > joined.as_of",
        "joined.closed_at >= joined.as_of",
    ),
    Mutation("offline: open counts oneself", "offline.py", "~joined.own & ", ""),
    Mutation("offline: open before creation", "offline.py", "(joined.born <= joined.as_of) & ", ""),
    Mutation("online: open before creation", "groups.py", 'row["created_at"] <= t and ', ""),
    Mutation(
        "both: what is renewed is closed",
        "aggregates.py",
        'CLOSED = ("won", "lost")',
        'CLOSED = ("won", "lost", "renewed")',
    ),
    # Positions and the register.
    Mutation(
        "offline: of tied ones the first",
        "expressions.py",
        "reversed([*enumerate(numbers, 1)])",
        "enumerate(numbers, 1)",
    ),
    Mutation("online: of tied ones the first", "expressions.py", "value <= least", "value < least"),
    Mutation(
        "offline: the first known",
        "expressions.py",
        'cast("float64") for value in reversed(values)',
        'cast("float64") for value in values',
    ),
    Mutation(
        "offline: NAF divisions that are not",
        "expressions.py",
        "known.ifelse(division, missing)",
        "division.nullif('')",
    ),
    Mutation(
        "offline: categories end a head early",
        "expressions.py",
        "highest.fill_null(inf) + 1.0",
        "highest.fill_null(inf)",
    ),
    Mutation("offline: ten are few", "expressions.py", "(own < MASS_BELOW", "(own <= MASS_BELOW"),
    # What is too large for a double is missing.
    Mutation("offline: infinite numbers", "offline.py", "number.isinf()", "number.isnan()"),
    Mutation("online: infinite numbers", "program.py", "x if math.isfinite(x) else None", "x"),
    # The compiled groups, which the tests compare with the plain ones.
    Mutation("compiled: window open on the wrong side", COMPILED, "if at <= time:", "if at < time:"),
    Mutation(
        "compiled: an event at t is not yet known", COMPILED, "if occurred_at > self.t:", "if occurred_at >= self.t:"
    ),
    Mutation("compiled: recorded_at ignored", COMPILED, "if recorded_at > self.t:", "if False:"),
    Mutation("compiled: gone only after its retraction", COMPILED, "not self.t < <int64_t>", "not self.t <= <int64_t>"),
    Mutation(
        "compiled: events of strangers", COMPILED, "if siblings is not None and <object>", "if False and <object>"
    ),
    Mutation(
        "compiled: ties by row order", COMPILED, "return PyUnicode_Compare(one.event_id, other.event_id)", "return 0"
    ),
    Mutation(
        "compiled: an unknown contact is a distinct one",
        COMPILED,
        "known = _NOBODY",
        "known = (0, -1, None, None)",
    ),
    Mutation("compiled: late outcomes known", COMPILED, "ENDED_RECORDED) <= t", "ENDED_RECORDED) <= 2**62"),
    Mutation("compiled: open before creation", COMPILED, 'row["created_at"] <= t and ', ""),
    Mutation("compiled: float sums", COMPILED, "cdef wide total = 0", "cdef double total = 0"),
)


def main(words: list[str]) -> int:
    """Run the mutants whose name holds one of the words (all without words); 1 when one was not noticed."""
    chosen = [m for m in MUTATIONS if not words or any(w in m.name for w in words)]
    if not chosen:
        print(f"no mutant is named like {' or '.join(words)}")
        return 1
    failed = 0
    stale = [m for m in chosen if m.old not in (ROOT / "features" / m.file).read_text(encoding="utf-8")]
    for mutation in stale:
        print(f"NOT FOUND  {mutation.name}: {mutation.file} no longer holds {mutation.old!r}")
    if stale:
        return 1
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        sound = _copy(ROOT, Path(scratch) / "sound")
        _check_imports(sound)
        noticed = _run(sound)
        if noticed:
            print(f"without any mutation these fail already: {', '.join(noticed)}")
            return 1
        print("unchanged copy: all pass", flush=True)
        for n, mutation in enumerate(chosen):
            copy = _copy(sound, Path(scratch) / str(n))  # of the copy: what is edited meanwhile is no mutant
            path = copy / "features" / mutation.file
            source = path.read_text(encoding="utf-8")
            path.write_text(source.replace(mutation.old, mutation.new), encoding="utf-8")
            start = time.monotonic()
            try:
                if mutation.file == COMPILED:
                    _build(copy)
                noticed = _run(copy)
            except BreakdownError as e:
                print(f"BROKEN     {mutation.name}: {e}", flush=True)
                failed = 1
                continue
            shutil.rmtree(copy)
            took = f"({time.monotonic() - start:.0f} s)"
            if noticed:
                print(f"noticed    {mutation.name} {took}: {'; '.join(noticed)}", flush=True)
            else:
                print(f"SURVIVED   {mutation.name} {took}", flush=True)
                failed = 1
    return failed


def _build(copy: Path) -> None:
    """Compile the groups of a copy."""
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=copy, capture_output=True, text=True)
    if done.returncode or not list((copy / "features").glob("_groups.*.so")):
        raise BreakdownError(f"it cannot be compiled: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def _copy(source: Path, folder: Path) -> Path:
    for part in ("features", "tests"):
        shutil.copytree(source / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(source / "pyproject.toml", folder)
    return folder


def _environment(copy: Path) -> dict[str, str]:
    # Without the search for a small example, which costs more than the finding.
    return {
        **os.environ,
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "1000",  # so that pytest does not cut the names and reasons
        "LEADSCORE_SHRINK": "0",
        "LEADSCORE_PROOFS": "",
    }


def _check_imports(copy: Path) -> None:
    command = [sys.executable, "-c", "import features.online; print(features.online.__file__)"]
    found = subprocess.run(command, cwd=copy, env=_environment(copy), capture_output=True, text=True, check=True)
    if not Path(found.stdout.strip()).is_relative_to(copy):
        raise SystemExit(f"the tests would import {found.stdout.strip()}, not the copy")


def _run(copy: Path) -> list[str]:
    """The failing tests: all by hand, and the first generated one; the shrinking one where those saw nothing.

    Raises BreakdownError where tests end otherwise than by a difference or by a refusal of the tables.
    """
    out: list[str] = []
    by_hand = "by_hand or absent_list or extreme or hindsight"
    for selection, more in ((by_hand, []), ("oracle_duckdb", ["-x"]), ("and_shrink", [])):
        if out and selection == "and_shrink":
            break
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rfE", "--tb=no", "--no-header"]
        target = "tests/test_features_agree.py"
        done = subprocess.run(
            [*command, *more, target, "-k", selection], cwd=copy, env=_environment(copy), capture_output=True, text=True
        )
        if done.returncode not in (0, 1):
            raise BreakdownError(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        failing = re.findall(r"^FAILED \S+::test_(.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
        others = re.findall(
            r"^FAILED .* - (?!AssertionError|assert |features\.errors\.).*$|^ERROR .*$", done.stdout, re.MULTILINE
        )
        if others or (done.returncode == 1 and not failing):
            raise BreakdownError(done.stdout[-3000:])
        out += failing
    return out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
