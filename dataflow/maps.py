"""Maps on a worker: learning how many children there are, and running them in batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from dataflow import states
from dataflow.binding import bind
from dataflow.calls import BatchCall, Held, Item, Pointer, Slot, Stage, Unit, resolve
from dataflow.chunks import MapChunk
from dataflow.errors import MapError
from dataflow.events import BatchDone, Measured
from dataflow.failure import describe, one_line
from dataflow.node import Flat, Walk
from dataflow.outcome import DEFERRED, DEFERRED_OUTCOME, Batch, Missing, Outcome, has_value
from dataflow.reaching import reach
from dataflow.results import end
from dataflow.session import Session
from dataflow.structure import replace
from dataflow.unit import flat, pass_on, refuse, run_unit, skip
from dataflow.walking import as_items, common_length


def measure(session: Session, unit: Unit) -> Outcome:
    """Learn how many children a map over nodes has, and hold what they walk."""
    upstream = flat(unit)
    stopped = pass_on(upstream) or skip(session, unit)
    if stopped is None and not all(has_value(outcome) for outcome in upstream):
        # Without a value there is nothing to walk; else the trigger is each child's to ask.
        stopped = refuse(session, unit, upstream)
    if stopped:
        return stopped
    unit.attempt = 1
    task = unit.definition.name
    try:
        strict = bool(unit.kwargs.get("strict", True))
        columns: list[Sequence[object]] = []
        for name, value in zip(cast("Sequence[str]", unit.kwargs["names"]), unit.args, strict=True):
            nested = isinstance(value, Flat)
            call = partial(bind, session, _with_args(unit, (cast(Walk, value).value,)))
            (whole,), _ = reach(session, unit.path, unit.index, unit.attempt, call)
            items = as_items(task, name, whole)
            if nested:
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
        return end(session, unit, states.FAILED, one_line(failure), details=failure)
    session.emit(Measured(unit.path, width, str(unit.kwargs["key"])), urgent=True)
    return Outcome(DEFERRED, columns)


def _with_args(unit: Unit, args: tuple[object, ...]) -> Unit:
    return Unit(unit.definition, unit.path, unit.index, args, {}, unit.upstream)


def run_batch(session: Session, call: BatchCall, sources: Sequence[object]) -> Batch:
    """Run some children of a group, index by index through all its stages; commit them in chunks."""
    started = time.perf_counter()
    group = session.group(call.group)
    picked = [resolve(pick, sources) for pick in call.picks]
    chunk = MapChunk(session, group, call.indices)
    outcomes: dict[str, list[Outcome]] = {stage.path: [] for stage in group.stages}
    for position, index in enumerate(call.indices):
        chunk.begin(index)
        made: list[Outcome] = []
        outcome: object
        for number, stage in enumerate(group.stages):
            known = call.done.get((number, index)) if call.done else None
            if known is not None:
                outcome = resolve(known, sources)
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
    given = (call.resumed or {}).get((number, index))
    unit = Unit(
        definition=session.definition(stage.definition),
        path=stage.path,
        index=index,
        args=stage.args,
        kwargs=stage.kwargs,
        upstream=upstream,
        attempt=attempt,
        base=base,
        resumed=given is not None,
        answers=given or (),
    )
    columns = call.columns.get(number)
    if columns:

        def item(value: object) -> object:
            if not isinstance(value, Item):
                return value
            column = columns[value.place]
            if isinstance(column, Held):
                held = cast("Sequence[Sequence[object]]", cast(Outcome, picked[column.place]).value)
                return held[column.column][index]
            return replace(column[position], Pointer, pointed) if call.pointed else column[position]

        def pointed(pointer: Pointer) -> Slot:
            # A node's value in an item: an upstream of this child alone.
            upstream.append(cast("Outcome | list[Outcome]", picked[pointer.place]))
            return Slot(len(upstream) - 1)

        unit.args = tuple(item(value) for value in stage.args)
        unit.kwargs = {name: item(value) for name, value in stage.kwargs.items()}
    return unit
