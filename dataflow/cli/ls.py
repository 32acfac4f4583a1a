"""`dataflow ls`: runs, newest first."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from dataflow import states
from dataflow.cli import data
from dataflow.cli.problems import EXIT_NOT_FOUND, Refused
from dataflow.cli.standing import GONE, is_left
from dataflow.cli.terminal import Printer, clipped, day, is_terminal, took, visible, width
from dataflow.errors import did_you_mean
from dataflow.places import open_runs
from dataflow_storage import RunStore
from dataflow_storage.rows import RunRow

RUN_STATES = tuple(states.RUN_TRANSITIONS)
MOST_LOOKED_AT = 200
BAD = frozenset({states.FAILED, states.CRASHED})


@click.command("ls", short_help="List runs, newest first.")
@click.option("--flow", metavar="NAME", help="Only runs of this flow.")
@click.option("--state", metavar="STATE", help=f"Only runs in this state: {', '.join(RUN_STATES).lower()}.")
@click.option("--failed", is_flag=True, help="Only runs that failed or crashed.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@data.reading_option
def command(flow: str | None, state: str | None, failed: bool, limit: int, output: str) -> None:
    """List runs, newest first.

    The columns: STARTED is when a run was first driven; TOOK how long it took, of one that was taken up again since
    then; TASKS is how many task runs are over, of how many; WHY is the first of what went wrong, or that
    the driver of a run is gone.
    """
    wanted = sorted(BAD) if failed else None if state is None else [_state(state)]
    store = open_runs()
    found = store.runs(flow=flow, state=wanted, limit=limit)
    if flow is not None and not found:
        _check_flow(store, flow)
    if output == "name":
        data.emit_names(row.name for row in found)
        return
    summed = {row.id: data.totals(store.counts(row.id), store.nodes(row.id)) for row in found}
    told = [data.run_data(row, summed[row.id]) for row in found]
    if output == "json":
        data.emit({"runs": told})
    elif output == "jsonl":
        data.emit_lines({"type": "run", "run": one} for one in told)
    elif not found:
        Printer().line("no runs" if flow or wanted else "no runs yet: dataflow run FILE starts one")
    else:
        _table(store, found, summed, wide=output == "wide")


def _check_flow(store: RunStore, given: str) -> None:
    """Refuse a flow that no run is of, where one is that may have been meant."""
    known = {row.flow for row in store.runs(limit=MOST_LOOKED_AT)}
    hint = did_you_mean(given, known).strip()
    if given not in known and hint:
        raise Refused(f"there is no run of a flow {given!r}", hint[:1].lower() + hint[1:], EXIT_NOT_FOUND)


def _state(given: str) -> str:
    for known in RUN_STATES:
        if known.lower() == given.lower():
            return known
    hint = did_you_mean(given.lower(), [known.lower() for known in RUN_STATES]).strip()
    raise Refused(f"no state {given!r}", hint[:1].lower() + hint[1:] or f"states: {', '.join(RUN_STATES).lower()}.")


def _table(store: RunStore, found: Sequence[RunRow], summed: Mapping[str, Mapping[str, int]], *, wide: bool) -> None:
    printer = Printer()
    heads = ["STATE", "RUN", "FLOW", "STARTED", ">TOOK", ">TASKS"] + (["ID", "EXECUTOR"] if wide else [])
    rows, reasons = [], []
    for row in found:
        counts = data.tally(summed[row.id])
        rows.append(
            [
                printer.state(row.state),
                printer.tint(row.name, "bold"),
                row.flow,
                day(row.started or row.created),
                took(data.run_seconds(row)),
                f"{counts['done']}/{counts['total']}",
                *([row.id, row.executor or ""] if wide else []),
            ]
        )
        reasons.append(_why(store, row) if row.state in BAD else GONE if is_left(row) else "")
    if any(reasons):
        # What is left of the terminal; names and ids are never cut.
        used = sum(max(visible(cell) for cell in column) + 2 for column in zip(heads, *rows, strict=True))
        left = max(width() - used, 30) if is_terminal(sys.stdout) else 120
        heads.append("WHY")
        rows = [[*row, clipped(reason, 10_000 if wide else left)] for row, reason in zip(rows, reasons, strict=True)]
    printer.table(heads, rows)


def _why(store: RunStore, row: RunRow) -> str:
    from dataflow.cli.failures import why

    return why(store, row)
