"""A graph that can run, draw itself, and show itself in a notebook: what calling a flow gives."""

from __future__ import annotations

import functools
import inspect
import typing
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.definition import Hook
from dataflow.graph import Graph
from dataflow.loading import refuse_runs
from dataflow.node import Node
from dataflow.parameters import masked

if TYPE_CHECKING:
    from dataflow.preview import NodePreview
    from dataflow.run import Run


class Runnable(typing.Protocol):
    """What a graph asks of the flow that built it."""

    @property
    def version(self) -> str: ...
    @property
    def signature(self) -> inspect.Signature: ...
    @property
    def settings(self) -> Mapping[str, object]: ...
    @property
    def hooks(self) -> Mapping[str, Hook]: ...


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FlowGraph(Graph):
    """A Graph that knows the flow that built it, and so how to run.

    Parameters
    ----------
    source : Flow
        The flow.
    """

    source: Runnable

    def __post_init__(self) -> None:
        for node in self.nodes:
            node.home = self

    # Its nodes as Dask collections; see `Node`. -----------------------------------------------------------------------

    @functools.cached_property
    def _token(self) -> str:
        return uuid.uuid4().hex

    def dask_key(self, node: Node, before: Node | None = None) -> str:
        """The key of a node in Dask's graph, or of what is drawn before one; dashboards go by the name."""
        what = node.path if before is None or before is node else f"{node.path} before {before.path}"
        return f"{node.name}-{uuid.uuid5(uuid.UUID(self._token), what).hex}"

    def dask_graph(self, node: Node) -> Mapping[str, object]:
        """The Dask graph of a node."""
        from dataflow.collection import dask_graph

        options = {**self.source.settings, "version": self.source.version}
        return dask_graph(self, node, lambda one: self.dask_key(one, before=node), options)

    def run(
        self,
        *,
        executor: object = None,
        results: str | None = None,
        refresh: bool | Sequence[str] = False,
        raise_on_failure: bool = True,
    ) -> Run:
        """Run to the end and return the run.

        Parameters
        ----------
        executor : Executor, str, Client, cluster or None
            Where: "sync", "threads", "processes", an address …; by default the flow's, else the configured one.
        results : str, optional
            URL of the result store; by default the flow's, else the configured one.
        refresh : bool or sequence of str
            Make anew what the cache or targets have: all of it, or these tasks, by name or path.
        raise_on_failure : bool
            Raise `RunFailed` where the run does not succeed.

        Raises
        ------
        RunFailed
            The run did not succeed.
        """
        from dataflow.driven import finish

        run = self.submit(executor=executor, results=results, refresh=refresh)._watch()
        finish(run, raise_on_failure)
        return run

    def submit(
        self,
        *,
        executor: object = None,
        results: str | None = None,
        refresh: bool | Sequence[str] = False,
        rerun_of: str = "",
    ) -> Run:
        """Begin to run, and return the run at once. `rerun_of`: the id of the run that this one repeats."""
        from dataflow.driven import launch
        from dataflow.start import start

        refuse_runs(self.flow)
        options = self.source.settings
        prints = options.get("log_prints")
        run = start(
            self,
            executor=options.get("executor") if executor is None else executor,
            results=results if results is not None else typing.cast("str | None", options.get("results")),
            tags=typing.cast("Sequence[str]", options.get("tags", ())),
            version=self.source.version,
            hooks=self.source.hooks,
            log_prints=typing.cast("bool | None", prints),
            parameters=masked(self.parameters),
            refresh=refresh,
            source=self.source,
            rerun_of=rerun_of,
        )
        launch(run)
        return run

    def plan(self, *, results: str | None = None, refresh: bool | Sequence[str] = False) -> list[NodePreview]:
        """What a run would run of each node, and what it would take from the cache or find at its target.

        Parameters
        ----------
        results, refresh
            As in `run`.
        """
        from dataflow import settings
        from dataflow.places import open_results
        from dataflow.preview import first
        from dataflow.start import names

        url = results or self.source.settings.get("results") or settings.results_url()
        return first(self, open_results(str(url)), names(refresh))

    async def arun(
        self,
        *,
        executor: object = None,
        results: str | None = None,
        refresh: bool | Sequence[str] = False,
        raise_on_failure: bool = True,
    ) -> Run:
        """As `run`, for asynchronous code."""
        import asyncio

        from dataflow.driven import finish

        run = await asyncio.to_thread(self.submit, executor=executor, results=results, refresh=refresh)
        await run
        finish(run, raise_on_failure)
        return run

    def visualize(self, path: str | None = None, format: str | None = None) -> str:
        """Draw the graph; nothing runs.

        Parameters
        ----------
        path : str, optional
            A file to write: .svg, .mmd (Mermaid), .dot, .json or .txt.
        format : str, optional
            "svg", "mermaid", "dot", "json" or "text"; by default what the path's suffix says, else "svg".

        Returns
        -------
        str
            The text of the picture; an SVG shows itself in a notebook.
        """
        from dataflow.draw import draw, format_of

        drawn = draw(self, format or ("svg" if path is None else format_of(str(path))))
        if path is not None:
            Path(path).write_text(drawn, encoding="utf-8")
        return drawn

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        from dataflow.draw import mimebundle

        return mimebundle(self)
