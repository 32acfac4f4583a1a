"""`--dry-run`: what would run of each node, what is kept, and what waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dataflow.cli import data
from dataflow.cli.terminal import Printer, clean, several

if TYPE_CHECKING:
    from dataflow.preview import NodePreview

dry_run_option = click.option("-n", "--dry-run", is_flag=True, help="Only say what would happen.")


def tell(run: str, rows: Sequence[NodePreview], output: str, *, verb: str = "run") -> int:
    """Print what would happen, and give the exit code.

    Parameters
    ----------
    run : str
        The run's name; empty for one that is not there yet.
    rows : sequence of NodePreview
        By node, in the order of the graph.
    output : str
        "table", "json" or "jsonl".
    verb : str
        What would happen to what has not ended: "run", "stop".
    """
    plain: list[data.Data] = [
        {"task": row.path, "runs": row.runs, "kept": row.kept, "waits": row.waits, "why": row.why or None}
        for row in rows
    ]
    if output == "json":
        data.emit({"dry_run": True, "run": run or None, "tasks": plain})
    elif output == "jsonl":
        data.emit_lines({"type": "preview", "dry_run": True, "run": run or None, **row} for row in plain)
    else:
        _table(rows, verb)
    return 0


def _table(rows: Sequence[NodePreview], verb: str) -> None:
    printer = Printer()
    cells = [
        [row.path, "all" if row.runs is None else f"{row.runs or '-'}", f"{row.kept or '-'}", f"{row.waits or '-'}"]
        for row in rows
    ]
    heads = ["NODE", ">RUNS", ">KEPT", ">WAITS"]
    if any(row.why for row in rows):
        heads, cells = [*heads, "WHY"], [[*cell, clean(row.why)] for cell, row in zip(cells, rows, strict=True)]
    printer.table(heads, cells)
    runs, kept, waits = (sum(getattr(row, name) or 0 for row in rows) for name in ("runs", "kept", "waits"))
    more = " and the children of maps whose width is not known yet" if any(row.runs is None for row in rows) else ""
    rest = [f"keep {kept:,}"] if kept else []
    rest += [f"{waits:,} wait{'s' if waits == 1 else ''} for a person"] if waits else []
    printer.line(f"would {verb} {several(runs, 'task run')}{more}{''.join(f', {one}' for one in rest)}")
