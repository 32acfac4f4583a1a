"""Each claim runs in this thread, on local threads and on one real cluster of two processes; a ledger counts bodies."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

from tests.chaos.zygote import Zygote
from tests.semantics.machines import Machine


class Ledger:
    """A file that any process appends to: one line for each time a body ran.

    Parameters
    ----------
    path : Path
        The file. It need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def mark(self, name: object) -> None:
        """Write a line. One write to a file opened for appending is never torn nor lost."""
        descriptor = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, f"{name}\n".encode())
        finally:
            os.close(descriptor)

    def lines(self) -> list[str]:
        """All lines, in the order in which they were written."""
        return self.path.read_text().splitlines() if self.path.exists() else []

    def counts(self) -> Counter[str]:
        """How often each line was written."""
        return Counter(self.lines())

    def comes(self, start: str, seconds: float = 20.0) -> bool:
        """Wait in a body until there is a line that starts so. Whether it came."""
        deadline = time.monotonic() + seconds
        while not any(line.startswith(start) for line in self.lines()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Counts executions, in whatever process they happen."""
    return Ledger(tmp_path / "ledger.txt")


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """A client of two worker processes with one thread each. A task may kill one worker, not two."""
    from distributed import Client, LocalCluster

    make: Any = LocalCluster
    with (
        # On a busy machine a killed worker takes its time to come back: do not give it up.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"}),
        make(
            processes=True,
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            resources={"license": 1},
            scheduler_kwargs={"allowed_failures": 1, "dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        yield connected


@pytest.fixture(params=["sync", "threads", "cluster"])
def executor(request: pytest.FixtureRequest) -> Any:
    """What `executor=` is given, one kind after the other."""
    if request.param == "sync":
        return "sync"
    return "threads:2" if request.param == "threads" else request.getfixturevalue("client")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file for `mark` and `marks`: its path is plain data, so that cached tasks can name it."""
    return tmp_path / "log.txt"


@pytest.fixture(params=["sync", "threads", "cluster"])
def place(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """The name of a kind of executor, and what `executor=` is given."""
    if request.param == "cluster":
        return "cluster", request.getfixturevalue("client")
    return request.param, "sync" if request.param == "sync" else "threads:2"


@pytest.fixture
def ledgers(tmp_path: Path) -> Iterator[Path]:
    """Paths for ledgers, each new."""
    return (tmp_path / f"ledger-{number}.txt" for number in itertools.count())


@pytest.fixture
def machine(zygote: Zygote, home: Path) -> Iterator[Machine]:
    """A machine whose home is this test's own, and whose leases last a second."""
    switched_on = Machine(zygote, home, DASK_DATAFLOW__RUNS__LEASE="1")
    yield switched_on
    switched_on.close()
    print(switched_on.said())  # pytest shows it where the test failed
