"""A driver that died is replaced: by whom, when, and what becomes of a run that nobody can go on with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dataflow import states
from tests.chaos.zygote import Zygote, environment
from tests.isolation.children import alive
from tests.semantics.gates import began
from tests.semantics.machines import Machine, Process, lease_of, until
from tests.semantics.races import open_gates, race
from tests.storage.postgres import Postgres


def killed(machine: Machine, folder: Path, executor: str = "threads:2") -> Process:
    """A driver that was killed while a body ran."""
    driver = machine.start("begin", "gated", executor, str(folder))
    until(lambda: began(folder)["slow"], "the body begins")
    if executor != "sync":  # which writes nothing while a body runs
        until(lambda: is_on_record(machine), "that is on record")
    workers = [child.pid for child in psutil.Process(driver.pid).children(recursive=True)]
    driver.proc.signal(signal.SIGKILL)
    driver.proc.wait(10)
    # One that outlives it for a moment might see its gate open, and commit: then there is nothing to run again.
    until(lambda: not any(map(alive, workers)), "its workers are gone, too")
    return driver


def is_on_record(machine: Machine) -> bool:
    return any(row.path == "slow" for row in machine.runs.task_runs(machine.runs.find("@last").id))


@pytest.mark.parametrize("executor", ["sync", "threads:2", "processes:1"])
def test_a_driver_that_died_on_this_machine_is_replaced_before_its_lease_ends(
    machine: Machine, tmp_path: Path, executor: str
) -> None:
    machine.env["DASK_DATAFLOW__RUNS__LEASE"] = "600"
    killed(machine, tmp_path, executor)
    open_gates(tmp_path)
    said = machine.start("go_on").ends()
    assert "taken up" in said
    assert machine.run().result() == 3
    assert began(tmp_path)["opening"] == 1
    if executor != "sync":
        attempts = machine.runs.attempts(machine.run().id, "slow")
        assert [(row.state, row.ended is None) for row in attempts] == [("Crashed", False), ("Success", False)]


def test_a_driver_that_died_elsewhere_is_replaced_when_its_lease_has_ended(machine: Machine, tmp_path: Path) -> None:
    killed(machine, tmp_path)
    over = machine.runs.find("@last").lease_until
    assert over is not None
    open_gates(tmp_path)
    watch = machine.start("watch", 0.05, str(tmp_path), CHAOS_HOST="elsewhere")
    until(lambda: machine.state() == states.SUCCESS, "somebody goes on")
    again = [row.time for row in machine.runs.transitions(machine.run().id) if row.path is None][1]
    assert again >= over
    assert "taken up" in watch.said
    print(f"replaced {again - over:.2f} s after the end of its lease")


@pytest.mark.parametrize("short", [False, True], ids=["while-it-runs", "when-it-is-over"])
def test_of_many_that_try_to_take_a_run_up_one_does(machine: Machine, tmp_path: Path, short: bool) -> None:
    race(machine, tmp_path, processes=8, runs=6, short=short)


# Runs that nobody can go on with --------------------------------------------------------------------------------------

SCRIPT = """
import os, time
from pathlib import Path
from dataflow import flow, task

FOLDER = Path(__file__).parent

@task
def slow():
    with open(FOLDER / "ledger", "a") as ledger:
        ledger.write("slow\\n")
    while not (FOLDER / "go").exists():
        time.sleep(0.01)
    return 7

@flow
def scripted():
    return slow()

"""
GUARD = 'if __name__ == "__main__":\n    '
START = "scripted.run(executor='threads:1')\n"


def killed_script(machine: Machine, folder: Path, text: str) -> Path:
    """A script whose process was killed while a body ran."""
    script = folder / "scripted.py"
    script.write_text(text)
    process = subprocess.Popen(
        [sys.executable, str(script)], env={**environment(), **machine.env}, start_new_session=True
    )
    until(lambda: began(folder)["slow"] and is_on_record(machine), "the body begins, and is on record")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return script


def test_a_run_of_a_script_goes_on_by_its_code(machine: Machine, tmp_path: Path) -> None:
    killed_script(machine, tmp_path, SCRIPT + GUARD + START)
    (tmp_path / "go").touch()
    assert "taken up" in machine.start("go_on").ends()
    assert machine.run().result() == 7
    assert began(tmp_path) == {"slow": 2}


def test_a_run_whose_script_is_gone_is_crashed_and_says_so(machine: Machine, tmp_path: Path) -> None:
    script = killed_script(machine, tmp_path, SCRIPT + GUARD + START)
    script.unlink()
    assert "crashed" in machine.start("go_on").ends()
    state = machine.run().state
    assert state.type == states.CRASHED
    assert str(script) in state.message
    assert "does not exist" in state.message
    assert machine.run()["slow"].state.type == states.CRASHED


def test_a_script_that_runs_its_flow_at_its_top_level_is_not_run_again(machine: Machine, tmp_path: Path) -> None:
    killed_script(machine, tmp_path, SCRIPT + START)
    machine.start("go_on").ends()
    state = machine.run().state
    assert state.type == states.CRASHED
    assert "__main__" in state.message
    assert began(tmp_path) == {"slow": 1}
    assert len(machine.runs.runs()) == 1


def test_a_flow_that_kills_each_of_its_drivers_is_crashed_in_the_end(machine: Machine, tmp_path: Path) -> None:
    machine.env["DASK_DATAFLOW__RUNS__RECOVERIES"] = "3"
    machine.start("begin", "dying", "threads:1", str(tmp_path)).ends()
    for _ in range(3):
        assert "taken up" in machine.start("go_on").ends()
        assert machine.state() == states.RUNNING
    assert "crashed" in machine.start("go_on").ends()
    state = machine.run().state
    assert state.type == states.CRASHED
    assert re.search(r"driver died 3 times", state.message)
    assert sum(began(tmp_path).values()) == 4
    assert machine.start("go_on").ends() == ""


# Paused runs ----------------------------------------------------------------------------------------------------------


def test_a_paused_run_that_was_answered_while_nobody_drove_it_goes_on(machine: Machine, tmp_path: Path) -> None:
    machine.start("begin", "asking", "threads:2", str(tmp_path)).ends()
    assert machine.state() == states.PAUSED
    assert machine.start("go_on").ends() == ""  # nobody has said anything yet
    machine.start("approve", "deploy", None).ends()
    machine.start("approve", "wait_for_input", 5).ends()
    assert "Success" in machine.start("go_on").ends()
    assert machine.run().result() == 1 + 10 + 5
    assert began(tmp_path) == {"opening": 1, "after": 1}


def test_half_of_the_answers_let_a_run_go_on_to_its_next_pause(machine: Machine, tmp_path: Path) -> None:
    machine.start("begin", "asking", "sync", str(tmp_path)).ends()
    machine.start("approve", "deploy", None).ends()
    assert "Paused" in machine.start("go_on").ends()
    assert machine.run()["deploy"].state.type == states.SUCCESS
    assert machine.start("go_on").ends() == ""
    machine.start("approve", "wait_for_input", 5).ends()
    assert "Success" in machine.start("go_on").ends()
    assert machine.run().result() == 16


# Two machines ---------------------------------------------------------------------------------------------------------


def machines(zygote: Zygote, postgres: Postgres, folder: Path, **env: str) -> list[Machine]:
    env = {"DASK_DATAFLOW__RUNS__URL": postgres.url, "DASK_DATAFLOW__RUNS__LEASE": "1", **env}
    return [Machine(zygote, folder / name, CHAOS_HOST=name, **env) for name in ("one", "other")]


def test_a_run_goes_on_on_another_machine_that_shares_its_record_and_results(
    zygote: Zygote, postgres: Postgres, tmp_path: Path
) -> None:
    one, other = machines(zygote, postgres, tmp_path, DASK_DATAFLOW__RESULTS__URL=str(tmp_path / "results"))
    try:
        killed(one, tmp_path)
        over = lease_of(one)
        open_gates(tmp_path)
        other.start("watch", 0.05, str(tmp_path))
        until(lambda: other.state() == states.SUCCESS, "the other one goes on")
        assert other.run().result() == 3
        assert [row.time for row in other.runs.transitions(other.run().id) if row.path is None][1] >= over
        assert began(tmp_path)["opening"] == 1
    finally:
        one.close()
        other.close()


def test_a_run_whose_results_are_on_another_machine_is_left_to_that_one(
    zygote: Zygote, postgres: Postgres, tmp_path: Path
) -> None:
    one, other = machines(zygote, postgres, tmp_path)
    try:
        killed(one, tmp_path)
        open_gates(tmp_path)
        (one.home / "results").rename(one.home / "away")  # its disk is not the other machine's
        until(lambda: time.time() > lease_of(one), "the lease is over")
        said = other.start("go_on").ends()
        assert "left" in said
        assert "of one, and not here" in said
        assert other.state() == states.RUNNING
        (one.home / "away").rename(one.home / "results")
        assert "Success" in one.start("go_on").ends()
        assert began(tmp_path)["opening"] == 1
    finally:
        one.close()
        other.close()
