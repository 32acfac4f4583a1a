"""Log lines and prints of task bodies: from every executor, each once, in the order of its task."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from dataflow import context, flow, task


def lines_of(run: Any, path: str, index: int = -1) -> list[str]:
    return [line.message for line in run.logs() if (line.path, line.idx) == (path, index)]


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_lines_of_a_body_arrive_once_and_in_order(executor: Any, isolation: str) -> None:
    @task(isolation=isolation, log_prints=True)
    def talks() -> None:
        logging.getLogger("app.parts").info("%d rows", 3)
        print("printed", 1)
        context().logger.warning("careful")
        logging.getLogger("app").error("wrong")

    @flow
    def logged() -> object:
        return talks()

    run: Any = logged.graph().run(executor=executor)
    assert [(line.level, line.logger, line.message, line.attempt) for line in run.logs()] == [
        (logging.INFO, "app.parts", "3 rows", 1),
        (logging.INFO, "print", "printed 1", 1),
        (logging.WARNING, "dataflow.task.talks", "careful", 1),
        (logging.ERROR, "app", "wrong", 1),
    ]
    assert [line.message for line in run.logs(level=logging.WARNING)] == ["careful", "wrong"]
    assert [line.message for line in run["talks"].logs(level=logging.ERROR)] == ["wrong"]


def test_prints_are_lines_only_where_that_is_asked_for(executor: Any) -> None:
    @task
    def default() -> None:
        print("default")

    @task(log_prints=False)
    def never() -> None:
        print("never")

    @task(log_prints=True)
    def always() -> None:
        print("always")

    def build() -> object:
        return default(), never(), always()

    quiet: Any = flow(build).graph().run(executor=executor)
    loud: Any = flow(log_prints=True)(build).graph().run(executor=executor)
    assert {line.message for line in quiet.logs()} == {"always"}
    assert {line.message for line in loud.logs()} == {"default", "always"}


def test_two_tasks_at_once_keep_their_lines_apart(executor: Any) -> None:
    @task(batch=False, log_prints=True)
    def talks(n: int) -> None:
        for line in range(200):
            print(f"{n} prints {line}")
            logging.getLogger(f"app{n}").info("%d logs %d", n, line)

    @flow
    def logged() -> object:
        return talks.map([0, 1, 2, 3])

    run: Any = logged.graph().run(executor=executor)
    for n in range(4):
        wanted = [f"{n} {verb} {line}" for line in range(200) for verb in ("prints", "logs")]
        assert lines_of(run, "talks", n) == wanted
        assert [line.message for line in run[f"talks[{n}]"].logs()] == wanted
    assert len(run.logs()) == 1600


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_five_thousand_lines_of_one_task_arrive(executor: Any, isolation: str) -> None:
    @task(isolation=isolation)
    def talks() -> None:
        logger = logging.getLogger("app")
        for n in range(5000):
            logger.info("line %d", n)

    @flow
    def logged() -> object:
        return talks()

    run: Any = logged.graph().run(executor=executor)
    assert lines_of(run, "talks") == [f"line {n}" for n in range(5000)]


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_any_text_arrives_as_it_was(executor: Any, isolation: str) -> None:
    texts = [
        "Grüße, 世界 🎉",
        "two\nlines\n\tand a tab",
        "",
        "  spaces  ",
        "x" * 200_000,
        "100 % {braces} %s",
        "\x1b[31mred\x1b[0m",
    ]

    @task(isolation=isolation)
    def talks() -> None:
        for text in texts:
            logging.getLogger("app").info(text)

    @flow
    def logged() -> object:
        return talks()

    run: Any = logged.graph().run(executor=executor)
    assert lines_of(run, "talks") == texts


def test_text_that_no_encoding_takes_is_no_reason_to_fail(executor: Any) -> None:
    @task
    def talks() -> int:
        logging.getLogger("app").info("a lone surrogate \ud800 and a nul \x00 here")
        logging.getLogger("app").info("after")
        return 1

    @flow
    def logged() -> object:
        return talks()

    run: Any = logged.graph().run(executor=executor)
    assert run.result() == 1
    lines = lines_of(run, "talks")
    assert len(lines) == 2
    assert lines[0].startswith("a lone surrogate")
    assert lines[1] == "after"


def test_prints_become_lines_at_their_newlines(executor: Any) -> None:
    @task(log_prints=True)
    def talks() -> None:
        print("one", end=" ")
        print("two")
        print("three\nfour")
        print("not ended", end="")

    @flow
    def logged() -> object:
        return talks()

    run: Any = logged.graph().run(executor=executor)
    assert lines_of(run, "talks") == ["one two", "three", "four", "not ended"]


def test_a_traceback_is_part_of_its_line(executor: Any) -> None:
    @task
    def talks() -> None:
        try:
            int("price")
        except ValueError:
            logging.getLogger("app").exception("no price")

    @flow
    def logged() -> object:
        return talks()

    run: Any = logged.graph().run(executor=executor)
    (line,) = lines_of(run, "talks")
    assert line.startswith("no price\nTraceback")
    assert "ValueError: invalid literal" in line


def test_lines_of_a_body_that_fails_or_is_tried_again_are_kept_with_their_attempt(executor: Any) -> None:
    @task(retries=1)
    def talks() -> None:
        logging.getLogger("app").info("attempt %d", context().attempt)
        raise ValueError("no")

    @flow
    def logged() -> object:
        return talks()

    run: Any = logged.graph().run(executor=executor, raise_on_failure=False)
    assert [(line.attempt, line.message) for line in run["talks"].logs()] == [(1, "attempt 1"), (2, "attempt 2")]


def test_lines_of_a_killed_body_are_kept(executor: Any) -> None:
    @task(timeout=1.5)
    def talks() -> None:
        import time

        logging.getLogger("app").info("before the end")
        time.sleep(600)

    @flow
    def logged() -> object:
        return talks()

    run: Any = logged.graph().run(executor=executor, raise_on_failure=False)
    assert run["talks"].state.type == "TimedOut"
    assert lines_of(run, "talks") == ["before the end"]


def test_debug_lines_arrive_where_their_logger_lets_them_through(executor: Any) -> None:
    @task
    def talks() -> None:
        loud, quiet = logging.getLogger("app.loud"), logging.getLogger("app.quiet")
        loud.setLevel(logging.DEBUG)
        quiet.setLevel(logging.ERROR)
        loud.debug("heard")
        quiet.warning("not heard")
        quiet.error("also heard")

    @flow
    def logged() -> object:
        return talks()

    run: Any = logged.graph().run(executor=executor)
    assert lines_of(run, "talks") == ["heard", "also heard"]


def test_nothing_is_captured_before_or_after_a_run(executor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    @task(log_prints=True)
    def talks() -> None:
        print("inside")

    @flow
    def logged() -> object:
        print("while building")
        return talks()

    before = print
    graph = logged.graph()
    print("before")
    run: Any = graph.run(executor=executor)
    print("after")
    assert print is before
    assert [line.message for line in run.logs()] == ["inside"]
    assert capsys.readouterr().out == "while building\nbefore\nafter\n"


def test_a_line_to_stderr_is_not_taken_for_a_print(executor: Any) -> None:
    @task(log_prints=True)
    def talks() -> None:
        print("to stderr", file=sys.stderr)
        print("to stdout", file=sys.stdout)

    @flow
    def logged() -> object:
        return talks()

    run: Any = logged.graph().run(executor=executor)
    assert lines_of(run, "talks") == ["to stdout"]
