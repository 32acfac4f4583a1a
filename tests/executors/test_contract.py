"""What every executor does alike: one body of tests, run over all of them."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from dask._task_spec import List, Task, TaskRef

from dataflow_executors import (
    AlreadyStarted,
    BlobMissing,
    Channel,
    Done,
    Executor,
    Fragment,
    NotStarted,
    Sent,
    UnknownKeys,
    blobs,
)
from dataflow_executors.base import Key
from tests.executors.bodies import wait_for
from tests.executors.conftest import Mailbox


def add(*numbers: int) -> int:
    return sum(numbers)


def nothing() -> None:
    return None


def total(numbers: list[int]) -> int:
    return sum(numbers)


def fail(message: str) -> None:
    raise RuntimeError(message)


def leave() -> None:
    raise SystemExit(3)


def write(folder: Path, name: str, *after: object) -> str:
    """Leave one line for each time that this ran."""
    with (folder / name).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return name


def talk(channel: Channel, name: str, count: int, *after: object) -> str:
    for number in range(count):
        channel.send((name, number))
    return name


def talk_beside(channel: Channel, name: str) -> None:
    thread = threading.Thread(target=channel.send, args=(name,))
    thread.start()
    thread.join()


def announce_and_wait(channel: Channel, name: str, gate: Path) -> str:
    """Say that it runs, wait until the gate stands, say that it ends."""
    channel.send((name, "begins"))
    until = time.monotonic() + 20
    while not gate.exists() and time.monotonic() < until:
        time.sleep(0.01)
    channel.send((name, "ends"))
    return name


def read_blob(digest: str) -> bytes:
    return blobs.get(digest)


def fragment(number: int, *tasks: Task, keep: str = "") -> Fragment:
    return Fragment(id=number, tasks={str(task.key): task for task in tasks}, keep=frozenset(keep.split()))


class TestValues:
    def test_kept_values_are_fetched_and_others_are_not(self, executor: Executor, mailbox: Mailbox) -> None:
        executor.submit(
            fragment(
                1, Task("a", add, 1, 2), Task("b", add, TaskRef("a"), 4), Task("c", add, TaskRef("b"), 8), keep="b"
            )
        )
        assert mailbox.done(1) == Done(1, {})
        assert executor.fetch(["a", "b", "c", "never"]) == {"b": 7}

    def test_none_is_a_value(self, executor: Executor, mailbox: Mailbox) -> None:
        executor.submit(fragment(1, Task("a", nothing), keep="a"))
        assert mailbox.done(1) == Done(1, {})
        assert executor.fetch(["a"]) == {"a": None}

    def test_later_fragments_take_kept_values(self, executor: Executor, mailbox: Mailbox) -> None:
        executor.submit(fragment(1, Task("a", add, 1), Task("b", add, TaskRef("a"), 1), keep="a b"))
        mailbox.done(1)
        executor.submit(
            fragment(
                2, Task("c", add, TaskRef("a"), TaskRef("b")), Task("d", add, TaskRef("c"), TaskRef("a")), keep="d"
            )
        )
        assert mailbox.done(2) == Done(2, {})
        assert executor.fetch(["d"]) == {"d": 4}

    def test_a_kept_value_inside_a_list(self, executor: Executor, mailbox: Mailbox) -> None:
        executor.submit(fragment(1, Task("a", add, 1), keep="a"))
        mailbox.done(1)
        executor.submit(
            fragment(2, Task("b", add, 2), Task("c", total, List(TaskRef("a"), TaskRef("b"), 4)), keep="c"),
        )
        mailbox.done(2)
        assert executor.fetch(["c"]) == {"c": 7}

    def test_released_keys_are_gone(self, executor: Executor, mailbox: Mailbox) -> None:
        executor.submit(fragment(1, Task("a", add, 1), Task("b", add, 2), keep="a b"))
        mailbox.done(1)
        executor.release(["a", "never"])
        assert executor.fetch(["a", "b"]) == {"b": 2}
        with pytest.raises(UnknownKeys, match=r"Fragment 2 depends on 1 keys that are not kept here: 'a'"):
            executor.submit(fragment(2, Task("c", add, TaskRef("a"))))

    def test_unknown_keys_are_refused_by_name(self, executor: Executor) -> None:
        with pytest.raises(LookupError, match="'never'"):
            executor.submit(fragment(1, Task("c", add, TaskRef("never"))))

    def test_a_fragment_of_nothing(self, executor: Executor, mailbox: Mailbox) -> None:
        executor.submit(fragment(1))
        assert mailbox.done(1) == Done(1, {})

    def test_wide_and_deep(self, executor: Executor, mailbox: Mailbox) -> None:
        wide = [Task(f"w{i}", add, i) for i in range(500)]
        join = Task("join", total, List(*(TaskRef(f"w{i}") for i in range(500))))
        deep = [Task(f"d{i}", add, TaskRef(f"d{i - 1}" if i else "join"), 1) for i in range(200)]
        executor.submit(fragment(1, *wide, join, *deep, keep="join d199"))
        assert mailbox.done(1) == Done(1, {})
        assert executor.fetch(["join", "d199"]) == {"join": 124750, "d199": 124950}

    def test_each_body_runs_once(self, executor: Executor, mailbox: Mailbox, tmp_path: Path) -> None:
        tasks = [Task(f"t{i}", write, tmp_path, f"t{i}", *([TaskRef(f"t{i // 2}")] if i else [])) for i in range(30)]
        executor.submit(fragment(1, *tasks, keep="t0 t7"))
        mailbox.done(1)
        executor.submit(fragment(2, Task("more", write, tmp_path, "more", TaskRef("t7"))))
        mailbox.done(2)
        lines = {path.name: len(path.read_text().splitlines()) for path in tmp_path.iterdir() if path.is_file()}
        assert lines == dict.fromkeys([*(f"t{i}" for i in range(30)), "more"], 1)


class TestLost:
    def test_a_task_that_raises_costs_only_its_descendants(
        self, executor: Executor, mailbox: Mailbox, tmp_path: Path
    ) -> None:
        executor.submit(
            fragment(
                1,
                Task("bad", fail, "oh no"),
                Task("after", write, tmp_path, "after", TaskRef("bad")),
                Task("leaf", write, tmp_path, "leaf", TaskRef("after")),
                Task("good", write, tmp_path, "good"),
                Task("mixed", write, tmp_path, "mixed", TaskRef("good"), TaskRef("bad")),
                Task("fine", write, tmp_path, "fine", TaskRef("good")),
                keep="after fine",
            )
        )
        lost = mailbox.done(1).lost
        assert {key: str(error) for key, error in lost.items()} == dict.fromkeys(("after", "leaf", "mixed"), "oh no")
        assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"good", "fine"}
        assert executor.fetch(["after", "fine"]) == {"fine": "fine"}

    def test_a_graph_that_is_none(self, executor: Executor, mailbox: Mailbox) -> None:
        circle = [Task("a", add, TaskRef("b")), Task("b", add, TaskRef("a")), Task("leaf", add, TaskRef("a"))]
        executor.submit(fragment(1, *circle))
        assert isinstance(mailbox.done(1).lost["leaf"], RuntimeError)

    def test_the_executor_lives_on(self, executor: Executor, mailbox: Mailbox) -> None:
        executor.submit(fragment(1, Task("bad", fail, "oh no")))
        assert isinstance(mailbox.done(1).lost["bad"], RuntimeError)
        executor.submit(fragment(2, Task("a", add, 1), keep="a"))
        assert mailbox.done(2) == Done(2, {})

    def test_system_exit_is_only_an_error(self, make: Callable[[], Executor], mailbox: Mailbox) -> None:
        executor = make()
        if executor.chains:
            pytest.skip("a worker of distributed ends with its task's SystemExit")
        executor.start(mailbox.post)
        executor.submit(fragment(1, Task("bad", leave)))
        assert isinstance(mailbox.done(1).lost["bad"], SystemExit)
        executor.close()


class TestChannel:
    def test_all_that_was_sent_comes_in_order_and_before_done(self, executor: Executor, mailbox: Mailbox) -> None:
        for round_ in range(5):
            talkers = [Task(f"{round_}-{i}", talk, executor.channel, f"{round_}-{i}", 20) for i in range(8)]
            executor.submit(fragment(round_, *talkers))
            mailbox.done(round_)
            assert isinstance(mailbox.seen[-1], Done)
            for i in range(8):
                heard = [number for name, number in mailbox.payloads() if name == f"{round_}-{i}"]
                assert heard == list(range(20))
        assert mailbox.drain(0.1) == []

    def test_what_a_helper_thread_sends_comes_too(self, executor: Executor, mailbox: Mailbox) -> None:
        executor.submit(fragment(1, Task("a", talk_beside, executor.channel, "hello")))
        assert mailbox.sent() == "hello"
        assert mailbox.get() == Done(1, {})

    def test_a_pickled_channel_is_the_same_channel(self, executor: Executor, mailbox: Mailbox) -> None:
        channel: Channel = pickle.loads(pickle.dumps(executor.channel))
        executor.submit(fragment(1, Task("a", talk, channel, "a", 1)))
        assert mailbox.sent() == ("a", 0)
        assert len(pickle.dumps(executor.channel)) < 150

    def test_any_payload(self, executor: Executor, mailbox: Mailbox) -> None:
        payload = {"bytes": b"\x00\xff" * 100_000, "nested": [(1, None), {"ü": 2.5}], "error": ValueError("x").args}
        executor.submit(fragment(1, Task("a", executor.channel.send, payload)))
        assert mailbox.sent() == payload


class TestBlobs:
    def test_they_are_with_tasks_and_here(self, executor: Executor, mailbox: Mailbox) -> None:
        executor.ship({"one": b"1"})
        executor.submit(fragment(1, *(Task(f"a{i}", read_blob, "one") for i in range(4)), keep="a0 a1 a2 a3"))
        mailbox.done(1)
        assert set(executor.fetch(["a0", "a1", "a2", "a3"]).values()) == {b"1"}
        assert blobs.get("one") == b"1"

    def test_more_during_the_run(self, executor: Executor, mailbox: Mailbox) -> None:
        for number in range(6):
            executor.ship({f"n{number}": b"x" * (number + 1), "n0": b"x"})
            executor.submit(fragment(number, *(Task(f"{number}-{i}", read_blob, f"n{i}") for i in range(number + 1))))
            assert mailbox.done(number) == Done(number, {})

    def test_they_go_with_the_executor(self, make: Callable[[], Executor], mailbox: Mailbox) -> None:
        first, second = make(), make()
        first.start(mailbox.post)
        second.start(mailbox.post)
        first.ship({"shared": b"s", "own": b"o"})
        second.ship({"shared": b"s"})
        first.close()
        assert blobs.get("shared") == b"s"
        with pytest.raises(KeyError, match="No blob 'own' in this process"):
            blobs.get("own")
        second.submit(fragment(1, Task("a", read_blob, "shared"), Task("b", read_blob, "own")))
        lost = mailbox.done(1).lost
        assert set(lost) == {"b"}
        assert isinstance(lost["b"], BlobMissing)
        second.close()
        with pytest.raises(BlobMissing):
            blobs.get("shared")


class TestCancel:
    def test_what_runs_finishes_and_nothing_else_starts(
        self, executor: Executor, mailbox: Mailbox, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        first = [Task(f"r{i}", announce_and_wait, executor.channel, f"r{i}", gate) for i in range(8)]
        then = [Task(f"s{i}", write, tmp_path, f"s{i}", TaskRef(f"r{i}")) for i in range(8)]
        other = [Task("x", announce_and_wait, executor.channel, "x", gate), Task("y", add, 1)]

        def stop() -> None:
            while len([p for p in mailbox.payloads() if p[1] == "begins"]) < executor.slots:
                mailbox.get()
            executor.cancel()
            time.sleep(0.3)  # if something was going to start, it would now
            assert [m for m in mailbox.seen if isinstance(m, Done)] == []
            gate.touch()

        stopper = threading.Thread(target=stop)
        stopper.start()
        executor.submit(fragment(1, *first, *then, keep="r0 r1"))
        stopper.join()
        done = mailbox.done(1)
        begun = {name for name, what in mailbox.payloads() if what == "begins"}
        ended = {name for name, what in mailbox.payloads() if what == "ends"}
        assert len(begun) == executor.slots
        assert ended == begun
        assert set(done.lost) >= {f"s{i}" for i in range(8)}
        assert all(isinstance(error, CancelledError) for error in done.lost.values())
        assert [path for path in tmp_path.iterdir() if path.name.startswith("s")] == []
        executor.submit(fragment(2, *other))
        assert set(mailbox.done(2).lost) == {"x", "y"}

    def test_values_of_finished_fragments_stay(self, executor: Executor, mailbox: Mailbox) -> None:
        executor.submit(fragment(1, Task("a", add, 1), keep="a"))
        mailbox.done(1)
        executor.cancel()
        assert executor.fetch(["a"]) == {"a": 1}

    def test_twice_and_with_nothing_to_cancel(self, executor: Executor) -> None:
        executor.cancel()
        executor.cancel()


def wait_and_leave_a_mark(channel: Channel, gate: Path, mark: Path) -> None:
    announce_and_wait(channel, "a", gate)
    mark.touch()


class TestLife:
    def test_not_started(self, make: Callable[[], Executor]) -> None:
        executor = make()
        assert "not started" in repr(executor)
        calls: list[tuple[str, Callable[[], object]]] = [
            ("channel", lambda: executor.channel),
            ("ship", lambda: executor.ship({})),
            ("submit", lambda: executor.submit(fragment(1))),
        ]
        for name, call in calls:
            with pytest.raises(NotStarted, match=rf"{name}.* was called on .*Call start\(post\) first"):
                call()
        executor.cancel()
        executor.close()

    def test_started_twice(self, executor: Executor, mailbox: Mailbox) -> None:
        with pytest.raises(AlreadyStarted, match="already in use"):
            executor.start(mailbox.post)

    def test_closed_and_started_again(self, make: Callable[[], Executor], mailbox: Mailbox) -> None:
        executor = make()
        executor.start(mailbox.post)
        executor.submit(fragment(1, Task("a", add, 1), keep="a"))
        mailbox.done(1)
        executor.close()
        executor.close()
        with pytest.raises(NotStarted):
            executor.submit(fragment(2))
        again = Mailbox()
        executor.start(again.post)
        assert executor.fetch(["a"]) == {}
        executor.submit(fragment(1, Task("b", talk, executor.channel, "b", 1)))
        assert again.sent() == ("b", 0)
        assert again.get() == Done(1, {})
        executor.close(now=True)

    def test_close_waits_for_what_runs(self, make: Callable[[], Executor], mailbox: Mailbox, tmp_path: Path) -> None:
        executor = make()
        executor.start(mailbox.post)
        if executor.inline:
            executor.close()
            return
        gate = tmp_path / "gate"
        slots = executor.slots
        slow = [Task(f"a{i}", announce_and_wait, executor.channel, f"a{i}", gate) for i in range(slots + 3)]
        executor.submit(fragment(1, *slow))
        begun = [name for name, _ in (mailbox.sent() for _ in range(slots))]
        threading.Timer(0.3, gate.touch).start()
        executor.close()
        *ends, done = mailbox.drain(0)
        assert {message.payload for message in ends if isinstance(message, Sent)} == {(name, "ends") for name in begun}
        assert isinstance(done, Done)

    def test_close_at_once_says_nothing_more(
        self, make: Callable[[], Executor], mailbox: Mailbox, tmp_path: Path
    ) -> None:
        executor = make()
        executor.start(mailbox.post)
        gate, mark = tmp_path / "gate", tmp_path / "mark"
        if not executor.inline:
            executor.submit(fragment(1, Task("a", wait_and_leave_a_mark, executor.channel, gate, mark)))
            assert mailbox.sent() == ("a", "begins")
        executor.close(now=True)
        assert not mark.exists()  # it did not wait for the body
        gate.touch()
        assert executor.inline or (wait_for(mark) and mark.exists())
        assert mailbox.drain(0.3) == []

    def test_fragments_in_flight_at_once(self, executor: Executor, mailbox: Mailbox, tmp_path: Path) -> None:
        if executor.inline:
            pytest.skip("one after another is what it is for")
        gate = tmp_path / "gate"
        executor.submit(fragment(1, Task("slow", announce_and_wait, executor.channel, "slow", gate)))
        assert mailbox.sent() == ("slow", "begins")
        executor.submit(fragment(2, Task("fast", add, 1), keep="fast"))
        assert mailbox.get() == Done(2, {})
        assert executor.fetch(["slow", "fast"]) == {"fast": 1}
        gate.touch()
        assert mailbox.done(1) == Done(1, {})

    def test_slots(self, executor: Executor) -> None:
        assert executor.slots == (1 if executor.inline else 2)
        assert executor.processes is executor.chains
        assert executor.hosts is False


def test_fragment_knows_its_edges() -> None:
    keys: frozenset[Key] = fragment(1, Task("a", add, TaskRef("x")), Task("b", add, TaskRef("a"))).inputs()
    assert keys == {"x"}
