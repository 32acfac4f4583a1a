"""The rules of the cache: what counts, how long, what a run may refresh, and what is refused."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import dataflow
from dataflow import cache, flow, task
from dataflow.errors import CacheError, OptionError, RefreshError
from tests.semantics.marks import mark, marks


def test_what_has_expired_is_made_again(log: Path) -> None:
    def build(expires: Any) -> Any:
        @task(cache=cache(expires=expires))
        def now() -> int:
            mark(log, "now")
            return 1

        @flow
        def once() -> object:
            return now()

        return once

    build(timedelta(days=1)).run(executor="sync")
    build(timedelta(days=1)).run(executor="sync")
    assert marks(log) == {"now": 1}
    build(1e-9).run(executor="sync")
    assert marks(log) == {"now": 1}


def test_arguments_that_do_not_count_and_a_key_and_a_version_of_ones_own(executor: Any, log: Path) -> None:
    @task(cache=cache(ignore=["lock"]))
    def ignoring(n: int, lock: object) -> int:
        mark(log, "ignoring")
        return n

    @task(cache=cache(key=lambda arguments: str(arguments["n"])[-1]))
    def by_last_digit(n: int) -> int:
        mark(log, "digit")
        return n % 10

    @task
    def number(n: int) -> int:
        return n

    @flow
    def uses(n: int) -> object:
        return ignoring(1, object if n == 3 else "a lock"), by_last_digit(number(n))

    assert uses.run(3, executor=executor).result() == (1, 3)
    assert uses.run(13, executor=executor).result() == (1, 3)
    assert marks(log) == {"ignoring": 1, "digit": 1}

    def build(version: str, plus: int) -> Any:
        @task(cache=cache(version=version))
        def pinned() -> int:
            return 1 + plus

        @flow
        def uses_it() -> object:
            return pinned()

        return uses_it

    assert [build(v, plus).run(executor=executor).result() for v, plus in (("1", 0), ("1", 1), ("2", 2))] == [1, 1, 3]


def test_a_run_may_refresh_all_or_some(executor: Any, log: Path) -> None:
    @task(cache=True)
    def one() -> int:
        mark(log, "one")
        return 1

    @task(cache=True)
    def two(n: int) -> int:
        mark(log, "two")
        return n + 1

    @flow
    def both() -> object:
        return two(one())

    both.run(executor=executor)
    marks(log)
    assert both.run(executor=executor, refresh=True).result() == 2
    assert marks(log) == {"one": 1, "two": 1}
    assert both.run(executor=executor, refresh=["two"]).result() == 2
    assert marks(log) == {"two": 1}
    with pytest.raises(RefreshError, match="Did you mean 'two'"):
        both.run(executor=executor, refresh=["tow"])
    assert both.run(executor=executor).result() == 2
    assert marks(log) == Counter()


def test_an_input_without_a_digest_is_named_before_anything_runs(log: Path) -> None:
    import threading

    @task
    def first() -> int:
        mark(log, "first")
        return 1

    @task(cache=True)
    def bad(n: int, config: dict[str, Any]) -> int:
        return n

    @flow
    def uses() -> object:
        return bad(first(), {"lock": threading.Lock()})

    with pytest.raises(CacheError, match=r"task 'bad'.*argument 'config'.*lock.*ignore"):
        uses.run(executor="sync")
    assert marks(log) == Counter()


def test_code_that_depends_on_what_has_no_digest_is_refused() -> None:
    import threading

    lock = threading.Lock()

    @task(cache=True)
    def bad() -> int:
        with lock:
            return 1

    @flow
    def uses() -> object:
        return bad()

    with pytest.raises(CacheError, match=r"task 'bad'.*'lock'.*version"):
        uses.run(executor="sync")


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(OptionError, match="persist"):
        task(cache=True, persist=False)(lambda: 1)
    with pytest.raises(OptionError, match="cache"):
        task(cache="yes")(lambda: 1)
    with pytest.raises(OptionError, match="expires"):
        cache(expires=-1)
    with pytest.raises(OptionError, match="ignore"):

        @task(cache=cache(ignore=["nmae"]))
        def greet(name: str) -> str:
            return name


def test_why_it_ran_is_told(log: Path) -> None:
    from dataflow.explain import explain

    @task(cache=True)
    def clean(day: str, limit: int) -> str:
        return f"{day} {limit}"

    @task
    def always(text: str) -> str:
        return text

    @flow
    def daily(day: str, limit: int = 1) -> object:
        return always(clean(day, limit))

    first = daily.run("monday", executor="sync")
    assert "first result" in explain(first, "clean").verdict
    assert "no cache and no target" in explain(first, "always").verdict
    second = daily.run("monday", executor="sync")
    assert f"made by clean of run {first.id[:8]}" in explain(second, "clean").verdict
    third = explain(daily.run("monday", 2, executor="sync"), "clean")
    assert third.differences == ("argument 'limit' changed",)
    assert first.id[:8] in third.earlier
    assert "refresh" in explain(daily.run("monday", executor="sync", refresh=True), "clean").verdict
    assert dataflow.cache is cache
