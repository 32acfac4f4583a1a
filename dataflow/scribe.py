"""The one writer of a run's record: batches in order, the lease, and what others ask of the run's driver.

It has a thread of its own, so that a record that is locked, full or gone for a while holds up nobody: what it was given
waits here, and is written when that is possible again. A batch is numbered, so that one whose commit was done but not
confirmed is not written twice.

State: `_waiting`, batches not written yet, oldest first; `lost`, why it gave up: the run has another owner, or its
patience is over; `seen`, the last order that it handed on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from dataflow.session import Control
from dataflow_storage import RunStore, StoreUnavailable
from dataflow_storage.errors import StaleOwner
from dataflow_storage.rows import Batch, OrderRow

logger = logging.getLogger("dataflow")
POLL_SECONDS = 0.5  # how soon an order reaches its run
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # between two tries to write
LAST_PATIENCE = 2.0  # seconds, once somebody wants to be gone at once


class Scribe:
    """Writes one run's record as its owner.

    Parameters
    ----------
    runs : RunStore
        The record.
    run_id : str
        The run.
    epoch : int
        Of the lease that was claimed.
    lease : float
        Seconds that the lease lasts.
    patience : float
        Seconds that it waits for a record that cannot be written.
    control : Control
        Is told until when the run is ours, and when it is not any more.
    heard : callable
        Called with each order, and with the error where it gives up; from its thread.
    """

    def __init__(
        self,
        runs: RunStore,
        run_id: str,
        epoch: int,
        *,
        lease: float,
        patience: float,
        control: Control,
        heard: Callable[[OrderRow | Exception], None],
    ) -> None:
        self._runs, self._run_id, self._epoch = runs, run_id, epoch
        self._lease, self._patience = lease, patience
        self._sure = lease - min(1.0, lease / 10)  # part of a lease for which nobody else can think it over
        self._control, self._heard = control, heard
        self._waiting: deque[Batch] = deque()
        self._number = 0
        self.seen = 0
        self._changed = threading.Condition()
        self._closing = False
        self.lost: Exception | None = None
        self._renewed = time.monotonic()
        self._polled = 0.0
        self._failing_since: float | None = None
        control.until = time.time() + self._sure
        self._thread = threading.Thread(target=self._work, name="dataflow-scribe", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Write this next; returns at once."""
        with self._changed:
            self._number += 1
            self._waiting.append(replace(batch, number=self._number))
            self._changed.notify_all()

    def settle(self, timeout: float | None = None) -> None:
        """Wait until everything is written, at most `timeout` seconds.

        Raises
        ------
        StaleOwner, StoreUnavailable
            It cannot be any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self.lost is not None, timeout)
        if self._waiting and self.lost is not None:
            raise self.lost

    def close(self) -> None:
        """Write what waits, give the lease back, and end.

        Raises
        ------
        StaleOwner, StoreUnavailable
            Something could not be written.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        if self._waiting and self.lost is not None:
            raise self.lost

    # Its thread -------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        pause = FIRST_WAIT
        while self.lost is None:
            try:
                if self._step():
                    return
                pause, self._failing_since = FIRST_WAIT, None
            except StoreUnavailable as error:
                if not self._bear(error):
                    self._give_up(error)
                    return
                time.sleep(pause)
                pause = min(LONGEST_WAIT, pause * 2)
            except Exception as error:  # another owner; or a row that the record does not take, which is ours to mend
                self._give_up(error)
                return

    def _step(self) -> bool:
        """Wait for something to do, and do it. Whether all is done."""
        with self._changed:
            if not self._waiting and not self._closing:
                self._changed.wait(self._until_next())
            batch = self._waiting[0] if self._waiting else None
            over = self._closing and batch is None
        if time.monotonic() - self._renewed > self._lease / 3:
            begin = time.time()
            self._runs.renew(self._run_id, self._epoch, self._lease)
            self._renewed, self._control.until = time.monotonic(), begin + self._sure
        if batch is not None:
            self._runs.write(self._run_id, self._epoch, batch)
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()
            return False
        if over:
            self._runs.release(self._run_id, self._epoch)
            return True
        if time.monotonic() - self._polled >= POLL_SECONDS:
            self._polled = time.monotonic()
            for order in self._runs.orders(self._run_id, after=self.seen):
                self.seen = order.seq
                self._heard(order)
        return False

    def _until_next(self) -> float:
        now = time.monotonic()
        return max(0.0, min(self._polled + POLL_SECONDS, self._renewed + self._lease / 3) - now)

    def _bear(self, error: StoreUnavailable) -> bool:
        """Whether to go on waiting for the record."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            logger.warning("the record of the run cannot be written: %s; its events are held meanwhile", error)
        patience = min(LAST_PATIENCE, self._patience) if self._control.aborted else self._patience
        return error.transient and now - self._failing_since < patience

    def _give_up(self, error: Exception) -> None:
        if isinstance(error, StaleOwner):
            self._control.aborted = True  # before anything else of this process can commit
        with self._changed:
            self.lost = error
            self._changed.notify_all()
        self._heard(error)
