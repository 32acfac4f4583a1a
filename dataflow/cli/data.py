"""Records as the JSON that docs/cli.md promises: `schema` 1, times in UTC, durations in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

import click

from dataflow.cli.alone import stdout
from dataflow.owners import driven_since, driver_of
from dataflow.states import FAILURE, FINAL, SUCCESSFUL
from dataflow_storage.rows import AttemptRow, LogRow, NodeRow, RunRow, TaskRunRow

Data = dict[str, object]
F = TypeVar("F", bound=Callable[..., object])
SCHEMA = 1
LEVELS = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}


def output_option(*formats: str) -> Callable[[F], F]:
    """The option `--output` of a verb, with `--json` for short."""

    def add(function: F) -> F:
        choice = click.option(
            "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="How to print."
        )
        short = click.option("--json", "output", flag_value="json", help="The same as --output json.")
        return choice(short(function))

    return add


reading_option = output_option("table", "json", "jsonl", "wide", "name")


def emit(data: Mapping[str, object]) -> None:
    """Print one JSON document."""
    print_json({"schema": SCHEMA, **data}, indent=2)


def emit_lines(rows: Iterable[Mapping[str, object]]) -> None:
    """Print one JSON document a line."""
    for row in rows:
        print_json({"schema": SCHEMA, **row})


def emit_names(names: Iterable[str]) -> None:
    """Print names, one a line and each once."""
    for name in dict.fromkeys(names):
        stdout().write(f"{name}\n")


def print_json(data: object, indent: int | None = None) -> None:
    """Write JSON on standard output."""
    stdout().write(json.dumps(data, indent=indent, ensure_ascii=False, default=str) + "\n")
    stdout().flush()


def moment(seconds: float | None) -> str | None:
    """A time as ISO 8601 in UTC.

    >>> moment(0.5)
    '1970-01-01T00:00:00.500Z'
    """
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(started: float | None, ended: float | None) -> float | None:
    """How long it took; None where it is not over."""
    return None if started is None or ended is None else round(ended - started, 3)


def run_seconds(row: RunRow) -> float | None:
    """How long a run took since it was last taken up; None where it is not over, or was never driven."""
    return None if row.started is None else seconds_of(driven_since(row), row.ended)


def totals(counts: Mapping[str, Mapping[str, int]], nodes: Iterable[NodeRow]) -> dict[str, int]:
    """How many task runs are in each state; operators on nodes do not count."""
    hidden = {node.path for node in nodes if node.kind == "internal"}
    summed: dict[str, int] = {}
    for path, found in counts.items():
        if path not in hidden:
            for state, n in found.items():
                summed[state] = summed.get(state, 0) + n
    return summed


def tally(summed: Mapping[str, int]) -> Data:
    """Counts of states in the terms of a summary."""
    return {
        "total": sum(summed.values()),
        "done": sum(n for state, n in summed.items() if state in FINAL),
        "successful": sum(n for state, n in summed.items() if state in SUCCESSFUL),
        "failed": sum(n for state, n in summed.items() if state in FAILURE),
        "states": dict(summed),
    }


def run_data(row: RunRow, summed: Mapping[str, int]) -> Data:
    """A run."""
    return {
        "id": row.id,
        "name": row.name,
        "flow": row.flow,
        "version": row.version,
        "state": row.state,
        "message": row.message,
        "driver": driver_of(row) or None,
        "parameters": dict(row.parameters),
        "tags": list(row.tags),
        "executor": row.executor,
        "results": row.results_url,
        "created": moment(row.created),
        "started": moment(row.started),
        "ended": moment(row.ended),
        "seconds": run_seconds(row),
        "tasks": tally(summed),
    }


def task_run_data(row: TaskRunRow) -> Data:
    """A task run."""
    details = row.details or {}
    return {
        "task": row.path,
        "index": None if row.idx < 0 else row.idx,
        "state": row.state,
        "message": row.message,
        "attempt": row.attempt,
        "started": moment(row.started),
        "ended": moment(row.ended),
        "seconds": seconds_of(row.started, row.ended),
        "worker": row.worker or None,
        "result": dict(row.reference) if row.reference else None,
        "error": {key: details.get(key) for key in ("type", "message", "frames", "text")}
        if details.get("type")
        else None,
    }


def attempt_data(row: AttemptRow) -> Data:
    """One try of a task run."""
    error = row.error or {}
    return {
        "attempt": row.attempt,
        "state": row.state,
        "started": moment(row.started),
        "ended": moment(row.ended),
        "seconds": seconds_of(row.started, row.ended),
        "worker": row.worker or None,
        "error": {"type": error.get("type"), "message": error.get("message")} if error.get("type") else None,
    }


def log_data(row: LogRow) -> Data:
    """A log line."""
    return {
        "time": moment(row.time),
        "level": LEVELS.get(row.level, str(row.level)),
        "task": row.path,
        "index": None if row.idx < 0 else row.idx,
        "attempt": row.attempt,
        "logger": row.logger,
        "message": row.message,
    }
