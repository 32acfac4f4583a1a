"""`dataflow result`: what a run or a task returned."""

from __future__ import annotations

import pprint
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

import click

from dataflow import states
from dataflow.cli import data, problems
from dataflow.cli.reference import Found, find
from dataflow.cli.terminal import Printer, clean, several, width
from dataflow.events import NO_INDEX, label

if TYPE_CHECKING:
    from dataflow.cli import bucket
    from dataflow_storage import Reference
    from dataflow_storage.rows import EndRow

UNENDING = 1_000_000  # columns


@click.command("result", short_help="Print or save what a run or a task returned.")
@click.argument("run", metavar="RUN[/TASK]")
@click.option("--save", metavar="FILE", help="Save it as it is stored: a file, a FOLDER/, or - for standard output.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option(
    "--url", metavar="URL", help="Find it in this result store alone: RUN is an id, the record is not needed."
)
@data.reading_option
def command(run: str, save: str | None, force: bool, url: str | None, output: str) -> int | None:
    """Print what a run or a task returned, or save it.

    A text is printed as it is, anything else as Python shows it. With -o json what JSON does not know is told as text;
    with -o jsonl each item of a list is a line; with -o name the place of the result in the store is printed; with
    -o wide lines are as long as they get.

    Saved is what is stored, in its own format: of a DataFrame a Parquet file, of plain data JSON.

    \b
    Examples:
      dataflow result @last
      dataflow result brisk-otter/transform[13] -o json
      dataflow result brisk-otter/clean --save clean.parquet
      dataflow result 0f3a/clean[2] --url s3://bucket/results
    """
    if url is not None:
        from dataflow.cli import bucket

        return _by_bucket(bucket.find(url, run), save, force, output)
    found = find(run)
    if save is not None:
        return _save(found, save, force, output)
    if output == "name":
        _print_places(found)
        return None
    who = {"run": found.run.name, "task": found.path, "index": found.index}
    with _told(_name(found), found.run.name):
        value = _value(found)
    _print(value, who, output)
    return None


def _print(value: object, who: Mapping[str, object], output: str) -> None:
    if output in ("table", "wide"):
        if value is not None:
            columns = UNENDING if output == "wide" else min(width(), 120)
            text = value if isinstance(value, str) else pprint.pformat(value, width=columns, sort_dicts=False)
            Printer().line(text)
        return
    from pydantic_core import to_jsonable_python

    plain = to_jsonable_python(value, fallback=repr, inf_nan_mode="constants", serialize_unknown=True)
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    if output == "json":
        data.emit({**who, "type": kind, "value": plain})
    else:
        items = plain if isinstance(plain, list) else [plain]
        data.emit_lines({"type": "result", **who, "value": item} for item in items)


def _name(found: Found) -> str:
    return found.run.name if found.path is None else label(found.path, NO_INDEX if found.index is None else found.index)


@contextmanager
def _told(name: str, run: str) -> Iterator[None]:
    """What goes wrong when a result is read, in terms of what was asked for."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise problems.Refused(
            f"the result of {name} needs the module {error.name!r}, which is not here",
            "call dataflow with the environment, or in the folder, that the run had.",
            problems.EXIT_FAILED,
        ) from error
    except (LookupError, ValueError) as error:
        message, hint = problems.split_hint(str(error))
        raise problems.Refused(message, hint, problems.EXIT_FAILED) from error


def _value(found: Found) -> object:
    run = found.run
    if found.path is None:
        _check_run(found)
        return run.result()
    _check_task(found)
    asked = run[found.path if found.index is None else f"{found.path}[{found.index}]"]
    return asked.result()


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
    data.emit_names(str(row.reference["url"]) for row in rows if row.reference)


# Saving ---------------------------------------------------------------------------------------------------------------


def _save(found: Found, where: str, force: bool, output: str) -> int:
    from dataflow.cli.saving import save

    rows, is_several = _rows(found)
    results = {label(row.path, row.idx): row.reference for row in rows if row.reference}
    without = [label(row.path, row.idx) for row in rows if not row.reference and row.state != states.SKIPPED]
    name = _name(found)
    if not results:
        reason = "its value was not stored (persist=False)" if without else "all of it was skipped"
        raise problems.Refused(
            f"{name} of run {found.run.name} has no stored result: {reason}", "", problems.EXIT_FAILED
        )
    if is_several and not where.endswith("/"):
        _refuse_several(f"{found.run.name}/{name}" if found.path else found.run.name, name, list(results), where)
    with _told(name, found.run.name):
        told = save(found.run._results, results, where, force=force)
    _tell_saved(told, output)
    if without:
        Printer(sys.stderr).line(f"{several(len(without), 'task run')} without a result: {', '.join(without[:20])}")
    return problems.EXIT_FAILED if without else 0


def _rows(found: Found) -> tuple[Sequence[EndRow], bool]:
    """The task runs whose results make up what was asked for, and whether they may be many."""
    store, run = found.run._store, found.run
    if found.path is not None:
        rows = store.ends(run.id, [found.path])[found.path]
        if not found.mapped or found.index is not None:
            _check_task(found)
            index = NO_INDEX if found.index is None else found.index
            return [row for row in rows if row.idx == index], False
        if not any(row.state in states.WITH_VALUE for row in rows):
            _check_task(found)
        return [row for row in rows if row.idx != NO_INDEX], True
    from dataflow.outputs import OutputRef, loaded_outputs
    from dataflow.structure import find as find_in

    _check_run(found)
    outputs = run.record.outputs
    shape = loaded_outputs(outputs) if isinstance(outputs, Mapping) else None
    ends = store.ends(run.id, (ref.path for ref in find_in(shape, OutputRef)))
    return list(chain.from_iterable(ends.values())), not (isinstance(shape, OutputRef) and not shape.mapped)


def _refuse_several(reference: str, name: str, labels: list[str], where: str) -> None:
    hint = f"name one, as in '{reference.partition('/')[0]}/{labels[0]}', or give a folder: --save {where.rstrip('-')}/"
    raise problems.Refused(f"{name} has {several(len(labels), 'result')}, one for each child or output", hint)


def _tell_saved(told: list[dict[str, object]], output: str) -> None:
    if not told:  # it was printed
        return
    if output == "json":
        data.emit({"saved": told})
    elif output == "jsonl":
        data.emit_lines({"type": "saved", **one} for one in told)
    elif output == "name":
        data.emit_names(str(one["file"]) for one in told)


# Without the record ---------------------------------------------------------------------------------------------------


def _by_bucket(found: bucket.Found, save_as: str | None, force: bool, output: str) -> int:
    from dataflow.cli.saving import save

    labels: dict[str, Reference] = {label(found.path, i): one for i, one in sorted(found.references.items())}
    name = label(found.path, NO_INDEX if found.index is None else found.index)
    is_several = found.index is None and NO_INDEX not in found.references
    with _told(name, found.run):
        if save_as is not None:
            if is_several and not save_as.endswith("/"):
                _refuse_several(f"{found.run}/{name}", name, list(labels), save_as)
            _tell_saved(save(found.store, labels, save_as, force=force), output)
        elif output == "name":
            data.emit_names(reference.url for reference in labels.values())
        else:
            values = found.store.get_many(list(labels.values()))
            who = {"run": found.run, "task": found.path, "index": found.index}
            _print(values if is_several else values[0], who, output)
    return 0
