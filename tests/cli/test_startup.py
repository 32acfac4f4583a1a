"""The command line starts quickly: what it does not need is not loaded."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Said

from dataflow import get_run
from tests.cli.conftest import environment

HEAVY = {
    "dask",
    "distributed",
    "sqlalchemy",
    "alembic",
    "pydantic",
    "pandas",
    "numpy",
    "rich",
    "bokeh",
    "starlette",
    "yaml",
}


def loaded(script: list[str], folder: Path, *words: str) -> set[str]:
    """The top-level modules that a call imports."""
    done = subprocess.run(
        [script[0], "-X", "importtime", *script[1:], *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert lines
    names = {line.rpartition("|")[2].strip() for line in lines}
    # Settings are Dask's: this module of it, and what it needs, are loaded without the rest.
    return {name.partition(".")[0] for name in names - {"dask.config", "dask.typing"}}


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("-h",)])
def test_help_loads_nothing_heavy(script: list[str], folder: Path, words: tuple[str, ...]) -> None:
    assert loaded(script, folder, *words) & HEAVY == set()


READING = [
    ("ls",),
    ("show", "@last"),
    ("logs", "@last", "--follow"),
    ("history", "@last"),
    ("watch", "@last", "--json"),
    ("results", "ls"),
    ("prune", "--keep-last", "9"),
    ("doctor",),
]


@pytest.mark.parametrize("words", READING, ids=lambda words: words[0])
def test_reading_loads_neither_dask_nor_pydantic(
    script: list[str], folder: Path, ran: Said, words: tuple[str, ...]
) -> None:
    assert get_run("@last").state.is_successful
    assert loaded(script, folder, *words) & (HEAVY - {"sqlalchemy", "yaml"}) == set()


def test_help_lists_every_verb(begin: Callable[..., subprocess.Popen[str]]) -> None:
    from dataflow.cli import VERBS

    out, _ = begin("--help").communicate(timeout=60)
    assert all(f"\n  {verb}" in out for verb in VERBS)
