"""`recover`: runs whose driver died go on, and it is said what became of each."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call

import dataflow
from tests.cli.working import WORK, ended, everything, last, ledger, rewrite, until, until_begun, until_new

ALONE = {"DASK_DATAFLOW__RUNS__RECOVER": "False"}  # a run does not see to others
Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def kill(begin: Begin, work: Path) -> Callable[..., str]:
    """Runs a flow in a process that is killed when a body runs; the run's name."""

    def killed(flow: str = "slow", *words: str) -> str:
        before = {run.id for run in dataflow.get_runs()}
        process = begin("run", f"work.py:{flow}", *words, **ALONE)
        until_new(before)
        until(last(), "Running")
        process.kill()
        process.wait()
        return last().name

    return killed


def test_every_abandoned_run_goes_on_and_is_told(cli: Call, kill: Callable[..., str], work: Path) -> None:
    names = [kill("slow", "--executor", where) for where in ("threads:2", "sync")]
    (work / "release").touch()
    said = cli("recover")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    for name in names:
        assert any(line.startswith(f"taken up  {name}  slow  its driver was ") for line in lines)
        assert any(line.startswith(f"✓ success  {name}  slow  ") for line in lines)
    assert len(lines) == 4
    assert cli("recover").out == "nothing to recover: every run is over, paused or driven\n"


def test_as_json(cli: Call, kill: Callable[..., str], work: Path) -> None:
    name = kill()
    (work / "release").touch()
    found = cli("recover", "-o", "json").data["recovered"]
    assert [(one["run"], one["what"], one["state"]) for one in found] == [  # type: ignore[attr-defined]
        (name, "taken up", "Running"),
        (name, "ended", "Success"),
    ]


def test_a_run_without_its_code_is_crashed_with_the_reason(cli: Call, kill: Callable[..., str], work: Path) -> None:
    name = kill()
    rewrite(work, None)
    said = cli("recover")
    assert said.code == 1
    assert f"crashed  {name}  slow  the code of flow 'slow' cannot be loaded" in said.out
    assert last().state.type == "Crashed"
    rewrite(work, WORK)
    (work / "release").touch()
    said = cli("resume", name)
    assert (said.code, said.out) == (0, "28\n"), said.err


def test_one_that_fails_after_it_was_taken_up(cli: Call, kill: Callable[..., str], work: Path) -> None:
    name = kill()
    rewrite(work, WORK.replace("    return n\n", "    raise ValueError(n)\n"))
    (work / "release").touch()
    said = cli("recover")
    assert said.code == 1
    assert f"✕ failed  {name}  slow" in said.out


def test_a_dry_run_lists_them_and_changes_nothing(cli: Call, kill: Callable[..., str]) -> None:
    name = kill()
    before = everything()
    said = cli("recover", "-n")
    assert (said.code, said.err) == (0, "")
    heads, row, summary = said.out.splitlines()
    assert heads.split()[:3] == ["STATE", "RUN", "FLOW"]
    assert row.split()[1:4] == ["running", name, "slow"]
    assert summary == "would go on with 1 run"
    assert cli("recover", "-n", "-o", "json").data["runs"][0]["name"] == name  # type: ignore[index]
    assert everything() == before


@pytest.mark.parametrize("words", [["recover"], ["recover", "--watch"]], ids=" ".join)
def test_ctrl_c_cancels_nothing_and_leaves_the_runs_to_the_next(
    begin: Begin, cli: Call, kill: Callable[..., str], work: Path, words: list[str]
) -> None:
    name = kill()
    (work / "ledger.txt").unlink(missing_ok=True)
    process = begin(*words)
    until_begun(work, process)
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert code == 130
    assert f"taken up  {name}" in out
    assert f"left to the next dataflow recover, nothing is cancelled: {name}\n" in err
    assert last().state.type == "Running"
    (work / "release").touch()
    said = cli("recover")
    assert said.code == 0, said.err
    assert f"✓ success  {name}" in said.out


def test_watch_finds_what_dies_later(begin: Begin, kill: Callable[..., str], work: Path) -> None:
    process = begin("recover", "--watch", "-o", "jsonl")
    names = [kill()]
    assert process.stdout is not None
    assert f'"run": "{names[0]}", "flow": "slow", "what": "taken up"' in process.stdout.readline()
    names.append(kill())
    assert f'"run": "{names[1]}", "flow": "slow", "what": "taken up"' in process.stdout.readline()
    (work / "release").touch()
    ends = [process.stdout.readline() for _ in names]
    assert all('"what": "ended", "state": "Success"' in line for line in ends), ends
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130
    assert ledger(work)["total"] == 2


def test_no_more_go_on_at_a_time_than_the_limit_and_the_others_follow(
    cli: Call, begin: Begin, kill: Callable[..., str], work: Path
) -> None:
    names = [kill() for _ in range(3)]
    process = begin("recover", "--limit", "2", "-o", "jsonl")
    assert process.stdout is not None
    first = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert {(one["what"], one["run"]) for one in first} == {("taken up", name) for name in names[:2]}
    (work / "release").touch()
    code, out, err = ended(process)
    assert code == 0, err
    rest = [json.loads(line) for line in out.splitlines()]
    assert [one["what"] for one in rest].index("ended") == 0
    assert sorted(one["run"] for one in rest if one["what"] == "ended") == sorted(names)
    assert cli("recover", names[0], "--limit", "1").code == 2


def test_of_many_commands_that_find_the_same_runs_one_sees_to_them(
    begin: Begin, kill: Callable[..., str], work: Path
) -> None:
    name = kill()
    (work / "fixed").touch()
    code, out, err = ended(begin("run", "work.py:shop"))
    assert (code, out) == (0, "60\n"), err
    pid = int(re.search(rf"they go on in process (\d+): {name}\n", err)[1])  # type: ignore[index]
    until_begun(work, None)
    other = kill()
    code, out, err = ended(begin("run", "work.py:shop"))
    assert (code, out) == (0, "60\n"), err
    assert "go on in process" not in err
    (work / "release").touch()
    for each in (name, other):
        until(dataflow.get_run(each), "Success")
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie":
        threading.Event().wait(0.05)


def test_a_run_whose_driver_is_gone_is_said_to_be(
    begin: Begin, cli: Call, kill: Callable[..., str], work: Path
) -> None:
    gone = "its driver is gone; dataflow recover goes on with it"
    name = kill()
    assert f"running ({gone})  {name}" in cli("show", name).out
    assert gone in cli("ls").out
    told = cli("show", name, "--json").data["run"]
    assert (told["state"], told["driver"]) == ("Running", None)  # type: ignore[index]
    (work / "ledger.txt").unlink(missing_ok=True)
    process = begin("recover")
    until_begun(work, process)
    assert gone not in cli("show", name).out + cli("ls").out
    assert str(cli("ls", "--json").data["runs"][0]["driver"]).startswith("process ")  # type: ignore[index]
    (work / "release").touch()
    assert ended(process)[0] == 0
    assert cli("ls", "--json").data["runs"][0]["driver"] is None  # type: ignore[index]


def test_what_was_committed_is_not_run_again(cli: Call, begin: Begin, work: Path) -> None:
    process = begin("run", "work.py:mixed", "--executor", "threads:4")
    until_begun(work, process)
    until(last(), "Success", "rows")
    process.kill()
    process.wait()
    (work / "release").touch()
    said = cli("recover")
    assert said.code == 0, said.err
    assert "‖ paused" in said.out
    assert ledger(work)["rows"] == 1


def test_a_verb_that_starts_a_run_sees_that_others_go_on(
    begin: Begin, cli: Call, kill: Callable[..., str], work: Path
) -> None:
    name = kill()
    (work / "fixed").touch()
    (work / "release").touch()
    code, out, err = ended(begin("run", "work.py:shop", **ALONE))
    assert (code, out) == (0, "60\n"), err
    assert name not in err
    code, out, err = ended(begin("run", "work.py:shop"))
    assert (code, out) == (0, "60\n"), err
    assert re.search(rf"their drivers died, and they go on in process \d+: {name}\n", err)
    until(dataflow.get_run(name), "Success")
