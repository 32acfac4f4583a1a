"""How a driver begins: what its workers are told of the run, and the plan, from which all that is known is left out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import repeat
from typing import cast

from dataflow import prune, session, settings, states
from dataflow.assignment import PACES, Assignment
from dataflow.book import Book
from dataflow.events import NO_INDEX, Several, TaskEvent
from dataflow.plan import NOTHING, Plan
from dataflow.recovery import Past
from dataflow.session import Control, Job
from dataflow.works import Known
from dataflow_storage import Reference, StoreUnavailable
from dataflow_storage.references import References


def make_job(work: Assignment, past: Past | None, control: Control) -> Job:
    """What is the same for every task of the run."""
    return Job(
        run_id=work.run_id,
        run_name=work.run_name,
        flow=work.graph.flow,
        parameters=work.graph.parameters,
        logical_time=work.logical_time,
        store=work.results,
        channel=work.executor.channel,
        log_prints=work.log_prints,
        grace=float(str(settings.get("tasks.grace"))),
        reached=past is not None or _is_reached(work),
        patience=float(str(settings.get("runs.patience"))),
        keyed=prune.is_keyed(work.graph),
        concurrency=settings.concurrency(),
        refresh=work.refresh,
        anew=past.anew if past else {},
        taken_up=past is not None,
        control=control,
    )


def _is_reached(work: Assignment) -> bool:
    """Whether the result store answers: a wrong address should be told of soon, and an outage waited for."""
    try:
        work.results.find(f"{work.run_id}/nothing")
    except Exception:  # what is wrong is told by the first task that needs it
        return False
    return True


def make_plan(
    work: Assignment, past: Past | None, token: str, job: Job, book: Book
) -> tuple[Plan, prune.Pruner | None]:
    """The plan, with what need not run on record as if it had; and what looked for that, to be tidied up at the end.

    Parameters
    ----------
    work : Assignment
        What the driver is to do.
    past : Past or None
        What is known; None of a run that begins.
    token : str
        The run's, part of every Dask key.
    job : Job
        What the workers are told.
    book : Book
        Takes what was found.
    """
    known = dict(past.known) if past else {}
    pruned: dict[tuple[str, int], Known] = {}
    pruner = None
    if job.keyed:
        unneeded = past.unneeded if past else frozenset()
        pruner = prune.Pruner(session.Session(token, job), work.graph, known, unneeded)
        try:
            pruned = pruner.prune()
        except StoreUnavailable as error:  # then tasks look for themselves
            book.log(logging.WARNING, f"the cache could not be read: {error}")
    plan = Plan(
        work.graph,
        run=token,
        chains=work.executor.chains,
        slots=work.executor.slots,
        memory=replace(past or NOTHING, known={**known, **pruned}),
        batch=settings.batch(),
        paces=_paces(work),
    )
    book.begin_again()
    book.note(plan.news())
    for event in _found(pruned, is_new=past is None):
        book.record(event)
    return plan, pruner


def _found(pruned: Mapping[tuple[str, int], Known], *, is_new: bool) -> Iterator[Several | TaskEvent]:
    """What need not run, as events: in a new run one event for all calls that the cache has."""
    now, cached = time.time(), list[tuple[str, str, Reference]]()
    for (path, index), one in pruned.items():
        if is_new and index == NO_INDEX and one.type == states.CACHED and one.reference is not None:
            cached.append((path, one.message, one.reference))
        else:
            yield TaskEvent(path, index, one.type, now, message=one.message, reference=one.reference)
    if cached:
        references = References.of(reference for *_, reference in cached)
        messages = [message for _, message, _ in cached]
        yield Several(
            None, states.CACHED, "", [path for path, *_ in cached], repeat(now, len(cached)), references, messages
        )


def _paces(work: Assignment) -> Mapping[str, float]:
    """How long task runs took, the last time that this flow ran, or this very run."""
    notes = [work.details]
    with suppress(StoreUnavailable):
        notes += [row.details for row in work.runs.runs(flow=work.graph.flow, limit=4) if row.id != work.run_id]
    return cast("Mapping[str, float]", next((each[PACES] for each in notes if PACES in each), {}))
