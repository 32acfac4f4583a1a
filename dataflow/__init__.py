"""dataflow: plain Python functions become one lazy graph, run on Dask, with every state and result on record."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from dataflow.asking import wait_for_input
from dataflow.cache import cache
from dataflow.context import Secret, context
from dataflow.errors import DataflowError, RunFailed, TaskFailed
from dataflow.flow import Flow, flow
from dataflow.graph import Graph
from dataflow.node import Node, flatten, unmapped
from dataflow.outcome import Missing
from dataflow.retries import backoff
from dataflow.signals import Fail, Pause, Retry, Skip
from dataflow.states import State
from dataflow.task import Task, task

if TYPE_CHECKING:
    from dataflow.run import Run, get_run, get_runs
    from dataflow.task_runs import TaskRun
    from dataflow_executors import DaskExecutor, SyncExecutor, ThreadExecutor
    from dataflow_storage import ResultStore

__version__ = "0.1.0"

__all__ = [
    "DaskExecutor",
    "DataflowError",
    "Fail",
    "Flow",
    "Graph",
    "Missing",
    "Node",
    "Pause",
    "ResultStore",
    "Retry",
    "Run",
    "RunFailed",
    "Secret",
    "Skip",
    "State",
    "SyncExecutor",
    "Task",
    "TaskFailed",
    "TaskRun",
    "ThreadExecutor",
    "backoff",
    "cache",
    "context",
    "flatten",
    "flow",
    "get_run",
    "get_runs",
    "task",
    "unmapped",
    "wait_for_input",
]

# Loaded when they are first used: `import dataflow` stays light.
_LAZY = {
    "DaskExecutor": "dataflow_executors",
    "SyncExecutor": "dataflow_executors",
    "ThreadExecutor": "dataflow_executors",
    "ResultStore": "dataflow_storage",
    "Run": "dataflow.run",
    "TaskRun": "dataflow.task_runs",
    "get_run": "dataflow.run",
    "get_runs": "dataflow.run",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'dataflow' has no attribute {name!r}")
    value: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: object) -> None:
    """What `%load_ext dataflow` asks for: the magic `%dataflow`."""
    import_module("dataflow.magic").register(shell)
