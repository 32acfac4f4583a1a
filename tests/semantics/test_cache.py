"""The cache: a result is used again for the same task, code and inputs, and nothing is computed or loaded for it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dataflow import Fail, cache, flow, states, task, unmapped
from dataflow.errors import RunFailed
from dataflow_storage.faults import install
from tests.semantics.marks import mark, marks, types


class Loud:
    """A value that tells when it is loaded."""

    def __init__(self, path: Path, n: int) -> None:
        self.path, self.n = path, n

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        mark(self.path, "loaded")


def test_a_second_run_computes_nothing_and_loads_nothing(executor: Any, log: Path) -> None:
    @task(cache=True)
    def made(n: int) -> Loud:
        mark(log, "made")
        return Loud(log, n)

    @task(cache=True)
    def doubled(value: Loud) -> Loud:
        mark(log, "doubled")
        return Loud(log, 2 * value.n)

    @task(cache=True)
    def number(value: Loud, plus: int = 0) -> int:
        mark(log, "number")
        return value.n + plus

    @flow
    def chain() -> object:
        return number(doubled(made(4)), plus=1)

    assert chain.run(executor=executor).result() == 9
    first = marks(log)
    assert {first[name] for name in ("made", "doubled", "number")} == {1}
    again = chain.run(executor=executor)
    assert again.result() == 9
    assert marks(log) == Counter()
    assert types(again) == dict.fromkeys(("made", "doubled", "number"), states.CACHED)


def test_an_operation_on_a_cached_value_does_not_load_it_for_what_is_cached(executor: Any, log: Path) -> None:
    @task(cache=True)
    def table() -> dict[str, Any]:
        return {"n": 20, "loud": Loud(log, 1)}

    @task(cache=True)
    def plus(n: int) -> int:
        mark(log, "plus")
        return n + 1

    @flow
    def uses() -> object:
        found = table()
        return plus(found["n"] * 2)

    assert uses.run(executor=executor).result() == 41
    marks(log)
    again = uses.run(executor=executor)
    assert again.result() == 41
    assert marks(log) == Counter()
    assert types(again)["plus"] == states.CACHED


def test_other_code_runs_again_and_what_follows_only_where_the_value_is_another(executor: Any, log: Path) -> None:
    def build(step: Any) -> Any:
        stepped = task(cache=True, name="step")(step)

        @task(cache=True)
        def first() -> int:
            mark(log, "first")
            return 1

        @task(cache=True)
        def last(n: int) -> int:
            mark(log, "last")
            return n * 10

        @flow
        def chain() -> object:
            return last(stepped(first()))

        return chain

    def add(n: int) -> int:
        mark(log, "step")
        return n + 1

    def add_otherwise(n: int) -> int:
        mark(log, "step")
        return 1 + n

    def add_two(n: int) -> int:
        mark(log, "step")
        return n + 2

    assert build(add).run(executor=executor).result() == 20
    assert marks(log) == {"first": 1, "step": 1, "last": 1}
    assert build(add_otherwise).run(executor=executor).result() == 20
    assert marks(log) == {"step": 1}
    assert build(add_two).run(executor=executor).result() == 30
    assert marks(log) == {"step": 1, "last": 1}
    assert build(add).run(executor=executor).result() == 20
    assert marks(log) == Counter()


def test_each_child_of_a_map_is_cached_for_itself(executor: Any, log: Path) -> None:
    @task(cache=True)
    def square(n: int, scale: int) -> int:
        mark(log, f"square {n}")
        return n * n * scale

    @task(cache=True)
    def half(n: int) -> float:
        mark(log, f"half {n}")
        return n / 2

    @task
    def listed(n: int) -> list[int]:
        return [*range(n)]

    @flow
    def known(numbers: list[int]) -> object:
        return half.map(square.map(numbers, unmapped(2)))

    @flow
    def learned(n: int) -> object:
        return square.map(listed(n), unmapped(2))

    assert known.run([1, 2, 3], executor=executor).result() == [1.0, 4.0, 9.0]
    marks(log)
    assert known.run([3, 4, 1], executor=executor).result() == [9.0, 16.0, 1.0]
    assert marks(log) == {"square 4": 1, "half 32": 1}
    assert learned.run(6, executor=executor).result() == [0, 2, 8, 18, 32, 50]
    assert marks(log) == {"square 0": 1, "square 5": 1}


def test_a_result_serves_other_flows_unless_its_scope_is_its_flow(executor: Any, log: Path) -> None:
    @task(cache=True)
    def shared() -> int:
        mark(log, "shared")
        return 1

    @task(cache=cache(scope="flow"))
    def own() -> int:
        mark(log, "own")
        return 2

    @flow
    def one() -> object:
        return shared(), own()

    @flow
    def two() -> object:
        return shared(), own()

    one.run(executor=executor)
    two.run(executor=executor)
    one.run(executor=executor)
    assert marks(log) == {"shared": 1, "own": 2}


def test_what_only_cached_tasks_would_use_does_not_run(executor: Any, log: Path) -> None:
    @task
    def download() -> str:
        mark(log, "download")
        return "a lot"

    @task
    def prepared(data: str) -> str:
        mark(log, "prepared")
        return data

    @task(cache=cache(ignore=["data"]))
    def report(data: str, day: int) -> int:
        mark(log, "report")
        return day

    @flow
    def daily(day: int) -> object:
        return report(prepared(download()), day)

    assert daily.run(1, executor=executor).result() == 1
    marks(log)
    again = daily.run(1, executor=executor)
    assert again.result() == 1
    assert marks(log) == Counter()
    assert types(again) == {"download": states.SKIPPED, "prepared": states.SKIPPED, "report": states.CACHED}
    assert daily.run(2, executor=executor).result() == 2
    assert marks(log) == {"download": 1, "prepared": 1, "report": 1}


def test_a_failure_is_not_cached_and_none_is(executor: Any, log: Path) -> None:
    @task(cache=True)
    def fails() -> None:
        mark(log, "fails")
        raise Fail("no")

    @task(cache=True)
    def nothing() -> None:
        mark(log, "nothing")

    @flow
    def both() -> object:
        return fails(), nothing()

    for _ in range(2):
        with pytest.raises(RunFailed):
            both.run(executor=executor)
    assert marks(log) == {"fails": 2, "nothing": 1}


@pytest.mark.parametrize("harm", ["deleted", "damaged"])
def test_a_result_that_is_gone_or_damaged_is_made_again(executor: Any, log: Path, harm: str) -> None:
    @task(cache=True)
    def made() -> list[int]:
        mark(log, "made")
        return [*range(100)]

    @task(cache=True)
    def total(numbers: list[int]) -> int:
        mark(log, "total")
        return sum(numbers)

    @flow
    def sums() -> object:
        return total(made())

    run: Any = sums.run(executor=executor)
    stored = Path(run["made"].reference.url)
    marks(log)
    if harm == "deleted":
        stored.unlink()
    else:
        stored.write_bytes(stored.read_bytes()[:-10])
    assert sums.run(executor=executor).result() == 4950
    assert marks(log) == {"made": 1}


def test_inside_a_deferred_subflow_too(executor: Any, log: Path) -> None:
    @task(cache=True)
    def count() -> int:
        mark(log, "count")
        return 3

    @task(cache=True)
    def part(n: int) -> int:
        mark(log, "part")
        return n

    @flow
    def parts(n: int) -> object:
        return [part(i) for i in range(n)]

    @flow
    def outer() -> object:
        return parts(count())

    assert outer.run(executor=executor).result() == [0, 1, 2]
    assert marks(log) == {"count": 1, "part": 3}
    assert outer.run(executor=executor).result() == [0, 1, 2]
    assert marks(log) == Counter()


def test_runs_at_the_same_time_compute_one_key_once(log: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"

    @task(cache=True)
    def slow() -> int:
        mark(log, "began")
        while not go.exists():
            os.stat(log)
        return 7

    @flow
    def uses() -> object:
        return slow()

    one = uses.submit(executor="threads")
    while not log.exists():
        os.stat(tmp_path)
    two: Any = uses.submit(executor="threads")
    while two["slow"].state.type == states.PENDING and two.state.type == states.PENDING:
        os.stat(tmp_path)
    go.touch()
    assert one.wait(60).result() == two.wait(60).result() == 7
    assert marks(log) == {"began": 1}
    assert sorted([types(one)["slow"], types(two)["slow"]]) == [states.CACHED, states.SUCCESS]


def test_a_run_that_looked_too_early_does_not_compute_what_was_made_before_its_claim(log: Path) -> None:
    @task(cache=True)
    def made() -> int:
        mark(log, "made")
        return 7

    @flow
    def one() -> object:
        return made()

    def another_is_faster(step: str, when: str) -> None:
        if (step, when) == ("cache.claim", "before"):
            install(None)
            assert one.run(executor="sync").result() == 7

    install(another_is_faster)
    try:
        assert types(one.run(executor="sync")) == {"made": states.CACHED}
    finally:
        install(None)
    assert marks(log) == {"made": 1}


def test_many_short_calls_go_together_and_are_all_found_again(executor: Any) -> None:
    @task(cache=True)
    def one(n: int) -> int:
        return n + 1

    @flow
    def fan() -> object:
        return [one(n) for n in range(200)]

    run: Any = fan.run(executor=executor)
    assert run.result() == list(range(1, 201))
    assert len({row.reference["url"] for row in run._store.task_runs(run.id)}) < 100
    again = fan.run(executor=executor)
    assert Counter(types(again).values()) == {states.CACHED: 200}
    assert again.result() == run.result()
