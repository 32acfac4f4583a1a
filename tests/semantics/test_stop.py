"""Cancel, pause and abort, asked for by another process: what they reach, and what is left behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dataflow import states
from dataflow.scribe import POLL_SECONDS
from dataflow_storage import StoreUnavailable
from dataflow_storage.faults import install
from tests.chaos.cluster import Cluster
from tests.semantics.gates import began, spread
from tests.semantics.machines import Machine, Process, lease_of, until

EVERYWHERE = ["plain", "alone", "deferred", "branch"]
# What runs at the same time, by executor.
PLACES = [
    ("sync", ["plain"]),
    ("sync", ["alone"]),
    ("threads:5", EVERYWHERE),
    ("processes:2", ["plain", "alone"]),
    ("processes:2", ["branch"]),
]
everywhere = pytest.mark.parametrize(
    ("executor", "names"), PLACES, ids=["sync", "sync-child", "threads", "processes", "processes-map"]
)


def bodies_of(names: list[str]) -> list[str]:
    return [each for name in names for each in (["branch0", "branch1"] if name == "branch" else [name])]


def running(machine: Machine, folder: Path, executor: str, names: list[str]) -> Process:
    """A driver with all these bodies at work, which is on record."""
    driver = machine.start("begin", "spread", executor, str(folder), names)
    until(lambda: all((folder / f"{name}-1.pid").exists() for name in bodies_of(names)), "all bodies begin")
    return driver


def open_gates(folder: Path, names: list[str], number: int = 1) -> None:
    for name in [*bodies_of(names), "last"]:
        (folder / f"{name}-{number}").touch()


def heard(machine: Machine, executor: str) -> None:
    """Wait until the driver knows what was asked for."""
    if executor == "sync":  # its driver is in the body, and only the thread that polls hears of it
        at = time.monotonic() + 4 * POLL_SECONDS
        until(lambda: time.monotonic() > at, "it polls")
    else:
        until(lambda: "what runs may finish" in machine.run().state.message, "the driver has heard of it")


def types(machine: Machine) -> dict[str, str]:
    return {one.label: one.state.type for one in machine.run().task_runs}


@everywhere
def test_cancel_lets_what_runs_finish_and_starts_nothing_else(
    machine: Machine, tmp_path: Path, executor: str, names: list[str]
) -> None:
    driver = running(machine, tmp_path, executor, names)
    machine.run().cancel()
    heard(machine, executor)
    open_gates(tmp_path, names)
    driver.ends()
    assert machine.state() == states.CANCELLED
    assert "cancelled by" in machine.run().state.message
    assert types(machine)["last"] == states.CANCELLED
    assert "last" not in began(tmp_path)
    for name in began(tmp_path):
        assert (tmp_path / f"{name}-1.over").exists() or name == "opening"
    ended = types(machine)
    assert {ended[label] for label in ended if label in names and label not in ("branch", "deferred")} <= {"Success"}
    assert set(ended.values()) <= states.FINAL
    assert_goes_on(machine, tmp_path, names)


@everywhere
def test_pause_lets_what_runs_finish_and_the_run_goes_on_when_it_is_resumed(
    machine: Machine, tmp_path: Path, executor: str, names: list[str]
) -> None:
    driver = running(machine, tmp_path, executor, names)
    machine.run().pause("lunch")
    heard(machine, executor)
    open_gates(tmp_path, names)
    driver.ends()
    assert machine.state() == states.PAUSED
    assert "lunch" in machine.run().state.message
    assert "last" not in began(tmp_path)
    assert machine.start("go_on").ends() == ""  # a person paused it
    assert_goes_on(machine, tmp_path, names)


@everywhere
def test_cancel_now_ends_the_run_at_once_and_what_ran_commits_nothing(
    machine: Machine, tmp_path: Path, executor: str, names: list[str]
) -> None:
    driver = running(machine, tmp_path, executor, names)
    machine.run().cancel(now=True)
    if executor == "sync" and names == ["plain"]:  # nobody can end a body in the driver's own thread
        heard(machine, executor)
        open_gates(tmp_path, names)
    driver.ends()
    assert machine.state() == states.CANCELLED
    before = machine.left()
    open_gates(tmp_path, names)
    assert_nobody_is_left(tmp_path, names, driver)
    assert machine.left() == before
    assert set(types(machine).values()) <= states.FINAL
    assert all(
        types(machine)[label] == states.CANCELLED for label in types(machine) if label in ("plain", "alone", "last")
    )
    assert_goes_on(machine, tmp_path, names, repeated=True)


def assert_nobody_is_left(folder: Path, names: list[str], driver: Process) -> None:
    for name in bodies_of(names):
        pid = int((folder / f"{name}-1.pid").read_text())
        until(lambda pid=pid: not psutil.pid_exists(pid) or pid == driver.pid, f"the process of {name} is gone")  # type: ignore[misc]


def assert_goes_on(machine: Machine, folder: Path, names: list[str], *, repeated: bool = False) -> None:
    """A resume runs what did not, and only that."""
    open_gates(folder, names, 2)
    (folder / "last-1").touch()
    machine.run().resume(executor="threads:2")
    assert machine.state() == states.SUCCESS
    again = {name for name, count in began(folder).items() if count > 1}
    assert again == (set(bodies_of(names)) if repeated else set())
    assert set(types(machine).values()) == {states.SUCCESS}


@pytest.mark.parametrize(("executor", "names"), PLACES[1:], ids=["sync-child", "threads", "processes", "processes-map"])
def test_a_run_that_is_cancelled_twice_is_ended_at_once(
    machine: Machine, tmp_path: Path, executor: str, names: list[str]
) -> None:
    driver = running(machine, tmp_path, executor, names)
    machine.run().cancel()
    heard(machine, executor)
    assert not driver.proc.wait(0)
    machine.run().cancel()
    driver.ends()
    assert machine.state() == states.CANCELLED
    assert_nobody_is_left(tmp_path, names, driver)


def test_a_cancel_that_was_told_to_a_driver_at_the_end_of_its_lease_counts_once(
    machine: Machine, tmp_path: Path
) -> None:
    driver = running(machine, tmp_path, "sync", ["alone"])

    def lapses_and_is_renewed(step: str, when: str) -> None:
        if (step, when) == ("runs.order", "before"):
            driver.proc.signal(signal.SIGSTOP)
        if (step, when) == ("runs.order", "after"):
            until(lambda: time.time() > lease_of(machine), "the lease is over")
        if (step, when) == ("runs.claim", "before"):
            install(None)
            driver.proc.signal(signal.SIGCONT)
            until(lambda: time.time() < lease_of(machine), "it is renewed")

    install(lapses_and_is_renewed)
    try:
        machine.run().cancel()
    finally:
        install(None)
    assert [order.kind for order in machine.runs.orders(machine.run().id)] == ["cancel"]
    open_gates(tmp_path, ["alone"])
    driver.ends()
    assert (machine.state(), types(machine)["alone"]) == (states.CANCELLED, states.SUCCESS)


def test_a_run_that_is_ended_at_once_is_recorded_so_although_the_record_is_away_for_a_moment(
    home: Path, tmp_path: Path
) -> None:
    run: Any = spread.submit(str(tmp_path), ["plain"], executor="threads:2")
    until(lambda: began(tmp_path)["plain"], "the body begins")
    failed: list[str] = []

    def away(step: str, when: str) -> None:
        if (step, when) == ("runs.write", "before") and len(failed) < 3:
            failed.append(step)
            raise StoreUnavailable("the record", "it is away", transient=True)

    install(away)
    try:
        run.cancel(now=True)
        run.wait()
    finally:
        install(None)
    assert len(failed) == 3
    assert run.state.type == states.CANCELLED
    (tmp_path / "plain-1").touch()


# What goes on after the driver has left ------------------------------------------------------------------------------


def test_bodies_in_threads_of_a_process_that_lives_on_commit_nothing_after_cancel_now(
    home: Path, tmp_path: Path
) -> None:
    run: Any = spread.submit(str(tmp_path), ["plain", "deferred"], executor="threads:2")
    until(lambda: began(tmp_path)["plain"] and began(tmp_path)["deferred"], "the bodies begin")
    run.cancel(now=True)
    run.wait()
    assert run.state.type == states.CANCELLED
    check_late_bodies(run, tmp_path)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that stays when a driver leaves."""
    with Cluster(tmp_path_factory.mktemp("cluster"), workers=2) as started:
        yield started


def test_bodies_on_a_cluster_that_stays_commit_nothing_after_cancel_now(
    cluster: Cluster, machine: Machine, tmp_path: Path
) -> None:
    driver = running(machine, tmp_path, cluster.address, ["plain", "deferred"])
    machine.run().cancel(now=True)
    driver.ends()
    assert machine.state() == states.CANCELLED
    check_late_bodies(machine.run(), tmp_path)


def test_bodies_on_a_cluster_that_stays_see_their_run_taken_up_and_stop(
    cluster: Cluster, machine: Machine, tmp_path: Path
) -> None:
    driver = running(machine, tmp_path, cluster.address, ["plain", "alone"])
    child = int((tmp_path / "alone-1.pid").read_text())
    driver.proc.signal(signal.SIGKILL)
    (tmp_path / "last-1").touch()
    second = machine.start("go_on")
    until(lambda: not psutil.pid_exists(child), "the child process of the dead driver's body ends")
    open_gates(tmp_path, ["plain", "alone"], 2)
    open_gates(tmp_path, ["plain", "alone"], 1)
    assert "Success" in second.ends()
    assert machine.run().result() == 0


def check_late_bodies(run: Any, folder: Path) -> None:
    """They end now, and nobody hears of it."""
    machine = Machine.__new__(Machine)
    machine.runs = run._store
    before = machine.left()
    for name in ("plain", "deferred"):
        (folder / f"{name}-1").touch()
    until(lambda: all((folder / f"{name}-1.over").exists() for name in ("plain", "deferred")), "the bodies end")
    at = time.monotonic() + 0.5  # and a little longer, in which they would commit
    until(lambda: time.monotonic() > at, "they would have committed")
    assert machine.left() == before


# Orders that are old -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["cancel", "pause"])
def test_what_was_asked_of_a_driver_that_died_is_done_by_the_next(machine: Machine, tmp_path: Path, asked: str) -> None:
    asked_of_a_dead_driver(machine, tmp_path, asked)
    machine.start("go_on").ends()
    assert machine.state() == (states.CANCELLED if asked == "cancel" else states.PAUSED)
    assert began(tmp_path)["plain"] == 1
    assert_goes_on(machine, tmp_path, ["plain"], repeated=True)


@pytest.mark.parametrize("asked", ["cancel", "pause"])
def test_an_old_order_does_not_stop_a_run_that_a_person_sends_on(machine: Machine, tmp_path: Path, asked: str) -> None:
    asked_of_a_dead_driver(machine, tmp_path, asked)
    assert_goes_on(machine, tmp_path, ["plain"], repeated=True)
    assert machine.runs.orders(machine.run().id) == []


def asked_of_a_dead_driver(machine: Machine, folder: Path, asked: str) -> None:
    driver = running(machine, folder, "threads:2", ["plain"])
    driver.proc.signal(signal.SIGSTOP)
    getattr(machine.run(), asked)()
    driver.proc.signal(signal.SIGKILL)
    driver.proc.wait(10)
    assert [order.kind for order in machine.runs.orders(machine.run().id)] == [asked]
