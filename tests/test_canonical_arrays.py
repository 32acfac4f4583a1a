"""Digests of arrays and tables: what they say counts, not how it lies in memory."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dataflow.canonical import digest
from tests.canonical_samples import COLUMNS, FRAME


def test_the_memory_layout_of_an_array_does_not_matter() -> None:
    array = np.random.default_rng(0).random((40, 60))
    base = digest(array)
    assert digest(np.asfortranarray(array)) == base
    assert digest(np.repeat(array, 2, axis=1)[:, ::2]) == base
    assert digest(array.astype(">f8")) == base
    assert digest(array.T) != base
    assert digest(array.reshape(60, 40)) != base
    packed, padded = [np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=align)) for align in (False, True)]
    assert digest(packed) == digest(padded)


def test_every_nan_is_one_nan() -> None:
    array = np.random.default_rng(0).random((300, 400))
    array[3, 4] = np.nan
    other = array.copy()
    other.view("u8")[3, 4] ^= 1 << 63 | 7  # another sign and payload
    assert np.isnan(other[3, 4])
    assert digest(other) == digest(array) == digest(np.asfortranarray(other))
    assert digest(pa.array(other.ravel())) == digest(pa.array(array.ravel()))
    assert digest(-math.nan) == digest(math.nan)


def test_what_a_mask_hides_does_not_matter() -> None:
    one, other = (np.ma.masked_array([1, hidden, 3], [False, True, False]) for hidden in (2, 9))
    assert digest(one) == digest(other)
    assert digest(np.ma.masked_array([1, 2, 3], False)) == digest(np.ma.masked_array([1, 2, 3], [False] * 3))


@pytest.mark.parametrize("name", COLUMNS)
def test_chunks_and_offsets_of_arrow_do_not_matter(name: str) -> None:
    column = COLUMNS[name]
    whole = digest(pa.chunked_array([column]))
    assert digest(pa.concat_arrays([column, column]).slice(4)) == digest(column)
    assert digest(pa.chunked_array([column[:1], column[1:1], column[1:3], column[3:]])) == whole
    assert digest(pa.chunked_array([column[:1], column[2:]])) != whole
    assert digest(pa.chunked_array([column[:0]])) == digest(pa.chunked_array([], column.type))


def test_pandas_keeps_texts_in_two_ways_that_count_the_same() -> None:
    for values in ([], ["a", None], [None], ["ü" * n for n in range(200)]):
        one, other = (digest(pd.array(values, dtype=f"string[{storage}]")) for storage in ("python", "pyarrow"))
        assert one == other


def test_a_frame_put_together_again_is_the_same() -> None:
    frame = pd.DataFrame(FRAME)
    again = pd.concat([frame.iloc[:1], frame.iloc[1:]])
    assert digest(again) == digest(frame) == digest(frame.copy())
    assert digest(frame.set_index(["int", "text"]).index) == digest(
        pd.MultiIndex.from_arrays([frame["int"], frame["text"]])
    )


def test_an_arrow_table_from_pandas_does_not_tell_the_versions() -> None:
    table = pa.Table.from_pandas(pd.DataFrame({"a": [1]}))
    metadata = json.loads(table.schema.metadata[b"pandas"])
    metadata["pandas_version"], metadata["creator"]["version"] = "0.1", "0.1"
    assert digest(table.replace_schema_metadata({"pandas": json.dumps(metadata)})) == digest(table)


def test_an_array_is_hashed_where_it_lies() -> None:
    import tracemalloc

    array = np.zeros(1 << 21)
    digest(array)
    tracemalloc.start()
    digest(array)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < array.nbytes // 50


def test_byte_order_counts_for_a_dtype_and_not_for_an_array() -> None:
    assert digest(np.dtype(">f8")) != digest(np.dtype("<f8"))
    assert digest(np.zeros(3, ">f8")) == digest(np.zeros(3, "<f8"))
