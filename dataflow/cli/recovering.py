"""Going on with named runs in this process, and telling what becomes of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from dataflow import states
from dataflow.cli import data, problems
from dataflow.cli.terminal import Printer, clean, took
from dataflow.owners import driven_since

if TYPE_CHECKING:
    from dataflow.run import Run
    from dataflow_storage import RunStore
    from dataflow_storage.rows import RunRow

POLL = 0.25
BAD = frozenset({states.FAILED, states.CRASHED})


class Teller:
    """Says what became of runs, line by line or at the end.

    State: `told`, what was said.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._printer = Printer()
        self.told: list[data.Data] = []

    def tell(self, told: data.Data) -> None:
        """Say one thing: of which run, what, its state now, and why."""
        self.told.append(told)
        if self._output == "jsonl":
            data.emit_lines([{"type": "recovered", "time": data.moment(time.time()), **told}])
            sys.stdout.flush()
        elif self._output == "table":
            printer = self._printer
            name, why = printer.tint(str(told["run"]), "bold"), clean(str(told["why"]))
            if told["what"] == "ended":
                spent = took(float(str(told["seconds"])))
                printer.line(f"{printer.state(str(told['state']))}  {name}  {told['flow']}  {spent}  {why}".rstrip())
            else:
                printer.line(f"{told['what']}  {name}  {told['flow']}  {why}")

    def close(self) -> None:
        """Nothing follows."""
        if self._output == "json":
            data.emit({"recovered": self.told})
        elif self._output == "table" and not self.told:
            self._printer.line("nothing to recover: every run is over, paused or driven")


def told_of(row: RunRow, what: str, why: str) -> data.Data:
    """What there is to say of a run."""
    seconds = (row.ended or time.time()) - driven_since(row)
    return {"run": row.name, "flow": row.flow, "what": what, "state": row.state, "why": why, "seconds": seconds}


class Recovery:
    """Drives runs that nobody drives to their end.

    Parameters
    ----------
    store : RunStore
        The record.
    teller : Teller
        Says what becomes of them.

    State: `driven`, the runs that this process drives.
    """

    def __init__(self, store: RunStore, teller: Teller) -> None:
        self._store, self._teller = store, teller
        self.driven: list[Run] = []
        self.is_bad = False

    def take_up(self, rows: Sequence[RunRow]) -> None:
        """Go on with these, as far as nobody else does."""
        from dataflow.recover import CRASHED, TAKEN, recover_one

        for row in rows:
            found = recover_one(self._store, row)
            if found is None:
                continue
            if found.what == TAKEN:
                self.driven.append(found.run)
            self.is_bad |= found.what == CRASHED
            self._tell(found.run, found.what, found.why)

    def wait(self) -> None:
        """Wait until all are over, and tell each end."""
        while self.driven:
            for run in list(self.driven):
                assert run._driver is not None
                if run._driver.finished.wait(POLL / len(self.driven)):
                    self.driven.remove(run)
                    lost = run._driver.book.lost
                    self.is_bad |= lost is None and run.record.state in BAD
                    self._tell(run, "lost" if lost is not None else "ended", str(lost or run.record.message))

    def _tell(self, run: Run, what: str, why: str) -> None:
        try:
            self._teller.tell(told_of(run.record, what, why))
        except BrokenPipeError:  # who started this is gone; the run is not
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def leave(self, number: int, frame: FrameType | None) -> None:
        """End at once: the runs are there for the next, as if this process had been killed."""
        if self.driven:
            names = ", ".join(run.name for run in self.driven)
            sys.stderr.write(f"\nleft to the next dataflow recover, nothing is cancelled: {names}\n")
        sys.stderr.flush()
        # Not sys.exit: that waits for bodies, and lets drivers see their pools go.
        os._exit(problems.EXIT_INTERRUPTED)
