"""What a body can say and ask: Skip and Fail, its context, its secrets."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dataflow import Fail, Retry, Secret, Skip, context, flow, task, unmapped
from dataflow.errors import NestedTaskCall, NoContext


def states_of(run: Any) -> dict[str, tuple[str, str]]:
    return {one.label: (one.state.type, one.state.message) for one in run.task_runs}


def test_a_signal_ends_its_task_and_its_message_is_the_states(executor: Any) -> None:
    @task(retries=1)
    def says(signal: str) -> str:
        if signal == "skip":
            raise Skip("nothing new")
        if signal == "fail":
            raise Fail("no such table")
        return signal

    @flow
    def plain() -> object:
        return says("skip"), says("fail"), says("value"), says.map(["value", "fail", "skip"])

    run: Any = plain.graph().run(executor=executor, raise_on_failure=False)
    assert states_of(run) == {
        "says": ("Skipped", "nothing new"),
        "says-2": ("Failed", "no such table"),
        "says-3": ("Success", ""),
        "says-4[0]": ("Success", ""),
        "says-4[1]": ("Failed", "no such table"),
        "says-4[2]": ("Skipped", "nothing new"),
    }


def test_a_signal_without_a_message_has_a_state_with_one(executor: Any) -> None:
    @task
    def says(signal: Any) -> None:
        raise signal()

    @flow
    def bare() -> object:
        return says(Skip), says(Fail), says(Retry)

    run: Any = bare.graph().run(executor=executor, raise_on_failure=False)
    told = states_of(run)
    assert [told[path][0] for path in ("says", "says-2", "says-3")] == ["Skipped", "Failed", "Failed"]
    assert all(message for _, message in told.values())


def test_a_signal_raised_from_another_exception_is_still_a_signal(executor: Any) -> None:
    @task
    def says() -> None:
        try:
            int("rows")
        except ValueError as error:
            raise Skip("no rows") from error

    @flow
    def chained() -> object:
        return says()

    run: Any = chained.graph().run(executor=executor)
    assert states_of(run) == {"says": ("Skipped", "no rows")}


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_signals_cross_the_border_of_an_isolated_body(executor: Any, isolation: str) -> None:
    @task(isolation=isolation, retries=1)
    def says(signal: str) -> int:
        if signal == "skip":
            raise Skip("nothing new")
        if signal == "fail":
            raise Fail("no such table")
        if context().attempt == 1:
            raise Retry("not ready", delay=0.01)
        return context().attempt

    @flow
    def isolated() -> object:
        return says("skip"), says("fail"), says("retry")

    run: Any = isolated.graph().run(executor=executor, raise_on_failure=False)
    assert states_of(run) == {
        "says": ("Skipped", "nothing new"), "says-2": ("Failed", "no such table"), "says-3": ("Success", ""),
    }  # fmt: skip
    assert run["says-3"].result() == 2


# The context ----------------------------------------------------------------------------------------------------------


@task
def asked(n: int, word: str = "") -> dict[str, Any]:
    me = context()
    who = {"run_id": me.run_id, "run_name": me.run_name, "flow": me.flow, "task": me.task, "path": me.path}
    which = {"index": me.index, "attempt": me.attempt, "label": me.label, "resumed": me.resumed}
    when = {"logical_time": me.logical_time, "deadline": me.deadline}
    return {**who, **which, **when, "parameters": dict(me.parameters), "logger": me.logger.name}


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_body_knows_who_and_where_it_is(executor: Any, isolation: str) -> None:
    ask = asked.options(isolation=isolation, name="ask")

    @flow(name="inner")
    def inside(n: int) -> object:
        return ask(n)

    @flow(name="outer")
    def outside(n: int, day: str = "monday") -> object:
        return ask(n), ask.map([1, 2]), inside(n)

    run: Any = outside.graph("3").run(executor=executor)
    single, mapped, grouped = run.result()
    same = {
        "run_id": run.id, "run_name": run.name, "flow": "outer", "task": "ask", "attempt": 1, "deadline": None,
        "parameters": {"n": 3, "day": "monday"}, "resumed": False, "logger": "dataflow.task.ask",
        "logical_time": datetime.fromtimestamp(run.record.created, UTC),
    }  # fmt: skip
    assert single == {**same, "path": "ask", "index": None, "label": "ask"}
    assert mapped == [{**same, "path": "ask-2", "index": n, "label": f"ask-2[{n}]"} for n in range(2)]
    assert grouped == {**same, "path": "inner/ask", "index": None, "label": "inner/ask"}


def test_a_body_with_a_timeout_knows_its_deadline(executor: Any) -> None:
    @flow
    def limited() -> object:
        return asked.options(timeout=60)(1)

    before = datetime.now(UTC)
    run: Any = limited.graph().run(executor=executor)
    left = run.result()["deadline"] - before
    assert 60 <= left.total_seconds() < 120


def test_there_is_no_context_outside_a_body(executor: Any) -> None:
    with pytest.raises(NoContext):
        context()

    @flow
    def one() -> object:
        return asked(1)

    one.graph().run(executor=executor)
    with pytest.raises(NoContext):
        context()


def test_a_task_called_inside_a_running_task_fails_it_and_names_the_plain_function(executor: Any) -> None:
    @task
    def inner() -> int:
        return 1

    @task
    def outer() -> object:
        return inner()

    @task
    def plain() -> int:
        return inner.fn()

    @flow
    def nested() -> object:
        return outer(), plain()

    run: Any = nested.graph().run(executor=executor, raise_on_failure=False)
    state = run["outer"].state
    assert state.type == "Failed"
    assert "inner.fn(" in state.message
    assert NestedTaskCall.__name__ in state.details["type"]
    assert run["plain"].result() == 1


# Secrets --------------------------------------------------------------------------------------------------------------

VALUE = "s3cr3t-7f1c2a9b40"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def secret(executor: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """In the environment of where tasks run, and of nowhere else on a cluster."""

    def set_it(value: str | None) -> None:
        import os

        if value is None:
            os.environ.pop("DATAFLOW_TEST_TOKEN", None)
        else:
            os.environ["DATAFLOW_TEST_TOKEN"] = value

    if isinstance(executor, str):
        monkeypatch.setenv("DATAFLOW_TEST_TOKEN", VALUE)
        yield
    else:
        executor.run(set_it, VALUE)
        yield
        executor.run(set_it, None)


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_secret_is_resolved_where_the_task_runs_and_left_nowhere(executor: Any, home: Path, isolation: str) -> None:
    @task(isolation=isolation, retries=1)
    def logs_in(token: str, options: dict[str, Any], n: int = 0) -> tuple[int, bool]:
        logging.getLogger("app").info("a token of %d letters", len(token))
        if context().attempt == 1:
            raise ValueError("the first time")
        return n, token == options["token"] == "-".join(["s3cr3t", "7f1c2a9b40"])

    @flow
    def uses(token: Any) -> object:
        options = {"token": Secret("DATAFLOW_TEST_TOKEN")}
        one = logs_in.options(outputs=1)
        return one(token, options), one.map(unmapped(token), unmapped(options), [1, 2])

    run: Any = uses.graph(Secret("DATAFLOW_TEST_TOKEN")).run(executor=executor)
    assert run.result() == ((0, True), [(1, True), (2, True)])
    assert run.record.parameters == {"token": "Secret('DATAFLOW_TEST_TOKEN')"}
    left = everything_in(home)
    assert b"DATAFLOW_TEST_TOKEN" in left
    assert VALUE.encode() not in left


@pytest.mark.usefixtures("home")
def test_a_secret_without_a_value_fails_its_task_and_names_the_variable(executor: Any) -> None:
    @task
    def logs_in(token: str) -> str:
        return token

    @task
    def neighbour() -> int:
        return 1

    @flow
    def uses() -> object:
        return logs_in(Secret("DATAFLOW_NO_SUCH_TOKEN")), neighbour()

    run: Any = uses.graph().run(executor=executor, raise_on_failure=False)
    state = run["logs_in"].state
    assert state.type == "Failed"
    assert "DATAFLOW_NO_SUCH_TOKEN" in state.message
    assert run["neighbour"].result() == 1


@pytest.mark.usefixtures("secret", "home")
def test_context_parameters_show_a_secret_by_its_name_only(executor: Any) -> None:
    @task
    def asks() -> str:
        return repr(context().parameters["token"])

    @flow
    def uses(token: Any) -> object:
        return asks()

    run: Any = uses.graph(Secret("DATAFLOW_TEST_TOKEN")).run(executor=executor)
    assert run.result() == "Secret('DATAFLOW_TEST_TOKEN')"
