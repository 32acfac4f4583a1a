"""docs/cli.md tells every verb, every option, every exit code and every key of the JSON output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call, Said

from dataflow.cli import ALIASES, VERBS, commands
from dataflow.cli.problems import EXIT_CODES

TEXT = (Path(__file__).resolve().parent.parent.parent / "docs" / "cli.md").read_text(encoding="utf-8")


def section(verb: str) -> str:
    found = re.search(rf"^## `dataflow {verb}.*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no section on {verb}"
    return found[0]


def options_of(command: click.Command) -> list[str]:
    """The options of a verb, and of the verbs under it."""
    under = command.commands.values() if isinstance(command, click.Group) else []
    own = [name for one in command.params if isinstance(one, click.Option) for name in one.opts]
    return own + [name for one in under for name in options_of(one)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option(verb: str) -> None:
    command = commands.get_command(click.Context(commands), verb)
    assert command is not None
    assert [name for name in options_of(command) if f"`{name}" not in section(verb)] == []
    line = VERBS[verb][1]
    assert command.get_short_help_str(200) == line, "the help and the list of verbs say the same"


@pytest.mark.parametrize("verb", VERBS)
def test_no_option_that_is_not_there(verb: str) -> None:
    command = commands.get_command(click.Context(commands), verb)
    assert command is not None
    rows = re.findall(r"^\| (`-[^|]*) \|", section(verb), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(--?[a-z-]+)", row)}
    assert named - set(options_of(command)) == set()


def test_every_exit_code() -> None:
    told = re.search(r"^## Exit codes\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert told is not None
    rows = dict(re.findall(r"^\| (\d+) \| (.*?) \|$", told[1], re.MULTILINE))
    assert rows == {str(code): meaning for code, meaning in EXIT_CODES.items()}


def test_every_other_name() -> None:
    assert [alias for alias in ALIASES if f"`{alias}`" not in TEXT] == []


def keys(data: object) -> Iterator[str]:
    """The keys of our own in a document; those of the user's parameters, states and references are not ours."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield key
            if key not in ("parameters", "states", "result", "value", "frames", "schema"):
                yield from keys(value)
    elif isinstance(data, list):
        for item in data:
            yield from keys(item)


@pytest.mark.parametrize(
    "line",
    [
        "ls",
        "show @last",
        "show @last/transform",
        "show @last/transform[2]",
        "history @last",
        "check flows.py",
        "doctor",
        "run flows.py:etl -n",
        "logs @last",
        "result @last/extract",
        "results ls @last",
        "prune --keep-last 0 --dry-run",
        "graph flows.py:etl",
        "retry @last -n",
        "rerun @last -n",
        "recover -n",
        "recover",
    ],
)
def test_every_key(cli: Call, failed: Said, line: str) -> None:
    found = set(keys(cli(*line.split(), "-o", "json").data))
    assert sorted(key for key in found if f"`{key}`" not in TEXT) == []


def test_every_key_of_an_event(cli: Call) -> None:
    found = {key for line in cli("run", "flows.py:etl", "-q", "-o", "jsonl").lines for key in keys(line)}
    assert sorted(key for key in found if f"`{key}`" not in TEXT) == []


@pytest.mark.parametrize("line", ["show @last", "resume @last -n", "approve @last --no-resume", "cancel @last"])
def test_every_key_of_what_waits(cli: Call, line: str) -> None:
    assert cli("run", "flows.py:waits").code == 6
    found = set(keys(cli(*line.split(), "-o", "json").data))
    assert sorted(key for key in found if f"`{key}`" not in TEXT) == []
