"""How many children a map has: known at once, learned at run time, none at all; and lengths that do not match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dataflow import flatten, flow, task, unmapped
from tests.semantics.conftest import Ledger


@task
def same(x: Any) -> Any:
    return x


@task
def join(a: Any, b: Any) -> str:
    return f"{a}{b}"


@task
def total(xs: Any) -> Any:
    return sum(xs)


def run_of(build: Callable[[], object], executor: Any) -> Any:
    """The finished run of a flow with this body."""
    return flow(name="mapped")(build).run(executor=executor, raise_on_failure=False)


def graph_of(build: Callable[[], object]) -> Any:
    return flow(name="mapped")(build).graph()


KNOWN: list[tuple[str, Callable[[], object]]] = [
    ("lists", lambda: join.map([1, 2, 3], ["x", "y"])),
    ("flat list", lambda: join.map(flatten([[1], [2, 3]]), ["x", "y"])),
    ("map and list", lambda: join.map(same.map([1, 2, 3]), ["x", "y"])),
    ("two maps", lambda: join.map(same.map([1, 2, 3]), same.map(["x", "y"]))),
    ("a list with a node", lambda: join.map([1, 2, same(3)], ["x", "y"])),
    ("by name", lambda: join.map(a=[1, 2, 3], b=["x", "y"])),
]


@pytest.mark.parametrize("build", [build for _, build in KNOWN], ids=[name for name, _ in KNOWN])
def test_lengths_that_are_known_are_compared_when_the_graph_is_built(build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"join\.map: lengths differ: a has 3, b has 2\. .*strict=False"):
        graph_of(build)


LEARNED: list[tuple[str, Callable[[], Any]]] = [
    ("nodes", lambda: (same([1, 2, 3]), same(["x", "y"]))),
    ("node and list", lambda: (same([1, 2, 3]), ["x", "y"])),
    ("flat node and list", lambda: (flatten(same([[1], [2, 3]])), ["x", "y"])),
    ("map over a node and list", lambda: (same.map(same([1, 2, 3])), ["x", "y"])),
    ("map over a node and node", lambda: (same.map(same([1, 2, 3])), same(["x", "y"]))),
    ("two maps over nodes", lambda: (same.map(same([1, 2, 3])), same.map(same(["x", "y"])))),
    ("map and node", lambda: (same.map([1, 2, 3]), same(["x", "y"]))),
    ("map over a node and map", lambda: (same.map(same([1, 2, 3])), same.map(["x", "y"]))),
]


@pytest.mark.parametrize("arguments", [make for _, make in LEARNED], ids=[name for name, _ in LEARNED])
def test_lengths_that_come_at_run_time_fail_the_map_alone(
    executor: Any, arguments: Callable[[], Any], ledger: Ledger
) -> None:
    @task
    def after(xs: Any) -> None:
        ledger.mark("after")

    @task
    def apart() -> None:
        ledger.mark("apart")

    run = run_of(lambda: (after(join.map(*arguments())), apart()), executor)
    assert run.state.type == "Failed"
    assert (run["join"].state.type, run["after"].state.type) == ("Failed", "TriggerFailed")
    assert ledger.lines() == ["apart"]
    assert "join.map: lengths differ: " in run.report
    assert "has 3" in run.report
    assert "has 2" in run.report


@pytest.mark.parametrize("arguments", [make for _, make in LEARNED], ids=[name for name, _ in LEARNED])
def test_without_strict_the_shortest_counts_at_run_time(executor: Any, arguments: Callable[[], Any]) -> None:
    assert run_of(lambda: join.map(*arguments(), strict=False), executor).result() == ["1x", "2y"]


def test_nothing_to_walk_is_refused() -> None:
    for build in (lambda: join.map(unmapped([1]), b=unmapped([2])), lambda: task(lambda: 1).map()):
        with pytest.raises(ValueError, match=r"\.map: nothing to walk.*unmapped"):
            graph_of(build)


@pytest.mark.parametrize("strict", [0, "no", None])
def test_a_parameter_called_strict_is_the_tasks(strict: Any) -> None:
    @task
    def parse(text: str, strict: Any) -> Any:
        return text, strict

    def build() -> object:
        return parse.map(["a", "b"], strict=unmapped(strict))

    assert run_of(build, "sync").result() == [("a", strict), ("b", strict)]


def test_a_width_is_known_when_built_or_learned_at_run_time(executor: Any) -> None:
    def build() -> object:
        one = same.map([1, 2])
        two = same.map(one)
        three = same.map(same([5, 6, 7]))
        four = same.map(three)
        return two, four

    graph = graph_of(build)
    assert {node.path: node.width for node in graph.nodes if node.mapped} == {
        "same": 2,
        "same-2": 2,
        "same-4": None,
        "same-5": None,
    }
    run = run_of(build, executor)
    assert run.result() == ([1, 2], [5, 6, 7])
    assert [len(run[path]) for path in ("same", "same-2", "same-4", "same-5")] == [2, 2, 3, 3]
    assert [child.label for child in run["same-5"]] == ["same-5[0]", "same-5[1]", "same-5[2]"]
    assert run["same-5[1]"].result() == run["same-5"][1].result() == 6


def test_a_child_knows_its_index_and_path(executor: Any) -> None:
    @task
    def told(x: int) -> Any:
        from dataflow import context

        return context().label, context().index, context().path

    def build() -> object:
        return told.map(same([5, 6])), told(7)

    assert run_of(build, executor).result() == (
        [("told[0]", 0, "told"), ("told[1]", 1, "told")],
        ("told-2", None, "told-2"),
    )


EMPTY: list[tuple[str, Callable[[], Any]]] = [
    ("list", lambda: same.map([])),
    ("node", lambda: same.map(same([]))),
    ("map over an empty list", lambda: same.map(same.map([]))),
    ("map over an empty node", lambda: same.map(same.map(same([])))),
    ("flat", lambda: same.map(flatten([]))),
    ("flat of empties", lambda: same.map(flatten(same([[], []])))),
    ("two", lambda: join.map([], same([]))),
    ("strict=False", lambda: join.map([], same([1, 2]), strict=False)),
]


@pytest.mark.parametrize("build", [build for _, build in EMPTY], ids=[name for name, _ in EMPTY])
def test_an_empty_map_succeeds_with_an_empty_list(executor: Any, build: Callable[[], Any]) -> None:
    def whole() -> object:
        mapped = build()
        return mapped, total(mapped), same.map(mapped), same(7, wait_for=[mapped])

    run = run_of(whole, executor)
    assert run.state.type == "Success", run.report
    assert run.result() == ([], 0, [], 7)


def test_an_empty_map_of_subflows_succeeds_with_an_empty_list(executor: Any) -> None:
    @flow
    def sub(x: int) -> object:
        return same(x)

    assert run_of(lambda: (sub.map([]), sub.map(same([]))), executor).result() == ([], [])


def test_a_thousand_children_each_run_once_and_keep_their_order(executor: Any, ledger: Ledger) -> None:
    @task
    def square(x: int) -> int:
        ledger.mark(x)
        return x * x

    run = run_of(lambda: (square.map(range(1000)), total(square.map(same(list(range(100)))))), executor)
    assert run.result() == ([x * x for x in range(1000)], sum(x * x for x in range(100)))
    assert len(ledger.counts()) == 1000
    assert len(ledger.lines()) == 1100
