"""Runs that are over leave nothing in memory, here and on the workers, and need no record of runs before them."""

from __future__ import annotations

import gc
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dataflow import Node, flow, get_run, task
from dataflow.errors import NoSuchRun
from dataflow.session import KEPT_SESSIONS


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
    """How many objects of each type of ours there are, but for the calls in Dask's log of its last messages."""
    gc.collect()
    kinds = Counter((kind.__module__, kind.__name__) for kind in map(type, gc.get_objects()))
    ours = {kind: n for kind, n in kinds.items() if str(kind[0]).startswith("dataflow") and kind[0] != "dataflow.calls"}
    return Counter({".".join(kind): n for kind, n in ours.items()})


def test_runs_leave_nothing_in_memory(place: tuple[str, Any]) -> None:
    name, executor = place

    def run(times: int) -> None:
        for _ in range(times):
            assert sums.run(executor=executor).result() == [4950, 4950]

    def everywhere() -> list[Counter[str]]:
        return [living(), *(executor.run(living).values() if name == "cluster" else ())]

    run(KEPT_SESSIONS)  # workers know the last runs
    before = everywhere()
    run(4)
    deadline = time.monotonic() + 60
    while more := [now - then for now, then in zip(everywhere(), before, strict=True) if now - then]:
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
