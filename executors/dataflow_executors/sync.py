"""Fragments one task after another, in the caller's thread: for `pdb`, and for tests that must be simple."""

from __future__ import annotations

import threading
from collections.abc import Callable, Set

from dataflow_executors.base import Done, Fragment, Key, Message
from dataflow_executors.local import LocalExecutor


class SyncExecutor(LocalExecutor):
    """Dask's synchronous scheduler.

    `submit` runs the fragment to its end, so a debugger stops in the task itself. A `KeyboardInterrupt` leaves
    `submit` after the `Done` of the fragment has been posted.

    Examples
    --------
    >>> from dask._task_spec import Task
    >>> from dataflow_executors import Done, Fragment
    >>> executor = SyncExecutor()
    >>> executor.start(print)
    >>> executor.submit(Fragment(id=1, tasks={"a": Task("a", len, "abc")}, keep=frozenset({"a"})))
    Done(fragment=1, lost={})
    >>> executor.fetch(["a"])
    {'a': 3}
    >>> executor.close()
    """

    name = "sync"
    inline = True

    @property
    def spec(self) -> str:
        """Always `"sync"`."""
        return "sync"

    @property
    def slots(self) -> int:
        """Always 1."""
        return 1

    def _run(
        self,
        fragment: Fragment,
        inputs: Set[Key],
        post: Callable[[Message], None],
        stop: threading.Event,
    ) -> None:
        from dask.local import SynchronousExecutor

        from dataflow_executors.kernel import FragmentRun

        run = FragmentRun(fragment, self._values.take(inputs), self._values, stop.is_set, passes=(KeyboardInterrupt,))
        try:
            run.run(SynchronousExecutor().submit, 1)
        finally:
            self._values.settle(fragment.keep)
            post(Done(fragment.id, run.lost()))

    def _finish(self, now: bool) -> None:
        """Nothing runs between two submits."""
