"""`cancel`, `pause` and `resume` from another terminal; and what a driving command does with signals."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call

from tests.cli.working import ended, everything, last, ledger, until, until_begun, until_told

Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def driven(begin: Begin, work: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that drives `work.py:slow`, whose bodies run until there is a file `release`."""
    process = begin("run", "work.py:slow", "--executor", "threads:2")
    until_begun(work, process)
    yield process
    (work / "release").touch()


def test_cancel_waits_until_the_run_is_over(driven: subprocess.Popen[str], begin: Begin, cli: Call, work: Path) -> None:
    other = begin("cancel", "@last")
    assert other.stderr is not None
    name = last().name
    assert other.stderr.readline().endswith(f"process {driven.pid} on {_host()}, which drives run {name}\n")
    until_told(driven, "cancelling: ")
    assert other.poll() is None
    (work / "release").touch()
    code, out, err = ended(other)
    assert code == 0, err
    assert out.startswith(f"⊘ cancelled  {name}  ")
    assert f"hint: what was done is kept: dataflow resume {name} goes on" in err
    code, _, err = ended(driven)
    assert code == 5, err
    assert "run cancelled" in err
    assert sum(ledger(work).values()) < 8
    assert cli("cancel", name).code == 2, "it is over"
    said = cli("resume", name)
    assert (said.code, said.out) == (0, "28\n"), said.err
    assert "hold ok 8/8" in said.err


def test_cancel_now_does_not_wait_for_bodies(driven: subprocess.Popen[str], cli: Call, work: Path) -> None:
    said = cli("cancel", "@last", "--now", "-o", "json")
    assert said.code == 0, said.err
    assert said.data["run"]["state"] == "Cancelled"  # type: ignore[index]
    assert not (work / "release").exists()
    assert ended(driven)[0] == 5


def test_no_wait_returns_at_once(driven: subprocess.Popen[str], cli: Call, work: Path) -> None:
    said = cli("cancel", "@last", "--no-wait")
    assert said.code == 0, said.err
    until_told(driven, "cancelling: ")
    assert last().state.type == "Running"
    (work / "release").touch()
    assert ended(driven)[0] == 5


def test_pause_and_resume(driven: subprocess.Popen[str], begin: Begin, cli: Call, work: Path) -> None:
    name = last().name
    other = begin("pause", name, "--note", "the shop is closed")
    until_told(driven, "the shop is closed")
    (work / "release").touch()
    code, out, err = ended(other)
    assert code == 0, err
    assert "the shop is closed" in out
    assert f"hint: dataflow resume {name}\n" in err
    code, _, err = ended(driven)
    assert code == 6
    assert f"hint: dataflow resume {name}\n" in err
    assert f"hint: dataflow resume {name}" in cli("show", name).out
    done = ledger(work)
    assert sum(done.values()) < 8
    said = cli("resume", name)
    assert (said.code, said.out) == (0, "28\n"), said.err
    assert all(count == 1 for count in ledger(work).values())


def test_resume_takes_a_pause_back_that_is_still_under_way(
    driven: subprocess.Popen[str], begin: Begin, cli: Call, work: Path
) -> None:
    name = last().name
    assert cli("pause", name, "--no-wait").code == 0
    until_told(driven, "pausing: ")
    other = begin("resume", name)
    until_told(other, "still pauses it: it goes on when what runs is over")
    while not any(order.kind == "resume" for order in last()._store.orders(last().id)):
        time.sleep(0.01)
    (work / "release").touch()
    code, out, err = ended(other)
    assert (code, out) == (0, "28\n"), err
    assert ended(driven)[0] == 6
    assert all(count == 1 for count in ledger(work).values())


def test_what_nobody_drives_is_stopped_on_record(cli: Call, work: Path) -> None:
    assert cli("run", "work.py:signed").code == 6
    said = cli("pause", "@last", "--note", "later")
    assert said.code == 0, said.err
    assert "later" in said.out
    said = cli("stop", "@last")
    assert said.code == 0, said.err
    assert last().state.type == "Cancelled"
    assert last().counts["sign"] == {"Cancelled": 1}
    assert cli("continue", "@last").code == 6


@pytest.mark.parametrize("verb", ["cancel", "pause"])
def test_a_dry_run_stops_nothing(driven: subprocess.Popen[str], cli: Call, work: Path, verb: str) -> None:
    until(last(), "Running", "hold")
    before = {table: rows for table, rows in everything().items() if table != "runs"}  # its driver renews its lease
    said = cli(verb, "@last", "--dry-run", "-o", "json")
    assert said.code == 0, said.err
    assert {table: rows for table, rows in everything().items() if table != "runs"} == before
    assert said.data["tasks"] == [
        {"task": "hold", "runs": 8, "kept": 0, "waits": 0, "why": None},
        {"task": "total", "runs": 1, "kept": 0, "waits": 0, "why": None},
    ]
    assert said.out


@pytest.mark.parametrize("words", [["resume", "@last"], ["retry", "@last"], ["retry", "@last", "-n"]])
def test_what_another_process_drives_is_left_to_it(
    driven: subprocess.Popen[str], cli: Call, work: Path, words: list[str]
) -> None:
    said = cli(*words)
    assert said.code == 2
    assert f"run {last().name} is running: process {driven.pid} on {_host()} drives it" in said.err
    (work / "release").touch()
    assert ended(driven)[0] == 0


def test_of_two_that_resume_at_once_one_drives(
    cli: Call, begin: Begin, driven: subprocess.Popen[str], work: Path
) -> None:
    assert cli("cancel", "@last", "--now").code == 0
    ended(driven)
    both = [begin("resume", "@last"), begin("resume", "@last")]
    while all(process.poll() is None for process in both):
        pass
    loser, winner = sorted(both, key=lambda process: process.poll() is None)
    code, out, err = ended(loser)
    assert (code, out) == (2, "")
    assert f"process {winner.pid} on {_host()} drives it" in err
    (work / "release").touch()
    code, out, err = ended(winner)
    assert (code, out) == (0, "28\n"), err


# Signals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["threads:2", "sync"])
def test_sigterm_cancels_cleanly(begin: Begin, work: Path, executor: str) -> None:
    process = begin("run", "work.py:slow", "--executor", executor)
    until_begun(work, process)
    process.send_signal(signal.SIGTERM)
    if executor != "sync":
        until_told(process, "cancelling")
    (work / "release").touch()
    code, _, err = ended(process)
    assert code == 143, err
    assert "Traceback" not in err
    assert (last().state.type, last().state.message) == ("Cancelled", "cancelled by SIGTERM")


def test_a_closed_terminal_leaves_the_run_to_be_taken_up(driven: subprocess.Popen[str], cli: Call, work: Path) -> None:
    until(last(), "Running")
    driven.send_signal(signal.SIGHUP)
    assert ended(driven)[0] == -signal.SIGHUP
    assert last().state.type == "Running"
    (work / "release").touch()
    said = cli("resume", "@last")
    assert (said.code, said.out) == (0, "28\n"), said.err


def test_ctrl_c_ends_only_the_watching_of_a_run_that_another_process_drives(
    begin: Begin, cli: Call, work: Path
) -> None:
    process = begin("run", "work.py:mixed", "--executor", "threads:4")
    until_begun(work, process)
    until(last(), "Paused", "sign")
    other = begin("approve", "@last")
    until(last(), "Success", "sign")
    until_told(other, "Ctrl-C leaves it running there")
    other.send_signal(signal.SIGINT)
    code, out, err = ended(other)
    assert (code, out) == (130, "")
    assert "is running; it goes on" in err
    (work / "release").touch()
    assert ended(process)[:2] == (0, "(3, 1)\n")


def test_watching_ends_when_the_driver_elsewhere_dies(begin: Begin, cli: Call, work: Path) -> None:
    process = begin("run", "work.py:mixed", "--executor", "threads:4")
    until_begun(work, process)
    until(last(), "Paused", "sign")
    other = begin("approve", "@last")
    until_told(other, "Ctrl-C leaves it running there")
    process.kill()
    process.wait()
    code, out, err = ended(other)
    assert (code, out) == (6, "")
    assert "its driver is gone; dataflow recover goes on with it" in err


def test_an_answer_that_a_driver_does_not_hear_any_more_is_acted_on_when_it_has_left(
    begin: Begin, cli: Call, work: Path
) -> None:
    assert cli("run", "work.py:signed").code == 6
    run = last()
    epoch = run._store.claim(run.id, f"{_host()}:{os.getpid()}:leaving", seconds=120)
    process = begin("approve", run.name)
    while not run._store.answers(run.id):
        assert process.poll() is None, process.communicate()
    run._store.release(run.id, epoch)
    code, out, err = ended(process)
    assert (code, out) == (0, "3\n"), err


def _host() -> str:
    import socket

    return socket.gethostname()
