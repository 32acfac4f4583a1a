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
from dataflow_storage import StoreUnavailable
from dataflow_storage.references import CommittedMany

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
        self._waiting: dict[str, Made] = {}
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
        self._waiting = {stage.path: Made(self._session, stage.path) for stage in self._persisted}
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
        if self._away is not None:
            raise self._away
        if unit.path in self._bare and not self._found:
            return None
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
        self._waiting[unit.path].add(unit, outcome)
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
            if refused:
                for index in [index for index in mine.outcomes if any((place, index) in refused for place in before)]:
                    # It ran on a value that could not be committed, and so does not count.
                    refused.add((number, index))
                    mine.fail(index, states.TRIGGER_FAILED, "its upstream's result could not be committed", None)
            refused.update((number, index) for index in self._commit(mine, first))

    def _commit(self, mine: Made, first: int) -> Sequence[int]:
        """Commit what one stage made, and report it. Which indices were refused."""
        # The item below zero tells where the chunk ends: that is where the next one is looked for, also after failures.
        session, path = self._session, mine.path
        meta: dict[str, object] = (
            {**meta_of(session, mine.one), "index": first} if mine.one else {"path": path, "index": first}
        )
        serializer = mine.one.definition.policy.serializer if mine.one else "auto"
        values: dict[int, object] = {index: outcome.value for index, outcome in mine.outcomes.items()}
        values[-self._last - 1] = None
        errors: Mapping[int, Exception]
        try:
            committed, errors = session.job.store.put_many(
                self._key(path, first), values, serializer=serializer, meta=meta
            )
        except Exception as error:
            committed, errors = CommittedMany(), dict.fromkeys(values, error)
        if session.job.taken_up:
            session.chunks.setdefault(path, {})[self._key(path, first)] = {}  # ours: nothing to learn of it
        return mine.report(committed, errors)


class Made:
    """What one stage of a batch made that is not committed yet.

    State: `outcomes`, by index; `one`, the first of the task runs; `attempts`, of those that took more than one;
    `units`, the task runs where the cache must hear of them.
    """

    def __init__(self, session: Session, path: str) -> None:
        self._session = session
        self.path = path
        self.one: Unit | None = None
        self.outcomes: dict[int, Outcome] = {}
        self._attempts: dict[int, int] = {}
        self._units: dict[int, Unit] = {}

    def add(self, unit: Unit, outcome: Outcome) -> None:
        """A body has returned."""
        self.outcomes[unit.index] = outcome
        if unit.attempt > 1:
            self._attempts[unit.index] = unit.attempt
        if policy_caches(unit):
            self._units[unit.index] = unit
        self.one = self.one or unit

    def report(self, committed: CommittedMany, errors: Mapping[int, Exception]) -> Sequence[int]:
        """Tell what became of them. Which indices were refused."""
        references, places, adopted = committed.references, committed.places, committed.adopted
        for index, outcome in self.outcomes.items():
            if index in places:
                outcome.refer(references, places[index])
        if self._units:
            cached.remember(self._session, [(unit, self.outcomes[index]) for index, unit in self._units.items()])
        for index in sorted(adopted & self.outcomes.keys()):  # another attempt was first: its value is the result
            outcome = self.outcomes[index]
            outcome.value, outcome.message = ABSENT, "adopted: committed by another attempt"
            self._tell(index, outcome)
        for index in self._attempts:
            if index in places and index not in adopted:
                self._tell(index, self.outcomes[index])
        told = adopted | self._attempts.keys()
        plain = {index: places[index] for index in self.outcomes if index in places and index not in told}
        if plain:
            times, found = repeat(time.time(), len(plain)), references.take(plain.values())
            self._session.emit(Several(self.path, states.SUCCESS, self._session.worker, plain, times, found))
        failed = sorted(self.outcomes.keys() - places.keys())
        for index in failed:
            failure = describe(errors[index])
            self.fail(index, states.FAILED, one_line(failure), dict(failure))
        return failed

    def fail(self, index: int, type: str, message: str, details: dict[str, object] | None) -> None:
        """One of them does not count."""
        outcome = self.outcomes.pop(index)
        outcome.type, outcome.message, outcome.value = type, message, ABSENT
        self._tell(index, outcome, details)

    def _tell(self, index: int, outcome: Outcome, details: dict[str, object] | None = None) -> None:
        attempt, worker = self._attempts.get(index, 1), self._session.worker
        event = TaskEvent(
            self.path, index, outcome.type, time.time(), attempt, outcome.message, details, outcome.reference, worker
        )
        self._session.emit(event)
