"""Sixteen processes commit the same keys at the same moment: one wins each, and all the others adopt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflow_storage import ResultStore
from tests.storage.servers import Server

PROCESSES, ROUNDS, DAMAGED = 16, 50, 10

RACER = """
import json, pathlib, sys, time
from concurrent.futures import ThreadPoolExecutor
from dataflow_storage import ResultStore
gate, me, rounds, url, at_once = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
store = ResultStore(url, json.loads(sys.stdin.readline()))
store.is_exclusive()
(gate / f"ready-{me}").touch()
while not (gate / "go").exists():
    time.sleep(0.001)
def commit(turn):
    committed = store.put(f"run/task[{turn}]/0", me * 2000)
    return [committed.adopted, committed.reference.digest, store.get(committed.reference)[: len(me)]]
with ThreadPoolExecutor(at_once) as pool:
    seen = list(pool.map(commit, range(rounds)))
if "://" not in url:
    target = store.put_target("out.txt", me, meta={"run": "r", "path": "out"})
    seen.append([target.adopted, target.reference.digest, store.get(target.reference)])
print(json.dumps(seen))
"""


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_of_sixteen_processes_one_wins(tmp_path: Path, server: Callable[[str], Server], kind: str) -> None:
    url, options, at_once = str(tmp_path / "results"), dict[str, object](), 1
    if kind == "s3":
        # SeaweedFS lets those that wait for one key sleep for a second, so the keys are raced for in parallel.
        url, options, at_once = f"s3://results/{uuid.uuid4().hex}", dict(server("s3").options), 30
    store, rounds = ResultStore(url, options), ROUNDS + DAMAGED
    for turn in range(DAMAGED):
        reference = store.put(f"run/task[{turn}]/0", "x").reference
        store._files(url).replace(reference.url, [b"torn"], "x")
    racers = [f"{number:02}" for number in range(PROCESSES)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), me, str(rounds), url, str(at_once)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for me in racers
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(json.dumps(options) + "\n")
        process.stdin.flush()
    while len(list(tmp_path.glob("ready-*"))) < len(racers):
        assert all(process.poll() in (None, 0) for process in processes)
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=150) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(racers), outputs
    seen = [json.loads(output) for output, _ in outputs]
    assert {len(each) for each in seen} == {rounds + (kind == "local")}
    for turn in range(len(seen[0])):
        claims = [each[turn] for each in seen]
        assert sum(not adopted for adopted, _, _ in claims) == 1, (turn, claims)
        assert len({(digest, value) for _, digest, value in claims}) == 1, (turn, claims)
    litter = [path for path in (tmp_path / "results").rglob("*") if path.suffix in (".tmp", ".lock")]
    assert litter == []
