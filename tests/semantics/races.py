"""Many processes that try to take up the same runs at once."""

from __future__ import annotations

from pathlib import Path

from dataflow import states
from tests.semantics.gates import began
from tests.semantics.machines import Machine, until


def open_gates(folder: Path) -> None:
    """Let the bodies of a `gated` flow go, whichever time they run."""
    for name in ("slow", "last"):
        for number in range(1, 4):
            (folder / f"{name}-{number}").touch()


def race(machine: Machine, folder: Path, processes: int, runs: int, *, short: bool = False) -> None:
    """So many processes try to take up so many runs, all at once; each run gets one driver.

    Where it is `short`, a run may be over before another process that saw it without a driver comes to it.
    """
    folders = [folder / f"run{number}" for number in range(runs)]
    for each in folders:
        each.mkdir()
    first = machine.start("begin_many", [str(each) for each in folders])
    until(lambda: all(began(each)["slow"] for each in folders), "all bodies begin")
    first.proc.kill_all()
    others = [machine.start("go_on_at", str(folder / "now")) for _ in range(processes)]
    until(lambda: all("ready" in other.said for other in others), "all are ready")
    for each in folders if short else ():
        open_gates(each)
    (folder / "now").touch()
    until(lambda: all(began(each)["slow"] == 2 for each in folders), "each run is taken up")
    for each in folders:
        open_gates(each)
    said = "".join(other.ends() for other in others)
    assert said.count("taken up") == runs, said
    assert "Traceback" not in said
    for row in machine.runs.runs(limit=None):
        assert row.state == states.SUCCESS
        assert [change.state for change in machine.runs.transitions(row.id) if change.path is None] == [
            "Running", "Running", "Success",
        ]  # fmt: skip
    assert all(began(each) == {"opening": 1, "slow": 2, "last": 1} for each in folders)
