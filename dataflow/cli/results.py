"""`dataflow results ls`: what is stored, by the record of runs or by the result store alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from dataflow.cli import data
from dataflow.cli.nouns import Nouns
from dataflow.cli.problems import EXIT_UNREACHABLE
from dataflow.cli.reference import CHILD, Found, find
from dataflow.cli.terminal import Printer, amount, day
from dataflow.events import NO_INDEX, label
from dataflow.places import open_results, open_runs
from dataflow.run import Run

if TYPE_CHECKING:
    from dataflow_storage import Reference


class Results(Nouns):
    """The group, which also knows what people may take it for."""

    def advice(self, ctx: click.Context, given: str) -> str:
        """What prints a result."""
        return f"dataflow result {given} prints a result, dataflow results ls lists them."


@click.group("results", cls=Results, short_help="List stored results.")
def command() -> None:
    """List stored results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A stored result.

    Parameters
    ----------
    run, run_id, flow : str
        The run that has it.
    path : str
        The node.
    index : int
        The child of a mapped node; -1: it is none.
    reference : Reference
        The result.
    stored : float or None
        When, seconds since the epoch.
    is_there : bool or None
        None: its store could not be asked.
    """

    run: str
    run_id: str
    flow: str
    path: str
    index: int
    reference: Reference
    stored: float | None
    is_there: bool | None


@command.command("ls", short_help="List stored results.")
@click.argument("run", required=False, metavar="[RUN[/TASK]]")
@click.option("--flow", metavar="NAME", help="Only runs of this flow.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many runs.")
@click.option("--long", is_flag=True, help="Each task run, and where its result is.")
@click.option("--url", metavar="URL", help="Look in this result store alone: RUN is an id, the record is not needed.")
@data.reading_option
def ls(run: str | None, flow: str | None, limit: int, long: bool, url: str | None, output: str) -> int:
    """List stored results: of one run, or of the newest.

    Without --long, the children of a mapped task are one line. THERE tells whether the store still has it. A
    result store alone knows neither targets nor what a run took from the cache: that lies with the run that made it.

    \b
    Examples:
      dataflow results ls @last
      dataflow results ls brisk-otter/transform --long
      dataflow results ls 0f3a --url s3://bucket/results
    """
    unreachable: dict[str, str] = {}
    rows = list(_by_record(run, flow, limit, unreachable) if url is None else _by_bucket(url, run, flow, limit))
    if output == "json":
        data.emit({"results": [_data(row) for row in rows]})
    elif output == "jsonl":
        data.emit_lines({"type": "stored", **_data(row)} for row in rows)
    elif output == "name":
        data.emit_names(f"{row.run or row.run_id}/{label(row.path, row.index)}" for row in rows)
    elif not rows:
        Printer().line("no stored results")
    else:
        _table(rows, long or output == "wide")
    for place, reason in unreachable.items():
        Printer(sys.stderr).line(f"warning: {place} could not be looked at: {reason}")
    return EXIT_UNREACHABLE if unreachable else 0


def _by_record(run: str | None, flow: str | None, limit: int, unreachable: dict[str, str]) -> Iterator[Row]:
    if run is not None:
        founds = [find(run)]
    else:
        store = open_runs()
        founds = [Found(run=Run(store, row)) for row in store.runs(flow=flow, limit=limit)]
    for found in founds:
        if flow in (None, found.run.flow):
            yield from _of_run(found, unreachable)


def _of_run(found: Found, unreachable: dict[str, str]) -> Iterator[Row]:
    from dataflow_storage import Reference, StoreUnavailable

    run = found.run
    positions = {node.path: node.position for node in run._store.nodes(run.id) if node.kind != "internal"}
    rows = [
        row
        for row in run._store.task_runs(run.id, path=found.path, idx=found.index)
        if row.reference and row.path in positions
    ]
    rows.sort(key=lambda row: (positions[row.path], row.idx))
    references = [Reference.from_dict(row.reference) for row in rows if row.reference]
    held: Sequence[bool | None]
    try:
        held = run._results.holds_many(references) if references else []
    except StoreUnavailable as error:
        unreachable[run._results_url] = error.reason
        held = [None] * len(references)
    for row, reference, is_there in zip(rows, references, held, strict=True):
        yield Row(
            run=run.name,
            run_id=run.id,
            flow=run.flow,
            path=row.path,
            index=row.idx,
            reference=reference,
            stored=row.ended,
            is_there=is_there,
        )


def _by_bucket(url: str, run: str | None, flow: str | None, limit: int) -> Iterator[Row]:
    from dataflow.cli import bucket

    store = open_results(url)
    name, _, task = (run or "").partition("/")
    run_id = bucket.find_run(store, name) if name else None
    child = CHILD.fullmatch(task)
    path = child["path"] if child is not None else task  # a child may be in its neighbours' object
    found = [kept for kept in bucket.listed(store, run_id, path) if flow in (None, kept.flow)]
    newest: dict[str, float] = {}
    for kept in found:
        newest[kept.run] = max(kept.stored, newest.get(kept.run, 0.0))
    first: dict[tuple[str, str], float] = {}
    for kept in found:
        first[kept.run, kept.path] = min(kept.stored, first.get((kept.run, kept.path), kept.stored))
    chosen = sorted(newest, key=lambda each: -newest[each])[:limit]
    found = [kept for kept in found if kept.run in chosen]
    for kept in sorted(
        found, key=lambda one: (-newest[one.run], one.run, first[one.run, one.path], one.path, one.index)
    ):
        if not task or task in (kept.path, label(kept.path, kept.index)):
            yield Row(
                run=kept.run,
                run_id=kept.run,
                flow=kept.flow,
                path=kept.path,
                index=kept.index,
                reference=kept.reference,
                stored=kept.stored,
                is_there=True,
            )


def _table(rows: Iterable[Row], long: bool) -> None:
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.run, row.path, row.index if long else NO_INDEX), []).append(row)
    heads = ["RUN", "TASK", "FORMAT", ">SIZE", "STORED", "THERE"] + (["WHERE"] if long else [])
    cells = []
    printer = Printer()
    for group in groups.values():
        one = group[0]
        is_map = not long and one.index != NO_INDEX
        cells.append(
            [
                printer.tint(one.run, "bold"),
                f"{one.path}  ×{len(group):,}" if is_map else label(one.path, one.index),
                ", ".join(sorted({row.reference.serializer for row in group})),
                amount(sum(row.reference.size for row in group)),
                day(max((row.stored for row in group if row.stored is not None), default=None)),
                _there(group),
                *([one.reference.url] if long else []),
            ]
        )
    printer.table(heads, cells)


def _there(group: Sequence[Row]) -> str:
    if any(row.is_there is None for row in group):
        return "?"
    gone = sum(not row.is_there for row in group)
    if not gone:
        return "yes"
    return "gone" if gone == len(group) else f"{gone:,} gone"


def _data(row: Row) -> data.Data:
    return {
        "run": row.run,
        "id": row.run_id,
        "flow": row.flow,
        "task": row.path,
        "index": None if row.index == NO_INDEX else row.index,
        "format": row.reference.serializer,
        "bytes": row.reference.size,
        "stored": data.moment(row.stored),
        "there": row.is_there,
        "url": row.reference.url,
        "item": row.reference.item,
        "target": row.reference.target,
    }
