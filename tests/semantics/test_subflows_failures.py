"""What goes wrong in a deferred subflow is its own: bad parameters, exceptions, skips, values of another graph."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow import Skip, flow, task, triggers
from tests.semantics.conftest import Ledger


@task
def number(x: Any) -> Any:
    return x


@task
def small(n: int) -> str:
    return f"small {n}"


@flow
def route(n: int) -> object:
    return small(n)


def test_a_bad_parameter_at_run_time_fails_the_subflow_alone(executor: Any, ledger: Ledger) -> None:
    @task
    def apart() -> None:
        ledger.mark("apart")

    @flow
    def pipeline() -> object:
        apart()
        return number(route(number("many")))

    run: Any = pipeline.run(executor=executor, raise_on_failure=False)
    assert (run["route"].state.type, run["number-2"].state.type) == ("Failed", "TriggerFailed")
    assert "flow 'route': parameter 'n': got 'many', wanted int" in run.report
    assert ledger.lines() == ["apart"]


def test_names_of_arguments_are_checked_when_built() -> None:
    @flow
    def wrong() -> None:
        route(m=number(1))

    @flow
    def many() -> None:
        route(number(1), 2)

    with pytest.raises(ValueError, match=r"flow 'route': no parameter 'm'"):
        wrong.graph()
    with pytest.raises(ValueError, match=r"flow 'route': too many positional arguments"):
        many.graph()


@pytest.mark.parametrize(("error", "type"), [(ValueError("broken"), "Failed"), (Skip("nothing"), "Skipped")], ids=repr)
def test_what_a_body_of_a_subflow_raises_is_its_own(executor: Any, error: Exception, type: str) -> None:
    @flow
    def raising(n: int) -> object:
        number(n)
        raise error

    @task(trigger=triggers.all_finished, skip_on_upstream_skip=False)
    def after(value: Any) -> bool:
        return bool(value)

    @flow
    def pipeline() -> object:
        made = raising(number(1))
        return made, after(made)

    run: Any = pipeline.run(executor=executor, raise_on_failure=False)
    assert run["raising"].state.type == type
    assert str(error) in run["raising"].state.message
    assert run["after"].result() is False


def test_a_subflow_ends_as_what_it_returns_ends(executor: Any) -> None:
    @task
    def ends(how: str) -> str:
        if how == "fail":
            raise ValueError("inner trouble")
        raise Skip("inner skip")

    @flow
    def sub(how: str) -> object:
        return ends(how)

    @flow
    def pipeline() -> object:
        return sub(number("fail")), sub(number("skip"))

    run: Any = pipeline.run(executor=executor, raise_on_failure=False)
    assert (run["sub"].state.type, run["sub-2"].state.type) == ("Failed", "Skipped")
    assert "inner trouble" in run.report


def test_a_subflow_whose_argument_failed_is_not_built(executor: Any, ledger: Ledger) -> None:
    @task
    def broken() -> int:
        raise ValueError("no number")

    @flow
    def sub(n: int) -> object:
        ledger.mark("built")
        return number(n)

    @flow
    def pipeline() -> object:
        return sub(broken())

    run: Any = pipeline.run(executor=executor, raise_on_failure=False)
    assert run["sub"].state.type == "TriggerFailed"
    assert ledger.lines() == []


def refusal(pipeline: Any, executor: Any) -> str:
    """Why a run did not succeed; where values must travel, it is refused before anything runs."""
    try:
        run = pipeline.run(executor=executor, raise_on_failure=False)
    except TypeError as error:
        return str(error)
    assert run.state.type == "Failed"
    return str(run.report)


@pytest.mark.parametrize("returned", [False, True], ids=["used", "returned"])
def test_a_subflow_cannot_use_a_node_of_the_flow_around_it(executor: Any, returned: bool) -> None:
    @flow
    def pipeline() -> object:
        outside = number(1)

        @flow
        def sub(n: int) -> object:
            return outside if returned else number([n, outside])

        return sub(number(2))

    why = refusal(pipeline, executor)
    assert "'number'" in why
    assert "Pass it to the task as an argument" in why or "Use nodes only in the body of the flow" in why


def test_a_task_cannot_use_a_node_through_a_closure(executor: Any) -> None:
    @flow
    def pipeline() -> object:
        outside: Any = number(1)

        @task
        def sly(n: int) -> Any:
            return outside + n

        return sly(2), number(3)

    why = refusal(pipeline, executor)
    assert "'number'" in why
    assert "Pass it to the task as an argument" in why or "Use nodes only in the body of the flow" in why


def test_a_flow_can_be_run_in_a_running_task(executor: Any) -> None:
    @flow
    def inner(n: int) -> object:
        return number(n)

    @task
    def runs(n: int) -> Any:
        return inner.run(n, executor="sync").result()

    @flow
    def pipeline() -> object:
        return runs(4)

    assert pipeline.run(executor=executor).result() == 4
