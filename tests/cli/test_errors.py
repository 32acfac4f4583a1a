"""Mistakes: each has its exit code, says what was wrong and what to do, and shows no traceback."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call, Said


MISTAKES = [
    ("rn flows.py", 2, "no verb 'rn'", "did you mean 'dataflow run'?"),
    ("zzz", 2, "no verb 'zzz'", "verbs: run, resume, retry,"),
    ("run", 2, "missing argument 'FILE[:FLOW]'", "dataflow run --help"),
    ("run flow.py", 3, "file 'flow.py' does not exist", "did you mean 'flows.py'?"),
    ("run .:x", 3, "there is no file and no module '.'", "give a file"),
    ("run ./", 3, "file './' is a folder", ""),
    ("run nowhere", 3, "there is no file and no module 'nowhere'", "give a file"),
    ("run flows.py", 3, "flows.py has 10 flows", "say which: flows.py:broken"),
    ("run flows.py:etk", 3, "flows.py has no flow 'etk'", "did you mean 'etl'?"),
    ("run flows.py:extract", 3, "flows.py has no flow 'extract'", ""),
    ("run os.path", 3, "os.path has no flow", "mark a function with @flow"),
    ("run flows.py:etl -p regoin=eu", 2, "flow 'etl' has no parameter 'regoin'", "'region' (one of: eu, us)?"),
    ("run flows.py:etl -p zzz=eu", 2, "flow 'etl' has no parameter 'zzz'", "n: int = 4"),
    ("run flows.py:etl -p n=many", 2, "parameter 'n' of flow 'etl': 'many' is not valid", "n: int = 4"),
    ("run flows.py:etl -p region=uk", 2, "parameter 'region' of flow 'etl': 'uk' is not valid", "one of: eu, us"),
    ("run flows.py:typed", 2, "flow 'typed' needs parameters 'day', 'box'", "-p day=… -p box=…"),
    ("run flows.py:etl -p n", 2, "-p 'n' is not NAME=VALUE", "for example: -p n=24"),
    ("run flows.py:etl -p n=1 -p n=2", 2, "parameter 'n' was given twice", "-p n='[1, 2]'"),
    ("run flows.py:etl -p @missing.yaml", 2, "'missing.yaml' cannot be read: No such file", ""),
    ("run flows.py:etl --executor nowhere", 2, "'nowhere' is not an executor", "taken are: 'sync'"),
    ("run flows.py:etl --timeout 0", 2, "invalid value for '--timeout'", "dataflow run --help"),
    ("run flows.py:broken -p how=bool", 2, "'extract' is a lazy value", ""),
    ("graph flows.py:etl -o png", 2, "invalid value for '-o' / '--output': 'png'", "dataflow graph --help"),
    ("graph flows.py:etl --out a.png", 2, "what --out a.png should hold is not clear", "-o svg"),
    ("graph flows.py:etl --out no/folder/a.svg", 2, "no/folder/a.svg cannot be written", ""),
    ("ls --stat failed", 2, "no such option '--stat'", "did you mean --state?"),
    ("ls --state faild", 2, "no state 'faild'", "did you mean 'failed'?"),
    ("ls -o yaml", 2, "'yaml' is not one of", "dataflow ls --help"),
    ("show oter", 3, "no run 'oter'", "a run is named by its id"),
    ("show @last", 3, "no run '@last'", ""),
    ("logs oter", 3, "no run 'oter'", ""),
    ("result oter", 3, "no run 'oter'", ""),
]  # fmt: skip


@pytest.mark.parametrize(("line", "code", "message", "hint"), MISTAKES, ids=[line for line, *_ in MISTAKES])
def test_mistake(cli: Call, line: str, code: int, message: str, hint: str) -> None:
    said = cli(*line.split())
    assert said.code == code, said.err
    assert said.out == ""
    first, _, rest = said.err.partition("\n")
    assert first.startswith("error: ")
    assert message in first
    assert (hint in rest) if hint else True
    assert not hint or rest.startswith("hint: ")
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("show @last/trasform", "has no task run 'trasform'", "did you mean 'transform'?"),
        ("show @last/transform[9]", "has no task run 'transform[9]'", "transform[0] to transform[3]"),
        ("logs @last --task trasform", "has no task run 'trasform'", "did you mean 'transform'?"),
        ("result @last/nothing", "has no task run 'nothing'", "it has: extract, transform, load"),
        ("show otter", "no run 'otter'", ""),
    ],
)
def test_unknown_task(cli: Call, ran: Said, line: str, message: str, hint: str) -> None:
    said = cli(*line.split())
    assert said.code == 3, said.err
    assert message in said.err
    assert hint in said.err


def test_a_misspelt_level(cli: Call, ran: Said) -> None:
    said = cli("logs", "@last", "--level", "warnign")
    assert said.code == 2
    assert "did you mean 'warning'?" in said.err


@pytest.mark.parametrize(
    ("verb", "hint"), [("retry", "dataflow retry {} takes the newest that fits"), ("pause", "no run of it fits")]
)
def test_a_flow_where_a_run_is_wanted(cli: Call, failed: Said, verb: str, hint: str) -> None:
    import dataflow

    said = cli(verb, "etl")
    assert said.code == 3
    assert f"{verb} takes a run, and etl is a flow" in said.err
    assert hint.format(dataflow.get_run("@last").name) in said.err


def test_a_misspelt_run(cli: Call, ran: Said) -> None:
    import dataflow

    name = dataflow.get_run("@last").name
    said = cli("show", f"{name}x")
    assert said.code == 3
    assert f"did you mean '{name}'?" in said.err


@pytest.mark.parametrize(
    ("source", "where", "what"),
    [
        ("x = 1\nraise KeyError('who')\n", "bad.py:2, in <module>", "KeyError: 'who'"),
        ("def f(:\n    pass\n", 'line 1', "SyntaxError"),
        ("import json\n\ndef f():\n    json.loads('{')\n\nf()\n", "bad.py:4, in f", "JSONDecodeError"),
        ("import nothing_of_that_name\n", "bad.py:1, in <module>", "ModuleNotFoundError"),
        ("from dataflow import task\n\n@task(retrys=3)\ndef a(): ...\n", "bad.py:3, in <module>", "'retries'"),
        ("raise SystemExit(3)\n", "bad.py:1, in <module>", "SystemExit"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_loaded(cli: Call, folder: Path, source: str, where: str, what: str) -> None:
    (folder / "bad.py").write_text(source, encoding="utf-8")
    said = cli("run", "bad.py")
    assert said.code == 2
    assert said.err.startswith("error: file 'bad.py' cannot be loaded\n")
    assert where in said.err
    assert what in said.err
    assert "catalog.py" not in said.err
    assert "json/decoder.py" not in said.err, "the library's frames are not the user's"


def test_a_body_that_raises_while_the_graph_is_built(cli: Call) -> None:
    said = cli("run", "flows.py:broken")
    assert said.code == 2
    assert "the body of flow 'broken' raised" in said.err
    assert "in broken\n" in said.err
    assert "KeyError: 'key'" in said.err
    assert "click" not in said.err


def test_nothing_runs_after_a_mistake(cli: Call, folder: Path) -> None:
    cli("run", "flows.py:etl", "-p", "n=many")
    cli("run", "flows.py:broken")
    assert cli("ls", "-o", "name").out == ""
    assert not (folder / "ledger.txt").exists()


def test_a_record_that_cannot_be_opened(cli: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "noise.db").write_bytes(b"this is no database" * 100)
    monkeypatch.setenv("DATAFLOW_HOME", str(folder / "elsewhere"))
    (folder / "elsewhere").mkdir()
    (folder / "noise.db").rename(folder / "elsewhere" / "runs.db")
    said = cli("ls")
    assert said.code == 4
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err


def test_a_cluster_that_does_not_answer(cli: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}):
        said = cli("run", "flows.py:etl", "--executor", "tcp://127.0.0.1:1")
    assert said.code == 4
    assert "tcp://127.0.0.1:1" in said.err
    assert "Traceback" not in said.err


def test_a_reader_that_goes_away(begin: Callable[..., subprocess.Popen[str]], script: list[str], folder: Path) -> None:
    process = begin("graph", "flows.py:etl", "-o", "json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 0


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("cache lst", "dataflow cache has no verb 'lst'", "did you mean 'ls'?"),
        ("cache show", "dataflow cache has no verb 'show'", "dataflow cache ls|rm|explain"),
        ("cache delete", "which tasks?", "dataflow cache rm TASK"),
        ("results tea", "dataflow results has no verb 'tea'", "dataflow result tea prints a result"),
    ],
)
def test_a_verb_of_a_noun(cli: Call, line: str, message: str, hint: str) -> None:
    said = cli(*line.split())
    assert said.code == 2
    assert f"error: {message}" in said.err
    assert hint in said.err


@pytest.mark.parametrize("line", ["", "cache"])
def test_no_verb_at_all_prints_the_help(cli: Call, line: str) -> None:
    said = cli(*line.split())
    assert said.code == 2
    assert said.err.startswith("Usage: dataflow")
