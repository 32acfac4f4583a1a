"""`-p`: text becomes what the flow's annotations want, or is refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call

NEEDED = ("-p", "day=2026-11-22", "-p", 'box={"width": 2}')
ORDER = ("day", "width", "height", "colour", "xs", "on", "free", "word", "maybe")


def value(cli: Call, *given: str) -> dict[str, object]:
    said = cli("run", "flows.py:typed", "-q", *NEEDED, *(word for item in given for word in ("-p", item)))
    assert said.code == 0, said.err
    shown = cli("result", "@last", "--json").data["value"]
    assert isinstance(shown, list)
    return dict(zip(ORDER, shown, strict=True))


@pytest.mark.parametrize(
    ("given", "name", "wanted"),
    [
        ("day=2026-01-02", "day", "2026-01-02"),
        ("colour=blue", "colour", "blue"),
        ("xs=[1, 2]", "xs", [1, 2]),
        ("xs=[]", "xs", []),
        ("on=true", "on", True),
        ("on=no", "on", False),
        ("free=3", "free", 3),
        ("free=text", "free", "text"),
        ('free={"a": 1}', "free", {"a": 1}),
        ("word=3", "word", "3"),
        ("word=", "word", ""),
        ("word=a=b", "word", "a=b"),
        ("maybe=7", "maybe", 7),
        ("maybe=null", "maybe", None),
    ],
)
def test_text_becomes(cli: Call, given: str, name: str, wanted: object) -> None:
    assert value(cli, given)[name] == wanted if not given.startswith("day") else True
    if given.startswith("day"):
        said = cli("run", "flows.py:typed", "-q", "-p", given, *NEEDED[2:])
        assert said.code == 0
        assert said.out.startswith(f"['{wanted}'")


def test_defaults_stay(cli: Call) -> None:
    assert value(cli) == dict(zip(ORDER, ("2026-11-22", 2, 1, "red", [], False, None, "w", 3), strict=True))


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_a_file_of_parameters(cli: Call, folder: Path, kind: str) -> None:
    values = {"box": {"width": 5, "height": 6}, "xs": [3], "word": "file"}
    text = json.dumps(values) if kind == "json" else "box:\n  width: 5\n  height: 6\nxs: [3]\nword: file\n"
    (folder / f"params.{kind}").write_text(text, encoding="utf-8")
    found = value(cli, f"@params.{kind}", "word=later")
    assert (found["width"], found["height"], found["xs"]) == (5, 6, [3])
    assert found["word"] == "later", "what comes later on the line wins"


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [", "3: x\n"])
def test_a_file_that_holds_no_parameters(cli: Call, folder: Path, text: str) -> None:
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    said = cli("run", "flows.py:etl", "-p", "@params.yaml")
    assert said.code == 2
    assert "'params.yaml'" in said.err


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("xs=[1, x]", "valid list"),
        ("xs=[1, true, null]", "at 2"),
        ('box={"height": 2}', "width"),
        ("colour=green", "'red' or 'blue'"),
        ("day=tomorrow", "date"),
        ("on=perhaps", "boolean"),
    ],
)
def test_text_that_does_not_fit(cli: Call, given: str, reason: str) -> None:
    name = given.partition("=")[0]
    needed = [word for item in NEEDED[1::2] if not item.startswith(f"{name}=") for word in ("-p", item)]
    said = cli("run", "flows.py:typed", *needed, "-p", given)
    assert said.code == 2
    assert f"parameter {name!r} of flow 'typed'" in said.err
    assert reason in said.err
    assert "hint: " in said.err
