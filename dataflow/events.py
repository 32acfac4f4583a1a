"""What happened, as records: workers make them, the driver folds them, the recorder writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dataflow.graph import Graph
    from dataflow_storage import Reference
    from dataflow_storage.references import References

NO_INDEX = -1  # the index of a task run that is not a child of a map
AWAY = "away"  # in the details of one that is paused since its result store is: the store


class TaskEvent(NamedTuple):
    """A task run entered a state.

    Parameters
    ----------
    path, index : str, int
        Which task run; `index` is `NO_INDEX` where its node is not mapped.
    type : str
        The state's name.
    time : float
        Seconds since the epoch.
    attempt : int
        The attempt that this belongs to; 0 before the first.
    message : str
        The state's message.
    details : mapping, optional
        Plain JSON data; a failure's description.
    reference : Reference, optional
        Where the result was committed.
    worker : str
        Where it ran.
    due : float, optional
        When the next attempt is due (Retrying), in seconds since the epoch.
    """

    path: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of an event
    type: str
    time: float
    attempt: int = 0
    message: str = ""
    details: Mapping[str, object] | None = None
    reference: Reference | None = None
    worker: str = ""
    due: float | None = None


class Several:
    """Task runs that entered a state in their first attempt, or before it: as many TaskEvents in one.

    Parameters
    ----------
    path : str or None
        The map whose children they are; None: they are of nodes that are not mapped.
    type, worker : str
        As in TaskEvent, for all of them.
    which, times : list
        Of each, its index or, where `path` is None, its path; and when. They may be extended until it is sent.
    references : References, optional
        Where the result of each was committed.
    messages : list, optional
        Of each, of those that were found in the cache: they have made no attempt. All others have none.
    """

    __slots__ = ("messages", "path", "references", "times", "type", "which", "worker")

    def __init__(
        self,
        path: str | None,
        type: str,
        worker: str,
        which: Iterable[Any] = (),
        times: Iterable[float] = (),
        references: References | None = None,
        messages: list[str] | None = None,
    ) -> None:
        self.path, self.type, self.worker = path, type, worker
        self.which, self.times = list(which), list(times)
        self.references, self.messages = references, messages

    def __len__(self) -> int:
        return len(self.which)

    @property
    def paths(self) -> Sequence[str]:
        """The nodes that they are of."""
        return self.which if self.path is None else [self.path]

    def each(self) -> Iterator[TaskEvent]:
        """The events, one by one."""
        found: Iterable[Reference | None] = repeat(None) if self.references is None else self.references
        told: Iterable[str] = repeat("") if self.messages is None else self.messages
        for one, time, reference, message in zip(self.which, self.times, found, told, strict=False):
            path, index = (one, NO_INDEX) if self.path is None else (self.path, one)
            yield TaskEvent(path, index, self.type, time, self.attempt, message, None, reference, self.worker)

    @property
    def attempt(self) -> int:
        """Which attempt it is of each."""
        return 1 if self.messages is None else 0

    def __reduce__(self) -> tuple[object, ...]:
        return Several, (self.path, self.type, self.worker, self.which, self.times, self.references, self.messages)


class LogLine(NamedTuple):
    """One line that a task body logged or printed."""

    path: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of an event
    attempt: int
    time: float
    level: int
    logger: str
    message: str


class Packed(NamedTuple):
    """A graph on its way from a worker process, with the definitions that this worker had not sent before."""

    graph: bytes
    definitions: Mapping[str, bytes]


class Expanded(NamedTuple):
    """A deferred subflow built its graph, which joins the run."""

    path: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of an event
    graph: Graph | Packed


class Measured(NamedTuple):
    """A map over a node learned its width: the values to walk lie under the Dask key."""

    path: str
    width: int
    key: str


class BatchDone(NamedTuple):
    """A batch of children is through; what is not final in it was deferred."""

    key: str
    seconds: float


class Split(NamedTuple):
    """A Dask task gives up what it has not begun, since something in it takes long: others may run that.

    Parameters
    ----------
    key : str
        Its Dask key.
    numbers : sequence of int
        Indices of children, or places in a bundle.
    """

    key: str
    numbers: Sequence[int]


Event = TaskEvent | Several | LogLine | Expanded | Measured | BatchDone | Split


def label(path: str, index: int) -> str:
    """How people write a task run.

    >>> label("clean", 3), label("load", NO_INDEX)
    ('clean[3]', 'load')
    """
    return path if index == NO_INDEX else f"{path}[{index}]"
