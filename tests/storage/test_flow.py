"""A real run on a real cluster, with its results on S3: the server dies in the middle, and the run goes on later."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import pytest

from dataflow import flow, get_run, states, task
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
    settings = {"url": f"{server.url}/flows", "storage_options": dict(server.options), "timeout": 2.0}
    with dask.config.set({f"dataflow.results.{name}": value for name, value in settings.items()}):
        yield server
    server.stop()


def test_a_run_outlives_its_storage(s3: Server, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(joined.run, str(tmp_path), executor="processes:2", raise_on_failure=False)
        while not (ledger.exists() and "join" in ledger.read_text().splitlines()):
            assert not running.done()
            time.sleep(0.01)
        s3.stop()
        (tmp_path / "goes on").touch()
        run = running.result()
    assert run.state.type == states.FAILED
    assert "s3://results/flows" in run.report
    assert "test-secret" not in run.report

    s3.start()
    again = get_run(run.record.id).retry(executor="processes:2")
    assert again.result() == 15
    assert Counter(ledger.read_text().split("\n")[:-1]) == {**{f"load {n}": 1 for n in range(6)}, "join": 2}
    records = [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert records
    assert not any(b"test-secret" in record for record in records)
