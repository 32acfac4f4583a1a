"""A node as a Dask collection: what Dask computes is one task, which makes a run of the node and all before it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dataflow import settings
from dataflow.driven import finish, launch
from dataflow.errors import RecordElsewhere
from dataflow.graph import Graph
from dataflow.node import Node
from dataflow.parameters import masked
from dataflow.places import open_runs
from dataflow.start import start


@dataclass(frozen=True, kw_only=True)
class Computation:
    """A run that is to be made where Dask says.

    Parameters
    ----------
    graph : Graph
        Its output is what is asked for.
    options : mapping
        Of the flow: `results`, `tags`, `version`, `log_prints`.
    runs, results : str
        Where runs are recorded, and where results go.
    host : str
        The machine where it was asked for.
    """

    graph: Graph
    options: Mapping[str, object]
    runs: str
    results: str
    host: str

    def __call__(self) -> object:
        """Make the run, and give what it returns."""
        if "://" not in self.runs and socket.gethostname() != self.host:
            raise RecordElsewhere(self.runs, self.host, socket.gethostname())
        with _somewhere() as executor:
            options: dict[str, Any] = dict(self.options)
            run = start(
                self.graph,
                executor=executor,
                results=self.results,
                runs=open_runs(self.runs),
                parameters=masked(self.graph.parameters),
                **options,
            )
            launch(run, aside=True)
            finish(run.wait(), raise_on_failure=True)
            return run.result()


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


def computation(graph: Graph, node: Node, options: Mapping[str, object]) -> Computation:
    """The run that computes one node of a graph, with options of its flow."""
    needed: set[Node] = set()
    left = [node]
    while left:
        one = left.pop()
        if one not in needed:
            needed.add(one)
            left += one.upstream
    part = Graph(
        flow=graph.flow,
        nodes=tuple(one for one in graph.nodes if one in needed),
        outputs=node,
        parameters=graph.parameters,
    )
    given = {name: options[name] for name in ("tags", "version", "log_prints") if name in options}
    return Computation(
        graph=part,
        options=given,
        runs=settings.runs_url(),
        results=str(options.get("results") or settings.results_url()),
        host=socket.gethostname(),
    )
