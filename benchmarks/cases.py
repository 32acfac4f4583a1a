"""What is measured. Each case is a function that gives figures, and runs in a process of its own."""

from __future__ import annotations

import io
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dask.threaded
import flows
import fsspec
import numpy as np
from flows import DaskGraph
from measure import Figure, compare, fresh_home, in_turn, seconds

from dataflow import Flow, ResultStore, Run
from dataflow.plan import Plan
from dataflow.states import SUCCESS

N = 10_000
ON_CLUSTER = 2_000
WIDE = 100_000
ARRAYS = 200
THREADED = "dask.threaded, nothing recorded"
CLIENT = "distributed's client.get, gathered, nothing recorded"

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


def on_threads() -> Iterator[Figure]:
    """Independent calls, a map and a chain, on threads."""
    threaded(flows.bare_fan, 100)
    n = f"{N:,}"
    yield compare(
        f"{n} independent calls on threads",
        lambda: run(flows.fan, N, "threads", N),
        lambda: threaded(flows.bare_fan, N),
        THREADED,
        bar=6,
    )
    yield compare(
        f"the same {n} calls as a map",
        lambda: run(flows.walk, N, "threads", N),
        lambda: threaded(flows.bare_fan, N),
        THREADED,
        bar=6,
    )
    yield compare(
        f"chain of {n} calls on threads",
        lambda: run(flows.chain, N, "threads", N),
        lambda: threaded(flows.bare_chain, N, f"noop-{N - 1}"),
        THREADED,
    )


def on_cluster() -> Iterator[Figure]:
    """Independent calls and a map, on a local cluster of two processes."""
    from distributed import Client, LocalCluster

    open_cluster: Any = LocalCluster
    with (
        open_cluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def bare() -> float:
            graph = flows.bare_fan(ON_CLUSTER)
            # Other keys each time: what a cluster has already, it does not run again.
            renamed = {f"{key}-{time.time_ns()}": task for key, task in graph.items()}
            again = {key: type(task)(key, task.func, *task.args) for key, task in renamed.items()}
            return seconds(lambda: client.get(again, list(again)))

        client.get(flows.bare_fan(100), list(flows.bare_fan(100)))
        n = f"{ON_CLUSTER:,}"
        yield compare(
            f"{n} independent calls on 2 processes",
            lambda: run(flows.fan, ON_CLUSTER, client, ON_CLUSTER),
            bare,
            CLIENT,
            bar=1.5,
        )
        yield compare(
            f"the same {n} calls as a map",
            lambda: run(flows.walk, ON_CLUSTER, client, ON_CLUSTER),
            bare,
            CLIENT,
            bar=1.5,
        )


def reducing() -> Iterator[Figure]:
    """A wide map and its reduction."""
    yield compare(
        f"map of {WIDE:,} and reduce, on threads",
        lambda: run(flows.map_reduce, WIDE, "threads", WIDE + 1),
        lambda: threaded(flows.bare_map_reduce, WIDE, "reduce"),
        THREADED,
    )


def retrying() -> Iterator[Figure]:
    """Children that wait for their second attempt, against a map that has as many bodies to run."""
    yield compare(
        f"1,000 children retried after {flows.DELAY_SECONDS} s, without the delay",
        lambda: run(flows.retried, 1_000, "threads", 1_000) - flows.DELAY_SECONDS,
        lambda: run(flows.walk, 2_000, "threads", 2_000),
        "a map of 2,000 that do not fail",
    )


def descending() -> Iterator[Figure]:
    """A flow that calls itself, against as many single calls of Dask, each waited for."""
    depth = 1_000

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


def storing() -> Iterator[Figure]:
    """Large results, against writing the same bytes with fsspec from as many threads."""

    def written() -> float:
        with tempfile.TemporaryDirectory(prefix="dataflow-bench-") as folder:
            files = fsspec.filesystem("file")

            def write(n: int) -> None:
                buffer = io.BytesIO()
                np.save(buffer, flows.array(n))
                files.pipe_file(f"{folder}/{n}.npy", buffer.getvalue())

            graph: DaskGraph = {key: type(task)(key, write, *task.args) for key, task in flows.bare_fan(ARRAYS).items()}
            return seconds(lambda: dask.threaded.get(graph, list(graph)))

    written()
    for flow, how in ((flows.arrays, "calls"), (flows.mapped_arrays, "a map")):
        yield compare(
            f"{ARRAYS} arrays of 1 MB stored, {how}",
            lambda flow=flow: run(flow, ARRAYS, "threads", ARRAYS),
            written,
            "fsspec on dask.threaded",
            rounds=5,
        )


def committing() -> Iterator[Figure]:
    """Arrays committed to a store on the local disk, one after another, against writing the same bytes."""
    n = 1_000
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


def building() -> Iterator[Figure]:
    """Building graphs: seconds, and whether ten times as many cost more each."""
    for flow, n, name in ((flows.chain, N, "chain"), (flows.fan, WIDE, "fan")):
        yield from _scaling(f"building a {name} of", n, lambda n, flow=flow: seconds(lambda: flow.graph(n)))


def planning() -> Iterator[Figure]:
    """From a graph to its first fragment."""
    for flow, n, name in ((flows.chain, N, "chain"), (flows.fan, WIDE, "fan")):

        def plan(n: int, flow: AnyFlow = flow) -> float:
            graph = flow.graph(n)
            return seconds(lambda: Plan(graph, run="bench", slots=2).take(0.0))

        yield from _scaling(f"planning a {name} of", n, plan)


def _scaling(what: str, n: int, timer: Callable[[int], float]) -> Iterator[Figure]:
    """Seconds for `n`, and the price of one node among 100,000 against one among 10,000."""
    timer(100)
    large, small = in_turn(lambda: timer(WIDE), lambda: timer(N))
    yield Figure(what=f"{what} {n:,}", ours=large if n == WIDE else small)
    each_large, each_small = 1e6 * large / WIDE, 1e6 * small / N
    yield Figure(
        what="  a node of 100,000, against",
        ours=each_large,
        unit="µs",
        against="a node of 10,000",
        bare=each_small,
        ratio=each_large / each_small,
    )


def importing() -> Iterator[Figure]:
    """What `import dataflow` adds to the start of Python."""

    def start(code: str) -> float:
        return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    start("import dataflow")  # the files of bytecode are written
    pairs = [(start("import dataflow"), start("pass")) for _ in range(9)]
    ours, bare = statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)
    yield Figure(what="import dataflow, over bare Python", ours=1000 * (ours - bare), unit="ms", bar=150)


def sizing() -> Iterator[Figure]:
    """Bytes of a call in the Dask graph, beyond those of the bare Dask task with the same key and constant."""
    n = 1_000
    fragment = Plan(flows.fan.graph(n), run="0123456789abc", slots=2).take(0.0).fragment
    assert fragment is not None
    bare = {key: type(task)(key, flows.same, i) for i, (key, task) in enumerate(fragment.tasks.items())}
    yield _bytes(
        "bytes of a call, in a graph of 1,000", len(pickle.dumps(dict(fragment.tasks))) / n, len(pickle.dumps(bare)) / n
    )
    key = next(iter(bare))
    yield _bytes(
        "bytes of a call, sent alone", len(pickle.dumps(fragment.tasks[key])), len(pickle.dumps(bare[key])), bar=300
    )


def _bytes(what: str, ours: float, bare: float, bar: float | None = None) -> Figure:
    return Figure(what=what, ours=ours, unit="bytes", against="a bare Dask task", bare=bare, bar=bar)


CASES: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "threads": on_threads,
    "cluster": on_cluster,
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
