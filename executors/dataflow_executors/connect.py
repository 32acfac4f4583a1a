"""Getting a `distributed.Client` from whatever a user says about where to run, and giving it back.

A `Connection` knows what it started, so that closing it closes that and nothing else.
"""

from __future__ import annotations

import ast
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dataflow_executors.base import ClusterFailed, NoMainGuard, UnknownExecutor, Unreachable

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

CONNECT_SECONDS = 8.0
CLOSE_SECONDS = 10.0
TAKEN = "an address like 'tcp://host:8786', a distributed.Client, a cluster object, a cluster class, or None"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A connected client, and what to close with it.

    Attributes
    ----------
    client
        A client that is not asynchronous.
    cluster
        The cluster, if it was started for this connection.
    own_client
        The client was made for this connection.
    """

    client: Client
    cluster: Any = None
    own_client: bool = True

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        scheduler = self.client.scheduler
        return str(scheduler.address) if scheduler is not None else "unknown"

    @property
    def processes(self) -> bool:
        """Whether workers are, or will be, other processes."""
        return not self.address.startswith("inproc://")

    @property
    def hosts(self) -> bool:
        """Whether workers may be on other hosts."""
        return self.processes and urlsplit(self.address).hostname not in ("127.0.0.1", "::1", "localhost")

    def close(self, now: bool) -> None:
        """Close what was started here."""
        client: Any = self.client
        with quiet():
            nannies = _nannies(self.cluster)
            if nannies and now:
                self.cluster.sync(_kill, nannies)
            elif nannies and client.status == "running":
                client.run(_hush, on_error="ignore")
            if self.own_client:
                client.close(timeout=CLOSE_SECONDS)
            if self.cluster is not None:
                self.cluster.close(timeout=CLOSE_SECONDS)


def connect(
    where: object,
    *,
    workers: int | None,
    threads_per_worker: int,
    cluster_kwargs: Mapping[str, object],
    adapt: Mapping[str, object] | None,
) -> Connection:
    """Connect to a cluster, or start one.

    Parameters
    ----------
    where
        See `TAKEN`; None starts a local cluster of processes.
    workers, threads_per_worker
        Size of that local cluster; None for one worker per CPU.
    cluster_kwargs
        What the cluster class is called with.
    adapt
        What `cluster.adapt` is called with, for a cluster that is started here.

    Raises
    ------
    Unreachable, ClusterFailed, NoMainGuard, UnknownExecutor
    """
    from distributed import Client, LocalCluster

    local = where is None or (isinstance(where, type) and issubclass(where, LocalCluster))
    if local and cluster_kwargs.get("processes", True):
        _refuse_unguarded_script()
    if where is None:
        return _start(lambda: _local_cluster(workers, threads_per_worker, cluster_kwargs), "A local cluster", adapt)
    if isinstance(where, str):
        return Connection(client=_client(where, where))
    if isinstance(where, Client):
        if not where.asynchronous and where.status == "running":
            return Connection(client=where, own_client=False)
        if where.scheduler is None or not where.asynchronous:
            raise ClusterFailed(repr(where), "it is not connected. Give a connected client, or a scheduler's address.")
        # A client that lives in an event loop cannot be waited for from outside of it.
        address = str(where.scheduler.address)
        return Connection(client=_client(address, address, security=where.security))
    if isinstance(where, type):
        return _start(lambda: where(**cluster_kwargs), where.__name__, adapt)
    if isinstance(getattr(where, "scheduler_address", None), str):
        return Connection(client=_cluster_client(where))
    raise UnknownExecutor(where, TAKEN)


def _client(where: object, address: str, **options: Any) -> Client:
    from distributed import Client

    make: Any = Client
    try:
        with quiet():
            client: Client = make(where, timeout=CONNECT_SECONDS, set_as_default=False, **options)
            return client
    except (OSError, TimeoutError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise Unreachable(address, CONNECT_SECONDS, reason) from error


def _cluster_client(cluster: Any) -> Client:
    address = cluster.scheduler_address
    if getattr(cluster, "asynchronous", False):
        return _client(address, address, security=getattr(cluster, "security", None))
    return _client(cluster, address)


def _start(make: Callable[[], Any], what: str, adapt: Mapping[str, object] | None) -> Connection:
    try:
        with _deaf_to_interrupts():
            cluster = make()
        if adapt is not None:
            cluster.adapt(**adapt)
    except Exception as error:
        raise ClusterFailed(what, f"{type(error).__name__}: {error}") from error
    try:
        return Connection(client=_cluster_client(cluster), cluster=cluster)
    except BaseException:
        cluster.close()
        raise


def _local_cluster(workers: int | None, threads_per_worker: int, options: Mapping[str, object]) -> LocalCluster:
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    make: Any = LocalCluster
    chosen: dict[str, Any] = {
        "processes": True,
        "n_workers": CPU_COUNT if workers is None else workers,
        "threads_per_worker": threads_per_worker,
        "dashboard_address": None,
        **options,
    }
    if chosen["dashboard_address"] is None:
        # Without a dashboard the scheduler serves its metrics all the same, and warns when port 8787 is taken.
        given = chosen.get("scheduler_kwargs") or {}
        chosen["scheduler_kwargs"] = {"dashboard_address": "127.0.0.1:0", **given}
    cluster: LocalCluster = make(**chosen)
    return cluster


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Threads started in here, and the processes that they start, never get SIGINT.

    A terminal sends Ctrl-C to the whole process group. Workers must leave it to the driver to decide what ends. Blocked
    signals are inherited: by the thread of the cluster's event loop, by its helpers that start workers (later ones
    too), and by the workers.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    # Started by the first child otherwise, and starting it unblocks the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _refuse_unguarded_script() -> None:
    """Raise `NoMainGuard` where worker processes, which import the script again, would come to this same line."""
    import dask

    if dask.config.get("distributed.worker.multiprocessing-method") == "fork":
        return
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise NoMainGuard(script or "The script")
    if main is None or script is None:
        return  # a notebook or a prompt: workers do not import it
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and not (frame.f_globals is main.__dict__ and frame.f_code.co_name == "<module>"):
        frame = frame.f_back
    if frame is None:
        return
    try:
        with open(script, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return  # not Python source: the check in the worker, above, is left
    line = frame.f_lineno
    for statement in tree.body:
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            if "__name__" not in names:
                raise NoMainGuard(script, line)


def _nannies(cluster: Any) -> list[Any]:
    """Those who watch the worker processes of a local cluster; none for other clusters."""
    from distributed import Nanny

    return [worker for worker in getattr(cluster, "workers", {}).values() if isinstance(worker, Nanny)]


async def _kill(nannies: list[Any]) -> None:
    """End worker processes; closing the cluster would first wait seconds for their tasks."""
    for nanny in nannies:
        nanny.close_gracefully()  # its word for: do not start it again
        if nanny.pid is not None:
            os.kill(nanny.pid, signal.SIGKILL)


class _Silence(logging.Filter):
    """Lets everything pass but what Dask's networking says.

    A filter, because cluster objects change the levels of these handlers when they open and close.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep a record."""
        return not record.name.startswith(("distributed", "tornado"))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep `distributed` from logging what is expected: connections that end while we end them."""
    handlers = _handlers()
    silence = _Silence()
    for handler in handlers:
        handler.addFilter(silence)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(silence)


def _hush() -> None:
    """The same for good, in a worker process that is about to end."""
    for handler in _handlers():
        handler.addFilter(_Silence())


def _handlers() -> set[logging.Handler]:
    return {*logging.getLogger("distributed").handlers, *logging.getLogger().handlers}
