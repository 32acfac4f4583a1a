"""What a task body may raise to say how it ended: Skip, Fail, Retry, Pause."""

from __future__ import annotations


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
    """Stop here until somebody resumes the run; the body then runs again, with `context().resumed` true."""
