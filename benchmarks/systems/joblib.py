"""joblib with a `Memory`, on threads: results are durable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib

from benchmarks.systems import workloads as w
from benchmarks.systems.harness import main


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads: each level of a shape is one `Parallel`, each call is remembered."""
    memory = joblib.Memory(folder, verbose=0)
    calls = w.Calls.made(memory.cache)

    def parallel(call: Callable[..., Any], *columns: Any) -> list[Any]:
        rows = zip(*columns, strict=True)
        values: list[Any] = joblib.Parallel(n_jobs=w.WORKERS, prefer="threads")(
            joblib.delayed(call)(*row) for row in rows
        )
        return values

    def tree(items: range) -> object:
        level = parallel(calls.same, items)
        while len(level) > 1:
            odd = level[len(level) // 2 * 2 :]
            level = parallel(calls.plus, level[0 : len(level) - len(odd) : 2], level[1::2]) + odd
        return level[0]

    def nested(items: range) -> object:
        numbers = [n for group in parallel(calls.ten, items[:: w.TEN]) for n in group]
        return calls.total(parallel(calls.same, numbers))

    def payload(items: range) -> object:
        values = parallel(calls.blob, items)
        return lambda: w.checksum(values)

    yield {
        "fan": lambda items: parallel(calls.same, items),
        "chain": lambda items: w.chained(calls, items),
        "map": lambda items: calls.total(parallel(calls.same, items)),
        "nested": nested,
        "payload": payload,
        "warm": lambda items: parallel(calls.same, items),
        "uneven": lambda items: parallel(calls.nap, items),
        "tree": tree,
    }


if __name__ == "__main__":
    main(opened, "benchmarks.systems.joblib", packages=["joblib"])
