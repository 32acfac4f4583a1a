"""`approve`, and what is said of a run that waits for a person."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call

from tests.cli.test_run import told
from tests.cli.working import WORK, ended, everything, last, ledger, rewrite, until, until_begun

Begin = Callable[..., subprocess.Popen[str]]
BOTH = """

@task(retries=1)
def fails():
    if not os.path.exists("seen"):
        open("seen", "w").close()
        raise OSError
    return wait_for_input(str, "Who?")


@flow
def both():
    return name(), fails()
"""


def pause(cli: Call, flow: str, *words: str) -> str:
    """Run a flow until it is paused; the run's name."""
    said = cli("run", f"work.py:{flow}", *words)
    assert said.code == 6, said.err
    return last().name


def test_the_one_task_that_waits_is_approved_and_the_run_goes_on(cli: Call, work: Path) -> None:
    name = pause(cli, "signed")
    before = ledger(work)
    said = cli("approve", name)
    assert (said.code, said.out) == (0, "3\n"), said.err
    assert [line for line in told(said.err) if "started" not in line] == [
        f"run {name} signed (sign approved)",
        "sign ok 1/1",
        "run success",
    ]
    assert ledger(work) - before == Counter({"sign": 1})


def test_an_attempt_after_an_answer_is_no_retry_and_one_after_a_failure_is(cli: Call, work: Path) -> None:
    rewrite(work, WORK + BOTH)
    run = pause(cli, "both")
    for task in ("name", "fails"):
        said = cli("approve", f"{run}/{task}", "--value", "Ada")
    assert said.code == 0, said.err
    lines = {line.split()[1]: line for line in cli("show", run).out.splitlines() if " 1/1 " in line}
    assert "retr" not in lines["name"]
    assert lines["fails"].endswith("1 retry")


def test_an_answer_after_a_retry_is_seen_as_one(cli: Call, work: Path) -> None:
    run = pause(cli, "named")
    assert cli("approve", run, "--value", "Ada").code == 0
    assert cli("retry", run, "--from", "name").code == 6
    assert cli("approve", run, "--value", "Bob", "--no-resume").code == 0
    assert "answered by " in cli("show", run).out
    assert cli("resume", run).out == "Bob\n"


def test_resume_approves_what_wants_no_value(cli: Call, work: Path) -> None:
    pause(cli, "signed")
    said = cli("resume", "@last")
    assert (said.code, said.out) == (0, "3\n"), said.err


def test_the_end_of_a_paused_run_tells_how_to_answer(cli: Call, work: Path) -> None:
    said = cli("run", "work.py:several")
    name = last().name
    assert f"hint: dataflow approve {name}/sign   waits for approval\n" in said.err
    assert f"hint: dataflow approve {name}/name --value JSON   Who?\n" in said.err


def test_show_lists_what_waits_the_question_the_type_and_the_command(cli: Call, work: Path) -> None:
    name = pause(cli, "counted", "-p", "n=2")
    lines = [line.split() for line in cli("show", name).out.splitlines()]
    assert ["WAITS", "QUESTION", "WANTED", "ANSWER"] in lines
    for child in (0, 1):
        command = f"dataflow approve '{name}/count[{child}]' --value JSON"
        assert f"‖ count[{child}] How many of {child + 1}? int {command}".split() in lines
    found = cli("show", name, "-o", "json").data["waiting"]
    assert found == [
        {
            "task": "count",
            "index": child,
            "message": f"How many of {child + 1}?",
            "wants": "int",
            "schema": {"type": "integer"},
            "answered": None,
        }
        for child in (0, 1)
    ]
    assert f"dataflow approve '{name}/count[1]' --value JSON" in cli("show", f"{name}/count[1]").out


def test_a_value_is_fitted_to_what_was_asked(cli: Call, work: Path) -> None:
    name = pause(cli, "counted", "-p", "n=2")
    before = everything()
    for words, message in (
        ([f"{name}/count[1]", "--value", "many"], "the answer 'many' does not fit: wanted is int"),
        ([f"{name}/count[1]"], "count[1] asks for a value: How many of 2? (int)"),
        (["@last", "--value", "3"], "2 tasks of run NAME wait for a person\n    count[0]  How many of 1? (int)\n"),
    ):
        said = cli("approve", *words)
        assert said.code == 2
        assert message.replace("NAME", name) in said.err
    assert everything() == before
    said = cli("approve", f"{name}/count[1]", "--value", "3")
    assert said.code == 6, "the other still waits"
    assert f"dataflow approve '{name}/count[0]' --value JSON" in said.err
    assert "count[1]" not in said.err.partition("hint:")[2]
    said = cli("approve", name, "--value", "7")
    assert (said.code, said.out) == (0, "[7, 6]\n"), said.err


def test_one_value_for_all_children_that_wait(cli: Call, work: Path) -> None:
    name = pause(cli, "counted", "-p", "n=3")
    said = cli("approve", f"{name}/count", "--value", "2")
    assert (said.code, said.out) == (0, "[2, 4, 6]\n"), said.err


@pytest.mark.parametrize(("given", "is_"), [("Ada", "Ada"), ('"Ada"', "Ada"), ("0071", "0071"), ("71", "71")])
def test_what_is_no_json_is_a_text(cli: Call, work: Path, given: str, is_: str) -> None:
    name = pause(cli, "named")
    said = cli("approve", name, "--value", given)
    assert (said.code, said.out) == (0, f"{is_}\n"), said.err


def test_no_resume_only_writes_the_answer_down(cli: Call, work: Path) -> None:
    name = pause(cli, "named")
    said = cli("approve", name, "--value", "Ada", "--no-resume")
    assert (said.code, said.err) == (0, "")
    assert said.out == f"approved name of run {name}; dataflow resume {name} goes on with it\n"
    assert last().state.type == "Paused"
    assert "answered by" in cli("show", name).out
    said = cli("approve", name, "--value", "Bob")
    assert said.code == 2
    assert "nothing in run" in said.err
    said = cli("resume", name)
    assert (said.code, said.out) == (0, "Ada\n"), said.err


def test_resume_of_what_wants_a_value_says_how_to_answer(cli: Call, work: Path) -> None:
    name = pause(cli, "named")
    before = everything()
    for words in (["resume", name], ["resume", name, "--dry-run"]):
        said = cli(*words)
        assert said.code == 2
        assert "name asks for a value: Who? (str)" in said.err
        assert f"hint: dataflow approve {name}/name --value JSON" in said.err
    assert everything() == before


def test_what_is_answered_cannot_be_answered_again(cli: Call, work: Path) -> None:
    name = pause(cli, "signed")
    assert cli("approve", name).code == 0
    said = cli("approve", f"{name}/sign")
    assert said.code == 2
    assert "sign is answered already: by " in said.err
    assert "@" in said.err


@pytest.mark.parametrize(
    ("flow", "words", "row"),
    [
        ("signed", ["approve", "@last"], "sign 1 - -"),
        ("signed", ["resume", "@last"], "sign 1 - -"),
        ("named", ["approve", "@last", "--value", "Ada"], "name 1 - -"),
        ("signed", ["cancel", "@last"], "sign 1 - 1"),
        ("signed", ["pause", "@last"], "sign 1 - 1"),
        ("signed", ["retry", "@last"], "sign - - 1"),
    ],
)
def test_a_dry_run_changes_nothing(cli: Call, work: Path, flow: str, words: list[str], row: str) -> None:
    pause(cli, flow)
    before = everything()
    said = cli(*words, "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert row in [" ".join(line.split()) for line in said.out.splitlines()]
    assert everything() == before


def test_of_two_answers_at_once_one_wins(cli: Call, begin: Begin, work: Path) -> None:
    name = pause(cli, "named")
    both = [begin("approve", f"{name}/name", "--value", who) for who in ("Ada", "Bob")]
    found = {who: ended(process) for who, process in zip(("Ada", "Bob"), both, strict=True)}
    codes = {who: code for who, (code, _, _) in found.items()}
    assert sorted(codes.values()) == [0, 2], found
    winner, loser = sorted(codes, key=lambda who: codes[who])
    assert found[winner][1] == f"{winner}\n"
    assert "name is answered already: by " in found[loser][2]
    assert last().result() == winner


def test_an_answer_reaches_the_process_that_drives_the_run(begin: Begin, cli: Call, work: Path) -> None:
    process = begin("run", "work.py:mixed", "--executor", "threads:4", "-o", "json")
    until_begun(work, process)
    until(last(), "Paused", "sign")
    other = begin("approve", last().name)
    until(last(), "Success", "sign")
    (work / "release").touch()
    code, out, err = ended(other)
    assert (code, out) == (0, "(3, 1)\n"), err
    assert f"process {process.pid} on " in err
    assert "sign ok 1/1" in err
    assert ended(process)[0] == 0
    assert ledger(work)["sign"] == 1
