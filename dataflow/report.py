"""What went wrong in a run, told to a person: grouped, with the user's own frames, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataflow import states
from dataflow.events import NO_INDEX
from dataflow_storage.rows import RunRow, TaskRunRow

MOST_GROUPS = 5
MOST_INDICES = 3


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Task runs of one node that failed alike."""

    path: str
    state: str
    message: str
    indices: Sequence[int]
    attempts: int
    text: str

    @property
    def who(self) -> str:
        """The task runs as people write them.

        >>> Problem(path="clean", state="Failed", message="", indices=[13, 112, 871, 900], attempts=3, text="").who
        'clean [13, 112, 871, … +1]'
        """
        if list(self.indices) == [NO_INDEX]:
            return self.path
        more = len(self.indices) - MOST_INDICES
        told = ", ".join(map(str, self.indices[:MOST_INDICES])) + (f", … +{more}" if more > 0 else "")
        return f"{self.path} [{told}]"


def problems(failed: Sequence[TaskRunRow]) -> list[Problem]:
    """Group failed task runs: first what failed by itself, then what did not run for it."""
    groups: dict[tuple[str, str, str], list[TaskRunRow]] = {}
    for row in failed:
        kind = str((row.details or {}).get("type") or row.message)
        groups.setdefault((row.path, row.state, kind), []).append(row)
    made = [
        Problem(
            path=path,
            state=state,
            message=rows[0].message,
            indices=[row.idx for row in rows],
            attempts=max(row.attempt for row in rows),
            text=str((rows[0].details or {}).get("text") or ""),
        )
        for (path, state, _), rows in groups.items()
    ]
    return sorted(made, key=lambda problem: problem.state == states.TRIGGER_FAILED)


def report(run: RunRow, failed: Sequence[TaskRunRow]) -> str:
    """The report of a run that did not succeed.

    Parameters
    ----------
    run : RunRow
        The run.
    failed : sequence of TaskRunRow
        Its failed task runs.
    """
    lines = [f"run {run.name} of flow {run.flow} is {run.state}{f': {run.message}' if run.message else ''}"]
    found = problems(failed)
    for problem in found[:MOST_GROUPS]:
        tries = f", after {problem.attempts} attempts" if problem.attempts > 1 else ""
        many = f" ({len(problem.indices)} of them)" if len(problem.indices) > 1 else ""
        lines += ["", f"  {problem.who}{many} {problem.state}{tries}: {problem.message}"]
        if problem.text:
            lines += [f"    {line}" for line in problem.text.rstrip().splitlines()]
    if len(found) > MOST_GROUPS:
        lines += ["", f"  … and {len(found) - MOST_GROUPS} more kinds of failure"]
    hint = "resume" if run.state in (states.CRASHED, states.CANCELLED) else "retry"
    lines += [
        "",
        f"  run.{hint}() keeps what succeeded and runs the rest; dataflow.get_run({run.name!r}) finds this run again.",
    ]
    return "\n".join(lines)
