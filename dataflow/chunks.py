"""Commits the results of a batch of children as few objects: each holds what came within a fraction of a second.

A child's success is reported when its chunk is committed, not before. A chunk's key names its first index and its
stage; a batch that runs again (its worker died) finds its chunks one after the other.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from itertools import repeat

from dataflow import cached, keys, states
from dataflow.body import Raised
from dataflow.calls import Group, Unit
from dataflow.events import Several, TaskEvent
from dataflow.failure import describe, one_line
from dataflow.outcome import ABSENT, Outcome
from dataflow.result_keys import join_key, split_key
from dataflow.results import commit_one, find_cached, look_at_target, meta_of, policy_caches, report
from dataflow.session import Session
from dataflow_storage import Reference, StoreUnavailable

CHUNK_SECONDS = 0.25
LOOK_SECONDS = 1.0  # between two looks for what an earlier driver's bodies may still commit
CHUNK_BYTES = 4_000_000
SMALL_BYTES = 100  # an outcome with a small number in it, or nothing: not worth measuring
SMALL = frozenset({int, float, bool, type(None)})


class Chunk:
    """The committer of one batch.

    State: `_found`, what an earlier run of this batch committed; `_waiting`, the successes of the current chunk that
    are not committed yet, by stage; `_start`, its first index.
    """

    def __init__(self, session: Session, group: Group, indices: Sequence[int]) -> None:
        self._session = session
        self._group = group
        self._persisted = [
            stage
            for stage in group.stages
            if (p := session.definition(stage.definition).policy).persist and p.target is None
        ]
        # A later stage may ask what a value counts as before it is committed.
        self._keyed = len(group.stages) > 1 and any(
            p.cache is not None or p.target is not None
            for p in (session.definition(stage.definition).policy for stage in group.stages)
        )
        self._bare = {
            stage.path
            for stage in group.stages
            if (p := session.definition(stage.definition).policy).cache is None and p.target is None
        }
        self._found: dict[tuple[str, int], Outcome] = {}
        self._waiting: dict[str, dict[int, tuple[Unit, Outcome]]] = {}
        self._clear()
        self._first: int | None = None
        self._last = 0
        self._since = time.perf_counter()
        self._refused: Raised | None = None
        self._away: Exception | None = None
        if self._persisted:
            try:
                self._look_back(indices)
            except StoreUnavailable as error:
                self._away = error

    def _clear(self) -> None:
        self._waiting = {stage.path: {} for stage in self._persisted}
        self._bytes = 0

    def _key(self, path: str, first: int) -> str:
        job = self._session.job
        return f"{job.run_id}/{join_key(path, first, job.generation)}"

    def _look_back(self, indices: Sequence[int]) -> None:
        if self._session.job.taken_up:
            self._look_everywhere(set(indices))
            return
        position = 0
        while position < len(indices):
            first, last = indices[position], -1
            for stage in self._persisted:
                found = self._session.job.store.find_many(self._key(stage.path, first))
                for index, reference in (found or {}).items():
                    if index < 0:
                        last = max(last, -index - 1)
                        continue
                    self._found[stage.path, index] = Outcome(
                        states.SUCCESS, reference=reference, message="committed before"
                    )
            if last < 0:
                return
            while position < len(indices) and indices[position] <= last:
                position += 1

    def _look_everywhere(self, indices: set[int]) -> None:
        """A driver before this one may have cut other batches, and what ran for it may have ended just now."""
        job, seen, looked = self._session.job, self._session.chunks, self._session.looked
        for stage in self._persisted:
            news: list[str] = []
            if time.monotonic() - looked.get(stage.path, -LOOK_SECONDS) >= LOOK_SECONDS:
                news = job.store.keys(f"{job.run_id}/{stage.path}[")
                looked[stage.path] = time.monotonic()
            for key in news:
                path, _, generation = split_key(key.partition("/")[2])
                if path != stage.path or generation != job.generation:
                    continue
                if key not in seen.setdefault(path, {}):
                    seen[path][key] = job.store.find_many(key) or {}
            for chunk in seen.get(stage.path, {}).values():
                for index in chunk.keys() & indices:
                    self._found[stage.path, index] = Outcome(
                        states.SUCCESS, reference=chunk[index], message="committed before"
                    )

    def find(self, unit: Unit) -> Outcome | None:
        """What this very child committed before, or another run."""
        if unit.path in self._bare and not self._found and self._away is None:
            return None
        if self._away is not None:
            raise self._away
        if unit.definition.policy.target is not None:
            return look_at_target(self._session, unit)
        outcome = self._found.get((unit.path, unit.index)) if self._found else None
        if outcome is not None:
            report(self._session, unit, outcome)
        return outcome or find_cached(self._session, unit)

    def commit(self, unit: Unit, value: object) -> Outcome | None:
        """Put a value with the chunk. A target is committed at once."""
        policy = unit.definition.policy
        if policy.target is not None or not policy.persist:
            try:
                outcome = commit_one(self._session, unit, value)
            except Exception as error:
                self._refused = Raised(error, dict(describe(error)))
                return None
            report(self._session, unit, outcome)
            return outcome
        outcome = Outcome(states.SUCCESS, value)
        if self._keyed:
            outcome.stands = keys.stored_as(value, policy.serializer)
        self._waiting[unit.path][unit.index] = unit, outcome
        self._bytes += SMALL_BYTES if type(value) in SMALL else sys.getsizeof(outcome)
        return outcome

    def refusal(self, unit: Unit) -> Raised:
        """Why the last value was refused."""
        assert self._refused is not None
        return self._refused

    def step(self, index: int) -> None:
        """An index is through all stages: commit if it is time."""
        if self._first is None:
            self._first = index
        self._last = index
        if self._bytes > CHUNK_BYTES or time.perf_counter() - self._since > CHUNK_SECONDS:
            self.close()

    def close(self) -> None:
        """Commit what waits, then report it."""
        waiting = self._waiting
        self._clear()
        first, self._first = self._first, None
        self._since = time.perf_counter()
        if first is None or not self._session.may_commit():
            return
        refused: set[tuple[int, int]] = set()
        for number, stage in enumerate(self._group.stages):
            if stage not in self._persisted:
                continue
            mine = waiting[stage.path]
            before = [place for place in stage.upstream if isinstance(place, int)]
            for index in [index for index in mine if refused and any((place, index) in refused for place in before)]:
                # It ran on a value that could not be committed, and so does not count.
                self._fail(
                    number,
                    *mine.pop(index),
                    states.TRIGGER_FAILED,
                    "its upstream's result could not be committed",
                    refused,
                )
            self._commit(number, stage.path, first, mine, refused)

    def _commit(
        self, number: int, path: str, first: int, mine: dict[int, tuple[Unit, Outcome]], refused: set[tuple[int, int]]
    ) -> None:
        # The item below zero tells where the chunk ends: that is where the next one is looked for, also after failures.
        units = [unit for unit, _ in mine.values()]
        meta: dict[str, object] = (
            {**meta_of(self._session, units[0]), "index": first} if units else {"path": path, "index": first}
        )
        serializer = units[0].definition.policy.serializer if units else "auto"
        values: dict[int, object] = {index: outcome.value for index, (_, outcome) in mine.items()}
        values[-self._last - 1] = None
        errors: Mapping[int, Exception]
        try:
            references, errors = self._session.job.store.put_many(
                self._key(path, first), values, serializer=serializer, meta=meta
            )
        except Exception as error:
            references, errors = {}, dict.fromkeys(values, error)
        for index, (_, outcome) in mine.items():
            if index in references:
                outcome.reference = references[index].reference
        if self._session.job.taken_up:
            self._session.chunks.setdefault(path, {})[self._key(path, first)] = {}  # ours: nothing to learn of it
        if units and policy_caches(units[0]):
            cached.remember(self._session, list(mine.values()))
        plain: dict[int, Reference] = {}
        for index, (unit, outcome) in mine.items():
            if index not in references:
                failure = describe(errors[index])
                self._fail(number, unit, outcome, states.FAILED, one_line(failure), refused, dict(failure))
                continue
            reference, adopted = references[index]
            if adopted:  # another attempt was first: what it committed is the result, for everybody
                outcome.value, outcome.message = ABSENT, "adopted: committed by another attempt"
            if adopted or unit.attempt > 1:
                report(self._session, unit, outcome)
            else:
                plain[index] = reference
        if plain:
            times = repeat(time.time(), len(plain))
            worker = self._session.worker
            self._session.emit(Several(path, states.SUCCESS, worker, plain, times, list(plain.values())))

    def _fail(
        self,
        number: int,
        unit: Unit,
        outcome: Outcome,
        type: str,
        message: str,
        refused: set[tuple[int, int]],
        details: dict[str, object] | None = None,
    ) -> None:
        refused.add((number, unit.index))
        outcome.type, outcome.message, outcome.value = type, message, ABSENT
        self._session.emit(
            TaskEvent(
                unit.path, unit.index, type, time.time(), unit.attempt, message, details, worker=self._session.worker
            )
        )
