"""`dataflow logs`: the log lines of a run or of a task."""

from __future__ import annotations

import logging
import time

import click

from dataflow.cli import data
from dataflow.cli.problems import Refused
from dataflow.cli.reference import find, find_task
from dataflow.cli.terminal import CONTROL, Printer
from dataflow.errors import did_you_mean
from dataflow.events import label
from dataflow_storage.rows import LogRow

NAMES = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50}
SHORT = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "FATAL"}
TONES = {10: "soft", 30: "warn", 40: "bad", 50: "bad"}


@click.command("logs", short_help="Print the log lines of a run or a task.")
@click.argument("run", metavar="RUN[/TASK]")
@click.option("--task", metavar="TASK", help="Only this task, or this child of a mapped task: transform[13].")
@click.option("--level", default="debug", metavar="LEVEL", help="At least this: debug, info, warning, error, critical.")
@click.option("--raw", is_flag=True, help="Only the messages, as they were logged.")
@click.option("-n", "--tail", type=click.IntRange(min=1), metavar="N", help="Only the last N lines.")
@data.output_option("table", "json", "jsonl")
def command(run: str, task: str | None, level: str, raw: bool, tail: int | None, output: str) -> None:
    """Print the log lines of a run or a task, those of each task in their order.

    \b
    Examples:
      dataflow logs @last --level warning
      dataflow logs brisk-otter --task transform[13] --raw
    """
    least = _level(level)
    found = find(run)
    if task is not None:
        if found.path is not None:
            raise Refused("a task was named twice", f"dataflow logs {found.run.name} --task '{task}'")
        found = find_task(found.run, task)
    index = -1 if found.path is not None and not found.mapped else found.index
    lines = found.run._store.logs(found.run.id, path=found.path, idx=index, level=least)
    lines = lines if tail is None else lines[-tail:]
    if output == "json":
        data.emit({"run": found.run.name, "lines": [data.log_data(line) for line in lines]})
    elif output == "jsonl":
        data.emit_lines({"type": "log", "run": found.run.name, **data.log_data(line)} for line in lines)
    elif raw:
        printer = Printer()
        for line in lines:
            printer.line(line.message)
    else:
        _print(lines)


def _level(given: str) -> int:
    if given.lower() in NAMES:
        return NAMES[given.lower()]
    if given.isdigit():
        return int(given)
    hint = did_you_mean(given.lower(), NAMES).strip()
    raise Refused(
        f"no level {given!r}", hint[:1].lower() + hint[1:] or "levels: debug, info, warning, error, critical."
    )


def _print(lines: list[LogRow]) -> None:
    printer = Printer()
    names = [label(line.path, line.idx) if line.path is not None else "run" for line in lines]
    size = min(max(map(len, names), default=0), 40)
    for line, name in zip(lines, names, strict=True):
        moment = f"{time.strftime('%H:%M:%S', time.localtime(line.time))}.{int(line.time % 1 * 1000):03}"
        word = SHORT.get(line.level) or logging.getLevelName(line.level)
        level = printer.tint(f"{word:<5}", TONES[line.level]) if line.level in TONES else f"{word:<5}"
        first, *more = line.message.splitlines() or [""]
        printer.line(f"{printer.tint(moment, 'soft')} {level} {name:<{size}}  {CONTROL.sub('', first)}")
        for further in more:
            printer.line(f"{'':<{20 + size}}  {CONTROL.sub('', further)}")
