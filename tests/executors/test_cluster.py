"""What only a cluster can do, or do wrong: fragments in flight, annotations, deaths."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from dask._task_spec import Task, TaskRef

from dataflow_executors import DaskExecutor, Done, Failed, SchedulerLost, Sent
from tests.executors.bodies import add, fragment, hold, read_blob, wait_for, where
from tests.executors.conftest import Mailbox
from tests.executors.programs import programs


def die(*after: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(ledger: Path) -> int:
    with ledger.open("a") as file:
        file.write("x")
    if ledger.stat().st_size == 1:
        die()
    return os.getpid()


def workers_of(cluster: Any) -> list[Any]:
    return list(cluster.workers.values())


class TestInFlight:
    def test_a_fragment_on_top_of_one_that_still_runs(
        self, dask_executor: DaskExecutor, mailbox: Mailbox, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        dask_executor.submit(fragment(1, Task("a", wait_for, gate), keep="a"))
        dask_executor.submit(fragment(2, Task("b", add, TaskRef("a"), 1), keep="b"))
        dask_executor.submit(fragment(3, Task("c", add, TaskRef("a"), TaskRef("b")), keep="c"))
        assert mailbox.drain(0.2) == []
        gate.touch()
        assert mailbox.done(3) == Done(3, {})
        assert dask_executor.fetch("abc") == {"a": 1, "b": 2, "c": 3}

    def test_a_small_one_does_not_overtake_a_large_one(self, dask_executor: DaskExecutor, mailbox: Mailbox) -> None:
        tasks = [Task("t-0", add, 1), *(Task(f"t-{i}", add, TaskRef("t-0"), i) for i in range(1, 1000))]
        dask_executor.submit(fragment(1, *tasks, keep="t-999"))
        dask_executor.submit(fragment(2, Task("b", add, TaskRef("t-999"), 1), keep="b"))
        assert mailbox.done(2) == Done(2, {})
        assert dask_executor.fetch("b") == {"b": 1001}
        assert mailbox.done(1) == Done(1, {})

    def test_on_top_of_one_that_is_lost(self, dask_executor: DaskExecutor, mailbox: Mailbox, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        dask_executor.submit(fragment(1, Task("a", wait_for, gate), Task("bad", divmod, 1, 0), keep="a bad"))
        dask_executor.submit(fragment(2, Task("b", add, TaskRef("bad")), Task("c", add, TaskRef("a"))))
        gate.touch()
        lost = mailbox.done(2).lost
        assert set(lost) == {"b"}
        assert isinstance(lost["b"], ZeroDivisionError)
        assert set(mailbox.done(1).lost) == {"bad"}

    def test_released_while_it_runs(self, dask_executor: DaskExecutor, mailbox: Mailbox, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        dask_executor.submit(fragment(1, Task("a", wait_for, gate), keep="a"))
        dask_executor.release(["a"])
        time.sleep(0.1)
        gate.touch()
        assert mailbox.done(1) == Done(1, {})
        assert dask_executor.fetch("a") == {}

    def test_leaves_are_freed_before_the_fragment_ends(
        self, dask_executor: DaskExecutor, mailbox: Mailbox, tmp_path: Path, cluster: Any
    ) -> None:
        gate = tmp_path / "gate"
        slow = Task("z", hold, dask_executor.channel, "z", gate)
        quick = [Task(f"t{i}", add, i) for i in range(20)]
        one, two = ([worker.worker_address] for worker in workers_of(cluster))
        noted = {"z": {"workers": one}, **{str(task.key): {"workers": two} for task in quick}}
        dask_executor.submit(fragment(1, slow, *quick, noted=noted))
        assert mailbox.sent()[0] == "z"
        until = time.monotonic() + 10
        while len(cluster.scheduler.tasks) > 1 and time.monotonic() < until:
            time.sleep(0.05)
        assert set(cluster.scheduler.tasks) == {"z"}
        gate.touch()
        assert mailbox.done(1) == Done(1, {})


class TestAnnotations:
    def test_resources(self, dask_executor: DaskExecutor, mailbox: Mailbox, tmp_path: Path) -> None:
        # Each worker has one license, a task here needs two: it waits, and the others do not.
        noted = {"greedy": {"resources": {"license": 2}}, "modest": {"resources": {"license": 1}}}
        dask_executor.submit(fragment(1, Task("greedy", add, 1), noted=noted))
        dask_executor.submit(fragment(2, Task("modest", add, 1), noted=noted))
        assert mailbox.get() == Done(2, {})
        dask_executor.cancel()
        assert isinstance(mailbox.done(1).lost["greedy"], CancelledError)

    def test_workers(self, dask_executor: DaskExecutor, mailbox: Mailbox, cluster: Any) -> None:
        chosen = workers_of(cluster)[1]
        names = [f"t{i}" for i in range(6)]
        tasks = [Task(name, where, dask_executor.channel, name) for name in names]
        dask_executor.submit(fragment(1, *tasks, noted={name: {"workers": [chosen.worker_address]} for name in names}))
        mailbox.done(1)
        assert {pid for _, pid in mailbox.payloads()} == {chosen.pid}

    def test_priority(self, dask_executor: DaskExecutor, mailbox: Mailbox, tmp_path: Path, cluster: Any) -> None:
        gate = tmp_path / "gate"
        blocked = [Task(f"block{i}", hold, dask_executor.channel, f"block{i}", gate) for i in range(2)]
        names = [f"t{i}" for i in range(8)]
        queue = [Task(name, where, dask_executor.channel, name) for name in names]
        one = [workers_of(cluster)[0].worker_address]
        dask_executor.submit(fragment(1, *blocked))
        mailbox.sent(), mailbox.sent()
        noted = {f"t{i}": {"priority": i, "workers": one} for i in range(8)}
        dask_executor.submit(fragment(2, *queue, noted=noted))
        time.sleep(0.3)
        gate.touch()
        mailbox.done(2)
        assert [name for name, _ in mailbox.payloads() if name in names] == names[::-1]


class TestDeaths:
    def test_dask_reruns_what_a_dead_worker_had(
        self, dask_executor: DaskExecutor, mailbox: Mailbox, tmp_path: Path
    ) -> None:
        dask_executor.ship({"blob": b"still here"})
        ledger = tmp_path / "ledger"
        once = Task("a", die_once, ledger)
        dask_executor.submit(fragment(1, once, Task("b", add, TaskRef("a"), 0), keep="b"))
        assert mailbox.done(1) == Done(1, {})
        assert ledger.read_text() == "xx"
        # The worker that came instead has the blobs and the channel.
        dask_executor.submit(fragment(2, *(Task(f"r{i}", read_blob, "blob") for i in range(10))))
        dask_executor.submit(fragment(3, *(Task(f"w{i}", where, dask_executor.channel, f"w{i}") for i in range(10))))
        assert mailbox.done(2) == Done(2, {})
        assert mailbox.done(3) == Done(3, {})
        assert len(mailbox.payloads()) == 10

    def test_a_task_that_always_kills_is_named(self, dask_executor: DaskExecutor, mailbox: Mailbox) -> None:
        from distributed import KilledWorker

        dask_executor.submit(fragment(1, Task("killer", die), Task("after", add, TaskRef("killer"))))
        lost = mailbox.done(1).lost
        assert set(lost) == {"after"}
        error = lost["after"]
        assert isinstance(error, KilledWorker)
        assert error.task == "killer"

    def test_a_lost_scheduler_is_told(self, mailbox: Mailbox) -> None:
        with programs() as town:
            scheduler, address = town.scheduler(), town.address
            executor, idle, idle_mailbox = DaskExecutor(address), DaskExecutor(address), Mailbox()
            executor.start(mailbox.post)
            idle.start(idle_mailbox.post)
            executor.submit(fragment(1, Task("a", add, 1), keep="a"))  # waits for a worker
            executor.submit(fragment(2, Task("b", add, 1)))
            assert mailbox.drain(0.3) == []
            scheduler.kill()
            for box in (mailbox, idle_mailbox):
                message = box.get()
                assert isinstance(message, Failed)
                assert isinstance(message.error, SchedulerLost)
                assert address in str(message.error)
            with pytest.raises(SchedulerLost, match="resume the run"):
                executor.submit(fragment(3, Task("c", add, 1)))
            with pytest.raises(SchedulerLost):
                executor.fetch(["a"])
            executor.cancel()
            executor.close()
            idle.close(now=True)
            assert mailbox.drain(0.2) == []


def test_messages_of_running_tasks_come_after_cancel(
    dask_executor: DaskExecutor, mailbox: Mailbox, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    task = Task("a", hold, dask_executor.channel, "a", gate)
    dask_executor.submit(fragment(1, task, Task("b", add, TaskRef("a"))))
    first = mailbox.get()
    assert isinstance(first, Sent)
    dask_executor.cancel()
    assert mailbox.drain(0.5) == []
    gate.touch()
    assert set(mailbox.done(1).lost) == {"b"}
