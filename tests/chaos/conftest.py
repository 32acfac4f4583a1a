"""One warm process that forks drivers, for all tests of chaos."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.chaos import Chaos
from tests.chaos.zygote import Zygote


@pytest.fixture
def chaos(zygote: Zygote, tmp_path: Path) -> Chaos:
    return Chaos(zygote, tmp_path, seed=1)
