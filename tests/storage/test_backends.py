"""What is different from storage to storage: conditions, uploads in parts, options, deadlines, and what is shown."""

from __future__ import annotations

import io
import logging
import os
import pickle
import random
import tracemalloc
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from dataflow_storage import ResultCorrupt, ResultStore, StoreUnavailable, UnsafePath
from dataflow_storage.buffers import BufferFile
from dataflow_storage.clients import LARGE
from dataflow_storage.deadlines import Attempts
from dataflow_storage.hashing import Buffer
from dataflow_storage.paths import check_target, name_of
from dataflow_storage.verdicts import Verdict, judge, say
from tests.storage.places import Bucket, Place
from tests.storage.servers import Server

Servers = Callable[[str], Server]


# --- conditions -----------------------------------------------------------------------------------------------------


def test_real_servers_keep_the_condition(store: ResultStore, caplog: pytest.LogCaptureFixture) -> None:
    assert store.is_exclusive()
    assert [record for record in caplog.records if record.name == "dataflow.storage"] == []
    assert store.keys() == []


class Careless(Bucket):
    """A server that takes the condition and ignores it."""

    protocol = "careless"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: object) -> None:
        super().pipe_file(path, value)


def test_a_server_that_ignores_the_condition_is_found_once(caplog: pytest.LogCaptureFixture) -> None:
    import fsspec

    fsspec.register_implementation("careless", Careless, clobber=True)
    url = f"careless://{uuid.uuid4().hex}/results"
    with caplog.at_level(logging.WARNING, "dataflow.storage"):
        assert not ResultStore(url).put("k", 1).adopted
        late = ResultStore(url).put("k", 2)
        assert not ResultStore(url).is_exclusive()
    assert late.adopted
    assert ResultStore(url).get(late.reference) == 1
    assert [record.getMessage().partition(" ignores")[0] for record in caplog.records] == [
        f"The storage at {url.rpartition('/')[0]!r}"
    ]
    assert not [name for name in Bucket.objects if name.endswith(".probe")]


def test_a_repair_replaces_what_was_found_damaged_and_nothing_newer(place: Place) -> None:
    store = place.store()
    files, url = store._files(place.url), f"{place.url}/x"
    files.replace(url, [b"torn"], "1")
    stamp = files.stamp(url)
    if place.url.partition("://")[0] not in ("s3", "gs", "az"):
        assert stamp == ""  # a lock does it there
        return
    assert files.replace(url, [b"repaired"], "2", stamp)
    assert not files.replace(url, [b"late"], "3", stamp)
    assert files.read(url) == b"repaired"
    stamp = files.stamp(url)
    files.delete(url)
    assert not files.replace(url, [b"late"], "4", stamp)


# --- large values ---------------------------------------------------------------------------------------------------


def test_large_values_are_created_once_and_come_back(place: Place) -> None:
    store = place.store()
    value = random.Random(1).randbytes(2 * LARGE + 12_345)
    first = store.put("k", value)
    assert not first.adopted
    assert place.store().put("k", value[:-1]).adopted
    assert store.find("k") == first.reference
    assert store.get(first.reference) == value
    files = store._files(place.url)
    assert files.replace(f"{place.url}/y", [value, value], "1")
    assert files.read(f"{place.url}/y", 5, LARGE + 100) == value[5 : LARGE + 100]
    assert files.read(f"{place.url}/y", 5) == (value + value)[5:]


@pytest.mark.parametrize("name", ["s3", "gcs", "azure"])
def test_a_large_value_is_written_without_a_second_copy(server: Servers, name: str) -> None:
    at = server(name)
    store = ResultStore(f"{at.url}/{uuid.uuid4().hex}", at.options)
    parts: list[Buffer] = [bytearray(80 << 20), memoryview(bytes(80 << 20))]
    files = store._files(store.url)
    assert files.create(f"{store.url}/small", [b"1"], "1")
    tracemalloc.start()
    try:
        assert files.create(f"{store.url}/large", parts, "1")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 100 << 20, f"{most / 2**20:.0f} MB for 160 MB"


# --- damage ---------------------------------------------------------------------------------------------------------


def test_every_sixteenth_cut_and_256_flips_are_found(place: Place) -> None:
    store = place.store()
    value = random.Random(2).randbytes(5000)
    reference = store.put("run/task/0", value, meta={"run": "r"}).reference
    whole, draw = place.read(reference.url), random.Random(3)
    everywhere = place.url.partition("://")[0] not in ("s3", "gs", "az")
    cuts = [whole[: len(whole) * sixteenth // 16] for sixteenth in range(16)]
    flips = []
    for _ in range(256):
        at = draw.randrange(len(whole))
        flips.append(whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :])
    for damaged in (*cuts[:: 1 if everywhere else 5], *flips[:: 1 if everywhere else 32]):
        place.write(reference.url, damaged)
        assert store.find("run/task/0") is None
        with suppress(ResultCorrupt):
            assert store.get(reference) == value  # what it says about itself may be damaged, but not the value


# --- names ----------------------------------------------------------------------------------------------------------


def test_of_fifty_thousand_keys_and_targets_none_leaves_its_root() -> None:
    draw = random.Random(4)
    pieces = ["a", "B", "..", ".", "/", "//", "\\", "\0", " ", "C:", "~", "ü", "\n", "%2e", "%", "://", "x.json", "s3:"]
    accepted = 0
    for _ in range(50_000):
        text = "".join(draw.choice(pieces) for _ in range(draw.randrange(9)))
        name = name_of(text)
        assert os.path.normpath(f"/root/{name}.dflw").startswith("/root/")
        assert ".." not in name.split("/")
        try:
            tidy = check_target(text)
        except UnsafePath:
            continue
        accepted += 1
        if "://" not in tidy:
            assert os.path.normpath(f"/root/{tidy}").startswith("/root/")
        assert ".." not in tidy.split("/")
    assert 500 < accepted < 49_000


# --- options --------------------------------------------------------------------------------------------------------


def test_each_protocol_gets_its_own_options(server: Servers, tmp_path: Path) -> None:
    s3, gcs = server("s3"), server("gcs")
    store = ResultStore(tmp_path, {"s3": s3.options, "gcs": gcs.options})
    for at in (s3, gcs):
        target = f"{at.url}/{uuid.uuid4().hex}/a.json"
        reference = store.put_target(target, [1]).reference
        assert store.get(reference) == [1]
        assert store.find_target(target) == reference
    travelled: ResultStore = pickle.loads(pickle.dumps(store))
    assert travelled.get(reference) == [1]


def test_a_url_with_credentials_is_refused_without_showing_them() -> None:
    with pytest.raises(StoreUnavailable, match="storage_options") as caught:
        ResultStore("sftp://user:hush-hush@host/results")
    assert "hush-hush" not in str(caught.value)


# --- deadlines ------------------------------------------------------------------------------------------------------


def test_what_cannot_get_better_is_not_tried_again() -> None:
    class Answer(Exception):
        def __init__(self, code: str, status: int) -> None:
            super().__init__(code)
            self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}

    assert judge(Answer("NoSuchBucket", 404)) is Verdict.FINAL
    assert judge(Answer("SignatureDoesNotMatch", 403)) is Verdict.FINAL
    assert judge(Answer("NoSuchKey", 404)) is Verdict.MISSING
    assert judge(Answer("InvalidRange", 416)) is Verdict.BEYOND
    assert judge(Answer("PreconditionFailed", 412)) is Verdict.REFUSED
    assert judge(Answer("ConditionalRequestConflict", 409)) is Verdict.AGAIN
    assert judge(Answer("SlowDown", 503)) is Verdict.AGAIN
    wrapped = OSError(16, "busy")
    wrapped.__cause__ = Answer("AccessDenied", 403)
    assert judge(wrapped) is Verdict.FINAL


def test_attempts_end_with_all_that_is_known() -> None:
    attempts = Attempts("s3://b/x", "read", 0.0, secrets=frozenset({"hush"}))
    with pytest.raises(StoreUnavailable, match=r"'s3://b/x'.*read it, tried once in 0.0 s: no \*\*\* here") as caught:
        attempts.failed(ConnectionError("no hush here"))
    assert caught.value.__cause__ is None
    assert say(TimeoutError()) == "TimeoutError"


def test_pauses_grow_and_stay_within_the_deadline() -> None:
    attempts = Attempts("s3://b/x", "read", 300.0)
    pauses = [attempts.failed(ConnectionError()) for _ in range(30)]
    assert all(0 <= pause <= min(30.0, 2.0**turn) for turn, pause in enumerate(pauses))
    assert max(pauses) > 2
    assert Attempts("s3://b/x", "write", 30.0, 1 << 30).seconds() > 1000


def test_buffers_are_a_file() -> None:
    draw = random.Random(5)
    parts = [draw.randbytes(draw.randrange(5)) for _ in range(50)]
    whole, file, model = b"".join(parts), BufferFile(parts), io.BytesIO(b"".join(parts))
    for _ in range(500):
        at, size = draw.randrange(len(whole) + 3), draw.choice((-1, 0, 1, 2, 7, 1000))
        assert file.seek(at) == model.seek(at)
        assert file.read(size) == model.read(size)
        assert file.tell() == model.tell()
    assert (len(file), file.seek(0, io.SEEK_END)) == (len(whole), len(whole))
