"""`dataflow result`: what a run or a task returned."""

from __future__ import annotations

import pprint
import sys

import click

from dataflow import states
from dataflow.cli import data, problems
from dataflow.cli.reference import Found, find
from dataflow.cli.terminal import Printer, clean, width
from dataflow.events import label


@click.command("result", short_help="Print what a run or a task returned.")
@click.argument("run", metavar="RUN[/TASK]")
@data.output_option("table", "json", "jsonl", "name")
def command(run: str, output: str) -> None:
    """Print what a run or a task returned.

    A text is printed as it is, anything else as Python shows it. With -o json what JSON does not know is told as text;
    with -o jsonl each item of a list is a line; with -o name the place of the result in the store is printed.

    \b
    Examples:
      dataflow result @last
      dataflow result brisk-otter/transform[13] -o json
    """
    found = find(run)
    if output == "name":
        _print_places(found)
        return
    value = _value(found)
    if output == "table":
        if value is not None:
            text = value if isinstance(value, str) else pprint.pformat(value, width=min(width(), 120), sort_dicts=False)
            Printer().line(text)
        return
    from pydantic_core import to_jsonable_python

    plain = to_jsonable_python(value, fallback=repr, inf_nan_mode="constants", serialize_unknown=True)
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    who = {"run": found.run.name, "task": found.path, "index": found.index}
    if output == "json":
        data.emit({**who, "type": kind, "value": plain})
    else:
        items = plain if isinstance(plain, list) else [plain]
        data.emit_lines({"type": "result", **who, "value": item} for item in items)


def _value(found: Found) -> object:
    run = found.run
    name = run.name if found.path is None else label(found.path, -1 if found.index is None else found.index)
    try:
        if found.path is None:
            _check_run(found)
            return run.result()
        _check_task(found)
        asked = run[found.path if found.index is None else f"{found.path}[{found.index}]"]
        return asked.result()
    except ModuleNotFoundError as error:
        raise problems.Refused(
            f"the result of {name} needs the module {error.name!r}, which is not here",
            "call dataflow with the environment, or in the folder, that the run had.",
            problems.EXIT_FAILED,
        ) from error
    except problems.Refused:
        raise
    except (LookupError, ValueError) as error:
        message, hint = problems.split_hint(str(error))
        raise problems.Refused(message, hint, problems.EXIT_FAILED) from error


def _check_run(found: Found) -> None:
    row = found.run.record
    if row.state == states.SUCCESS:
        return
    hint = f"dataflow show {row.name} tells more; dataflow result {row.name}/TASK prints what a task returned."
    raise problems.Refused(f"run {row.name} is {row.state.lower()}: it has no result", hint, _code(row.state))


def _check_task(found: Found) -> None:
    assert found.path is not None
    run = found.run
    if found.mapped and found.index is None:
        counts = run.counts.get(found.path, {})
        without = next((state for state in counts if counts[state] and state not in states.SUCCESSFUL), None)
        bad = next((state for state in counts if counts[state] and state in states.FAILURE), without)
        if bad is not None or not counts:
            told = ", ".join(f"{n} {state.lower()}" for state, n in sorted(counts.items()) if n) or "pending"
            raise problems.Refused(
                f"{found.path} of run {run.name} has no whole result: {told}",
                f"dataflow result '{run.name}/{found.path}[0]' prints what one child returned.",
                _code(bad or states.PENDING),
            )
        return
    row = found.row
    if row.state not in states.WITH_VALUE:
        message = f": {clean(row.message)}" if row.message else ""
        who = label(row.path, row.idx)
        raise problems.Refused(
            f"{who} of run {run.name} is {row.state.lower()} and has no result{message}",
            f"dataflow show '{run.name}/{who}'",
            _code(row.state),
        )


def _code(state: str) -> int:
    if state == states.CANCELLED:
        return problems.EXIT_CANCELLED
    return problems.EXIT_FAILED if state in states.FAILURE | {states.SKIPPED} else problems.EXIT_PAUSED


def _print_places(found: Found) -> None:
    rows = found.run._store.task_runs(found.run.id, path=found.path, idx=found.index)
    for row in rows:
        if row.reference:
            sys.stdout.write(f"{row.reference['url']}\n")
