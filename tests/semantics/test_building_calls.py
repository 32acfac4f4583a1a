"""What a call leaves in the graph: lazy Nodes with stable paths, edges, outputs in the shape returned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from dataflow import Graph, Node, flow, task
from tests.semantics.conftest import Ledger


@task
def number(x: int) -> int:
    return x


@task
def add(*numbers: int) -> int:
    return sum(numbers)


@task
def record(value: Any) -> Any:
    return value


def paths(graph: Graph) -> list[str]:
    return [node.path for node in graph.nodes]


def edges(graph: Graph) -> set[tuple[str, str]]:
    return {(up.path, down.path) for up, down in graph.edges}


# Building -------------------------------------------------------------------------------------------------------------


def test_the_body_of_a_flow_runs_once_and_its_tasks_do_not(ledger: Ledger) -> None:
    @task
    def body() -> None:
        ledger.mark("task")

    @flow
    def once() -> object:
        ledger.mark("flow")
        return body()

    graph = once.graph()
    assert paths(graph) == ["body"]
    assert ledger.lines() == ["flow"]


def test_a_run_does_not_build_again(executor: Any, ledger: Ledger) -> None:
    @task
    def body() -> None:
        ledger.mark("task")

    @flow
    def once() -> object:
        ledger.mark("flow")
        return body()

    once.run(executor=executor)
    assert ledger.lines() == ["flow", "task"]


def test_plain_python_shapes_the_graph() -> None:
    @flow
    def shaped(n: int, extra: bool) -> object:
        made = [number(i) for i in range(n)]
        return add(*made) if extra else made

    assert paths(shaped.graph(2, True)) == ["number", "number-2", "add"]
    assert paths(shaped.graph(1, False)) == ["number"]


def test_second_calls_are_counted_by_name() -> None:
    @flow
    def counted() -> None:
        number(1)
        record(1)
        number(2)
        number.options(name="other")(3)
        number(3)

    assert paths(counted.graph()) == ["number", "record", "number-2", "other", "number-3"]


def test_a_name_that_looks_like_a_second_call_is_not_one() -> None:
    @flow
    def tricky() -> object:
        return [number(1), number.options(name="number-2")(2), number(3)]

    graph = tricky.graph()
    assert len(set(paths(graph))) == 3, paths(graph)
    assert tricky.run(executor="sync").result() == [1, 2, 3]


def test_nodes_nested_in_containers_are_upstreams(executor: Any) -> None:
    @dataclass
    class Pair:
        left: Any
        right: Any

    class Named(NamedTuple):
        first: Any
        second: Any

    @flow
    def nested() -> object:
        a, b = number(1), number(2)
        return record({"list": [a, (b,)], "set": {a}, "pair": Pair(a, [b]), "named": Named(b, 5), "plain": 3})

    graph = nested.graph()
    assert edges(graph) == {("number", "record"), ("number-2", "record")}
    value: Any = nested.run(executor=executor).result()
    assert value["list"] == [1, (2,)]
    assert (value["set"], value["plain"]) == ({1}, 3)
    assert (value["pair"].left, value["pair"].right) == (1, [2])
    assert (value["named"].first, value["named"].second, type(value["named"]).__name__) == (2, 5, "Named")


def test_wait_for_adds_an_edge_without_data(executor: Any, ledger: Ledger) -> None:
    @task
    def step(name: str) -> str:
        ledger.mark(name)
        return name

    @flow
    def ordered() -> object:
        return step("c", wait_for=[step("b", wait_for=[step("a")])])

    graph = ordered.graph()
    assert edges(graph) == {("step", "step-2"), ("step-2", "step-3")}
    assert ordered.run(executor=executor).result() == "c"
    assert ledger.lines() == ["a", "b", "c"]


@pytest.mark.parametrize("bad", [3, "node", [3], None], ids=repr)
def test_wait_for_takes_nodes_only(bad: Any) -> None:
    @flow
    def wrong() -> None:
        number(1, wait_for=bad)

    with pytest.raises(TypeError, match=r"wait_for=.* is not a list of nodes"):
        wrong.graph()


def test_wait_for_that_grows_into_a_cycle_is_refused_with_its_names() -> None:
    @flow
    def circle() -> None:
        later: list[Node] = []
        first = number(1, wait_for=later)
        second = record(first)
        later.append(add(second))

    with pytest.raises(ValueError, match="the graph has a cycle") as caught:
        circle.graph()
    for path in ("number", "record", "add"):
        assert path in str(caught.value)


def test_wait_for_that_grows_without_a_cycle_is_honoured(executor: Any, ledger: Ledger) -> None:
    @task
    def step(name: str) -> None:
        ledger.mark(name)

    @flow
    def late() -> None:
        later: list[Node] = []
        step("second", wait_for=later)
        later.append(step("first"))

    late.run(executor=executor)
    assert ledger.lines() == ["first", "second"]


def test_a_node_that_waits_for_itself_is_a_cycle() -> None:
    @flow
    def selfish() -> None:
        later: list[Node] = []
        later.append(number(1, wait_for=later))

    with pytest.raises(ValueError, match="cycle: number -> number"):
        selfish.graph()


# Outputs --------------------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """A shape to return."""

    total: Any
    parts: Any = field(default_factory=list)


SHAPES: list[tuple[Callable[[Any, Any], Any], Any]] = [
    (lambda a, b: a, 1),
    (lambda a, b: (a, b), (1, 2)),
    (lambda a, b: [a, b, a], [1, 2, 1]),
    (lambda a, b: {"x": a, "y": [b]}, {"x": 1, "y": [2]}),
    (lambda a, b: Report(a, [b, "constant"]), Report(1, [2, "constant"])),
    (lambda a, b: {"x": (a, {"y": Report(b)})}, {"x": (1, {"y": Report(2)})}),
    (lambda a, b: None, None),
    (lambda a, b: "constant", "constant"),
    (lambda a, b: [], []),
]


@dataclass
class Later:
    """A shape with a field that is filled in later."""

    first: Any
    second: Any = field(init=False, default=None)


def test_a_dataclass_field_that_is_not_in_init_is_filled_as_well() -> None:
    @flow
    def later() -> object:
        made = Later(number(1))
        made.second = number(2)
        return made, record(made)

    wanted = Later(1)
    wanted.second = 2
    assert later.run(executor="sync").result() == (wanted, wanted)


@pytest.mark.parametrize(("shape", "wanted"), SHAPES, ids=[repr(wanted) for _, wanted in SHAPES])
def test_what_the_body_returns_is_the_result_in_that_shape(executor: Any, shape: Any, wanted: Any) -> None:
    @flow
    def shaped() -> object:
        return shape(number(1), number(2))

    result = shaped.run(executor=executor).result()
    assert result == wanted
    assert type(result) is type(wanted)


def test_several_outputs_can_be_unpacked(executor: Any) -> None:
    @task(outputs=2)
    def split(x: int) -> Any:
        return x, x * 10

    @task
    def inferred(x: int) -> tuple[int, str]:
        return x, str(x)

    @flow
    def unpacked() -> object:
        low, high = split(3)
        n, text = inferred(5)
        assert len(split(1)) == 2
        return low, high, n, text

    assert unpacked.run(executor=executor).result() == (3, 30, 5, "5")


def test_outputs_are_inferred_from_a_tuple_of_fixed_length_only() -> None:
    def fixed() -> tuple[int, int, int]: ...  # type: ignore[empty-body]
    def open_ended() -> tuple[int, ...]: ...  # type: ignore[empty-body]
    def single() -> tuple[int]: ...  # type: ignore[empty-body]
    def plain() -> list[int]: ...  # type: ignore[empty-body]

    assert [task(fn).definition.outputs for fn in (fixed, open_ended, single, plain)] == [3, 1, 1, 1]


def test_builtins_are_tasks() -> None:
    @flow
    def built_in() -> object:
        return task(len)([1, number(2)]), task(max)([3, number(5)])

    assert built_in.run(executor="sync").result() == (2, 5)


def test_flows_that_are_built_at_the_same_moment_do_not_mix() -> None:
    both_inside = threading.Barrier(2, timeout=30)

    @flow
    def built(n: int) -> object:
        made = [number(n)]
        both_inside.wait()
        made.append(number(n))
        both_inside.wait()
        return made

    with ThreadPoolExecutor(2) as pool:
        graphs = list(pool.map(built.graph, [1, 2]))
    assert [paths(graph) for graph in graphs] == [["number", "number-2"]] * 2
    assert [node.args for graph in graphs for node in graph.nodes] == [(1,), (1,), (2,), (2,)]
