"""States: what may follow what, what is recorded of it, and how the run's own state is decided."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow import Skip, backoff, flow, states, task
from dataflow.errors import IllegalTransition
from dataflow.states import RUN_TRANSITIONS, TASK_TRANSITIONS, check_transition
from dataflow.triggers import all_finished

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger

NAMES = sorted(TASK_TRANSITIONS.keys() | RUN_TRANSITIONS.keys())


def check_history(run: Any) -> dict[tuple[str | None, int], list[str]]:
    """Every recorded sequence of states obeys its table and its times; returns the sequences."""
    told: dict[tuple[str | None, int], list[Any]] = defaultdict(list)
    for row in run._store.transitions(run.id):
        told[row.path, row.idx].append(row)
    for (path, index), rows in told.items():
        table = RUN_TRANSITIONS if path is None else TASK_TRANSITIONS
        before = states.PENDING
        for row in rows:
            check_transition(f"{path}[{index}]", before, row.state, table)
            before = row.state
        times = [row.time for row in rows]
        assert times == sorted(times), (path, index)
    return {who: [row.state for row in rows] for who, rows in told.items()}


def check_counts(run: Any) -> None:
    """The counts per node and state are those of the task runs."""
    tally: dict[str, Counter[str]] = defaultdict(Counter)
    for row in run._store.task_runs(run.id):
        tally[row.path][row.state] += 1
    assert run.counts == {path: dict(counted) for path, counted in tally.items()}


# The tables -----------------------------------------------------------------------------------------------------------


@given(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from([TASK_TRANSITIONS, RUN_TRANSITIONS]))
def test_a_transition_is_refused_exactly_where_its_table_does_not_have_it(before: str, after: str, table: Any) -> None:
    if before not in table:
        return
    if after in table[before]:
        check_transition("x", before, after, table)
    else:
        with pytest.raises(IllegalTransition, match=f"{after} cannot follow {before}"):
            check_transition("x", before, after, table)


@pytest.mark.parametrize("table", [TASK_TRANSITIONS, RUN_TRANSITIONS], ids=["task run", "run"])
def test_each_state_can_be_reached_and_left_towards_an_end(table: Any) -> None:
    final = states.FINAL if table is TASK_TRANSITIONS else states.RUN_FINAL

    def reached(start: str) -> set[str]:
        seen, todo = {start}, [start]
        while todo:
            for after in table[todo.pop()] - seen:
                seen.add(after)
                todo.append(after)
        return seen

    first = states.PENDING if table is TASK_TRANSITIONS else states.SCHEDULED
    assert reached(first) == set(table)
    for state in table:
        assert reached(state) & final, state


def test_a_run_that_has_ended_is_only_left_to_run_again() -> None:
    assert all(RUN_TRANSITIONS[state] == {states.RUNNING} for state in states.RUN_FINAL)


def test_only_pending_follows_the_end_of_a_task_run() -> None:
    assert all(TASK_TRANSITIONS[state] <= {states.PENDING} for state in states.FINAL)


# The record -----------------------------------------------------------------------------------------------------------


def test_every_recorded_sequence_is_legal(executor: Any) -> None:
    @task(retries=2)
    def flaky(n: int) -> int:
        if n == 1:
            raise ValueError("never")
        if n == 2:
            raise Skip("nothing")
        return n

    @task(retries=1, retry_delay=0.05)
    def later() -> None:
        raise ValueError("never")

    @task
    def follows(value: object) -> object:
        return value

    @flow
    def mixed() -> object:
        return follows.map(flaky.map([0, 1, 2])), follows(later())

    run: Any = mixed.graph().run(executor=executor, raise_on_failure=False)
    told = check_history(run)
    check_counts(run)
    assert told[None, -1] == ["Running", "Failed"]
    assert told["flaky", 0] == ["Running", "Success"]
    assert told["flaky", 1] == ["Running", "Retrying", "Running", "Retrying", "Running", "Failed"]
    assert told["flaky", 2] == ["Running", "Skipped"]
    assert told["later", -1] == ["Running", "Retrying", "Running", "Failed"]
    assert [told["follows", n] for n in range(3)] == [["Running", "Success"], ["TriggerFailed"], ["Skipped"]]
    assert told["follows-2", -1] == ["TriggerFailed"]


def test_a_retry_of_the_run_is_recorded_as_more_legal_history(executor: Any, ledger: Ledger) -> None:
    @task
    def second_time() -> int:
        ledger.mark("body")
        if ledger.counts()["body"] == 1:
            raise ValueError("the first time")
        return 1

    @task
    def follows(value: int) -> int:
        return value + 1

    @flow
    def again() -> object:
        return follows(second_time())

    run: Any = again.graph().run(executor=executor, raise_on_failure=False)
    run.retry(executor=executor)
    told = check_history(run)
    check_counts(run)
    assert told[None, -1] == ["Running", "Failed", "Running", "Success"]
    assert told["second_time", -1] == ["Running", "Failed", "Pending", "Running", "Success"]
    assert told["follows", -1] == ["TriggerFailed", "Pending", "Running", "Success"]


def test_a_state_is_plain_data_also_where_a_body_raised(executor: Any) -> None:
    @task
    def breaks() -> None:
        raise KeyError("price")

    @flow
    def broken() -> object:
        return breaks()

    run: Any = broken.graph().run(executor=executor, raise_on_failure=False)
    state = run["breaks"].state
    assert (state.type, state.message) == ("Failed", "KeyError: 'price'")
    assert state.details["type"] == "KeyError"
    assert state.details["frames"][-1]["name"] == "breaks"
    assert state.details["frames"][-1]["user"] is True
    assert any(not frame["user"] for frame in state.details["frames"])
    with pytest.raises(AttributeError):
        state.type = "Success"


# The run's own state --------------------------------------------------------------------------------------------------


@task
def good(*upstream: object) -> int:
    return 1


@task
def bad(*upstream: object) -> int:
    raise ValueError("bad")


@task
def nothing(*upstream: object) -> int:
    raise Skip("nothing")


at_last = good.options(trigger=all_finished, name="at_last")


def returned_failure_that_something_follows() -> object:
    failed = bad()
    at_last(failed)
    return failed


def leaf_that_is_not_returned_fails() -> object:
    bad()
    return good()


def returned_child_fails() -> object:
    return bad.map([1]), good.map([1])


def leaf_child_fails() -> object:
    bad.map([1])
    return good()


def follower_of_a_failure() -> object:
    return good(bad())


def failure_is_dealt_with() -> object:
    return at_last(bad())


def failed_child_is_dealt_with() -> object:
    return at_last(bad.map([1, 2]))


def all_skipped() -> object:
    return good(nothing()), nothing.map([1, 2])


def no_node_at_all() -> object:
    return 7


def empty_map() -> object:
    return good.map([])


@pytest.mark.parametrize(
    ("build", "wanted"),
    [
        (returned_failure_that_something_follows, "Failed"),
        (leaf_that_is_not_returned_fails, "Failed"),
        (returned_child_fails, "Failed"),
        (leaf_child_fails, "Failed"),
        (follower_of_a_failure, "Failed"),
        (failure_is_dealt_with, "Success"),
        (failed_child_is_dealt_with, "Success"),
        (all_skipped, "Success"),
        (no_node_at_all, "Success"),
        (empty_map, "Success"),
    ],
)
def test_returned_nodes_and_leaves_decide_the_state_of_the_run(executor: Any, build: Any, wanted: str) -> None:
    run: Any = flow(build).graph().run(executor=executor, raise_on_failure=False)
    assert run.state.type == wanted
    check_history(run)


def test_the_state_of_a_failed_run_says_how_many_failed() -> None:
    @flow
    def several() -> object:
        return bad.map([1, 2, 3]), good()

    run: Any = several.graph().run(executor="sync", raise_on_failure=False)
    assert run.state.message == "3 Failed"


def test_a_retry_delay_that_waits_is_a_state_with_a_reason(executor: Any) -> None:
    @task(retries=1, retry_delay=backoff(0.05))
    def flaky() -> None:
        raise ValueError("row 13")

    @flow
    def waits() -> object:
        return flaky()

    run: Any = waits.graph().run(executor=executor, raise_on_failure=False)
    retrying = [row for row in run._store.transitions(run.id, path="flaky") if row.state == "Retrying"]
    assert [(row.attempt, row.message) for row in retrying] == [(1, "ValueError: row 13")]
