"""`dataflow watch`: how a run goes, wherever it is driven."""

from __future__ import annotations

import click

from dataflow.cli import standing
from dataflow.cli.driving import Showing, drive, showing_options


@click.command("watch", short_help="Show how a run goes that another process drives.")
@click.argument("run", metavar="RUN")
@showing_options
def command(run: str, showing: Showing) -> int:
    """Show how a run goes, wherever it is driven, until it is over or paused.

    Ctrl-C and --timeout end the watching, and not the run. A run that is over is told as it ended. The exit code is
    that of the run.

    \b
    Examples:
      dataflow watch @last
      dataflow watch brisk-otter -o jsonl
    """
    found = standing.find_run(run, "watch")
    return drive(lambda: found, showing, look_only=True)
