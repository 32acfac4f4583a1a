"""One real cluster of two worker processes for all tests of executors, and each executor started on a mailbox."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflow_executors import (
    DaskExecutor,
    Done,
    Executor,
    Failed,
    Message,
    Sent,
    Starved,
    SyncExecutor,
    ThreadExecutor,
)

PATIENCE = 30.0


class Mailbox:
    """What an executor has posted."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.seen: list[Message] = []

    def post(self, message: Message) -> None:
        self._queue.put(message)

    def get(self, seconds: float = PATIENCE) -> Message:
        message = self._queue.get(timeout=seconds)
        self.seen.append(message)
        return message

    def sent(self) -> Any:
        message = self.get()
        while isinstance(message, Starved):  # the first worker is slow to come
            message = self.get()
        assert isinstance(message, Sent), message
        return message.payload

    def done(self, fragment: int) -> Done:
        """Read on until this fragment is done."""
        for message in self.seen:
            if isinstance(message, Done) and message.fragment == fragment:
                return message
        while True:
            message = self.get()
            assert not isinstance(message, Failed), message
            if isinstance(message, Done) and message.fragment == fragment:
                return message

    def payloads(self) -> list[Any]:
        return [message.payload for message in self.seen if isinstance(message, Sent)]

    def drain(self, seconds: float = 0.3) -> list[Message]:
        """What comes within that time."""
        came = []
        until = time.monotonic() + seconds
        while True:
            try:
                came.append(self.get(max(0.0, until - time.monotonic())))
            except queue.Empty:
                return came


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Two processes with one thread each. A task may kill one worker, not two."""
    from distributed import LocalCluster

    make: Any = LocalCluster
    with make(
        processes=True,
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        resources={"license": 1},
        scheduler_kwargs={"allowed_failures": 1, "dashboard_address": "127.0.0.1:0"},
    ) as started:
        yield started


@pytest.fixture(params=["sync", "threads", "cluster"])
def make(request: pytest.FixtureRequest) -> Callable[[], Executor]:
    """A way to make executors of one kind, not started."""
    if request.param == "sync":
        return SyncExecutor
    if request.param == "threads":
        return lambda: ThreadExecutor(2)
    address = request.getfixturevalue("cluster").scheduler_address
    return lambda: DaskExecutor(address)


@pytest.fixture
def executor(make: Callable[[], Executor], mailbox: Mailbox) -> Iterator[Executor]:
    """A started executor that posts to `mailbox`."""
    started = make()
    started.start(mailbox.post)
    yield started
    started.close(now=True)


@pytest.fixture
def dask_executor(cluster: Any, mailbox: Mailbox) -> Iterator[DaskExecutor]:
    """The same, on the cluster only."""
    started = DaskExecutor(cluster.scheduler_address)
    started.start(mailbox.post)
    yield started
    started.close(now=True)
