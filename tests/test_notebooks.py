"""Every notebook runs from top to bottom in a home of its own, and is kept with outputs that a reader may see."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MACHINE = re.compile(r"(?<![\w.:/-])/(?:tmp|home|root|work|usr|var|opt|Users|private)/[\w.-]*")
MOST_CHARACTERS = 60_000

every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def shown(cell: Any) -> Iterator[tuple[str, str]]:
    """What a cell shows: kinds and texts."""
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            yield "error", f"{output.ename}: {output.evalue}"
        elif output.output_type == "stream":
            yield output.name, output.text
        else:
            yield from output.data.items()


def has_picture(cell: Any) -> bool:
    """Whether one is shown: an image, a graph, a timeline, or how a run went."""
    wanted = {"image/png": "", "text/html": "<img |<table"}
    return any(kind in wanted and re.search(wanted[kind], text) for kind, text in shown(cell))


def missing_pictures(notebook: Any) -> list[str]:
    """The cells that promise a picture, by a tag, and show none."""
    promised = [cell for cell in notebook.cells if "picture" in cell.metadata.get("tags", [])]
    assert promised
    return [cell.source for cell in promised if not has_picture(cell)]


@pytest.mark.timeout(600)
@every
def test_runs(path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    # The commands in it are those of this Python, and run this clone.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "executors", ROOT / "storage"))))
    # A cell that raises makes execute() raise, with the cell's source and traceback.
    where = {"metadata": {"path": str(home.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    assert missing_pictures(notebook) == []


@every
def test_is_kept_with_its_pictures_and_no_errors(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert missing_pictures(notebook) == []
    told = [(kind, text) for cell in notebook.cells for kind, text in shown(cell)]
    assert [text for kind, text in told if kind == "error" or "Traceback (most" in text[:40]] == []
    assert [kind for kind, text in told if len(text) > MOST_CHARACTERS] == []
    assert [found for _, text in told for found in MACHINE.findall(text)] == []


@every
def test_links_lead_somewhere(path: Path) -> None:
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in links if not (path.parent / link.split("#")[0]).exists()] == []
