"""Every test of results runs on a local disk, on memory://, on a bucket as object stores have it, and on servers."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from dataflow_storage import ResultStore
from tests.storage import servers
from tests.storage.places import Place
from tests.storage.postgres import Postgres
from tests.storage.servers import Server, ServerMissing

Servers = Callable[[str], Server]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers by their name; each is started when it is first asked for, and serves the whole session."""
    running: dict[str, Server] = {}
    with ExitStack() as stack:

        def get(name: str) -> Server:
            if name not in running:
                try:
                    running[name] = getattr(servers, name)(tmp_path_factory.mktemp(name))
                except ServerMissing as missing:
                    if os.environ.get("CI"):
                        pytest.fail(str(missing))
                    pytest.skip(str(missing))
                stack.callback(running[name].stop)
            return running[name]

        yield get


@pytest.fixture(params=["local", "memory", "bucket", "s3", "gcs", "azure"])
def place(request: pytest.FixtureRequest, tmp_path: Path, server: Servers) -> Place:
    if request.param == "local":
        return Place(str(tmp_path / "results"))
    if request.param in ("memory", "bucket"):
        return Place(f"{request.param}://{uuid.uuid4().hex}/results")
    at = server(request.param)
    return Place(f"{at.url}/{uuid.uuid4().hex}/results", at.options)


@pytest.fixture
def store(place: Place) -> ResultStore:
    return place.store()


@pytest.fixture
def local(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results")


@pytest.fixture
def bucket() -> ResultStore:
    return ResultStore(f"bucket://{uuid.uuid4().hex}/results")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of this session's own: its binaries come with a package. Its URL.

    DATAFLOW_TEST_POSTGRES names another one to use instead.
    """
    given = os.environ.get("DATAFLOW_TEST_POSTGRES")
    if given:
        yield given
        return
    server = Postgres()
    try:
        yield server.url
    finally:
        server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "runs.db")
        return
    schema = f"test_{uuid.uuid4().hex}"
    server = make_url(request.getfixturevalue("postgresql")).set(drivername="postgresql+psycopg")
    admin = create_engine(server)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield server.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with admin.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    admin.dispose()
