"""Scripts that are run as programs of their own: what a terminal, or a newcomer, does to an executor."""

from __future__ import annotations

import signal
import sys
import time
from queue import SimpleQueue

from dask._task_spec import Task

from dataflow_executors import Channel, DaskExecutor, Fragment, Message


def slow(channel: Channel, seconds: float) -> int:
    channel.send("begins")
    time.sleep(seconds)
    return 7


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


def ends() -> None:
    """The two ways to end: when all is done, and with tasks still at it."""
    messages: SimpleQueue[Message] = SimpleQueue()
    executor = DaskExecutor(workers=2)
    executor.start(messages.put)
    executor.ship({"blob": b"x"})
    executor.submit(Fragment(id=1, tasks={f"a{i}": Task(f"a{i}", abs, -i) for i in range(50)}, keep=frozenset({"a3"})))
    print(messages.get(timeout=20), flush=True)
    executor.close()
    executor.start(messages.put)
    executor.submit(Fragment(id=2, tasks={f"b{i}": Task(f"b{i}", slow, executor.channel, 30.0) for i in range(5)}))
    print(messages.get(timeout=20), messages.get(timeout=20), flush=True)
    executor.cancel()
    time.sleep(0.2)
    begin = time.monotonic()
    executor.close(now=True)
    print("closed", time.monotonic() - begin < 2, flush=True)


if __name__ == "__main__":
    {"interrupted": interrupted, "ends": ends}[sys.argv[1]]()
