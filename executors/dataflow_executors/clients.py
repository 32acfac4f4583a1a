"""A connected `distributed.Client` for an address, a client or a cluster object, which leaves no thread behind."""

from __future__ import annotations

import asyncio
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from dataflow_executors.base import ClusterFailed, UnknownExecutor, Unreachable
from dataflow_executors.silence import quiet

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 8.0
CLOSE_SECONDS = 10.0
TAKEN = "an address like 'tcp://host:8786', a distributed.Client, a cluster object, a cluster class, or None"


def client_for(where: object) -> tuple[Client, bool]:
    """A client that is connected now.

    Parameters
    ----------
    where
        An address, a `distributed.Client`, or a cluster object.

    Returns
    -------
    tuple
        The client, not asynchronous; and whether it was made for the caller, who closes it with its `end()`.

    Raises
    ------
    Unreachable, ClusterFailed, UnknownExecutor
    """
    from distributed import Client

    if isinstance(where, str):
        return _connected(where, where), True
    if isinstance(where, Client):
        return _given(where)
    if isinstance(getattr(where, "scheduler_address", None), str):
        return of_cluster(where), True
    raise UnknownExecutor(where, TAKEN)


def of_cluster(cluster: Any) -> Client:
    """A new client of a cluster object."""
    address = cluster.scheduler_address
    if getattr(getattr(cluster, "status", None), "name", "") in ("closing", "closed", "failed"):
        raise ClusterFailed(repr(cluster), "it is closed. Give one that runs, or its class, to be started anew.")
    # A cluster that lives in an event loop cannot be waited for from outside of it.
    if getattr(cluster, "asynchronous", False):
        return _connected(address, address, security=getattr(cluster, "security", None))
    return _connected(cluster, address)


def _given(client: Any) -> tuple[Client, bool]:
    if client.scheduler is None:
        raise ClusterFailed(repr(client), "it is not connected. Give a connected client, or a scheduler's address.")
    if client.asynchronous:
        # A client that lives in an event loop cannot be waited for from outside of it.
        address = str(client.scheduler.address)
        return _connected(address, address, security=client.security), True
    if client.status == "connecting":  # its scheduler went away, and it tries again by itself
        client.sync(_reconnected, client)
    if client.status != "running":
        advice = "it was closed, by its owner or because its scheduler stayed away. Give a connected client."
        raise ClusterFailed(repr(client), advice)
    return client, False


async def _reconnected(client: Any) -> None:
    address = str(client.scheduler.address)
    until = time.monotonic() + CONNECT_SECONDS
    while client.status == "connecting":
        if time.monotonic() > until:
            raise Unreachable(address, CONNECT_SECONDS, "the client tries to connect again")
        await asyncio.sleep(0.05)


def _connected(where: object, address: str, **options: Any) -> Client:
    try:
        with quiet():
            client: Client = _tidy()(where, timeout=CONNECT_SECONDS, set_as_default=False, **options)
            return client
    except (OSError, TimeoutError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise Unreachable(address, CONNECT_SECONDS, reason) from error


@cache
def _tidy() -> Any:
    from distributed import Client

    base: Any = Client

    class TidyClient(base):  # type: ignore[misc, unused-ignore]
        """Gives up a scheduler that takes the connection and then says nothing, for which Dask's would wait for ever.

        And ends the thread of its event loop also when it cannot connect, and when it had closed itself because its
        scheduler stayed away; Dask's would leave it running.
        """

        async def _start(self, **options: Any) -> Any:
            return await asyncio.wait_for(super()._start(**options), CONNECT_SECONDS + 1)

        def start(self, **options: Any) -> None:
            try:
                super().start(**options)
            except BaseException:
                self.end()
                raise

        def end(self) -> None:
            """Close; not `close` itself, since Dask calls that from `__del__`, where locks may be held."""
            try:
                self.close(CLOSE_SECONDS)
            finally:
                self._loop_runner.stop()

    return TidyClient
