"""What a batch writes, as SQL and parameters. Pure: no connection, no state but the cache of compiled statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import cast

from sqlalchemy import Table

from dataflow_storage.compiling import Statement, compiled, fill, refuse
from dataflow_storage.rows import Batch, Columns, Rows
from dataflow_storage.spreading import spread
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

__all__ = ["Statement", "insert_answer", "insert_order", "insert_run", "scrubbed", "statements"]

Row = Mapping[str, object]

_OWNED = frozenset({"id", "name", "owner", "lease_until", "epoch", "written"})  # never changed by a batch's `run`
_BYTES = ("graph", "arguments")  # of a run, in a table of their own


def statements(dialect: str, run_id: str, batch: Batch) -> list[Statement]:
    """Everything that a batch writes, in order.

    Parameters
    ----------
    dialect : str
        ``"sqlite"`` or ``"postgresql"``.
    run_id : str
        The run.
    batch : Batch
        What to write.

    Raises
    ------
    ValueError
        For a column that the table does not have, or that a batch may not change.
    SerializationError
        For a value in a JSON column that JSON does not know.

    Examples
    --------
    >>> [one] = statements("sqlite", "0" * 32, Batch(hooks=[{"path": "clean", "hook": "on_failure", "time": 1.5}]))
    >>> one.parameters
    [('00000000000000000000000000000000', 'clean', -1, 'on_failure', '', None, 1.5)]
    """
    told: dict[str, Sequence[object]] = {
        "path": [path for path, _ in batch.counts],
        "state": [state for _, state in batch.counts],
        "n": list(batch.counts.values()),
    }
    counts = [Columns(len(batch.counts), {}, told)] if batch.counts else []
    orders = [{"seq": seq, "done": 1} for seq in batch.done_orders]
    return [
        *_run(dialect, run_id, batch.run or {}, batch.number),
        *_upserts(dialect, NODES, run_id, batch.nodes),
        *_upserts(dialect, TASK_RUNS, run_id, batch.task_runs),
        *_appends(dialect, TRANSITIONS, run_id, batch.transitions),
        *_upserts(dialect, ATTEMPTS, run_id, batch.attempts),
        *_appends(dialect, LOGS, run_id, batch.logs),
        *_upserts(dialect, COUNTS, run_id, counts),
        *_appends(dialect, HOOKS, run_id, batch.hooks),
        *_upserts(dialect, ARTIFACTS, run_id, batch.artifacts),
        *([fill(compiled(dialect, "update", ORDERS.name, ("seq", "done")), run_id, orders)] if orders else []),
    ]


def insert_run(dialect: str, row: Row) -> list[Statement]:
    """Insert a run unless its name is taken (the first statement then has a row count of 0), and its bytes."""
    columns = tuple(column for column in row if column not in _BYTES)
    run_id = str(row["id"])
    found = [fill(compiled(dialect, "create", RUNS.name, columns), run_id, [row])]
    if large := {name: row[name] for name in _BYTES if row.get(name) is not None}:
        found += _upserts(dialect, GRAPHS, run_id, [large])
    return found


def insert_order(dialect: str, run_id: str, row: Row) -> list[Statement]:
    """Append an order."""
    return scrubbed(_appends(dialect, ORDERS, run_id, [row]))


def insert_answer(dialect: str, run_id: str, row: Row) -> list[Statement]:
    """Insert an answer unless there is one."""
    return scrubbed([fill(compiled(dialect, "keep", ANSWERS.name, tuple(row)), run_id, [row])])


def scrubbed(many: Iterable[Statement]) -> list[Statement]:
    """The same statements with text that any database takes: no lone surrogates, no U+0000.

    Examples
    --------
    >>> scrubbed([Statement("…", [("a\\0b", 1, "\\udc80")])])[0].parameters
    [('a\\ufffdb', 1, '\\\\udc80')]
    """
    return [Statement(one.sql, [tuple(map(_clean, row)) for row in one.parameters]) for one in many]


def _clean(value: object) -> object:
    if not isinstance(value, str):
        return value
    return value.replace("\0", "\ufffd").encode("utf-8", "backslashreplace").decode()


def _run(dialect: str, run_id: str, row: Row, number: int) -> Iterator[Statement]:
    if owned := _OWNED & row.keys():
        raise ValueError(f"A batch may not change {sorted(owned)} of a run: the run store keeps these.")
    changed = {column: value for column, value in row.items() if column not in _BYTES}
    if number:
        changed["written"] = number
    if changed:
        yield fill(compiled(dialect, "update", RUNS.name, tuple(changed)), run_id, [changed])
    if large := {name: row[name] for name in _BYTES if name in row}:
        yield from _upserts(dialect, GRAPHS, run_id, [large])


def _appends(dialect: str, table: Table, run_id: str, rows: Rows) -> Iterator[Statement]:
    """One statement for all columns, whatever a row leaves out: rows stay in their order."""
    columns = tuple(column.name for column in table.columns if column.name not in ("seq", "run_id"))
    for some in _runs(rows):
        if isinstance(some, Columns):
            yield spread(dialect, "append", table, run_id, some)
            continue
        known = frozenset(columns)
        for row in some:
            if not row.keys() <= known:
                refuse(table, row.keys())
        yield fill(compiled(dialect, "append", table.name, columns), run_id, some)


def _upserts(dialect: str, table: Table, run_id: str, rows: Rows) -> Iterator[Statement]:
    for some in _runs(rows):
        if isinstance(some, Columns):
            yield spread(dialect, "upsert", table, run_id, some)
        else:
            yield from _upserts_of(dialect, table, run_id, some)


def _runs(rows: Rows) -> Iterator[Columns | Sequence[Row]]:
    """What follows each other and is of one kind."""
    for kind, some in groupby(rows, key=type):
        if kind is Columns:
            yield from cast("Iterator[Columns]", some)
        else:
            yield cast("list[Row]", list(some))


def _upserts_of(dialect: str, table: Table, run_id: str, rows: Sequence[Row]) -> Iterator[Statement]:
    """One statement for each set of given columns. Rows of one key are folded into one first: so order is free."""
    key = tuple(c.name for c in table.primary_key if c.name != "run_id")
    folded: dict[tuple[object, ...], Row] = {}
    for row in rows:
        place = tuple([row.get(name, -1) for name in key])  # only `idx` may be left out
        before = folded.get(place)
        folded[place] = row if before is None else {**before, **row}
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in folded.values():
        groups.setdefault(tuple(row), []).append(row)
    for columns, group in groups.items():
        yield fill(compiled(dialect, "upsert", table.name, columns), run_id, group)
