"""Runs whose driver died go on beside the verb that finds them, in a process of their own."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from dataflow import settings

if TYPE_CHECKING:
    from dataflow.cli.terminal import Printer
    from dataflow_storage import RunStore

MOST_NAMED = 5


def recover_others(store: RunStore, printer: Printer | None) -> None:
    """Start `dataflow recover` in the background where there is something to do for it, and say so.

    Parameters
    ----------
    store : RunStore
        The record.
    printer : Printer or None
        Where to say it; None says nothing.
    """
    from dataflow.recover import abandoned_runs

    if not settings.get("runs.recover"):
        return
    rows = abandoned_runs(store)
    if not rows:
        return
    pid = _start()
    if printer is not None:
        where = "dataflow recover sees to them already" if pid is None else f"they go on in process {pid}"
        names = ", ".join(row.name for row in rows[:MOST_NAMED])
        more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
        printer.line(f"their drivers died, and {where}: {names}{more}")


def _start() -> int | None:
    """The process that goes on with them; None where another command has started one that is still there.

    It holds a lock on a file as long as it lives: else each command would add as many processes as one may have.
    """
    os.makedirs(settings.home(), exist_ok=True)
    with open(os.path.join(settings.home(), "recover.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return None
        # A session of its own: Ctrl-C and a closed terminal are not meant for those runs.
        process = subprocess.Popen(
            [sys.executable, "-m", "dataflow", "recover"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
    process.returncode = 0  # nobody here waits for it
    return process.pid
