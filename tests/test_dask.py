"""What people bring from Dask: nodes are collections, tasks take and return collections, annotations count."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import cast

import pytest
from dask.base import annotate, collections_to_expr, compute, is_dask_collection, persist
from dask.delayed import Delayed, delayed
from dask.utils import key_split
from distributed import Client

from dataflow import Node, RunFailed, context, flow, get_run, get_runs, task
from dataflow.places import open_runs
from tests.pictures import graph_of


@task(retries=1)
def fetch(x: int) -> int:
    if context().attempt == 1:
        raise OSError("busy")
    return x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def unused() -> None:
    raise AssertionError("nobody asked for this")


@task
def later(n: int) -> object:
    return {"sum": delayed(sum)([1, n])}


@flow
def sums(n: int = 3) -> object:
    return total(fetch.map(range(n))), unused()


@task
def halves(n: int) -> object:
    from dask import array

    return array.arange(2 * n, chunks=n)


@task
def kinds(**values: object) -> dict[str, str]:
    return {name: f"{type(value).__name__} of {len(cast(Sized, value))}" for name, value in values.items()}


@flow
def given() -> object:
    from dask import array, bag, dataframe
    from pandas import DataFrame

    parts = [delayed(int)(str(n)) for n in range(4)]
    squares = bag.from_sequence(range(6), npartitions=2).map(lambda n: n * n)
    table = dataframe.from_pandas(DataFrame({"x": range(8)}), npartitions=2)
    told = kinds(array=array.ones(5, chunks=2), bag=squares, table=table.x, inside={"a": delayed(7)})
    return total(parts), later(41), total(squares), total(halves(5)), told


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0", set_as_default=False
    ) as made:
        yield made


def first_output() -> Node:
    outputs = graph_of(sums()).outputs
    assert isinstance(outputs, tuple)
    assert isinstance(outputs[0], Node)
    return outputs[0]


@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_computing_a_node_is_a_run_of_its_own_with_what_it_needs(scheduler: str) -> None:
    node = first_output()
    assert is_dask_collection(node)
    assert compute({"it": [node]}, scheduler=scheduler) == ({"it": [3]},)
    (run,) = get_runs()
    assert (run.flow, run.state.type) == ("sums", "Success")
    assert [(one.label, one.attempt) for one in run.task_runs] == [
        ("fetch[0]", 2), ("fetch[1]", 2), ("fetch[2]", 2), ("total", 1),
    ]  # fmt: skip


def test_dask_draws_what_a_node_needs_and_computes_it_as_one_task() -> None:
    node = first_output()

    def names(optimize: bool) -> list[str]:
        graph = collections_to_expr([node], optimize_graph=optimize).__dask_graph__()  # as `dask.visualize` asks for it
        return [str(key_split(key)) for key in graph]

    assert names(optimize=False) == ["fetch", "total"]
    assert names(optimize=True) == ["total"]
    assert compute(node, node.upstream[0], scheduler="sync") == (3, [0, 1, 2])
    assert compute(node, scheduler="sync", optimize_graph=False) == (3,)
    assert sorted(len(run.task_runs) for run in get_runs()) == [3, 4, 4]


def test_a_node_goes_into_delayed_calls_and_can_be_persisted() -> None:
    node = first_output()
    assert delayed(lambda x: x + 1)(node).compute(scheduler="threads") == 4
    (kept,) = persist(node, scheduler="threads")
    assert isinstance(kept, Delayed)
    assert kept.compute(scheduler="threads") == 3
    assert len(get_runs()) == 2


def test_a_cluster_computes_a_node_and_shows_the_names_of_its_tasks(client: Client) -> None:
    node = first_output()
    kept = client.persist(node)
    assert client.compute(kept).result() == 3
    (run,) = get_runs()
    assert run.state.type == "Success"
    assert {"fetch", "total"} <= client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.task_prefixes))


def test_a_node_of_a_graph_that_is_not_complete_is_no_collection() -> None:
    seen: list[bool] = []

    @flow
    def early() -> object:
        node = total([1])
        seen.append(is_dask_collection(node))
        return node

    early()
    assert seen == [False]


@pytest.mark.parametrize("where", ["threads", "sync", "cluster"])
def test_collections_are_arguments_and_results(where: str, client: Client) -> None:
    told = {"array": "ndarray of 5", "bag": "list of 6", "table": "Series of 8", "inside": "dict of 1"}
    result = given.run(executor=client if where == "cluster" else where).result()
    assert result == (6, {"sum": 42}, 55, 45, told)


def test_a_failure_comes_back_from_the_cluster_with_the_name_of_its_run(client: Client) -> None:
    asked = client.compute(graph_of(sums()).nodes[-1])
    with pytest.raises(RunFailed, match="nobody asked for this") as told:
        asked.result()
    assert get_run(str(told.value.run)).state.type == "Failed"


def test_collections_are_computed_on_the_cluster(client: Client) -> None:
    def tell_where() -> str:
        from distributed import get_worker

        return str(get_worker().address)

    @task
    def same(x: str) -> str:
        return x

    @flow
    def asks() -> object:
        return same(delayed(tell_where)())

    assert asks.run(executor=client).result() in client.scheduler_info()["workers"]


def test_annotations_around_a_call_are_its_options() -> None:
    @flow
    def annotated() -> object:
        with annotate(resources={"GPU": 1}, priority=5, workers="alice", retries=2):
            noted = [total([1]), total([2])]
            own = total.options(priority=9, retries=7, workers=["bob"])([3])
        return noted, own, total([4])

    one, two, own, plain = graph_of(annotated()).nodes
    assert (one.policy.resources, one.policy.priority, one.policy.workers) == ({"GPU": 1}, 5, ("alice",))
    assert one.policy.retries == 2
    assert one.definition is two.definition  # so that it is shipped once
    assert (own.policy.resources, own.policy.priority, own.policy.workers) == ({"GPU": 1}, 9, ("bob",))
    assert own.policy.retries == 7
    assert (plain.policy.resources, plain.policy.priority, plain.policy.workers) == ({}, 0, ())


def test_a_run_goes_on_where_the_worker_that_drove_it_died(tmp_path: Path) -> None:
    ran, killed = tmp_path / "ran", tmp_path / "killed"

    @task
    def before() -> int:
        with ran.open("a") as file:
            file.write("x")
        return 1

    @task
    def deadly(x: int) -> int:
        if not killed.exists():
            killed.touch()
            owner = open_runs().find(context().run_id).owner
            assert owner is not None
            os.kill(int(owner.split(":")[1]), signal.SIGKILL)
        return x + 1

    @flow
    def perilous() -> object:
        return deadly(before())

    with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0", set_as_default=False) as workers:
        assert workers.compute(graph_of(perilous()).outputs).result() == 2
    (run,) = get_runs()
    assert run.state.type == "Success"
    assert killed.exists()
    assert ran.read_text() == "x"
