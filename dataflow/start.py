"""Starting a run: a graph is put on record and gets its driver."""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections.abc import Mapping, Sequence

from dataflow import prune, settings, states
from dataflow.assignment import Assignment
from dataflow.definition import Hook
from dataflow.engine import Driver
from dataflow.errors import OptionError
from dataflow.graph import Graph
from dataflow.names import readable_name
from dataflow.outputs import stored_arguments, stored_graph, stored_outputs
from dataflow.patience import patiently
from dataflow.places import choose_executor, open_results, open_runs
from dataflow.recovery import lease_seconds, me
from dataflow.run import Run
from dataflow.source import address
from dataflow_storage import RunStore


def start(
    graph: Graph,
    *,
    executor: object = None,
    results: str | None = None,
    tags: Sequence[str] = (),
    version: str = "",
    hooks: Mapping[str, Hook] | None = None,
    log_prints: bool | None = None,
    parameters: Mapping[str, object] | None = None,
    refresh: object = False,
    source: object = None,
    rerun_of: str = "",
    runs: RunStore | None = None,
    dask_key: str = "",
) -> Run:
    """Put a graph on record as a run and begin to drive it.

    Parameters
    ----------
    graph : Graph
        What to run.
    executor : Executor, str, Client, cluster or None
        Where; see `dataflow_executors.choose`.
    results : str, optional
        URL of the result store.
    tags, version, hooks, log_prints
        Of the flow.
    parameters : mapping, optional
        The parameters as plain JSON data, secrets masked.
    refresh : bool or sequence of str
        What must be made anew although the cache has it: all, or tasks by name or path.
    source : Flow, optional
        The flow that built the graph: another process may have to find it again.
    rerun_of : str
        The id of the run that this one repeats.
    runs : RunStore, optional
        Where to record it; None: as configured.
    dask_key : str
        The key of the Dask task that makes the run.
    """
    anew = _names(refresh)
    prune.check(graph, anew)
    chosen = choose_executor(executor)
    store = runs or open_runs()
    now = time.time()
    run_id = uuid.uuid4().hex
    results_store = open_results(results or settings.results_url())
    mine = me()
    details: dict[str, object] = {"refresh": anew, "code": address(source), "executor": chosen.spec}
    details |= {"host": socket.gethostname(), "folder": os.getcwd(), "python": sys.executable}
    details |= {"rerun_of": rerun_of} if rerun_of else {}
    details |= {"dask_key": dask_key} if dask_key else {}
    columns = {
        "id": run_id,
        "name": readable_name(),
        "flow": graph.flow,
        "version": version,
        "parameters": dict(parameters or {}),
        "tags": list(tags),
        "state": states.PENDING,
        "message": "",
        "created": now,
        "executor": chosen.name,
        "results_url": results_store.url,
        "outputs": stored_outputs(graph),
        "graph": stored_graph(graph),
        "arguments": stored_arguments(graph),
        "details": details,
    }
    name = patiently(lambda: store.create_run(columns, owner=mine, seconds=lease_seconds()))
    run = Run(store, store.find(run_id), graph=graph)
    prints = bool(settings.get("tasks.log_prints")) if log_prints is None else log_prints
    run._driver = Driver(
        Assignment(
            run_id=run_id,
            run_name=name,
            graph=graph,
            logical_time=now,
            executor=chosen,
            results=results_store,
            runs=store,
            epoch=1,
            since=now,
            details=details,
            hooks=hooks or {},
            view=run._view,
            log_prints=prints,
            refresh=anew,
        )
    )
    return run


def _names(refresh: object) -> bool | tuple[str, ...]:
    if isinstance(refresh, bool) or not refresh:
        return bool(refresh)
    names = (refresh,) if isinstance(refresh, str) else refresh
    if not isinstance(names, list | tuple | set | frozenset) or not all(isinstance(name, str) for name in names):
        raise OptionError("run", "refresh", refresh, "True, or names of tasks")
    return tuple(names)
