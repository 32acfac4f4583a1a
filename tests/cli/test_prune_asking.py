"""`dataflow prune` tells what would go, asks before it does, and tells what went."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call

from dataflow.cli.durations import Duration
from tests.cli.conftest import environment
from tests.cli.pruning import KEPT, home_results, names, objects, ran


@pytest.fixture(autouse=True)
def kept(folder: Path) -> None:
    (folder / "kept.py").write_text(KEPT, encoding="utf-8")


def test_a_dry_run_tells_exactly_what_a_real_one_does(cli: Call) -> None:
    runs = [ran(cli, "kept.py:shared"), ran(cli)]
    before = objects()
    planned = cli("prune", "--keep-last", "0", "--dry-run", "--json").data
    table = cli("prune", "--keep-last", "0", "--dry-run").out
    assert objects() == before
    assert sorted(names(cli)) == sorted(run.name for run in runs)
    assert all(run.name in table for run in runs)
    done = cli("prune", "--keep-last", "0", "--yes", "--json").data
    assert {**planned, "dry_run": False} == done
    went = set(before) - set(objects())
    assert len(went) == done["objects"]
    assert f"would delete 2 runs, {len(went)} objects, " in table


def test_nobody_to_ask_is_no_yes(cli: Call) -> None:
    run = ran(cli)
    said = cli("prune", "--keep-last", "0")
    assert said.code == 2
    assert "hint: --yes deletes, --dry-run only looks." in said.err
    assert names(cli) == [run.name]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("y", 0)])
def test_a_person_is_asked(cli: Call, folder: Path, script: list[str], answer: str, left: int) -> None:
    import pty

    ran(cli)
    ours, theirs = pty.openpty()
    words, pipe = [*script, "prune", "--keep-last", "0"], subprocess.PIPE
    process = subprocess.Popen(words, cwd=folder, env=environment(), stdin=theirs, stdout=pipe, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"[y/N]" not in seen:
        seen += os.read(ours, 1000)
    assert b"would delete 1 run, " in seen
    os.write(ours, f"{answer}\n".encode())
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert (b"deleted 1 run" in out) is (left == 0)
    assert len(names(cli)) == left


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("prune", "which runs?", "--older-than 30d, --keep-last 50, or both"),
        ("prune --older-than 30", "'30' is no duration", "45s, 90m, 12h or 30d"),
        ("prune --orphans --keep-last 3", "orphans of which age?", "--older-than 30d"),
        ("prune --keep-last 1 --state running", "a run that is running is not over", "cancelled, crashed"),
        ("prune --keep-last 1 --state succes", "no state 'succes'", "did you mean 'success'?"),
        ("prune --keep-last -1", "invalid value for '--keep-last'", ""),
    ],
)
def test_mistake(cli: Call, line: str, message: str, hint: str) -> None:
    said = cli(*line.split())
    assert said.code == 2
    assert message in said.err
    assert hint in said.err


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2592000), ("1.5h", 5400), ("2w", 1209600), ("1h30m", 5400)])
def test_a_duration(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


def test_a_store_that_cannot_be_reached_is_told_and_taken_up_again(cli: Call, tmp_path: Path) -> None:
    away, here = tmp_path / "away", ran(cli)
    run = ran(cli, "flows.py:etl", "--results", str(away))
    here_url = home_results()
    moved = away.rename(tmp_path / "moved")
    away.write_text("no folder")
    said = cli("prune", "--keep-last", "0", "--yes")
    assert said.code == 4, said.out
    assert f"{away} could not be looked at" in said.err
    assert names(cli) == []
    assert not any(name.startswith(here.id) for name in os.listdir(here_url))
    away.unlink()
    moved.rename(away)
    assert any(file.parent.name == run.id for file in away.glob("*/*"))
    assert cli("prune", "--keep-last", "0", "--yes").out.startswith("deleted 0 runs, ")
    assert not any(file.parent.name == run.id for file in away.glob("*/*"))
