"""Fragments on a Dask cluster: any address, client or cluster, or a local one of its own.

What happens while it is started lies in `session`, which imports `distributed`; this module does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dataflow_executors.base import (
    AlreadyStarted,
    Channel,
    Executor,
    Fragment,
    Key,
    Message,
    NotStarted,
)

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy.cluster import Cluster

    from dataflow_executors.session import Session

ELSEWHERE = ("tcp://", "tls://", "ucx://", "ws://", "wss://")  # what other processes can connect to


class DaskExecutor(Executor):
    """Any cluster of Dask's `distributed`.

    Parameters
    ----------
    where
        None starts a local cluster of processes. An address connects to its scheduler. A `distributed.Client` is used
        and left open; so is a cluster object. A cluster class is called with `cluster_kwargs`, and closed at the end.
    workers
        Number of processes of the local cluster; None for one per CPU.
    threads_per_worker
        Threads of each of these processes.
    cluster_kwargs
        Arguments of the cluster class (for the local cluster, over those that are set here).
    adapt
        Arguments of `cluster.adapt`, for a cluster that is started here: `{"minimum": 1, "maximum": 10}`.

    Raises
    ------
    ValueError
        `workers`, `threads_per_worker`, `cluster_kwargs` or `adapt` do not go with `where`.

    Examples
    --------
    >>> DaskExecutor("tcp://10.0.0.1:8786")
    <DaskExecutor not started where='tcp://10.0.0.1:8786'>
    """

    name = "dask"
    chains = True

    def __init__(
        self,
        where: str | Client | Cluster | type[Cluster] | None = None,
        *,
        workers: int | None = None,
        threads_per_worker: int = 1,
        cluster_kwargs: Mapping[str, object] | None = None,
        adapt: Mapping[str, object] | None = None,
    ) -> None:
        starts = where is None or isinstance(where, type)
        for option, value, fits in (
            ("workers", workers, where is None),
            ("cluster_kwargs", cluster_kwargs, starts),
            ("adapt", adapt, starts),
        ):
            if value is not None and not fits:
                raise ValueError(f"{option}={value!r} is for a cluster that is started here, but where={where!r} runs.")
        for option, number in (("workers", workers), ("threads_per_worker", threads_per_worker)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise ValueError(f"{option}={number!r}: give a whole number of at least 1.")
        self._where = where
        self._workers = workers
        self._threads_per_worker = threads_per_worker
        self._cluster_kwargs = dict(cluster_kwargs or {})
        self._adapt = adapt
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._left: tuple[str, ...] = ()  # topics that may be on the workers still, since their cluster was lost

    @property
    def spec(self) -> str | None:
        """An address, or `"processes"` with a number; None where only the object itself will do."""
        if self._where is None:
            plain = not self._cluster_kwargs and self._adapt is None and self._threads_per_worker == 1
            words = "processes" if self._workers is None else f"processes:{self._workers}"
            return words if plain else None
        return reachable(self._where)

    @property
    def slots(self) -> int:
        """Worker threads now; 1 while there is no worker."""
        return self._started("slots").slots()

    @property
    def channel(self) -> Channel:
        """The channel of this start."""
        return self._started("channel").channel

    def start(self, post: Callable[[Message], None]) -> None:
        """Connect, or start the cluster; see `Executor.start`."""
        from dataflow_executors.connect import connect
        from dataflow_executors.session import Session

        with self._lock:
            if self._session is not None:
                raise AlreadyStarted(repr(self))
            connection = connect(
                self._where,
                workers=self._workers,
                threads_per_worker=self._threads_per_worker,
                cluster_kwargs=self._cluster_kwargs,
                adapt=self._adapt,
            )
            try:
                self._session = Session(connection, post, self._left)
            except BaseException:
                connection.close(now=True)
                raise
            self.processes = connection.processes
            self.hosts = connection.hosts

    def ship(self, blobs: Mapping[str, bytes]) -> None:
        """Send blobs to all workers; see `Executor.ship`."""
        self._started("ship()").ship(blobs)

    def submit(self, fragment: Fragment) -> None:
        """Send the fragment to the scheduler; see `Executor.submit`."""
        self._started("submit()").submit(fragment)

    def cancel(self) -> None:
        """Drop what is queued; see `Executor.cancel`."""
        if (session := self._session) is not None:
            session.cancel()

    def fetch(self, keys: Iterable[Key]) -> dict[Key, object]:
        """Values of kept keys; see `Executor.fetch`."""
        return self._started("fetch()").fetch(keys)

    def release(self, keys: Iterable[Key]) -> None:
        """Give up futures; see `Executor.release`."""
        self._started("release()").release(keys)

    def close(self, now: bool = False) -> None:
        """Close what was started here; see `Executor.close`."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close(now)
            self._left = session.left

    def _started(self, call: str) -> Session:
        session = self._session
        if session is None:
            raise NotStarted(repr(self), call)
        return session

    def __repr__(self) -> str:
        state = "not started" if self._session is None else repr(self._session)
        workers = "" if self._workers is None else f" workers={self._workers}"
        return f"<{type(self).__name__} {state} where={self._where!r}{workers}>"


def reachable(where: str | Client | Cluster | type[Cluster]) -> str | None:
    """The address at which another process finds the scheduler of an address, a client or a cluster.

    Examples
    --------
    >>> reachable("tcp://10.0.0.1:8786")
    'tcp://10.0.0.1:8786'
    >>> reachable("inproc://10.0.0.1/123/1") is None
    True
    """
    given: Any = where
    address = given if isinstance(given, str) else getattr(given, "scheduler_address", None)
    if address is None:  # a client, which has none while it is closed
        address = getattr(getattr(given, "scheduler", None), "address", None)
    return address if isinstance(address, str) and address.startswith(ELSEWHERE) else None
