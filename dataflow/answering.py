"""Answers to what waits for a person: checked, and written down once, whoever drives the run."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence

from dataflow import asking, states
from dataflow.driven import Driven
from dataflow.errors import NoSuchTask, NothingAsked
from dataflow.events import NO_INDEX, label
from dataflow.owners import person
from dataflow.patience import patiently
from dataflow.recovery import answers_to, asking_number
from dataflow.result_keys import split_key
from dataflow.signals import Answers
from dataflow.works import Who
from dataflow_storage.rows import TaskRunRow


def answer(run: Driven, task: str, value: object, *, given: bool) -> dict[Who, Answers]:
    """Answer a task run that waits, or all such children of a mapped one.

    Returns
    -------
    dict
        By (path, index), all that was ever given to it.

    Raises
    ------
    NothingAsked
        It does not wait for a person, or somebody else has answered.
    AnswerInvalid
        The answer is not what was asked for.
    """
    rows = _asked(run, task)
    fits: list[object] = []
    for row in rows:  # all of them before any is written down
        if asking.WANTED in (row.details or {}) and not given:
            raise NothingAsked(
                label(row.path, row.idx), f"it asks for a value: {_question(row)}. Give value= (--value)."
            )
        fits.append(asking.fit(row.details, value) if given else None)
    answers: dict[Who, Answers] = {}
    late: NothingAsked | None = None
    for row, fit in zip(rows, fits, strict=True):
        try:
            answers[row.path, row.idx] = _write(run, row, fit, given=given, must_win=True)
        except NothingAsked as error:  # somebody else was faster with this one
            late = error
    if late is not None and not answers:
        raise late
    return answers


def waiting(run: Driven) -> list[TaskRunRow]:
    """What waits for a person."""
    return run._store.task_runs(run.id, states=[states.PAUSED])


def _asked(run: Driven, task: str) -> list[TaskRunRow]:
    nodes = {node.path: node for node in run._store.nodes(run.id)}
    path, index = (task, None) if task in nodes else split_key(task)[:2]
    if path not in nodes:
        raise NoSuchTask(run.name, task, list(nodes))
    rows = run._store.task_runs(run.id, path=path, idx=index if index != NO_INDEX else None)
    waiting = [row for row in rows if row.state == states.PAUSED]
    if not waiting:
        found = rows[0].state if rows else states.PENDING
        asked = [label(row.path, row.idx) for row in run._store.task_runs(run.id, states=[states.PAUSED], limit=5)]
        hint = f"waiting are: {', '.join(asked)}." if asked else "nothing in this run waits for a person."
        raise NothingAsked(task, f"it is {found}; {hint}")
    return waiting


def approve_all(run: Driven, *, waited: bool) -> dict[Who, Answers]:
    """Approve what waits for a person and needs no value."""
    rows = waiting(run)
    plain = [row for row in rows if asking.WANTED not in (row.details or {})]
    if waited and rows and not plain and not _answered(run, rows):
        first = rows[0]
        raise NothingAsked(
            label(first.path, first.idx), f"it asks for a value: {_question(first)}. Say run.approve(task, value=...)."
        )
    return {(row.path, row.idx): _write(run, row, None, given=False, must_win=False) for row in plain}


def _answered(run: Driven, rows: Sequence[TaskRunRow]) -> bool:
    """Whether one of these was answered, and nobody has gone on with it yet."""
    record = run.record
    answers = answers_to(record, run._store)
    return any(asking_number(record, row) in answers.get((row.path, row.idx), {}) for row in rows)


def _question(row: TaskRunRow) -> str:
    wanted = (row.details or {}).get(asking.WANTED)
    name = f" ({wanted['name']})" if isinstance(wanted, Mapping) else ""
    return f"{row.message!r}{name}"


def _write(run: Driven, row: TaskRunRow, value: object, *, given: bool, must_win: bool) -> Answers:
    """Answer one task run; all that was ever given to it."""
    number = asking_number(run.record, row)
    token = uuid.uuid4().hex
    wanted = asking.WANTED in (row.details or {})
    stands = patiently(
        lambda: run._store.answer(
            run.id, row.path, row.idx, number, by=person(), token=token, value=[wanted, value], given=given
        )
    )
    if must_win and stands.token != token:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stands.time))
        raise NothingAsked(label(row.path, row.idx), f"{stands.by} has answered already, at {when}.")
    given_so_far = answers_to(run.record, run._store).get((row.path, row.idx), {})
    return tuple(each for pairs in given_so_far.values() for each in pairs)
