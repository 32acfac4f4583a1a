"""May a task start, given how its upstreams ended? A trigger is a callable (Upstreams) -> bool; they compose as
functions do.

Skipped and Cached count as successful, TimedOut, TriggerFailed and Crashed as failed. Over a mapped upstream the
children count, each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from dataflow import states


@dataclass(frozen=True, kw_only=True, slots=True)
class Upstreams:
    """How the upstreams of a task ended, counted."""

    total: int
    successful: int
    failed: int
    skipped: int

    @classmethod
    def of(cls, types: Iterable[str]) -> Upstreams:
        """Count state types.

        >>> Upstreams.of(["Success", "Skipped", "Crashed", "Cancelled"])
        Upstreams(total=4, successful=2, failed=1, skipped=1)
        """
        total = successful = failed = skipped = 0
        for name in types:
            total += 1
            successful += name in states.SUCCESSFUL
            failed += name in states.FAILURE
            skipped += name == states.SKIPPED
        return cls(total=total, successful=successful, failed=failed, skipped=skipped)


class Trigger(Protocol):
    """Whether a task may start."""

    def __call__(self, upstreams: Upstreams, /) -> bool: ...


def all_successful(upstreams: Upstreams) -> bool:
    """Every upstream succeeded (the default)."""
    return upstreams.successful == upstreams.total


def all_failed(upstreams: Upstreams) -> bool:
    """Every upstream failed."""
    return upstreams.failed == upstreams.total


def all_finished(upstreams: Upstreams) -> bool:
    """Every upstream is final, however it ended."""
    return True


def any_successful(upstreams: Upstreams) -> bool:
    """At least one upstream succeeded."""
    return upstreams.successful > 0


def any_failed(upstreams: Upstreams) -> bool:
    """At least one upstream failed."""
    return upstreams.failed > 0


def none_failed(upstreams: Upstreams) -> bool:
    """No upstream failed."""
    return upstreams.failed == 0


def not_all_skipped(upstreams: Upstreams) -> bool:
    """Every upstream succeeded, and not all of them by being skipped."""
    return upstreams.successful == upstreams.total and upstreams.skipped < upstreams.total


@dataclass(frozen=True, slots=True)
class Between:
    """A count within bounds; make it with `some_successful` or `some_failed`."""

    count: Callable[[Upstreams], int]
    at_least: float
    at_most: float | None

    def __call__(self, upstreams: Upstreams, /) -> bool:
        def bound(figure: float) -> float:
            return figure * upstreams.total if isinstance(figure, float) else figure

        n = self.count(upstreams)
        return n >= bound(self.at_least) and (self.at_most is None or n <= bound(self.at_most))


def _successful(upstreams: Upstreams) -> int:
    return upstreams.successful


def _failed(upstreams: Upstreams) -> int:
    return upstreams.failed


def some_successful(at_least: float = 1, at_most: float | None = None) -> Between:
    """A trigger: the number of successful upstreams lies between two bounds.

    Parameters
    ----------
    at_least, at_most : int or float
        An int is a count of upstreams, a float from 0.0 to 1.0 a share of them.

    >>> some_successful(0.5)(Upstreams(total=4, successful=2, failed=2, skipped=0))
    True
    """
    return _between("some_successful", _successful, at_least, at_most)


def some_failed(at_least: float = 1, at_most: float | None = None) -> Between:
    """A trigger: the number of failed upstreams lies between two bounds; see `some_successful`.

    >>> some_failed(1, 2)(Upstreams(total=4, successful=1, failed=3, skipped=0))
    False
    """
    return _between("some_failed", _failed, at_least, at_most)


def _between(name: str, count: Callable[[Upstreams], int], at_least: float, at_most: float | None) -> Between:
    for figure in (at_least, at_most):
        if figure is not None and (figure < 0 or (isinstance(figure, float) and figure > 1)):
            raise ValueError(
                f"{name}: {figure!r} is not a count (int, at least 0) nor a share (float from 0.0 to 1.0)."
            )
    if at_most is not None and type(at_least) is type(at_most) and at_most < at_least:
        raise ValueError(f"{name}: at_most={at_most!r} is less than at_least={at_least!r}.")
    return Between(count, at_least, at_most)


@dataclass(frozen=True, slots=True)
class Manual:
    """Pauses until a person approves, once `then` would let the task start; `manual` is the usual one."""

    then: Trigger = all_successful

    def __call__(self, upstreams: Upstreams, /) -> bool:
        return self.then(upstreams)


manual = Manual()
