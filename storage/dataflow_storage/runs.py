"""Runs, their states, history and logs in SQL: SQLite by default, PostgreSQL by URL.

One run has one writer, its owner, which holds a lease and an epoch. Anybody may read at any time.
"""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Connection, Select, Table, and_, select, update

from dataflow_storage.database import Database, parse
from dataflow_storage.errors import StaleOwner
from dataflow_storage.lookup import UnknownRun, find_run, free_name, records
from dataflow_storage.rows import (
    ArtifactRow,
    AttemptRow,
    Batch,
    HookRow,
    LogRow,
    NodeRow,
    RunRow,
    TaskRunRow,
    TransitionRow,
)
from dataflow_storage.statements import Statement, insert_run, scrubbed, statements
from dataflow_storage.tables import (
    ARTIFACTS,
    ATTEMPTS,
    COUNTS,
    GRAPHS,
    HOOKS,
    LOGS,
    NODES,
    RUNS,
    TASK_RUNS,
    TRANSITIONS,
)

__all__ = ["Batch", "RunHeld", "RunStore", "UnknownRun"]

_Record = TypeVar("_Record")
_ID = re.compile(r"[0-9a-f]{32}")


class RunHeld(StaleOwner):
    """Another owner holds the run's lease; `until` is when it ends (unix seconds), unless that owner renews it."""

    def __init__(self, run: str, owner: str, until: float, current: int) -> None:
        super().__init__(run, current, current, owner)
        self.until = until
        moment = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self.args = (
            f"Run {run!r} belongs to {owner} until {moment}. Wait for it or end it there; "
            "if it has crashed, the run is free at that time.",
        )


class RunStore:
    """Records of runs in one SQL database, which is made or brought up to date when it is first used.

    Threads and processes may share a store; a copy that was pickled or forked opens connections of its own.

    Parameters
    ----------
    url : str
        A path or ``sqlite:///`` URL of a file on a local disk, or a PostgreSQL URL.
    patience : float
        Seconds to wait for another writer before `StoreUnavailable`.

    Raises
    ------
    ValueError
        For any other URL. Whether the database can be used shows at the first use, as `StoreUnavailable`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, RunStore(folder + "/runs.db") as store:
    ...     name = store.create_run({"id": "a" * 32, "name": "brisk-otter", "flow": "etl", "created": 1.0})
    ...     epoch = store.claim("a" * 32, "me", seconds=30)
    ...     store.write("a" * 32, epoch, Batch(run={"state": "Running"}, counts={("clean", "Pending"): 3}))
    ...     store.find("@last").state, store.counts("a" * 32)
    ('Running', {'clean': {'Pending': 3}})
    """

    def __init__(self, url: str, *, patience: float = 60.0) -> None:
        self._given = (url, patience)
        self._database = Database(parse(url), patience)
        weakref.finalize(self, self._database.close)  # also at exit: an open connection may keep its WAL file behind

    def __repr__(self) -> str:
        return f"RunStore({self._database.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _again, self._given

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections of this process; using the store again opens it again."""
        self._database.close()

    # -- one writer ------------------------------------------------------------------------------------------------

    def create_run(self, row: Mapping[str, object]) -> str:
        """Insert a run.

        Parameters
        ----------
        row : mapping
            Columns of `RunRow` and `graph` (bytes). `id` (32 hex digits) and `name` are needed; `created` is now
            unless it is given.

        Returns
        -------
        str
            The run's name: the one asked for, or with ``-2``, ``-3`` … if it was taken.

        Raises
        ------
        ValueError
            For an id that is taken or is none, or a column that there is not.
        """
        run_id, wanted = row.get("id"), row.get("name")
        if not isinstance(run_id, str) or not _ID.fullmatch(run_id):
            raise ValueError(f"A run's id is 32 lower-case hex digits, as uuid.uuid4().hex gives them, not {run_id!r}.")
        if not isinstance(wanted, str) or not wanted:
            raise ValueError(f"A run needs a name that is not empty, not {wanted!r}.")
        with self._database.writing() as connection:
            while True:
                name = free_name(connection, wanted)
                made = insert_run(self._database.dialect, {"created": time.time(), **row, "name": name})
                first, *rest = scrubbed(made)
                if connection.exec_driver_sql(first.sql, first.parameters[0]).rowcount:
                    break  # else another client of PostgreSQL took the name meanwhile
            _execute(connection, rest)
        return name

    def claim(self, run_id: str, owner: str, *, seconds: float) -> int:
        """Take the lease of a run that is free, whose lease has run out, or that is the owner's already.

        Parameters
        ----------
        run_id : str
            The run.
        owner : str
            Who takes it: one name for each process, such as ``host:pid:start``.
        seconds : float
            How long the lease lasts unless it is renewed.

        Returns
        -------
        int
            The new epoch, which goes with every write.

        Raises
        ------
        StaleOwner
            When another owner holds the lease (`RunHeld`, with `owner` and `until`).
        RunNotFound
            When there is no such run.
        """
        with self._database.writing() as connection:
            now = time.time()
            holder, until, epoch = self._lease(connection, run_id)
            if holder is not None and holder != owner and until is not None and until > now:
                raise RunHeld(run_id, holder, until, epoch)
            changes = {"owner": owner, "lease_until": now + seconds, "epoch": epoch + 1}
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(changes))
        return epoch + 1

    def renew(self, run_id: str, epoch: int, seconds: float) -> None:
        """Let the lease last `seconds` from now.

        Raises
        ------
        StaleOwner
            When the run has another owner by now, or was released.
        """
        with self._database.writing() as connection:
            holder, _, current = self._lease(connection, run_id)
            if current != epoch or holder is None:
                raise StaleOwner(run_id, epoch, current, holder or "")
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(lease_until=time.time() + seconds))

    def release(self, run_id: str, epoch: int) -> None:
        """Give the lease back; nothing happens when it has passed to another owner already."""
        mine = and_(RUNS.c.id == run_id, RUNS.c.epoch == epoch)
        with self._database.writing() as connection:
            connection.execute(update(RUNS).where(mine).values(owner=None, lease_until=None))

    def write(self, run_id: str, epoch: int, batch: Batch) -> None:
        """Write everything in one transaction, or nothing.

        Parameters
        ----------
        run_id : str
            The run.
        epoch : int
            From `claim`.
        batch : Batch
            What to write. Text that the database refuses (lone surrogates, U+0000) is written escaped.

        Raises
        ------
        StaleOwner
            When a newer epoch owns the run.
        StoreUnavailable
            When the database is full, locked, damaged or gone.
        ValueError
            For a column that there is not, or a value that its column does not take.
        """
        prepared = statements(self._database.dialect, run_id, batch)  # before the lock: others may write meanwhile
        try:
            self._write(run_id, epoch, prepared)
        except ValueError:
            clean = scrubbed(prepared)
            if clean == prepared:
                raise
            self._write(run_id, epoch, clean)

    def _write(self, run_id: str, epoch: int, prepared: Sequence[Statement]) -> None:
        with self._database.writing() as connection:
            holder, _, current = self._lease(connection, run_id)
            if current > epoch:
                raise StaleOwner(run_id, epoch, current, holder or "")
            _execute(connection, prepared)

    def _lease(self, connection: Connection, run_id: str) -> tuple[str | None, float | None, int]:
        query = select(RUNS.c.owner, RUNS.c.lease_until, RUNS.c.epoch).where(RUNS.c.id == run_id)
        row = connection.execute(query.with_for_update()).one_or_none()
        if row is None:
            raise UnknownRun(run_id, self._database.name, ())
        return row.owner, row.lease_until, row.epoch

    # -- any readers -----------------------------------------------------------------------------------------------

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
        """Task runs in their current states, by path and index."""
        query = _of(TASK_RUNS, run_id, path, idx).order_by(TASK_RUNS.c.path, TASK_RUNS.c.idx).limit(limit)
        return self._read(query if states is None else query.where(TASK_RUNS.c.state.in_(states)), TaskRunRow)

    def transitions(
        self, run_id: str, after: int = 0, path: str | None = None, idx: int | None = None
    ) -> list[TransitionRow]:
        """Changes of state with a `seq` above `after`, in order."""
        query = _of(TRANSITIONS, run_id, path, idx).where(TRANSITIONS.c.seq > after)
        return self._read(query.order_by(TRANSITIONS.c.seq), TransitionRow)

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

    def graph(self, run_id: str) -> bytes | None:
        """The run's graph, as it was given."""
        with self._database.reading() as connection:
            found = connection.scalar(select(GRAPHS.c.graph).where(GRAPHS.c.run_id == run_id))
        return None if found is None else bytes(found)

    def _read(self, query: Select[tuple[object, ...]], record: type[_Record]) -> list[_Record]:
        with self._database.reading() as connection:
            return records(connection, query, record)


def _again(url: str, patience: float) -> RunStore:
    return RunStore(url, patience=patience)


def _execute(connection: Connection, prepared: Sequence[Statement]) -> None:
    for sql, parameters in prepared:
        connection.exec_driver_sql(sql, parameters)


def _of(table: Table, run_id: str, path: str | None, idx: int | None) -> Select[tuple[object, ...]]:
    query = select(table).where(table.c.run_id == run_id)
    query = query if path is None else query.where(table.c.path == path)
    return query if idx is None else query.where(table.c.idx == idx)
