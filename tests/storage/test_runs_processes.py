"""A RunStore on SQLite among several processes: together, forked, and killed in the middle of a flush."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import dataflow_storage
from dataflow_storage.rows import Batch
from dataflow_storage.runs import RunStore

PRELUDE = """
import os, signal, sys, time, uuid
from dataflow_storage.runs import Batch, RunStore
store = RunStore(sys.argv[1])

def flush(run, epoch, number, size=300):
    rows = [{"path": "f", "idx": at, "time": 1.0, "attempt": number} for at in range(size)]
    store.write(run, epoch, Batch(
        run={"message": str(number)}, task_runs=rows, transitions=[{**row, "state": str(number)} for row in rows],
        logs=[{"path": "f", "time": 1.0, "message": str(number)}] * size, counts={("f", "x"): size},
    ))
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "runs.db")


def start(script: str, *arguments: str, stdin: int | None = None, **more: str) -> subprocess.Popen[str]:
    """Run a script; `more` goes to its environment."""
    folder = str(Path(dataflow_storage.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": folder, **more}
    command = [sys.executable, "-c", PRELUDE + script, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=stdin, stdout=pipe, stderr=pipe, text=True)


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each printed; an error in one fails the test with its traceback."""
    found = [process.communicate(timeout=90) for process in processes]
    assert [error for _, error in found if error] == []
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [said.strip() for said, _ in found]


# -- many processes --------------------------------------------------------------------------------------------------


def test_processes_that_create_a_database_at_once_all_succeed(tmp_path: Path) -> None:
    script = """
while time.time() < float(sys.argv[2]):
    pass
print(store.create_run({"id": uuid.uuid4().hex, "name": "run"}))
"""
    for turn in range(4):
        path = str(tmp_path / f"folder{turn}" / "runs.db")
        at = str(time.time() + 1.5)
        said = finish([start(script, path, at) for _ in range(3)])
        assert sorted(said) == ["run", "run-2", "run-3"]


def test_nobody_meets_a_locked_database(path: str) -> None:
    writer = """
run = uuid.uuid4().hex
store.create_run({"id": run, "name": "w"})
epoch = store.claim(run, run, seconds=600)
end, number = time.time() + 2.5, 0
while time.time() < end:
    flush(run, epoch, number)
    number += 1
print(run, number)
"""
    reader = """
end, reads = time.time() + 3, 0
while time.time() < end:
    for run in store.runs():
        seen, counted, lines = store.transitions(run.id), store.counts(run.id), store.logs(run.id)
        total = counted.get("f", {}).get("x", 0)
        assert len(seen) % 300 == 0 and len(seen) <= total <= len(lines), (len(seen), total, len(lines))
        reads += 1
    store.close()  # and open again: the last one out tidies the WAL away, under the feet of those who come in
print(reads)
"""
    processes = [start(writer, path), start(writer, path), start(reader, path), start(reader, path)]
    first, second, *reads = finish(processes)
    assert all(int(count) > 0 for count in reads)
    with RunStore(path) as store:
        for run, flushes in (first.split(), second.split()):
            assert int(flushes) > 5
            assert store.counts(run) == {"f": {"x": 300 * int(flushes)}}


def test_a_forked_child_does_not_touch_its_parents_connections(path: str) -> None:
    script = """
run = "a" * 32
store.create_run({"id": run, "name": "run"})
epoch = store.claim(run, "me", seconds=600)
flush(run, epoch, 0)
child = os.fork()
flush(run, epoch, 1)
if child == 0:
    store.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
flush(run, epoch, 2)
print(store.counts(run)["f"]["x"])
"""
    assert finish([start(script, path)]) == ["1200"]


# -- killed writers --------------------------------------------------------------------------------------------------


def check_whole(path: str, run: str) -> int:
    """The number of flushes in the database, all of them whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with RunStore(path) as store:
        total = store.counts(run).get("f", {}).get("x", 0)
        assert total % 300 == 0
        assert len(store.transitions(run)) == len(store.logs(run)) == total
        last = total // 300 - 1
        assert store.find(run).message == ("" if last < 0 else str(last))
        assert {row.attempt for row in store.task_runs(run)} == (set() if last < 0 else {last})
        epoch = store.claim(run, "another", seconds=60)
        store.write(run, epoch, Batch(run={"state": "Running"}))  # the dead writer's lock is gone
    return last + 1


def test_a_writer_killed_between_two_statements_leaves_whole_flushes(path: str) -> None:
    script = """
from sqlalchemy import Engine, event
run = "a" * 32
store.create_run({"id": run, "name": "run"})
epoch = store.claim(run, "me", seconds=0)
flush(run, epoch, 0)

@event.listens_for(Engine, "before_cursor_execute")
def kill(connection, cursor, statement, parameters, context, many):
    if statement.startswith("INSERT INTO logs"):  # task runs and transitions are in by now
        os.kill(os.getpid(), signal.SIGKILL)

flush(run, epoch, 1)
"""
    process = start(script, path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert check_whole(path, "a" * 32) == 1


def test_a_writer_killed_at_any_moment_leaves_whole_flushes(tmp_path: Path) -> None:
    script = """
run = "a" * 32
store.create_run({"id": run, "name": "run"})
epoch = store.claim(run, "me", seconds=0)
print("go", flush=True)
for number in range(10**6):
    flush(run, epoch, number)
"""
    chance = random.Random(7)
    flushes = []
    for turn in range(5):
        path = str(tmp_path / f"{turn}.db")
        process = start(script, path)
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(chance.uniform(0.01, 0.3))
        process.kill()
        process.communicate(timeout=60)
        flushes.append(check_whole(path, "a" * 32))
    assert max(flushes) > 0


# -- what a process loads ------------------------------------------------------------------------------------------


def test_a_new_database_is_made_fast_and_without_alembic(path: str) -> None:
    script = """
began = time.perf_counter()
store.runs()
print(time.perf_counter() - began)
assert not any(name.split(".")[0] in ("alembic", "psycopg", "dataflow") for name in sys.modules)
"""
    times = [float(finish([start(script, f"{path}{turn}")])[0]) for turn in range(3)]
    assert min(times) < 0.15
    finish([start(script, f"{path}0")])  # one that is there and up to date does not need Alembic either


def test_rows_do_not_need_a_database_library() -> None:
    script = [sys.executable, "-c", "import sys, dataflow_storage.rows; assert 'sqlalchemy' not in sys.modules"]
    folder = str(Path(dataflow_storage.__file__).parents[1])
    subprocess.run(script, check=True, env={**os.environ, "PYTHONPATH": folder})
