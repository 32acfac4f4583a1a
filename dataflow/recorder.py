"""Events become rows: what a run leaves behind, gathered between flushes and written in one transaction.

State: `_current`, each task run's state as far as it was told; `_listed`, nodes whose task runs are counted;
`_written`, nodes that have their row; `ended`, how often a task run ended; and the rows since the last flush. A
transition that its table does not allow is not recorded but reported: an event of a task run that is final already came
twice.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby

from dataflow import states
from dataflow.events import NO_INDEX, Event, LogLine, Several, TaskEvent, label
from dataflow.node import Node
from dataflow.spans import Each, Spans, columns, several
from dataflow_storage.rows import Batch, Columns

logger = logging.getLogger(__name__)
Row = dict[str, object]
NONE: Mapping[int, str] = {}
MANY_ALIKE = 3  # fewer rows go with others to make one statement


class Recorder:
    """Gathers rows."""

    def __init__(self) -> None:
        self._current: dict[str, dict[int, str]] = {}
        self._listed: set[str] = set()
        self._widths: dict[str, int] = {}
        self.ended = 0
        self._written: set[str] = set()
        self._clear()

    def _clear(self) -> None:
        self._run: Row | None = None
        self._nodes: list[Row | Columns] = []
        self._task_runs: dict[str, dict[int, Row]] = {}
        self._transitions: list[Row | Columns] = []
        self._attempts: dict[tuple[str, int, int], Row] = {}
        self._spans = Spans()
        self._logs: list[Row] = []
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._hooks: list[Row] = []
        self._orders: list[int] = []
        self.size = 0

    def state_of(self, path: str, index: int) -> str:
        """The state's name that a task run is in."""
        return self._current.get(path, NONE).get(index, states.PENDING)

    def add_nodes(self, nodes: Sequence[Node], start: int) -> None:
        """Nodes joined the graph."""
        new = [(position, node) for position, node in enumerate(nodes, start) if node.path not in self._written]
        for _, alike in groupby(new, lambda each: _described(each[1])):
            positions, them = zip(*alike, strict=True)
            self._nodes += self._rows_of(them, positions)
        for _, node in new:
            self._written.add(node.path)
            # What was found committed is told, and counted, before the subflow that it is in has joined again.
            told = not node.mapped and NO_INDEX in self._current.get(node.path, NONE)
            width = node.width if node.mapped else 1 - told
            if width is not None and node.path not in self._listed:
                self._counts[node.path, states.PENDING] += width
                self._listed.add(node.path)
        self.size += len(new)

    def _rows_of(self, nodes: Sequence[Node], positions: Sequence[int]) -> Sequence[Row | Columns]:
        """Rows of nodes that differ in their paths, and what was learned of those."""
        node, paths = nodes[0], [node.path for node in nodes]
        shared: Row = {
            "task": node.name,
            "kind": "map" if node.mapped else "internal" if node.definition.internal else "task",
            "upstream": [up.path for up in node.upstream],
            "details": {
                "tags": list(node.definition.tags),
                "builds": node.definition.builds,
                "reuse": "target" if node.policy.target else "cache" if node.policy.cache else "",
            },
        }
        widths = [self._widths.get(node.path) if node.width is None else node.width for node in nodes]
        rows = columns(shared, {"path": paths, "position": positions, "width": widths})
        return [rows] if len(nodes) >= MANY_ALIKE else [*rows.rows()]

    def set_width(self, path: str, width: int) -> None:
        """A map learned its width."""
        self.size += 1
        self._nodes.append({"path": path, "width": width})
        # In an earlier life of the run, the map may have ended before it had children: its children stand for it now.
        whole = self._current.get(path, {}).pop(NO_INDEX, None)
        if whole is not None:
            self._counts[path, whole] -= 1
            self._listed.discard(path)
        before = self._widths.get(path, 0) if path in self._listed else 0
        self._widths[path] = width
        self._listed.add(path)
        self._counts[path, states.PENDING] += max(0, width - before)
        for index in range(width, before):
            if self.state_of(path, index) in states.FINAL:
                self._add_state(TaskEvent(path, index, states.PENDING, time.time()))
            self._add_state(TaskEvent(path, index, states.SKIPPED, time.time(), message="the map has become narrower"))

    def add(self, event: Event) -> bool:
        """Record an event. False where it is not new, or not legal."""
        if isinstance(event, LogLine):
            self.size += 1
            self._logs.append(
                {
                    "path": event.path,
                    "idx": event.index,
                    "attempt": event.attempt,
                    "time": event.time,
                    "level": event.level,
                    "logger": event.logger,
                    "message": event.message,
                }
            )
            return True
        if isinstance(event, Several):
            return self._add_several(event) or sum(map(self._add_state, event.each())) > 0
        return self._add_state(event) if isinstance(event, TaskEvent) else True

    def _add_several(self, event: Several) -> bool:
        """Record what begins or succeeds together. False, and nothing is recorded, where they are not alike."""
        entered = dict.fromkeys(event.which, event.type)
        if event.path is None:
            befores = {self.state_of(path, NO_INDEX) for path in entered}
            rows: Iterable[object] = self._task_runs
        else:
            current = self._current.setdefault(event.path, {})
            befores = {state or states.PENDING for state in set(map(current.get, entered))}
            rows = self._task_runs.get(event.path, NONE)
        if len(befores) != 1 or len(entered) < len(event):
            return False
        [before] = befores
        # What has a row of its own has to have it still: these are written before such rows.
        if event.type not in states.TASK_TRANSITIONS[before] or not entered.keys().isdisjoint(rows):
            return False
        self.size += 2 * len(entered)
        if event.path is None:
            for path in entered:
                self._current.setdefault(path, {})[NO_INDEX] = event.type
                self._count(path, event.type, before, listed=path in self._listed)
        else:
            current.update(entered)
            self._count(event.path, event.type, before, len(entered))
        if event.type == states.RUNNING:
            self._spans.begin(event)
        else:
            self.ended += len(entered)
            self._spans.end(event)
        each: Each = {"message": event.messages or [""] * len(event), "time": event.times}
        shared = {"state": event.type, "attempt": event.attempt}
        self._transitions.append(several(event.path, event.which, shared, each))
        return True

    def _count(self, path: str, entered: str, left: str, n: int = 1, *, listed: bool = True) -> None:
        self._counts[path, entered] += n
        if listed:
            self._counts[path, left] -= n

    def _add_state(self, event: TaskEvent) -> bool:
        who = event.path, event.index
        if event.index == NO_INDEX and event.path in self._widths:  # a map ends as a whole that had children once
            added = False
            for index in range(self._widths[event.path]):
                if self.state_of(event.path, index) not in states.FINAL:
                    added = self._add_state(event._replace(index=index)) or added
            return added
        current = self._current.setdefault(event.path, {})
        before = current.get(event.index, states.PENDING)
        if event.type not in states.TASK_TRANSITIONS[before]:
            if event.type == before == states.RUNNING:
                self._move(event)
            elif before not in states.FINAL and event.type != before:
                logger.warning("%s: %s cannot follow %s; not recorded", label(*who), event.type, before)
            return False
        self.size += 2
        current[event.index] = event.type
        self.ended += event.type in states.FINAL
        rows = self._task_runs.setdefault(event.path, {})
        row = rows.setdefault(event.index, {"path": event.path, "idx": event.index})
        row.update(state=event.type, message=event.message, time=event.time)
        if event.attempt:
            row["attempt"] = event.attempt
        if event.type == states.RUNNING:
            row["started"], row["ended"], row["worker"] = event.time, None, event.worker
        elif event.type in states.FINAL:
            row["ended"] = event.time
            row["reference"] = event.reference.to_dict() if event.reference is not None else None
        if event.type in states.FINAL or event.details is not None:
            row["details"] = event.details
        self._transitions.append(
            {
                "path": event.path,
                "idx": event.index,
                "state": event.type,
                "message": event.message,
                "time": event.time,
                "attempt": event.attempt,
            }
        )
        self._count(event.path, event.type, before, listed=event.index != NO_INDEX or event.path in self._listed)
        if event.attempt:
            self._add_attempt(event)
        return True

    def _move(self, event: TaskEvent) -> None:
        """An attempt begins once more, elsewhere: its worker was lost."""
        rows = self._task_runs.setdefault(event.path, {})
        row = rows.setdefault(event.index, {"path": event.path, "idx": event.index})
        row.update(started=event.time, worker=event.worker)
        self.size += 1
        self._add_attempt(event)

    def end_attempt(self, path: str, index: int, attempt: int, state: str, time: float) -> None:
        """An attempt ended of which nobody lives to tell."""
        self.size += 1
        self._attempts[path, index, attempt] = {
            "path": path,
            "idx": index,
            "attempt": attempt,
            "state": state,
            "ended": time,
        }

    def _add_attempt(self, event: TaskEvent) -> None:
        row = self._attempts.setdefault(
            (event.path, event.index, event.attempt), {"path": event.path, "idx": event.index, "attempt": event.attempt}
        )
        row["state"] = event.type
        if event.type == states.RUNNING:
            row["started"], row["worker"] = event.time, event.worker
        else:
            row["ended"] = event.time
            row["error"] = event.details

    def add_log(self, time: float, level: int, message: str, *, path: str | None = None, index: int = NO_INDEX) -> None:
        """A line of the framework's own: about the run, or about a task run."""
        self.size += 1
        self._logs.append(
            {
                "path": path,
                "idx": index,
                "attempt": 0,
                "time": time,
                "level": level,
                "logger": "dataflow",
                "message": message,
            }
        )

    def add_hook(self, time: float, hook: str, state: str, error: str | None, path: str | None, index: int) -> None:
        """A hook was called."""
        self.size += 1
        self._hooks.append({"path": path, "idx": index, "hook": hook, "state": state, "error": error, "time": time})

    def set_columns(self, columns: Mapping[str, object]) -> None:
        """Something of the run's own row has changed, but for its state."""
        if columns:
            self.size += 1
            self._run = {**(self._run or {}), **columns}

    def know(self, recorded: Mapping[tuple[str, int], str], listed: Iterable[str], widths: Mapping[str, int]) -> None:
        """What is on record already: the state's name of each task run, nodes whose task runs are counted, widths."""
        for (path, index), state in recorded.items():
            self._current.setdefault(path, {})[index] = state
        self._listed.update(listed)
        self._widths.update(widths)

    def carried_out(self, *orders: int) -> None:
        """Orders were carried out; the rows gathered now are what came of it. Those numbered 0 are not on record."""
        self.size += sum(map(bool, orders))
        self._orders += filter(None, orders)

    def set_run(self, time: float, state: str, message: str = "", **columns: object) -> None:
        """The run entered a state."""
        self.size += 1
        self._run = {**(self._run or {}), "state": state, "message": message, **columns}
        self._transitions.append(
            {"path": None, "idx": NO_INDEX, "state": state, "message": message, "time": time, "attempt": 0}
        )

    def take(self) -> Batch | None:
        """What was gathered since the last time, or None."""
        if not self.size:
            return None
        batch = Batch(
            run=self._run,
            nodes=self._nodes,
            task_runs=[*self._spans.task_runs(), *chain.from_iterable(map(dict.values, self._task_runs.values()))],
            transitions=self._transitions,
            attempts=[*self._spans.attempts(), *self._attempts.values()],
            logs=self._logs,
            counts={key: n for key, n in self._counts.items() if n},
            hooks=self._hooks,
            done_orders=self._orders,
        )
        self._clear()
        return batch


def _described(node: Node) -> object:
    """What the record says of a node, but for its path and width: the same for those with the same."""
    return id(node.definition), node.mapped, *map(id, node.upstream)
