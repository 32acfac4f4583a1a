"""The workloads: bodies that every system runs, the shapes that they make, and what must come out.

A workload takes a range of numbers: a warm-up with others leaves nothing behind that a cache could serve.

fan      independent calls; all values in the caller's hand
chain    each call takes the value of the one before
map      a map, and one call that takes all its values
nested   each of N/10 calls gives ten numbers when it runs; each number is a call again; one call takes all values
payload  calls that give 1 MB each, which nothing can compress; all of it persisted when the clock stops
warm     the fan, cached by another process before the clock starts
uneven   calls that sleep 1 to 500 ms, log-normal, about 50 ms in the mean, two at a time
tree     numbers added in pairs, the sums in pairs, and so on
"""

from __future__ import annotations

import math
import random
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

WORKLOADS = ("fan", "chain", "map", "nested", "payload", "warm", "uneven", "tree")
WORKERS = 2  # threads or processes, of every system that can have them
BLOB_BYTES = 1_000_000
TEN = 10
MEAN_SECONDS, SIGMA = 0.05, 1.0  # of the log-normal naps

Workload = Callable[[range], object]

# Bodies ---------------------------------------------------------------------------------------------------------------


def same(x: int) -> int:
    """The body of most."""
    return x


def add_one(x: int) -> int:
    """A link of the chain."""
    return x + 1


def plus(x: int, y: int) -> int:
    """A knot of the tree."""
    return x + y


def total(values: Iterable[int]) -> int:
    """What a map is reduced to."""
    return sum(values)


def ten(first: int) -> list[int]:
    """Numbers that nobody knows before it has run."""
    return list(range(first, first + TEN))


def blob(x: int) -> bytes:
    """A megabyte of noise."""
    return random.Random(x + 1_000_000).randbytes(BLOB_BYTES)


def nap(x: int) -> int:
    """Sleeps."""
    time.sleep(duration(x))
    return x


def duration(x: int) -> float:
    """Seconds that `nap(x)` sleeps: the same on every machine, in every system.

    >>> durations = [duration(x) for x in range(10_000)]
    >>> min(durations), max(durations), round(sum(durations) / len(durations), 3)
    (0.001, 0.5, 0.049)
    """
    drawn = random.Random(f"nap {x}").lognormvariate(math.log(MEAN_SECONDS) - SIGMA**2 / 2, SIGMA)
    return min(max(drawn, 0.001), 0.5)


# Shapes, for systems where a call gives a handle that other calls take -----------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Calls:
    """The bodies as a system's own calls."""

    same: Callable[..., Any]
    add_one: Callable[..., Any]
    plus: Callable[..., Any]
    total: Callable[..., Any]
    ten: Callable[..., Any]
    blob: Callable[..., Any]
    nap: Callable[..., Any]

    @classmethod
    def made(cls, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Calls:
        """Every body, wrapped."""
        bodies = (same, add_one, plus, total, ten, blob, nap)
        return cls(**{body.__name__: wrap(body) for body in bodies})


def chained(calls: Calls, items: range) -> Any:
    """The last handle of a chain."""
    x: Any = items.start
    for _ in items:
        x = calls.add_one(x)
    return x


def paired(calls: Calls, items: range) -> Any:
    """The handle at the root of a tree."""
    level = [calls.same(i) for i in items]
    while len(level) > 1:
        level = [calls.plus(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


Evaluate = Callable[[Callable[[], Any]], Any]


def by_calls(calls: Calls, evaluate: Evaluate) -> dict[str, Workload]:
    """Every workload but the warm one.

    Parameters
    ----------
    calls : Calls
        The system's.
    evaluate : callable(build) -> value or list of values
        Calls `build` where the system wants calls to be made, and gives the values of the handle, or the list of
        handles, that it returns.
    """

    def nested(items: range) -> object:
        # The numbers pass through the caller's hand, where a system does not let a graph grow while it runs.
        numbers = [n for group in evaluate(lambda: [calls.ten(i) for i in items[::TEN]]) for n in group]
        return evaluate(lambda: calls.total([calls.same(n) for n in numbers]))

    def payload(items: range) -> object:
        values = evaluate(lambda: [calls.blob(i) for i in items])
        return lambda: checksum(values)

    return {
        "fan": lambda items: evaluate(lambda: [calls.same(i) for i in items]),
        "chain": lambda items: evaluate(lambda: chained(calls, items)),
        "map": lambda items: evaluate(lambda: calls.total([calls.same(i) for i in items])),
        "nested": nested,
        "payload": payload,
        "uneven": lambda items: evaluate(lambda: [calls.nap(i) for i in items]),
        "tree": lambda items: evaluate(lambda: paired(calls, items)),
    }


# What must come out ---------------------------------------------------------------------------------------------------


def checksum(blobs: Iterable[bytes]) -> int:
    """One number for many megabytes."""
    return sum(map(zlib.crc32, blobs))


EXPECTED: Mapping[str, Callable[[range], object]] = {
    "fan": list,
    "chain": lambda items: items.stop,
    "map": sum,
    "nested": sum,
    "payload": lambda items: checksum(map(blob, items)),
    "warm": list,
    "uneven": list,
    "tree": sum,
}


def settled(value: object) -> object:
    """The value of a workload: some read it back only after the clock has stopped."""
    return value() if callable(value) else value
