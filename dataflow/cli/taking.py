"""Taking up a run that is on record: what resume, retry and approve have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from dataflow import states
from dataflow.cli.building import users_errors
from dataflow.cli.standing import driven, driver_of

if TYPE_CHECKING:
    from dataflow.cli.waiting import Waiting
    from dataflow.run import Run

POLL = 0.1

executor_option = click.option("--executor", metavar="WHERE", help="Where; by default where it ran before.")
recorded_option = click.option(
    "--as-recorded", is_flag=True, help="With the graph on record; else the flow's code builds it again."
)


def check_graph(run: Run, *, as_recorded: bool) -> None:
    """Have the run's graph, as it would be taken up with; nothing on record changes.

    Raises
    ------
    Refused, CodeGone, CodeChanged
        Its code is gone, raises, or builds another graph.
    """
    from dataflow import control

    with users_errors(run.flow):
        control.graph_of(run, run.record, as_recorded=as_recorded)


def taken(run: Run, take_up: Callable[[], object]) -> object:
    """What `take_up` gives; where somebody else was faster, an error that says who.

    Raises
    ------
    Refused
        Somebody else drives the run, or its flow's body raised.
    """
    from dataflow.errors import RunNotResumable

    with users_errors(run.flow):
        try:
            return take_up()
        except RunNotResumable as error:
            row = run.record
            if driver_of(row):
                raise driven(run, row) from error
            raise


def settle(run: Run) -> None:
    """Wait until a driver that is about to leave its run paused has left it."""
    while (row := run.record).state == states.PAUSED and driver_of(row):
        time.sleep(POLL)


def go_on(run: Run, answered: Sequence[Waiting], executor: str | None, *, as_recorded: bool) -> None:
    """Once answers are on record: see that the run's driver has heard of them, or become its driver.

    Parameters
    ----------
    run : Run
        The run.
    answered : sequence of Waiting
        What was answered.
    executor, as_recorded
        Where, and with which graph, if it is to be driven here.

    Raises
    ------
    Refused
        Its flow's body raised.
    """
    from dataflow import control
    from dataflow.driven import launch
    from dataflow.errors import RunNotResumable
    from dataflow.recovery import RESUME

    while True:
        row = run.record
        if driver_of(row):
            if _are_heard(run, answered):
                return
        elif row.state in states.RUN_FINAL:
            return
        else:
            try:
                with users_errors(run.flow):
                    control.take_up(run, RESUME, executor, as_recorded=as_recorded)
            except RunNotResumable:
                if not driver_of(run.record):
                    raise
            else:
                launch(run)
                return
        time.sleep(POLL)


def _are_heard(run: Run, answered: Sequence[Waiting]) -> bool:
    """Whether none of what was answered waits any more."""
    ours = {(one.row.path, one.row.idx, one.row.attempt) for one in answered}
    rows = run._store.task_runs(run.id, states=[states.PAUSED])
    return not any((row.path, row.idx, row.attempt) in ours for row in rows)
