"""With a signing key, nothing is loaded that was not signed with it; without pickles, no code comes in at all."""

from __future__ import annotations

import logging
import os
import pickle
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dataflow_storage import Reference, ResultCorrupt, ResultStore, SerializationError
from dataflow_storage.paths import record_name
from tests.storage.places import Place


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


class Loader:
    """A serializer that is a trap itself."""

    name = "loader"
    suffixes = (".trap",)

    def __init__(self, path: str) -> None:
        self.path = path

    def handles(self, value: object) -> bool:
        return True

    def dumps(self, value: object) -> bytes:
        return b"x"

    def loads(self, data: bytes) -> object:
        return data

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


def written(store: ResultStore, sprung: Path) -> list[Reference]:
    """Everything that would run code when it is loaded."""
    return [
        store.put("single", Trap(str(sprung))).reference,
        store.put("loader", 1, serializer=Loader(str(sprung))).reference,
        store.put_many("batch", {0: Trap(str(sprung)), 1: 1})[0][0].reference,
        store.put_many("loaders", {0: 1}, serializer=Loader(str(sprung)))[0][0].reference,
        store.put_target("a.pkl", Trap(str(sprung))).reference,
        store.put_target("a.trap", 1, serializer=Loader(str(sprung))).reference,
    ]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_traps_do_spring_without_a_key(place: Place, sprung: Path) -> None:
    store = place.store()
    for reference in written(store, sprung):
        with suppress(SerializationError):  # the loader is an open file, and no serializer
            store.get(reference)
        assert sprung.exists()
        sprung.unlink()


@pytest.mark.parametrize("theirs", [None, "another"], ids=["unsigned", "another key"])
def test_nothing_unsigned_is_loaded(
    place: Place, sprung: Path, theirs: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    references = written(place.store(signing_key=theirs), sprung)
    store = place.store(signing_key="hush")
    for reference in references:
        with pytest.raises(ResultCorrupt, match=r"not signed with this store's key \(dataflow.results.signing_key\)"):
            store.get(reference)
        assert not store.holds(reference)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "dataflow.storage"):
        again = place.store(signing_key="hush")
        assert (again.find("single"), again.find("loader")) == (None, None)
        assert (again.find_many("batch"), again.find_many("loaders")) == (None, None)
        assert (again.find_target("a.pkl"), again.find_target("a.trap")) == (None, None)
        assert again.target_meta("a.pkl") == {}
        assert list(again.objects()) == []
    assert len([record for record in caplog.records if "is treated as absent" in record.getMessage()]) == 6
    assert not sprung.exists()
    assert not store.put("single", "mine").adopted
    assert store.get(store.put("single", "late").reference) == "mine"


def test_what_is_signed_is_read_by_whoever_has_the_key(place: Place) -> None:
    mine, other = (place.store(signing_key="hush") for _ in range(2))
    reference = mine.put("k", (1, 2)).reference
    batch, _ = mine.put_many("b", {0: (1,), 1: "x"})
    target = mine.put_target("a.json", [1], meta={"run": "r"}).reference
    assert other.find("k") == reference
    assert other.find_many("b") == {item: each.reference for item, each in batch.items()}
    assert other.find_target("a.json") == target
    assert other.target_meta("a.json") == {"run": "r"}
    assert [other.get(each) for each in (reference, batch[0].reference, batch[1].reference, target)] == [
        (1, 2), (1,), "x", [1]
    ]  # fmt: skip
    assert place.store().get(reference) == (1, 2)


def test_a_signature_holds_for_one_header_and_one_content(place: Place) -> None:
    store = place.store(signing_key="hush")
    one, two = store.put("one", (1,)).reference, store.put("two", (2,)).reference
    place.write(one.url, place.read(two.url))
    assert store.find("one") is None
    target, record = (
        store.put_target("a.pkl", (1,)).reference,
        record_name(store.put_target("b.pkl", (2,)).reference.url),
    )
    place.write(record_name(target.url), place.read(record))
    with pytest.raises(ResultCorrupt):
        store.get(target)
    # The record of a target is signed, but not as an object is.
    text = place.read(record)
    assert b'"signature":"' in text
    changed = text.replace(b'"serializer":"pickle"', b'"serializer":"json"  ')
    place.write(record, changed)
    assert store.find_target("b.pkl") is None


def test_an_entry_cannot_be_put_into_a_signed_batch(place: Place, sprung: Path) -> None:
    store = place.store(signing_key="hush")
    done, _ = store.put_many("k", {0: b"a" * 200, 1: b"b" * 200})
    trap = pickle.dumps(Trap(str(sprung))).ljust(200, b".")
    reference = done[0].reference
    place.write(reference.url, place.read(reference.url).replace(b"a" * 200, trap))
    with pytest.raises(ResultCorrupt):
        store.get(Reference.from_dict({**reference.to_dict(), "serializer": "pickle"}))
    assert not sprung.exists()


def test_the_key_travels_and_is_never_shown_nor_stored(place: Place, tmp_path: Path) -> None:
    store = pickle.loads(pickle.dumps(place.store(signing_key="hush-hush")))
    reference = store.put("k", (1,)).reference
    assert place.store(signing_key="hush-hush").get(reference) == (1,)
    target = store.put_target("a.txt", "x").reference
    for url in (reference.url, target.url, record_name(target.url)):
        assert b"hush-hush" not in place.read(url)
    wrong = "wrong" * 2
    with pytest.raises(ResultCorrupt) as caught:
        place.store(signing_key=wrong).get(reference)
    shown = repr(store) + repr(store._signer) + "".join(traceback.format_exception(caught.value))
    assert "hush-hush" not in shown
    assert wrong not in shown + repr(vars(caught.value))


@pytest.mark.parametrize(("key", "error"), [("", ValueError), (5, TypeError), (b"x", TypeError)])
def test_a_key_that_is_none_is_refused(key: Any, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error, match="signing key"):
        ResultStore(tmp_path, signing_key=key)


# --- without pickles ------------------------------------------------------------------------------------------------


def test_without_pickles_none_is_written_or_read(place: Place, sprung: Path) -> None:
    references = written(place.store(), sprung)
    store = place.store(pickle=False)
    for reference in references:
        with pytest.raises(
            SerializationError, match=r"dataflow\.results\.pickle is false\)\. Allow pickles if you trust"
        ):
            store.get(reference)
    for value, serializer in (((1,), "auto"), (1, "pickle"), (1, Loader(str(sprung)))):
        with pytest.raises(SerializationError, match=r"dataflow\.results\.pickle is false\)\. Return plain data"):
            store.put("new", value, serializer=serializer)
    with pytest.raises(SerializationError, match="is false"):
        store.put_target("b.pkl", 1)
    assert not sprung.exists()
    assert os.listdir(sprung.parent) in ([], ["results"])
    assert set(store.put_many("mixed", {0: 1, 1: (1,)})[1]) == {1}
    assert pickle.loads(pickle.dumps(store))._coding.pickle is False


def test_without_pickles_plain_values_come_back(place: Place) -> None:
    store = place.store(pickle=False)
    for number, value in enumerate((None, "a", b"a", [1, {"a": 0.5}])):
        assert store.get(store.put(str(number), value).reference) == value
