"""The task wrapper: `run_task` is what every Dask task calls, and nothing else of ours runs on a worker for a task.

Its steps, in this order, are the functions of `unit`: pass on a deferral; skip; ask the trigger; look for a committed
result; run the body; classify; commit and only then report success; retry now, later or not at all. It never raises
into Dask, whatever the body does.
"""

from __future__ import annotations

from typing import cast

from dataflow.calls import BatchCall, Call, Unit
from dataflow.events import NO_INDEX
from dataflow.maps import measure, resolve, run_batch
from dataflow.outcome import Batch, Outcome
from dataflow.results import SingleCommitter
from dataflow.session import attach
from dataflow.unit import run_unit


def run_task(call: Call | BatchCall, *sources: object) -> Outcome | Batch:
    """Run a call: one task run, some children of a group of maps, or the measuring of a map.

    Parameters
    ----------
    call : Call or BatchCall
        What to run.
    *sources : Outcome or Batch
        What its Dask dependencies returned.

    Returns
    -------
    Outcome or Batch
        For the tasks that depend on it.
    """
    session = attach(call.run)
    if isinstance(call, BatchCall):
        return run_batch(session, call, sources)
    upstream = list(sources) if call.picks is None else [resolve(pick, sources) for pick in call.picks]
    unit = Unit(
        definition=session.definition(call.definition),
        path=call.path,
        index=NO_INDEX,
        args=call.args,
        kwargs=call.kwargs or {},
        upstream=cast("list[Outcome | list[Outcome]]", upstream),
        attempt=call.attempt,
        base=call.base,
        resumed=call.resumed,
        answers=call.answers,
    )
    if call.kind == "measure":
        return measure(session, unit)
    return run_unit(session, unit, SingleCommitter(session))
