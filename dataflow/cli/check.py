"""`dataflow check`: load a file, build what can be built of its flows, and say what is wrong with them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from dataflow.cli import data
from dataflow.cli.alone import alone
from dataflow.cli.problems import EXIT_OK, EXIT_USAGE, Refused, explain
from dataflow.cli.terminal import Printer, several

if TYPE_CHECKING:
    from dataflow.catalog import AnyFlow

OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to be said of a flow.

    Parameters
    ----------
    flow : str
        Its name.
    takes : str
        Its parameters, as they are written in Python.
    tasks : int or None
        How many nodes its graph has; None where it was not built.
    needs : tuple of str
        Parameters without a default, for which it was not built.
    error, hint : str
        What is wrong, and what to do; empty where nothing is.
    warning : str
        What will be wrong somewhere.
    """

    flow: str
    takes: str = ""
    tasks: int | None = None
    needs: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    warning: str = ""


@click.command("check", short_help="Load a file, build its flows, and say what is wrong.")
@click.argument("flow", metavar="FILE[:FLOW]")
@data.reading_option
def command(flow: str, output: str) -> int:
    """Load a file, build each of its flows that has a default for each parameter, and say what is wrong. No task runs.

    The exit code is 2 where something is. With -o wide the parameters of each flow are told, too; -o name prints what
    `dataflow run` takes.

    \b
    Examples:
      dataflow check flows.py
      dataflow check package.flows -o json
    """
    from dataflow.catalog import flows_in, load, split
    from dataflow.loading import is_file, load_file, load_module

    where, name = split(flow)
    with alone():
        if name is None:
            module = load_file(where) if is_file(where) else load_module(where)
            flows = list({id(one): one for one in flows_in(module).values()}.values())
        else:
            flows = [load(flow)]
        if not flows:
            raise Refused(f"{where} has no flow", "mark a function with @flow.")
        verdicts = [*map(_verdict, flows)]
    if output == "json":
        data.emit({"flows": [_data(one) for one in verdicts]})
    elif output == "jsonl":
        data.emit_lines({"type": "flow", **_data(one)} for one in verdicts)
    elif output == "name":
        data.emit_names(f"{where}:{one.flow}" for one in verdicts)
    else:
        _print(verdicts, wide=output == "wide")
    return EXIT_USAGE if any(one.error for one in verdicts) else EXIT_OK


def _verdict(flow: AnyFlow) -> Verdict:
    from dataflow import prune
    from dataflow.cli.building import build
    from dataflow.outputs import stored_graph

    taken = flow.signature.parameters.values()
    needs = tuple(one.name for one in taken if one.default is one.empty and one.kind not in OPEN)
    takes = f"({', '.join(map(str, taken))})"
    if needs:
        return Verdict(flow=flow.name, takes=takes, needs=needs)
    try:
        graph = build(flow, {})
        prune.check(graph, refresh=False)
    except Exception as error:  # whatever its body raises is what is looked for
        message, hint, _ = explain(error)
        return Verdict(flow=flow.name, takes=takes, error=message.strip(), hint=hint)
    tasks = sum(not node.definition.internal for node in graph.nodes)
    unstored = "its graph cannot be pickled: it runs on threads, and not on worker processes or a cluster"
    warning = "" if stored_graph(graph) is not None else unstored
    return Verdict(flow=flow.name, takes=takes, tasks=tasks, warning=warning)


def _data(one: Verdict) -> data.Data:
    return {
        "flow": one.flow,
        "tasks": one.tasks,
        "needs": list(one.needs),
        "error": one.error or None,
        "hint": one.hint or None,
        "warning": one.warning or None,
    }


def _print(verdicts: list[Verdict], *, wide: bool) -> None:
    printer = Printer()
    for one in verdicts:
        name = f"{one.flow}{one.takes if wide else ''}"
        if one.error:
            first, *rest = one.error.splitlines()
            printer.line(f"{printer.state('Failed', name)}  {first}")
            for line in rest:
                printer.line(f"  {line}".rstrip())
            printer.line(f"  {printer.tint('hint:', 'busy')} {one.hint}")
        elif one.needs:
            printer.line(f"{printer.state('Skipped', name)}  not built: it needs {', '.join(one.needs)}")
        else:
            warning = f"  {printer.tint('warning:', 'warn')} {one.warning}" if one.warning else ""
            printer.line(f"{printer.state('Success', name)}  {several(one.tasks or 0, 'task')}{warning}")
