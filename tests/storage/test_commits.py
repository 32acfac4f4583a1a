"""Who wins when many commit at once, and what a store does when its storage fails."""

from __future__ import annotations

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


@pytest.mark.parametrize("damaged", [False, True], ids=["new", "damaged"])
def test_of_eight_threads_one_wins(store: ResultStore, place: Place, damaged: bool) -> None:
    if damaged and place.url.startswith("bucket"):
        pytest.skip("it has no versions, so two repairs at the same moment may both win")
    rounds = 3 if place.url.startswith("s3") else 20  # SeaweedFS lets those that wait sleep for a second
    with ThreadPoolExecutor(8) as pool:
        for turn in range(rounds):
            key = f"run/task[{turn}]/0"
            if damaged:
                place.write(store.put(key, "x").reference.url, b"torn")
            barrier = threading.Barrier(8)

            def commit(me: int, key: str = key, barrier: threading.Barrier = barrier) -> Committed:
                barrier.wait()
                return place.store().put(key, me)

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

    hasty = ResultStore(bucket.url, timeout=0.1)
    monkeypatch.setattr(Bucket, "pipe_file", fail)
    with pytest.raises(StoreUnavailable, match=r"cannot write it, tried \d+ times in .* s: no route to host"):
        hasty.put("k", 1)
    monkeypatch.setattr(Bucket, "cat_file", fail)
    with pytest.raises(StoreUnavailable, match="no route to host"):
        hasty.find("k")


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
