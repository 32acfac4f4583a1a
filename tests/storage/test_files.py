"""Files and their names: atomic creation with and without hard links, locks, escaped keys, checked target paths."""

from __future__ import annotations

import errno
import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataflow_storage import StoreUnavailable, UnsafePath
from dataflow_storage.files import Files
from dataflow_storage.hashing import Buffer, digest, digest_file
from dataflow_storage.local import LocalFiles, inside
from dataflow_storage.paths import check_target, is_hashed, key_of, name_of, record_name
from dataflow_storage.remote import open_fsspec


def no_links(source: str, target: str) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["local", "local without links", "local with fsync", "memory"])
def files(request: pytest.FixtureRequest) -> Files:
    made: dict[str, Callable[[], Files]] = {
        "local": LocalFiles,
        "local without links": lambda: LocalFiles(link=no_links),
        "local with fsync": lambda: LocalFiles(fsync=True),
        "memory": lambda: open_fsspec("memory://", {}),
    }
    return made[request.param]()


@pytest.fixture
def root(request: pytest.FixtureRequest, files: Files, tmp_path: Path) -> str:
    return str(tmp_path) if isinstance(files, LocalFiles) else f"memory://{uuid.uuid4().hex}"


# --- files ----------------------------------------------------------------------------------------------------------


def test_create_is_once(files: Files, root: str) -> None:
    path = f"{root}/deep/er/x"
    assert files.create(path, [b"a", memoryview(b"bc")], "1")
    assert not files.create(path, [b"d"], "2")
    assert files.read(path) == b"abc"
    assert (files.read(path, 1), files.read(path, 1, 2), files.read(path, 0, 99)) == (b"bc", b"b", b"abc")
    with files.open(path) as file:
        assert digest_file(file) == (3, digest([b"abc"]))
    assert files.names(root) == ["deep/er/x"]


def test_large_and_empty_files(files: Files, root: str) -> None:
    parts: list[Buffer] = [os.urandom(700_000), memoryview(os.urandom(900_000)), b""]
    assert files.create(f"{root}/large", parts, "1")
    assert files.read(f"{root}/large") == b"".join(parts)
    assert files.create(f"{root}/empty", [], "2")
    assert files.read(f"{root}/empty") == b""
    assert not files.create(f"{root}/empty", [b"x"], "3")


def test_replace_and_delete(files: Files, root: str) -> None:
    path = f"{root}/a/x"
    files.replace(path, [b"1"], "1")
    files.replace(path, [b"2"], "2")
    assert files.read(path) == b"2"
    files.delete(path)
    files.delete(path)
    with pytest.raises(FileNotFoundError):
        files.read(path)
    with pytest.raises(FileNotFoundError):
        files.open(path)
    assert files.names(root) == []
    assert files.create(path, [b"3"], "3")


def test_nothing_is_left_beside(files: Files, root: str) -> None:
    files.create(f"{root}/x", [b"1"], "1")
    files.create(f"{root}/x", [b"2"], "2")
    files.replace(f"{root}/x", [b"3"], "3")
    with files.locked(f"{root}/x"):
        pass
    assert files.names(root) == ["x"]


def test_of_many_threads_one_creates(files: Files, root: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        for turn in range(25):
            barrier = threading.Barrier(8)

            def create(me: int, turn: int = turn, barrier: threading.Barrier = barrier) -> bool:
                barrier.wait()
                return files.create(f"{root}/{turn}/x", [bytes([me])], f"{turn}-{me}")

            won = list(pool.map(create, range(8)))
            assert sum(won) == 1
            assert files.read(f"{root}/{turn}/x") == bytes([won.index(True)])


def test_a_lock_excludes(files: Files, root: str) -> None:
    count, most, guard = 0, 0, threading.Lock()

    def enter(_: int) -> None:
        nonlocal count, most
        for _ in range(20):
            with files.locked(f"{root}/x"):
                with guard:
                    count += 1
                    most = max(most, count)
                with guard:
                    count -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(8)))
    assert most == 1


def test_creating_and_deleting_at_once(files: Files, root: str) -> None:
    # Deleting the last file removes its folder, under the feet of those that are about to write there.
    def churn(me: int) -> None:
        for turn in range(100):
            files.create(f"{root}/folder/{me}", [b"x"], f"{me}-{turn}")
            files.delete(f"{root}/folder/{me}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(4)))
    assert files.names(root) == []


def test_a_failing_disk_is_named(tmp_path: Path) -> None:
    def broken(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreUnavailable, match="No space left on device") as caught:
        LocalFiles(link=broken).create(str(tmp_path / "x"), [b"1"], "1")
    assert isinstance(caught.value, OSError)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreUnavailable, match="directory"):
        LocalFiles().replace(str(tmp_path / "folder"), [b"1"], "1")
    with pytest.raises(StoreUnavailable, match="directory"):
        LocalFiles().read(str(tmp_path / "folder"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / ".1.tmp").symlink_to("/dev/full")  # exclusive creation refuses to write through it
    with pytest.raises(StoreUnavailable, match="File exists"):
        LocalFiles().create(str(tmp_path / "x"), [b"1"], "1")
    assert not (tmp_path / "x").exists()


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(FileNotFoundError):
        LocalFiles().read(str(tmp_path / "x" / "y"))
    with pytest.raises(StoreUnavailable):
        LocalFiles().create(str(tmp_path / "x" / "y"), [b""], "1")


def test_inside(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root2").mkdir()
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root" / "loop")
    (tmp_path / "root" / "sibling").symlink_to(tmp_path / "root2")
    inside(str(tmp_path / "root"), str(tmp_path / "root" / "a" / "b"))
    inside(str(tmp_path / "root"), str(tmp_path / "root" / "loop" / "b"))
    inside("/", "/etc/x")
    with pytest.raises(UnsafePath):
        inside(str(tmp_path / "root"), str(tmp_path / "root" / "sibling" / "b"))


# --- names of keys --------------------------------------------------------------------------------------------------

texts = st.text(st.characters() | st.sampled_from("aA/.%-_[]"), max_size=40)


@settings(max_examples=500)
@given(key=texts)
@example(key="")
@example(key="/")
@example(key="%-")
@example(key="targets")
@example(key="nul/con")
@example(key="\ud83d\ude00")
def test_names_of_keys_are_safe_and_reversible(key: str) -> None:
    name = name_of(key)
    assert key_of(name) == key or is_hashed(name)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-%./")
    parts = name.split("/")
    assert len(parts) <= 2
    assert all(parts)
    assert parts[0] != "targets"
    assert not PureWindowsPath(name + ".dflw").is_absolute()


@settings(max_examples=500)
@given(one=texts, other=texts)
def test_no_two_keys_share_a_name(one: str, other: str) -> None:
    if one != other:
        assert name_of(one).casefold() != name_of(other).casefold()


@given(key=st.text(min_size=101, max_size=3000))
def test_long_keys_have_bounded_names(key: str) -> None:
    name = name_of(key)
    assert all(len(part) <= 180 for part in name.split("/"))
    assert is_hashed(name) or key_of(name) == key
    assert name_of(key + "x") != name


@given(name=st.text(st.sampled_from("aA/.%2-e"), max_size=12))
def test_a_name_that_is_not_ours_has_no_key(name: str) -> None:
    key = key_of(name)
    assert key is None or name_of(key) == name


# --- target paths ---------------------------------------------------------------------------------------------------

PIECES = ["a", "..", ".", "/", "\\", "\0", " ", "C:", "~", "ü", "\n", "%2e", "://", "x.json"]


@settings(max_examples=1000)
@example(path="./C:/x")
@example(path=".://a")
@given(path=st.lists(st.sampled_from(PIECES), max_size=7).map("".join) | texts)
def test_a_path_is_refused_or_stays_inside(path: str) -> None:
    try:
        tidy = check_target(path)
    except UnsafePath:
        return
    assert "\0" not in tidy
    assert "\\" not in tidy
    assert ".." not in tidy.split("/")
    if "://" not in tidy:
        assert os.path.normpath(f"/root/{tidy}").startswith("/root/")
        assert not PureWindowsPath(tidy).is_absolute()
        assert not PureWindowsPath(tidy).drive
    assert check_target(tidy) == tidy


def test_a_record_lies_beside_its_target() -> None:
    assert record_name("a.txt") == ".a.txt.dflw.json"
    assert record_name("s3://bucket/x/a.txt") == "s3://bucket/x/.a.txt.dflw.json"
    with pytest.raises(UnsafePath, match="record"):
        check_target(record_name("x/a.txt"))
