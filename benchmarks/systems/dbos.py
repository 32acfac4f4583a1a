"""DBOS on SQLite: the steps of one workflow, or workflows on a queue. States and results are durable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig

from benchmarks.systems import workloads as w
from benchmarks.systems.harness import main

VARIANTS = ("steps", "queue")
NOT_OFFERED = {"warm": "a workflow that ended gives its result again, but no call is cached across workflows"}
QUEUE = "bench"
POLL_SECONDS = 0.001  # DBOS asks its database; by default, once a second

steps = w.Calls.made(lambda body: DBOS.step(name=f"step-{body.__name__}")(body))
workflows = w.Calls.made(lambda body: DBOS.workflow(name=f"workflow-{body.__name__}")(body))
building: list[Callable[[], Any]] = []


@DBOS.workflow(name="everything")
def everything() -> Any:
    """One workflow, whose steps run one after another where they are called."""
    return building[-1]()


def by_steps(build: Callable[[], Any]) -> Any:
    """What a workflow gives."""
    building.append(build)
    return everything()


def queued(workflow: Callable[..., Any]) -> Callable[..., Any]:
    """A workflow that is put on the queue; a call that needs values waits for them first."""
    return lambda *args: DBOS.enqueue_workflow(QUEUE, workflow, *map(resolved, args))


def resolved(value: Any) -> Any:
    """The values of handles."""
    if isinstance(value, list):
        return [resolved(item) for item in value]
    return value.get_result(polling_interval_sec=POLL_SECONDS) if hasattr(value, "get_result") else value


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads, recorded in a database of their own."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
        "log_level": "ERROR",
        "enable_otlp": False,
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        if variant == "steps":
            yield w.by_calls(steps, by_steps)
        else:
            DBOS.register_queue(QUEUE, worker_concurrency=w.WORKERS, polling_interval_sec=POLL_SECONDS)
            yield w.by_calls(
                w.Calls.made(lambda body: queued(getattr(workflows, body.__name__))), lambda b: resolved(b())
            )
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main(opened, "benchmarks.systems.dbos", variants=VARIANTS, packages=["dbos"], not_offered=NOT_OFFERED)
