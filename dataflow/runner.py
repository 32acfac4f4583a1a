"""The task wrapper: `run_task` is what every Dask task calls, and nothing else of ours runs on a worker for a task.

Its steps, in this order, are the functions of `unit`: pass on a deferral; skip; ask the trigger; look for a committed
result; run the body; classify; commit and only then report success; retry now, later or not at all. It never raises
into Dask, whatever the body does.
"""

from __future__ import annotations

from dataflow.bundles import as_unit, run_bundle
from dataflow.calls import BatchCall, BundleCall, Call, Sealed
from dataflow.maps import measure, run_batch
from dataflow.outcome import Batch, Bundle, Outcome
from dataflow.results import SingleCommitter
from dataflow.session import attach
from dataflow.unit import run_unit


def run_task(call: Call | BatchCall | BundleCall | Sealed, *sources: object) -> Outcome | Batch | Bundle:
    """Run a call: one task run or some of them, some children of a group of maps, or the measuring of a map.

    Parameters
    ----------
    call : Call, BatchCall, BundleCall or Sealed
        What to run.
    *sources : Outcome, Batch or Bundle
        What its Dask dependencies returned.

    Returns
    -------
    Outcome, Batch or Bundle
        For the tasks that depend on it.
    """
    session = attach(call.run)
    if isinstance(call, Sealed):
        call = call.open()
    if isinstance(call, BatchCall):
        return run_batch(session, call, sources)
    if isinstance(call, BundleCall):
        return run_bundle(session, call, sources)
    unit = as_unit(session, call, sources, [])
    if call.kind == "measure":
        return measure(session, unit)
    return run_unit(session, unit, SingleCommitter(session))
