"""Tables of every kind come back equal, with the same types, whatever format was picked."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_storage.serializers import choose, dump, load


def round_trip(value: object) -> Any:
    serializer = choose(value)
    return load(serializer, memoryview(b"".join(dump(serializer, value))))


def check_frame(again: Any, value: pd.DataFrame) -> None:
    assert type(again) is type(value)
    pd.testing.assert_frame_equal(
        again, value, check_exact=True, check_freq=True, check_column_type=True, check_index_type="exact"
    )
    assert type(again.index) is type(value.index)
    assert list(again.index.names) == list(value.index.names)
    assert again.columns.names == value.columns.names


small = st.integers(-128, 127)
moments = st.none() | st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
zones = st.sampled_from(["UTC", "Europe/Vienna", "Asia/Kolkata", "+05:30"])
words = st.none() | st.text(st.characters(codec="utf-8"), max_size=5)


def column(values: st.SearchStrategy[Any], dtype: str) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=3, max_size=3).map(lambda found: pd.Series(found, dtype=dtype))


columns = st.one_of(
    *(column(small, dtype) for dtype in ("int8", "int16", "int32", "int64", "float16", "complex128")),
    *(column(st.integers(0, 255), dtype) for dtype in ("uint8", "uint16", "uint32", "uint64")),
    *(column(st.floats(width=32), dtype) for dtype in ("float32", "float64")),
    *(column(st.none() | small, dtype) for dtype in ("Int8", "Int64", "Float64")),
    column(st.booleans(), "bool"),
    column(st.none() | st.booleans(), "boolean"),
    column(words, "str"),
    column(words, "string"),
    column(st.none() | st.sampled_from("abc"), "category"),
    column(st.none() | small, "category"),
    *(column(moments, f"datetime64[{unit}]") for unit in ("s", "ms", "us", "ns")),
    column(st.none() | st.timedeltas(dt.timedelta(-9999), dt.timedelta(9999)), "timedelta64[us]"),
    column(st.one_of(words, small, st.floats(), st.booleans()), "object"),
    column(st.none() | st.decimals(-9, 9, places=2), "object"),
    st.tuples(column(moments, "datetime64[us]"), zones).map(
        lambda pair: pair[0].dt.tz_localize("UTC").dt.tz_convert(pair[1])
    ),
    column(st.integers(1, 12), "int64").map(
        lambda months: pd.Series(pd.PeriodIndex.from_fields(year=[2026] * 3, month=months, freq="M"))
    ),
)  # fmt: skip
indexes = st.one_of(
    st.just(pd.RangeIndex(3)),
    st.just(pd.RangeIndex(9, 3, -2, name="r")),
    st.just(pd.date_range("2026", periods=3, freq="D", tz="UTC")),
    st.just(pd.CategoricalIndex(["b", "a", "b"], name="c")),
    st.lists(st.text(st.characters(codec="utf-8"), max_size=3), min_size=3, max_size=3).map(
        lambda names: pd.Index(names, dtype="str", name="key")
    ),
    st.lists(st.tuples(small, st.sampled_from("xyz")), min_size=3, max_size=3).map(
        lambda pairs: pd.MultiIndex.from_tuples(pairs, names=["one", "two"])
    ),
    st.lists(st.tuples(small, small), min_size=3, max_size=3).map(pd.MultiIndex.from_tuples),
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    names = draw(st.lists(st.sampled_from(["a", "b", "c", "ü", "", "index"]), min_size=1, max_size=4, unique=True))
    frame = pd.DataFrame({name: draw(columns) for name in names})
    frame.index = draw(indexes)
    return frame.iloc[: draw(st.sampled_from([3, 3, 2, 0]))]


@settings(max_examples=300, deadline=None)
@given(value=frames())
def test_any_frame_comes_back(value: pd.DataFrame) -> None:
    check_frame(round_trip(value), value)
    first = value.iloc[:, 0]
    again = round_trip(first)
    assert type(again) is pd.Series
    pd.testing.assert_series_equal(again, first, check_exact=True, check_freq=True, check_index_type="exact")


def categories(values: list[Any], known: list[Any], ordered: bool = False) -> pd.DataFrame:
    return pd.DataFrame({"a": pd.Categorical(values, known, ordered=ordered)})


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (categories(["x", "y", "x"], ["x", "y"]), "parquet"),
        (categories(["y", "x"], ["x", "y"]), "parquet"),
        (categories(["x", None], ["x", "y", "z"], ordered=True), "parquet"),
        (pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")], names=[*"nt"])), "parquet"),
        (pd.DataFrame({"a": pd.to_timedelta(["1s", None])}), "parquet"),
        (pd.DataFrame({"a": pd.Series([1, "x", None], dtype=object)}), "pickle"),
        (pd.DataFrame({"a": pd.Series([1, True, 1.0], dtype=object)}), "pickle"),
        (pd.DataFrame([[1, 2]]), "pickle"),
        (pd.Series(["x", "y"], dtype="category", name="n"), "parquet"),
    ],
)  # fmt: skip
def test_parquet_where_it_loses_nothing(value: Any, name: str) -> None:
    assert choose(value).name == name
    again = round_trip(value)
    if isinstance(value, pd.DataFrame):
        check_frame(again, value)
        for one, other in zip(again.dtypes, value.dtypes, strict=True):
            if isinstance(other, pd.CategoricalDtype):
                assert (list(one.categories), one.ordered) == (list(other.categories), other.ordered)
    else:
        pd.testing.assert_series_equal(again, value)


arrow_types = st.sampled_from(
    [
        (pa.int8(), small), (pa.uint16(), st.integers(0, 9)), (pa.float32(), st.floats(width=32)),
        (pa.float64(), st.floats()), (pa.float16(), st.sampled_from([0.5, 1.0])), (pa.bool_(), st.booleans()),
        (pa.string(), st.text(st.characters(codec="utf-8"), max_size=5)), (pa.large_string(), st.just("x")),
        (pa.binary(), st.binary(max_size=5)), (pa.binary(2), st.just(b"ab")), (pa.date32(), st.dates()),
        (pa.date64(), st.dates()), (pa.time64("us"), st.times()), (pa.timestamp("s"), st.just(dt.datetime(2026, 1, 1))),
        (pa.timestamp("us", "Europe/Vienna"), st.just(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))),
        (pa.duration("ms"), st.just(dt.timedelta(1))), (pa.decimal128(9, 2), st.just(decimal.Decimal("1.50"))),
        (pa.list_(pa.int32()), st.lists(small, max_size=2)), (pa.map_(pa.string(), pa.int8()), st.just([("k", 1)])),
        (pa.struct([("a", pa.int8()), ("b", pa.list_(pa.string()))]), st.just({"a": 1, "b": ["x"]})),
        (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["x", "y"])), (pa.null(), st.none()),
    ]
)  # fmt: skip


@st.composite
def arrow_tables(draw: st.DrawFn) -> pa.Table:
    length, found = draw(st.sampled_from([0, 1, 3])), {}
    for number in range(draw(st.integers(0, 4))):
        kind, values = draw(arrow_types)
        found[f"c{number}"] = pa.array(draw(st.lists(st.none() | values, min_size=length, max_size=length)), kind)
    table = pa.table(found)
    return table.replace_schema_metadata({"k": "v"}) if draw(st.booleans()) else table


@settings(max_examples=300, deadline=None)
@given(value=arrow_tables())
def test_any_arrow_table_comes_back(value: pa.Table) -> None:
    again = round_trip(value)
    assert type(again) is pa.Table
    assert again.schema.equals(value.schema, check_metadata=True)
    assert repr(again.to_pylist()) == repr(value.to_pylist())


@pytest.mark.parametrize(
    "array", [np.zeros((0, 3)), np.array(3.5), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(["", ""])]
)
def test_arrays_that_are_read_in_one_copy(array: np.ndarray[Any, Any]) -> None:
    again = round_trip(array)
    assert (again.dtype, again.shape, again.flags.f_contiguous) == (array.dtype, array.shape, array.flags.f_contiguous)
    assert np.array_equal(again, array)
    assert again.flags.writeable
