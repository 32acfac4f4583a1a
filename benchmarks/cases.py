"""What is measured. Each case is a function that gives figures, and runs in a process of its own."""

from __future__ import annotations

import io
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import dask.threaded
import fsspec
import numpy as np
from dask._task_spec import Task as DaskTask

from benchmarks import flows
from benchmarks.bars import Sized
from benchmarks.flows import DaskGraph
from benchmarks.measure import Figure, compare, fresh_home, in_turn, seconds
from benchmarks.systems.workloads import same
from dataflow import Flow, ResultStore, Run
from dataflow.plan import Plan
from dataflow.states import SUCCESS

N = 10_000
WIDE = 100_000
ARRAYS = 200
THREADED = "dask.threaded, nothing recorded"

AnyFlow = Flow[..., Any]


def run(flow: AnyFlow, n: int, executor: object, calls: int) -> float:
    """Seconds to build and run a flow in a home that has seen a small run; every call must be on record.

    Parameters
    ----------
    flow : Flow
        Takes one number.
    n : int
        That number.
    executor : object
        Where.
    calls : int
        How many task runs must have succeeded.
    """
    with fresh_home():
        flow.run(10, executor=executor)
        kept: list[Run] = []
        took = seconds(lambda: kept.append(flow.run(n, executor=executor)))
        recorded = sum(states.get(SUCCESS, 0) for states in kept[0].counts.values())
        assert recorded == calls, f"{flow.name}: {recorded} of {calls} task runs are on record"
        return took


def threaded(make: Callable[[int], DaskGraph], n: int, last: str | None = None) -> float:
    """Seconds to build a Dask graph and run it on Dask's own threads."""

    def call() -> object:
        graph = make(n)
        return dask.threaded.get(graph, list(graph) if last is None else last)

    return seconds(call)


# Running --------------------------------------------------------------------------------------------------------------


def reducing(sized: Sized) -> Iterator[Figure]:
    """A wide map and its reduction."""
    n = sized(WIDE)
    yield compare(
        f"map of {n:,} and reduce, on threads",
        lambda: run(flows.map_reduce, n, "threads", n + 1),
        lambda: threaded(flows.bare_map_reduce, n, "reduce"),
        THREADED,
    )


def retrying(sized: Sized) -> Iterator[Figure]:
    """Children that wait for their second attempt, against a map that has as many bodies to run."""
    n = sized(1_000)
    yield compare(
        f"{n:,} children retried after {flows.DELAY_SECONDS} s, without the delay",
        lambda: run(flows.retried, n, "threads", n) - flows.DELAY_SECONDS,
        lambda: run(flows.walk, 2 * n, "threads", 2 * n),
        "a map of twice as many that do not fail",
    )


def descending(sized: Sized) -> Iterator[Figure]:
    """A flow that calls itself, against as many single calls of Dask, each waited for."""
    depth = sized(1_000)

    def one_by_one() -> None:
        for n in range(depth):
            dask.threaded.get({f"noop-{n}": flows.bare_fan(1)["noop-0"]}, f"noop-{n}")

    # Of each level: the task that lowers the number, and the subflow; the topmost subflow is the run itself.
    yield compare(
        f"recursion {depth:,} deep on threads",
        lambda: run(flows.descend, depth, "threads", 2 * depth),
        lambda: seconds(one_by_one),
        f"{depth:,} single dask.threaded.get",
    )


def storing(sized: Sized) -> Iterator[Figure]:
    """Large results, against writing the same bytes with fsspec from as many threads."""
    n = sized(ARRAYS)

    def written() -> float:
        with tempfile.TemporaryDirectory(prefix="dataflow-bench-") as folder:
            files = fsspec.filesystem("file")

            def write(n: int) -> None:
                buffer = io.BytesIO()
                np.save(buffer, flows.array(n))
                files.pipe_file(f"{folder}/{n}.npy", buffer.getvalue())

            graph: DaskGraph = {key: type(task)(key, write, *task.args) for key, task in flows.bare_fan(n).items()}
            return seconds(lambda: dask.threaded.get(graph, list(graph)))

    written()
    for flow, how in ((flows.arrays, "calls"), (flows.mapped_arrays, "a map")):
        yield compare(
            f"{n} arrays of 1 MB stored, {how}",
            partial(run, flow, n, "threads", n),
            written,
            "fsspec on dask.threaded",
            rounds=5,
        )


def committing(sized: Sized) -> Iterator[Figure]:
    """Arrays committed to a store on the local disk, one after another, against writing the same bytes."""
    n = sized(1_000)
    arrays = [np.random.default_rng(seed).random(131_072) for seed in range(8)]  # 1 MB each, and nothing to compress
    contents = [array.tobytes() for array in arrays]

    def ours() -> float:
        with tempfile.TemporaryDirectory(prefix="store-") as folder:
            store = ResultStore(folder)
            return seconds(lambda: [store.put(f"run/{i}", arrays[i % len(arrays)]) for i in range(n)])

    def bare() -> float:
        with tempfile.TemporaryDirectory(prefix="files-") as folder:
            files = fsspec.filesystem("file")
            return seconds(lambda: [files.pipe_file(f"{folder}/{i}", contents[i % len(contents)]) for i in range(n)])

    ours(), bare()
    yield compare(f"{n:,} arrays of 1 MB committed to a store", ours, bare, "fsspec alone", bar=1.67, rounds=5)


# Before anything runs -------------------------------------------------------------------------------------------------


def building(sized: Sized) -> Iterator[Figure]:
    """Building graphs: seconds, and whether ten times as many cost more each."""
    for flow, n, name in ((flows.chain, N, "chain"), (flows.fan, WIDE, "fan")):

        def build(n: int, flow: AnyFlow = flow) -> float:
            return seconds(lambda: flow.graph(n))

        yield from _scaling(sized, f"building a {name} of", n, build)


def planning(sized: Sized) -> Iterator[Figure]:
    """From a graph to its first fragment."""
    for flow, n, name in ((flows.chain, N, "chain"), (flows.fan, WIDE, "fan")):

        def plan(n: int, flow: AnyFlow = flow) -> float:
            graph = flow.graph(n)
            return seconds(lambda: Plan(graph, run="bench", slots=2).take(0.0))

        yield from _scaling(sized, f"planning a {name} of", n, plan)


def _scaling(sized: Sized, what: str, n: int, timer: Callable[[int], float]) -> Iterator[Figure]:
    """Seconds for `n`, and the price of one node among 100,000 against one among 10,000."""
    timer(100)
    many, few = sized(WIDE), sized(N)
    large, small = in_turn(lambda: timer(many), lambda: timer(few))
    yield Figure(what=f"{what} {sized(n):,}", ours=large if n == WIDE else small)
    each_large, each_small = 1e6 * large / many, 1e6 * small / few
    yield Figure(
        what=f"  a node of {many:,}, against",
        ours=each_large,
        unit="µs",
        against=f"a node of {few:,}",
        bare=each_small,
        ratio=each_large / each_small,
    )


def importing(sized: Sized) -> Iterator[Figure]:
    """What `import dataflow` adds to the start of Python."""

    def start(code: str) -> float:
        return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    start("import dataflow")  # the files of bytecode are written
    pairs = [(start("import dataflow"), start("pass")) for _ in range(9)]
    ours, bare = statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)
    yield Figure(what="import dataflow, over bare Python", ours=1000 * (ours - bare), unit="ms", bar=150)


def sizing(sized: Sized) -> Iterator[Figure]:
    """Bytes of a call in the Dask graph, beyond those of the bare Dask task with the same key and constant."""
    n = sized(1_000)
    fragment = Plan(flows.fan.graph(n), run="0123456789abc", slots=2).take(0.0).fragment
    assert fragment is not None
    bare: DaskGraph = {key: DaskTask(key, same, i) for i, (key, task) in enumerate(fragment.tasks.items())}
    yield _bytes(
        f"bytes of a call, in a graph of {n:,}",
        len(pickle.dumps(dict(fragment.tasks))) / n,
        len(pickle.dumps(bare)) / n,
    )
    key = next(iter(bare))
    yield _bytes(
        "bytes of a call, sent alone", len(pickle.dumps(fragment.tasks[key])), len(pickle.dumps(bare[key])), bar=300
    )


def _bytes(what: str, ours: float, bare: float, bar: float | None = None) -> Figure:
    return Figure(what=what, ours=ours, unit="bytes", against="a bare Dask task", bare=bare, bar=bar)


CASES: Mapping[str, Callable[[Sized], Iterator[Figure]]] = {
    "reduce": reducing,
    "retries": retrying,
    "recursion": descending,
    "arrays": storing,
    "store": committing,
    "build": building,
    "plan": planning,
    "import": importing,
    "bytes": sizing,
}
