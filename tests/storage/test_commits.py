"""Who wins when many commit at once, and what a store does when its storage fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dataflow_storage import (
    Committed,
    ResultStore,
    StoreUnavailable,
    UnsafePath,
)
from tests.storage.places import Bucket, Place

# --- races ----------------------------------------------------------------------------------------------------------

RACER = """
import json, pathlib, sys, time
from dataflow_storage import ResultStore
root, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
store, gate = ResultStore(root + "/results"), pathlib.Path(root)
(gate / f"ready-{me}").touch()
while not (gate / "go").exists():
    time.sleep(0.001)
seen = []
for turn in range(rounds):
    committed = store.put(f"run/task[{turn}]/0", me * 2000)
    seen.append([committed.adopted, committed.reference.digest, store.get(committed.reference)[0]])
target = store.put_target("out.txt", me, meta={"run": "r", "path": "out"})
seen.append([target.adopted, target.reference.digest, store.get(target.reference)])
print(json.dumps(seen))
"""


@pytest.mark.parametrize("damaged", [False, True], ids=["new", "damaged"])
def test_of_eight_processes_one_wins(tmp_path: Path, damaged: bool) -> None:
    rounds, racers = 30, "abcdefgh"
    store = ResultStore(tmp_path / "results")
    if damaged:
        for turn in range(rounds):
            reference = store.put(f"run/task[{turn}]/0", "x").reference
            Path(reference.url).write_bytes(b"torn")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), me, str(rounds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        for me in racers
    ]
    while len(list(tmp_path.glob("ready-*"))) < len(racers):
        assert all(process.poll() in (None, 0) for process in processes)
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(racers), outputs
    seen = [json.loads(output) for output, _ in outputs]
    for turn in range(rounds + 1):
        claims = [each[turn] for each in seen]
        assert sum(not adopted for adopted, _, _ in claims) == 1, (turn, claims)
        assert len({(digest, value) for _, digest, value in claims}) == 1, (turn, claims)
    litter = [path for path in (tmp_path / "results").rglob("*") if path.suffix in (".tmp", ".lock")]
    assert litter == []


@pytest.mark.parametrize("damaged", [False, True], ids=["new", "damaged"])
def test_of_eight_threads_one_wins(store: ResultStore, place: Place, damaged: bool) -> None:
    if damaged and place.url.startswith("bucket"):
        pytest.skip("an object store has no lock, so two repairs at the same moment may both win")
    with ThreadPoolExecutor(8) as pool:
        for turn in range(20):
            key = f"run/task[{turn}]/0"
            if damaged:
                place.write(store.put(key, "x").reference.url, b"torn")
            barrier = threading.Barrier(8)

            def commit(me: int, key: str = key, barrier: threading.Barrier = barrier) -> Committed:
                barrier.wait()
                return ResultStore(place.url).put(key, me)

            commits = list(pool.map(commit, range(8)))
            winners = [me for me, committed in enumerate(commits) if not committed.adopted]
            assert len(winners) == 1
            assert {store.get(committed.reference) for committed in commits} == {winners[0]}


# --- object stores --------------------------------------------------------------------------------------------------


def test_a_refusal_that_is_not_file_exists(bucket: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "refusal", "precondition")
    assert not bucket.put("k", 1).adopted
    assert bucket.put("k", 2).adopted


def test_a_commit_whose_reply_was_lost_is_ours(bucket: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "loses_replies", True)
    assert not bucket.put("k", 1).adopted
    assert not bucket.put_many("k", {0: 1})[0][0].adopted
    monkeypatch.setattr(Bucket, "loses_replies", False)
    assert bucket.put("k", 1).adopted


def test_a_storage_that_fails_is_named(bucket: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(Bucket, "pipe_file", fail)
    with pytest.raises(StoreUnavailable, match="no route to host"):
        bucket.put("k", 1)
    monkeypatch.setattr(Bucket, "cat_file", fail)
    with pytest.raises(StoreUnavailable, match="no route to host"):
        bucket.find("k")


def test_places_that_cannot_be() -> None:
    with pytest.raises(StoreUnavailable, match="chained"):
        ResultStore("simplecache::memory://x")
    with pytest.raises(StoreUnavailable, match="nonsense"):
        ResultStore("nonsense://x").find("k")
    with pytest.raises(UnsafePath, match="full path"):
        ResultStore("file://relative/x")


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        ResultStore(tmp_path / "file").put("a/b", 1)
