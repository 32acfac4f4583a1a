"""What the workers of a cluster hold for one start of an executor: its blobs, and the way back to its driver.

State: `_workers`, the workers of this process that serve a topic; `_sessions`, the topics of executors that this very
process has started. This module imports `distributed`; only workers, and drivers that use a cluster, import it.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Mapping

from distributed import Worker, WorkerPlugin, get_worker

from dataflow_executors import blobs as table
from dataflow_executors.base import ExecutorError

_workers: dict[str, list[Worker]] = {}
_sessions: set[str] = set()


class NoWorker(ExecutorError, RuntimeError):
    """A task sent something from where no worker of its cluster is."""

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.topic = topic

    def __str__(self) -> str:
        return (
            f"There is no Dask worker for topic {self.topic} in this process. Send from the process of the worker that "
            "runs the task, while its executor is started."
        )


class TopicChannel:
    """Sends payloads over Dask's event topics; its pickle is its topic.

    A payload goes the same way as the news that its task has finished, so it arrives first, also if another thread of
    the worker sends it.

    Parameters
    ----------
    topic
        Name that no other start of an executor uses.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def send(self, payload: object) -> None:
        """Pickle the payload and hand it to the worker; nobody hears it if the channel is shut by now.

        Raises
        ------
        NoWorker
            Called in a process without a worker of the cluster.
        """
        try:
            worker = get_worker()
        except ValueError:  # not a task's own thread
            try:
                worker = _workers[self.topic][0]
            except LookupError:
                raise NoWorker(self.topic) from None
        if self.topic in _workers:  # else the scheduler would keep it for ever
            worker.log_event(self.topic, pickle.dumps(payload, protocol=5))

    def is_open(self) -> bool:
        """Whether a worker of this process serves the topic, or the executor was started here and is not closed."""
        return self.topic in _workers or self.topic in _sessions

    def is_cancelled(self) -> bool:
        """Whether the scheduler has told the worker that nobody waits for the task that runs in this thread."""
        try:
            worker = get_worker()
        except ValueError:  # not a task's own thread
            return False
        key = worker.active_threads.get(threading.get_ident())
        held = None if key is None else worker.state.tasks.get(key)
        return key is not None and (held is None or held.state == "cancelled")


def opened(topic: str) -> None:
    """An executor of this process has begun to listen to a topic."""
    _sessions.add(topic)


def shut(topic: str) -> None:
    """It listens no longer; for workers in this process, too."""
    _sessions.discard(topic)
    _workers.pop(topic, None)


class ChannelPlugin(WorkerPlugin):
    """Makes a topic's channel work in every thread of the worker's process."""

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def setup(self, worker: Worker) -> None:
        """Called by the worker when it meets the plugin."""
        _workers.setdefault(self.topic, []).append(worker)

    def teardown(self, worker: Worker) -> None:
        """Called by the worker when the plugin is removed, or the worker closes."""
        serving = _workers.get(self.topic, [])
        if worker in serving:
            serving.remove(worker)
        if not serving:
            _workers.pop(self.topic, None)


class BlobPlugin(WorkerPlugin):
    """Holds blobs in the worker's process."""

    def __init__(self, blobs: Mapping[str, bytes]) -> None:
        self.blobs = dict(blobs)

    def setup(self, worker: Worker) -> None:
        """Called by the worker when it meets the plugin."""
        table.add(self.blobs)

    def teardown(self, worker: Worker) -> None:
        """Called by the worker when the plugin is removed, or the worker closes."""
        table.discard(self.blobs)
