"""How a task run's value is committed, and found again: the worker's use of the result store.

A value counts as soon as it is committed and not before: only then is Success reported.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Protocol

from dataflow import cached, keys, states
from dataflow.binding import bind
from dataflow.body import Raised
from dataflow.bundled import read_bundle
from dataflow.calls import Unit
from dataflow.definition import Definition
from dataflow.errors import CacheError, ValueTooLocal
from dataflow.events import NO_INDEX, TaskEvent
from dataflow.failure import describe, one_line
from dataflow.keys import Key
from dataflow.outcome import Outcome
from dataflow.reaching import reach
from dataflow.result_keys import is_bundle, join_key, split_key, wanted_generation
from dataflow.session import LOOK_SECONDS, Job, Session
from dataflow_storage import Reference

logger = logging.getLogger(__name__)


class Committer(Protocol):
    """Commits what units return, one way or another. `alone`: one of them, of which the driver is told by itself."""

    alone: bool

    def find(self, unit: Unit) -> Outcome | None:
        """The outcome of this very task run, where it was committed before."""
        ...

    def commit(self, unit: Unit, value: object) -> Outcome | None:
        """The outcome once committed and reported; None where the value was refused."""
        ...

    def refusal(self, unit: Unit) -> Raised:
        """Why the last value was refused, as an exception of the body."""
        ...


def result_key(job: Job, unit: Unit) -> str:
    """Where a task run's result lies in the store."""
    return f"{job.run_id}/{join_key(unit.path, unit.index, job.generation)}"


def meta_of(session: Session, unit: Unit) -> dict[str, object]:
    """What a committed object says about itself."""
    return {
        "run": session.job.run_id,
        "flow": session.job.flow,
        "task": unit.definition.name,
        "path": unit.path,
        "index": None if unit.index == NO_INDEX else unit.index,
        "attempt": unit.attempt,
        "code": unit.definition.code,
        **({"generation": session.job.generation} if session.job.anew else {}),
    }


def render_target(job: Job, definition: Definition, path: str, index: int) -> str:
    """The path of a task run's target."""
    assert definition.policy.target is not None
    values: Mapping[str, object] = {
        "flow": job.flow,
        "run": job.run_name,
        "run_id": job.run_id,
        "task": definition.name,
        "path": path,
        "index": index,
    }
    return definition.policy.target.render(values, job.parameters)


class SingleCommitter:
    """Commits one value as one object, at once."""

    alone = True

    def __init__(self, session: Session) -> None:
        self._session = session
        self._refused: Raised | None = None

    def find(self, unit: Unit) -> Outcome | None:
        policy = unit.definition.policy
        if policy.target is not None:
            return look_at_target(self._session, unit)
        if not policy.persist:
            return None
        if unit.again:
            look_anew(self._session)
        return find_own(self._session, unit) or find_cached(self._session, unit, alone=True)

    def commit(self, unit: Unit, value: object) -> Outcome | None:
        try:
            commit = partial(commit_one, self._session, unit, value)
            outcome = reach(self._session, unit.path, unit.index, unit.attempt, commit)
            if policy_caches(unit):
                cached.remember(self._session, [(unit, outcome)])
        except Exception as error:
            self._refused = Raised(error, dict(describe(error)))
            return None
        report(self._session, unit, outcome)
        return outcome

    def refusal(self, unit: Unit) -> Raised:
        assert self._refused is not None
        return self._refused


def look_anew(session: Session) -> None:
    """Bundles that were lost may have committed since the last look."""
    session.looked.pop("", None)
    session.chunks.pop("", None)


def find_own(session: Session, unit: Unit) -> Outcome | None:
    """The outcome of this very task run, where it was committed before: alone, or in a bundle that was lost since."""
    reference = session.job.store.find(result_key(session.job, unit))
    if reference is None and (session.job.taken_up or unit.again):
        reference = _find_bundled(session, unit.path)
    if reference is None:
        return None
    outcome = Outcome(states.SUCCESS, reference=reference, message="committed before")
    report(session, unit, outcome)
    return outcome


def _find_bundled(session: Session, path: str) -> Reference | None:
    job, seen = session.job, session.chunks.setdefault("", {})
    if time.monotonic() - session.looked.get("", -LOOK_SECONDS) >= LOOK_SECONDS:
        for key in job.store.keys(f"{job.run_id}/"):
            lane, _, generation = split_key(key.partition("/")[2])
            if is_bundle(lane) and generation == job.generation and key not in seen:
                seen[key] = {}
                session.bundled.update(read_bundle(job.store, key))
        session.looked[""] = time.monotonic()
    return session.bundled.get(path)


def find_cached(session: Session, unit: Unit, *, alone: bool = False) -> Outcome | None:
    """The outcome that the cache has, where the task may use it.

    Parameters
    ----------
    session, unit
        The task run.
    alone : bool
        Where another run computes the same now, wait for it: for a task run that holds up no others.
    """
    if not policy_caches(unit):
        return None
    try:
        key = _key_of(session, unit)
    except Exception as error:  # an argument without a digest; or an upstream's result, that the key needs, is gone
        failure = describe(error)
        return end(session, unit, states.FAILED, one_line(failure), details=failure)
    outcome = cached.look(session, unit, key)
    if outcome is None and alone:
        outcome = cached.wait_for_others(session, unit, key)
    if outcome is not None:
        report(session, unit, outcome)
    return outcome


def look_at_target(session: Session, unit: Unit) -> Outcome | None:
    """As `find_target`, and the driver hears of it."""
    try:
        outcome = find_target(session, unit)
    except CacheError as error:
        failure = describe(error)
        return end(session, unit, states.FAILED, one_line(failure), details=failure)
    if outcome is not None:
        report(session, unit, outcome)
    return outcome


def policy_caches(unit: Unit) -> bool:
    """Whether the cache has a say. A target is its own cache."""
    policy = unit.definition.policy
    return policy.cache is not None and policy.target is None


def _key_of(session: Session, unit: Unit) -> Key:
    if keys.rule_of(unit.definition).key is None:
        return cached.key_of(session, unit)
    return cached.key_of(session, unit, cached.by_values(unit, *bind(session, unit)))


def find_target(session: Session, unit: Unit) -> Outcome | None:
    """The outcome that a valid target gives: one made by the same code from the same inputs, in whatever run.

    Raises
    ------
    CacheError
        The task has a `cache`, and an argument has no digest.
    """
    path = render_target(session.job, unit.definition, unit.path, unit.index)
    try:
        unit.key_made = key = _key_of(session, unit)
    except Exception as error:
        if unit.definition.policy.cache is not None:
            raise
        unit.why = f"its inputs cannot be compared: {error}"  # nobody asked for more than a file
        return None
    reference = session.job.store.find_target(path)
    made_by = {} if reference is None else session.job.store.target_meta(path)
    unit.why = keys.stale(made_by, key, keys.rule_of(unit.definition).expires, time.time())
    since = wanted_generation(session.job.anew, unit.path, unit.index)
    same_run = made_by.get("run") == session.job.run_id and made_by.get("path") == unit.path
    same_run = same_run and int(str(made_by.get("generation") or 0)) >= since
    if not unit.why and not same_run and cached.is_refreshed(session, unit.definition.name, unit.path, unit.index):
        unit.why = "the run was told to refresh it"
    if reference is None or (unit.why and not same_run):
        return None
    return Outcome(
        states.SUCCESS if same_run else states.CACHED,
        reference=reference,
        message="committed before" if same_run else f"target {path} is up to date",
    )


def commit_one(session: Session, unit: Unit, value: object) -> Outcome:
    """Commit one value where its policy says."""
    policy, store = unit.definition.policy, session.job.store
    if policy.target is not None:
        path = render_target(session.job, unit.definition, unit.path, unit.index)
        meta = {**meta_of(session, unit), **keys.told(unit.key_made, unit.why)}
        serializer = None if policy.serializer == "auto" else policy.serializer
        return Outcome(states.SUCCESS, value, store.put_target(path, value, serializer=serializer, meta=meta).reference)
    if not policy.persist:
        if not session.is_local:
            _check_travels(value)
        return Outcome(states.SUCCESS, value)
    committed = store.put(
        result_key(session.job, unit), value, serializer=policy.serializer, meta=meta_of(session, unit)
    )
    if committed.adopted:
        # Another attempt was first: what it committed is the result, for everybody.
        return Outcome(
            states.SUCCESS, store.get(committed.reference), committed.reference, "adopted: committed by another attempt"
        )
    return Outcome(states.SUCCESS, value, committed.reference)


def _check_travels(value: object) -> None:
    """Raise where a value that is not stored cannot go to another worker either: Dask would try for ever."""
    if type(value).__module__.partition(".")[0] in ("builtins", "numpy", "pandas", "pyarrow") and not isinstance(
        value, list | tuple | dict | set | frozenset
    ):
        return  # known to travel, and costly to try
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception as error:
        raise ValueTooLocal(type(value).__qualname__, str(error)) from error


def report(session: Session, unit: Unit, outcome: Outcome) -> None:
    """Tell the driver of a success."""
    session.emit(
        TaskEvent(
            unit.path,
            unit.index,
            outcome.type,
            time.time(),
            unit.attempt,
            outcome.message,
            reference=outcome.reference,
            worker=session.worker,
        )
    )


def end(
    session: Session, unit: Unit, type: str, message: str, *, details: Mapping[str, object] | None = None
) -> Outcome:
    """A task run ends without a value."""
    session.emit(
        TaskEvent(unit.path, unit.index, type, time.time(), unit.attempt, message, details, worker=session.worker)
    )
    return Outcome(type, message=message)
