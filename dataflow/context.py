"""What a running task can ask about itself, and the secrets that it gets."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from dataflow.errors import NoContext, SecretMissing
from dataflow.events import NO_INDEX, label

current: ContextVar[Callable[[], Context] | None] = ContextVar("dataflow_context", default=None)
"""Makes the context of the body that runs here, once it asks."""
driving: ContextVar[frozenset[str]] = ContextVar("dataflow_driving", default=frozenset())  # runs, by id


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """Who and where a running task is.

    Parameters
    ----------
    run_id, run_name, flow : str
        The run, and the flow that it runs.
    task, path : str
        The task's name, and its node's path in the graph.
    index : int or None
        Which child of a map.
    attempt : int
        1 for the first.
    parameters : mapping
        The flow's parameters, validated.
    logical_time : datetime
        The time that the run stands for (UTC): when it was due, else when it was made.
    deadline : datetime or None
        When the body will be killed (UTC).
    resumed : bool
        Somebody resumed or approved this task run after a pause.
    answers : tuple
        What was given with approvals of this task run so far, oldest first, as plain JSON data.
    answer : object
        The last of them; None where none was given.
    asked : list of int
        How many answers this body has used so far; for `wait_for_input`.
    """

    run_id: str
    run_name: str
    flow: str
    task: str
    path: str
    index: int | None
    attempt: int
    parameters: Mapping[str, object]
    logical_time: datetime
    deadline: datetime | None
    resumed: bool
    answers: tuple[object, ...] = ()
    answer: object = None
    asked: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)

    @property
    def logger(self) -> logging.Logger:
        """A logger whose lines belong to this task run."""
        return logging.getLogger(f"dataflow.task.{self.task}")

    @property
    def label(self) -> str:
        """The task run as people write it, such as `clean[3]`."""
        return label(self.path, NO_INDEX if self.index is None else self.index)


def context() -> Context:
    """The context of the running task.

    Raises
    ------
    NoContext
        No task is running here.
    """
    running_now = running()
    if running_now is None:
        raise NoContext
    return running_now


def running() -> Context | None:
    """The context of the running task, or None outside one."""
    make = current.get()
    return None if make is None else make()


def is_within(run_id: str) -> bool:
    """Whether this is code of a run that the run itself waits for: a body, or a hook."""
    body = running()
    return run_id in driving.get() or (body is not None and body.run_id == run_id)


class Secret:
    """A value that a task gets when it runs and that is never stored or logged.

    Parameters
    ----------
    name : str
        The environment variable of the worker that holds it.

    Examples
    --------
    >>> Secret("API_TOKEN")
    Secret('API_TOKEN')
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return Secret, (self.name,)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "secret", self.name  # its value counts nowhere

    def get(self) -> str:
        """The value, on this machine.

        Raises
        ------
        SecretMissing
            The environment has no such variable.
        """
        try:
            return os.environ[self.name]
        except KeyError:
            raise SecretMissing(self.name) from None
