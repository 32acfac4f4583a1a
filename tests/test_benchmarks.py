"""Workloads of the benchmarks come out right, and the table says what was measured. No time is asserted."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import compare, environments, run
from benchmarks import document as documents
from benchmarks.catalogue import SYSTEMS
from benchmarks.document import changes, document, ratios
from benchmarks.environments import TOP, reason, variables
from benchmarks.picture import draw
from benchmarks.record import Cell, Record
from benchmarks.systems import dask, dataflow, distributed, workloads
from benchmarks.systems.workloads import EXPECTED, WORKLOADS, Workload, settled

ITEMS = range(10)


def check(offered: Mapping[str, Workload], not_offered: Mapping[str, str]) -> None:
    """Every workload is offered or said not to be, and has the right value, twice: the second time `warm` is warm."""
    for name in WORKLOADS:
        assert (name in offered) != (name in not_offered)
        for _ in range(2 if name in offered else 0):
            assert settled(offered[name](ITEMS)) == EXPECTED[name](ITEMS), name


def test_dataflow_gives_the_right_values_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOW_HOME", "set again by what is opened")
    with dataflow.opened("threads", tmp_path) as offered:
        check(offered, {})


@pytest.mark.parametrize("variant", dask.VARIANTS)
def test_dask_gives_the_right_values(variant: str, tmp_path: Path) -> None:
    with dask.opened(variant, tmp_path) as offered:
        check(offered, dask.NOT_OFFERED)


def test_everything_gives_the_right_values_on_a_cluster(tmp_path: Path) -> None:
    with distributed.cluster() as client:
        check(dataflow.on(client), {})
        check(distributed.futures(client, tmp_path), distributed.NOT_OFFERED)
        check(distributed.delayed(client, tmp_path), distributed.NOT_OFFERED)


def script(*arguments: str) -> dict[str, object]:
    """What a script prints."""
    command = [sys.executable, "-m", "benchmarks.systems.dataflow", *arguments]
    done = subprocess.run(command, cwd=TOP, env=variables(SYSTEMS[0]), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return line


def test_a_script_prints_one_line_with_its_value() -> None:
    line = script("warm", "10", "threads")
    assert (line["workload"], line["n"], line["value"], line["right"]) == ("warm", 10, 45, True)


def made_up() -> Record:
    """A record with a figure of each kind."""
    record = Record(
        machine="3 cores", limit=60, rounds=3, versions={"dask": "1.2"}, missing={"redun": "error: no wheel"}
    )
    record.cells = [
        Cell(system="dataflow, threads", workload="fan", n=10_000, seconds=[1.0, 2.0, 3.0]),
        Cell(system="dataflow, threads", workload="fan", n=100_000, seconds=[30.0]),
        Cell(system="joblib", workload="fan", n=10_000, seconds=[8.0, 5.0, 9.0]),
        Cell(system="joblib", workload="fan", n=100_000, why="left out: about 80 s"),
        Cell(system="dask.threaded, graph", workload="warm", n=100, why="not offered: no durable cache"),
    ]
    return record


def test_the_document_says_what_was_measured() -> None:
    text = document(made_up())
    assert "on 3 cores, with dask 1.2." in text
    assert "Not installed: redun (error: no wheel)." in text
    assert "| system | N = 10,000 | N = 100,000 |" in text
    assert "| dataflow, threads | 2.00 (1.00–3.00) | 30.0, 1 round |" in text
    assert "| joblib | 8.00 (5.00–9.00) **4.00×** | left out: about 80 s |" in text
    assert "| dask.threaded, graph | not offered: no durable cache |" in text
    assert "N = 10,000: the fastest peer that records results is joblib; dataflow on threads takes 0.25 times" in text
    assert "dataflow, threads: a call among 100,000 takes 1.50 of one among 10,000." in text
    for system in SYSTEMS:
        assert f"| {system.name} | {system.records} | {system.note} |" in text


def test_the_ratios_of_a_document_can_be_read_back() -> None:
    record = made_up()
    before = ratios(document(record))
    assert before == {("joblib", "fan", 10_000): 4.0}
    record.cells[2].seconds = [2.0]
    assert changes(before, ratios(document(record)), 1.3) == [
        "worse   fan, N = 10,000, joblib: 1.00 times our time, was 4.00"
    ]
    assert changes(before, before, 1.3) == []


def test_a_record_can_be_taken_up_again(tmp_path: Path) -> None:
    made_up().write(tmp_path / "record.json")
    assert Record.read(tmp_path / "record.json") == made_up()


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw(made_up(), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_what_would_exceed_the_limit_is_left_out_and_said() -> None:
    record = made_up()
    cell = Cell(system="joblib", workload="fan", n=1_000_000)
    record.cells = [Cell(system="joblib", workload="fan", n=100_000, seconds=[8.0]), cell]
    assert not compare.is_wanted(record, cell, 0)
    assert cell.why == "left out: about 80 s"
    again = Cell(system="joblib", workload="fan", n=10_000_000)
    record.cells.append(again)
    assert not compare.is_wanted(record, again, 0)
    assert again.why == "left out: less was too much"


def test_a_script_that_fails_or_is_wrong_is_reported() -> None:
    record = made_up()
    failed, wrong = (Cell(system="joblib", workload="chain", n=n) for n in (10, 100))
    compare.take(record, failed, "noise", "Traceback\nsome.where.PeerError: in /a/b")
    assert failed.why == "failed: PeerError"
    compare.take(record, wrong, '{"workload": "chain", "versions": {}, "right": false, "seconds": 1.0}', "")
    assert (wrong.why, wrong.seconds) == ("failed: a wrong value", [])


@pytest.mark.parametrize("module", [compare, documents, environments, run, workloads])
def test_examples_in_docstrings(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0


def test_an_installers_complaint_names_no_place() -> None:
    assert reason("error: nothing at https://example.org/simple in /tmp/x") == "error: nothing at … in …"
