"""What tests of several folders share: processes that start quickly, and a server of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.zygote import Zygote
from tests.storage.postgres import Postgres


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """What makes processes quickly."""
    started = Zygote()
    yield started
    started.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server that may be stopped."""
    server = Postgres()
    yield server
    server.close()
