"""What a Node is not while the graph is built, and the operators that make small nodes of it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataflow import Node, flow, task


@task
def number(x: int) -> int:
    return x


@task
def record(value: Any) -> Any:
    return value


# What a Node is not ---------------------------------------------------------------------------------------------------

USES: list[tuple[str, Callable[[Any], object], str]] = [
    ("if", lambda node: 1 if node else 2, "@flow"),
    ("not", lambda node: not node, "@flow"),
    ("and", lambda node: node and 1, "@flow"),
    ("chained comparison", lambda node: 0 < node < 5, "@flow"),
    ("for", lambda node: [x for x in node], r"\.map"),  # noqa: C416
    ("unpack", lambda node: (lambda a, b: 0)(*node), "outputs=2"),
    ("list", list, r"\.map"),
    ("sum", sum, r"\.map"),
    ("in", lambda node: 3 in node, "in a task"),
    ("len", len, "len"),
    ("str", str, "task"),
    ("f-string", lambda node: f"{node}", "task"),
    ("format spec", lambda node: f"{node:>10}", "task"),
    ("percent", lambda node: "%s" % node, "task"),  # noqa: UP031
    ("int", int, "task"),
    ("float", float, "task"),
    ("index", lambda node: [1, 2][node], "task"),
    ("range", lambda node: range(node), "task"),
    ("sorted", lambda node: sorted([node, node]), "@flow"),
]


@pytest.mark.parametrize(("use", "instead"), [(use, text) for _, use, text in USES], ids=[name for name, *_ in USES])
@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
def test_a_lazy_value_says_what_to_do_instead(use: Callable[[Any], object], instead: str, mapped: bool) -> None:
    @flow
    def wrong() -> None:
        use(number.map([1, 2]) if mapped else number(1))

    with pytest.raises(TypeError, match="is a lazy value: ") as caught:
        wrong.graph()
    assert caught.match(instead)


def test_repr_of_a_node_names_it() -> None:
    shown: list[str] = []

    @flow
    def named() -> None:
        one = number(1)
        shown.extend(map(repr, (one, number.map([1, 2]), number.map(one))))

    named.graph()
    assert shown == ["Node(number)", "Node(number-2 × 2)", "Node(number-3 × ?)"]


def test_a_node_can_be_a_key_of_a_dict_and_stand_in_a_set() -> None:
    @flow
    def held() -> object:
        a, b = number(1), number(2)
        names = {a: "a", b: "b"}
        assert names[a] + names[b] == "ab"
        assert len({a, b, a}) == 2
        return a

    assert [node.path for node in held.graph().nodes] == ["number", "number-2"]


# Operators ------------------------------------------------------------------------------------------------------------

BINARY = ["lt", "le", "gt", "ge", "eq", "ne", "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_"]
BINARY += ["xor", "lshift", "rshift"]
UNARY = ["neg", "pos", "invert", "abs"]


def test_operators_on_nodes_give_what_they_give_on_values(executor: Any) -> None:
    @flow
    def arithmetic() -> object:
        a: Any = number(13)
        b: Any = number(3)
        made: dict[str, object] = {}
        for name in BINARY:
            fn = getattr(operator, name)
            made[name] = [fn(a, b), fn(a, 3), fn(13, b)]
        for name in UNARY:
            made[name] = getattr(operator, name)(-a)
        made["getitem"] = [record([5, 6])[1], record({"k": 7})["k"], record([1, 2, 3])[1:], record([8, 9])[b - 2]]
        made["together"] = (a + b) * 2 - record({"deep": [a]})["deep"][0]
        return made

    result: Any = arithmetic.run(executor=executor).result()
    for name in BINARY:
        assert result[name] == [getattr(operator, name)(13, 3)] * 3, name
    for name in UNARY:
        assert result[name] == getattr(operator, name)(-13), name
    assert result["getitem"] == [6, 7, [2, 3], 9]
    assert result["together"] == 19


@pytest.mark.parametrize(
    "fn", [operator.matmul, operator.add, operator.mul, operator.lt], ids=lambda fn: str(fn.__name__)
)
def test_an_array_or_a_series_with_a_node_makes_a_node(fn: Any) -> None:
    array, series = np.array([1, 2]), pd.Series([1, 2])

    def combined(value: Any) -> list[Any]:
        pairs = [(value, array), (array, value)]
        if fn is not operator.matmul:  # pandas asks nobody before it multiplies a Series as a matrix
            pairs.append((series, value))
        return [fn(left, right) for left, right in pairs]

    @flow
    def mixed() -> object:
        made = combined(record(np.array([3, 4])))
        assert {type(one) for one in made} == {Node}, made
        return made

    result: Any = mixed.run(executor="sync").result()
    for got, wanted in zip(result, combined(np.array([3, 4])), strict=True):
        assert np.array_equal(got, wanted)


def test_augmented_assignment_makes_a_node_and_changes_none() -> None:
    @flow
    def augmented() -> object:
        before: Any = number(1)
        total = before
        total += 5
        return before, total

    assert augmented.run(executor="sync").result() == (1, 6)


def test_a_failing_operator_fails_alone(executor: Any) -> None:
    @flow
    def broken() -> object:
        one: Any = number(1)
        return one / 0, number(2)

    run: Any = broken.run(executor=executor, raise_on_failure=False)
    assert (run.state.type, run["truediv"].state.type, run["number-2"].state.type) == ("Failed", "Failed", "Success")
    assert "ZeroDivisionError" in run.report


def test_operators_are_left_out_of_the_task_runs() -> None:
    @flow
    def small() -> object:
        one: Any = number(1)
        return one + 1

    assert [one.path for one in small.run(executor="sync").task_runs] == ["number"]
