"""Processes that share a home, as those of one machine do, and what they leave on record and in the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataflow.cli.bucket import listed
from dataflow.run import Run
from dataflow_storage import ResultStore, RunStore
from tests.chaos.zygote import Proc, Zygote

PATIENCE = 60.0


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait for an event."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


class Machine:
    """A machine that runs drivers.

    Parameters
    ----------
    zygote : Zygote
        Makes its processes.
    home : Path
        Their home.
    env : str
        Their environment beside that.
    """

    def __init__(self, zygote: Zygote, home: Path, **env: str) -> None:
        self.zygote, self.home = zygote, home
        home.mkdir(parents=True, exist_ok=True)
        self.env = {"DATAFLOW_HOME": str(home), **env}
        self._url = env.get("DASK_DATAFLOW__RUNS__URL", str(home / "runs.db"))
        self.runs = RunStore(self._url)
        self.processes: list[Proc] = []

    def start(self, call: str, *arguments: object, **env: str) -> Process:
        """A process that calls a function of `tests.semantics.gates`."""
        log = self.home / f"{call}-{len(self.processes)}.log"
        proc = self.zygote.fork(f"tests.semantics.gates:{call}", *arguments, log=log, env={**self.env, **env})
        self.processes.append(proc)
        return Process(proc, log)

    def run(self) -> Any:
        """The latest run, as anybody sees it."""
        return Run(self.runs, self.runs.find("@last"))

    def state(self) -> str:
        """Its state; empty where there is none yet."""
        rows = self.runs.runs() if self._url.startswith("postgres") or Path(self._url).exists() else []
        return rows[0].state if rows else ""

    def left(self) -> object:
        """All that is on record of the latest run, but for who has it; and its results."""
        row = self.runs.find("@last")
        results = ResultStore(str(row.results_url))
        return (
            replace(row, owner=None, lease_until=None, epoch=0),
            self.runs.task_runs(row.id),
            self.runs.transitions(row.id),
            self.runs.attempts(row.id),
            self.runs.logs(row.id),
            self.runs.counts(row.id),
            # Which task runs have one: a driver that lost its run may have left another beside it, unheard of.
            sorted({(kept.path, kept.index) for kept in listed(results, row.id)}),
        )

    def said(self) -> str:
        """What all of its processes said."""
        return "\n".join(f"{log.name}: {log.read_text()}" for log in sorted(self.home.glob("*.log")))

    def close(self) -> None:
        """Switch it off."""
        for proc in self.processes:
            proc.kill_all()
        self.runs.close()


def lease_of(machine: Machine) -> float:
    """Until when its latest run is somebody's."""
    return machine.runs.find("@last").lease_until or 0.0


class Process:
    """One of its processes, with its log."""

    def __init__(self, proc: Proc, log: Path) -> None:
        self.proc, self.pid, self._log = proc, proc.pid, log

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text() if self._log.exists() else ""

    def ends(self, seconds: float = PATIENCE) -> str:
        """Wait for its end, and return what it said."""
        assert self.proc.wait(seconds), f"it does not end; it said: {self.said}"
        return self.said
