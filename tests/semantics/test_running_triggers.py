"""Triggers, skips and Missing: whether a task starts, given how its upstreams ended, and what it then gets."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow import Missing, Skip, flow, task, triggers, unmapped

# Which triggers let a task start after three upstreams that ended so: s(uccess), f(ailure), k (skipped: a success).
ALL = {
    "all_successful": triggers.all_successful,
    "all_failed": triggers.all_failed,
    "all_finished": triggers.all_finished,
    "any_successful": triggers.any_successful,
    "any_failed": triggers.any_failed,
    "none_failed": triggers.none_failed,
    "not_all_skipped": triggers.not_all_skipped,
    "two": triggers.some_successful(2),
    "half": triggers.some_successful(0.5, 1.0),
    "one_or_two_failed": triggers.some_failed(1, 2),
    "few_failed": triggers.some_failed(0, 0.4),
}
STARTS = {
    "sss": "all_successful all_finished any_successful none_failed not_all_skipped two half few_failed",
    "sff": "all_finished any_successful any_failed one_or_two_failed",
    "fff": "all_failed all_finished any_failed",
    "kkk": "all_successful all_finished any_successful none_failed two half few_failed",
    "skf": "all_finished any_successful any_failed two half one_or_two_failed few_failed",
    "skk": "all_successful all_finished any_successful none_failed not_all_skipped two half few_failed",
}


@task
def ends(how: str) -> str:
    if how == "f":
        raise ValueError("failed on purpose")
    if how == "k":
        raise Skip("nothing to do")
    return how


@task
def shows(*values: object) -> list[str]:
    return [repr(value) for value in values]


@task
def reduces(values: list[object]) -> list[str]:
    return [repr(value) for value in values]


FAILED = "Missing(Failed: ValueError: failed on purpose)"
SKIPPED = "Missing(Skipped: nothing to do)"
SHOWN = {"s": "'s'", "f": FAILED, "k": SKIPPED}


def states_of(run: Any) -> dict[str, str]:
    return {one.label: one.state.type for one in run.task_runs}


@pytest.mark.parametrize("ended", STARTS)
@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
def test_each_trigger_starts_its_task_exactly_after_these_ends(executor: Any, ended: str, mapped: bool) -> None:
    @flow
    def triggered() -> object:
        upstream = ends.map(list(ended)) if mapped else [ends(how) for how in ended]
        return [
            reduces.options(name=name, trigger=trigger, skip_on_upstream_skip=False)(upstream)
            for name, trigger in ALL.items()
        ]

    run: Any = triggered.graph().run(executor=executor, raise_on_failure=False)
    told = states_of(run)
    started = {name for name in ALL if told[name] == "Success"}
    assert started == set(STARTS[ended].split())
    assert {told[name] for name in ALL.keys() - started} <= {"TriggerFailed"}
    for name in started:
        assert run[name].result() == [SHOWN[how] for how in ended]


@pytest.mark.parametrize("name", ALL)
def test_a_skip_beats_every_trigger(executor: Any, name: str) -> None:
    @flow
    def skipped() -> object:
        return reduces.options(trigger=ALL[name])([ends("s"), ends("k"), ends("f")])

    run: Any = skipped.graph().run(executor=executor, raise_on_failure=False)
    assert run["reduces"].state.type == "Skipped"
    assert run.state.type == "Success"


def test_a_skip_passes_down_a_chain(executor: Any) -> None:
    @flow
    def chain() -> object:
        return shows(shows(ends("k")))

    run: Any = chain.graph().run(executor=executor)
    assert states_of(run) == {"ends": "Skipped", "shows": "Skipped", "shows-2": "Skipped"}
    assert isinstance(run.result(), Missing)


def test_a_reducing_task_gets_the_children_that_were_not_skipped(executor: Any) -> None:
    @flow
    def some() -> object:
        return reduces(ends.map(["s", "k", "s", "k"]))

    run: Any = some.graph().run(executor=executor)
    assert run.result() == ["'s'", "'s'"]


def test_a_reducing_task_is_skipped_where_every_child_was(executor: Any) -> None:
    @flow
    def none() -> object:
        return reduces(ends.map(["k", "k"]))

    run: Any = none.graph().run(executor=executor)
    assert run["reduces"].state.type == "Skipped"


def test_a_reducing_task_over_an_empty_map_runs(executor: Any) -> None:
    @flow
    def empty() -> object:
        return reduces(ends.map([]))

    assert empty.graph().run(executor=executor).result() == []


def test_a_reducing_task_that_takes_skips_gets_them_as_missing_at_their_place(executor: Any) -> None:
    @flow
    def whole() -> object:
        return reduces.options(skip_on_upstream_skip=False)(ends.map(["s", "k", "s"]))

    assert whole.graph().run(executor=executor).result() == ["'s'", SKIPPED, "'s'"]


def test_a_reducing_task_gets_failed_children_as_missing_and_no_skipped_ones(executor: Any) -> None:
    @flow
    def tolerant() -> object:
        return reduces.options(trigger=triggers.all_finished)(ends.map(["s", "f", "k", "s"]))

    assert tolerant.graph().run(executor=executor).result() == ["'s'", FAILED, "'s'"]


def test_a_missing_value_is_false_and_says_why_wherever_it_stands(executor: Any) -> None:
    @task(trigger=triggers.all_finished)
    def looks(plain: Any, inside: dict[str, list[Any]]) -> list[object]:
        other = inside["deep"][1]
        return [
            bool(plain),
            plain.state.type,
            plain.state.message,
            bool(other),
            other.state.is_failure,
            inside["deep"][0],
        ]

    @flow
    def missing() -> object:
        failed = ends("f")
        return looks(failed, {"deep": [1, failed]})

    run: Any = missing.graph().run(executor=executor)
    assert run.result() == [False, "Failed", "ValueError: failed on purpose", False, True, 1]


def test_an_upstream_that_is_only_waited_for_counts(executor: Any) -> None:
    @flow
    def waits() -> object:
        return shows(wait_for=[ends("f")]), shows(wait_for=[ends("k")]), shows(wait_for=[ends("s")])

    run: Any = waits.graph().run(executor=executor, raise_on_failure=False)
    assert [run[path].state.type for path in ("shows", "shows-2", "shows-3")] == ["TriggerFailed", "Skipped", "Success"]


def test_a_child_follows_the_child_of_its_own_index_only(executor: Any) -> None:
    @flow
    def children() -> object:
        return shows.map(ends.map(["s", "f", "k", "s"]))

    run: Any = children.graph().run(executor=executor, raise_on_failure=False)
    assert [child.state.type for child in run["shows"]] == ["Success", "TriggerFailed", "Skipped", "Success"]
    assert run["shows[3]"].result() == ["'s'"]


def test_each_child_follows_an_upstream_that_is_not_walked(executor: Any) -> None:
    @flow
    def children() -> object:
        first = shows.map([1, 2], unmapped(ends("f")))
        second = shows.map([1, 2], unmapped(ends("k")))
        third = shows.options(trigger=triggers.all_finished).map([1, 2], unmapped(ends("f")))
        return first, second, third

    run: Any = children.graph().run(executor=executor, raise_on_failure=False)
    assert [child.state.type for child in run["shows"]] == ["TriggerFailed"] * 2
    assert [child.state.type for child in run["shows-2"]] == ["Skipped"] * 2
    assert run["shows-3"].result() == [["1", FAILED], ["2", FAILED]]


@pytest.mark.parametrize(("how", "wanted"), [("f", "TriggerFailed"), ("k", "Skipped")])
def test_a_map_over_a_node_without_a_value_ends_as_a_whole(executor: Any, how: str, wanted: str) -> None:
    @flow
    def unmeasured() -> object:
        return reduces(shows.map(shows.map(ends(how))))

    run: Any = unmeasured.graph().run(executor=executor, raise_on_failure=False)
    assert states_of(run) == {
        "ends": {"f": "Failed", "k": "Skipped"}[how], "shows": wanted, "shows-2": wanted, "reduces": wanted,
    }  # fmt: skip


def test_a_trigger_that_raises_fails_its_task_and_says_so(executor: Any) -> None:
    def broken(upstreams: triggers.Upstreams) -> bool:
        raise ZeroDivisionError("nothing to divide by")

    @flow
    def triggered() -> object:
        return shows.options(trigger=broken)(ends("s")), ends("s")

    run: Any = triggered.graph().run(executor=executor, raise_on_failure=False)
    state = run["shows"].state
    assert state.type == "Failed"
    assert "trigger" in state.message
    assert "nothing to divide by" in state.message
    assert run["ends-2"].state.type == "Success"


def test_a_refused_task_says_which_trigger_and_what_it_saw(executor: Any) -> None:
    @flow
    def refused() -> object:
        return reduces(ends.map(["s", "f", "f"]))

    run: Any = refused.graph().run(executor=executor, raise_on_failure=False)
    assert run["reduces"].state.message == "all_successful: 2 failed, 1 successful of 3 upstreams"


def test_a_trigger_of_the_users_own_is_a_function_of_the_counts(executor: Any) -> None:
    @flow
    def own() -> object:
        return reduces.options(trigger=lambda upstreams: upstreams.failed == 2)(ends.map(["s", "f", "f"]))

    assert own.graph().run(executor=executor).result() == ["'s'", FAILED, FAILED]


def test_a_trigger_that_fails_counts_as_a_failure_below(executor: Any) -> None:
    @flow
    def below() -> object:
        return shows.options(trigger=triggers.all_failed, name="rescue")(shows(ends("f")))

    run: Any = below.graph().run(executor=executor)
    assert run["rescue"].state.type == "Success"
    assert run.result() == ["Missing(TriggerFailed: all_successful: 1 failed, 0 successful of 1 upstreams)"]


def test_no_body_runs_before_its_upstreams_have_ended(executor: Any) -> None:
    @task(trigger=triggers.any_successful)
    def joins(values: list[object]) -> int:
        return sum(1 for value in values if isinstance(value, str))

    @flow
    def joined() -> object:
        return joins(ends.map(["s"] * 20))

    assert joined.graph().run(executor=executor).result() == 20
