"""Fragments on one pool of threads, several at once.

State: `_pool`, the threads that run tasks; `_coordinators`, one thread for each fragment in flight, which runs Dask's
loop for it and sleeps while the pool works.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Set
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from dataflow_executors.base import Done, Fragment, Key, Message
from dataflow_executors.kept import KeptValues
from dataflow_executors.local import LocalExecutor


class ThreadExecutor(LocalExecutor):
    """Dask's threaded scheduler on one pool that all fragments share.

    Parameters
    ----------
    threads
        Number of tasks that run at the same moment; None for one per CPU that this process may use.

    Raises
    ------
    ValueError
        `threads` is less than 1.

    Examples
    --------
    >>> from queue import SimpleQueue
    >>> from dask._task_spec import Task
    >>> from dataflow_executors import Done, Fragment, Message
    >>> messages: SimpleQueue[Message] = SimpleQueue()
    >>> executor = ThreadExecutor(threads=2)
    >>> executor.start(messages.put)
    >>> executor.submit(Fragment(id=1, tasks={"a": Task("a", len, "abc")}, keep=frozenset({"a"})))
    >>> messages.get()
    Done(fragment=1, lost={})
    >>> executor.fetch(["a"])
    {'a': 3}
    >>> executor.close()
    """

    name = "threads"

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads={threads!r}: give a whole number of at least 1, or None for one per CPU.")
        super().__init__()
        self._given = self._threads = threads
        self._pool: _Pool | None = None
        self._coordinators: set[threading.Thread] = set()

    @property
    def spec(self) -> str:
        """`"threads"`, with the number of threads if one was given."""
        return "threads" if self._given is None else f"threads:{self._given}"

    @property
    def slots(self) -> int:
        """Number of threads that run tasks."""
        if self._threads is None:
            from dask.system import CPU_COUNT

            self._threads = int(CPU_COUNT)
        return self._threads

    def start(self, post: Callable[[Message], None]) -> None:
        """Start the pool; see `Executor.start`."""
        super().start(post)
        self._pool = _Pool(self.slots)
        self._coordinators = set()

    def _run(
        self,
        fragment: Fragment,
        inputs: Set[Key],
        post: Callable[[Message], None],
        stop: threading.Event,
    ) -> None:
        assert self._pool is not None
        # Tasks see the context variables of whoever submits, as they do with dask.threaded.
        context = contextvars.copy_context()
        coordinator = threading.Thread(
            target=context.run,
            args=(self._coordinate, fragment, inputs, self._values, stop, post, self._pool, self._coordinators),
            name=f"dataflow-fragment-{fragment.id}",
            daemon=True,
        )
        self._coordinators.add(coordinator)
        coordinator.start()

    @staticmethod
    def _coordinate(
        fragment: Fragment,
        inputs: Set[Key],
        values: KeptValues,
        stop: threading.Event,
        post: Callable[[Message], None],
        pool: _Pool,
        coordinators: set[threading.Thread],
    ) -> None:
        from dataflow_executors.kernel import FragmentRun

        run = FragmentRun(fragment, values.take(inputs), values, stop.is_set)
        try:
            run.run(pool.submit, pool.size)
        finally:
            values.settle(fragment.keep)
            coordinators.discard(threading.current_thread())
            post(Done(fragment.id, run.lost()))

    def _finish(self, now: bool) -> None:
        pool, self._pool = self._pool, None
        assert pool is not None
        try:
            if not now:
                for coordinator in list(self._coordinators):
                    coordinator.join()
        finally:
            pool.shut(wait=not now)


class _Pool:
    """A fixed number of daemon threads.

    The threads of `concurrent.futures.ThreadPoolExecutor` are joined when the interpreter exits, so that one body that
    hangs would hold the process for ever, even after `close(now=True)`.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._calls: SimpleQueue[tuple[Future[Any], contextvars.Context, tuple[Any, ...]] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, args=(self._calls,), name=f"dataflow-worker-{i}", daemon=True)
            for i in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, *call: Any) -> Future[Any]:
        """Call `call[0](*call[1:])` in one of the threads, with a copy of this thread's context variables."""
        future: Future[Any] = Future()
        self._calls.put((future, contextvars.copy_context(), call))
        return future

    def shut(self, wait: bool) -> None:
        """End each thread after the call that it is in, and those that were submitted before."""
        for _ in self._threads:
            self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    @staticmethod
    def _work(calls: SimpleQueue[tuple[Future[Any], contextvars.Context, tuple[Any, ...]] | None]) -> None:
        while (item := calls.get()) is not None:
            future, context, call = item
            try:
                result = context.run(*call)
            except BaseException as error:  # handed on whole
                future.set_exception(error)
            else:
                future.set_result(result)
            # A waiting thread must not hold the last value.
            item = future = context = call = result = None  # type: ignore[assignment]
