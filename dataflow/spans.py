"""First attempts that were told of together, from begin to success, as columns of rows: between two flushes.

State: `_begun`, when each began that has not ended since, by map (None: plain nodes) and worker; `_ended`, those that
have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dataflow import states
from dataflow.events import NO_INDEX, Several
from dataflow_storage import Reference
from dataflow_storage.rows import Columns

Each = dict[str, Sequence[object] | Columns]


class Spans:
    """What began and what succeeded since the last flush, each once."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str | None, str], dict[int | str, float]] = {}
        self._ended: list[tuple[Several, Sequence[float] | None]] = []  # with the times at which they began

    def begin(self, event: Several) -> None:
        """Task runs began."""
        self._begun.setdefault((event.path, event.worker), {}).update(zip(event.which, event.times, strict=True))

    def end(self, event: Several) -> None:
        """Task runs succeeded, or were found. What began since the last flush is written with that, at once."""
        begun = self._begun.get((event.path, event.worker), {})
        if begun.keys() >= set(event.which):
            self._ended.append((event, [begun.pop(one) for one in event.which]))
        else:
            self._ended.append((event, None))

    def task_runs(self) -> Iterator[Columns]:
        """Rows of the task runs; what began comes before what ended."""
        for (path, worker), begun in self._begun.items():
            if begun:
                times = list(begun.values())
                shared = {"state": states.RUNNING, "message": "", "attempt": 1, "worker": worker, "ended": None}
                yield several(path, list(begun), shared, {"time": times, "started": times})
        for event, started in self._ended:
            shared = {"state": event.type, "details": None, **({"attempt": 1} if event.attempt else {})}
            each: Each = {"time": event.times, "ended": event.times, "reference": _told(event)}
            each["message"] = event.messages or [""] * len(event)
            if started is not None:
                shared["worker"], each["started"] = event.worker, started
            yield several(event.path, event.which, shared, each)

    def attempts(self) -> Iterator[Columns]:
        """Rows of the attempts."""
        for (path, worker), begun in self._begun.items():
            if begun:
                shared: dict[str, object] = {"attempt": 1, "state": states.RUNNING, "worker": worker}
                yield several(path, list(begun), shared, {"started": list(begun.values())})
        for event, started in self._ended:
            if not event.attempt:
                continue
            shared = {"attempt": 1, "state": event.type, "error": None}
            each: Each = {"ended": event.times}
            if started is not None:
                shared["worker"], each["started"] = event.worker, started
            yield several(event.path, event.which, shared, each)


def several(path: str | None, which: Sequence[int | str], shared: Mapping[str, object], each: Each) -> Columns:
    """Rows about children of a map, by index; or, where `path` is None, about plain nodes, by path."""
    if path is None:
        return columns({"idx": NO_INDEX, **shared}, {"path": which, **each})
    return columns({"path": path, **shared}, {"idx": which, **each})


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
