"""`dataflow prune` killed at any step, in company, and beside runs that start."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call

import dataflow
from dataflow.places import open_runs
from dataflow_storage.retention import Retention
from tests.cli.conftest import environment
from tests.cli.pruning import KEPT, names, objects, ran


@pytest.fixture(autouse=True)
def kept(folder: Path) -> None:
    (folder / "kept.py").write_text(KEPT, encoding="utf-8")


KILLED = """
import os, signal, sys
from dataflow.cli import main
from dataflow_storage.local import LocalFiles
from sqlalchemy import Engine, event

delete, left = LocalFiles.delete, int(sys.argv[2])

def count(what):
    global left
    if sys.argv[1] == what:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

class Counted(LocalFiles):
    def delete(self, path):
        count("objects")
        delete(self, path)

LocalFiles.delete = Counted.delete

@event.listens_for(Engine, "before_cursor_execute")
def statement(connection, cursor, text, parameters, context, many):
    if text.startswith("DELETE"):
        count("rows")

main(["prune", "--keep-last", "1", "--yes"])
"""


@pytest.mark.parametrize(
    ("what", "after"),
    [("rows", 0), ("rows", 1), ("rows", 3), ("rows", 6), ("rows", 20), ("objects", 0), ("objects", 1), ("objects", 4)],
)
def test_a_killed_prune_leaves_nothing_half_and_the_next_one_finishes(
    cli: Call, folder: Path, what: str, after: int
) -> None:
    for _ in range(3):
        ran(cli)
    newest = names(cli)[0]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, what, str(after)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    # Whatever is on record has all its results.
    for name in names(cli):
        run = dataflow.get_run(name)
        assert run.result() == 13
        listed = cli("results", "ls", name, "--json").data["results"]
        assert all(one["there"] for one in listed)  # type: ignore[attr-defined]
    assert cli("prune", "--keep-last", "1", "--yes").code == 0
    assert names(cli) == [newest]
    assert {name.partition("/")[0] for name in objects()} == {dataflow.get_run(newest).id}
    assert Retention(open_runs()).leftovers() == []


def test_two_prunes_at_once(cli: Call, begin: Callable[..., subprocess.Popen[str]]) -> None:
    maker = ran(cli, "kept.py:shared")
    for _ in range(6):
        ran(cli)
    taker = ran(cli, "kept.py:shared")
    both = [begin("prune", "--keep-last", "1", "--yes", "--json") for _ in range(2)]
    said = [(process.communicate(timeout=60), process.returncode) for process in both]
    assert [(code, error) for (_, error), code in said] == [(0, ""), (0, "")]
    went = [one["id"] for (out, _), _ in said for one in json.loads(out)["runs"]]
    assert len(went) == len(set(went)) == 6
    assert maker.id in went
    assert len(names(cli)) == 2
    assert cli("result", taker.name).out == "[1, 11]\n"
    assert {name for name in objects() if name.startswith(maker.id)} == {
        f"{maker.id}/base.dflw",
        f"{maker.id}/base-2.dflw",
    }


def test_runs_that_start_meanwhile_lose_nothing(cli: Call, begin: Callable[..., subprocess.Popen[str]]) -> None:
    ran(cli, "kept.py:shared")
    runner = [begin("run", "kept.py:shared", "-q") for _ in range(2)]
    pruner = begin("prune", "--keep-last", "0", "--yes")
    for process in runner:
        out, error = process.communicate(timeout=90)
        assert (process.returncode, out) == (0, "[1, 11]\n"), error
    assert pruner.communicate(timeout=60)[1] == ""
    for name in names(cli):
        assert dataflow.get_run(name).result() == [1, 11]
