"""From what a user writes after `executor=` to an executor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dataflow_executors.base import Executor, UnknownExecutor
from dataflow_executors.cluster import DaskExecutor
from dataflow_executors.sync import SyncExecutor
from dataflow_executors.threads import ThreadExecutor

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy.cluster import Cluster

TAKEN = (
    "'sync', 'threads', 'threads:4', 'processes', 'processes:4', a scheduler's address ('tcp://host:8786', 'tls://…', "
    "'inproc://…'), a distributed.Client, a Dask cluster object, an Executor, None (the current Client, else threads)"
)


def choose(spec: str | Executor | Client | Cluster | None) -> Executor:
    """Make an executor of a shorthand.

    Parameters
    ----------
    spec
        `"sync"`; `"threads"` or `"processes"`, with `":4"` for 4 of them, else one per CPU; an address; a
        `distributed.Client` or a cluster object; an `Executor`, which is returned as it is. None is the current
        `distributed.Client` where there is one, as for `dask.compute`, else threads.

    Returns
    -------
    Executor
        Not started.

    Raises
    ------
    UnknownExecutor
        A `ValueError` that lists what is taken.

    Examples
    --------
    >>> choose("threads:4")
    <ThreadExecutor not started slots=4 kept=0>
    >>> choose("processes:2")
    <DaskExecutor not started where=None workers=2>
    >>> choose("process")
    Traceback (most recent call last):
        ...
    dataflow_executors.base.UnknownExecutor: 'process' is not an executor. Taken are: 'sync', ...
    """
    if isinstance(spec, Executor):
        return spec
    if spec is None:
        client = _current_client()
        return ThreadExecutor() if client is None else DaskExecutor(client)
    if isinstance(spec, str):
        return _named(spec)
    if isinstance(getattr(spec, "scheduler_address", None), str) or _is_client(spec):
        return DaskExecutor(spec)
    raise UnknownExecutor(spec, TAKEN)


def _named(spec: str) -> Executor:
    if spec.startswith(("tcp://", "tls://", "inproc://", "ws://", "wss://", "ucx://")):
        return DaskExecutor(spec)
    kind, colon, number = spec.partition(":")
    if colon and not (number.isascii() and number.isdigit() and int(number) > 0):
        raise UnknownExecutor(spec, TAKEN)
    count = int(number) if colon else None
    if kind == "threads":
        return ThreadExecutor(count)
    if kind == "processes":
        return DaskExecutor(workers=count)
    if spec == "sync":
        return SyncExecutor()
    raise UnknownExecutor(spec, TAKEN)


def _current_client() -> Client | None:
    """The current client; nobody can have one who has not imported `distributed`."""
    distributed: Any = sys.modules.get("distributed")
    if distributed is None or not hasattr(distributed, "Client"):
        return None
    try:
        client: Client = distributed.Client.current()
    except ValueError:
        return None
    return client


def _is_client(spec: object) -> bool:
    distributed: Any = sys.modules.get("distributed")
    return distributed is not None and isinstance(spec, distributed.Client)
