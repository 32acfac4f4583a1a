"""Who owns a run or a claim: a process of a machine, by name, so that others can tell whether it is gone."""

from __future__ import annotations

import os
import socket


def owner(what: str) -> str:
    """The name of this process as the owner of something.

    Parameters
    ----------
    what : str
        Tells its owners within this process apart.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{what}"


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
