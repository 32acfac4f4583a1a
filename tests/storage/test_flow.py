"""A real run on a real cluster, with its results on S3: the server dies in the middle, and the run goes on later."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import pytest

from dataflow import flow, get_run, states, task, unmapped
from tests.storage import servers
from tests.storage.servers import Server, ServerMissing


def mark(folder: str, name: str) -> None:
    descriptor = os.open(f"{folder}/ledger", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{name}\n".encode())
    os.close(descriptor)


@task
def load(folder: str, n: int) -> int:
    mark(folder, f"load {n}")
    return n


@task
def join(folder: str, values: list[int]) -> int:
    mark(folder, "join")
    while not Path(folder, "goes on").exists():
        time.sleep(0.01)
    return sum(values)


@flow
def joined(folder: str) -> object:
    return join(folder, load.map([folder] * 6, range(6)))


@task
def held(folder: str, n: int) -> int:
    mark(folder, f"held {n}")
    while not Path(folder, "goes on").exists():
        time.sleep(0.01)
    return n


@task
def after(folder: str, n: int) -> int:
    mark(folder, f"after {n}")
    return n


@flow
def chained(folder: str) -> object:
    return after.map(folder=unmapped(folder), n=held.map(folder=unmapped(folder), n=load.map([folder] * 2, range(2))))


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (tmp_path / "s3").mkdir()
    try:
        server = servers.s3(tmp_path / "s3")
    except ServerMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "home"))
    settings = {"url": f"{server.url}/flows", "storage_options": dict(server.options), "timeout": 1.0}
    with dask.config.set({f"dataflow.results.{name}": value for name, value in settings.items()}):
        yield server
    server.stop()


def bodies(folder: Path) -> Counter[str]:
    """How often each body began."""
    ledger = folder / "ledger"
    return Counter(ledger.read_text().split("\n")[:-1] if ledger.exists() else [])


@contextmanager
def away(s3: Server, folder: Path, executor: str, flow: Any = joined, held: str = "join") -> Iterator[Future[Any]]:
    """A run whose storage is away from the moment on in which a body was held, and which goes on."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(flow.run, str(folder), executor=executor, raise_on_failure=False)
        while not any(name.startswith(held) for name in bodies(folder)):
            assert not running.done()
            time.sleep(0.01)
        s3.stop()
        (folder / "goes on").touch()
        yield running


@pytest.mark.parametrize("executor", ["threads:2", "processes:2"])
def test_a_result_whose_storage_is_away_for_a_while_is_stored_when_it_is_back(
    s3: Server, tmp_path: Path, executor: str
) -> None:
    with away(s3, tmp_path, executor) as running:
        run: Any = get_run("@last")
        while not any("cannot be reached" in line.message for line in run.logs()):
            assert not running.done()
            time.sleep(0.01)
        s3.start()
        assert running.result().result() == 15
    assert bodies(tmp_path) == {**{f"load {n}": 1 for n in range(6)}, "join": 1}


@pytest.mark.parametrize("executor", ["sync", "processes:2"])
def test_a_run_whose_storage_stays_away_is_put_by_with_the_reason_and_goes_on_later(
    s3: Server, tmp_path: Path, executor: str
) -> None:
    with dask.config.set({"dataflow.runs.patience": 1.0}), away(s3, tmp_path, executor) as running:
        run = running.result()
    assert run.state.type == run["join"].state.type == states.PAUSED
    for said in (run.state.message, run["join"].state.message):
        assert "s3://results/flows" in said
        assert "cannot be reached" in said
        assert "test-secret" not in said

    s3.start()
    again = get_run(run.record.id).resume(executor=executor)
    assert again.result() == 15
    assert bodies(tmp_path) == {**{f"load {n}": 1 for n in range(6)}, "join": 2}
    records = [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert records
    assert not any(b"test-secret" in record for record in records)


@pytest.mark.parametrize("executor", ["sync", "threads:2"])
def test_children_of_a_chain_of_maps_are_put_by_with_what_follows_them(
    s3: Server, tmp_path: Path, executor: str
) -> None:
    patience = dask.config.set({"dataflow.runs.patience": 1.0})
    with patience, away(s3, tmp_path, executor, chained, "held") as running:
        run = running.result()
    assert run.state.type == states.PAUSED
    found = {state for told in run.counts.values() for state in told}
    assert found <= {states.SUCCESS, states.PAUSED, states.PENDING}
    assert states.PAUSED in found

    s3.start()
    again = get_run(run.record.id).resume(executor=executor)
    assert again.result() == [0, 1]


@flow
def alone(folder: str) -> object:
    return load(folder, 1)


def test_a_storage_that_was_never_there_is_told_of_soon(s3: Server, tmp_path: Path) -> None:
    s3.stop()
    run: Any = alone.run(str(tmp_path), executor="threads:2", raise_on_failure=False)
    assert run.state.type == states.FAILED
    assert "s3://results/flows" in run.report
    assert bodies(tmp_path) == {}
