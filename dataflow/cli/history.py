"""`dataflow history`: each change of state of a run or of a task, in order."""

from __future__ import annotations

from datetime import datetime

import click

from dataflow.cli import data
from dataflow.cli.events import event_data
from dataflow.cli.reference import find
from dataflow.cli.terminal import Printer, clean
from dataflow.events import label


@click.command("history", short_help="List each change of state of a run or a task.")
@click.argument("run", metavar="RUN[/TASK]")
@click.option("-n", "--tail", type=click.IntRange(min=1), metavar="N", help="Only the last N.")
@data.reading_option
def command(run: str, tail: int | None, output: str) -> None:
    """List each change of state of a run or a task, in the order in which they were written down.

    \b
    Examples:
      dataflow history @last
      dataflow history 'brisk-otter/transform[13]'
    """
    found = find(run)
    index = -1 if found.path is not None and not found.mapped else found.index
    changes = found.run._store.transitions(found.run.id, path=found.path, idx=index)
    changes = changes if tail is None else changes[-tail:]
    told = [event_data(found.run, change) for change in changes]
    if output == "json":
        data.emit({"run": found.run.name, "changes": told})
    elif output == "jsonl":
        data.emit_lines(told)
    elif output == "name":
        data.emit_names(found.run.name + (f"/{label(one.path, one.idx)}" if one.path else "") for one in changes)
    else:
        printer = Printer()
        wide = output == "wide"
        rows = [
            [
                *([str(one.seq)] if wide else []),
                printer.tint(datetime.fromtimestamp(one.time).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3], "soft"),
                label(one.path, one.idx) if one.path is not None else "run",
                printer.state(one.state),
                str(one.attempt or ""),
                clean(one.message),
            ]
            for one in changes
        ]
        printer.table([*([">SEQ"] if wide else []), "TIME", "TASK", "STATE", ">TRY", "WHY"], rows)
