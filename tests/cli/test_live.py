"""The live view on a real terminal: rows that change in place, and above them whatever anybody prints."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import dataflow
from dataflow.cli.rows import Frame, chosen, row
from dataflow.groups import Group
from tests.cli.screen import Terminal

BAD = """import time
from dataflow import flow, task, unmapped


@task(retries=1, log_prints=True)
def price(x: int, bad: int) -> int:
    for step in range(9):
        print("step", step)
    if x == bad:
        raise ValueError(f"row {x} has no price")
    return x


@task
def total(xs):
    return sum(xs)


@flow
def shop(n: int = 24, bad: int = 13):
    return total(price.map(range(n), unmapped(bad)))
"""
STOPS = """import os, time
from dataflow import flow, task


@task
def wait():
    while not os.path.exists("release"):
        time.sleep(0.01)
    return 3


@task
def think(n: int):
    breakpoint()
    return n


@flow
def stops():
    return think(wait())
"""
NOISY = """import os, subprocess, sys, time
from dataflow import flow, task


@task
def say(n: int):
    print(f"from print {n}\\n", end="")
    os.write(1, f"from a descriptor {n}\\n".encode())
    subprocess.run(["echo", f"\\x1b[31mfrom a program {n}\\x1b[0m"])
    while not os.path.exists("release"):
        time.sleep(0.01)
    sys.stdout.write("\\rhalf\\rwhole\\n")


@flow
def noisy():
    return say.map(range(2))
"""


@pytest.mark.parametrize("more", [{}, {"CI": "true"}])
def test_one_bad_row_is_told_in_twenty_lines(script: list[str], folder: Path, more: dict[str, str]) -> None:
    (folder / "shop.py").write_text(BAD)
    with Terminal([*script, "run", "shop.py", "--bell"], folder, columns=100, lines=40, **more) as terminal:
        shown = terminal.ended()
        assert terminal.code == 1
        assert (b"\x07" in terminal.raw) == (not more)
    text = "\n".join(shown)
    assert len(terminal.raw.decode().splitlines()) < 400
    assert len(shown) <= 20, text
    assert "shop.py:10, in price" in text
    assert "ValueError: row 13 has no price" in text
    assert "1 of 24 failed, after 2 attempts: [13]" in text
    assert [line[-6:] for line in shown if "step" in line] == [f"step {n}" for n in range(4, 9)]
    assert f"dataflow retry {dataflow.get_run('@last').name}" in text
    assert not re.search(r"dataflow/\w+\.py|distributed|concurrent", text), "the framework's frames"
    assert re.search(r"⊗ total +(1/1 .* )?not run", text)
    assert more or re.search(r"✕ price +█+ +24/24 .* 1 failed", text)


@pytest.mark.parametrize("executor", ["threads:2", "processes:2"])
def test_what_anybody_prints_stands_above_the_view(script: list[str], folder: Path, executor: str) -> None:
    (folder / "noisy.py").write_text(NOISY)
    with Terminal([*script, "run", "noisy.py", "--executor", executor], folder) as terminal:
        for n in (0, 1):
            terminal.until(f"from a program {n}")
        terminal.until("2 running")
        (folder / "release").touch()
        shown = terminal.ended()
        assert terminal.code == 0, shown
    view = next(n for n, line in enumerate(shown) if re.match(r" ✓ say", line))
    above = Counter(shown[:view])
    for what in ("from print", "from a descriptor", "from a program"):
        assert above[f"{what} 0"] == above[f"{what} 1"] == 1, shown
    assert above["whole"] == 2
    assert len([line for line in shown if "say  " in line]) == 1, "no torn copy of the view is left"


def test_a_run_in_this_very_thread_shows_itself_and_leaves_the_terminal_to_a_debugger(
    script: list[str], folder: Path
) -> None:
    (folder / "stops.py").write_text(STOPS)
    with Terminal([*script, "run", "stops.py", "--executor", "sync"], folder) as terminal:
        terminal.until("waiting for wait")
        (folder / "release").touch()
        terminal.until("(Pdb)")
        terminal.until("waiting for", there=False)
        terminal.press(b"p 6 * 7\n")
        terminal.until("42")
        while terminal.shown[-1] != "(Pdb)":  # nothing else stands below the debugger, whose prompt may come in parts
            assert terminal.shown[-1] == "42" or "(Pdb)".startswith(terminal.shown[-1]), terminal.shown
            terminal.wait()
        terminal.press(b"c\n")
        shown = terminal.ended()
    assert terminal.code == 0, shown
    assert shown[-1] == "3"
    assert re.search(r"✓ think +1/1", "\n".join(shown))


def test_ctrl_c_cancels_cleanly_on_a_terminal(script: list[str], folder: Path) -> None:
    with Terminal([*script, "run", "flows.py:slow", "-p", "n=50", "--executor", "threads:3"], folder) as terminal:
        terminal.until("3 running")
        terminal.press(b"\x03")
        terminal.until("cancelling, 3 tasks finishing (Ctrl-C again to stop now)")
        (folder / "release").touch()
        shown = terminal.ended()
    assert terminal.code == 130
    assert "\n".join(shown).count("⊘ cancelled in ") == 1
    assert shown[-1].startswith("hint: what was done is kept: dataflow resume ")
    assert terminal.raw.rfind(b"\x1b[?25h") > terminal.raw.rfind(b"\x1b[?25l"), "the cursor is there again"


def test_no_colour_and_plain_letters_in_the_view(script: list[str], folder: Path) -> None:
    words = [*script, "run", "flows.py:etl", "-p", "bad=2"]
    with Terminal(words, folder, NO_COLOR="1", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C") as terminal:
        shown = terminal.ended()
    assert not re.search(rb"\x1b\[[0-9;]*m", terminal.raw)
    assert terminal.raw.isascii()
    assert re.search(r"x transform +#+ +4/4 .* 1 failed", "\n".join(shown))


@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"CI": "true"}])
def test_plain_lines_where_nothing_can_move(script: list[str], folder: Path, more: dict[str, str]) -> None:
    with Terminal([*script, "run", "flows.py:etl"], folder, columns=100, lines=40, **more) as terminal:
        shown = terminal.ended()
    assert b"\x1b" not in terminal.raw
    assert any(re.search("extract ok 1/1 ", line) for line in shown)


def test_the_result_is_not_on_the_terminal_when_it_goes_elsewhere(script: list[str], folder: Path) -> None:
    line = f"{script[0]} {script[1]} run flows.py:etl > result.txt"
    with Terminal(["sh", "-c", line], folder) as terminal:
        shown = terminal.ended()
    assert (folder / "result.txt").read_text() == "13\n"
    assert any("success in" in line for line in shown)


def frame(**counts: dict[str, int]) -> Frame:
    groups = {name: Group(name=name, paths=[name], counts=Counter(found)) for name, found in counts.items()}
    ended = {name: float(n) for n, name in enumerate(groups)}
    return Frame(groups=groups, began={"b": 0.0}, ended=ended, now=10.0, since=0.0)


def test_what_goes_on_is_shown_first_and_the_rest_is_folded() -> None:
    done, failed, going, waits = {"Success": 1}, {"Failed": 1}, {"Running": 1, "Success": 1}, {"Pending": 1}
    many = frame(a=done, b=going, c=failed, d=done, e=waits, f=done, g=waits)
    assert chosen(many, 9) == (["a", "b", "c", "d", "e", "f", "g"], "")
    assert chosen(many, 4) == (["b", "c", "f"], "+ 2 finished + 2 waiting")
    assert chosen(many, 3) == (["b", "c"], "+ 3 finished + 2 waiting")


def test_a_row_says_how_long_it_may_take() -> None:
    one = row(frame(b={"Success": 25, "Failed": 5, "Retrying": 2, "Pending": 68}), "b")
    assert (one.count, one.share, one.spent) == (" 30/100", 0.3, "10s")
    assert [fact for fact, _ in one.facts] == ["5 failed", "2 retrying", "eta 23s"]
