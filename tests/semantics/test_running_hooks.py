"""Hooks of tasks and flows, and what a failed run says to its user."""

from __future__ import annotations

import logging
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from dataflow import RunFailed, Skip, TaskFailed, context, flow, get_run, task

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger


def hook(ledger: Ledger, name: str) -> Any:
    def called(who: Any, state: Any) -> None:
        ledger.mark(f"{name} {getattr(who, 'label', 'run')} {state.type}")

    return called


def test_hooks_of_a_task_are_called_with_it_and_its_state(executor: Any, ledger: Ledger) -> None:
    hooks = {name: hook(ledger, name) for name in ("on_success", "on_failure", "on_retry")}

    @task(retries=1, **hooks)
    def mixed(n: int) -> int:
        if n == 1:
            raise ValueError("no")
        if n == 2:
            raise Skip("nothing")
        if n == 3 and context().attempt == 1:
            raise ValueError("once")
        return n

    @flow
    def hooked() -> object:
        return mixed.map([0, 1, 2, 3]), mixed(0)

    hooked.graph().run(executor=executor, raise_on_failure=False)
    assert sorted(ledger.lines()) == [
        "on_failure mixed[1] Failed",
        "on_retry mixed[1] Retrying",
        "on_retry mixed[3] Retrying",
        "on_success mixed-2 Success",
        "on_success mixed[0] Success",
        "on_success mixed[2] Skipped",
        "on_success mixed[3] Success",
    ]


def test_on_state_sees_every_state_in_order(executor: Any, ledger: Ledger) -> None:
    @task(retries=1, retry_delay=0.02, on_state=hook(ledger, "task"))
    def fails() -> None:
        raise ValueError("no")

    @flow(on_state=hook(ledger, "flow"), on_failure=hook(ledger, "failure"), on_success=hook(ledger, "success"))
    def hooked() -> object:
        return fails()

    hooked.graph().run(executor=executor, raise_on_failure=False)
    assert [line for line in ledger.lines() if line.startswith("task")] == [
        f"task fails {state}" for state in ("Running", "Retrying", "Running", "Failed")
    ]
    assert [line for line in ledger.lines() if not line.startswith("task")] == [
        "flow run Running", "flow run Failed", "failure run Failed",
    ]  # fmt: skip


def test_a_hook_may_ask_the_task_run_and_the_run_everything(executor: Any, ledger: Ledger) -> None:
    def of_task(task_run: Any, state: Any) -> None:
        (line,) = [line.message for line in task_run.logs()]
        ledger.mark(
            f"{task_run.path} {task_run.index} {task_run.state.type} {task_run.attempt} {task_run.result()} {line}"
        )

    def of_flow(run: Any, state: Any) -> None:
        ledger.mark(f"{run.flow} {run.state.type} {run['one'].result()} {run.name == run.record.name}")

    @task(on_success=of_task)
    def one() -> int:
        logging.getLogger("app").info("hello")
        return 41

    @flow(on_success=of_flow)
    def hooked() -> object:
        return one()

    hooked.graph().run(executor=executor)
    assert ledger.lines() == ["one None Success 1 41 hello", "hooked Success 41 True"]


def test_an_error_in_a_hook_is_logged_and_changes_nothing(executor: Any, ledger: Ledger) -> None:
    def breaks(who: Any, state: Any) -> None:
        ledger.mark("hook")
        raise ZeroDivisionError("in the hook")

    @task(on_success=breaks, on_state=breaks)
    def one() -> int:
        return 1

    @task
    def two(value: int) -> int:
        return value + 1

    @flow(on_success=breaks)
    def hooked() -> object:
        return two(one())

    run: Any = hooked.graph().run(executor=executor)
    assert run.result() == 2
    assert ledger.counts() == {"hook": 4}
    errors = run.logs(level=logging.ERROR)
    assert len(errors) == 4
    assert all("ZeroDivisionError: in the hook" in line.message for line in errors)
    assert [line.path for line in errors] == ["one", "one", "one", None]
    recorded = run._store.hooks(run.id)
    assert [(row.hook, row.state) for row in recorded] == [
        ("on_state", "Running"), ("on_state", "Success"), ("on_success", "Success"), ("on_success", "Success"),
    ]  # fmt: skip
    assert all("in the hook" in row.error for row in recorded)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_hook_that_wants_to_leave_changes_nothing_either(executor: Any, error: type[BaseException]) -> None:
    def leaves(who: Any, state: Any) -> None:
        raise error("in the hook")

    @task(on_success=leaves)
    def one() -> int:
        return 1

    @flow
    def hooked() -> object:
        return one()

    run: Any = hooked.graph().submit(executor=executor).wait(60)
    assert run.state.type == "Success"
    assert "in the hook" in run.logs(level=logging.ERROR)[0].message


def test_hooks_are_called_by_the_driver_one_after_the_other(executor: Any, ledger: Ledger) -> None:
    def in_thread(who: Any, state: Any) -> None:
        ledger.mark(threading.get_ident())

    @task(on_state=in_thread)
    def one(n: int) -> int:
        return n

    @flow
    def hooked() -> object:
        return one.map(list(range(20)))

    run: Any = hooked.graph().run(executor=executor)
    assert len(ledger.lines()) == 40
    driver = threading.get_ident() if executor == "sync" else run._thread.ident
    assert set(ledger.lines()) == {str(driver)}


def test_hooks_of_a_state_that_the_plan_decided_are_called(executor: Any, ledger: Ledger) -> None:
    @task
    def fails() -> list[int]:
        raise ValueError("no")

    @task(on_failure=hook(ledger, "on_failure"))
    def child(n: int) -> int:
        return n

    @flow
    def hooked() -> object:
        return child.map(child.map(fails()))

    hooked.graph().run(executor=executor, raise_on_failure=False)
    assert sorted(ledger.lines()) == ["on_failure child TriggerFailed", "on_failure child-2 TriggerFailed"]


def test_hooks_are_called_again_when_the_run_is_retried(executor: Any, ledger: Ledger) -> None:
    @task(on_success=hook(ledger, "on_success"), on_failure=hook(ledger, "on_failure"))
    def second_time() -> int:
        ledger.mark("body")
        if ledger.counts()["body"] == 1:
            raise ValueError("the first time")
        return 1

    @flow(on_success=hook(ledger, "flow"))
    def hooked() -> object:
        return second_time()

    run: Any = hooked.graph().run(executor=executor, raise_on_failure=False)
    run.retry(executor=executor)
    assert ledger.lines() == [
        "body", "on_failure second_time Failed", "body", "on_success second_time Success", "flow run Success",
    ]  # fmt: skip


# What a failed run says -----------------------------------------------------------------------------------------------


@task
def parse(line: str) -> int:
    return int(helper(line))


def helper(line: str) -> str:
    return line.split("=")[1]


@task
def total(values: list[int]) -> int:
    return sum(values)


@flow
def prices(lines: list[str]) -> object:
    return total(parse.map(lines))


def test_run_failed_carries_the_run_and_its_report(executor: Any) -> None:
    with pytest.raises(RunFailed) as caught:
        prices.graph(["a=1", "b", "c", "d=x"]).run(executor=executor)
    run: Any = caught.value.run
    text = str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    assert run.state.type == "Failed"
    assert text == run.report
    assert run.name in text
    assert "prices" in text
    assert "parse [1, 2] (2 of them) Failed: IndexError: list index out of range" in text
    assert "parse [3] Failed: ValueError: invalid literal" in text
    assert "total TriggerFailed" in text
    assert "run.retry()" in text


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_report_shows_the_users_frames_only(executor: Any, isolation: str) -> None:
    isolated = parse.options(isolation=isolation)

    @flow
    def one() -> object:
        return isolated("b")

    run: Any = one.graph().run(executor=executor, raise_on_failure=False)
    files = [line for line in run.report.splitlines() if line.strip().startswith("File ")]
    assert [line.rpartition(" in ")[2] for line in files] == ["parse", "helper"]
    assert all(__file__ in line for line in files)
    assert 'return line.split("=")[1]' in run.report


def test_the_whole_traceback_is_on_record_too(executor: Any) -> None:
    run: Any = prices.graph(["b"]).run(executor=executor, raise_on_failure=False)
    details = run["parse[0]"].state.details
    assert "dataflow" in details["full"]
    assert "dataflow" not in details["text"].replace(__file__, "")


def test_the_traceback_of_run_failed_does_not_bury_the_report(executor: Any) -> None:
    with pytest.raises(RunFailed) as caught:
        prices.graph(["b"]).run(executor=executor)
    shown = "".join(traceback.format_exception(caught.value))
    assert "During handling" not in shown
    assert "direct cause" not in shown


def test_the_result_of_a_failed_run_raises_the_same(executor: Any) -> None:
    run: Any = prices.graph(["a=1", "b"]).run(executor=executor, raise_on_failure=False)
    with pytest.raises(RunFailed, match="list index out of range"):
        run.result()
    with pytest.raises(RunFailed, match="list index out of range"):
        get_run(run.id).result()
    assert run["parse[0]"].result() == 1
    with pytest.raises(TaskFailed, match=r"parse\[1\] has no result") as caught:
        run["parse[1]"].result()
    assert caught.value.state.type == "Failed"  # type: ignore[attr-defined]
