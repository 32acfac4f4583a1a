"""`dataflow recover`: runs whose driver died go on, each in a process of its own.

Of its own, since two projects may both have a module `utils`: a run goes on in the folder, and with the Python, that it
was started with.

State: `_Watch.children`, the processes by run, and `_tried`, which runs ever had one; `left`, what was said of runs
that could not go on, and when they are tried again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from types import FrameType
from typing import IO, TYPE_CHECKING

import click

from dataflow.cli import data, previews, problems
from dataflow.cli.recovering import BAD, Recovery, Teller
from dataflow.cli.terminal import Printer, day, several
from dataflow.owners import owner_name
from dataflow.places import open_runs

if TYPE_CHECKING:
    from dataflow_storage import RunStore
    from dataflow_storage.rows import RunRow

POLL = 0.1
LOOK = 1.0  # seconds between two looks
AGAIN = 30.0  # seconds until a run that could not be taken up is tried again


@click.command("recover", short_help="Go on with runs whose driver died.")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Go on with so many at a time; by default as many as there are CPUs, and 2 at least.",
)
@click.option("--watch", is_flag=True, help="Stay when there is none, until Ctrl-C.")
@previews.dry_run_option
@data.output_option("table", "json", "jsonl")
def command(runs: tuple[str, ...], limit: int | None, watch: bool, dry_run: bool, output: str) -> int:
    """Go on with runs whose driver died, and wait until they are over.

    Those are runs that are not over and that nobody drives: at once where their process was on this machine, else when
    its lease has ended. Each goes on in a process of its own, a limited number at a time; those that are named, in this
    one. A run that cannot go on by itself, for its code is gone or its driver died too often, becomes Crashed. Ctrl-C
    ends this command at once and cancels nothing: the next one goes on with the runs.

    \b
    Examples:
      dataflow recover --dry-run
      dataflow recover --watch
    """
    from dataflow.recover import abandoned_runs

    if watch and (output == "json" or runs):
        hint = "-o jsonl" if output == "json" else "dataflow recover --watch"
        raise problems.Refused("--watch has no end: it takes neither a RUN nor -o json", hint)
    if limit is not None and runs:
        raise problems.Refused("--limit is for runs that are found: those that are named go on at once", "leave it out")
    store = open_runs()
    rows = abandoned_runs(store)
    if runs:
        wanted = {store.find(run).id for run in runs}
        rows = [row for row in rows if row.id in wanted]
    if dry_run:
        return _preview(store, rows, output)
    teller = Teller(output)
    if runs:
        recovery = Recovery(store, teller)
        signal.signal(signal.SIGINT, recovery.leave)
        recovery.take_up(rows)
        recovery.wait()
        is_bad = recovery.is_bad
    else:
        is_bad = _watched(_Watch(store, teller, limit or max(2, os.cpu_count() or 1), again=watch), watch)
    teller.close()
    return problems.EXIT_FAILED if is_bad else problems.EXIT_OK


def _watched(watching: _Watch, watch: bool) -> bool:
    """See to all runs, until there is none or somebody ends it; whether something went wrong."""
    signal.signal(signal.SIGINT, watching.leave)
    looked, busy = 0.0, 1
    while True:
        # Where one has ended the next may begin, also of those that were found later.
        if len(watching.children) < busy or time.monotonic() - looked >= LOOK:
            watching.look()
            looked = time.monotonic()
        busy = len(watching.children)
        if not busy and not watch:
            return watching.is_bad
        watching.listen(POLL)


class _Watch:
    """Starts processes for runs that nobody drives, `limit` at a time, and tells what they tell.

    With `again`, one that was left, or whose driver has died once more, is tried again; else each is tried once.
    """

    def __init__(self, store: RunStore, teller: Teller, limit: int, *, again: bool) -> None:
        self._store, self._teller, self._limit, self._again = store, teller, limit, again
        self._tried: set[str] = set()
        self._heard: SimpleQueue[tuple[str, data.Data | None]] = SimpleQueue()
        self.children: dict[str, subprocess.Popen[str]] = {}
        self.left: dict[str, tuple[str, float]] = {}
        self.is_bad = False

    def look(self) -> None:
        """Have runs gone on with that nobody drives."""
        from dataflow.recover import abandoned_runs

        now = time.monotonic()
        for row in abandoned_runs(self._store):
            if len(self.children) >= self._limit:
                return
            if row.id in self.children or self.left.get(row.id, ("", 0.0))[1] > now:
                continue
            if self._again or row.id not in self._tried:
                self._tried.add(row.id)
                child = self.children[row.id] = _start(row)
                assert child.stdout is not None
                threading.Thread(target=self._read, args=(row.id, child.stdout), daemon=True).start()

    def _read(self, run: str, lines: IO[str]) -> None:
        for line in lines:
            told = json.loads(line)
            self._heard.put((run, {name: told[name] for name in ("run", "flow", "what", "state", "why", "seconds")}))
        lines.close()
        self._heard.put((run, None))

    def listen(self, seconds: float) -> None:
        """Tell what the processes tell, for about so long."""
        try:
            run, told = self._heard.get(timeout=seconds)
        except Empty:
            return
        if told is None:
            self.is_bad |= self.children.pop(run).wait() not in (problems.EXIT_OK, problems.EXIT_FAILED)
            return
        said = self.left.pop(run, ("", 0.0))[0]
        if told["what"] == "left":
            self.left[run] = str(told["why"]), time.monotonic() + AGAIN
        self.is_bad |= told["what"] != "left" and told["state"] in BAD
        if told["what"] != "left" or said != told["why"]:
            self._teller.tell(told)

    def leave(self, number: int, frame: FrameType | None) -> None:
        """End at once, and the processes too: the runs are there for the next."""
        for child in self.children.values():
            child.send_signal(signal.SIGINT)
        for child in self.children.values():
            child.wait()
        sys.stdout.flush()
        os._exit(problems.EXIT_INTERRUPTED)


def _start(row: RunRow) -> subprocess.Popen[str]:
    """A process that goes on with a run, where it was started: the record stays the one that this process has."""
    from dataflow import settings

    folder, python = str(row.details.get("folder") or ""), str(row.details.get("python") or "")
    url = settings.runs_url()
    place = {
        "DATAFLOW_HOME": str(settings.home()),
        "DASK_DATAFLOW__RUNS__URL": url if "://" in url else os.path.abspath(url),
    }
    return subprocess.Popen(
        [python if os.access(python, os.X_OK) else sys.executable, "-m", "dataflow", "recover", row.id, "-o", "jsonl"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder if os.path.isdir(folder) else None,
        env={**os.environ, **place},
    )


def _preview(store: RunStore, rows: Sequence[RunRow], output: str) -> int:
    summed = {row.id: data.totals(store.counts(row.id), store.nodes(row.id)) for row in rows}
    if output == "json":
        data.emit({"dry_run": True, "runs": [data.run_data(row, summed[row.id]) for row in rows]})
        return 0
    if output == "jsonl":
        data.emit_lines({"type": "run", "dry_run": True, "run": data.run_data(row, summed[row.id])} for row in rows)
        return 0
    printer = Printer()
    cells = []
    for row in rows:
        tally = data.tally(summed[row.id])
        begun = day(row.started or row.created)
        cells.append(
            [
                printer.state(row.state),
                printer.tint(row.name, "bold"),
                row.flow,
                begun,
                f"{tally['done']}/{tally['total']}",
                owner_name(row.owner) if row.owner else "-",
            ]
        )
    if cells:
        printer.table(["STATE", "RUN", "FLOW", "STARTED", ">TASKS", "LAST DRIVEN BY"], cells)
    printer.line(f"would go on with {several(len(rows), 'run')}")
    return 0
