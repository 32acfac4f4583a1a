"""A child's failure is that child's; and what targets of mapped tasks may not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflow import Missing, Skip, flatten, flow, task, triggers, unmapped
from tests.semantics.conftest import Ledger


@task
def same(x: Any) -> Any:
    return x


@task
def picky(x: int) -> int:
    if x == 1:
        raise ValueError("not one")
    if x == 2:
        raise Skip("two is skipped")
    return x


@task(trigger=triggers.all_finished)
def seen(values: list[object]) -> list[object]:
    return [f"Missing: {value.state.type}" if isinstance(value, Missing) else value for value in values]


@pytest.mark.parametrize("batch", ["auto", False], ids=str)
@pytest.mark.parametrize("learned", [False, True], ids=["known", "learned"])
def test_other_children_finish_and_the_chain_of_each_goes_its_own_way(
    executor: Any, ledger: Ledger, batch: Any, learned: bool
) -> None:
    @task(batch=batch)
    def after(x: int) -> int:
        ledger.mark(x)
        return x * 10

    @flow
    def mapped() -> object:
        return after.map(picky.options(batch=batch).map(same([0, 1, 2, 3]) if learned else range(4)))

    run: Any = mapped.run(executor=executor, raise_on_failure=False)
    assert run.state.type == "Failed"
    assert [child.state.type for child in run["picky"]] == ["Success", "Failed", "Skipped", "Success"]
    assert [child.state.type for child in run["after"]] == ["Success", "TriggerFailed", "Skipped", "Success"]
    assert ledger.counts() == {"0": 1, "3": 1}
    assert run["after"][3].result() == 30


def test_a_reducer_sees_a_failed_child_through_its_trigger(executor: Any, ledger: Ledger) -> None:
    @task
    def strict(values: list[object]) -> None:
        ledger.mark("strict")

    @task(trigger=triggers.any_successful)
    def loose(values: list[object]) -> int:
        return len(values)

    @task(trigger=triggers.some_failed(1, 1))
    def alarm(values: list[object]) -> str:
        return "one failed"

    @flow
    def reduced() -> object:
        mapped = picky.map([0, 1, 2, 3])
        return strict(mapped), loose(mapped), alarm(mapped), seen(mapped)

    run: Any = reduced.run(executor=executor, raise_on_failure=False)
    assert run["strict"].state.type == "TriggerFailed"
    assert run["loose"].result() == 3
    assert run["alarm"].result() == "one failed"
    assert run["seen"].result() == [0, "Missing: Failed", 3]
    assert ledger.lines() == []


def test_a_reducer_is_skipped_only_where_every_child_was(executor: Any) -> None:
    @flow
    def reduced() -> object:
        some, none = picky.map([2, 2, 3]), picky.map([2, 2])
        return same(some), same.options(name="last")(none), same.options(name="no")(none, wait_for=[some])

    run: Any = reduced.run(executor=executor)
    assert run["same"].result() == [3]
    assert run["last"].state.type == "Skipped"
    assert run["no"].state.type == "Skipped"


def test_the_result_of_a_map_leaves_out_the_skipped(executor: Any) -> None:
    @flow
    def mapped() -> object:
        return picky.map([0, 2, 3])

    run: Any = mapped.run(executor=executor)
    assert run.result() == run["picky"].result() == [0, 3]


def test_a_failed_whole_argument_fails_each_child_by_trigger(executor: Any, ledger: Ledger) -> None:
    @task
    def child(x: int, whole: Any) -> None:
        ledger.mark("child")

    @flow
    def mapped() -> object:
        return child.map([1, 2], unmapped(picky(1)))

    run: Any = mapped.run(executor=executor, raise_on_failure=False)
    assert [one.state.type for one in run["child"]] == ["TriggerFailed", "TriggerFailed"]
    assert ledger.lines() == []


def test_a_failed_item_fails_its_own_child_only(executor: Any) -> None:
    @flow
    def mapped() -> object:
        return same.map([picky(0), picky(1), picky(2), 7])

    run: Any = mapped.run(executor=executor, raise_on_failure=False)
    assert [one.state.type for one in run["same"]] == ["Success", "TriggerFailed", "Skipped", "Success"]


def test_a_map_over_a_failed_or_skipped_node_has_no_children(executor: Any) -> None:
    @flow
    def mapped() -> object:
        return (
            same.map(picky(1)),
            same.options(name="skipped").map(picky(2)),
            same.options(name="x").map(same.map(picky(1))),
        )

    run: Any = mapped.run(executor=executor, raise_on_failure=False)
    assert (run["same"].state.type, run["skipped"].state.type) == ("TriggerFailed", "Skipped")
    assert run["x"].state.type == "TriggerFailed"


def test_a_failed_child_that_is_flattened_is_left_out_or_fails(executor: Any, ledger: Ledger) -> None:
    @task
    def pages(x: int) -> list[int]:
        if x == 1:
            raise ValueError("no pages")
        return [x, x]

    @task
    def page(x: int) -> int:
        ledger.mark(x)
        return x

    @flow
    def flat() -> object:
        return page.map(flatten(pages.map([0, 1, 2])))

    run: Any = flat.run(executor=executor, raise_on_failure=False)
    assert run.state.type == "Failed"
    assert run["page"].state.type == "TriggerFailed"
    assert ledger.lines() == []


def test_a_child_retries_alone(executor: Any, ledger: Ledger) -> None:
    @task(retries=2, retry_delay=0.01)
    def flaky(x: int) -> int:
        ledger.mark(x)
        if x == 3 and ledger.counts()["3"] < 3:
            raise OSError("not yet")
        return x

    @flow
    def mapped() -> object:
        return same.map(flaky.map(range(6)))

    run: Any = mapped.run(executor=executor)
    assert run.result() == list(range(6))
    assert ledger.counts() == {**{str(x): 1 for x in range(6)}, "3": 3}
    assert [child.attempt for child in run["flaky"]] == [1, 1, 1, 3, 1, 1]


# Targets --------------------------------------------------------------------------------------------------------------


def test_a_mapped_target_without_the_index_is_refused_when_the_graph_is_built() -> None:
    @task(target="out/{task}.json")
    def save(x: int) -> int:
        return x

    @flow
    def mapped() -> object:
        return save.map([1, 2])

    with pytest.raises(ValueError, match=r"save: .*target='out/\{task\}\.json'.* share one path: use \{index\}"):
        mapped.graph()


def test_an_index_in_the_target_of_a_plain_task_is_refused() -> None:
    @task(target="out/{index}.json")
    def save(x: int) -> int:
        return x

    @flow
    def plain() -> object:
        return save(1)

    with pytest.raises(ValueError, match=r"\{index\} is only known in a map"):
        plain.graph()


def test_two_calls_that_would_share_a_target_are_refused() -> None:
    @task(target="out/{params[day]}.json")
    def save(x: int) -> int:
        return x

    @flow
    def twice(day: str) -> object:
        return save(1), save.options(name="other")(2)

    @flow
    def maps() -> object:
        target = save.options(target="a/{index}.json")
        return target.map([1]), target.map([2])

    with pytest.raises(ValueError, match=r"other and save would share the path"):
        twice.graph("monday")
    with pytest.raises(ValueError, match=r"save-2 and save would share the path"):
        maps.graph()


def test_a_target_of_an_unknown_parameter_is_refused() -> None:
    @task(target="out/{params[day]}.json")
    def save(x: int) -> int:
        return x

    @flow
    def without(week: int) -> object:
        return save(1)

    with pytest.raises(ValueError, match=r"save: .*target=.* the flow has no parameter day"):
        without.graph(3)


def test_targets_of_a_map_are_one_file_each(executor: Any, tmp_path: Path) -> None:
    @task(target="out/{params[day]}-{index:02}.json")
    def save(x: int) -> int:
        return x * 10

    @flow
    def mapped(day: str) -> object:
        return save.map([1, 2, 3])

    run = mapped.run("monday", executor=executor, results=str(tmp_path / "results"))
    assert run.result() == [10, 20, 30]
    files = sorted(path.name for path in tmp_path.rglob("monday-*.json"))
    assert files == ["monday-00.json", "monday-01.json", "monday-02.json"]


def test_children_of_a_mapped_subflow_that_would_share_a_target_are_refused(executor: Any, tmp_path: Path) -> None:
    @task(target="out/{task}.json")
    def save(x: int) -> int:
        return x * 10

    @flow
    def sub(x: int) -> object:
        return save(x)

    @flow
    def mapped() -> object:
        return sub.map(same([1, 2, 3]))

    options: Any = {"executor": executor, "results": str(tmp_path / "results"), "raise_on_failure": False}
    run = mapped.run(**options)
    assert run.state.type == "Failed", run.result()
    assert "would share the path" in run.report
