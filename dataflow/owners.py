"""Who owns a run or a claim: a process of a machine, by name, so that others can tell whether it is gone."""

from __future__ import annotations

import getpass
import os
import socket
import time

from dataflow_storage.rows import RunRow

TAKEN_UP_AT = "taken_up"  # in a run's notes: when its last driver began, where it had one before


def owner(what: str) -> str:
    """The name of this process as the owner of something.

    Parameters
    ----------
    what : str
        Tells its owners within this process apart.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{what}"


def person() -> str:
    """Who asks for something, for the record."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def is_driven(row: RunRow) -> bool:
    """Whether somebody drives a run: has its lease, and is not known to be gone."""
    return row.owner is not None and (row.lease_until or 0.0) > time.time() and not is_gone(row.owner)


def driver_of(row: RunRow) -> str:
    """Who drives a run, for people; empty where nobody does."""
    return owner_name(row.owner) if row.owner is not None and is_driven(row) else ""


def driven_since(row: RunRow) -> float:
    """When the driver of a run began, or the last one that it had: how long it took counts from then."""
    since = row.details.get(TAKEN_UP_AT)
    return float(since) if isinstance(since, int | float) else row.started or row.created


def owner_name(owner: str) -> str:
    """An owner as people say it.

    >>> owner_name("nimbus:4711:5f3a")
    'process 4711 on nimbus'
    """
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    return f"process {pid} on {host}" if pid.isdigit() else owner


def is_gone(name: str) -> bool:
    """Whether an owner is known to be gone: a process of this machine that is there no more.

    Parameters
    ----------
    name : str
        What `owner` gave, anywhere.
    """
    status = _status(name)
    return status in ("gone", "zombie")


def is_alive(name: str) -> bool:
    """Whether an owner is known to live: a process of this machine that is not stopped.

    Parameters
    ----------
    name : str
        What `owner` gave, anywhere.
    """
    return _status(name) not in ("unknown", "gone", "zombie", "stopped", "tracing-stop", "dead")


def _status(name: str) -> str:
    """What psutil calls the state of an owner's process; "gone" where there is none, "unknown" on another machine."""
    import psutil

    host, _, rest = name.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return "unknown"
    if int(pid) == os.getpid():
        return "running"
    try:
        return str(psutil.Process(int(pid)).status())
    except psutil.NoSuchProcess:
        return "gone"
