"""Compression: where it pays, and never in what a value is known by."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dataflow_storage import ResultStore
from dataflow_storage.compression import compress, decompress
from tests.storage.places import Place

TEXT = "the same words again and again, " * 1000
NOISE = random.Random(1).randbytes(300_000)


@pytest.mark.parametrize("value", [TEXT, {"a": [TEXT]}, (TEXT, 1), np.zeros(100_000), np.arange(50_000)])
def test_what_gains_takes_less_room(store: ResultStore, place: Place, value: object) -> None:
    reference = store.put("k", value).reference
    assert len(place.read(reference.url)) < 0.85 * reference.size
    assert np.array_equal(store.get(reference), value) if isinstance(value, np.ndarray) else True  # type: ignore[arg-type]
    assert store.find("k") == reference


@pytest.mark.parametrize(
    "value",
    [
        "short",
        NOISE,
        NOISE[:5000],
        zlib.compress(TEXT.encode() * 50),
        np.random.default_rng(0).random(50_000),
        np.random.default_rng(0).standard_normal(50_000),
        pd.DataFrame({"a": range(10_000)}),
    ],
    ids=["short", "noise", "little noise", "compressed", "uniform", "normal", "parquet"],
)
def test_what_does_not_gain_is_stored_as_it_is(store: ResultStore, place: Place, value: object) -> None:
    reference = store.put("k", value).reference
    data = place.read(reference.url)
    assert b'"compression"' not in data
    assert len(data) > reference.size


def test_the_digest_is_that_of_the_value_whether_compressed_or_not(tmp_path: Path) -> None:
    packed = ResultStore(tmp_path / "a").put("k", TEXT).reference
    bare = ResultStore(tmp_path / "b", compression="none").put("k", TEXT).reference
    assert (packed.digest, packed.size) == (bare.digest, bare.size)
    assert Path(packed.url).stat().st_size < 2000 < Path(bare.url).stat().st_size
    assert ResultStore(tmp_path / "b").get(packed) == ResultStore(tmp_path / "a", compression="none").get(bare) == TEXT
    with pytest.raises(ValueError, match="'auto' or 'none'"):
        ResultStore(tmp_path, compression="zip")


def test_targets_are_never_compressed(store: ResultStore, place: Place) -> None:
    reference = store.put_target("a.txt", TEXT).reference
    assert place.read(reference.url) == TEXT.encode()


def test_entries_of_a_batch_are_compressed_one_by_one(store: ResultStore, place: Place) -> None:
    values: dict[int, object] = {0: TEXT, 1: "short", 2: NOISE, 3: TEXT + "!", 4: None}
    done, _ = store.put_many("k", values)
    assert len(place.read(done[0].reference.url)) < len(NOISE) + 6000
    assert {item: store.get(each.reference) for item, each in done.items()} == values
    assert store.find_many("k") == {item: each.reference for item, each in done.items()}


@pytest.mark.parametrize("sizes", [[200_000], [1, 70_000, 0, 70_000, 5], [50] * 3000, [3_000_000, 10]])
def test_parts_are_compressed_as_one(sizes: list[int]) -> None:
    parts = [bytes([number % 7]) * size for number, size in enumerate(sizes)]
    packed = compress(parts, sum(sizes), "npy")
    assert packed is not None
    assert decompress(memoryview(b"".join(packed)), sum(sizes)) == b"".join(parts)


def test_a_promising_start_that_does_not_hold_is_given_up() -> None:
    piece = 1 << 14
    noise = random.Random(2).randbytes(1 << 21)
    middle = (len(noise) - piece) // 2
    data = bytes(piece) + noise[piece:middle] + bytes(piece) + noise[middle + piece : -piece] + bytes(piece)
    assert compress([data], len(data), "bytes") is None
