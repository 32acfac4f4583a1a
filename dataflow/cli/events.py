"""Changes of state as the JSON lines of `dataflow run -o jsonl`."""

from __future__ import annotations

from dataflow.cli.data import Data, moment
from dataflow.run import Run
from dataflow_storage.rows import TransitionRow


def event_data(run: Run, row: TransitionRow) -> Data:
    """One change of state."""
    return {
        "type": "state",
        "run": run.name,
        "seq": row.seq,
        "time": moment(row.time),
        "task": row.path,
        "index": None if row.idx < 0 else row.idx,
        "state": row.state,
        "message": row.message,
        "attempt": row.attempt,
    }
