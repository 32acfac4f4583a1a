"""What a driver is given to do, and whether it can be done where it is to be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dataflow import states
from dataflow.definition import Hook
from dataflow.errors import PlaceError
from dataflow.graph import Graph
from dataflow.recovery import Reopening
from dataflow_executors import Executor
from dataflow_storage import ResultStore, RunStore

PACES = "paces"  # in a run's notes: how long its tasks' runs take, for the next run


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a driver is to do.

    Parameters
    ----------
    run_id, run_name : str
        The run, which is on record already.
    graph : Graph
        What to run.
    logical_time : float
        Seconds since the epoch.
    executor : Executor
        Where; not started.
    results : ResultStore
        Where results go.
    runs : RunStore
        The record.
    epoch : int
        Of the lease that was claimed for it.
    how : Reopening, optional
        How the run is taken up again; None for one that begins.
    since : float
        When it was, in seconds since the epoch.
    hooks : mapping
        The flow's own hooks.
    view : callable
        Makes what a hook is called with, from a path and an index (None and NO_INDEX: the run).
    log_prints : bool
        The flow's default for its tasks.
    refresh : bool or tuple of str
        What must be made anew although the cache has it: all, or tasks by name or path.
    before : str
        The state that the run is in.
    started : float, optional
        When it was first driven.
    details : mapping
        The run's notes on record.
    columns : mapping
        Of the run's row, as they are from now on.
    patient : bool
        Wait for a scheduler that cannot be reached, also at first; and obey what was asked of the driver before.
    """

    run_id: str
    run_name: str
    graph: Graph
    logical_time: float
    executor: Executor
    results: ResultStore
    runs: RunStore
    epoch: int
    how: Reopening | None = None
    since: float = 0.0
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    view: Callable[[str | None, int], object]
    log_prints: bool = False
    refresh: bool | tuple[str, ...] = False
    before: str = states.PENDING
    started: float | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    columns: Mapping[str, object] = field(default_factory=dict)
    patient: bool = False


def check_places(results: ResultStore, executor: Executor) -> None:
    """Raise `PlaceError` where some worker could not reach the results."""
    if results.url.startswith("memory:") and executor.processes:
        raise PlaceError(results.url, "memory is this process's own, and the workers are other processes")
    if executor.hosts and ("://" not in results.url or results.url.startswith(("file:", "local:"))):
        raise PlaceError(results.url, "a local folder, and workers may be on other hosts")
