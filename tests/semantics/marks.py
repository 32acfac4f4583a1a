"""What ran, counted in a file that any process appends to, and how task runs ended."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any


def mark(path: Path, name: object) -> None:
    """A body ran, or a value was loaded, in whatever process."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{name}\n".encode())
    os.close(descriptor)


def marks(path: Path) -> Counter[str]:
    """How often each line was written since the last look."""
    found = Counter(path.read_text().splitlines()) if path.exists() else Counter()
    path.unlink(missing_ok=True)
    return found


def types(run: Any) -> dict[str, str]:
    return {task_run.label: task_run.state.type for task_run in run.task_runs}


def have_heard(client: Any) -> bool:
    """Whether the workers of a cluster know that what they run is cancelled."""

    def running(dask_worker: Any) -> list[str]:
        return [dask_worker.state.tasks[key].state for key in dask_worker.active_threads.values()]

    return all(states in ([], ["cancelled"]) for states in client.run(running).values())
