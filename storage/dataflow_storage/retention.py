"""Deleting runs from the record, in small transactions, each of which leaves the record whole.

A run goes in two steps. Its own row goes first, and in the same transaction it is noted as a *leftover*: from then on
nothing refers to its results, and whoever comes next knows that they may still be there. Its rows in the other tables
follow in slices, so that no writer waits for long. The note goes when nothing is left.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping

from sqlalchemy import String, Table, Text, delete, insert, literal, or_, select, tuple_, type_coerce, update

from dataflow_storage.faults import faultpoint
from dataflow_storage.lookup import records
from dataflow_storage.rows import Leftover
from dataflow_storage.runs import RunStore
from dataflow_storage.tables import GRAPHS, LEFTOVERS, METADATA, RUNS, TASK_RUNS

__all__ = ["Retention"]

_SLICE = 5000  # rows of a transaction
_MANY = 500  # ids of a query
_OF_RUNS = [table for table in METADATA.sorted_tables if "run_id" in table.columns]


class Retention:
    """What a run store deletes, and what must be known before.

    Parameters
    ----------
    runs : RunStore
        The record.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, RunStore(folder + "/runs.db") as runs:
    ...     name = runs.create_run({"id": "a" * 32, "name": "brisk-otter", "flow": "etl", "state": "Success"})
    ...     Retention(runs).delete(["a" * 32], ended=["Success"]), [left.name for left in Retention(runs).leftovers()]
    (['aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'], ['brisk-otter'])
    """

    def __init__(self, runs: RunStore) -> None:
        self._database = runs._database

    def delete(self, ids: Collection[str], *, ended: Collection[str]) -> list[str]:
        """Delete runs, all in one transaction, and note them as leftovers.

        Parameters
        ----------
        ids : collection of str
            Which; some dozens.
        ended : collection of str
            The states of a run that is over. One that is in another state by now, or has an owner whose lease has not
            run out, is left alone.

        Returns
        -------
        list of str
            Those that were deleted.
        """
        columns = (RUNS.c.id, RUNS.c.name, RUNS.c.flow, RUNS.c.results_url)
        query = select(*columns).where(RUNS.c.id.in_(ids), RUNS.c.state.in_(ended))
        query = query.order_by(RUNS.c.id).with_for_update()  # in one order: two prunes at once must not lock crosswise
        with faultpoint("runs.delete"), self._database.writing() as connection:
            now = self._database.now(connection)
            query = query.where(or_(RUNS.c.owner.is_(None), RUNS.c.lease_until.is_(None), RUNS.c.lease_until <= now))
            rows = [dict(row._mapping) for row in connection.execute(query)]
            gone = [str(row["id"]) for row in rows]
            if gone:
                connection.execute(insert(LEFTOVERS), [{**row, "deleted": time.time(), "swept": 0} for row in rows])
                connection.execute(delete(GRAPHS).where(GRAPHS.c.run_id.in_(gone)))
                connection.execute(delete(RUNS).where(RUNS.c.id.in_(gone)))
        return gone

    def leftovers(self) -> list[Leftover]:
        """Runs whose record is gone and whose results may still be there, in the order in which they went."""
        columns = [column for column in LEFTOVERS.columns if column.name != "swept"]
        with self._database.reading() as connection:
            return records(connection, select(*columns).order_by(LEFTOVERS.c.deleted, LEFTOVERS.c.id), Leftover)

    def sweep(self) -> int:
        """Delete what the other tables still have of leftovers, slice by slice. The number of rows."""
        with self._database.reading() as connection:
            ids = list(connection.scalars(select(LEFTOVERS.c.id).where(LEFTOVERS.c.swept == 0)))
        total = 0
        for run_id in ids:
            total += sum(self._sweep(table, run_id) for table in _OF_RUNS)
            with faultpoint("runs.sweep"), self._database.writing() as connection:
                connection.execute(update(LEFTOVERS).where(LEFTOVERS.c.id == run_id).values(swept=1))
        return total

    def _sweep(self, table: Table, run_id: str) -> int:
        key = tuple(table.primary_key)
        slice_ = select(*key).where(table.c.run_id == run_id).limit(_SLICE)
        query = delete(table).where(tuple_(*key).in_(slice_))
        total, last = 0, _SLICE
        while last >= _SLICE:
            with faultpoint("runs.sweep"), self._database.writing() as connection:
                last = connection.execute(query).rowcount
            total += last
        return total

    def forget(self, ids: Iterable[str]) -> None:
        """Nothing is left of these leftovers."""
        for some in _chunks(ids):
            with faultpoint("runs.forget"), self._database.writing() as connection:
                connection.execute(delete(LEFTOVERS).where(LEFTOVERS.c.id.in_(some), LEFTOVERS.c.swept == 1))

    def borrowed(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        """References of runs on record to results that other runs made: the run that has it, and the reference."""
        text = type_coerce(TASK_RUNS.c.reference, Text)
        # A result's place has the id of the run that made it in it.
        own = text.like(literal("%/", String) + TASK_RUNS.c.run_id + literal("/%", String))
        on_record = TASK_RUNS.c.run_id.in_(select(RUNS.c.id))
        query = select(TASK_RUNS.c.run_id, TASK_RUNS.c.reference).where(text.is_not(None), ~own, on_record)
        with self._database.reading() as connection:
            for row in connection.execution_options(yield_per=_SLICE).execute(query):
                yield row.run_id, row.reference

    def known(self, ids: Iterable[str]) -> set[str]:
        """Those among some ids that are on record, or leftovers."""
        found: set[str] = set()
        with self._database.reading() as connection:
            for some in _chunks(ids):
                for table in (RUNS, LEFTOVERS):
                    found.update(connection.scalars(select(table.c.id).where(table.c.id.in_(some))))
        return found


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    every = list(ids)
    for start in range(0, len(every), _MANY):
        yield every[start : start + _MANY]
