"""Which cluster an executor works on: addresses, clients, cluster objects, and the choice by a word."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from dask._task_spec import Task

from dataflow_executors import (
    ClusterFailed,
    DaskExecutor,
    Done,
    Failed,
    SchedulerLost,
    UnknownExecutor,
    Unreachable,
    choose,
    clients,
    session,
)
from tests.executors.bodies import add, fragment, hold, run_something, where
from tests.executors.conftest import Mailbox


class TestWhere:
    def test_nobody_at_the_address(self, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
        assert clients.CONNECT_SECONDS <= 9
        monkeypatch.setattr(clients, "CONNECT_SECONDS", 1.5)
        executor = DaskExecutor("tcp://127.0.0.1:9")
        words = r"No Dask scheduler answered at tcp://127\.0\.0\.1:9 within 1\.5 s .*dask scheduler"
        with pytest.raises(Unreachable, match=words):
            executor.start(mailbox.post)
        executor.close()

    def test_not_an_address(self, mailbox: Mailbox) -> None:
        with pytest.raises(ConnectionError, match="nonsense://x"):
            DaskExecutor("nonsense://x").start(mailbox.post)

    def test_a_client_is_used_and_left_open(self, cluster: Any, mailbox: Mailbox) -> None:
        from distributed import Client

        make: Any = Client
        with make(cluster, set_as_default=False) as client:
            run_something(DaskExecutor(client), mailbox)
            assert client.status == "running"
            assert client.submit(add, 1, 2).result() == 3

    def test_a_client_that_is_closed_meanwhile(self, cluster: Any, mailbox: Mailbox, tmp_path: Path) -> None:
        from distributed import Client

        make: Any = Client
        client = make(cluster.scheduler_address, set_as_default=False)
        executor = DaskExecutor(client)
        executor.start(mailbox.post)
        gate = tmp_path / "gate"
        executor.submit(fragment(1, Task("a", hold, executor.channel, "a", gate)))
        assert mailbox.sent()[0] == "a"
        client.close()
        gate.touch()
        assert isinstance(mailbox.get(), Failed)
        with pytest.raises(SchedulerLost):
            executor.submit(fragment(2, Task("b", add, 1)))
        executor.close()

    def test_a_cluster_object_is_left_open(self, cluster: Any, mailbox: Mailbox) -> None:
        run_something(DaskExecutor(cluster), mailbox)
        assert cluster.status.name == "running"
        assert len(cluster.scheduler.workers) == 2

    def test_a_closed_client_is_refused(self, cluster: Any, mailbox: Mailbox) -> None:
        from distributed import Client

        make: Any = Client
        client = make(cluster, set_as_default=False)
        client.close()
        with pytest.raises(ClusterFailed, match="not connected"):
            DaskExecutor(client).start(mailbox.post)

    def test_a_cluster_class_is_started_and_closed(self, mailbox: Mailbox) -> None:
        from distributed import LocalCluster

        made: list[Any] = []

        class Noted(LocalCluster):  # type: ignore[misc, unused-ignore]
            def __init__(self, **options: Any) -> None:
                init: Any = super().__init__
                init(**options)
                made.append(self)

        options = {"n_workers": 0, "processes": False, "threads_per_worker": 3, "dashboard_address": "127.0.0.1:0"}
        executor = DaskExecutor(Noted, cluster_kwargs=options, adapt={"minimum": 1, "maximum": 1})
        run_something(executor, mailbox)
        assert made[0].status.name == "closed"
        assert executor.processes is False

    def test_a_cluster_that_does_not_start(self, mailbox: Mailbox) -> None:
        class Broken:
            def __init__(self) -> None:
                raise OSError("no nodes")

        broken: Any = Broken
        with pytest.raises(ClusterFailed, match="Broken cannot be used: OSError: no nodes"):
            DaskExecutor(broken).start(mailbox.post)

    def test_something_else(self, mailbox: Mailbox) -> None:
        wrong: Any = 42
        with pytest.raises(UnknownExecutor, match="42 is not an executor"):
            DaskExecutor(wrong).start(mailbox.post)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"where": "tcp://x:1", "workers": 2}, "workers=2 is for a cluster that is started here"),
            ({"where": "tcp://x:1", "adapt": {}}, "adapt={} is for"),
            ({"workers": 0}, "workers=0: give a whole number"),
            ({"threads_per_worker": "2"}, "threads_per_worker='2'"),
        ],
    )
    def test_options_that_do_not_fit(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            DaskExecutor(**options)

    def test_from_another_thread(self, cluster: Any, mailbox: Mailbox) -> None:
        thread = threading.Thread(target=run_something, args=(DaskExecutor(cluster.scheduler_address), mailbox))
        thread.start()
        thread.join(20)
        assert mailbox.done(1) == Done(1, {})

    def test_inside_a_running_event_loop(self, cluster: Any, mailbox: Mailbox) -> None:
        async def cell() -> None:
            run_something(DaskExecutor(cluster.scheduler_address), mailbox)

        asyncio.run(cell())
        assert mailbox.done(1) == Done(1, {})

    def test_an_asynchronous_client(self, cluster: Any, mailbox: Mailbox) -> None:
        from distributed import Client

        make: Any = Client

        async def cell() -> None:
            async with make(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
                await asyncio.to_thread(run_something, DaskExecutor(client), mailbox)
                assert await client.submit(add, 1, 2) == 3

        asyncio.run(cell())

    def test_the_scheduler_does_not_pile_up_payloads(
        self, cluster: Any, dask_executor: DaskExecutor, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(session, "FORGET_BYTES", 10_000)
        send = dask_executor.channel.send
        for number in range(5):
            dask_executor.submit(fragment(number, *(Task(f"{number}-{i}", send, b"x" * 1000) for i in range(10))))
            mailbox.done(number)
        assert len(mailbox.payloads()) == 50
        topic = dask_executor.channel.topic  # type: ignore[attr-defined]
        assert len(cluster.scheduler.get_events(topic)) < 40

    def test_nothing_stays_on_a_cluster_that_stays(self, cluster: Any, mailbox: Mailbox) -> None:
        before = dict(cluster.scheduler.worker_plugins), len(cluster.scheduler.clients)
        executor = DaskExecutor(cluster)
        executor.start(mailbox.post)
        for number in range(10):
            executor.ship({f"b{number}": b"x" * 100})
        assert 0 < len(cluster.scheduler.worker_plugins) - len(before[0]) < 7
        tasks = [Task(f"t{i}", where, executor.channel, f"t{i}") for i in range(4)]
        executor.submit(fragment(1, *tasks, keep="t0 t1"))
        mailbox.done(1)
        topic = executor.channel.topic  # type: ignore[attr-defined]
        assert len(cluster.scheduler.get_events(topic)) == 4
        executor.close()
        assert cluster.scheduler.get_events(topic) == ()
        assert dict(cluster.scheduler.worker_plugins) == before[0]
        assert cluster.scheduler.tasks == {}


class TestChoose:
    def test_the_current_client_is_the_default(self, cluster: Any, mailbox: Mailbox) -> None:
        from distributed import Client

        make: Any = Client
        assert choose(None).name == "threads"
        with make(cluster) as client:
            executor = choose(None)
            assert repr(client) in repr(executor)
            run_something(executor, mailbox)
        assert choose(None).name == "threads"

    def test_clusters_and_clients(self, cluster: Any) -> None:
        from distributed import Client

        make: Any = Client
        assert isinstance(choose(cluster), DaskExecutor)
        with make(cluster, set_as_default=False) as client:
            assert isinstance(choose(client), DaskExecutor)
        assert isinstance(choose("tls://host:8786"), DaskExecutor)

    def test_an_executor_is_itself(self) -> None:
        executor = choose("sync")
        assert choose(executor) is executor

    def test_numbers(self) -> None:
        assert choose("threads:3").slots == 3
        assert choose("threads").slots >= 1
        assert "workers=5" in repr(choose("processes:5"))

    @pytest.mark.parametrize(
        "spec",
        ["", "thread", "threads:", "threads:0", "threads:-1", "threads:²", "sync:2", "processes:many", 3, object],
    )
    def test_anything_else_is_answered_with_a_list(self, spec: Any) -> None:
        with pytest.raises(ValueError, match=r"is not an executor. Taken are: 'sync', 'threads'"):
            choose(spec)
