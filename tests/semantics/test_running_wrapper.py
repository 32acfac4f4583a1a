"""Whatever a body does, its task run ends in a state that says so, and the rest of the run is not touched."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dataflow import Missing, flow, task
from dataflow.triggers import all_finished

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger

PATIENCE = 60.0


class BadText(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Unbuildable(Exception):
    """Cannot be made at all."""

    def __init__(self) -> None:
        raise TypeError("cannot be made")


class TakesTwo(Exception):
    """Pickles, but cannot be rebuilt from its `args`."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


class HoldsLock(Exception):
    """Cannot be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class NoException:
    """Not an exception at all."""


def returns_a_lock() -> object:
    return threading.Lock()


def returns_a_generator() -> object:
    return (n for n in range(3))


def raises_with_a_lock() -> object:
    raise HoldsLock("locked")


def raises_what_cannot_be_rebuilt() -> object:
    raise TakesTwo("one", "two")


def raises_without_text() -> object:
    raise BadText


def raises_what_cannot_be_made() -> object:
    raise Unbuildable


def raises_no_exception() -> object:
    raise NoException  # type: ignore[misc]


def leaves() -> object:
    sys.exit(3)


def interrupts() -> object:
    raise KeyboardInterrupt


def stops_a_generator() -> object:
    raise StopIteration(5)


def exits_a_generator() -> object:
    raise GeneratorExit


def recurses() -> object:
    """Garbage of others is collected before: a finaliser at the end of the stack would fail, and pytest with it."""
    gc.collect()
    gc.disable()
    try:
        return deeper()
    finally:
        gc.enable()


def deeper() -> object:
    return deeper()


def raises_a_group() -> object:
    raise ExceptionGroup("several", [ValueError("first"), KeyError("second")])


def raises_a_chain() -> object:
    error: Exception = ValueError(0)
    for n in range(1, 300):
        try:
            raise ValueError(n) from error
        except ValueError as caught:
            error = caught
    raise error


def raises_a_circle() -> object:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def raises_a_large_text() -> object:
    raise ValueError("x" * 3_000_000)


def raises_a_surrogate() -> object:
    raise ValueError("broken \ud800 text \x00 nul")


BODIES = {
    returns_a_lock: "lock",
    returns_a_generator: "generator",
    raises_with_a_lock: "HoldsLock: locked",
    raises_what_cannot_be_rebuilt: "TakesTwo: one",
    raises_without_text: "BadText",
    raises_what_cannot_be_made: "TypeError: cannot be made",
    raises_no_exception: "TypeError: exceptions must derive from BaseException",
    leaves: "SystemExit: 3",
    interrupts: "KeyboardInterrupt",
    stops_a_generator: "StopIteration: 5",
    exits_a_generator: "GeneratorExit",
    recurses: "RecursionError",
    raises_a_group: "ExceptionGroup: several (2 sub-exceptions)",
    raises_a_chain: "ValueError: 299",
    raises_a_circle: "ValueError: first",
    raises_a_large_text: "ValueError: xxx",
    raises_a_surrogate: "ValueError: broken",
}


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_a_body_that_ends_badly_fails_alone(executor: Any, ledger: Ledger, body: Any, isolation: str) -> None:
    bad = task(isolation=isolation, name="bad")(body)

    @task
    def good(n: int, *upstream: object) -> int:
        ledger.mark("good")
        return n

    @task(trigger=all_finished)
    def looks(value: Any) -> tuple[bool, str]:
        return isinstance(value, Missing), value.state.type

    @flow
    def mixed() -> object:
        failed = bad()
        return looks.options(outputs=1)(failed), good.map(list(range(5))), good(7, wait_for=[good(1)]), failed

    run: Any = mixed.graph().submit(executor=executor).wait(PATIENCE)
    assert run.state.type == "Failed", [line.message for line in run.logs()]
    state = run["bad"].state
    assert state.type == "Failed"
    assert BODIES[body] in state.message
    assert run["looks"].result() == (True, "Failed")
    assert [child.result() for child in run["good"]] == list(range(5))
    assert run["good-2"].result() == 1
    assert run["good-3"].result() == 7
    assert ledger.counts() == {"good": 7}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_a_child_that_ends_badly_fails_alone_in_its_batch(executor: Any, body: Any) -> None:
    @task(batch=4)
    def mixed(n: int) -> object:
        return body() if n == 2 else n

    @task(trigger=all_finished)
    def reduces(values: list[Any]) -> list[object]:
        return [value.state.type if isinstance(value, Missing) else value for value in values]

    @flow
    def mapped() -> object:
        return reduces(mixed.map(list(range(6))))

    run: Any = mapped.graph().submit(executor=executor).wait(PATIENCE)
    assert run.state.type == "Success"
    assert run.result() == [0, 1, "Failed", 3, 4, 5]
    assert BODIES[body] in run["mixed[2]"].state.message


def test_a_body_that_closes_stdout_still_succeeds(executor: Any) -> None:
    @task(log_prints=True)
    def closes() -> int:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        sys.stdout.close()
        print("into the void")
        return 1

    @task
    def after(value: int) -> int:
        sys.stdout = sys.__stdout__
        return value + 1

    @flow
    def closed() -> object:
        return after(closes())

    outside = sys.stdout
    try:
        run: Any = closed.graph().submit(executor=executor).wait(PATIENCE)
    finally:
        sys.stdout = outside
    if not isinstance(executor, str):
        executor.run(lambda: setattr(sys, "stdout", sys.__stdout__))
    assert run.state.type in ("Success", "Failed")
    if run["closes"].state.type == "Failed":  # printing into a closed file is an error of the body's own
        assert "closed file" in run["closes"].state.message
    else:
        assert run.result() == 2


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_body_that_closes_stdout_and_is_silent_succeeds(executor: Any, isolation: str) -> None:
    @task(isolation=isolation)
    def closes() -> int:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        sys.stdout.close()
        return 1

    @flow
    def closed() -> object:
        return closes()

    outside = sys.stdout
    try:
        run: Any = closed.graph().submit(executor=executor).wait(PATIENCE)
    finally:
        sys.stdout = outside
    if not isinstance(executor, str):
        executor.run(lambda: setattr(sys, "stdout", sys.__stdout__))
    assert run.result() == 1


def test_a_body_whose_process_ends_is_crashed_and_its_neighbours_are_not(executor: Any, ledger: Ledger) -> None:
    @task(isolation="process")
    def mixed(n: int) -> int:
        ledger.mark(n)
        if n == 2:
            os._exit(9)
        return n

    @task(trigger=all_finished)
    def reduces(values: list[Any]) -> list[object]:
        return [value.state.type if isinstance(value, Missing) else value for value in values]

    @flow
    def isolated() -> object:
        return reduces(mixed.map(list(range(5))))

    run: Any = isolated.graph().run(executor=executor)
    assert run.result() == [0, 1, "Crashed", 3, 4]
    assert "exit code 9" in run["mixed[2]"].state.message
    assert ledger.counts() == dict.fromkeys("01234", 1)


def test_a_crash_is_tried_again_within_the_budget(executor: Any, ledger: Ledger) -> None:
    @task(isolation="process", retries=2)
    def dies() -> int:
        ledger.mark("body")
        if ledger.counts()["body"] < 3:
            os._exit(1)
        return 3

    @flow
    def isolated() -> object:
        return dies()

    assert isolated.graph().run(executor=executor).result() == 3
    assert ledger.counts() == {"body": 3}


def test_a_value_that_cannot_be_stored_can_be_passed_on_where_nobody_wants_it_stored() -> None:
    @task(persist=False)
    def lock() -> object:
        return threading.Lock()

    @task
    def takes(value: Any) -> str:
        return type(value).__name__

    @flow
    def passed() -> object:
        return takes(lock())

    for executor in ("sync", "threads:2"):
        assert passed.graph().run(executor=executor).result() == "lock"


def test_a_value_that_cannot_travel_fails_and_hangs_nothing(executor: Any) -> None:
    """On a cluster a value may have to move to another worker; one that cannot be pickled cannot."""

    @task(persist=False)
    def lock(n: int) -> object:
        return threading.Lock()

    @task
    def takes(values: list[Any]) -> int:
        return len(values)

    @task
    def neighbour() -> int:
        return 1

    @flow
    def passed() -> object:
        return takes([lock(n) for n in range(4)]), neighbour()

    run: Any = passed.graph().submit(executor=executor).wait(PATIENCE)
    assert run.state.type in ("Success", "Failed")
    assert run["neighbour"].result() == 1
    if isinstance(executor, str):
        assert run.result() == (4, 1)
    elif run.state.type == "Failed":
        assert "lock" in run.report
