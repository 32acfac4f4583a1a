"""What is said to a run while its driver is just leaving, or by code of the run itself: nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflow import flow, get_run, task, triggers
from dataflow.errors import RunNotResumable, WaitsForItself
from dataflow_storage.faults import install


class Held:
    """A step at which the first who comes is held until `go` is set. It may be a hook, too."""

    def __init__(self, step: str = "") -> None:
        self.come, self.go = threading.Event(), threading.Event()
        self._step = step

    def __call__(self, name: object, when: object) -> None:
        here = (name, when) == (self._step, "before") or getattr(when, "type", "") == "Paused"
        if here and not self.come.is_set():
            self.come.set()
            assert self.go.wait(60)


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Iterator[Held]:
    """Holds whoever comes to a step."""
    made = Held(request.param)
    install(made if request.param else None)
    yield made
    install(None)
    made.go.set()


class Aside(threading.Thread):
    """Calls something in a thread of its own; what it gave or raised is known at its end."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(target=self._run, daemon=True)
        self._call = call
        self.value: object = None
        self.start()

    def _run(self) -> None:
        try:
            self.value = self._call()
        except Exception as error:
            self.value = error

    def ends(self) -> Any:
        """Wait for its end."""
        self.join(60)
        assert not self.is_alive(), "it waits for ever"
        return self.value


def until_ordered(run: Any, kind: str) -> None:
    """Wait until somebody has asked this of the run."""
    while not any(order.kind == kind for order in run._store.orders(run.id)):
        threading.Event().wait(0.01)


@task(trigger=triggers.manual)
def sign() -> int:
    return 1


def signing(**options: Any) -> Any:
    """A flow that waits for a signature."""

    @flow(**options)
    def asking() -> object:
        return sign()

    return asking


# A driver that is just leaving ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["approve", "resume"])
@pytest.mark.parametrize("executor", ["sync", "threads:2"])
@pytest.mark.parametrize("held", ["", "runs.release"], indirect=True, ids=["hook", "release"])
def test_who_lets_a_run_go_on_that_is_just_pausing_goes_on_with_it(held: Held, executor: str, verb: str) -> None:
    asking = signing() if held._step else signing(on_state=held)
    driver = Aside(lambda: asking.run(executor=executor))
    assert held.come.wait(60)
    remote: Any = get_run("@last")
    going = Aside(lambda: remote.approve("sign") if verb == "approve" else remote.resume())
    until_ordered(remote, "resume")
    held.go.set()
    assert driver.ends().id == going.ends().id
    assert remote.result() == 1


@pytest.mark.parametrize("held", ["runs.release"], indirect=True)
def test_an_answer_counts_that_comes_while_somebody_puts_the_run_by_on_record(held: Held) -> None:
    install(None)
    run: Any = signing().run(executor="sync")
    install(held)
    pausing = Aside(lambda: get_run(run.id).pause("lunch"))
    assert held.come.wait(60)
    going = Aside(lambda: get_run(run.id).approve("sign"))
    until_ordered(run, "resume")
    held.go.set()
    assert pausing.ends() is None
    assert going.ends().result() == 1


@pytest.mark.parametrize("held", ["runs.release"], indirect=True)
def test_a_cancel_counts_that_comes_when_the_driver_does_not_hear_any_more(held: Held) -> None:
    driver = Aside(lambda: signing().run(executor="sync", raise_on_failure=False))
    assert held.come.wait(60)
    get_run("@last").cancel()
    held.go.set()
    assert driver.ends().state.type == "Cancelled"


# Pausing, and not -----------------------------------------------------------------------------------------------------


BEGUN, GO = threading.Event(), threading.Event()


@task
def first() -> int:
    BEGUN.set()
    assert GO.wait(60)
    return 1


@task
def second(n: int) -> int:
    return n + 1


@flow
def pausing() -> object:
    return second(first())


@pytest.fixture
def slow() -> Iterator[Any]:
    """A run whose first body waits until GO is set."""
    BEGUN.clear()
    GO.clear()
    run: Any = pausing.submit(executor="threads:2")
    assert BEGUN.wait(60)
    yield run
    GO.set()


@pytest.mark.parametrize("where", ["here", "there", "heard there"])
def test_a_resume_from_elsewhere_takes_a_pause_back_that_is_still_under_way(slow: Any, where: str) -> None:
    (slow if where == "here" else get_run(slow.id)).pause()
    while "paused" not in slow.record.details and not (where == "there" and slow._store.orders(slow.id)):
        threading.Event().wait(0.01)
    going = Aside(lambda: get_run(slow.id).resume())
    until_ordered(slow, "resume")
    while where == "heard there" and not slow._driver.told.open:
        threading.Event().wait(0.01)
    GO.set()
    assert going.ends().result() == 2
    assert slow.counts == {"first": {"Success": 1}, "second": {"Success": 1}}


def test_who_says_so_last_is_right(slow: Any) -> None:
    remote: Any = get_run(slow.id)
    remote.pause()
    going = Aside(get_run(slow.id).resume)
    until_ordered(slow, "resume")
    remote.pause("again")
    while not slow._driver.told.obeyed[1:]:
        threading.Event().wait(0.01)
    GO.set()
    assert going.ends().state.type == "Paused"
    assert slow.wait().state.type == "Paused"
    assert [order.kind for order in slow._store.orders(slow.id)] == []


def test_a_run_that_nobody_pauses_and_nothing_waits_in_cannot_be_resumed(slow: Any) -> None:
    with pytest.raises(RunNotResumable, match="nothing in it waits for a person"):
        get_run(slow.id).resume()


def test_a_run_that_ends_before_a_pause_takes_hold_is_not_noted_as_paused() -> None:
    told: list[Any] = []

    @task(on_state=lambda one, state: told[0].pause() if state.type == "Running" else None)
    def only() -> int:
        return 1

    @flow(on_state=lambda run, state: told.append(run))
    def ending() -> object:
        return only()

    run: Any = ending.run(executor="sync")
    assert run.result() == 1
    assert "paused" not in run.record.details


# Code of the run itself -----------------------------------------------------------------------------------------------

WAITS: dict[str, Callable[[Any], object]] = {
    "wait": lambda run: run.wait(),
    "wait elsewhere": lambda run: get_run(run.id).wait(),
    "resume": lambda run: run.resume(),
    "approve": lambda run: run.approve("sign"),
    "cancel and wait": lambda run: (run.cancel(), run.wait()),
}


@pytest.mark.parametrize("executor", ["sync", "threads:2"])
@pytest.mark.parametrize("how", WAITS)
def test_a_hook_that_would_wait_for_its_own_run_is_told_what_to_do(how: str, executor: str) -> None:
    said: list[BaseException] = []

    def hook(run: Any, state: Any) -> None:
        if state.type == "Paused":
            try:
                WAITS[how](run)
            except WaitsForItself as error:
                said.append(error)

    driver = Aside(lambda: signing(on_state=hook).run(executor=executor, raise_on_failure=False))
    run = driver.ends()
    assert "approve(task, resume=False)" in str(said[0])
    assert run.state.type == ("Cancelled" if how == "cancel and wait" else "Paused")
    assert run._store.answers(run.id) == [], "it is refused before anything is written down"


@pytest.mark.parametrize("executor", ["sync", "threads:2"])
def test_a_body_that_would_wait_for_its_own_run_fails(executor: str) -> None:
    @task
    def waits() -> object:
        return get_run("@last").wait()

    @flow
    def waiting() -> object:
        return waits()

    run = Aside(lambda: waiting.run(executor=executor, raise_on_failure=False)).ends()
    assert run["waits"].state.details["type"] == "dataflow.errors.WaitsForItself"


@pytest.mark.parametrize("executor", ["sync", "threads:2"])
def test_a_hook_may_wait_for_another_run(executor: str) -> None:
    found: list[object] = []

    def hook(run: Any, state: Any) -> None:
        if state.type == "Success":
            found.append(one.run(executor=executor).result())

    @task
    def body() -> int:
        return 1

    @flow
    def one() -> object:
        return body()

    @flow(on_state=hook)
    def two() -> object:
        return body()

    Aside(lambda: two.run(executor=executor)).ends()
    assert found == [1]
