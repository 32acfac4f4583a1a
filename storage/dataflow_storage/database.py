"""One SQL database as the run store needs it: opened on first use, made or migrated, its failures told in our words.

State: the engine (one for each process: a connection must not cross a fork) and, for SQLite, which file it has open.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.pool import ConnectionPoolEntry

from dataflow_storage.errors import StorageError, StoreUnavailable
from dataflow_storage.faults import faultpoint
from dataflow_storage.mounts import network_file_system
from dataflow_storage.sql_errors import is_busy, ours, ours_of_system
from dataflow_storage.tables import HEAD, METADATA, VERSIONS

__all__ = ["Database", "parse"]

_MAKING = 0x64617461  # the key of the advisory lock under which one PostgreSQL client makes the tables
# PostgreSQL waits for locks without end, also for those of a client that was stopped in the middle of its transaction.
_LIMITS = "SET LOCAL idle_in_transaction_session_timeout = {idle}; SET LOCAL lock_timeout = {lock}"
_IDLE = 5000  # ms; longer than a client that works ever is between two statements of a transaction that writes
_left_behind: list[Engine] = []  # engines of a parent process, kept so that nothing closes their connections in a child


def parse(url: str) -> URL:
    """A URL, or a path of a SQLite file, as an SQLAlchemy URL with an absolute path or with the driver named.

    Raises
    ------
    ValueError
        When it is neither a SQLite file nor a PostgreSQL database.

    Examples
    --------
    >>> parse("/data/runs.db").render_as_string()
    'sqlite:////data/runs.db'
    >>> parse("postgresql://me:secret@db/runs").render_as_string()
    'postgresql+psycopg://me:***@db/runs'
    """
    taken = "Give a path such as '/data/runs.db', 'sqlite:////data/runs.db' or 'postgresql+psycopg://user@host/name'."
    try:
        found = make_url(url) if "://" in url else URL.create("sqlite", database=url)
    except (ArgumentError, ValueError) as error:
        raise ValueError(f"{url!r} is no URL of a run store. {taken}") from error
    kind = found.drivername.partition("+")[0]
    if kind in ("postgresql", "postgres"):
        return found.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise ValueError(f"A run store cannot live in {found.drivername!r}. {taken}")
    if not found.database or found.database == ":memory:" or found.query:
        raise ValueError(f"A run store needs a plain file that every process can open, not {url!r}. {taken}")
    return URL.create("sqlite", database=os.path.abspath(Path(found.database).expanduser()))


class Database:
    """A database that opens itself; for any number of threads and processes.

    Parameters
    ----------
    url : URL
        From `parse`.
    patience : float
        Seconds to wait for another writer before giving up.
    """

    def __init__(self, url: URL, patience: float) -> None:
        self._url = url
        self._patience = patience
        self._path = url.database if url.get_backend_name() == "sqlite" else None
        self._limits = _LIMITS.format(idle=_IDLE, lock=round(patience * 1000))
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._engine: Engine | None = None
        self._file: tuple[int, int] | None = None
        self._opening = threading.Lock()
        # SQLite lets writers wait by polling; threads of one process queue here instead, which is fair and faster.
        self._writing = threading.Lock()

    @property
    def name(self) -> str:
        """How a person calls it: the file, or the URL without its password."""
        return self._path or self._url.render_as_string(hide_password=True)

    @property
    def dialect(self) -> str:
        """``"sqlite"`` or ``"postgresql"``."""
        return self._url.get_backend_name()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read from."""
        with self._border(), self._opened().connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that holds the right to write, and that commits when the block ends well."""
        with self._border():
            engine = self._opened()
            with self._writing if self._path else nullcontext(), self._transaction(engine) as connection:
                yield connection

    def now(self, connection: Connection) -> float:
        """Seconds since the epoch by the clock of all clients: a server's own; a file's clients share a machine."""
        if self._path:
            return time.time()
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())

    def close(self) -> None:
        """Close every connection; the next use opens the database again."""
        if self._process == os.getpid():
            with self._opening:
                engine, self._engine = self._engine, None
            if engine is not None:
                engine.dispose()

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("BEGIN IMMEDIATE" if self._path else self._limits)
            yield connection

    def _opened(self) -> Engine:
        if self._process != os.getpid():
            if self._engine is not None:
                _left_behind.append(self._engine)
            self._forget()
        with self._opening:
            if self._engine is not None and self._path is not None and self._identity(self._path) != self._file:
                self._engine.dispose()  # another file was put in its place, such as a backup
                self._engine = None
            if self._engine is None:
                self._engine = self._open()
            return self._engine

    def _identity(self, path: str) -> tuple[int, int]:
        """Which file this is. SQLite would go on writing into a deleted one, and all would be lost in silence."""
        try:
            status = os.stat(path)
        except FileNotFoundError as error:
            reason = (
                "the file was deleted while it was in use, so nothing can be kept in it; put it back, or start anew"
            )
            raise StoreUnavailable(path, reason) from error
        return status.st_dev, status.st_ino

    def _open(self) -> Engine:
        if self._path is None:
            # A server that is silent, as one behind a cut network is, must not hold up its clients for ever.
            wait = {"connect_timeout": max(2, round(self._patience)), "tcp_user_timeout": round(self._patience * 1000)}
            alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
            engine = self._engine_for(paramstyle="format", pool_pre_ping=True, connect_args={**wait, **alive})
        else:
            if kind := network_file_system(self._path):
                reason = (
                    f"it lies on a network file system ({kind}), where SQLite's locks do not hold and records "
                    "get damaged; put it on a local disk, or give the URL of a PostgreSQL database"
                )
                raise StoreUnavailable(self._path, reason)
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            engine = self._engine_for(connect_args={"isolation_level": None, "timeout": self._patience})
            event.listen(engine, "connect", _tune)
        try:
            if self._path:
                self._use_wal(engine)
            self._make(engine)
            if self._path:
                self._file = self._identity(self._path)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _engine_for(self, **options: object) -> Engine:
        try:
            return create_engine(self._url, **options)
        except ImportError as error:
            reason = (
                f"its driver is not installed ({error}); install the extra 'postgres', or the package 'psycopg[binary]'"
            )
            raise StoreUnavailable(self.name, reason) from error

    def _use_wal(self, engine: Engine) -> None:
        """WAL lets readers read while one writer writes. The switch does not wait for others by itself: so we do."""
        deadline = time.monotonic() + self._patience
        with engine.connect() as connection:
            while True:
                try:
                    mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar_one()
                    break
                except DBAPIError as error:
                    if not is_busy(error) or time.monotonic() > deadline:
                        raise
                    connection.rollback()
                    time.sleep(0.005)
        if mode != "wal":
            raise StoreUnavailable(
                self.name, f"its file system does not allow WAL (it stays in {mode!r}); use a local disk"
            )

    def _make(self, engine: Engine) -> None:
        """Bring the schema to `HEAD`. Of several processes that come at once, one does it and the others wait."""
        with engine.connect() as connection:
            if _version(connection) == HEAD:
                return
        with faultpoint("runs.make"), self._transaction(engine) as connection:
            if not self._path:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MAKING})
            version = _version(connection)
            if version is None:
                self._create(connection)
            elif version != HEAD:
                from dataflow_storage.migrations import upgrade  # Alembic is slow to import, and rarely needed

                upgrade(connection, self.name)

    def _create(self, connection: Connection) -> None:
        if taken := sorted(METADATA.tables.keys() & set(inspect(connection).get_table_names())):
            reason = f"it has tables {taken} that dataflow did not make; give it a database of its own"
            raise StoreUnavailable(self.name, reason)
        METADATA.create_all(connection, checkfirst=False)
        VERSIONS.create(connection)
        connection.execute(VERSIONS.insert().values(version_num=HEAD))

    @contextmanager
    def _border(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except DBAPIError as error:
            raise ours(self.name, error, self._patience) from error
        except NoConnection as error:
            raise StoreUnavailable(self.name, f"all its connections are in use: {error}", transient=True) from error
        except OSError as error:
            raise ours_of_system(self.name, error) from error


def _tune(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")  # with WAL: safe against crashes; a power cut may lose the last flushes
    cursor.execute("PRAGMA foreign_keys=OFF")
    cursor.execute("PRAGMA wal_autocheckpoint=4000")  # pages: to move them into the file takes longer than to log them
    cursor.close()


def _version(connection: Connection) -> str | None:
    """The revision in the database; empty when Alembic's table is, None when there is no such table."""
    if not inspect(connection).has_table(VERSIONS.name):
        return None
    return connection.execute(select(VERSIONS.c.version_num)).scalar() or ""
