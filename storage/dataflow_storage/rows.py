"""The records of runs as plain data: what a `RunStore` takes (`Batch`) and what its readers give back (`…Row`).

Nothing here knows SQL, so that whoever folds events into rows need not import a database library. Times are seconds
since the epoch, UTC; `idx` is the index in a mapped task, -1 for one that is not mapped; JSON columns are plain data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

from dataflow_storage.references import Reference

__all__ = [
    "AnswerRow",
    "ArtifactRow",
    "AttemptRow",
    "Batch",
    "Columns",
    "EndRow",
    "HookRow",
    "Leftover",
    "LogRow",
    "NodeRow",
    "OrderRow",
    "PulseRow",
    "Rows",
    "RunRow",
    "TaskRunRow",
    "TransitionRow",
]


@dataclass(frozen=True, slots=True)
class Columns:
    """Many rows of one table, column by column: it costs a fraction of a mapping for each.

    Parameters
    ----------
    size : int
        How many rows.
    shared : mapping
        Columns that have the same value in all of them.
    each : mapping
        Columns that have a value for each. Objects of a JSON column that are alike can be Columns, of their fields.

    Examples
    --------
    >>> list(Columns(2, {"path": "clean", "state": "Running"}, {"idx": [0, 1]}).rows())
    [{'path': 'clean', 'state': 'Running', 'idx': 0}, {'path': 'clean', 'state': 'Running', 'idx': 1}]
    """

    size: int
    shared: Mapping[str, object]
    each: Mapping[str, Sequence[object] | Columns]

    def rows(self) -> Iterator[dict[str, object]]:
        """The rows one by one."""
        cells = [values.rows() if isinstance(values, Columns) else values for values in self.each.values()]
        for row in zip(*cells, strict=True) if cells else repeat((), self.size):
            yield {**self.shared, **dict(zip(self.each, row, strict=True))}


Rows = Sequence[Mapping[str, object] | Columns]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one flush writes. A row is a mapping from column names to values, without `run_id`.

    Where rows are many and alike, `nodes`, `task_runs`, `transitions` and `attempts` take `Columns` among them, in
    which no two rows have the same key.

    Parameters
    ----------
    run : mapping or None
        Changed columns of the run itself; may hold `graph` and `arguments` (bytes).
    nodes : sequence of mappings
        Upserts by `path`: columns that are not given keep their value.
    task_runs : sequence of mappings
        Upserts by `path` and `idx`; of two rows for one task run the later wins, column by column.
    transitions : sequence of mappings
        Appended in this order: `path` (None: the run itself), `idx`, `state`, `message`, `time`, `attempt`.
    attempts : sequence of mappings
        Upserts by `path`, `idx` and `attempt`.
    logs : sequence of mappings
        Appended in this order: `path`, `idx`, `attempt`, `time`, `level`, `logger`, `message`.
    counts : mapping of (path, state) to int
        What to add to the number of task runs of that node in that state; may be negative.
    hooks : sequence of mappings
        Appended: `path`, `idx`, `hook`, `state`, `error`, `time`.
    artifacts : sequence of mappings
        Upserts by `id`: `path`, `idx`, `kind`, `name`, `url`, `details`, `time`.
    done_orders : sequence of int
        `seq` of each order that is carried out with this.
    number : int
        Of this batch among those of its epoch, growing from 1. One that was written already, or a later one, is not
        written again: so a batch may be given again when nobody knows whether it arrived. 0: not numbered, and written
        each time.

    Examples
    --------
    >>> Batch(counts={("clean", "Success"): 2}).task_runs
    ()
    """

    run: Mapping[str, object] | None = None
    nodes: Rows = ()
    task_runs: Rows = ()
    transitions: Rows = ()
    attempts: Rows = ()
    logs: Sequence[Mapping[str, object]] = ()
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    hooks: Sequence[Mapping[str, object]] = ()
    artifacts: Sequence[Mapping[str, object]] = ()
    done_orders: Sequence[int] = ()
    number: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """One run, without its graph (`RunStore.graph` reads that)."""

    id: str  # 32 hex digits
    name: str  # readable and unique
    flow: str
    version: str | None  # of the flow's code
    parameters: Mapping[str, object]
    tags: Sequence[str]
    state: str
    message: str
    created: float
    started: float | None
    ended: float | None
    executor: str | None
    results_url: str | None
    outputs: object  # the shape of the run's result; None until it is known
    owner: str | None  # who drives the run; None when nobody does
    lease_until: float | None  # until when the owner may be trusted to be alive
    epoch: int  # how often the run has changed hands
    details: Mapping[str, object]
    written: int  # the number of the last numbered batch of this epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeRow:
    """One node of a run's graph."""

    run_id: str
    path: str
    position: int  # in build order
    task: str
    kind: str
    width: int | None  # children of a map; None when it is no map, or not known yet
    upstream: Sequence[str]  # paths
    details: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRunRow:
    """The current state of one node, or of one child of a mapped node."""

    run_id: str
    path: str
    idx: int
    state: str
    message: str
    time: float | None  # of the last change of state
    attempt: int
    started: float | None
    ended: float | None
    worker: str | None
    reference: Mapping[str, object] | None  # where the result lies
    details: Mapping[str, object] | None


class EndRow(NamedTuple):
    """Of a `TaskRunRow` what leads to the value: these are read by the thousand."""

    path: str
    idx: int
    state: str
    reference: Reference | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TransitionRow:
    """One change of state. `seq` grows in the order in which a run's changes were written."""

    seq: int
    run_id: str
    path: str | None  # None: the run itself
    idx: int
    state: str
    message: str
    time: float
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PulseRow:
    """What happened to one node lately, in one row."""

    path: str | None  # None: the run itself
    seq: int  # of the last change of state
    began: float | None  # when the first of it began to run
    last: float  # when the last change of state was
    retries: int  # how many attempts were followed by another one


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRow:
    """One try of a task run."""

    run_id: str
    path: str
    idx: int
    attempt: int
    state: str
    started: float | None
    ended: float | None
    worker: str | None
    error: Mapping[str, object] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRow:
    """One log line."""

    seq: int
    run_id: str
    path: str | None  # None: the run itself
    idx: int
    attempt: int
    time: float
    level: int  # as in `logging`
    logger: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HookRow:
    """One call of a hook."""

    seq: int
    run_id: str
    path: str | None  # None: a hook of the run
    idx: int
    hook: str
    state: str
    error: str | None  # None: it worked
    time: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactRow:
    """Something that a task left for people to look at."""

    id: str
    run_id: str
    path: str | None
    idx: int
    kind: str
    name: str
    url: str | None
    details: Mapping[str, object] | None
    time: float


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderRow:
    """Something that is asked of a run. `seq` grows in the order in which a run's orders came."""

    seq: int
    id: str  # of the asking: the same one is appended once
    run_id: str
    kind: str  # what is asked for, as a verb
    path: str | None  # None: of the run itself
    idx: int
    value: object
    by: str  # who asks
    time: float
    done: int  # 1: carried out


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRow:
    """The answer that stands of those that were given to one attempt of a task run."""

    run_id: str
    path: str
    idx: int
    attempt: int
    value: object
    given: int  # 1: there is a value, which may be None
    by: str  # who answered
    token: str  # of that answer: the answerer who knows it has won
    time: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """A run whose record was deleted, and whose results may still be there."""

    id: str
    name: str
    flow: str
    results_url: str | None
    deleted: float  # when its record was
