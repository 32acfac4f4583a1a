"""Values of every kind that has a digest, all different, and classes to make them of."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import functools
import json
import math
import operator
import re
import types
import typing
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Order:
    number: int
    items: tuple[str, ...] = ()
    note: object = None


class Settings(pydantic.BaseModel):
    host: str
    port: int = 80
    parts: dict[str, list[int]] = {}


class Celsius(float):
    """A number of a class of its own."""


class Tagged(list[Any]):
    """A list that carries something beside its items."""

    tag: object = None


class Token:
    """Says itself what it is."""

    def __init__(self, told: object) -> None:
        self.told = told

    def __dask_tokenize__(self) -> object:
        return self.told


class Opaque:
    """Has no digest."""

    def __init__(self, lock: object = None) -> None:
        self.lock = lock


def triple(x: int) -> int:
    return 3 * x


def tagged(tag: object) -> Tagged:
    made = Tagged([1])
    made.tag = tag
    return made


FRAME = {
    "int": [1, 2, 3],
    "text": ["x", None, "z"],
    "category": pd.Categorical(["u", "v", "u"], categories=["v", "u"], ordered=True),
    "zoned": pd.date_range("2026-03-28", periods=3, tz="Europe/Berlin"),
    "nullable": pd.array([1, None, 3], dtype="Int64"),
    "nullable float": pd.array([1.5, None, 3.0], dtype="Float64"),
    "nullable bool": pd.array([True, None, False], dtype="boolean"),
    "period": pd.period_range("2026", periods=3, freq="M"),
    "interval": pd.interval_range(0, 3),
    "string": pd.array(["a", None, "b"], dtype="string"),
    "arrow": pd.array([[1], None, [2, 3]], dtype=pd.ArrowDtype(pa.list_(pa.int8()))),
    "object": ["name", 1, None],
    "delta": pd.to_timedelta([1, 2, 3], unit="s"),
    "sparse": pd.arrays.SparseArray([0, 0, 1]),
}
COLUMNS: dict[str, Any] = {
    "int": pa.array([1, None, 3, 4]),
    "float": pa.array([1.0, math.nan, None, 2.0]),
    "half": pa.array(np.array([1, 2, np.nan, 4], dtype="f2")),
    "bool": pa.array([True, None, False, True]),
    "text": pa.array(["a", None, "ccc", "dd"]),
    "view": pa.array(["a", None, "ccc", "a text of many letters"], pa.string_view()),
    "binary": pa.array([b"a", b"", None, b"\0"], pa.large_binary()),
    "fixed": pa.array([b"abc", None, b"def", b"ghi"], pa.binary(3)),
    "decimal": pa.array([None, 1, 2, 3], pa.decimal128(5, 2)),
    "time": pa.array([1, None, 3, 4], pa.timestamp("ms", "UTC")),
    "span": pa.array([None, (1, 2, 3), (1, 2, 4), (0, 0, 0)], pa.month_day_nano_interval()),
    "list": pa.array([[1], None, [], [2, None]]),
    "pair": pa.array([[1, 2], None, [3, 4], [5, None]], pa.list_(pa.int8(), 2)),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 4, "b": None}]),
    "map": pa.array([[("a", 1)], None, [("b", 2), ("c", 3)], []], pa.map_(pa.string(), pa.int8())),
    "dictionary": pa.array(["u", "v", "u", None]).dictionary_encode(),
    "runs": pa.array([1, 1, 2, None], pa.run_end_encoded(pa.int16(), pa.int8())),
    "null": pa.nulls(4),
}


def samples() -> dict[str, object]:
    """Values of every kind, all different."""
    made: list[object] = [
        None, True, False, 0, 1, -1, 255, -255, 10**400, 0.0, -0.0, 1.0, math.nan, math.inf, 0j, complex(0, -0.0),
        1 + 2j, "", "1", "grün", "\ud800", "x" * 5000, b"", b"1", b"x" * 5000, bytearray(b"1"), memoryview(b"1"), ...,
        NotImplemented, [], (), {}, set(), frozenset(), [1], (1,), [[1], [2]], [[1, 2]], [[], [1, 2]], ["a", "b"],
        ["ab"], [["a"], "b"], {1: 2}, {2: 1}, {1, 2}, frozenset({1, 2}), {"a": {"b": [1]}}, {("a", 1): {2}},
        {"a", "b", "c", "d", "e"}, {f"k{n}": n for n in range(50)}, list(range(50)), [*range(49), 49.0], [True, 1],
        [1, True], [*"abcdefghijklmnopqrstu"], range(3), range(0, 6, 2), range(10**30), slice(1), slice(1, 2),
        slice(0, 1, None), dt.date(2026, 11, 22), dt.datetime(2026, 11, 22), dt.datetime(2026, 11, 22, 1, fold=1),
        dt.datetime(2026, 11, 22, tzinfo=dt.UTC), dt.datetime(2026, 11, 22, tzinfo=BERLIN),
        dt.datetime.min.replace(tzinfo=BERLIN), dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
        dt.datetime(2026, 11, 22, tzinfo=dt.timezone(dt.timedelta(hours=1))), dt.time(1), dt.time(1, tzinfo=dt.UTC),
        dt.timedelta(1), dt.timedelta(0, 1), dt.UTC, dt.timezone(dt.timedelta(hours=1)), BERLIN,
        zoneinfo.ZoneInfo("Asia/Tokyo"), Decimal("1.0"), Decimal("1.00"), Decimal("NaN"), Fraction(1, 3),
        uuid.UUID(int=7), PurePosixPath("a/b"), Path("a/c"), PureWindowsPath("a/b"), re.compile("a+"),
        re.compile("a+", re.I), re.compile(b"a+"), types.SimpleNamespace(a=1), types.MappingProxyType({1: 2}),
        collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1), collections.defaultdict(bool, a=1),
        collections.defaultdict(int, a=1), collections.Counter("aab"), collections.deque([1]),
        collections.deque([1], 5), Colour.RED, Colour.BLUE, Access.READ, Access.READ | Access.WRITE, Point(1, 2),
        Point(2, 1), Order(1), Order(1, ("a",)), Order(1, note=[1]), Settings(host="a"), Settings(host="a", port=81),
        Settings(host="a", parts={"x": [1]}), Celsius(1.0), Tagged([1]), tagged("a"), Token(1), Token("1"), int, dict,
        list[int], list[str], int | str, list[int] | None, typing.Any, Order, Colour, Settings, Opaque, len, max,
        str.upper, "a".upper, dict.fromkeys, math, triple, lambda x: 4 * x, operator.itemgetter(1),
        operator.itemgetter(1, 2), operator.attrgetter("a"), operator.methodcaller("a", 1, b=2),
        functools.partial(triple, 1), functools.partial(triple, x=1), functools.lru_cache(triple), Order(1).__eq__,
        np.mean, np.add, np.float64, json.dumps, np.float64(1), np.float32(1), np.int64(1), np.bool_(True),
        np.str_("a"), np.datetime64("NaT", "s"), np.datetime64("2026", "s"), np.datetime64("2026", "ns"),
        np.dtype("f8"), np.dtype("f4"), np.dtype([("a", "i2")]), np.ma.masked,
        *(np.zeros(shape) for shape in (0, 1, (2, 3), (3, 2), (6,), (0, 2), ())), np.arange(6.0).reshape(2, 3),
        np.arange(6.0).reshape(3, 2), np.array([1.0, math.nan]), np.array([-0.0]),
        np.array([1 + 2j, complex(math.nan, 1)]),
        *(np.zeros(3, kind) for kind in ("?", "i1", "u8", "f2", "g", "c8", "S3", "U3", "M8[ns]", "m8[s]", "V5", "O",
        "S0")),
        np.zeros(3, [("a", "i2"), ("b", "f8", (2,))]), np.array(["a", "b"]), np.array(["a", "b"], object),
        np.array(["a", None], object), np.array(["a", "b"], np.dtypes.StringDType()), np.array([[1], [1, 2]], object),
        np.ma.masked_array([1, 2, 3], [False, True, False]), np.ma.masked_array([1, 2, 3]),
        np.zeros(3).view(np.recarray), pd.NaT, pd.NA, pd.Timestamp("2026", tz="UTC"), pd.Timestamp("2026"),
        pd.Timedelta(1, "s"), pd.Period("2026", "M"), pd.Interval(0, 1), pd.Interval(0, 1, closed="left"),
        pd.offsets.MonthEnd(2), pd.DateOffset(months=1), pd.StringDtype(), pd.CategoricalDtype(["a"]),
        pd.CategoricalDtype(["a"], ordered=True), pd.RangeIndex(3), pd.Index([0, 1, 2]), pd.Index(["a"], name="n"),
        pd.MultiIndex.from_product([[1, 2], ["a"]]), pd.date_range("2026", periods=3),
        pd.date_range("2026", periods=3, freq="h"), pd.DataFrame(FRAME), pd.DataFrame(FRAME).iloc[:, ::-1],
        pd.DataFrame(FRAME, index=[3, 4, 5]), pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.0]}),
        pd.DataFrame({"b": [1]}), pd.DataFrame({("a", "b"): [1]}), pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame(), pd.Series([1]), pd.Series([1], name="a"), *(pd.Series(column) for column in FRAME.values()),
        pd.array([1]), pd.array(["a"], dtype="str"), pa.table(COLUMNS), pa.table(COLUMNS).schema,
        pa.table(COLUMNS).to_batches()[0], pa.table({"a": [1]}),
        pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}), *COLUMNS.values(), pa.chunked_array([[1]]),
        pa.scalar(1), pa.scalar(1, pa.int8()), pa.scalar("a"), pa.int8(), pa.list_(pa.int8()),
        pa.timestamp("s", "UTC"), pa.array([b"x" * 16], pa.uuid()), pa.field("a", pa.int8()),
        pa.field("a", pa.int8(), nullable=False), pa.Table.from_pandas(pd.DataFrame({"a": [1]})),
    ]  # fmt: skip
    return {f"{place} {type(value).__qualname__}": value for place, value in enumerate(made)}
