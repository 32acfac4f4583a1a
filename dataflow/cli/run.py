"""`dataflow run`: run a flow here, tell on standard error how it goes, and print what it returned."""

from __future__ import annotations

import click

from dataflow.catalog import load
from dataflow.cli.building import build
from dataflow.cli.driving import Showing, drive, showing_options
from dataflow.cli.parameters import fitted, parse


@click.command("run", short_help="Run a flow and show how it goes.")
@click.argument("flow", metavar="FILE[:FLOW]")
@click.option(
    "-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; or -p @FILE (YAML, JSON)."
)
@click.option(
    "--executor", metavar="WHERE", help="sync, threads, threads:4, processes, processes:4 or a scheduler's address."
)
@click.option("--results", metavar="URL", help="Where results are stored.")
@click.option("--refresh", "fresh", multiple=True, metavar="TASK", help="Make this anew although it is cached.")
@click.option("--refresh-all", is_flag=True, help="Make everything anew.")
@showing_options
def command(
    flow: str,
    params: tuple[str, ...],
    executor: str | None,
    results: str | None,
    fresh: tuple[str, ...],
    refresh_all: bool,
    showing: Showing,
) -> int:
    """Run a flow of a Python file or module.

    Progress goes to standard error, what the flow returns to standard output. With -o json the finished run is printed
    as one document, with -o jsonl each change of state as one line while it happens.

    \b
    Examples:
      dataflow run flows.py:etl -p n=24 -p day=2026-11-22
      dataflow run flows.py -p @params.yaml --executor processes
    """
    given = parse(params)
    found = load(flow)
    graph = build(found, fitted(found, given))
    return drive(lambda: graph.submit(executor=executor, results=results, refresh=refresh_all or fresh), showing)
