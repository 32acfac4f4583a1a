"""redun on threads, with its database on SQLite: states and results are durable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redun import Scheduler, task
from redun.config import Config
from redun.functools import flat_map, map_

from benchmarks.systems import workloads as w
from benchmarks.systems.harness import main


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads; a body called with arguments that this folder's database knows is not run."""
    logging.disable(logging.CRITICAL)
    config = Config(
        {
            "backend": {"db_uri": f"sqlite:///{folder}/redun.db"},
            "executors.default": {"type": "local", "mode": "thread", "max_workers": str(w.WORKERS)},
        }
    )
    scheduler = Scheduler(config=config)
    scheduler.load()
    calls = w.Calls.made(lambda body: task(namespace="bench")(body))

    def evaluate(build: Callable[[], Any]) -> Any:
        return scheduler.run(build())

    def nested(items: range) -> object:
        numbers = flat_map(calls.ten, list(items[:: w.TEN]))
        return scheduler.run(calls.total(map_(calls.same, numbers)))

    offered = w.by_calls(calls, evaluate)
    yield offered | {"warm": offered["fan"], "nested": nested}


if __name__ == "__main__":
    main(opened, "benchmarks.systems.redun", packages=["redun"])
