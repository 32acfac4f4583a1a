"""A person's answer: typed, checked, given once, and delivered, however long and through whatever it takes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from dataflow import Pause, context, flow, get_run, task, triggers, wait_for_input
from dataflow.errors import AnswerInvalid, NothingAsked

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger


@dataclass
class Decision:
    day: date
    regions: list[str]


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_an_answer_is_checked_and_converted_and_is_what_the_body_gets(
    executor: Any, ledger: Ledger, isolation: str
) -> None:
    @task
    def before() -> int:
        ledger.mark("before")
        return 1

    @task(isolation=isolation)
    def deploy(n: int) -> tuple[int, date, list[str]]:
        ledger.mark("deploy")
        decided = wait_for_input(Decision, "Where to?")
        return n, decided.day, decided.regions

    @flow
    def releasing() -> object:
        return deploy(before())

    run: Any = releasing.run(executor=executor)
    assert run.state.type == "Paused"
    assert run["deploy"].state.message == "Where to?"
    assert run["deploy"].state.details["wanted"]["name"] == "Decision"
    with pytest.raises(AnswerInvalid, match="wanted is Decision"):
        run.approve("deploy", {"day": "tomorrow", "regions": []})
    with pytest.raises(NothingAsked, match="it asks for a value: 'Where to"):
        run.approve("deploy")
    with pytest.raises(NothingAsked, match=r"run\.approve\(task, value="):
        run.resume()
    assert ledger.counts() == {"before": 1, "deploy": 1}
    # From another holder of the run: nothing of the first process is needed but the record.
    again: Any = get_run(run.id)
    again.approve("deploy", {"day": "2026-11-22", "regions": ["north"]}, executor="threads:2")
    assert again.result() == (1, date(2026, 11, 22), ["north"])
    assert ledger.counts() == {"before": 1, "deploy": 2}
    with pytest.raises(NothingAsked, match="Success"):
        again.approve("deploy", {"day": "2026-11-22", "regions": []})


def test_a_question_in_a_flow_is_a_node_whose_value_is_the_answer(executor: Any) -> None:
    @task
    def use(n: int, text: str) -> str:
        return text * n

    @flow
    def asking() -> object:
        return use(wait_for_input(int, "How often?"), wait_for_input(str))

    run: Any = asking.run(executor=executor)
    assert run["wait_for_input"].state.message == "How often?"
    run.approve("wait_for_input", "3", executor="threads:2")
    assert run.state.type == "Paused"
    run.approve("wait_for_input-2", "ab", executor="threads:2")
    assert run.result() == "ababab"


def test_a_body_may_ask_more_than_once_and_earlier_answers_stay(executor: Any, ledger: Ledger) -> None:
    @task(retries=1)
    def interview() -> list[object]:
        ledger.mark("body")
        name = wait_for_input(str, "name?")
        age = wait_for_input(int, "age?")
        if ledger.counts()["body"] == 3:
            raise ValueError("once more")
        return [name, age]

    @flow
    def asking() -> object:
        return interview()

    run: Any = asking.run(executor=executor)
    run.approve("interview", "Ada", executor="threads:2")
    assert run["interview"].state.message == "age?"
    run.approve("interview", 36, executor="threads:2")
    assert run.result() == ["Ada", 36]
    assert ledger.counts() == {"body": 4}


def test_children_are_answered_alone_and_a_map_all_at_once(executor: Any) -> None:
    @task
    def price(item: str) -> float:
        return wait_for_input(float, f"What does {item} cost?")

    @flow
    def pricing() -> object:
        return price.map(["tea", "rum", "salt"])

    run: Any = pricing.run(executor=executor)
    run.approve("price[1]", 2.5, executor="threads:2")
    assert [child.state.type for child in run["price"]] == ["Paused", "Success", "Paused"]
    run.approve("price", 1, executor="threads:2")
    assert run.result() == [1.0, 2.5, 1.0]


def test_an_approval_may_carry_a_value_that_nobody_asked_for(executor: Any) -> None:
    @task(trigger=triggers.manual)
    def approved() -> object:
        return context().answer

    @task
    def paused() -> object:
        if not context().resumed:
            raise Pause("look")
        return context().answer, wait_for_input(int)

    @flow
    def asking() -> object:
        return approved(), paused()

    run: Any = asking.run(executor=executor)
    run.approve("approved", {"ok": True}, executor="threads:2")
    run.approve("paused", "seen", executor="threads:2")
    run.approve("paused", 7, executor="threads:2")
    assert run.result() == ({"ok": True}, (7, 7))


def test_of_two_answers_at_once_one_wins_and_the_other_is_told() -> None:
    @task
    def choice() -> str:
        return wait_for_input(str)

    @flow
    def asking() -> object:
        return choice()

    run: Any = asking.run(executor="sync")
    told: list[str] = []
    barrier = threading.Barrier(8)

    def answer(n: int) -> None:
        other = get_run(run.id)
        barrier.wait()
        try:
            other.approve("choice", f"answer {n}", resume=False)
        except NothingAsked as error:
            told.append(str(error))
        else:
            told.append(f"won {n}")

    threads = [threading.Thread(target=answer, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [text for text in told if text.startswith("won")]
    assert len(won) == 1
    assert all("has answered already" in text for text in told if text not in won)
    run.resume()
    assert run.result() == f"answer {won[0].removeprefix('won ')}"


def test_a_retry_and_a_pause_of_a_person_approve_nothing(ledger: Ledger) -> None:
    @task(trigger=triggers.manual)
    def approved() -> int:
        ledger.mark("approved")
        return 1

    @flow
    def asking() -> object:
        return approved()

    run: Any = asking.run(executor="sync")
    run.retry(executor="sync")
    assert run.state.type == "Paused"
    run.pause("lunch")
    assert run.state.message.endswith(": lunch")
    run.resume(executor="sync")
    assert run["approved"].state.message == "waits for approval"
    assert ledger.counts() == {}
    run.resume(executor="sync")
    assert run.state.type == "Success"


def test_an_answer_that_waits_on_record_is_acted_on_by_whoever_takes_the_run_up() -> None:
    @task
    def choice() -> str:
        return wait_for_input(str)

    @flow
    def asking() -> object:
        return choice()

    run: Any = asking.run(executor="sync")
    run.approve("choice", "later", resume=False)
    assert run.state.type == "Paused"
    assert [row.id for row in run._store.abandoned()] == [run.id]
    from dataflow.recover import recover

    (found,) = recover(run._store)
    assert found.what == "taken up"
    found.run.wait()
    assert found.run.result() == "later"
    assert run._store.abandoned() == []
