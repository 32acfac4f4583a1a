"""Task runs as their user holds them: state, result and logs of one node in one run, or of the children of a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, overload

from dataflow import showing, states
from dataflow.draw.marks import MARKS
from dataflow.draw.times import took
from dataflow.errors import NotFinished, TaskFailed
from dataflow.events import NO_INDEX, label
from dataflow.log_lines import LogLines
from dataflow.states import State
from dataflow_storage.references import Reference
from dataflow_storage.rows import EndRow, TaskRunRow, TransitionRow

MOST_COMPLETED = 1000  # indices that Tab offers
MOST_SHOWN = 20  # children that are told of one by one

# Whoever only reads the record starts without the code of results.
if TYPE_CHECKING:
    from dataflow_storage import ResultStore, RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """Where a run's task runs are read.

    Parameters
    ----------
    run_id : str
        The run.
    runs : RunStore
        Its record.
    results : ResultStore
        Its results.
    values : mapping
        Outputs that were not stored, by (path, index): only the process that drove the run has them.
    """

    run_id: str
    runs: RunStore
    results: ResultStore
    values: Mapping[tuple[str, int], object]

    def value(self, row: TaskRunRow) -> object:
        """The value of a task run; see `TaskRun.result`."""
        return self.of([row])[0]

    def of(self, rows: Sequence[TaskRunRow | EndRow]) -> list[object]:
        """The values of task runs, in their order; those that are stored together are read together."""
        stored = {n: at for n, row in enumerate(rows) if (at := self._stored_at(row)) is not None}
        read = dict(zip(stored, self.results.get_many(list(stored.values())), strict=True)) if stored else {}
        return [read[n] if n in read else self.values[row.path, row.idx] for n, row in enumerate(rows)]

    def _stored_at(self, row: TaskRunRow | EndRow) -> Reference | None:
        """Where a task run's value is stored; None: it is at hand."""
        if (row.path, row.idx) in self.values and row.state in states.WITH_VALUE:
            return None
        if row.reference is not None and row.state in states.WITH_VALUE:
            return row.reference if isinstance(row, EndRow) else Reference.from_dict(row.reference)
        who = label(row.path, row.idx)
        if row.state not in states.FINAL:
            raise NotFinished(who, row.state)
        if row.state in states.WITH_VALUE:
            raise TaskFailed(who, State(type=row.state), "its value was not stored (persist=False)")
        if isinstance(row, EndRow):
            row = self.task_run(row.path, row.idx)._row
        state = State(type=row.state, message=row.message)
        raise TaskFailed(who, state, str((row.details or {}).get("text") or row.message or row.state))

    def task_run(self, path: str, index: int) -> TaskRun:
        """One task run; Pending where nothing is on record of it."""
        rows = self.runs.task_runs(self.run_id, path=path, idx=index)
        return TaskRun(self, rows[0] if rows else pending(self.run_id, path, index))


class TaskRun:
    """One node in one run, or one child of a mapped one.

    Its attributes are those of its record: `path`, `index` (None where not mapped), `state`, `attempt`, `started` and
    `ended` (datetimes, UTC), `worker`, `reference` (where the result is).
    """

    def __init__(self, records: Records, row: TaskRunRow) -> None:
        self._records, self._row = records, row
        self.path = row.path
        self.index = None if row.idx == NO_INDEX else row.idx
        self.attempt = row.attempt
        self.worker = row.worker
        self.reference = Reference.from_dict(row.reference) if row.reference else None

    @property
    def state(self) -> State:
        """Its state when this object was made."""
        return State(
            type=self._row.state, message=self._row.message, time=self._row.time or 0.0, details=self._row.details or {}
        )

    @property
    def started(self) -> datetime | None:
        """When its last attempt began (UTC)."""
        return _moment(self._row.started)

    @property
    def ended(self) -> datetime | None:
        """When it became final (UTC)."""
        return _moment(self._row.ended)

    @property
    def duration(self) -> float | None:
        """Seconds of its last attempt."""
        return None if self._row.started is None or self._row.ended is None else self._row.ended - self._row.started

    @property
    def label(self) -> str:
        """How people write it, such as `clean[3]`."""
        return label(self.path, self._row.idx)

    def result(self) -> object:
        """Its value.

        Raises
        ------
        TaskFailed
            It has none: it failed, was skipped or cancelled.
        NotFinished
            It is not final yet.
        """
        return self._records.value(self._row)

    def exception(self) -> TaskFailed | None:
        """What `result` would raise, or None where there is a value; the user's own traceback is its text.

        Raises
        ------
        NotFinished
            It is not final yet.
        """
        if self._row.state in states.WITH_VALUE:
            return None
        try:
            self._records.value(self._row)
        except TaskFailed as error:
            return error.with_traceback(None)
        return None

    def logs(self, level: int = 0) -> LogLines:
        """Its log lines, in order, of at least this level."""
        found = self._records.runs.logs(self._records.run_id, path=self.path, idx=self._row.idx, level=level)
        return LogLines(found)

    @property
    def history(self) -> list[TransitionRow]:
        """Its changes of state, in order."""
        return self._records.runs.transitions(self._records.run_id, path=self.path, idx=self._row.idx)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": f"{_shown_head(self)}{self._preview()}", "text/plain": repr(self)}

    def _preview(self) -> str:
        """Its result as HTML, or why there is none."""
        if self._row.state in states.FAILURE:
            told = str((self._row.details or {}).get("text") or self._row.message)
            return f"<pre>{escape(told)}</pre>"
        if self._row.state not in states.WITH_VALUE:
            return ""
        if self.reference is not None and self.reference.size > showing.MOST_BYTES:
            return f"<div>a result of {self.reference.size:,} bytes: result() loads it</div>"
        try:
            return showing.as_html(self._records.value(self._row))
        except Exception as error:  # it is gone, or was never stored
            return f"<div>{escape(str(error))}</div>"

    def __repr__(self) -> str:
        return f"TaskRun({self.label}: {self._row.state}{f', {self._row.message}' if self._row.message else ''})"


class TaskRuns(Sequence[TaskRun]):
    """The children of a mapped node, by index; each is read when it is asked for."""

    def __init__(self, records: Records, path: str, width: int) -> None:
        self._records, self.path, self._width = records, path, width

    def __len__(self) -> int:
        return self._width

    @overload
    def __getitem__(self, index: int) -> TaskRun: ...
    @overload
    def __getitem__(self, index: slice) -> list[TaskRun]: ...
    def __getitem__(self, index: int | slice) -> TaskRun | list[TaskRun]:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(self._width))]
        where = index + self._width if index < 0 else index
        if not 0 <= where < self._width:
            raise IndexError(f"{self.path} has {self._width} children; there is none with index {index}")
        return self._records.task_run(self.path, where)

    def __iter__(self) -> Iterator[TaskRun]:
        rows = {row.idx: row for row in self._records.runs.task_runs(self._records.run_id, path=self.path)}
        for index in range(self._width):
            yield TaskRun(self._records, rows.get(index) or pending(self._records.run_id, self.path, index))

    def _ipython_key_completions_(self) -> list[int]:
        return list(range(min(self._width, MOST_COMPLETED)))

    def result(self) -> list[object]:
        """The children's values, those that were skipped left out."""
        return self._records.of([child._row for child in self if child.state.type != states.SKIPPED])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        rows = self._records.runs.task_runs(self._records.run_id, path=self.path)
        # What failed is told first.
        told = sorted(rows, key=lambda row: (row.state not in states.FAILURE, row.idx))[:MOST_SHOWN]
        lines = "".join(f"<div>{_shown_head(TaskRun(self._records, row))}</div>" for row in told)
        more = f"<div>… and {len(rows) - len(told):,} more</div>" if len(rows) > len(told) else ""
        return {"text/html": f"<div><b>{escape(repr(self))}</b></div>{lines}{more}", "text/plain": repr(self)}

    def __repr__(self) -> str:
        counts = self._records.runs.counts(self._records.run_id).get(self.path, {})
        return (
            f"TaskRuns({self.path} × {self._width}: {', '.join(f'{n} {state}' for state, n in sorted(counts.items()))})"
        )


def _shown_head(one: TaskRun) -> str:
    """A line of HTML on a task run: its state, how long it took, why."""
    mark = MARKS[one.state.type]
    facts = [mark.word, took(one.duration), f"attempt {one.attempt}" if one.attempt > 1 else "", one.state.message]
    return f"{mark.glyph} <b>{escape(one.label)}</b> {escape(' · '.join(fact for fact in facts if fact))}"


def pending(run_id: str, path: str, index: int) -> TaskRunRow:
    """The row of a task run of which nothing is on record."""
    return TaskRunRow(
        run_id=run_id,
        path=path,
        idx=index,
        state=states.PENDING,
        message="",
        time=None,
        attempt=0,
        started=None,
        ended=None,
        worker=None,
        reference=None,
        details=None,
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
