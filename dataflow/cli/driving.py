"""Driving a run here, or following one that is driven elsewhere: progress, Ctrl-C, and the exit code at the end.

Every verb after which a run goes on ends in `drive`.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import click

from dataflow import orders, states
from dataflow.cli import data, problems
from dataflow.cli.alone import alone
from dataflow.cli.background import recover_others
from dataflow.cli.detached import tell_id
from dataflow.cli.ending import Stopped, conclude, last_line
from dataflow.cli.standing import GONE, is_over
from dataflow.cli.terminal import Printer, clean, is_terminal, took
from dataflow.driven import interrupt
from dataflow.owners import driver_of

if TYPE_CHECKING:
    from dataflow.cli.live import LiveView
    from dataflow.cli.progress import Progress
    from dataflow.run import Run

POLL = 0.25
LEVELS = (None, logging.INFO, logging.DEBUG)  # what -v, and -vv, lets through
TERMINATED = "SIGTERM"


@dataclass(frozen=True, kw_only=True)
class Showing:
    """How a run is told.

    Parameters
    ----------
    output : str
        "table", "json" or "jsonl".
    timeout : float or None
        Seconds after which the run is cancelled.
    quiet : bool
        No progress.
    verbose : int
        1: log lines of tasks, too; 2: also those for debugging.
    full : bool
        Tracebacks with the frames of the framework.
    bell : bool
        Ring the terminal's bell in the end.
    """

    output: str = "table"
    timeout: float | None = None
    quiet: bool = False
    verbose: int = 0
    full: bool = False
    bell: bool = False


def showing_options(function: Callable[..., int]) -> Callable[..., int]:
    """The options of a verb that drives a run; the verb gets them as `showing`."""

    @click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="End after this; a run that is driven here is cancelled.",
    )
    @click.option("--quiet", "-q", is_flag=True, help="No progress; failures are still told.")
    @click.option("--verbose", "-v", count=True, help="Log lines of tasks, too; -vv: also those for debugging.")
    @click.option("--full-traceback", is_flag=True, help="Show the frames of the framework, too.")
    @click.option("--bell", is_flag=True, help="Ring the terminal's bell when the run is over or paused.")
    @data.output_option("table", "json", "jsonl")
    @functools.wraps(function)
    def verb(
        *,
        timeout: float | None,
        quiet: bool,
        verbose: int,
        full_traceback: bool,
        bell: bool,
        output: str,
        **named: object,
    ) -> int:
        showing = Showing(output=output, timeout=timeout, quiet=quiet, verbose=verbose, full=full_traceback, bell=bell)
        with alone() if output != "table" else nullcontext():
            return function(**named, showing=showing)

    return verb


def drive(
    begin: Callable[[], Run], showing: Showing, *, earlier: Run | None = None, note: str = "", look_only: bool = False
) -> int:
    """Begin, tell how the run goes until it is over or paused, and give the exit code.

    Parameters
    ----------
    begin : callable
        Gives the run: driven by this process, or by another one, which is followed then.
    showing : Showing
        How to tell it.
    earlier : Run, optional
        The run, where it is taken up again: what happened to it so far is not told.
    note : str
        What happens, for the first line.
    look_only : bool
        Start nothing, also not what other runs need.

    Returns
    -------
    int
        The exit code.
    """
    from dataflow.cli.beside import shown_beside
    from dataflow.cli.events import event_data
    from dataflow.cli.progress import Progress

    printer = Printer(sys.stderr)
    with _viewed(showing) as view, _interrupts() as pressed:
        progress = Progress(
            None if showing.quiet else printer,
            (lambda run, row: data.emit_lines([event_data(run, row)])) if showing.output == "jsonl" else None,
            earlier=earlier,
            view=view,
            level=LEVELS[min(showing.verbose, len(LEVELS) - 1)],
        )
        started: list[Run] = []

        def start(run: Run) -> None:
            if not started:
                started.append(run)
                tell_id(run.id)
                progress.start(run, note)

        look = functools.partial(_look, progress=progress, pressed=pressed, printer=printer)
        with _in_time(showing.timeout, pressed, printer), shown_beside(start, look, view, POLL):
            run = begin()
        start(run)
        if not look_only:
            recover_others(run._store, None if showing.quiet else printer)
        watch = _drive if run._driver is not None else _follow
        stopped = watch(run, progress, pressed, printer, showing.timeout)
    if stopped.following:
        return stopped.code
    _raise_broken(run)
    told = not showing.quiet and view is None
    if showing.bell and is_terminal(sys.stderr):
        sys.stderr.write("\a")
    if told:
        last_line(run, progress.retries, printer)
    return conclude(
        run,
        printer,
        output=showing.output,
        quiet=showing.quiet,
        full=showing.full,
        stopped=stopped,
        told=told,
    )


@contextmanager
def _viewed(showing: Showing) -> Iterator[LiveView | None]:
    """A live view where there is a terminal for it; what is printed on standard output would tear it else."""
    dumb = os.environ.get("TERM") == "dumb" or sys.stderr is not sys.__stderr__
    streams = showing.output == "jsonl" and sys.stdout.isatty()
    if showing.quiet or streams or dumb or not is_terminal(sys.stderr) or not os.isatty(2):
        yield None
        return
    from dataflow.cli.live import LiveView

    view = LiveView(sys.stderr)
    try:
        yield view
    finally:
        view.close()


class _Pressed:
    """How often somebody wanted this process to stop, and whether by SIGTERM, or because its time was over.

    `acted`: how many of these an inline run was told of here; `heard`: that it was told to stop has been printed.
    """

    count = acted = 0
    heard = False
    terminated = False
    timed_out = False


@contextmanager
def _interrupts() -> Iterator[_Pressed]:
    """Ctrl-C is counted, and acted on where it is safe: in the loop that watches. SIGTERM is a Ctrl-C.

    SIGHUP is left alone: when its terminal is closed the process dies at once, and the run is there to be taken up.
    """
    pressed = _Pressed()

    def press(number: int, frame: FrameType | None) -> None:
        pressed.count += 1
        if pressed.count > 2:
            raise KeyboardInterrupt

    def terminate(number: int, frame: FrameType | None) -> None:
        pressed.terminated, interrupt.by = True, TERMINATED
        # Whoever has Ctrl-C now: an inline executor runs bodies in this very thread, and takes it itself.
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, press), signal.signal(signal.SIGTERM, terminate)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
        interrupt.by = ""


@contextmanager
def _in_time(timeout: float | None, pressed: _Pressed, printer: Printer) -> Iterator[None]:
    """Ctrl-C after so many seconds: an inline executor runs bodies in here, where nobody looks at the clock."""

    def over() -> None:
        pressed.timed_out, interrupt.by = True, _time_over(timeout)
        printer.line(f"the {took(timeout)} of --timeout have passed: cancelling")
        os.kill(os.getpid(), signal.SIGINT)

    if timeout is None:
        yield
        return
    timer = threading.Timer(timeout, over)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _look(run: Run, progress: Progress, pressed: _Pressed, printer: Printer) -> None:
    """Tell how a run goes that is driven by the thread that waits for it; this is another one."""
    from dataflow import control

    progress.poll()
    if pressed.count > pressed.acted:  # that was before there was a run that could hear it
        pressed.acted = pressed.count
        control.cancel(run, now=False, by=interrupt.taken())
    if not pressed.heard and not pressed.timed_out:
        pressed.heard = _tell_order(run, printer)


def _drive(run: Run, progress: Progress, pressed: _Pressed, printer: Printer, timeout: float | None) -> Stopped:
    """Tell how a run of this process goes until it is over or paused."""
    from dataflow import control

    over = threading.Event()
    # In a thread of its own: in the main thread, Run.wait would take Ctrl-C for itself.
    threading.Thread(target=_wait, args=(run, over), daemon=True).start()
    deadline = None if timeout is None else time.monotonic() + timeout
    timed_out = heard = False
    acted = 0
    while not over.wait(POLL):
        progress.poll()
        if pressed.count > acted:
            acted = pressed.count
            running = sum(found.get(states.RUNNING, 0) for found in run.counts.values())
            _cancel(run, acted, running, printer, interrupt.taken())
        elif deadline is not None and time.monotonic() > deadline and not timed_out:
            timed_out = True
            printer.line(f"the {took(timeout)} of --timeout have passed: cancelling")
            control.cancel(run, now=False, by=_time_over(timeout))
        elif not heard and not acted and not timed_out:
            heard = _tell_order(run, printer)
    progress.poll(last=True)
    return Stopped(timed_out=timed_out or pressed.timed_out, pressed=pressed.count > 0, terminated=pressed.terminated)


def _wait(run: Run, over: threading.Event) -> None:
    try:
        run.wait()
    finally:
        over.set()


def _tell_order(run: Run, printer: Printer) -> bool:
    """Tell that somebody else wants the run to stop; whether there was anything to tell."""
    order = run._driver.told.stop if run._driver is not None else None
    if order is None:
        return False
    what = "pausing" if order.what == orders.PAUSE else "cancelling"
    if order.by == "Ctrl-C":  # of an inline executor, which takes it itself
        printer.line(f"\n{what}, 1 task finishing (Ctrl-C again to stop now)")
        return True
    printer.line(f"{what}: {order.by} asks for it{f': {clean(order.note)}' if order.note else ''}")
    return True


def _time_over(timeout: float | None) -> str:
    return f"--timeout {took(timeout)}"


def _cancel(run: Run, presses: int, running: int, printer: Printer, by: str) -> None:
    from dataflow import control

    if presses == 1:
        what = f", {running} task{'' if running == 1 else 's'} finishing" if running else ""
        printer.line(f"\ncancelling{what} (Ctrl-C again to stop now)")
        control.cancel(run, now=False, by=by)
    else:
        printer.line("\nstopping now")
        control.cancel(run, now=True, by=by)


def _follow(run: Run, progress: Progress, pressed: _Pressed, printer: Printer, timeout: float | None) -> Stopped:
    """Tell how a run of another process goes until it is over or paused; Ctrl-C and the timeout end only that."""
    deadline = None if timeout is None else time.monotonic() + timeout
    who = driver_of(run.record)
    if who:
        printer.line(f"{who} drives it (Ctrl-C leaves it running there)")
    while True:
        row = run.record
        if is_over(row):
            progress.poll(last=True)
            return Stopped()
        progress.poll()
        timed_out = deadline is not None and time.monotonic() > deadline
        gone = not driver_of(row)
        if pressed.count or timed_out or gone:
            why = GONE if gone else "it goes on"
            printer.line(f"run {run.name} is {row.state.lower()}; {why}")
            interrupted = problems.EXIT_TERMINATED if pressed.terminated else problems.EXIT_INTERRUPTED
            code = problems.EXIT_PAUSED if gone else problems.EXIT_TIMEOUT if timed_out else interrupted
            return Stopped(following=True, code=code)
        time.sleep(POLL)


def _raise_broken(run: Run) -> None:
    """What broke before anything ran is an error of the call, and so is a run that was lost to another driver."""
    driver = run._driver
    if driver is not None and driver.error is not None and (driver.fragments == 0 or driver.book.lost is not None):
        raise driver.error
