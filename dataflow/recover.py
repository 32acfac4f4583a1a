"""Going on with runs whose driver died: which those are, and who may take them up.

A run belongs to its driver for as long as the lease is renewed. A driver of this machine whose process is gone is
replaced at once; one elsewhere when its lease is over. Of many that try, one becomes the owner.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from dataflow import closing, control, settings, states
from dataflow.driven import launch
from dataflow.errors import CodeChanged, CodeGone, DataflowError, RunNotResumable
from dataflow.failure import describe
from dataflow.owners import is_alive, is_gone
from dataflow.recovery import RESUME, lease_seconds
from dataflow.run import Run
from dataflow_executors import ExecutorError
from dataflow_storage import RunStore, StoreUnavailable
from dataflow_storage.errors import StaleOwner
from dataflow_storage.rows import RunRow

TAKEN, LEFT, CRASHED = "taken up", "left", "crashed"


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """What became of a run that was found without a driver.

    Parameters
    ----------
    run : Run
        The run; it is being driven by this process where it was taken up.
    what : str
        "taken up", "left" to others, or "crashed": it cannot go on by itself.
    why : str
        The reason, for people.
    """

    run: Run
    what: str
    why: str


def abandoned_runs(store: RunStore) -> list[RunRow]:
    """Runs that nobody drives and that could go on, oldest first."""
    found = {row.id: row for row in store.abandoned() if not _is_late(row)}
    for row in store.runs(state=(states.PENDING, states.RUNNING), limit=None):
        if row.owner is not None and is_gone(row.owner):
            found[row.id] = row
    return sorted(found.values(), key=lambda row: row.created)


def _is_late(row: RunRow) -> bool:
    """Whether its driver, on this machine, lives and could not renew its lease: a body holds the interpreter's lock.

    It gets one lease more, so that within two the run is somebody's again.
    """
    until = (row.lease_until or 0.0) + lease_seconds()
    return row.owner is not None and time.time() < until and is_alive(row.owner)


def recover(store: RunStore) -> list[Recovered]:
    """Take up every run that nobody drives; they go on in threads of this process.

    Returns
    -------
    list of Recovered
        Without those that somebody else has taken meanwhile.
    """
    found = [recover_one(store, row) for row in abandoned_runs(store)]
    return [one for one in found if one is not None]


def recover_one(store: RunStore, row: RunRow) -> Recovered | None:
    """Take up a run that nobody drives; None where somebody else has.

    Where it cannot go on, for its code is gone or it was taken up too often to no avail, it ends as Crashed.
    """
    run = Run(store, row)
    lost = row.owner or "nobody"
    try:
        notes = _counted(store, row)
        if notes is None:
            most = settings.get("runs.recoveries")
            return _crash(run, row, f"its driver died {most} times in a row without any task ending meanwhile")
        try:
            control.take_up(run, RESUME, None, recovered=notes, epoch=row.epoch)
        except CodeChanged as error:
            control.take_up(run, RESUME, None, recovered=notes, as_recorded=True, epoch=row.epoch)
            lost += f"; {error}"
    except CodeGone as error:
        return _crash(run, row, str(error))
    except RunNotResumable as error:
        now = store.find(row.id)
        if now.epoch != row.epoch or now.state != row.state:
            return None  # somebody was faster
        if now.details.get("host") in (None, socket.gethostname()):
            return _crash(run, row, str(error))
        return Recovered(run=run, what=LEFT, why=str(error))
    except (StaleOwner, StoreUnavailable, ExecutorError) as error:
        return Recovered(run=run, what=LEFT, why=str(error))
    except Exception as error:  # its flow's body raises with what it took before
        ours = isinstance(error, DataflowError)
        return _crash(run, row, str(error) if ours else f"its graph cannot be built: {describe(error)['text']}")
    launch(run, aside=True)
    return Recovered(run=run, what=TAKEN, why=f"its driver was {lost}")


def _counted(store: RunStore, row: RunRow) -> dict[str, object] | None:
    """The run's notes, with how often it was taken up to no avail; None where that is too often."""
    ended = sum(n for told in store.counts(row.id).values() for state, n in told.items() if state in states.FINAL)
    before = row.details.get("recovered")
    times, then = before if isinstance(before, list) else (0, -1)
    times = times + 1 if ended <= then else 1
    return None if times > int(str(settings.get("runs.recoveries"))) else {"recovered": [times, ended]}


def _crash(run: Run, row: RunRow, why: str) -> Recovered | None:
    try:
        if not closing.close(run._store, row.id, states.CRASHED, why, epoch=row.epoch):
            return None
    except StaleOwner:
        return None
    return Recovered(run=run, what=CRASHED, why=why)
