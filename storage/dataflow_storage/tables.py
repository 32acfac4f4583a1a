"""The schema of the run store. A change here needs a new revision under `migrations/versions/` and a new `HEAD`.

JSON is kept as text in every database: it then means the same everywhere (NaN, U+0000 and big integers included).
"""

from __future__ import annotations

import json

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

__all__ = ["HEAD", "METADATA", "VERSIONS", "Json"]

HEAD = "0003"
"""The newest revision: what a database must carry in `alembic_version`."""

METADATA = MetaData()


class Json(TypeDecorator[object]):
    """Plain data as JSON text; SQL's NULL is None.

    Examples
    --------
    >>> from sqlalchemy.dialects import sqlite
    >>> Json().process_result_value('{"day": 1}', sqlite.dialect())
    {'day': 1}
    """

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """Decode one cell."""
        return None if value is None else json.loads(value)


Blank = str | int | list[object] | dict[str, object]


def _filled(name: str, kind: type[Text | Integer | Json], blank: Blank) -> Column[object]:
    """A column that is never NULL: what is not given, or given as None, is `blank`."""
    default = blank if isinstance(blank, str) else text(str(blank)) if isinstance(blank, int) else json.dumps(blank)
    return Column(name, kind, nullable=False, server_default=default, info={"blank": blank})


def _seq() -> Column[int]:
    # SQLite counts by itself only in a column of exactly the type INTEGER. It may give the numbers of deleted rows
    # again; within one run they still only grow, as a run's rows are deleted together.
    return Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


def _id(name: str = "run_id") -> Column[str]:
    return Column(name, String(32), nullable=False)


def _idx() -> Column[object]:
    return _filled("idx", Integer, -1)


RUNS = Table(
    "runs",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    _filled("flow", Text, ""),
    Column("version", Text),
    _filled("parameters", Json, {}),
    _filled("tags", Json, []),
    _filled("state", Text, ""),
    _filled("message", Text, ""),
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("ended", Double),
    Column("executor", Text),
    Column("results_url", Text),
    Column("outputs", Json),
    Column("owner", Text),
    Column("lease_until", Double),
    _filled("epoch", Integer, 0),
    _filled("details", Json, {}),
    _filled("written", Integer, 0),  # the number of the last batch of this epoch
    UniqueConstraint("name", name="uq_runs_name"),
    Index("ix_runs_created", "created"),
    Index("ix_runs_state", "state", "created"),  # those that need an owner are looked for every few seconds
)

# Apart from `runs`: an update rewrites the whole row, and the lease is renewed every few seconds.
GRAPHS = Table(
    "graphs",
    METADATA,
    Column("run_id", String(32), primary_key=True),
    Column("graph", LargeBinary),
    Column("arguments", LargeBinary),
)

# Where the primary key is several columns, SQLite keeps the rows in the key's own tree instead of a second one.
NODES = Table(
    "nodes",
    METADATA,
    _id(),
    Column("path", Text, nullable=False),
    _filled("position", Integer, 0),
    _filled("task", Text, ""),
    _filled("kind", Text, ""),
    Column("width", Integer),
    _filled("upstream", Json, []),
    _filled("details", Json, {}),
    PrimaryKeyConstraint("run_id", "path"),
    sqlite_with_rowid=False,
)

TASK_RUNS = Table(
    "task_runs",
    METADATA,
    _id(),
    Column("path", Text, nullable=False),
    _idx(),
    _filled("state", Text, ""),
    _filled("message", Text, ""),
    Column("time", Double),
    _filled("attempt", Integer, 0),
    Column("started", Double),
    Column("ended", Double),
    Column("worker", Text),
    Column("reference", Json),
    Column("details", Json),
    PrimaryKeyConstraint("run_id", "path", "idx"),
    sqlite_with_rowid=False,
)

TRANSITIONS = Table(
    "transitions",
    METADATA,
    _seq(),
    _id(),
    Column("path", Text),
    _idx(),
    _filled("state", Text, ""),
    _filled("message", Text, ""),
    Column("time", Double, nullable=False),
    _filled("attempt", Integer, 0),
    Index("ix_transitions_run", "run_id", "seq"),
    Index("ix_transitions_path", "run_id", "path", "idx"),
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    _id(),
    Column("path", Text, nullable=False),
    _idx(),
    _filled("attempt", Integer, 0),
    _filled("state", Text, ""),
    Column("started", Double),
    Column("ended", Double),
    Column("worker", Text),
    Column("error", Json),
    PrimaryKeyConstraint("run_id", "path", "idx", "attempt"),
    sqlite_with_rowid=False,
)

LOGS = Table(
    "logs",
    METADATA,
    _seq(),
    _id(),
    Column("path", Text),
    _idx(),
    _filled("attempt", Integer, 0),
    Column("time", Double, nullable=False),
    _filled("level", Integer, 0),
    _filled("logger", Text, ""),
    _filled("message", Text, ""),
    Index("ix_logs_run", "run_id", "seq"),
    Index("ix_logs_path", "run_id", "path", "idx"),
)

COUNTS = Table(
    "counts",
    METADATA,
    _id(),
    Column("path", Text, nullable=False),
    Column("state", Text, nullable=False),
    _filled("n", Integer, 0),
    PrimaryKeyConstraint("run_id", "path", "state"),
    sqlite_with_rowid=False,
)

ARTIFACTS = Table(
    "artifacts",
    METADATA,
    Column("id", Text, primary_key=True),
    _id(),
    Column("path", Text),
    _idx(),
    _filled("kind", Text, ""),
    _filled("name", Text, ""),
    Column("url", Text),
    Column("details", Json),
    Column("time", Double, nullable=False),
    Index("ix_artifacts_run", "run_id"),
)

HOOKS = Table(
    "hooks",
    METADATA,
    _seq(),
    _id(),
    Column("path", Text),
    _idx(),
    _filled("hook", Text, ""),
    _filled("state", Text, ""),
    Column("error", Text),
    Column("time", Double, nullable=False),
    Index("ix_hooks_run", "run_id", "seq"),
)

# What people ask of a run: anybody appends, and the owner of the run carries it out.
ORDERS = Table(
    "orders",
    METADATA,
    _seq(),
    Column("id", String(32), nullable=False),
    _id(),
    _filled("kind", Text, ""),
    Column("path", Text),
    _idx(),
    Column("value", Json),
    _filled("by", Text, ""),
    Column("time", Double, nullable=False),
    _filled("done", Integer, 0),  # 1: carried out
    UniqueConstraint("id", name="uq_orders_id"),
    Index("ix_orders_run", "run_id", "done", "seq"),
)

# What people answered a task that asks; the first answer to a question stands.
ANSWERS = Table(
    "answers",
    METADATA,
    _id(),
    Column("path", Text, nullable=False),
    _idx(),
    _filled("attempt", Integer, 0),
    Column("value", Json),
    _filled("given", Integer, 0),  # 1: there is a value, which may be null
    _filled("by", Text, ""),
    _filled("token", Text, ""),
    Column("time", Double, nullable=False),
    PrimaryKeyConstraint("run_id", "path", "idx", "attempt"),
    sqlite_with_rowid=False,
)

# Runs whose record was deleted, and whose results may still be there: for others need them, or the deleting broke off.
LEFTOVERS = Table(
    "leftovers",
    METADATA,
    Column("id", String(32), primary_key=True),
    _filled("name", Text, ""),
    _filled("flow", Text, ""),
    Column("results_url", Text),
    Column("deleted", Double, nullable=False),
    _filled("swept", Integer, 0),  # 1: no other table knows the run any more
)

# Alembic's own table, as Alembic would make it: a new database is stamped without importing Alembic.
VERSIONS = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
