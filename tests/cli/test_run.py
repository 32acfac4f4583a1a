"""`dataflow run`: progress on standard error, the result on standard output, an exit code that tells how it went."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call

import dataflow


def told(err: str) -> list[str]:
    """Progress lines without their times and durations."""
    lines = [line for line in err.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    return [re.sub(r" (\d+ms|\d+\.\d+s|\d+s|\d+:\d\d)\b", "", line[9:]) for line in lines]


@pytest.mark.parametrize("executor", ["sync", "threads", "threads:2"])
def test_progress_and_result(cli: Call, executor: str) -> None:
    said = cli("run", "flows.py:etl", "-p", "n=5", "--executor", executor)
    run = dataflow.get_run("@last")
    assert said.code == 0
    assert said.out == "29\n"
    lines = told(said.err)
    assert lines[0] == f"run {run.name} etl n=5 bad=-1 region=eu"
    assert lines[-1] == "run success"
    rest = set(lines[1:-1])
    assert {
        "extract ok 1/1",
        "transform ok 5/5 1 skipped",
        "load ok 1/1",
    } <= rest
    assert lines.index("extract ok 1/1") < lines.index("transform ok 5/5 1 skipped") < lines.index("load ok 1/1")
    assert "\x1b" not in said.err


def test_a_body_runs_once(cli: Call, folder: Path) -> None:
    cli("run", "flows.py:etl")
    assert (folder / "ledger.txt").read_text() == "extract\n"


def test_worker_processes_need_not_find_the_file(begin: Callable[..., subprocess.Popen[str]], folder: Path) -> None:
    os.makedirs(folder / "elsewhere")
    os.rename(folder / "flows.py", folder / "elsewhere" / "flows.py")
    process = begin("run", "elsewhere/flows.py:etl", "--executor", "processes:1")
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert out == "13\n"


def test_a_failure_is_told_with_the_users_frame(cli: Call) -> None:
    said = cli("run", "flows.py:etl", "-p", "bad=2")
    run = dataflow.get_run("@last")
    assert said.code == 1
    assert said.out == ""
    lines = told(said.err)
    where = re.search(r"\(flows\.py:(\d+)\)", said.err)
    assert where is not None
    assert "transform[2] retrying after attempt 1: ValueError: row 2 has no price" in lines
    assert f"transform[2] failed: ValueError: row 2 has no price ({where[0][1:-1]})" in lines
    assert "transform failed 1/4" in lines, "of the only one it was just said why"
    assert lines[-1] == "run failed, 1 retry, 3 results kept"
    report = said.err.partition("run failed")[2]
    assert "1 of 4 failed, after 2 attempts: [2]" in report
    assert f"flows.py:{where[1]}, in transform" in report
    assert 'raise ValueError(f"row {x} has no price")' in report
    assert "load" in report
    assert "not run" in report
    assert f"dataflow logs '{run.name}/transform[2]'" in report
    assert "dataflow/body.py" not in report
    assert report.count("transforming 2") == 1, "the last lines of the task's log, of its last attempt"


def test_full_traceback_has_the_frameworks_frames(cli: Call) -> None:
    report = cli("run", "flows.py:etl", "-p", "bad=2", "--full-traceback").err.partition("run failed")[2]
    assert "Traceback (most recent call last)" in report
    assert f"{os.sep}dataflow{os.sep}" in report


def test_a_heartbeat_says_what_goes_on(cli: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflow.cli.progress.HEARTBEAT", 0.0)
    assert "hold 0/2 ok" in told(cli("run", "flows.py:slow", "-p", "seconds=1", "-p", "n=2").err)


def test_log_lines_are_told_where_they_are_wanted(cli: Call) -> None:
    assert "transforming" not in cli("run", "flows.py:etl").err
    assert "transform[3]: transforming 3" in told(cli("run", "flows.py:etl", "-v").err)


def test_quiet_tells_only_failures(cli: Call) -> None:
    assert cli("run", "flows.py:etl", "--quiet").err == ""
    said = cli("run", "flows.py:etl", "-p", "bad=2", "-q")
    assert told(said.err) == []
    assert "row 2 has no price" in said.err


def test_json_is_the_finished_run_and_nothing_else(cli: Call) -> None:
    said = cli("run", "flows.py:etl", "-p", "bad=2", "-o", "json")
    assert said.code == 1
    run = said.data["run"]
    assert isinstance(run, dict)
    assert (run["state"], run["parameters"]) == ("Failed", {"n": 4, "bad": 2, "region": "eu"})
    assert run["tasks"]["total"] == 6
    assert run["tasks"]["failed"] == 2
    problems = said.data["problems"]
    assert isinstance(problems, list)
    assert (problems[0]["task"], problems[0]["indexes"], problems[0]["attempts"]) == ("transform", [2], 2)


LOUD = """import os
from dataflow import flow, task

print("imported")


@task
def say():
    print("from print")
    os.system("echo from a program")
    return 1


@flow
def loud():
    return say()
"""


@pytest.mark.parametrize(
    "line",
    ["run loud.py -o json", "run loud.py -o jsonl --executor sync", "check loud.py -o json", "graph loud.py -o json"],
)
def test_what_the_users_code_prints_is_no_part_of_the_data(
    begin: Callable[..., subprocess.Popen[str]], folder: Path, line: str
) -> None:
    (folder / "loud.py").write_text(LOUD)
    out, err = begin(*line.split()).communicate(timeout=60)
    assert all(json.loads(one)["schema"] == 1 for one in (out.splitlines() if "jsonl" in line else [out]))
    assert "imported" in err
    assert ("from print" in err) == ("from a program" in err) == ("run" in line)


def test_jsonl_streams_every_change_of_state(cli: Call) -> None:
    said = cli("run", "flows.py:etl", "-o", "jsonl", "--quiet")
    *events, last = said.lines
    run = dataflow.get_run("@last")
    recorded = [(row.seq, row.path, row.state) for row in run._store.transitions(run.id)]
    assert [(event["seq"], event["task"], event["state"]) for event in events] == recorded
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(event["time"])) for event in events)
    assert last["type"] == "run"


def test_a_text_is_printed_as_it_is(cli: Call) -> None:
    assert cli("run", "flows.py:says").out == "two\nlines\n"


def test_no_result_prints_nothing(cli: Call) -> None:
    said = cli("run", "flows.py:nothing")
    assert (said.code, said.out) == (0, "")


def test_a_large_result_is_not_printed(cli: Call) -> None:
    said = cli("run", "flows.py:much")
    assert said.out == ""
    assert f"dataflow result {dataflow.get_run('@last').name}" in said.err


def test_tasks_that_a_run_builds_are_told_in_one_line(cli: Call) -> None:
    lines = told(cli("run", "flows.py:outer", "-p", "n=9").err)
    assert lines.count("inner/load ok 9/9") == 1
    assert len([line for line in lines if line.startswith("inner/load")]) <= 2


def test_a_paused_run_has_its_own_code(cli: Call) -> None:
    said = cli("run", "flows.py:waits")
    assert said.code == 6
    assert "a person must look" in said.err
    assert told(said.err)[-1] == "run paused"


@pytest.mark.parametrize(
    ("executor", "timeout", "shown"),
    [("threads", "0.5", "0.5s"), ("sync", "0.5", "0.5s"), ("sync", "0.001", "1ms")],
    ids=["threads", "sync", "sync, before the run is there"],
)
def test_timeout_cancels(cli: Call, folder: Path, executor: str, timeout: str, shown: str) -> None:
    said = cli("run", "flows.py:slow", "-p", "seconds=2", "-p", "n=40", "--timeout", timeout, "--executor", executor)
    assert said.code == 124
    state = dataflow.get_run("@last").state
    assert (state.type, state.message) == ("Cancelled", f"cancelled by --timeout {shown}")
    assert len((folder / "ledger.txt").read_text().splitlines()) < 40


def started(process: subprocess.Popen[str]) -> str:
    """Read until a task has started."""
    assert process.stderr is not None
    for line in process.stderr:
        if " started " in line:
            return line
    raise AssertionError("the process ended before a task started")


def test_ctrl_c_cancels_cleanly(begin: Callable[..., subprocess.Popen[str]], folder: Path) -> None:
    process = begin("run", "flows.py:slow", "-p", "n=50")
    started(process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    for line in process.stderr:
        if "Ctrl-C again to stop now" in line:
            break
    (folder / "release").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run cancelled" in err
    assert "Traceback" not in err
    assert dataflow.get_run("@last").state.type == "Cancelled"


def test_ctrl_c_twice_stops_at_once(begin: Callable[..., subprocess.Popen[str]]) -> None:
    process = begin("run", "flows.py:slow", "-p", "seconds=600")
    started(process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    for line in process.stderr:
        if "Ctrl-C again to stop now" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopping now" in err
    assert dataflow.get_run("@last").state.type == "Cancelled"


def test_ctrl_c_on_the_sync_executor(begin: Callable[..., subprocess.Popen[str]], folder: Path) -> None:
    process = begin("run", "flows.py:slow", "-p", "seconds=600", "--executor", "sync")
    while not (folder / "ledger.txt").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    (folder / "release").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert dataflow.get_run("@last").state.type == "Cancelled"
