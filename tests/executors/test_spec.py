"""The word for an executor that another process understands."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dataflow_executors import DaskExecutor, SyncExecutor, ThreadExecutor, choose
from tests.executors.bodies import run_something
from tests.executors.conftest import Mailbox


@pytest.mark.parametrize(
    "word",
    ["sync", "threads", "threads:3", "processes", "processes:3", "tcp://h:1", "tls://h:1", "ucx://h:1", "ws://h:1"],
)
def test_a_word_is_itself(word: str) -> None:
    assert choose(word).spec == word


def test_an_executor_is_the_word_that_makes_an_equal_one() -> None:
    for made in (SyncExecutor(), ThreadExecutor(), ThreadExecutor(5), DaskExecutor(), DaskExecutor(workers=3)):
        assert made.spec is not None
        equal = choose(made.spec)
        assert repr(equal) == repr(made)
        assert equal.spec == made.spec


def test_the_number_of_cpus_is_not_written_down() -> None:
    threads = ThreadExecutor()
    assert threads.slots >= 1
    assert threads.spec == "threads"


def test_the_address_stands_for_clients_and_clusters(cluster: Any, mailbox: Mailbox) -> None:
    from distributed import Client

    make: Any = Client
    assert DaskExecutor(cluster).spec == cluster.scheduler_address
    with make(cluster, set_as_default=False) as client:
        of_client = DaskExecutor(client)
        assert of_client.spec == cluster.scheduler_address
        run_something(choose(of_client.spec), mailbox)
    assert of_client.spec is None


def test_a_client_in_an_event_loop(cluster: Any) -> None:
    from distributed import Client

    make: Any = Client

    async def cell() -> str | None:
        async with make(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
            return DaskExecutor(client).spec

    assert asyncio.run(cell()) == cluster.scheduler_address


def test_what_no_other_process_can_reach_has_none() -> None:
    from distributed import LocalCluster

    make: Any = LocalCluster
    with make(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        assert cluster.scheduler_address.startswith("inproc://")
        assert DaskExecutor(cluster).spec is None
        assert DaskExecutor(cluster.scheduler_address).spec is None


def test_what_no_word_says_has_none() -> None:
    from distributed import LocalCluster

    for made in (
        DaskExecutor(LocalCluster),
        DaskExecutor(LocalCluster, cluster_kwargs={"n_workers": 1}),
        DaskExecutor(workers=2, threads_per_worker=2),
        DaskExecutor(cluster_kwargs={"memory_limit": "1GB"}),
        DaskExecutor(adapt={"maximum": 3}),
    ):
        assert made.spec is None, made
