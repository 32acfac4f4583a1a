"""The page of public names, made of their docstrings: `python -m tests.api_page` writes docs/api.md."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import dataflow
from dataflow import triggers
from dataflow.flow_graph import FlowGraph

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
OPENING = """# Public names

What can be imported from `dataflow`, by name; `make docs` makes this page of the docstrings. Tables of options, states,
triggers and settings are in the [reference](reference.md), the verbs of the terminal in [the command line](cli.md).
"""
# What people call; of other classes all that is public.
CALLED = {
    "Flow": ("run", "submit", "arun", "graph", "map"),
    "Graph": ("run", "submit", "arun", "visualize"),
    "Task": ("map", "options"),
    "Node": (),
    "DaskExecutor": (),
    "ResultStore": (),
    "SyncExecutor": (),
    "ThreadExecutor": (),
}
# Nobody but dataflow makes these.
GIVEN = {"Graph", "Node", "State"}
SECTIONS = ("Parameters", "Returns", "Yields", "Raises", "Attributes")


def signature(thing: Callable[..., object]) -> str:
    """A signature without annotations, and without what only this process knows.

    >>> signature(dataflow.wait_for_input), signature(dataflow.Run.plan)
    ("(wanted, message='')", '(*, from_=(), only=(), retry=True)')
    """
    made = inspect.signature(thing)
    kept = [
        one.replace(
            annotation=one.empty,
            default=one.default if one.default is one.empty or " at 0x" not in repr(one.default) else ...,
        )
        for name, one in made.parameters.items()
        if name != "self"
    ]
    return str(made.replace(parameters=kept, return_annotation=made.empty)).replace("Ellipsis", "...")


def told(thing: object) -> str:
    """A docstring as Markdown: its sentences, then lists of parameters and errors; examples are left out."""
    # A doctest ends with a blank line.
    lines = re.sub(r"^>>> .*?(?:\n\n|\Z)", "", inspect.getdoc(thing) or "", flags=re.MULTILINE | re.DOTALL).splitlines()
    parts: dict[str, list[str]] = {"": []}
    section = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following and set(following) == {"-"}:
            section = line
            parts[section] = []
        elif not (line and set(line) == {"-"}):
            parts[section].append(line)
    made = ["\n".join(parts[""]).strip()]
    made += [f"{name}:\n\n{entries(parts[name])}" for name in SECTIONS if name in parts]
    return "\n\n".join(made).replace("``", "`")


def entries(lines: Iterable[str]) -> str:
    """The entries of a section, as a list.

    >>> print(entries(["x : int", "    How many,", "    at least 1.", "ValueError", "    It is not."]))
    - `x` (int): How many, at least 1.
    - `ValueError`: It is not.
    """
    made: list[str] = []
    for line in lines:
        if line.startswith(" "):
            made[-1] += f" {line.strip()}"
        elif line:
            name, colon, kind = line.partition(" : ")
            made.append(f"- `{name}`{f' ({kind})' if colon else ''}:")
    return "\n".join(made)


def members(cls: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties of a class, its own first."""
    names = CALLED.get(cls.__name__)
    source = FlowGraph if cls is dataflow.Graph else cls  # what calling a flow gives
    seen: set[str] = set()
    for base in source.__mro__:
        for name, value in vars(base).items():
            asked = not name.startswith("_") if names is None else name in names
            what = value.__func__ if isinstance(value, staticmethod | classmethod) else value
            if asked and name not in seen and (inspect.isfunction(what) or isinstance(what, property)):
                seen.add(name)
                yield name, what


def entry(name: str, thing: object, level: str = "##") -> Iterator[str]:
    """One name, and those in it."""
    made_by_users = inspect.isclass(thing) and name not in GIVEN and "\nParameters\n" in (inspect.getdoc(thing) or "")
    takes = made_by_users or (callable(thing) and not inspect.isclass(thing))
    yield f"{level} `{name}{signature(typing.cast('Callable[..., object]', thing)) if takes else ''}`"
    yield told(thing)
    if inspect.isclass(thing) and not issubclass(thing, BaseException):
        for inner, value in members(thing):
            yield from entry(f"{name}.{inner}", value, "###")


def page() -> str:
    """The text of the page."""
    public = {name: getattr(dataflow, name) for name in dataflow.__all__}
    names = {f"triggers.{name}" for name in re.findall(r"^def ([a-z]\w*)\(", inspect.getsource(triggers), re.MULTILINE)}
    public |= {name: getattr(triggers, name.removeprefix("triggers.")) for name in names}
    parts = [part for name in sorted(public, key=str.lower) for part in entry(name, public[name])]
    return "\n\n".join([OPENING.strip(), *parts]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
