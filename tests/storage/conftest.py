"""Every test of results runs on a local disk, on memory://, and on a bucket."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from dataflow_storage import ResultStore
from tests.storage.places import Place


@pytest.fixture(params=["local", "memory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place(str(tmp_path / "results"))
    return Place(f"{request.param}://{uuid.uuid4().hex}/results")


@pytest.fixture
def store(place: Place) -> ResultStore:
    return ResultStore(place.url)


@pytest.fixture
def local(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results")


@pytest.fixture
def bucket() -> ResultStore:
    return ResultStore(f"bucket://{uuid.uuid4().hex}/results")
