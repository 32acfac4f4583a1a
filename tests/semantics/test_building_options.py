"""The options of `@task` and `@flow`: each default, and each bad value refused where it is written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from dataflow import Node, Task, backoff, flow, task, triggers
from tests.semantics.conftest import Ledger


def clean(raw: int) -> int:
    """Makes it clean."""
    return raw + 1


def never(*_: object) -> bool:
    return False


def node_of(made: Task[..., Any]) -> Node:
    """The node of one call."""

    @flow
    def build() -> object:
        return made(1)

    return build.graph().nodes[0]


DEFAULTS = [
    ("retries", 0),
    ("retry_on", (Exception,)),
    ("retry_if", None),
    ("timeout", None),
    ("isolation", "thread"),
    ("trigger", triggers.all_successful),
    ("skip_on_upstream_skip", True),
    ("persist", True),
    ("target", None),
    ("serializer", "auto"),
    ("resources", {}),
    ("priority", 0),
    ("workers", ()),
    ("batch", "auto"),
]


@pytest.mark.parametrize(("option", "default"), DEFAULTS, ids=[name for name, _ in DEFAULTS])
def test_default_of_a_policy_option(option: str, default: object) -> None:
    assert getattr(node_of(task(clean)).policy, option) == default


def test_defaults_of_identity() -> None:
    definition = node_of(task(clean)).definition
    assert (definition.name, definition.tags, definition.description) == ("clean", (), "Makes it clean.")
    assert definition.version is None
    assert definition.outputs == 1
    assert definition.hooks == {}


def test_no_retry_delay_by_default() -> None:
    assert node_of(task(clean)).policy.retry_delay(1) == 0


def test_version_replaces_the_hash_of_the_code() -> None:
    hashed, versioned = node_of(task(clean)).definition.code, node_of(task(version="v7")(clean)).definition.code
    assert versioned == "v7"
    assert hashed != versioned


def test_a_timeout_makes_isolation_process() -> None:
    assert node_of(task(timeout=5)(clean)).policy.isolation == "process"


def test_prints_are_not_log_lines_unless_asked_for(executor: Any) -> None:
    def speak(x: int) -> None:
        print(f"said {x}")

    @flow
    def talk() -> None:
        task(name="quiet")(speak)(1)
        task(name="loud", log_prints=True)(speak)(2)

    run = talk.run(executor=executor)
    assert [(line.path, line.message) for line in run.logs()] == [("loud", "said 2")]


def test_log_prints_of_a_flow_holds_for_its_tasks_that_say_nothing(executor: Any) -> None:
    def speak(x: int) -> None:
        print(f"said {x}")

    @flow(log_prints=True)
    def talk() -> None:
        task(name="plain")(speak)(1)
        task(name="quiet", log_prints=False)(speak)(2)

    assert [line.message for line in talk.run(executor=executor).logs()] == ["said 1"]


ACCEPTED = [
    ("retry_delay", 2, [2, 2]),
    ("retry_delay", timedelta(minutes=1), [60, 60]),
    ("retry_delay", [1, timedelta(seconds=5)], [1, 5]),
    ("retry_delay", backoff(1, factor=3), [1, 3]),
    ("retry_delay", lambda attempt: attempt * 10, [10, 20]),
]


@pytest.mark.parametrize(("option", "given", "delays"), ACCEPTED)
def test_retry_delay_takes_seconds_timedeltas_lists_and_callables(option: str, given: Any, delays: list[float]) -> None:
    policy = node_of(task(**{option: given})(clean)).policy
    assert [policy.retry_delay(1), policy.retry_delay(2)] == delays


def test_timeout_takes_a_timedelta() -> None:
    assert node_of(task(timeout=timedelta(minutes=2))(clean)).policy.timeout == 120


def test_retry_on_takes_one_class_or_several() -> None:
    assert node_of(task(retry_on=OSError)(clean)).policy.retry_on == (OSError,)
    assert node_of(task(retry_on=[OSError, ValueError])(clean)).policy.retry_on == (OSError, ValueError)


TEMPLATES: list[Any] = [3, "", "{x}", "{index.real}", "{params.day}", "{run!r}", "{", "/abs", "../up", "a\0b"]
EXCEPTIONS: list[Any] = ["OSError", [], int, (OSError, 3), OSError("x"), None]
BAD_TASK_OPTIONS: list[tuple[str, Any]] = [
    *[("name", bad) for bad in ("", "a/b", "a[0]", "a\\b", " a", 3, "a\nb")],
    *[("tags", bad) for bad in ("etl", [1], 3, {"a": 1})],
    *[("description", bad) for bad in (3, ["text"])],
    *[("version", bad) for bad in (3, 1.5, ["1"])],
    *[("retries", bad) for bad in (-1, 1.5, True, "3", None)],
    *[("retry_delay", bad) for bad in (-1, "1", [], [1, -1], float("nan"), float("inf"), timedelta(seconds=-1), None)],
    *[("retry_on", bad) for bad in EXCEPTIONS],
    *[("retry_if", bad) for bad in (True, "yes")],
    *[("timeout", bad) for bad in (0, -1, "5", True, float("inf"), timedelta(0))],
    *[("isolation", bad) for bad in ("fork", None, True)],
    *[("trigger", bad) for bad in ("all_successful", None)],
    *[("skip_on_upstream_skip", bad) for bad in (1, None, "no")],
    *[("persist", bad) for bad in ("yes", None, 0)],
    *[("target", bad) for bad in TEMPLATES],
    *[("serializer", bad) for bad in ("xml", 3, None)],
    *[("resources", bad) for bad in (["GPU"], {"GPU": -1}, {"GPU": 0}, {1: 1}, {"GPU": "1"}, {"GPU": True})],
    *[("priority", bad) for bad in ("high", True, 1.5)],
    *[("workers", bad) for bad in (3, [""], [1], "")],
    *[("batch", bad) for bad in (0, -1, True, 1.5, "big", None)],
    *[("outputs", bad) for bad in (0, -1, 2.0, "2", True, None)],
    *[("log_prints", bad) for bad in ("yes", 1)],
    *[(hook, "notify") for hook in ("on_success", "on_failure", "on_retry", "on_state")],
]


@pytest.mark.parametrize(("option", "bad"), BAD_TASK_OPTIONS, ids=lambda value: repr(value))
def test_a_bad_task_option_is_refused_by_name_with_what_it_takes(option: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=option) as caught:
        task(**{option: bad})(clean)
    assert str(caught.value).startswith(("@task 'clean'", f"@task {bad!r}"))
    assert "it takes " in str(caught.value)


@pytest.mark.parametrize(("option", "bad"), [("retries", -1), ("batch", 0), ("name", "a/b"), ("outputs", 0)])
def test_options_of_a_copy_are_checked_as_well(option: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"{option}=.* it takes"):
        task(clean).options(**{option: bad})


def test_a_thread_cannot_have_a_timeout() -> None:
    with pytest.raises(ValueError, match=r"isolation='thread'.*'process'"):
        task(timeout=3, isolation="thread")(clean)


def test_a_target_is_always_persisted() -> None:
    with pytest.raises(ValueError, match=r"persist=False.*target"):
        task(target="a.json", persist=False)(clean)


@pytest.mark.parametrize(("made", "close"), [("retires", "retries"), ("time_out", "timeout"), ("tag", "tags")])
def test_an_unknown_task_option_names_the_one_that_was_meant(made: str, close: str) -> None:
    with pytest.raises(TypeError, match=f"'clean' has no option '{made}'. Did you mean '{close}'"):
        task(**{made: 1})(clean)


def test_an_unknown_task_option_without_a_likeness_lists_them_all() -> None:
    with pytest.raises(TypeError, match="has no option 'zzz'") as caught:
        task(zzz=1)(clean)
    for option in ("retries", "retry_delay", "timeout", "target", "batch", "outputs", "on_retry", "tags"):
        assert option in str(caught.value)


class NotATask:
    """Something that cannot be a task."""


async def asynchronous() -> AsyncIterator[int]:
    """An async function that yields."""
    yield 1


def test_a_generator_cannot_be_a_flow() -> None:
    def generator() -> Any:
        yield 1

    with pytest.raises(ValueError, match="it takes a plain function"):
        flow(generator)


@pytest.mark.parametrize("decorate", [task, flow])
@pytest.mark.parametrize("bad", [3, "clean", NotATask, asynchronous], ids=["number", "text", "class", "async"])
def test_only_a_plain_function_can_be_decorated(decorate: Callable[..., Any], bad: Any) -> None:
    with pytest.raises(ValueError, match=r"it takes a (plain )?function"):
        decorate()(bad)


def test_wait_for_cannot_be_a_parameter_of_a_task() -> None:
    with pytest.raises(ValueError, match="wait_for"):
        task()(lambda wait_for: wait_for)


def test_options_gives_a_changed_copy_and_leaves_the_task_as_it_was() -> None:
    original = task(retries=1, tags=["a"])(clean)
    changed = original.options(retries=9, name="other")
    assert (node_of(changed).policy.retries, changed.name, node_of(changed).definition.tags) == (9, "other", ("a",))
    assert (node_of(original).policy.retries, original.name) == (1, "clean")


def test_changed_options_count_for_that_call_only(executor: Any, ledger: Ledger) -> None:
    @task
    def flaky(name: str) -> str:
        ledger.mark(name)
        if ledger.counts()[name] < 3:
            raise OSError("not yet")
        return name

    @flow
    def pair() -> object:
        return flaky.options(retries=9)("patient"), flaky("once")

    run: Any = pair.run(executor=executor, raise_on_failure=False)
    assert ledger.counts() == {"patient": 3, "once": 1}
    assert (run["flaky"].state.type, run["flaky-2"].state.type) == ("Success", "Failed")


def test_fn_is_the_plain_function() -> None:
    made = task(retries=2)(clean)
    assert made.fn is clean
    assert made.fn(4) == 5
    assert (getattr(made, "__name__", ""), made.__doc__) == ("clean", "Makes it clean.")


def test_bare_and_with_options_are_the_same_decorator() -> None:
    assert repr(task(clean)) == repr(task()(clean)) == "Task(clean)"
    assert repr(task(retries=3)(clean)) == "Task(clean, retries=3)"


# Flows ----------------------------------------------------------------------------------------------------------------


def empty(day: int = 1) -> None:
    """Does nothing."""


def test_defaults_of_a_flow() -> None:
    made = flow(empty)
    assert (made.name, made.description, dict(made.settings), dict(made.hooks)) == ("empty", "Does nothing.", {}, {})
    assert made.version == flow(empty).version


BAD_FLOW_OPTIONS: list[tuple[str, Any]] = [
    *[("name", bad) for bad in ("a/b", "a[0]", " a", 3, "")],
    *[("tags", bad) for bad in ("etl", [1], 3)],
    *[("description", bad) for bad in (3, ["text"])],
    *[("version", bad) for bad in (3, ["1"])],
    *[("results", bad) for bad in (3, ["s3://bucket"])],
    *[("log_prints", bad) for bad in ("yes", 1)],
    *[(hook, "notify") for hook in ("on_success", "on_failure", "on_state")],
]


@pytest.mark.parametrize(("option", "bad"), BAD_FLOW_OPTIONS, ids=lambda value: repr(value))
def test_a_bad_flow_option_is_refused_by_name_with_what_it_takes(option: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"option {option}=.*it takes "):
        flow(**{option: bad})(empty)


def test_an_unknown_flow_option_names_the_one_that_was_meant() -> None:
    with pytest.raises(TypeError, match=r"@flow 'empty' has no option 'result'\. Did you mean 'results'"):
        flow(result="x")(empty)


@pytest.mark.parametrize("bad", ["cloud", "threads:0", 3])
def test_an_unknown_executor_is_refused_before_anything_runs(bad: Any, ledger: Ledger) -> None:
    @task
    def body() -> None:
        ledger.mark("ran")

    @flow
    def once() -> None:
        body()

    with pytest.raises(ValueError, match=r"is not an executor.*processes"):
        once.run(executor=bad)
    assert ledger.lines() == []
