"""Several task runs of plain nodes in one Dask task: independent calls of one task, or a chain of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

from dataflow.calls import BundleCall, Call, Inner, Unit, resolve
from dataflow.events import NO_INDEX, BatchDone
from dataflow.outcome import ABSENT, DEFERRED, Bundle, Outcome
from dataflow.results import SingleCommitter
from dataflow.session import Session
from dataflow.unit import run_unit


def as_unit(session: Session, call: Call, sources: Sequence[object], made: Sequence[Outcome]) -> Unit:
    """A call with its upstreams' outcomes: from its sources, or made before in its bundle."""
    upstream: list[object] = list(sources)
    if call.picks is not None:
        upstream = [made[pick.number] if isinstance(pick, Inner) else resolve(pick, sources) for pick in call.picks]
    return Unit(
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


def run_bundle(session: Session, call: BundleCall, sources: Sequence[object]) -> Bundle:
    """Run the calls of a bundle, one after the other."""
    started = time.perf_counter()
    made: list[Outcome] = []
    committer = SingleCommitter(session)
    for one in call.calls:
        made.append(run_unit(session, as_unit(session, one, sources, made), committer))
    session.emit(BatchDone(call.key, time.perf_counter() - started), urgent=True)
    # A value that was handed on within the bundle, nobody else needs, unless what comes after it was put off.
    for one, outcome in zip(call.calls, made, strict=True):
        for pick in one.picks or ():
            if isinstance(pick, Inner) and (outcome.type != DEFERRED or made[pick.number].reference is not None):
                made[pick.number].value = ABSENT
    return Bundle(made)
