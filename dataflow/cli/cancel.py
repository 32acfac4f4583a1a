"""`dataflow cancel`: a run stops, wherever it is driven."""

from __future__ import annotations

import click

from dataflow import states
from dataflow.cli import data, previews
from dataflow.cli.stopping import no_wait_option, stop


@click.command("cancel", short_help="Stop a run, wherever it is driven.")
@click.argument("run", metavar="RUN")
@click.option("--now", is_flag=True, help="Abandon what runs, or kill it where it is in a process of its own.")
@no_wait_option
@previews.dry_run_option
@data.output_option("table", "json", "jsonl")
def command(run: str, now: bool, no_wait: bool, dry_run: bool, output: str) -> int:
    """Stop a run, wherever it is driven, and wait until it is over.

    What runs may finish, unless --now is given or the run is cancelled twice; nothing else starts. What was done is
    kept.

    \b
    Examples:
      dataflow cancel brisk-otter
      dataflow cancel @last --now
    """
    return stop(
        run,
        "cancel",
        lambda found: found.cancel(now=now),
        states.CANCELLED,
        wait=not no_wait,
        dry_run=dry_run,
        output=output,
    )
