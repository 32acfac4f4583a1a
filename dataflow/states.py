"""What can have happened to a run or a task run, and what may follow what. One table for each; nothing else decides.

A State is plain data: it never holds a value or an exception object.
"""

from __future__ import annotations

import time as _time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dataflow.errors import IllegalTransition

# Of runs and task runs.
PENDING = "Pending"  # known, not started
RUNNING = "Running"  # a body runs (a run: at least one may)
PAUSED = "Paused"  # waits for a person
SUCCESS = "Success"  # it has a result
FAILED = "Failed"  # the body raised, or a run has a failure among what decides it
CANCELLED = "Cancelled"  # somebody stopped it
CRASHED = "Crashed"  # its process died
# Of runs only.
SCHEDULED = "Scheduled"  # due at a time to come
# Of task runs only.
CACHED = "Cached"  # an earlier result or a valid target serves
SKIPPED = "Skipped"  # there was nothing to do
TIMED_OUT = "TimedOut"  # the body was killed at its timeout
TRIGGER_FAILED = "TriggerFailed"  # its trigger said no to the states of its upstreams
RETRYING = "Retrying"  # failed, and due again
WAITING = "Waiting"  # could start but for a reason that it names

SUCCESSFUL = frozenset({SUCCESS, CACHED, SKIPPED})
WITH_VALUE = frozenset({SUCCESS, CACHED})
FAILURE = frozenset({FAILED, TIMED_OUT, TRIGGER_FAILED, CRASHED})
FINAL = SUCCESSFUL | FAILURE | {CANCELLED}
RUN_FINAL = frozenset({SUCCESS, FAILED, CANCELLED, CRASHED})

_START = frozenset({RUNNING, WAITING, PAUSED, RETRYING, PENDING}) | FINAL
TASK_TRANSITIONS: Mapping[str, frozenset[str]] = {
    # A task run may end without running: skipped, cached, found committed, refused by its trigger, cancelled.
    PENDING: _START,
    WAITING: _START,
    RUNNING: FINAL | {RETRYING, PAUSED, PENDING},  # Pending: its worker died, it starts afresh
    RETRYING: FINAL | {RUNNING, PENDING, PAUSED},
    PAUSED: FINAL | {PENDING, RUNNING},
    # A retry of the run takes up again what had not succeeded.
    **{state: frozenset({PENDING}) for state in FAILURE | {CANCELLED, SKIPPED}},
    # … and, where it is told so, what had.
    SUCCESS: frozenset({PENDING}),
    CACHED: frozenset({PENDING}),
}
RUN_TRANSITIONS: Mapping[str, frozenset[str]] = {
    SCHEDULED: frozenset({PENDING, CANCELLED}),
    PENDING: frozenset({RUNNING}) | RUN_FINAL,
    RUNNING: frozenset({PAUSED}) | RUN_FINAL,
    PAUSED: frozenset({RUNNING}) | RUN_FINAL,
    # Retry and resume are the same run again; of a success, only what somebody names.
    **{state: frozenset({RUNNING}) for state in RUN_FINAL},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What has happened to a run or a task run.

    Parameters
    ----------
    type : str
        One of the names in this module, such as `"Success"`.
    message : str
        Why, for people.
    time : float
        When, in seconds since the epoch (UTC).
    details : mapping
        Plain JSON data; a failure's exception type, message and traceback as text.

    Examples
    --------
    >>> State(type=FAILED, message="row 13 has no price", time=0.0)
    State(Failed: row 13 has no price)
    """

    type: str
    message: str = ""
    time: float = field(default_factory=_time.time)
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_successful(self) -> bool:
        """Success, Cached or Skipped."""
        return self.type in SUCCESSFUL

    @property
    def is_failure(self) -> bool:
        """Failed, TimedOut, TriggerFailed or Crashed."""
        return self.type in FAILURE

    @property
    def is_final(self) -> bool:
        """Nothing follows but a retry of the run."""
        return self.type in FINAL

    def __repr__(self) -> str:
        return f"State({self.type}: {self.message})" if self.message else f"State({self.type})"


def counted(types: Mapping[str, int], which: Collection[str]) -> str:
    """How many of which, for people.

    >>> counted({FAILED: 2, SUCCESS: 3}, FAILURE)
    '2 Failed'
    """
    return ", ".join(f"{n} {type}" for type, n in sorted(types.items()) if type in which)


def check_transition(who: str, before: str, after: str, table: Mapping[str, frozenset[str]] = TASK_TRANSITIONS) -> None:
    """Raise `IllegalTransition` where `after` may not follow `before`.

    >>> check_transition("clean", PENDING, RUNNING)
    >>> check_transition("clean", SUCCESS, RUNNING)
    Traceback (most recent call last):
        ...
    dataflow.errors.IllegalTransition: clean: Running cannot follow Success.
    """
    if after not in table[before]:
        raise IllegalTransition(who, before, after)
