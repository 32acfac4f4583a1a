"""Damage is found: every sixteenth cut and 256 flipped bytes, of every kind of object, on disk and in memory."""

from __future__ import annotations

import io
import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow_storage import Reference, ResultCorrupt, ResultMissing, ResultStore
from dataflow_storage.compression import Damaged, compress, decompress, decompressed
from dataflow_storage.paths import record_name
from tests.storage.places import Place

LONG = "a long text that compresses well. " * 400
KEYS = {None: "plain", "hush": "signed"}


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(str(tmp_path / "r") if request.param == "local" else f"memory://{uuid.uuid4().hex}/r")


def damaged(data: bytes) -> Iterator[bytes]:
    yield from (data[: len(data) * part // 16] for part in range(16))
    generator = random.Random(3)
    for at in generator.sample(range(len(data)), min(256, len(data))):
        yield data[:at] + bytes([data[at] ^ generator.randrange(1, 256)]) + data[at + 1 :]


@pytest.mark.parametrize("signing_key", KEYS, ids=KEYS.values())
@pytest.mark.parametrize("value", [["short"] * 80, LONG, {"n": (1, 2)}], ids=["short", "compressed", "pickled"])
def test_every_damage_to_an_object_is_found(place: Place, value: object, signing_key: str | None) -> None:
    store = place.store(signing_key=signing_key)
    reference = store.put("k", value, meta={"run": "r"}).reference
    sound = place.read(reference.url)
    assert (len(sound) < reference.size) is (value is LONG)
    for bad in damaged(sound):
        place.write(reference.url, bad)
        assert store.find("k") is None
        with pytest.raises(ResultCorrupt):
            store.get(reference)
    place.write(reference.url, sound)
    assert (store.find("k"), store.get(reference)) == (reference, value)


@pytest.mark.parametrize("signing_key", KEYS, ids=KEYS.values())
def test_every_damage_to_a_batch_is_found(place: Place, signing_key: str | None) -> None:
    values: dict[int, object] = {item: f"{item} {LONG}" if item % 8 == 0 else (item,) for item in range(0, 60, 2)}
    store = place.store(signing_key=signing_key)
    done, _ = store.put_many("k", values)
    references = {item: committed.reference for item, committed in done.items()}
    url = references[0].url
    sound = place.read(url)
    for bad in damaged(sound):
        place.write(url, bad)
        assert store.find_many("k") is None
        refused = sum(gives_another(store, reference, values[item]) for item, reference in references.items())
        if len(bad) < len(sound):
            assert refused
            assert store.holds_many(list(references.values())) == [False] * len(references)
    place.write(url, sound)
    assert store.find_many("k") == references


def gives_another(store: ResultStore, reference: Reference, value: object) -> bool:
    """Whether an entry is refused; if it is not, since the damage is elsewhere, it must be the value."""
    try:
        assert store.get(reference) == value
    except ResultCorrupt:
        return True
    return False


@pytest.mark.parametrize("signing_key", KEYS, ids=KEYS.values())
def test_every_damage_to_a_target_and_its_record_is_found(place: Place, signing_key: str | None) -> None:
    store = place.store(signing_key=signing_key)
    reference = store.put_target("a.txt", LONG).reference
    sound = place.read(reference.url)
    for bad in damaged(sound):
        place.write(reference.url, bad)
        assert store.find_target("a.txt") is None
        with pytest.raises(ResultCorrupt):
            store.get(reference)
    place.write(reference.url, sound)
    assert store.find_target("a.txt") == reference
    if signing_key:
        record = record_name(reference.url)
        text = place.read(record)
        for bad in damaged(text):
            place.write(record, bad)
            assert store.find_target("a.txt") is None
            with pytest.raises(ResultCorrupt):
                store.get(reference)


def test_a_truncated_or_longer_object_is_not_held(place: Place) -> None:
    store = place.store()
    for value in ("x", b"".join(random.Random(1).randbytes(1000) for _ in range(200))):
        reference = store.put(uuid.uuid4().hex, value).reference
        sound = place.read(reference.url)
        assert store.holds(reference)
        for bad in (sound[:-1], sound + b"\0", b"", sound[: len(sound) // 2]):
            place.write(reference.url, bad)
            assert not store.holds(reference)
    with pytest.raises(ResultMissing):
        store.get(Reference(url=reference.url + "x", serializer="text", size=1, digest="00" * 32))


def test_what_would_swell_is_not_decompressed() -> None:
    bomb = b"".join(compress([bytes(1 << 26)], 1 << 26, "npy") or ())
    assert len(bomb) < 1 << 16
    with pytest.raises(Damaged, match="another size"):
        decompress(memoryview(bomb), 4096)
    made = 0
    try:
        for block in decompressed(io.BytesIO(bomb), len(bomb), 4096):
            made += len(block)
    except Damaged:
        assert made <= 1 << 20
    else:
        pytest.fail("it was taken for 4096 bytes")
