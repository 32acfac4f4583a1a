"""The plan alone, without an executor: claims about every graph, whatever happens to it."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow import Graph, Node, fans, flow, states, task
from dataflow.calls import BundleCall, Call
from dataflow.events import NO_INDEX, BatchDone, Expanded, Measured, TaskEvent
from dataflow.plan import Plan
from tests.semantics.drawing import programs
from tests.semantics.programs import Scope, Writer
from tests.semantics.world import STORED, World

EXPLORE = int(os.environ.get("DATAFLOW_EXPLORE", "0"))  # so many times as many examples, at random
BOUNDED = settings(
    max_examples=80 * max(1, EXPLORE),
    deadline=None,
    database=None,
    derandomize=not EXPLORE,
    suppress_health_check=list(HealthCheck),
)
DICE = st.randoms(use_true_random=False)


@task
def same(*values: Any) -> Any:
    return values


def graph_of(program: Scope) -> Graph:
    graph: Graph = Writer(None).flow(program).graph()
    return graph


@pytest.fixture(params=[0, fans.FEW], ids=["all-bundled", "few-alone"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many calls of one task go each by itself."""
    monkeypatch.setattr(fans, "FEW", request.param)


@pytest.mark.usefixtures("few")
@BOUNDED
@given(programs(), DICE, st.booleans(), st.integers(1, 3))
def test_whatever_happens_every_task_run_ends_once_and_after_what_it_needs(
    program: Scope, dice: random.Random, chains: bool, slots: int
) -> None:
    World(graph_of(program), dice, chains=chains, slots=slots).live()


@pytest.mark.usefixtures("few")
@BOUNDED
@given(programs(), DICE, st.booleans(), st.integers(1, 3))
def test_what_is_lost_goes_again_and_costs_no_retry(
    program: Scope, dice: random.Random, chains: bool, slots: int
) -> None:
    World(graph_of(program), dice, chains=chains, slots=slots, troubles=3).live()


@pytest.mark.usefixtures("few")
@BOUNDED
@given(programs(), DICE, st.booleans(), st.integers(0, 40))
def test_what_had_succeeded_when_a_run_was_left_is_not_run_again(
    program: Scope, dice: random.Random, chains: bool, steps: int
) -> None:
    first = World(graph_of(program), dice, chains=chains)
    first.live(most=steps)
    # A subflow is expanded again where something in it had not ended; here each is.
    past = {
        who: outcome
        for who, outcome in first.performed.items()
        if outcome.type in states.SUCCESSFUL and not first.nodes[who[0]].definition.builds and who in first.ended
    }
    World(graph_of(program), dice, chains=chains, past=past).live()


# Graphs that are known from the start


@st.composite
def meshes(draw: Any) -> list[tuple[bool, list[int], list[int]]]:
    """For each node: whether it is a map, whose values it takes, and what it waits for, by number."""

    def some(n: int) -> list[int]:
        return draw(st.lists(st.integers(0, n - 1), max_size=3, unique=True)) if n else []  # type: ignore[no-any-return]

    return [(draw(st.booleans()), some(n), some(n)) for n in range(draw(st.integers(1, 10)))]


def woven(mesh: list[tuple[bool, list[int], list[int]]], *, maps: bool = True) -> Graph:
    @flow
    def written() -> None:
        made: list[Node] = []
        for mapped, takes, waits in mesh:
            wait_for = [made[n] for n in waits + (takes if mapped and maps else [])]
            if mapped and maps:
                made.append(same.map([1, 2], wait_for=wait_for))
            else:
                made.append(same(*(made[n] for n in takes), wait_for=wait_for))

    return written.graph()


def paths_of(call: Any) -> list[str]:
    """The nodes that a Dask task is for."""
    if isinstance(call, BundleCall):
        return [one.path for one in call.calls]
    return [call.path] if isinstance(call, Call) else ["the first batch"]


@BOUNDED
@given(meshes(), st.booleans())
def test_a_static_graph_is_one_fragment(mesh: list[tuple[bool, list[int], list[int]]], chains: bool) -> None:
    plan = Plan(woven(mesh), run="r", chains=chains, slots=2)
    fragment = plan.take(0.0).fragment
    assert fragment is not None
    calls = [dask_task.args[0] for dask_task in fragment.tasks.values()]
    assert sum(len(paths_of(call)) for call in calls) == sum(2 if mapped else 1 for mapped, _, _ in mesh)
    assert plan.take(0.0).fragment is None


@BOUNDED
@given(meshes(), DICE, st.booleans())
def test_a_descendant_of_several_deferred_nodes_is_submitted_again_once(
    mesh: list[tuple[bool, list[int], list[int]]], dice: random.Random, chains: bool
) -> None:
    graph = woven(mesh, maps=False)
    plan = Plan(graph, run="r", chains=chains)
    roots = [node for node in graph.nodes if not node.upstream]
    deferred = {node for node in roots if dice.random() < 0.7}
    below = set(deferred)  # what follows one of them
    for node in graph.nodes:
        if below.intersection(node.upstream):
            below.add(node)
    sent = dict.fromkeys((node.path for node in graph.nodes), 0)
    by_path = {node.path: node for node in graph.nodes}
    left = {node.path for node in graph.nodes}
    now, waits = 0.0, {node.path: due for node, due in zip(roots, dice.sample(range(1, 99), len(roots)), strict=True)}
    while left:
        fragment = plan.take(now).fragment
        if fragment is None:
            assert plan.next_due is not None
            now = plan.next_due
            continue
        for path in [path for dask_task in fragment.tasks.values() for path in paths_of(dask_task.args[0])]:
            sent[path] += 1
            if by_path[path] in deferred and path in waits:
                due = float(waits.pop(path))
                plan.fold(TaskEvent(path, NO_INDEX, states.RETRYING, now, 1, due=due))
            elif all(up.path not in left for up in by_path[path].upstream):
                plan.fold(TaskEvent(path, NO_INDEX, states.SUCCESS, now, 1, reference=STORED))
                left.discard(path)
        assert plan.fragment_done(fragment.id) or chains
    assert sent == {node.path: 2 if node in below else 1 for node in graph.nodes}
    assert plan.is_done


def test_a_subflow_that_is_built_twice_joins_once() -> None:
    @flow
    def sub(x: int) -> object:
        return same(same(x))

    @flow
    def parent() -> object:
        return sub(same(1))

    plan = Plan(parent.graph(), run="r")
    plan.take(0.0)
    plan.fold(TaskEvent("same", NO_INDEX, states.SUCCESS, 0.0, 1, reference=STORED))
    for _ in range(2):
        plan.fold(Expanded("sub", NO_INDEX, sub.expand(1, _path="sub")))  # type: ignore[arg-type]
    fragment = plan.take(0.0).fragment
    assert fragment is not None
    paths = [path for dask_task in fragment.tasks.values() for path in paths_of(dask_task.args[0])]
    assert paths == ["sub/same", "sub/same-2"]


def test_what_is_lost_with_an_upstream_of_another_fragment_waits_until_that_goes_again() -> None:
    """Dask tells of the one before the other: what follows a killer must not be sent again and again meanwhile."""

    @flow
    def reduced() -> object:
        return same(same.map(range(3)))

    plan = Plan(reduced.graph(), run="r", chains=True, slots=1, batch=1)
    first = plan.take(0.0).fragment
    assert first is not None
    done, killer = first.tasks  # of [0] and [1]
    plan.fold(TaskEvent("same", 0, states.SUCCESS, 0.0, 1, reference=STORED))
    plan.fold(BatchDone(str(done), 1.0))
    second = plan.take(0.0).fragment  # [2], and what takes all
    assert second is not None
    assert killer in second.inputs()
    plan.audit(second.id, {str(killer): "its worker died"}, "Dask could not finish it")
    assert plan.take(0.0).fragment is None, "the first fragment is still on its way"
    plan.audit(first.id, {str(killer): "its worker died"}, "Dask could not finish it")
    alone = plan.take(0.0).fragment
    assert alone is not None
    [call] = [dask_task.args[0] for dask_task in alone.tasks.values()]
    assert list(call.indices) == [1]
    plan.fold(TaskEvent("same", 1, states.SUCCESS, 0.0, 1, reference=STORED))
    plan.fold(BatchDone(call.key, 1.0))
    assert plan.fragment_done(alone.id)
    rest = plan.take(0.0).fragment
    assert rest is not None
    assert len(rest.tasks) == 2
    assert not plan.news().events, "nothing has crashed"


def test_what_comes_back_before_others_have_told_that_they_will_does_not_take_along_what_follows_all() -> None:
    """Nothing says that these may be put off, so nothing of the first fragment is kept for a second."""

    @flow
    def joined() -> object:
        return same([same(n) for n in range(3)])

    plan = Plan(joined.graph(), run="r", chains=True, slots=2)
    first = plan.take(0.0).fragment
    assert first is not None
    assert not first.keep
    kept: set[object] = set()
    for number, path in enumerate(["same", "same-2", "same-3"]):
        plan.fold(TaskEvent(path, NO_INDEX, states.RETRYING, 0.0, 1, due=float(number)))
        fragment = plan.take(float(number)).fragment
        assert fragment is not None
        assert fragment.inputs() <= kept
        kept |= fragment.keep
        plan.fold(TaskEvent(path, NO_INDEX, states.SUCCESS, 0.0, 2, reference=STORED))
    plan.fold(TaskEvent("same-4", NO_INDEX, states.SUCCESS, 0.0, 1, reference=STORED))
    assert plan.is_done


def test_a_map_that_was_measured_twice_lets_go_of_what_the_first_measuring_held() -> None:
    @flow
    def walked() -> object:
        kept = same.options(persist=False)
        return kept.map(kept(3))

    plan = Plan(walked.graph(), run="r", slots=2)
    first = plan.take(0.0).fragment
    assert first is not None
    made, measured = first.tasks
    assert first.keep == {made, measured}
    plan.audit(first.id, {}, "its worker died")
    second = plan.take(0.0).fragment
    assert second is not None
    _, again = second.tasks
    plan.fold(TaskEvent("same", NO_INDEX, states.SUCCESS, 0.0, 1))
    plan.fold(Measured("same-2", 1, str(again)))
    dispatch = plan.take(0.0)
    assert dispatch.released == [measured]
    assert dispatch.fragment is not None
    assert dispatch.fragment.inputs() == {again}, "what the second measuring holds is walked"
