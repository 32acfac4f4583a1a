"""A run's picture in a notebook: read from its record, shown in its cell, kept up to date by whoever waits for the run.

No widget and no thread: plain HTML under one display id, four times a second, so that the last picture stays in the
saved notebook, and nothing lands in another cell.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from dataflow import frame, settings, states
from dataflow.groups import Group, group_names, grouped
from dataflow.owners import is_driven
from dataflow.record import Record
from dataflow.report import problems
from dataflow_storage.rows import LogRow, NodeRow, RunRow

if TYPE_CHECKING:
    import asyncio

PAUSE = 0.25
# Pictures may take this share of a processor at most.
SHARE = 0.02
MOST_PROBLEMS = 5
MOST_FAILED = 200
LAST_LINES = 8
MOST_LINES = 2_000

log = logging.getLogger("dataflow.live")


class Reader:
    """Reads how a run stands, again and again.

    Parameters
    ----------
    run : Record
        The run.
    tail : bool
        Read its log lines, too.

    State: `_nodes` and what follows from them, read again when there are more; `_lines`, the last log lines.
    """

    def __init__(self, run: Record, *, tail: bool = False) -> None:
        self.run = run
        self._tail = tail
        self._nodes: Sequence[NodeRow] = ()
        self._names: Mapping[str, str] = {}
        self._needs: Mapping[str, Sequence[str]] = {}
        self._static = len(run._graph) if run._graph is not None else None
        self._lines: deque[LogRow] = deque(maxlen=LAST_LINES)

    def standing(self, note: str = "") -> frame.Standing:
        """How it stands now."""
        store, run_id = self.run._store, self.run.id
        row, counts = store.find(run_id), store.counts(run_id)
        if row.state in states.RUN_FINAL or not self._nodes or not counts.keys() <= {node.path for node in self._nodes}:
            self._nodes = store.nodes(run_id)
            self._names = group_names(self._nodes, self._static)
            self._needs = _needs(self._nodes, self._names)
        groups = grouped(self._nodes, counts, self._names)
        failed = []
        if any(group.failed for group in groups.values()):
            failed = store.task_runs(run_id, states=sorted(states.FAILURE - {states.TRIGGER_FAILED}), limit=MOST_FAILED)
        if self._tail:
            after = self._lines[-1].seq if self._lines else 0
            self._lines.extend(store.logs(run_id, after=after, limit=MOST_LINES))
        return frame.Standing(
            row=row,
            groups=list(groups.values()),
            spans=store.spans(run_id),
            waits={name: [up for up in self._needs[name] if not _is_done(groups[up])] for name in groups},
            problems=problems(failed)[:MOST_PROBLEMS],
            logs=list(self._lines),
            note=note,
        )


def _is_done(group: Group) -> bool:
    return group.known and group.done == group.total


def _needs(nodes: Sequence[NodeRow], names: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """The groups that each group takes its inputs from, seen through operators on nodes."""
    sources: dict[str, dict[str, None]] = {}
    found: dict[str, dict[str, None]] = {}
    for node in nodes:
        ups: dict[str, None] = {}
        for path in node.upstream:
            ups.update(sources.get(path, {}))
        own = names.get(node.path)
        sources[node.path] = ups if own is None else {own: None}
        if own is not None:
            found.setdefault(own, {}).update((up, None) for up in ups if up != own)
    return {name: list(ups) for name, ups in found.items()}


def bundle(run: Record) -> dict[str, str]:
    """How a run stands, for a notebook."""
    now = Reader(run).standing()
    return {"text/html": frame.html(now), "text/plain": frame.text(now)}


# In a notebook --------------------------------------------------------------------------------------------------------


def kernel() -> Any | None:
    """The shell of the Jupyter kernel that this code runs in; None elsewhere, in a terminal's IPython, too."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


def cell() -> int | None:
    """The number of the cell that runs now; None elsewhere than in a notebook."""
    shell = kernel()
    return None if shell is None else int(shell.execution_count)


class View:
    """One output in a cell, in which a run is shown.

    Parameters
    ----------
    run : Record
        The run.
    note : callable
        Says what is asked of the run.
    """

    def __init__(self, run: Record, note: Callable[[], str]) -> None:
        self._reader, self._note = Reader(run, tail=True), note
        self._id = uuid.uuid4().hex
        self._last: dict[str, str] = {}
        self._next = 0.0
        self.is_over = False
        run._shown = cell()
        self.draw()

    def tick(self) -> None:
        """Draw, if it is time to."""
        if time.monotonic() >= self._next:
            self.draw()

    def draw(self, *, again: bool = False) -> None:
        """Draw how the run stands now, also `again`. What goes wrong with that is no matter of the run."""
        import IPython

        begin = time.thread_time()
        try:
            now = self._reader.standing(self._note())
        except Exception as error:  # the record is out of reach for now, which the driver tells, too
            log.debug("run %s cannot be shown: %s", self._reader.run.name, error)
        else:
            made = {"text/html": frame.html(now), "text/plain": frame.text(now)}
            if again or made != self._last:
                cast(Any, IPython).display.display(made, raw=True, display_id=self._id, update=bool(self._last))
                self._last = made
            self.is_over = _is_over(now.row)
        self._next = time.monotonic() + max(PAUSE, (time.thread_time() - begin) / SHARE)


@contextmanager
def shown(run: Record, note: Callable[[], str]) -> Iterator[Callable[[], None]]:
    """Show a run where this is a notebook. What is given is to be called while the caller waits."""
    if not _is_wanted():
        yield _nothing
        return
    view = View(run, note)
    try:
        yield view.tick
    finally:
        view.draw()


def _is_wanted() -> bool:
    """Whether this is a notebook's own thread: what others show lands in the wrong cell."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and kernel() is not None and bool(settings.get("notebook.progress"))


def _nothing() -> None:
    pass


# Views that keep themselves up to date. The kernel's loop draws them; while a cell blocks that loop, who waits for a
# run does. They are drawn once more when a cell ends: what runs a notebook without a browser takes what is of its cell.
_views: dict[View, asyncio.Task[None]] = {}


def follow(run: Record, note: Callable[[], str]) -> View | None:
    """Show a run in this cell until it is over or paused, and return at once.

    None elsewhere than in a notebook.
    """
    if not _is_wanted():
        return None
    import asyncio

    view = View(run, note)

    async def keep() -> None:
        while not view.is_over:
            await asyncio.sleep(PAUSE)
            view.tick()

    events = cast(Any, kernel()).events
    if _draw_views not in events.callbacks["post_run_cell"]:
        events.register("post_run_cell", _draw_views)
    _views[view] = asyncio.get_running_loop().create_task(keep())
    return view


def tick_views() -> None:
    """Draw the views that keep themselves up to date, where it is time to: the caller blocks the kernel's loop."""
    if _views and _is_wanted():
        for view in _views:
            view.tick()


def _draw_views(result: object = None) -> None:
    """A cell ends. What is shown now is of that cell, also what the loop has drawn already, and so is not lost."""
    for view in list(_views):
        view.draw(again=True)
        if view.is_over:
            del _views[view]


def _is_over(row: RunRow) -> bool:
    return row.state in states.RUN_FINAL or (row.state == states.PAUSED and not is_driven(row))
