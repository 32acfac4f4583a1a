"""`ls`, `show`, `logs`, `result`, `graph`: what is on record, for people and as JSON."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call, Said

import dataflow


def test_ls(cli: Call, ran: Said, failed: Said) -> None:
    bad, good = (run.name for run in dataflow.get_runs())
    said = cli("ls")
    heads, *rows = said.out.splitlines()
    assert heads.split() == ["STATE", "RUN", "FLOW", "STARTED", "TOOK", "TASKS", "WHY"]
    assert [row.split()[2] for row in rows] == [bad, good]
    assert "✕ failed" in rows[0]
    assert rows[0].endswith("6/6  ValueError: row 2 has no price")
    assert "✓ success" in rows[1]
    assert cli("ls", "--failed", "-o", "name").out == f"{bad}\n"
    assert cli("ls", "--state", "success", "-o", "name").out == f"{good}\n"
    assert cli("ls", "--flow", "other").out == "no runs\n"
    assert cli("ls", "-n", "1", "-o", "name").out == f"{bad}\n"


def test_ls_as_json(cli: Call, failed: Said) -> None:
    runs = cli("ls", "--json").data["runs"]
    assert isinstance(runs, list)
    (run,) = runs
    assert re.fullmatch(r"[0-9a-f]{32}", run["id"])
    assert run["tasks"]["states"] == {"Success": 3, "Skipped": 1, "Failed": 1, "TriggerFailed": 1}
    assert run["created"].endswith("Z")
    (line,) = cli("ls", "-o", "jsonl").lines
    assert line["run"] == run


def test_ls_wide_has_whole_ids(cli: Call, ran: Said) -> None:
    run = dataflow.get_run("@last")
    assert run.id in cli("ls", "-o", "wide").out


def test_ls_of_an_empty_record(cli: Call) -> None:
    said = cli("ls")
    assert (said.code, said.err) == (0, "")
    assert "no runs yet" in said.out
    assert cli("ls", "--json").data["runs"] == []


@pytest.mark.parametrize("name", ["name", "id", "prefix", "@last"])
def test_a_run_is_found_by(name: str, cli: Call, ran: Said) -> None:
    run = dataflow.get_run("@last")
    reference = {"name": run.name, "id": run.id, "prefix": run.id[:8], "@last": "@last"}[name]
    assert cli("show", reference, "--json").data["run"]["id"] == run.id  # type: ignore[index]


def test_last_failed(cli: Call, failed: Said) -> None:
    bad = dataflow.get_run("@last").name
    assert cli("run", "flows.py:etl", "-q").code == 0
    assert bad in cli("show", "@last-failed").out


def test_show_a_run(cli: Call, failed: Said) -> None:
    said = cli("show", "@last")
    assert (said.code, said.err) == (0, "")
    run = dataflow.get_run("@last")
    assert said.out.splitlines()[0].startswith(f"✕ failed  {run.name}  etl")
    assert run.id in said.out
    assert re.search(r"transform +4/4 .* 3/4 · 1 failed|transform +4/4 .* 2/4 · 1 failed", said.out)
    assert "row 2 has no price" in said.out


def test_show_a_run_as_json(cli: Call, failed: Said) -> None:
    data = cli("show", "@last", "-o", "json").data
    tasks = {task["task"]: task for task in data["tasks"]}  # type: ignore[attr-defined]
    assert list(tasks) == ["extract", "transform", "load"]
    assert (tasks["transform"]["kind"], tasks["transform"]["width"], tasks["transform"]["upstream"]) == (
        "map",
        4,
        ["extract"],
    )
    assert tasks["load"]["states"] == {"TriggerFailed": 1}
    kinds = [line["type"] for line in cli("show", "@last", "-o", "jsonl").lines]
    assert kinds == ["run", "task", "task", "task"]


def test_show_a_mapped_task(cli: Call, failed: Said) -> None:
    said = cli("show", "@last/transform")
    assert said.out.splitlines()[3].split()[:3] == ["transform[2]", "✕", "failed"], "what failed stands first"
    children = cli("show", "@last/transform", "-o", "json").data["task_runs"]
    assert [child["state"] for child in children] == ["Success", "Skipped", "Failed", "Success"]  # type: ignore[attr-defined]


def test_show_a_child(cli: Call, failed: Said) -> None:
    said = cli("show", "@last/transform[2]")
    assert re.search(r"1  ↻ retrying .*\n.*2  ✕ failed", said.out)
    assert "in transform" in said.out
    data = cli("show", "@last/transform[2]", "--json").data
    assert [attempt["state"] for attempt in data["attempts"]] == ["Retrying", "Failed"]  # type: ignore[attr-defined]
    assert data["task_run"]["error"]["type"] == "ValueError"  # type: ignore[index]


def test_logs(cli: Call, ran: Said) -> None:
    said = cli("logs", "@last")
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} INFO  transform\[0\]  transforming 0$", said.out, re.MULTILINE)
    assert cli("logs", "@last", "--task", "transform[3]", "--raw").out == "transforming 3\nprice of 3\n"
    assert cli("logs", "@last/transform[3]", "--raw", "-n", "1").out == "price of 3\n"
    assert cli("logs", "@last", "--task", "extract").out == ""
    warned = cli("logs", "@last", "--level", "warning", "-o", "jsonl").lines
    assert sorted(str(line["message"]) for line in warned) == [f"price of {n}" for n in range(4)]
    assert {(line["level"], line["logger"]) for line in warned} == {("warning", "shop")}
    assert len(cli("logs", "@last", "--json").data["lines"]) == 8  # type: ignore[arg-type]


def test_result(cli: Call, ran: Said) -> None:
    assert cli("result", "@last").out == "13\n"
    assert cli("result", "@last/extract").out == "[0, 1, 2, 3]\n"
    assert cli("result", "@last/transform[3]").out == "9\n"
    assert cli("result", "@last/transform").out == "[0, 4, 9]\n", "what was skipped is left out"
    data = cli("result", "@last/extract", "-o", "json").data
    assert (data["value"], data["type"], data["task"]) == ([0, 1, 2, 3], "list", "extract")
    assert [line["value"] for line in cli("result", "@last/extract", "-o", "jsonl").lines] == [0, 1, 2, 3]
    (place,) = cli("result", "@last/extract", "-o", "name").out.splitlines()
    assert Path(place).is_file()


@pytest.mark.parametrize(
    ("reference", "code"),
    [("@last", 1), ("@last/load", 1), ("@last/transform[1]", 1), ("@last/transform", 1), ("@last/extract", 0)],
)
def test_the_result_of_a_failed_run(cli: Call, failed: Said, reference: str, code: int) -> None:
    said = cli("result", reference)
    assert said.code == code
    if code:
        assert said.out == ""
        assert re.match(r"error: .* (is|has) .*\nhint: dataflow ", said.err)


def test_the_result_of_what_is_not_over(cli: Call) -> None:
    cli("run", "flows.py:waits")
    assert cli("result", "@last").code == 6
    assert cli("result", "@last/approve").code == 6


def test_other_names_of_verbs(cli: Call, ran: Said) -> None:
    assert cli("list").out == cli("ls").out == cli("runs").out
    assert cli("inspect", "@last").out == cli("describe", "@last").out == cli("show", "@last").out


def test_graph_runs_nothing(cli: Call, folder: Path) -> None:
    assert cli("graph", "flows.py:etl").out == (
        "etl: 3 tasks, 1 mapped\n"
        "  extract\n"
        "  transform  ×?  ← extract\n"
        "  load           ← transform\n"
    )  # fmt: skip
    assert not (folder / "ledger.txt").exists()
    assert dataflow.get_runs() == []


@pytest.mark.parametrize("output", ["svg", "text", "mermaid", "dot", "json"])
def test_graph_in_each_format(cli: Call, folder: Path, output: str) -> None:
    printed = cli("graph", "flows.py:etl", "-p", "n=2", "-o", output).out
    suffix = {"svg": ".svg", "text": ".txt", "mermaid": ".mmd", "dot": ".dot", "json": ".json"}[output]
    said = cli("graph", "flows.py:etl", "-p", "n=2", "--out", f"drawn{suffix}")
    assert (said.code, said.out) == (0, "")
    assert (folder / f"drawn{suffix}").read_text(encoding="utf-8") == printed
    if output == "svg":
        ET.fromstring(printed)
    if output == "json":
        assert [node["path"] for node in json.loads(printed)["nodes"]] == ["extract", "transform", "load"]
