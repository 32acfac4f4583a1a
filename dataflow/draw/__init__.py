"""A graph as a picture or as text, with the states of a run where there is one. Needs no other program.

`shape` says what is drawn, `layers` and `layout` where, `svg` and `text` write it, `marks` knows how a state looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

# What draws is loaded when something is drawn: the command line's tables only want `marks`.
if TYPE_CHECKING:
    from dataflow.draw.shape import Item
    from dataflow.graph import Graph

FORMATS = ("svg", "text", "mermaid", "dot", "json")
SUFFIXES = {".svg": "svg", ".txt": "text", ".mmd": "mermaid", ".dot": "dot", ".gv": "dot", ".json": "json"}
# More boxes than this are folded.
MOST = 60
# A notebook keeps every picture that was ever shown in it.
MOST_BYTES = 60_000

Counts = Mapping[str, Mapping[str, int]]


def draw(
    graph: Graph,
    format: str = "svg",
    *,
    counts: Counts | None = None,
    limit: int | None = MOST,
    ascii_only: bool = False,
) -> str:
    """Draw a graph.

    Parameters
    ----------
    graph : Graph
        What to draw.
    format : str
        One of "svg", "text", "mermaid", "dot", "json".
    counts : mapping, optional
        How many task runs of each node are in each state, as `Run.counts` gives them; without it no state is shown.
    limit : int or None
        Fold what would be more boxes than this; None folds nothing. JSON holds every node in any case.
    ascii_only : bool
        Text in ASCII only.

    Raises
    ------
    ValueError
        There is no such format.

    Examples
    --------
    >>> from dataflow import flow, task
    >>> @task
    ... def clean(x): ...
    >>> @task
    ... def save(xs): ...
    >>> @flow
    ... def etl():
    ...     return save(clean.map([1, 2, 3]))
    >>> print(draw(etl(), "text"), end="")
    etl: 2 tasks, 1 mapped
      clean  ×3
      save       ← clean
    """
    from dataflow.draw.shape import items_of

    return draw_items(graph.flow, items_of(graph), format, counts=counts, limit=limit, ascii_only=ascii_only)


def draw_items(
    flow: str,
    items: Sequence[Item],
    format: str = "svg",
    *,
    counts: Counts | None = None,
    limit: int | None = MOST,
    ascii_only: bool = False,
) -> str:
    """Draw nodes that are known by what is on record; see `draw`. An SVG shows itself in a notebook."""
    from dataflow.draw.picture import Picture
    from dataflow.draw.shape import view
    from dataflow.draw.svg import svg
    from dataflow.draw.text import as_json, dot, mermaid, text

    if format == "json":
        return as_json(flow, items, counts)
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is not one of {', '.join(FORMATS)}.")
    shown = view(flow, items, counts, limit)
    states = counts is not None
    if format == "text":
        return text(shown, states=states, ascii_only=ascii_only)
    if format == "svg":
        return Picture(svg(shown, states=states), text(shown, states=states).rstrip(), f"graph of {shown.title}")
    return {"mermaid": mermaid, "dot": dot}[format](shown, states=states)


def format_of(path: str) -> str:
    """The format that a file's suffix says.

    >>> format_of("etl.mmd")
    'mermaid'
    """
    for suffix, format in SUFFIXES.items():
        if path.endswith(suffix):
            return format
    raise ValueError(f"{path!r} does not end in one of {', '.join(SUFFIXES)}: say which format with format=.")


def html(graph: Graph, counts: Counts | None = None) -> str | None:
    """The picture for a notebook: an image with a data URI, since one that is not trusted strips inline SVG.

    What is too large is folded further; None where that does not help.
    """
    from dataflow.draw.picture import image
    from dataflow.draw.shape import items_of, view
    from dataflow.draw.svg import svg

    items = items_of(graph)
    for most in (MOST, 40, 24, 12, 6):
        shown = view(graph.flow, items, counts, limit=most, most=600 if most == MOST else most)
        made = image(svg(shown, states=counts is not None), f"graph of the flow {shown.title}")
        if len(made) < MOST_BYTES:
            return made
    return None


def mimebundle(graph: Graph) -> dict[str, str]:
    """What a notebook shows of a graph."""
    told = draw(graph, "text").rstrip()
    bundle = {"text/plain": told if told.count("\n") <= MOST else repr(graph)}
    picture = html(graph)
    return bundle if picture is None else {"text/html": picture, **bundle}
