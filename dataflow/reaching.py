"""The result store as tasks use it: one that was reached and is away now is waited for, as its record is by a driver.

What it is away for longer is no failure of a task: that is put by, and with it the run, until somebody resumes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeGuard, TypeVar

from dataflow import states
from dataflow.events import AWAY, LogLine, TaskEvent
from dataflow.outcome import DEFERRED_OUTCOME, Outcome
from dataflow.patience import patiently
from dataflow.session import Session
from dataflow_storage import StoreUnavailable

R = TypeVar("R")


def reach(session: Session, path: str, index: int, attempt: int, call: Callable[[], R]) -> R:
    """Call the result store; again and again for `runs.patience` seconds, if it has answered the driver before.

    One that never did is told of soon: its address may be wrong.

    Parameters
    ----------
    session : Session
        This process's part in the run.
    path, index, attempt
        The task run that waits, for its log.
    call : callable
        The call; twice is as once.

    Raises
    ------
    StoreUnavailable
        It does not answer, or the run was stopped at once.
    """
    patience = session.job.patience
    try:
        return call()
    except StoreUnavailable as error:
        # Where it was waited for in vain just now, nobody waits as long again at once.
        if not is_away(error, session) or time.monotonic() - session.gave_up < patience or not session.is_wanted():
            raise
        message = f"{error.url} cannot be reached: {error.reason}; this task waits for it"
    session.emit(LogLine(path, index, attempt, time.time(), logging.WARNING, "dataflow", message), urgent=True)
    try:
        return patiently(call, patience, lambda error: session.is_wanted())
    except StoreUnavailable:
        session.gave_up = time.monotonic()
        raise


def is_away(error: object, session: Session) -> TypeGuard[StoreUnavailable]:
    """Whether this says that the store is away now that had answered before."""
    return session.job.reached and isinstance(error, StoreUnavailable) and error.transient


def put_by(session: Session, path: str, index: int, attempt: int, error: StoreUnavailable) -> Outcome:
    """The task run waits until somebody resumes the run."""
    if session.is_wanted():
        message = f"{error.url} cannot be reached: {error.reason}"
        session.emit(
            TaskEvent(
                path, index, states.PAUSED, time.time(), attempt, message, {AWAY: error.url}, worker=session.worker
            ),
            urgent=True,
        )
    return DEFERRED_OUTCOME
