"""Looking at what is stored without loading it, copying it out, and reading a run from the bucket alone."""

from __future__ import annotations

import json
import logging
import os
import pickle
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pytest

from dataflow_storage import Reference, ResultCorrupt, ResultMissing, ResultStore
from dataflow_storage.paths import record_name
from tests.storage.places import Bucket, Place

TEXT = "the same words again and again, " * 4000


def everything(store: ResultStore) -> list[Reference]:
    batch, _ = store.put_many("r/batch", {item: ("v", item) for item in range(2000)}, meta={"path": "batch"})
    return [
        store.put("r/one", 1, meta={"path": "one"}).reference,
        store.put("r/large", os.urandom(300_000), meta={"path": "large"}).reference,
        store.put("r/packed", TEXT, meta={"path": "packed"}).reference,
        store.put("r/empty", "", meta={"path": "empty"}).reference,
        store.put_target("a.txt", "x" * 100_000, meta={"path": "a.txt"}).reference,
        store.put_target("empty.txt", "", meta={"path": "empty.txt"}).reference,
        batch[0].reference,
        batch[1999].reference,
    ]


@pytest.mark.parametrize("signing_key", [None, "hush"])
def test_what_is_there_is_held(place: Place, signing_key: str | None) -> None:
    store = place.store(signing_key=signing_key)
    references = everything(store)
    assert store.holds_many(references) == [True] * 8
    assert [dict(store.meta(reference)) for reference in references] == [
        {"path": path} for path in ("one", "large", "packed", "empty", "a.txt", "empty.txt", "batch", "batch")
    ]
    assert store.holds_many([]) == []


def test_what_is_gone_or_another_is_not_held(store: ResultStore) -> None:
    references = everything(store)
    others = [
        *(each._replace(digest="00" * 32) for each in references),
        *(each._replace(size=each.size + 1) for each in references),
        references[-1]._replace(item=2000),
        references[0]._replace(url=references[0].url + "x"),
        references[4]._replace(url=references[4].url + "x"),
    ]
    assert store.holds_many(others) == [False] * len(others)
    assert store.holds_many([others[0], references[0], references[-1], others[-1]]) == [False, True, True, False]
    store.delete("r/one")
    assert not store.holds(references[0])
    with pytest.raises(ResultMissing):
        store.meta(references[0])


class Counting(Bucket):
    """A bucket that counts what is read."""

    protocol = "counting"
    reads: ClassVar[list[int]] = []

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: object) -> bytes:
        data = super().cat_file(path, start, end, **options)
        self.reads.append(len(data))
        return data


fsspec.register_implementation("counting", Counting, clobber=True)


def test_a_batch_is_looked_at_once_and_nothing_is_read_that_is_large() -> None:
    store = ResultStore(f"counting://{uuid.uuid4().hex}/results")
    done, _ = store.put_many("k", {item: os.urandom(2000) for item in range(500)})
    large = store.put("large", os.urandom(5_000_000)).reference
    Counting.reads.clear()
    assert all(store.holds_many([each.reference for each in done.values()] + [large] * 3))
    assert len(Counting.reads) <= 6
    assert sum(Counting.reads) <= 4 * (1 << 16)


@pytest.mark.parametrize("signing_key", [None, "hush"])
def test_many_are_read_as_each_one_is(place: Place, signing_key: str | None) -> None:
    store = place.store(signing_key=signing_key)
    references = everything(store)
    batch, _ = store.put_many("more", {item: [item] for item in range(0, 300, 3)})
    references += [batch[item].reference for item in (297, 0, 3, 3, 6, 150, 0)]
    random.Random(5).shuffle(references)
    assert store.get_many(references) == [store.get(each) for each in references]
    assert store.get_many([]) == []


def test_a_batch_is_read_in_few_large_parts_and_only_what_is_asked_for() -> None:
    store = ResultStore(f"counting://{uuid.uuid4().hex}/results", compression="none")
    values = {item: bytes([item]) * 1_000_000 for item in range(40)}
    done, _ = store.put_many("k", values)
    references = [each.reference for each in done.values()]
    Counting.reads.clear()
    assert store.get_many(references) == list(values.values())
    assert len(Counting.reads) <= 6
    Counting.reads.clear()
    assert store.get_many([references[30], references[2], references[31]]) == [values[30], values[2], values[31]]
    assert sum(Counting.reads) <= 3_100_000


def test_one_of_many_that_is_damaged_or_gone_is_told_as_if_alone(store: ResultStore, place: Place) -> None:
    references = everything(store)
    with pytest.raises(ResultCorrupt):
        store.get_many([*references, references[-1]._replace(digest="00" * 32)])
    store.delete("r/one")
    with pytest.raises(ResultMissing):
        store.get_many(references)


def test_a_damaged_header_is_reported_and_not_held(
    store: ResultStore, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    references = everything(store)
    for reference in references[:5]:
        url = record_name(reference.url) if reference.target else reference.url
        place.write(url, b"DFLX" + place.read(url)[4:])
    with caplog.at_level(logging.WARNING, "dataflow.storage"):
        assert store.holds_many(references) == [False] * 5 + [True] * 3
    assert [record.name for record in caplog.records].count("dataflow.storage") == 5
    for reference in references[:5]:
        with pytest.raises(ResultCorrupt):
            store.meta(reference)


def test_saving_copies_the_value_in_its_own_format(store: ResultStore, tmp_path: Path) -> None:
    array = np.zeros(100_000)
    batch, _ = store.put_many("b", {0: TEXT, 1: (1, 2)})
    values = {
        "a.npy": store.put("a", array).reference,
        "t.txt": batch[0].reference,
        "p.pkl": batch[1].reference,
        "c.txt": store.put_target("c.txt", "plain").reference,
    }
    for name, reference in values.items():
        store.save(reference, tmp_path / "out" / name)
    assert np.array_equal(np.load(tmp_path / "out" / "a.npy"), array)
    assert (tmp_path / "out" / "t.txt").read_text() == TEXT
    assert pickle.loads((tmp_path / "out" / "p.pkl").read_bytes()) == (1, 2)
    assert (tmp_path / "out" / "c.txt").read_text() == "plain"
    assert sorted(os.listdir(tmp_path / "out")) == sorted(values)
    with pytest.raises(ResultCorrupt):
        store.save(values["a.npy"]._replace(digest="00" * 32), tmp_path / "out" / "no")
    assert not (tmp_path / "out" / "no").exists()


def test_objects_are_listed_with_size_and_time(store: ResultStore, place: Place) -> None:
    before = time.time() - 1
    references = everything(store)
    store.put("other/x", 1)
    found = {each.key: each for each in store.objects("r/")}
    assert sorted(found) == ["r/batch", "r/empty", "r/large", "r/one", "r/packed"]
    for each in found.values():
        assert each.size == len(place.read(each.url))
        assert before <= each.created <= time.time() + 1
        assert each.meta == {"path": each.key.removeprefix("r/")}
    assert (found["r/batch"].items, found["r/one"].items) == (2000, 0)
    assert found["r/one"].url == references[0].url
    place.write(references[0].url, b"junk")
    assert "r/one" not in {each.key for each in store.objects()}


FLOW = """
import sys, dask
from dataflow import flow, task
@task
def double(x): return 2 * x
@task
def total(xs): return sum(xs)
@task(target="totals/{flow}.json")
def save(x): return {"total": x}
@flow
def sums(n: int):
    return save(total(double.map(range(n))))
with dask.config.set({"dataflow.results.url": sys.argv[1], "dataflow.results.signing_key": "hush"}):
    run = sums.run(50, executor="threads")
print(run.id)
"""
LOOK = """
import sys, json
from dataflow_storage import ResultStore
store, run = ResultStore(sys.argv[1], signing_key="hush"), sys.argv[2]
found = {}
for key in store.keys(f"{run}/"):
    single = store.find(key)
    for reference in [single] if single else (store.find_many(key) or {}).values():
        if reference.item is None or reference.item >= 0:
            meta = store.meta(reference)
            name = f"{meta['flow']}/{meta.get('paths', {}).get(str(reference.item), meta['path'])}"
            found.setdefault(name, []).append(store.get(reference))
print(json.dumps(found))
"""


def test_another_machine_reads_a_run_from_the_bucket_alone(tmp_path: Path) -> None:
    def python(script: str, home: str, *arguments: str) -> str:
        path = os.pathsep.join(filter(None, sys.path))
        environment = {**os.environ, "PYTHONPATH": path, "DATAFLOW_HOME": str(tmp_path / home)}
        command = [sys.executable, "-c", script, str(tmp_path / "bucket"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run_id = python(FLOW, "one").split()[-1]
    found = json.loads(python(LOOK, "two", run_id))
    assert not (tmp_path / "two").exists()
    assert sorted(found["sums/double"]) == list(range(0, 100, 2))
    assert found["sums/total"] == [sum(range(0, 100, 2))]
    for file in (tmp_path / "one").rglob("*"):
        assert not file.is_file() or b"hush" not in file.read_bytes(), f"the key is in {file}"
