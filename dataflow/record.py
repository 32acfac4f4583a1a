"""A run as it stands on record: its state, task runs, results and logs, live or years later.

All that is told comes from the record and the result store, so a Run in the process that drives it and one from
`get_run` say the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow import settings, states
from dataflow.draw.picture import Picture
from dataflow.errors import NoSuchTask, NotFinished, RunFailed
from dataflow.events import NO_INDEX
from dataflow.graph import Graph
from dataflow.log_lines import LogLines
from dataflow.outcome import Missing
from dataflow.outputs import OutputRef, by_path, loaded_outputs
from dataflow.owners import driven_since
from dataflow.places import open_results
from dataflow.report import report
from dataflow.states import State
from dataflow.structure import find, replace
from dataflow.task_runs import Records, TaskRun, TaskRuns, pending
from dataflow_storage.rows import EndRow, NodeRow, RunRow, TaskRunRow, TransitionRow

if TYPE_CHECKING:
    import pandas

    from dataflow_storage import ResultStore, RunStore

MOST_FAILED = 1000


class Record:
    """What a run tells.

    Parameters
    ----------
    store : RunStore
        The record.
    row : RunRow
        The run's row.
    graph : Graph, optional
        Its graph, in the process that made it.
    """

    def __init__(self, store: RunStore, row: RunRow, graph: Graph | None = None) -> None:
        self._store = store
        self._graph = graph
        self.id, self.name, self.flow = row.id, row.name, row.flow
        self.parameters: Mapping[str, object] = row.parameters
        self._results_url = row.results_url or settings.results_url()
        self._shown: int | None = None  # the notebook cell that has its picture already

    @property
    def record(self) -> RunRow:
        """The run's row as it is now."""
        return self._store.find(self.id)

    @property
    def state(self) -> State:
        """The run's state now."""
        row = self.record
        return State(type=row.state, message=row.message, time=row.ended or row.started or row.created)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many task runs of each node (by path) are in each state."""
        return self._store.counts(self.id)

    @property
    def task_runs(self) -> list[TaskRun]:
        """Every task run that has begun or ended, in the order of the graph. Operators on nodes are left out."""
        nodes = {node.path: node for node in self._store.nodes(self.id)}
        rows = [row for row in self._store.task_runs(self.id) if not _is_hidden(row, nodes.get(row.path))]
        rows.sort(key=lambda row: (nodes[row.path].position if row.path in nodes else len(nodes), row.idx))
        return [TaskRun(self._records, row) for row in rows]

    def __getitem__(self, path: str) -> TaskRun | TaskRuns:
        """The task run with this path, such as `clean`, `clean[3]` or `report/clean`; of a mapped node its children."""
        nodes = {node.path: node for node in self._store.nodes(self.id)}
        base, bracket, index = path.rpartition("[")
        if path not in nodes and bracket and base in nodes and index.endswith("]") and index[:-1].isdigit():
            return TaskRuns(self._records, base, nodes[base].width or 0)[int(index[:-1])]
        node = nodes.get(path)
        if node is None:
            raise NoSuchTask(self.name, path, list(nodes))
        rows = self._store.task_runs(self.id, path=path, idx=NO_INDEX)
        if node.kind == "map" and (node.width is not None or not rows):
            return TaskRuns(self._records, path, node.width or 0)
        return TaskRun(self._records, rows[0] if rows else pending(self.id, path, NO_INDEX))

    def _ipython_key_completions_(self) -> list[str]:
        return [node.path for node in self._store.nodes(self.id)]

    def logs(self, level: int = 0) -> LogLines:
        """All log lines of the run and its tasks, of at least this level: each task's in its own order."""
        return LogLines(self._store.logs(self.id, level=level))

    @property
    def failed(self) -> list[TaskRun]:
        """The task runs that failed, in any way; at most the first 1,000."""
        rows = self._store.task_runs(self.id, states=sorted(states.FAILURE), limit=MOST_FAILED)
        return [TaskRun(self._records, row) for row in rows]

    @property
    def history(self) -> list[TransitionRow]:
        """Every change of state of the run and its task runs, in order."""
        return self._store.transitions(self.id)

    def to_frame(self) -> pandas.DataFrame:
        """The task runs as a pandas table: one row for each, in the order of the graph.

        Columns: `task`, `path`, `index` (missing where not mapped), `state`, `message`, `attempt`, `started`, `ended`
        (UTC), `seconds` (of the last attempt), `worker`.

        Raises
        ------
        ImportError
            pandas is not there: it comes with the extra `parquet`.
        """
        from dataflow.tables import task_run_table

        names = {node.path: node.task for node in self._store.nodes(self.id)}
        return task_run_table(self.task_runs, names)

    def visualize(self, path: str | None = None, format: str | None = None) -> str:
        """Draw the run's graph with its states, as it is known now: what deferred subflows built is in it.

        Parameters
        ----------
        path : str, optional
            A file to write: .svg, .mmd (Mermaid), .dot, .json or .txt.
        format : str, optional
            "svg", "mermaid", "dot", "json" or "text"; by default what the path's suffix says, else "svg".

        Returns
        -------
        str
            The text of the picture; an SVG shows itself in a notebook.
        """
        from dataflow.draw import draw_items, format_of
        from dataflow.draw.expanded import items_of_record

        returned = {node.path for node in self._graph.returned} if self._graph is not None else set()
        counts = self.counts
        items = items_of_record(self._store.nodes(self.id), returned, counts)
        drawn = draw_items(self.flow, items, format or ("svg" if path is None else format_of(str(path))), counts=counts)
        if path is not None:
            Path(path).write_text(drawn, encoding="utf-8")
        return drawn

    def timeline(self, lanes: str = "task") -> Picture:
        """When what ran: a picture that a notebook shows; `.save("run.svg")` writes it.

        Attempts are bars and the waits between them thin lines. What is too much for bars is drawn by how many ran at
        each moment.

        Parameters
        ----------
        lanes : str
            "task": a lane for each task; "worker": one for each worker.

        Raises
        ------
        OptionError
            There are no such lanes.
        """
        from dataflow.timeline import run_timeline

        return run_timeline(self._store, self.record, lanes)

    @property
    def report(self) -> str:
        """What went wrong, for a person."""
        failed = self._store.task_runs(self.id, states=sorted(states.FAILURE), limit=MOST_FAILED)
        return report(self.record, failed)

    def result(self) -> object:
        """What the flow returned, in its shape.

        Raises
        ------
        RunFailed
            The run did not succeed.
        NotFinished
            It is not over.
        """
        row = self.record
        if row.state not in states.RUN_FINAL:
            raise NotFinished(f"run {self.name}", row.state)
        if row.state != states.SUCCESS:
            raise RunFailed(self, self.report)
        if isinstance(row.outputs, Mapping):
            outputs = loaded_outputs(row.outputs)
        elif self._graph is not None:
            outputs = by_path(self._graph.outputs)
        else:
            raise NotFinished(f"run {self.name}", "Success, but what its flow returned could not be stored")
        values = self._outputs({ref.path: ref.mapped for ref in find(outputs, OutputRef)})
        return replace(outputs, OutputRef, lambda ref: values[ref.path])

    def _outputs(self, wanted: Mapping[str, bool]) -> dict[str, object]:
        """Values of nodes by path; one that was skipped has none, a mapped one (True) those that its children have."""
        values, single, read = dict[str, object](), set[str](), dict[str, list[EndRow]]()
        for path, own in self._store.ends(self.id, wanted).items():
            if wanted[path] and (not own or own[-1].idx != NO_INDEX):
                read[path] = [row for row in own if row.idx != NO_INDEX and row.state != states.SKIPPED]
            elif own[0].state == states.SKIPPED:
                values[path] = Missing(self._records.task_run(path, NO_INDEX).state)
            else:
                single.add(path)
                read[path] = own
        found = iter(self._records.of([row for each in read.values() for row in each]))
        for path, each in read.items():
            values[path] = next(found) if path in single else list(islice(found, len(each)))
        return values

    @property
    def _records(self) -> Records:
        return Records(run_id=self.id, runs=self._store, results=self._results, values=self._values)

    @property
    def _values(self) -> Mapping[tuple[str, int], object]:
        """Outputs that were not stored: only the process that drove the run has them."""
        return {}

    @property
    def _results(self) -> ResultStore:
        return open_results(self._results_url)

    def __repr__(self) -> str:
        row = self.record
        took = f", {(row.ended or time.time()) - driven_since(row):.1f} s" if row.started else ""
        return f"Run({self.name}: {self.flow}, {row.state}{f', {row.message}' if row.message else ''}{took})"


def _is_hidden(row: TaskRunRow, node: NodeRow | None) -> bool:
    """Operators on nodes; and a map as a whole that once ended before its width was known: its children count now."""
    if node is None:
        return False
    return node.kind == "internal" or (node.kind == "map" and row.idx == NO_INDEX and node.width is not None)
