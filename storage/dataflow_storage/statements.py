"""Rows → SQL and parameters, cheaply: Core compiles each statement once, the driver's `executemany` runs it.

Core's own `execute` costs more per row than SQLite needs to write it. Everything here is pure: no connection, no state
but the cache of compiled statements.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from sqlalchemy import URL, Dialect, Insert, Table, Update, bindparam, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from dataflow_storage.errors import SerializationError
from dataflow_storage.rows import Batch
from dataflow_storage.tables import (
    ANSWERS,
    ARTIFACTS,
    ATTEMPTS,
    COUNTS,
    GRAPHS,
    HOOKS,
    LOGS,
    METADATA,
    NODES,
    ORDERS,
    RUNS,
    TASK_RUNS,
    TRANSITIONS,
    Json,
)

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql  # at run time only where it is needed: a tenth of this import's time

__all__ = ["Statement", "insert_answer", "insert_order", "insert_run", "scrubbed", "statements"]

Row = Mapping[str, object]

_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make an encoder for each cell
_RUN_ID = "run"  # the parameter that holds the run's id; parameters of columns start with an underscore
_OWNED = frozenset({"id", "name", "owner", "lease_until", "epoch", "written"})  # never changed by a batch's `run`
_BYTES = ("graph", "arguments")  # of a run, in a table of their own


class Statement(NamedTuple):
    """One SQL text and the parameters of each of its executions."""

    sql: str
    parameters: list[tuple[object, ...]]


class _Compiled(NamedTuple):
    sql: str
    columns: tuple[tuple[str, Callable[[object], object] | None], ...]  # in the order of the placeholders


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
    >>> [one] = statements("sqlite", "0" * 32, Batch(counts={("clean", "Success"): 2}))
    >>> one.parameters
    [('00000000000000000000000000000000', 'clean', 'Success', 2)]
    """
    counts = [{"path": path, "state": state, "n": n} for (path, state), n in batch.counts.items()]
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
        *([_fill(_compiled(dialect, "update", ORDERS.name, ("seq", "done")), run_id, orders)] if orders else []),
    ]


def insert_run(dialect: str, row: Row) -> list[Statement]:
    """Insert a run unless its name is taken (the first statement then has a row count of 0), and its bytes."""
    columns = tuple(column for column in row if column not in _BYTES)
    run_id = str(row["id"])
    found = [_fill(_compiled(dialect, "create", RUNS.name, columns), run_id, [row])]
    if large := {name: row[name] for name in _BYTES if row.get(name) is not None}:
        found += _upserts(dialect, GRAPHS, run_id, [large])
    return found


def insert_order(dialect: str, run_id: str, row: Row) -> list[Statement]:
    """Append an order."""
    return scrubbed(_appends(dialect, ORDERS, run_id, [row]))


def insert_answer(dialect: str, run_id: str, row: Row) -> list[Statement]:
    """Insert an answer unless there is one."""
    return scrubbed([_fill(_compiled(dialect, "keep", ANSWERS.name, tuple(row)), run_id, [row])])


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
        yield _fill(_compiled(dialect, "update", RUNS.name, tuple(changed)), run_id, [changed])
    if large := {name: row[name] for name in _BYTES if name in row}:
        yield from _upserts(dialect, GRAPHS, run_id, [large])


def _appends(dialect: str, table: Table, run_id: str, rows: Sequence[Row]) -> Iterator[Statement]:
    """One statement for all columns, whatever a row leaves out: rows stay in their order."""
    if rows:
        columns = tuple(column.name for column in table.columns if column.name not in ("seq", "run_id"))
        known = frozenset(columns)
        for row in rows:
            if not row.keys() <= known:
                _refuse(table, row.keys())
        yield _fill(_compiled(dialect, "append", table.name, columns), run_id, rows)


def _upserts(dialect: str, table: Table, run_id: str, rows: Sequence[Row]) -> Iterator[Statement]:
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
        yield _fill(_compiled(dialect, "upsert", table.name, columns), run_id, group)


def _fill(compiled: _Compiled, run_id: str, rows: Sequence[Row]) -> Statement:
    """Column by column: one comprehension each instead of one call for each cell."""
    cells: list[Iterable[object]] = []
    for name, convert in compiled.columns:
        if name == _RUN_ID:
            cells.append(repeat(run_id, len(rows)))
        elif convert is None:
            cells.append([row.get(name) for row in rows])
        else:
            cells.append([convert(row.get(name)) for row in rows])
    return Statement(compiled.sql, list(zip(*cells, strict=True)))


@cache
def _compiled(dialect: str, verb: str, table_name: str, given: tuple[str, ...]) -> _Compiled:
    table = METADATA.tables[table_name]
    if not frozenset(given) <= frozenset(table.columns.keys()):
        _refuse(table, given)
    own_id = "id" if table is RUNS else "run_id"
    names = [name for name in given if name != own_id]
    if verb == "upsert" and "idx" in table.columns and "idx" not in names:
        names.append("idx")
    binds: dict[str, object] = {name: bindparam(f"_{name}") for name in names}
    if verb == "update":
        which = [table.columns[own_id] == bindparam(_RUN_ID)]
        if "seq" in binds:
            which.append(table.c.seq == binds.pop("seq"))
        core: Insert | Update = update(table).where(*which).values(binds)
    else:
        core = _insert(dialect, verb, table, {own_id: bindparam(_RUN_ID), **binds})
    sql = core.compile(dialect=_dialect(dialect))
    assert isinstance(sql, SQLCompiler)
    assert sql.positiontup is not None  # both dialects are positional
    order = [name if name == _RUN_ID else name[1:] for name in sql.positiontup]
    return _Compiled(str(sql), tuple((name, None if name == _RUN_ID else _converter(table, name)) for name in order))


@cache
def _dialect(name: str) -> Dialect:
    if name == "sqlite":
        return sqlite.dialect()
    kind: Callable[..., Dialect] = URL.create("postgresql+psycopg").get_dialect()
    return kind(paramstyle="format")  # positional, like SQLite's


def _insert_into(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    if dialect == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def _insert(dialect: str, verb: str, table: Table, values: dict[str, object]) -> Insert:
    insert = _insert_into(dialect, table).values(values).inline()
    if verb == "append":
        return insert
    if verb == "create":
        return insert.on_conflict_do_nothing(index_elements=["name"])
    key = [column.name for column in table.primary_key]
    if verb == "keep":
        return insert.on_conflict_do_nothing(index_elements=key)
    changes: dict[str, object] = {name: insert.excluded[name] for name in values if name not in {*key, "run_id"}}
    if table is COUNTS:
        changes["n"] = table.c.n + insert.excluded.n
    if not changes:
        return insert.on_conflict_do_nothing(index_elements=key)
    return insert.on_conflict_do_update(index_elements=key, set_=changes)


def _converter(table: Table, name: str) -> Callable[[object], object] | None:
    """How a cell of this column is made fit for the driver; None when it is fit as it is."""
    column = table.columns[name]
    blank = column.info.get("blank")
    if isinstance(column.type, Json):
        return partial(_json, f"{table.name}.{name}", None if blank is None else json.dumps(blank))
    return None if blank is None else partial(_or_blank, blank)


def _or_blank(blank: object, value: object) -> object:
    return blank if value is None else value


def _json(where: str, blank: str | None, value: object) -> str | None:
    if value is None:
        return blank
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        advice = "Give plain data: dict, list, str, int, float, bool or None."
        raise SerializationError(type(value).__qualname__, "json", str(error), where=where, advice=advice) from error


def _refuse(table: Table, names: Iterable[str]) -> NoReturn:
    known = [name for name in table.columns.keys() if name != "seq"]  # noqa: SIM118 (a collection of columns, by name)
    wrong = sorted(set(names) - set(known))
    raise ValueError(
        f"The table {table.name!r} has no column {', '.join(map(repr, wrong))}. It takes: {', '.join(known)}."
    )
