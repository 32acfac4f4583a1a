"""Where moments lie on a timeline: in proportion, but for long stretches in which nothing ran, which are cut short."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

# What is cut is longer than this, in seconds, and than this share of all that is not.
LEAST, SHARE = 1.0, 0.5
# How wide it is then, as a share of the whole.
NARROW = 0.06
MOST_TICKS = 8


@dataclass(frozen=True)
class Axis:
    """Moments and their places.

    Parameters
    ----------
    stretches : tuple of (float, float)
        What is drawn in proportion, in order: beginnings and ends, seconds since the epoch.
    """

    stretches: tuple[tuple[float, float], ...]

    @property
    def begin(self) -> float:
        """The first moment."""
        return self.stretches[0][0]

    @property
    def length(self) -> float:
        """Seconds from the first moment to the last."""
        return max(self.stretches[-1][1] - self.begin, 1e-3)

    @property
    def cuts(self) -> list[tuple[float, float]]:
        """What is cut short."""
        return [(end, start) for (_, end), (start, _) in pairwise(self.stretches)]

    @property
    def _shown(self) -> float:
        return max(sum(end - start for start, end in self.stretches), 1e-3)

    def at(self, moment: float) -> float:
        """The place of a moment, from 0 to 1.

        >>> axis = Axis(((0.0, 6.0), (96.0, 100.0)))
        >>> [round(axis.at(moment), 2) for moment in (0, 3, 6, 51, 96, 100)]
        [0.0, 0.28, 0.56, 0.59, 0.62, 1.0]
        """
        wide = 1 - NARROW * len(self.cuts)
        n = max(bisect_right(self.stretches, (moment, float("inf"))) - 1, 0)
        start, end = self.stretches[n]
        before = sum(stop - begin for begin, stop in self.stretches[:n]) + min(moment, end) - start
        cut = 0.0
        if moment > end and n < len(self.cuts):
            cut = (moment - end) / (self.cuts[n][1] - end)
        return min(max(before / self._shown * wide + (n + cut) * NARROW, 0.0), 1.0)

    def ticks(self) -> Iterator[float]:
        """Moments that are marked, in seconds after the first."""
        step = next(step for step in _steps() if self._shown / step <= MOST_TICKS)
        for start, end in self.stretches:
            n = -int(-(start - self.begin) // step)
            while n * step <= end - self.begin:
                yield n * step
                n += 1


def axis(busy: Iterable[tuple[float, float]]) -> Axis:
    """The axis for what ran, given as beginnings and ends.

    >>> axis([(0, 4), (3, 6), (96, 100)]).cuts
    [(6, 96)]
    >>> axis([(0, 4), (5, 6)]).cuts
    []
    """
    joined: list[tuple[float, float]] = []
    for start, end in sorted(busy):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    if not joined:
        return Axis(((0.0, 0.0),))
    gaps = sorted((after[0] - before[1] for before, after in pairwise(joined)), reverse=True)
    shown = sum(end - start for start, end in joined) + sum(gaps)
    least = float("inf")
    for gap in gaps[: int(0.5 / NARROW)]:  # the longest first: without it the others may be long, too
        if gap < LEAST or gap < SHARE * (shown - gap):
            break
        shown, least = shown - gap, gap
    made = [joined[0]]
    for start, end in joined[1:]:
        if start - made[-1][1] >= least:
            made.append((start, end))
        else:
            made[-1] = (made[-1][0], end)
    return Axis(tuple(made))


def _steps() -> list[float]:
    short = [base * 10.0**power for power in range(-4, 1) for base in (1, 2, 5)]
    long = [15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0]
    return [*short, 10.0, *long, *(3600.0 * 2**n for n in range(1, 40))]
