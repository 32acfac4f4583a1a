"""What breaks in a driver or a worker of a chaos run: it is killed at one passage of a named place, once.

``CHAOS_FAULT`` is ``NAME|N|before or after|process or session|marker``: kill this process, or all of its session, at
the Nth passage in this process; the marker is a file that exists once that has happened, so that it happens once.
``CHAOS_TRACE`` is a file for a line for each passage. A driver installs this itself; a worker does as its preload.
"""

from __future__ import annotations

import os
import signal
from itertools import count

from dataflow_storage import faults


def install() -> None:
    """Break what the environment says."""
    told, trace = os.environ.get("CHAOS_FAULT"), os.environ.get("CHAOS_TRACE")
    chosen = [faults.read(f"trace:{trace}")] if trace else []
    if told:
        chosen.append(once(*told.split("|")))
    if chosen:

        def fault(name: str, when: str) -> None:
            for each in chosen:
                each(name, when)

        faults.install(fault)


def once(name: str, number: str, when: str, scope: str, marker: str) -> faults.Fault:
    """Kill at this passage, if nobody has."""
    passages = count(1)

    def fault(here: str, now: str) -> None:
        if here != name or now != when or next(passages) != int(number):
            return
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return
        if scope == "session":
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    return fault


def dask_setup(worker: object) -> None:
    """Called by a worker that was told to preload this module."""
    install()
