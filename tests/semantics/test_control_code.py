"""A run that is taken up again runs the code as it is now; where that does not fit what is on record, it says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflow import flow, get_run, task
from dataflow.errors import CodeChanged, CodeGone

SCRIPT = """
from dataflow import flow, task

@task
def numbers():
    return [1, 2, 3]

@task
def clean(n):
    return {body}

@task
def total(values):
    return sum(values)

@flow(log_prints=True)
def {name}(factor: int = 2):
    found = clean.map(numbers())
    {extra}
    return total(found)

{below}
"""
MAIN = 'if __name__ == "__main__":\n    summing.run(raise_on_failure=False)'


def write(script: Path, body: str, *, name: str = "summing", extra: str = "", below: str = MAIN) -> None:
    script.write_text(SCRIPT.format(body=body, name=name, extra=extra, below=below))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script whose run has failed, in a process that is gone."""
    path = tmp_path / "summing_script.py"
    write(path, "1 / 0 if n == 2 else n")
    subprocess.run([sys.executable, str(path)], check=True, env=os.environ, capture_output=True)
    assert get_run("@last").state.type == "Failed"
    return path


def test_a_bug_that_was_fixed_in_the_file_is_fixed_in_the_retry(script: Path) -> None:
    write(script, "10 * n")
    run: Any = get_run("@last").retry(executor="threads:2")
    assert run.result() == 1 + 20 + 3  # what had succeeded is kept
    assert run.counts["numbers"] == {"Success": 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"extra": "total(found)"}, "'total' was|'total-2' is new|'total' followed"),
        ({"extra": "found = clean.map(found)"}, "'clean-2' is new"),
        ({"extra": "found = numbers()"}, "'numbers-2' is new"),
        ({"extra": "return found"}, "'total' is gone"),
    ],
)
def test_code_that_builds_another_graph_is_refused_by_the_node_that_differs(
    script: Path, change: dict[str, str], says: str
) -> None:
    write(script, "n", **change)
    run: Any = get_run("@last")
    with pytest.raises(CodeChanged, match=says):
        run.retry()
    assert run.state.type == "Failed"
    with pytest.raises(Exception, match="ZeroDivisionError"):
        run.retry(as_recorded=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "adding", "below": ""}, "has no flow 'summing'"),
        ({"below": "raise RuntimeError('not today')"}, "not today"),
        ({"below": "summing.run()"}, "if __name__"),
    ],
)
def test_code_that_cannot_be_read_is_refused_with_the_reason(script: Path, change: dict[str, str], says: str) -> None:
    write(script, "n", **change)
    run: Any = get_run("@last")
    with pytest.raises(CodeGone, match=says):
        run.retry()
    assert run.state.type == "Failed"
    assert len(list(script.parent.glob("*.py"))) == 1


def test_a_file_that_is_gone_is_named_and_the_recorded_graph_goes_on(script: Path) -> None:
    script.unlink()
    run: Any = get_run("@last")
    with pytest.raises(CodeGone, match=str(script)):
        run.retry()
    run.retry(as_recorded=True, raise_on_failure=False)
    assert run.state.type == "Failed"


def test_hooks_and_options_of_the_flow_count_in_another_process_too(script: Path) -> None:
    write(script, "print('cleaning', n) or n")
    run: Any = get_run("@last").retry(executor="threads:2")
    assert "cleaning 2" in [line.message for line in run.logs()]


def test_a_flow_that_no_module_has_goes_on_as_it_was_recorded() -> None:
    answers = [ValueError("no"), 7]

    @task
    def sometimes() -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    @flow
    def hidden() -> object:
        return sometimes()

    run: Any = hidden.run(executor="sync", raise_on_failure=False)
    assert get_run(run.id).record.details["code"] is None
    assert run.retry(executor="sync").result() == 7


PLACES = {
    "imported under another name": ("from summing_script import summing as other", "other.run"),
    "bound to another name": (
        "import summing_script\nother = summing_script.summing\ndel summing_script.summing",
        "other.run",
    ),
    "made of another module's function": (
        "import summing_script\nfrom dataflow import flow\nmine = flow(name='mine')(summing_script.summing.fn)",
        "mine.run",
    ),
    "made by a function of another module": ("from summing_script import make\nmine = make()", "mine.run"),
}
MAKES = """
def make():
    @flow
    def made(factor: int = 2):
        return clean.map(numbers())
    return made
"""


@pytest.mark.parametrize("place", PLACES)
def test_a_flow_is_found_again_by_whatever_name_a_module_has_it(tmp_path: Path, place: str) -> None:
    write(tmp_path / "summing_script.py", "1 / 0 if n == 2 else n", below=MAKES)
    text, call = PLACES[place]
    runs = tmp_path / "runs.py"
    runs.write_text(f"{text}\nif __name__ == '__main__':\n    {call}(raise_on_failure=False)\n")
    subprocess.run([sys.executable, str(runs)], check=True, env=os.environ, capture_output=True)
    run: Any = get_run("@last")
    assert run.state.type == "Failed"
    write(
        tmp_path / "summing_script.py",
        "10 * n",
        extra="numbers()",
        below=MAKES.replace("return cl", "numbers()\n        return cl"),
    )
    again = "from dataflow import get_run; get_run('@last').retry(executor='threads:2')"
    refused = subprocess.run(
        [sys.executable, "-c", again], env=os.environ, cwd=tmp_path, capture_output=True, text=True
    )
    assert "CodeChanged" in refused.stderr
    assert "'numbers-2' is new" in refused.stderr


def test_a_run_remembers_where_it_ran(script: Path) -> None:
    write(script, "n")
    run: Any = get_run("@last")
    assert run.record.details["executor"] == "threads"
    run.retry()
    assert run._driver.work.executor.name == "threads"
