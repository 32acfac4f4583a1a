"""Maps over maps go index by index, depth first; joins, reducers, batches, getitem, wait_for."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow import Node, flow, task, unmapped
from tests.semantics.conftest import Ledger


@task
def same(x: Any) -> Any:
    return x


@task
def add(a: Any, b: Any) -> Any:
    return a + b


@task
def total(xs: Any) -> Any:
    return sum(xs)


def stages(ledger: Ledger, count: int, *, batch: Any = "auto", second_batch: Any = None) -> Any:
    """Two mapped stages that mark each body; the last child of the first waits for any child of the second."""

    @task(batch=batch)
    def first(x: int) -> int:
        assert x < count - 1 or ledger.comes("second"), "the second map waits for the whole first"
        ledger.mark(f"first {x}")
        return x

    @task(batch=batch if second_batch is None else second_batch)
    def second(x: int) -> int:
        ledger.mark(f"second {x}")
        return x * 2

    @flow
    def both(learned: bool) -> object:
        return second.map(first.map(same(list(range(count))) if learned else range(count)))

    return both


@pytest.mark.parametrize("learned", [False, True], ids=["known", "learned"])
@pytest.mark.parametrize("batch", ["auto", False, 7, (False, "auto"), (7, 3)], ids=str)
def test_a_map_over_a_map_is_depth_first(executor: Any, ledger: Ledger, batch: Any, learned: bool) -> None:
    first, second = batch if isinstance(batch, tuple) else (batch, batch)
    run = stages(ledger, 40, batch=first, second_batch=second).run(learned, executor=executor)
    assert run.result() == [x * 2 for x in range(40)]
    assert ledger.counts() == {f"{stage} {x}": 1 for stage in ("first", "second") for x in range(40)}


@pytest.mark.parametrize("batch", ["auto", False, 1, 7, 1000], ids=str)
def test_every_child_has_its_own_state_whatever_the_batch(executor: Any, batch: Any, ledger: Ledger) -> None:
    @task(batch=batch)
    def odd(x: int) -> int:
        ledger.mark(x)
        if x % 5 == 0:
            raise ValueError(f"no {x}")
        return x

    @flow
    def mapped() -> object:
        return odd.map(range(23))

    run: Any = mapped.run(executor=executor, raise_on_failure=False)
    assert [child.state.type for child in run["odd"]] == ["Success" if x % 5 else "Failed" for x in range(23)]
    assert [run["odd"][x].result() for x in (1, 22)] == [1, 22]
    assert ledger.counts() == {str(x): 1 for x in range(23)}
    assert "no 10" in run["odd"][10].state.message


def test_a_join_of_two_different_maps_goes_index_by_index(executor: Any, ledger: Ledger) -> None:
    @task
    def left(x: int) -> int:
        ledger.mark("left")
        return x

    @task
    def right(x: int) -> int:
        ledger.mark("right")
        return x * 100

    @task
    def joined(a: int, b: int) -> int:
        ledger.mark("joined")
        return a + b

    @flow
    def join() -> object:
        return joined.map(left.map(range(30)), right.map(same(list(range(30)))))

    assert join.run(executor=executor).result() == [x * 101 for x in range(30)]
    assert ledger.counts() == {"left": 30, "right": 30, "joined": 30}


def test_a_plain_task_gets_the_list_of_a_map(executor: Any) -> None:
    @flow
    def reduced() -> object:
        mapped = same.map([1, 2, 3])
        return total(mapped), same({"deep": [mapped]}), total(same.map(mapped))

    assert reduced.run(executor=executor).result() == (6, {"deep": [[1, 2, 3]]}, 6)


def test_a_mapped_node_can_be_reduced_and_mapped_again(executor: Any, ledger: Ledger) -> None:
    @task
    def counted(x: int) -> int:
        ledger.mark(x)
        return x

    @flow
    def both() -> object:
        mapped = counted.map(same([1, 2, 3]))
        again = same.map(mapped)
        return total(mapped), again, add.map(again, unmapped(total(mapped))), total(again)

    assert both.run(executor=executor).result() == (6, [1, 2, 3], [7, 8, 9], 6)
    assert ledger.counts() == {"1": 1, "2": 1, "3": 1}


def test_each_child_may_get_what_the_same_map_reduces_to(executor: Any) -> None:
    @flow
    def normalised() -> object:
        raw = same.map([1, 2, 3])
        centred = add.map(raw, unmapped(-total(raw)))
        whole = add.map(raw, unmapped(total(centred)))
        return centred, whole, add.map(raw, unmapped(raw[1]))

    assert normalised.run(executor=executor).result() == ([-5, -4, -3], [-11, -10, -9], [3, 4, 5])


def test_each_child_may_get_the_whole_of_the_map_that_it_walks(executor: Any) -> None:
    @task
    def share(x: int, everything: list[int]) -> float:
        return x / sum(everything)

    @flow
    def shares() -> object:
        raw = same.map([1, 3])
        return share.map(raw, unmapped(raw))

    assert shares.run(executor=executor).result() == [0.25, 0.75]


def test_a_diamond_of_maps_over_one_index(executor: Any, ledger: Ledger) -> None:
    @task
    def base(x: int) -> int:
        ledger.mark(x)
        return x

    @flow
    def diamond() -> object:
        bottom = base.map(range(20))
        left = add.map(bottom, unmapped(1))
        right = add.map(bottom, unmapped(same(2)))
        return add.map(left, right)

    assert diamond.run(executor=executor).result() == [2 * x + 3 for x in range(20)]
    assert ledger.counts() == {str(x): 1 for x in range(20)}


def test_one_child_of_a_map_is_taken_with_an_index(executor: Any) -> None:
    @flow
    def indexed() -> object:
        mapped = same.map(same([5, 6, 7]))
        return mapped[0], mapped[-1], mapped[1:], same.map(mapped[:2])

    assert indexed.run(executor=executor).result() == (5, 7, [6, 7], [5, 6])


def test_an_index_beyond_a_map_is_a_failure_of_its_own(executor: Any) -> None:
    @flow
    def beyond() -> object:
        mapped = same.map([1, 2])
        return mapped, mapped[9]

    run: Any = beyond.run(executor=executor, raise_on_failure=False)
    assert run["getitem"].state.type == "Failed"
    assert [child.state.type for child in run["same"]] == ["Success", "Success"]
    assert "IndexError" in run.report


@pytest.mark.parametrize("learned", [False, True], ids=["known", "learned"])
def test_a_task_that_waits_for_a_map_waits_for_all_children(executor: Any, ledger: Ledger, learned: bool) -> None:
    @task
    def child(x: int) -> None:
        ledger.mark("child")

    @task
    def after() -> None:
        ledger.mark("after")

    @task
    def late(x: int) -> None:
        ledger.mark("late")

    @flow
    def waiting() -> None:
        children = child.map(same(list(range(12))) if learned else range(12))
        done = after(wait_for=[children])
        late.map(range(3), wait_for=[done, children])

    waiting.run(executor=executor)
    assert ledger.lines() == ["child"] * 12 + ["after"] + ["late"] * 3


def test_a_map_that_waits_for_the_map_it_walks_is_no_cycle(executor: Any, ledger: Ledger) -> None:
    @task
    def one(x: int) -> int:
        ledger.mark("one")
        return x

    @task
    def two(x: int) -> int:
        ledger.mark("two")
        return x

    @flow
    def behind() -> object:
        first = one.map(range(10))
        return two.map(first, wait_for=[first])

    assert behind.run(executor=executor).result() == list(range(10))
    assert ledger.lines() == ["one"] * 10 + ["two"] * 10


def test_a_cycle_through_maps_is_refused() -> None:
    @flow
    def circle() -> None:
        later: list[Node] = []
        mapped = same.map([1, 2], wait_for=later)
        later.append(total(mapped))

    with pytest.raises(ValueError, match=r"the graph has a cycle: same -> total -> same|total -> same -> total"):
        circle.graph()


def test_a_chain_of_many_maps(executor: Any) -> None:
    @flow
    def deep() -> object:
        mapped = same.map(range(5))
        for _ in range(30):
            mapped = add.map(mapped, unmapped(1))
        return total(mapped)

    assert deep.run(executor=executor).result() == 5 * 30 + 10
