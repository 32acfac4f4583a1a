"""`RUN[/TASK[i]]`: which run and which of its task runs a person means."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dataflow.errors import NoSuchTask
from dataflow.events import NO_INDEX
from dataflow.run import Run, get_run
from dataflow.task_runs import pending
from dataflow_storage.rows import TaskRunRow

CHILD = re.compile(r"(?P<path>.+)\[(?P<index>\d+)\]")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a person named.

    Parameters
    ----------
    run : Run
        The run.
    path : str or None
        The node; None: the run itself.
    index : int or None
        The child of a mapped node; None: all of it.
    mapped : bool
        The node is mapped.
    """

    run: Run
    path: str | None = None
    index: int | None = None
    mapped: bool = False

    @property
    def row(self) -> TaskRunRow:
        """The task run's record; Pending where nothing has happened to it."""
        assert self.path is not None
        index = NO_INDEX if self.index is None else self.index
        rows = self.run._store.task_runs(self.run.id, path=self.path, idx=index)
        return rows[0] if rows else pending(self.run.id, self.path, index)


def find(reference: str) -> Found:
    """Find what `RUN`, `RUN/TASK` or `RUN/TASK[i]` names.

    Raises
    ------
    NoSuchRun, NoSuchTask
        There is none, or more than one.
    """
    name, slash, task = reference.partition("/")
    run = get_run(name)
    return find_task(run, task) if slash and task else Found(run=run)


def find_task(run: Run, task: str) -> Found:
    """Find a task run of a run by `TASK` or `TASK[i]`."""
    nodes = {node.path: node for node in run._store.nodes(run.id)}
    child = CHILD.fullmatch(task)
    if task not in nodes and child is not None and child["path"] in nodes and nodes[child["path"]].kind == "map":
        path, index = child["path"], int(child["index"])
        width = nodes[path].width
        if width is not None and index >= width:
            raise NoSuchTask(run.name, task, [f"{path}[0] to {path}[{width - 1}]" if width else path])
        return Found(run=run, path=path, index=index, mapped=True)
    if task not in nodes:
        raise NoSuchTask(run.name, task, list(nodes))
    # A map that failed before its width was known is one task run.
    whole = bool(run._store.task_runs(run.id, path=task, idx=NO_INDEX))
    return Found(run=run, path=task, mapped=nodes[task].kind == "map" and not whole)
