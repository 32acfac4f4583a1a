"""Random programs build the same graph twice, graphs survive pickle, and building is linear."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cloudpickle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow import Graph, Node, flow, task
from dataflow.structure import find


@task
def one(*values: Any, **named: Any) -> Any:
    return values


@task
def two(*values: Any, **named: Any) -> tuple[Any, Any]:
    return values, named


@flow
def deferred(value: Any) -> object:
    return one(value)


# A program is a list of steps; each takes earlier nodes by number.
NUMBERS = st.lists(st.integers(0, 30), max_size=3)
STEP = st.tuples(
    st.sampled_from(["one", "two", "map", "group", "deferred", "getitem", "add", "renamed", "nested"]), NUMBERS, NUMBERS
)
PROGRAM = st.lists(STEP, max_size=25)
Program = list[tuple[str, list[int], list[int]]]


def write(program: Program) -> Callable[[], Graph]:
    """The flow that a program means."""

    @flow
    def written() -> object:
        made: list[Any] = []

        def picked(numbers: list[int]) -> list[Any]:
            return [made[n % len(made)] for n in numbers] if made else []

        def perform(kind: str, data: list[Any], before: list[Any]) -> None:
            if kind == "map":
                made.append(one.map([*data, 1, 2], wait_for=before))
            elif kind == "group":
                inlined(data)
            elif kind == "deferred" and data:
                made.append(deferred(data))
            elif kind in ("getitem", "add") and data:
                made.append(data[0][0] if kind == "getitem" else data[0] + 1)
            elif kind == "renamed":
                made.append(one.options(name="other")(*data, wait_for=before))
            elif kind == "nested":
                made.append(two({"deep": [data]}, key=(data,), wait_for=before))
            else:
                made.append((two if kind == "two" else one)(*data, wait_for=before))

        @flow(name="group")
        def inlined_flow() -> None:
            perform("one", pending.pop(), [])

        pending: list[list[Any]] = []

        def inlined(data: list[Any]) -> None:
            pending.append(data)
            inlined_flow()

        for kind, data, before in program:
            perform(kind, picked(data), picked(before))
        return {"last": made[-1:], "some": picked([0, 3, 5])}

    return written.graph


def told(graph: Graph) -> dict[str, object]:
    """What is worth comparing of a graph."""

    def shape(value: object) -> object:
        return [node.path for node in find(value, Node)]

    return {
        "flow": graph.flow,
        "paths": [node.path for node in graph.nodes],
        "edges": sorted((up.path, down.path) for up, down in graph.edges),
        "waits": [[up.path for up in node.wait_for] for node in graph.nodes],
        "mapped": [(node.mapped, node.width) for node in graph.nodes],
        "codes": [node.definition.code for node in graph.nodes],
        "arguments": [repr(node.args) + repr(dict(node.kwargs)) for node in graph.nodes],
        "outputs": (repr(graph.outputs), shape(graph.outputs)),
        "parameters": dict(graph.parameters),
    }


PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PROPERTY
@given(PROGRAM)
def test_the_same_program_gives_the_same_graph_twice(program: Program) -> None:
    first, second = write(program)(), write(program)()
    assert told(first) == told(second)


@PROPERTY
@given(PROGRAM)
def test_paths_are_unique_and_an_upstream_stands_before_what_follows_it(program: Program) -> None:
    graph = write(program)()
    place = {node: n for n, node in enumerate(graph.nodes)}
    assert len({node.path for node in graph.nodes}) == len(graph.nodes)
    assert all(place[up] < place[down] for up, down in graph.edges)


@PROPERTY
@given(PROGRAM)
def test_a_pickled_graph_has_the_same_paths_edges_and_outputs(program: Program) -> None:
    graph = write(program)()
    revived: Graph = pickle.loads(cloudpickle.dumps(graph))
    assert told(revived) == told(graph)
    assert set(map(id, find(revived.outputs, Node))) <= set(map(id, revived.nodes))


@flow
def chain(length: int) -> object:
    node = one(0)
    for _ in range(length - 1):
        node = one(node)
    return node


@flow
def fan(width: int) -> object:
    return one([one(n) for n in range(width)])


@flow
def operators(length: int) -> object:
    node: Any = one(0)
    for _ in range(length - 1):
        node = node + 1
    return node


@flow
def inlined(count: int) -> object:
    made: list[object] = []

    @flow(name="group")
    def group() -> None:
        made.append(one(*made[-1:]))

    for _ in range(count):
        group()
    return made[-1]


@flow
def waiting(length: int) -> object:
    later: list[Node] = []
    first = one(0, wait_for=later)
    later += [one(n) for n in range(length)]
    return first


SHAPES = [chain, fan, operators, inlined, waiting]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.name))
def test_a_graph_of_10000_nodes_survives_pickle(shape: Any) -> None:
    graph: Graph = shape.graph(10_000)
    revived: Graph = pickle.loads(cloudpickle.dumps(graph))
    assert len(revived) == len(graph) >= 10_000
    assert [node.path for node in revived.nodes] == [node.path for node in graph.nodes]
    assert sum(1 for _ in revived.edges) == sum(1 for _ in graph.edges)
    assert [node.path for node in revived.returned] == [node.path for node in graph.returned]
    assert all(a is b for a, b in zip(revived.returned, find(revived.outputs, Node), strict=True))


@contextmanager
def counting() -> Iterator[list[int]]:
    """Counts calls of functions, of Python and of C, while it is open."""
    calls = [0]

    def profile(frame: object, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            calls[0] += 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield calls
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.name))
def test_building_and_pickling_take_work_linear_in_nodes(shape: Any) -> None:
    work: dict[int, tuple[int, int]] = {}
    for count in (2_000, 20_000):
        with counting() as building:
            graph = shape.graph(count)
        with counting() as pickling:
            pickle.loads(cloudpickle.dumps(graph))
        work[count] = building[0], pickling[0]
    for small, large in zip(work[2_000], work[20_000], strict=True):
        assert large < 11 * small, work


def test_a_wide_map_is_one_node_that_costs_the_same_however_wide() -> None:
    @flow
    def wide(n: int) -> object:
        return one(one.map(one.map(range(n))))

    counts = []
    for width in (10, 100_000):
        with counting() as calls:
            graph = wide.graph(width)
        assert [(node.path, node.width) for node in graph.nodes] == [("one", width), ("one-2", width), ("one-3", None)]
        counts.append(calls[0])
    assert counts[1] <= 2 * counts[0], counts
