"""`dataflow show`: a run, a task of it, or one child of a mapped task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import click

from dataflow import states
from dataflow.cli import data, standing
from dataflow.cli.reference import Found, find
from dataflow.cli.terminal import Printer, clean, clipped, day, took
from dataflow.cli.waiting import asked, command_for, waiting, waiting_data
from dataflow.draw.marks import overall, words
from dataflow.events import label
from dataflow.groups import Group, group_names, grouped
from dataflow.owners import driven_since
from dataflow.run import Run
from dataflow_storage.rows import TaskRunRow

MOST_CHILDREN = 20


@click.command("show", short_help="Show a run, a task of it, or one child of a mapped task.")
@click.argument("run", metavar="RUN[/TASK]")
@click.option("--full-traceback", is_flag=True, help="Show the frames of the framework, too.")
@data.reading_option
def command(run: str, full_traceback: bool, output: str) -> None:
    """Show a run, a task of it, or one child of a mapped task.

    \b
    Examples:
      dataflow show @last
      dataflow show brisk-otter/transform
      dataflow show brisk-otter/transform[13] -o json
    """
    found = find(run)
    if output == "name":
        _names(found)
    elif found.path is None:
        _show_run(found.run, output, full_traceback)
    elif found.index is None and found.mapped:
        _show_map(found, output)
    else:
        _show_task_run(found, output, full_traceback)


def _names(found: Found) -> None:
    """What can be shown next, in the words that this verb takes: tasks of a run, children of a map."""
    run = found.run
    if found.path is None:
        nodes = run._store.nodes(run.id)
        labels = [node.path for node in nodes if node.kind != "internal"]
    elif found.index is None and found.mapped:
        labels = [label(row.path, row.idx) for row in run._store.task_runs(run.id, path=found.path)]
    else:
        labels = [label(found.row.path, found.row.idx)]
    data.emit_names(f"{run.name}/{one}" for one in labels)


def _show_run(run: Run, output: str, full: bool) -> None:
    from dataflow.cli.failures import problem_data, report

    nodes = run._store.nodes(run.id)
    counts = run.counts
    row = run.record
    summed = data.totals(counts, nodes)
    if output in ("json", "jsonl"):
        tasks: list[data.Data] = [
            {
                "task": node.path,
                "kind": "map" if node.kind == "map" else "task",
                "width": node.width,
                "upstream": list(node.upstream),
                **data.tally(counts.get(node.path, {})),
            }
            for node in nodes
            if node.kind != "internal"
        ]
        if output == "json":
            asks = [waiting_data(one) for one in waiting(run)]
            told = {"run": data.run_data(row, summed), "tasks": tasks, "problems": problem_data(run), "waiting": asks}
            data.emit(told)
        else:
            data.emit_lines([{"type": "run", "run": data.run_data(row, summed)}])
            data.emit_lines({"type": "task", "run": row.name, **task} for task in tasks)
        return
    printer = Printer()
    spent = took((row.ended or time.time()) - driven_since(row)) if row.started else "-"
    gone = f" ({standing.GONE})" if standing.is_left(row) else ""
    printer.line(f"{printer.state(row.state)}{gone}  {printer.tint(row.name, 'bold')}  {row.flow}  {spent}")
    most = 10_000 if output == "wide" else 60
    given = ", ".join(f"{name}={clipped(clean(repr(value)), most)}" for name, value in row.parameters.items())
    facts = [
        ("id", row.id),
        ("parameters", given),
        ("started", f"{day(row.started)}" if row.started else ""),
        ("executor", row.executor or ""),
        ("results", row.results_url or ""),
        ("tags", ", ".join(row.tags)),
        ("message", clean(row.message)),
    ]
    printer.table(["", ""], [[printer.tint(name, "soft"), value] for name, value in facts if value], indent="  ")
    groups = grouped(nodes, counts, group_names(nodes))
    if groups:
        printer.line()
        _groups(run, list(groups.values()), printer)
    _waiting(run, printer)
    if row.state in (states.FAILED, states.CRASHED):
        report(run, printer, full=full)


def _waiting(run: Run, printer: Printer) -> None:
    """What waits for a person, and how to answer."""
    found = waiting(run, MOST_CHILDREN + 1)
    if not found and standing.is_put_by(run.record):
        printer.line(f"\n  {printer.tint('hint:', 'busy')} dataflow resume {run.name}")
    if found:
        printer.line()
        rows = [
            [
                printer.state(states.PAUSED, one.label),
                clipped(clean(one.message), 60),
                f"answered by {one.answered}" if one.answered else one.wants,
                command_for(run.name, one),
            ]
            for one in found[:MOST_CHILDREN]
        ]
        printer.table(["WAITS", "QUESTION", "WANTED", "ANSWER"], rows, indent="  ")
        if len(found) > MOST_CHILDREN:
            printer.line(f"  … and more: dataflow show {run.name} -o json")


def _groups(run: Run, groups: Sequence[Group], printer: Printer) -> None:
    spans: dict[str, tuple[float, float]] = {}
    attempts: dict[str, dict[int, int]] = {}
    for row in run._store.task_runs(run.id):
        begun, ended = row.started, row.ended or row.time
        if begun is not None and ended is not None:
            low, high = spans.get(row.path, (begun, ended))
            spans[row.path] = min(low, begun), max(high, ended)
        if row.attempt > 1:
            attempts.setdefault(row.path, {})[row.idx] = row.attempt
    retries = {path: _retries(run, path, found) for path, found in attempts.items()}
    rows = []
    for group in groups:
        span = [spans[path] for path in group.paths if path in spans]
        again = sum(retries.get(path, 0) for path in group.paths)
        rows.append(
            [
                printer.state(overall(group.counts) or states.PENDING, group.name),
                f"{group.done:,}/{group.total:,}" if group.known else "?",
                took(max(high for _, high in span) - min(low for low, _ in span)) if span else "-",
                words(group.counts, 4) + (f" · {again:,} retr{'y' if again == 1 else 'ies'}" if again else ""),
            ]
        )
    printer.table(["TASK", ">DONE", ">TOOK", "STATES"], rows, indent="  ")


def _retries(run: Run, path: str, attempts: Mapping[int, int]) -> int:
    """How many attempts of a node were made after a failure, and not after an answer."""
    asked = sum(
        change.state == states.PAUSED and 0 < change.attempt < attempts.get(change.idx, 0)
        for change in run._store.transitions(run.id, path=path)
    )
    return sum(attempt - 1 for attempt in attempts.values()) - asked


def _show_map(found: Found, output: str) -> None:
    run, path = found.run, found.path
    assert path is not None
    rows = run._store.task_runs(run.id, path=path)
    if output == "json":
        data.emit({"run": run.name, "task": path, "task_runs": [data.task_run_data(row) for row in rows]})
        return
    if output == "jsonl":
        data.emit_lines({"type": "task_run", "run": run.name, **data.task_run_data(row)} for row in rows)
        return
    printer = Printer()
    wide = output == "wide"
    counts = run.counts.get(path, {})
    state = overall(counts) or states.PENDING
    printer.line(f"{printer.state(state)}  {printer.tint(path, 'bold')} of {run.name}  {words(counts, 6)}")
    shown = sorted(rows, key=lambda row: (row.state in states.SUCCESSFUL, row.idx))
    shown = shown if wide else shown[:MOST_CHILDREN]
    if shown:
        printer.line()
        heads = ["TASK", "STATE", ">TRIES", ">TOOK", *(["STARTED", "WORKER"] if wide else []), "WHY"]
        printer.table(heads, [_row(row, printer, wide=wide) for row in shown], indent="  ")
    if len(rows) > len(shown):
        printer.line(f"  … and {len(rows) - len(shown):,} more: dataflow show '{run.name}/{path}' -o wide")


def _row(row: TaskRunRow, printer: Printer, *, wide: bool) -> list[str]:
    spent = took(data.seconds_of(row.started, row.ended))
    return [
        label(row.path, row.idx),
        printer.state(row.state),
        str(row.attempt),
        spent,
        *([day(row.started), row.worker or "-"] if wide else []),
        clipped(clean(row.message), 10_000 if wide else 100),
    ]


def _show_task_run(found: Found, output: str, full: bool) -> None:
    from dataflow.cli.failures import readable

    run, row = found.run, found.row
    attempts = run._store.attempts(run.id, path=row.path, idx=row.idx)
    if output in ("json", "jsonl"):
        document: data.Data = {
            "task_run": data.task_run_data(row),
            "attempts": [data.attempt_data(one) for one in attempts],
        }
        if output == "json":
            data.emit({"run": run.name, **document})
        else:
            data.emit_lines([{"type": "task_run", "run": run.name, **document}])
        return
    printer = Printer()
    message = f"  {clean(row.message)}" if row.message else ""
    printer.line(f"{printer.state(row.state)}  {printer.tint(label(row.path, row.idx), 'bold')} of {run.name}{message}")
    reference = row.reference or {}
    size = f"  ({reference['serializer']}, {reference['size']:,} bytes)" if reference else ""
    facts = [("result", f"{reference.get('url', '')}{size}"), ("worker", row.worker or "")]
    if row.state == states.PAUSED:
        facts += [("wanted", asked(row).wants), ("answer", command_for(run.name, asked(row)))]
    facts = [(name, value) for name, value in facts if value]
    if facts:
        printer.table(["", ""], [[printer.tint(name, "soft"), value] for name, value in facts], indent="  ")
    if attempts:
        printer.line()
        rows = []
        for one in attempts:
            error = one.error or {}
            reason = clipped(clean(f"{error.get('type')}: {error.get('message')}"), 100) if error.get("type") else ""
            spent = took(data.seconds_of(one.started, one.ended))
            rows.append([str(one.attempt), printer.state(one.state), day(one.started), spent, reason])
        printer.table([">TRY", "STATE", "STARTED", ">TOOK", "WHY"], rows, indent="  ")
    text = str((row.details or {}).get("full" if full else "text") or "")
    if text:
        printer.line()
        for line in text.splitlines() if full else readable(text):
            printer.line(f"  {line}")
    logs = run._store.logs(run.id, path=row.path, idx=row.idx)[-5:]
    if logs:
        printer.line()
        printer.line(
            printer.tint(f"  last lines: dataflow logs {run.name} --task '{label(row.path, row.idx)}'", "soft")
        )
        for log in logs:
            printer.line(f"    {clean(log.message)}")
