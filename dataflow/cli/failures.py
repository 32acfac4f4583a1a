"""What went wrong in a run, as people want to read it: where in their own code, how often, with the last log lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow import states
from dataflow.cli.data import Data
from dataflow.cli.terminal import CONTROL, Printer, clean
from dataflow.draw.marks import MARKS
from dataflow.events import NO_INDEX, label
from dataflow.report import Problem, problems
from dataflow_storage import RunStore
from dataflow_storage.rows import RunRow, TaskRunRow

if TYPE_CHECKING:
    from dataflow.run import Run

OWN = sorted(states.FAILURE - {states.TRIGGER_FAILED})
MOST_ROWS = 1000
MOST_PROBLEMS = 5
LAST_LINES = 5
PLACE = re.compile(r"(?P<file>\S.*):\d+, in ")
FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+), in (?P<name>.*)$')


def failed_rows(store: RunStore, run_id: str, limit: int = MOST_ROWS) -> list[TaskRunRow]:
    """Task runs that failed, at most so many: first what failed by itself, then what did not run for it."""
    rows = store.task_runs(run_id, states=OWN, limit=limit)
    if len(rows) < limit:
        rows += store.task_runs(run_id, states=[states.TRIGGER_FAILED], limit=limit - len(rows))
    return rows


def why(store: RunStore, row: RunRow) -> str:
    """In one line, why a run did not succeed."""
    rows = store.task_runs(row.id, states=OWN, limit=MOST_ROWS)
    if not rows:
        return clean(row.message)
    first = problems(rows)[0]
    many = f" ×{len(first.indices)}" if len(first.indices) > 1 else ""
    return f"{clean(first.message)}{many}"


def place(details: Mapping[str, object] | None) -> str:
    """Where in the user's code a task run failed, such as `flow1.py:17`; empty where that is not known."""
    frames = (details or {}).get("frames")
    if not isinstance(frames, Sequence):
        return ""
    for frame in reversed(frames):
        if isinstance(frame, Mapping) and frame.get("user"):
            return f"{os.path.basename(str(frame['file']))}:{frame['line']}"
    return ""


def problem_data(run: Run) -> list[Data]:
    """The problems of a run, as data."""
    return [
        {
            "task": problem.path,
            "state": problem.state,
            "indexes": [n for n in problem.indices if n != NO_INDEX],
            "count": len(problem.indices),
            "attempts": problem.attempts,
            "message": problem.message,
            "traceback": problem.text or None,
        }
        for problem in problems(failed_rows(run._store, run.id))
    ]


def report(run: Run, printer: Printer, *, full: bool = False) -> None:
    """Print what failed in a run, and what to do.

    Parameters
    ----------
    run : Run
        It did not succeed.
    printer : Printer
        Where to print.
    full : bool
        Show the frames of the framework, too.
    """
    rows = failed_rows(run._store, run.id)
    counts = run.counts
    found = problems(rows)
    own = [problem for problem in found if problem.state != states.TRIGGER_FAILED]
    for n, problem in enumerate(own[:MOST_PROBLEMS]):
        if n:
            printer.line()
        _tell(run, problem, rows, counts, printer, full)
    if len(own) > MOST_PROBLEMS:
        printer.line(f"  … and {len(own) - MOST_PROBLEMS} more kinds of failure: dataflow show {run.name} -o json")
    unrun = [problem for problem in found if problem.state == states.TRIGGER_FAILED]
    hidden = {node.path for node in run._store.nodes(run.id) if node.kind == "internal"}
    unrun = [problem for problem in unrun if problem.path not in hidden]
    for problem in unrun[:MOST_PROBLEMS]:
        printer.line(f"  {printer.state(problem.state, problem.path)}  not run: {clean(problem.message)}")
    if len(unrun) > MOST_PROBLEMS:
        printer.line(f"  … and {len(unrun) - MOST_PROBLEMS} more were not run")


def _tell(
    run: Run,
    problem: Problem,
    rows: Sequence[TaskRunRow],
    counts: Mapping[str, Mapping[str, int]],
    printer: Printer,
    full: bool,
) -> None:
    total = sum(counts.get(problem.path, {}).values())
    word = MARKS[problem.state].word
    tries = (
        f", {'each ' if len(problem.indices) > 1 else ''}after {problem.attempts} attempts"
        if problem.attempts > 1
        else ""
    )
    if list(problem.indices) == [NO_INDEX]:
        head = f"{word}{tries}"
    else:
        shown = ", ".join(map(str, problem.indices[:3]))
        more = f", … +{len(problem.indices) - 3}" if len(problem.indices) > 3 else ""
        head = f"{len(problem.indices):,} of {total:,} {word}{tries}: [{shown}{more}]"
    printer.line(f"  {printer.state(problem.state, problem.path)}  {head}")
    row = next(row for row in rows if (row.path, row.idx) == (problem.path, problem.indices[0]))
    text = str((row.details or {}).get("full" if full else "text") or "")
    lines = list(text.splitlines() if full else readable(text))
    for line in lines or [clean(problem.message)]:
        shown = CONTROL.sub("", line).rstrip()
        place = PLACE.match(shown)
        printer.line(f"    {shown if place is None else printer.link(shown, place['file'])}".rstrip())
    lines_of_it = run._store.logs(run.id, path=row.path, idx=row.idx)
    logs = [line for line in lines_of_it if line.attempt == row.attempt][-LAST_LINES:]
    if logs:
        printer.line(printer.tint(f"    last lines of {label(row.path, row.idx)}:", "soft"))
        for log in logs:
            printer.line(f"      {clean(log.message)}")


def readable(text: str) -> Iterator[str]:
    """A traceback as one reads it: the place first, then the line of code.

    >>> told = '''Traceback (most recent call last):
    ...   File "etl.py", line 7, in clean
    ...     raise ValueError(x)
    ... ValueError: 3
    ... '''
    >>> print(*readable(told), sep=chr(10))
    etl.py:7, in clean
        7 |     raise ValueError(x)
    ValueError: 3
    """
    number = ""
    for line in text.splitlines():
        frame = FRAME.match(line)
        if line.startswith("Traceback (most recent call last):"):
            continue
        if frame is not None:
            number = frame["line"]
            yield f"{_shown(frame['file'])}:{number}, in {frame['name']}"
        elif number and line.startswith("    "):
            caret = not set(line) - set(" ^~")
            yield f"  {'' if caret else number:>3} | {line}"
        else:
            number = ""
            yield line


def _shown(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file
