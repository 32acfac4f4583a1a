"""What is easily got wrong where a run is retried or stopped: its result, its record and its budget."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dataflow import flow, states, task, triggers, wait_for_input
from dataflow.events import NO_INDEX
from dataflow.recovery import claim
from dataflow_storage.rows import Batch


class World:
    """What a flow of this module does from now on, and how often its bodies ran."""

    def __init__(self) -> None:
        self.width, self.value = 3, 1
        self.bad: set[str] = set()
        self.ran: Counter[str] = Counter()

    def body(self, name: str) -> None:
        """Count a body, and fail where it is told to."""
        self.ran[name] += 1
        if name in self.bad:
            raise ValueError(f"{name} was told to fail")


@pytest.fixture
def world() -> World:
    return World()


def mapping(world: World, **options: Any) -> Any:
    """A flow whose map is as wide as the world says when its upstream runs."""

    @task
    def numbers() -> list[int]:
        world.body("numbers")
        return list(range(world.width))

    @task(**options)
    def clean(n: int) -> int:
        world.body(f"clean {n}")
        return n * world.value

    @flow
    def cleaning() -> object:
        return clean.map(numbers())

    return cleaning


def is_consistent(run: Any) -> bool:
    """Whether the counts on record are those of the task runs on record."""
    maps = {node.path for node in run._store.nodes(run.id) if node.width is not None}
    rows = [row for row in run._store.task_runs(run.id) if row.path not in maps or row.idx != NO_INDEX]
    counted = Counter((row.path, row.state) for row in rows)
    told = {(path, state): n for path, each in run.counts.items() for state, n in each.items()}
    return counted == told


def has_ended(run: Any) -> bool:
    """Whether every task run that the run shows is final."""
    return all(one.state.is_final for one in run.task_runs)


# What runs again ------------------------------------------------------------------------------------------------------


def test_what_follows_a_subflow_runs_again_also_after_a_task_two_flows_deep(world: World) -> None:
    @task
    def start() -> int:
        return 5

    @task
    def times(n: int) -> int:
        return n * world.value

    @task
    def last(n: int) -> int:
        return n

    @flow
    def inner(n: int) -> object:
        return times(n)

    @flow
    def middle(n: int) -> object:
        return inner(n)  # built at once, with a value: it has no node

    @flow
    def outer() -> object:
        return last(middle(start()))

    run: Any = outer.run(executor="sync")
    world.value = 3
    assert {one.path: one.runs for one in run.plan(from_="middle/inner/times")}["last"] == 1
    run.retry(from_="middle/inner/times", executor="sync")
    assert run.result() == 15


def test_a_named_task_runs_again_also_where_its_result_was_committed_but_it_was_cancelled(world: World) -> None:
    @task
    def once() -> int:
        world.body("once")
        return world.ran["once"]

    @flow
    def counting() -> object:
        return once()

    run: Any = counting.run(executor="sync")
    epoch = claim(run._store, run.id)  # as a cancel leaves it that came between the commit and its report
    row: dict[str, object] = {"path": "once", "idx": NO_INDEX, "state": states.CANCELLED}
    counts = {("once", states.SUCCESS): -1, ("once", states.CANCELLED): 1}
    run._store.write(run.id, epoch, Batch(run={"state": states.CANCELLED}, task_runs=[row], counts=counts))
    run._store.release(run.id, epoch)
    run.retry(from_="once", executor="sync")
    assert run.result() == 2


def test_a_map_that_once_ended_as_a_whole_can_be_named_like_any_other(world: World) -> None:
    cleaning = mapping(world)
    world.bad = {"numbers"}
    run: Any = cleaning.run(executor="sync", raise_on_failure=False)
    world.bad = set()
    run.retry(executor="sync")
    world.value = 10
    run.retry(from_="clean", executor="sync")
    assert run.result() == [0, 10, 20]


def test_a_target_is_made_again_where_it_or_what_it_is_made_of_is_named(world: World) -> None:
    @task
    def source() -> int:
        return world.value

    @task(target="{run}/double.json")
    def double(n: int) -> int:
        world.body("double")
        return 2 * n

    @flow
    def doubling() -> object:
        return double(source())

    run: Any = doubling.run(executor="sync")
    world.value = 2
    run.retry(from_="source", executor="sync")
    assert run.result() == 4
    run.retry(from_="double", executor="sync")
    assert world.ran["double"] == 3


def test_a_cached_task_that_is_named_runs_again(tmp_path: Path) -> None:
    folder = tmp_path / "looked at"
    folder.mkdir()
    run: Any = looking.run(str(folder), executor="sync")
    (folder / "new").touch()
    run.retry(from_="files", executor="sync")
    assert run.result() == 1


@task(cache=True)
def files(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


@flow
def looking(folder: str) -> object:
    return files(folder)


# What the record says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 5])
def test_a_map_may_be_of_another_width_after_a_retry(world: World, width: int) -> None:
    run: Any = mapping(world).run(executor="sync")
    world.width = width
    run.retry(from_="numbers", executor="sync")
    assert is_consistent(run)
    assert has_ended(run)
    assert run.result() == list(range(width))


def test_counts_are_right_after_a_map_ended_as_a_whole_and_then_child_by_child(world: World) -> None:
    cleaning = mapping(world)
    world.bad = {"numbers"}
    run: Any = cleaning.run(executor="sync", raise_on_failure=False)
    world.bad = {"clean 1"}
    run.retry(executor="sync", raise_on_failure=False)
    world.bad = set()
    run.retry(executor="sync")
    assert run.counts["clean"] == {"Success": 3}


def test_children_end_with_their_map_where_its_upstream_fails_in_a_retry(world: World) -> None:
    run: Any = mapping(world).run(executor="sync")
    world.bad = {"numbers"}
    run.retry(from_="numbers", executor="sync", raise_on_failure=False)
    assert has_ended(run)
    assert is_consistent(run)
    world.bad = set()
    run.retry(executor="sync")
    assert is_consistent(run)


def test_what_a_subflow_does_not_come_to_any_more_does_not_stay_pending(world: World) -> None:
    @task
    def left(n: int) -> int:
        return n

    @task
    def right(n: int) -> int:
        return -n

    @task
    def start() -> int:
        return 1

    @flow
    def route(n: int) -> object:
        return left(n) if world.value == 1 else right(n)

    @flow
    def routing() -> object:
        return route(start())

    run: Any = routing.run(executor="sync")
    world.value = 2
    run.retry(from_="route", executor="sync")
    assert run.result() == -1
    assert has_ended(run)


def test_a_value_that_was_not_stored_and_cannot_be_made_again_is_a_failure_on_record(world: World) -> None:
    @task(persist=False)
    def light() -> int:
        world.body("light")
        return 1

    @task
    def heavy(n: int) -> int:
        return n

    @flow
    def weighing() -> object:
        return heavy(light())

    run: Any = weighing.run(executor="sync")
    world.bad = {"light"}
    run.retry(from_="heavy", executor="sync", raise_on_failure=False)
    assert run["light"].state.type == "Failed"
    assert "light was told to fail" in run.report


# Stopping and going on ------------------------------------------------------------------------------------------------


def test_a_cancel_reaches_the_children_of_a_map_that_once_ended_as_a_whole(world: World) -> None:
    cleaning = mapping(world, trigger=triggers.manual)
    world.bad = {"numbers"}
    run: Any = cleaning.run(executor="sync", raise_on_failure=False)
    world.bad = set()
    run.retry(executor="sync")
    run.cancel()
    assert run.counts["clean"] == {"Cancelled": 3}
    assert has_ended(run)


def test_a_cancel_that_comes_when_the_run_has_just_paused_counts(world: World) -> None:
    @task(trigger=triggers.manual)
    def approved() -> int:
        return 1

    def paused(run: Any, state: Any) -> None:
        if state.type == "Paused":
            run.cancel()

    @flow(on_state=paused)
    def asking() -> object:
        return approved()

    run: Any = asking.run(executor="sync", raise_on_failure=False)
    assert run.state.type == "Cancelled"


def test_a_resume_that_comes_while_the_run_is_still_pausing_counts(world: World) -> None:
    @task
    def second(n: int) -> int:
        return n + 1

    begun, go = threading.Event(), threading.Event()

    @task
    def slow() -> int:
        begun.set()
        go.wait(20)
        return 1

    @flow
    def pausing() -> object:
        return second(slow())

    run: Any = pausing.submit(executor="threads:2")
    assert begun.wait(20)
    run.pause()
    going = threading.Thread(target=run.resume)
    going.start()
    go.set()
    going.join()
    assert run.state.type == "Success"


def test_what_a_resume_would_run_is_what_it_runs(world: World) -> None:
    run: Any = mapping(world, trigger=triggers.manual).run(executor="sync")
    planned = {one.path: (one.runs, one.kept, one.waits) for one in run.plan(retry=False)}
    assert planned == {"numbers": (0, 1, 0), "clean": (3, 0, 0)}


def test_a_plan_counts_what_was_not_stored_and_must_be_made_again(world: World) -> None:
    @task(persist=False)
    def light() -> int:
        world.body("light")
        return 1

    @task(persist=False)
    def each(n: int) -> int:
        world.body(f"each {n}")
        return n

    @task
    def shown(n: int) -> int:
        return n

    @task(persist=False)
    def unused() -> int:
        world.body("unused")
        return 1

    @task
    def ends(n: int) -> int:
        return n

    @task(trigger=triggers.manual)
    def heavy(n: int, ns: list[int]) -> int:
        world.body("heavy")
        return n

    @flow
    def weighing() -> object:
        return heavy(light(), each.map([0, 1])), shown(each(5)), ends(unused())

    run: Any = weighing.run(executor="sync")
    world.bad = {"heavy"}
    for retry in (False, True):
        planned = {one.path: (one.runs, one.kept) for one in run.plan(retry=retry)}
        world.ran.clear()
        assert planned == {
            "light": (1, 0), "each": (2, 0), "heavy": (1 - retry, 0), "each-2": (0, 1), "shown": (0, 1),
            "unused": (0, 1), "ends": (0, 1),
        }, retry  # fmt: skip
    run.resume(executor="sync", raise_on_failure=False)
    assert world.ran == {"light": 1, "each 0": 1, "each 1": 1, "heavy": 1}
    planned = {one.path: (one.runs, one.kept) for one in run.plan()}
    assert (planned["light"], planned["each"], planned["heavy"]) == ((1, 0), (2, 0), (1, 0))


def test_a_retry_gives_what_waits_for_a_person_a_new_budget_too(world: World) -> None:
    @task(retries=2)
    def flaky() -> int:
        world.body("flaky")
        if world.ran["flaky"] == 2:
            wait_for_input(int)
        raise ValueError("no")

    @flow
    def flaking() -> object:
        return flaky()

    run: Any = flaking.run(executor="sync")
    run.retry(executor="sync")
    assert run.state.type == "Paused"
    run.approve("flaky", 1, executor="sync", raise_on_failure=False)
    assert world.ran["flaky"] == 2 + 3
