"""The layout: training -> serving -> features, heavy libraries only where they are used, nothing at import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("features", "serving", "training")
MAY_IMPORT = {
    "features": {"features"},
    "serving": {"features", "serving"},
    "training": {"features", "serving", "training"},
}
NOT_OF_THE_PRODUCT = {"tests", "benchmarks"}
HEAVY = ("ibis", "duckdb", "pandas", "sklearn", "mlflow", "bentoml", "matplotlib", "pyarrow")
LIGHT = (
    "features.errors",
    "features.contract",
    "features.firms",
    "features.titles",
    "features.spec",
    "features.records",
    "features.aggregates",
    "features.online",
    "features.standard",
    "features.titles",
    "serving.account",
    "serving.committee",
    "serving.history",
    "serving.intake",
    "serving.ledger",
    "serving.resources",
    "serving.store",
    "serving.schema",
    "serving.scorer",
    "serving.bundle",
    "serving.explain",
)


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path, root: Path = ROOT) -> Iterator[tuple[int, str]]:
    """The line and the full name of every import of a file, at its top or inside, by statement or by name."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield node.lineno, ".".join((*base, *([node.module] if node.module else [])))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def breaches(package: str, path: Path, root: Path = ROOT) -> list[str]:
    forbidden = ({*OURS} - MAY_IMPORT[package]) | NOT_OF_THE_PRODUCT
    return [
        f"{path.relative_to(root)}:{line} imports {name}"
        for line, name in imported(path, root)
        if name.split(".")[0] in forbidden
    ]


@pytest.mark.parametrize("package", OURS)
def test_the_import_rule_holds(package: str) -> None:
    files = sources(package)
    assert files, f"no source in {package}"
    assert [b for path in files for b in breaches(package, path)] == []


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("features", "import serving.bundle"),
        ("features", "def f():\n    from training import goal"),
        ("serving", "from training.goal import edges"),
        ("serving", "import importlib\nimportlib.import_module('training.goal')"),
        ("serving", "from ..training import goal"),
        ("training", "from tests.oracle import value"),
    ],
)
def test_the_import_rule_can_fail(tmp_path: Path, package: str, line: str) -> None:
    path = tmp_path / package / "module.py"
    path.parent.mkdir()
    path.write_text(line)
    assert len(breaches(package, path, tmp_path)) == 1


def test_bentoml_stays_in_the_adapter_and_the_registry() -> None:
    """The service is BentoML's only adapter; beside it the registry fills BentoML's model store."""
    holders = {
        str(path.relative_to(ROOT))
        for package in OURS
        for path in sources(package)
        if any(name.split(".")[0] in ("bentoml", "_bentoml_sdk", "_bentoml_impl") for _, name in imported(path))
    }
    assert holders <= {"serving/service.py", "training/registry.py"}


def in_a_child(code: str, *arguments: str) -> dict[str, object]:
    """Run code in a fresh interpreter; its last line of output is JSON."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


# pandas, pyarrow and the like are blocked as on the service's machine, where they are not installed.
BLOCKED = """
import json, sys
from importlib import import_module
heavy, names = json.loads(sys.argv[1]), json.loads(sys.argv[2])
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in heavy:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
for name in names:
    import_module(name)
print(json.dumps({"loaded": sorted(set(heavy) & set(sys.modules))}))
"""


@pytest.mark.parametrize("name", LIGHT)
def test_what_the_service_needs_loads_without_the_heavy_libraries(name: str) -> None:
    assert in_a_child(BLOCKED, json.dumps(HEAVY), json.dumps([name])) == {"loaded": []}


HELP = """
import json, sys
heavy = json.loads(sys.argv[1])
sys.argv = ["leadscore", "--help"]
from training.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print()
print(json.dumps({"loaded": sorted(set(heavy) & set(sys.modules))}))
"""


def test_the_help_of_the_command_loads_nothing_heavy() -> None:
    assert in_a_child(HELP, json.dumps([*HEAVY, "lightgbm", "sqlalchemy", "scipy"])) == {"loaded": []}


# What an import does to the world, as the interpreter itself reports it.
AUDITED = """
import json, os, sys
from importlib import import_module
names, done = json.loads(sys.argv[1]), []
environment = dict(os.environ)
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        mode, flags = arguments[1] or "", arguments[2] or 0
        if set(mode) & set("wxa+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            if not path.startswith(("/dev/", "/proc/")) and not path.endswith(".pyc"):
                done.append(f"writes {path}")
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.putenv", "subprocess.Popen", "os.system",
                   "os.fork", "os.posix_spawn", "socket.connect", "socket.bind", "sqlite3.connect"):
        done.append(f"{event} {arguments!r:.200}")
sys.addaudithook(watch)
for name in names:
    before = len(done)
    import_module(name)
    done[before:] = [f"import of {name}: {what}" for what in done[before:]]
assert dict(os.environ) == environment, "the environment was changed"
print(json.dumps({"done": done}))
"""


@pytest.mark.parametrize("package", OURS)
def test_nothing_happens_at_import(package: str) -> None:
    """Third parties first, since what they do is not ours; then each of our modules, watched."""
    files = [path for path in sources(package) if path.name not in ("__init__.py", "service.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    others = {
        node.names[0].name if isinstance(node, ast.Import) else str(node.module)
        for path in files
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    before = "\n".join(f"import {name}" for name in sorted(others) if name.split(".")[0] not in (*OURS, "__future__"))
    assert in_a_child(before + AUDITED, json.dumps(names)) == {"done": []}


@pytest.mark.parametrize("package", OURS)
def test_no_module_reads_the_environment_or_the_clock_at_import(package: str) -> None:
    """Settings are built in cli.py and service.py and passed down; the top of a module only defines."""
    asking = {"getenv", "environ", "now", "utcnow", "today", "time", "cwd", "home", "read_text", "open", "mkdir"}
    found = []
    for path in sources(package):
        for node in top_level(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
            if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load) and name in asking:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert found == []


def top_level(node: ast.AST) -> Iterator[ast.AST]:
    """What is evaluated when the module loads: everything but the insides of functions and annotations."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in (*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)):
                yield part
                yield from top_level(part)
        elif isinstance(child, ast.AnnAssign):
            if child.value is not None:
                yield child.value
                yield from top_level(child.value)
        elif not isinstance(child, ast.Lambda):
            yield child
            yield from top_level(child)
