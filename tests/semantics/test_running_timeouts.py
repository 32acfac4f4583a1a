"""Timeouts: the body is killed with all that it started, the worker goes on, and a timeout can be tried again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import pytest

from dataflow import context, flow, task
from tests.isolation.children import alive

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger


@pytest.mark.parametrize("limit", [0.5, timedelta(milliseconds=500)], ids=["seconds", "timedelta"])
def test_a_body_that_runs_too_long_is_timed_out_alone(executor: Any, ledger: Ledger, limit: Any) -> None:
    @task(timeout=limit)
    def sleeps(seconds: float) -> float:
        ledger.mark(f"begins {seconds}")
        time.sleep(seconds)
        ledger.mark(f"ends {seconds}")
        return seconds

    @task
    def follows(value: float) -> float:
        return value

    @task
    def neighbour() -> int:
        return 1

    @flow
    def limited() -> object:
        return follows.map(sleeps.map([0.0, 600.0])), neighbour()

    run: Any = limited.graph().run(executor=executor, raise_on_failure=False)
    assert [child.state.type for child in run["sleeps"]] == ["Success", "TimedOut"]
    assert [child.state.type for child in run["follows"]] == ["Success", "TriggerFailed"]
    assert "0.5 s" in run["sleeps[1]"].state.message
    assert run["neighbour"].result() == 1
    assert run.state.type == "Failed"
    assert ledger.counts() == {"begins 0.0": 1, "ends 0.0": 1, "begins 600.0": 1}


def test_a_timeout_is_a_timeout_error_for_retry_on(executor: Any, ledger: Ledger) -> None:
    @task(timeout=0.5, retries=2, retry_on=TimeoutError)
    def slow_at_first() -> int:
        ledger.mark("body")
        if context().attempt == 1:
            time.sleep(600)
        return context().attempt

    @flow
    def limited() -> object:
        return slow_at_first()

    run: Any = limited.graph().run(executor=executor)
    assert run.result() == 2
    assert ledger.counts() == {"body": 2}
    states = [row.state for row in run._store.transitions(run.id, path="slow_at_first")]
    assert states == ["Running", "Retrying", "Running", "Success"]


def test_a_timeout_is_not_tried_again_where_retry_on_names_something_else(executor: Any, ledger: Ledger) -> None:
    @task(timeout=0.4, retries=2, retry_on=ValueError)
    def slow() -> None:
        ledger.mark("body")
        time.sleep(600)

    @flow
    def limited() -> object:
        return slow()

    run: Any = limited.graph().run(executor=executor, raise_on_failure=False)
    assert run["slow"].state.type == "TimedOut"
    assert ledger.counts() == {"body": 1}


def test_a_timeout_error_of_the_body_itself_is_a_failure(executor: Any) -> None:
    @task(timeout=60)
    def raises() -> None:
        raise TimeoutError("the server's, not ours")

    @flow
    def limited() -> object:
        return raises()

    run: Any = limited.graph().run(executor=executor, raise_on_failure=False)
    assert run["raises"].state.type == "Failed"


def test_what_a_killed_body_had_started_is_gone_too(executor: Any, tmp_path: Path) -> None:
    @task(timeout=2)
    def starts_others() -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (tmp_path / "pids").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)

    @flow
    def limited() -> object:
        return starts_others()

    run: Any = limited.graph().run(executor=executor, raise_on_failure=False)
    assert run["starts_others"].state.type == "TimedOut"
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert not any(map(alive, pids))


def test_a_body_that_ignores_the_polite_signal_is_killed_all_the_same(executor: Any, tmp_path: Path) -> None:
    @task(timeout=1)
    def stubborn() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (tmp_path / "pid").write_text(str(os.getpid()))
        while True:
            time.sleep(1)

    @flow
    def limited() -> object:
        return stubborn()

    with dask.config.set({"dataflow.tasks.grace": 0.3}):
        run: Any = limited.graph().run(executor=executor, raise_on_failure=False)
    assert run["stubborn"].state.type == "TimedOut"
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_body_may_clean_up_at_its_timeout(executor: Any, tmp_path: Path) -> None:
    @task(timeout=1)
    def tidy() -> None:
        def leave(number: int, frame: object) -> None:
            (tmp_path / "tidied").write_text("yes")
            sys.exit(1)

        signal.signal(signal.SIGTERM, leave)
        time.sleep(600)

    @flow
    def limited() -> object:
        return tidy()

    run: Any = limited.graph().run(executor=executor, raise_on_failure=False)
    assert run["tidy"].state.type == "TimedOut"
    assert (tmp_path / "tidied").read_text() == "yes"


def test_an_isolated_body_runs_in_another_process_and_gives_its_value(executor: Any) -> None:
    @task(isolation="process")
    def inside(n: int) -> tuple[int, int]:
        return n, os.getpid()

    @task
    def outside(n: int) -> int:
        return os.getpid()

    @flow
    def isolated() -> object:
        return inside.options(outputs=1).map([1, 2]), outside.map(list(range(4)))

    run: Any = isolated.graph().run(executor=executor)
    values, workers = run.result()
    assert [n for n, _ in values] == [1, 2]
    assert not {pid for _, pid in values} & {*workers, os.getpid()}
