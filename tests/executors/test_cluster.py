"""What only a cluster can do, or do wrong: deaths, connections, annotations, processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from dask._task_spec import Task, TaskRef

from dataflow_executors import (
    Channel,
    ClusterFailed,
    DaskExecutor,
    Done,
    Executor,
    Failed,
    Fragment,
    SchedulerLost,
    Sent,
    UnknownExecutor,
    Unreachable,
    blobs,
    choose,
    connect,
    session,
)
from tests.executors.conftest import Mailbox

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "executors", "storage"))}


def add(*numbers: int) -> int:
    return sum(numbers)


def wait_for(gate: Path, *after: object) -> int:
    until = time.monotonic() + 20
    while not gate.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return 1


def hold(channel: Channel, name: str, gate: Path) -> str:
    channel.send((name, os.getpid()))
    wait_for(gate)
    return name


def die(*after: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(ledger: Path) -> int:
    with ledger.open("a") as file:
        file.write("x")
    if ledger.stat().st_size == 1:
        die()
    return os.getpid()


def where(channel: Channel, name: str) -> int:
    channel.send((name, os.getpid()))
    time.sleep(0.05)
    return os.getpid()


def read_blob(digest: str) -> bytes:
    return blobs.get(digest)


def fragment(
    number: int, *tasks: Task, keep: str = "", noted: Mapping[str, Mapping[str, object]] | None = None
) -> Fragment:
    return Fragment(
        id=number,
        tasks={str(task.key): task for task in tasks},
        keep=frozenset(keep.split()),
        annotations=noted or {},
    )


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
        with scheduler_alone() as (scheduler, address):
            executor, idle, idle_mailbox = DaskExecutor(address), DaskExecutor(address), Mailbox()
            executor.start(mailbox.post)
            idle.start(idle_mailbox.post)
            executor.submit(fragment(1, Task("a", add, 1), keep="a"))  # waits for a worker
            executor.submit(fragment(2, Task("b", add, 1)))
            assert mailbox.drain(0.3) == []
            begin = time.monotonic()
            scheduler.kill()
            for box in (mailbox, idle_mailbox):
                message = box.get()
                assert isinstance(message, Failed)
                assert isinstance(message.error, SchedulerLost)
                assert address in str(message.error)
            assert time.monotonic() - begin < 5
            with pytest.raises(SchedulerLost, match="resume the run"):
                executor.submit(fragment(3, Task("c", add, 1)))
            with pytest.raises(SchedulerLost):
                executor.fetch(["a"])
            executor.cancel()
            executor.close()
            idle.close(now=True)
            assert mailbox.drain(0.2) == []


@contextlib.contextmanager
def scheduler_alone() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler without workers, as a program of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = f"-m dask scheduler --host 127.0.0.1 --port {port} --no-dashboard --dashboard-address 127.0.0.1:0"
    scheduler = subprocess.Popen(
        [sys.executable, *command.split()],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield scheduler, f"tcp://127.0.0.1:{port}"
    finally:
        scheduler.kill()
        scheduler.wait()


class TestWhere:
    def test_nobody_at_the_address(self, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
        assert connect.CONNECT_SECONDS <= 9
        monkeypatch.setattr(connect, "CONNECT_SECONDS", 1.5)
        executor = DaskExecutor("tcp://127.0.0.1:9")
        begin = time.monotonic()
        with pytest.raises(Unreachable, match=r"No Dask scheduler answered at tcp://127\.0\.0\.1:9 .*dask scheduler"):
            executor.start(mailbox.post)
        assert time.monotonic() - begin < 2.5
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

        options = {"n_workers": 0, "processes": False, "threads_per_worker": 3, "dashboard_address": None}
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


def run_something(executor: Executor, mailbox: Mailbox) -> None:
    executor.start(mailbox.post)
    executor.ship({"blob": b"b"})
    executor.submit(fragment(1, Task("a", read_blob, "blob"), keep="a"))
    assert mailbox.done(1) == Done(1, {})
    assert executor.fetch(["a"]) == {"a": b"b"}
    executor.close()


class TestPrograms:
    """In processes of their own, as people run them."""

    def run(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False, **options
        )

    def test_the_end_is_quiet_and_quick(self) -> None:
        ended = self.run("-m", "tests.executors.scripts", "ends")
        assert ended.stderr == ""
        assert ended.stdout.splitlines() == [
            "Done(fragment=1, lost={})",
            "Sent(payload='begins') Sent(payload='begins')",
            "closed True",
        ]
        assert ended.returncode == 0

    def test_ctrl_c_is_left_to_the_driver(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.executors.scripts", "interrupted"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert [*lines, *out.splitlines(keepends=True)] == [
            "Sent(payload='begins')\n",
            "heard [2]\n",
            "Done(fragment=1, lost={}) {'a': 7}\n",
            "closed\n",
        ]
        assert err == ""

    def test_a_script_without_a_guard_is_told(self, tmp_path: Path) -> None:
        script = tmp_path / "mine.py"
        script.write_text(
            "from dataflow_executors import DaskExecutor\n\nexecutor = DaskExecutor(workers=2)\nexecutor.start(print)\n"
        )
        ended = self.run(str(script))
        assert ended.returncode == 1
        last = ended.stderr.splitlines()[-1]
        assert last.startswith(f"dataflow_executors.base.NoMainGuard: {script}, line 4, starts worker processes")
        assert 'if __name__ == "__main__":' in last
        assert ended.stderr.count("NoMainGuard:") == 1

    def test_a_script_without_a_guard_that_starts_it_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "helper.py").write_text(
            "import threading\nfrom dataflow_executors import DaskExecutor\n\ndef go():\n"
            "    thread = threading.Thread(target=DaskExecutor(workers=1).start, args=(print,))\n"
            "    thread.start()\n    thread.join()\n"
        )
        script = tmp_path / "mine.py"
        script.write_text("import helper\n\nhelper.go()\n")
        assert "mine.py, line 3, starts worker processes" in self.run(str(script)).stderr

    def test_import_is_light(self) -> None:
        code = (
            "import sys, dataflow_executors, dataflow_executors.base, dataflow_executors.blobs\n"
            "print(sorted({'dask', 'distributed', 'cloudpickle', 'asyncio'} & set(sys.modules)))"
        )
        assert self.run("-c", code).stdout == "[]\n"


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
