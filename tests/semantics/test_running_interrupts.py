"""Ctrl-C in a program: once cancels cleanly, twice stops at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dataflow import flow, get_run, task

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger

PATIENCE = 60.0
PROGRAM = """
import os, sys, time
from dataflow import RunFailed, flow, task

LEDGER, RELEASE, EXECUTOR = sys.argv[1:]

def mark(word):
    with open(LEDGER, "a") as file:
        file.write(word + "\\n")

@task
def slow(n):
    mark("begins")
    while not os.path.exists(RELEASE):
        time.sleep(0.01)
    mark("ends")
    return n

@task
def after(n):
    mark("after")
    return n

@flow
def program():
    return after(slow(1)), after.options(name="last")(after(slow(2)))

if __name__ == "__main__":
    try:
        program.run(executor=EXECUTOR)
    except RunFailed as error:
        print(error.run.state.type, flush=True)
    else:
        print("Success", flush=True)
    mark("program ends")
"""


def until(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, "it never happened"
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts the program in a process group of its own, as a terminal does; ends what is left of it."""
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "home"))
    (tmp_path / "program.py").write_text(PROGRAM)
    started: list[subprocess.Popen[str]] = []

    def begin(executor: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *(str(tmp_path / name) for name in ("program.py", "ledger.txt", "release")), executor],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def press(process: subprocess.Popen[str]) -> None:
    """A terminal sends it to every process of the group."""
    os.killpg(process.pid, signal.SIGINT)


KINDS = ["sync", "threads:2", "processes:2"]


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_once_lets_what_runs_finish_and_cancels_the_rest(
    start: Any, kind: str, ledger: Ledger, tmp_path: Path
) -> None:
    process = start(kind)
    at_once = 1 if kind == "sync" else 2
    until(lambda: ledger.counts()["begins"] == at_once, process)
    press(process)
    time.sleep(0.3)  # a second signal within this time would be another press; none comes
    assert process.poll() is None
    (tmp_path / "release").touch()
    out, err = process.communicate(timeout=PATIENCE)
    assert out == "Cancelled\n", err
    assert process.returncode == 0
    assert ledger.counts() == {"begins": at_once, "ends": at_once, "program ends": 1}
    run: Any = get_run("@last")
    assert run.state.type == "Cancelled"
    told = {one.path: one.state.type for one in run.task_runs}
    assert told["after"] == told["last"] == "Cancelled"
    assert sorted((told["slow"], told["slow-2"])) == sorted(["Success", "Cancelled" if kind == "sync" else "Success"])
    run.resume(executor="threads:2", as_recorded=True)  # the program cannot be read without its arguments
    assert run.result() == (1, 2)
    assert ledger.counts() == {"begins": 2, "ends": 2, "program ends": 1, "after": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_twice_stops_at_once(start: Any, kind: str, ledger: Ledger) -> None:
    process = start(kind)
    at_once = 1 if kind == "sync" else 2
    until(lambda: ledger.counts()["begins"] == at_once, process)
    press(process)
    time.sleep(0.3)  # so that they are two presses
    press(process)
    process.communicate(timeout=PATIENCE)
    assert process.returncode not in (0, None)
    assert ledger.counts() == {"begins": at_once}
    run: Any = get_run("@last")
    assert run.state.type == "Cancelled"
    assert not [one for one in run.task_runs if one.state.type in ("Running", "Pending")]


def test_a_result_that_was_committed_after_its_task_was_cancelled_is_kept(
    executor: Any, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster, a body that runs when its run is cancelled may still commit, and nobody hears of it."""
    import sqlite3

    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path))

    @task
    def source() -> int:
        ledger.mark("source")
        return 20

    @task
    def last(n: int) -> int:
        if ledger.counts()["last"] == 0:
            ledger.mark("last")
            raise ValueError("not yet")
        return n + 1

    @flow
    def chain() -> object:
        return last(source())

    run: Any = chain.run(executor=executor, raise_on_failure=False)
    with sqlite3.connect(tmp_path / "runs.db") as record:
        record.execute("UPDATE task_runs SET state = 'Cancelled', reference = NULL WHERE path = 'source'")
        record.execute("UPDATE counts SET state = 'Cancelled' WHERE path = 'source' AND state = 'Success'")
    record.close()
    assert run["source"].state.type == "Cancelled"
    run.retry(executor=executor)
    assert run.result() == 21
    assert run["source"].state.type == "Success"
    assert run.counts["source"] == {"Success": 1}
    assert ledger.counts()["source"] == 1
