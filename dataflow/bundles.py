"""Several task runs of plain nodes in one Dask task: independent calls of one task, or a chain of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import cast

from dataflow.bundled import PATHS
from dataflow.calls import BundleCall, Call, Inner, Unit, resolve
from dataflow.chunks import Chunk, is_stored
from dataflow.events import NO_INDEX, BatchDone
from dataflow.lanes import Made, Place
from dataflow.outcome import ABSENT, DEFERRED, DEFERRED_OUTCOME, Bundle, Outcome
from dataflow.result_keys import bundle_name
from dataflow.results import find_cached, find_own, look_anew
from dataflow.session import Session
from dataflow.together import each, is_async
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
        again=call.again,
    )


class BundleChunk(Chunk):
    """The committer of a bundle: one lane, and the task runs are numbered in the order in which they are called."""

    def __init__(self, session: Session, key: str, calls: Sequence[Call]) -> None:
        self._lane = bundle_name([call.path for call in calls])
        self._paths = [call.path for call in calls]
        self._number = {path: number for number, path in enumerate(self._paths)}
        self._picks = [[pick.number for pick in call.picks or () if isinstance(pick, Inner)] for call in calls]
        policies = [session.definition(call.definition).policy for call in calls]
        keyed = any(self._picks) and any(p.cache is not None or p.target is not None for p in policies)
        lanes = [self._lane] if any(map(is_stored, policies)) else []
        again = any(call.again for call in calls)
        super().__init__(session, key, lanes, range(len(calls)), keyed=keyed, again=again)

    def find(self, unit: Unit) -> Outcome | None:
        """What this very task run committed before, in this bundle, in another, or alone; or another run."""
        everywhere = (self._session.job.taken_up or unit.again) and is_stored(unit.definition.policy)
        if not everywhere or self._away is not None or self._at(unit) in self._found:
            return super().find(unit)
        return find_own(self._session, unit) or find_cached(self._session, unit)

    def _at(self, unit: Unit) -> Place:
        return Place(self._lane, self._number[unit.path])

    def _who_all(self, lane: str, numbers: Sequence[int]) -> tuple[str | None, Sequence[int | str]]:
        return None, [self._paths[number] for number in numbers]

    def _before(self, place: Place) -> Iterator[Place]:
        return (Place(place.lane, number) for number in self._picks[place.number])

    def _rest(self, now: int) -> Sequence[int]:
        needing, rest = {now}, []
        for number in range(now + 1, len(self._picks)):
            if needing.isdisjoint(self._picks[number]):
                rest.append(number)
            else:
                needing.add(number)
        return rest

    def _meta(self, lane: str, made: Made) -> dict[str, object]:
        job = self._session.job
        paths = {str(number): self._paths[number] for number in made.outcomes}
        return {"run": job.run_id, "flow": job.flow, "path": lane, PATHS: paths}

    def _look_everywhere(self, numbers: set[int]) -> None:
        super()._look_everywhere(numbers)
        if self._again:
            look_anew(self._session)  # for what was in other bundles


def run_bundle(session: Session, call: BundleCall, sources: Sequence[object]) -> Bundle:
    """Run the calls of a bundle, one after the other; `async def` ones together."""
    made: list[Outcome] = []
    chunk = BundleChunk(session, call.key, call.calls)
    apart = not any(isinstance(pick, Inner) for one in call.calls for pick in one.picks or ())

    def through(position: int, number: int) -> Outcome:
        one = call.calls[number]
        # Like calls may be many and short; of others, none runs again for the next one.
        if number and one.definition != call.calls[number - 1].definition:
            chunk.settle()
        return run_unit(session, as_unit(session, one, sources, made), chunk)

    width = session.job.concurrency if apart and is_async(session.definition(call.calls[0].definition).fn) else 1
    began = time.perf_counter()
    for outcome in each(chunk, range(len(call.calls)), through, width):
        if outcome is None:
            made.append(DEFERRED_OUTCOME)
        else:
            made.append(outcome)
    took = time.perf_counter() - began
    chunk.close()
    session.emit(BatchDone(call.key, took), urgent=True)
    # A value that was handed on within the bundle, nobody else needs, unless what comes after it was put off.
    for one, outcome in zip(call.calls, made, strict=True):
        for pick in one.picks or ():
            if isinstance(pick, Inner) and (outcome.type != DEFERRED or made[pick.number].reference is not None):
                made[pick.number].value = ABSENT
    return Bundle(made)
