"""Workers that die: the task that kills them is found and ends alone, and a run without workers waits for some."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflow import flow, states, task
from tests.chaos.cluster import Cluster

PATIENCE = 60.0


def mark(folder: str, name: str) -> None:
    descriptor = os.open(f"{folder}/ledger", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{name} {time.time()!r}\n".encode())
    os.close(descriptor)


def bodies(folder: Path) -> list[tuple[str, float]]:
    ledger = folder / "ledger"
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return [(line.rpartition(" ")[0], float(line.rpartition(" ")[2])) for line in lines]


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


@task
def good(folder: str, n: int) -> int:
    mark(folder, f"good[{n}]")
    time.sleep(0.05)
    return n


@task
def poison(folder: str) -> int:
    mark(folder, "poison")
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@task
def total(folder: str, values: list[int]) -> int:
    mark(folder, "total")
    return sum(values)


@task
def follows(folder: str, value: int) -> int:
    mark(folder, "follows")
    return value


@flow
def poisoned(folder: str, poisons: int) -> object:
    return total(folder, good.map([folder] * 12, range(12))), [follows(folder, poison(folder)) for _ in range(poisons)]


@task
def gate(folder: str) -> int:
    mark(folder, "gate")
    while not Path(folder, "go").exists():
        time.sleep(0.01)
    return 1


@flow
def gated(folder: str) -> object:
    return follows(folder, gate(folder))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), workers=2) as started:
        yield started


@pytest.mark.parametrize("poisons", [1, 2])
def test_a_task_that_kills_its_workers_ends_crashed_alone(cluster: Cluster, tmp_path: Path, poisons: int) -> None:
    run: Any = poisoned.run(str(tmp_path), poisons, executor=cluster.address, raise_on_failure=False)
    ended = {one.label: one.state.type for one in run.task_runs}
    names = ["poison", "poison-2"][:poisons]
    assert {name: ended.pop(name) for name in names} == dict.fromkeys(names, states.CRASHED)
    for name in ["follows", "follows-2"][:poisons]:
        assert ended.pop(name) == states.TRIGGER_FAILED
    assert set(ended.values()) == {states.SUCCESS}
    assert run.state.type == states.FAILED
    assert run["total"].result() == sum(range(12))
    assert "poison" in run.report
    began = bodies(tmp_path)
    for row in run._store.task_runs(run.id, states=[states.SUCCESS]):
        name = f"{row.path}[{row.idx}]" if row.idx >= 0 else row.path
        committed = Path(row.reference["url"]).stat().st_ctime
        assert all(time < committed + 0.01 for other, time in began if other == name), name
    assert 1 <= Counter(name for name, _ in began)["poison"] <= 8 * poisons


def test_a_run_without_workers_says_so_and_goes_on_when_some_come(cluster: Cluster, tmp_path: Path) -> None:
    run: Any = gated.submit(str(tmp_path), executor=cluster.address)
    until(lambda: bodies(tmp_path), "the body begins")
    cluster.stop_workers()
    until(lambda: run.state.message == "Waiting: no workers", "the run says that it has no workers")
    (tmp_path / "go").touch()
    cluster.start_workers()
    run.wait()
    assert run.result() == 1
    assert run.state.message == ""
    assert Counter(name for name, _ in bodies(tmp_path))["follows"] == 1


def test_a_run_that_begins_without_workers_waits_for_some(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    cluster.stop_workers()
    run: Any = gated.submit(str(tmp_path), executor=cluster.address)
    until(lambda: run.state.message == "Waiting: no workers", "the run says that it has no workers")
    cluster.start_workers()
    run.wait()
    assert run.result() == 1
