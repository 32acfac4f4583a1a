"""Prints of a task body go to its sink, line by line; other output goes where it always went."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
from collections.abc import Callable

import pytest

from dataflow.capture import capturing, install, uninstall
from tests.capture.lines import Lines, log


@pytest.mark.usefixtures("installed")
def test_prints_of_a_body_and_of_its_helpers_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def helper() -> None:
        print("helper", 1, sep="-")

    lines = Lines()
    print("before")
    with capturing(lines, prints=True):
        print("a", 1, None)
        helper()
        print("to stdout", file=sys.stdout, flush=True)
        print()
        print("one\ntwo")
        print(*"abc", sep="\n")
    print("after")
    assert lines.messages == ["a 1 None", "helper-1", "to stdout", "", "one", "two", "a", "b", "c"]
    assert set(lines) == {(20, "print", message) for message in lines.messages}
    assert capsys.readouterr() == ("before\nafter\n", "")


@pytest.mark.usefixtures("installed")
def test_a_line_ends_with_a_newline_or_with_the_body() -> None:
    lines = Lines()
    with pytest.raises(ZeroDivisionError), capturing(lines, prints=True):  # noqa: PT012 - that is what is tested
        print("a", end="")
        print("b", end="", flush=True)
        assert lines == []
        print("c\nd", end=" ")
        assert lines.messages == ["abc"]
        print("e", end="")
        raise ZeroDivisionError
    assert lines.messages == ["abc", "d e"]


@pytest.mark.usefixtures("installed")
def test_prints_elsewhere_stay_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    lines, text, redirected = Lines(), io.StringIO(), io.StringIO()
    with capturing(lines, prints=True):
        print("text", file=text, end="!")
        print("error", file=sys.stderr)
        with contextlib.redirect_stdout(redirected):
            print("redirected")
        print("here")
        sys.stdout.write("written\n")
    assert text.getvalue() == "text!"
    assert redirected.getvalue() == "redirected\n"
    assert lines.messages == ["here"]
    assert capsys.readouterr() == ("written\n", "error\n")


@pytest.mark.usefixtures("installed")
def test_without_prints_and_in_an_inner_capture_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    outer, inner = Lines(), Lines()
    with capturing(outer, prints=True):
        with capturing(inner, prints=False):
            print("to stdout")
            log.info("to the inner one")
        print("to the outer one")
    assert (outer.messages, inner.messages) == (["to the outer one"], ["to the inner one"])
    assert capsys.readouterr().out == "to stdout\n"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("options", [{"sep": 3}, {"end": b""}, {"colour": "red"}])
def test_wrong_prints_are_wrong_as_ever(options: dict[str, object]) -> None:
    lines, wrong = Lines(), dict[str, Callable[..., None]](print=print)
    with capturing(lines, prints=True), pytest.raises(TypeError):
        wrong["print"]("a", **options)
    assert lines == []


def test_print_is_pickled_by_its_name() -> None:
    plain = pickle.dumps(print)
    install()
    try:
        assert pickle.dumps(print) == plain
        assert print.__name__ == "print"
    finally:
        uninstall()
