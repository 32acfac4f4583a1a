"""Parsl on threads, with a checkpoint at every task's end: results are durable, in one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import parsl
from parsl.config import Config
from parsl.dataflow.memoization import BasicMemoizer
from parsl.executors import ThreadPoolExecutor
from parsl.utils import get_all_checkpoints

from benchmarks.systems import workloads as w
from benchmarks.systems.harness import main


def total_of(inputs: Any) -> int:
    """`total`: Parsl waits for what stands in a list of this name."""
    return w.total(inputs)


def value(build: Callable[[], Any]) -> Any:
    """What a future, or each of a list, gives."""
    made = build()
    return [future.result() for future in made] if isinstance(made, list) else made.result()


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads; what an earlier process left in this folder is remembered."""
    config = Config(
        executors=[ThreadPoolExecutor(max_threads=w.WORKERS)],
        memoizer=BasicMemoizer(checkpoint_mode="task_exit", checkpoint_files=get_all_checkpoints(str(folder))),
        run_dir=str(folder),
        initialize_logging=False,
        usage_tracking=0,
        strategy="none",
    )
    with parsl.load(config):
        apps = {
            name: parsl.python_app(body, cache=True) for name, body in vars(w.Calls.made(lambda body: body)).items()
        }
        total = parsl.python_app(total_of, cache=True)
        calls = w.Calls(**apps | {"total": lambda values: total(inputs=values)})
        offered = w.by_calls(calls, value)
        yield offered | {"warm": offered["fan"]}


if __name__ == "__main__":
    main(opened, "benchmarks.systems.parsl", packages=["parsl"])
