"""A run taken up again: retry keeps what succeeded, resume goes on after a cancel or a crash, cancel stops cleanly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dataflow import RunFailed, flow, get_run, task
from dataflow.errors import RunNotResumable
from tests.semantics.marks import have_heard

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger

PATIENCE = 60.0


def until(ready: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


@pytest.fixture
def open_gate(tmp_path: Path) -> Path:
    """A file: bodies fail until it is there."""
    return tmp_path / "gate"


@pytest.mark.parametrize("found_again", [False, True], ids=["same object", "get_run"])
def test_a_retry_keeps_what_succeeded(executor: Any, ledger: Ledger, open_gate: Path, found_again: bool) -> None:
    @task
    def fetch(n: int) -> int:
        ledger.mark(f"fetch {n}")
        return n

    @task
    def clean(n: int) -> int:
        ledger.mark(f"clean {n}")
        if n == 2 and not open_gate.exists():
            raise ValueError("closed")
        return n * 10

    @task
    def total(values: list[int]) -> int:
        ledger.mark("total")
        return sum(values)

    @flow
    def etl() -> object:
        cleaned = clean.map(fetch.map([0, 1, 2, 3]))
        return total(cleaned), cleaned

    run: Any = etl.graph().run(executor=executor, raise_on_failure=False)
    assert run.state.type == "Failed"
    first = ledger.counts()
    open_gate.touch()
    again: Any = get_run(run.id) if found_again else run
    again.retry(executor=executor)
    assert again.result() == (60, [0, 10, 20, 30])
    assert again.id == run.id
    assert ledger.counts() - first == {"clean 2": 1, "total": 1}
    assert again["clean[2]"].attempt == 2
    assert [child.attempt for child in again["fetch"]] == [1, 1, 1, 1]


def test_a_retry_that_fails_again_raises_and_can_be_retried(executor: Any, ledger: Ledger, open_gate: Path) -> None:
    @task(retries=1)
    def gated() -> int:
        ledger.mark("gated")
        if not open_gate.exists():
            raise ValueError("closed")
        return 1

    @flow
    def etl() -> object:
        return gated()

    run: Any = etl.graph().run(executor=executor, raise_on_failure=False)
    with pytest.raises(RunFailed):
        run.retry(executor=executor)
    assert ledger.counts() == {"gated": 4}, "a retry of the run has a new budget"
    open_gate.touch()
    run.retry(executor=executor)
    assert run.result() == 1
    assert run["gated"].attempt == 5


def test_a_retry_of_a_success_is_refused_and_says_what_to_do(executor: Any) -> None:
    @task
    def one() -> int:
        return 1

    @flow
    def etl() -> object:
        return one()

    run: Any = etl.graph().run(executor=executor)
    with pytest.raises(RunNotResumable, match="run the flow"):
        run.retry()
    with pytest.raises(RunNotResumable, match="nothing to resume"):
        run.resume()


def test_what_was_skipped_stays_skipped(executor: Any, ledger: Ledger, open_gate: Path) -> None:
    from dataflow import Skip

    @task
    def skips() -> int:
        ledger.mark("skips")
        raise Skip("nothing")

    @task
    def gated(*values: object) -> int:
        if not open_gate.exists():
            raise ValueError("closed")
        return 1

    @flow
    def etl() -> object:
        return gated(skips()), gated()

    run: Any = etl.graph().run(executor=executor, raise_on_failure=False)
    open_gate.touch()
    run.retry(executor=executor)
    assert run.state.type == "Success"
    assert run["gated"].state.type == "Skipped"
    assert ledger.counts() == {"skips": 1}


def test_values_that_were_not_stored_are_made_again_only_where_somebody_needs_them(
    executor: Any, ledger: Ledger, open_gate: Path
) -> None:
    @task(persist=False)
    def needed() -> int:
        ledger.mark("needed")
        return 1

    @task(persist=False)
    def used_up() -> int:
        ledger.mark("used up")
        return 2

    @task
    def keeps(value: int) -> int:
        ledger.mark("keeps")
        return value

    @task
    def gated(value: int, other: int) -> int:
        if not open_gate.exists():
            raise ValueError("closed")
        return value + other

    @flow
    def etl() -> object:
        return gated(needed(), keeps(used_up()))

    run: Any = etl.graph().run(executor=executor, raise_on_failure=False)
    open_gate.touch()
    run.retry(executor=executor)
    assert run.result() == 3
    assert ledger.counts() == {"needed": 2, "used up": 1, "keeps": 1}


@pytest.mark.parametrize("executor_name", ["threads:2", "cluster"])
def test_a_cancelled_run_finishes_what_runs_and_can_be_resumed(
    request: pytest.FixtureRequest, executor_name: str, ledger: Ledger, tmp_path: Path
) -> None:
    chosen: Any = request.getfixturevalue("client") if executor_name == "cluster" else executor_name
    release = tmp_path / "release"

    @task
    def first() -> int:
        ledger.mark("first")
        return 1

    @task
    def waits(value: int) -> int:
        ledger.mark("waits begins")
        while not release.exists():
            time.sleep(0.01)
        ledger.mark("waits ends")
        return value + 1

    @task
    def last(value: int) -> int:
        ledger.mark("last")
        return value + 1

    @flow
    def etl() -> object:
        return last(waits(first()))

    run: Any = etl.graph().submit(executor=chosen)
    until(lambda: ledger.counts()["waits begins"])
    assert run.state.type == "Running"
    with pytest.raises(RunNotResumable):
        run.retry()
    run.cancel()
    if executor_name == "cluster":
        until(lambda: have_heard(chosen))
    release.touch()
    run.wait(PATIENCE)
    assert run.state.type == "Cancelled"
    assert run.state.message.startswith("cancelled by ")
    assert ledger.counts() == {"first": 1, "waits begins": 1, "waits ends": 1}
    assert {one.path: one.state.type for one in run.task_runs}["first"] == "Success"
    assert run["last"].state.type == "Cancelled"
    with pytest.raises(RunFailed):
        run.result()
    run.resume(executor=chosen)
    assert run.result() == 3
    assert ledger.counts() == {"first": 1, "waits begins": 1, "waits ends": 1, "last": 1}


@pytest.mark.parametrize("executor_name", ["threads:2", "cluster"])
def test_a_cancelled_map_starts_no_more_children(
    request: pytest.FixtureRequest, executor_name: str, ledger: Ledger, tmp_path: Path
) -> None:
    chosen: Any = request.getfixturevalue("client") if executor_name == "cluster" else executor_name
    release = tmp_path / "release"

    @task
    def child(n: int) -> int:
        ledger.mark(n)
        while not release.exists():
            time.sleep(0.01)
        return n

    @flow
    def etl() -> object:
        return child.map(list(range(50)))

    run: Any = etl.graph().submit(executor=chosen)
    until(lambda: len(ledger.lines()) == 2)
    run.cancel()
    release.touch()
    run.wait(PATIENCE)
    assert run.state.type == "Cancelled"
    assert len(ledger.lines()) <= 4
    begun = [int(line) for line in ledger.lines()]
    counted = run.counts["child"]
    assert counted["Cancelled"] == 50 - counted.get("Success", 0)
    assert counted["Success"] >= 2
    run.resume(executor=chosen)
    assert run.result() == list(range(50))
    assert all(ledger.counts()[str(n)] == 1 for n in begun)
    assert len(ledger.lines()) == 50


def test_a_cancel_of_a_waiting_retry_does_not_wait_for_it(executor: Any, ledger: Ledger) -> None:
    if executor == "sync":
        return  # nobody could cancel: the run is in this very thread

    @task(retries=1, retry_delay=3600)
    def later() -> None:
        ledger.mark("later")
        raise ValueError("not yet")

    @flow
    def etl() -> object:
        return later()

    run: Any = etl.graph().submit(executor=executor)
    until(lambda: run.counts.get("later", {}).get("Retrying"))
    run.cancel()
    run.wait(PATIENCE)
    assert run.state.type == "Cancelled"
    assert run["later"].state.type == "Cancelled"
    assert ledger.counts() == {"later": 1}


def test_a_cancel_of_a_run_that_is_over_changes_nothing(executor: Any) -> None:
    @task
    def one() -> int:
        return 1

    @flow
    def etl() -> object:
        return one()

    run: Any = etl.graph().run(executor=executor)
    run.cancel()
    get_run(run.id).cancel()
    assert run.state.type == "Success"


async def waited(graph: Any, executor: Any) -> Any:
    import asyncio

    first, second = await asyncio.gather(graph.arun(executor=executor), graph.arun(executor=executor))
    submitted = await graph.submit(executor=executor)
    return first, second, submitted


def test_runs_can_be_awaited_and_run_at_the_same_time(executor: Any) -> None:
    import asyncio

    @task
    def one(n: int) -> int:
        return n

    @flow
    def etl() -> object:
        return one.map([1, 2, 3])

    runs = asyncio.run(waited(etl.graph(), executor))
    assert [run.result() for run in runs] == [[1, 2, 3]] * 3
    assert len({run.id for run in runs}) == 3
    assert len({run.name for run in runs}) == 3


def test_submit_returns_before_the_run_is_over(executor: Any, tmp_path: Path) -> None:
    if executor == "sync":
        return  # it runs in this very thread

    release = tmp_path / "release"

    @task
    def waits() -> int:
        while not release.exists():
            time.sleep(0.01)
        return 1

    @flow
    def etl() -> object:
        return waits()

    run: Any = etl.graph().submit(executor=executor)
    assert run.state.type in ("Pending", "Running")
    assert run["waits"].state.type in ("Pending", "Running")
    assert run.wait(0.05) is run
    assert run.state.type in ("Pending", "Running")
    release.touch()
    assert run.wait(PATIENCE).result() == 1
