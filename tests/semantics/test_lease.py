"""Who owns a run: a driver that was suspended past its lease, and one whose body is busy."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from dataflow import states
from dataflow.recorder import Recorder
from dataflow.scribe import Scribe
from dataflow.session import Control
from dataflow_storage import RunStore
from dataflow_storage.faults import install
from tests.semantics.gates import began
from tests.semantics.machines import Machine, lease_of, until

LEASE = 1.0  # seconds, as the machine is told
RUN = 32 * "1"


@pytest.mark.parametrize("executor", ["threads:2", "processes:1"])
def test_a_driver_that_was_suspended_past_its_lease_harms_nothing(
    machine: Machine, executor: str, tmp_path: Path
) -> None:
    folder = tmp_path / "gates"
    folder.mkdir()
    first = machine.start("begin", "gated", executor, str(folder))
    until(lambda: began(folder)["slow"], "the first driver's body begins")
    first.proc.signal(signal.SIGSTOP)
    over = lease_of(machine)
    until(lambda: time.time() > over, "the lease is over")
    second = machine.start("go_on")
    until(lambda: began(folder)["slow"] == 2, "the second driver's body begins")
    owner = machine.runs.find("@last").owner
    (folder / "slow-2").touch()
    until(lambda: began(folder)["last"], "the second driver goes on")
    until(lambda: machine.run()["slow"].state.type == states.SUCCESS, "that is on record")
    before = machine.left()

    (folder / "slow-1").touch()  # the first driver's body ends in the moment in which the driver wakes
    first.proc.signal(signal.SIGCONT)
    said = first.ends()
    assert machine.left() == before
    assert owner is not None
    assert f"owned by {owner}" in said
    assert "it ended" not in said

    (folder / "last-1").touch()
    assert "Success" in second.ends()
    assert machine.run().result() == 3
    assert began(folder)["opening"] == 1


def test_a_driver_whose_run_was_finished_by_another_says_so_when_it_wakes(machine: Machine, tmp_path: Path) -> None:
    first = machine.start("begin", "gated", "threads:2", str(tmp_path))
    until(lambda: began(tmp_path)["slow"], "the first driver's body begins")
    first.proc.signal(signal.SIGSTOP)
    over = lease_of(machine)
    until(lambda: time.time() > over, "the lease is over")
    for gate in ("slow-1", "slow-2", "last-1"):
        (tmp_path / gate).touch()
    assert "Success" in machine.start("go_on").ends()
    before = machine.left()
    first.proc.signal(signal.SIGCONT)
    assert "StaleOwner" in first.ends()
    assert machine.left() == before


@pytest.mark.parametrize("executor", ["sync", "threads:1", "processes:1"])
def test_a_body_that_takes_many_leases_does_not_lose_the_run(machine: Machine, executor: str, tmp_path: Path) -> None:
    driver = machine.start("begin", "gated", executor, str(tmp_path), ["slow"])
    until(lambda: began(tmp_path)["slow"], "the body begins")
    watch = machine.start("watch", 0.1, str(tmp_path))
    until(lambda: (tmp_path / "looks").exists(), "somebody looks for runs to take up")
    begun = lease_of(machine)
    until(lambda: lease_of(machine) > begun + 5 * LEASE, "five leases pass")
    (tmp_path / "slow-1").touch()
    assert "Success" in driver.ends()
    assert watch.said == ""
    assert machine.runs.find("@last").epoch == 1
    assert began(tmp_path)["slow"] == 1


@pytest.mark.parametrize("executor", ["sync", "threads:1"])
def test_a_body_that_holds_the_interpreter_for_longer_than_a_lease_does_not_lose_the_run(
    machine: Machine, executor: str, tmp_path: Path
) -> None:
    machine.env["DASK_DATAFLOW__RUNS__LEASE"] = str(2 * LEASE)
    driver = machine.start("begin", "holding", executor, str(tmp_path), 1.3 * 2 * LEASE)
    until(lambda: began(tmp_path)["holder"], "the body begins")
    watch = machine.start("watch", 0.1, str(tmp_path))
    until(lambda: began(tmp_path)["last"], "it has ended")
    (tmp_path / "last-1").touch()
    assert "Success" in driver.ends()
    assert watch.said == ""
    assert machine.runs.find("@last").epoch == 1
    assert began(tmp_path)["holder"] == 1


def test_what_comes_while_the_lease_is_renewed_is_written_before_the_run_is_given_back(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.set_run(time.time(), states.RUNNING)
    last = recorder.take()
    assert last is not None
    with RunStore(str(tmp_path / "runs.db")) as runs:
        runs.create_run({"id": RUN, "name": "one", "flow": "f", "state": "Pending", "created": 1.0}, owner="me")
        scribe = Scribe(runs, RUN, 1, lease=0.1, patience=1.0, control=Control(), heard=lambda order: None)

        def ends_meanwhile(step: str, when: str) -> None:
            if (step, when) == ("runs.renew", "before"):
                install(None)
                scribe.put(last)
                scribe.close()

        install(ends_meanwhile)
        scribe._thread.join(60)
        assert (runs.find(RUN).state, runs.find(RUN).owner) == (states.RUNNING, None)
