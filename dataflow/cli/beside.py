"""How a run goes that is driven in the thread that waits for it: a thread of its own looks, as long as that lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from dataflow.driven import Driven, beside
from dataflow.run import Run
from dataflow_storage import StoreUnavailable

if TYPE_CHECKING:
    from dataflow.cli.live import LiveView


@contextmanager
def shown_beside(
    start: Callable[[Run], None], look: Callable[[Run], None], view: LiveView | None, every: float
) -> Iterator[None]:
    """Within it, a run that is driven in this thread is shown while it goes.

    Parameters
    ----------
    start : callable
        Is given the run once it is there.
    look : callable
        Is given the run, again and again, to tell how it goes.
    view : LiveView or None
        Gives way to a task that leaves a line unfinished: a debugger, a question or a bar of its own has the terminal
        then.
    every : float
        Seconds between two looks.
    """

    @contextmanager
    def shown(run: Driven) -> Iterator[None]:
        assert isinstance(run, Run)
        inner = beside.set(nullcontext)  # runs that its tasks start are not shown
        start(run)
        over = threading.Event()
        args = run, look, view, every, over
        looking = threading.Thread(target=_look, args=args, name="dataflow-look", daemon=True)
        looking.start()
        try:
            yield
        finally:
            over.set()
            looking.join()
            beside.reset(inner)

    token = beside.set(shown)
    try:
        yield
    finally:
        beside.reset(token)


def _look(run: Run, look: Callable[[Run], None], view: LiveView | None, every: float, over: threading.Event) -> None:
    before = ""
    while not over.wait(every):
        unfinished = view.unfinished if view is not None else ""
        if view is not None and unfinished and unfinished == before:
            view.withdraw()
        before = unfinished
        with suppress(StoreUnavailable):  # the next look tells what this one could not
            look(run)
