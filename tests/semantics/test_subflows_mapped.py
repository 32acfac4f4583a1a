"""Maps of subflows, and maps in subflows: `route[3]/big`, `outer[2]/inner[5]`."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow import flatten, flow, task, unmapped
from tests.semantics.conftest import Ledger


@task
def number(x: Any) -> Any:
    return x


@task
def total(xs: Any) -> Any:
    return sum(xs)


@task
def big(n: int) -> str:
    return f"big {n}"


@task
def small(n: int) -> str:
    return f"small {n}"


@flow
def route(n: int) -> object:
    return big(n) if n > 1000 else small(n)


@pytest.mark.parametrize("learned", [False, True], ids=["known", "learned"])
def test_each_item_takes_its_own_way(executor: Any, learned: bool) -> None:
    @flow
    def pipeline() -> object:
        items = [1, 2, 3, 4000]
        routed = route.map(number(items) if learned else items)
        return routed, number.map(routed)

    run: Any = pipeline.run(executor=executor)
    wanted = ["small 1", "small 2", "small 3", "big 4000"]
    assert run.result() == (wanted, wanted)
    assert run["route[3]/big"].result() == "big 4000"
    assert run["route[0]/small"].result() == "small 1"
    assert [child.label for child in run["route"]] == ["route[0]", "route[1]", "route[2]", "route[3]"]
    assert [child.state.type for child in run["route"]] == ["Success"] * 4


def test_maps_nest(executor: Any) -> None:
    @flow
    def inner(x: int) -> object:
        return number(x)

    @flow
    def outer(xs: list[int]) -> object:
        return inner.map(xs)

    @flow
    def pipeline() -> object:
        return outer.map([[1], [], [2, 3, 4, 5, 6, 7]])

    run: Any = pipeline.run(executor=executor)
    assert run.result() == [[1], [], [2, 3, 4, 5, 6, 7]]
    assert run["outer[2]/inner[5]"].result() == 7
    assert run["outer[2]/inner[5]/number"].result() == 7
    assert [child.label for child in run["outer[2]/inner"]] == [f"outer[2]/inner[{n}]" for n in range(6)]


def test_a_map_of_tasks_in_a_mapped_subflow(executor: Any, ledger: Ledger) -> None:
    @task
    def page(x: int) -> int:
        ledger.mark(x)
        return x * 10

    @flow
    def site(count: int) -> object:
        return total(page.map(range(count)))

    @flow
    def pipeline() -> object:
        sites = site.map([3, 0, 5])
        return sites, total(sites)

    run: Any = pipeline.run(executor=executor)
    assert run.result() == ([30, 0, 100], 130)
    assert run["site[2]/page[4]"].result() == 40
    assert ledger.counts() == {"0": 2, "1": 2, "2": 2, "3": 1, "4": 1}


def test_whole_and_flat_arguments_of_a_mapped_subflow(executor: Any) -> None:
    @flow
    def scaled(x: int, factor: int, *, offset: int = 0) -> object:
        return number(x * factor + offset)

    @flow
    def pipeline() -> object:
        return scaled.map(flatten(number([[1], [2, 3]])), unmapped(number(10)), offset=[1, 2, 3])

    assert pipeline.run(executor=executor).result() == [11, 22, 33]


def test_the_arguments_of_a_map_of_subflows_are_checked_when_built() -> None:
    @flow
    def lengths() -> None:
        pair.map([1, 2], [1])

    @flow
    def names() -> None:
        pair.map([1], c=[1])

    @flow
    def walked() -> None:
        pair.map({1: 2}, [1])

    @flow
    def pair(a: int, b: int) -> None: ...

    with pytest.raises(ValueError, match=r"pair\.map: lengths differ: a has 2, b has 1"):
        lengths.graph()
    with pytest.raises(ValueError, match="flow 'pair': no parameter 'c'"):
        names.graph()
    with pytest.raises(TypeError, match=r"pair\.map cannot walk argument 'a': got dict"):
        walked.graph()


def test_a_child_that_fails_in_a_mapped_subflow_is_that_childs(executor: Any, ledger: Ledger) -> None:
    @task
    def picky(x: int) -> int:
        ledger.mark(x)
        if x == 1:
            raise ValueError("not one")
        return x

    @flow
    def sub(x: int) -> object:
        if x == 4:
            raise KeyError("not four")
        return picky(x)

    @flow
    def pipeline() -> object:
        made = sub.map([0, 1, 2, "three", 4])
        return number.map(made)

    run: Any = pipeline.run(executor=executor, raise_on_failure=False)
    assert [child.state.type for child in run["sub"]] == ["Success", "Failed", "Success", "Failed", "Failed"]
    refused = "TriggerFailed"
    assert [child.state.type for child in run["number"]] == ["Success", refused, "Success", refused, refused]
    assert ledger.counts() == {"0": 1, "1": 1, "2": 1}


def test_what_follows_a_mapped_subflow_goes_index_by_index(executor: Any, ledger: Ledger) -> None:
    @task(batch=1)
    def first(x: int) -> int:
        assert x < 29 or ledger.comes("second"), "the second map waits for the whole first"
        ledger.mark(f"first {x}")
        return x

    @task
    def second(x: int) -> int:
        ledger.mark(f"second {x}")
        return x

    @flow
    def sub(x: int) -> object:
        return first(x)

    @flow
    def pipeline() -> object:
        return second.map(sub.map(list(range(30))))

    assert pipeline.run(executor=executor).result() == list(range(30))
    assert ledger.counts() == {f"{stage} {x}": 1 for stage in ("first", "second") for x in range(30)}


def test_a_subflow_over_a_mapped_task_is_depth_first(executor: Any, ledger: Ledger) -> None:
    @task(batch=1)
    def first(x: int) -> int:
        assert x < 11 or ledger.comes("built"), "the subflows wait for the whole map"
        ledger.mark("first")
        return x

    @flow
    def sub(x: int) -> object:
        ledger.mark("built")
        return number(x)

    @flow
    def pipeline() -> object:
        return sub.map(first.map(range(12)))

    assert pipeline.run(executor=executor).result() == list(range(12))
    assert ledger.counts() == {"first": 12, "built": 12}


def test_recursion_in_each_item_of_a_map(executor: Any) -> None:
    @task
    def less(n: int) -> int:
        return n - 1

    @flow
    def countdown(n: int) -> object:
        return countdown(less(n)) if n else "done"

    @flow
    def pipeline() -> object:
        return countdown.map([0, 1, 5])

    run: Any = pipeline.run(executor=executor)
    assert run.result() == ["done"] * 3
    assert run["countdown[2]/less"].result() == 4
    assert run["countdown[2]/countdown/less"].result() == 3


def test_a_mapped_subflow_waits_for_what_it_is_told(executor: Any, ledger: Ledger) -> None:
    @task
    def step(name: Any) -> Any:
        ledger.mark(name)
        return name

    @flow
    def sub(x: int) -> object:
        ledger.mark("built")
        return number(x)

    @flow
    def pipeline() -> object:
        return sub.map([1, 2], wait_for=[step("before")])

    assert pipeline.run(executor=executor).result() == [1, 2]
    assert ledger.lines() == ["before", "built", "built"]


def test_several_hundred_subflows(executor: Any) -> None:
    @flow
    def pipeline() -> object:
        return total(number.map(sub.map(range(200))))

    @flow
    def sub(x: int) -> object:
        return number(x)

    assert pipeline.run(executor=executor).result() == sum(range(200))
