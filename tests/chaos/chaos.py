"""Random deaths: of workers, of drivers, of the scheduler; each run must end as a clean one does.

`python -m tests.chaos.chaos --seed 1 workers=200 drivers=300 scheduler=50 places=3` prints a table, and fails if a run
repeated what was committed, had another result, or did not end. `drivers.cluster=30` names the executor, too.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import injecting
from tests.chaos.cluster import Cluster
from tests.chaos.harness import STUCK_SECONDS, Case
from tests.chaos.zygote import Proc, Zygote

WORKER_SECONDS = 2.0  # between two deaths of workers, on average
DOWN_SECONDS = 0.5  # that there is no scheduler
SLOW = {"CHAOS_PACE": "0.04"}  # so that there is time to die


@dataclass
class Tally:
    """What came of some runs.

    Parameters
    ----------
    runs, kills : int
        How many.
    problems : list of str
        What must not be.
    seconds : float
        How long it took.
    """

    runs: int = 0
    kills: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, word: str) -> int:
        """How many of the problems are of a kind."""
        return sum(problem.startswith(word) for problem in self.problems)

    def row(self, name: str) -> str:
        """A line of the table."""
        other = len(self.problems) - sum(map(self.count, ("repeated", "wrong", "stuck")))
        told = self.count("repeated"), self.count("wrong"), self.count("stuck"), other
        return f"{name:22}{self.runs:6}{self.kills:7}" + "".join(f"{n:10}" for n in told) + f"{self.seconds:9.0f}"


HEAD = f"{'died':22}{'runs':>6}{'kills':>7}{'repeated':>10}{'wrong':>10}{'stuck':>10}{'record':>10}{'seconds':>9}"


class Chaos:
    """Kills at random, by a seed.

    Parameters
    ----------
    zygote : Zygote
        Makes drivers.
    folder : Path
        For homes and logs; those of runs that went well are removed.
    seed : int
        What decides who dies when.
    """

    def __init__(self, zygote: Zygote, folder: Path, seed: int) -> None:
        self.zygote, self.folder, self.seed = zygote, folder, seed

    def workers(self, count: int, executor: str = "cluster") -> Tally:
        """A worker dies every two seconds on average, while runs follow each other on one cluster."""
        chance = random.Random(f"{self.seed} workers")
        tally = Tally()
        with self._cluster("workers") as cluster:
            due = time.monotonic() + chance.expovariate(1 / WORKER_SECONDS)
            for case in self._cases("workers", count, cluster.address, tally, by_clock=True):
                driver = case.start(**SLOW)
                until = time.monotonic() + STUCK_SECONDS
                while not driver.wait(min(due, until) - time.monotonic()) and time.monotonic() < until:
                    tally.kills += cluster.kill_worker(chance)
                    due = time.monotonic() + chance.expovariate(1 / WORKER_SECONDS)
                case.see_end(driver)
        return tally

    def drivers(self, count: int, executor: str = "threads:2") -> Tally:
        """A driver dies at a random moment, and every other time the one after it, too."""
        chance = random.Random(f"{self.seed} drivers {executor}")
        tally = Tally()
        name = f"drivers-{executor.partition(':')[0]}"
        with self._place(name, executor) as where:
            lasts = self._lasts(name, where)
            for case in self._cases(name, count, where, tally):
                alone = chance.random() < 0.5  # else with all that is on its machine
                for _ in range(1 + (chance.random() < 0.5)):
                    driver = case.start(**SLOW)
                    if driver.wait(chance.uniform(0, lasts)):
                        break
                    kill_driver(driver, alone)
                    case.look()
                    tally.kills += 1
                case.finish()
        return tally

    def scheduler(self, count: int, executor: str = "cluster") -> Tally:
        """The scheduler dies at a random moment and comes back on its port; its workers begin again by themselves."""
        chance = random.Random(f"{self.seed} scheduler")
        tally = Tally()
        with self._cluster("scheduler") as cluster:
            lasts = self._lasts("scheduler", cluster.address)
            for case in self._cases("scheduler", count, cluster.address, tally):
                driver = case.start(**SLOW)
                if not driver.wait(chance.uniform(0, lasts)):
                    cluster.kill_scheduler()
                    tally.kills += 1
                    case.look()
                    driver.wait(DOWN_SECONDS)
                    cluster.start_scheduler()
                case.see_end(driver)
        return tally

    def places(self, most: int, executor: str = "threads:2") -> Tally:
        """A crash before and after every durable step, at most so many passages of each."""
        tally = Tally()
        name = f"places-{executor.partition(':')[0]}"
        begin = time.monotonic()
        with self._place(name, executor) as where:
            passed = injecting.passages(self.zygote, self.folder / name / "clean", where)
            for crash in injecting.crashes(passed, ("process", "session"), most):
                case = injecting.crash(self.zygote, self.folder / name / str(crash), where, crash)
                tally.kills += case.crashed
                self._note(tally, case)
        tally.seconds = time.monotonic() - begin
        return tally

    def race(self, count: int, executor: str = "") -> Tally:
        """So many times, 50 processes race to take up 20 runs: each run gets one driver."""
        from tests.semantics.machines import Machine
        from tests.semantics.races import race

        tally = Tally()
        begin = time.monotonic()
        for number in range(count):
            folder = self.folder / "race" / str(number)
            machine = Machine(self.zygote, folder / "home")
            try:
                race(machine, folder, processes=50, runs=20, short=number % 2 == 1)
            except AssertionError as error:
                tally.problems.append(f"wrong: {error}")
            finally:
                machine.close()
            tally.runs, tally.kills = tally.runs + 20, tally.kills + 1
        tally.seconds = time.monotonic() - begin
        return tally

    # Helpers

    @contextmanager
    def _cluster(self, name: str) -> Iterator[Cluster]:
        with Cluster(self.folder / name / "cluster") as cluster:
            yield cluster

    @contextmanager
    def _place(self, name: str, executor: str) -> Iterator[str]:
        if executor == "cluster":
            with self._cluster(name) as cluster:
                yield cluster.address
        else:
            yield executor

    def _lasts(self, name: str, executor: str) -> float:
        """Seconds that a clean run takes."""
        case = Case(self.zygote, self.folder / name / "clean", executor)
        begin = time.monotonic()
        case.finish(**SLOW)
        assert not case.check(by_clock=True), case.problems
        return time.monotonic() - begin

    def _cases(self, name: str, count: int, executor: str, tally: Tally, *, by_clock: bool = False) -> Iterator[Case]:
        begin = time.monotonic()
        for number in range(count):
            case = Case(self.zygote, self.folder / name / str(number), executor)
            yield case
            case.check(by_clock=by_clock)
            self._note(tally, case)
        tally.seconds = time.monotonic() - begin

    def _note(self, tally: Tally, case: Case) -> None:
        tally.runs += 1
        for problem in case.problems:
            print(f"{case.folder}: {problem}", flush=True)
        tally.problems += case.problems
        if not case.problems:
            shutil.rmtree(case.folder)


def kill_driver(driver: Proc, alone: bool) -> None:
    """Kill a driver, or all that it has started with it."""
    if alone:
        driver.signal(signal.SIGKILL)
        driver.wait(STUCK_SECONDS)
    else:
        driver.kill_all()


def usual(count: int) -> list[str]:
    """What is done where nothing else is asked for: so many drivers die, and of all others in proportion."""
    shares = {
        "workers": 2 / 3, "scheduler": 1 / 6,
        "drivers.threads:2": 0.4, "drivers.sync": 0.2, "drivers.cluster": 0.3, "drivers.processes:2": 0.1,
        "places.threads:2": 0.01, "places.sync": 0.01, "places.cluster": 0.01,
        "places.processes:2": 0.0, "race": 0.004,
    }  # fmt: skip
    return [f"{name}={max(1, round(count * share))}" for name, share in shares.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300, help="drivers to kill; of all others in proportion")
    parser.add_argument("what", nargs="*", metavar="KIND[.EXECUTOR]=COUNT")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    zygote = Zygote()
    chaos = Chaos(zygote, folder, given.seed)
    tallies: dict[str, Tally] = {}
    for each in given.what or usual(given.count):
        name, _, count = each.partition("=")
        kind, _, executor = name.partition(".")
        run: Callable[..., Tally] = getattr(chaos, kind)
        tallies[name] = run(int(count), *([executor] if executor else []))
        print(HEAD, tallies[name].row(name), sep="\n", flush=True)
    zygote.close()
    print("", HEAD, *(tally.row(name) for name, tally in tallies.items()), sep="\n")
    if any(tally.problems for tally in tallies.values()):
        sys.exit(f"something is wrong; see {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
