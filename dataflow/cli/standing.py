"""How a run stands, for those who want something of it: who drives it, and what can be asked of it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflow import states
from dataflow.cli.problems import EXIT_NOT_FOUND, Refused
from dataflow.owners import driver_of, is_driven
from dataflow.places import open_runs
from dataflow_storage.rows import RunRow

if TYPE_CHECKING:
    from dataflow.run import Run

MOST_LOOKED_AT = 200
MEANT = {  # in which states runs are that a verb is for
    "cancel": {states.PENDING, states.RUNNING, states.PAUSED},
    "pause": {states.PENDING, states.RUNNING},
    "resume": {states.PAUSED, states.CANCELLED, states.CRASHED},
    "retry": {states.FAILED, states.CRASHED},
}
ENDED = {
    states.SUCCESS: "has succeeded",
    states.FAILED: "has failed",
    states.CANCELLED: "was cancelled",
    states.CRASHED: "has crashed",
}


def find_run(reference: str, verb: str) -> Run:
    """The run that a person means.

    Raises
    ------
    Refused
        They named a task of it, or a flow.
    NoSuchRun
        There is none.
    """
    from dataflow.cli.reference import find
    from dataflow.errors import NoSuchRun

    try:
        found = find(reference)
    except NoSuchRun as error:
        raise _flow(reference, verb) or error from error
    if found.path is not None:
        raise Refused(f"{verb} takes a whole run, and {reference} is a task", f"dataflow {verb} {found.run.name}")
    return found.run


def _flow(name: str, verb: str) -> Refused | None:
    """The error for a flow where a run is wanted; None where it is none."""
    found = open_runs().runs(flow=name, limit=MOST_LOOKED_AT)
    if not found:
        return None
    fit = next((row.name for row in found if row.state in MEANT.get(verb, states.RUN_TRANSITIONS)), None)
    newest = f"dataflow {verb} {fit} takes the newest that fits" if fit else "no run of it fits"
    hint = f"{newest}; dataflow ls --flow {name} lists them."
    return Refused(f"{verb} takes a run, and {name} is a flow", hint, EXIT_NOT_FOUND)


def is_over(row: RunRow) -> bool:
    """Whether nothing more happens to a run by itself."""
    return row.state in states.RUN_FINAL or (row.state == states.PAUSED and not is_driven(row))


GONE = "its driver is gone; dataflow recover goes on with it"


def is_left(row: RunRow) -> bool:
    """Whether a run is to go on and nobody drives it: its driver died."""
    return row.state in (states.PENDING, states.RUNNING) and not is_driven(row)


def is_put_by(row: RunRow) -> bool:
    """Whether somebody paused the run as a whole; else it is paused since its tasks wait for answers."""
    return row.state == states.PAUSED and "paused" in row.details


def driven(run: Run, row: RunRow) -> Refused:
    """The error for a run that somebody else drives."""
    state = "running" if is_over(row) or row.state == states.PAUSED else row.state.lower()  # it was just taken up
    return Refused(
        f"run {run.name} is {state}: {driver_of(row) or 'another process'} drives it",
        f"dataflow show {run.name}; or stop it with dataflow cancel {run.name}",
    )


def check_resume(run: Run, row: RunRow, *, asked: bool) -> None:
    """Refuse to resume what has ended for good, and what somebody drives of whom nothing can be asked.

    Parameters
    ----------
    run, row
        The run and its record.
    asked : bool
        Something in it waits for a person, or it is pausing.

    Raises
    ------
    Refused
        It cannot be resumed.
    """
    if row.state == states.SUCCESS:
        raise Refused(f"run {run.name} has succeeded: there is nothing to resume", f"dataflow rerun {run.name}")
    if row.state == states.FAILED and not _is_open(run):
        raise Refused(f"run {run.name} has failed", f"dataflow retry {run.name} runs again what did not succeed")
    if driver_of(row) and not asked:
        raise driven(run, row)


def _is_open(run: Run) -> bool:
    """Whether something of a run that failed has not had its chance."""
    from dataflow import control

    return control._is_open(run)


def check_retry(run: Run, row: RunRow, *, redone: bool) -> None:
    """Refuse to retry what has succeeded, unless from a task that is named; and what somebody drives.

    Raises
    ------
    Refused
        It cannot be retried.
    """
    if row.state == states.SUCCESS and not redone:
        hint = f"dataflow retry {run.name} --from TASK, or dataflow rerun {run.name} for a new run"
        raise Refused(f"run {run.name} has succeeded: there is nothing to retry", hint)
    if driver_of(row):
        raise driven(run, row)


def check_stop(run: Run, row: RunRow, verb: str) -> None:
    """Refuse to cancel or pause what has ended.

    Raises
    ------
    Refused
        It has ended.
    """
    if row.state in states.RUN_FINAL:
        raise Refused(f"run {run.name} {ENDED[row.state]}: there is nothing to {verb}", f"dataflow show {run.name}")
