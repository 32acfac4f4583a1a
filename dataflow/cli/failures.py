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
from dataflow.report import MOST_INDICES, Problem, problems
from dataflow_storage import RunStore
from dataflow_storage.rows import RunRow, TaskRunRow

if TYPE_CHECKING:
    from dataflow.run import Run

OWN = sorted(states.FAILURE - {states.TRIGGER_FAILED})
MOST_ROWS = 1000
MOST_PROBLEMS = 5
MOST_UNRUN = 3
MOST_TRACE, FIRST_TRACE = 16, 4  # lines of a traceback, and how many of them are from its beginning
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
    hidden = {node.path for node in run._store.nodes(run.id) if node.kind == "internal"}
    unrun = [one for one in found if one.state == states.TRIGGER_FAILED and one.path not in hidden]
    if unrun:
        names = few(list(dict.fromkeys(one.path for one in unrun)), MOST_UNRUN)
        printer.line(f"  {printer.state(states.TRIGGER_FAILED, names)}  not run: {clean(unrun[0].message)}")


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
        head = f"{len(problem.indices):,} of {total:,} {word}{tries}: [{few(problem.indices, MOST_INDICES)}]"
    row = next(row for row in rows if (row.path, row.idx) == (problem.path, problem.indices[0]))
    text = str((row.details or {}).get("full" if full else "text") or "")
    lines = list(text.splitlines() if full else readable(text))
    head += "" if lines else f": {clean(problem.message)}"
    printer.line(f"  {printer.state(problem.state, problem.path)}  {head}")
    whole = f"dataflow show '{run.name}/{label(row.path, row.idx)}'"
    for line in lines if full else shortened(lines, whole):
        shown = CONTROL.sub("", line).rstrip()
        place = PLACE.match(shown)
        printer.line(f"    {shown if place is None else printer.link(shown, place['file'])}".rstrip())
    lines_of_it = run._store.logs(run.id, path=row.path, idx=row.idx)
    logs = [line for line in lines_of_it if line.attempt == row.attempt][-LAST_LINES:]
    for n, log in enumerate(logs):
        printer.line(f"    {printer.tint('     ' if n else 'log: ', 'soft')}{clean(log.message)}")


def shortened(lines: Sequence[str], whole: str) -> Sequence[str]:
    """A long traceback without its middle, cut where a frame begins, and what shows the whole.

    >>> lines = [line for n in range(9) for line in (f"a.py:{n}, in f", f"{n} | f()")] + ["ValueError: 3"]
    >>> print(*shortened(lines, "dataflow show x")[:6], sep=chr(10))
    a.py:0, in f
    0 | f()
    a.py:1, in f
    1 | f()
    … 4 lines: dataflow show x
    a.py:4, in f
    """
    if len(lines) <= MOST_TRACE:
        return lines
    frames = [n for n, line in enumerate(lines) if PLACE.match(line)]
    begin = max((n for n in frames if n <= FIRST_TRACE), default=FIRST_TRACE)
    rest = len(lines) - (MOST_TRACE - begin - 1)
    end = next((n for n in frames if n >= rest), rest)
    return [*lines[:begin], f"… {end - begin} lines: {whole}", *lines[end:]]


def few(names: Sequence[object], most: int) -> str:
    """The first of them, and how many more there are.

    >>> few([3, 4, 5, 6], 3), few(["total"], 3)
    ('3, 4, 5, … +1', 'total')
    """
    more = [f"… +{len(names) - most}"] if len(names) > most else []
    return ", ".join([*map(str, names[:most]), *more])


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
