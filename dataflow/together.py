"""`async def` bodies: those of a process share one event loop, and some of a Dask task run at the same time."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import CoroutineType
from typing import Protocol, TypeVar

R = TypeVar("R")


class Steps(Protocol):
    """Who is told of each number that begins, and is through."""

    def begin(self, number: int) -> bool:
        """False: it must not begin."""
        ...

    def begin_together(self, numbers: Sequence[int]) -> list[int]:
        """Several begin at once; those that may."""
        ...

    def step(self, number: int) -> None:
        """It is through, and what has begun before it."""
        ...


_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []  # of this process: one, or none yet


def is_async(fn: Callable[..., object]) -> bool:
    """Whether a function's calls must be awaited."""
    return inspect.iscoroutinefunction(fn)


def awaited(value: object) -> object:
    """What a body returned; of an `async def` one, what it comes to on the event loop.

    >>> async def soon() -> int:
    ...     return 7
    >>> awaited(soon()), awaited(8)
    (7, 8)
    """
    if type(value) is not CoroutineType:
        return value
    future = asyncio.run_coroutine_threadsafe(value, _loop())
    try:
        return future.result()
    finally:
        future.cancel()  # where this thread was interrupted


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        if not _loops:
            _loops.append(asyncio.new_event_loop())
            threading.Thread(target=_loops[0].run_forever, name="dataflow-loop", daemon=True).start()
        return _loops[0]


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _loops.clear()


os.register_at_fork(after_in_child=_after_fork)


def all_of(calls: Sequence[Callable[[], R]]) -> list[R]:
    """What some calls return, all made at the same time, each in a thread.

    >>> all_of([lambda: 1, lambda: 2])
    [1, 2]
    """
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(len(calls), "dataflow-together") as pool:
        return [future.result() for future in [pool.submit(copy_context().run, call) for call in calls]]


def each(steps: Steps, numbers: Sequence[int], run: Callable[[int, int], R], width: int) -> Iterator[R | None]:
    """What `run` gives for each position and number, in order; None for one that must not begin.

    Parameters
    ----------
    steps : Steps
        Is told.
    numbers : sequence of int
        What there is to run.
    run : callable
        Runs one.
    width : int
        How many at the same time.
    """
    if width == 1:
        for position, number in enumerate(numbers):
            if steps.begin(number):
                yield run(position, number)
                steps.step(number)
            else:
                yield None
        return
    for first in range(0, len(numbers), width):
        some = {number: first + place for place, number in enumerate(numbers[first : first + width])}
        begun = steps.begin_together([*some])
        made = dict(zip(begun, all_of([partial(run, some[number], number) for number in begun]), strict=True))
        if begun:
            steps.step(begun[-1])
        yield from map(made.get, some)
