"""`dataflow pause`: a run lets what runs finish, and then waits until somebody resumes it."""

from __future__ import annotations

import click

from dataflow import states
from dataflow.cli import data, previews
from dataflow.cli.stopping import no_wait_option, stop


@click.command("pause", short_help="Let what runs finish, and start nothing else until somebody resumes the run.")
@click.argument("run", metavar="RUN")
@click.option("--note", default="", metavar="TEXT", help="Why, for whoever looks at the run.")
@no_wait_option
@previews.dry_run_option
@data.output_option("table", "json", "jsonl")
def command(run: str, note: str, no_wait: bool, dry_run: bool, output: str) -> int:
    """Let what runs finish, start nothing else, and wait until that is so. A paused run holds no worker and no process.

    \b
    Examples:
      dataflow pause brisk-otter --note 'the shop is closed'
      dataflow resume brisk-otter
    """
    return stop(
        run, "pause", lambda found: found.pause(note), states.PAUSED, wait=not no_wait, dry_run=dry_run, output=output
    )
