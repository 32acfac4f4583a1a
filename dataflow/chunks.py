"""Commits results as few objects: each holds what one Dask task made within a fraction of a second.

A success is reported when its chunk is committed, not before. What is committed together is a *lane*: the children of a
mapped node, by index, or the task runs of a bundle, by their place in it. A chunk's key names its lane and its first
number; a Dask task that runs again (its worker died) finds its chunks one after the other.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import TypeVar

from dataflow import cached, keys, states
from dataflow.body import Raised
from dataflow.calls import Unit
from dataflow.definition import Policy
from dataflow.events import NO_INDEX, Several, Split, TaskEvent
from dataflow.failure import describe, one_line
from dataflow.lanes import Made, Place, Who
from dataflow.outcome import ABSENT, DEFERRED, Outcome
from dataflow.reaching import is_away, put_by, reach
from dataflow.result_keys import join_key, split_key
from dataflow.results import commit_one, find_cached, look_at_target, report
from dataflow.session import Session
from dataflow_storage import Encoded, Reference, StoreUnavailable
from dataflow_storage.packing import Packer
from dataflow_storage.references import CommittedMany

R = TypeVar("R")
CHUNK_SECONDS = 0.25
CHUNK_BYTES = 16_000_000
HEAP = range(1 << 17, CHUNK_BYTES)  # bytes of what `_kept` keeps: what is smaller lies between other things
LONG_SECONDS = 0.25  # a task run that takes longer does not hold up the others of its Dask task
GIVEN_UP = 1 << 40  # an item at or below minus this one tells that the rest was given up, and at which number

# The last value that a thread has committed, until it commits again: what lies last on glibc's heap keeps the rest of
# it. Where all values of a chunk are freed at once, their pages go back to the system, and the next ones fault anew.
_kept = threading.local()


class Chunk(ABC):
    """The committer of one Dask task that runs many task runs.

    Parameters
    ----------
    session : Session
        This process's part in the run.
    key : str
        The Dask task's key.
    lanes : sequence of str
        What is committed, each after those before it.
    numbers : sequence of int
        What of each lane the Dask task runs.
    keyed : bool
        Somebody may ask what a value counts as before it is committed.
    again : bool
        Some of it was lost before, in this Dask task or in others.

    State: `_found`, what an earlier run of this Dask task committed; `_made`, the successes of the current chunk by
    lane; `_first`, its first number; `_now`, the latest that has begun, and `_done`, that is through; `_together`,
    several have begun at once; `_began`, when that was; `_lost`, what could not be committed: whether it failed, or was
    put off; `_given_up`, what another Dask task runs; `_refused`, by thread. The lock: while a body takes its time, the
    ticker commits what others have made.
    """

    alone = False

    def __init__(
        self,
        session: Session,
        key: str,
        lanes: Sequence[str],
        numbers: Sequence[int],
        *,
        keyed: bool,
        again: bool,
    ) -> None:
        self._session = session
        self._dask_key = key
        self._lanes, self._numbers = lanes, numbers
        self._keyed, self._again = keyed, again
        self._found: dict[Place, Outcome] = {}
        self._made: dict[str, Made] = {}
        self._lost: dict[Place, str] = {}
        self._first: int | None = None
        self._now = self._done = -1
        self._began = time.perf_counter()
        self._given_up: frozenset[int] = frozenset()
        self._together = False
        self._lock = threading.RLock()
        self._bytes = 0
        self._last: Encoded | None = None
        self._since = time.perf_counter()
        self._refused: dict[int, Raised] = {}
        self._away: Exception | None = None
        if lanes:
            try:
                self._reach(Place(lanes[0], numbers[0]), partial(self._look_back, numbers))
            except StoreUnavailable as error:
                self._away = error
        if lanes or len(numbers) > 1:
            session.ticker.open(self)

    @abstractmethod
    def _at(self, unit: Unit) -> Place:
        """The place of a task run."""

    @abstractmethod
    def _who_all(self, lane: str, numbers: Sequence[int]) -> tuple[str | None, Sequence[int | str]]:
        """The task runs at places of a lane, as `Several` tells of them."""

    @abstractmethod
    def _before(self, place: Place) -> Iterator[Place]:
        """What of this Dask task a task run has used."""

    @abstractmethod
    def _rest(self, now: int) -> Sequence[int]:
        """What comes after a number and does not need it."""

    @abstractmethod
    def _meta(self, lane: str, made: Made) -> dict[str, object]:
        """What an object of a lane says of what is in it."""

    def _look_everywhere(self, numbers: set[int]) -> None:
        """Others have cut other chunks: a driver before this one, or what was lost; and may have ended just now."""
        job = self._session.job
        for lane in self._lanes:
            seen = {} if self._again else self._session.chunks.setdefault(lane, {})
            for key in job.store.keys(f"{job.run_id}/{lane}["):
                path, first, generation = split_key(key.partition("/")[2])
                # What an earlier run of this very Dask task committed begins with one of these numbers.
                if path == lane and generation == job.generation and (first in numbers or key not in seen):
                    seen[key] = job.store.find_many(key) or {}
            for chunk in list(seen.values()):
                for number in chunk.keys() & numbers:
                    self._take(Place(lane, number), chunk[number])

    def _report(self, lane: str, made: Made, numbers: Sequence[int], committed: CommittedMany) -> None:
        """Tell the driver of successes; as one event of those at their first attempt."""
        first = [number for number in numbers if number not in made.attempts]
        for number in [number for number in numbers if number in made.attempts]:
            self._tell(Place(lane, number), made, made.outcomes[number])
        if first:
            times, places = repeat(time.time(), len(first)), map(committed.places.__getitem__, first)
            path, which = self._who_all(lane, first)
            found = committed.references.take(places)
            self._session.emit(Several(path, states.SUCCESS, self._session.worker, which, times, found))

    def _key(self, lane: str, first: int) -> str:
        job = self._session.job
        return f"{job.run_id}/{join_key(lane, first, job.generation)}"

    def _look_back(self, numbers: Sequence[int]) -> None:
        if self._session.job.taken_up or self._again:
            self._look_everywhere(set(numbers))
            return
        position, rest = 0, frozenset[int]()
        while position < len(numbers):
            first, last = numbers[position], -1
            for lane in self._lanes:
                for number, reference in (self._session.job.store.find_many(self._key(lane, first)) or {}).items():
                    if number <= -GIVEN_UP:
                        rest = frozenset(self._rest(-number - GIVEN_UP))
                    elif number < 0:
                        last = max(last, -number - 1)
                    else:
                        self._take(Place(lane, number), reference)
            if last < 0:
                break
            while position < len(numbers) and (numbers[position] <= last or numbers[position] in rest):
                position += 1
        if rest:
            self._give_up(rest)

    def _take(self, place: Place, reference: Reference) -> None:
        self._found[place] = Outcome(states.SUCCESS, reference=reference, message="committed before")

    def find(self, unit: Unit) -> Outcome | None:
        """What this very task run committed before, or another run."""
        if self._away is not None:
            raise self._away
        policy = unit.definition.policy
        if policy.target is not None:
            return look_at_target(self._session, unit)
        outcome = self._found.get(self._at(unit)) if self._found else None
        if outcome is not None:
            report(self._session, unit, outcome)
        return outcome or (None if policy.cache is None else find_cached(self._session, unit))

    def commit(self, unit: Unit, value: object) -> Outcome | None:
        """Put a value with the chunk. A target is committed at once."""
        policy = unit.definition.policy
        try:
            if not is_stored(policy):
                put = partial(commit_one, self._session, unit, value)
                outcome = reach(self._session, unit.path, unit.index, unit.attempt, put)
                report(self._session, unit, outcome)
                return outcome
            # Now, not with the chunk: whoever gets the value next may change it.
            encoded = self._session.job.store.encode(value, serializer=policy.serializer)
        except Exception as error:
            self._refused[threading.get_ident()] = Raised(error, dict(describe(error)))
            return None
        outcome = Outcome(states.SUCCESS, value)
        if self._keyed:
            outcome.stands = keys.stored_as(encoded)
        lane, number = self._at(unit)
        with self._lock:
            made = self._made.get(lane)
            if made is None:
                made = self._made[lane] = Made()
            made.add(number, unit, outcome, encoded)
            self._bytes += encoded.stored
            self._last = encoded
        return outcome

    def refusal(self, unit: Unit) -> Raised:
        """Why the last value was refused."""
        return self._refused[threading.get_ident()]

    def begin(self, number: int) -> bool:
        """A number begins; False where it was given up."""
        with self._lock:
            if number in self._given_up:
                return False
            self._now, self._began = number, time.perf_counter()
            if self._first is None:
                self._first = number
            return True

    def begin_together(self, numbers: Iterable[int]) -> list[int]:
        """Several begin at once; nothing is committed until they are through. Those that were not given up."""
        with self._lock:
            self._together = True
            return [number for number in numbers if self.begin(number)]

    def step(self, number: int) -> None:
        """It is through, and all that began with it: commit if it is time."""
        with self._lock:
            self._done, self._together = number, False
            if self._bytes > CHUNK_BYTES or time.perf_counter() - self._since > CHUNK_SECONDS:
                self._commit_all()

    def tick(self) -> None:
        """While a body takes its time: neither what others made before it nor those after it need wait for that."""
        now = time.perf_counter()
        if self._together:
            return
        if self._made and now - self._since > CHUNK_SECONDS:
            with self._lock:
                self._commit_all()
        if now - self._began > LONG_SECONDS and not self._given_up:
            with self._lock:
                self._split()

    def _split(self) -> None:
        """Give up what has not begun, and leave word of it where this Dask task looks first should it run again."""
        number, store = self._now, self._session.job.store
        rest = self._rest(number) if number > self._done else ()
        self._began = time.perf_counter()
        if not rest or self._away is not None or not self._session.may_commit():
            return
        if self._lanes:
            note, lane, first = Packer(), self._lanes[0], self._numbers[0]
            note.add(-number - GIVEN_UP, store.encode(None))
            try:
                store.put_many(self._key(lane, first), note, meta={"path": lane, "index": first})
            except StoreUnavailable:
                return
            self._commit_all()
        self._give_up(rest)

    def _give_up(self, rest: Iterable[int]) -> None:
        """Others run these; but what this Dask task had committed before only it would find."""
        found = {number for _, number in self._found}
        self._given_up = frozenset(rest) - found
        self._session.emit(Split(self._dask_key, sorted(self._given_up)), urgent=True)

    def settle(self) -> None:
        """Commit what waits."""
        with self._lock:
            self._commit_all()

    def close(self) -> None:
        """Everything is through."""
        self._session.ticker.close(self)
        self.settle()

    def _commit_all(self) -> None:
        """Commit what waits, then report it."""
        waiting, self._made, self._bytes = self._made, {}, 0
        first, done = self._first, self._done
        self._first = None if self._now == done else self._now  # what is not through begins the next chunk
        self._since = time.perf_counter()
        if first is None or self._away is not None or not self._session.may_commit():
            return
        for lane in self._lanes:
            made = waiting.get(lane) or Made()
            if self._lost:
                made.drop([number for number in [*made.outcomes] if self._goes_with(Place(lane, number), made)])
            self._commit(lane, first, done, made)
        if self._last is not None and self._last.stored in HEAP:
            _kept.last = self._last
        self._last = None

    def _commit(self, lane: str, first: int, done: int, made: Made) -> None:
        session, packer = self._session, made.packer
        if done >= first:
            # The item below zero tells where the chunk ends: there the next one is looked for, also after failures.
            packer.add(-done - 1, session.job.store.encode(None))
        if not packer:
            return
        meta = {**self._meta(lane, made), "index": first}
        put = partial(session.job.store.put_many, self._key(lane, first), packer, meta=meta)
        try:
            committed, _ = self._reach(Place(lane, first), put)
        except Exception as error:
            for number in made.outcomes:
                if not self._goes_with(Place(lane, number), made):
                    self._lose(Place(lane, number), made, error)
            return
        if session.job.taken_up:
            session.chunks.setdefault(lane, {})[self._key(lane, first)] = {}  # ours: nothing to learn of it
        for number, outcome in made.outcomes.items():
            outcome.refer(committed.references, committed.places[number])
        if made.units:
            cached.remember(session, [(unit, made.outcomes[number]) for number, unit in made.units.items()])
        for number in sorted(committed.adopted & made.outcomes.keys()):  # another attempt was first
            outcome = made.outcomes[number]  # what that committed is the result, for everybody
            outcome.value, outcome.message = ABSENT, "adopted: committed by another attempt"
            self._tell(Place(lane, number), made, outcome)
        self._report(lane, made, [number for number in made.outcomes if number not in committed.adopted], committed)

    def _goes_with(self, place: Place, made: Made) -> bool:
        """Whether something that a task run has used could not be committed: then it does not count either."""
        lost = {self._lost[before] for before in self._before(place) if before in self._lost} if self._lost else ()
        if not lost:
            return False
        if states.FAILED in lost:
            self._end(place, made, states.TRIGGER_FAILED, "its upstream's result could not be committed")
        else:
            self._end(place, made, DEFERRED)
            event = TaskEvent(*self._who(place), states.PENDING, time.time(), made.attempts.get(place.number, 1))
            self._session.emit(event._replace(message="goes again: what it used was not stored"))
        return True

    def _lose(self, place: Place, made: Made, error: Exception) -> None:
        """A result could not be committed: it failed, or is put by where the store is away."""
        if is_away(error, self._session):
            put_by(self._session, *self._who(place), made.attempts.get(place.number, 1), error)
            self._end(place, made, DEFERRED)
        else:
            failure = describe(error)
            self._end(place, made, states.FAILED, one_line(failure), dict(failure))

    def _end(
        self, place: Place, made: Made, type: str, message: str = "", details: dict[str, object] | None = None
    ) -> None:
        self._lost[place] = DEFERRED if type == DEFERRED else states.FAILED
        outcome = made.outcomes[place.number]
        outcome.type, outcome.message = type, message
        outcome.value = ABSENT  # last: who reads the value in another thread looks at the state after that
        if type != DEFERRED:
            self._tell(place, made, outcome, details)

    def _tell(self, place: Place, made: Made, outcome: Outcome, details: dict[str, object] | None = None) -> None:
        attempt, worker = made.attempts.get(place.number, 1), self._session.worker
        (path, index), reference = self._who(place), outcome.reference
        self._session.emit(
            TaskEvent(path, index, outcome.type, time.time(), attempt, outcome.message, details, reference, worker)
        )

    def _who(self, place: Place) -> Who:
        path, which = self._who_all(place.lane, [place.number])
        return Who(str(which[0]), NO_INDEX) if path is None else Who(path, place.number)

    def _reach(self, place: Place, call: Callable[[], R]) -> R:
        return reach(self._session, *self._who(place), 0, call)


def is_stored(policy: Policy) -> bool:
    """Whether results go to the run's own place, not to a target or nowhere."""
    return policy.persist and policy.target is None
