"""The scheduler dies, or the way to it; the same executor object is closed and started again until it works."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask._task_spec import Task
from distributed import Client, SpecCluster
from distributed.deploy.subprocess import SubprocessScheduler, SubprocessWorker

from dataflow_executors import (
    ClusterFailed,
    DaskExecutor,
    Done,
    Failed,
    SchedulerLost,
    Starved,
    Unreachable,
    clients,
    connect,
    session,
)
from tests.executors.bodies import ENVIRONMENT, add, fragment, read_blob, seen_by, watch
from tests.executors.conftest import Mailbox
from tests.executors.programs import network, programs

make_client: Any = Client


class OtherProcesses(SpecCluster):  # type: ignore[misc, unused-ignore]
    """A scheduler and one worker, each a process of its own."""

    def __init__(self) -> None:
        here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        scheduler = {"cls": SubprocessScheduler, "options": {"scheduler_kwargs": {**here, "dashboard": False}}}
        worker = {"cls": SubprocessWorker, "options": {"worker_kwargs": {**here, "nthreads": 1}}}
        init: Any = super().__init__
        init(scheduler=scheduler, workers={0: worker}, silence_logs="CRITICAL")


@contextlib.contextmanager
def impatience() -> Iterator[None]:
    """Do not wait seconds for a scheduler that is known to be away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients, "CONNECT_SECONDS", 0.3)
        patch.setattr(session, "LEAVE_SECONDS", 0.3)
        yield


def held() -> Counter[str]:
    """Threads and open files of this process. What tests before left may still end; what is more is a leak."""
    threads = [thread.name for thread in threading.enumerate()]
    folder = Path("/proc/self/fd")
    links = [str(link.readlink()) for link in folder.iterdir() if link.is_symlink()] if folder.exists() else []
    return Counter(threads + [link for link in links if not link.startswith("/")])


def lost(mailbox: Mailbox) -> None:
    message = mailbox.get()
    while isinstance(message, Starved):
        message = mailbox.get()
    assert isinstance(message, Failed), message
    assert isinstance(message.error, SchedulerLost)


def works(executor: DaskExecutor, mailbox: Mailbox, number: int) -> None:
    executor.ship({"blob": b"b"})
    executor.submit(fragment(number, Task("a", read_blob, "blob"), Task("b", add, 1, 2), keep="a b"))
    assert mailbox.done(number) == Done(number, {})
    assert executor.fetch(["a", "b"]) == {"a": b"b", "b": 3}


class TestAddress:
    def test_a_scheduler_that_is_started_again(self, mailbox: Mailbox, tmp_path: Path) -> None:
        with programs() as town:
            scheduler, _ = town.scheduler(), town.worker()
            executor = DaskExecutor(town.address)
            before = held()
            executor.start(mailbox.post)
            executor.submit(fragment(1, Task("a", watch, executor.channel, tmp_path / "seen")))
            assert mailbox.sent()[0] == "watches"
            town.kill(scheduler)
            lost(mailbox)
            executor.close(now=True)
            assert not held() - before
            assert seen_by(tmp_path / "seen") == "shut"  # its worker has given up the scheduler, too
            for _ in range(3):
                with impatience(), pytest.raises(Unreachable, match=town.address):
                    executor.start(mailbox.post)
                assert not held() - before
            town.scheduler(), town.worker()
            executor.start(mailbox.post)
            works(executor, mailbox, 2)
            executor.close()
            assert not held() - before

    def test_a_scheduler_that_hangs(self, mailbox: Mailbox) -> None:
        with programs() as town:
            scheduler = town.scheduler()
            executor = DaskExecutor(town.address)
            before = held()
            executor.start(mailbox.post)
            os.killpg(scheduler.pid, signal.SIGSTOP)
            with impatience():
                executor.close(now=True)
                assert not held() - before
                with pytest.raises(Unreachable):
                    executor.start(mailbox.post)
            assert not held() - before
            os.killpg(scheduler.pid, signal.SIGCONT)
            executor.start(mailbox.post)
            executor.close()

    def test_the_network_is_cut_and_mended(self, mailbox: Mailbox, tmp_path: Path) -> None:
        with programs() as town, network(town.port) as net:
            town.scheduler(), town.worker()
            executor = DaskExecutor(net.address)
            executor.start(mailbox.post)
            executor.submit(fragment(1, Task("a", watch, executor.channel, tmp_path / "seen")))
            assert mailbox.sent()[0] == "watches"
            net.cut()
            lost(mailbox)
            executor.close(now=True)
            with impatience(), pytest.raises(Unreachable):
                executor.start(mailbox.post)
            assert not (tmp_path / "seen").exists()  # cluster and worker have noticed nothing
            net.mend()
            executor.start(mailbox.post)
            works(executor, mailbox, 2)
            assert seen_by(tmp_path / "seen") == "shut"
            executor.close()


class TestClient:
    def test_one_that_connects_again(self, mailbox: Mailbox, tmp_path: Path) -> None:
        with programs() as town, network(town.port) as net:
            town.scheduler(), town.worker()
            with make_client(net.address, set_as_default=False, timeout=30) as client:
                executor = DaskExecutor(client)
                executor.start(mailbox.post)
                executor.submit(fragment(1, Task("a", watch, executor.channel, tmp_path / "seen")))
                assert mailbox.sent()[0] == "watches"
                net.cut()
                lost(mailbox)
                executor.close(now=True)
                with impatience(), pytest.raises(Unreachable, match="the client tries to connect again"):
                    executor.start(mailbox.post)
                net.mend()
                start_again(executor, mailbox)
                works(executor, mailbox, 2)
                # The client has the name that it had, and yet its former run is over.
                assert seen_by(tmp_path / "seen") == "shut"
                executor.close()
                assert client.submit(add, 1, 2).result() == 3
            with pytest.raises(ClusterFailed, match="not connected"):
                executor.start(mailbox.post)

    def test_one_that_is_closed_while_it_tries_to_connect(self, mailbox: Mailbox) -> None:
        with programs() as town:
            scheduler = town.scheduler()
            client = make_client(town.address, set_as_default=False, timeout=30)
            executor = DaskExecutor(client)
            executor.start(mailbox.post)
            town.kill(scheduler, signal.SIGTERM)
            lost(mailbox)
            executor.close(now=True)
            threading.Timer(0.3, client.close).start()
            with pytest.raises(ClusterFailed, match="was closed"):
                executor.start(mailbox.post)


class TestCluster:
    def test_an_object_whose_scheduler_died(self, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
        cluster = OtherProcesses()
        executor = DaskExecutor(cluster)
        executor.start(mailbox.post)
        works(executor, mailbox, 1)
        scheduler: Any = cluster.scheduler
        os.kill(scheduler.process.pid, signal.SIGKILL)
        lost(mailbox)
        executor.close(now=True)
        before = held()
        with impatience(), pytest.raises(Unreachable):
            executor.start(mailbox.post)
        assert not held() - before
        with connect.orphaned(cluster):
            cluster.close()
        with pytest.raises(ClusterFailed, match="it is closed"):
            executor.start(mailbox.post)

    def test_a_class_makes_a_new_one(self, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
        made: list[Any] = []

        class Noted(OtherProcesses):
            def __init__(self) -> None:
                super().__init__()
                made.append(self)

        executor = DaskExecutor(Noted)
        executor.start(mailbox.post)
        works(executor, mailbox, 1)
        os.kill(made[0].scheduler.process.pid, signal.SIGKILL)
        lost(mailbox)
        executor.close(now=True)
        executor.start(mailbox.post)
        works(executor, mailbox, 2)
        executor.close(now=True)
        assert [cluster.status.name for cluster in made] == ["closed", "closed"]


def start_again(executor: DaskExecutor, mailbox: Mailbox) -> None:
    """As a driver does it: again and again."""
    until = time.monotonic() + 20
    while True:
        try:
            executor.start(mailbox.post)
        except ConnectionError:
            assert time.monotonic() < until
        else:
            return
