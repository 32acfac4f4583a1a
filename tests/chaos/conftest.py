"""One warm process that forks drivers, for all tests of chaos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.chaos import Chaos
from tests.chaos.zygote import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    started = Zygote()
    yield started
    started.close()


@pytest.fixture
def chaos(zygote: Zygote, tmp_path: Path) -> Chaos:
    return Chaos(zygote, tmp_path, seed=1)
