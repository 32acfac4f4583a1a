"""What is printed fits what shows it: colour, letters, width."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call, Said

from dataflow.cli import terminal


class Screen(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("screen", "environment", "coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"CI": "true"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour(monkeypatch: pytest.MonkeyPatch, screen: bool, environment: dict[str, str], coloured: bool) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert terminal.has_colour(Screen() if screen else io.StringIO()) is coloured


def test_forced_colour_reaches_the_output(cli: Call, ran: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32m✓ success\x1b[0m" in cli("ls").out
    assert "\x1b[1;31merror:\x1b[0m" in cli("show", "oter").err
    assert "\x1b" not in cli("ls", "--json").out


def test_colour_never_moves_a_column(cli: Call, failed: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = cli("show", "@last").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert terminal.CONTROL.sub("", cli("show", "@last").out.replace("\n", "¶")).replace("¶", "\n") == plain


def test_ascii_where_there_are_no_other_letters(begin: Callable[..., subprocess.Popen[str]]) -> None:
    for words in (("run", "flows.py:etl", "-p", "bad=2"), ("ls",), ("show", "@last"), ("graph", "flows.py:etl")):
        process = begin(*words, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
        out, err = process.communicate(timeout=120)
        assert (out + err).isascii()
        assert "\\u" not in out + err, "each letter has a plain twin"
        assert process.returncode == (1 if words[0] == "run" else 0)


def test_what_tasks_say_cannot_steer_the_terminal(cli: Call, folder: object) -> None:
    assert terminal.clean("a\x1b[2Jb\r\nc\x07") == "ab c"


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.Printer().table(["A", ">B", "C"], [["x", "1", "long text"], ["yyy", "100", ""]])
    assert capsys.readouterr().out == "A      B  C\nx      1  long text\nyyy  100\n"
