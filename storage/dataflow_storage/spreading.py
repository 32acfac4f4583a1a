"""Many rows as one execution, which reads them from one JSON array: SQLite writes them all in one go.

An execution for each row would not only bind each cell: it would give up Python's lock, and wait for it, each time.
What all rows share is bound once, numbers that count up are counted, and only the rest is in the array.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Table

from dataflow_storage.compiling import RUN_ID, Statement, as_json, compiled, converter, fill, is_json
from dataflow_storage.rows import Columns
from dataflow_storage.tables import COUNTS, METADATA

__all__ = ["spread"]

_ROWS = "rows"  # the parameter that holds the array
_SHARED, _COUNTED, _VARYING, _OBJECT = range(4)

# Where the cells of a column come from: a parameter; a parameter and the row's number; a place in the row (-1: the row
# is the cell); or an object of fields, whose name, the first part of its text, is a parameter.
_Cell = tuple[int, str, int, tuple[tuple[str, "_Cell"], ...]]


def _one_by_one(dialect: str, verb: str, table: Table, run_id: str, columns: Columns) -> Statement:
    names = (*columns.shared, *columns.each)
    return fill(compiled(dialect, verb, table.name, names), run_id, [*columns.rows()])


def spread(dialect: str, verb: str, table: Table, run_id: str, columns: Columns) -> Statement:
    """Everything that columns write.

    Parameters
    ----------
    dialect, verb, table
        As for rows.
    run_id : str
        The run.
    columns : Columns
        At least one row.
    """
    if dialect != "sqlite":
        return _one_by_one(dialect, verb, table, run_id, columns)
    made = _Spread()
    cells: list[tuple[str, _Cell]] = []
    for name, value in columns.shared.items():
        convert = converter(table, name)
        cells.append((name, made.shared(name, value if convert is None else convert(value))))
    for name, values in columns.each.items():
        convert = converter(table, name)
        if convert is not None and not isinstance(values, Columns) and (None in values or is_json(table, name)):
            values = [convert(value) for value in values]
        cells.append((name, made.cell(name, values)))
    lists = made.lists or [[0] * columns.size]
    rows = lists[0] if len(lists) == 1 else list(zip(*lists, strict=True))
    text = as_json(table.name, None, rows) or ""
    if "\\u" in text:  # SQLite would give back what the escape stands for, which may be no text
        return _one_by_one("sqlite", verb, table, run_id, columns)
    sql, order = _compiled(verb, table.name, tuple(cells), len(lists))
    given = {**made.given, RUN_ID: run_id, _ROWS: text}
    return Statement(sql, [tuple([given[name] for name in order])])


class _Spread:
    """Takes columns apart. State: `given`, parameters; `lists`, what is different in each row."""

    def __init__(self) -> None:
        self.given: dict[str, object] = {}
        self.lists: list[Sequence[object]] = []

    def shared(self, name: str, value: object) -> _Cell:
        self.given[f"_{name}"] = value
        return _SHARED, f"_{name}", 0, ()

    def cell(self, name: str, values: Sequence[object] | Columns) -> _Cell:
        if isinstance(values, Columns):
            start = as_json(name, None, values.shared) or ""
            self.shared(name, start[:-1])
            fields: list[tuple[str, _Cell]] = []
            for field, one in values.each.items():
                comma = "," if fields or values.shared else ""
                self.given[f"_{name}:{field}"] = f'{comma}"{field}":'
                fields.append((f"_{name}:{field}", self.cell(f"{name}.{field}", one)))
            return _OBJECT, f"_{name}", 0, tuple(fields)
        first = values[0]
        if isinstance(first, int) and list(values) == [*range(first, first + len(values))]:
            self.given[f"_{name}"] = first
            return _COUNTED, f"_{name}", 0, ()
        self.lists.append(values)
        return _VARYING, "", len(self.lists) - 1, ()


@cache
def _compiled(
    verb: str, table_name: str, cells: tuple[tuple[str, _Cell], ...], lists: int
) -> tuple[str, tuple[str, ...]]:
    """The SQL, and the names of its parameters in their order. By hand: for Core, each new shape is a millisecond."""
    table = METADATA.tables[table_name]
    names = [name for name, _ in cells]
    order = [RUN_ID]
    made = ["?", *(_expression(cell, lists, order) for _, cell in cells)]
    order.append(_ROWS)
    # Without a WHERE, SQLite takes ON CONFLICT for a part of the join.
    sql = f"INSERT INTO {table_name} (run_id, {', '.join(names)}) SELECT {', '.join(made)} FROM json_each(?) WHERE true"
    if verb == "upsert":
        key = [column.name for column in table.primary_key]
        added = "n = counts.n + " if table is COUNTS else ""
        changes = ", ".join(f"{added or f'{name} = '}excluded.{name}" for name in names if name not in key)
        sql += f" ON CONFLICT ({', '.join(key)}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"
    return sql, tuple(order)


def _expression(cell: _Cell, lists: int, order: list[str]) -> str:
    """The SQL of a cell; its parameters are noted."""
    kind, name, place, fields = cell
    if kind == _VARYING:
        return "json_each.value" if lists == 1 else f"json_extract(json_each.value, '$[{place}]')"
    order.append(name)
    if kind == _SHARED:
        return "?"
    if kind == _COUNTED:
        return "json_each.key + ?"
    text = "?"
    for start, field in fields:
        order.append(start)
        text += f" || ? || json_quote({_expression(field, lists, order)})"
    return f"{text} || '}}'"
