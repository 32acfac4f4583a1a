"""Compares dataflow with bare Dask and with its peers, and writes docs/benchmarks.md and docs/benchmarks.png.

    python -m benchmarks.compare                     everything: hours
    python -m benchmarks.compare --resume            what an interrupted comparison has not measured yet
    python -m benchmarks.compare --check             how the ratios differ from the last committed table

Each figure comes from a process of its own. Rounds alternate over the systems, so that whatever else the machine does
meets all of them; each round in another order, so that what a system leaves behind (pages to be written, say) does not
always meet the same one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.catalogue import BY_NAME, System
from benchmarks.document import changes, document, ratios
from benchmarks.environments import BENCH, TOP, install, python, variables
from benchmarks.record import Cell, Record, machine
from benchmarks.systems.workloads import WORKLOADS

SIZES = (100, 1_000, 10_000, 100_000)
BLOBS = 200
CHANGED = 1.3
START_SECONDS = 180.0  # that a process may take before and after its run: imports, servers, reading back
TABLE = TOP / "docs" / "benchmarks.md"
PICTURE = TABLE.with_suffix(".png")


def main() -> int:
    """Measure what was asked for, and write the documents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--systems", nargs="+", choices=list(BY_NAME), default=list(BY_NAME), metavar="SYSTEM")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS, metavar="WORKLOAD")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that a cell may take (60)")
    parser.add_argument("--record", type=Path, default=BENCH / "record.json", help="where the figures go at once")
    parser.add_argument("--out", type=Path, default=TABLE, help="the table; the picture goes beside it")
    parser.add_argument("--resume", action="store_true", help="go on with the record instead of a new one")
    parser.add_argument(
        "--check", action="store_true", help="measure nothing; compare the table with the committed one"
    )
    given = parser.parse_args()
    if given.check:
        return check(given.out)
    given.record.parent.mkdir(parents=True, exist_ok=True)
    record = Record(machine=machine(), limit=given.limit, rounds=given.rounds)
    if given.resume and given.record.exists():
        record = Record.read(given.record)
    with tempfile.TemporaryDirectory(prefix="dataflow-bench-") as folder:
        os.environ["TMPDIR"] = folder
        measure(record, given.record, [BY_NAME[name] for name in given.systems], given.workloads, given.sizes)
    from benchmarks.picture import draw

    given.out.write_text(document(record))
    draw(record, given.out.with_suffix(".png"))
    print(f"{given.out} and its picture are written")
    return 0


def measure(
    record: Record, path: Path, systems: Sequence[System], workloads: Sequence[str], sizes: Sequence[int]
) -> None:
    """Fill the record: by workload, by N, by round, by system."""
    record.missing = {system.name: why for system in systems if (why := install(system))}
    for name, why in record.missing.items():
        print(f"{name} is left out: {why}", flush=True)
    present = [system for system in systems if system.name not in record.missing]
    for workload in workloads:
        for n in sorted({min(size, BLOBS) for size in sizes}) if workload == "payload" else sorted(sizes):
            for turn in range(record.rounds):
                for system in random.Random(turn).sample(present, len(present)):
                    cell = record.cell(system, workload, n)
                    if is_wanted(record, cell, turn):
                        ask(record, cell)
                        print(
                            f"{workload:8} {n:>9,}  {system.name:24} {cell.why or f'{cell.seconds[-1]:.3f} s'}",
                            flush=True,
                        )
                        record.write(path)
    record.write(path)  # also of what was left out without a try


def is_wanted(record: Record, cell: Cell, turn: int) -> bool:
    """Whether a cell is measured in this round; one that would exceed the limit is told so without a try."""
    if cell.why or len(cell.seconds) > turn:
        return False
    if cell.seconds:
        return turn < rounds_of(max(cell.seconds), record)
    smaller = [c for c in record.cells if (c.system, c.workload) == (cell.system, cell.workload) and c.n < cell.n]
    if not smaller:
        return True
    last = max(smaller, key=lambda c: c.n)
    if last.why:
        cell.why = last.why if last.why.startswith("not offered") else "left out: less was too much"
    elif (expected := last.median * cell.n / last.n) > record.limit:
        cell.why = f"left out: about {expected:,.0f} s"
    return not cell.why


def rounds_of(seconds: float, record: Record) -> int:
    """How many rounds a cell gets that takes so long: all of them, three, or one.

    >>> record = Record(machine="", limit=60, rounds=5)
    >>> [rounds_of(seconds, record) for seconds in (1, 20, 50)]
    [5, 3, 1]
    """
    if seconds <= record.limit / 6:
        return record.rounds
    return min(record.rounds, 3 if seconds <= record.limit / 2 else 1)


def ask(record: Record, cell: Cell) -> None:
    """One round of one cell, in a process of its own."""
    system = BY_NAME[cell.system]
    command = [python(system), "-m", f"benchmarks.systems.{system.script}", cell.workload, str(cell.n)]
    command += [system.variant] if system.variant else []
    # The cache of `warm` is filled by another process first.
    longest = record.limit * (2 if cell.workload == "warm" else 1) + START_SECONDS
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command,
            cwd=TOP,
            env=variables(system),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            process.wait(timeout=longest)
        except subprocess.TimeoutExpired:
            cell.why = f"left out: more than {record.limit:.0f} s"
            return
        finally:
            end(process)
        out.seek(0), err.seek(0)
        take(record, cell, out.read(), err.read())


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and the servers and workers that it has started."""
    below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for child in below:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def take(record: Record, cell: Cell, out: str, err: str) -> None:
    """Read what a script has printed."""
    lines = [line for line in out.splitlines() if line.startswith('{"workload"')]
    if not lines:
        raised = re.findall(r"^([\w.]*(?:Error|Exception|Failed|Interrupt))\b", err, re.MULTILINE)
        cell.why = f"failed: {raised[-1].rpartition('.')[2] if raised else 'it said nothing'}"
        print(err[-2_000:], file=sys.stderr)
        return
    said = json.loads(lines[-1])
    record.versions |= said["versions"]
    if "not_offered" in said:
        cell.why = f"not offered: {said['not_offered']}"
    elif not said["right"]:
        cell.why = "failed: a wrong value"
    else:
        cell.seconds.append(said["seconds"])


def check(path: Path) -> int:
    """Print which ratios are no longer what the last commit says; people judge that."""
    here = str(path.resolve().relative_to(TOP))
    done = subprocess.run(["git", "show", f"HEAD:{here}"], cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode or not path.exists():
        print(f"there is nothing to compare: {here} is to be written and to be committed")
        return 0
    found = changes(ratios(done.stdout), ratios(path.read_text()), CHANGED)
    print("\n".join(found) or f"no ratio has changed by more than {CHANGED} x")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
