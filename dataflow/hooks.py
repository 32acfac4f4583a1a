"""Hooks: what the user wants to be told, called by the driver. An error in one is logged and changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from dataflow import states
from dataflow.definition import Hook
from dataflow.events import NO_INDEX, TaskEvent, label
from dataflow.failure import describe, one_line
from dataflow.node import Node
from dataflow.recorder import Recorder
from dataflow.session import Control


class Hooks:
    """The hooks of a run and of its tasks.

    Parameters
    ----------
    own : mapping
        The flow's.
    view : callable
        Makes what a hook is called with, from a path and an index (None and `NO_INDEX`: the run).
    recorder : Recorder
        Takes what was called, and errors.
    control : Control
        Whether the user stops the run at once.
    """

    def __init__(
        self,
        own: Mapping[str, Hook],
        view: Callable[[str | None, int], object],
        recorder: Recorder,
        control: Control,
    ) -> None:
        self._own, self._view, self._recorder, self._control = own, view, recorder, control
        self._tasks: dict[str, Mapping[str, Hook]] = {}

    def add(self, nodes: Sequence[Node]) -> None:
        """Nodes joined the run."""
        self._tasks.update((node.path, node.definition.hooks) for node in nodes if node.definition.hooks)

    def listen(self, paths: Sequence[str]) -> bool:
        """Whether somebody wants to hear of the task runs of one of these nodes."""
        return not self._tasks.keys().isdisjoint(paths)

    def task_changed(self, event: TaskEvent) -> None:
        """A task run entered a state."""
        hooks = self._tasks.get(event.path)
        if hooks:
            details = {} if event.details is None else dict(event.details)
            state = states.State(type=event.type, message=event.message, time=event.time, details=details)
            self._call(hooks, state, event.path, event.index)

    def run_changed(self, state: states.State) -> None:
        """The run entered a state."""
        self._call(self._own, state, None, NO_INDEX)

    def _call(self, hooks: Mapping[str, Hook], state: states.State, path: str | None, index: int) -> None:
        names = ["on_state"]
        if state.type in states.SUCCESSFUL:
            names.append("on_success")
        elif state.is_failure:
            names.append("on_failure")
        elif state.type == states.RETRYING:
            names.append("on_retry")
        for name in names:
            hook = hooks.get(name)
            if hook is None:
                continue
            error = None
            try:
                hook(self._view(path, index), state)
            except BaseException as broken:
                if isinstance(broken, KeyboardInterrupt) and self._control.aborted:
                    raise  # the second Ctrl-C, in the thread that calls the hook
                failure = describe(broken)
                error = one_line(failure)
                who = "the run" if path is None else label(path, index)
                text = f"{name} of {who} raised {error}\n{failure['text']}"
                self._recorder.add_log(time.time(), logging.ERROR, text, path=path, index=index)
            self._recorder.add_hook(time.time(), name, state.type, error, path, index)
