"""Corners: values that nobody stored, awkward names and values, what cannot be pickled, code that was edited."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dataflow import Pause, Retry, Skip, context, flow, get_run, task, unmapped
from dataflow.errors import OptionError

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger

PATIENCE = 60.0


# Values that are not stored -------------------------------------------------------------------------------------------


def test_a_child_that_waits_finds_the_unstored_value_of_its_stage_before(executor: Any, ledger: Ledger) -> None:
    @task(persist=False)
    def source(n: int) -> int:
        ledger.mark(f"source {n}")
        return n

    @task(retries=1)
    def waits(n: int) -> int:
        if n % 2 and context().attempt == 1:
            raise Retry(delay=0.05)
        return n * 10

    @task
    def total(values: list[int]) -> int:
        return sum(values)

    @flow
    def chain() -> object:
        return total(waits.map(source.map(list(range(6)))))

    assert chain.graph().run(executor=executor).result() == 150
    assert ledger.counts() == {f"source {n}": 1 for n in range(6)}


def test_a_child_that_was_paused_finds_the_unstored_value_of_its_stage_before(executor: Any, ledger: Ledger) -> None:
    @task(persist=False)
    def source(n: int) -> int:
        return n

    @task
    def asks(n: int) -> int:
        ledger.mark(f"asks {n} {context().resumed}")
        if n == 1 and not context().resumed:
            raise Pause("is this right?")
        return n * 10

    @flow
    def chain() -> object:
        return asks.map(source.map([0, 1, 2]))

    run: Any = chain.graph().run(executor=executor)
    assert run.state.type == "Paused"
    run.resume(executor=executor)
    assert run.result() == [0, 10, 20]
    assert ledger.counts() == {"asks 0 False": 1, "asks 1 False": 1, "asks 1 True": 1, "asks 2 False": 1}


def test_a_retry_makes_an_unstored_child_again_for_the_one_that_failed_only(
    executor: Any, ledger: Ledger, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    @task(persist=False)
    def source(n: int) -> int:
        ledger.mark(f"source {n}")
        return n

    @task
    def gated(n: int) -> int:
        if n == 1 and not gate.exists():
            raise ValueError("closed")
        return n * 10

    @flow
    def chain() -> object:
        return gated.map(source.map([0, 1, 2]))

    run: Any = chain.graph().run(executor=executor, raise_on_failure=False)
    gate.touch()
    run.retry(executor=executor)
    assert run.result() == [0, 10, 20]
    assert ledger.counts() == {"source 0": 1, "source 1": 2, "source 2": 1}


def test_an_unstored_value_that_is_shared_by_children_who_wait_is_made_once(executor: Any, ledger: Ledger) -> None:
    @task(persist=False)
    def table() -> dict[str, int]:
        ledger.mark("table")
        return {"a": 1, "b": 2}

    @task(retries=1)
    def looks_up(name: str, rows: dict[str, int]) -> int:
        if context().attempt == 1:
            raise Retry(delay=0.05)
        return rows[name]

    @flow
    def shared() -> object:
        return looks_up.map(["a", "b"], unmapped(table()))

    assert shared.graph().run(executor=executor).result() == [1, 2]
    assert ledger.counts() == {"table": 1}


def test_a_run_that_failed_here_can_be_retried_there(client: Any, ledger: Ledger, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @task
    def source(n: int) -> int:
        ledger.mark("source")
        return n

    @task
    def gated(values: list[int]) -> int:
        if not gate.exists():
            raise ValueError("closed")
        return sum(values)

    @flow
    def moves() -> object:
        return gated(source.map([1, 2, 3]))

    run: Any = moves.graph().run(executor="threads:2", raise_on_failure=False)
    gate.touch()
    get_run(run.id).retry(executor=client)
    assert run.result() == 6
    assert ledger.counts() == {"source": 3}


# Names ----------------------------------------------------------------------------------------------------------------

NAMES = [
    "..",
    ".",
    "a b",
    "Größe 日本",
    "x" * 300,
    "CON",
    "a:b?*|<>",
    "-rf",
    "~",
    "%41",
    "a%2Fb",
    "tab\tname",
    "new\nline",
    "#?&=",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_task_name_is_refused_at_once_or_works(executor: Any, name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "in" / "home"))
    try:
        one = task(name=name)(lambda n: n + 1)
    except OptionError:  # it says that the name is not valid
        return

    @flow
    def named() -> object:
        return one(1), one.map([2, 3])

    run: Any = named.graph().run(executor=executor)
    assert run.result() == (2, [3, 4])
    assert run[name].result() == 2
    assert run[f"{name}-2"][1].result() == 4
    assert get_run(run.id).result() == (2, [3, 4])
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["home"]


# What cannot be pickled -----------------------------------------------------------------------------------------------


def test_constants_that_cannot_be_pickled_work_where_nothing_is_pickled() -> None:
    lock = threading.Lock()

    @task
    def takes(value: Any) -> bool:
        return value is lock

    @flow
    def constant() -> object:
        return takes(lock), takes.map([lock, None])

    for executor in ("sync", "threads:2"):
        assert constant.graph().run(executor=executor).result() == (True, [True, False])


@pytest.mark.parametrize("where", ["argument", "item", "closure"])
def test_what_cannot_travel_to_a_cluster_is_said_and_leaves_no_run_behind(
    client: Any, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "home"))
    lock = threading.Lock()

    @task
    def takes(value: Any) -> None:
        raise AssertionError("must not run")

    @task
    def closes_over() -> object:
        return lock

    def build() -> object:
        if where == "argument":
            return takes(lock)
        return takes.map([lock]) if where == "item" else closes_over()

    with pytest.raises(Exception, match=r"takes|closes_over") as caught:
        flow(build).graph().run(executor=client)
    assert "lock" in str(caught.value)
    assert get_run("@last").state.type in ("Failed", "Crashed")


def test_a_flow_may_return_a_constant_that_cannot_be_pickled() -> None:
    lock = threading.Lock()

    @task
    def one() -> int:
        return 1

    @flow
    def returns() -> object:
        return one(), lock

    run: Any = returns.graph().run(executor="threads:2")
    assert run.state.type == "Success"
    value, same = run.result()
    assert value == 1
    assert same is lock


# Code that was edited -------------------------------------------------------------------------------------------------


def test_a_task_that_is_defined_again_runs_its_new_code(executor: Any) -> None:
    results = []
    for version in (1, 2):

        @task
        def cell(version: int = version) -> int:
            return version * 10

        @flow
        def notebook(cell: Any = cell) -> object:
            return cell()

        results.append(notebook.graph().run(executor=executor).result())
    assert results == [10, 20]


def test_two_tasks_of_one_name_in_one_flow_are_two(executor: Any) -> None:
    def make(factor: int) -> Any:
        @task(name="scale")
        def scale(n: int) -> int:
            return n * factor

        return scale

    two, three = make(2), make(3)

    @flow
    def both() -> object:
        return two(1), three(1), two.map([1, 2]), three.map([1, 2])

    assert both.graph().run(executor=executor).result() == (2, 3, [2, 4], [3, 6])


# Values that are hard to handle ---------------------------------------------------------------------------------------


def test_a_value_that_breaks_when_it_is_read_fails_the_one_who_reads_it(executor: Any) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return int, ("no number",)

    @task
    def makes() -> Any:
        return Trap()

    @task
    def takes(value: Any) -> str:
        return type(value).__name__

    @task
    def neighbour() -> int:
        return 1

    @flow
    def read() -> object:
        return takes(makes()), neighbour()

    run: Any = read.graph().submit(executor=executor).wait(PATIENCE)
    assert run.state.type in ("Success", "Failed")
    assert run["neighbour"].result() == 1


def test_what_sizeof_trips_over_is_still_a_value(executor: Any) -> None:
    class Trap:
        def __sizeof__(self) -> int:
            raise RuntimeError("no size")

        def __len__(self) -> int:
            raise RuntimeError("no length")

        def __bool__(self) -> bool:
            raise RuntimeError("no truth")

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no equality")

        __hash__ = None  # type: ignore[assignment]

    @task
    def makes() -> Any:
        return Trap()

    @task
    def takes(value: Any, values: list[Any]) -> str:
        return f"{type(value).__name__} {len(values)}"

    @flow
    def awkward() -> object:
        return takes(makes(), [makes()])

    run: Any = awkward.graph().submit(executor=executor).wait(PATIENCE)
    assert run.result() == "Trap 1"


def test_a_skip_in_an_argument_that_breaks_is_not_asked_for(executor: Any) -> None:
    """A task that is skipped never looks at its arguments."""

    @task
    def skips() -> None:
        raise Skip("nothing")

    @task
    def takes(value: Any, other: Any) -> None:
        raise AssertionError("must not run")

    @flow
    def skipped() -> object:
        return takes(skips(), skips())

    assert skipped.graph().run(executor=executor).state.type == "Success"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError])
def test_retry_on_may_name_what_is_no_exception(executor: Any, ledger: Ledger, error: type[BaseException]) -> None:
    @task(retries=1, retry_on=error)
    def leaves() -> int:
        ledger.mark("body")
        if context().attempt == 1:
            raise error
        return 2

    @flow
    def tries() -> object:
        return leaves()

    assert tries.graph().run(executor=executor).result() == 2
    assert ledger.counts() == {"body": 2}
