"""How many task runs go together: few at first, then so many that they take a fifth of a second."""

from __future__ import annotations

BATCH_SECONDS = 0.2
LEAST_SECONDS = 0.025  # even at the end a batch is worth sending
GROWTH = 16


class Pace:
    """What is known of how long the runs of a task take.

    State: `seconds_each`, once one has ended; `size`, how many go together now.

    >>> pace = Pace()
    >>> pace.share(1_000, slots=2), pace.learn(0.001, 1), pace.share(1_000, slots=2)
    (1, None, 16)
    """

    __slots__ = ("seconds_each", "size")

    def __init__(self) -> None:
        self.seconds_each: float | None = None
        self.size = 1

    def learn(self, seconds: float, runs: int) -> None:
        """So many took so long, one after the other."""
        each = max(seconds / runs, 1e-6)
        self.seconds_each = each if self.seconds_each is None else 0.5 * self.seconds_each + 0.5 * each
        self.size = max(1, min(int(BATCH_SECONDS / self.seconds_each), self.size * GROWTH))

    def share(self, remaining: int, slots: int) -> int:
        """How many of those that remain go next: 4 batches for each slot are to be left, unless those are tiny."""
        least = 1 if self.seconds_each is None else int(LEAST_SECONDS / self.seconds_each)
        return max(1, min(self.size, max(remaining // (4 * slots), least)))
