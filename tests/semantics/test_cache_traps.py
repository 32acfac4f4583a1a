"""Ways in which a cache can be wrong without saying so: each was tried."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path
from typing import Any

import dask
import pytest

from dataflow import Secret, cache, flow, states, task, triggers
from dataflow.errors import CacheError
from tests.semantics.marks import mark, marks, types


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user's, written and imported anew."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> Any:
        (tmp_path / "users_module.py").write_text(text)
        sys.modules.pop("users_module", None)
        importlib.invalidate_caches()
        return importlib.import_module("users_module")

    yield write
    sys.modules.pop("users_module", None)


@pytest.mark.parametrize("values", [["1", 1, b"1", True], ["null", None], [[1], "[1]"], ["", b""]], ids=repr)
def test_values_that_are_stored_as_the_same_bytes_are_not_one_key(values: list[object]) -> None:
    def build(value: object) -> Any:
        @task
        def source() -> object:
            return value

        @task(cache=True)
        def name(value: object) -> str:
            return type(value).__name__

        @flow
        def names() -> object:
            return name(source())

        return names

    assert [build(value).run(executor="sync").result() for value in values] == [type(v).__name__ for v in values]


OBJECT = """
from dataflow import flow, task
class Config:
    def __init__(self, n):
        self.n = n
CONFIG = Config({n})
@task(cache=True)
def uses():
    return CONFIG.n
@flow
def all_():
    return uses()
"""
METHOD = """
from dataclasses import dataclass
from dataflow import flow, task
@dataclass
class Square:
    side: int
    def area(self):
        return self.side * {n}
@task(cache=True)
def uses(shape):
    return shape.area()
@flow
def all_():
    return uses(Square(1))
"""


@pytest.mark.parametrize("text", [OBJECT, METHOD], ids=["a global object", "a method of an argument's class"])
def test_what_the_users_code_holds_counts(written: Any, text: str) -> None:
    found = [written(text.format(n=n)).all_.run(executor="sync") for n in (2, 3, 2)]
    assert [run.result() for run in found] == [2, 3, 2]
    assert [run["uses"].state.type for run in found] == [states.SUCCESS, states.SUCCESS, states.CACHED]


def test_a_global_of_the_users_without_a_digest_is_refused(written: Any) -> None:
    text = OBJECT.format(n="__import__('threading').Lock()")
    with pytest.raises(CacheError, match=r"task 'uses'.*CONFIG"):
        written(text).all_.run(executor="sync")


def test_arguments_of_one_name_are_kept_apart() -> None:
    @task(cache=True)
    def told(x: int, /, *more: int, **named: int) -> object:
        return [x, more, named]

    @flow
    def calls(a: int) -> object:
        odd: dict[str, Any] = {"*2": a}
        return told(a, x=2), told(1, a), told(1, **odd)

    assert calls.run(1, executor="sync").result() == ([1, (), {"x": 2}], [1, (1,), {}], [1, (), {"*2": 1}])
    assert calls.run(5, executor="sync").result() == ([5, (), {"x": 2}], [1, (5,), {}], [1, (), {"*2": 5}])


def test_a_version_stands_for_the_code_of_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    results = []
    for name in ("weather_module", "sales_module"):
        text = f"""
from dataflow import flow, task
@task(cache=True, version="1")
def load(day):
    return "{name} " + day
@flow
def all_():
    return load("monday")
"""
        (tmp_path / f"{name}.py").write_text(text)
        results.append(importlib.import_module(name).all_.run(executor="sync").result())
    assert results == ["weather_module monday", "sales_module monday"]


def test_why_an_upstream_has_no_value_counts(executor: Any) -> None:
    def build(why: str) -> Any:
        @task
        def fails() -> None:
            raise ValueError(why)

        @task(cache=True, trigger=triggers.all_finished)
        def reads(value: Any) -> str:
            return str(value.state.message)

        @flow
        def told() -> object:
            return reads(fails())

        return told

    for why in ("one", "two"):
        assert why in build(why).run(executor=executor).result()


def test_a_retry_of_a_refreshed_run_is_refreshed(log: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"

    @task
    def check(n: int) -> int:
        if bad.exists():
            raise ValueError("bad")
        return n

    @task(cache=True)
    def last(n: int) -> int:
        mark(log, "last")
        return n

    @flow
    def chain() -> object:
        return last(check(1))

    chain.run(executor="sync")
    bad.touch()
    run = chain.run(executor="sync", refresh=True, raise_on_failure=False)
    marks(log)
    bad.unlink()
    assert run.retry(executor="sync").state.type == states.SUCCESS
    assert marks(log) == {"last": 1}


@pytest.mark.parametrize("lost", [False, True])
def test_what_was_not_needed_is_made_where_a_retry_needs_it(log: Path, tmp_path: Path, lost: bool) -> None:
    bad = tmp_path / "bad"

    @task
    def first() -> int:
        mark(log, "first")
        return 1

    @task(cache=cache(ignore=["n"]))
    def second(n: int) -> int:
        mark(log, "second")
        return n + 1

    @task
    def last(n: int) -> int:
        if bad.exists():
            raise ValueError("bad")
        return n * 10

    @flow
    def chain() -> object:
        return last(second(first()))

    stored: Any = chain.run(executor="sync")
    marks(log)
    bad.touch()
    run: Any = chain.run(executor="sync", raise_on_failure=False)
    assert types(run) == {"first": states.SKIPPED, "second": states.CACHED, "last": states.FAILED}
    if lost:
        Path(stored["second"].reference.url).unlink()
    bad.unlink()
    assert run.retry(executor="sync").result() == 20
    assert marks(log) == ({"first": 1, "second": 1} if lost else {})


def test_what_is_waited_for_or_refreshed_runs_though_nobody_needs_its_value(log: Path) -> None:
    @task
    def loads() -> None:
        mark(log, "loads")

    @task
    def reads() -> int:
        mark(log, "reads")
        return 1

    @task(cache=cache(ignore=["n"]))
    def report(n: int) -> int:
        return 1

    @flow
    def daily() -> object:
        return report(reads(), wait_for=[loads()])

    daily.run(executor="sync")
    daily.run(executor="sync")
    assert marks(log) == {"loads": 2, "reads": 1}
    daily.run(executor="sync", refresh=["reads"])
    assert marks(log) == {"loads": 1, "reads": 1}


def test_runs_with_another_signing_key_leave_the_cache_of_others_alone(log: Path) -> None:
    @task(cache=True)
    def made(n: int) -> int:
        mark(log, "made")
        return n

    @flow
    def makes(start: int) -> object:
        return [made(n) for n in range(start, start + 20)]

    for key, start in (("a" * 32, 0), ("b" * 32, 100), ("b" * 32, 200), ("a" * 32, 0)):
        with dask.config.set({"dataflow.results.signing_key": key}):
            makes.run(start, executor="sync")
    assert marks(log) == {"made": 60}


def test_secrets_count_by_name_and_a_key_needs_no_digests(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    @task(cache=True)
    def fetch(token: Any) -> int:
        mark(log, "fetch")
        return len(token)

    @task(cache=cache(key=lambda arguments: arguments["n"]))
    def keyed(n: int, lock: object) -> int:
        mark(log, "keyed")
        return n

    @flow
    def both() -> object:
        return fetch(Secret("TOKEN")), keyed(1, threading.Lock())

    for value in ("one", "another"):
        monkeypatch.setenv("TOKEN", value)
        assert both.run(executor="sync").result() == (3, 1)
    assert marks(log) == {"fetch": 1, "keyed": 1}
