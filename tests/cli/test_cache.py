"""`dataflow cache` and `dataflow explain`: what is cached, forgetting it, and why a task ran."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call

FLOWS = """
from dataflow import flow, task

@task(cache=True)
def square(n: int) -> int:
    return n * n

@task(cache=True)
def total(numbers: list[int], plus: int) -> int:
    return sum(numbers) + plus

@flow
def sums(numbers: list[int], plus: int = 0):
    return total(square.map(numbers), plus)
"""


@pytest.fixture
def flows(tmp_path: Path) -> str:
    path = tmp_path / "flows.py"
    path.write_text(FLOWS)
    return str(path)


def test_a_second_run_is_explained_and_forgotten_results_are_made_again(cli: Call, flows: str) -> None:
    assert cli("run", flows, "-p", "numbers=[1, 2]", "-q").out.strip() == "5"
    assert cli("run", flows, "-p", "numbers=[1, 2]", "-p", "plus=1", "-q").out.strip() == "6"
    told = cli("explain", "@last").out.splitlines()
    assert told[0].startswith("square × 2: it did not run: made by square of run ")
    assert told[1] == "total: it ran: no result of this code and these inputs"
    assert told[2].startswith("    the nearest earlier result was made by total of run ")
    assert told[3] == "    argument 'plus' changed"
    listed: Any = cli("cache", "ls", "-o", "json").data["cache"]
    assert {row["task"]: row["entries"] for row in listed} == {"square": 2, "total": 2}
    assert cli("cache", "rm", "square", "--dry-run").out == "would forget 2 cached results\n"
    assert cli("cache", "rm", "square").out == "forgot 2 cached results\n"
    cli("run", flows, "-p", "numbers=[1, 2]", "-q")
    rows: Any = cli("explain", "@last", "-o", "json").data["tasks"]
    assert {row["task"]: row["state"] for row in rows} == {
        "square[0]": "Success",
        "square[1]": "Success",
        "total": "Cached",
    }


def test_a_run_may_be_told_to_make_a_task_anew(cli: Call, flows: str) -> None:
    cli("run", flows, "-p", "numbers=[3]", "-q")
    cli("run", flows, "-p", "numbers=[3]", "-q", "--refresh", "total")
    assert cli("explain", "@last/total").out.splitlines()[0] == "total: it ran: the run was told to refresh it"
    refused = cli("run", flows, "-p", "numbers=[3]", "--refresh", "totla")
    assert refused.code == 2
    assert "did you mean 'total'?" in refused.err


def test_what_cannot_be_forgotten_is_refused(cli: Call, flows: str) -> None:
    assert cli("cache", "ls").out == (
        "nothing is cached: @task(cache=True) says that a task's results may be used again\n"
    )
    cli("run", flows, "-p", "numbers=[3]", "-q")
    refused = cli("cache", "rm", "sqare")
    assert refused.code != 0
    assert "did you mean 'square'?" in refused.err.lower()
    assert cli("cache", "rm").code != 0
