"""The repository as others get it: the lock, the commands, and what `make install` says where something lacks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?==(?P<version>[^ ;\\]+)( ; (?P<marker>[^\\]+?))? \\$")


def project() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def pins(text: str) -> list[tuple[Requirement, list[str]]]:
    """Each pin of the lock with its hashes; a line of any other form is an error."""
    found: list[tuple[Requirement, list[str]]] = []
    for line in text.splitlines():
        if match := PIN.match(line):
            marker = f"; {match['marker']}" if match["marker"] else ""
            found.append((Requirement(f"{match['name']}=={match['version']}{marker}"), []))
        elif match := re.fullmatch(r"    --hash=(sha256:[0-9a-f]{64})( \\)?", line):
            found[-1][1].append(match[1])
        else:
            raise AssertionError(f"requirements.lock: not a pin with hashes: {line!r}")
    return found


def unmet(wanted: list[str], locked: list[tuple[Requirement, list[str]]], environment: dict[str, str]) -> list[str]:
    versions = {
        canonicalize_name(pin.name): Version(next(iter(pin.specifier)).version)
        for pin, _ in locked
        if pin.marker is None or pin.marker.evaluate(environment)
    }
    problems = []
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        version = versions.get(canonicalize_name(requirement.name))
        if version is None or version not in requirement.specifier:
            problems.append(f"{requirement} is pinned at {version}")
    return problems


def declared() -> list[str]:
    data = project()
    table = data["project"]
    assert isinstance(table, dict)
    build = data["build-system"]
    assert isinstance(build, dict)
    locked = re.findall(r"--extra (\S+)", (ROOT / ".ci" / "lock").read_text())
    assert {"dev", "notebooks"} <= set(locked)
    extras = [requirement for name in locked for requirement in table["optional-dependencies"][name]]
    return [*table["dependencies"], *extras, *build["requires"]]


def test_every_pin_of_the_lock_has_a_hash_and_nothing_else_stands_there() -> None:
    """No index, no path, no address: the lock says what, and the machine's own pip settings say from where."""
    locked = pins((ROOT / "requirements.lock").read_text())
    assert len(locked) > 50
    assert [str(pin) for pin, hashes in locked if not hashes] == []


@pytest.mark.parametrize(
    "line",
    [
        "--index" + "-url https://example.org/simple",
        "--find-links /opt/wheels",
        "a @ file:///opt/a.whl",
        "numpy>=2",
        "-e .",
    ],
)
def test_a_lock_with_an_address_or_a_loose_version_is_noticed(line: str) -> None:
    with pytest.raises(AssertionError, match="not a pin"):
        pins(line)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_satisfies_the_declared_dependencies(python: str, platform: str) -> None:
    environment = {
        **{key: str(value) for key, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.5",
        "sys_platform": platform,
        "extra": "",
    }
    locked = pins((ROOT / "requirements.lock").read_text())
    assert unmet(declared(), locked, environment) == []
    assert unmet(["numpy<2", "absent>=1"], locked, environment) != []


def tree() -> list[Path]:
    """The files of the repository: what git would keep, or without git all but what it ignores by name."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        return [path for name in listed.split(b"\0") if name and (path := ROOT / os.fsdecode(name)).is_file()]
    skipped = {".venv", ".leadscore", "__pycache__", ".git", ".pytest_cache", ".mypy_cache", ".ruff_cache", "build"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not skipped & set(p.parts)]


def test_no_path_or_index_of_a_machine_stands_in_the_tree() -> None:
    here, home = str(ROOT) + "/", str(Path.home()) + "/"
    patterns = [re.escape(text) for text in (here, str(ROOT.parent) + "/", home) if text.count("/") > 2]
    patterns += [
        "/" + "home/[a-z]+/",
        "/" + "Users/[A-Za-z]+/",
        "/" + "root/",
        r"(?<![\w./-])/" + "work/",
        "--(extra-)?index" + "-url",
    ]
    machine = re.compile("|".join(patterns))
    files = tree()
    assert ROOT / "Makefile" in files
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in machine.finditer(text)]
    assert found == []
    assert machine.search(f"open('{here}x')")


def targets() -> dict[str, str]:
    """The Makefile's targets with what each waits for."""
    lines = (ROOT / "Makefile").read_text().splitlines()
    rules = (re.match(r"^([a-z]+):(?!=)\s*(.*?)\s*(##.*)?$", line) for line in lines)
    return {match[1]: match[2] for match in rules if match}


def test_the_makefile_has_the_promised_commands_and_each_prepares_the_environment() -> None:
    mine = targets()
    for name in ("install", "demo", "test", "check", "proofs", "serve", "notebooks"):
        assert mine.get(name) == "$(STAMP)", name


def test_the_commands_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z]+)\b", " ".join(re.findall(r"```.*?```|`[^`]+`", readme, flags=re.S))))
    assert {"demo", "test"} <= named
    assert named <= set(targets())


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()


def test_every_package_of_the_tree_is_named_in_the_project() -> None:
    data = project()["tool"]
    assert isinstance(data, dict)
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("features", "serving", "training")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert packages == set(data["setuptools"]["packages"])


# A python that answers what the system is said to have; a venv made by it answers the same.
PYTHON = """#!/bin/sh
case "$*" in
*"import lightgbm"*) {lightgbm} ;;
*"import ensurepip"*) {ensurepip} ;;
*"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
*version_info*) {recent} ;;
*) echo "python $*" >> calls ;;
esac
"""


def install(
    folder: Path, *, ci: bool = False, recent: str = "true", ensurepip: str = "true", lightgbm: str = "true"
) -> subprocess.CompletedProcess[str]:
    """Run `.ci/install` in a folder of its own with a made-up python; what it calls stands in the file `calls`."""
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    (folder / "requirements.lock").write_text("numpy==2.0.0 \\\n")
    tools = folder / "tools"
    tools.mkdir()
    (tools / "python3.11").write_text(PYTHON.format(recent=recent, ensurepip=ensurepip, lightgbm=lightgbm))
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "id").write_text("#!/bin/sh\necho 0\n")
    (tools / "apt-get").write_text('#!/bin/sh\necho "apt-get $*" >> calls\ntouch installed\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(folder), **({"CI": "true"} if ci else {})}
    return subprocess.run(
        ["sh", ".ci/install"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_install_installs_by_hash_and_then_the_project_alone(tmp_path: Path) -> None:
    done = install(tmp_path)
    assert done.returncode == 0, done.stderr
    pip = [line for line in (tmp_path / "calls").read_text().splitlines() if "pip install" in line]
    assert len(pip) == 2
    assert "--require-hashes" in pip[0]
    assert "-r requirements.lock" in pip[0]
    assert "--no-deps --no-build-isolation -e ." in pip[1]


NO_LIBRARY = "[ -e installed ] || echo 'OSError: libgomp.so.1: cannot open shared object file'"


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ({"recent": "exit 1"}, ("Python 3.11 or newer", "apt-get install python3.11")),
        ({"ensurepip": "[ -e installed ]"}, ("virtual environments", "apt-get install python3.11-venv")),
        ({"lightgbm": NO_LIBRARY}, ("OpenMP", "apt-get install libgomp1")),
        ({"lightgbm": "echo 'ImportError: no numpy'"}, ("LightGBM does not load", "ImportError: no numpy")),
    ],
)
def test_install_says_what_the_system_lacks(tmp_path: Path, lacking: dict[str, str], words: tuple[str, str]) -> None:
    done = install(tmp_path, **lacking)  # type: ignore[arg-type]
    assert done.returncode == 1
    for word in words:
        assert word in done.stderr
    assert "apt-get update" not in (tmp_path / "calls").read_text() if (tmp_path / "calls").exists() else True


@pytest.mark.parametrize(
    ("lacking", "package"),
    [({"ensurepip": "[ -e installed ]"}, "python3.11-venv"), ({"lightgbm": NO_LIBRARY}, "libgomp1")],
)
def test_a_ci_that_is_root_installs_what_lacks(tmp_path: Path, lacking: dict[str, str], package: str) -> None:
    done = install(tmp_path, ci=True, **lacking)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    assert re.search(rf"apt-get install .* {package}$", (tmp_path / "calls").read_text(), flags=re.M)


def test_the_ci_script_runs_check_and_test_and_fails_with_them(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    tools = tmp_path / "tools"
    tools.mkdir()
    make = tools / "make"
    make.write_text('#!/bin/sh\necho "make $*"\n[ "$1" != test ] || echo "3 passed in 0.12s"\n[ "$1" != "$BROKEN" ]\n')
    make.chmod(0o755)

    def run(broken: str) -> tuple[int, list[str]]:
        environment = {"PATH": f"{tools}:/usr/bin:/bin", "BROKEN": broken}
        done = subprocess.run(
            [str(tmp_path / ".ci" / "run")], env=environment, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout.splitlines()

    code, lines = run("")
    assert code == 0
    assert [line for line in lines if line.startswith("make")] == ["make install", "make check", "make test"]
    assert lines[-1] == "3 passed in 0.12s"
    for broken in ("install", "check", "test"):
        assert run(broken)[0] == 1, broken
