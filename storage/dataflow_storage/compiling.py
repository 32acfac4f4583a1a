"""Rows → SQL and parameters, cheaply: Core compiles each statement once, the driver's `executemany` runs it.

Core's own `execute` costs more per row than SQLite needs to write it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from sqlalchemy import URL, Dialect, Insert, Table, Update, bindparam, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from dataflow_storage.errors import SerializationError
from dataflow_storage.tables import COUNTS, METADATA, RUNS, Json

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql  # at run time only where it is needed: a tenth of this import's time

__all__ = ["RUN_ID", "Statement", "as_json", "compiled", "converter", "fill", "is_json", "refuse"]

Row = Mapping[str, object]
RUN_ID = "run"
"""The parameter that holds the run's id; parameters of columns start with an underscore."""

_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make an encoder for each cell


class Statement(NamedTuple):
    """One SQL text and the parameters of each of its executions."""

    sql: str
    parameters: list[tuple[object, ...]]


class Compiled(NamedTuple):
    """One SQL text, and the columns in the order of its placeholders, each with what makes its cells fit."""

    sql: str
    columns: tuple[tuple[str, Callable[[object], object] | None], ...]


def fill(how: Compiled, run_id: str, rows: Sequence[Row]) -> Statement:
    """Column by column: one comprehension each instead of one call for each cell."""
    cells: list[Iterable[object]] = []
    for name, convert in how.columns:
        if name == RUN_ID:
            cells.append(repeat(run_id, len(rows)))
        elif convert is None:
            cells.append([row.get(name) for row in rows])
        else:
            cells.append([convert(row.get(name)) for row in rows])
    return Statement(how.sql, list(zip(*cells, strict=True)))


@cache
def compiled(dialect: str, verb: str, table_name: str, given: tuple[str, ...]) -> Compiled:
    """How rows with these columns are written."""
    table = METADATA.tables[table_name]
    if not frozenset(given) <= frozenset(table.columns.keys()):
        refuse(table, given)
    own_id = "id" if table is RUNS else "run_id"
    names = [name for name in given if name != own_id]
    if verb == "upsert" and "idx" in table.columns and "idx" not in names:
        names.append("idx")
    binds: dict[str, object] = {name: bindparam(f"_{name}") for name in names}
    if verb == "update":
        which = [table.columns[own_id] == bindparam(RUN_ID)]
        if "seq" in binds:
            which.append(table.c.seq == binds.pop("seq"))
        core: Insert | Update = update(table).where(*which).values(binds)
    else:
        core = _insert(dialect, verb, table, {own_id: bindparam(RUN_ID), **binds})
    sql = core.compile(dialect=_dialect(dialect))
    assert isinstance(sql, SQLCompiler)
    assert sql.positiontup is not None  # both dialects are positional
    order = [name if name == RUN_ID else name[1:] for name in sql.positiontup]
    return Compiled(str(sql), tuple((name, None if name == RUN_ID else converter(table, name)) for name in order))


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


def is_json(table: Table, name: str) -> bool:
    """Whether a column takes plain data."""
    return isinstance(table.columns[name].type, Json)


@cache
def converter(table: Table, name: str) -> Callable[[object], object] | None:
    """How a cell of this column is made fit for the driver; None when it is fit as it is."""
    column = table.columns.get(name)
    if column is None:
        refuse(table, [name])
    blank = column.info.get("blank")
    if is_json(table, name):
        return partial(as_json, f"{table.name}.{name}", None if blank is None else json.dumps(blank))
    return None if blank is None else partial(_or_blank, blank)


def _or_blank(blank: object, value: object) -> object:
    return blank if value is None else value


def as_json(where: str, blank: str | None, value: object) -> str | None:
    """Plain data as text; None is `blank`."""
    if value is None:
        return blank
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        advice = "Give plain data: dict, list, str, int, float, bool or None."
        raise SerializationError(type(value).__qualname__, "json", str(error), where=where, advice=advice) from error


def refuse(table: Table, names: Iterable[str]) -> NoReturn:
    """Raise for columns that there are not."""
    known = [name for name in table.columns.keys() if name != "seq"]  # noqa: SIM118 (a collection of columns, by name)
    wrong = sorted(set(names) - set(known))
    raise ValueError(
        f"The table {table.name!r} has no column {', '.join(map(repr, wrong))}. It takes: {', '.join(known)}."
    )
