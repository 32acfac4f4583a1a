"""Dataclass and pydantic values: JSON with their class where that loses nothing, pickle where it would."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from dataflow_storage import ResultStore, SerializationError
from dataflow_storage.serializers import by_name, choose, dump, load
from dataflow_storage.typed import same


class Color(enum.Enum):
    RED = "red"
    BLUE = (1, 2)


@dataclass
class Point:
    x: int
    y: float = 0.5


@dataclass(frozen=True, slots=True)
class Report:
    name: str
    when: dt.datetime
    day: dt.date
    took: dt.timedelta
    price: decimal.Decimal
    id: uuid.UUID
    color: Color
    points: list[Point]
    by_name: dict[str, Point | None]
    pair: tuple[int, str]
    path: Path
    flags: frozenset[int] = frozenset()
    data: bytes = b""
    either: int | str | float | None = None


class Model(BaseModel):
    a: int
    when: dt.datetime | None = None
    inner: Point | None = None
    rest: list[Model] = []
    renamed: int = Field(default=1, alias="other")


class Doubling(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def double(cls, x: int) -> int:
        return x * 2


@dataclass
class Loose:
    anything: Any


@dataclass
class Derived:
    x: int
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        self.twice = 2 * self.x


@dataclass
class Counted:
    x: int

    def __post_init__(self) -> None:
        self.x += 1


def round_trip(value: object) -> object:
    serializer = choose(value)
    return load(serializer, memoryview(b"".join(dump(serializer, value))))


def local_class() -> object:
    @dataclass
    class Local:
        x: int

    return Local(1)


EXTRA = Point(1)
EXTRA.note = "more"  # type: ignore[attr-defined]
NOON = dt.datetime(2026, 1, 1, 12)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Point(1), "typed"), (Model(a=1, inner=Point(2), rest=[Model(a=2)]), "typed"), (Model(a=1, when=NOON), "typed"),
        (Derived(2), "typed"), (Loose([1, {"a": None}]), "typed"),
        (Point(1, 2), "pickle"),  # it would come back as 2.0
        (Point("1"), "pickle"), (Point(1, float("nan")), "pickle"), (Point(True), "pickle"),  # type: ignore[arg-type]
        (Loose((1,)), "pickle"), (Loose({1}), "pickle"), (Loose(NOON), "pickle"), (Loose(Point(1)), "pickle"),
        (Model(a=1, when=NOON.replace(tzinfo=dt.UTC)), "pickle"), (Model(a=1, other=5), "pickle"),
        (Doubling(x=1), "pickle"), (Counted(1), "pickle"), (EXTRA, "pickle"), (local_class(), "pickle"),
        (Loose(print), "pickle"), (Loose("x" * 100_000), "pickle"), (Point, "pickle"), ([Point(1)], "pickle"),
    ],
)  # fmt: skip
def test_auto_is_typed_only_where_that_loses_nothing(value: Any, name: str) -> None:
    assert choose(value).name == name
    again = round_trip(value)
    assert type(again) is type(value)
    assert repr(again) == repr(value)
    if "nan" not in repr(value):
        assert getattr(again, "__dict__", None) == getattr(value, "__dict__", None)


reports = st.builds(
    Report,
    name=st.text(),
    when=st.datetimes(timezones=st.none() | st.just(dt.UTC) | st.timezones()),
    day=st.dates(),
    took=st.timedeltas(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    id=st.uuids(),
    color=st.sampled_from(Color),
    points=st.lists(st.builds(Point, x=st.integers(), y=st.floats())),
    by_name=st.dictionaries(st.text(), st.none() | st.builds(Point, x=st.integers()), max_size=3),
    pair=st.tuples(st.integers(), st.text()),
    path=st.just(Path("a/b")),
    flags=st.frozensets(st.integers()),
    data=st.binary(),
    either=st.none() | st.integers() | st.text() | st.floats() | st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(value=reports)
def test_a_report_comes_back_equal_type_by_type(value: Report) -> None:
    again = round_trip(value)
    assert type(again) is Report
    # The same set may show itself in another order.
    assert repr(replace(again, flags=frozenset())) == repr(replace(value, flags=frozenset()))
    assert (again.flags, set(map(type, again.flags))) == (value.flags, set(map(type, value.flags)))
    assert [type(each) for each in (again.when.tzinfo, again.either)] == [type(value.when.tzinfo), type(value.either)]


@settings(max_examples=100, deadline=None)
@given(value=st.builds(Model, a=st.integers(), when=st.none() | st.datetimes(), inner=st.none() | st.builds(Point)))
def test_a_model_comes_back_equal_type_by_type(value: Model) -> None:
    again = round_trip(value)
    assert isinstance(again, Model)
    assert again == value
    assert repr(again) == repr(value)


def test_most_reports_are_json_for_everybody() -> None:
    value = Report(
        "a", NOON, NOON.date(), dt.timedelta(1), decimal.Decimal("1.50"), uuid.UUID(int=1), Color.RED, [Point(1)],
        {"p": None}, (1, "x"), Path("a"),
    )  # fmt: skip
    assert choose(value).name == "typed"
    shown = json.loads(b"".join(dump(by_name("typed"), value)))
    assert shown["type"] == f"{__name__}:Report"
    assert (shown["value"]["price"], shown["value"]["day"], shown["value"]["color"]) == ("1.50", "2026-01-01", "red")


MODULE = """
import dataclasses
@dataclasses.dataclass
class Point:
    x: int
    y: list[str]
"""
WRITE = """
import sys, cloudpickle, dataflow_storage, points
store = dataflow_storage.ResultStore(sys.argv[1], pickle=False)
import json; print(json.dumps(store.put("k", points.Point(1, ["a"])).reference.to_dict()))
"""
READ = """
import sys, json, dataflow_storage
store = dataflow_storage.ResultStore(sys.argv[1], pickle=False)
print(store.get(store.find("k")))
"""


def test_another_process_restores_the_class(tmp_path: Path) -> None:
    (tmp_path / "points.py").write_text(MODULE)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    for script in (WRITE, READ):
        command = [sys.executable, "-c", script, str(tmp_path / "results")]
        shown = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout
    assert shown == "Point(x=1, y=['a'])\n"
    store = ResultStore(tmp_path / "results")
    found = store.find("k")
    assert found is not None
    with pytest.raises(SerializationError, match="ModuleNotFoundError: No module named 'points'"):
        store.get(found)


@pytest.mark.parametrize("name", ["os:system", "builtins:eval", "subprocess:Popen", "enum:Enum", f"{__name__}:Color"])
def test_only_dataclasses_and_models_are_ever_called(name: str) -> None:
    data = json.dumps({"type": name, "value": "echo"}, separators=(",", ":")).encode()
    with pytest.raises(SerializationError, match="is neither a dataclass nor a pydantic model"):
        load(by_name("typed"), memoryview(data))


def test_classes_that_cannot_be_imported_are_pickled() -> None:
    lost = make_dataclass("Lost", ["x"])
    assert choose(lost(1)).name == "pickle"
    assert round_trip(lost(1)).x == 1  # type: ignore[attr-defined]
    hidden = type("Point", (Point,), {"__module__": "no_such_module"})
    assert choose(hidden(1)).name == "pickle"


def test_a_json_target_is_plain_json(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    value = {"point": Point(1), "model": Model(a=2, when=NOON, inner=Point(3)), "color": Color.RED, "day": NOON.date()}
    target = store.put_target("a.json", value).reference
    assert json.loads(Path(target.url).read_text()) == {
        "point": {"x": 1, "y": 0.5},
        "model": {"a": 2, "when": "2026-01-01T12:00:00", "inner": {"x": 3, "y": 0.5}, "rest": [], "renamed": 1},
        "color": "red",
        "day": "2026-01-01",
    }
    rows = store.put_target("a.jsonl", [Point(1), Model(a=1)]).reference
    assert store.get(rows)[0] == {"x": 1, "y": 0.5}  # type: ignore[index]


def test_same_tells_what_equality_does_not() -> None:
    assert same([1, (2, "a")], [1, (2, "a")])
    for one, other in ((1, True), (0.0, -0.0), ([1], (1,)), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({1}, {1.0})):
        assert not same(one, other)
    assert not same(object, object)
