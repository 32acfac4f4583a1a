"""Every test has a home of its own, so that no run of it is seen by another, nor by the person who runs it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that `DATAFLOW_HOME` names in this test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("DATAFLOW_HOME", str(folder))
    return folder
