"""`dataflow cache`: what is cached, and how to forget it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import click

from dataflow.cli import data, problems
from dataflow.cli.durations import Duration
from dataflow.cli.explain import command as explain
from dataflow.cli.nouns import Nouns
from dataflow.cli.terminal import Printer, day
from dataflow.errors import did_you_mean
from dataflow.places import open_results
from dataflow.settings import results_url
from dataflow_storage import CacheIndex

url_option = click.option("--url", metavar="URL", help="The result store, if it is not the configured one.")


@click.group("cache", cls=Nouns, short_help="List, forget and explain cached results.")
def command() -> None:
    """List, forget and explain cached results.

    The cache of a result store belongs to everybody who shares the store. Forgetting a result makes its task run again;
    the result itself stays with its run until that is pruned.
    """


@command.command("ls", short_help="List what is cached.")
@click.argument("task", required=False)
@url_option
@data.reading_option
def ls(task: str | None, url: str | None, output: str) -> None:
    """List what is cached: a line for each task and state of its code."""
    index = CacheIndex(open_results(url or results_url()))
    rows = [row for row in (_row(index, folder) for folder in index.folders(task or "")) if row["entries"]]
    rows.sort(key=lambda row: (str(row["task"]), -float(str(row["newest"] or 0))))
    if output == "json":
        data.emit({"cache": [{**row, "newest": data.moment(row["newest"])} for row in rows]})  # type: ignore[arg-type]
    elif output == "jsonl":
        data.emit_lines({"type": "cache", **row, "newest": data.moment(row["newest"])} for row in rows)  # type: ignore[arg-type]
    elif output == "name":
        data.emit_names(str(row["task"]) for row in rows)
    elif not rows:
        Printer().line("nothing is cached: @task(cache=True) says that a task's results may be used again")
    else:
        cells = [
            [
                str(row["task"]),
                str(row["stands"]) if output == "wide" else str(row["stands"])[:21],
                str(row["scope"]),
                f"{row['entries']}",
                f"{row['bytes']:,}",
                day(row["newest"]),  # type: ignore[arg-type]
            ]
            for row in rows
        ]
        Printer().table(["TASK", "CODE", "SCOPE", ">RESULTS", ">BYTES", "NEWEST"], cells)


def _row(index: CacheIndex, folder: str) -> dict[str, object]:
    identity: Mapping[str, object] = index.identity(folder)
    entries = index.entries(folder)
    return {
        "task": identity.get("name", folder.rpartition(".")[0]),
        "stands": identity.get("stands", "?"),
        "scope": identity.get("scope", "?"),
        "entries": len(entries),
        "bytes": sum(entry.reference.size for entry in entries if entry.reference is not None),
        "newest": entries[-1].created if entries else None,
    }


@command.command("rm", short_help="Forget what is cached of a task.")
@click.argument("tasks", nargs=-1, metavar="TASK...")
@click.option("--all", "everything", is_flag=True, help="Of every task.")
@click.option("--older-than", type=Duration(), metavar="AGE", help="Only results older than this: 30d, 12h, 45m, 90s.")
@click.option("--dry-run", "-n", is_flag=True, help="Only say what would be forgotten.")
@url_option
def rm(tasks: tuple[str, ...], everything: bool, older_than: float | None, dry_run: bool, url: str | None) -> None:
    """Forget what is cached of a task: it runs again next time."""
    if bool(tasks) == everything:
        raise problems.Refused("which tasks?", "dataflow cache rm TASK, or --all; dataflow cache ls lists them.")
    index = CacheIndex(open_results(url or results_url()))
    folders = index.folders()
    known = {folder.rpartition(".")[0] for folder in folders}
    for task in tasks:
        if task not in known:
            hint = did_you_mean(task, known).strip() or "dataflow cache ls lists them."
            raise problems.Refused(f"nothing is cached of a task {task!r}", hint)
    limit = None if older_than is None else time.time() - older_than
    gone = 0
    for folder in folders:
        if everything or folder.rpartition(".")[0] in tasks:
            old = {entry.key for entry in index.entries(folder) if limit is None or entry.created < limit}
            gone += len(old) if dry_run else index.remove(folder, None if limit is None else old)
    Printer().line(f"{'would forget' if dry_run else 'forgot'} {gone} cached result{'' if gone == 1 else 's'}")


command.add_command(explain)
