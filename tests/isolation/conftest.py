"""No test of isolation leaves a process behind."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from dataflow import isolation
from tests.isolation.children import alive


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Whatever a test does to its children, none is busy afterwards, and only warm ones live."""
    yield
    assert not isolation._running
    idle = {child.process.pid for child in isolation._idle}
    assert {child.pid for child in psutil.Process().children() if alive(child.pid)} <= idle | _foreign()
    assert len(idle) <= isolation._processors()


def _foreign() -> set[int]:
    """Children of this process that are not ours: those of `multiprocessing`, which `distributed` uses."""
    ours = "dataflow_isolated"
    return {child.pid for child in psutil.Process().children() if not _runs(child, ours)}


def _runs(child: psutil.Process, ours: str) -> bool:
    try:
        return any(ours in word for word in child.cmdline())
    except psutil.NoSuchProcess:  # it has ended, and may not have been waited for
        return False
