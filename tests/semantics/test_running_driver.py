"""The driver: how much it submits at once, how small a call is, that no state is lost, and what a dead worker costs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from dataflow import RunFailed, flow, task, unmapped
from dataflow.errors import PlaceError
from dataflow.plan import Plan

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger


@task
def step(n: int) -> int:
    return n + 1


@task
def total(values: list[int]) -> int:
    return sum(values)


# Fragments ------------------------------------------------------------------------------------------------------------


def test_a_static_flow_of_a_thousand_nodes_is_one_fragment(executor: Any) -> None:
    @flow
    def static() -> object:
        values = []
        for start in range(10):
            value = step(start)
            for _ in range(98):
                value = step(value)
            values.append(value)
        return total(values), [total([value]) for value in values[:9]]

    graph = static.graph()
    assert len(graph.nodes) == 1000
    run: Any = graph.run(executor=executor)
    assert run._driver.fragments == 1
    assert run.result() == (sum(range(99, 109)), list(range(99, 108)))


def test_a_branch_that_fails_needs_no_second_fragment(executor: Any) -> None:
    @task
    def fails(n: int) -> int:
        raise ValueError(n)

    @flow
    def static() -> object:
        return [step(fails(step(n))) for n in range(20)]

    run: Any = static.graph().run(executor=executor, raise_on_failure=False)
    assert run._driver.fragments == 1


# Bytes ----------------------------------------------------------------------------------------------------------------


def calls_of(graph: Any) -> tuple[dict[str, bytes], int]:
    """The Dask tasks of a graph's first fragment as they travel, and the bytes that are shipped once."""
    import cloudpickle

    dispatch = Plan(graph, run="0123456789abc", chains=True, slots=2).take(0.0)
    shipped = sum(len(cloudpickle.dumps(made)) for made in dispatch.shipments.values())
    assert dispatch.fragment is not None
    return {key: pickle.dumps(made) for key, made in dispatch.fragment.tasks.items()}, shipped


def test_the_frameworks_part_of_a_call_is_small() -> None:
    constants = [f"https://example.org/{n:04}" for n in range(30)]

    @task(retries=3, retry_delay=60, timeout=30, target="pages/{path}.json")
    def fetch(url: str) -> str:
        return url

    @task
    def joins(one: str, two: str) -> str:
        return one + two

    @flow
    def fetches() -> object:
        pages = [fetch(url) for url in constants]
        return [joins(one, two) for one, two in zip(pages[::2], pages[1::2], strict=True)]

    calls, _ = calls_of(fetches.graph())
    fetched = [call for key, call in calls.items() if key.startswith("fetch")]
    joined = [call for key, call in calls.items() if key.startswith("joins")]
    assert (len(fetched), len(joined)) == (30, 15)
    assert max(map(len, fetched)) - len(pickle.dumps(constants[0])) < 300
    # Two keys of upstreams are part of it.
    assert max(map(len, joined)) < 300 + 2 * 30


def test_a_child_of_a_map_costs_little_more_than_its_item() -> None:
    items = [f"https://example.org/{n:04}" for n in range(1000)]

    @task(batch=100)
    def fetch(url: str, options: dict[str, str]) -> str:
        return url

    @flow
    def fetches() -> object:
        return fetch.map(items, unmapped({"agent": "x" * 100_000}))

    calls, shipped = calls_of(fetches.graph())
    for call in calls.values():
        assert len(call) - 100 * len(items[0]) < 300 + 100 * 10
    assert shipped < 100_000 + 20_000, "what all children share is shipped once"


def test_a_large_closure_is_shipped_once_and_in_no_call() -> None:
    table = os.urandom(1_000_000)

    @task
    def looks_up(n: int) -> int:
        return table[n]

    @flow
    def looks() -> object:
        return [looks_up(n) for n in range(50)], looks_up.map(list(range(50)))

    calls, shipped = calls_of(looks.graph())
    assert sum(map(len, calls.values())) < 50_000
    assert 1_000_000 < shipped < 1_100_000


# Events ---------------------------------------------------------------------------------------------------------------


def test_no_state_of_many_children_gets_lost(executor: Any) -> None:
    @task
    def first(n: int) -> int:
        return n

    @task
    def second(n: int) -> int:
        return n + 1

    @flow
    def wide() -> object:
        return total(second.map(first.map(list(range(2000)))))

    run: Any = wide.graph().run(executor=executor)
    assert run.result() == sum(range(1, 2001))
    assert run.counts == {"first": {"Success": 2000}, "second": {"Success": 2000}, "total": {"Success": 1}}
    rows = run._store.transitions(run.id)
    told: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        told.setdefault((row.path, row.idx), []).append(row.state)
    assert all(told[path, n] == ["Running", "Success"] for path in ("first", "second") for n in range(2000))
    assert len(run.task_runs) == 4001


def test_children_outside_the_first_window_run_after_a_long_body(executor: Any) -> None:
    """A long body makes the record be written in the middle of a fragment; what was to follow must still follow."""

    @task
    def long(n: int) -> int:
        time.sleep(0.35)
        return n + 1

    @flow
    def uneven() -> object:
        return step.map(list(range(12))), long(long(1))

    assert uneven.graph().run(executor=executor).result() == (list(range(1, 13)), 3)


# Imports and places ---------------------------------------------------------------------------------------------------


def test_importing_dataflow_brings_no_heavy_library() -> None:
    code = "import sys, dataflow; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout))
    assert "dataflow" in loaded
    assert not loaded & {"distributed", "sqlalchemy", "pydantic", "pandas", "numpy", "pyarrow", "rich", "alembic"}


def test_building_a_flow_brings_no_heavy_library_either() -> None:
    code = (
        "import sys\nfrom dataflow import flow, task\n@task\ndef one(n): return n\n"
        "@flow\ndef build(): return one.map([1])\nbuild()\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(eval(done.stdout)) & {"distributed", "sqlalchemy", "pandas", "pyarrow"}


def test_results_in_memory_are_refused_where_workers_are_other_processes(client: Any) -> None:
    @flow
    def one() -> object:
        return step(1)

    with pytest.raises(PlaceError, match="memory is this process's own") as caught:
        one.graph().run(executor=client, results="memory://results")
    assert isinstance(caught.value, ValueError)
    assert "dataflow.results.url" in str(caught.value)
    for executor in ("sync", "threads:2"):
        assert one.graph().run(executor=executor, results="memory://results").result() == 2


# Workers that die -----------------------------------------------------------------------------------------------------


@pytest.fixture
def mortal() -> Iterator[Any]:
    """A cluster of its own: its workers may die, and come back."""
    from distributed import Client, LocalCluster

    make: Any = LocalCluster
    with (
        make(
            processes=True,
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            scheduler_kwargs={"allowed_failures": 1, "dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        yield connected


def test_the_death_of_a_worker_runs_nothing_again_that_was_finished(mortal: Any, ledger: Ledger) -> None:
    @task
    def early(n: int) -> int:
        ledger.mark(f"early {n}")
        return n

    @task
    def dies_once(values: list[int]) -> int:
        ledger.mark("dies once")
        if ledger.counts()["dies once"] == 1:
            os.kill(os.getpid(), 9)
        return sum(values)

    @task
    def after(value: int, values: list[int]) -> int:
        ledger.mark("after")
        return value + len(values)

    @flow
    def survives() -> object:
        values = early.map(list(range(20)))
        singles = [early(n) for n in range(100, 105)]
        return after(dies_once(values), [*singles, 1]), values

    run: Any = survives.graph().run(executor=mortal)
    assert run.result() == (196, list(range(20)))
    counts = ledger.counts()
    assert counts.pop("dies once") == 2
    assert counts == {f"early {n}": 1 for n in (*range(20), *range(100, 105))} | {"after": 1}
    assert {one.state.type for one in run.task_runs} == {"Success"}


def test_a_task_that_always_kills_its_worker_is_crashed_alone(mortal: Any, ledger: Ledger) -> None:
    @task
    def child(n: int) -> int:
        ledger.mark(f"child {n}")
        if n == 3:
            os.kill(os.getpid(), 9)
        return n

    @task
    def neighbour(n: int) -> int:
        ledger.mark(f"neighbour {n}")
        return n

    @flow
    def survives() -> object:
        return child.map(list(range(8))), [neighbour(neighbour(n)) for n in range(4)]

    with pytest.raises(RunFailed) as caught:
        survives.graph().run(executor=mortal)
    run: Any = caught.value.run
    told = {one.label: one.state.type for one in run.task_runs}
    assert {label for label, state in told.items() if state != "Success"} == {"child[3]"}
    assert told["child[3]"] == "Crashed"
    assert "worker" in run["child[3]"].state.message
    assert len(told) == 16
    assert [child.result() for child in run["child"] if child.index != 3] == [0, 1, 2, 4, 5, 6, 7]
