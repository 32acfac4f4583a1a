"""Prefect 3 on threads, with a server of its own on SQLite: states are durable, results where they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.systems import workloads as w
from benchmarks.systems.harness import main

START_SECONDS = 170


def prepare(folder: Path) -> None:
    """Tell Prefect where to keep things; it reads that when it is imported."""
    os.environ |= {
        "PREFECT_HOME": str(folder),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }


def offered(runner: Any) -> dict[str, w.Workload]:
    """The workloads, each a flow run with this task runner."""
    from prefect import flow, task
    from prefect.cache_policies import INPUTS, NO_CACHE

    building: list[Callable[[], Any]] = []

    def value(handles: Any) -> Any:
        return [handle.result() for handle in handles] if isinstance(handles, list) else handles.result()

    @flow(task_runner=runner, validate_parameters=False)
    def bench() -> Any:
        return value(building[-1]())

    def evaluate(build: Callable[[], Any]) -> Any:
        building.append(build)
        return bench()

    def submitted(**options: Any) -> w.Calls:
        return w.Calls.made(lambda body: task(body, **options).submit)

    calls = submitted(persist_result=False, cache_policy=NO_CACHE)
    persisted = submitted(persist_result=True, cache_policy=NO_CACHE)
    cached = submitted(persist_result=True, cache_policy=INPUTS)
    mapped = {
        name: task(getattr(w, name), cache_policy=NO_CACHE, persist_result=False) for name in ("same", "nap", "ten")
    }

    def nested(items: range) -> object:
        def build() -> Any:
            numbers = [n for group in value(list(mapped["ten"].map(items[:: w.TEN]))) for n in group]
            return calls.total(mapped["same"].map(numbers))

        return evaluate(build)

    return w.by_calls(calls, evaluate) | {
        "map": lambda items: evaluate(lambda: calls.total(mapped["same"].map(items))),
        "uneven": lambda items: evaluate(lambda: list(mapped["nap"].map(items))),
        "nested": nested,
        "payload": w.by_calls(persisted, evaluate)["payload"],
        "warm": w.by_calls(cached, evaluate)["fan"],
    }


@contextmanager
def server() -> Iterator[None]:
    """A server of its own: without it, a worker process would start another."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, temporary_settings

    api = SubprocessASGIServer()
    api.start(timeout=START_SECONDS)
    try:
        with temporary_settings({PREFECT_API_URL: api.api_url}):
            yield
    finally:
        api.stop()


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads, in a home of their own, with a server that is up."""
    prepare(folder)
    from prefect.task_runners import ThreadPoolTaskRunner

    with server():
        yield offered(ThreadPoolTaskRunner(max_workers=w.WORKERS))


if __name__ == "__main__":
    main(opened, "benchmarks.systems.prefect", packages=["prefect"])
