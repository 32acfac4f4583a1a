"""`dataflow resume`: a paused run goes on, or one that crashed or was cancelled is taken up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from dataflow.cli import previews, standing
from dataflow.cli.driving import Showing, drive, showing_options
from dataflow.cli.problems import Refused
from dataflow.cli.taking import check_graph, executor_option, recorded_option, settle, taken
from dataflow.cli.terminal import Printer
from dataflow.owners import driver_of

if TYPE_CHECKING:
    from dataflow.run import Run


@click.command("resume", short_help="Go on with a run that was paused, cancelled or crashed.")
@click.argument("run", metavar="RUN")
@executor_option
@recorded_option
@previews.dry_run_option
@showing_options
def command(run: str, executor: str | None, as_recorded: bool, dry_run: bool, showing: Showing) -> int:
    """Go on with a run that was paused, cancelled or crashed. What has ended stays as it is.

    What waits for a person is approved by this, unless somebody paused the run as a whole or an answer with a value is
    wanted: see dataflow approve.

    \b
    Examples:
      dataflow resume brisk-otter
      dataflow resume @last --dry-run
    """
    from dataflow import control
    from dataflow.cli.waiting import waiting

    found = standing.find_run(run, "resume")
    settle(found)
    row = found.record
    stopped = control.is_pausing(found, row)
    waits = [] if stopped else waiting(found)
    standing.check_resume(found, row, asked=bool(waits) or stopped)
    plain = [one for one in waits if not one.wants]
    if waits and not plain and not any(one.answered for one in waits):
        raise _unanswered(found)
    if dry_run:
        check_graph(found, as_recorded=as_recorded)
        return previews.tell(found.name, found.plan(retry=False), showing.output)
    if stopped and (who := driver_of(row)):
        Printer(sys.stderr).line(f"{who} still pauses it: it goes on when what runs is over")
    return drive(lambda: _begin(found, executor, as_recorded), showing, earlier=found, note="resumed")


def _begin(run: Run, executor: str | None, as_recorded: bool) -> Run:
    from dataflow import control
    from dataflow.driven import launch
    from dataflow.errors import NothingAsked

    try:
        here = taken(run, lambda: control.resume(run, executor, as_recorded=as_recorded))
    except NothingAsked as error:
        raise _unanswered(run) from error
    if here:
        launch(run)
    return run


def _unanswered(run: Run) -> Refused:
    """All that waits wants a value."""
    from dataflow.cli.waiting import command_for, told, unanswered

    found = unanswered(run)
    if not found:  # somebody was faster
        return standing.driven(run, run.record)
    return Refused(f"{found[0].label} asks for a value: {told(found[0])}", command_for(run.name, found[0]))
