"""The house rules that a tool can hold: floors, light imports, files of a readable size, nothing of one machine."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"dataflow": ROOT, "dataflow_executors": ROOT / "executors", "dataflow_storage": ROOT / "storage"}
MADE = {"__pycache__", "build", "dist", "flights-out", "htmlcov", "node_modules"}
LONGEST = 420


def sources() -> Iterator[Path]:
    """Every file that belongs to the project; not what git, make and the tools put beside them."""
    for folder, below, names in os.walk(ROOT):
        below[:] = sorted(n for n in below if n not in MADE and (n == ".ci" or not n.startswith(".")))
        yield from (Path(folder, name) for name in sorted(names) if not name.endswith(".pyc"))


def texts() -> Iterator[tuple[str, str]]:
    for path in sources():
        data = path.read_bytes()
        if b"\0" not in data:
            yield str(path.relative_to(ROOT)), data.decode("utf-8")


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds the three packages where they stand."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(path) for path in PACKAGES.values())}
    return subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=False)


def test_floors() -> None:
    done = python("import importlinter.cli, sys; sys.exit(importlinter.cli.lint_imports(no_cache=True, no_logo=True))")
    assert done.returncode == 0, done.stdout + done.stderr


def test_front_door_is_light() -> None:
    heavy = "distributed", "sqlalchemy", "alembic", "pydantic", "pandas", "numpy", "pyarrow", "matplotlib", "rich"
    done = python(f"import sys, dataflow; print(*(m for m in {heavy} if m in sys.modules))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], "import dataflow brings them; import them where they are used"


def test_a_worker_stays_light() -> None:
    done = python(
        "import sys, dataflow.runner; from dataflow_storage import ResultStore; from dataflow_executors import blobs\n"
        "print(*(m for m in ('distributed', 'sqlalchemy', 'pandas', 'dataflow.engine') if m in sys.modules))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize(("wing", "strangers"), [
    ("dataflow_storage", ("dataflow", "dataflow_executors", "sqlalchemy", "pandas", "distributed")),
    ("dataflow_executors", ("dataflow", "dataflow_storage", "distributed", "sqlalchemy", "pandas")),
])  # fmt: skip
def test_wings_stand_alone(wing: str, strangers: tuple[str, ...]) -> None:
    done = python(f"import sys, {wing}; print(*(m for m in {strangers} if m in sys.modules))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", PACKAGES)
def test_typed(package: str) -> None:
    assert (PACKAGES[package] / package / "py.typed").is_file()


def test_files_are_short() -> None:
    long = {name: text.count("\n") for name, text in texts() if name.endswith(".py") and text.count("\n") >= LONGEST}
    assert not long, f"split them: a file has fewer than {LONGEST} lines"


def test_modules_say_what_they_are_for() -> None:
    scripts = [(name, text) for name, text in texts() if name.endswith(".py") and text.strip()]
    silent = [name for name, text in scripts if not re.match(r'(#!.*\n)?r?"""\S', text)]
    assert not silent, "they open with no docstring"


def test_nothing_of_one_machine() -> None:
    here = [re.escape(str(path)) for path in (ROOT, Path.home()) if path != Path("/")]
    ours = re.compile(rf"(?<![\w.~}}])(?:{'|'.join([*here, '/root', '/work', '/opt'])})/\w+")
    found = [f"{name}: {hit.group()}" for name, text in texts() for hit in ours.finditer(text)]
    assert not found


def test_no_registry_addresses() -> None:
    lock = re.compile(
        r"(requirements|constraints|.*lock\b).*\.(txt|in|toml|json|ya?ml)|.*\.lock|\.npmrc|pip\.conf|uv\.toml"
    )
    made_here = re.compile(r"uv\.lock|pylock.*\.toml")  # named in .gitignore
    locks = {path for path in sources() if lock.fullmatch(path.name) and not made_here.fullmatch(path.name)}
    assert [path for path in locks if re.search(r"https?://", path.read_text(encoding="utf-8"))] == []
    assert {"uv.lock", "pylock*.toml"} <= set((ROOT / ".gitignore").read_text(encoding="utf-8").split())
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.search(r"(?:extra-)?index(?:-url)?\s*=|find-links", project)


def test_no_mocks() -> None:
    mock = re.compile(r"^\s*(?:from|import) (?:unittest\b.*\b)?mock\b", re.MULTILINE)
    assert [name for name, text in texts() if mock.search(text)] == []


def test_commands_in_contributing_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", (ROOT / document).read_text(encoding="utf-8")))
        assert named, f"{document} names no command"
        assert named <= targets


def test_dependencies_are_declared_and_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def modules(requirements: list[str]) -> set[str]:
        names = {re.split(r"[\[<>=~!; ]", requirement)[0].lower().replace("-", "_") for requirement in requirements}
        return {"yaml" if name == "pyyaml" else name for name in names}

    needed = modules(project["dependencies"])
    extra = modules([r for group in project["optional-dependencies"].values() for r in group])
    # Met only where a value is already of theirs, or in a notebook; and what pydantic is made of.
    met = {"numpy", "matplotlib", "pydantic_core", "azure", "IPython"}
    used: set[str] = set()
    for package, root in PACKAGES.items():
        for path in (root / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    used |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module is not None:
                    used.add(node.module.partition(".")[0])
    foreign = used - set(sys.stdlib_module_names) - set(PACKAGES)
    assert foreign - needed - extra - met == set(), "they are imported but not declared"
    assert needed - foreign == set(), "they are declared but not used"


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    done = python("import dataflow; print(dataflow.__version__)")
    assert done.stdout.strip() == project["version"], done.stderr
