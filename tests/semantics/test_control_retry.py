"""Retrying some of a run, and running it once more: what runs again, what is kept, and what an earlier life left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dataflow import flow, get_run, task
from dataflow.errors import CodeGone, NoSuchTask, NothingToRetry, ParameterError, RunNotResumable

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger

FACTOR = {"value": 1}


@task
def count(n: int) -> list[int]:
    return list(range(n))


def pipeline(ledger: Ledger) -> Any:
    @task
    def times(n: int) -> int:
        ledger.mark(f"times {n}")
        return n * FACTOR["value"]

    @task
    def plus(n: int) -> int:
        ledger.mark(f"plus {n}")
        return n + 1

    @task
    def total(values: list[int]) -> int:
        ledger.mark("total")
        return sum(values)

    @task
    def aside() -> str:
        ledger.mark("aside")
        return "aside"

    @flow
    def computing() -> object:
        return total(plus.map(times.map([1, 2, 3]))), aside()

    return computing


@pytest.fixture(autouse=True)
def factor() -> Any:
    FACTOR["value"] = 1
    yield
    FACTOR["value"] = 1


def test_a_retry_from_a_task_runs_it_and_all_that_follows_again(executor: Any, ledger: Ledger) -> None:
    run: Any = pipeline(ledger).run(executor=executor)
    assert run.result() == (9, "aside")
    FACTOR["value"] = 10
    run.retry(from_="plus", executor="threads:2")
    assert run.result() == (9, "aside")  # its inputs are kept
    run.retry(from_="times", executor="threads:2")
    assert run.result() == (63, "aside")
    again = ledger.counts()
    assert again["times 1"] == 2
    assert again["total"] == 3
    assert again["aside"] == 1
    assert get_run(run.id).result() == (63, "aside")


def test_a_retry_from_one_child_runs_what_follows_from_it_and_no_other_child(ledger: Ledger) -> None:
    run: Any = pipeline(ledger).run(executor="threads:2")
    FACTOR["value"] = 10
    run.retry(from_="times[1]", executor="threads:2")
    assert run.result() == (2 + 21 + 4, "aside")
    counts = ledger.counts()
    assert (counts["times 1"], counts["times 2"], counts["times 3"]) == (1, 2, 1)
    assert (counts["plus 1"], counts["plus 20"], counts["plus 3"]) == (1, 1, 1)
    assert counts["total"] == 2


def test_a_retry_that_dies_does_not_bring_back_what_it_was_to_replace(ledger: Ledger) -> None:
    run: Any = pipeline(ledger).run(executor="sync")
    FACTOR["value"] = 10
    run.retry(from_="times", executor="sync")
    # As if the record of what was done had been lost with the driver: results on disk are all there is.
    from dataflow.recovery import recall

    row = run.record
    known = recall(row, run._store, run._results).known
    values = {who: run._results.get(one.reference) for who, one in known.items() if one.reference}
    assert [values["times", index] for index in range(3)] == [10, 20, 30]


def test_a_retry_of_some_leaves_the_other_failures_alone(executor: Any, ledger: Ledger) -> None:
    @task
    def fails(n: int) -> int:
        ledger.mark(f"fails {n}")
        if n and ledger.counts()[f"fails {n}"] == 1:
            raise ValueError(f"no {n}")
        return n

    @task
    def plus(n: int) -> int:
        ledger.mark(f"plus {n}")
        return n + 1

    @flow
    def failing() -> object:
        return plus.map(fails.map([0, 1, 2]))

    run: Any = failing.run(executor=executor, raise_on_failure=False)
    assert run.counts == {"fails": {"Success": 1, "Failed": 2}, "plus": {"Success": 1, "TriggerFailed": 2}}
    planned = {one.path: (one.runs, one.kept) for one in run.plan(only="fails[1]")}
    assert planned == {"fails": (1, 2), "plus": (1, 2)}
    run.retry(only="fails[1]", executor="threads:2", raise_on_failure=False)
    assert run.state.type == "Failed"
    assert run.counts == {"fails": {"Success": 2, "Failed": 1}, "plus": {"Success": 2, "TriggerFailed": 1}}
    assert ledger.counts()["fails 2"] == 1
    with pytest.raises(NothingToRetry, match=r"fails\[0\]"):
        run.retry(only="fails[0]")
    run.retry(executor="threads:2")
    assert run.result() == [1, 2, 3]


def test_a_retry_from_within_a_subflow_keeps_the_rest_of_it(executor: Any, ledger: Ledger) -> None:
    @task
    def start(n: int) -> int:
        ledger.mark("start")
        return n

    @task
    def left(n: int) -> int:
        ledger.mark("left")
        return n * FACTOR["value"]

    @task
    def right(n: int) -> int:
        ledger.mark("right")
        return n

    @task
    def join(a: int, b: int) -> int:
        ledger.mark("join")
        return a + b

    @task
    def last(n: int) -> int:
        ledger.mark("last")
        return n

    @flow
    def inner(n: int) -> object:
        return join(left(n), right(n))

    @flow
    def outer() -> object:
        return last(inner(start(5)))

    run: Any = outer.run(executor=executor)
    FACTOR["value"] = 3
    run.retry(from_="inner/left", executor="threads:2")
    assert run.result() == 20
    assert ledger.counts() == {"start": 1, "left": 2, "right": 1, "join": 2, "last": 2}
    run.retry(from_="inner", executor="threads:2")
    assert ledger.counts() == {"start": 1, "left": 3, "right": 2, "join": 3, "last": 3}


def test_what_a_retry_is_told_is_checked_before_anything_runs(ledger: Ledger) -> None:
    run: Any = pipeline(ledger).run(executor="sync")
    for bad, near in (("tims", "times"), ("times[3]", "times"), ("total[0]", "total")):
        with pytest.raises(NoSuchTask, match=f"Did you mean '{near}'"):
            run.retry(from_=bad)
    with pytest.raises(RunNotResumable, match="nothing to retry"):
        run.retry()
    assert run.state.type == "Success"


def test_a_rerun_is_a_new_run_with_the_parameters_as_they_were_or_as_they_are_changed() -> None:
    run: Any = counting.run(n=3, executor="sync")
    again = run.rerun()
    assert again.id != run.id
    assert again.result() == [0, 1, 2]
    assert again.record.details["rerun_of"] == run.id
    assert get_run(run.id).rerun(n=2).result() == [0, 1]
    with pytest.raises(ParameterError, match="n"):
        run.rerun(n="many")
    with pytest.raises(ParameterError, match="no parameter 'm'"):
        run.rerun(m=2)


@flow
def counting(n: int) -> object:
    return count(n)


def test_a_rerun_of_a_flow_that_no_module_has_says_so() -> None:
    @flow
    def hidden() -> object:
        return count(2)

    run: Any = hidden.run(executor="sync")
    assert run.rerun().result() == [0, 1]  # this process has it
    with pytest.raises(CodeGone, match="defined in another session or in a function"):
        get_run(run.id).rerun()
