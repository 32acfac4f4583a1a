"""What a map walks: lists and Nodes together, whole, flat, short; and what it refuses, when built and when run."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataflow import flatten, flow, task, unmapped
from tests.semantics.conftest import Ledger


@task
def same(x: Any) -> Any:
    return x


@task
def join(a: Any, b: Any = "-", c: Any = "-") -> str:
    return f"{a}{b}{c}"


def run_of(build: Callable[[], object], executor: Any) -> Any:
    """The finished run of a flow with this body."""
    return flow(name="mapped")(build).run(executor=executor, raise_on_failure=False)


def result_of(build: Callable[[], object], executor: Any) -> Any:
    return flow(name="mapped")(build).run(executor=executor).result()


TOGETHER: list[tuple[str, Callable[[], object], list[str]]] = [
    ("two lists", lambda: join.map([1, 2], ["x", "y"]), ["1x-", "2y-"]),
    ("a list and a node", lambda: join.map([1, 2], same(["x", "y"])), ["1x-", "2y-"]),
    ("two nodes", lambda: join.map(same([1, 2]), same(["x", "y"])), ["1x-", "2y-"]),
    ("by name", lambda: join.map(a=[1, 2], c=same(["x", "y"])), ["1-x", "2-y"]),
    ("a map and a list", lambda: join.map(same.map([1, 2]), ["x", "y"]), ["1x-", "2y-"]),
    ("a map and a node", lambda: join.map(same.map([1, 2]), same(["x", "y"])), ["1x-", "2y-"]),
    ("a map, a list, a node", lambda: join.map(same.map([1, 2]), ["xy"] * 2, same([3, 4])), ["1xy3", "2xy4"]),
    ("two maps", lambda: join.map(same.map([1, 2]), same.map(["x", "y"])), ["1x-", "2y-"]),
    ("two maps over nodes", lambda: join.map(same.map(same([1, 2])), same.map(same(["x", "y"]))), ["1x-", "2y-"]),
    ("one map twice", lambda: (lambda m: join.map(m, m))(same.map([1, 2])), ["11-", "22-"]),
    ("whole list", lambda: join.map([1, 2], unmapped([7, 8])), ["1[7, 8]-", "2[7, 8]-"]),
    ("whole node", lambda: join.map([1, 2], unmapped(same("n"))), ["1n-", "2n-"]),
    ("whole map", lambda: join.map([1, 2], unmapped(same.map([7, 8]))), ["1[7, 8]-", "2[7, 8]-"]),
    ("whole, by name", lambda: join.map([1, 2], c=unmapped({"k": same(3)})), ["1-{'k': 3}", "2-{'k': 3}"]),
    ("flat list", lambda: join.map(flatten([[1], [], [2, 3]])), ["1--", "2--", "3--"]),
    ("flat node", lambda: join.map(flatten(same([[1], [2, 3]])), [4, 5, 6]), ["14-", "25-", "36-"]),
    ("flat map", lambda: join.map(flatten(same.map([[1], [2, 3]]))), ["1--", "2--", "3--"]),
    ("flat list of nodes", lambda: join.map(flatten([[same(1)], [2, same(3)]])), ["1--", "2--", "3--"]),
    ("flat and whole", lambda: join.map(flatten([[1], [2]]), unmapped("w")), ["1w-", "2w-"]),
    ("list with nodes", lambda: join.map([same(1), 2, same(3)], ["a", "b", "c"]), ["1a-", "2b-", "3c-"]),
    ("nodes within items", lambda: join.map([{"k": same(1)}, [same(2)]]), ["{'k': 1}--", "[2]--"]),
    ("a node among the items of a map", lambda: join.map([same.map([1, 2]), 3]), ["[1, 2]--", "3--"]),
    ("strict=False, lists", lambda: join.map([1, 2, 3], ["ab", "c"], strict=False), ["1ab-", "2c-"]),
    ("strict=False, nodes", lambda: join.map(same([1, 2, 3]), same(["x"]), strict=False), ["1x-"]),
    ("strict=False, list and node", lambda: join.map([1, 2, 3], same(["x", "y"]), strict=False), ["1x-", "2y-"]),
    ("strict=False, map and list", lambda: join.map(same.map([1, 2, 3]), ["x"], strict=False), ["1x-"]),
    ("strict=False, map and longer list", lambda: join.map(same.map([1]), ["x", "y"], strict=False), ["1x-"]),
    ("strict=False, two maps", lambda: join.map(same.map([1, 2]), same.map([5]), strict=False), ["15-"]),
    (
        "strict=False, maps over nodes",
        lambda: join.map(same.map(same([1, 2])), same.map(same([5])), strict=False),
        ["15-"],
    ),
]


@pytest.mark.parametrize(("build", "wanted"), [(b, w) for _, b, w in TOGETHER], ids=[name for name, *_ in TOGETHER])
def test_arguments_are_walked_together(executor: Any, build: Callable[[], object], wanted: list[str]) -> None:
    assert result_of(build, executor) == wanted


WALKABLE: list[tuple[str, Any, list[Any]]] = [
    ("list", [1, 2], [1, 2]),
    ("tuple", (1, 2), [1, 2]),
    ("range", range(2), [0, 1]),
    ("deque", deque([1, 2]), [1, 2]),
    ("array", np.array([1, 2]), [1, 2]),
    ("matrix by rows", np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    ("Series", pd.Series([1, 2], index=["a", "b"]), [1, 2]),
    ("Index", pd.Index(["a", "b"]), ["a", "b"]),
    ("dates", pd.date_range("2026-11-22", periods=2), list(pd.date_range("2026-11-22", periods=2))),
    ("list with None", [None, None], [None, None]),
]
REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("dict", lambda: {"a": 1}, "dict"),
    ("OrderedDict", lambda: OrderedDict(a=1), "OrderedDict"),
    ("set", lambda: {1, 2}, "set"),
    ("frozenset", lambda: frozenset({1}), "frozenset"),
    ("generator", lambda: (n for n in range(3)), "generator"),
    ("iterator", lambda: iter([1, 2]), "list_iterator"),
    ("str", lambda: "text", "str"),
    ("bytes", lambda: b"text", "bytes"),
    ("number", lambda: 3, "int"),
    ("None", lambda: None, "NoneType"),
    ("DataFrame", lambda: pd.DataFrame({"a": [1]}), "DataFrame"),
    ("array without a dimension", lambda: np.array(3), "ndarray"),
]


@pytest.mark.parametrize(("given", "wanted"), [(g, w) for _, g, w in WALKABLE], ids=[name for name, *_ in WALKABLE])
@pytest.mark.parametrize("lazy", [False, True], ids=["value", "node"])
def test_what_has_an_order_and_a_length_is_walked(executor: Any, given: Any, wanted: list[Any], lazy: bool) -> None:
    got = result_of(lambda: same.map(same(given) if lazy else given), executor)
    assert [list(x) if isinstance(x, np.ndarray) else x for x in got] == wanted


@pytest.mark.parametrize(("make", "named"), [(m, n) for _, m, n in REFUSED], ids=[name for name, *_ in REFUSED])
def test_what_has_none_is_refused_when_the_graph_is_built(make: Callable[[], Any], named: str) -> None:
    for body in (lambda: same.map(make()), lambda: same.map(x=make()), lambda: same.map(flatten(make()))):
        with pytest.raises(
            TypeError, match=rf"same\.map cannot walk argument 'x': got {named}, wanted a list.*unmapped"
        ):
            flow(name="mapped")(body).graph()


@pytest.mark.parametrize(("make", "named"), [(m, n) for _, m, n in REFUSED], ids=[name for name, *_ in REFUSED])
def test_what_has_none_fails_its_map_alone_when_it_comes_at_run_time(
    executor: Any, make: Callable[[], Any], named: str, ledger: Ledger
) -> None:
    @task(persist=False)
    def produce() -> Any:
        return make()

    @task
    def after(xs: Any) -> None:
        ledger.mark("after")

    @task
    def apart() -> None:
        ledger.mark("apart")

    def build() -> object:
        mapped = same.map(produce())
        return mapped, after(mapped), apart()

    run = run_of(build, executor)
    assert run.state.type == "Failed"
    assert (run["same"].state.type, run["after"].state.type) == ("Failed", "TriggerFailed")
    assert ledger.lines() == ["apart"]
    assert f"cannot walk argument 'x': got {named}" in run.report
