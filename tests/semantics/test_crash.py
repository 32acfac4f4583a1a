"""A driver that is killed: another process takes the run up, and nothing that was committed runs again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from dataflow import get_run, states
from dataflow.errors import RunNotResumable

SCRIPT = """
import os, sys, time
from dataflow import flow, task

LEDGER = {ledger!r}

def mark(name):
    fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (name + "\\n").encode())
    os.close(fd)

@task
def first(n):
    mark(f"first {{n}}")
    return n

@task
def child(n):
    mark(f"child {{n}}")
    time.sleep(0.02)
    return n * 10

@task
def total(xs, one):
    mark("total")
    return sum(xs) + one

@flow
def crashing():
    return total(child.map(range(60)), first(1))

if __name__ == "__main__":
    crashing.run(executor={executor!r})
"""
PATIENCE = 60.0


def lines(ledger: Path) -> Counter[str]:
    return Counter(ledger.read_text().splitlines()) if ledger.exists() else Counter()


@pytest.fixture(params=["sync", "threads", "processes"])
def crashed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run whose process, with all its children, was killed when some of its work was done; the ledger's path."""
    ledger = tmp_path / "ledger"
    script = tmp_path / "crashing.py"
    script.write_text(SCRIPT.format(ledger=str(ledger), executor=request.param))
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True, env=os.environ)
    deadline = time.monotonic() + PATIENCE
    while sum(lines(ledger).values()) < 25:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "it never got that far"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return ledger


def test_what_was_committed_before_the_driver_died_is_never_run_again(crashed: Path) -> None:
    before = lines(crashed)
    run = get_run("@last")
    assert run.state.type in (states.RUNNING, states.PENDING)
    committed = {one.label for one in run.task_runs if one.state.type == states.SUCCESS}
    run.resume(executor="threads")
    assert run.result() == sum(n * 10 for n in range(60)) + 1
    after = lines(crashed)
    assert sum(after.values()) >= 62
    again = {name for name, count in after.items() if count > 1}
    # Only what was in a chunk that was not committed yet may run twice, and it stood in the ledger before.
    assert again <= set(before)
    for name in again:
        task, _, index = name.partition(" ")
        assert f"{task}[{index}]" not in committed
    assert run.counts["child"] == {"Success": 60}


def test_a_run_that_is_being_driven_cannot_be_taken_up_by_another(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    script = tmp_path / "crashing.py"
    script.write_text(SCRIPT.format(ledger=str(ledger), executor="sync").replace("0.02", "0.2"))
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True, env=os.environ)
    try:
        deadline = time.monotonic() + PATIENCE
        while not lines(ledger):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run = get_run("@last")
        with pytest.raises(RunNotResumable, match=run.name):
            run.resume()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
