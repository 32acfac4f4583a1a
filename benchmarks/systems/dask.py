"""Bare Dask on threads: `delayed`, or a dict graph built by hand. Nothing is durable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.threaded
from dask._task_spec import List, Task, TaskRef
from dask.base import compute
from dask.delayed import delayed

from benchmarks.systems import workloads as w
from benchmarks.systems.harness import main

VARIANTS = ("delayed", "graph")
NOT_OFFERED = {"warm": "no durable cache"}


class Handbuilt:
    """A graph that grows by a task with each call; the tasks are those that Dask itself runs."""

    def __init__(self) -> None:
        self.graph: dict[str, Task] = {}

    def wrap(self, body: Callable[..., Any]) -> Callable[..., TaskRef]:
        """A body whose call adds a task."""

        def call(*args: Any) -> TaskRef:
            key = f"{body.__name__}-{len(self.graph)}"
            self.graph[key] = Task(key, body, *(List(*arg) if isinstance(arg, list) else arg for arg in args))
            return TaskRef(key)

        return call

    def value(self, build: Callable[[], Any]) -> Any:
        """What a call, or each of a list of calls, gives."""
        self.graph.clear()
        wanted = build()
        keys = [ref.key for ref in wanted] if isinstance(wanted, list) else wanted.key
        found = dask.threaded.get(self.graph, keys, num_workers=w.WORKERS)
        return list(found) if isinstance(wanted, list) else found


def saving(folder: Path) -> Callable[[int], str]:
    """What persists where a system does not: the body writes a file itself."""

    def saved(x: int) -> str:
        path = folder / f"{x}.blob"
        path.write_bytes(w.blob(x))
        return str(path)

    return saved


def with_files(offered: dict[str, w.Workload], fan_of: Callable[[range], Any]) -> dict[str, w.Workload]:
    """The workloads, with a payload whose calls give the paths of the files that they wrote."""

    def payload(items: range) -> object:
        paths = fan_of(items)
        return lambda: w.checksum(Path(path).read_bytes() for path in paths)

    return offered | {"payload": payload}


def delayed_workloads(folder: Path, evaluate: w.Evaluate) -> dict[str, w.Workload]:
    """All that `delayed` offers."""
    saved = delayed(saving(folder), pure=False)
    offered = w.by_calls(w.Calls.made(lambda body: delayed(body, pure=False)), evaluate)
    return with_files(offered, lambda items: evaluate(lambda: [saved(i) for i in items]))


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads."""
    if variant == "delayed":

        def evaluate(build: Callable[[], Any]) -> Any:
            return compute(build(), scheduler="threads", num_workers=w.WORKERS)[0]

        yield delayed_workloads(folder, evaluate)
        return
    by_hand = Handbuilt()
    saved = by_hand.wrap(saving(folder))
    offered = w.by_calls(w.Calls.made(by_hand.wrap), by_hand.value)
    yield with_files(offered, lambda items: by_hand.value(lambda: [saved(i) for i in items]))


if __name__ == "__main__":
    main(opened, "benchmarks.systems.dask", variants=VARIANTS, packages=["dask"], not_offered=NOT_OFFERED)
