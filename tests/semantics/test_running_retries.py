"""Retries: how often, after how long, on what; and that waiting for an attempt holds no worker."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dataflow import Fail, Retry, backoff, context, flow, task, unmapped

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger


def attempts_of(run: Any, path: str, index: int = -1) -> list[tuple[int, str]]:
    return [(row.attempt, row.state) for row in run._store.attempts(run.id, path, index)]


def waits_of(run: Any, path: str, index: int = -1) -> list[float]:
    """Seconds between each failure and the attempt after it."""
    rows = run._store.transitions(run.id, path=path, idx=index)
    times = {state: [row.time for row in rows if row.state == state] for state in ("Retrying", "Running")}
    return [again - failed for failed, again in zip(times["Retrying"], times["Running"][1:], strict=True)]


@pytest.mark.parametrize("delay", [0, 0.02], ids=["at once", "later"])
def test_a_body_runs_once_and_once_more_for_each_retry(executor: Any, ledger: Ledger, delay: float) -> None:
    @task(retries=3, retry_delay=delay)
    def never() -> None:
        ledger.mark(context().attempt)
        raise ValueError("never")

    @flow
    def tries() -> object:
        return never()

    run: Any = tries.graph().run(executor=executor, raise_on_failure=False)
    assert ledger.lines() == ["1", "2", "3", "4"]
    assert run["never"].state.type == "Failed"
    assert run["never"].attempt == 4
    assert attempts_of(run, "never") == [(1, "Retrying"), (2, "Retrying"), (3, "Retrying"), (4, "Failed")]


@pytest.mark.parametrize("delay", [0, 0.02], ids=["at once", "later"])
def test_the_first_attempt_that_succeeds_is_the_last(executor: Any, ledger: Ledger, delay: float) -> None:
    @task(retries=5, retry_delay=delay)
    def third() -> int:
        ledger.mark("body")
        if context().attempt < 3:
            raise ValueError("not yet")
        return context().attempt

    @task
    def follows(value: int) -> int:
        return value + 1

    @flow
    def tries() -> object:
        return follows(third())

    run: Any = tries.graph().run(executor=executor)
    assert run.result() == 4
    assert ledger.counts() == {"body": 3}
    assert run["third"].attempt == 3


def test_each_child_has_a_budget_of_its_own(executor: Any, ledger: Ledger) -> None:
    @task(retries=2, retry_delay=0.02)
    def flaky(n: int) -> int:
        ledger.mark(n)
        if context().attempt <= n:
            raise ValueError(n)
        return n

    @flow
    def tries() -> object:
        return flaky.map(list(range(5)))

    run: Any = tries.graph().run(executor=executor, raise_on_failure=False)
    assert ledger.counts() == {"0": 1, "1": 2, "2": 3, "3": 3, "4": 3}
    assert [child.state.type for child in run["flaky"]] == ["Success"] * 3 + ["Failed"] * 2
    assert [child.attempt for child in run["flaky"]] == [1, 2, 3, 3, 3]


def test_in_a_chain_of_maps_only_the_failed_stage_runs_again(executor: Any, ledger: Ledger) -> None:
    @task
    def first(n: int) -> int:
        ledger.mark(f"first {n}")
        return n

    @task(retries=1, retry_delay=0.02)
    def second(n: int) -> int:
        ledger.mark(f"second {n}")
        if n == 1 and context().attempt == 1:
            raise ValueError(n)
        return n

    @task
    def third(n: int) -> int:
        ledger.mark(f"third {n}")
        return n

    @flow
    def chain() -> object:
        return third.map(second.map(first.map([0, 1, 2])))

    assert chain.graph().run(executor=executor).result() == [0, 1, 2]
    wanted = {f"{name} {n}": 1 for name in ("first", "second", "third") for n in range(3)}
    assert ledger.counts() == {**wanted, "second 1": 2}


@pytest.mark.parametrize(
    ("delay", "wanted"),
    [
        (0.03, [0.03, 0.03, 0.03]),
        (timedelta(milliseconds=30), [0.03, 0.03, 0.03]),
        ([0.01, timedelta(seconds=0.05)], [0.01, 0.05, 0.05]),
        (backoff(0.01, factor=3), [0.01, 0.03, 0.09]),
        (backoff(0.01, factor=10, max=0.04), [0.01, 0.04, 0.04]),
        (lambda attempt: attempt / 50, [0.02, 0.04, 0.06]),
        ([0, 0.05, 0], [0.0, 0.05, 0.0]),
    ],
    ids=["seconds", "timedelta", "list", "backoff", "backoff with a limit", "callable", "list with zeros"],
)
def test_each_attempt_waits_at_least_its_delay(executor: Any, delay: Any, wanted: list[float]) -> None:
    @task(retries=3, retry_delay=delay)
    def never() -> None:
        raise ValueError("never")

    @flow
    def tries() -> object:
        return never()

    run: Any = tries.graph().run(executor=executor, raise_on_failure=False)
    waits = waits_of(run, "never")
    assert len(waits) == 3
    # Times are on record to the microsecond.
    assert all(waited > least - 1e-4 for waited, least in zip(waits, wanted, strict=True)), waits


def test_retries_without_a_delay_stay_in_their_dask_task(executor: Any) -> None:
    @task(retries=3)
    def fourth() -> int:
        if context().attempt < 4:
            raise ValueError("not yet")
        return 4

    @flow
    def tries() -> object:
        return fourth()

    run: Any = tries.graph().run(executor=executor)
    assert run._driver.fragments == 1


class Unavailable(ConnectionError):
    """For tests."""


@pytest.mark.parametrize(
    ("retry_on", "bodies"),
    [(ConnectionError, 3), (Unavailable, 3), ((KeyError, OSError), 3), (ValueError, 1), ((KeyError, ValueError), 1)],
)
def test_only_what_retry_on_names_is_tried_again(executor: Any, ledger: Ledger, retry_on: Any, bodies: int) -> None:
    @task(retries=2, retry_on=retry_on)
    def down() -> None:
        ledger.mark("body")
        raise Unavailable("down")

    @flow
    def tries() -> object:
        return down()

    run: Any = tries.graph().run(executor=executor, raise_on_failure=False)
    assert ledger.counts() == {"body": bodies}
    assert run["down"].state.type == "Failed"


def test_retry_if_decides_with_the_exception_in_hand(executor: Any, ledger: Ledger) -> None:
    @task(retries=5, retry_if=lambda error: error.args[0] < 3)
    def counted() -> None:
        ledger.mark("body")
        raise ValueError(context().attempt)

    @flow
    def tries() -> object:
        return counted()

    tries.graph().run(executor=executor, raise_on_failure=False)
    assert ledger.counts() == {"body": 3}


def broken_predicate(error: BaseException) -> bool:
    raise ZeroDivisionError("in the predicate")


def broken_delay(attempt: int) -> float:
    raise ZeroDivisionError("in the delay")


def no_number(attempt: int) -> Any:
    return "soon"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retry_if": broken_predicate}, "in the predicate"),
        ({"retry_delay": broken_delay}, "in the delay"),
        ({"retry_delay": no_number}, "soon"),
    ],
    ids=["predicate", "delay", "delay that is no number"],
)
def test_a_retry_policy_that_breaks_fails_its_task_and_says_both(
    executor: Any, ledger: Ledger, options: dict[str, Any], told: str
) -> None:
    @task(retries=3, **options)
    def breaks() -> None:
        ledger.mark("body")
        raise KeyError("the body's own")

    @task
    def neighbour() -> int:
        return 1

    @flow
    def tries() -> object:
        return breaks(), neighbour()

    run: Any = tries.graph().run(executor=executor, raise_on_failure=False)
    assert ledger.counts() == {"body": 1}
    state = run["breaks"].state
    assert state.type == "Failed"
    assert "the body's own" in state.message
    assert told in state.message
    assert run["neighbour"].result() == 1


def test_the_retry_signal_stays_within_the_budget(executor: Any, ledger: Ledger) -> None:
    @task(retries=2, retry_on=KeyError)
    def asks() -> None:
        ledger.mark("body")
        raise Retry("not ready")

    @flow
    def tries() -> object:
        return asks()

    run: Any = tries.graph().run(executor=executor, raise_on_failure=False)
    assert ledger.counts() == {"body": 3}
    assert (run["asks"].state.type, run["asks"].state.message) == ("Failed", "not ready")


def test_the_retry_signal_of_a_task_without_retries_fails_it(executor: Any, ledger: Ledger) -> None:
    @task
    def asks() -> None:
        ledger.mark("body")
        raise Retry("not ready", delay=60)

    @flow
    def tries() -> object:
        return asks()

    run: Any = tries.graph().run(executor=executor, raise_on_failure=False)
    assert ledger.counts() == {"body": 1}
    assert run["asks"].state.type == "Failed"


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
def test_the_delay_of_the_retry_signal_beats_the_policy(executor: Any, mapped: bool) -> None:
    @task(retries=1, retry_delay=600)
    def asks(n: int) -> int:
        if context().attempt == 1:
            raise Retry("not ready", delay=0.05)
        return n

    @task
    def total(values: list[int]) -> int:
        return sum(values)

    @flow
    def tries() -> object:
        return total(asks.map([1, 2, 3]) if mapped else [asks(n) for n in (1, 2, 3)])

    run: Any = tries.graph().run(executor=executor)
    assert run.result() == 6
    (waited,) = waits_of(run, "asks", 0 if mapped else -1)
    assert 0.05 - 1e-4 < waited < 600


def test_the_delay_of_the_retry_signal_works_where_the_policy_has_none(executor: Any) -> None:
    """Nothing in the options tells that this task may wait."""

    @task(retries=1)
    def asks() -> int:
        if context().attempt == 1:
            raise Retry(delay=0.05)
        return 5

    @task(persist=False)
    def source() -> int:
        return 10

    @task
    def joins(a: int, b: int) -> int:
        return a + b

    @flow
    def tries() -> object:
        return joins(source(), asks())

    assert tries.graph().run(executor=executor).result() == 15


def test_the_fail_signal_is_not_tried_again(executor: Any, ledger: Ledger) -> None:
    @task(retries=3, retry_on=Exception)
    def stops() -> None:
        ledger.mark("body")
        raise Fail("the file is empty")

    @flow
    def tries() -> object:
        return stops()

    run: Any = tries.graph().run(executor=executor, raise_on_failure=False)
    assert ledger.counts() == {"body": 1}
    assert (run["stops"].state.type, run["stops"].state.message) == ("Failed", "the file is empty")


def test_a_wait_for_an_attempt_holds_no_worker(executor: Any, ledger: Ledger) -> None:
    """Two slots, 20 children that all wait: a wait that held a slot would keep the others from their first try."""

    @task(retries=1, retry_delay=1.5)
    def twice(n: int, word: str) -> int:
        ledger.mark("again" if context().attempt == 2 else "first")
        if context().attempt == 1:
            raise ValueError("the first time")
        return n

    @task
    def plain(*upstream: object) -> None:
        ledger.mark("plain")

    @flow
    def waits() -> object:
        return twice.map(list(range(20)), unmapped("word")), plain(plain(plain()))

    run: Any = waits.graph().run(executor=executor)
    lines = ledger.lines()
    assert ledger.counts() == {"first": 20, "again": 20, "plain": 3}
    assert sorted(lines[:23]) == ["first"] * 20 + ["plain"] * 3
    assert run.result()[0] == list(range(20))


def test_what_follows_a_wait_is_submitted_again_once(executor: Any, ledger: Ledger) -> None:
    """Ten tasks come back at ten moments; what joins them runs once, and was sent a second time once."""

    @task(retries=1)
    def late(n: int) -> int:
        if context().attempt == 1:
            raise Retry(delay=0.03 * (n + 1))
        return n

    @task
    def joins(values: list[int]) -> int:
        ledger.mark("joins")
        return sum(values)

    @flow
    def tries() -> object:
        return joins([late(n) for n in range(10)])

    run: Any = tries.graph().run(executor=executor)
    assert run.result() == 45
    assert ledger.counts() == {"joins": 1}
    assert run._driver.fragments <= 12
