"""Parameters of a flow: checked and converted when the graph is built, before anything runs."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import pydantic
import pytest

from dataflow import Graph, Secret, flow, task
from tests.semantics.conftest import Ledger


class Color(enum.Enum):
    """An enum to ask for."""

    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    """A dataclass to ask for."""

    x: int
    y: int = 0


class Settings(pydantic.BaseModel):
    """A pydantic model to ask for."""

    depth: int
    name: str = "s"


class Engine:
    """A class that pydantic knows nothing of."""

    def __str__(self) -> str:
        return "engine"


ENGINE = Engine()
CONVERTED: list[tuple[Any, Any, Any]] = [
    (int, "3", 3),
    (float, 3, 3.0),
    (str, "a", "a"),
    (bool, "true", True),
    (date, "2026-11-22", date(2026, 11, 22)),
    (timedelta, 60, timedelta(minutes=1)),
    (Path, "a/b", Path("a/b")),
    (list[int], ["1", "2"], [1, 2]),
    (list[int], (1, 2), [1, 2]),
    (dict[str, float], {"a": "1.5"}, {"a": 1.5}),
    (tuple[int, str], ["1", "x"], (1, "x")),
    (set[int], [1, 1, 2], {1, 2}),
    (int | None, None, None),
    (int | None, "4", 4),
    (Literal["a", "b"], "b", "b"),
    (Color, "red", Color.RED),
    (Point, {"x": "1"}, Point(1, 0)),
    (Settings, {"depth": "2"}, Settings(depth=2)),
    (Annotated[int, pydantic.Field(ge=0)], "5", 5),
    (Engine, ENGINE, ENGINE),
    (Any, ENGINE, ENGINE),
    (object, ENGINE, ENGINE),
]


@pytest.mark.parametrize(("wanted", "given", "converted"), CONVERTED, ids=lambda value: str(value))
def test_a_parameter_is_converted_by_its_annotation(wanted: Any, given: Any, converted: Any) -> None:
    seen: list[object] = []

    def body(x):  # type: ignore[no-untyped-def]
        seen.append(x)

    body.__annotations__["x"] = wanted
    body.__signature__ = _signature(wanted)  # type: ignore[attr-defined]
    graph = flow(body).graph(given)
    assert seen == [converted]
    assert type(seen[0]) is type(converted)
    assert graph.parameters == {"x": converted}


def _signature(wanted: Any) -> Any:
    import inspect

    return inspect.Signature([inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=wanted)])


REFUSED: list[tuple[Any, Any, str]] = [
    (int, "three", "int"),
    (int, 1.5, "int"),
    (str, 3, "str"),
    (date, "yesterday", "date"),
    (list[int], "many", "list[int]"),
    (list[int], [1, "x"], "list[int]"),
    (dict[str, float], {"a": "b"}, "dict[str, float]"),
    (Literal["a", "b"], "c", "Literal"),
    (Color, "green", "Color"),
    (Point, {"y": 1}, "Point"),
    (Settings, {"depth": "deep"}, "Settings"),
    (Annotated[int, pydantic.Field(ge=0)], -1, "int"),
    (Engine, 3, "Engine"),
    (int, None, "int"),
]


@pytest.mark.parametrize(("wanted", "given", "named"), REFUSED, ids=lambda value: str(value))
def test_a_bad_parameter_is_named_with_what_it_got_and_what_it_takes(wanted: Any, given: Any, named: str) -> None:
    def body(x):  # type: ignore[no-untyped-def]
        raise AssertionError("the body ran")

    body.__annotations__["x"] = wanted
    body.__signature__ = _signature(wanted)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="flow 'body': parameter 'x'") as caught:
        flow(body).graph(given)
    assert f"got {given!r}, wanted " in str(caught.value)
    assert named in str(caught.value).partition("wanted ")[2]


@flow
def etl(urls: list[str], day: date, strict: bool = True, *, limit: int = 10) -> None:
    """A flow with parameters of every sort."""


def test_annotations_written_as_text_are_understood() -> None:
    assert etl.graph(urls=["a"], day="2026-11-22").parameters["day"] == date(2026, 11, 22)


def test_defaults_are_among_the_parameters() -> None:
    graph = etl.graph(["a"], "2026-11-22")
    assert graph.parameters == {"urls": ["a"], "day": date(2026, 11, 22), "strict": True, "limit": 10}


def test_positions_and_names_mean_the_same() -> None:
    by_position, by_name = etl.graph(["a"], "2026-11-22", False), etl.graph(day="2026-11-22", urls=["a"], strict=False)
    assert by_position.parameters == by_name.parameters


def test_every_bad_parameter_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"'urls'.*'day'.*'limit'"):
        etl.graph(urls=3, day="x", limit="many")


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(ValueError, match=r"flow 'etl': .*'day'.*etl\(urls: "):
        etl.graph(urls=["a"])


def test_an_unknown_parameter_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"flow 'etl': no parameter 'dya'\. Did you mean 'day'\?"):
        etl.graph(urls=["a"], dya="2026-11-22")


def test_an_unknown_parameter_without_a_likeness_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no parameter 'zzz'\. It takes: urls, day, strict, limit\."):
        etl.graph(urls=["a"], day="2026-11-22", zzz=1)


def test_too_many_positions_and_a_name_given_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="too many positional"):
        etl.graph(["a"], "2026-11-22", True, 4)
    with pytest.raises(ValueError, match="multiple values for argument 'urls'"):
        etl.graph(["a"], urls=["b"], day="2026-11-22")


def test_star_arguments_are_refused_and_double_star_ones_keep_their_names() -> None:
    @flow
    def starred(*args: int) -> None: ...

    @flow
    def keyworded(**options: int) -> None: ...

    with pytest.raises(ValueError, match=r"flow 'starred': takes \*args"):
        starred.graph(1)
    assert keyworded.graph(a=1, b=2).parameters == {"a": 1, "b": 2}


def test_an_annotation_that_is_no_type_only_tells_people() -> None:
    @flow
    def loose(day: "when it was", frame: "unknown.Frame") -> None: ...  # type: ignore  # noqa: F722, F821, PGH003, UP037

    assert loose.graph("today", 3).parameters == {"day": "today", "frame": 3}


def test_a_table_is_a_parameter_like_any_other() -> None:
    @flow
    def table(frame: pd.DataFrame) -> None: ...

    frame = pd.DataFrame({"a": [1]})
    assert table.graph(frame).parameters["frame"] is frame
    with pytest.raises(ValueError, match=r"parameter 'frame': got \[1\], wanted DataFrame"):
        table.graph([1])


def test_a_long_value_is_shortened_in_the_error() -> None:
    @flow
    def short(text: int) -> None: ...

    with pytest.raises(ValueError, match="parameter 'text'") as caught:
        short.graph("x" * 10_000)
    assert len(str(caught.value)) < 400


def test_a_secret_is_not_converted() -> None:
    @flow
    def hidden(token: str) -> None: ...

    secret = Secret("API_TOKEN")
    assert hidden.graph(secret).parameters["token"] is secret


def test_nothing_runs_when_a_parameter_is_bad(executor: Any, ledger: Ledger) -> None:
    @task
    def body(n: int) -> None:
        ledger.mark("task")

    @flow
    def once(n: int) -> None:
        ledger.mark("flow")
        body(n)

    bad: Any = "x"
    with pytest.raises(ValueError, match="parameter 'n'"):
        once.run(bad, executor=executor)
    assert ledger.lines() == []


def test_a_task_gets_the_converted_value(executor: Any) -> None:
    @task
    def after(day: date) -> date:
        return day + timedelta(days=1)

    @flow
    def tomorrow(day: date) -> object:
        return after(day)

    given: Any = "2026-11-22"
    assert tomorrow.run(day=given, executor=executor).result() == date(2026, 11, 23)


def test_a_parameter_called_as_an_option_of_run_is_the_flows() -> None:
    @task
    def same(x: object) -> object:
        return x

    @flow
    def odd(executor: str, results: int) -> object:
        return same((executor, results))

    assert odd.run(executor="none of yours", results=4).result() == ("none of yours", 4)


def test_calling_a_flow_gives_a_graph_and_runs_nothing(ledger: Ledger) -> None:
    @task
    def body() -> None:
        ledger.mark("task")

    @flow
    def once() -> object:
        return body()

    graph = once()
    assert isinstance(graph, Graph)
    assert repr(graph) == "Graph(once: 1 nodes; not run)"
    assert ledger.lines() == []


def test_a_graph_can_be_run(executor: Any) -> None:
    @task
    def body(n: int) -> int:
        return n + 1

    @flow
    def once(n: int) -> object:
        return body(n)

    assert once.graph(4).run(executor=executor).result() == 5
