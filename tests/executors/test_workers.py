"""Workers die: one in the middle of its tasks, or all of them at once until others come."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import dask
import pytest
from dask._task_spec import Task, TaskRef

from dataflow_executors import Channel, DaskExecutor, Done, Starved, session
from tests.executors.bodies import add, fragment, read_blob, wait_for, wait_for_slots, where
from tests.executors.conftest import Mailbox
from tests.executors.programs import programs


def note(channel: Channel, name: str, gate: Path | None, *after: object) -> str:
    channel.send((name, os.getpid()))
    if gate is not None:
        wait_for(gate)
    return name


def test_only_what_ran_on_a_dead_worker_runs_again(
    dask_executor: DaskExecutor, mailbox: Mailbox, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    wait_for_slots(dask_executor, 2)
    dask_executor.submit(fragment(1, *(Task(f"h{i}", note, dask_executor.channel, f"h{i}", gate) for i in range(2))))
    (first, pid), (second, other) = mailbox.sent(), mailbox.sent()
    assert pid != other
    os.kill(pid, signal.SIGKILL)
    again, elsewhere = mailbox.sent()
    assert again == first
    assert elsewhere != pid
    gate.touch()
    assert mailbox.done(1) == Done(1, {})
    assert sorted(name for name, _ in mailbox.payloads()) == sorted([first, first, second])


class TestAllWorkers:
    def test_a_second_death_does_not_close_the_nanny(self, mailbox: Mailbox, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        executor = DaskExecutor(workers=1)
        executor.start(mailbox.post)
        executor.submit(fragment(1, Task("h", note, executor.channel, "h", gate), keep="h"))
        # Some time after a death Dask looks for a successor of the worker: here, before that can be there.
        with dask.config.set({"distributed.deploy.lost-worker-timeout": "50 ms"}):
            os.kill(mailbox.sent()[1], signal.SIGKILL)
            mailbox.sent()
        gate.touch()
        assert mailbox.done(1) == Done(1, {})
        executor.close()

    def test_a_worker_that_nobody_brings_back_is_started_anew(self, mailbox: Mailbox, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        executor = DaskExecutor(workers=1)
        executor.start(mailbox.post)
        executor.submit(fragment(1, Task("h", note, executor.channel, "h", gate), keep="h"))
        mailbox.sent()
        cluster: Any = executor._session._connection.cluster  # type: ignore[union-attr]
        cluster.sync(cluster.workers[0].close)
        mailbox.sent()
        gate.touch()
        assert mailbox.done(1) == Done(1, {})
        executor.close()

    def test_die_and_others_come(self, mailbox: Mailbox, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        with programs() as town:
            town.scheduler()
            worker = town.worker(threads=2)
            executor = DaskExecutor(town.address)
            executor.start(mailbox.post)
            executor.ship({"blob": b"b"})
            wait_for_slots(executor, 2)
            executor.submit(
                fragment(
                    1,
                    Task("a", note, executor.channel, "a", None),
                    Task("h", note, executor.channel, "h", gate, TaskRef("a")),
                    Task("b", read_blob, "blob"),
                    Task("c", add, 1, 2),
                    keep="a h b c",
                )
            )
            while mailbox.sent()[0] != "h":
                pass
            town.kill(worker)
            assert mailbox.get() == Starved("no workers")
            executor.submit(fragment(2, Task("d", where, executor.channel, "d"), keep="d"))  # waits, too
            gate.touch()
            town.worker()
            assert mailbox.done(1) == Done(1, {})
            assert mailbox.done(2) == Done(2, {})
            told = [message for message in mailbox.seen if isinstance(message, Starved)]
            assert told == [Starved("no workers"), Starved("")]
            values = executor.fetch(["a", "h", "b", "c"])
            assert values == {"a": "a", "h": "h", "b": b"b", "c": 3}
            executor.close()

    def test_a_fragment_that_is_over_waits_no_longer(self, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session, "STARVED_SECONDS", 0.01)
        with programs() as town:
            town.scheduler()
            executor = DaskExecutor(town.address)
            executor.start(mailbox.post)
            assert mailbox.drain(0.3) == []  # nothing is to run
            executor.submit(fragment(1, Task("a", add, 1), keep="a"))
            assert mailbox.get() == Starved("no workers")
            assert executor.slots == 1
            monkeypatch.setattr(session, "STARVED_SECONDS", 1000)
            executor.cancel()
            assert mailbox.get() == Starved("")
            assert set(mailbox.done(1).lost) == {"a"}
            executor.close()
