"""`dataflow results ls`, `dataflow result --save` and `--url`: results listed, as files, and without the record."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call, Said

import dataflow
from dataflow.cli.saving import file_name
from dataflow_storage import Reference

TABLES = '''
"""Flows whose results are tables and several things."""

from pathlib import Path

import pandas as pd

from dataflow import flow, task


@task
def table():
    return pd.DataFrame({"x": [1, 2, 3]})


@task(cache=True)
def base(x: int) -> int:
    return x


@task(persist=False)
def fleeting():
    return 1


@task(target="plain.csv")
def written():
    return pd.DataFrame({"x": [7]})


@flow
def frame():
    return table()


@flow
def cached():
    return base(1)


@flow
def both():
    return table(), base(2)


@flow
def unstored():
    return fleeting()


@flow
def plain():
    return written()
'''


@pytest.fixture(autouse=True)
def tables(folder: Path) -> None:
    (folder / "tables.py").write_text(TABLES, encoding="utf-8")


@pytest.fixture
def store(failed: Said) -> str:
    """Where the results of the run that failed are."""
    return str(dataflow.get_run("@last").record.results_url)


def rows(said: Said) -> list[dict[str, object]]:
    found = said.data["results"]
    assert isinstance(found, list)
    return found


# -- results ls --------------------------------------------------------------------------------------------------------


def test_a_run_is_listed_with_a_line_for_each_task(cli: Call, ran: Said) -> None:
    run = dataflow.get_run("@last")
    heads, *lines = cli("results", "ls", "@last").out.splitlines()
    assert heads.split() == ["RUN", "TASK", "FORMAT", "SIZE", "STORED", "THERE"]
    assert [line.split()[:2] for line in lines] == [[run.name, task] for task in ("extract", "transform", "load")]
    assert "×3" in lines[1], "one was skipped"
    assert all(line.endswith("yes") for line in lines)


def test_long_has_each_task_run_and_its_place(cli: Call, ran: Said) -> None:
    heads, *lines = cli("results", "ls", "@last/transform", "--long").out.splitlines()
    assert heads.split()[-1] == "WHERE"
    assert [line.split()[1] for line in lines] == ["transform[0]", "transform[2]", "transform[3]"]
    assert all(Path(line.split()[-1]).is_file() for line in lines)


def test_json_tells_what_is_stored(cli: Call, ran: Said) -> None:
    [row] = rows(cli("results", "ls", "@last/load", "--json"))
    run = dataflow.get_run("@last")
    assert {**row, "stored": None, "url": None} == {
        "run": run.name, "id": run.id, "flow": "etl", "task": "load", "index": None, "format": "json", "bytes": 2,
        "stored": None, "there": True, "url": None, "item": None, "target": False,
    }  # fmt: skip
    assert str(row["stored"]).endswith("Z")
    assert [line["type"] for line in cli("results", "ls", "@last", "-o", "jsonl").lines] == ["stored"] * 5


def test_what_is_gone_is_told(cli: Call, ran: Said) -> None:
    [row] = rows(cli("results", "ls", "@last/extract", "--json"))
    Path(str(row["url"])).unlink()
    assert rows(cli("results", "ls", "@last/extract", "--json"))[0]["there"] is False
    assert cli("results", "ls", "@last/extract").out.splitlines()[1].endswith("gone")


def test_runs_are_listed_newest_first_and_by_flow(cli: Call, ran: Said) -> None:
    cli("run", "flows.py:says", "-q")
    assert [row["flow"] for row in rows(cli("results", "ls", "--json"))] == ["says"] + ["etl"] * 5
    assert {row["flow"] for row in rows(cli("results", "ls", "--flow", "etl", "--json"))} == {"etl"}
    assert {row["flow"] for row in rows(cli("results", "ls", "-n", "1", "--json"))} == {"says"}
    assert cli("results", "list", "@last").out == cli("results", "ls", "@last").out


def test_a_cached_result_is_listed_where_it_is(cli: Call) -> None:
    cli("run", "tables.py:cached", "-q")
    maker = dataflow.get_run("@last")
    cli("run", "tables.py:cached", "-q")
    [row] = rows(cli("results", "ls", "@last", "--json"))
    assert row["run"] != maker.name
    assert maker.id in str(row["url"])


def test_nothing_stored(cli: Call) -> None:
    assert cli("results", "ls").out == "no stored results\n"
    said = cli("results", "@last")
    assert said.code == 2
    assert "hint: dataflow result @last prints a result, dataflow results ls lists them." in said.err


# -- result --save -----------------------------------------------------------------------------------------------------


def test_a_table_is_saved_as_the_parquet_file_that_is_stored(cli: Call, folder: Path) -> None:
    import pandas as pd

    cli("run", "tables.py:frame", "-q")
    said = cli("result", "@last", "--save", "out/frame.parquet")
    assert (said.code, said.out) == (0, "")
    size = (folder / "out" / "frame.parquet").stat().st_size
    assert said.err == f"saved out/frame.parquet: parquet, {size / 1000:.1f} kB\n"
    assert pd.read_parquet(folder / "out" / "frame.parquet")["x"].tolist() == [1, 2, 3]


def test_nothing_is_overwritten_unless_forced(cli: Call, folder: Path, ran: Said) -> None:
    (folder / "mine.json").write_text("mine")
    said = cli("result", "@last/load", "--save", "mine.json")
    assert said.code == 2
    assert "mine.json is there already; nothing was saved" in said.err
    assert "--force" in said.err
    assert (folder / "mine.json").read_text() == "mine"
    assert cli("result", "@last/load", "--save", "mine.json", "--force").code == 0
    assert (folder / "mine.json").read_text() == "13"


def test_a_name_that_promises_another_format_is_told(cli: Call, folder: Path, ran: Said) -> None:
    said = cli("result", "@last/load", "--save", "load.csv")
    assert said.code == 0
    assert "it is not converted to .csv: a better name ends in .json" in said.err


def test_a_dash_is_standard_output(begin: Callable[..., subprocess.Popen[str]], cli: Call, folder: Path) -> None:
    import pandas as pd

    cli("run", "tables.py:frame", "-q")
    cli("result", "@last", "--save", "frame.parquet")
    process = begin("result", "@last", "--save", "-")
    assert process.stdout is not None
    out = process.stdout.buffer.read()  # type: ignore[attr-defined]
    assert process.wait() == 0
    assert out == (folder / "frame.parquet").read_bytes()
    assert len(pd.read_parquet(io.BytesIO(out))) == 3


def test_a_map_needs_an_index_or_a_folder(cli: Call, folder: Path, ran: Said) -> None:
    run = dataflow.get_run("@last")
    for where in ("all.json", "-"):
        said = cli("result", "@last/transform", "--save", where)
        assert said.code == 2
        assert "transform has 3 results" in said.err
        assert f"name one, as in '{run.name}/transform[0]', or give a folder" in said.err
    assert cli("result", "@last/transform[3]", "--save", "three.json").code == 0
    assert json.loads((folder / "three.json").read_text()) == 9
    said = cli("result", "@last/transform", "--save", "all/", "-o", "json")
    assert [one["file"] for one in said.data["saved"]] == [f"all/transform-{i}.json" for i in (0, 2, 3)]  # type: ignore[attr-defined]
    assert [json.loads((folder / "all" / f"transform-{i}.json").read_text()) for i in (0, 2, 3)] == [0, 4, 9]


def test_of_a_map_that_failed_in_part_the_rest_is_saved(cli: Call, folder: Path, failed: Said) -> None:
    said = cli("result", "@last/transform", "--save", "all/")
    assert said.code == 1
    assert "1 task run without a result: transform[2]" in said.err
    assert sorted(file.name for file in (folder / "all").iterdir()) == ["transform-0.json", "transform-3.json"]


def test_a_run_that_returned_several_things(cli: Call, folder: Path) -> None:
    cli("run", "tables.py:both", "-q")
    assert "give a folder: --save out/" in cli("result", "@last", "--save", "out").err
    assert cli("result", "@last", "--save", "out/", "-o", "name").out == "out/table.parquet\nout/base.json\n"


def test_a_target_is_saved_as_it_is(cli: Call, folder: Path) -> None:
    cli("run", "tables.py:plain", "-q")
    assert cli("result", "@last", "--save", "out/").code == 0
    assert (folder / "out" / "written.csv").read_text().split() == ["x", "7"]


@pytest.mark.parametrize(
    ("flow", "reference", "code", "message"),
    [
        ("tables.py:unstored", "@last", 1, "has no stored result: its value was not stored (persist=False)"),
        ("flows.py:waits", "@last", 6, "is paused: it has no result"),
        ("flows.py:waits", "@last/approve", 6, "is paused and has no result"),
    ],
)
def test_what_has_no_result_is_not_saved(
    cli: Call, folder: Path, flow: str, reference: str, code: int, message: str
) -> None:
    cli("run", flow, "-q")
    said = cli("result", reference, "--save", "x")
    assert said.code == code
    assert message in said.err
    assert not (folder / "x").exists()


def test_a_place_that_cannot_be_written(cli: Call, folder: Path, ran: Said) -> None:
    (folder / "file").write_text("")
    said = cli("result", "@last/load", "--save", "file/load.json")
    assert said.code == 2
    assert "file/load.json cannot be written" in said.err


@pytest.mark.parametrize(
    ("label", "serializer", "file"),
    [
        ("report/clean[3]", "parquet", "report.clean-3.parquet"),
        ("outer[2]/inner[5]", "npy", "outer-2.inner-5.npy"),
        ("own", "mine", "own"),
    ],
)
def test_a_file_name(label: str, serializer: str, file: str) -> None:
    reference = Reference(url="/r/x.dflw", serializer=serializer, size=1, digest="00" * 32)
    assert file_name(label, reference) == file


# -- without the record ------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(failed: Said, store: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dataflow.Run:
    """A run of another machine: its results are here, its record is not."""
    run = dataflow.get_run("@last")
    monkeypatch.setenv("DATAFLOW_HOME", str(folder / "another"))
    return run


def test_another_machine_lists_what_a_store_has(cli: Call, elsewhere: dataflow.Run, store: str) -> None:
    assert cli("results", "ls").out == "no stored results\n"
    listed = rows(cli("results", "ls", "--url", store, "--json"))
    assert {row["id"] for row in listed} == {elsewhere.id}
    assert [(row["task"], row["index"]) for row in listed if row["task"] == "transform"] == [
        ("transform", 0),
        ("transform", 3),
    ]
    assert {(row["flow"], row["there"], row["format"]) for row in listed} == {("etl", True, "json")}
    assert rows(cli("results", "ls", elsewhere.id[:6], "--url", store, "--json")) == listed
    assert len(rows(cli("results", "ls", f"{elsewhere.id}/transform[3]", "--url", store, "--json"))) == 1
    assert cli("results", "ls", "--url", store, "--flow", "other").out == "no stored results\n"
    assert "transform  ×2" in cli("results", "ls", "--url", store).out


def test_another_machine_reads_results(cli: Call, elsewhere: dataflow.Run, store: str, folder: Path) -> None:
    run = elsewhere.id
    assert cli("result", f"{run}/extract", "--url", store).out == "[0, 1, 2, 3]\n"
    assert cli("result", f"{run[:8]}/transform[3]", "--url", store).out == "9\n"
    data = cli("result", f"{run}/transform", "--url", store, "--json").data
    assert (data["value"], data["run"], data["task"]) == ([0, 9], run, "transform")
    assert cli("result", f"{run}/transform", "--url", store, "--save", "all/").code == 0
    assert (folder / "all" / "transform-3.json").read_text() == "9"
    assert "transform has 2 results" in cli("result", f"{run}/transform", "--url", store, "--save", "x").err
    assert Path(cli("result", f"{run}/extract", "--url", store, "-o", "name").out.strip()).is_file()


@pytest.mark.parametrize(
    ("reference", "code", "message", "hint"),
    [
        ("otter/extract", 2, "a result store knows no names of runs", "dataflow results ls --url"),
        ("0000/extract", 3, "no run whose id starts with '0000' has results in", ""),
        ("{id}/extarct", 3, "there is no result of 'extarct'", "did you mean 'extract'?"),
        ("{id}/load", 3, "there is no result of 'load'", "dataflow results ls"),
        ("{id}/transform[2]", 3, "there is no result of 'transform[2]'", "did you mean 'transform["),
        ("{id}", 2, "what a run returned as a whole stands in the record of runs", "/extract, "),
        ("ffffffffffffffffffffffffffffffff", 3, "has no results in", ""),
    ],
)
def test_mistakes_without_the_record(
    cli: Call, elsewhere: dataflow.Run, store: str, reference: str, code: int, message: str, hint: str
) -> None:
    said = cli("result", reference.format(id=elsewhere.id), "--url", store)
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    assert hint in said.err
    assert "Traceback" not in said.err


def test_a_child_in_the_middle_of_a_batch_is_found(cli: Call, folder: Path) -> None:
    source = "from dataflow import flow, task\n\n@task(batch=10)\ndef f(x):\n    return x * x\n\n"
    (folder / "many.py").write_text(source + "@flow\ndef many():\n    return f.map(list(range(30)))\n")
    cli("run", "many.py", "-q")
    run, url = dataflow.get_run("@last"), str(dataflow.get_run("@last").record.results_url)
    assert cli("result", f"{run.id}/f[17]", "--url", url).out == "289\n"
    assert cli("result", f"{run.id}/f", "--url", url, "--json").data["value"] == [x * x for x in range(30)]
