"""`dataflow run`: run a flow here, tell on standard error how it goes, and print what it returned."""

from __future__ import annotations

import click

from dataflow.catalog import load
from dataflow.cli import previews
from dataflow.cli.building import build
from dataflow.cli.detached import check_executor, detach
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
@click.option("--detach", "-d", "detached", is_flag=True, help="Run it in the background, and print only its id.")
@previews.dry_run_option
@showing_options
def command(
    flow: str,
    params: tuple[str, ...],
    executor: str | None,
    results: str | None,
    fresh: tuple[str, ...],
    refresh_all: bool,
    detached: bool,
    dry_run: bool,
    showing: Showing,
) -> int:
    """Run a flow of a Python file or module.

    Progress goes to standard error, what the flow returns to standard output. With -o json the finished run is printed
    as one document, with -o jsonl each change of state as one line while it happens.

    \b
    Examples:
      dataflow run flows.py:etl -p n=24 -p day=2026-11-22
      dataflow run flows.py -p @params.yaml --executor processes
      dataflow watch $(dataflow run flows.py:etl --detach)
    """
    given = parse(params)
    found = load(flow)
    fit = fitted(found, given)
    where = found.settings.get("executor") if executor is None else executor
    if detached and not dry_run:
        check_executor(where)
        return detach(flow, params, executor, results, fresh, everything=refresh_all, timeout=showing.timeout)
    graph = build(found, fit)
    refresh = refresh_all or fresh
    if dry_run:
        from dataflow.places import open_results
        from dataflow.preview import first
        from dataflow.settings import results_url

        url = results or found.settings.get("results") or results_url()
        return previews.tell("", first(graph, open_results(str(url)), refresh), showing.output)
    return drive(lambda: graph.submit(executor=executor, results=results, refresh=refresh), showing)
