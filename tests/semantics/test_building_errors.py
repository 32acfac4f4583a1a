"""Every error of ours is also the builtin that fits, and says what to do instead."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import dataflow
import dataflow_executors
import dataflow_storage
from dataflow import errors, flow, task
from dataflow.errors import DataflowError
from tests.semantics.conftest import Ledger

BASES = (DataflowError, dataflow_executors.ExecutorError, dataflow_storage.StorageError)


def ours() -> Iterator[type[Exception]]:
    """Every class of error that a user can meet."""
    for module in (errors, dataflow, dataflow_executors, dataflow_storage):
        for name in dir(module):
            value = getattr(module, name)
            if inspect.isclass(value) and issubclass(value, BASES) and value not in BASES:
                yield value


@pytest.mark.parametrize("error", sorted(set(ours()), key=str), ids=str)
def test_every_error_is_also_a_builtin(error: type[Exception]) -> None:
    builtin = [base for base in error.__mro__ if base.__module__ == "builtins" and base is not Exception]
    assert set(builtin) - {BaseException, object}, error.__mro__


@task
def inner(x: int) -> int:
    return x + 1


def test_a_task_outside_a_flow_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"task 'inner' was called outside a flow.*inner\.fn\("):
        inner(1)
    with pytest.raises(RuntimeError, match=r"task 'inner' was called outside a flow.*inner\.fn\("):
        inner.map([1])


def test_a_flow_map_outside_a_flow_says_what_to_do() -> None:
    @flow
    def sub(x: int) -> object:
        return inner(x)

    with pytest.raises((ValueError, RuntimeError), match="in the body of a flow"):
        sub.map([1])


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("how", ["call", "map"])
def test_a_task_called_in_a_running_task_names_fn(executor: Any, isolation: str, how: str, ledger: Ledger) -> None:
    @task(isolation=isolation)
    def outer(x: int) -> object:
        return inner(x) if how == "call" else inner.map([x])

    @task
    def other() -> None:
        ledger.mark("other")

    @flow
    def nested() -> object:
        other()
        return outer(1)

    run: Any = nested.run(executor=executor, raise_on_failure=False)
    assert run["outer"].state.type == "Failed"
    assert "task 'inner' was called inside the running task 'outer'" in run.report
    assert "inner.fn(" in run.report
    assert ledger.lines() == ["other"]


def test_fn_of_a_task_can_be_called_in_a_running_task(executor: Any) -> None:
    @task
    def outer(x: int) -> int:
        return inner.fn(x) * 10

    @flow
    def nested() -> object:
        return outer(1)

    assert nested.run(executor=executor).result() == 20


def test_a_task_called_with_arguments_that_it_does_not_take() -> None:
    @flow
    def wrong() -> object:
        return inner(1, 2)

    @flow
    def misspelled() -> object:
        return inner(y=2)

    @flow
    def walked() -> object:
        return inner.map([1], z=[2])

    with pytest.raises(TypeError, match=r"task 'inner': too many positional arguments\. It takes inner\(x"):
        wrong.graph()
    with pytest.raises(TypeError, match=r"task 'inner': missing a required argument: 'x'"):
        misspelled.graph()
    with pytest.raises(TypeError, match=r"task 'inner': got an unexpected keyword argument 'z'"):
        walked.graph()


def test_unmapped_and_flatten_belong_to_map() -> None:
    @flow
    def wrong() -> object:
        return inner(dataflow.unmapped(1))

    @flow
    def flat() -> object:
        return inner(dataflow.flatten([[1]]))

    for built in (wrong, flat):
        with pytest.raises(TypeError, match=r"is only for \.map"):
            built.graph()


def test_a_node_of_one_graph_is_refused_in_another() -> None:
    kept: list[Any] = []

    @flow
    def first() -> object:
        kept.append(inner(1))
        return kept[0]

    @flow
    def second() -> object:
        return inner(kept[0])

    @flow
    def third() -> object:
        return kept[0]

    first.graph()
    for built in (second, third):
        with pytest.raises(DataflowError, match="'inner' belongs to"):
            built.graph()


def test_an_operator_on_a_node_of_a_complete_graph_is_refused() -> None:
    kept: list[Any] = []

    @flow
    def first() -> None:
        kept.append(inner(1))

    first.graph()
    with pytest.raises(RuntimeError, match="'inner' belongs to a graph that is complete"):
        kept[0] + 1


def test_a_failing_body_of_a_flow_raises_as_it_is_and_leaves_no_builder_behind() -> None:
    @flow
    def broken() -> None:
        inner(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        broken.graph()
    with pytest.raises(RuntimeError, match="outside a flow"):
        inner(1)
