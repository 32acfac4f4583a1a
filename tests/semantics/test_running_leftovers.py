"""Runs that are over leave nothing in memory, and need no record of runs before them."""

from __future__ import annotations

import gc
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import dask
import pytest

from dataflow import Node, flow, get_run, task
from dataflow.errors import NoSuchRun


@task
def number(i: int) -> int:
    return i


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@flow
def sums() -> list[Node]:
    mapped: Any = number
    return [total([number(i) for i in range(100)]), total(mapped.map(range(100)))]


def living() -> Counter[str]:
    """How many objects of each type of ours there are."""
    gc.collect()
    kinds = Counter(f"{kind.__module__}.{kind.__name__}" for kind in map(type, gc.get_objects()))
    return Counter({kind: n for kind, n in kinds.items() if kind.startswith("dataflow")})


@pytest.mark.parametrize("executor", ["sync", "threads:2"])
def test_runs_leave_nothing_in_memory(executor: str) -> None:
    def run(times: int) -> None:
        for _ in range(times):
            assert sums.run(executor=executor).result() == [4950, 4950]

    run(4)
    before = living()
    run(8)
    deadline = time.monotonic() + 60
    while more := living() - before:
        assert time.monotonic() < deadline, more  # a run's own threads live on for two seconds
        time.sleep(0.1)


def test_a_record_that_was_deleted_between_two_runs_is_made_anew(place: tuple[str, Any], home: Path) -> None:
    _, executor = place
    first = sums.run(executor=executor)
    assert first.result() == [4950, 4950]
    shutil.rmtree(home)
    assert sums.run(executor=executor).result() == [4950, 4950]
    with pytest.raises(NoSuchRun):
        get_run(first.id)


def test_a_relative_path_of_the_record_is_in_the_folder_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        with dask.config.set({"dataflow.runs.url": "runs.db"}):
            run = sums.run(executor="sync")
            assert get_run("@last").id == run.id
        assert (folder / "runs.db").exists()
