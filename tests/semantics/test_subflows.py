"""A flow called in a flow: inlined with plain arguments, else a subflow whose body runs once its arguments exist."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import pytest

from dataflow import flow, task
from tests.semantics.conftest import Ledger


@task
def number(x: Any) -> Any:
    return x


@task
def add(a: Any, b: Any) -> Any:
    return a + b


@task
def big(n: int) -> str:
    return f"big {n}"


@task
def small(n: int) -> str:
    return f"small {n}"


@flow
def route(n: int) -> object:
    return big(n) if n > 1000 else small(n)


def paths(graph: Any) -> list[str]:
    return [node.path for node in graph.nodes]


# Inlined --------------------------------------------------------------------------------------------------------------


@flow
def report(x: int) -> object:
    cleaned = number(x)
    return {"sum": add(cleaned, x), "clean": cleaned}


@flow
def outer(x: int) -> object:
    first: Any = report(x)
    second: Any = report(x=str(x + 1))
    return add(first["sum"], second["sum"])


def test_a_flow_with_plain_arguments_is_inlined_under_its_name() -> None:
    graph = outer.graph(1)
    assert paths(graph) == ["report/number", "report/add", "report-2/number", "report-2/add", "add"]
    assert [node.group for node in graph.nodes] == ["report", "report", "report-2", "report-2", ""]


def test_an_inlined_flow_gives_what_it_returns_and_converts_its_parameters(executor: Any) -> None:
    assert outer.run(1, executor=executor).result() == 2 + 4


def test_flows_nest_in_flows_by_path() -> None:
    @flow
    def highest() -> None:
        outer(5)
        number(1)

    assert paths(highest.graph()) == [
        "outer/report/number",
        "outer/report/add",
        "outer/report-2/number",
        "outer/report-2/add",
        "outer/add",
        "number",
    ]


def test_a_bad_parameter_of_an_inlined_flow_is_told_when_built() -> None:
    @flow
    def wrong() -> None:
        report("x")

    with pytest.raises(ValueError, match="flow 'report': parameter 'x': got 'x', wanted int"):
        wrong.graph()


def test_paths_under_an_inlined_flow_go_on_after_an_exception_that_was_caught() -> None:
    @flow
    def broken() -> None:
        number(1)
        raise KeyError("mine")

    @flow
    def careful() -> None:
        try:
            broken()
        except KeyError:
            number(2)

    assert paths(careful.graph()) == ["broken/number", "number"]


# Deferred -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "path", "value"), [(5, "route/small", "small 5"), (5000, "route/big", "big 5000")])
def test_a_flow_with_a_node_is_built_when_the_value_exists(executor: Any, rows: int, path: str, value: str) -> None:
    @flow
    def pipeline(n: int) -> object:
        return route(number(n))

    graph = pipeline.graph(rows)
    assert paths(graph) == ["number", "route"]
    run: Any = pipeline.run(rows, executor=executor)
    assert run.result() == value
    assert run[path].result() == value
    assert run["route"].state.type == "Success"
    assert [one.path for one in run.task_runs] == ["number", "route", path]


def test_a_node_deep_in_an_argument_defers_too(executor: Any) -> None:
    @flow
    def deep(items: dict[str, list[int]], scale: int = 1) -> object:
        return [number(scale * x) for x in items["k"]]

    @flow
    def pipeline() -> object:
        return deep({"k": [number(1), 2]}, scale=number("3"))

    run: Any = pipeline.run(executor=executor)
    assert run.result() == [3, 6]
    assert run["deep/number-2"].result() == 6


@dataclass
class Shape:
    """A shape to return from a subflow."""

    total: Any
    rest: Any


def test_a_subflow_gives_its_outputs_in_the_shape_it_returned(executor: Any) -> None:
    @flow
    def shaped(n: int) -> object:
        a, b = number(n), number(n + 1)
        return {
            "list": [a, b],
            "tuple": (b, {"deep": a}),
            "plain": n,
            "map": number.map([a, n]),
            "shape": Shape(a, None),
        }

    @flow
    def pipeline() -> object:
        made: Any = shaped(number(1))
        return made, made["list"][1], number(made["tuple"])

    result: Any = pipeline.run(executor=executor).result()
    shape = {"list": [1, 2], "tuple": (2, {"deep": 1}), "plain": 1, "map": [1, 1], "shape": Shape(1, None)}
    assert result == (shape, 2, (2, {"deep": 1}))


@pytest.mark.parametrize("value", [None, 7, [1, 2], "text"], ids=repr)
def test_a_subflow_that_calls_no_task_gives_its_value(executor: Any, value: Any) -> None:
    @flow
    def constant(n: int) -> object:
        return value

    @flow
    def pipeline() -> object:
        return number(constant(number(1)))

    assert pipeline.run(executor=executor).result() == value


def test_a_subflow_may_return_nothing_and_what_follows_waits_for_its_nodes(executor: Any, ledger: Ledger) -> None:
    @task
    def step(name: str) -> None:
        ledger.mark(name)

    @flow
    def returned(n: int) -> object:
        return [step("inner") for _ in range(n)]

    @flow
    def pipeline() -> None:
        step("after", wait_for=[returned(number(2))])  # type: ignore[list-item]

    pipeline.run(executor=executor)
    assert ledger.lines() == ["inner", "inner", "after"]


def test_a_node_beside_the_returned_one_runs_and_decides_the_runs_state(executor: Any, ledger: Ledger) -> None:
    @task
    def broken() -> None:
        ledger.mark("broken")
        raise ValueError("beside")

    @flow
    def sub(n: int) -> object:
        broken()
        return number(n)

    @flow
    def pipeline() -> object:
        return sub(number(1))

    run: Any = pipeline.run(executor=executor, raise_on_failure=False)
    assert ledger.lines() == ["broken"]
    assert run["sub/broken"].state.type == "Failed"
    assert run["sub"].result() == 1
    assert run.state.type == "Failed"


@flow
def poll(job: dict[str, Any]) -> object:
    return job if job["done"] else poll(check(job))


@task
def check(job: dict[str, Any]) -> dict[str, Any]:
    tries = job["tries"] + 1
    return {"tries": tries, "done": tries >= 5}


def test_a_flow_that_calls_itself_is_a_loop_of_durable_steps(executor: Any) -> None:
    @flow
    def pipeline() -> object:
        return poll(number({"tries": 0, "done": False}))

    run: Any = pipeline.run(executor=executor)
    assert run.result() == {"tries": 5, "done": True}
    checks = [one.path for one in run.task_runs if one.path.endswith("check")]
    assert len(checks) == len(set(checks)) == 5
    assert all(run[path].state.type == "Success" for path in checks)


def test_recursion_of_depth_1000_needs_no_deep_stack(ledger: Ledger) -> None:
    @flow
    def countdown(n: int, limit: int) -> object:
        ledger.mark("build")
        assert len(_stack()) < limit, "the stack grows"
        return countdown(add(n, -1), limit) if n else number("done")

    @flow
    def pipeline(n: int) -> object:
        return countdown(number(n), 200)

    run: Any = pipeline.run(1000, executor="threads:2")
    assert run.result() == "done"
    assert ledger.counts() == {"build": 1001}


def _stack() -> list[str]:
    frame: Any = sys._getframe()
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_recursion_works_on_every_executor(executor: Any) -> None:
    @flow
    def factorial(n: int) -> object:
        if n <= 1:
            return 1
        rest: Any = factorial(add(n, -1))
        return multiply(rest, n)

    @task
    def multiply(a: int, b: int) -> int:
        return a * b

    @flow
    def pipeline() -> object:
        return factorial(number(12))

    assert pipeline.run(executor=executor).result() == 479001600


def test_recursion_that_branches(executor: Any, ledger: Ledger) -> None:
    @flow
    def fib(n: int) -> object:
        if n < 2:
            return number(n)
        ledger.mark("split")
        return add(fib(add(n, -1)), fib(add(n, -2)))

    @flow
    def pipeline() -> object:
        return fib(number(6))

    assert pipeline.run(executor=executor).result() == 8
    assert ledger.counts() == {"split": 12}


def test_deferred_flows_nest(executor: Any) -> None:
    @flow
    def inner(n: int) -> object:
        return add(n, 1)

    @flow
    def middle(n: int) -> object:
        return inner(add(n, 10)), inner(n)

    @flow
    def pipeline() -> object:
        return middle(number(1))

    run: Any = pipeline.run(executor=executor)
    assert run.result() == (12, 2)
    assert run["middle/inner/add"].result() == 12
    assert run["middle/inner-2/add"].result() == 2


def test_a_deferred_flow_in_an_inlined_one_has_both_names(executor: Any) -> None:
    @flow
    def around(n: int) -> object:
        return route(number(n))

    @flow
    def pipeline() -> object:
        return around(1), around(2000)

    run: Any = pipeline.run(executor=executor)
    assert run.result() == ("small 1", "big 2000")
    assert run["around/route/small"].result() == "small 1"
    assert run["around-2/route/big"].result() == "big 2000"


def test_a_body_of_a_subflow_runs_once(executor: Any, ledger: Ledger) -> None:
    @flow
    def counted(n: int) -> object:
        ledger.mark(f"built {n}")
        return marked(n)

    @task
    def marked(n: int) -> int:
        ledger.mark(f"ran {n}")
        return n

    @flow
    def pipeline() -> object:
        once = counted(number(1))
        return once, number(once), number(once)

    assert pipeline.run(executor=executor).result() == (1, 1, 1)
    assert ledger.counts() == {"built 1": 1, "ran 1": 1}
