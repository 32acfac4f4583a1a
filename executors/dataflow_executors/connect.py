"""A connection to a cluster: one that runs, or one that is started for it.

A `Connection` knows what it started, so that closing it closes that and nothing else.
"""

from __future__ import annotations

import ast
import logging
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dataflow_executors.base import ClusterFailed, NoMainGuard, Unreachable
from dataflow_executors.clients import CLOSE_SECONDS, client_for, of_cluster
from dataflow_executors.localcluster import deaf_to_interrupts, kill, local_cluster, nannies_of, revive
from dataflow_executors.silence import hush, quiet

if TYPE_CHECKING:
    from distributed import Client

CONFIRM_SECONDS = 1.0  # to see that a scheduler which was lost is not there

log = logging.getLogger("dataflow.executors")


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
    adapts
        The cluster decides itself how many workers it has.
    """

    client: Client
    cluster: Any = None
    own_client: bool = True
    adapts: bool = False

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

    @property
    def kills(self) -> bool:
        """Whether `close(now=True)` kills the workers."""
        return bool(nannies_of(self.cluster))

    def restock(self) -> None:
        """Start workers again that are gone for good; returns at once, in the client's loop."""
        if not self.adapts:
            revive(self.cluster)

    def close(self, now: bool, lost: bool = False) -> None:
        """Close what was started here; `lost`, if its scheduler answers no more."""
        client: Any = self.client
        with quiet():
            nannies = nannies_of(self.cluster)
            if nannies and now:
                self.cluster.sync(kill, nannies)
            elif nannies and client.status == "running":
                client.run(hush, on_error="ignore")
            if self.own_client:
                _end(client, client.end)
            if self.cluster is not None:
                with orphaned(self.cluster) if lost else nullcontext():
                    _end(self.cluster, self.cluster.close, CLOSE_SECONDS)


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
        See `DaskExecutor`.
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
    from distributed import LocalCluster

    local = where is None or (isinstance(where, type) and issubclass(where, LocalCluster))
    if local and cluster_kwargs.get("processes", True):
        _refuse_unguarded_script()
    if where is None:
        return _start(lambda: local_cluster(workers, threads_per_worker, cluster_kwargs), "A local cluster", adapt)
    if isinstance(where, type):
        return _start(lambda: where(**cluster_kwargs), where.__name__, adapt)
    client, own = client_for(where)
    return Connection(client=client, own_client=own)


@contextmanager
def orphaned(cluster: Any) -> Iterator[None]:
    """Around closing a cluster whose scheduler, a process elsewhere, is gone.

    Dask would ask it to retire the workers first, wait 30 s for a connection, and then leave everything as it is.
    """
    import dask
    from distributed.core import Status
    from distributed.deploy.spec import ProcessInterface

    scheduler = getattr(cluster, "scheduler", None)
    if isinstance(scheduler, ProcessInterface):
        scheduler.status = Status.failed
    with dask.config.set({"distributed.comm.timeouts.connect": CONFIRM_SECONDS}):
        yield


def _end(what: object, close: Callable[..., object], *arguments: object) -> None:
    """Close something; that its other end hangs, or is gone, must not keep anybody from going on."""
    try:
        close(*arguments)
    except (OSError, TimeoutError) as error:
        log.warning("%r may stay open: %s: %s", what, type(error).__name__, error)


def _start(make: Callable[[], Any], what: str, adapt: Mapping[str, object] | None) -> Connection:
    try:
        with deaf_to_interrupts():
            cluster = make()
    except Exception as error:
        raise ClusterFailed(what, f"{type(error).__name__}: {error}") from error
    try:
        if adapt is not None:
            cluster.adapt(**adapt)
        return Connection(client=of_cluster(cluster), cluster=cluster, adapts=adapt is not None)
    except BaseException as error:
        cluster.close()
        if isinstance(error, Unreachable) or not isinstance(error, Exception):
            raise
        raise ClusterFailed(what, f"{type(error).__name__}: {error}") from error


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
