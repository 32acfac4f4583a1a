"""What the tests of pruning share: flows that share results, and looks at what is left."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Call

import dataflow
from dataflow.places import open_results, open_runs
from dataflow_storage.rows import Batch

KEPT = '''"""Flows that share results."""

from dataflow import cache, flow, task


@task(cache=True)
def base(x: int) -> int:
    return 10 * x


@task(cache=cache(expires=60))
def brief(x: int) -> int:
    return x


@task
def own(x: int) -> int:
    return x + 1


@task(target="{run}.json")
def written(x: int) -> int:
    return x


@flow
def shared(n: int = 2):
    return own.map([base(i) for i in range(n)])


@flow
def passing():
    return own(brief(1))


@flow
def files():
    return written(own(1))
'''


def objects() -> list[str]:
    """The results of runs, by run and file."""
    place = Path(open_results(home_results()).url)
    return sorted(
        f"{file.parent.name}/{file.name}"
        for file in place.glob("*/*")
        if len(file.parent.name) == 32 and file.is_file()
    )


def of(run: dataflow.Run) -> list[str]:
    """The results of one run, by file."""
    return [name.partition("/")[2] for name in objects() if name.startswith(run.id)]


def home_results() -> str:
    return os.environ["DATAFLOW_HOME"] + "/results"


def age(run_id: str, days: float) -> None:
    """Let a run have ended so long ago."""
    runs, ended = open_runs(), time.time() - days * 86400
    epoch = runs.claim(run_id, "test", seconds=60)
    runs.write(run_id, epoch, Batch(run={"ended": ended, "created": ended}))
    runs.release(run_id, epoch)


def ran(cli: Call, flow: str = "flows.py:etl", *more: str) -> dataflow.Run:
    assert cli("run", flow, "-q", *more).code in (0, 1, 6)
    return dataflow.get_run("@last")


def names(cli: Call) -> list[str]:
    return cli("ls", "-o", "name").out.split()
