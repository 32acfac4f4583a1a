"""Scripts that are run as programs of their own: what a terminal, or a newcomer, does to an executor."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from dask._task_spec import Task

from dataflow_executors import Channel, DaskExecutor, Fragment, Message
from tests.executors.bodies import watch


def slow(channel: Channel, seconds: float) -> int:
    channel.send("begins")
    time.sleep(seconds)
    return 7


def for_ever(channel: Channel) -> None:
    channel.send(os.getpid())
    threading.Event().wait()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def interrupted() -> None:
    """The first Ctrl-C is ignored by the driver: what runs must finish."""
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    messages: SimpleQueue[Message] = SimpleQueue()
    executor = DaskExecutor(workers=1)
    executor.start(messages.put)
    executor.submit(Fragment(id=1, tasks={"a": Task("a", slow, executor.channel, 1.5)}, keep=frozenset({"a"})))
    print(messages.get(timeout=20), flush=True)
    until = time.monotonic() + 20
    while not heard and time.monotonic() < until:
        time.sleep(0.01)
    print("heard", heard, flush=True)
    print(messages.get(timeout=20), executor.fetch(["a"]), flush=True)
    executor.close()
    print("closed", flush=True)


def watched(address: str, seen: str, runs: str) -> None:
    """A driver that is killed while a body of its run goes on."""
    messages: SimpleQueue[Message] = SimpleQueue()
    executor = DaskExecutor(address)
    executor.start(messages.put)
    executor.submit(Fragment(id=1, tasks={"a": Task("a", watch, executor.channel, Path(seen))}))
    messages.get(timeout=20)
    Path(runs).touch()
    messages.get()


def ends() -> None:
    """The two ways to end: when all is done, and with tasks still at it."""
    messages: SimpleQueue[Message] = SimpleQueue()
    executor = DaskExecutor(workers=1)
    executor.start(messages.put)
    executor.ship({"blob": b"x"})
    executor.submit(Fragment(id=1, tasks={f"a{i}": Task(f"a{i}", abs, -i) for i in range(50)}, keep=frozenset({"a3"})))
    print(messages.get(timeout=20), flush=True)
    executor.close()
    executor.start(messages.put)
    executor.submit(Fragment(id=2, tasks={f"b{i}": Task(f"b{i}", for_ever, executor.channel) for i in range(5)}))
    pid = getattr(messages.get(timeout=20), "payload", 0)
    executor.cancel()
    executor.close(now=True)
    print("closed, body runs:", alive(pid), flush=True)
    executor.start(messages.put)
    executor.submit(Fragment(id=3, tasks={"c": Task("c", abs, -1)}))
    print(messages.get(timeout=20), flush=True)
    executor.close()


if __name__ == "__main__":
    what: dict[str, Callable[..., None]] = {"interrupted": interrupted, "ends": ends, "watched": watched}
    what[sys.argv[1]](*sys.argv[2:])
