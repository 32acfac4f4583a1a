"""What a ResultStore promises about values and batches, on every kind of place."""

from __future__ import annotations

import json
import logging
import os
import pickle
import random
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow_storage import (
    Committed,
    Reference,
    ResultCorrupt,
    ResultMissing,
    ResultStore,
    SerializationError,
    StorageError,
)
from tests.storage.places import Place


class Odd(Exception):
    """Pickles, and cannot be rebuilt by its arguments."""

    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [None, 0, False, "", b"", [], {}, (), "ü\ud800", float("inf"), {1: 2}, {"a": [1, None]}]
)
def test_values_come_back_as_they_were(store: ResultStore, place: Place, value: object) -> None:
    committed = store.put("run/task/0", value, meta={"run": "r", "attempt": 1})
    again = place.store()
    assert not committed.adopted
    assert again.find("run/task/0") == committed.reference
    result = again.get(committed.reference)
    assert result == value
    assert type(result) is type(value)


def test_exceptions_are_values(store: ResultStore) -> None:
    error = Odd(7, why="x")
    result = store.get(store.put("run/task/0", error).reference)
    assert isinstance(result, Exception)
    assert (str(result), vars(result)) == ("7: x", {"code": 7})
    assert type(result).__name__ == "Odd"


def test_the_first_commit_wins(store: ResultStore, place: Place) -> None:
    first = store.put("run/task/0", "first")
    late = place.store().put("run/task/0", "late")
    assert late == Committed(reference=first.reference, adopted=True)
    assert store.get(late.reference) == "first"


def test_keys_do_not_meet(store: ResultStore) -> None:
    keys = [
        "a",
        "A",
        "a/b",
        "a.b",
        "a/b/c",
        "a/b.dflw",
        "a/b.dflw/c",
        "a//b",
        "a/",
        "",
        "/",
        "../x",
        "targets/x",
        "con",
    ]
    keys += [
        "x" * 5000,
        "x" * 5001,
        "a/" + "y/" * 3000,
        "\x00",
        "ü/é",
        "e\u0301",
        "\ud800",
        "clean[3]/0",
        "a%2fb",
        "*?",
    ]
    for key in keys:
        assert not store.put(key, key).adopted
        store.put_many(key, {0: key + "!"})
    for key in keys:
        reference, batch = store.find(key), store.find_many(key)
        assert reference is not None
        assert batch is not None
        assert store.get(reference) == key
        assert store.get(batch[0]) == key + "!"
    assert store.keys() == sorted(keys)
    assert store.keys("a/b") == sorted(key for key in keys if key.startswith("a/b"))
    assert store.keys("a/") == sorted(key for key in keys if key.startswith("a/"))
    for key in keys:
        store.delete(key)
        store.delete(key)
    assert store.keys() == []
    assert store.find("a") is None
    assert store.find_many("a") is None


def test_nothing_there(store: ResultStore) -> None:
    assert store.find("run/task/0") is None
    assert store.find_many("run/task/0") is None
    assert store.find_target("a/b.json") is None
    assert store.keys() == []
    store.delete("run/task/0")


def test_a_deleted_result_is_missing(store: ResultStore) -> None:
    reference = store.put("run/task/0", 1).reference
    store.delete("run/task/0")
    with pytest.raises(ResultMissing, match="No result at"):
        store.get(reference)
    assert not store.put("run/task/0", 2).adopted


def test_the_header_tells_what_it_is(store: ResultStore, place: Place) -> None:
    reference = store.put("run/task/0", "text", meta={"run": "brisk-otter", "path": "task", "attempt": 2}).reference
    data = place.read(reference.url)
    assert data[:4] == b"DFLW"
    header = json.loads(data[13:-4])
    assert header["meta"] == {"run": "brisk-otter", "path": "task", "attempt": 2}
    assert (header["serializer"], header["length"], header["sha256"]) == ("text", 4, reference.digest)
    assert data.endswith(b"text")


def test_a_reference_is_small_plain_data() -> None:
    reference = Reference(url="/r/run/clean.0.dflw", serializer="json", size=3, digest="ab" * 32, item=4)
    assert pickle.loads(pickle.dumps(reference)) == reference
    assert len(pickle.dumps(reference, protocol=5)) < 150
    assert Reference.from_dict(json.loads(json.dumps(reference.to_dict()))) == reference
    with pytest.raises(TypeError, match="unknown"):
        Reference.from_dict({**reference.to_dict(), "unknown": 1})


def test_a_store_travels(store: ResultStore) -> None:
    reference = store.put("run/task/0", 1).reference
    data = pickle.dumps(store)
    assert len(data) < 1000
    assert pickle.loads(data).get(reference) == 1
    assert repr(store) == f"ResultStore({store.url!r})"


def test_options_are_kept_and_never_shown() -> None:
    store = ResultStore("memory://x", {"secret": "hush"}, target_root="memory://y", fsync=True)
    again = pickle.loads(pickle.dumps(store))
    assert again.storage_options == {"secret": "hush"}
    assert (again.target_root, again.fsync) == ("memory://y", True)
    assert "hush" not in repr(store)


def test_a_relative_store_does_not_follow_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = ResultStore("results")
    assert store.url == str(tmp_path / "results")
    assert store.target_root == str(tmp_path / "results" / "targets")
    assert ResultStore(f"file://{tmp_path}/results/").url == store.url


# --- what is damaged ------------------------------------------------------------------------------------------------

DAMAGE: Mapping[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "torn header": lambda data: data[:20],
    "torn payload": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "flipped payload": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "flipped header": lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:],
    "huge header length": lambda data: data[:5] + b"\xff\xff\xff\x7f" + data[9:],
    "other version": lambda data: data[:4] + b"\x09" + data[5:],
    "foreign": lambda data: b"PK\x03\x04 something else",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_object_is_absent_and_is_replaced(
    store: ResultStore, place: Place, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    reference = store.put("run/task/0", ["value"] * 10).reference
    place.write(reference.url, damage(place.read(reference.url)))
    with caplog.at_level(logging.WARNING, "dataflow.storage"):
        assert store.find("run/task/0") is None
        assert store.find("run/task/0") is None
    said = [record.getMessage() for record in caplog.records if record.name == "dataflow.storage"]
    assert [message.partition(" is treated")[0] for message in said] == [f"The object at {reference.url!r}"]
    with pytest.raises(ResultCorrupt, match="not the result that was committed"):
        store.get(reference)
    replaced = store.put("run/task/0", "new")
    assert not replaced.adopted
    assert store.get(replaced.reference) == "new"
    assert store.find("run/task/0") == replaced.reference


def test_an_object_of_another_key_does_not_win(store: ResultStore, place: Place) -> None:
    other, mine = store.put("run/other/0", "other").reference, store.put("run/mine/0", "mine").reference
    place.write(mine.url, place.read(other.url))
    assert store.find("run/mine/0") is None
    with pytest.raises(ResultCorrupt):
        store.get(mine)
    assert not store.put("run/mine/0", "again").adopted


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.recursive(st.none() | st.text() | st.integers(), st.lists), position=st.floats(0, 1, exclude_max=True))
def test_no_flipped_bit_goes_unseen(local: ResultStore, value: object, position: float) -> None:
    key = uuid.uuid4().hex
    reference = local.put(key, value, meta={"run": "r"}).reference
    data = bytearray(Path(reference.url).read_bytes())
    bit = int(position * len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    Path(reference.url).write_bytes(data)
    assert local.find(key) is None
    # A reference knows its own digest, so that a flip in a part that only `find` needs cannot give another value.
    with suppress(ResultCorrupt):
        assert local.get(reference) == value


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), cut=st.booleans())
def test_a_damaged_batch_never_gives_another_value(local: ResultStore, position: float, cut: bool) -> None:
    key = uuid.uuid4().hex
    values: dict[int, object] = {item: f"value {item}" for item in range(0, 60, 3)}
    done, _ = local.put_many(key, values)
    path = Path(done[0].reference.url)
    data = bytearray(path.read_bytes())
    if cut:
        del data[int(position * len(data)) :]
    else:
        bit = int(position * len(data) * 8)
        data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    assert local.find_many(key) is None
    for item, committed in done.items():
        with suppress(ResultCorrupt):
            assert local.get(committed.reference) == values[item]
    again, _ = local.put_many(key, values)
    assert not any(committed.adopted for committed in again.values())
    assert {item: local.get(committed.reference) for item, committed in again.items()} == values


# --- batches --------------------------------------------------------------------------------------------------------


def test_a_batch_is_one_object(store: ResultStore, place: Place) -> None:
    values: dict[int, object] = {item: (item, "x") if item % 2 else {"n": item} for item in range(100, 400)}
    values[7] = None
    done, failed = store.put_many("run/task/batch-0", values, meta={"run": "r"})
    assert failed == {}
    assert len({committed.reference.url for committed in done.values()}) == 1
    assert not any(committed.adopted for committed in done.values())
    assert store.find_many("run/task/batch-0") == {item: committed.reference for item, committed in done.items()}
    assert {item: store.get(committed.reference) for item, committed in done.items()} == values
    assert store.find("run/task/batch-0") is None


def test_an_entry_far_from_the_start_of_a_batch(store: ResultStore) -> None:
    values: dict[int, object] = {item: str(item) * 100 for item in range(3000)}
    done, _ = store.put_many("k", values, meta={"long": "x" * 100_000})
    assert [store.get(done[item].reference) for item in (0, 1500, 2999)] == [values[0], values[1500], values[2999]]


def test_a_value_that_cannot_be_written_does_not_hurt_the_batch(store: ResultStore) -> None:
    done, failed = store.put_many("k", {0: 1, 1: threading.Lock(), 2: 3})
    assert set(done) == {0, 2}
    assert isinstance(failed[1], SerializationError)
    assert "_thread.lock" in str(failed[1])
    assert store.put_many("none", {0: threading.Lock()})[0] == {}
    assert store.find_many("none") is None
    assert not any(store.put_many("empty", {}))


def test_a_late_batch_adopts_and_adds(store: ResultStore) -> None:
    first, _ = store.put_many("k", {0: "a", 1: "b"})
    late, _ = store.put_many("k", {1: "other", 2: "c"})
    assert late[1] == Committed(reference=first[1].reference, adopted=True)
    assert not late[2].adopted
    found = store.find_many("k")
    assert found is not None
    assert {item: store.get(reference) for item, reference in found.items()} == {0: "a", 1: "b", 2: "c"}
    assert store.keys() == ["k"]
    store.delete("k")
    assert store.find_many("k") is None


def test_an_item_that_a_batch_does_not_have(store: ResultStore) -> None:
    done, _ = store.put_many("k", {0: "a"})
    data = done[0].reference.to_dict()
    with pytest.raises(ResultCorrupt, match="no entry 5"):
        store.get(Reference.from_dict({**data, "item": 5}))


@settings(max_examples=40, deadline=None)
@given(
    values=st.dictionaries(st.integers(0, 2**40), st.none() | st.text() | st.tuples(st.integers(), st.binary())),
    dice=st.randoms(),
)
def test_any_batch_comes_back(values: dict[int, object], dice: random.Random) -> None:
    store = ResultStore(f"memory://{uuid.uuid4().hex}")
    done, failed = store.put_many("k", values)
    assert failed == {}
    assert {item: store.get(committed.reference) for item, committed in done.items()} == values
    wanted = dice.choices([*values], k=2 * len(values)) if values else []  # in any order, some twice, some not at all
    assert store.get_many([done[item].reference for item in wanted]) == [values[item] for item in wanted]


# --- serializers of one's own ---------------------------------------------------------------------------------------


class Reversed:
    name = "reversed"
    suffixes = (".rev",)

    def handles(self, value: object) -> bool:
        return isinstance(value, str)

    def dumps(self, value: object) -> bytes:
        return str(value)[::-1].encode()

    def loads(self, data: bytes) -> object:
        return data.decode()[::-1]


def test_a_serializer_of_ones_own_travels_with_the_value(store: ResultStore, place: Place) -> None:
    single = store.put("k", "abc", serializer=Reversed()).reference
    batch, failed = store.put_many("k", {0: "abc", 1: 5}, serializer=Reversed())
    target = store.put_target("a.rev", "abc", serializer=Reversed()).reference
    for reference in (single, batch[0].reference, target):
        assert reference.serializer == "reversed"
        assert place.store().get(reference) == "abc"
    assert "other types" in str(failed[1])


def test_every_error_is_ours_and_builtin_too() -> None:
    for error, builtin in ((ResultMissing("u"), LookupError), (ResultCorrupt("u", "r"), ValueError)):
        assert isinstance(error, StorageError)
        assert isinstance(error, builtin)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_the_package_is_light(tmp_path: Path) -> None:
    script = (
        "import sys, dataflow_storage as d; r = d.ResultStore(sys.argv[1]); r.get(r.put('a/b', (1,)).reference);"
        "print([m for m in ('sqlalchemy', 'pandas', 'pyarrow', 'numpy', 'distributed', 'dask', 'fsspec', 'cloudpickle')"
        " if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    shown = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, check=True
    )
    assert shown.stdout.strip() == b"[]"
