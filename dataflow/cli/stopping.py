"""Telling a run to stop or to pause, wherever it is driven, and waiting until it has."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dataflow import states
from dataflow.cli import data, previews
from dataflow.cli.ending import CODES, paused_hints
from dataflow.cli.problems import EXIT_INTERRUPTED, EXIT_OK
from dataflow.cli.standing import check_stop, find_run
from dataflow.cli.terminal import Printer, clean
from dataflow.owners import driver_of

if TYPE_CHECKING:
    from dataflow.run import Run

POLL = 0.1

no_wait_option = click.option("--no-wait", is_flag=True, help="Do not wait until it has.")


def stop(
    reference: str,
    verb: str,
    tell: Callable[[Run], None],
    wanted: str,
    *,
    wait: bool,
    dry_run: bool,
    output: str,
) -> int:
    """Tell a run to stop, wait until it has, and give the exit code: 0 where it is in the state that was wanted.

    Parameters
    ----------
    reference : str
        The run.
    verb : str
        "cancel" or "pause".
    tell : callable
        Tells the run's driver; where there is none, writes the state down itself.
    wanted : str
        The state that the run is to be in.
    wait, dry_run : bool
        Wait for that; only say what would happen.
    output : str
        "table", "json" or "jsonl".

    Raises
    ------
    Refused
        The run has ended.
    """
    run = find_run(reference, verb)
    row = run.record
    check_stop(run, row, verb)
    if dry_run:
        from dataflow.preview import open_now

        return previews.tell(run.name, open_now(run._store.nodes(run.id), run.counts), output, verb="stop")
    who = driver_of(row)
    tell(run)
    printer = Printer(sys.stderr)
    if who:
        printer.line(f"told {who}, which drives run {run.name}{'' if wait else '; it stops when what runs is over'}")
    if wait and not _wait(run, tell, wanted, printer):
        return EXIT_INTERRUPTED
    return _told(run, wanted, output, printer, who if not wait else "")


def _wait(run: Run, tell: Callable[[Run], None], wanted: str, printer: Printer) -> bool:
    """Wait until it has stopped; False where Ctrl-C ended the waiting."""
    try:
        while True:
            row = run.record
            if row.state in states.RUN_FINAL or row.state == wanted:
                return True
            if not driver_of(row):  # it died before it heard, or has left the run paused
                tell(run)
            time.sleep(POLL)
    except KeyboardInterrupt:
        printer.line(f"\nrun {run.name} was told, and stops without this command")
        return False


def _told(run: Run, wanted: str, output: str, printer: Printer, told: str) -> int:
    row = run.record
    summed = data.totals(run.counts, run._store.nodes(run.id))
    if output == "json":
        data.emit({"run": data.run_data(row, summed)})
    elif output == "jsonl":
        data.emit_lines([{"type": "run", "run": data.run_data(row, summed)}])
    elif not told:
        done = data.tally(summed)
        message = f"  {clean(row.message)}" if row.message else ""
        out = Printer()
        out.line(f"{out.state(row.state)}  {run.name}  {done['done']} of {done['total']} done{message}")
        _hint(run, row.state, printer)
    return EXIT_OK if told or row.state == wanted else CODES.get(row.state, EXIT_OK)


def _hint(run: Run, state: str, printer: Printer) -> None:
    hint = printer.tint("hint:", "busy")
    if state == states.CANCELLED:
        printer.line(f"{hint} what was done is kept: dataflow resume {run.name} goes on")
    elif state == states.PAUSED:
        for line in paused_hints(run):
            printer.line(f"{hint} {line}")
