"""How a task run's value is committed, and found again: the worker's use of the result store.

A value counts as soon as it is committed and not before: only then is Success reported.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from typing import Protocol

from dataflow import states
from dataflow.body import Raised
from dataflow.calls import Unit
from dataflow.definition import Definition
from dataflow.errors import ValueTooLocal
from dataflow.events import NO_INDEX, TaskEvent
from dataflow.failure import describe
from dataflow.outcome import Outcome
from dataflow.session import Job, Session

logger = logging.getLogger(__name__)


class Committer(Protocol):
    """Commits what units return, one way or another."""

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
    return f"{job.run_id}/{unit.key}"


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


def inputs_digest(unit: Unit) -> str | None:
    """A digest of a unit's inputs, upstream results by their own digests; None where an input has none.

    It tells whether a target that lies there already was made from the same inputs.
    """
    import cloudpickle

    digest = hashlib.sha256()
    for upstream in unit.upstream:
        for outcome in upstream if isinstance(upstream, list) else [upstream]:
            if outcome.reference is None and outcome.type in states.WITH_VALUE:
                return None
            # A value is the same whether it was made now, found or cached.
            kind = "" if outcome.type in states.WITH_VALUE else outcome.type
            digest.update(f"{kind}:{outcome.reference.digest if outcome.reference else ''};".encode())
    constants = [*unit.args, *unit.kwargs.values()]
    try:
        digest.update(cloudpickle.dumps((constants, sorted(unit.kwargs))))
    except Exception:
        # What cannot be pickled cannot be compared: the target is made again.
        return None
    return digest.hexdigest()


class SingleCommitter:
    """Commits one value as one object, at once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._refused: Raised | None = None

    def find(self, unit: Unit) -> Outcome | None:
        policy = unit.definition.policy
        if policy.target is not None:
            return find_target(self._session, unit)
        if not policy.persist:
            return None
        reference = self._session.job.store.find(result_key(self._session.job, unit))
        if reference is None:
            return None
        outcome = Outcome(states.SUCCESS, reference=reference, message="committed before")
        report(self._session, unit, outcome)
        return outcome

    def commit(self, unit: Unit, value: object) -> Outcome | None:
        try:
            outcome = commit_one(self._session, unit, value)
        except Exception as error:
            self._refused = Raised(error, dict(describe(error)))
            return None
        report(self._session, unit, outcome)
        return outcome

    def refusal(self, unit: Unit) -> Raised:
        assert self._refused is not None
        return self._refused


def find_target(session: Session, unit: Unit) -> Outcome | None:
    """The outcome that a valid target gives: one made by the same code from the same inputs, in whatever run."""
    path = render_target(session.job, unit.definition, unit.path, unit.index)
    reference = session.job.store.find_target(path)
    if reference is None:
        return None
    made_by = session.job.store.target_meta(path)
    same_run = made_by.get("run") == session.job.run_id and made_by.get("path") == unit.path
    inputs = inputs_digest(unit)
    if not same_run and (
        made_by.get("code") != unit.definition.code or inputs is None or made_by.get("inputs") != inputs
    ):
        return None
    outcome = Outcome(
        states.SUCCESS if same_run else states.CACHED,
        reference=reference,
        message="committed before" if same_run else f"target {path} is up to date",
    )
    report(session, unit, outcome)
    return outcome


def commit_one(session: Session, unit: Unit, value: object) -> Outcome:
    """Commit one value where its policy says."""
    policy, store = unit.definition.policy, session.job.store
    if policy.target is not None:
        path = render_target(session.job, unit.definition, unit.path, unit.index)
        meta = {**meta_of(session, unit), "inputs": inputs_digest(unit)}
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
