"""Every error of ours that a user can meet.

Each is also the builtin that fits, so `except ValueError` works without importing us. The constructor takes the facts;
the class writes the sentence: what was given, what was wanted, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class DataflowError(Exception):
    """The base of every error of ours."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the user's frames; those of the framework say nothing of what went wrong."""
        from dataflow.cells import told

        return told(self)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A `did you mean` sentence for a misspelled name, or nothing.

    >>> did_you_mean("regoin", ["region", "day"])
    " Did you mean 'region'?"
    >>> did_you_mean("zzz", ["region"])
    ''
    """
    close = difflib.get_close_matches(given, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


class OptionError(DataflowError, ValueError):
    """A task or flow option has a value that it does not take."""

    def __init__(self, where: str, option: str, got: object, wanted: str) -> None:
        super().__init__(f"{where}: option {option}={got!r} is not valid: it takes {wanted}.")


class UnknownOption(DataflowError, TypeError):
    """A task or flow option that does not exist."""

    def __init__(self, where: str, option: str, known: Sequence[str]) -> None:
        hint = did_you_mean(option, known) or f" Options: {', '.join(sorted(known))}."
        super().__init__(f"{where} has no option {option!r}.{hint}")


class ParameterError(DataflowError, ValueError):
    """A flow was called with a parameter that it does not take, without one that it needs, or with a bad value."""

    def __init__(self, flow: str, problems: Sequence[str]) -> None:
        self.flow, self.problems = flow, tuple(problems)
        super().__init__(f"flow {flow!r}: " + "; ".join(problems))


class ArgumentError(DataflowError, TypeError):
    """A task was called with arguments that its function does not take."""

    def __init__(self, task: str, problem: str, signature: str) -> None:
        super().__init__(f"task {task!r}: {problem}. It takes {task}{signature}.")


class LazyValueError(DataflowError, TypeError):
    """A Node was used as if its value existed while the graph is being built."""

    def __init__(self, path: str, use: str, instead: str) -> None:
        super().__init__(f"{path!r} is a lazy value: {use} is not possible while the graph is built. {instead}")


class OutsideFlow(DataflowError, RuntimeError):
    """A task was called where no graph is being built."""

    def __init__(self, task: str) -> None:
        super().__init__(
            f"task {task!r} was called outside a flow. Call it in the body of a function marked @flow, or call "
            f"the plain "
            f"function with {task}.fn(...)."
        )


class NestedTaskCall(DataflowError, RuntimeError):
    """A task was called inside a running task."""

    def __init__(self, task: str, running: str) -> None:
        super().__init__(
            f"task {task!r} was called inside the running task {running!r}. A running task calls plain functions: use "
            f"{task}.fn(...), or call both tasks in a flow."
        )


class GraphClosed(DataflowError, RuntimeError):
    """A Node was used after the graph that it belongs to was built."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path!r} belongs to a graph that is complete. Use nodes only in the body of the flow that made them."
        )


class CycleError(DataflowError, ValueError):
    """The edges of a graph go in a circle."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(f"the graph has a cycle: {' -> '.join(paths)}. Remove one of these edges (see wait_for=).")


class MapError(DataflowError, ValueError):
    """`.map` was given nothing to walk, or things of different lengths."""

    def __init__(self, task: str, problem: str) -> None:
        super().__init__(f"{task}.map: {problem}")


class MapInputError(DataflowError, TypeError):
    """`.map` was given something that has no order or no length to walk."""

    def __init__(self, task: str, argument: str, got: str) -> None:
        super().__init__(
            f"{task}.map cannot walk argument {argument!r}: got {got}, wanted a list, tuple, range, array, "
            "Series or a node. "
            f"Convert it with list(...) (for a dict: list(d.items())), or pass it whole with unmapped(...)."
        )


class TargetError(DataflowError, ValueError):
    """A target's path template is not valid, or two results would share one path."""

    def __init__(self, task: str, target: str, problem: str) -> None:
        super().__init__(f"{task}: option target={target!r} is not valid, it takes a path template: {problem}")


class IllegalTransition(DataflowError, ValueError):
    """A state was to follow one that it may not follow."""

    def __init__(self, who: str, before: str, after: str) -> None:
        super().__init__(f"{who}: {after} cannot follow {before}.")


class SecretMissing(DataflowError, LookupError):
    """A Secret has no value where its task runs."""

    def __init__(self, name: str) -> None:
        super().__init__(f"secret {name!r} has no value on this worker: set the environment variable {name}.")


class NoContext(DataflowError, RuntimeError):
    """`context()` was asked outside a running task."""

    def __init__(self) -> None:
        super().__init__("context() is only known inside a running task.")


class PlaceError(DataflowError, ValueError):
    """Results would lie where the workers, or this process, cannot reach them."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(
            f"results at {url!r}: {problem}. Set dataflow.results.url (or @flow(results=...)) to a place that "
            "every worker "
            f"reaches, such as s3://bucket/results or a shared folder."
        )


class RecordElsewhere(DataflowError, ConnectionError):
    """A node was computed on a cluster whose workers cannot reach the record of runs."""

    def __init__(self, path: str, host: str, worker: str) -> None:
        super().__init__(
            f"the record of runs is the file {path!r} on {host}, which a worker on {worker} cannot reach. Set "
            "dataflow.runs.url to a PostgreSQL database, or run the flow itself: flow.run(..., executor=client)."
        )


class CacheError(DataflowError, TypeError):
    """A cache key cannot be made: something that counts has no digest."""

    def __init__(self, task: str, problem: str, advice: str) -> None:
        super().__init__(f"task {task!r} cannot be cached: {problem}. {advice}")


class RefreshError(DataflowError, LookupError):
    """A run was told to refresh a task that its flow does not have."""

    def __init__(self, given: str, known: Iterable[str]) -> None:
        names = sorted(known)
        hint = did_you_mean(given, names) or f" It has {', '.join(names[:20])}."
        super().__init__(f"refresh: the flow has no task {given!r}.{hint}")


class NotCanonical(DataflowError, TypeError):
    """Something in a value has no digest, so that a cache key cannot be made of it."""

    def __init__(self, where: str, kind: str, why: str = "") -> None:
        self.where, self.kind, self.why = where, kind, why
        super().__init__(
            f"{where} (a {kind}) has no digest{f': {why}' if why else ''}. Leave the argument out with ignore=[...], "
            "say what counts with key=..., or pass something that has a digest, such as plain data."
        )


class NotPortable(DataflowError, TypeError):
    """A task, a variable that it uses or one of its arguments cannot be sent to worker processes."""

    def __init__(self, task: str, variable: str | None, reason: str) -> None:
        what = "or one of its arguments cannot" if variable is None else f"uses the variable {variable!r}, which cannot"
        super().__init__(
            f"task {task!r} {what} be sent to worker processes: {reason}. Make such a thing in the body of the task, "
            "pass plain data, or run with executor='threads'."
        )


class ValueTooLocal(DataflowError, TypeError):
    """A value that is not stored cannot be sent to another worker process either."""

    def __init__(self, type_name: str, reason: str) -> None:
        super().__init__(
            f"a value of type {type_name} cannot go to another worker process: {reason}. Return plain data, make the "
            "value in the task that uses it, or run with executor='threads'."
        )


class RunFailed(DataflowError, RuntimeError):
    """A run ended in Failed, Cancelled or Crashed. `.run` is the run; the text is its report.

    Where it comes from another process, `.run` is the run's name: `get_run` finds it.
    """

    def __init__(self, run: object, report: str) -> None:
        self.run = run
        super().__init__(report)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (getattr(self.run, "name", self.run), str(self))


class TaskFailed(DataflowError, RuntimeError):
    """The result of a task run was asked for that has none. `.state` says why."""

    def __init__(self, label: str, state: object, report: str) -> None:
        self.state = state
        super().__init__(f"{label} has no result: {report}")


class NotFinished(DataflowError, RuntimeError):
    """A result was asked for before the run ended."""

    def __init__(self, label: str, state: str) -> None:
        super().__init__(f"{label} is {state}: it has no result yet. Wait for it with run.wait().")


class NoSuchTask(DataflowError, LookupError):
    """A run was asked for a task run that it does not have."""

    def __init__(self, run: str, path: str, known: Sequence[str]) -> None:
        hint = did_you_mean(path, known) or f" It has: {', '.join(list(known)[:12])}{' …' if len(known) > 12 else ''}."
        super().__init__(f"run {run!r} has no task run {path!r}.{hint}")


class NoSuchRun(DataflowError, LookupError):
    """No run, or more than one, goes by this id, name or prefix."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class FlowNotFound(DataflowError, LookupError):
    """A file has no flow of this name, or several and none was named."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class AnswerInvalid(DataflowError, ValueError):
    """What was given in answer to a paused task is not what it asked for."""

    def __init__(self, got: str, wanted: str, why: str) -> None:
        super().__init__(f"the answer {got} does not fit: wanted is {wanted} ({why}).")


class NothingAsked(DataflowError, LookupError):
    """A task run was approved that does not wait for a person, or that somebody else has answered already."""

    def __init__(self, task: str, why: str) -> None:
        super().__init__(f"{task!r} cannot be approved: {why}")


class NothingToRetry(DataflowError, ValueError):
    """A retry of some task runs only, and all of them had succeeded."""

    def __init__(self, run: str, names: str) -> None:
        super().__init__(f"run {run!r}: {names} succeeded already. Say from_= (--from) to run it again all the same.")


class CodeGone(DataflowError, ImportError):
    """The code of a run's flow is not to be found where it was."""

    def __init__(self, flow: str, why: str) -> None:
        super().__init__(
            f"the code of flow {flow!r} cannot be loaded: {why}. Bring it back, or go on with the graph as it was "
            "recorded (as_recorded=True, --as-recorded)."
        )


class CodeChanged(DataflowError, ValueError):
    """The flow builds another graph now than the one that is on record for the run."""

    def __init__(self, run: str, difference: str) -> None:
        super().__init__(
            f"run {run!r} does not fit its flow's code any more: {difference}. Start a new run of it (rerun), or go on "
            "with the graph as it was recorded (as_recorded=True, --as-recorded)."
        )


class RunWhileLoading(DataflowError, RuntimeError):
    """A file starts a run when it is only to be read for its flows."""

    def __init__(self, flow: str) -> None:
        super().__init__(
            f'flow {flow!r} is run while its file is being loaded. Put that under `if __name__ == "__main__":`.'
        )


class WaitsForItself(DataflowError, RuntimeError):
    """A hook or a task of a run waits for that very run."""

    def __init__(self, run: str) -> None:
        super().__init__(
            f"run {run!r} goes on only when this hook or task of it returns, which cannot wait for it. Say cancel(), "
            "pause() or approve(task, resume=False), which return at once; what comes after the run stands behind it."
        )


class RunNotResumable(DataflowError, RuntimeError):
    """A run cannot be retried or resumed in the state that it is in."""

    def __init__(self, run: str, state: str, wanted: str) -> None:
        super().__init__(f"run {run!r} is {state}: {wanted}")
