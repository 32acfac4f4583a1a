"""A run that is broken, taken up again, and looked at: what was committed when its driver died must never run again."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dataflow import states
from dataflow.events import NO_INDEX, label
from dataflow.owners import is_gone
from dataflow.result_keys import split_key
from dataflow_storage import ResultStore, RunStore
from tests.chaos.flow60 import ledger_of
from tests.chaos.zygote import Proc, Zygote

STUCK_SECONDS = 90.0
CLOCK_SECONDS = 0.01  # how coarse a file's times are
RESULT = [168, 2046, [3, 2, 9], [3, 4, 3], 4, {"x": 3}, 2146, 8, 173, 6]


@dataclass
class Case:
    """One run in a home of its own.

    Parameters
    ----------
    zygote : Zygote
        Makes its drivers.
    folder : Path
        Its home.
    executor : str
        Where it runs.
    env : dict
        What its drivers have in their environment beside that.
    kept : dict
        What was seen to be committed: the time of the look, by label.
    problems : list of str
        What must not be.
    crashed : bool
        Somebody was killed.
    """

    zygote: Zygote
    folder: Path
    executor: str
    env: dict[str, str] = field(default_factory=dict)
    kept: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    crashed: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self, **env: str) -> Proc:
        """A driver: it begins the run, or takes it up."""
        ours = {"DATAFLOW_HOME": str(self.folder), "DASK_DATAFLOW__RUNS__LEASE": "1", **self.env, **env}
        return self.zygote.fork("tests.chaos.driving:drive", str(self.folder), self.executor, log=self.log, env=ours)

    def finish(self, **env: str) -> None:
        """A driver that nobody harms sees the run to its end."""
        self.see_end(self.start(**env))

    def see_end(self, driver: Proc) -> None:
        """Wait until a driver has ended; one that does not is stuck."""
        if not driver.wait(STUCK_SECONDS):
            self.problems.append(f"stuck: {self.state()}\n{self.log.read_text()}")
            driver.kill_all()

    def state(self) -> str:
        """The run's state on record."""
        with RunStore(str(self.folder / "runs.db")) as runs:
            rows = runs.runs()
            return f"{rows[0].state} ({rows[0].message})" if rows else "none"

    def look(self) -> None:
        """What is committed now must never run again."""
        for each in self.committed():
            self.kept.setdefault(each, time.time())

    def committed(self, ended_well: frozenset[str] = states.SUCCESSFUL) -> dict[str, float]:
        """Task runs that have ended well on record, or whose results lie in the store: labels, and since when."""
        if not (self.folder / "runs.db").exists():
            return {}
        with RunStore(str(self.folder / "runs.db")) as runs:
            rows = runs.runs()
            if not rows:
                return {}
            run, results = rows[0], ResultStore(self.folder / "results")
            found = {
                label(row.path, row.idx): row.ended or row.time or 0.0
                for row in runs.task_runs(run.id, states=sorted(ended_well))
            }
        for key in results.keys(f"{run.id}/"):
            path, index, _ = split_key(key.partition("/")[2])
            chunk = results.find_many(key) if index != NO_INDEX else {NO_INDEX: results.find(key)}
            for each, reference in (chunk or {}).items():
                if reference is not None and (each >= 0 or index == NO_INDEX):
                    found[label(path, each)] = Path(reference.url).stat().st_ctime
        target = results.find_target("exported.json")
        return found if target is None else {**found, "exported": Path(target.url).stat().st_ctime}

    def bodies(self) -> list[tuple[str, int, float]]:
        """What ran: labels, attempts and times, in the order in which bodies began."""
        ledger = ledger_of(self.folder)
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        parts = [line.rsplit(" ", 3) for line in lines]
        return [(name, int(attempt), float(began)) for name, attempt, _, began in parts]

    def check(self, *, by_clock: bool = False) -> list[str]:
        """What is wrong, now that the run should be over.

        Parameters
        ----------
        by_clock : bool
            No body may begin after its result was committed, whether or not somebody looked meanwhile. That is so where
            the run had one driver; what still runs for a driver that is dead commits as it may. A skip commits nothing:
            where the worker that holds it dies, Dask asks for it once more.
        """
        found = self.problems
        if by_clock:
            for each, since in self.committed(states.SUCCESSFUL - {states.SKIPPED}).items():
                self.kept[each] = min(self.kept.get(each, math.inf), since + CLOCK_SECONDS)
        result = self.folder / "result.json"
        if not result.exists():
            found.append(f"wrong: no result, {self.state()}\n{self.log.read_text()}")
        elif json.loads(result.read_text()) != RESULT:
            found.append(f"wrong: {result.read_text()}")
        for name, attempt, began in self.bodies():
            if began > self.kept.get(name, began):
                late = f"{began - self.kept[name]:.3f} s after it was committed"
                found.append(f"repeated: {name} ran again (attempt {attempt}), {late}")
        found += self.record_problems()
        return found

    def record_problems(self) -> list[str]:
        """What on record contradicts itself."""
        with RunStore(str(self.folder / "runs.db")) as runs:
            [run] = runs.runs()
            rows = runs.task_runs(run.id)
            told = {path: dict(counts) for path, counts in runs.counts(run.id).items()}
            nodes = {node.path: node for node in runs.nodes(run.id)}
        counted: dict[str, Counter[str]] = {}
        for row in rows:
            if not (row.idx == NO_INDEX and nodes[row.path].kind == "map" and nodes[row.path].width is not None):
                counted.setdefault(row.path, Counter())[row.state] += 1
        problems = [
            f"on record {path} counts {told.get(path)} for {dict(counted.get(path, {}))}"
            for path in told.keys() | counted.keys()
            if told.get(path) != counted.get(path)
        ]
        if run.owner is not None and not is_gone(run.owner):
            problems.append(f"{run.owner} still owns the run")
        problems += [f"{row.path}[{row.idx}] is {row.state}" for row in rows if row.state not in states.SUCCESSFUL]
        return problems
