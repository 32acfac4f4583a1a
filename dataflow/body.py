"""Runs a task's body: with its context, its log lines captured, in this thread or in a killable child process.

Whatever the body raises comes back as a Raised, never as an exception.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from dataflow import capture
from dataflow.build import current as current_build
from dataflow.calls import Unit
from dataflow.context import Context
from dataflow.context import current as current_context
from dataflow.definition import Definition
from dataflow.events import NO_INDEX, LogLine, label
from dataflow.failure import Failure, describe
from dataflow.lazy import settled
from dataflow.session import Session
from dataflow.signals import Signal
from dataflow.together import awaited

Sink = Callable[[float, int, str, str], None]


@dataclass(slots=True)
class Raised:
    """A body ended with an exception.

    Parameters
    ----------
    exception : BaseException
        What it raised, or one that says how it was ended.
    failure : dict
        Its description.
    timed_out, died : bool
        It was killed at its timeout; its process died.
    """

    exception: BaseException
    failure: dict[str, object]
    timed_out: bool = False
    died: bool = False


class RemoteError(Exception):
    """Stands in for an exception of a child process that could not be pickled."""


class Running:
    """One attempt of a task run, for what its body asks and logs: few do, so its context is made when it is asked."""

    __slots__ = ("_attempt", "_contexts", "_session", "_unit")

    def __init__(self, session: Session, unit: Unit) -> None:
        self._session, self._unit, self._attempt = session, unit, unit.attempt
        self._contexts: list[Context] = []

    def sink(self, moment: float, level: int, logger: str, message: str) -> None:
        """Take a line that the body logged."""
        unit = self._unit
        self._session.emit(LogLine(unit.path, unit.index, self._attempt, moment, level, logger, message))

    def context(self) -> Context:
        """The context of the body: one, whoever asks."""
        if not self._contexts:
            self._contexts.append(self._make())
        return self._contexts[0]  # where two threads of the body asked at once, both get the first

    def _make(self) -> Context:
        job, unit, timeout = self._session.job, self._unit, self._unit.definition.policy.timeout
        return Context(
            run_id=job.run_id,
            run_name=job.run_name,
            flow=job.flow,
            task=unit.definition.name,
            path=unit.path,
            index=None if unit.index == NO_INDEX else unit.index,
            attempt=self._attempt,
            parameters=job.parameters,
            logical_time=datetime.fromtimestamp(job.logical_time, UTC),
            # A body with a timeout has a process of its own, which is handed this as it begins.
            deadline=None if timeout is None else datetime.fromtimestamp(time.time() + timeout, UTC),
            resumed=unit.resumed,
            answers=tuple(value for wanted, value in unit.answers if wanted),
            answer=unit.answers[-1][1] if unit.answers else None,
        )


def call_body(session: Session, unit: Unit, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    """What the body returns, or a Raised."""
    definition = unit.definition
    policy, fn = definition.policy, definition.fn
    if definition.internal and policy.isolation != "process":
        return _guarded(session, fn, args, kwargs)
    running = Running(session, unit)
    prints = session.job.log_prints if policy.log_prints is None else policy.log_prints
    if policy.isolation == "process":
        return _in_child(session, unit, running.context(), args, kwargs, running.sink, prints)
    if definition.builds:
        fn = partial(fn, _path=label(unit.path, unit.index))
    token = current_context.set(running.context)
    outside = None if current_build.get() is None else current_build.set(None)
    try:
        with capture.capturing(running.sink, prints=prints):
            return _guarded(session, fn, args, kwargs)
    finally:
        current_context.reset(token)
        if outside is not None:
            current_build.reset(outside)


def _guarded(
    session: Session, fn: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> object:
    try:
        return settled(awaited(fn(*args, **kwargs)))
    except BaseException as error:
        if session.job.control.aborted and isinstance(error, KeyboardInterrupt):
            raise  # the second Ctrl-C, in the thread that waits for this very body
        return Raised(error, dict(describe(error)))


# In a child process ---------------------------------------------------------------------------------------------------


def _in_child(
    session: Session,
    unit: Unit,
    ctx: Context,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    sink: Sink,
    prints: bool,
) -> object:
    import cloudpickle

    from dataflow import isolation
    from dataflow.pickles import dumps

    definition: Definition = unit.definition
    try:
        payload = dumps(partial(_child_main, definition.fn, args, dict(kwargs), ctx, prints))
    except Exception as error:
        return Raised(error, dict(describe(error)))

    def arrived(message: bytes) -> None:
        sink(*pickle.loads(message))

    try:
        answer = isolation.call(
            payload,
            timeout=definition.policy.timeout,
            grace=session.job.grace,
            on_message=arrived,
            is_wanted=session.is_wanted,
        )
    except isolation.ChildTimeout as error:
        return Raised(error, _told(error), timed_out=True)
    except isolation.ChildDied as error:
        return Raised(error, _told(error), died=True)
    except isolation.ChildError as error:
        return Raised(error, _told(error))
    kind, value = cloudpickle.loads(answer)
    if kind == "value":
        return _guarded(session, settled, (value,), {})
    pickled, failure = value
    try:
        exception = cloudpickle.loads(pickled) if pickled else None
    except Exception:  # its class cannot be rebuilt from its arguments: the description has all there is to tell
        exception = None
    return Raised(exception if isinstance(exception, BaseException) else RemoteError(failure["message"]), dict(failure))


def _told(error: Exception) -> dict[str, object]:
    """A failure that is ours to tell: it has no traceback, and its message says all."""
    failure: Failure = {"type": type(error).__name__, "message": str(error), "frames": [], "text": "", "full": ""}
    return dict(failure)


def _child_main(
    fn: Callable[..., object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    ctx: Context,
    prints: bool,
    send: Callable[[bytes], None],
) -> bytes:
    """The other side: runs in the child and says how it went."""
    from dataflow.pickles import dumps

    def sink(moment: float, level: int, logger: str, message: str) -> None:
        send(pickle.dumps((moment, level, logger, message)))

    capture.install()
    token = current_context.set(lambda: ctx)
    try:
        with capture.capturing(sink, prints=prints):
            value = awaited(fn(*args, **kwargs))
        return dumps(("value", value))
    except BaseException as error:
        failure = describe(error)
        try:
            pickled = dumps(error)
        except Exception:  # said in `_in_child`
            pickled = b""
        if isinstance(error, Signal):
            failure["message"] = error.message
        return dumps(("raised", (pickled, failure)))
    finally:
        current_context.reset(token)
        capture.uninstall()
