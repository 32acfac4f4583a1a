"""Starting an executor whose scheduler may be away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from dataflow_executors import Executor, Unreachable
from dataflow_executors.base import Message

FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # between two tries, in seconds


def start(
    executor: Executor, receive: Callable[[Message], None], patience: float, wait: Callable[[Unreachable, float], None]
) -> None:
    """Start an executor.

    Parameters
    ----------
    executor : Executor
        Not started.
    receive : callable
        Takes its messages.
    patience : float
        Seconds to try; 0 tries once.
    wait : callable
        Called with the reason and the seconds until the next try; it waits, and raises to end this.

    Raises
    ------
    Unreachable
        Its scheduler did not answer in that time.
    """
    until, pause = time.monotonic() + patience, FIRST_WAIT
    while True:
        try:
            executor.start(receive)
            return
        except Unreachable as error:
            if time.monotonic() >= until:
                raise
            wait(error, pause)
        pause = min(LONGEST_WAIT, 2 * pause)
