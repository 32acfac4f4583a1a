"""`dataflow explain`: why a task ran again, or why it did not."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from dataflow.cli import data, problems
from dataflow.cli.reference import find
from dataflow.cli.terminal import Printer, clean

if TYPE_CHECKING:
    from dataflow.explain import Explanation


@click.command("explain", short_help="Say why a task ran again, or why it did not.")
@click.argument("reference", metavar="RUN[/TASK]")
@data.reading_option
def command(reference: str, output: str) -> None:
    """Say why tasks of a run ran, or did not.

    For a task with a cache: which part of its key (its code, its version, an argument) differs from the nearest earlier
    result, or which rule denied that one. Without a TASK: all tasks of the run. Children of which the same is to be
    told share a paragraph, but with -o wide.

    \b
    Examples:
      dataflow explain @last
      dataflow explain 'brisk-otter/clean[3]'
    """
    from dataflow.explain import explain, explain_all

    found = find(reference)
    run = found.run
    if found.path is not None and found.index is not None:
        rows = [explain(run, found.path, found.index)]
    else:
        rows = explain_all(run, found.path)
    if not rows:
        raise problems.Refused(f"nothing of {reference} has started yet", "dataflow show lists its tasks.")
    if output == "json":
        data.emit({"tasks": [dataclasses.asdict(row) for row in rows]})
    elif output == "jsonl":
        data.emit_lines({"type": "explanation", **dataclasses.asdict(row)} for row in rows)
    elif output == "name":
        data.emit_names(f"{run.name}/{row.task}" for row in rows)
    else:
        _print(rows, str if output == "wide" else _plain)


def _print(rows: Sequence[Explanation], key: Callable[[str], str]) -> None:
    """A paragraph for each task; children of which the same is to be told, by this key, share one."""
    told: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        told.setdefault((key(row.task), key(row.verdict), key(row.earlier), *row.differences), []).append(row.task)
    printer = Printer()
    for (task, verdict, earlier, *differences), tasks in told.items():
        name = tasks[0] if len(tasks) == 1 else f"{task} × {len(tasks)}"
        printer.line(f"{name}: {clean(verdict)}")
        if earlier:
            printer.line(f"    the nearest earlier result was {earlier}")
        for difference in differences:
            printer.line(f"    {difference}")


def _plain(text: str) -> str:
    return re.sub(r"\[\d+\]", "", text)
