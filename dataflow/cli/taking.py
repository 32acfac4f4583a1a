"""Taking up a run that is on record: what resume, retry and approve have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dataflow import states
from dataflow.cli.building import users_errors
from dataflow.cli.standing import driven
from dataflow.owners import driver_of

if TYPE_CHECKING:
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


def go_on(run: Run, order: int, executor: str | None, *, as_recorded: bool) -> None:
    """See that somebody acts on an order to go on, by its number: the run's driver, or this process.

    Raises
    ------
    Refused
        Its flow's body raised.
    """
    from dataflow import control
    from dataflow.driven import launch

    with users_errors(run.flow):
        here = control.go_on(run, order, executor, as_recorded=as_recorded)
    if here:
        launch(run)
