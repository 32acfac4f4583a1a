"""Luigi with its local scheduler, one process: what a target holds is durable."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import luigi
from luigi.format import Nop

from benchmarks.systems import workloads as w
from benchmarks.systems.harness import main

FOLDER = "BENCH_TARGETS"  # where targets go; Luigi builds tasks from their parameters alone


class Saved(luigi.Task):
    """A task whose value is a file."""

    def output(self) -> Any:
        """The file."""
        return luigi.LocalTarget(f"{os.environ[FOLDER]}/{self.task_id}", format=Nop)

    def save(self, value: object) -> None:
        """Write it."""
        with self.output().open("w") as file:
            file.write(pickle.dumps(value))

    def loaded(self) -> Any:
        """Read it."""
        with self.output().open("r") as file:
            return pickle.loads(file.read())


class Call(Saved):
    """A body called with one number."""

    body = luigi.Parameter()
    x = luigi.IntParameter()

    def run(self) -> None:
        """Call it."""
        self.save(getattr(w, self.body)(self.x))


class Link(Saved):
    """A link of a chain; the shorter chain comes first."""

    first = luigi.IntParameter()
    length = luigi.IntParameter()

    def requires(self) -> Any:
        """The link before."""
        return [Link(first=self.first, length=self.length - 1)] if self.length > 1 else []

    def run(self) -> None:
        """Add one."""
        before = self.requires()
        self.save(w.add_one(before[0].loaded() if before else self.first))


class Knot(Saved):
    """The sum of a stretch of numbers, by halves."""

    first = luigi.IntParameter()
    last = luigi.IntParameter()

    def requires(self) -> Any:
        """Two halves, or one number each."""
        middle = (self.first + self.last) // 2
        pairs = [(self.first, middle), (middle, self.last)]
        return [Call(body="same", x=a) if b - a == 1 else Knot(first=a, last=b) for a, b in pairs]

    def run(self) -> None:
        """Add both."""
        self.save(w.plus(*(half.loaded() for half in self.requires())))


class Total(Saved):
    """The sum of calls."""

    first = luigi.IntParameter()
    last = luigi.IntParameter()

    def requires(self) -> Any:
        """The calls."""
        return [Call(body="same", x=i) for i in range(self.first, self.last)]

    def run(self) -> None:
        """Add them."""
        self.save(w.total(call.loaded() for call in self.requires()))


class Nested(Saved):
    """Calls that say which calls come next, and their sum."""

    first = luigi.IntParameter()
    last = luigi.IntParameter()

    def requires(self) -> Any:
        """Those that give numbers."""
        return [Call(body="ten", x=i) for i in range(self.first, self.last, w.TEN)]

    def run(self) -> Any:
        """Ask for more, then add."""
        more = [Call(body="same", x=x) for group in self.requires() for x in group.loaded()]
        yield more
        self.save(w.total(call.loaded() for call in more))


def built(tasks: list[Saved]) -> None:
    """Run tasks and what they require."""
    done = luigi.build(tasks, local_scheduler=True, workers=1, no_lock=True, log_level="ERROR")
    assert done, "Luigi failed"


def fan(body: str, items: range) -> list[Saved]:
    """Independent calls, run."""
    tasks: list[Saved] = [Call(body=body, x=i) for i in items]
    built(tasks)
    return tasks


def one(task: Saved) -> object:
    """The value of one task, run."""
    built([task])
    return task.loaded()


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads, with targets in the folder."""
    os.environ[FOLDER] = str(folder)

    def values(body: str) -> w.Workload:
        return lambda items: [task.loaded() for task in fan(body, items)]

    def payload(items: range) -> object:
        tasks = fan("blob", items)
        return lambda: w.checksum(task.loaded() for task in tasks)

    yield {
        "fan": values("same"),
        "chain": lambda items: one(Link(first=items.start, length=len(items))),
        "map": lambda items: one(Total(first=items.start, last=items.stop)),
        "nested": lambda items: one(Nested(first=items.start, last=items.stop)),
        "payload": payload,
        "warm": values("same"),
        "uneven": values("nap"),
        "tree": lambda items: one(Knot(first=items.start, last=items.stop)),
    }


if __name__ == "__main__":
    main(opened, "benchmarks.systems.luigi", packages=["luigi"])
