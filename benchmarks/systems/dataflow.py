"""dataflow, on threads or on a local cluster: states with their history, logs and results are durable."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.systems import workloads as w
from benchmarks.systems.harness import main
from dataflow import Flow, Node, flatten, flow, task

VARIANTS = ("threads", "processes")

calls = w.Calls.made(task)
mapped: Any = calls
cached = task(name="cached", cache=True)(w.same)


@flow
def fan(first: int, last: int) -> list[Node]:
    """Independent calls."""
    return [calls.same(i) for i in range(first, last)]


@flow
def chain(first: int, last: int) -> Node:
    """A chain."""
    node: Node = w.chained(calls, range(first, last))
    return node


@flow
def map_reduce(first: int, last: int) -> Node:
    """A map and its reduction."""
    node: Node = calls.total(mapped.same.map(range(first, last)))
    return node


@flow
def nested(first: int, last: int) -> Node:
    """A map whose children give the children of another."""
    numbers = flatten(mapped.ten.map(range(first, last, w.TEN)))
    node: Node = calls.total(mapped.same.map(numbers))
    return node


@flow
def payload(first: int, last: int) -> Node:
    """Megabytes."""
    node: Node = mapped.blob.map(range(first, last))
    return node


@flow
def warm(first: int, last: int) -> list[Node]:
    """Calls that are cached."""
    return [cached(i) for i in range(first, last)]


@flow
def uneven(first: int, last: int) -> Node:
    """Naps."""
    node: Node = mapped.nap.map(range(first, last))
    return node


@flow
def tree(first: int, last: int) -> Node:
    """Sums of sums."""
    node: Node = w.paired(calls, range(first, last))
    return node


FLOWS: Mapping[str, Flow[..., Any]] = {
    "fan": fan,
    "chain": chain,
    "map": map_reduce,
    "nested": nested,
    "payload": payload,
    "warm": warm,
    "uneven": uneven,
    "tree": tree,
}


def on(executor: object) -> dict[str, w.Workload]:
    """The workloads, on an executor."""

    def work(name: str, items: range) -> object:
        run: Any = FLOWS[name].run(items.start, items.stop, executor=executor)
        return (lambda: w.checksum(run.result())) if name == "payload" else run.result()

    return {name: partial(work, name) for name in FLOWS}


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads, in a home of their own."""
    os.environ["DATAFLOW_HOME"] = str(folder)
    if variant == "threads":
        yield on(f"threads:{w.WORKERS}")
        return
    from benchmarks.systems.distributed import cluster

    with cluster() as client:
        yield on(client)


if __name__ == "__main__":
    main(opened, "benchmarks.systems.dataflow", variants=VARIANTS, packages=["dask", "distributed"])
