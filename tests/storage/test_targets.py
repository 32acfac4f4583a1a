"""Targets: plain files with a record, at places that users choose."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from dataflow_storage import (
    Committed,
    ResultCorrupt,
    ResultStore,
    UnsafePath,
)
from tests.storage.places import Place

# --- targets --------------------------------------------------------------------------------------------------------


def test_a_target_is_a_plain_file(store: ResultStore, place: Place) -> None:
    committed = store.put_target("clean/2026/a.json", {"ü": 1}, meta={"run": "r"})
    assert committed.reference.target
    assert committed.reference.url == f"{place.url}/targets/clean/2026/a.json"
    assert place.read(committed.reference.url) == '{"ü":1}'.encode()
    assert place.store().find_target("clean/2026/a.json") == committed.reference
    assert place.store().find_target("./clean//2026/a.json") == committed.reference
    assert store.get(committed.reference) == {"ü": 1}
    assert store.keys() == []


def test_the_same_task_run_adopts_its_target_and_another_writes_it_anew(store: ResultStore) -> None:
    first = store.put_target("a.txt", "1", meta={"run": "r", "path": "save", "index": 3, "attempt": 1})
    zombie = store.put_target("a.txt", "2", meta={"run": "r", "path": "save", "index": 3, "attempt": 2})
    assert zombie == Committed(reference=first.reference, adopted=True)
    later = store.put_target("a.txt", "3", meta={"run": "s", "path": "save", "index": 3, "attempt": 1})
    assert not later.adopted
    assert store.get(later.reference) == "3"
    with pytest.raises(ResultCorrupt):
        store.get(first.reference)


def test_a_changed_target_is_absent(store: ResultStore, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    meta = {"run": "r"}
    reference = store.put_target("a.txt", "mine", meta=meta).reference
    place.write(reference.url, b"theirs")
    assert store.find_target("a.txt") is None
    assert store.find_target("a.txt") is None
    assert len(caplog.records) == 1
    with pytest.raises(ResultCorrupt):
        store.get(reference)
    assert not store.put_target("a.txt", "mine again", meta=meta).adopted
    assert store.get(store.put_target("a.txt", "-", meta=meta).reference) == "mine again"


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"{}", b'{"serializer":1,"size":"x","digest":2,"token":3}'])
def test_a_target_without_a_good_record_is_absent(store: ResultStore, place: Place, record: bytes) -> None:
    reference = store.put_target("d/a.txt", "mine").reference
    place.write(reference.url.replace("a.txt", ".a.txt.dflw.json"), record)
    assert store.find_target("d/a.txt") is None
    assert store.get(reference) == "mine"
    assert not store.put_target("d/a.txt", "new").adopted


def test_a_file_of_others_is_no_target(store: ResultStore, place: Place) -> None:
    place.write(store.put_target("x/b.txt", "").reference.url.replace("b.txt", "a.txt"), b"theirs")
    assert store.find_target("x/a.txt") is None
    assert not store.put_target("x/a.txt", "ours").adopted


def test_targets_have_a_root_of_their_own(tmp_path: Path) -> None:
    store = ResultStore("memory://x", target_root=tmp_path / "out")
    reference = store.put_target("a/b.txt", "hello").reference
    assert (tmp_path / "out" / "a" / "b.txt").read_text() == "hello"
    assert store.get(reference) == "hello"


def test_a_target_may_be_a_full_url(local: ResultStore, tmp_path: Path) -> None:
    other = f"memory://{uuid.uuid4().hex}/a.txt"
    assert local.put_target(other, "x").reference.url == other
    found = local.find_target(other)
    assert found is not None
    assert local.get(found) == "x"
    assert local.put_target(f"file://{tmp_path}/b.txt", "y").reference.url == str(tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_text() == "y"


@pytest.mark.parametrize(
    "path",
    ["", ".", "/etc/passwd", "../a", "a/../../b", "a\0b", "a\\b", "a\nb", "C:/x", "a/", "a/..", "... /x", "\x85",
     "\ud800", "s3://bucket/../x", "file://x/y", "file:///x/../y", "a/.b.txt.dflw.json"],
)  # fmt: skip
def test_unsafe_targets_are_refused(local: ResultStore, path: str) -> None:
    with pytest.raises(UnsafePath, match="is refused"):
        local.put_target(path, "x", serializer="text")
    with pytest.raises(UnsafePath):
        local.find_target(path)


def test_a_target_name_that_is_too_long_is_refused(local: ResultStore) -> None:
    with pytest.raises(UnsafePath, match="more than 230 bytes"):
        local.put_target("a/" + "x" * 231, "x")
    assert not local.put_target("a/" + "x" * 230, "x").adopted


def test_a_target_must_not_leave_its_root_through_a_link(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results", target_root=tmp_path / "out")
    (tmp_path / "out" / "inner").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "away").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "away.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    (tmp_path / "out" / "within").symlink_to(tmp_path / "out" / "inner")
    for path in ("away/a.txt", "away/deep/a.txt", "away.txt"):
        with pytest.raises(UnsafePath, match="symbolic link"):
            store.put_target(path, "x")
        with pytest.raises(UnsafePath, match="symbolic link"):
            store.find_target(path)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    store.put_target("within/a.txt", "x")
    assert (tmp_path / "out" / "inner" / "a.txt").read_text() == "x"


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    store = ResultStore(tmp_path / "results", target_root=tmp_path / "root")
    store.put_target("a/b.txt", "x")
    assert (tmp_path / "real" / "a" / "b.txt").read_text() == "x"
