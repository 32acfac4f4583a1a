"""A node as a Dask collection: what Dask computes is one task, which makes a run of the node and all before it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dataflow import control, settings, states
from dataflow.driven import finish, launch
from dataflow.errors import RecordElsewhere
from dataflow.graph import Graph
from dataflow.node import Node
from dataflow.owners import is_driven
from dataflow.parameters import masked
from dataflow.places import open_runs
from dataflow.recovery import RESUME
from dataflow.run import Run
from dataflow.start import start
from dataflow_storage import RunStore


@dataclass(frozen=True, kw_only=True)
class Computation:
    """A run that is to be made where Dask says.

    Parameters
    ----------
    key : str
        Dask's, of the task that makes it.
    graph : Graph
        Its output is what is asked for.
    options : mapping
        Of the flow: `results`, `tags`, `version`, `log_prints`.
    runs, results : str
        Where runs are recorded, and where results go.
    host : str
        The machine where it was asked for.
    """

    key: str
    graph: Graph
    options: Mapping[str, object]
    runs: str
    results: str
    host: str

    def __call__(self, *drawn: object) -> object:
        """Make the run, and give what it returns. `drawn` is nothing: see `dask_graph`."""
        if "://" not in self.runs and socket.gethostname() != self.host:
            raise RecordElsewhere(self.runs, self.host, socket.gethostname())
        store = open_runs(self.runs)
        with _somewhere() as executor:
            run = self._left(store)
            if run is None:
                run = self._start(store, executor)
            else:
                control.take_up(run, RESUME, executor, graph=self.graph)
            launch(run, aside=True)
            finish(run.wait(), raise_on_failure=True)
            return run.result()

    def _start(self, store: RunStore, executor: object) -> Run:
        options: dict[str, Any] = dict(self.options)
        return start(
            self.graph,
            executor=executor,
            results=self.results,
            runs=store,
            parameters=masked(self.graph.parameters),
            dask_key=self.key,
            **options,
        )

    def _left(self, store: RunStore) -> Run | None:
        """The run that another worker began, and died: Dask asks for its task once more then."""
        for row in store.runs(flow=self.graph.flow, state=(states.PENDING, states.RUNNING)):
            if row.details.get("dask_key") == self.key and not is_driven(row):
                return Run(store, row, graph=self.graph)
        return None


@contextmanager
def _somewhere() -> Iterator[object]:
    """Where the run's tasks go: to the cluster that this is a worker of, with this task out of their way; else here."""
    distributed: Any = import_module("distributed")  # Dask has imported it to find out where to compute
    try:
        distributed.get_worker()
    except ValueError:
        yield "sync" if threading.current_thread() is threading.main_thread() else "threads"
        return
    client = distributed.get_client()
    distributed.secede()
    try:
        yield client
    finally:
        distributed.rejoin()


def dask_graph(
    graph: Graph, node: Node, key: Callable[[Node], str], options: Mapping[str, object]
) -> dict[str, object]:
    """The Dask graph of a node of a graph: one task that makes a run; before it some only to be drawn.

    Dask optimises before it computes, and then `computing` leaves these away; `dask.visualize` shows them. Where Dask
    computes without that, they do nothing.

    Parameters
    ----------
    graph : Graph
        A flow's, complete.
    node : Node
        What is asked for.
    key : callable
        Dask's keys: of the node that of the task which makes the run, of others those of what is drawn.
    options : mapping
        Of the flow.
    """
    task_spec = import_module("dask._task_spec")
    part = _part(graph, node)
    keys = {one: key(one) for one in part.nodes}
    made: dict[str, object] = {}
    for one in part.nodes:
        function = computation(keys[one], part, options) if one is node else _nothing
        made[keys[one]] = task_spec.Task(keys[one], function, *[task_spec.TaskRef(keys[up]) for up in one.upstream])
    return made


def computing(dsk: Mapping[str, Any], keys: object) -> dict[str, object]:
    """What Dask computes of such a graph, and of what it has put on top of it: without what is only drawn."""
    task_spec, flatten = import_module("dask._task_spec"), import_module("dask.core").flatten
    bare = {
        key: task_spec.Task(key, task.func) if isinstance(getattr(task, "func", None), Computation) else task
        for key, task in dsk.items()
    }
    culled: dict[str, object] = task_spec.cull(bare, list(flatten(keys)))
    return culled


def _nothing(*drawn: object) -> None:
    pass


def _part(graph: Graph, node: Node) -> Graph:
    """The graph of a node and all that it needs."""
    needed: set[Node] = set()
    left = [node]
    while left:
        one = left.pop()
        if one not in needed:
            needed.add(one)
            left += one.upstream
    nodes = tuple(one for one in graph.nodes if one in needed)
    return Graph(flow=graph.flow, nodes=nodes, outputs=node, parameters=graph.parameters)


def computation(key: str, part: Graph, options: Mapping[str, object]) -> Computation:
    """The run that computes a graph under Dask's key, with options of its flow."""
    given = {name: options[name] for name in ("tags", "version", "log_prints") if name in options}
    return Computation(
        key=key,
        graph=part,
        options=given,
        runs=settings.runs_url(),
        results=str(options.get("results") or settings.results_url()),
        host=socket.gethostname(),
    )
