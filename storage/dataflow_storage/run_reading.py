"""What a run store has on record, for any number of readers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TypeVar

from sqlalchemy import Connection, Select, Table, Text, case, func, or_, select, type_coerce

from dataflow_storage.database import Database
from dataflow_storage.lookup import find_run, records
from dataflow_storage.references import Reference
from dataflow_storage.rows import (
    AnswerRow,
    ArtifactRow,
    AttemptRow,
    EndRow,
    HookRow,
    LogRow,
    NodeRow,
    OrderRow,
    PulseRow,
    RunRow,
    TaskRunRow,
    TransitionRow,
)
from dataflow_storage.tables import (
    ANSWERS,
    ARTIFACTS,
    ATTEMPTS,
    COUNTS,
    GRAPHS,
    HOOKS,
    LOGS,
    NODES,
    ORDERS,
    RUNS,
    TASK_RUNS,
    TRANSITIONS,
)

__all__ = ["RunReading"]

_Record = TypeVar("_Record")
_PATHS = 5000  # in one question
_FIELDS = itemgetter(*Reference._fields)


class RunReading:
    """The reading half of a `RunStore`.

    Parameters
    ----------
    database : Database
        Where the records are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, reference: str) -> RunRow:
        """The one run that a person means.

        Parameters
        ----------
        reference : str
            An id, a name, the first 4 or more characters of an id, ``"@last"`` or ``"@last-failed"``.

        Raises
        ------
        RunNotFound
            When there is none (`UnknownRun`, with `suggestions`).
        AmbiguousRun
            When several ids start like that.
        """
        with self._database.reading() as connection:
            return find_run(connection, reference, self._database.name)

    def runs(
        self,
        *,
        flow: str | None = None,
        state: str | Sequence[str] | None = None,
        limit: int | None = 50,
        before: float | None = None,
    ) -> list[RunRow]:
        """Runs, newest first; `before` (unix seconds) takes those created earlier, for the next page."""
        states = (state,) if isinstance(state, str) else state
        query = select(RUNS).order_by(RUNS.c.created.desc(), RUNS.c.id).limit(limit)
        query = query if flow is None else query.where(RUNS.c.flow == flow)
        query = query if states is None else query.where(RUNS.c.state.in_(states))
        return self._read(query if before is None else query.where(RUNS.c.created < before), RunRow)

    def nodes(self, run_id: str) -> list[NodeRow]:
        """The nodes of a run, in build order."""
        query = select(NODES).where(NODES.c.run_id == run_id)
        return self._read(query.order_by(NODES.c.position, NODES.c.path), NodeRow)

    def task_runs(
        self,
        run_id: str,
        path: str | None = None,
        idx: int | None = None,
        states: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[TaskRunRow]:
        """Task runs in their current states, by path and index; of one node, or of all."""
        query = _of(TASK_RUNS, run_id, path, idx).order_by(TASK_RUNS.c.path, TASK_RUNS.c.idx).limit(limit)
        return self._read(query if states is None else query.where(TASK_RUNS.c.state.in_(states)), TaskRunRow)

    def ends(self, run_id: str, paths: Iterable[str]) -> dict[str, list[EndRow]]:
        """What leads to the values of nodes' task runs: by path in the order given, each by index."""
        found: dict[str, list[EndRow]] = {path: [] for path in paths}
        asked, of = list(found), TASK_RUNS.c
        query = select(of.path, of.idx, of.state, type_coerce(of.reference, Text)).order_by(of.path, of.idx)
        for first in range(0, len(asked), _PATHS):
            with self._database.reading() as connection:
                among = _among(connection, asked[first : first + _PATHS])
                rows = connection.execute(query.where(of.run_id == run_id, of.path.in_(among))).all()
            texts = ",".join([reference or "null" for *_, reference in rows])
            references = json.loads(f"[{texts}]")  # at once: a call for each takes longer
            for (path, idx, state, _), told in zip(rows, references, strict=True):
                reference = None if told is None else Reference(*_FIELDS(told))
                found[path].append(EndRow(path, idx, state, reference))
        return found

    def transitions(
        self, run_id: str, after: int = 0, path: str | None = None, idx: int | None = None
    ) -> list[TransitionRow]:
        """Changes of state with a `seq` above `after`, in order."""
        query = _of(TRANSITIONS, run_id, path, idx).where(TRANSITIONS.c.seq > after)
        return self._read(query.order_by(TRANSITIONS.c.seq), TransitionRow)

    def pulse(self, run_id: str, after: int = 0) -> list[PulseRow]:
        """Changes of state with a `seq` above `after`, summed up by node: of a large map one row, not one a change."""
        of, running, retrying = TRANSITIONS.c, TRANSITIONS.c.state == "Running", TRANSITIONS.c.state == "Retrying"
        query = select(
            of.path,
            func.max(of.seq).label("seq"),
            func.min(case((running, of.time))).label("began"),
            func.max(of.time).label("last"),
            func.sum(case((retrying, 1), else_=0)).label("retries"),
        )
        query = query.where(of.run_id == run_id, of.seq > after).group_by(of.path)
        return self._read(query, PulseRow)

    def attempts(self, run_id: str, path: str | None = None, idx: int | None = None) -> list[AttemptRow]:
        """Attempts, by path, index and number."""
        query = _of(ATTEMPTS, run_id, path, idx)
        return self._read(query.order_by(ATTEMPTS.c.path, ATTEMPTS.c.idx, ATTEMPTS.c.attempt), AttemptRow)

    def logs(
        self,
        run_id: str,
        path: str | None = None,
        idx: int | None = None,
        level: int = 0,
        after: int = 0,
        limit: int | None = None,
    ) -> list[LogRow]:
        """Log lines of at least this level with a `seq` above `after`, in order; at most the first `limit`."""
        query = _of(LOGS, run_id, path, idx).where(LOGS.c.seq > after, LOGS.c.level >= level)
        return self._read(query.order_by(LOGS.c.seq).limit(limit), LogRow)

    def hooks(self, run_id: str) -> list[HookRow]:
        """Calls of hooks, in order."""
        return self._read(select(HOOKS).where(HOOKS.c.run_id == run_id).order_by(HOOKS.c.seq), HookRow)

    def artifacts(self, run_id: str, path: str | None = None, idx: int | None = None) -> list[ArtifactRow]:
        """Artifacts, oldest first."""
        return self._read(_of(ARTIFACTS, run_id, path, idx).order_by(ARTIFACTS.c.time, ARTIFACTS.c.id), ArtifactRow)

    def counts(self, run_id: str) -> dict[str, dict[str, int]]:
        """How many task runs of each node are in each state; states without any are left out."""
        query = select(COUNTS.c.path, COUNTS.c.state, COUNTS.c.n).where(COUNTS.c.run_id == run_id, COUNTS.c.n != 0)
        found: dict[str, dict[str, int]] = {}
        with self._database.reading() as connection:
            for path, state, n in connection.execute(query):
                found.setdefault(path, {})[state] = n
        return found

    def spans(self, run_id: str) -> dict[str, tuple[float | None, float | None]]:
        """When the first task run of each node began, and when the last one that is over ended; by path."""
        query = select(TASK_RUNS.c.path, func.min(TASK_RUNS.c.started), func.max(TASK_RUNS.c.ended))
        with self._database.reading() as connection:
            found = connection.execute(query.where(TASK_RUNS.c.run_id == run_id).group_by(TASK_RUNS.c.path))
            return {path: (began, ended) for path, began, ended in found}

    def graph(self, run_id: str) -> bytes | None:
        """The run's graph, as it was given."""
        with self._database.reading() as connection:
            found = connection.scalar(select(GRAPHS.c.graph).where(GRAPHS.c.run_id == run_id))
        return None if found is None else bytes(found)

    def arguments(self, run_id: str) -> bytes | None:
        """The values of the run's parameters, as they were given."""
        with self._database.reading() as connection:
            found = connection.scalar(select(GRAPHS.c.arguments).where(GRAPHS.c.run_id == run_id))
        return None if found is None else bytes(found)

    # -- what is asked of runs -------------------------------------------------------------------------------------

    def orders(self, run_id: str, after: int = 0) -> list[OrderRow]:
        """Orders that are not carried out yet, with a `seq` above `after`, in order."""
        query = select(ORDERS).where(ORDERS.c.run_id == run_id, ORDERS.c.done == 0, ORDERS.c.seq > after)
        return self._read(query.order_by(ORDERS.c.seq), OrderRow)

    def answers(self, run_id: str) -> list[AnswerRow]:
        """Answers that stand, oldest first."""
        query = select(ANSWERS).where(ANSWERS.c.run_id == run_id)
        return self._read(query.order_by(ANSWERS.c.time, ANSWERS.c.path, ANSWERS.c.idx), AnswerRow)

    def abandoned(self, *, now: float | None = None) -> list[RunRow]:
        """Runs that somebody should take over, oldest first.

        Those are the ones that are pending or running and have no owner with a lease; and paused ones without an owner
        that were ordered to resume.

        Parameters
        ----------
        now : float or None
            Leases that ended before this moment (unix seconds) have ended. None: the database's clock.
        """
        with self._database.reading() as connection:
            moment = self._database.now(connection) if now is None else now
            return records(connection, without_owner(moment), RunRow)

    def _read(self, query: Select[tuple[object, ...]], record: type[_Record]) -> list[_Record]:
        with self._database.reading() as connection:
            return records(connection, query, record)


def without_owner(now: float) -> Select[tuple[object, ...]]:
    """The query of `RunReading.abandoned`."""
    free = or_(RUNS.c.owner.is_(None), RUNS.c.lease_until.is_(None), RUNS.c.lease_until < now)
    of_run = select(ORDERS.c.seq).where(ORDERS.c.run_id == RUNS.c.id, ORDERS.c.done == 0, ORDERS.c.kind == "resume")
    wanted = or_(RUNS.c.state != "Paused", of_run.exists())
    query = select(RUNS).where(RUNS.c.state.in_(("Pending", "Running", "Paused")), free, wanted)
    return query.order_by(RUNS.c.created, RUNS.c.id)


def _among(connection: Connection, texts: list[str]) -> list[str] | Select[tuple[object, ...]]:
    """Texts for `in_`: SQLite takes them as one parameter, since to spell out thousands takes longer than to look."""
    if connection.dialect.name != "sqlite":
        return texts
    return select(func.json_each(json.dumps(texts)).table_valued("value").c.value)


def _of(table: Table, run_id: str, path: str | None, idx: int | None) -> Select[tuple[object, ...]]:
    query = select(table).where(table.c.run_id == run_id)
    if path is not None:
        query = query.where(table.c.path == path)
    return query if idx is None else query.where(table.c.idx == idx)
