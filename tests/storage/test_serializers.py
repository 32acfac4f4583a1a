"""Values to bytes and back: what "auto" picks is lossless, others can read the formats, errors name the culprit."""

from __future__ import annotations

import base64
import collections
import datetime
import decimal
import functools
import io
import json
import math
import pickle
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from dataflow_storage import ResultStore, SerializationError, Serializer
from dataflow_storage.serializers import SERIALIZERS, by_name, by_suffix, choose, dump, load, resolve

matplotlib.use("agg")

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")


def round_trip(value: object, spec: str | Serializer = "auto") -> object:
    serializer = resolve(spec, value)
    return load(serializer, memoryview(b"".join(dump(serializer, value))))


# --- auto -----------------------------------------------------------------------------------------------------------


class Text(str):
    pass


class Color(int):
    pass


SHARED: list[object] = [1]
ENDLESS: list[object] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("a", "text"), ("", "text"), ("\ud800", "pickle"), (Text("a"), "pickle"),
        (b"a", "bytes"), (bytearray(b"a"), "pickle"),
        (None, "json"), (True, "json"), (1, "json"), (10**400, "pickle"), (Color(1), "pickle"),
        (0.1, "json"), (-0.0, "json"), (math.nan, "pickle"), (math.inf, "pickle"), (1j, "pickle"),
        ([], "json"), ([1, [2, {"a": None}]], "json"), ((1, 2), "pickle"), ([(1,)], "pickle"), ({1}, "pickle"),
        ({}, "json"), ({"a": 1}, "json"), ({1: 2}, "pickle"), ({"a": {None: 1}}, "pickle"), ({"\ud800": 1}, "pickle"),
        (["\ud83d\ude00"], "pickle"), ([Text("a")], "pickle"), ({Text("a"): 1}, "pickle"),
        (collections.OrderedDict(a=1), "pickle"), (collections.Counter("a"), "pickle"),
        ([SHARED, SHARED], "pickle"), (ENDLESS, "pickle"), (list(range(5000)), "pickle"),
        (datetime.date(2026, 1, 1), "pickle"), (decimal.Decimal(1), "pickle"),
        (np.arange(3), "npy"), (np.float64(1), "pickle"), (np.array([None]), "pickle"), (np.ma.array([1]), "pickle"),
        (np.array([(1, 2.0)], dtype="i4,f8"), "pickle"), (np.array(["a"], dtype=np.dtypes.StringDType()), "pickle"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_auto_is_plain_only_where_that_loses_nothing(value: object, name: str) -> None:
    assert choose(value).name == name
    if value is not ENDLESS:
        again = round_trip(value)
        assert type(again) is type(value)
        assert pickle.dumps(again) == pickle.dumps(value) or np.all(again == value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=30,
)


def same(one: object, other: object) -> bool:
    """Equal, type by type; NaN equals NaN and 0.0 does not equal -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return same(list(one.items()), list(other.items()))
    return one == other


@settings(max_examples=400, deadline=None)
@given(value=plain)
def test_auto_gives_back_what_it_got(value: object) -> None:
    assert same(round_trip(value), value)


@settings(max_examples=200, deadline=None)
@given(
    value=st_numpy.arrays(
        dtype=st_numpy.scalar_dtypes() | st_numpy.byte_string_dtypes() | st_numpy.unicode_string_dtypes(),
        shape=st_numpy.array_shapes(min_dims=0, min_side=0, max_side=4),
    ),
    order=st.sampled_from("CF"),
    step=st.sampled_from([1, -1, 2]),
)
def test_arrays_come_back(value: np.ndarray[tuple[int, ...], np.dtype[np.generic]], order: str, step: int) -> None:
    value = np.asarray(value, order="F" if order == "F" else "C")
    value = value[::step] if value.ndim else value
    again = round_trip(value)
    assert choose(value).name == "npy"
    assert isinstance(again, np.ndarray)
    assert (again.dtype, again.shape) == (value.dtype, value.shape)
    assert again.tobytes() == value.tobytes()
    assert again.flags.writeable
    assert np.load(io.BytesIO(b"".join(dump(by_name("npy"), value)))).shape == value.shape


FRAMES = {
    "plain": pd.DataFrame({"a": [1, 2], "b": [0.5, None], "c": ["x", None], "d": [True, False]}),
    "small types": pd.DataFrame(
        {"a": np.array([1], "int8"), "b": np.array([1], "float32"), "c": np.array([1], "uint64")}
    ),
    "dates": pd.DataFrame(
        {"t": pd.date_range("2026-01-01", periods=3, tz="UTC"), "u": pd.to_datetime(["2026", None, "2027"])}
    ),
    "nullable": pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": pd.array([True, None], dtype="boolean")}),
    "no rows": pd.DataFrame({"a": np.array([], "int32"), "s": pd.Series([], dtype="str")}),
    "range index": pd.DataFrame({"a": [1, 2, 3]}, index=pd.RangeIndex(5, 11, 2)),
    "text index": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "series": pd.Series([1, 2], name="n"),
    "series without a name": pd.Series([1.5, None], index=[7, 9]),
    "series named value": pd.Series(["a"], name="value"),
}
ODD_FRAMES = {
    "nothing at all": pd.DataFrame(),
    "interval": pd.DataFrame({"a": pd.interval_range(0, 2)}),
    "a column like an index": pd.DataFrame({"__index_level_0__": [1]}, index=["x"]),
    "float16": pd.DataFrame({"a": np.array([1], "float16")}),
    "seconds": pd.DataFrame({"a": np.array(["2026-01-01"], "datetime64[s]")}),
    "multi index": pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)])),
    "objects": pd.DataFrame({"a": pd.Series([1, "x", None], dtype=object)}),
    "numbers as columns": pd.DataFrame([[1, 2]]),
    "double columns": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "attrs": pd.DataFrame({"a": [1]}),
    "category": pd.DataFrame({"a": pd.Categorical(["x"], ["z", "x"], ordered=True)}),
    "frequency": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2026", periods=2, freq="D")),
    "period": pd.DataFrame({"a": pd.period_range("2026", periods=2, freq="M")}),
    "complex": pd.DataFrame({"a": [1j]}),
    "timedelta": pd.DataFrame({"a": pd.to_timedelta(["1s"])}),
    "named columns": pd.DataFrame([[1]], columns=pd.Index(["a"], name="n")),
    "series named by a number": pd.Series([1], name=3),
}
ODD_FRAMES["attrs"].attrs["unit"] = "m"


@pytest.mark.parametrize("value", [*FRAMES.values(), *ODD_FRAMES.values()], ids=[*FRAMES, *ODD_FRAMES])
def test_tables_come_back_equal_in_everything(value: pd.DataFrame | pd.Series) -> None:
    again: Any = round_trip(value)
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(again, value, check_freq=True, check_column_type=True, check_index_type="exact")
        assert again.columns.name == value.columns.name
    else:
        pd.testing.assert_series_equal(again, value, check_freq=True, check_index_type="exact")
    assert type(again.index) is type(value.index)
    assert again.attrs == value.attrs


@pytest.mark.parametrize("value", FRAMES.values(), ids=FRAMES)
def test_ordinary_tables_are_parquet(value: pd.DataFrame | pd.Series) -> None:
    assert choose(value).name == "parquet"
    for name in ("parquet", "arrow"):
        again = round_trip(value, name)
        assert again.equals(value)  # type: ignore[attr-defined]


def test_arrow_tables() -> None:
    table = pa.table({"a": [1, None], "b": ["x", ""]}).replace_schema_metadata({"k": "v"})
    assert choose(table).name == "parquet"
    assert choose(pa.table({"a": [["x"], []]})).name == "pickle"  # Parquet renames the inside of a list
    for name in ("auto", "parquet", "arrow", "pickle"):
        again = round_trip(table, name)
        assert isinstance(again, pa.Table)
        assert again.equals(table, check_metadata=True)


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1),
            st.floats(),
            st.none() | st.text(st.characters(codec="utf-8")),
            st.booleans(),
        )
    )
)
def test_any_frame_comes_back(data: list[tuple[int, float, str | None, bool]]) -> None:
    frame = pd.DataFrame(data, columns=["i", "f", "s", "b"]).astype(
        {"i": "int64", "f": "float64", "s": "str", "b": "bool"}
    )
    again = round_trip(frame)
    pd.testing.assert_frame_equal(again, frame, check_exact=True)


# --- formats for others ---------------------------------------------------------------------------------------------


def test_others_can_read_targets(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results", target_root=tmp_path / "out")
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    for name in ("t.parquet", "t.csv", "t.arrow", "t.jsonl"):
        store.put_target(name, frame)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "t.parquet"), frame)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "t.csv"), frame)
    pd.testing.assert_frame_equal(pd.read_feather(tmp_path / "out" / "t.arrow"), frame)
    pd.testing.assert_frame_equal(pd.read_json(tmp_path / "out" / "t.jsonl", lines=True), frame)
    for name in ("t.parquet", "t.csv", "t.arrow"):
        found = store.find_target(name)
        assert found is not None
        pd.testing.assert_frame_equal(store.get(found), frame)


def test_a_folder_of_targets_reads_as_one_table(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results", target_root=tmp_path)
    for month in range(3):
        store.put_target(f"months/{month}.parquet", pd.DataFrame({"month": [month]}))
    assert sorted(pd.read_parquet(tmp_path / "months")["month"]) == [0, 1, 2]


def test_parquet_of_others_is_a_frame() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    value = load(by_name("parquet"), memoryview(sink.getvalue()))
    assert isinstance(value, pd.DataFrame)


def test_json_that_was_asked_for_takes_what_people_mean() -> None:
    value = {"n": np.int64(3), "x": np.float32(0.5), "a": np.arange(2), "d": datetime.date(2026, 1, 2), 1: (1, 2)}
    assert round_trip(value, "json") == {"n": 3, "x": 0.5, "a": [0, 1], "d": "2026-01-02", "1": [1, 2]}
    with pytest.raises(SerializationError, match="not JSON compliant"):
        round_trip([math.nan], "json")
    with pytest.raises(SerializationError, match="JSON has no set"):
        round_trip({"a": {1}}, "json")


def test_lines_rows_pages_and_pictures() -> None:
    rows = [{"a": 1}, {"a": "ü\u2028\n"}]
    assert round_trip(rows, "jsonl") == rows
    assert round_trip(pa.table({"a": [1]}), "jsonl") == [{"a": 1}]
    assert b"".join(dump(by_name("csv"), [{"a": 1}, {"a": 2, "b": 3}])) == b"a,b\n1,\n2,3\n"
    assert b"".join(dump(by_name("csv"), [])) == b"\n"
    assert round_trip(pd.DataFrame({"a": [1]}, index=["x"]), "csv").shape == (1, 2)  # type: ignore[attr-defined]
    assert round_trip("<p>", "html") == "<p>"
    assert "<table" in str(round_trip(pd.DataFrame({"a": [1]}), "html"))
    assert round_trip(PNG, "png") == PNG
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot().plot([1, 2])
    assert bytes(round_trip(figure, "png")).startswith(b"\x89PNG")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "value"),
    [("text", 1), ("bytes", "a"), ("npy", [1]), ("npy", np.array([None])), ("npy", np.ma.array([1])), ("parquet", [1]),
     ("arrow", {}), ("csv", 1), ("csv", [1]), ("jsonl", {}), ("html", 1), ("png", b"GIF"), ("png", "x")],
)  # fmt: skip
def test_a_format_that_does_not_fit_says_what_it_takes(name: str, value: object) -> None:
    with pytest.raises(SerializationError, match=f"The serializer '{name}' cannot handle .*: it takes "):
        dump(by_name(name), value)


def test_suffixes() -> None:
    for each in SERIALIZERS:
        for suffix in each.suffixes:
            assert by_suffix(f"a.b/c{suffix.upper()}", None) is each
    assert by_suffix("Makefile", "text").name == "text"
    assert by_suffix("a.weird", b"x").name == "bytes"
    with pytest.raises(SerializationError, match=r"'a\.weird' does not tell the format.*\.parquet"):
        by_suffix("a.weird", 1)
    with pytest.raises(SerializationError, match=r"no serializer of this name.*parquet"):
        by_name("xml")
    with pytest.raises(SerializationError, match="a int is no serializer"):
        resolve(3, 1)  # type: ignore[arg-type]


# --- pickle ---------------------------------------------------------------------------------------------------------


class Connection:
    def __init__(self) -> None:
        self.socket = threading.Lock()


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, inner: object) -> None:
        self.inner = inner


class Rude:
    def __reduce__(self) -> str:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def closure() -> object:
    lock = threading.Lock()
    return lambda: lock


@pytest.mark.parametrize(
    ("value", "blame"),
    [
        (threading.Lock(), "cannot handle _thread.lock: "),
        ({"db": [Connection()]}, r"because of value\['db'\]\[0\]\.socket \(a _thread\.lock\)"),
        (Slotted((1, Slotted(threading.Lock()))), r"because of value\.inner\[1\]\.inner \(a _thread\.lock\)"),
        (closure(), r"because of value variable 'lock' \(a _thread\.lock\)"),
        (functools.partial(print, Connection()), r"because of value\.args\[0\]\.socket"),
        (Connection().__init__, r"because of value\.__self__\.socket"),  # type: ignore[misc]
        ([Rude()], r"because of value\[0\] \(a .*Rude\): RuntimeError: no"),
        ((number for number in range(3)), "cannot handle generator"),
        ([ENDLESS, threading.Lock()], r"because of value\[1\]"),
    ],
    ids=["lock", "attribute", "slots", "closure", "partial", "method", "rude", "generator", "endless"],
)
def test_what_cannot_be_pickled_is_named(value: object, blame: str) -> None:
    with pytest.raises(SerializationError, match=blame):
        dump(by_name("pickle"), value)


def test_things_of_main_travel_by_value(tmp_path: Path) -> None:
    path = tmp_path / f"{uuid.uuid4().hex}.pkl"
    script = (
        "import sys; from dataflow_storage.serializers import by_name, dump\n"
        "class Point:\n    def __init__(self, x): self.x = x\n"
        "class Oops(Exception):\n    def __init__(self, a, b): super().__init__(a); self.b = b\n"
        "open(sys.argv[1], 'wb').write(b''.join(dump(by_name('pickle'), [Point(3), lambda: 4])))\n"
        "open(sys.argv[1] + '2', 'wb').write(b''.join(dump(by_name('pickle'), Oops(1, 2))))\n"
    )
    wing = str(Path(sys.modules["dataflow_storage"].__file__ or "").parents[1])
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, env={"PYTHONPATH": wing})
    point, function = pickle.loads(path.read_bytes())
    assert (point.x, function()) == (3, 4)
    error = pickle.loads(Path(f"{path}2").read_bytes())
    assert (type(error).__name__, error.args, error.b) == ("Oops", (1,), 2)


def test_bytes_that_cannot_be_loaded_here() -> None:
    data = pickle.dumps(decimal.Decimal).replace(b"decimal", b"absent0")
    with pytest.raises(
        SerializationError, match=r"cannot be read here: ModuleNotFoundError.*The stored bytes are intact"
    ):
        load(by_name("pickle"), memoryview(data))


def test_a_serializer_that_cannot_travel_is_refused(tmp_path: Path) -> None:
    class Keeper:
        name = "keeper"
        suffixes = ()
        lock = None

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def handles(self, value: object) -> bool:
            return True

        def dumps(self, value: object) -> bytes:
            return b""

        def loads(self, data: bytes) -> object:
            return None

    with pytest.raises(SerializationError, match="the serializer cannot be pickled"):
        ResultStore(tmp_path).put("k", 1, serializer=Keeper())


def test_json_is_compact_and_readable() -> None:
    assert b"".join(dump(by_name("json"), {"ü": [1, 2]})) == '{"ü":[1,2]}'.encode()
    assert json.loads(b"".join(dump(by_name("json"), "\u2028"))) == "\u2028"
