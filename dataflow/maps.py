"""Maps on a worker: learning how many children there are, and running them in batches."""

from __future__ import annotations

import time
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import cast

from dataflow import states
from dataflow.binding import bind
from dataflow.calls import BatchCall, Column, Group, Held, Item, Pointer, Slot, Stage, Unit, resolve
from dataflow.chunks import Chunk, is_stored
from dataflow.errors import MapError
from dataflow.events import BatchDone, Measured
from dataflow.failure import describe, one_line
from dataflow.lanes import Made, Place
from dataflow.node import Flat, Walk
from dataflow.outcome import DEFERRED, DEFERRED_OUTCOME, Batch, Missing, Outcome, has_value
from dataflow.reaching import reach
from dataflow.results import end, meta_of
from dataflow.session import Session
from dataflow.structure import replace
from dataflow.together import each, is_async
from dataflow.unit import flat, pass_on, refuse, run_unit, skip
from dataflow.walking import as_items, common_length

NOTHING: list[Outcome | list[Outcome]] = []  # what a child waits for that waits for nothing; nobody adds to it


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


class MapChunk(Chunk):
    """The committer of a batch of children; each mapped node of its group is a lane."""

    def __init__(self, session: Session, group: Group, call: BatchCall) -> None:
        policies = {stage.path: session.definition(stage.definition).policy for stage in group.stages}
        self._upstream = {
            stage.path: [group.stages[place].path for place in stage.upstream if isinstance(place, int)]
            for stage in group.stages
        }
        lanes = [path for path, policy in policies.items() if is_stored(policy)]
        keyed = len(policies) > 1 and any(p.cache is not None or p.target is not None for p in policies.values())
        self._indices = call.indices
        super().__init__(session, call.key, lanes, call.indices, keyed=keyed, again=call.again)

    def _at(self, unit: Unit) -> Place:
        return Place(unit.path, unit.index)

    def _who_all(self, lane: str, numbers: Sequence[int]) -> tuple[str | None, Sequence[int | str]]:
        return lane, numbers

    def _before(self, place: Place) -> Iterator[Place]:
        return (Place(path, place.number) for path in self._upstream[place.lane])

    def _rest(self, now: int) -> Sequence[int]:
        return self._indices[bisect(self._indices, now) :]

    def _meta(self, lane: str, made: Made) -> dict[str, object]:
        return meta_of(self._session, made.one) if made.one else {"path": lane}


def run_batch(session: Session, call: BatchCall, sources: Sequence[object]) -> Batch:
    """Run some children of a group, index by index through all its stages; commit them in chunks."""
    group = session.group(call.group)
    picked = [resolve(pick, sources) for pick in call.picks]
    chunk = MapChunk(session, group, call)
    stages = [_Stage(session, call, stage, number, picked) for number, stage in enumerate(group.stages)]

    def through(position: int, index: int) -> list[Outcome]:
        made: list[Outcome] = []
        for stage in stages:
            known = call.done.get((stage.number, index)) if call.done else None
            if known is None:
                outcome = run_unit(session, stage.child(position, index, made), chunk)
            else:
                found = resolve(known, sources)
                if isinstance(found, Batch):  # of an earlier batch, this very child
                    found = found.outcomes[stage.path][found.indices.index(index)]
                outcome = cast(Outcome, found)
            made.append(outcome)
        return made

    width = session.job.concurrency if any(stage.is_async for stage in stages) else 1
    given_up = [DEFERRED_OUTCOME] * len(stages)
    began = time.perf_counter()
    for made in each(chunk, call.indices, through, width):
        for stage, outcome in zip(stages, made or given_up, strict=True):
            stage.outcomes.append(outcome)
    took = time.perf_counter() - began
    chunk.close()
    session.emit(BatchDone(call.key, took), urgent=True)
    return Batch(call.indices, {stage.path: stage.outcomes for stage in stages})


class _Stage:
    """One mapped node of a group, in one batch: all that its children share is looked up once.

    State: `outcomes`, of the children so far; `_args` and `_kwargs`, each argument's values by position.
    """

    def __init__(self, session: Session, call: BatchCall, stage: Stage, number: int, picked: Sequence[object]) -> None:
        self.path, self.number = stage.path, number
        self.outcomes: list[Outcome] = []
        self._call, self._picked, self._upstream = call, picked, stage.upstream
        self._definition = session.definition(stage.definition)
        self.is_async = is_async(self._definition.fn)
        columns = [self._items(column) for column in call.columns.get(number, ())]
        width = len(call.indices)

        def by_position(value: object) -> Sequence[object]:
            return columns[value.place] if isinstance(value, Item) else [value] * width

        self._args = [by_position(value) for value in stage.args]
        self._kwargs = [(name, by_position(value)) for name, value in stage.kwargs.items()]

    def _items(self, column: Column) -> Sequence[object]:
        """A column's items by position."""
        if not isinstance(column, Held):
            return column
        held = cast("Sequence[Sequence[object]]", cast(Outcome, self._picked[column.place]).value)
        return [held[column.column][index] for index in self._call.indices]

    def child(self, position: int, index: int, made: Sequence[Outcome]) -> Unit:
        """One child, with its own upstreams and items; `made` are the outcomes of the stages before, at its index."""
        call, who = self._call, (self.number, index)
        upstream: list[Outcome | list[Outcome]] = [] if self._upstream else NOTHING
        for place in self._upstream:
            if isinstance(place, int):
                upstream.append(made[place])
            else:
                found = self._picked[place[0]]
                if isinstance(found, dict):
                    found = found.get(index, DEFERRED_OUTCOME)
                upstream.append(cast("Outcome | list[Outcome]", found))
        attempt, base = call.attempts.get(who, (0, 0)) if call.attempts else (0, 0)
        given = call.resumed.get(who) if call.resumed else None
        args = tuple([values[position] for values in self._args])
        kwargs = {name: values[position] for name, values in self._kwargs}
        unit = Unit(self._definition, self.path, index, args, kwargs, upstream, attempt, base)
        if given is not None:
            unit.resumed, unit.answers = True, given
        if call.pointed:
            self._point(unit)
        return unit

    def _point(self, unit: Unit) -> None:
        """A node's value in an item is an upstream of this child alone."""

        def pointed(pointer: Pointer) -> Slot:
            upstream.append(cast("Outcome | list[Outcome]", self._picked[pointer.place]))
            return Slot(len(upstream) - 1)

        upstream = unit.upstream = [*unit.upstream]
        unit.args = tuple(replace(value, Pointer, pointed) for value in unit.args)
        unit.kwargs = {name: replace(value, Pointer, pointed) for name, value in unit.kwargs.items()}
