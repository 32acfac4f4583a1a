"""What a task body may raise to say how it ended: Skip, Fail, Retry, Pause."""

from __future__ import annotations

from collections.abc import Mapping

# What was given with approvals of a task run, oldest first: whether its body had asked for a value, and the value.
Answers = tuple[tuple[bool, object], ...]


class Signal(Exception):
    """The base of the signals. The message becomes the state's message.

    Parameters
    ----------
    message : str
        Why.
    """

    def __init__(self, message: str = "") -> None:
        self.message = str(message)
        super().__init__(self.message)


class Skip(Signal):
    """End as Skipped: there was nothing to do. What depends on this task is skipped too, unless it says otherwise."""


class Fail(Signal):
    """End as Failed now, whatever the retry policy says."""


class Retry(Signal):
    """Try again within the retry budget.

    Parameters
    ----------
    message : str
        Why.
    delay : float, optional
        Seconds until the next attempt; without it the task's own `retry_delay` counts.
    """

    def __init__(self, message: str = "", *, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class Pause(Signal):
    """Stop here until somebody approves or resumes; the body then runs again, with `context().resumed` true.

    What was given along with the approval is `context().answer`. State: `details`, what `wait_for_input` asks for.
    """

    details: Mapping[str, object] | None = None
