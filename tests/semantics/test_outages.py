"""A record that is out of reach for a while: locked, restarted, on a full disk. The driver holds its events."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.zygote import Zygote
from tests.semantics.gates import began
from tests.semantics.machines import Machine, lease_of, until
from tests.storage.postgres import Postgres

LEASE = 1.0  # seconds, as the machine is told
LOCKED_SECONDS = float(os.environ.get("DATAFLOW_LOCKED", 2 * LEASE))


def check_whole(machine: Machine, folder: Path) -> None:
    """Nothing was lost, and nothing was done twice."""
    run = machine.run()
    assert run.result() == 3
    assert began(folder) == {"opening": 1, "slow": 1, "last": 1}
    changes = [(row.path, row.state) for row in machine.runs.transitions(run.id)]
    assert [state for path, state in changes if path == "slow"] == ["Running", "Success"]
    assert [state for path, state in changes if path is None] == ["Running", "Success"]
    assert run.counts == {"opening": {"Success": 1}, "slow": {"Success": 1}, "last": {"Success": 1}}


@pytest.mark.parametrize("executor", ["sync", "threads:2"])
def test_a_run_goes_on_although_its_record_was_locked_for_longer_than_a_lease(
    machine: Machine, executor: str, tmp_path: Path
) -> None:
    driver = machine.start("begin", "gated", executor, str(tmp_path))
    until(lambda: began(tmp_path)["slow"], "the body begins")
    other = sqlite3.connect(machine.home / "runs.db", isolation_level=None, timeout=60)
    other.execute("BEGIN IMMEDIATE")
    since = time.time()
    (tmp_path / "slow-1").touch()
    (tmp_path / "last-1").touch()
    until(lambda: time.time() > max(since + LOCKED_SECONDS, lease_of(machine) + LEASE), "leases pass")
    assert not driver.proc.wait(0)
    other.execute("ROLLBACK")
    other.close()
    assert "Success" in driver.ends()
    check_whole(machine, tmp_path)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.parametrize("executor", ["sync", "threads:2"])
def test_a_run_goes_on_although_its_server_was_restarted(
    zygote: Zygote, postgres: Postgres, home: Path, tmp_path: Path, executor: str, mode: str
) -> None:
    machine = Machine(zygote, home, DASK_DATAFLOW__RUNS__URL=postgres.url, DASK_DATAFLOW__RUNS__LEASE=str(LEASE))
    try:
        driver = machine.start("begin", "gated", executor, str(tmp_path))
        until(lambda: began(tmp_path)["slow"], "the body begins")
        over = lease_of(machine) + LEASE
        machine.runs.close()
        postgres.stop(mode)
        (tmp_path / "slow-1").touch()
        (tmp_path / "last-1").touch()
        until(lambda: time.time() > over, "leases pass")
        assert not driver.proc.wait(0)
        postgres.start()
        assert "Success" in driver.ends()
        check_whole(machine, tmp_path)
    finally:
        machine.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("executor", ["sync", "threads:2"])
def test_a_run_whose_record_is_on_a_full_disk_goes_on_when_there_is_room(
    zygote: Zygote, small_disk: Path, home: Path, tmp_path: Path, executor: str
) -> None:
    url = str(small_disk / "runs.db")
    machine = Machine(zygote, home, DASK_DATAFLOW__RUNS__URL=url, DASK_DATAFLOW__RUNS__LEASE=str(LEASE))
    try:
        driver = machine.start("begin", "gated", executor, str(tmp_path))
        until(lambda: began(tmp_path)["slow"], "the body begins")
        until(lambda: "slow" in machine.run().counts, "that is on record")
        fill(small_disk)
        over = lease_of(machine) + LEASE
        (tmp_path / "slow-1").touch()
        (tmp_path / "last-1").touch()
        until(lambda: time.time() > over and "disk" in driver.said, "leases pass, and the driver says why it waits")
        assert not driver.proc.wait(0)
        (small_disk / "filler").unlink()
        assert "Success" in driver.ends()
        check_whole(machine, tmp_path)
    finally:
        machine.close()


def test_a_run_whose_disk_stays_full_ends_with_the_reason_and_goes_on_later(
    zygote: Zygote, small_disk: Path, home: Path, tmp_path: Path
) -> None:
    given = {"DASK_DATAFLOW__RUNS__URL": str(small_disk / "runs.db"), "DASK_DATAFLOW__RUNS__LEASE": str(LEASE)}
    machine = Machine(zygote, home, DASK_DATAFLOW__RUNS__PATIENCE="1", **given)
    try:
        driver = machine.start("begin", "gated", "threads:2", str(tmp_path))
        until(lambda: began(tmp_path)["slow"], "the body begins")
        until(lambda: "slow" in machine.run().counts, "that is on record")
        fill(small_disk)
        (tmp_path / "slow-1").touch()
        said = driver.ends()
        assert "StoreUnavailable" in said
        assert "disk is full" in said
        (small_disk / "filler").unlink()
        (tmp_path / "last-1").touch()
        (tmp_path / "last-2").touch()
        assert "Success" in machine.start("go_on").ends()
        assert machine.run().result() == 3
        assert began(tmp_path)["slow"] == 1
    finally:
        machine.close()


def fill(folder: Path) -> None:
    """Leave no room."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
