"""The example does what it says, to the same numbers on threads and on processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent
TABLES = ("delays_by_carrier", "delays_by_hour", "delays_by_weather")


def python(folder: Path, *arguments: str, **more: str) -> str:
    """What a Python process prints that is as fresh as a user's."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "executors", ROOT / "storage")))
    env = {**os.environ, "PYTHONPATH": path, "DATAFLOW_HOME": str(folder / "home"), **more}
    done = subprocess.run(
        [sys.executable, *arguments], env=env, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(executor: str, folder: Path, out: str = "out", **more: str) -> tuple[str, Path]:
    """What the script prints, and the folder of its outputs."""
    folder.mkdir(exist_ok=True)
    script = str(ROOT / "examples" / "flights.py")
    return python(folder, script, "--executor", executor, "--out", out, **more), folder / "out"


def row(printed: str, task: str) -> tuple[int, int, str]:
    """Runs, retries and states of a task in the summary."""
    found = re.search(rf"^{re.escape(task):<24}(.{{5}})(.{{9}})  (.*)$", printed, re.MULTILINE)
    assert found, f"{task} is not in the summary:\n{printed}"
    return int(found[1]), int(found[2].strip() or 0), found[3]


@pytest.mark.timeout(500)
def test_same_on_threads_and_processes(tmp_path: Path) -> None:
    printed, ours = run("threads", tmp_path / "threads")
    assert row(printed, "fetch_airlines") == (1, 2, "1 Success")
    assert row(printed, "join") == (12, 0, "12 Success")
    assert row(printed, "settle/fill_gaps") == (4, 0, "4 Success")  # January, February, June, December
    assert row(printed, "settle/drop_gaps") == (8, 0, "8 Success")
    assert row(printed, "missing_weather") == (12, 0, "9 Success, 3 Skipped")
    assert all(str(ours / name) in printed for name in ("delays.png", "report.json", *(f"{t}.parquet" for t in TABLES)))
    assert (ours / "delays.png").read_bytes().startswith(b"\x89PNG")

    tables = {name: pd.read_parquet(ours / f"{name}.parquet") for name in TABLES}
    assert [table["flights"].sum() for table in tables.values()] == [272_892] * 3
    snow = tables["delays_by_weather"].set_index("weather").loc["snow"]
    assert snow["flights"] == 2_032
    assert snow["mean_delay"] == pytest.approx(51.938, abs=0.001)
    calendar, weather = json.loads((ours / "report.json").read_text(encoding="utf-8"))["models"]
    assert weather["r2"] > calendar["r2"] > 0
    assert weather["mean_error"] < calendar["mean_error"] < calendar["mean_error_of_guessing_the_mean"]

    _, theirs = run("processes", tmp_path / "processes")
    for name, table in tables.items():
        pd.testing.assert_frame_equal(pd.read_parquet(theirs / f"{name}.parquet"), table, check_exact=True)
    assert (theirs / "report.json").read_bytes() == (ours / "report.json").read_bytes()


@pytest.mark.timeout(500)
def test_with_its_results_on_s3_a_second_run_computes_nothing_and_says_why(tmp_path: Path) -> None:
    from tests.storage import servers

    (tmp_path / "s3").mkdir()
    server = servers.or_skip(servers.s3, tmp_path / "s3")
    try:
        settings = {
            "DASK_DATAFLOW__RESULTS__URL": f"{server.url}/flights",
            "DASK_DATAFLOW__RESULTS__STORAGE_OPTIONS": repr(dict(server.options)),
        }
        home = tmp_path / "runs"
        first, _ = run("threads", home, f"{server.url}/out", **settings)
        assert row(first, "missing_weather") == (12, 0, "9 Success, 3 Skipped")
        again, _ = run("threads", home, f"{server.url}/out", **settings)
        told = re.findall(r"^(\S+) +\d+ +(?:\d+)?  (\d.*)$", again, re.MULTILINE)
        assert len(told) == 20
        assert {re.sub(r"\d+ ", "", states) for _, states in told} == {"Cached", "Cached, Skipped"}
        why = python(
            home, "-c", "import dataflow.cli; dataflow.cli.main()", "explain", "@last", **settings
        ).splitlines()
        assert all(re.search(r": it (did not run: (made by|target) |is skipped: )", line) for line in why), why
    finally:
        server.stop()
