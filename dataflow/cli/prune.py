"""`dataflow prune`: the records of runs that are over, and their results, are deleted."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dataflow import states
from dataflow.cli import data
from dataflow.cli.durations import Duration
from dataflow.cli.problems import EXIT_UNREACHABLE, Refused
from dataflow.cli.terminal import Printer, amount, day, several
from dataflow.errors import did_you_mean
from dataflow.places import open_runs

if TYPE_CHECKING:
    from dataflow.retention import Remains, Survey


@click.command("prune", short_help="Delete old runs and their results.")
@click.option("--older-than", type=Duration(), metavar="AGE", help="Runs that ended so long ago: 30d, 12h, 2w.")
@click.option("--keep-last", type=click.IntRange(min=0), metavar="N", help="Keep the newest N of each flow.")
@click.option("--flow", metavar="NAME", help="Only runs of this flow.")
@click.option(
    "--state", metavar="STATE", help=f"Only runs that ended so: {', '.join(sorted(states.RUN_FINAL)).lower()}."
)
@click.option("--orphans", is_flag=True, help="Also results of runs that are not on record, where all are old enough.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would go.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@data.output_option("table", "json")
def command(
    older_than: float | None,
    keep_last: int | None,
    flow: str | None,
    state: str | None,
    orphans: bool,
    dry_run: bool,
    yes: bool,
    output: str,
) -> int:
    """Delete old runs: their records, logs and results.

    With --older-than and --keep-last both, a run goes if neither keeps it. What stays in any case: runs that are not
    over; results that another run or the cache still needs; targets, which are your files.

    \b
    Examples:
      dataflow prune --older-than 30d --keep-last 50 --dry-run
      dataflow prune --state failed --older-than 7d --yes
    """
    from dataflow.retention import Rule, carry_out, survey

    if older_than is None and (keep_last is None or orphans):
        hint = "--older-than 30d" if orphans else "--older-than 30d, --keep-last 50, or both."
        raise Refused("orphans of which age?" if orphans else "which runs?", hint)
    ended = None if state is None else _state(state)
    rule = Rule(older_than=older_than, keep_last=keep_last, flow=flow, state=ended, orphans=orphans)
    runs, now = open_runs(), time.time()
    planned = survey(runs, rule, now)
    if dry_run:
        _tell(planned, output, dry_run=True)
        return EXIT_UNREACHABLE if planned.unreachable else 0
    if not planned.is_empty and not yes:
        _ask(planned)
    done = carry_out(runs, planned, rule, now)
    _tell(done, output, dry_run=False)
    return EXIT_UNREACHABLE if done.unreachable else 0


def _state(given: str) -> str:
    names = {known.lower(): known for known in sorted(states.RUN_FINAL)}
    if given.lower() in names:
        return names[given.lower()]
    if given.lower() in {known.lower() for known in states.RUN_TRANSITIONS}:
        raise Refused(f"a run that is {given.lower()} is not over, and is never pruned", f"states: {', '.join(names)}.")
    hint = did_you_mean(given.lower(), list(names)).strip()
    raise Refused(f"no state {given!r}", hint[:1].lower() + hint[1:] or f"states: {', '.join(names)}.")


def _ask(planned: Survey) -> None:
    """Show what would go and let a person decide.

    Raises
    ------
    Refused
        There is nobody to ask.
    Abort
        They said no.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused("nobody is there to be asked", "--yes deletes, --dry-run only looks.")
    printer = Printer(sys.stderr)
    _table(printer, planned)
    for line in _summary(planned, dry_run=True):
        printer.line(line)
    click.confirm("Delete this?", abort=True, err=True)


def _tell(what: Survey, output: str, *, dry_run: bool) -> None:
    if output == "json":
        data.emit(_data(what, dry_run=dry_run))
        return
    printer = Printer()
    if dry_run:
        _table(printer, what)
    for line in _summary(what, dry_run=dry_run):
        printer.line(line)
    for url, reason in what.unreachable.items():
        Printer(sys.stderr).line(
            f"warning: {url} could not be looked at: {reason}; what is there stays until the next prune"
        )


def _table(printer: Printer, what: Survey) -> None:
    rows = [
        [
            printer.tint(one.name or one.id, "bold"),
            one.flow,
            printer.state(one.state) if one.state else kind,
            day(one.ended),
            f"{len(one.doomed):,}",
            amount(sum(one.doomed.values())),
            one.url,
        ]
        for kind, group in (("", what.runs), ("deleted", what.leftovers), ("orphan", what.orphans))
        for one in group
        if one.doomed or kind == ""
    ]
    if rows:
        printer.table(["RUN", "FLOW", "STATE", "ENDED", ">OBJECTS", ">SIZE", "WHERE"], rows)


def _summary(what: Survey, *, dry_run: bool) -> list[str]:
    verb = "would delete" if dry_run else "deleted"
    if what.is_empty:
        return ["nothing to delete"]
    lines = [f"{verb} {several(len(what.runs), 'run')}, {_files(what.remains)}"]
    for group, of in ((what.leftovers, "runs pruned before"), (what.orphans, "runs that are not on record")):
        if any(one.doomed for one in group):
            lines.append(f"  of these, {_files(group)} of {of}")
    kept = [one.kept for one in what.remains if one.kept]
    if kept:
        size = amount(sum(sum(files.values()) for files in kept))
        lines.append(f"  {several(sum(map(len, kept)), 'object')}, {size} stay: other runs or the cache need them")
    for why, told in (("expired", "that expired"), ("gone", "without a result")):
        n = sum(entry.why == why for entry in what.entries)
        if n:
            lines.append(f"  {verb} {several(n, 'cache entry', 'cache entries')} {told}")
    rubbish = [size for files in what.rubbish.values() for size in files.values()]
    if rubbish:
        lines.append(f"  {verb} {several(len(rubbish), 'file')}, {amount(sum(rubbish))}, of processes that died")
    return lines


def _files(group: Sequence[Remains]) -> str:
    sizes = [size for one in group for size in one.doomed.values()]
    return f"{several(len(sizes), 'object')}, {amount(sum(sizes))}"


def _data(what: Survey, *, dry_run: bool) -> data.Data:
    rubbish = [size for files in what.rubbish.values() for size in files.values()]
    return {
        "dry_run": dry_run,
        "runs": [_remains(one) for one in what.runs],
        "leftovers": [_remains(one) for one in what.leftovers if one.doomed],
        "orphans": [_remains(one) for one in what.orphans],
        "cache": [
            {"task": entry.path, "run": entry.run, "key": entry.key, "why": entry.why, "results": entry.url}
            for entry in what.entries
        ],
        "rubbish": {"objects": len(rubbish), "bytes": sum(rubbish)},
        "unreachable": [{"results": url, "message": reason} for url, reason in what.unreachable.items()],
        "objects": sum(len(one.doomed) for one in what.remains),
        "bytes": sum(sum(one.doomed.values()) for one in what.remains),
    }


def _remains(one: Remains) -> data.Data:
    return {
        "id": one.id,
        "name": one.name or None,
        "flow": one.flow,
        "state": one.state or None,
        "ended": data.moment(one.ended),
        "results": one.url,
        "objects": len(one.doomed),
        "bytes": sum(one.doomed.values()),
        "kept": len(one.kept),
    }
