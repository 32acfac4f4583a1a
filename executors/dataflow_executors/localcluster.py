"""A local cluster of a run's own: Ctrl-C does not reach its processes, and those that die come back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import dask

if TYPE_CHECKING:
    from distributed import LocalCluster

MESSAGES_KEPT = 100


def local_cluster(workers: int | None, threads_per_worker: int, options: Mapping[str, object]) -> LocalCluster:
    """Start one; see `DaskExecutor`."""
    from dask.system import CPU_COUNT

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
    # Dask keeps the last messages of each connection for its developers, and ours bring many calls each.
    with dask.config.set({"distributed.admin.low-level-log-length": MESSAGES_KEPT}):
        cluster: LocalCluster = _steady()(**chosen)
    return cluster


@cache
def _steady() -> Any:
    from distributed import LocalCluster
    from distributed.deploy.cluster import Cluster

    base: Any = LocalCluster

    class SteadyCluster(base):  # type: ignore[misc, unused-ignore]
        """Leaves it to nannies to bring their workers back.

        Dask's closes the nanny for good when, 15 s after a worker died, none of that name is there: it may have died a
        second time and be about to come, and with several deaths in a row there is soon no worker left.
        """

        def _update_worker_status(self, op: str, message: object) -> None:
            step: Any = Cluster._update_worker_status
            step(self, op, message)

    return SteadyCluster


def revive(cluster: Any) -> None:
    """Start workers anew that a cluster should have, and that nobody will bring back; runs in its loop."""
    from distributed.core import Status

    wanted, workers = getattr(cluster, "worker_spec", None), getattr(cluster, "workers", None)
    if wanted is None or workers is None:
        return
    for name in [name for name, worker in workers.items() if worker.status in (Status.closed, Status.failed)]:
        del workers[name]
    if len(workers) < len(wanted):
        cluster.scale(len(wanted))


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
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


def nannies_of(cluster: Any) -> list[Any]:
    """Those who watch the worker processes of a local cluster; none for other clusters."""
    from distributed import Nanny

    return [worker for worker in getattr(cluster, "workers", {}).values() if isinstance(worker, Nanny)]


async def kill(nannies: list[Any]) -> None:
    """End worker processes; closing the cluster would first wait seconds for their tasks."""
    for nanny in nannies:
        nanny.close_gracefully()  # its word for: do not start it again
        if nanny.pid is not None:
            with suppress(ProcessLookupError):  # it has died by itself
                os.kill(nanny.pid, signal.SIGKILL)
