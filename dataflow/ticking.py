"""Looks after what runs in other threads: something may be due while a body takes its time."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

logger = logging.getLogger(__name__)
TICK_SECONDS = 0.1
IDLE_SECONDS = 2.0


class Ticking(Protocol):
    """What is looked after."""

    def tick(self) -> None:
        """Do what is due; called every tenth of a second, in a thread of its own."""
        ...


class Ticker:
    """A thread that lives while there is something to look after."""

    def __init__(self) -> None:
        self._open: set[Ticking] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def open(self, one: Ticking) -> None:
        """Look after this one."""
        with self._lock:
            self._open.add(one)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dataflow-ticker", daemon=True)
                self._thread.start()

    def close(self, one: Ticking) -> None:
        """It needs that no longer; it may be looked at once more."""
        with self._lock:
            self._open.discard(one)

    def _run(self) -> None:
        idle = 0.0
        while True:
            time.sleep(TICK_SECONDS)
            with self._lock:
                there = list(self._open)
                idle = 0.0 if there else idle + TICK_SECONDS
                if idle > IDLE_SECONDS:  # the next one starts another
                    self._thread = None
                    return
            for one in there:
                try:
                    one.tick()
                except Exception:  # the others need not suffer; and it is looked at again
                    logger.exception("what was due while a task ran could not be done")
