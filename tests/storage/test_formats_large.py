"""Large values are written from where they are, and read with one copy."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataflow_storage import ResultStore

SIZE = 64 << 20


def peak(call: Callable[[], object]) -> float:
    """How much a call takes at most, beyond what there was, as a multiple of the large value."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / SIZE
    finally:
        tracemalloc.stop()


@pytest.fixture(params=["noise", "half noise", "zeros"])
def array(request: pytest.FixtureRequest) -> np.ndarray[Any, Any]:
    array = np.zeros(SIZE // 8)
    if request.param != "zeros":
        array[:] = np.random.default_rng(1).random(SIZE // 8)
    if request.param == "half noise":
        array = array.round(4)
    return array


def test_writing_a_large_array_makes_no_copy_of_it(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    store = ResultStore(tmp_path, signing_key="hush")
    assert peak(lambda: store.put("k", array)) < 0.9
    assert peak(lambda: ResultStore(tmp_path / "b", compression="none").put("k", array)) < 0.1
    assert peak(lambda: store.find("k")) < 0.2


def test_reading_a_large_array_takes_it_and_one_copy(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    store = ResultStore(tmp_path)
    reference = store.put("k", array).reference
    kept: list[Any] = []
    assert peak(lambda: kept.append(store.get(reference))) < 2.5  # itself, and less than one and a half more
    assert np.array_equal(kept[0], array)


@pytest.mark.parametrize("value", [b"ab" * (SIZE // 2), "ab" * (SIZE // 2)], ids=["bytes", "text"])
def test_text_and_bytes_too(tmp_path: Path, value: Any) -> None:
    store = ResultStore(tmp_path)
    kept: list[Any] = []
    assert peak(lambda: kept.append(store.put("k", value).reference)) < 1.5
    assert peak(lambda: kept.append(store.get(kept[0]))) < 2.5
    assert kept[1] == value
