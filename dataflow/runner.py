"""The task wrapper: `run_task` is what every Dask task calls, and nothing else of ours runs on a worker for a task.

Its steps, in this order, are the functions below: pass on a deferral; skip; ask the trigger; look for a committed
result; run the body; classify; commit and only then report success; retry now, later or not at all. It never raises
into Dask, whatever the body does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from dataflow import states
from dataflow.body import Raised, call_body
from dataflow.calls import BatchCall, Call, Children, Item, Pick, Pointer, Slot, Stage, Unit
from dataflow.chunks import Chunk
from dataflow.context import Context, Secret
from dataflow.definition import Policy
from dataflow.errors import MapError
from dataflow.events import NO_INDEX, BatchDone, Expanded, Measured, TaskEvent
from dataflow.failure import describe, one_line
from dataflow.graph import Flat, Graph, Walk
from dataflow.outcome import ABSENT, DEFERRED, DEFERRED_OUTCOME, Batch, Missing, Outcome, has_value
from dataflow.results import Committer, SingleCommitter
from dataflow.session import Session, attach
from dataflow.signals import Fail, Pause, Retry, Skip
from dataflow.structure import replace
from dataflow.triggers import Manual, Upstreams
from dataflow.walking import as_items, common_length

__all__ = ["run_task"]
HEAVY_BYTES = 50_000


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
        return _run_batch(session, call, sources)
    upstream = list(sources) if call.picks is None else [_resolve(pick, sources) for pick in call.picks]
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
    )
    if call.kind == "measure":
        return _measure(session, unit)
    return run_unit(session, unit, SingleCommitter(session))


def _resolve(pick: Pick, sources: Sequence[object]) -> object:
    if isinstance(pick, int):
        return sources[pick]
    if isinstance(pick, Children):
        return pick.gather(sources)
    return pick


# The steps ------------------------------------------------------------------------------------------------------------


def run_unit(session: Session, unit: Unit, committer: Committer) -> Outcome:
    """Take one task run from its upstreams' outcomes to its own."""
    upstream = _flat(unit)
    return (
        _pass_on(upstream)
        or _skip(session, unit)
        or _refuse(session, unit, upstream)
        or committer.find(unit)
        or _attempt(session, unit, committer)
    )


def _flat(unit: Unit) -> list[Outcome]:
    flat: list[Outcome] = [] if unit.item is None else [unit.item]
    for outcome in unit.upstream:
        if isinstance(outcome, list):
            flat += outcome
        else:
            flat.append(outcome)
    return flat


def _pass_on(upstream: Sequence[Outcome]) -> Outcome | None:
    for outcome in upstream:
        if outcome.type == DEFERRED:
            return DEFERRED_OUTCOME
    return None


def _skip(session: Session, unit: Unit) -> Outcome | None:
    if not unit.definition.policy.skip_on_upstream_skip:
        return None
    groups = [[unit.item]] if unit.item is not None else []
    for upstream in (*unit.upstream, *groups):
        # Of a mapped upstream, all children must have been skipped; what some skipped is simply left out.
        children = upstream if isinstance(upstream, list) else [upstream]
        if children and all(child.type == states.SKIPPED for child in children):
            return _end(session, unit, states.SKIPPED, "an upstream was skipped")
    return None


def _refuse(session: Session, unit: Unit, upstream: Sequence[Outcome]) -> Outcome | None:
    if not upstream:
        return _ask(session, unit)
    trigger = unit.definition.policy.trigger
    try:
        counts = Upstreams.of(outcome.type for outcome in upstream)
        allowed = trigger(counts)
    except Exception as error:
        failure = describe(error)
        return _end(session, unit, states.FAILED, f"its trigger raised {one_line(failure)}", details=dict(failure))
    if not allowed:
        name = getattr(trigger, "__name__", None) or repr(trigger)
        return _end(
            session,
            unit,
            states.TRIGGER_FAILED,
            f"{name}: {counts.failed} failed, {counts.successful} successful of {counts.total} upstreams",
        )
    return _ask(session, unit)


def _ask(session: Session, unit: Unit) -> Outcome | None:
    if isinstance(unit.definition.policy.trigger, Manual) and not unit.resumed:
        return _defer(session, unit, states.PAUSED, "waits for approval")
    return None


def _attempt(session: Session, unit: Unit, committer: Committer) -> Outcome:
    policy = unit.definition.policy
    while True:
        unit.attempt += 1
        if session.job.control.cancelled:
            return DEFERRED_OUTCOME  # the driver records what did not start as cancelled
        session.emit(TaskEvent(unit.path, unit.index, states.RUNNING, time.time(), unit.attempt, worker=session.worker))
        try:
            args, kwargs = _bind(session, unit)
        except Exception as error:  # an upstream's result is gone, or a secret has no value
            result: object = Raised(error, dict(describe(error)))
        else:
            context = _context(session, unit, policy)
            result = call_body(session, unit, context, args, kwargs)
        if not isinstance(result, Raised):
            if unit.definition.builds and isinstance(result, Graph):
                result = _expand(session, unit, result)
                if not isinstance(result, Raised):
                    return result
            else:
                outcome = committer.commit(unit, result)
                if outcome is not None:
                    return outcome
                result = committer.refusal(unit)
        outcome = _after_exception(session, unit, policy, result)
        if outcome is not None:
            return outcome


def _expand(session: Session, unit: Unit, graph: Graph) -> Outcome | Raised:
    """Hand what a deferred subflow built to the driver."""
    try:
        packed = graph if session.is_local else session.pack(_lightened(unit, graph))
    except Exception as error:  # something in it cannot be pickled
        return Raised(error, dict(describe(error)))
    session.emit(Expanded(unit.path, unit.index, packed), urgent=True)
    return DEFERRED_OUTCOME


def _lightened(unit: Unit, graph: Graph) -> Graph:
    """The graph with large values that came from committed upstreams named, not copied: they stay where they are."""
    from dask.sizeof import sizeof

    heavy: dict[int, Outcome] = {}
    for upstream in unit.upstream:
        for outcome in upstream if isinstance(upstream, list) else [upstream]:
            if outcome.reference is not None and outcome.value is not ABSENT and sizeof(outcome.value) > HEAVY_BYTES:
                heavy[id(outcome.value)] = Outcome(outcome.type, reference=outcome.reference)
    if heavy:
        for node in graph.nodes:
            node.args = tuple(heavy.get(id(value), value) for value in node.args)
            node.kwargs = {name: heavy.get(id(value), value) for name, value in node.kwargs.items()}
    return graph


def _after_exception(session: Session, unit: Unit, policy: Policy, raised: Raised) -> Outcome | None:
    """The outcome after an exception; None to try again at once."""
    error, failure = raised.exception, raised.failure
    if isinstance(error, Skip):
        return _end(session, unit, states.SKIPPED, error.message or "the task said so")
    if isinstance(error, Pause):
        return _defer(session, unit, states.PAUSED, error.message or "the task paused")
    delay = _retry_delay(unit, policy, error, raised)
    if delay is not None:
        due = time.time() + delay
        message = error.message if isinstance(error, Retry) and error.message else one_line(failure)
        later = delay > 0
        session.emit(
            TaskEvent(
                unit.path,
                unit.index,
                states.RETRYING,
                time.time(),
                unit.attempt,
                message,
                failure,
                worker=session.worker,
                due=due if later else None,
            ),
            urgent=later,
        )
        return DEFERRED_OUTCOME if later else None
    if raised.timed_out:
        return _end(session, unit, states.TIMED_OUT, one_line(failure), details=failure)
    if raised.died:
        return _end(session, unit, states.CRASHED, one_line(failure), details=failure)
    message = error.message if isinstance(error, Fail | Retry) and error.message else one_line(failure)
    return _end(session, unit, states.FAILED, message, details=failure)


def _retry_delay(unit: Unit, policy: Policy, error: BaseException, raised: Raised) -> float | None:
    """Seconds until the next attempt; None where there is none."""
    if isinstance(error, Fail) or unit.attempt - unit.base > policy.retries:
        return None
    if isinstance(error, Retry):
        return policy.retry_delay(unit.attempt - unit.base) if error.delay is None else max(0.0, float(error.delay))
    try:
        if not raised.died and not isinstance(error, policy.retry_on):
            return None
        if policy.retry_if is not None and not policy.retry_if(error):
            return None
        return max(0.0, float(policy.retry_delay(unit.attempt - unit.base)))
    except Exception as broken:
        raised.failure["message"] = (
            f"{raised.failure['message']} (its retry policy raised {one_line(describe(broken))})"
        )
        return None


def _end(
    session: Session, unit: Unit, type: str, message: str, *, details: Mapping[str, object] | None = None
) -> Outcome:
    session.emit(
        TaskEvent(unit.path, unit.index, type, time.time(), unit.attempt, message, details, worker=session.worker)
    )
    return Outcome(type, message=message)


def _defer(session: Session, unit: Unit, type: str, message: str) -> Outcome:
    session.emit(
        TaskEvent(unit.path, unit.index, type, time.time(), unit.attempt, message, worker=session.worker), urgent=True
    )
    return DEFERRED_OUTCOME


# Arguments ------------------------------------------------------------------------------------------------------------


def _bind(session: Session, unit: Unit) -> tuple[tuple[object, ...], dict[str, object]]:
    """The arguments with the upstreams' values and the secrets in them."""
    store = session.job.store

    def value_of(outcome: Outcome) -> object:
        if outcome.value is ABSENT and has_value(outcome):
            assert outcome.reference is not None, f"{unit.key}: an upstream has neither value nor reference"
            outcome.value = store.get(outcome.reference)
        return outcome.value if has_value(outcome) else Missing(outcome.state)

    leave_out = unit.definition.policy.skip_on_upstream_skip

    def filled(marker: Slot | Secret) -> object:
        if isinstance(marker, Secret):
            return marker.get()
        upstream = unit.upstream[marker.place]
        if isinstance(upstream, list):
            return [value_of(child) for child in upstream if not (leave_out and child.type == states.SKIPPED)]
        return value_of(upstream)

    def bound(value: object) -> object:
        if isinstance(value, Outcome):
            return value_of(value)
        return replace(value, (Slot, Secret), filled)  # type: ignore[arg-type]

    return tuple(bound(value) for value in unit.args), {name: bound(value) for name, value in unit.kwargs.items()}


def _context(session: Session, unit: Unit, policy: Policy) -> Context:
    job = session.job
    return Context(
        run_id=job.run_id,
        run_name=job.run_name,
        flow=job.flow,
        task=unit.definition.name,
        path=unit.path,
        index=None if unit.index == NO_INDEX else unit.index,
        attempt=unit.attempt,
        parameters=job.parameters,
        logical_time=datetime.fromtimestamp(job.logical_time, UTC),
        deadline=None if policy.timeout is None else datetime.fromtimestamp(time.time() + policy.timeout, UTC),
        resumed=unit.resumed,
    )


# Maps -----------------------------------------------------------------------------------------------------------------


def _measure(session: Session, unit: Unit) -> Outcome:
    """Learn how many children a map over nodes has, and hold what they walk."""
    upstream = _flat(unit)
    stopped = _pass_on(upstream) or _skip(session, unit) or _refuse(session, unit, upstream)
    if stopped:
        return stopped
    unit.attempt = 1
    task = unit.definition.name
    try:
        strict = bool(unit.kwargs.get("strict", True))
        columns: list[Sequence[object]] = []
        for name, value in zip(cast("Sequence[str]", unit.kwargs["names"]), unit.args, strict=True):
            flat = isinstance(value, Flat)
            (whole,), _ = _bind(session, _with_args(unit, (cast(Walk, value).value,)))
            items = as_items(task, name, whole)
            if flat:
                items = [item for part in items if not isinstance(part, Missing) for item in as_items(task, name, part)]
            columns.append(items)
        lengths = {
            str(name): len(items)
            for name, items in zip(cast("Sequence[str]", unit.kwargs["names"]), columns, strict=True)
        }
        lengths.update(cast("Mapping[str, int]", unit.kwargs.get("widths", {})))
        width = common_length(task, lengths, strict=strict)
    except (MapError, TypeError, AssertionError, LookupError, ValueError, OSError) as error:
        failure = describe(error)
        return _end(session, unit, states.FAILED, one_line(failure), details=failure)
    session.emit(Measured(unit.path, width, ""), urgent=True)
    return Outcome(DEFERRED, columns)


def _with_args(unit: Unit, args: tuple[object, ...]) -> Unit:
    return Unit(unit.definition, unit.path, unit.index, args, {}, unit.upstream)


def _run_batch(session: Session, call: BatchCall, sources: Sequence[object]) -> Batch:
    started = time.perf_counter()
    group = session.group(call.group)
    picked = [_resolve(pick, sources) for pick in call.picks]
    chunk = Chunk(session, group, call.indices)
    outcomes: dict[str, list[Outcome]] = {stage.path: [] for stage in group.stages}
    for position, index in enumerate(call.indices):
        made: list[Outcome] = []
        outcome: object
        for number, stage in enumerate(group.stages):
            known = call.done.get((number, index)) if call.done else None
            if known is not None:
                outcome = _resolve(known, sources)
                if isinstance(outcome, Batch):  # of an earlier batch, this very child
                    outcome = outcome.outcomes[stage.path][outcome.indices.index(index)]
                outcome = cast(Outcome, outcome)
            else:
                unit = _child(session, call, stage, number, index, position, picked, made)
                outcome = run_unit(session, unit, chunk)
            made.append(outcome)
            outcomes[stage.path].append(outcome)
        chunk.step(index)
    chunk.close()
    session.emit(BatchDone(call.key, time.perf_counter() - started), urgent=True)
    return Batch(call.indices, outcomes)


def _child(
    session: Session,
    call: BatchCall,
    stage: Stage,
    number: int,
    index: int,
    position: int,
    picked: Sequence[object],
    made: Sequence[Outcome],
) -> Unit:
    """One child of a map, with its own upstreams and items."""
    upstream: list[Outcome | list[Outcome]] = []
    for place in stage.upstream:
        if isinstance(place, int):
            upstream.append(made[place])
        else:
            found = picked[place[0]]
            if isinstance(found, dict):
                found = found.get(index, DEFERRED_OUTCOME)
            upstream.append(cast("Outcome | list[Outcome]", found))
    attempt, base = (call.attempts or {}).get((number, index), (0, 0))
    unit = Unit(
        definition=session.definition(stage.definition),
        path=stage.path,
        index=index,
        args=stage.args,
        kwargs=stage.kwargs,
        upstream=upstream,
        attempt=attempt,
        base=base,
        resumed=(number, index) in call.resumed,
    )
    columns = call.columns.get(number, ())
    if isinstance(columns, int):
        held = cast("Sequence[Sequence[object]]", cast(Outcome, picked[columns]).value)
        where = index
    else:
        held, where = columns, position
    if held:

        def item(value: object) -> object:
            if not isinstance(value, Item):
                return value
            found = held[value.place][where]
            if isinstance(found, Pointer):  # an item that is a node's value: an upstream of this child alone
                unit.item = cast(Outcome, picked[found.place])
                return unit.item
            return found

        unit.args = tuple(item(value) for value in stage.args)
        unit.kwargs = {name: item(value) for name, value in stage.kwargs.items()}
    return unit
