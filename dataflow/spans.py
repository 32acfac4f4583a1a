"""First attempts of children of maps, from their begin to their success, as columns of rows: between two flushes.

State: `_begun`, when each child began that has not ended since, by path and worker; `_ended`, those that have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dataflow import states
from dataflow.events import Several
from dataflow_storage import Reference
from dataflow_storage.rows import Columns

Each = dict[str, Sequence[object] | Columns]


class Spans:
    """What began and what succeeded since the last flush, each child once."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], dict[int, float]] = {}
        self._ended: list[tuple[Several, Sequence[float] | None]] = []  # with the times at which they began

    def begin(self, event: Several) -> None:
        """Children began."""
        self._begun.setdefault((event.path, event.worker), {}).update(zip(event.indices, event.times, strict=True))

    def end(self, event: Several) -> None:
        """Children succeeded. What began since the last flush is written with that, at once."""
        begun = self._begun.get((event.path, event.worker), {})
        if begun.keys() >= set(event.indices):
            self._ended.append((event, [begun.pop(index) for index in event.indices]))
        else:
            self._ended.append((event, None))

    def task_runs(self) -> Iterator[Columns]:
        """Rows of the task runs; what began comes before what ended."""
        for (path, worker), begun in self._begun.items():
            if begun:
                times = list(begun.values())
                shared = {"path": path, "state": states.RUNNING, "message": "", "attempt": 1, "worker": worker}
                yield columns(shared | {"ended": None}, {"idx": list(begun), "time": times, "started": times})
        for event, started in self._ended:
            shared = {"path": event.path, "state": event.type, "message": "", "attempt": 1, "details": None}
            each: Each = {"idx": event.indices, "time": event.times, "ended": event.times, "reference": _told(event)}
            if started is not None:
                shared["worker"], each["started"] = event.worker, started
            yield columns(shared, each)

    def attempts(self) -> Iterator[Columns]:
        """Rows of the attempts."""
        for (path, worker), begun in self._begun.items():
            if begun:
                shared: dict[str, object] = {"path": path, "attempt": 1, "state": states.RUNNING, "worker": worker}
                yield columns(shared, {"idx": list(begun), "started": list(begun.values())})
        for event, started in self._ended:
            shared = {"path": event.path, "attempt": 1, "state": event.type, "error": None}
            each: Each = {"idx": event.indices, "ended": event.times}
            if started is not None:
                shared["worker"], each["started"] = event.worker, started
            yield columns(shared, each)


def columns(shared: Mapping[str, object], each: Each) -> Columns:
    """Columns for the record, where what is the same for all of them is told once."""
    alike: dict[str, object] = {}
    varying: dict[str, Sequence[object] | Columns] = {}
    size = 0
    for name, values in each.items():
        if isinstance(values, Columns):
            varying[name] = values
            continue
        size = len(values)
        if values.count(values[0]) == size:
            alike[name] = values[0]
        else:
            varying[name] = values
    return Columns(size, {**shared, **alike}, varying)


def _told(event: Several) -> Columns:
    assert event.references is not None
    return columns({}, dict(zip(Reference._fields, event.references.columns, strict=True)))
