"""Every test has a home of its own, so that no run of it is seen by another, nor by the person who runs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Clusters that wait for a test take no part of the processor that the test needs: nobody reads their profiles.
os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "false"
os.environ["DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL"] = "200ms"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that `DATAFLOW_HOME` names in this test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("DATAFLOW_HOME", str(folder))
    return folder
