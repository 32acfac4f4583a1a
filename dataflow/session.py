"""A worker process's part in a run: what was shipped once (the job, definitions, groups) and the way events go back.

State: `_sessions`, one for each run that this process works for, the latest few; `_local`, what a driver in this very
process registered, so that threads use the user's own objects and nothing is pickled.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import math
import os
import pickle
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from dataflow import capture
from dataflow.calls import Group
from dataflow.definition import Definition
from dataflow.events import NO_INDEX, Event, Packed, Several, TaskEvent
from dataflow.graph import Graph
from dataflow.states import RUNNING
from dataflow.ticking import Ticker

if TYPE_CHECKING:
    from dataflow_storage import CacheIndex, Reference, ResultStore

FLUSH_SECONDS = 0.05
FLUSH_EVENTS = 1000
LOOK_SECONDS = 1.0  # between two looks for what an earlier driver's bodies may still commit


class Channel(Protocol):
    """The way back to the driver."""

    def send(self, payload: object) -> None: ...

    def is_open(self) -> bool: ...

    def is_cancelled(self) -> bool: ...


@dataclass(slots=True)
class Control:
    """What a driver in this process tells its tasks; a copy on another machine stays silent.

    Parameters
    ----------
    cancelled : bool
        Nothing must start any more.
    aborted : bool
        Nothing counts any more that is not committed.
    until : float
        The run is this driver's until then, in seconds since the epoch; it is put off again and again.
    """

    cancelled: bool = False
    aborted: bool = False
    until: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is the same for every task of a run.

    Parameters
    ----------
    run_id, run_name, flow : str
        The run, and its flow's name.
    parameters : mapping
        The flow's parameters.
    logical_time : float
        Seconds since the epoch.
    store : ResultStore
        Where results are committed.
    channel : Channel
        Where events go.
    log_prints : bool
        Whether prints of bodies are log lines where their task does not say.
    grace : float
        Seconds between SIGTERM and SIGKILL at a timeout.
    reached : bool
        The result store has answered the driver.
    patience : float
        Seconds that a task waits for one that has, and is away.
    keyed : bool
        Some task of the run is cached or has a target, so that it matters what values count as.
    concurrency : int
        How many `async def` task runs of a Dask task run at the same time.
    refresh : bool or tuple of str
        What must not be taken from the cache: all, or tasks by name or path.
    anew : mapping
        From which generation on a result of the run counts, by path or label.
    taken_up : bool
        An earlier driver worked on the run, and what it began may have been committed with other borders.
    control : Control
        The driver's word, in its own process.
    """

    run_id: str
    run_name: str
    flow: str
    parameters: Mapping[str, object]
    logical_time: float
    store: ResultStore
    channel: Channel
    log_prints: bool
    grace: float
    reached: bool = False
    patience: float = 0.0
    keyed: bool = False
    concurrency: int = 1
    refresh: bool | tuple[str, ...] = False
    anew: Mapping[str, int] = field(default_factory=dict)
    taken_up: bool = False
    control: Control = field(default_factory=Control)

    @property
    def generation(self) -> int:
        """How often the run was retried from a task that had succeeded: its results lie apart from those before."""
        return max(self.anew.values(), default=0)


class Session:
    """One process's part in one run."""

    def __init__(self, token: str, job: Job) -> None:
        if job.keyed:
            from dataflow import canonical

            canonical.forget()
        self.token = token
        self.job = job
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        # An inline driver may ask for a flush while it takes in what a flush sends.
        self._lock = threading.RLock()
        self._buffer: list[Event] = []
        # Of the buffer, by map (None: plain nodes) and thread: what begins next is put there.
        self._begun: dict[tuple[str | None, int], Several] = {}
        self._size = 0
        self._flusher: threading.Thread | None = None
        self._named: dict[int, tuple[str, Definition]] = {}
        self._unsent: dict[str, bytes] = {}
        self._definitions: dict[str, Definition] = {}
        self._groups: dict[str, Group] = {}
        # Chunks that an earlier driver began, by lane and key; and when they were looked for.
        self.chunks: dict[str, dict[str, Mapping[int, Reference]]] = {}
        self.looked: dict[str, float] = {}
        self.bundled: dict[str, Reference] = {}  # what bundles among them hold, by path
        self.ticker = Ticker()
        self.gave_up = -math.inf  # when the result store was last waited for in vain
        self.held: set[str] = set()  # objects of other runs that were seen to be there: each may have many results

    def definition(self, token: str) -> Definition:
        """A definition that was shipped."""
        found = self._definitions.get(token)
        if found is None:
            found = self._definitions[token] = cast(Definition, _load(token))
        return found

    def group(self, token: str) -> Group:
        """A group of maps that was shipped."""
        found = self._groups.get(token)
        if found is None:
            found = self._groups[token] = cast(Group, _load(token))
        return found

    @functools.cached_property
    def cache(self) -> CacheIndex:
        """The cache, as this process knows it."""
        from dataflow_storage import CacheIndex

        return CacheIndex(self.job.store)

    @property
    def is_local(self) -> bool:
        """Whether the driver is in this very process."""
        return self.token in _local

    def is_wanted(self) -> bool:
        """Whether anybody still waits for what bodies make."""
        return not self.job.control.aborted if self.is_local else self.job.channel.is_open()

    def is_cancelled(self) -> bool:
        """Whether nothing more must start in the Dask task that asks."""
        return self.job.control.cancelled if self.is_local else self.job.channel.is_cancelled()

    def may_commit(self) -> bool:
        """Whether what a body made still counts: the run is its driver's, and was not stopped.

        Where the driver could not renew its lease for a while, this waits until it has, or has lost the run: a process
        that was suspended must not commit what another driver makes again.
        """
        control = self.job.control
        while time.time() >= control.until and not control.aborted and self.is_local:
            time.sleep(FLUSH_SECONDS / 5)
        return self.is_wanted()

    def pack(self, graph: Graph) -> Packed:
        """A graph that this worker built, as bytes for the driver; its definitions travel once from each worker."""
        from dataflow.pickles import Pickler, dumps

        def name(found: object) -> str | None:
            if not isinstance(found, Definition):
                return None
            if id(found) not in self._named:
                token = f"{self.worker}:{len(self._named)}"
                self._unsent[token] = dumps(found)
                self._named[id(found)] = token, found
            return self._named[id(found)][0]

        class Naming(Pickler):
            def persistent_id(self, found: object) -> str | None:
                return name(found)

        buffer = io.BytesIO()
        Naming(buffer).dump(graph)
        definitions, self._unsent = self._unsent, {}
        return Packed(buffer.getvalue(), definitions)

    def emit(self, event: Event, *, urgent: bool = False) -> None:
        """Send an event to the driver: soon, or now where the driver must act on it."""
        with self._lock:
            if type(event) is TaskEvent:
                self._begun.clear()  # what a task run enters after this must not be told before
            self._append(event)
            self._size += 1
            if urgent or self._size >= FLUSH_EVENTS:
                self._send()

    def begin(self, path: str, index: int, attempt: int, *, alone: bool) -> None:
        """Tell the driver that a body begins; of those that are not alone in their Dask task, as one event for many."""
        now = time.time()
        if attempt > 1 or alone:
            self.emit(TaskEvent(path, index, RUNNING, now, attempt, worker=self.worker))
            return
        of, which = (None, path) if index == NO_INDEX else (path, index)
        who = of, threading.get_ident()
        with self._lock:
            begun = self._begun.get(who)
            if begun is None:
                begun = self._begun[who] = Several(of, RUNNING, self.worker)
                self._append(begun)
            begun.which.append(which)
            begun.times.append(now)
            self._size += 1
            if self._size >= FLUSH_EVENTS:
                self._send()

    def _append(self, event: Event) -> None:
        self._buffer.append(event)
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_often, name="dataflow-events", daemon=True)
            self._flusher.start()

    def flush(self) -> None:
        """Send what is buffered."""
        with self._lock:
            self._send()

    def _send(self) -> None:
        # Under the lock: two senders would mix the order of one task's lines.
        if self._buffer:
            events, self._buffer = self._buffer, []
            self._begun.clear()
            self._size = 0
            self.job.channel.send(events)

    def _flush_often(self) -> None:
        from dataflow_executors.base import ExecutorError

        idle = 0.0
        while True:
            time.sleep(FLUSH_SECONDS)
            with self._lock:
                idle = 0.0 if self._buffer else idle + FLUSH_SECONDS
                try:
                    self._send()
                except ExecutorError:  # the run was given up: its driver hears no more of bodies that still run
                    self._flusher = None
                    return
                if idle > 2.0:  # the run is over, or quiet: the next event starts another
                    self._flusher = None
                    return


_sessions: OrderedDict[str, Session] = OrderedDict()
_local: dict[str, object] = {}
_guard = threading.Lock()
KEPT_SESSIONS = 8


def register(objects: Mapping[str, object]) -> None:
    """Make objects known to tasks in this process, by token."""
    _local.update(objects)


def forget(tokens: list[str]) -> None:
    """Drop what `register` made known, and the sessions among it."""
    for token in tokens:
        _local.pop(token, None)
        _sessions.pop(token, None)


def attach(token: str) -> Session:
    """This process's session of the run with this token."""
    session = _sessions.get(token)
    if session is None:
        with _guard:
            session = _sessions.get(token)
            if session is None:
                session = Session(token, cast(Job, _load(token)))
                if not session.is_local:
                    capture.install()  # for the life of this worker; the driver's process does so for each run
                _sessions[token] = session
                while len(_sessions) > KEPT_SESSIONS:
                    _sessions.popitem(last=False)[1].flush()
    return session


def _load(token: str) -> object:
    if token in _local:
        return _local[token]
    import cloudpickle

    from dataflow_executors import blobs

    return cloudpickle.loads(blobs.get(token))


def unpack(packed: Packed, definitions: dict[str, Definition]) -> Graph:
    """The graph that a worker packed.

    Parameters
    ----------
    packed : Packed
        The graph, and definitions that this worker had not sent before.
    definitions : dict
        Those that came so far, by their names on the workers; extended.
    """
    import cloudpickle

    definitions.update((name, cloudpickle.loads(pickled)) for name, pickled in packed.definitions.items())

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, name: str) -> Definition:
            return definitions[name]

    graph = Unpickler(io.BytesIO(packed.graph)).load()
    assert isinstance(graph, Graph)
    return graph


def _after_fork() -> None:
    # Locks and threads do not survive a fork.
    global _guard
    _guard = threading.Lock()
    _sessions.clear()


def _flush_all() -> None:
    from dataflow_executors.base import ExecutorError

    for session in list(_sessions.values()):
        with contextlib.suppress(ExecutorError):  # its run was given up
            session.flush()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_flush_all)
