"""Functions and classes that travel by value keep the file and the lines that they came from."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType
from typing import Any

import cloudpickle
import pytest

from dataflow.pickles import dumps


def written(file: str) -> dict[str, Any]:
    """What somebody wrote in a file that is no module."""
    space: dict[str, Any] = {"__name__": "__main__"}
    text = (
        "def outer(x):\n"
        "    def inner(y):\n"
        "        return [(lambda z: 1 // z)(v) for v in [y]]\n"
        "    return inner(x)\n"
        "class Thing:\n"
        "    def method(self):\n"
        "        return outer(0)\n"
        "quick = lambda: outer(0)\n"
    )
    exec(compile(text, file, "exec"), space)
    return space


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from codes(each)


def files_of(call: Callable[[], object]) -> list[tuple[str, int | None]]:
    """Where it fails, from the frame that is called first."""
    try:
        call()
    except ZeroDivisionError as error:
        return [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)[1:]]
    raise AssertionError("it did not fail")


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("file", ["/somewhere/flow.py", "/tmp/ipykernel_1/23.py", "a b\u00fc.py", "<nowhere>"])
def test_a_traceback_names_the_file_and_the_lines_also_after_a_journey(file: str, times: int) -> None:
    here = written(file)
    made = {name: here[name] for name in ("outer", "Thing", "quick")}
    for _ in range(times):
        made = pickle.loads(dumps(made))
    assert {code.co_filename for code in codes(made["outer"].__code__)} == {file}
    for before, after in [
        (partial(here["outer"], 0), partial(made["outer"], 0)),
        (here["quick"], made["quick"]),
        (here["Thing"]().method, made["Thing"]().method),
    ]:
        told = files_of(after)
        assert told == files_of(before)
        assert {name for name, _ in told} == {file}


def test_code_of_several_files_stays_apart() -> None:
    one, two = written("/one.py")["quick"], written("/two.py")["quick"]
    again = pickle.loads(dumps([one, two, one]))
    assert [each.__code__.co_filename for each in again] == ["/one.py", "/two.py", "/one.py"]
    assert again[0] is again[2]


def test_nobody_else_s_pickles_are_changed() -> None:
    before = cloudpickle.dumps(written("/one.py")["quick"])
    dumps(written("/one.py")["quick"])
    assert cloudpickle.dumps(written("/one.py")["quick"]) == before
