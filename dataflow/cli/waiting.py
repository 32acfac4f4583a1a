"""What of a run waits for a person: the questions, what answers they take, and the commands that answer them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dataflow import states
from dataflow.cli.data import Data
from dataflow.cli.terminal import clean
from dataflow.events import NO_INDEX, label
from dataflow.recovery import asking_number
from dataflow_storage.rows import TaskRunRow

if TYPE_CHECKING:
    from dataflow.run import Run


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A task run that waits for a person.

    Parameters
    ----------
    row : TaskRunRow
        Its record.
    wants : str
        The type of the answer; empty where none is needed.
    schema : object
        The type as a JSON schema; None where it has none.
    answered : str
        Who has answered, where nobody has gone on with that yet; else empty.
    """

    row: TaskRunRow
    wants: str = ""
    schema: object = None
    answered: str = ""

    @property
    def label(self) -> str:
        """Such as `deploy`, or `deploy[3]`."""
        return label(self.row.path, self.row.idx)

    @property
    def message(self) -> str:
        """The question."""
        return self.row.message


def waiting(run: Run, limit: int | None = None) -> list[Waiting]:
    """What waits, by path and index; at most so many."""
    rows = run._store.task_runs(run.id, states=[states.PAUSED], limit=limit)
    answers = {(one.path, one.idx, one.attempt): one.by for one in run._store.answers(run.id)} if rows else {}
    record = run.record
    numbers = [(row.path, row.idx, asking_number(record, row)) for row in rows]
    return [replace(asked(row), answered=answers.get(who, "")) for row, who in zip(rows, numbers, strict=True)]


def unanswered(run: Run) -> list[Waiting]:
    """What waits and has no answer yet."""
    return [one for one in waiting(run) if not one.answered]


def asked(row: TaskRunRow) -> Waiting:
    """What a paused task run waits for."""
    from dataflow.asking import WANTED

    details = row.details or {}
    told = details.get(WANTED)
    if not isinstance(told, Mapping):
        return Waiting(row=row, wants="a value" if WANTED in details else "")
    return Waiting(row=row, wants=str(told.get("name") or "a value"), schema=told.get("schema"))


def command_for(run: str, one: Waiting) -> str:
    """What to type to answer, or to go on with the answer."""
    if one.answered:
        return f"dataflow resume {run}"
    where = f"{run}/{one.label}"
    where = f"'{where}'" if "[" in where else where
    return f"dataflow approve {where}{' --value JSON' if one.wants else ''}"


def told(one: Waiting) -> str:
    """The question, and what answer it takes."""
    return f"{clean(one.message)}{f' ({one.wants})' if one.wants else ''}"


def waiting_data(one: Waiting) -> Data:
    """What waits, as data."""
    row = one.row
    return {
        "task": row.path,
        "index": None if row.idx == NO_INDEX else row.idx,
        "message": row.message,
        "wants": one.wants or None,
        "schema": one.schema,
        "answered": one.answered or None,
    }
