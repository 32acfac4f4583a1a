"""What waits for a person: the manual trigger, Pause in a body, and how resume lets it go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dataflow import Pause, context, flow, get_run, task, triggers

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger


def states_of(run: Any) -> dict[str, str]:
    return {one.label: one.state.type for one in run.task_runs}


def test_a_manual_trigger_pauses_the_run_until_somebody_resumes_it(executor: Any, ledger: Ledger) -> None:
    @task
    def before() -> int:
        ledger.mark("before")
        return 1

    @task(trigger=triggers.manual)
    def approved(value: int) -> int:
        ledger.mark("approved")
        return value + 1

    @task
    def after(value: int) -> int:
        ledger.mark("after")
        return value + 1

    @flow
    def release() -> object:
        return after(approved(before()))

    run: Any = release.graph().run(executor=executor)
    assert run.state.type == "Paused"
    assert "resume" in run.state.message
    assert states_of(run) == {"before": "Success", "approved": "Paused"}
    assert run["approved"].state.message == "waits for approval"
    assert ledger.counts() == {"before": 1}
    run.resume(executor=executor)
    assert run.state.type == "Success"
    assert run.result() == 3
    assert ledger.counts() == {"before": 1, "approved": 1, "after": 1}
    sequence = [row.state for row in run._store.transitions(run.id, path="approved")]
    assert sequence == ["Paused", "Pending", "Running", "Success"]
    assert [row.state for row in run._store.transitions(run.id) if row.path is None] == [
        "Running", "Paused", "Running", "Success",
    ]  # fmt: skip


def test_a_paused_run_can_be_resumed_by_its_name(executor: Any, ledger: Ledger) -> None:
    @task(trigger=triggers.manual)
    def approved() -> int:
        ledger.mark("approved")
        return 7

    @flow
    def release() -> object:
        return approved()

    paused: Any = release.graph().run(executor=executor)
    run: Any = get_run(paused.name).resume(executor=executor)
    assert run.result() == 7
    assert ledger.counts() == {"approved": 1}


def test_a_manual_task_whose_upstream_failed_does_not_ask(executor: Any) -> None:
    @task
    def fails() -> int:
        raise ValueError("no")

    @task(trigger=triggers.manual)
    def approved(value: int) -> int:
        return value

    @flow
    def release() -> object:
        return approved(fails())

    run: Any = release.graph().run(executor=executor, raise_on_failure=False)
    assert states_of(run) == {"fails": "Failed", "approved": "TriggerFailed"}
    assert run.state.type == "Failed"


def test_a_manual_trigger_over_another_one_asks_when_that_would_start_it(executor: Any) -> None:
    @task
    def fails() -> int:
        raise ValueError("no")

    @task(trigger=triggers.Manual(triggers.any_failed))
    def cleans_up(value: Any) -> str:
        return repr(value)

    @flow
    def release() -> object:
        return cleans_up(fails())

    run: Any = release.graph().run(executor=executor)
    assert run.state.type == "Paused"
    run.resume(executor=executor)
    assert run.result() == "Missing(Failed: ValueError: no)"


def test_children_wait_for_approval_alone(executor: Any, ledger: Ledger) -> None:
    @task
    def first(n: int) -> int:
        ledger.mark(f"first {n}")
        return n

    @task(trigger=triggers.manual)
    def approved(n: int) -> int:
        ledger.mark(f"approved {n}")
        return n * 10

    @task
    def total(values: list[int]) -> int:
        ledger.mark("total")
        return sum(values)

    @flow
    def release() -> object:
        return total(approved.map(first.map([1, 2, 3])))

    run: Any = release.graph().run(executor=executor)
    assert run.state.type == "Paused"
    assert [child.state.type for child in run["approved"]] == ["Paused"] * 3
    run.resume(executor=executor)
    assert run.result() == 60
    assert set(ledger.counts().values()) == {1}
    assert len(ledger.counts()) == 7


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
def test_each_of_two_manual_tasks_in_a_row_is_asked_for(executor: Any, ledger: Ledger, mapped: bool) -> None:
    @task(trigger=triggers.manual)
    def one(n: int) -> int:
        ledger.mark("one")
        return n

    @task(trigger=triggers.manual)
    def two(n: int) -> int:
        ledger.mark("two")
        return n

    @flow
    def release() -> object:
        return two.map(one.map([5])) if mapped else two(one(5))

    run: Any = release.graph().run(executor=executor)
    assert ledger.counts() == {}
    run.resume(executor=executor)
    assert run.state.type == "Paused"
    assert ledger.counts() == {"one": 1}
    run.resume(executor=executor)
    assert run.state.type == "Success"
    assert ledger.counts() == {"one": 1, "two": 1}


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_body_that_pauses_runs_again_when_resumed_and_knows_it(executor: Any, ledger: Ledger, isolation: str) -> None:
    @task(isolation=isolation)
    def asks(n: int) -> int:
        ledger.mark(f"{n} {context().resumed}")
        if n == 1 and not context().resumed:
            raise Pause("is this right?")
        return n

    @task
    def total(values: list[int]) -> int:
        ledger.mark("total")
        return sum(values)

    @flow
    def release() -> object:
        return total(asks.map([0, 1, 2])), asks(1)

    run: Any = release.graph().run(executor=executor)
    assert run.state.type == "Paused"
    assert [child.state.type for child in run["asks"]] == ["Success", "Paused", "Success"]
    assert run["asks[1]"].state.message == run["asks-2"].state.message == "is this right?"
    run.resume(executor=executor)
    assert run.result() == (3, 1)
    assert ledger.counts() == {"0 False": 1, "2 False": 1, "1 False": 2, "1 True": 2, "total": 1}


def test_a_body_may_pause_more_than_once(executor: Any, ledger: Ledger) -> None:
    @task
    def asks() -> int:
        ledger.mark("body")
        if ledger.counts()["body"] < 3:
            raise Pause("again")
        return 3

    @flow
    def release() -> object:
        return asks()

    run: Any = release.graph().run(executor=executor)
    for _ in range(2):
        assert run.state.type == "Paused"
        run.resume(executor=executor)
    assert run.result() == 3
    assert ledger.counts() == {"body": 3}


def test_a_pause_is_no_attempt_of_the_retry_budget(executor: Any, ledger: Ledger) -> None:
    @task(retries=1)
    def asks() -> int:
        ledger.mark("body")
        bodies = ledger.counts()["body"]
        if bodies == 1:
            raise Pause("first")
        if bodies == 2:
            raise ValueError("once")
        return bodies

    @flow
    def release() -> object:
        return asks()

    run: Any = release.graph().run(executor=executor)
    run.resume(executor=executor)
    assert run.result() == 3


def test_what_does_not_wait_goes_on_while_something_is_paused(executor: Any, ledger: Ledger) -> None:
    @task
    def asks() -> None:
        raise Pause("wait")

    @task(retries=1, retry_delay=0.1)
    def late() -> None:
        ledger.mark("late")
        if context().attempt == 1:
            raise ValueError("not yet")

    @flow
    def release() -> object:
        return asks(), late()

    run: Any = release.graph().run(executor=executor)
    assert run.state.type == "Paused"
    assert ledger.counts() == {"late": 2}
    assert states_of(run) == {"asks": "Paused", "late": "Success"}


def test_values_that_were_not_stored_are_made_again_for_what_was_paused(executor: Any, ledger: Ledger) -> None:
    @task(persist=False)
    def source() -> int:
        ledger.mark("source")
        return 20

    @task(trigger=triggers.manual)
    def approved(value: int) -> int:
        ledger.mark("approved")
        return value + 1

    @flow
    def release() -> object:
        return approved(source())

    run: Any = release.graph().run(executor=executor)
    run.resume(executor=executor)
    assert run.result() == 21
    assert ledger.counts()["approved"] == 1


def test_a_paused_run_that_is_cancelled_is_cancelled(executor: Any) -> None:
    @task
    def asks() -> None:
        raise Pause("wait")

    @flow
    def release() -> object:
        return asks()

    run: Any = release.graph().run(executor=executor)
    run.cancel()
    assert run.state.type == "Cancelled"
    assert run["asks"].state.type == "Cancelled"
