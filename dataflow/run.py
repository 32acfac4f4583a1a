"""A run, as its user holds it: its state, results and logs, live or years later; and how it is taken up again.

All that is told comes from the record and the result store, so a Run in the process that drives it and one from
`get_run` say the same.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from dataflow import settings, states
from dataflow.definition import Hook
from dataflow.errors import NoSuchRun, NoSuchTask, NotFinished, RunFailed, RunNotResumable
from dataflow.events import NO_INDEX
from dataflow.graph import Graph
from dataflow.outcome import Missing
from dataflow.outputs import OutputRef, by_path, loaded_outputs
from dataflow.places import choose_executor, open_results, open_runs
from dataflow.recovery import claim, recall
from dataflow.report import report
from dataflow.states import State
from dataflow.structure import replace
from dataflow.task_runs import Records, TaskRun, TaskRuns, pending
from dataflow_storage import ResultStore, RunNotFound, RunStore
from dataflow_storage.errors import AmbiguousRun, StaleOwner
from dataflow_storage.rows import LogRow, NodeRow, RunRow, TaskRunRow

if TYPE_CHECKING:
    from dataflow.engine import Driver

MOST_FAILED = 1000
ABORT_SECONDS = 2.0


class Run:
    """One execution of a graph.

    Attributes: `id`, `name`, `flow`, `parameters`. Make one with `flow.run()`, `flow.submit()` or `get_run()`.
    """

    def __init__(self, store: RunStore, row: RunRow, driver: Driver | None = None, graph: Graph | None = None) -> None:
        self._store = store
        self._driver = driver
        self._graph = graph
        self._thread: threading.Thread | None = None
        self._options: Mapping[str, object] = {}
        self.id, self.name, self.flow = row.id, row.name, row.flow
        self.parameters: Mapping[str, object] = row.parameters
        self._results_url = row.results_url or settings.results_url()

    # What it tells ----------------------------------------------------------------------------------------------------

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

    def logs(self, level: int = 0) -> list[LogRow]:
        """All log lines of the run and its tasks, of at least this level: each task's in its own order."""
        return self._store.logs(self.id, level=level)

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
        return replace(outputs, OutputRef, self._output)

    def _output(self, wanted: OutputRef) -> object:
        rows = self._store.task_runs(self.id, path=wanted.path)
        if wanted.mapped and any(row.idx != NO_INDEX for row in rows):
            rows = [row for row in rows if row.idx != NO_INDEX]
        if not wanted.mapped or (rows and rows[0].idx == NO_INDEX):
            if rows and rows[0].state == states.SKIPPED:
                return Missing(TaskRun(self._records, rows[0]).state)
            return self._records.value(rows[0])
        return [
            self._records.value(row) for row in sorted(rows, key=lambda row: row.idx) if row.state != states.SKIPPED
        ]

    @property
    def _records(self) -> Records:
        values = self._driver.values if self._driver is not None else {}
        return Records(run_id=self.id, runs=self._store, results=self._results, values=values)

    @property
    def _results(self) -> ResultStore:
        return open_results(self._results_url)

    def __repr__(self) -> str:
        row = self.record
        took = f", {(row.ended or time.time()) - row.started:.1f} s" if row.started else ""
        return f"Run({self.name}: {self.flow}, {row.state}{f', {row.message}' if row.message else ''}{took})"

    # What it does -----------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Run:
        """Wait until the run is over or paused. Ctrl-C once cancels it cleanly, twice stops it at once.

        Parameters
        ----------
        timeout : float, optional
            At most this many seconds; the run goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with _interruptible(self._driver):
            while deadline is None or time.monotonic() < deadline:
                left = 0.2 if deadline is None else min(0.2, max(0.0, deadline - time.monotonic()))
                if self._driver is not None:
                    if self._driver.finished.wait(left):
                        break
                elif self.record.state in states.RUN_FINAL | {states.PAUSED}:
                    break
                else:
                    time.sleep(left)
        return self

    def __await__(self) -> Iterator[object]:
        import asyncio

        return asyncio.to_thread(self.wait).__await__()

    def cancel(self, *, now: bool = False) -> None:
        """Stop the run cleanly: what runs may finish, nothing else starts. With `now`, what runs is abandoned.

        Raises
        ------
        RunNotResumable
            Another process drives it.
        """
        if self._driver is not None and not self._driver.finished.is_set():
            if now:
                self._driver.abort()
            else:
                self._driver.cancel()
        elif self.record.state not in states.RUN_FINAL:
            # Nobody drives it, or its driver died: taken up only to be ended. The lease tells where somebody does.
            self._again("sync", raise_on_failure=False, refusal="", cancelled=True)

    def resume(self, *, executor: object = None, raise_on_failure: bool = True) -> Run:
        """Let a paused run go on, approving what waits for approval; or take up a crashed or cancelled one.

        What succeeded is kept.

        Raises
        ------
        RunNotResumable
            It succeeded, or runs in another process.
        RunFailed
            It ended in failure.
        """
        if self._driver is not None and not self._driver.finished.is_set():
            self._driver.resume()
            return self.wait()
        return self._again(executor, raise_on_failure, "there is nothing to resume.")

    def retry(self, *, executor: object = None, raise_on_failure: bool = True) -> Run:
        """Run again what did not succeed, in this same run, with a new retry budget. What succeeded is kept.

        Raises
        ------
        RunNotResumable
            It succeeded, or is still running.
        RunFailed
            It ended in failure.
        """
        if self._driver is not None and not self._driver.finished.is_set():
            raise RunNotResumable(self.name, self.record.state, "wait until it is over.")
        return self._again(executor, raise_on_failure, "there is nothing to retry; run the flow for a new run.")

    def _again(self, executor: object, raise_on_failure: bool, refusal: str, *, cancelled: bool = False) -> Run:
        row = self.record
        if row.state == states.SUCCESS:
            raise RunNotResumable(self.name, row.state, refusal)
        # Here, not above: whoever only reads a run needs neither the engine nor Dask.
        from dataflow.assignment import Assignment
        from dataflow.engine import Driver

        graph, (hooks, log_prints), chosen = self._load_graph(), self._hooks(), choose_executor(executor)
        try:
            epoch = claim(self._store, self.id)
        except StaleOwner as error:
            raise RunNotResumable(self.name, row.state, str(error)) from error
        driver = Driver(
            Assignment(
                run_id=self.id,
                run_name=self.name,
                graph=graph,
                logical_time=row.created,
                executor=chosen,
                results=self._results,
                runs=self._store,
                epoch=epoch,
                past=recall(self.id, self._store, self._results),
                hooks=hooks,
                view=self._view,
                log_prints=log_prints,
                refresh=_refresh(row.details),
                before=self.record.state,
            )
        )
        if cancelled:
            driver.cancel()
        self._driver = driver
        launch(self)
        self.wait()
        return finish(self, raise_on_failure)

    def _hooks(self) -> tuple[Mapping[str, Hook], bool]:
        hooks = self._options.get("hooks", {})
        assert isinstance(hooks, Mapping)
        return hooks, bool(self._options.get("log_prints"))

    def _load_graph(self) -> Graph:
        if self._graph is None:
            import cloudpickle

            blob = self._store.graph(self.id)
            if blob is None:
                raise RunNotResumable(
                    self.name, self.record.state, "its graph could not be stored; run the flow again."
                )
            graph = cloudpickle.loads(blob)
            assert isinstance(graph, Graph)
            self._graph = graph
        return self._graph

    def _view(self, path: str | None, index: int) -> object:
        """What a hook is called with; the record is brought up to date first."""
        if self._driver is not None:
            self._driver.flush()
        return self if path is None else self._records.task_run(path, index)


# Starting
# ---------------------------------------------------------------------------------------------------------------


def _is_hidden(row: TaskRunRow, node: NodeRow | None) -> bool:
    """Operators on nodes; and a map as a whole that once ended before its width was known: its children count now."""
    if node is None:
        return False
    return node.kind == "internal" or (node.kind == "map" and row.idx == NO_INDEX and node.width is not None)


def _refresh(details: Mapping[str, object]) -> bool | tuple[str, ...]:
    """What the run was told to make anew, when it was started."""
    told = details.get("refresh", False)
    return tuple(map(str, told)) if isinstance(told, list | tuple) else bool(told)


def launch(run: Run) -> None:
    """Drive a run: in a thread of its own, or here where the executor is inline."""
    driver = run._driver
    assert driver is not None
    driver.announce()
    if driver.work.executor.inline:
        with _interruptible(driver):
            driver.drive()
        return
    run._thread = threading.Thread(target=driver.drive, name=f"dataflow-{run.name}", daemon=True)
    run._thread.start()


def finish(run: Run, raise_on_failure: bool) -> Run:
    """The run when it is over; raises for one that did not succeed, and for what broke before anything ran.

    Raises
    ------
    RunFailed
        It failed, was cancelled or crashed.
    """
    driver = run._driver
    assert driver is not None
    error = driver.error
    if error is not None and (driver.fragments == 0 or not isinstance(error, Exception)):
        raise error
    if raise_on_failure and run.record.state in states.RUN_FINAL - {states.SUCCESS}:
        raise RunFailed(run, run.report) from error
    return run


def get_run(reference: str) -> Run:
    """A run on record, also one of another process or of long ago.

    Parameters
    ----------
    reference : str
        Its id, name or a prefix of its id (4 digits at least), `"@last"` or `"@last-failed"`.

    Raises
    ------
    NoSuchRun
        None, or more than one, goes by it.
    """
    store = open_runs()
    try:
        return Run(store, store.find(reference))
    except (RunNotFound, AmbiguousRun) as error:
        raise NoSuchRun(str(error)) from error


def get_runs(*, flow: str | None = None, state: str | None = None, limit: int = 50) -> list[Run]:
    """Runs on record, newest first."""
    store = open_runs()
    return [Run(store, row) for row in store.runs(flow=flow, state=state, limit=limit)]


@contextmanager
def _interruptible(driver: Driver | None) -> Iterator[None]:
    """Ctrl-C once: a clean cancel. Twice: at once."""
    if driver is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    presses = 0

    def pressed(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        if presses == 1:
            driver.cancel()
            return
        driver.abort()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield
    except KeyboardInterrupt:
        driver.finished.wait(ABORT_SECONDS)  # it writes down that the run was stopped
        raise
    finally:
        signal.signal(signal.SIGINT, before)
