"""Many processes at one SQLite file, each leading runs from their birth to their deletion as fast as it can.

``python tests/chaos/writers.py --seconds 300 --processes 8`` says how many flushes were made and how long the slowest
call took, and fails if a call failed, a row is missing or too many, or the file is not sound.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

FLUSHES = 40
"""Of each run."""
ROWS = 30
"""Of each table in each flush."""


class Writer:
    """One process. State: the calls that failed, by what they said, and the slowest one's seconds.

    Parameters
    ----------
    path : str
        The file.
    seed : int
        For what it does when.
    """

    def __init__(self, path: str, seed: int) -> None:
        from dataflow_storage.runs import RunStore

        self.store = RunStore(path)
        self.draw = random.Random(seed)
        self.errors: Counter[str] = Counter()
        self.flushes, self.runs, self.slowest = 0, 0, 0.0

    def call(self, make: Callable[[], object]) -> None:
        """Make a call, and note what it said if it failed, and how long it took."""
        began = time.perf_counter()
        try:
            make()
        except Exception as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1
        self.slowest = max(self.slowest, time.perf_counter() - began)

    def lead_a_run(self) -> None:
        """Lead one run; most are deleted in the end, so that the file stays small."""
        from dataflow_storage.retention import Retention
        from dataflow_storage.rows import Batch

        store, run = self.store, uuid.uuid4().hex
        self.call(lambda: store.create_run({"id": run, "name": "run", "graph": b"g" * 5000}, owner=run, seconds=60))
        tries = [{"path": "f", "idx": at, "state": "Success"} for at in range(ROWS)]
        rows = [{**row, "time": 1.0} for row in tries]
        for number in range(1, FLUSHES + 1):
            asked = [one.seq for one in store.orders(run)]
            batch = Batch(
                number=number, task_runs=rows, transitions=rows, attempts=[{**row, "attempt": number} for row in tries],
                logs=[{"path": "f", "time": 1.0, "message": "x" * 80}] * ROWS, counts={("f", "Success"): ROWS},
                run={"state": "Running", "message": str(number)}, done_orders=asked,
            )  # fmt: skip
            self.call(lambda batch=batch: store.write(run, 1, batch))  # type: ignore[misc]
            self.flushes += 1
            extra = self.draw.randrange(8)
            if extra == 0:
                self.call(lambda: store.renew(run, 1, 60))
            elif extra == 1:
                self.call(lambda: store.order(run, "ask", by="me"))
            elif extra == 2:
                self.call(lambda: store.answer(run, "f", 0, number, by="me", token="t"))  # noqa: B023 (called at once)
            elif extra == 3:
                self.call(lambda: (store.abandoned(), store.counts(run), store.runs(limit=5)))
        self.check(run)
        self.call(lambda: store.write(run, 1, Batch(run={"state": "Success"}, number=FLUSHES + 1)))
        self.call(lambda: store.release(run, 1))
        if self.draw.random() < 0.95:
            record = Retention(store)
            self.call(lambda: record.delete([run], ended=["Success"]))
            self.call(record.sweep)
            self.call(lambda: record.forget([run]))
        self.runs += 1

    def check(self, run: str) -> None:
        """Note what a run has too few or too many of."""
        store, whole = self.store, FLUSHES * ROWS
        found = store.counts(run)["f"]["Success"], len(store.transitions(run)), len(store.logs(run))
        if found != (whole, whole, whole) or store.find(run).written != FLUSHES:
            self.errors[f"counts, transitions and logs are {found}, not {whole} each"] += 1


def write(path: str, until: float, seed: int) -> None:
    """Be one of the processes."""
    writer = Writer(path, seed)
    while time.time() < until:
        writer.lead_a_run()
    print(writer.runs, writer.flushes, f"{writer.slowest:.3f}", sum(writer.errors.values()))
    for error, count in writer.errors.most_common(5):
        print(count, error)


def run(seconds: float, processes: int, seed: int = 0) -> int:
    """Start the processes, wait for them, and look at the file. Returns how much was wrong."""
    import dataflow_storage

    environment = {**os.environ, "PYTHONPATH": str(Path(dataflow_storage.__file__).parents[1])}
    with tempfile.TemporaryDirectory() as folder:
        path, until = f"{folder}/runs.db", time.time() + seconds
        writers = [
            subprocess.Popen(
                [sys.executable, __file__, "--write", path, str(until), str(seed + at)],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            for at in range(processes)
        ]
        said = [writer.communicate()[0].splitlines() for writer in writers]
        wrong: int = sum(writer.returncode != 0 for writer in writers)
        ends = [lines[0].split() for lines in said if lines]
        runs, flushes = (sum(int(end[at]) for end in ends) for at in (0, 1))
        slowest, errors = max((float(end[2]) for end in ends), default=0.0), sum(int(end[3]) for end in ends)
        locked = sum(int(line.split()[0]) for lines in said for line in lines[1:] if "locked" in line)
        with closing(sqlite3.connect(path)) as connection:
            sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
            left = connection.execute("SELECT count(*) FROM transitions").fetchone()[0]
        print(
            f"{processes} processes, {seconds:g} s: {runs} runs, {flushes} flushes ({flushes / seconds:.0f} a second)"
        )
        print(f"slowest call {slowest:.3f} s; {errors} errors, of them {locked} 'database is locked'")
        print(f"integrity check: {sound}; {os.path.getsize(path) / 1e6:.1f} MB, {left} transitions left")
        for line in sorted({line for lines in said for line in lines[1:]}):
            print("  ", line)
    return wrong + errors + int(sound != "ok") + int(left % (FLUSHES * ROWS) != 0)


def main() -> None:
    """Run as a program."""
    if sys.argv[1:2] == ["--write"]:
        path, until, seed = sys.argv[2:]
        write(path, float(until), int(seed))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(min(1, run(given.seconds, given.processes, given.seed)))


if __name__ == "__main__":
    main()
