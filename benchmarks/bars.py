"""The bars: ours against bare Dask, with the workloads and the scripts of the large comparison."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import Figure, Timer, fresh_home, in_turn, seconds
from benchmarks.systems import dask, dataflow, distributed
from benchmarks.systems.workloads import EXPECTED, Workload

MANY = 10_000
LINKS = 1_000
NAPS = 300  # the large comparison has 1,000
ON_BARE_CLUSTER = 2_000  # of 10,000, scaled: more would take most of the time that there is
WIDE = 100_000
CHILDREN_A_SECOND = 15_000

Sized = Callable[[int], int]
"""Makes the numbers of a case smaller, to try it out."""


def timer(offered: Mapping[str, Workload], name: str, n: int, times: float = 1.0) -> Timer:
    """The seconds of a workload, in a home that is new; its value must be right.

    Parameters
    ----------
    offered : mapping
        A script's workloads.
    name : str
        Which.
    n : int
        How many calls.
    times : float
        What the seconds are multiplied by, where `n` is only a part.
    """

    def call() -> float:
        first = [0]

        def work() -> object:
            return offered[name](range(first[0], first[0] + n))

        with fresh_home():
            offered[name](range(-10, 0))
            # Other numbers each time: what a cluster has already, it does not run again.
            first[0] = next(STARTS)
            kept: list[object] = []
            took = seconds(lambda: kept.append(work()))
            assert kept == [EXPECTED[name](range(first[0], first[0] + n))], f"{name}: a wrong value"
        return times * took

    return call


STARTS = iter(range(0, 10**12, 10**6))


def figures(what: str, ours: Timer, bare: Mapping[str, tuple[Timer, float | None]]) -> Iterator[Figure]:
    """Ours against each of several, all in turn; each has its bar."""
    mine, *theirs = in_turn(ours, *(one for one, _ in bare.values()))
    for (name, (_, bar)), median in zip(bare.items(), theirs, strict=True):
        yield Figure(what=what, ours=mine, against=name, bare=median, ratio=mine / median, bar=bar)


def on_threads(sized: Sized) -> Iterator[Figure]:
    """Map, fan and chain on threads, against Dask's threads."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bars-")))
        ours = stack.enter_context(dataflow.opened("threads", folder))
        delayed = stack.enter_context(dask.opened("delayed", folder))
        graph = stack.enter_context(dask.opened("graph", folder))
        cases = (("map", MANY, 0.10, 0.6), ("fan", MANY, 0.30, None), ("chain", LINKS, 1.0, None))
        for name, size, bar, bar_by_hand in cases:
            n = sized(size)
            yield from figures(
                f"{name} of {n:,}, threads",
                timer(ours, name, n),
                {
                    "dask.threaded, delayed": (timer(delayed, name, n), bar),
                    "dask.threaded, a graph built by hand": (timer(graph, name, n), bar_by_hand),
                },
            )


def on_cluster(sized: Sized) -> Iterator[Figure]:
    """Map, fan, chain and naps on two processes, against bare `distributed` on the same cluster."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bars-")))
        client = stack.enter_context(distributed.cluster())
        ours = dataflow.on(client)
        delayed, futures = distributed.delayed(client, folder), distributed.futures(client, folder)
        cases = (("map", MANY, 0.06, None), ("fan", MANY, None, 0.10), ("chain", LINKS, 0.04, 0.04))
        for name, size, bar_map, bar_delayed in cases:
            n = sized(size)
            part = min(n, sized(ON_BARE_CLUSTER))
            note = "" if part == n else f", {part:,} scaled to {n:,}"
            bare = {
                f"client.map{note}" if name != "chain" else "client.submit": (futures, bar_map),
                f"distributed, delayed{note}": (delayed, bar_delayed),
            }
            yield from figures(
                f"{name} of {n:,}, 2 processes",
                timer(ours, name, n),
                {title: (timer(offered, name, part, n / part), bar) for title, (offered, bar) in bare.items()},
            )
        n = sized(NAPS)
        yield from figures(
            f"{n:,} naps of 1 to 500 ms, 2 processes",
            timer(ours, "uneven", n),
            {"client.map": (timer(futures, "uneven", n), 1.03)},
        )


def wide(sized: Sized) -> Iterator[Figure]:
    """Very many children on two processes: what each costs, and what the driver needs."""
    n = sized(WIDE)
    with distributed.cluster() as client:
        took = timer(dataflow.on(client), "map", n)()
    bar = 1e6 / CHILDREN_A_SECOND
    yield Figure(what=f"a child of {n:,}, 2 processes", ours=1e6 * took / n, unit="µs", bar=bar)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield Figure(what=f"the driver's peak, {n:,} children", ours=peak, unit="MiB", bar=1_024)


BARS: Mapping[str, Callable[[Sized], Iterator[Figure]]] = {
    "threads": on_threads,
    "cluster": on_cluster,
    "wide": wide,
}
