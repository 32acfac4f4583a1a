"""`retry`, `resume` and `rerun`: what is kept, what runs again, what is said, and what is refused."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call, Said

import dataflow
from tests.cli.test_run import told
from tests.cli.working import WORK, everything, last, ledger, rewrite


@pytest.fixture
def broken(cli: Call, work: Path) -> Said:
    """`work.py:shop` failed at its third row."""
    said = cli("run", "work.py:shop")
    assert said.code == 1, said.err
    return said


def test_a_retry_runs_what_failed_and_what_follows_and_prints_the_result(cli: Call, work: Path, broken: Said) -> None:
    (work / "fixed").touch()
    before = ledger(work)
    said = cli("retry", "@last")
    assert (said.code, said.out) == (0, "60\n"), said.err
    assert ledger(work) - before == Counter({"price 2": 1, "total": 1})
    lines = told(said.err)
    assert lines[0] == f"run {last().name} shop n=4 (retried)"
    assert {"price ok 4/4", "total ok 1/1"} <= set(lines)
    assert not any(line.startswith("rows") for line in lines), "what happened before is not told again"
    assert lines[-1] == "run success"


def test_a_run_has_started_once_and_takes_as_long_as_its_last_go(cli: Call, broken: Said) -> None:
    before = last().record
    cli("retry", "@last")
    row, told = last().record, cli("ls", "-o", "json").data["runs"]
    assert row.started == before.started
    assert isinstance(told, list)
    assert row.ended is not None
    assert before.ended is not None
    assert told[0]["seconds"] < row.ended - before.ended


def test_a_retry_that_fails_again_says_so_as_run_does(cli: Call, broken: Said) -> None:
    said = cli("retry", "@last")
    assert said.code == 1
    assert "1 of 4 failed, after 2 attempts: [2]" in said.err
    assert f"hint: fix the code, then  dataflow retry {last().name}" in said.err
    assert f"hint: fix the code, then  dataflow retry {last().name}" in broken.err


def test_a_retry_from_a_task_runs_it_and_what_follows(cli: Call, work: Path) -> None:
    (work / "fixed").touch()
    assert cli("run", "work.py:shop").code == 0
    assert cli("retry", "@last").code == 2
    before = ledger(work)
    said = cli("retry", "@last", "--from", "price[1]")
    assert (said.code, said.out) == (0, "60\n"), said.err
    assert ledger(work) - before == Counter({"price 1": 1, "total": 1})


def test_a_retry_of_some_only(cli: Call, work: Path) -> None:
    rewrite(work, WORK.replace("x == 2", "x in (2, 3)"))
    assert cli("run", "work.py:shop").code == 1
    (work / "fixed").touch()
    before = ledger(work)
    said = cli("retry", "@last", "--only", "price[3]")
    assert said.code == 1, said.err
    assert ledger(work) - before == Counter({"price 3": 1})
    assert last().counts["price"] == {"Success": 3, "Failed": 1}


def test_a_mistake_that_was_corrected_in_the_code_is_gone(cli: Call, work: Path, broken: Said) -> None:
    rewrite(work, WORK.replace("x == 2 and", "x == 99 and"))
    said = cli("retry", "@last")
    assert (said.code, said.out) == (0, "60\n"), said.err


def test_code_that_builds_another_graph_is_refused_unless_as_recorded(cli: Call, work: Path, broken: Said) -> None:
    (work / "fixed").touch()
    rewrite(work, WORK.replace("price.map(rows(n))", "rows(n)"))
    before = ledger(work)
    for words in (["retry", "@last"], ["retry", "@last", "--dry-run"]):
        said = cli(*words)
        assert said.code == 2
        assert "'total' followed ['price'] and follows ['rows']" in said.err
        assert "--as-recorded" in said.err.partition("hint: ")[2]
        assert ledger(work) == before
    said = cli("retry", "@last", "--as-recorded")
    assert (said.code, said.out) == (0, "60\n"), said.err


@pytest.mark.parametrize(
    "words", [["retry", "@last"], ["retry", "@last", "-n"], ["rerun", "@last"], ["rerun", "@last", "-n"]]
)
def test_a_body_that_raises_when_the_graph_is_built_again(
    cli: Call, work: Path, broken: Said, words: list[str]
) -> None:
    text = WORK.replace("    return total(price.map", '    {}["key"]\n    return total(price.map')
    rewrite(work, text)
    said = cli(*words)
    assert said.code == 2
    assert said.err.startswith("error: the body of flow 'shop' raised while its graph was built\n")
    assert re.search(r"work\.py:\d+, in shop\n", said.err)
    assert "KeyError: 'key'" in said.err
    assert "defect" not in said.err
    assert len(dataflow.get_runs()) == 1


def test_code_that_is_gone(cli: Call, work: Path, broken: Said) -> None:
    rewrite(work, None)
    said = cli("retry", "@last")
    assert said.code == 2
    assert "the code of flow 'shop' cannot be loaded: file" in said.err
    assert said.err.partition("hint: ")[2].startswith("bring it back, or go on with the graph as it was recorded")
    rewrite(work, WORK + "\nraise KeyError('what')\n")
    said = cli("retry", "@last")
    assert said.code == 2
    assert re.search(r"work\.py:\d+, in <module>\n.*\n.*KeyError: 'what'", said.err)
    (work / "fixed").touch()
    assert cli("retry", "@last", "--as-recorded").code == 0


def test_jsonl_has_only_what_happens_from_then_on(cli: Call, work: Path, broken: Said) -> None:
    (work / "fixed").touch()
    run = last()
    before = max(row.seq for row in run._store.transitions(run.id))
    *events, end = cli("retry", "@last", "-q", "-o", "jsonl").lines
    recorded = [(row.seq, row.path, row.state) for row in run._store.transitions(run.id, after=before)]
    assert [(event["seq"], event["task"], event["state"]) for event in events] == recorded
    assert end["type"] == "run"


# Rerun ----------------------------------------------------------------------------------------------------------------


def test_a_rerun_is_a_new_run_with_other_parameters(cli: Call, work: Path, broken: Said) -> None:
    first = last()
    said = cli("rerun", "@last", "-p", "n=2")
    assert (said.code, said.out) == (0, "10\n"), said.err
    assert told(said.err)[0] == f"run {last().name} shop n=2 (rerun of {first.name})"
    assert last().record.details["rerun_of"] == first.id
    assert len(dataflow.get_runs()) == 2
    assert first.state.type == "Failed"


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("m=2", "flow 'shop' has no parameter 'm'", "it takes n: int = 4."),
        ("n=many", "parameter 'n' of flow 'shop': 'many' is not valid", "n: int = 4"),
    ],
)
def test_a_rerun_fits_its_parameters(cli: Call, broken: Said, given: str, message: str, hint: str) -> None:
    said = cli("rerun", "@last", "-p", given)
    assert said.code == 2
    assert message in said.err
    assert hint in said.err
    assert len(dataflow.get_runs()) == 1


# Dry runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["retry", "@last"], ["rows - 1 -", "price 1 3 -", "total 1 - -"]),
        (["retry", "@last", "--from", "rows"], ["rows 1 - -", "price 4 - -", "total 1 - -"]),
        (["retry", "@last", "--only", "price[2]"], ["rows - 1 -", "price 1 3 -", "total 1 - -"]),
        (["rerun", "@last"], ["rows 1 - -", "price all - -", "total 1 - -"]),
        (["recover"], []),
    ],
    ids=" ".join,
)
def test_a_dry_run_tells_and_changes_nothing(
    cli: Call, work: Path, broken: Said, words: list[str], rows: list[str]
) -> None:
    before, ran = everything(), ledger(work)
    said = cli(*words, "--dry-run")
    assert (said.code, said.err) == (0, "")
    heads, *body, summary = said.out.splitlines() if rows else ["", said.out]
    assert heads.split() == (["NODE", "RUNS", "KEPT", "WAITS"] if rows else [])
    assert [" ".join(line.split()) for line in body] == rows
    assert summary.startswith("would ")
    data = cli(*words, "--dry-run", "-o", "json").data
    assert data["dry_run"] is True
    if rows:
        tasks = [[task["task"], task["runs"], task["kept"], task["waits"]] for task in data["tasks"]]  # type: ignore[attr-defined]
        assert [[str(cell or "-") for cell in task] for task in tasks] == [
            row.replace("all", "-").split() for row in rows
        ]
    assert everything() == before
    assert ledger(work) == ran


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "message", "hint"),
    [
        ("retry oter", 3, "no run 'oter'", "a run is named by its id"),
        ("resume @last", 2, "NAME has failed", "dataflow retry NAME"),
        ("resume @last/total", 2, "resume takes a whole run, and @last/total is a task", "dataflow resume NAME"),
        ("retry @last --from prise", 3, "has no task run 'prise'", "did you mean 'price'?"),
        ("retry @last --only price[9]", 3, "has no task run 'price[9]'", ""),
        ("retry @last --only rows", 2, "rows succeeded already", "say from_= (--from)"),
        ("retry @last --form rows", 2, "no such option '--form'", "did you mean --from?"),
        ("cancel @last", 2, "NAME has failed: there is nothing to cancel", "dataflow show NAME"),
        ("pause @last", 2, "NAME has failed: there is nothing to pause", "dataflow show NAME"),
        ("approve @last", 2, "nothing in run NAME waits for a person", "dataflow show NAME"),
        ("approve @last/total", 2, "total does not wait for a person", "dataflow show NAME"),
        ("approve @last/totl", 3, "has no task run 'totl'", "did you mean 'total'?"),
        ("retry @last --executor nowhere", 2, "'nowhere' is not an executor", "taken are: 'sync'"),
        ("recover --watch -o json", 2, "--watch has no end", "-o jsonl"),
        ("resme @last", 2, "no verb 'resme'", "did you mean 'dataflow resume'?"),
    ],
)  # fmt: skip
def test_refusals_change_nothing(cli: Call, broken: Said, line: str, code: int, message: str, hint: str) -> None:
    before = everything()
    said = cli(*line.split())
    name = last().name
    assert said.code == code, said.err
    assert said.out == ""
    assert message.replace("NAME", name) in said.err
    assert hint.replace("NAME", name) in said.err.partition("hint: ")[2]
    assert "Traceback" not in said.err
    assert everything() == before


def test_what_succeeded_is_neither_resumed_nor_retried(cli: Call, work: Path) -> None:
    (work / "fixed").touch()
    assert cli("run", "work.py:shop").code == 0
    name = last().name
    for words, hint in (
        (["resume", "@last"], f"dataflow rerun {name}"),
        (["resume", "@last", "-n"], f"dataflow rerun {name}"),
        (["retry", "@last"], f"dataflow retry {name} --from TASK"),
    ):
        said = cli(*words)
        assert said.code == 2
        assert f"run {name} has succeeded" in said.err
        assert hint in said.err
