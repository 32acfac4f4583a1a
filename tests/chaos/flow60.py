"""A flow of about sixty task runs with all that a run can have in it; every body writes a line in a ledger.

A line is the task run's label, the attempt, the process and the time when the body began.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from dataflow import Skip, cache, context, flow, task, triggers, unmapped, wait_for_input

PACE = 0.003  # seconds that a body takes
ANSWERS = {"wait_for_input": 7, "asks": 5}  # what people say, by task
WIDTH, INSIDE = 12, 6


def mark() -> None:
    """This body begins now. One write to a file opened for appending is never torn nor lost."""
    here = context()
    line = f"{here.label} {here.attempt} {os.getpid()} {time.time()!r}\n"
    descriptor = os.open(str(here.parameters["ledger"]), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
    time.sleep(float(str(here.parameters["pace"])))


@task
def origin() -> int:
    mark()
    return 1


@task
def scale(x: int, by: int) -> int:
    mark()
    return x * by


@task
def double(x: int) -> int:
    mark()
    return 2 * x


@task
def shift(x: int, by: int) -> int:
    mark()
    return x + by


@task
def gather(values: list[int]) -> int:
    mark()
    return sum(values)


@task(retries=1)
def flaky(x: int) -> int:
    mark()
    if context().attempt == 1:
        raise ValueError("the first time")
    return x + 1


@task(retries=2, retry_delay=0.05)
def later(x: int) -> int:
    mark()
    if context().attempt == 1:
        raise ValueError("not yet")
    return x + 2


@task(cache=cache())
def remembered(x: int) -> int:
    mark()
    return x * x


@task(target="exported.json")
def exported(x: int) -> dict[str, int]:
    mark()
    return {"x": x}


@task
def nothing_new(x: int) -> int:
    mark()
    raise Skip("nothing new")


@task
def follows_skip(x: int) -> int:
    mark()
    return x


@task(trigger=triggers.manual)
def approved(x: int) -> int:
    mark()
    return x + 100


@task
def asks(x: int) -> int:
    mark()
    return x + wait_for_input(int, "how many?")


@task(isolation="process")
def alone(x: int) -> int:
    mark()
    return x * 3


@task
def together(*values: object) -> list[object]:
    mark()
    return list(values)


@flow
def inside(x: int) -> object:
    return gather(double.map([x + n for n in range(INSIDE)]))


@flow
def branch(n: int) -> object:
    return shift(double(n), n) if n % 2 else scale(origin(), n)


@flow
def flow60(ledger: str, pace: float = PACE) -> object:
    base = origin()
    left, right = scale(base, 2), scale(base, 3)
    moved = shift.map(double.map(range(WIDTH)), by=unmapped(right))
    total = gather(moved)
    below = inside(total)
    branches = branch.map([1, 2, 3])
    tried = [flaky(left), flaky(right), later(base)]
    number = wait_for_input(int, "a number, please")
    skipped = nothing_new(left)
    follows_skip(skipped)
    return together(
        total,
        below,
        branches,
        tried,
        remembered(left),
        exported(right),
        approved(below),
        shift(number, 1),
        asks(total),
        alone(left),
    )


def ledger_of(folder: Path) -> Path:
    """Where a run of this flow writes, by the folder that is its home."""
    return folder / "ledger"
