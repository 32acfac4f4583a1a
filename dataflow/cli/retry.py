"""`dataflow retry`: what did not succeed runs again, in the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dataflow.cli import previews, standing
from dataflow.cli.driving import Showing, drive, showing_options
from dataflow.cli.taking import check_graph, executor_option, recorded_option, taken

if TYPE_CHECKING:
    from dataflow.run import Run


@click.command("retry", short_help="Run again what did not succeed of a run; the rest is kept.")
@click.argument("run", metavar="RUN")
@click.option(
    "--from", "from_", multiple=True, metavar="TASK", help="Run this again, too, with all that follows from it."
)
@click.option("--only", multiple=True, metavar="TASK", help="Of what failed, only this, and what follows from it.")
@executor_option
@recorded_option
@previews.dry_run_option
@showing_options
def command(
    run: str,
    from_: tuple[str, ...],
    only: tuple[str, ...],
    executor: str | None,
    as_recorded: bool,
    dry_run: bool,
    showing: Showing,
) -> int:
    """Run again what did not succeed of a run, in this same run; what succeeded is kept.

    The flow's code builds the graph again, so that a mistake that was corrected in it is gone.

    \b
    Examples:
      dataflow retry brisk-otter
      dataflow retry @last-failed --only 'transform[13]'
      dataflow retry @last --from clean --dry-run
    """
    found = standing.find_run(run, "retry")
    standing.check_retry(found, found.record, redone=bool(from_))
    if dry_run:
        check_graph(found, as_recorded=as_recorded)
        return previews.tell(found.name, found.plan(from_=from_, only=only), showing.output)

    def begin() -> Run:
        from dataflow import control
        from dataflow.driven import launch

        taken(found, lambda: control.retry(found, executor, from_, only, as_recorded=as_recorded))
        launch(found)
        return found

    return drive(begin, showing, earlier=found, note="retried")
