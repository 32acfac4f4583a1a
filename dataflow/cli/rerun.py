"""`dataflow rerun`: the flow of a run once more, as a new run."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from dataflow.cli import previews, standing
from dataflow.cli.building import build
from dataflow.cli.driving import Showing, drive, showing_options
from dataflow.cli.parameters import fitted, parse
from dataflow.cli.problems import Refused
from dataflow.cli.taking import executor_option

if TYPE_CHECKING:
    from dataflow.catalog import AnyFlow
    from dataflow.flow_graph import FlowGraph
    from dataflow.preview import NodePreview
    from dataflow.run import Run


@click.command("rerun", short_help="Run the flow of a run once more, as a new run.")
@click.argument("run", metavar="RUN")
@click.option(
    "-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter that is to be other than it was."
)
@executor_option
@previews.dry_run_option
@showing_options
def command(run: str, params: tuple[str, ...], executor: str | None, dry_run: bool, showing: Showing) -> int:
    """Run the flow of a run once more, as a new run, with the same parameters but for those that are given.

    \b
    Examples:
      dataflow rerun brisk-otter
      dataflow rerun @last -p day=2026-11-23
    """
    given = parse(params)
    found = standing.find_run(run, "rerun")
    graph = _graph(found, given)
    row = found.record
    if dry_run:
        return previews.tell(found.name, _preview(graph), showing.output)
    where = row.details.get("executor") if executor is None else executor
    return drive(
        lambda: graph.submit(executor=where, results=row.results_url, rerun_of=found.id),
        showing,
        note=f"rerun of {found.name}",
    )


def _graph(run: Run, given: dict[str, object]) -> FlowGraph:
    """The graph that the flow's code builds now, with the run's parameters and those that are given."""
    from dataflow import control
    from dataflow.source import find_flow

    row = run.record
    flow = cast("AnyFlow | None", find_flow(row))
    hint = f"dataflow run FILE:{row.flow}"
    if flow is None:
        raise Refused(f"flow {row.flow!r} was defined in a session that is over, or in a function", hint)
    changes = fitted(flow, given, complete=False)
    before = control._arguments(run, row)
    if before is None:
        raise Refused(f"the parameters of run {run.name} could not be stored", hint)
    return build(flow, {**before, **changes})


def _preview(graph: FlowGraph) -> list[NodePreview]:
    """All of it runs, as far as the cache does not have it."""
    from dataflow.preview import NodePreview

    return [
        NodePreview(path=node.path, runs=node.width if node.mapped else 1, kept=0, waits=0)
        for node in graph.nodes
        if not node.definition.internal
    ]
