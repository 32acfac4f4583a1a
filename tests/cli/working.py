"""What the tests of run control share: flows that fail, ask and take their time, and looks at what they left."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import sqlalchemy

import dataflow
from dataflow.run import Run
from dataflow.settings import runs_url

PATIENCE = 90.0  # seconds after which a test that waits for an event fails
WORK = '''"""Flows that fail, ask and take their time."""

import os
import time

from dataflow import flow, task, triggers, wait_for_input


def mark(name):
    """One line for each time a body ran."""
    descriptor = os.open("ledger.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{name}\\n".encode())
    os.close(descriptor)


@task
def rows(n: int):
    mark("rows")
    return list(range(n))


@task
def price(x: int):
    mark(f"price {x}")
    if x == 2 and not os.path.exists("fixed"):
        raise ValueError("row 2 has no price")
    return x * 10


@task
def total(xs):
    mark("total")
    return sum(xs)


@flow
def shop(n: int = 4):
    return total(price.map(rows(n)))


@task(trigger=triggers.manual)
def sign(xs):
    mark("sign")
    return len(xs)


@flow
def signed():
    return sign(rows(3))


@task
def count(item: int):
    return item * wait_for_input(int, f"How many of {item}?")


@flow
def counted(n: int = 1):
    return count.map(range(1, n + 1))


@task
def name():
    return wait_for_input(str, "Who?")


@flow
def named():
    return name()


@flow
def several():
    return sign(rows(3)), name()


@task
def hold(n: int):
    mark(f"hold {n}")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not os.path.exists("release"):
        time.sleep(0.01)
    return n


@flow
def slow(n: int = 8):
    return total(hold.map(range(n)))


@flow
def mixed():
    return sign(rows(3)), total(hold.map(range(2)))
'''


def ledger(folder: Path) -> Counter[str]:
    """How often each body ran."""
    file = folder / "ledger.txt"
    return Counter(file.read_text().split("\n")[:-1]) if file.exists() else Counter()


def until_begun(folder: Path, process: subprocess.Popen[str] | None, what: str = "hold") -> None:
    """Wait until a body of this task runs."""
    deadline = time.monotonic() + PATIENCE
    while not any(name.startswith(what) for name in ledger(folder)):
        assert process is None or process.poll() is None, process and process.communicate()
        assert time.monotonic() < deadline, "no body began"
        time.sleep(0.02)


def until_new(before: set[str]) -> None:
    """Wait until there is a run that is none of these."""
    deadline = time.monotonic() + PATIENCE
    while {run.id for run in dataflow.get_runs()} <= before:
        assert time.monotonic() < deadline, "no run began"
        time.sleep(0.02)


def until_told(process: subprocess.Popen[str], what: str) -> None:
    """Read what a process says on standard error until it says this."""
    assert process.stderr is not None
    for line in process.stderr:
        if what in line:
            return
    raise AssertionError(f"it ended without saying {what!r}")


def until(run: Run, state: str, path: str | None = None) -> None:
    """Wait until a run, or a task of it, is on record in this state."""
    deadline = time.monotonic() + PATIENCE
    while (run.state.type if path is None else run.counts.get(path, {}).get(state) and state) != state:
        assert time.monotonic() < deadline, f"{run} never was {state}"
        time.sleep(0.02)


def rewrite(folder: Path, text: str | None) -> None:
    """Change `work.py`, or take it away; this process has not read it, as little as one that begins now."""
    if text is None:
        (folder / "work.py").unlink()
    else:
        (folder / "work.py").write_text(text, encoding="utf-8")
    sys.modules.pop("work", None)


def last() -> Run:
    """The newest run."""
    return dataflow.get_run("@last")


def everything() -> dict[str, list[tuple[object, ...]]]:
    """All that is on record, by table."""
    engine = sqlalchemy.create_engine(f"sqlite:///{runs_url()}")
    try:
        with engine.connect() as connection:
            tables = sqlalchemy.inspect(connection).get_table_names()
            return {
                table: sorted(
                    (tuple(row) for row in connection.execute(sqlalchemy.text(f'select * from "{table}"'))), key=repr
                )
                for table in tables
            }
    finally:
        engine.dispose()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """How a process ended: its code, output and errors."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err
