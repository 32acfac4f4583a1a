"""Every notebook runs from top to bottom, in a home of its own."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_runs(path: Path, home: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    # A cell that raises makes execute() raise, with the cell's source and traceback.
    where = {"metadata": {"path": str(home.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
