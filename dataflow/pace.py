"""How many task runs go together: few at first, then so many that they take a fifth of a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

BATCH_SECONDS = 0.2
LEAST_SECONDS = 0.025  # even at the end a batch is worth sending
GROWTH = 64


class Pace:
    """What is known of how long the runs of a task take.

    State: `seconds_each`, once one has ended; `size`, how many go together now.

    Parameters
    ----------
    seconds_each : float, optional
        As an earlier run has learned.

    >>> pace = Pace()
    >>> pace.share(1_000, slots=2), pace.learn(0.001, 1), pace.share(1_000, slots=2)
    (1, None, 64)
    >>> Pace(0.01).share(1_000, slots=2)
    20
    """

    __slots__ = ("seconds_each", "size")

    def __init__(self, seconds_each: float | None = None) -> None:
        self.seconds_each = seconds_each
        self.size = 1 if seconds_each is None else max(1, int(BATCH_SECONDS / seconds_each))

    def learn(self, seconds: float, runs: int) -> None:
        """So many took so long, one after the other; without what it takes to begin and to end a batch."""
        each = max(seconds / runs, 1e-6)
        self.seconds_each = each if self.seconds_each is None else 0.5 * self.seconds_each + 0.5 * each
        self.size = max(1, min(int(BATCH_SECONDS / self.seconds_each), self.size * GROWTH))

    def window(self, slots: int) -> int:
        """How many batches may be on their way; as long as nothing is known few, so that what is learned counts."""
        return slots + 1 if self.seconds_each is None else 2 * slots + 2

    def share(self, remaining: int, slots: int) -> int:
        """How many of those that remain go next: 4 batches for each slot are to be left, unless those are tiny."""
        least = 1 if self.seconds_each is None else int(LEAST_SECONDS / self.seconds_each)
        return max(1, min(self.size, max(remaining // (4 * slots), least)))


class Timed(Protocol):
    """What has a pace: a task, as it is now."""

    @property
    def name(self) -> str: ...
    @property
    def code(self) -> str: ...


class Paces:
    """The paces of a run's tasks, alone or of some that run together.

    Parameters
    ----------
    before : mapping
        What `learned` gave at the end of an earlier run.
    """

    def __init__(self, before: Mapping[str, float]) -> None:
        self._before = before
        self._of: dict[tuple[int, ...], tuple[str, Pace]] = {}

    def of(self, *tasks: Timed) -> Pace:
        """The pace of these, one after the other."""
        who = tuple(map(id, tasks))
        if who not in self._of:
            name = " ".join(f"{task.name}:{task.code}" for task in tasks)
            self._of[who] = name, Pace(self._before.get(name))
        return self._of[who][1]

    def learned(self) -> dict[str, float]:
        """Seconds for each, by what stands for the tasks and their code."""
        paces = [*self._of.values()]
        return {name: round(pace.seconds_each, 6) for name, pace in paces if pace.seconds_each is not None}
