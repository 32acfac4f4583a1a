"""One fragment through Dask's local scheduler: the kernel of the executors that run in this process.

Each task is wrapped in a node that does the bookkeeping where the task runs. So a value is taken the moment it exists,
a leaf's value that nobody keeps is dropped at once, values of earlier fragments are handed in without rewriting tasks,
and a task that raises costs its own descendants only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, wait
from typing import Any

from dask._task_spec import GraphNode
from dask.local import get_async

from dataflow_executors.base import Fragment, Key
from dataflow_executors.kept import KeptValues

Submit = Callable[..., "Future[Any]"]


class _Stop(Exception):
    """Ends Dask's loop when the run was cancelled."""


class _Lost:
    """Stands for the value of a task that has none, and tells its descendants why."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Node(GraphNode):
    """A task of the fragment, with the values of earlier fragments that it takes."""

    __slots__ = ("given", "name", "run", "task")

    def __init__(self, key: Key, task: GraphNode, given: Mapping[Key, object], run: FragmentRun) -> None:
        self.key = self.name = key
        self.task = task
        self.given = given
        self.run = run
        self._dependencies = task.dependencies - given.keys() if given else task.dependencies

    def __call__(self, values: Mapping[Key, object] = {}) -> object:
        return self.run.execute(self.name, self.task, {**values, **self.given} if self.given else values)


class FragmentRun:
    """One fragment on its way.

    State: `_finished`, wanted keys that have their value; `_errors`, why others have none; `_flying`, what the pool has
    not given back; `_refused`, why Dask did not take the graph.

    Parameters
    ----------
    fragment
        What to run.
    given
        Values of the keys of earlier fragments that it depends on.
    values
        Where kept values go.
    stopped
        Asked before each task starts; once true, nothing starts any more.
    passes
        Exceptions that end the run and go to the caller, instead of costing only the task that raised them.
    """

    def __init__(
        self,
        fragment: Fragment,
        given: Mapping[Key, object],
        values: KeptValues,
        stopped: Callable[[], bool],
        passes: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._leaves = fragment.leaves()
        self._keep = fragment.keep
        self._wanted = self._leaves | self._keep
        self._values = values
        self._stopped = stopped
        self._passes = passes
        self._finished: set[Key] = set()
        self._errors: dict[Key, BaseException] = {}
        self._flying: set[Future[Any]] = set()
        self._refused: Exception | None = None
        self._nodes = {key: _Node(key, task, _part(task, given), self) for key, task in fragment.tasks.items()}

    def run(self, submit: Submit, width: int) -> None:
        """Run everything; return when nothing of the fragment runs any more.

        Parameters
        ----------
        submit
            `concurrent.futures.Executor.submit` of a pool, or something that calls at once.
        width
            How many tasks to have in the pool at the same moment.
        """

        def track(*call: Any) -> Future[Any]:
            future = submit(*call)
            self._flying.add(future)
            future.add_done_callback(self._flying.discard)
            return future

        def before(key: Key, dsk: object, state: object) -> None:
            if self._stopped():
                raise _Stop

        try:
            # A cache of its own: Dask's configuration may hold one that is shared by all.
            hooks = (None, None, before, None, None)
            get_async(track, width, self._nodes, list(self._leaves), cache={}, callbacks=[hooks])  # type: ignore[no-untyped-call]
        except _Stop:
            pass
        except Exception as error:  # Dask's own: the graph is no graph
            self._refused = error
        finally:
            wait(list(self._flying))

    def execute(self, key: Key, task: GraphNode, values: Mapping[Key, object]) -> object:
        """Run one task where it stands; called by its node, in a thread of the pool."""
        if self._stopped():
            return self._lose(key, CancelledError())
        if self._errors:
            for value in values.values():
                if type(value) is _Lost:
                    return self._lose(key, value.error)
        try:
            value = task(values)
        except self._passes:
            raise
        except BaseException as error:  # a pool's thread has nobody above to tell: Done does
            return self._lose(key, error)
        if key in self._keep:
            self._values[key] = value
        if key in self._wanted:
            self._finished.add(key)
        return None if key in self._leaves else value

    def lost(self) -> dict[Key, BaseException]:
        """Leaves and kept keys without a value, with the reasons; complete once `run` has returned or raised."""
        other = self._refused or CancelledError()
        return {key: self._errors.get(key, other) for key in self._wanted - self._finished}

    def _lose(self, key: Key, error: BaseException) -> _Lost:
        self._errors[key] = error
        return _Lost(error)


def _part(task: GraphNode, given: Mapping[Key, object]) -> Mapping[Key, object]:
    return {key: given[key] for key in task.dependencies & given.keys()} if given else given
