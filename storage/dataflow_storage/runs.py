"""Runs, their states, history and logs in SQL: SQLite by default, PostgreSQL by URL.

One run has one writer, its owner, which holds a lease and an epoch. Anybody may read at any time.
"""

from __future__ import annotations

import re
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self

from sqlalchemy import Connection, and_, select, update

from dataflow_storage.database import Database, parse
from dataflow_storage.errors import StaleOwner
from dataflow_storage.faults import faultpoint
from dataflow_storage.lookup import UnknownRun, free_name, records
from dataflow_storage.rows import AnswerRow, Batch
from dataflow_storage.run_reading import RunReading
from dataflow_storage.statements import Statement, insert_answer, insert_order, insert_run, scrubbed, statements
from dataflow_storage.tables import ANSWERS, ORDERS, RUNS

__all__ = ["Batch", "RunHeld", "RunStore", "UnknownRun"]

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


class RunStore(RunReading):
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
        super().__init__(Database(parse(url), patience))
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

    def create_run(self, row: Mapping[str, object], *, owner: str | None = None, seconds: float = 0.0) -> str:
        """Insert a run.

        Parameters
        ----------
        row : mapping
            Columns of `RunRow`, `graph` and `arguments` (bytes). `id` (32 hex digits) and `name` are needed; `created`
            is now unless it is given.
        owner : str or None
            Who has it from the start, as if claimed: with epoch 1. None: nobody.
        seconds : float
            How long that lease lasts.

        Returns
        -------
        str
            The run's name: the one asked for, or with ``-2``, ``-3`` … if it was taken. A run that this owner has
            created already is left as it is, so a call that seemed to fail can be made again.

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
        with faultpoint("runs.create"), self._database.writing() as connection:
            row = {"created": time.time(), **row}
            if owner is not None:
                mine = and_(RUNS.c.id == run_id, RUNS.c.owner == owner)
                if (standing := connection.scalar(select(RUNS.c.name).where(mine))) is not None:
                    return str(standing)
                row |= {"owner": owner, "epoch": 1, "lease_until": self._database.now(connection) + seconds}
            while True:
                name = free_name(connection, wanted)
                first, *rest = scrubbed(insert_run(self._database.dialect, {**row, "name": name}))
                if connection.exec_driver_sql(first.sql, first.parameters[0]).rowcount:
                    break  # else another client of PostgreSQL took the name meanwhile
            _execute(connection, rest)
        return name

    def claim(self, run_id: str, owner: str, *, seconds: float, expected_epoch: int | None = None) -> int:
        """Take the lease of a run that is free, whose lease has run out, or that is the owner's already.

        Parameters
        ----------
        run_id : str
            The run.
        owner : str
            Who takes it: a name that nobody else goes by, such as ``host:pid:start:number``.
        seconds : float
            How long the lease lasts unless it is renewed.
        expected_epoch : int or None
            The epoch in which the run was seen to be free: it is not taken if it has changed hands since. None: it may.

        Returns
        -------
        int
            The new epoch, which goes with every write.

        Raises
        ------
        StaleOwner
            When another owner holds the lease (`RunHeld`, with `owner` and `until`), or had it since `expected_epoch`.
        RunNotFound
            When there is no such run.
        """
        with faultpoint("runs.claim"), self._database.writing() as connection:
            lease, now = self._lease(connection, run_id), self._database.now(connection)
            if lease.owner is not None and lease.owner != owner and lease.until is not None and lease.until > now:
                raise RunHeld(run_id, lease.owner, lease.until, lease.epoch)
            changes: dict[str, object] = {"owner": owner, "lease_until": now + seconds}
            epoch = lease.epoch + 1
            if expected_epoch is not None and lease.epoch != expected_epoch:
                if lease.owner != owner or lease.epoch != expected_epoch + 1:
                    raise StaleOwner(run_id, expected_epoch, lease.epoch, lease.owner or "")
                epoch = lease.epoch  # this very claim was made, and seemed to fail
            else:
                changes |= {"epoch": epoch, "written": 0}
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(changes))
        return epoch

    def renew(self, run_id: str, epoch: int, seconds: float) -> None:
        """Let the lease last `seconds` from now.

        Raises
        ------
        StaleOwner
            When the run has another owner by now, or was released.
        """
        with faultpoint("runs.renew"), self._database.writing() as connection:
            lease = self._lease(connection, run_id)
            if lease.epoch != epoch or lease.owner is None:
                raise StaleOwner(run_id, epoch, lease.epoch, lease.owner or "")
            until = self._database.now(connection) + seconds
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(lease_until=until))

    def release(self, run_id: str, epoch: int) -> None:
        """Give the lease back; nothing happens when it has passed to another owner already."""
        mine = and_(RUNS.c.id == run_id, RUNS.c.epoch == epoch)
        with faultpoint("runs.release"), self._database.writing() as connection:
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
            What to write. Text that the database refuses (lone surrogates, U+0000) is written escaped. One that was
            written already, by its number, is not written again.

        Raises
        ------
        StaleOwner
            When a newer epoch owns the run.
        StoreUnavailable
            When the database is full, locked, damaged or gone. Then nobody knows whether a batch without a number was
            written; one with a number can be given again.
        ValueError
            For a column that there is not, or a value that its column does not take.
        """
        prepared = statements(self._database.dialect, run_id, batch)  # before the lock: others may write meanwhile
        try:
            self._write(run_id, epoch, batch.number, prepared)
        except ValueError:
            clean = scrubbed(prepared)
            if clean == prepared:
                raise
            self._write(run_id, epoch, batch.number, clean)

    def _write(self, run_id: str, epoch: int, number: int, prepared: Sequence[Statement]) -> None:
        with faultpoint("runs.write"), self._database.writing() as connection:
            lease = self._lease(connection, run_id)
            if lease.epoch > epoch:
                raise StaleOwner(run_id, epoch, lease.epoch, lease.owner or "")
            if not 0 < number <= lease.written:
                _execute(connection, prepared)

    # -- anybody ---------------------------------------------------------------------------------------------------

    def order(
        self,
        run_id: str,
        kind: str,
        *,
        by: str,
        path: str | None = None,
        idx: int = -1,
        value: object = None,
        id: str | None = None,
    ) -> int:
        """Ask something of a run; its owner, or the next one, carries it out.

        Parameters
        ----------
        run_id : str
            The run.
        kind : str
            What is asked for, as a verb.
        by : str
            Who asks.
        path : str or None
            Of a node; None: of the run itself.
        idx : int
            Of a child of a mapped node.
        value : object
            Plain data that goes with it.
        id : str or None
            Of this order, up to 32 characters: the same one is appended once. None: it gets a new one.

        Returns
        -------
        int
            Its `seq`; of an order that was there already, the one that it has.

        Raises
        ------
        RunNotFound
            When there is no such run.
        SerializationError
            When the value is no plain data.
        """
        key = uuid.uuid4().hex if id is None else id
        row = {"id": key, "kind": kind, "path": path, "idx": idx, "value": value, "by": by, "time": time.time()}
        prepared = insert_order(self._database.dialect, run_id, row)
        query = select(ORDERS.c.seq).where(ORDERS.c.id == key, ORDERS.c.run_id == run_id)
        with faultpoint("runs.order"), self._database.writing() as connection:
            # The lock on the run lets its orders commit in the order of their `seq`: so readers miss none.
            self._lease(connection, run_id)
            if (standing := connection.scalar(query)) is not None:
                return int(standing)
            _execute(connection, prepared)
            return int(connection.execute(query).scalar_one())

    def answer(
        self,
        run_id: str,
        path: str,
        idx: int,
        attempt: int,
        *,
        by: str,
        token: str,
        value: object = None,
        given: bool = False,
    ) -> AnswerRow:
        """Answer an attempt of a task run that asks, unless somebody has.

        Parameters
        ----------
        run_id, path, idx, attempt
            What is answered.
        by : str
            Who answers.
        token : str
            Tells this answer from every other.
        value : object
            Plain data.
        given : bool
            Whether there is a value; None is one, too.

        Returns
        -------
        AnswerRow
            The answer that stands: the first. It has this `token` if it is this one.

        Raises
        ------
        RunNotFound
            When there is no such run.
        SerializationError
            When the value is no plain data.
        """
        row = {"path": path, "idx": idx, "attempt": attempt, "value": value, "given": int(given), "by": by}
        prepared = insert_answer(self._database.dialect, run_id, {**row, "token": token, "time": time.time()})
        this = and_(ANSWERS.c.path == path, ANSWERS.c.idx == idx, ANSWERS.c.attempt == attempt)
        with faultpoint("runs.answer"), self._database.writing() as connection:
            self._lease(connection, run_id)
            _execute(connection, prepared)
            [standing] = records(connection, select(ANSWERS).where(ANSWERS.c.run_id == run_id, this), AnswerRow)
        return standing

    def _lease(self, connection: Connection, run_id: str) -> _Lease:
        """Who has the run; and a lock on it, up to the end of the transaction."""
        query = select(RUNS.c.owner, RUNS.c.lease_until, RUNS.c.epoch, RUNS.c.written).where(RUNS.c.id == run_id)
        row = connection.execute(query.with_for_update()).one_or_none()
        if row is None:
            raise UnknownRun(run_id, self._database.name, ())
        return _Lease(*row)


class _Lease(NamedTuple):
    owner: str | None
    until: float | None
    epoch: int
    written: int


def _again(url: str, patience: float) -> RunStore:
    return RunStore(url, patience=patience)


def _execute(connection: Connection, prepared: Sequence[Statement]) -> None:
    for sql, parameters in prepared:
        connection.exec_driver_sql(sql, parameters)
