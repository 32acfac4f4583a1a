"""What is said when a run is over or paused: its failures and what to do, its result, and the exit code."""

from __future__ import annotations

import pprint
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflow import states
from dataflow.cli import data, problems
from dataflow.cli.standing import is_put_by
from dataflow.cli.terminal import Printer, clean, clock, several, took, width
from dataflow.draw.marks import MARKS
from dataflow.events import label
from dataflow.owners import driven_since

if TYPE_CHECKING:
    from dataflow.run import Run

# A result of more bytes or lines than this is not printed; `dataflow result` does that.
MOST_BYTES = 64_000
MOST_LINES = 40
MOST_HINTS = 3
BROKEN = (states.FAILED, states.CRASHED)
CODES = {
    states.SUCCESS: problems.EXIT_OK,
    states.FAILED: problems.EXIT_FAILED,
    states.CRASHED: problems.EXIT_FAILED,
    states.CANCELLED: problems.EXIT_CANCELLED,
    states.PAUSED: problems.EXIT_PAUSED,
}


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Why the watching of a run ended.

    Parameters
    ----------
    timed_out, pressed, terminated : bool
        Because its time was over; because of Ctrl-C; because of SIGTERM.
    following : bool
        Only the watching ended: the run is another process's, and not over. `code` is the exit code then.
    code : int
        An exit code.
    """

    timed_out: bool = False
    pressed: bool = False
    terminated: bool = False
    following: bool = False
    code: int = problems.EXIT_OK


def last_line(run: Run, retries: int, printer: Printer) -> None:
    """Print how it ended, and how long it took."""
    row = run.record
    mark = MARKS.get(row.state)
    spent = took((row.ended or time.time()) - driven_since(row))
    again = f", {retries:,} retr{'y' if retries == 1 else 'ies'}" if retries else ""
    word = mark.word if mark is not None else row.state.lower()
    text = printer.tint(f"run {word}", mark.tone if mark is not None else "calm")
    kept = f", {_kept(run)}" if row.state in BROKEN else ""
    printer.line(f"{printer.tint(clock(row.ended or time.time()), 'soft')} {text} {spent}{again}{kept}")


def conclude(
    run: Run, printer: Printer, *, output: str, quiet: bool, full: bool, stopped: Stopped, told: bool = False
) -> int:
    """Print what follows from how a run ended, and give the exit code.

    Parameters
    ----------
    run : Run
        It is over, or paused.
    printer : Printer
        For people; the result and JSON go to standard output.
    output : str
        "table", "json" or "jsonl".
    quiet, full : bool
        Say less; show whole tracebacks.
    stopped : Stopped
        Whether somebody ended it.
    told : bool
        That it failed was just said.
    """
    from dataflow.cli.failures import report

    row = run.record
    _print_document(run, output)
    code = CODES.get(row.state, problems.EXIT_FAILED)
    hint = printer.tint("hint:", "busy")
    if row.state in BROKEN:
        if not told:
            spent = took((row.ended or row.created) - driven_since(row))
            head = printer.state(row.state, f"{row.flow} {row.state.lower()}")
            printer.line(f"\n{head} in {spent}, {_kept(run)}   run {row.name}")
        report(run, printer, full=full)
        if row.state == states.CRASHED:
            printer.line(f"  {row.message}")
        _closing(run, row.state, printer)
    elif row.state == states.CANCELLED:
        printer.line(f"{hint} what was done is kept: dataflow resume {row.name} goes on")
        if stopped.timed_out:
            return problems.EXIT_TIMEOUT
        if stopped.terminated:
            return problems.EXIT_TERMINATED
        return problems.EXIT_INTERRUPTED if stopped.pressed or _by_ctrl_c(run, row.message) else code
    elif row.state == states.PAUSED:
        for line in paused_hints(run):
            printer.line(f"{hint} {line}")
    elif output == "table":
        _print_result(run, printer, quiet)
    return code


def paused_hints(run: Run) -> list[str]:
    """The commands that let a paused run go on."""
    from dataflow.cli.waiting import command_for, unanswered

    found = unanswered(run)
    lines = [f"{command_for(run.name, one)}   {clean(one.message)}" for one in found[:MOST_HINTS]]
    lines += [f"dataflow show {run.name} lists all {len(found)} that wait"] if len(found) > MOST_HINTS else []
    return lines if found and not is_put_by(run.record) else [f"dataflow resume {run.name}", *lines]


def _print_document(run: Run, output: str) -> None:
    from dataflow.cli.failures import problem_data

    if output == "table":
        return
    summed = data.totals(run.counts, run._store.nodes(run.id))
    document = {"run": data.run_data(run.record, summed), "problems": problem_data(run)}
    if output == "json":
        data.emit(document)
    else:
        data.emit_lines([{"type": "run", **document}])


def _by_ctrl_c(run: Run, message: str) -> bool:
    """An inline executor takes Ctrl-C itself, and tells its driver."""
    inline = run._driver is not None and run._driver.work.executor.inline
    return inline and ("Ctrl-C" in message or "by the user" in message)


def _kept(run: Run) -> str:
    kept = sum(n for found in run.counts.values() for each, n in found.items() if each in states.WITH_VALUE)
    return f"{several(kept, 'result')} kept"


def _closing(run: Run, state: str, printer: Printer) -> None:
    """What to do."""
    own = sorted(states.FAILURE - {states.TRIGGER_FAILED})
    first = next(iter(run._store.task_runs(run.id, states=own, limit=1)), None)
    where = f"'{run.name}/{label(first.path, first.idx)}'" if first is not None else run.name
    again = "fix the code, then  dataflow retry" if state == states.FAILED else "dataflow resume"
    printer.line(f"  {printer.tint('hint:', 'busy')} {again} {run.name}   logs: dataflow logs {where}")


def _print_result(run: Run, printer: Printer, quiet: bool) -> None:
    """What the flow returned, where it is small; else where to find it."""
    size = 0
    for path in _returned(run):
        for row in run._store.task_runs(run.id, path=path):
            size += int(str((row.reference or {}).get("size") or 0))
    if size <= MOST_BYTES:
        value = run.result()
        if value is None:
            return
        text = value if isinstance(value, str) else pprint.pformat(value, width=min(width(), 120), sort_dicts=False)
        if text.count("\n") < MOST_LINES:
            Printer().line(text)
            return
    if not quiet:
        printer.line(f"{printer.tint('hint:', 'busy')} the result is large: dataflow result {run.name}")


def _returned(run: Run) -> list[str]:
    """The paths of the nodes that the flow returned."""
    from dataflow.outputs import OutputRef, loaded_outputs
    from dataflow.structure import find

    outputs = run.record.outputs
    if isinstance(outputs, Mapping):
        return [one.path for one in find(loaded_outputs(outputs), OutputRef)]
    return [node.path for node in run._graph.returned] if run._graph is not None else []
