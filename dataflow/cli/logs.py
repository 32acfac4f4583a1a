"""`dataflow logs`: the log lines of a run or of a task, also while they come."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from dataflow.cli import data
from dataflow.cli.durations import Duration
from dataflow.cli.problems import EXIT_OK, EXIT_PAUSED, Refused
from dataflow.cli.reference import Found, find, find_task
from dataflow.cli.standing import is_left, is_over
from dataflow.cli.terminal import CONTROL, Printer
from dataflow.errors import did_you_mean
from dataflow.events import label
from dataflow.patience import patiently
from dataflow_storage.rows import LogRow

NAMES = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50}
SHORT = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "FATAL"}
TONES = {10: "soft", 30: "warn", 40: "bad", 50: "bad"}
POLL = 0.25
PATIENCE = 600.0  # seconds that following waits for a record that is away
WIDEST = 40


@dataclass(kw_only=True)
class Wanted:
    """Which lines, and how far they have been read: `seen`."""

    found: Found
    level: int
    pattern: re.Pattern[str] | None
    since: float
    seen: int = 0

    def new(self) -> list[LogRow]:
        """What came since this was last asked."""
        found = self.found
        index = -1 if found.path is not None and not found.mapped else found.index
        store, run = found.run._store, found.run.id
        lines = store.logs(run, path=found.path, idx=index, level=self.level, after=self.seen)
        self.seen = lines[-1].seq if lines else self.seen
        return [
            line
            for line in lines
            if line.time >= self.since and (self.pattern is None or self.pattern.search(line.message))
        ]


@click.command("logs", short_help="Print the log lines of a run or a task.")
@click.argument("run", metavar="RUN[/TASK]")
@click.option("--task", metavar="TASK", help="Only this task, or this child of a mapped task: transform[13].")
@click.option("--level", default="debug", metavar="LEVEL", help="At least this: debug, info, warning, error, critical.")
@click.option("--grep", metavar="REGEX", help="Only lines in which this regular expression is found.")
@click.option("--since", type=Duration(), metavar="AGE", help="Only lines that are not older than this: 10m, 2h.")
@click.option("--raw", is_flag=True, help="Only the messages, as they were logged.")
@click.option("-n", "--tail", type=click.IntRange(min=1), metavar="N", help="Only the last N lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the run is over or paused.")
@click.option("--exit-code", is_flag=True, help="End with the run's exit code.")
@data.reading_option
def command(
    run: str,
    task: str | None,
    level: str,
    grep: str | None,
    since: float | None,
    raw: bool,
    tail: int | None,
    follow: bool,
    exit_code: bool,
    output: str,
) -> int:
    """Print the log lines of a run or a task, those of each task in their order.

    \b
    Examples:
      dataflow logs @last --level warning
      dataflow logs brisk-otter --task transform[13] --raw
      dataflow logs @last --follow --grep 'row \\d+'
    """
    least, pattern = _level(level), _pattern(grep)
    found = find(run)
    if task is not None:
        if found.path is not None:
            raise Refused("a task was named twice", f"dataflow logs {found.run.name} --task '{task}'")
        found = find_task(found.run, task)
    if follow and output == "json":
        raise Refused(
            "--follow has no end that one JSON document could wait for", "-o jsonl prints each line as it comes"
        )
    wanted = Wanted(found=found, level=least, pattern=pattern, since=0.0 if since is None else time.time() - since)
    teller = _Teller(found.run.name, output, raw=raw)
    lines = wanted.new()
    teller.tell(lines if tail is None else lines[-tail:])
    for more in _following(wanted) if follow else ():
        teller.tell(more)
    return _code(found) if exit_code else EXIT_OK


def _following(wanted: Wanted) -> Iterator[list[LogRow]]:
    """What comes, until nothing more can; a record that is away for a while is waited for."""
    while True:
        row = patiently(lambda: wanted.found.run.record, PATIENCE)
        yield patiently(wanted.new, PATIENCE)  # read after the state: what was written before the end is there
        if is_over(row) or is_left(row):
            return
        time.sleep(POLL)


def _code(found: Found) -> int:
    from dataflow.cli.ending import CODES

    return CODES.get(found.run.record.state, EXIT_PAUSED)


def _level(given: str) -> int:
    if given.lower() in NAMES:
        return NAMES[given.lower()]
    if given.isdigit():
        return int(given)
    hint = did_you_mean(given.lower(), NAMES).strip()
    raise Refused(
        f"no level {given!r}", hint[:1].lower() + hint[1:] or "levels: debug, info, warning, error, critical."
    )


def _pattern(given: str | None) -> re.Pattern[str] | None:
    try:
        return None if given is None else re.compile(given)
    except re.error as error:
        raise Refused(
            f"{given!r} is no regular expression: {error}", f"as it stands: {re.escape(str(given))!r}"
        ) from error


class _Teller:
    """Prints lines; those that come later stand below those before."""

    def __init__(self, run: str, output: str, *, raw: bool) -> None:
        self._run, self._output, self._raw = run, output, raw
        self._printer = Printer()
        self._size = 0
        self._named: set[str] = set()

    def tell(self, lines: Sequence[LogRow]) -> None:
        if self._output == "json":
            data.emit({"run": self._run, "lines": [data.log_data(line) for line in lines]})
        elif self._output == "jsonl":
            data.emit_lines({"type": "log", "run": self._run, **data.log_data(line)} for line in lines)
        elif self._output == "name":
            who = [f"{self._run}/{label(line.path, line.idx)}" if line.path else self._run for line in lines]
            data.emit_names(one for one in who if one not in self._named)
            self._named.update(who)
        elif self._raw:
            for line in lines:
                self._printer.line(line.message)
        else:
            self._print(lines)

    def _print(self, lines: Sequence[LogRow]) -> None:
        printer = self._printer
        names = [label(line.path, line.idx) if line.path is not None else "run" for line in lines]
        self._size = size = min(max([self._size, *map(len, names)]), WIDEST)
        wide = self._output == "wide"
        clock = "%Y-%m-%d %H:%M:%S" if wide else "%H:%M:%S"
        for line, name in zip(lines, names, strict=True):
            name = f"{name:<{size}}  {line.attempt or '-'}  {line.logger or '-'}" if wide else f"{name:<{size}}"
            moment = f"{time.strftime(clock, time.localtime(line.time))}.{int(line.time % 1 * 1000):03}"
            word = SHORT.get(line.level) or logging.getLevelName(line.level)
            level = printer.tint(f"{word:<5}", TONES[line.level]) if line.level in TONES else f"{word:<5}"
            first, *more = line.message.splitlines() or [""]
            printer.line(f"{printer.tint(moment, 'soft')} {level} {name}  {CONTROL.sub('', first)}")
            for further in more:
                printer.line(f"{'':<{len(moment) + 7 + len(name)}}  {CONTROL.sub('', further)}")
