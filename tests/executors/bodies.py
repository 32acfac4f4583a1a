"""What the tests of clusters run there: bodies, fragments of them, and programs' environment."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from dask._task_spec import Task

from dataflow_executors import Channel, Done, Executor, Fragment, blobs
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


def watch(channel: Channel, seen: Path) -> None:
    """Run until the channel is shut, and then say so in a file."""
    channel.send(("watches", os.getpid()))
    until = time.monotonic() + 20
    while channel.is_open() and time.monotonic() < until:
        time.sleep(0.01)
    part = seen.with_suffix(".part")
    part.write_text("open" if channel.is_open() else "shut")
    part.rename(seen)


def seen_by(watcher: Path) -> str:
    wait_for(watcher)
    return watcher.read_text()


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


def wait_for_slots(executor: Executor, count: int) -> None:
    until = time.monotonic() + 20
    while executor.slots < count and time.monotonic() < until:
        time.sleep(0.05)
    assert executor.slots == count


def run_something(executor: Executor, mailbox: Mailbox) -> None:
    executor.start(mailbox.post)
    executor.ship({"blob": b"b"})
    executor.submit(fragment(1, Task("a", read_blob, "blob"), keep="a"))
    assert mailbox.done(1) == Done(1, {})
    assert executor.fetch(["a"]) == {"a": b"b"}
    executor.close()
