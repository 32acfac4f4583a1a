"""What is easily got wrong with answers, and with results that a retry made anew."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr

from dataflow import context, flow, task, triggers, wait_for_input
from dataflow.cli import bucket
from dataflow.errors import AnswerInvalid


class Order(BaseModel):
    size: int = Field(alias="Size")


class Login(BaseModel):
    password: SecretStr


@pytest.mark.parametrize(
    ("wanted", "value", "got"),
    [
        (Order, {"Size": 3}, Order(Size=3)),
        (Login, {"password": "open sesame"}, Login(password=SecretStr("open sesame"))),
        (set[int], [1, 2], {1, 2}),
    ],
)
def test_an_answer_reaches_the_body_as_it_was_given(wanted: Any, value: object, got: object) -> None:
    found: list[object] = []

    @task
    def ask() -> int:
        found.append(wait_for_input(wanted))
        return 1

    @flow
    def asking() -> object:
        return ask()

    run: Any = asking.run(executor="sync")
    run.approve("ask", value, executor="sync")
    assert found == [got]


def test_an_answer_that_json_would_change_or_cannot_write_is_refused_where_it_is_given() -> None:
    loop: list[object] = []
    loop.append(loop)

    @task
    def ask() -> object:
        return wait_for_input(dict[tuple[int, int], str])

    @task(trigger=triggers.manual)
    def approved() -> object:
        return context().answer

    @flow
    def asking() -> object:
        return ask(), approved()

    run: Any = asking.run(executor="sync")
    for name, value in (("ask", {(1, 2): "x"}), ("approved", loop), ("approved", b"\xff"), ("approved", object())):
        with pytest.raises(AnswerInvalid, match="can be written as JSON"):
            run.approve(name, value)
    assert run.counts["ask"] == run.counts["approved"] == {"Paused": 1}


def test_a_question_that_is_asked_again_after_a_retry_gets_its_own_answer() -> None:
    @task
    def ask() -> str:
        return wait_for_input(str)

    @flow
    def asking() -> object:
        return ask()

    run: Any = asking.run(executor="sync")
    run.approve("ask", "Ada", executor="sync")
    run.retry(from_="ask", executor="sync")
    run.approve("ask", "Bob", executor="sync")
    assert run.result() == "Bob"


def test_an_approval_that_a_cancel_overtook_can_be_given_again_after_a_retry() -> None:
    @task(trigger=triggers.manual)
    def approved() -> object:
        return context().answer

    @flow
    def asking() -> object:
        return approved()

    run: Any = asking.run(executor="sync")
    run.approve("approved", 1, resume=False)
    run.cancel()
    run.retry(executor="sync")
    assert run.state.type == "Paused"
    run.approve("approved", 2, executor="sync")
    assert run.result() == 2


def test_of_results_that_were_made_more_than_once_the_latest_is_found_without_the_record() -> None:
    values = {"now": 0}

    @task
    def one() -> int:
        return values["now"]

    @task
    def many(n: int) -> int:
        return n + values["now"]

    @flow
    def making() -> object:
        return one(), many.map(list(range(11)))

    run: Any = making.run(executor="sync")
    for _ in range(10):  # two digits: the tenth must not sort before the second
        values["now"] += 100
        run.retry(from_=["one", "many[1]"], executor="sync")
    for name, value in (("one", 1000), ("many[1]", 1001), ("many[10]", 10)):
        found = bucket.find(run.record.results_url, f"{run.id}/{name}")
        assert [found.store.get(reference) for reference in found.references.values()] == [value]
    store = bucket.find(run.record.results_url, f"{run.id}/one").store
    assert len(list(bucket.listed(store, run.id))) == 12
