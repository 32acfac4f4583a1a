"""What the executors of this process promise beyond the contract."""

from __future__ import annotations

import contextvars
import pickle
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
from dask._task_spec import Task, TaskRef

from dataflow_executors import Done, Executor, Fragment, Sent, SyncExecutor, ThreadExecutor
from tests.executors.bodies import ENVIRONMENT
from tests.executors.conftest import Mailbox

WORD = contextvars.ContextVar("WORD", default="nobody")


def add(*numbers: int) -> int:
    return sum(numbers)


def interrupt() -> None:
    raise KeyboardInterrupt


class Thing:
    pass


def fragment(number: int, *tasks: Task, keep: str = "") -> Fragment:
    return Fragment(id=number, tasks={str(task.key): task for task in tasks}, keep=frozenset(keep.split()))


class TestSync:
    def test_tasks_run_in_the_callers_thread(self, mailbox: Mailbox) -> None:
        executor = SyncExecutor()
        executor.start(mailbox.post)
        executor.submit(fragment(1, Task("a", threading.get_ident), keep="a"))
        assert mailbox.seen == []  # posted, though nobody has read it yet
        assert executor.fetch("a") == {"a": threading.get_ident()}
        executor.close()

    def test_ctrl_c_goes_to_the_caller_after_done(self, mailbox: Mailbox) -> None:
        executor = SyncExecutor()
        executor.start(mailbox.post)
        with pytest.raises(KeyboardInterrupt):
            executor.submit(fragment(1, Task("a", interrupt), Task("b", add, TaskRef("a"), 1)))
        assert set(mailbox.done(1).lost) == {"b"}
        executor.close()

    def test_pdb_works(self, tmp_path: Path) -> None:
        script = tmp_path / "debugged.py"
        script.write_text(
            "from dask._task_spec import Task\n"
            "from dataflow_executors import Fragment, SyncExecutor\n"
            "def body(secret):\n"
            "    breakpoint()\n"
            "    return secret\n"
            "executor = SyncExecutor()\n"
            "executor.start(print)\n"
            "executor.submit(Fragment(id=1, tasks={'a': Task('a', body, 4242)}))\n"
        )
        ended = subprocess.run(
            [sys.executable, str(script)],
            env=ENVIRONMENT,
            input="p secret + 1\nc\n",
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert "4243" in ended.stdout
        assert ended.stdout.endswith("Done(fragment=1, lost={})\n")


class TestThreads:
    def test_a_keyboard_interrupt_of_a_body_stays_in_its_task(self, mailbox: Mailbox) -> None:
        executor = ThreadExecutor(1)
        executor.start(mailbox.post)
        executor.submit(fragment(1, Task("a", interrupt)))
        assert isinstance(mailbox.done(1).lost["a"], KeyboardInterrupt)
        executor.close()

    def test_one_pool_for_all_fragments(self, mailbox: Mailbox) -> None:
        executor = ThreadExecutor(3)
        executor.start(mailbox.post)
        running, most, lock = 0, 0, threading.Lock()

        def body() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.005)
            with lock:
                running -= 1

        for number in range(6):
            executor.submit(fragment(number, *(Task(f"{number}-{i}", body) for i in range(10))))
        for number in range(6):
            assert mailbox.done(number) == Done(number, {})
        assert most == 3
        executor.close()

    def test_tasks_see_context_variables_of_the_caller_and_not_of_each_other(self, mailbox: Mailbox) -> None:
        executor = ThreadExecutor(1)
        executor.start(mailbox.post)

        def swap(word: str) -> str:
            before = WORD.get()
            WORD.set(word)
            return before

        token = WORD.set("caller")
        executor.submit(fragment(1, *(Task(f"t{i}", swap, f"t{i}") for i in range(3)), keep="t0 t1 t2"))
        WORD.reset(token)
        mailbox.done(1)
        assert set(executor.fetch(["t0", "t1", "t2"]).values()) == {"caller"}
        executor.close()

    def test_cancel_of_a_large_fragment_runs_no_more_of_it(self, mailbox: Mailbox) -> None:
        executor = ThreadExecutor(2)
        executor.start(mailbox.post)
        gate = threading.Event()

        def body() -> None:
            executor.channel.send("runs")
            gate.wait()

        executor.submit(fragment(1, *(Task(f"t{i}", body) for i in range(20_000))))
        mailbox.sent(), mailbox.sent()
        executor.cancel()
        gate.set()
        assert len(mailbox.done(1).lost) == 19_998
        assert mailbox.payloads() == ["runs", "runs"]
        executor.close()

    def test_a_body_that_hangs_does_not_hold_the_interpreter(self, tmp_path: Path) -> None:
        script = tmp_path / "hanging.py"
        script.write_text(
            "import threading, time\n"
            "from dask._task_spec import Task\n"
            "from dataflow_executors import Fragment, ThreadExecutor\n"
            "begun = threading.Event()\n"
            "def body():\n"
            "    begun.set()\n"
            "    time.sleep(600)\n"
            "executor = ThreadExecutor(2)\n"
            "executor.start(print)\n"
            "executor.submit(Fragment(id=1, tasks={'a': Task('a', body)}))\n"
            "begun.wait()\n"
            "executor.close(now=True)\n"
        )
        subprocess.run([sys.executable, str(script)], env=ENVIRONMENT, timeout=30, check=True)

    @pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
    def test_a_number_of_threads_that_is_none(self, threads: int) -> None:
        with pytest.raises(ValueError, match="threads="):
            ThreadExecutor(threads)


@pytest.mark.parametrize("kind", [SyncExecutor, ThreadExecutor])
def test_values_live_no_longer_than_somebody_needs_them(kind: type[Executor], mailbox: Mailbox) -> None:
    executor = kind()
    executor.start(mailbox.post)
    alive: dict[str, weakref.ref[Thing]] = {}

    def create(name: str) -> Thing:
        thing = Thing()
        alive[name] = weakref.ref(thing)
        return thing

    def look(thing: Thing) -> list[str]:
        return sorted(name for name, ref in alive.items() if ref() is not None)

    executor.submit(
        fragment(
            1,
            Task("leaf", create, "leaf"),
            Task("kept", create, "kept"),
            Task("middle", create, "middle"),
            Task("after", look, TaskRef("middle")),
            keep="kept after",
        )
    )
    mailbox.done(1)
    until = time.monotonic() + 2  # a coordinator may be on its last lines
    while [name for name, ref in alive.items() if ref()] != ["kept"] and time.monotonic() < until:
        time.sleep(0.01)
    assert [name for name, ref in alive.items() if ref()] == ["kept"]
    executor.release(["kept"])
    assert alive["kept"]() is None
    executor.close()


def test_a_channel_means_nothing_in_another_process(mailbox: Mailbox) -> None:
    executor = SyncExecutor()
    executor.start(mailbox.post)
    data = pickle.dumps(executor.channel)
    code = f"import pickle; pickle.loads({data!r})"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=30, check=False
    )
    assert "is not alive in this process" in ended.stderr
    channel = executor.channel
    channel.send(1)
    executor.close()
    channel.send(2)
    assert mailbox.drain(0.05) == [Sent(1)]
