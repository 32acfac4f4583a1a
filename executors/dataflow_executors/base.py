"""What an executor is: the fragment it takes, the messages it posts, the few calls it answers.

An executor runs pieces of a Dask graph somewhere and tells its driver, through one callable named `post`, what has
happened. It knows Dask graphs, keys and opaque payloads, and nothing of what they mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from dask._task_spec import GraphNode

Key: TypeAlias = str


class ExecutorError(Exception):
    """An executor was asked for what it cannot do, or has broken down."""


class NotStarted(ExecutorError, RuntimeError):
    """An executor was used before `start()` or after `close()`."""

    def __init__(self, executor: str, call: str) -> None:
        super().__init__(executor, call)
        self.executor = executor
        self.call = call

    def __str__(self) -> str:
        return f"{self.call} was called on {self.executor}, which is not started. Call start(post) first."


class AlreadyStarted(ExecutorError, RuntimeError):
    """One executor object was given to two runs at the same time."""

    def __init__(self, executor: str) -> None:
        super().__init__(executor)
        self.executor = executor

    def __str__(self) -> str:
        return f"{self.executor} is already in use. Give each run that is active at the same time its own executor."


class UnknownKeys(ExecutorError, LookupError):
    """A fragment names keys that are neither its own tasks nor kept values of an earlier fragment."""

    def __init__(self, fragment: int, keys: Iterable[Key]) -> None:
        self.fragment = fragment
        self.keys = sorted(keys)
        super().__init__(fragment, self.keys)

    def __str__(self) -> str:
        shown = ", ".join(map(repr, self.keys[:5])) + (" …" if len(self.keys) > 5 else "")
        return (
            f"Fragment {self.fragment} depends on {len(self.keys)} keys that are not kept here: {shown}. "
            "Name them in `keep` of the fragment that computes them, and release them only afterwards."
        )


class UnknownExecutor(ExecutorError, ValueError, TypeError):
    """Something was given as an executor that is none."""

    def __init__(self, given: object, taken: str) -> None:
        super().__init__(given, taken)
        self.given = given
        self.taken = taken

    def __str__(self) -> str:
        return f"{self.given!r} is not an executor. Taken are: {self.taken}."


class Unreachable(ExecutorError, ConnectionError):
    """No scheduler answers at an address."""

    def __init__(self, address: str, seconds: float, reason: str) -> None:
        super().__init__(address, seconds, reason)
        self.address = address
        self.seconds = seconds
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"No Dask scheduler answered at {self.address} within {self.seconds:g} s ({self.reason}). Check the "
            "address and that its scheduler runs (`dask scheduler` prints its address), or take executor='processes'."
        )


class ClusterFailed(ExecutorError, RuntimeError):
    """A cluster did not start, or cannot run what it is to run."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what} cannot be used: {self.reason}"


class NoMainGuard(ExecutorError, RuntimeError):
    """A script starts worker processes at its top level, so that each worker would start them again."""

    def __init__(self, script: str, line: int | None = None) -> None:
        super().__init__(script, line)
        self.script = script
        self.line = line

    def __str__(self) -> str:
        where = self.script if self.line is None else f"{self.script}, line {self.line},"
        return (
            f"{where} starts worker processes at the top level of the script. Each worker imports the script and would "
            "start workers of its own. Put that code under `if __name__ == \"__main__\":`, or take executor='threads'."
        )


class SchedulerLost(ExecutorError, ConnectionError):
    """The connection to the scheduler broke; what it was running and holding is out of reach."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"The Dask scheduler at {self.address} was lost ({self.reason}). Results that were committed are safe: "
            "bring the cluster back and resume the run."
        )


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """A piece of a graph that is submitted at once.

    Attributes
    ----------
    id
        Number of the fragment, unique while the executor is started. `Done` names it.
    tasks
        Dask tasks by key. A `TaskRef` to a key that is not in `tasks` names a kept key of an earlier fragment.
    keep
        Keys in `tasks` whose values stay available to later fragments and to `fetch`, until `release`.
    annotations
        Dask's annotations by key: `resources`, `priority`, `workers`, … Heeded on clusters only.

    Examples
    --------
    >>> from dask._task_spec import Task, TaskRef
    >>> fragment = Fragment(id=1, tasks={"a": Task("a", len, "abc"), "b": Task("b", abs, TaskRef("a"))})
    >>> fragment.leaves()
    frozenset({'b'})
    >>> Fragment(id=2, tasks={"c": Task("c", abs, TaskRef("b"))}).inputs()
    frozenset({'b'})
    """

    id: int
    tasks: Mapping[Key, GraphNode]
    keep: frozenset[Key] = frozenset()
    annotations: Mapping[Key, Mapping[str, object]] = field(default_factory=dict)

    def leaves(self) -> frozenset[Key]:
        """Keys that no other task of this fragment depends on."""
        return frozenset(self.tasks.keys() - self._depended())

    def inputs(self) -> frozenset[Key]:
        """Keys of earlier fragments that this one depends on."""
        return frozenset(self._depended() - self.tasks.keys())

    def _depended(self) -> set[Key]:
        return set().union(*(task.dependencies for task in self.tasks.values()))


@dataclass(frozen=True)
class Sent:
    """A payload that a task sent through the channel.

    Attributes
    ----------
    payload
        What was given to `Channel.send`, equal to it, perhaps a copy.
    """

    payload: object


@dataclass(frozen=True)
class Done:
    """Nothing of a fragment will run any more: its leaves and kept keys are finished or lost.

    Every payload that a task sent from its own thread has been posted before. Only a task that Dask runs a second time
    (a worker died and took a value with it) can send after that.

    Attributes
    ----------
    fragment
        `Fragment.id`.
    lost
        Leaves and kept keys without a value, each with the reason: `distributed.KilledWorker`, a `CancelledError`, or
        what a task raised.
    """

    fragment: int
    lost: Mapping[Key, BaseException]


@dataclass(frozen=True)
class Starved:
    """Fragments in flight wait for workers, or wait no longer. Posted when that changes, by clusters only.

    Attributes
    ----------
    reason
        `"no workers"`; empty once there is one again.
    """

    reason: str


@dataclass(frozen=True)
class Failed:
    """The executor itself is gone; nothing is posted after this.

    Attributes
    ----------
    error
        Why.
    """

    error: BaseException


Message: TypeAlias = Sent | Done | Starved | Failed


class Channel(Protocol):
    """The way back from tasks to the driver. It can be pickled and sent along with tasks."""

    def send(self, payload: object) -> None:
        """Post `Sent(payload)` to the driver; called where tasks run, returns at once."""

    def is_open(self) -> bool:
        """Whether the start of the executor that it belongs to is still on; asked where tasks run, costs nothing.

        False once that executor was closed: what still runs after `close(now=True)` must leave nothing behind. On a
        worker of a cluster it is False too if the worker lost touch with the run, or never knew of it.
        """

    def is_cancelled(self) -> bool:
        """Whether the task that asks, in its own thread, was cancelled while it ran; costs little.

        Only clusters know. In this process, whoever cancels can tell the tasks.
        """


class Executor(ABC):
    """Where fragments run.

    One object serves one run at a time: `start`, any number of the other calls, `close`; then it may be started again.
    All calls come from one thread, except `cancel` and `close`, which may come from any.

    Attributes
    ----------
    name
        A word for people.
    inline
        `submit` runs the fragment to its end in the caller's thread.
    chains
        A fragment may name kept keys of a fragment that is still in flight.
    processes
        Workers are other processes. Valid once started.
    hosts
        Workers may be on other hosts. Valid once started.
    """

    name: ClassVar[str]
    inline: ClassVar[bool] = False
    chains: ClassVar[bool] = False
    processes: bool = False
    hosts: bool = False

    @property
    def spec(self) -> str | None:
        """What `choose` takes to make an equal executor in another process; None if there is no such word."""
        return None

    @property
    @abstractmethod
    def slots(self) -> int:
        """Number of tasks that can run at the same moment now; at least 1."""

    @property
    @abstractmethod
    def channel(self) -> Channel:
        """The channel of this start."""

    @abstractmethod
    def start(self, post: Callable[[Message], None]) -> None:
        """Get ready.

        Parameters
        ----------
        post
            Called for each message, from any thread; it must return quickly and not raise.

        Raises
        ------
        ExecutorError
            `AlreadyStarted`, `ClusterFailed`, `NoMainGuard`; `Unreachable` or `SchedulerLost`, which are a
            `ConnectionError`, where it may work later. Nothing is left behind then.
        """

    @abstractmethod
    def ship(self, blobs: Mapping[str, bytes]) -> None:
        """Make blobs available, through `dataflow_executors.blobs`, to each task that is submitted after this.

        Parameters
        ----------
        blobs
            Bytes by digest. What was shipped before is not sent again.
        """

    @abstractmethod
    def submit(self, fragment: Fragment) -> None:
        """Run a fragment: at once and to its end when `inline`, else in the background. It ends with its `Done`.

        Raises
        ------
        UnknownKeys
            It depends on keys that are not kept here.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Start nothing any more, and return at once.

        What runs finishes and may still send. Then each fragment in flight gets its `Done`, with a `CancelledError`
        for what did not finish.
        """

    @abstractmethod
    def fetch(self, keys: Iterable[Key]) -> dict[Key, object]:
        """Values of kept keys; those that are not there (not finished, lost, released) are left out."""

    @abstractmethod
    def release(self, keys: Iterable[Key]) -> None:
        """Keep these keys no longer; unknown ones are ignored."""

    @abstractmethod
    def close(self, now: bool = False) -> None:
        """Free everything that `start` took, and nothing else. A second call does nothing.

        Fragments in flight are cancelled first, as `cancel` does it, and their `Done` is awaited. Nothing is posted
        after this returns.

        Parameters
        ----------
        now
            Do not wait for running tasks. Those in threads, and those on a cluster that stays, run on unheard, and find
            their channel shut; those in processes of the executor's own are killed.
        """
