"""When to try again: a delay policy is a callable (attempt) -> seconds. Pure and composable."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


class Delay(Protocol):
    """How long to wait after a failed attempt."""

    def __call__(self, attempt: int, /) -> float:
        """Seconds to wait after attempt number `attempt` (1 is the first)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Exponential backoff with jitter; make it with `backoff`."""

    base: float
    factor: float
    max: float | None
    jitter: float

    def __call__(self, attempt: int, /) -> float:
        # A large attempt number overflows a float power: beyond 1e6 seconds the exact figure means nothing.
        exponent = min(attempt - 1, 512)
        seconds = (
            min(self.base * self.factor**exponent, 1e6)
            if self.factor < 16
            else self.base * self.factor ** min(exponent, 64)
        )
        if self.max is not None:
            seconds = min(seconds, self.max)
        return seconds * (1 + self.jitter * random.uniform(-1, 1))


def backoff(base: float, *, factor: float = 2.0, max: float | None = None, jitter: float = 0.0) -> Backoff:
    """Waits of `base`, `base * factor`, `base * factor**2` … seconds.

    Parameters
    ----------
    base : float
        Seconds after the first failed attempt; at least 0.
    factor : float
        What each further wait is multiplied by; at least 1.
    max : float, optional
        No wait is longer than this many seconds (before jitter).
    jitter : float
        From 0 to 1: each wait is spread evenly over `wait * (1 - jitter)` to `wait * (1 + jitter)`, so that many
        failed tasks do not come back at the same moment.

    Returns
    -------
    Backoff
        A callable (attempt) -> seconds.

    Raises
    ------
    ValueError
        A figure is out of its range.

    Examples
    --------
    >>> [backoff(1, factor=2, max=5)(attempt) for attempt in (1, 2, 3, 4)]
    [1.0, 2.0, 4.0, 5.0]
    """
    if base < 0 or factor < 1 or not 0 <= jitter <= 1 or (max is not None and max < 0):
        raise ValueError(
            f"backoff(base={base}, factor={factor}, max={max}, jitter={jitter}) is not valid: base and max are "
            "at least 0, "
            "factor is at least 1, jitter is from 0 to 1."
        )
    return Backoff(base=float(base), factor=float(factor), max=max, jitter=jitter)


@dataclass(frozen=True, slots=True)
class Listed:
    """One delay an attempt; the last one repeats."""

    seconds: tuple[float, ...]

    def __call__(self, attempt: int, /) -> float:
        return self.seconds[min(attempt, len(self.seconds)) - 1]


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same delay each time."""

    seconds: float

    def __call__(self, attempt: int, /) -> float:
        return self.seconds


NO_DELAY = Fixed(0.0)


def as_seconds(value: object) -> float | None:
    """Seconds in a number or a `timedelta`; None where it is neither, negative or not finite.

    >>> as_seconds(timedelta(minutes=1)), as_seconds(2), as_seconds(-1), as_seconds("2")
    (60.0, 2.0, None, None)
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < float("inf") else None


def as_delay(value: object) -> Delay | None:
    """The delay policy in seconds, a `timedelta`, a list of either, or a callable; None where it is none of them.

    >>> as_delay([1, 5])(3), as_delay(2)(1)
    (5.0, 2.0)
    """
    seconds = as_seconds(value)
    if seconds is not None:
        return Fixed(seconds)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and value:
        listed = [as_seconds(item) for item in value]
        return None if None in listed else Listed(tuple(item for item in listed if item is not None))
    if callable(value):
        policy: Callable[[int], float] = value
        return policy
    return None


def always_zero(delay: Delay) -> bool:
    """Whether a delay policy is known never to wait.

    >>> always_zero(as_delay(0)), always_zero(as_delay(1)), always_zero(backoff(0))
    (True, False, True)
    """
    return (
        (isinstance(delay, Fixed) and delay.seconds == 0)
        or (isinstance(delay, Listed) and not any(delay.seconds))
        or (isinstance(delay, Backoff) and delay.base == 0)
    )
