"""Looking at runs that others drive, and at what will be: `watch`, `logs -f`, `history`, `check`, `doctor`, `-n`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call, Said

import dataflow
from tests.cli.screen import Terminal
from tests.cli.working import ended, last, until, until_begun, until_new, until_told

Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def going(begin: Begin, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that drives `flows.py:slow`, whose bodies run until there is a file `release`."""
    process = begin("run", "flows.py:slow", "--executor", "threads:3")
    until_begun(folder, process)
    yield process
    (folder / "release").touch()


def test_watch_is_the_view_of_a_run_of_another_process(
    going: subprocess.Popen[str], script: list[str], folder: Path
) -> None:
    with Terminal([*script, "watch", "@last"], folder) as terminal:
        terminal.until("3 running")
        (folder / "release").touch()
        shown = terminal.ended()
    assert terminal.code == 0, shown
    assert any("✓ hold" in line and "3/3" in line for line in shown)
    assert going.wait(60) == 0


def test_ctrl_c_ends_only_the_watching(going: subprocess.Popen[str], script: list[str], folder: Path) -> None:
    with Terminal([*script, "watch", "@last"], folder) as terminal:
        terminal.until("3 running")
        terminal.press(b"\x03")
        shown = terminal.ended()
    assert terminal.code == 130
    assert any(line.endswith("is running; it goes on") for line in shown)
    assert going.poll() is None
    assert last().state.type == "Running"


def test_watch_tells_how_a_run_ended(cli: Call, failed: Said) -> None:
    said = cli("watch", "@last")
    assert said.code == 1
    assert "1 of 4 failed, after 2 attempts: [2]" in said.err


def test_logs_are_followed_to_the_end_of_the_run(begin: Begin, work: Path) -> None:
    (work / "chat.py").write_text(
        "import os, time\n"
        "from dataflow import flow, task\n"
        "@task(log_prints=True)\n"
        "def chat():\n"
        "    print('first')\n"
        "    while not os.path.exists('release'): time.sleep(0.01)\n"
        "    print('last')\n"
        "    raise ValueError('enough')\n"
        "@flow\n"
        "def talk(): return chat()\n"
    )
    driver = begin("run", "chat.py")
    until_told(driver, "chat started")
    follower = begin("logs", "@last", "--follow", "--raw", "--exit-code")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "first\n"
    (work / "release").touch()
    code, out, _ = ended(follower)
    assert (code, out.splitlines()[0]) == (1, "last")


def test_logs_are_narrowed(cli: Call, ran: Said) -> None:
    lines = cli("logs", "@last", "--grep", "transforming [12]$", "--raw").out.splitlines()
    assert sorted(lines) == ["transforming 1", "transforming 2"]
    assert cli("logs", "@last", "--since", "1h", "--raw").out != ""
    said = cli("logs", "@last", "--grep", "(")
    assert said.code == 2
    assert "no regular expression" in said.err


def test_detach_prints_only_the_id_of_a_run_that_goes_on(cli: Call, begin: Begin, folder: Path) -> None:
    code, out, err = ended(begin("run", "flows.py:slow", "--detach"))
    run = dataflow.get_run(out.strip())
    assert (code, out, err) == (0, f"{run.id}\n", "")
    until(run, "Running")
    (folder / "release").touch()
    until(run, "Success")


def test_a_mistake_in_a_detached_run_is_told_here(begin: Begin) -> None:
    code, out, err = ended(begin("run", "flows.py:broken", "--detach"))
    assert (code, out) == (2, "")
    assert "KeyError" in err
    code, _, err = ended(begin("run", "flows.py:etl", "-d", "--executor", "sync"))
    assert code == 2
    assert "hint: --executor threads" in err


def test_a_dry_run_says_what_the_cache_has(cli: Call, folder: Path) -> None:
    (folder / "kept.py").write_text(
        "from dataflow import flow, task\n"
        "@task(cache=True)\n"
        "def one(x: int): return x\n"
        "@task\n"
        "def two(x: int): return x\n"
        "@flow\n"
        "def kept(x: int = 1): return two(one(x))\n"
    )
    before = {run.id for run in dataflow.get_runs()}
    assert [row["runs"] for row in tasks(cli("run", "kept.py", "-n", "--json"))] == [1, 1]
    assert {run.id for run in dataflow.get_runs()} == before, "nothing ran"
    assert cli("run", "kept.py").code == 0
    until_new(before)
    first, second = tasks(cli("run", "kept.py", "--dry-run", "--json"))
    assert (first["task"], first["runs"], first["kept"], second["runs"]) == ("one", 0, 1, 1)
    assert last().id[:8] in str(first["why"])
    assert [row["runs"] for row in tasks(cli("run", "kept.py", "-n", "--json", "--refresh-all"))] == [1, 1]


def tasks(said: Said) -> list[dict[str, object]]:
    found = said.data["tasks"]
    assert isinstance(found, list)
    return found


def test_history_has_each_change_in_order(cli: Call, failed: Said) -> None:
    changes = cli("history", "@last/transform[2]", "-o", "jsonl").lines
    assert [change["state"] for change in changes] == ["Running", "Retrying", "Running", "Failed"]
    assert "✕ failed" in cli("history", "@last", "-n", "1").out


def test_check_builds_what_it_can_and_names_what_is_wrong(cli: Call) -> None:
    said = cli("check", "flows.py", "-o", "json")
    found = said.data["flows"]
    assert isinstance(found, list)
    told = {one["flow"]: one for one in found}
    assert said.code == 2
    assert (told["etl"]["tasks"], told["etl"]["error"]) == (3, None)
    assert told["typed"]["needs"] == ["day", "box"]
    assert "KeyError: 'key'" in told["broken"]["error"]
    assert cli("check", "flows.py:etl").code == 0
    assert "flows.py:" in cli("check", "flows.py:broken").out, "where in the file"


def test_doctor_finds_what_is_wrong_and_keeps_secrets(begin: Begin, ran: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = ended(begin("doctor"))
    assert (code, err) == (0, "")
    assert "✕" not in out
    monkeypatch.setenv("DASK_DATAFLOW__EXECUTOR", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DASK_DATAFLOW__RESULTS__SIGNING_KEY", "hush")
    monkeypatch.setenv("DASK_DATAFLOW__RUNS__URL", "postgresql://me:hush@127.0.0.1:1/runs?connect_timeout=1")
    code, out, _ = ended(begin("doctor", DASK_DATAFLOW__RUNS__PATIENCE="1"))
    assert code == 1
    assert "✕ executor" in out
    assert "tcp://127.0.0.1:1 does not answer" in out
    assert "hush" not in out


READ = ["ls", "show @last", "history @last", "logs @last", "result @last", "explain @last", "results ls", "cache ls"]


@pytest.mark.parametrize("line", [*READ, "check flows.py:etl", "doctor"])
def test_every_verb_that_reads_prints_in_every_form(cli: Call, ran: Said, line: str) -> None:
    told = {form: cli(*line.split(), "-o", form) for form in ("table", "json", "jsonl", "wide", "name")}
    assert {said.code for said in told.values()} == {0}, told
    assert {said.err for said in told.values()} == {""}, "all of it is on standard output"
    assert told["json"].data["schema"] == 1
    assert all("type" in one for one in told["jsonl"].lines)
    assert told["wide"].out
    names = told["name"].out.split("\n")[:-1]
    assert len(set(names)) == len(names)
    assert not any(" " in name for name in names)


def test_names_are_what_other_verbs_take(cli: Call, failed: Said) -> None:
    name = last().name
    assert cli("show", "@last", "-o", "name").out.split() == [
        f"{name}/{task}" for task in ("extract", "transform", "load")
    ]
    children = cli("show", "@last/transform", "-o", "name").out.split()
    assert cli("show", children[2], "-o", "name").out.split() == [f"{name}/transform[2]"]
    stored = cli("results", "ls", "@last", "-o", "name").out.split()
    assert [cli("result", one).code for one in stored] == [0] * len(stored)
