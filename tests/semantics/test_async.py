"""Tasks that are `async def`: like any others, and those of a Dask task run together."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from pathlib import Path
from typing import Any

import dask
import pytest

from dataflow import context, flow, states, task
from dataflow.errors import RunFailed
from tests.semantics.marks import mark, types

FEW = 4


@pytest.fixture
def together() -> Any:
    """Batches of some, all of which may run at the same time."""
    with dask.config.set({"dataflow.tasks.batch": 2 * FEW, "dataflow.tasks.concurrency": FEW}):
        yield


@task
async def meets(log: Path, n: int) -> int:
    """Goes on when so many have begun: one after the other, none ever would."""
    mark(log, "begun")
    while log.read_text().count("begun") < FEW * (1 + n // FEW):
        await asyncio.sleep(0.005)
    return n


@flow
def mapped(log: Path) -> object:
    return meets.map([log] * 2 * FEW, range(2 * FEW))


@flow
def called(log: Path) -> object:
    return [meets(log, n) for n in range(2 * FEW)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("of", [mapped, called], ids=["map", "calls"])
def test_those_of_a_dask_task_run_at_the_same_time(executor: Any, log: Path, together: None, of: Any) -> None:
    assert list(of.run(log, executor=executor).result()) == [*range(2 * FEW)]


def test_each_has_its_own_attempts_logs_context_and_end(executor: Any, log: Path, together: None) -> None:
    @task(retries=1)
    async def fares(n: int) -> int:
        await asyncio.sleep(0)
        ctx = context()
        logging.getLogger("mine").warning("%s of %s", ctx.attempt, ctx.index)
        if n == 2 or (n == 1 and ctx.attempt == 1):
            raise ValueError(f"bad {n}")
        return n

    @flow
    def several() -> object:
        return fares.map(range(3))

    run: Any = several.run(executor=executor, raise_on_failure=False)
    assert list(types(run).values()) == [states.SUCCESS, states.SUCCESS, states.FAILED]
    said = {child.index: [line.message for line in child.logs()] for child in run["fares"]}
    assert said == {0: ["1 of 0"], 1: ["1 of 1", "2 of 1"], 2: ["1 of 2", "2 of 2"]}
    with pytest.raises(RunFailed, match="bad 2"):
        several.run(executor=executor)


def test_one_may_have_a_process_of_its_own_and_be_timed_out(executor: Any) -> None:
    @task(isolation="process")
    async def alone() -> int:
        await asyncio.sleep(0)
        return 7

    @task(timeout=0.5)
    async def slow() -> None:
        await asyncio.sleep(600)

    @flow
    def both() -> object:
        return alone(), slow()

    run: Any = both.run(executor=executor, raise_on_failure=False)
    assert run["alone"].result() == 7
    assert types(run)["slow"] == states.TIMED_OUT


def test_a_sync_run_within_a_loop_awaits_them_too() -> None:
    kept: contextvars.ContextVar[int] = contextvars.ContextVar("kept", default=0)

    @task
    async def one() -> int:
        return kept.get()

    @flow
    def alone() -> object:
        return one()

    async def main() -> object:
        kept.set(5)
        return alone.run(executor="sync").result()

    assert asyncio.run(main()) == 5
