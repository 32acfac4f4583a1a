"""A RunStore on SQLite when storage fails: full disks, lost and damaged files, locks, other versions of the schema."""

from __future__ import annotations

import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from dataflow_storage import StoreUnavailable
from dataflow_storage.database import parse
from dataflow_storage.migrations import config, upgrade
from dataflow_storage.mounts import network_file_system
from dataflow_storage.rows import Batch
from dataflow_storage.runs import RunStore
from dataflow_storage.tables import HEAD, METADATA
from tests.storage.test_runs_processes import finish, start


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "runs.db")


def begin(store: RunStore) -> tuple[str, int]:
    run = uuid.uuid4().hex
    store.create_run({"id": run, "name": "run"})
    return run, store.claim(run, "me", seconds=600)


def some_rows(count: int) -> Batch:
    return Batch(logs=[{"path": "f", "time": 1.0, "message": "x" * 200}] * count)


@contextmanager
def on_engine(name: str, listener: Callable[..., None]) -> Iterator[None]:
    event.listen(Engine, name, listener)
    try:
        yield
    finally:
        event.remove(Engine, name, listener)


# -- storage that fails ----------------------------------------------------------------------------------------------


def test_a_full_disk_is_named_and_the_store_goes_on_when_there_is_space(path: str) -> None:
    def small_disk(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA max_page_count=200").close()

    with RunStore(path) as store:
        with on_engine("connect", small_disk):
            run, epoch = begin(store)
            for _ in range(10):
                store.write(run, epoch, some_rows(100))
            with pytest.raises(StoreUnavailable, match=r"runs\.db.*disk is full; free space.*resume") as full:
                store.write(run, epoch, some_rows(3000))
            before = len(store.logs(run))
        assert isinstance(full.value.__cause__, DBAPIError)
        assert isinstance(full.value, OSError)
        assert full.value.transient
        assert before == 1000  # all of what was written before, nothing of the last
        store.close()
        store.write(run, epoch, some_rows(3000))
        assert len(store.logs(run)) == 4000


def test_a_disk_that_refuses_is_named_and_the_same_batch_can_be_given_again(path: str) -> None:
    """A limit on the size of files, which stands for a quota: SQLite calls it an I/O error."""
    script = """
import resource
from dataflow_storage import StoreUnavailable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = "a" * 32
store.create_run({"id": run, "name": "run"}, owner="me", seconds=600)
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1] + "-wal") + 100_000, resource.RLIM_INFINITY))
batch = Batch(number=1, logs=[{"time": 1.0, "message": "x" * 200}] * 1000)
try:
    store.write(run, 1, batch)
except StoreUnavailable as error:
    print(error.transient, "the disk" in str(error), len(store.logs(run)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.write(run, 1, batch)
print(len(store.logs(run)))
"""
    assert finish([start(script, path)]) == ["True True 0\n1000"]


def test_a_deleted_file_is_noticed(path: str) -> None:
    with RunStore(path) as store:
        run, epoch = begin(store)
        for suffix in ("", "-wal", "-shm"):
            os.unlink(path + suffix)
        with pytest.raises(StoreUnavailable, match="was deleted while it was in use") as gone:
            store.write(run, epoch, some_rows(1))
        assert not gone.value.transient
        with pytest.raises(StoreUnavailable, match="was deleted"):
            store.runs()
        assert not os.path.exists(path)


def test_a_backup_put_in_place_is_used(path: str) -> None:
    with RunStore(path) as store:
        run, _ = begin(store)
        store.close()
        shutil.copy(path, path + ".backup")
        store.create_run({"id": "b" * 32, "name": "later"})
        for suffix in ("-wal", "-shm"):
            os.unlink(path + suffix)
        os.replace(path + ".backup", path)
        assert [found.id for found in store.runs()] == [run]


def test_a_file_that_is_no_database(path: str) -> None:
    Path(path).write_bytes(b"this is a text, and longer than a page header " * 100)
    with RunStore(path) as store, pytest.raises(StoreUnavailable, match=r"runs\.db.*no SQLite database.*another file"):
        store.runs()
    assert Path(path).read_bytes().startswith(b"this is a text")


def test_a_damaged_file(path: str) -> None:
    with RunStore(path) as store:
        run, epoch = begin(store)
        store.write(run, epoch, some_rows(2000))
    with open(path, "r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * (os.path.getsize(path) - 4096 * 2))
    with RunStore(path) as store, pytest.raises(StoreUnavailable, match=r"runs\.db.*damaged.*recover") as damaged:
        store.logs(run)
    assert isinstance(damaged.value.__cause__, DBAPIError)
    assert not damaged.value.transient


def test_a_lock_that_another_program_keeps(path: str) -> None:
    with RunStore(path, patience=0.2) as store:
        run, epoch = begin(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match=r"kept it locked for 0\.2 s") as locked:
                store.write(run, epoch, some_rows(1))
            assert locked.value.transient
            assert store.find("run").id == run  # readers do not mind
            other.execute("ROLLBACK")
        store.write(run, epoch, some_rows(1))
        assert len(store.logs(run)) == 1


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with RunStore(str(tmp_path / "file" / "runs.db")) as store, pytest.raises(StoreUnavailable, match="File exists"):
        store.runs()
    with RunStore(str(tmp_path)) as store, pytest.raises(StoreUnavailable, match="cannot be opened") as no_file:
        store.runs()
    assert not no_file.value.transient


def test_a_server_that_does_not_answer() -> None:
    pytest.importorskip("psycopg")
    with RunStore("postgresql://me:secret@127.0.0.1:1/runs") as store:
        with pytest.raises(StoreUnavailable, match=r"me:\*\*\*@127\.0\.0\.1:1/runs") as refused:
            store.runs()
        assert "secret" not in str(refused.value) + repr(store)


@pytest.mark.parametrize(
    ("kind", "refused"),
    [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("lustre", True), ("smb3", True), ("ceph", True),
     ("ext4", False), ("overlay", False), ("tmpfs", False), ("fuse.ntfs-3g", False), ("xfs", False), ("9p", False)],
)  # fmt: skip
def test_network_file_systems_are_told_apart(kind: str, refused: bool) -> None:
    mounts = [("/", "ext4"), ("/data", "xfs"), ("/data/my runs", kind)]
    assert network_file_system("/data/my runs/new/runs.db", mounts) == (kind if refused else None)
    assert network_file_system("/data/my runs2/runs.db", mounts) is None


@pytest.mark.parametrize(
    "url", ["mysql://h/x", "sqlite://", "sqlite:///:memory:", ":memory:", "", "a://b://c", "sqlite:///x?a=1"]
)
def test_other_urls_are_refused_with_advice(url: str) -> None:
    with pytest.raises(ValueError, match="Give a path such as"):
        RunStore(url)


def test_paths_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    given = ["a%20b?.db", "sqlite:///x/runs.db", "sqlite:////x/runs.db", "~/runs.db"]
    expected = [f"{tmp_path}/a%20b?.db", f"{tmp_path}/x/runs.db", "/x/runs.db", "/home/ada/runs.db"]
    assert [parse(url).database for url in given] == expected
    with RunStore(given[0]) as store:
        begin(store)
    assert [file.name for file in tmp_path.iterdir()] == ["a%20b?.db"]


# -- versions of the schema ------------------------------------------------------------------------------------------


def schema(path: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def shape(path: str) -> dict[str, object]:
    """What a schema means, however its text was put together."""
    found: dict[str, object] = {}
    with closing(sqlite3.connect(path)) as connection:
        for kind, name, _, sql in schema(path):
            if kind == "table":
                columns = connection.execute(f"PRAGMA table_xinfo({name})").fetchall()
                indexes = [row[1:] for row in connection.execute(f"PRAGMA index_list({name})")]
                found[name] = columns, sorted(indexes), "WITHOUT ROWID" in sql
            else:
                found[name] = sql
    return found


def make_empty(path: str, revision: str | None = None) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
        if revision is not None:
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))


def test_migrations_make_exactly_the_schema_of_the_metadata(tmp_path: Path) -> None:
    made, migrated = str(tmp_path / "made.db"), str(tmp_path / "migrated.db")
    with RunStore(made) as store:
        begin(store)
    engine = create_engine(f"sqlite:///{migrated}")
    with engine.begin() as connection:
        upgrade(connection, migrated)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == HEAD
    engine.dispose()
    assert shape(made) == shape(migrated)


def test_a_database_that_is_behind_is_migrated(path: str) -> None:
    make_empty(path)  # no revision was applied yet
    with RunStore(path) as store:
        run, _ = begin(store)
        assert store.find("run").id == run
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]


def test_head_is_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]


def test_a_database_of_a_newer_version_is_left_alone(path: str) -> None:
    make_empty(path, "9999")
    before = schema(path)
    with RunStore(path) as store, pytest.raises(StoreUnavailable, match=r"newer version.*9999.*upgrade dataflow"):
        store.runs()
    assert schema(path) == before


def test_a_database_of_somebody_else_is_left_alone(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (id)")
    with (
        RunStore(path) as store,
        pytest.raises(StoreUnavailable, match=r"tables \['runs'\] that dataflow did not make"),
    ):
        store.runs()
    assert [row[1] for row in schema(path)] == ["runs"]
