"""The cache between processes that share nothing but the result store: other homes, hash seeds and executors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
import numpy as np
import pandas as pd
from dataflow import flow, task

LIMIT = {"low", "mid", "high"}

class Kind(Enum):
    A = "a"
    B = "b"

@dataclass(frozen=True)
class Config:
    names: frozenset
    kinds: dict
    since: date

def known(names):
    return sorted(names & LIMIT)

@task(cache=True)
def table(config, rows, where):
    return pd.DataFrame({"n": rows, "name": [known(config.names)[0]] * len(rows)})

@task(cache=True)
def chosen(frame, by):
    return {name: int(frame["n"].sum()) for name in by}

@task(cache=True)
def total(found):
    return sum(found.values())

@flow
def sums():
    config = Config(frozenset({"mid", "low", "other"}), {Kind.B: 2, Kind.A: 1}, date(2026, 1, 2))
    frame = table(config, np.arange(4), Path("a") / "b")
    return [total(chosen(frame, {"x", "y", "z"})), total.map([{"x": 1}, {"y": 2}])]

if __name__ == "__main__":
    run = sums.run(executor=sys.argv[1])
    print(json.dumps([run.result(), {one.label: one.state.type for one in run.task_runs}]))
"""


def test_a_result_serves_other_machines_whatever_their_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(SCRIPT)

    def run(home: str, seed: str, executor: str) -> tuple[object, set[str]]:
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "executors", ROOT / "storage"))),
            "PYTHONHASHSEED": seed,
            "DATAFLOW_HOME": str(tmp_path / home),
            "DASK_DATAFLOW__RESULTS__URL": str(tmp_path / "shared"),
        }
        command = [sys.executable, str(tmp_path / "sums.py"), executor]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        result, states = json.loads(done.stdout)
        return result, set(states.values())

    first = run("one", "1", "threads")
    assert first == ([18, [1, 2]], {"Success"})
    assert run("two", "2", "processes:1") == ([18, [1, 2]], {"Cached"})
    assert run("three", "random", "sync") == ([18, [1, 2]], {"Cached"})


KILLED = """
import os, signal, sys
from dataflow import flow, task

@task(cache=True)
def slow(marker):
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return 7

@flow
def uses(marker):
    return slow(marker)

if __name__ == "__main__":
    print(uses.run(sys.argv[1], executor="threads").result())
"""


def test_nobody_waits_for_a_process_that_was_killed_while_it_computed(tmp_path: Path) -> None:
    (tmp_path / "uses.py").write_text(KILLED)
    path = os.pathsep.join(map(str, (ROOT, ROOT / "executors", ROOT / "storage")))
    env = {**os.environ, "PYTHONPATH": path, "DATAFLOW_HOME": str(tmp_path / "home")}
    command = [sys.executable, str(tmp_path / "uses.py"), str(tmp_path / "marker")]
    killed = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -9
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert again.stdout.strip() == "7", again.stderr
