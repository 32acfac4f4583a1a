"""Whether a task that still runs may leave anything behind: its channel knows whether its executor is still on."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dask._task_spec import Task

from dataflow_executors import Channel, DaskExecutor, Done, Executor, session
from dataflow_executors.worker import TopicChannel
from tests.executors.bodies import fragment, seen_by, wait_for, wait_for_slots, watch
from tests.executors.conftest import Mailbox
from tests.executors.programs import programs


def ask(channel: Channel) -> bool:
    return channel.is_open()


def ask_beside(channel: Channel) -> bool:
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(channel.is_open()))
    thread.start()
    thread.join()
    return seen[0]


class TestOpen:
    def test_for_tasks_and_for_the_driver(self, executor: Executor, mailbox: Mailbox) -> None:
        asks = [Task(f"a{i}", ask, executor.channel) for i in range(4)]
        executor.submit(fragment(1, *asks, Task("b", ask_beside, executor.channel), keep="a0 a1 a2 a3 b"))
        assert mailbox.done(1) == Done(1, {})
        assert set(executor.fetch(["a0", "a1", "a2", "a3", "b"]).values()) == {True}
        assert executor.channel.is_open()
        assert pickle.loads(pickle.dumps(executor.channel)).is_open()

    @pytest.mark.parametrize("now", [True, False])
    def test_not_when_its_executor_is_closed(self, make: Callable[[], Executor], mailbox: Mailbox, now: bool) -> None:
        executor = make()
        executor.start(mailbox.post)
        channel = executor.channel
        executor.close(now=now)
        assert not channel.is_open()
        executor.start(mailbox.post)
        assert not channel.is_open()
        assert executor.channel.is_open()
        executor.close()

    def test_as_long_as_close_waits_for_what_runs(
        self, make: Callable[[], Executor], mailbox: Mailbox, tmp_path: Path
    ) -> None:
        executor = make()
        if executor.inline:
            pytest.skip("nothing runs when somebody closes")
        executor.start(mailbox.post)
        gate = tmp_path / "gate"
        executor.submit(fragment(1, Task("a", say_at_the_gate, executor.channel, gate)))
        assert mailbox.sent() == "begins"
        threading.Timer(0.2, gate.touch).start()
        executor.close()
        assert mailbox.sent() is True

    def test_cancel_leaves_it_open(self, make: Callable[[], Executor], mailbox: Mailbox) -> None:
        executor = make()
        executor.start(mailbox.post)
        executor.cancel()
        assert executor.channel.is_open()
        executor.close()

    def test_a_process_that_never_heard_of_it(self) -> None:
        assert not TopicChannel("dataflow/never").is_open()


class TestShut:
    def test_close_at_once_shuts_it_for_bodies_that_still_run(
        self, make: Callable[[], Executor], mailbox: Mailbox, tmp_path: Path
    ) -> None:
        executor = make()
        if executor.inline:
            pytest.skip("nothing runs when somebody closes")
        executor.start(mailbox.post)
        executor.submit(fragment(1, Task("a", watch, executor.channel, tmp_path / "seen")))
        assert mailbox.sent()[0] == "watches"
        executor.close(now=True)
        assert seen_by(tmp_path / "seen") == "shut"
        assert mailbox.drain(0) == []

    def test_what_is_sent_then_goes_nowhere(
        self, dask_executor: DaskExecutor, mailbox: Mailbox, tmp_path: Path, cluster: Any
    ) -> None:
        gate, closing = tmp_path / "gate", DaskExecutor(cluster)
        closing.start(mailbox.post)
        topic = closing.channel.topic  # type: ignore[attr-defined]
        closing.submit(fragment(1, Task("a", talk_after, closing.channel, gate, tmp_path / "seen")))
        assert mailbox.sent() == "begins"
        closing.close(now=True)
        gate.touch()
        assert seen_by(tmp_path / "seen") == "sent"
        assert cluster.scheduler.get_events(topic) == ()

    def test_a_worker_that_does_not_answer_does_not_keep_others_open(
        self, mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(session, "LEAVE_SECONDS", 0.5)
        with programs() as town:
            town.scheduler()
            town.worker(), town.worker()
            executor = DaskExecutor(town.address)
            executor.start(mailbox.post)
            wait_for_slots(executor, 2)
            files = [tmp_path / "one", tmp_path / "two"]
            executor.submit(fragment(1, *(Task(f"a{file.name}", watch, executor.channel, file) for file in files)))
            pids = [mailbox.sent()[1] for _ in files]
            os.kill(pids[0], signal.SIGSTOP)
            executor.close(now=True)
            wait_for_one_of(files)
            os.kill(pids[0], signal.SIGCONT)
            assert [seen_by(file) for file in files] == ["shut", "shut"]

    def test_the_next_driver_shuts_it_for_one_that_was_killed(
        self, cluster: Any, mailbox: Mailbox, tmp_path: Path
    ) -> None:
        before = set(cluster.scheduler.worker_plugins)
        with programs() as town:
            arguments = (cluster.scheduler_address, str(tmp_path / "seen"), str(tmp_path / "runs"))
            driver = town.start("-m", "tests.executors.scripts", "watched", *arguments)
            wait_for(tmp_path / "runs")
            town.kill(driver)
        assert not (tmp_path / "seen").exists()
        assert set(cluster.scheduler.worker_plugins) > before
        executor = DaskExecutor(cluster)
        executor.start(mailbox.post)
        assert seen_by(tmp_path / "seen") == "shut"
        executor.submit(fragment(1, Task("a", ask, executor.channel), keep="a"))
        assert mailbox.done(1) == Done(1, {})
        assert executor.fetch(["a"]) == {"a": True}
        executor.close()
        assert set(cluster.scheduler.worker_plugins) == before

    def test_it_stays_open_for_drivers_that_live(self, cluster: Any, mailbox: Mailbox, tmp_path: Path) -> None:
        first, second = DaskExecutor(cluster), DaskExecutor(cluster.scheduler_address)
        first.start(mailbox.post)
        second.start(mailbox.post)
        second.submit(fragment(1, Task("a", ask, first.channel), keep="a"))
        mailbox.done(1)
        assert second.fetch(["a"]) == {"a": True}
        second.close()
        first.close()


def say_at_the_gate(channel: Channel, gate: Path) -> None:
    channel.send("begins")
    wait_for(gate)
    channel.send(channel.is_open())


def talk_after(channel: Channel, gate: Path, seen: Path) -> None:
    channel.send("begins")
    wait_for(gate)
    channel.send("too late")
    seen.write_text("sent")


def wait_for_one_of(files: list[Path]) -> None:
    until = time.monotonic() + 20
    while not any(file.exists() for file in files) and time.monotonic() < until:
        time.sleep(0.01)
    assert sum(file.exists() for file in files) == 1
