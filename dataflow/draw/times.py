"""Durations and moments for people."""

from __future__ import annotations

from datetime import datetime


def took(seconds: float | None) -> str:
    """A duration.

    Parameters
    ----------
    seconds : float or None
        Seconds; None where it is not known.

    >>> took(0.034), took(0.534), took(42.2), took(101), took(7322), took(None)
    ('34 ms', '0.5 s', '42 s', '1:41', '2:02:02', '')
    """
    if seconds is None:
        return ""
    if seconds < 0.1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock(seconds: float) -> str:
    """A moment of the day, local, to the millisecond."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M:%S.%f")[:-3]
