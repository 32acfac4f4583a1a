"""`dataflow approve`: a task that waits for a person goes on, and with it the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dataflow.cli import data, previews
from dataflow.cli.driving import Showing, drive, showing_options
from dataflow.cli.problems import Refused
from dataflow.cli.reference import Found, find
from dataflow.cli.taking import check_graph, executor_option, go_on, recorded_option
from dataflow.cli.terminal import Printer, day
from dataflow.cli.waiting import Waiting, command_for, told, unanswered
from dataflow.events import NO_INDEX
from dataflow.owners import driver_of

if TYPE_CHECKING:
    from dataflow.run import Run

MOST_LISTED = 20


@click.command("approve", short_help="Let a task go on that waits for a person, with an answer if it wants one.")
@click.argument("reference", metavar="RUN[/TASK]")
@click.option("--value", metavar="JSON", help="The answer; what is no JSON is taken as text.")
@click.option("--no-resume", is_flag=True, help="Only write the answer down, for whoever takes the run up.")
@executor_option
@recorded_option
@previews.dry_run_option
@showing_options
def command(
    reference: str,
    value: str | None,
    no_resume: bool,
    executor: str | None,
    as_recorded: bool,
    dry_run: bool,
    showing: Showing,
) -> int:
    """Let a task go on that waits for a person, and with it the run.

    Without a TASK: the one that waits. Of a mapped task all children that wait, or one: RUN/TASK[3]. Where nobody
    drives the run, this command does, to its end or to the next pause; else it shows how the run goes.

    \b
    Examples:
      dataflow approve brisk-otter
      dataflow approve brisk-otter/price --value 12.5
      dataflow approve 'brisk-otter/sign[3]' --value '{"by": "Ada"}' --no-resume
    """
    from dataflow import control
    from dataflow.errors import NothingAsked

    found = find(reference)
    run = found.run
    asked = _asked(found)
    answer = _answer(run, asked, value)
    if not no_resume and not driver_of(run.record):
        check_graph(run, as_recorded=as_recorded)  # before the answer stands: somebody may want to mend the code first
    if dry_run:
        approved = frozenset((one.row.path, one.row.idx) for one in asked)
        return previews.tell(run.name, control.plan_to_resume(run, approved), showing.output)
    order = 0
    for one in asked:
        try:
            order = control.approve(run, one.label, answer, given=value is not None)
        except NothingAsked as error:
            raise _too_late(run, one.label, one.row.path, one.row.idx) or error from error
    name = asked[0].label if len(asked) == 1 else f"{asked[0].row.path}: {len(asked)} children"
    if no_resume:
        return _written(run, [one.label for one in asked], showing.output)

    def begin() -> Run:
        go_on(run, order, executor, as_recorded=as_recorded)
        return run

    return drive(begin, showing, earlier=run, note=f"{name} approved")


# Who is meant ---------------------------------------------------------------------------------------------------------


def _asked(found: Found) -> list[Waiting]:
    """What waits of that which was named.

    Raises
    ------
    Refused
        Nothing does, or several things and none was named.
    """
    run = found.run
    everything = unanswered(run)
    if found.path is not None:
        asked = [one for one in everything if one.row.path == found.path and found.index in (None, one.row.idx)]
        if asked:
            return asked
        index = NO_INDEX if found.index is None else found.index
        name = found.path if found.index is None else f"{found.path}[{found.index}]"
        late = _too_late(run, name, found.path, index if found.index is not None or not found.mapped else None)
        if late is not None:
            raise late
        raise Refused(f"{name} does not wait for a person", _others(run, everything))
    if not everything:
        raise Refused(f"nothing in run {run.name} waits for a person", _others(run, everything))
    if len(everything) > 1:
        lines = [f"    {one.label}  {told(one)}" for one in everything[:MOST_LISTED]]
        lines += [f"    … and {len(everything) - MOST_LISTED} more"] if len(everything) > MOST_LISTED else []
        raise Refused(
            "\n".join([f"{len(everything)} tasks of run {run.name} wait for a person", *lines]),
            f"say which: {command_for(run.name, everything[0])}",
        )
    return everything


def _others(run: Run, everything: Sequence[Waiting]) -> str:
    if everything:
        return f"{', '.join(one.label for one in everything[:5])}: {command_for(run.name, everything[0])}"
    return f"dataflow show {run.name}"


def _too_late(run: Run, name: str, path: str, index: int | None) -> Refused | None:
    """The error that says who has answered already; None where nobody has."""
    answers = [one for one in run._store.answers(run.id) if one.path == path and index in (None, one.idx)]
    if not answers:
        return None
    last = answers[-1]
    return Refused(f"{name} is answered already: by {last.by}, {day(last.time)}", f"dataflow show {run.name}")


# What they say --------------------------------------------------------------------------------------------------------


def _answer(run: Run, asked: Sequence[Waiting], value: str | None) -> object:
    """The answer as it is to be recorded.

    Raises
    ------
    Refused
        A value is wanted, and none was given.
    AnswerInvalid
        It is not what was asked for.
    """
    from dataflow.errors import AnswerInvalid

    if value is None:
        for one in asked:
            if one.wants:
                raise Refused(f"{one.label} asks for a value: {told(one)}", command_for(run.name, one))
        return None
    try:
        parsed: object = json.loads(value)
    except ValueError:
        parsed = value
    try:
        _check(asked, parsed)
    except AnswerInvalid:
        if isinstance(parsed, str):
            raise
        try:
            _check(asked, value)  # 0071 as a text
        except AnswerInvalid:
            _check(asked, parsed)
        parsed = value
    return parsed


def _check(asked: Sequence[Waiting], value: object) -> None:
    from dataflow.asking import fit

    for one in asked:
        fit(one.row.details, value)


def _written(run: Run, names: list[str], output: str) -> int:
    row = run.record
    who = driver_of(row)
    if output == "json":
        data.emit({"run": run.name, "approved": names, "driver": who or None})
    elif output == "jsonl":
        data.emit_lines([{"type": "approved", "run": run.name, "approved": names, "driver": who or None}])
    else:
        goes_on = f"{who} goes on with it" if who else f"dataflow resume {run.name} goes on with it"
        Printer().line(f"approved {', '.join(names)} of run {run.name}; {goes_on}")
    return 0
