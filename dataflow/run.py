"""A run, as its user holds it: what can be done with it, in whatever process it runs; and how it is driven here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dataflow.driven import Driven, finish, launch
from dataflow.errors import NoSuchRun
from dataflow.places import open_runs
from dataflow_storage.errors import AmbiguousRun, RunNotFound

if TYPE_CHECKING:
    from dataflow.preview import NodePreview

_NOTHING: Any = object()  # no value was given; None is one


class Run(Driven):
    """One execution of a graph.

    Attributes: `id`, `name`, `flow`, `parameters`. Make one with `flow.run()`, `flow.submit()` or `get_run()`.
    """

    # What it does -----------------------------------------------------------------------------------------------------

    def cancel(self, *, now: bool = False) -> None:
        """Stop the run cleanly, wherever it is driven: what runs may finish, nothing else starts.

        Cancelled twice, or with `now`, what runs is abandoned, and killed where it is in a process of its own; it can
        commit nothing any more. This returns at once; `wait()` waits until the run is over.
        """
        from dataflow import control

        control.cancel(self, now=now)

    def pause(self, note: str = "") -> None:
        """Let what runs finish, and start nothing else until somebody resumes the run.

        A paused run holds no worker and no process. This returns at once; `wait()` waits until it is paused.

        Parameters
        ----------
        note : str
            Why, for whoever looks at the run.
        """
        from dataflow import control

        control.pause(self, note)

    def approve(
        self,
        task: str,
        value: object = _NOTHING,
        *,
        resume: bool = True,
        executor: object = None,
        as_recorded: bool = False,
        raise_on_failure: bool = True,
    ) -> Run:
        """Let a task run go on that waits for a person, and with it the run.

        Parameters
        ----------
        task : str
            Such as `deploy`, or `deploy[3]`; of a mapped task all children that wait.
        value : object, optional
            The answer: what `wait_for_input` returns, or `context().answer` is.
        resume : bool
            Where nobody drives the run, drive it here to its end or to the next pause. Else the answer waits on record
            for whoever takes the run up.
        executor, as_recorded, raise_on_failure
            As in `resume`.

        Raises
        ------
        NothingAsked
            It does not wait for a person, wants a value, or somebody else has answered already.
        AnswerInvalid
            The value is not what was asked for.
        RunFailed
            It ended in failure.
        """
        from dataflow import control

        if resume:
            self._check_outside()
        order = control.approve(self, task, None if value is _NOTHING else value, given=value is not _NOTHING)
        if not resume:
            return self
        if control.go_on(self, order, executor, as_recorded=as_recorded):
            launch(self)
        return self._to_its_end(raise_on_failure)

    def resume(self, *, executor: object = None, as_recorded: bool = False, raise_on_failure: bool = True) -> Run:
        """Let a paused run go on; or take up a crashed or cancelled one. What has ended stays as it is.

        A run that paused since tasks of it wait for approval goes on with all that need no value approved. One that
        somebody paused just goes on.

        Parameters
        ----------
        executor : Executor, str, Client, cluster or None
            Where; None: where it ran before.
        as_recorded : bool
            With the graph that is on record. Else it is built again by the flow's code as it is now.
        raise_on_failure : bool
            Raise `RunFailed` where the run does not succeed.

        Raises
        ------
        RunNotResumable
            It has succeeded or failed.
        NothingAsked
            What waits, waits for a value: see `approve`.
        CodeGone, CodeChanged
            The flow's code is not there any more, or builds another graph.
        RunFailed
            It ended in failure.
        """
        from dataflow import control

        if control.resume(self, executor, as_recorded=as_recorded):
            launch(self)
        return self._to_its_end(raise_on_failure)

    def retry(
        self,
        *,
        from_: str | Sequence[str] = (),
        only: str | Sequence[str] = (),
        executor: object = None,
        as_recorded: bool = False,
        raise_on_failure: bool = True,
    ) -> Run:
        """Run again what did not succeed, in this same run, with a new retry budget. What succeeded is kept.

        Parameters
        ----------
        from_ : str or sequence of str
            Run these again, too, although they succeeded, and all that follows from them: `clean`, or `clean[3]`.
        only : str or sequence of str
            Of what did not succeed, run again only these, and what follows from them.
        executor, as_recorded, raise_on_failure
            As in `resume`.

        Raises
        ------
        RunNotResumable
            It succeeded, or is still running.
        NoSuchTask, NothingToRetry
            `from_` or `only` name what is not there, or `only` what succeeded.
        CodeGone, CodeChanged
            As in `resume`.
        RunFailed
            It ended in failure.
        """
        from dataflow import control

        control.retry(self, executor, from_, only, as_recorded=as_recorded)
        launch(self)
        return self._to_its_end(raise_on_failure)

    def rerun(self, *, executor: object = None, raise_on_failure: bool = True, **changes: object) -> Run:
        """Run the flow once more, as a new run with the same parameters.

        Parameters
        ----------
        executor, raise_on_failure
            As in `resume`.
        **changes
            Parameters that are to be other than they were.

        Raises
        ------
        CodeGone
            The flow's code is not where it was.
        ParameterError
            A parameter is not valid.
        RunFailed
            The new run did not succeed.
        """
        from dataflow import control

        again: Run = control.rerun(self, executor, changes)
        return again._to_its_end(raise_on_failure)

    def plan(
        self, *, from_: str | Sequence[str] = (), only: str | Sequence[str] = (), retry: bool = True
    ) -> list[NodePreview]:
        """What `retry(from_=, only=)` would run and keep, by node; with `retry=False`, what `resume()` would."""
        from dataflow import control

        return control.plan(self, from_, only, retry=retry)

    def _to_its_end(self, raise_on_failure: bool) -> Run:
        self._watch()
        finish(self, raise_on_failure)
        return self


def get_run(reference: str) -> Run:
    """A run on record, also one of another process or of long ago.

    Parameters
    ----------
    reference : str
        Its id, name or a prefix of its id (4 digits at least), `"@last"` or `"@last-failed"`.

    Raises
    ------
    NoSuchRun
        None, or more than one, goes by it.
    """
    store = open_runs()
    try:
        return Run(store, store.find(reference))
    except (RunNotFound, AmbiguousRun) as error:
        raise NoSuchRun(str(error)) from error


def get_runs(*, flow: str | None = None, state: str | None = None, limit: int = 50) -> list[Run]:
    """Runs on record, newest first."""
    store = open_runs()
    return [Run(store, row) for row in store.runs(flow=flow, state=state, limit=limit)]
