"""Runs a task's body: with its context, its log lines captured, in this thread or in a killable child process.

Whatever the body raises comes back as a Raised, never as an exception.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from dataflow import capture
from dataflow.build import current as current_build
from dataflow.calls import Unit
from dataflow.context import Context
from dataflow.context import current as current_context
from dataflow.definition import Definition
from dataflow.events import LogLine
from dataflow.failure import Failure, describe
from dataflow.lazy import settled
from dataflow.session import Session
from dataflow.signals import Signal

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


def call_body(
    session: Session, unit: Unit, ctx: Context, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> object:
    """What the body returns, or a Raised."""
    policy = unit.definition.policy

    def sink(moment: float, level: int, logger: str, message: str) -> None:
        session.emit(LogLine(unit.path, unit.index, unit.attempt, moment, level, logger, message))

    prints = session.job.log_prints if policy.log_prints is None else policy.log_prints
    if policy.isolation == "process":
        return _in_child(session, unit, ctx, args, kwargs, sink, prints)
    if unit.definition.internal:
        return _guarded(session, unit.definition.fn, args, kwargs)
    token, outside = current_context.set(ctx), current_build.set(None)
    try:
        with capture.capturing(sink, prints=prints):
            if unit.definition.builds:
                return _guarded(session, partial(unit.definition.fn, _path=ctx.label), args, kwargs)
            return _guarded(session, unit.definition.fn, args, kwargs)
    finally:
        current_context.reset(token)
        current_build.reset(outside)


def _guarded(
    session: Session, fn: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> object:
    try:
        return settled(fn(*args, **kwargs))
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

    definition: Definition = unit.definition
    try:
        payload = cloudpickle.dumps(partial(_child_main, definition.fn, args, dict(kwargs), ctx, prints))
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
    """A failure whose traceback would only show frames of ours."""
    text = f"{type(error).__name__}: {error}"
    failure: Failure = {"type": type(error).__name__, "message": str(error), "frames": [], "text": text, "full": text}
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
    import cloudpickle

    def sink(moment: float, level: int, logger: str, message: str) -> None:
        send(pickle.dumps((moment, level, logger, message)))

    capture.install()
    token = current_context.set(ctx)
    try:
        with capture.capturing(sink, prints=prints):
            value = fn(*args, **kwargs)
        return bytes(cloudpickle.dumps(("value", value)))
    except BaseException as error:
        failure = describe(error)
        try:
            pickled = cloudpickle.dumps(error)
        except Exception:  # said in `_in_child`
            pickled = b""
        if isinstance(error, Signal):
            failure["message"] = error.message
        return bytes(cloudpickle.dumps(("raised", (pickled, failure))))
    finally:
        current_context.reset(token)
        capture.uninstall()
