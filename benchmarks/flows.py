"""The flows that are measured, and the same work as bare Dask graphs. Bodies do nothing, so that what is left is us."""

from __future__ import annotations

import numpy as np
from dask._task_spec import Task as DaskTask
from dask._task_spec import TaskRef

from benchmarks.systems.workloads import same, total
from dataflow import Node, context, flow, task

DELAY_SECONDS = 0.5  # before a retry
ARRAY_BYTES = 1_000_000

DaskGraph = dict[str, DaskTask]


def array(n: int) -> np.ndarray:
    """One megabyte."""
    return np.full(ARRAY_BYTES // 8, n, dtype=np.float64)


def fails_first(x: int) -> int:
    """Succeeds at its second attempt."""
    if context().attempt == 1:
        raise ConnectionError("the first attempt fails")
    return x


noop = task(name="noop")(same)
reduce = task(name="reduce")(total)
make = task(name="make")(array)
flaky = task(name="flaky", retries=1, retry_delay=DELAY_SECONDS)(fails_first)


@flow
def fan(n: int) -> list[Node]:
    """Independent calls."""
    return [noop(i) for i in range(n)]


@flow
def walk(n: int) -> Node:
    """The same calls as a map."""
    return noop.map(range(n))


@flow
def chain(n: int) -> Node:
    """Each call waits for the one before."""
    x = noop(0)
    for _ in range(n - 1):
        x = noop(x)
    return x


@flow
def map_reduce(n: int) -> Node:
    """A map, and one call that takes all its results."""
    return reduce(noop.map(range(n)))


@flow
def retried(n: int) -> Node:
    """A map whose children all fail once and are tried again after a delay."""
    return flaky.map(range(n))


@flow
def descend(n: int) -> object:
    """A subflow that calls itself, `n` deep; each level is decided when the one above has its value."""
    return n if n == 0 else descend(lower(n))


@task
def lower(n: int) -> int:
    """One less."""
    return n - 1


@flow
def arrays(n: int) -> list[Node]:
    """Arrays of one megabyte, each from a call."""
    return [make(i) for i in range(n)]


@flow
def mapped_arrays(n: int) -> Node:
    """Arrays of one megabyte, from a map."""
    return make.map(range(n))


def bare_fan(n: int) -> DaskGraph:
    """`fan` for Dask alone."""
    return {f"noop-{i}": DaskTask(f"noop-{i}", same, i) for i in range(n)}


def bare_chain(n: int) -> DaskGraph:
    """`chain` for Dask alone."""
    graph = {"noop-0": DaskTask("noop-0", same, 0)}
    for i in range(1, n):
        graph[f"noop-{i}"] = DaskTask(f"noop-{i}", same, TaskRef(f"noop-{i - 1}"))
    return graph


def gather(*values: int) -> int:
    """The body of `bare_map_reduce`'s last task."""
    return sum(values)


def bare_map_reduce(n: int) -> DaskGraph:
    """`map_reduce` for Dask alone."""
    graph = bare_fan(n)
    graph["reduce"] = DaskTask("reduce", gather, *(TaskRef(key) for key in graph))
    return graph
