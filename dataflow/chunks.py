"""Commits results as few objects: each holds what one Dask task made within a fraction of a second.

A success is reported when its chunk is committed, not before. What is committed together is a *lane*: the children of a
mapped node, by index, or the task runs of a bundle, by their place in it. A chunk's key names its lane and its first
number; a Dask task that runs again (its worker died) finds its chunks one after the other.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from dataflow import cached, keys, states
from dataflow.body import Raised
from dataflow.calls import Group, Unit
from dataflow.definition import Policy
from dataflow.events import TaskEvent
from dataflow.failure import describe, one_line
from dataflow.outcome import ABSENT, DEFERRED, Outcome
from dataflow.reaching import is_away, put_by, reach
from dataflow.result_keys import join_key, split_key
from dataflow.results import commit_one, find_cached, look_at_target, meta_of, policy_caches, report
from dataflow.session import LOOK_SECONDS, Session
from dataflow_storage import Encoded, Reference, StoreUnavailable

CHUNK_SECONDS = 0.25
CHUNK_BYTES = 4_000_000

Place = tuple[str, int]  # a lane, and a number in it


class Waiting(NamedTuple):
    """A success that is not committed yet."""

    unit: Unit
    outcome: Outcome
    encoded: Encoded


class Chunk(ABC):
    """The committer of one Dask task that runs many task runs.

    Parameters
    ----------
    session : Session
        This process's part in the run.
    lanes : sequence of str
        What is committed, each after those before it.
    numbers : sequence of int
        What of each lane the Dask task runs.
    keyed : bool
        Somebody may ask what a value counts as before it is committed.

    State: `_found`, what an earlier run of this Dask task committed; `_waiting`, the successes of the current chunk;
    `_first`, its first number; `_now`, the latest that has begun, and `_done`, that is through; `_lost`, what could not
    be committed: whether it failed, or was put off. The lock: while a body takes its time, the ticker commits what
    others have made.
    """

    def __init__(self, session: Session, lanes: Sequence[str], numbers: Sequence[int], *, keyed: bool) -> None:
        self._session = session
        self._lanes = lanes
        self._keyed = keyed
        self._found: dict[Place, Outcome] = {}
        self._waiting: list[Waiting] = []
        self._lost: dict[Place, str] = {}
        self._first: int | None = None
        self._now = self._done = -1
        self._lock = threading.RLock()
        self._bytes = 0
        self._since = time.perf_counter()
        self._refused: Raised | None = None
        self._away: Exception | None = None
        if lanes:
            try:
                reach(session, lanes[0], numbers[0], 0, lambda: self._look_back(numbers))
            except StoreUnavailable as error:
                self._away = error
            session.ticker.open(self)

    @abstractmethod
    def _at(self, unit: Unit) -> Place:
        """The lane of a task run, and its number there."""

    @abstractmethod
    def _before(self, unit: Unit) -> Iterator[Place]:
        """What of this Dask task a task run has used."""

    @abstractmethod
    def _meta(self, lane: str, units: Mapping[int, Unit]) -> dict[str, object]:
        """What an object of a lane says of what is in it."""

    @abstractmethod
    def _look_everywhere(self, numbers: set[int]) -> None:
        """A driver before this one may have cut other chunks, and what ran for it may have ended just now."""

    def _key(self, lane: str, first: int) -> str:
        job = self._session.job
        return f"{job.run_id}/{join_key(lane, first, job.generation)}"

    def _look_back(self, numbers: Sequence[int]) -> None:
        if self._session.job.taken_up:
            self._look_everywhere(set(numbers))
            return
        position = 0
        while position < len(numbers):
            first, last = numbers[position], -1
            for lane in self._lanes:
                for number, reference in (self._session.job.store.find_many(self._key(lane, first)) or {}).items():
                    if number < 0:
                        last = max(last, -number - 1)
                    else:
                        self._take(lane, number, reference)
            if last < 0:
                return
            while position < len(numbers) and numbers[position] <= last:
                position += 1

    def _take(self, lane: str, number: int, reference: Reference) -> None:
        self._found[lane, number] = Outcome(states.SUCCESS, reference=reference, message="committed before")

    def find(self, unit: Unit) -> Outcome | None:
        """What this very task run committed before, or another run."""
        if self._away is not None:
            raise self._away
        if unit.definition.policy.target is not None:
            return look_at_target(self._session, unit)
        outcome = self._found.get(self._at(unit)) if self._found else None
        if outcome is not None:
            report(self._session, unit, outcome)
        return outcome or find_cached(self._session, unit)

    def commit(self, unit: Unit, value: object) -> Outcome | None:
        """Put a value with the chunk. A target is committed at once."""
        policy = unit.definition.policy
        try:
            if not is_stored(policy):
                put = partial(commit_one, self._session, unit, value)
                outcome = reach(self._session, unit.path, unit.index, unit.attempt, put)
                report(self._session, unit, outcome)
                return outcome
            encoded = self._session.job.store.encode(value, serializer=policy.serializer)
        except Exception as error:
            self._refused = Raised(error, dict(describe(error)))
            return None
        outcome = Outcome(states.SUCCESS, value)
        if self._keyed:
            outcome.stands = keys.stored_as(encoded)
        with self._lock:
            self._waiting.append(Waiting(unit, outcome, encoded))
            self._bytes += encoded.stored
        return outcome

    def refusal(self, unit: Unit) -> Raised:
        """Why the last value was refused."""
        assert self._refused is not None
        return self._refused

    def begin(self, number: int) -> None:
        """A number begins."""
        with self._lock:
            self._now = number
            self._first = number if self._first is None else self._first

    def step(self, number: int) -> None:
        """It is through: commit if it is time."""
        with self._lock:
            self._done = number
            if self._bytes > CHUNK_BYTES or time.perf_counter() - self._since > CHUNK_SECONDS:
                self._commit_all()

    def tick(self) -> None:
        """While a body takes its time: what others made before it need not wait for that."""
        if self._waiting and time.perf_counter() - self._since > CHUNK_SECONDS:
            with self._lock:
                self._commit_all()

    def close(self) -> None:
        """Everything is through: commit what waits."""
        self._session.ticker.close(self)
        with self._lock:
            self._commit_all()

    def _commit_all(self) -> None:
        """Commit what waits, then report it."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        first, done = self._first, self._done
        self._first = None if self._now == done else self._now  # what is not through begins the next chunk
        self._since = time.perf_counter()
        if first is None or self._away is not None or not self._session.may_commit():
            return
        by_lane: dict[str, dict[int, Waiting]] = {lane: {} for lane in self._lanes}
        for one in waiting:
            lane, number = self._at(one.unit)
            by_lane[lane][number] = one
        self._lost.clear()
        for lane, mine in by_lane.items():
            self._commit(lane, first, done, {number: one for number, one in mine.items() if not self._goes_with(one)})

    def _commit(self, lane: str, first: int, done: int, mine: Mapping[int, Waiting]) -> None:
        units = {number: one.unit for number, one in mine.items()}
        meta = {**self._meta(lane, units), "index": first}
        values: dict[int, object] = {number: one.encoded for number, one in mine.items()}
        if done >= first:
            # The item below zero tells where the chunk ends: there the next one is looked for, also after failures.
            values[-done - 1] = None
        if not values:
            return
        try:
            put = partial(self._session.job.store.put_many, self._key(lane, first), values, meta=meta)
            references, _ = reach(self._session, lane, first, 0, put)
        except Exception as error:
            for one in mine.values():
                if not self._goes_with(one):
                    self._lose(one, error)
            return
        for number, (_, outcome, _) in mine.items():
            outcome.reference = references[number].reference
        if self._session.job.taken_up:
            self._session.chunks.setdefault(lane, {})[self._key(lane, first)] = {}  # ours: nothing to learn of it
        cached.remember(self._session, [(one.unit, one.outcome) for one in mine.values() if policy_caches(one.unit)])
        for number, (unit, outcome, _) in mine.items():
            if references[number].adopted:  # another attempt was first: what it committed is the result, for everybody
                outcome.value, outcome.message = ABSENT, "adopted: committed by another attempt"
            report(self._session, unit, outcome)

    def _goes_with(self, one: Waiting) -> bool:
        """Whether something that a task run has used could not be committed: then it does not count either."""
        lost = {self._lost[place] for place in self._before(one.unit) if place in self._lost} if self._lost else ()
        if not lost:
            return False
        if states.FAILED in lost:
            self._end(one, states.TRIGGER_FAILED, "its upstream's result could not be committed")
        else:
            self._end(one, DEFERRED)
            self._emit(one.unit, states.PENDING, "goes again: what it used was not stored")
        return True

    def _lose(self, one: Waiting, error: Exception) -> None:
        """A result could not be committed: it failed, or is put by where the store is away."""
        if is_away(error, self._session):
            put_by(self._session, one.unit, error)
            self._end(one, DEFERRED)
        else:
            failure = describe(error)
            self._end(one, states.FAILED, one_line(failure), dict(failure))

    def _end(self, one: Waiting, type: str, message: str = "", details: dict[str, object] | None = None) -> None:
        self._lost[self._at(one.unit)] = DEFERRED if type == DEFERRED else states.FAILED
        one.outcome.type, one.outcome.message, one.outcome.value = type, message, ABSENT
        if type != DEFERRED:
            self._emit(one.unit, type, message, details)

    def _emit(self, unit: Unit, type: str, message: str, details: dict[str, object] | None = None) -> None:
        session = self._session
        session.emit(
            TaskEvent(unit.path, unit.index, type, time.time(), unit.attempt, message, details, worker=session.worker)
        )


def is_stored(policy: Policy) -> bool:
    """Whether results go to the run's own place, not to a target or nowhere."""
    return policy.persist and policy.target is None


class MapChunk(Chunk):
    """The committer of a batch of children; each mapped node of its group is a lane."""

    def __init__(self, session: Session, group: Group, indices: Sequence[int]) -> None:
        policies = {stage.path: session.definition(stage.definition).policy for stage in group.stages}
        self._upstream = {
            stage.path: [group.stages[place].path for place in stage.upstream if isinstance(place, int)]
            for stage in group.stages
        }
        lanes = [path for path, policy in policies.items() if is_stored(policy)]
        keyed = len(policies) > 1 and any(p.cache is not None or p.target is not None for p in policies.values())
        super().__init__(session, lanes, indices, keyed=keyed)

    def _at(self, unit: Unit) -> Place:
        return unit.path, unit.index

    def _before(self, unit: Unit) -> Iterator[Place]:
        return ((path, unit.index) for path in self._upstream[unit.path])

    def _meta(self, lane: str, units: Mapping[int, Unit]) -> dict[str, object]:
        return meta_of(self._session, next(iter(units.values()))) if units else {"path": lane}

    def _look_everywhere(self, numbers: set[int]) -> None:
        job, seen, looked = self._session.job, self._session.chunks, self._session.looked
        for lane in self._lanes:
            news: list[str] = []
            if time.monotonic() - looked.get(lane, -LOOK_SECONDS) >= LOOK_SECONDS:
                news = job.store.keys(f"{job.run_id}/{lane}[")
                looked[lane] = time.monotonic()
            for key in news:
                path, _, generation = split_key(key.partition("/")[2])
                if path == lane and generation == job.generation and key not in seen.setdefault(lane, {}):
                    seen[lane][key] = job.store.find_many(key) or {}
            for chunk in seen.get(lane, {}).values():
                for number in chunk.keys() & numbers:
                    self._take(lane, number, chunk[number])
