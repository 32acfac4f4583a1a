"""Targets: results at paths that the user chose, made again only where code or inputs have changed."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import pytest

from dataflow import flow, task, unmapped
from dataflow.errors import OptionError, TargetError

if TYPE_CHECKING:
    from tests.semantics.conftest import Ledger


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "home"))
    with dask.config.set({"dataflow.results.target_root": str(tmp_path / "targets")}):
        yield tmp_path / "targets"


def files_in(root: Path) -> set[str]:
    """Paths of the targets, without the records beside them."""
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return {path for path in found if not any(part.startswith((".", "_")) for part in Path(path).parts)}


def test_a_target_is_written_in_the_format_that_its_suffix_says(executor: Any, root: Path) -> None:
    @task(target="out/{flow}/{params[day]:%Y-%m}/{task}.json")
    def as_json(day: date) -> dict[str, int]:
        return {"month": day.month}

    @task(target="out/{path}.txt")
    def as_text() -> str:
        return "Grüße"

    @flow(name="daily")
    def writes(day: date) -> object:
        return as_json(day), as_text()

    run: Any = writes.graph("2026-11-22").run(executor=executor)
    assert run.result() == ({"month": 11}, "Grüße")
    assert json.loads((root / "out/daily/2026-11/as_json.json").read_text()) == {"month": 11}
    assert (root / "out/as_text.txt").read_text(encoding="utf-8") == "Grüße"


def test_each_child_has_a_target_of_its_own(executor: Any, root: Path) -> None:
    @task(target="rows/{index:03}.json")
    def row(n: int) -> int:
        return n * 10

    @task
    def total(values: list[int]) -> int:
        return sum(values)

    @flow
    def writes() -> object:
        return total(row.map([1, 2, 3]))

    assert writes.graph().run(executor=executor).result() == 60
    assert {path: json.loads((root / path).read_text()) for path in files_in(root)} == {
        "rows/000.json": 10, "rows/001.json": 20, "rows/002.json": 30,
    }  # fmt: skip


def test_an_up_to_date_target_is_cached(executor: Any, ledger: Ledger) -> None:
    @task(target="source.json")
    def source() -> list[int]:
        ledger.mark("source")
        return [1, 2, 3]

    @task(target="sum-{params[factor]}.json")
    def total(values: list[int], factor: int) -> int:
        ledger.mark("total")
        return sum(values) * factor

    @task
    def follows(value: int) -> int:
        return value + 1

    @flow
    def sums(factor: int) -> object:
        return follows(total(source(), factor))

    first: Any = sums.graph(2).run(executor=executor)
    second: Any = sums.graph(2).run(executor=executor)
    assert first.result() == second.result() == 13
    assert ledger.counts() == {"source": 1, "total": 1}
    assert [one.state.type for one in second.task_runs] == ["Cached", "Cached", "Success"]
    assert "sum-2.json" in second["total"].state.message
    third: Any = sums.graph(3).run(executor=executor)
    assert third.result() == 19
    assert ledger.counts() == {"source": 1, "total": 2}


def test_up_to_date_children_are_cached_and_the_others_run(executor: Any, ledger: Ledger, root: Path) -> None:
    @task(target="row-{index}.json")
    def row(n: int) -> int:
        ledger.mark(n)
        return n

    @flow
    def rows(numbers: list[int]) -> object:
        return row.map(numbers)

    rows.graph([5, 6, 7]).run(executor=executor)
    (root / "row-1.json").unlink()
    run: Any = rows.graph([5, 6, 8]).run(executor=executor)
    assert run.result() == [5, 6, 8]
    assert [child.state.type for child in run["row"]] == ["Cached", "Success", "Success"]
    assert ledger.counts() == {"5": 1, "6": 2, "7": 1, "8": 1}


def test_a_changed_input_makes_a_target_again(executor: Any, ledger: Ledger) -> None:
    @task(target="same.json")
    def total(values: list[int], options: dict[str, int]) -> int:
        ledger.mark("total")
        return sum(values) + options["add"]

    @flow
    def sums(values: list[int], add: int) -> object:
        return total(values, {"add": add})

    results = [
        sums.graph(*given).run(executor=executor).result()
        for given in (([1], 0), ([1], 0), ([2], 0), ([2], 5), ([1], 0))
    ]
    assert results == [1, 1, 2, 7, 1]
    assert ledger.counts() == {"total": 4}


def test_an_edited_body_makes_its_target_again(executor: Any, ledger: Ledger) -> None:
    def version_one() -> int:
        ledger.mark("body")
        return 1

    def version_two() -> int:
        ledger.mark("body")
        return 2

    results = []
    for body in (version_one, version_one, version_two, version_two):
        made = task(target="same.json", name="same")(body)
        results.append(flow(name="edits")(lambda made=made: made()).graph().run(executor=executor).result())
    assert results == [1, 1, 2, 2]
    assert ledger.counts() == {"body": 2}


def test_a_version_stands_for_the_code(executor: Any, ledger: Ledger) -> None:
    def version_one() -> int:
        ledger.mark("body")
        return 1

    def version_two() -> int:
        ledger.mark("body")
        return 2

    results = []
    for body, version in ((version_one, "1"), (version_two, "1"), (version_two, "2")):
        made = task(target="same.json", name="same", version=version)(body)
        results.append(flow(name="edits")(lambda made=made: made()).graph().run(executor=executor).result())
    assert results == [1, 1, 2]


def test_a_target_that_somebody_changed_is_made_again(executor: Any, ledger: Ledger, root: Path) -> None:
    @task(target="same.json")
    def makes() -> list[int]:
        ledger.mark("body")
        return [1, 2, 3]

    @flow
    def writes() -> object:
        return makes()

    writes.graph().run(executor=executor)
    (root / "same.json").write_text("[4]")
    assert writes.graph().run(executor=executor).result() == [1, 2, 3]
    assert ledger.counts() == {"body": 2}
    assert json.loads((root / "same.json").read_text()) == [1, 2, 3]


@pytest.mark.parametrize("value", ["../../etc", "a/b", "..", "", "a\\b", "a\0b", "a\nb"], ids=repr)
def test_a_value_that_would_leave_its_folder_is_refused(executor: Any, root: Path, value: str) -> None:
    @task(target="out/{params[name]}.txt")
    def writes() -> str:
        return "text"

    @task
    def neighbour() -> int:
        return 1

    @flow
    def named(name: str) -> object:
        return writes(), neighbour()

    before = {path for path in root.parent.rglob("*") if path.suffix == ".txt"}
    try:
        run: Any = named.graph(value).run(executor=executor, raise_on_failure=False)
    except ValueError as error:
        told = str(error)
    else:
        assert run["writes"].state.type == "Failed"
        assert run["neighbour"].result() == 1
        told = run["writes"].state.message
    assert "name" in told
    after = {path for path in root.parent.rglob("*") if path.suffix == ".txt" and path.name != "ledger.txt"}
    assert after <= before
    assert not (root.parent / "etc.txt").exists()


@pytest.mark.parametrize(
    "template",
    ["{index.real}.txt", "{params[a].b}.txt", "{params}.txt", "{0}.txt", "{}.txt", "{nobody}.txt", "{index!r}.txt"],
)
def test_a_template_that_walks_into_objects_is_refused_where_it_is_written(template: str) -> None:
    with pytest.raises(ValueError, match="target"):
        task(target=template)(lambda: None)


@pytest.mark.parametrize(
    "template", ["/etc/passwd.txt", "../up.txt", "a/../../up.txt", "a\\b.txt", "a\0.txt"], ids=repr
)
def test_a_template_that_leaves_its_root_never_writes(executor: Any, root: Path, template: str) -> None:
    try:
        made = task(target=template, name="writes")(lambda: "text")
        run: Any = flow(name="leaves")(lambda: made()).graph().run(executor=executor, raise_on_failure=False)
    except ValueError as error:
        told = str(error)
    else:
        assert run["writes"].state.type == "Failed"
        told = run["writes"].state.message
    assert "target" in told
    assert not list(root.parent.rglob("*up.txt"))


def test_two_children_of_one_path_are_refused(executor: Any, ledger: Ledger) -> None:
    @task(target="rows.json")
    def row(n: int) -> int:
        ledger.mark("body")
        return n

    @flow
    def rows() -> object:
        return row.map([1, 2, 3])

    with pytest.raises((TargetError, OptionError), match=r"rows\.json"):
        rows.graph().run(executor=executor)
    assert ledger.counts() == {}


def test_two_tasks_of_one_path_are_refused(executor: Any, ledger: Ledger) -> None:
    @task(target="{params[day]}.json")
    def one() -> int:
        ledger.mark("body")
        return 1

    @flow
    def writes(day: str) -> object:
        return one(), one.options(name="two")()

    with pytest.raises((TargetError, OptionError), match=r"monday\.json|day"):
        writes.graph("monday").run(executor=executor)
    assert ledger.counts() == {}


def test_a_target_is_found_by_those_who_are_unmapped_too(executor: Any) -> None:
    @task(target="table.json")
    def table() -> dict[str, int]:
        return {"a": 1, "b": 2}

    @task
    def looks_up(name: str, rows: dict[str, int]) -> int:
        return rows[name]

    @flow
    def uses() -> object:
        return looks_up.map(["a", "b"], unmapped(table()))

    for _ in range(2):
        assert uses.graph().run(executor=executor).result() == [1, 2]
