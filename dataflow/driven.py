"""A run in a process that may drive it: waiting for it, and starting and ending its driver."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from dataflow import live, settings, states
from dataflow.context import is_within
from dataflow.definition import Hook
from dataflow.errors import RunFailed, RunNotResumable, WaitsForItself
from dataflow.graph import Graph
from dataflow.orders import ABORT, CANCEL, PAUSE, Order
from dataflow.owners import is_driven
from dataflow.record import Record
from dataflow_storage.rows import RunRow

if TYPE_CHECKING:
    from dataflow.engine import Driver
    from dataflow_storage import RunStore

ABORT_SECONDS = 2.0


class Interrupt:
    """What the next SIGINT is: Ctrl-C, or a notebook's button, unless a command has made it of something else.

    State: `by`, what it is.
    """

    by = ""

    def taken(self) -> str:
        """What it was; the next one is an ordinary one again."""
        by, self.by = self.by, ""
        return by or ("Ctrl-C" if live.kernel() is None else "the interrupt button")


interrupt = Interrupt()


class Driven(Record):
    """A run that this process may drive.

    State: `_driver`, where it does or did; `_source`, the flow, where its code was read to take the run up.
    """

    def __init__(self, store: RunStore, row: RunRow, driver: Driver | None = None, graph: Graph | None = None) -> None:
        super().__init__(store, row, graph)
        self._driver = driver
        self._thread: threading.Thread | None = None
        self._source: Any = None

    @property
    def _values(self) -> Mapping[tuple[str, int], object]:
        return self._driver.values if self._driver is not None else {}

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until the run is over or paused. Ctrl-C once cancels it cleanly, twice stops it at once.

        Parameters
        ----------
        timeout : float, optional
            At most this many seconds; the run goes on.

        Raises
        ------
        WaitsForItself
            In a hook or a task of this run: it goes on only when that returns.
        """
        return self._wait(timeout, live.tick_views)

    def _watch(self) -> Self:
        """Wait, and show in a notebook how it goes."""
        with live.shown(self, self._note) as tick:
            return self._wait(None, tick)

    def _wait(self, timeout: float | None, tick: Callable[[], None] = lambda: None) -> Self:
        self._check_outside()
        deadline = None if timeout is None else time.monotonic() + timeout
        with _interruptible(self._driver):
            while deadline is None or time.monotonic() < deadline:
                tick()
                left = 0.2 if deadline is None else min(0.2, max(0.0, deadline - time.monotonic()))
                driver = self._driver
                if driver is not None and not driver.finished.wait(left):
                    continue
                if (driver is not None and driver.error is not None) or self._is_over(driver):
                    break
                time.sleep(left)  # another process drives it
        return self

    async def _awaited(self) -> Self:
        """Wait, with the event loop free for others. Whoever stops to wait, as the interrupt button does, cancels."""
        import asyncio

        waiting = asyncio.ensure_future(asyncio.to_thread(self._wait, None))
        view = live.follow(self, self._note)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if self._driver is not None:
                self._driver.order(Order(what=CANCEL, by=interrupt.taken()))
            raise
        finally:
            if view is not None:
                view.draw()

    def progress(self) -> None:
        """Show in this notebook cell how the run goes, and return at once: the picture keeps itself up to date.

        Elsewhere than in a notebook, print how the run stands.
        """
        if live.follow(self, self._note) is None:
            sys.stdout.write(live.bundle(self)["text/plain"] + "\n")

    def _note(self) -> str:
        """What is asked of the run, for people."""
        driver = self._driver
        stop = driver.told.stop if driver is not None and not driver.finished.is_set() else None
        if driver is None or stop is None:
            return ""
        if stop.what == PAUSE:
            return "pausing: what runs finishes"
        return "stopping" if driver.told.is_abort else "cancelling: what runs finishes"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        if self._shown is not None and self._shown == live.cell():
            return {"text/plain": repr(self)}  # its picture stands right above
        return live.bundle(self)

    def _check_outside(self) -> None:
        if is_within(self.id):
            raise WaitsForItself(self.name)

    def _is_over(self, driver: Driver | None) -> bool:
        """Whether nothing more happens by itself; a driver that has just paused may still be told to go on."""
        row = self.record
        if driver is not None and row.epoch == driver.work.epoch:
            return True  # nobody has taken it up since
        return row.state in states.RUN_FINAL or (row.state == states.PAUSED and not is_driven(row))

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._awaited().__await__()

    def _hooks(self) -> tuple[Mapping[str, Hook], bool]:
        """The flow's hooks, and whether prints are log lines: as its code has them now, where that was read."""
        flow = self._source or getattr(self._graph, "source", None)
        if flow is None:
            return {}, bool(settings.get("tasks.log_prints"))
        prints = flow.settings.get("log_prints")
        return flow.hooks, bool(settings.get("tasks.log_prints") if prints is None else prints)

    def _load_graph(self) -> Graph:
        if self._graph is None:
            import cloudpickle

            blob = self._store.graph(self.id)
            if blob is None:
                raise RunNotResumable(
                    self.name, self.record.state, "its graph could not be stored; run the flow again."
                )
            graph = cloudpickle.loads(blob)
            assert isinstance(graph, Graph)
            self._graph = graph
        return self._graph

    def _view(self, path: str | None, index: int) -> object:
        """What a hook is called with; the record is brought up to date first."""
        if self._driver is not None:
            self._driver.flush()
        return self if path is None else self._records.task_run(path, index)


# Is entered around a run that is driven in the caller's thread: who wants to look at it meanwhile must begin there.
beside: ContextVar[Callable[[Driven], AbstractContextManager[object]]] = ContextVar("beside", default=nullcontext)


def launch(run: Driven, *, aside: bool = False) -> None:
    """Drive a run: in a thread of its own, or here where the executor is inline. Nothing to do where somebody does.

    With `aside` never here: so that one process can go on with many runs.
    """
    driver = run._driver
    if driver is None or driver.finished.is_set():
        return
    driver.announce()
    if driver.work.executor.inline and not aside:
        with _interruptible(driver), beside.get()(run):
            driver.drive()
        return
    run._thread = threading.Thread(target=driver.drive, name=f"dataflow-{run.name}", daemon=True)
    run._thread.start()


def finish(run: Driven, raise_on_failure: bool) -> None:
    """See how a run ended: raise for one that did not succeed, and for what broke before anything ran.

    Raises
    ------
    RunFailed
        It failed, was cancelled or crashed.
    """
    driver = run._driver
    error = driver.error if driver is not None else None
    # It broke before anything ran; or the record has no word of it, for it is another's, or out of reach.
    untold = driver is not None and (driver.fragments == 0 or driver.book.lost is not None)
    if error is not None and (untold or not isinstance(error, Exception)):
        raise error
    if raise_on_failure and run.record.state in states.RUN_FINAL - {states.SUCCESS}:
        raise RunFailed(run, run.report) from error


@contextmanager
def _interruptible(driver: Driver | None) -> Iterator[None]:
    """Ctrl-C once: a clean cancel. Twice: at once."""
    if driver is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    presses = 0

    def pressed(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        driver.order(Order(what=CANCEL if presses == 1 else ABORT, by=interrupt.taken()))
        if presses > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield
    except KeyboardInterrupt:
        driver.finished.wait(ABORT_SECONDS)  # it writes down that the run was stopped
        raise
    finally:
        signal.signal(signal.SIGINT, before)
