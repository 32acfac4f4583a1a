"""Results: their shapes, what counts as a value, and that they are the same for another process, years later."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dataflow import Missing, Skip, TaskFailed, flow, get_run, get_runs, task
from dataflow.errors import NoSuchRun, NoSuchTask, NotFinished

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger

Pair = namedtuple("Pair", "first second")


@dataclass
class Report:
    title: str
    rows: Any


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@task
def double(n: int) -> int:
    return 2 * n


@task
def same(value: Any) -> Any:
    return value


SHAPES = {
    "value": (lambda: double(1), 2),
    "constant": (lambda: "nothing ran", "nothing ran"),
    "none": (lambda: None, None),
    "tuple": (lambda: (double(1), 5, double(2)), (2, 5, 4)),
    "list": (lambda: [double(1), [double(2)]], [2, [4]]),
    "dict": (lambda: {"a": double(1), "b": {"c": double.map([1, 2])}}, {"a": 2, "b": {"c": [2, 4]}}),
    "dataclass": (lambda: Report("prices", double.map([1, 2])), Report("prices", [2, 4])),
    "named tuple": (lambda: Pair(double(1), None), Pair(2, None)),
    "mapped": (lambda: double.map([1, 2, 3]), [2, 4, 6]),
    "empty map": (lambda: double.map([]), []),
    "map of a map": (lambda: double.map(double.map([1, 2])), [4, 8]),
    "item": (lambda: same({"a": [1, 2]})["a"][1], 2),
    "same node twice": (lambda: [(one := double(1)), one], [2, 2]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_gives_what_its_flow_returned_in_its_shape(executor: Any, shape: str) -> None:
    build, wanted = SHAPES[shape]
    run: Any = flow(build).graph().run(executor=executor)
    assert run.result() == wanted
    assert type(run.result()) is type(wanted)
    assert get_run(run.id).result() == wanted


@pytest.mark.parametrize(
    "value",
    [
        None,
        False,
        0,
        "",
        [],
        {},
        ValueError("a value"),
        ...,
        NotImplemented,
        b"\x00",
        float("inf"),
        2**100,
        {1, 2},
        int,
    ],
    ids=repr,
)
@pytest.mark.parametrize("persist", [True, False])
def test_whatever_a_body_returns_is_a_value(executor: Any, value: Any, persist: bool, ledger: Ledger) -> None:
    @task(persist=persist)
    def gives() -> Any:
        ledger.mark("gives")
        return value

    @task
    def takes(given: Any, children: list[Any]) -> tuple[str, str]:
        return repr(given), repr(children)

    @flow
    def passes() -> object:
        given = gives()
        return given, takes.options(outputs=1)(given, [given])

    run: Any = passes.graph().run(executor=executor)
    got, shown = run.result()
    assert repr(got) == repr(value)
    assert shown == (repr(value), repr([value]))
    assert run["gives"].state.type == "Success"
    assert repr(run["gives"].result()) == repr(value)
    assert ledger.counts() == {"gives": 1}


def test_none_is_a_value_in_every_child(executor: Any) -> None:
    @task
    def counts(values: list[Any]) -> int:
        return len(values)

    @flow
    def nones() -> object:
        children = same.map([None, None, None])
        return children, counts(children)

    assert nones.graph().run(executor=executor).result() == ([None, None, None], 3)


def test_skipped_children_are_left_out_of_the_result_and_a_skipped_value_is_missing(executor: Any) -> None:
    @task
    def odd(n: int) -> int:
        if n % 2 == 0:
            raise Skip("even")
        return n

    @flow
    def skips() -> object:
        return odd.map([1, 2, 3, 4]), odd(2)

    run: Any = skips.graph().run(executor=executor)
    children, single = run.result()
    assert children == [1, 3]
    assert isinstance(single, Missing)
    assert single.state.message == "even"
    assert run["odd"].result() == [1, 3]
    with pytest.raises(TaskFailed):
        run["odd-2"].result()


def test_outputs_that_are_not_stored_can_be_had_in_the_process(executor: Any, home: Path, ledger: Ledger) -> None:
    @task(persist=False)
    def unstored(n: int) -> str:
        ledger.mark("unstored")
        return " ".join(["only", "in", f"memory {n}"])

    @flow
    def passes() -> object:
        return unstored(7), unstored.map([1, 2, 3]), {"again": unstored(8)}

    run: Any = passes.graph().run(executor=executor)
    wanted = [f"only in memory {n}" for n in (1, 2, 3)]
    assert run.result() == ("only in memory 7", wanted, {"again": "only in memory 8"})
    assert run["unstored-2"][1].result() == "only in memory 2"
    assert ledger.counts() == {"unstored": 5}
    assert not [path for path in home.rglob("*") if path.is_file() and b"only in memory" in path.read_bytes()]
    with pytest.raises(TaskFailed, match="persist=False"):
        get_run(run.id).result()


def test_task_runs_are_listed_in_the_order_of_the_graph_and_found_by_path(executor: Any) -> None:
    @flow(name="inner")
    def inner(n: int) -> object:
        return double(n)

    @flow
    def outer() -> object:
        children = double.map([1, 2])
        return same(children), double(5), inner(6), double(7)

    run: Any = outer.graph().run(executor=executor)
    assert [one.label for one in run.task_runs] == [
        "double[0]", "double[1]", "same", "double-2", "inner/double", "double-3",
    ]  # fmt: skip
    assert all(one.state.type == "Success" and one.started <= one.ended for one in run.task_runs)
    assert run["double"][1].result() == run["double[1]"].result() == run["double"][-1].result() == 4
    assert [child.index for child in run["double"]] == [0, 1]
    assert len(run["double"]) == 2
    assert [child.index for child in run["double"][:1]] == [0]
    assert run["double"].result() == [2, 4]
    assert run["inner/double"].result() == 12
    assert run["same"].index is None
    with pytest.raises(IndexError, match="2 children"):
        run["double"][2]
    with pytest.raises(NoSuchTask, match="Did you mean 'double'"):
        run["duoble"]


def test_a_result_asked_for_too_early_says_so(executor: Any) -> None:
    from dataflow import triggers

    @task(trigger=triggers.manual)
    def approved() -> int:
        return 1

    @flow
    def waits() -> object:
        return approved()

    run: Any = waits.graph().run(executor=executor)
    with pytest.raises(NotFinished, match="Paused"):
        run.result()
    with pytest.raises(NotFinished, match="approved is Paused"):
        run["approved"].result()


ELSEWHERE = """
import json, sys
from dataflow import get_run

def told(run):
    return {
        "id": run.id, "name": run.name, "flow": run.flow, "state": run.state.type, "result": run.result(),
        "parameters": run.parameters, "child": run["double"][3].result(),
        "tasks": [[one.label, one.state.type, one.attempt, one.result()] for one in run.task_runs],
        "logs": [[line.path, line.idx, line.message] for line in run.logs()], "counts": run.counts,
    }

print(json.dumps([told(get_run(reference)) for reference in sys.argv[1:]]))
"""


def elsewhere(*references: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, *references], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_another_process_finds_the_run_and_all_of_it(executor: Any) -> None:
    @task(log_prints=True)
    def total(values: list[int]) -> int:
        print("summing", len(values))
        return sum(values)

    @flow
    def sums(top: int) -> object:
        children = double.map(list(range(top)))
        return {"total": total(children), "children": children}

    other: Any = sums.graph(1).run(executor=executor)
    run: Any = sums.graph("4").run(executor=executor)
    here = {
        "id": run.id, "name": run.name, "flow": "sums", "state": "Success",
        "result": {"total": 12, "children": [0, 2, 4, 6]}, "parameters": {"top": 4}, "child": 6,
        "tasks": [*([f"double[{n}]", "Success", 1, 2 * n] for n in range(4)), ["total", "Success", 1, 12]],
        "logs": [["total", -1, "summing 4"]], "counts": {"double": {"Success": 4}, "total": {"Success": 1}},
    }  # fmt: skip
    references = (run.id, run.name, run.id[:12], "@last")
    assert elsewhere(*references) == [here] * 4
    assert run.result() == here["result"]
    for reference in references:
        assert get_run(reference).id == run.id
    assert [found.id for found in get_runs()] == [run.id, other.id]
    assert [found.id for found in get_runs(flow="sums", limit=1)] == [run.id]
    assert get_runs(state="Failed") == []


def test_a_run_that_nobody_has_is_not_found() -> None:
    with pytest.raises(NoSuchRun):
        get_run("@last")
    with pytest.raises(LookupError, match="no-such-run"):
        get_run("no-such-run")


def test_a_retry_makes_a_lost_result_again_where_it_is_needed(executor: Any, ledger: Ledger) -> None:
    @task(batch=False)
    def source() -> int:
        ledger.mark("source")
        return 20

    @task(batch=False)
    def parts(n: int) -> list[int]:
        ledger.mark("parts")
        return [n, n + 1]

    @task
    def double(n: int) -> int:
        ledger.mark(f"double {n}")
        return 2 * n

    @task
    def last(numbers: list[int]) -> int:
        if ledger.counts()["last"] == 0:
            ledger.mark("last")
            raise ValueError("not yet")
        return sum(numbers)

    @flow
    def chain() -> object:
        return last(double.map(parts(source())))

    run: Any = chain.run(executor=executor, raise_on_failure=False)
    assert run.state.type == "Failed"
    for path in {child.reference.url for child in run["double"]} | {run["source"].reference.url}:
        Path(path).unlink()
    run.retry(executor=executor)
    assert run.result() == 82
    assert ledger.counts() == {"source": 1, "parts": 1, "double 20": 2, "double 21": 2, "last": 1}
