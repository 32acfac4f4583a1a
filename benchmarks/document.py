"""From a record to docs/benchmarks.md, and from that back to its ratios."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.catalogue import BY_NAME, SYSTEMS
from benchmarks.record import Cell, Place, Record
from benchmarks.systems import workloads

RATIO = re.compile(r"\*\*([\d.,]+)×\*\*")
OURS = ("dataflow, threads", "dataflow, cluster")

HEAD = """# Benchmarks

What `dataflow` takes; what bare Dask takes, which records nothing; and what systems take that record states or results.
Written by

```console
$ make bench
```

on {machine}, with {versions}.

A figure is the median in seconds, from the first call until the caller has the value: graphs are built, calls made,
states and results recorded. Imports, the start of clusters and servers, and a warm-up of ten calls are not in it. In
parentheses stand the quickest and the slowest round. Then, **how many times** as long as `dataflow` that is in the same
kind of place: systems on threads are compared with ours on threads, systems on a cluster with ours on a cluster. There
are {rounds} rounds, each in a process of its own, in turn with those of all other systems, in another order each time;
fewer where a round takes long, and then the figure says so. What would take more than {limit} s is left out. Every
system gets two threads or two processes, where it can have them; bodies do next to nothing, so that what is left is the
system.

![The same as a picture](benchmarks.png)

## What each system records

| system | still there after a crash | to know |
|---|---|---|
"""


def document(record: Record) -> str:
    """The whole document."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
    text = HEAD.format(
        machine=record.machine, versions=versions or "nothing", rounds=record.rounds, limit=f"{record.limit:g}"
    )
    text += "".join(f"| {system.name} | {system.records} | {system.note} |\n" for system in SYSTEMS)
    if record.missing:
        text += "\nNot installed: " + "; ".join(f"{name} ({why})" for name, why in record.missing.items()) + ".\n"
    described = descriptions()
    for workload in workloads.WORKLOADS:
        cells = [cell for cell in record.cells if cell.workload == workload]
        if cells:
            text += f"\n## {workload.capitalize()}\n\n{described[workload]}\n\n{table(record, cells)}"
            text += "".join(f"\n{remark}\n" for remark in remarks(record, workload))
    return text


def descriptions() -> Mapping[str, str]:
    """What each workload is, as its module says.

    >>> descriptions()["fan"]
    "Independent calls; all values in the caller's hand."
    """
    found = re.findall(r"^(\w+) {2,}(.+)$", workloads.__doc__ or "", re.MULTILINE)
    return {name: f"{text[0].upper()}{text[1:]}." for name, text in found}


def table(record: Record, cells: Sequence[Cell]) -> str:
    """The table of one workload, a row for each system that has a figure or says why not."""
    sizes = sorted({cell.n for cell in cells})
    text = f"| system | {' | '.join(f'N = {n:,}' for n in sizes)} |\n|---|{'---|' * len(sizes)}\n"
    by_place = record.by_place
    for system in SYSTEMS:
        row = [by_place.get((system.name, cells[0].workload, n)) for n in sizes]
        if any(row):
            text += f"| {system.name} | {' | '.join(shown(record, cell) for cell in row)} |\n"
    return text


def shown(record: Record, cell: Cell | None) -> str:
    """A figure with its spread and its ratio, or why there is none."""
    if cell is None or not cell.seconds:
        return cell.why if cell else ""
    text = number(cell.median)
    count = len(cell.seconds)
    if count > 1:
        text += f" ({number(min(cell.seconds))}–{number(max(cell.seconds))})"
    ratio = record.ratio(cell)
    text += f" **{number(ratio)}×**" if ratio is not None else ""
    return text + (f", {count} round{'s' * (count > 1)}" if count < record.rounds else "")


def number(value: float) -> str:
    """Two or three digits that matter.

    >>> [number(value) for value in (0.01234, 1.234, 12.34, 1234.5)]
    ['0.012', '1.23', '12.3', '1,234']
    """
    if value >= 100:
        return f"{value:,.0f}"
    digits = 1 if value >= 10 else 2 if value >= 0.1 else 3 if value >= 0.01 else 4
    return f"{value:.{digits}f}"


def remarks(record: Record, workload: str) -> Iterator[str]:
    """What the table of a workload comes to: against the fastest durable peer, and against ten times as many."""
    cells = [cell for cell in record.cells if cell.workload == workload and cell.seconds]
    by_place = record.by_place
    peers = [cell for cell in cells if BY_NAME[cell.system].durable and cell.system not in OURS]
    for n in sorted({cell.n for cell in peers}):
        best = min((cell for cell in peers if cell.n == n), key=lambda cell: cell.median)
        ours = by_place.get((OURS[0], workload, n))
        if ours and ours.seconds:
            yield (
                f"N = {n:,}: the fastest peer that records results is {best.system}; "
                f"dataflow on threads takes {number(ours.median / best.median)} times as long."
            )
    for name in OURS:
        mine = {cell.n: cell.median / cell.n for cell in cells if cell.system == name}
        if 10_000 in mine and 100_000 in mine:
            yield f"{name}: a call among 100,000 takes {number(mine[100_000] / mine[10_000])} of one among 10,000."


def ratios(text: str) -> dict[Place, float]:
    """The ratios that stand in a document."""
    found: dict[Place, float] = {}
    workload, sizes = "", list[int]()
    for line in text.splitlines():
        if line.startswith("## "):
            workload, sizes = line.removeprefix("## ").lower(), []
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| ") else []
        if cells[:1] == ["system"]:
            sizes = [int(cell.removeprefix("N = ").replace(",", "")) for cell in cells[1:] if cell.startswith("N = ")]
        for n, cell in zip(sizes, cells[1:], strict=False):
            if match := RATIO.search(cell):
                found[cells[0], workload, n] = float(match[1].replace(",", ""))
    return found


def changes(before: Mapping[Place, float], after: Mapping[Place, float], factor: float) -> list[str]:
    """Which ratios have changed by more than a factor, as lines to read; a smaller ratio is worse for us.

    >>> changes({("joblib", "fan", 100): 4.0}, {("joblib", "fan", 100): 2.0}, 1.3)
    ['worse   fan, N = 100, joblib: 2.00 times our time, was 4.00']
    """
    lines = []
    for place, now in after.items():
        was = before.get(place)
        if was and now and not 1 / factor <= now / was <= factor:
            system, workload, n = place
            word = "worse " if now < was else "better"
            lines.append(f"{word}  {workload}, N = {n:,}, {system}: {number(now)} times our time, was {number(was)}")
    return lines
