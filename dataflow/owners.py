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
    import psutil

    host, _, rest = name.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        return bool(psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
