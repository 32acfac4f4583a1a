"""Which run a person means, what else they may have meant, and which name a new run gets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import Connection, Row, Select, and_, or_, select

from dataflow_storage.errors import AmbiguousRun, RunNotFound
from dataflow_storage.rows import RunRow
from dataflow_storage.tables import RUNS

__all__ = ["UnknownRun", "find_run", "free_name", "records"]

_Record = TypeVar("_Record")
_NEWEST = (RUNS.c.created.desc(), RUNS.c.id)
_FAILED = ("Failed", "Crashed")
_PREFIX = re.compile(r"[0-9a-f]{4,32}")
_RECENT = 200  # runs among whose names a misspelt one is looked for
_SHOWN = 100  # runs that an ambiguous prefix names at most


class UnknownRun(RunNotFound):
    """No run has this id or name; `suggestions` are names of recent runs that look like it, best first.

    Parameters
    ----------
    run : str
        The reference as given.
    store : str
        How a person calls the store.
    suggestions : sequence of str
        What may have been meant; may be empty.

    Examples
    --------
    >>> str(UnknownRun("oter", "runs.db", ["otter"])).partition("Did ")[2]
    "you mean 'otter'?"
    """

    def __init__(self, run: str, store: str, suggestions: Sequence[str] = ()) -> None:
        super().__init__(run, store)
        self.suggestions = tuple(suggestions)
        if suggestions:
            self.args = (f"{self} Did you mean {' or '.join(map(repr, suggestions))}?",)


def find_run(connection: Connection, reference: str, store: str) -> RunRow:
    """The run with this id or name, the only one whose id starts like that, or the one that a shorthand names.

    Parameters
    ----------
    connection : Connection
        To read from.
    reference : str
        As a person gives it.
    store : str
        How a person calls the store.

    Raises
    ------
    UnknownRun
        When there is none.
    AmbiguousRun
        When several ids start like that.
    """
    if reference.startswith("@"):
        return _shorthand(connection, reference, store)
    exact = select(RUNS).where(or_(RUNS.c.id == reference, RUNS.c.name == reference))
    found = records(connection, exact.order_by(RUNS.c.id != reference), RunRow)  # an id wins over a name
    if found:
        return found[0]
    start = reference.lower()
    if _PREFIX.fullmatch(start):
        among = and_(RUNS.c.id >= start, RUNS.c.id < start + "g")  # "g" sorts after every hex digit
        found = records(connection, select(RUNS).where(among).order_by(*_NEWEST).limit(_SHOWN), RunRow)
    if len(found) == 1:
        return found[0]
    if found:
        raise AmbiguousRun(reference, [f"{run.name} ({run.id})" for run in found])
    names = list(connection.scalars(select(RUNS.c.name).order_by(*_NEWEST).limit(_RECENT)))
    raise UnknownRun(reference, store, difflib.get_close_matches(reference, names))


def _shorthand(connection: Connection, reference: str, store: str) -> RunRow:
    query = select(RUNS).order_by(*_NEWEST).limit(1)
    if reference == "@last-failed":
        query = query.where(RUNS.c.state.in_(_FAILED))
    elif reference != "@last":
        raise UnknownRun(reference, store, ("@last", "@last-failed"))
    found = records(connection, query, RunRow)
    if not found:
        raise UnknownRun(reference, store)
    return found[0]


def free_name(connection: Connection, wanted: str) -> str:
    """`wanted`, or the first of ``wanted-2``, ``wanted-3`` … that no run has."""
    alike = or_(RUNS.c.name == wanted, RUNS.c.name.startswith(wanted + "-", autoescape=True))
    taken = set(connection.scalars(select(RUNS.c.name).where(alike)))
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


def records(connection: Connection, query: Select[tuple[object, ...]], record: type[_Record]) -> list[_Record]:
    """Every row of a query as a record whose fields are the query's columns."""
    result = connection.execute(query)
    names = tuple(result.keys())
    rows: Sequence[Row[tuple[object, ...]]] = result.all()
    return [record(**dict(zip(names, row, strict=True))) for row in rows]
