"""`dataflow graph`: draw a flow without running it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dataflow.catalog import load
from dataflow.cli.alone import alone
from dataflow.cli.building import build
from dataflow.cli.parameters import fitted, parse
from dataflow.cli.problems import Refused
from dataflow.cli.terminal import has_unicode
from dataflow.draw import FORMATS, MOST, draw, format_of


@click.command("graph", short_help="Draw a flow without running it.")
@click.argument("flow", metavar="FILE[:FLOW]")
@click.option(
    "-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; or -p @FILE (YAML, JSON)."
)
@click.option(
    "-o", "--output", type=click.Choice(FORMATS), help="What to write; by default what --out ends in, else text."
)
@click.option(
    "--out", type=click.Path(dir_okay=False), metavar="FILE", help="Write this file instead of standard output."
)
@click.option("--all", "everything", is_flag=True, help=f"Draw every task; else more than {MOST} boxes are folded.")
def command(flow: str, params: tuple[str, ...], output: str | None, out: str | None, everything: bool) -> None:
    """Draw a flow without running it. Its body runs, its tasks do not.

    \b
    Examples:
      dataflow graph flows.py:etl
      dataflow graph flows.py:etl -p n=24 --out etl.svg
      dataflow graph flows.py -o mermaid
    """
    given = parse(params)
    if output is None:
        try:
            output = "text" if out is None else format_of(out)
        except ValueError as error:
            raise Refused(f"what --out {out} should hold is not clear from its name", "say it with -o svg") from error
    with alone():
        found = load(flow)
        graph = build(found, fitted(found, given))
    ascii_only = out is None and not has_unicode(sys.stdout)
    text = draw(graph, output, limit=None if everything else MOST, ascii_only=ascii_only)
    if out is None:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"{out} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {out}", err=True)
