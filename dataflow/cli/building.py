"""A flow's graph, built for the command line: what the flow's body raises is the user's to read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from dataflow.cli import problems

if TYPE_CHECKING:
    from dataflow.catalog import AnyFlow
    from dataflow.flow_graph import FlowGraph


def build(flow: AnyFlow, parameters: dict[str, object]) -> FlowGraph:
    """The flow's graph.

    Raises
    ------
    Refused
        Its body raised.
    """
    with users_errors(flow.name):
        return flow.graph(**parameters)


@contextmanager
def users_errors(flow: str) -> Iterator[None]:
    """What the body of this flow raises in here becomes `Refused`, with the place in the user's file."""
    from dataflow.errors import DataflowError
    from dataflow.failure import describe

    try:
        yield
    except Exception as error:
        inside = _in_a_body(error)
        if inside is None:
            raise
        failure = describe(error.with_traceback(inside))
        if isinstance(error, DataflowError):
            message, hint, code = problems.explain(error)
            places = [f"{frame['file']}:{frame['line']}" for frame in failure["frames"] if frame["user"]]
            raise problems.Refused(f"{message} ({places[-1]})" if places else message, hint, code) from error
        from dataflow.cli.failures import readable

        told = "\n".join(f"    {line}" for line in readable(failure["text"]))
        raise problems.Refused(
            f"the body of flow {flow!r} raised while its graph was built\n\n{told}\n",
            "nothing was run; correct it and try again.",
        ) from error


def _in_a_body(error: Exception) -> TracebackType | None:
    """The part of an error's traceback that lies in a flow's body; None where it was raised elsewhere."""
    from dataflow.flow import Flow

    part = error.__traceback__
    while part is not None:
        if part.tb_frame.f_code is Flow._body.__code__:
            return part.tb_next
        part = part.tb_next
    return None
