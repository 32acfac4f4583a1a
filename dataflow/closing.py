"""Ends a run that nobody drives, or puts it by, on record alone: no code of it is needed, and nothing runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from dataflow import states
from dataflow.events import NO_INDEX, TaskEvent
from dataflow.orders import PAUSE, Order
from dataflow.patience import patiently
from dataflow.recorder import Recorder
from dataflow.recovery import claim
from dataflow_storage import RunStore


def stop(runs: RunStore, run_id: str, order: Order) -> bool:
    """Cancel or pause a run that nobody drives, as an order says; whether it was not final yet."""
    state = states.PAUSED if order.what == PAUSE else states.CANCELLED
    details = {"paused": {"by": order.by, "note": order.note}} if state == states.PAUSED else {}
    message = f"{state.lower()} by {order.by}{f': {order.note}' if order.note else ''}"
    return close(runs, run_id, state, message, details=details)


def close(
    runs: RunStore,
    run_id: str,
    state: str,
    message: str,
    *,
    epoch: int | None = None,
    details: Mapping[str, object] | None = None,
) -> bool:
    """Put a run in a state in which nothing more happens by itself.

    Parameters
    ----------
    runs, run_id
        The record and the run.
    state : str
        Cancelled or Crashed: what had not ended, or was running, ends like that. Paused: nothing else changes.
    message : str
        Why.
    epoch : int, optional
        Only if this is still the run's epoch.
    details : mapping, optional
        For the run's notes.

    Returns
    -------
    bool
        Whether it was not final yet.

    Raises
    ------
    StaleOwner
        Somebody drives it.
    """
    mine = claim(runs, run_id, epoch=epoch)
    try:
        row = runs.find(run_id)
        if row.state in states.RUN_FINAL:
            return False
        recorder = Recorder()
        rows = {(one.path, one.idx): one.state for one in runs.task_runs(run_id)}
        recorder.know(rows, runs.counts(run_id), {})
        now = time.time()
        for node in runs.nodes(run_id) if state != states.PAUSED else ():
            whole = node.kind != "map" or node.width is None
            for index in (NO_INDEX,) if whole else range(node.width or 0):
                before = rows.get((node.path, index), states.PENDING)
                ends = before not in states.FINAL if state == states.CANCELLED else before == states.RUNNING
                if ends:
                    recorder.add(TaskEvent(node.path, index, state, now, message=message))
        ended = None if state == states.PAUSED else now
        recorder.set_run(now, state, message, ended=ended, details={**row.details, **(details or {})})
        batch = recorder.take()
        assert batch is not None
        numbered = replace(batch, number=1)
        patiently(lambda: runs.write(run_id, mine, numbered))
        return True
    finally:
        patiently(lambda: runs.release(run_id, mine))
