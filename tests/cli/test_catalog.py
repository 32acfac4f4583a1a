"""Finding flows in files and modules, with nothing else changed by it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cloudpickle
import pytest

if TYPE_CHECKING:
    pass

from dataflow.catalog import load
from dataflow.errors import FlowNotFound

ONE = """
from dataflow import flow, task

@task
def a(): return 1

@flow
def only(): return a()
"""
pytestmark = pytest.mark.usefixtures("cli")  # what was loaded is forgotten afterwards


def test_the_only_flow_need_not_be_named(folder: Path) -> None:
    (folder / "one.py").write_text(ONE)
    assert load("one.py").name == "only"
    assert load("one.py:only").name == "only"
    assert load("one").name == "only"
    assert load(str(folder / "one.py")).name == "only"


def test_a_flow_is_found_by_its_name_and_by_its_variable(folder: Path) -> None:
    (folder / "one.py").write_text(ONE.replace("@flow", "@flow(name='daily run')"))
    assert load("one.py:daily run") is not None
    assert load("one.py:only").name == "daily run"


def test_several_flows_are_listed(folder: Path) -> None:
    with pytest.raises(FlowNotFound, match=r"flows\.py has 10 flows: broken, etl, inner"):
        load("flows.py")


def test_flows_that_a_file_imports_do_not_count_beside_its_own(folder: Path) -> None:
    (folder / "one.py").write_text(f"from flows import etl\n{ONE}")
    assert load("one.py").name == "only"
    (folder / "door.py").write_text("from flows import etl\n")
    assert load("door.py").name == "etl"


def test_main_does_not_run(folder: Path) -> None:
    load("flows.py:etl")
    assert not (folder / "ledger.txt").exists()


def test_no_cache_is_left_beside_the_file(folder: Path) -> None:
    load("flows.py:etl")
    assert not (folder / "__pycache__").exists()


def test_a_file_is_read_again_after_it_changed(folder: Path) -> None:
    (folder / "one.py").write_text(ONE)
    assert load("one.py").name == "only"
    (folder / "one.py").write_text(ONE.replace("def only", "def other"))
    assert load("one.py").name == "other"


@pytest.mark.parametrize("name", ["json", "dataflow", "pytest", "string"])
def test_a_file_does_not_stand_in_for_a_module_of_its_name(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text(ONE)
    before = sys.modules.get(name)
    assert load(f"{name}.py").name == "only"
    assert sys.modules.get(name) is before


def test_worker_processes_find_pythons_own_modules_first(folder: Path) -> None:
    (folder / "json.py").write_text(ONE)
    load("json.py")
    code = "import sys, ast; sys.path[:] = ast.literal_eval(sys.argv[1]); import json; print(json.__file__)"
    path = [entry for entry in sys.path if entry]
    done = subprocess.run([sys.executable, "-S", "-c", code, repr(path)], capture_output=True, text=True, check=True)
    assert not done.stdout.startswith(str(folder))


def test_a_failed_load_leaves_nothing(folder: Path) -> None:
    (folder / "bad.py").write_text("raise ValueError(1)\n")
    with pytest.raises(ImportError):
        load("bad.py")
    assert "bad" not in sys.modules


def test_relative_imports_in_a_package(folder: Path) -> None:
    package = folder / "shop" / "jobs"
    package.mkdir(parents=True)
    (folder / "shop" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (folder / "shop" / "prices.py").write_text("PRICE = 3\n")
    (package / "daily.py").write_text(f"from ..prices import PRICE\n{ONE.replace('return 1', 'return PRICE')}")
    found = load("shop/jobs/daily.py")
    assert found.fn.__module__ == "shop.jobs.daily"
    assert load("shop.jobs.daily:only").name == "only"


def test_functions_travel_by_value_with_their_neighbours(folder: Path) -> None:
    (folder / "helper.py").write_text("def help(): return 41\n")
    (folder / "one.py").write_text(f"import helper\n{ONE.replace('return 1', 'return helper.help() + 1')}")
    load("one.py")
    shipped = cloudpickle.dumps(sys.modules["one"].a.fn)
    code = "import sys, pickle; print(pickle.load(sys.stdin.buffer)())"
    done = subprocess.run([sys.executable, "-c", code], input=shipped, capture_output=True, cwd="/", check=False)
    assert done.stdout == b"42\n", done.stderr.decode()


def test_installed_modules_travel_by_name(folder: Path) -> None:
    (folder / "one.py").write_text(f"import textwrap\n{ONE}")
    load("one.py")
    assert "textwrap" not in cloudpickle.list_registry_pickle_by_value()
    assert b"textwrap" in pickle.dumps(sys.modules["textwrap"].dedent)
