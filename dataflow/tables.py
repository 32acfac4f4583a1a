"""Task runs as a table for pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dataflow.task_runs import TaskRun

if TYPE_CHECKING:
    import pandas


def task_run_table(task_runs: Sequence[TaskRun], names: Mapping[str, str]) -> pandas.DataFrame:
    """A row for each task run; `names` are those of the tasks, by path.

    Raises
    ------
    ImportError
        pandas is not there.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError('to_frame() needs pandas: pip install "dask-dataflow[parquet]"') from error

    columns: dict[str, list[object]] = {
        "task": [names.get(one.path, "") for one in task_runs],
        "path": [one.path for one in task_runs],
        "index": [one.index for one in task_runs],
        "state": [one.state.type for one in task_runs],
        "message": [one.state.message for one in task_runs],
        "attempt": [one.attempt for one in task_runs],
        "started": [one.started for one in task_runs],
        "ended": [one.ended for one in task_runs],
        "seconds": [one.duration for one in task_runs],
        "worker": [one.worker for one in task_runs],
    }
    table = pandas.DataFrame(columns)
    return table.astype({"index": "Int64", "seconds": "float64"}).assign(
        started=pandas.to_datetime(table["started"], utc=True), ended=pandas.to_datetime(table["ended"], utc=True)
    )
