"""`dataflow run`: run a flow here, tell on standard error how it goes, and print what it returned."""

from __future__ import annotations

import pprint
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from dataflow import states
from dataflow.catalog import AnyFlow, load
from dataflow.cli import data, problems
from dataflow.cli.parameters import fitted, parse
from dataflow.cli.terminal import Printer, took, width
from dataflow.flow_graph import FlowGraph
from dataflow.run import Run

POLL = 0.25
# A result of more bytes or lines than this is not printed; `dataflow result` does that.
MOST_BYTES = 64_000
MOST_LINES = 40
CODES = {
    states.SUCCESS: problems.EXIT_OK,
    states.FAILED: problems.EXIT_FAILED,
    states.CRASHED: problems.EXIT_FAILED,
    states.CANCELLED: problems.EXIT_CANCELLED,
    states.PAUSED: problems.EXIT_PAUSED,
}


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
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Cancel the run after this."
)
@click.option("--quiet", "-q", is_flag=True, help="No progress; failures are still told.")
@click.option("--full-traceback", is_flag=True, help="Show the frames of the framework, too.")
@data.output_option("table", "json", "jsonl")
def command(
    flow: str,
    params: tuple[str, ...],
    executor: str | None,
    results: str | None,
    fresh: tuple[str, ...],
    refresh_all: bool,
    timeout: float | None,
    quiet: bool,
    full_traceback: bool,
    output: str,
) -> int:
    """Run a flow of a Python file or module.

    Progress goes to standard error, what the flow returns to standard output. With -o json the finished run is printed
    as one document, with -o jsonl each change of state as one line while it happens.

    \b
    Examples:
      dataflow run flows.py:etl -p n=24 -p day=2026-11-22
      dataflow run flows.py -p @params.yaml --executor processes
    """
    given = parse(params)
    found = load(flow)
    graph = build(found, fitted(found, given))
    printer = Printer(sys.stderr)
    with _interrupts() as pressed:
        run = graph.submit(executor=executor, results=results, refresh=refresh_all or fresh)
        timed_out = _watch(run, pressed, printer, quiet, output, timeout)
    _raise_early(run)
    return _conclude(
        run, graph, printer, output, quiet=quiet, full=full_traceback, timed_out=timed_out, pressed=pressed.count
    )


def build(flow: AnyFlow, parameters: dict[str, object]) -> FlowGraph:
    """The flow's graph. What its body raises is the user's to read."""
    from dataflow.errors import DataflowError
    from dataflow.failure import describe

    try:
        return flow.graph(**parameters)
    except DataflowError as error:
        message, hint, code = problems.explain(error)
        frames = [frame for frame in describe(error)["frames"] if frame["user"] and "/click/" not in frame["file"]]
        where = f" ({frames[-1]['file']}:{frames[-1]['line']})" if frames else ""
        raise problems.Refused(f"{message}{where}", hint, code) from error
    except Exception as error:
        from dataflow.cli.failures import readable

        told = "\n".join(f"    {line}" for line in readable(_own_frames(describe(error)["text"])))
        raise problems.Refused(
            f"the body of flow {flow.name!r} raised while its graph was built\n\n{told}\n",
            "nothing was run; correct it and try again.",
        ) from error


def _own_frames(text: str) -> str:
    """Without the frames of the command line itself, which are click's."""
    import re

    return re.sub(r'  File "[^"\n]*/(?:click|dataflow)/[^"\n]*", line .*\n(?:    .*\n)*', "", text)


class _Pressed:
    """How often Ctrl-C was pressed."""

    count = 0


@contextmanager
def _interrupts() -> Iterator[_Pressed]:
    """Ctrl-C is counted, and acted on where it is safe: in the loop that watches."""
    pressed = _Pressed()

    def press(number: int, frame: FrameType | None) -> None:
        pressed.count += 1
        if pressed.count > 2:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _watch(run: Run, pressed: _Pressed, printer: Printer, quiet: bool, output: str, timeout: float | None) -> bool:
    """Tell how the run goes until it is over or paused; whether its time passed."""
    from dataflow.cli.events import event_data
    from dataflow.cli.progress import Progress

    def emit(row: object) -> None:
        data.emit_lines([event_data(run, row)])  # type: ignore[arg-type]

    progress = Progress(run, None if quiet else printer, emit if output == "jsonl" else None)
    over = threading.Event()
    # In a thread of its own: in the main thread, Run.wait would take Ctrl-C for itself.
    threading.Thread(target=_wait, args=(run, over), daemon=True).start()
    progress.start()
    deadline = None if timeout is None else time.monotonic() + timeout
    timed_out = False
    acted = 0
    while not over.wait(POLL):
        groups = progress.poll()
        if pressed.count > acted:
            acted = pressed.count
            running = sum(group.counts[states.RUNNING] for group in groups.values())
            _cancel(run, acted, running, printer)
        elif deadline is not None and time.monotonic() > deadline and not timed_out:
            timed_out = True
            printer.line(f"the {took(timeout)} of --timeout have passed: cancelling")
            run.cancel()
    progress.poll(last=True)
    if not quiet:
        _last_line(run, progress.retries, printer)
    return timed_out


def _wait(run: Run, over: threading.Event) -> None:
    try:
        run.wait()
    finally:
        over.set()


def _cancel(run: Run, presses: int, running: int, printer: Printer) -> None:
    if presses == 1:
        what = f", {running} task{'' if running == 1 else 's'} finishing" if running else ""
        printer.line(f"\ncancelling{what} (Ctrl-C again to stop now)")
        run.cancel()
    elif run._driver is not None:
        printer.line("\nstopping now")
        run._driver.abort()


def _last_line(run: Run, retries: int, printer: Printer) -> None:
    from dataflow.cli.terminal import clock
    from dataflow.draw.marks import MARKS

    row = run.record
    mark = MARKS.get(row.state)
    spent = took((row.ended or time.time()) - (row.started or row.created))
    again = f", {retries:,} retr{'y' if retries == 1 else 'ies'}" if retries else ""
    word = mark.word if mark is not None else row.state.lower()
    text = printer.tint(f"run {word}", mark.tone if mark is not None else "calm")
    printer.line(f"{printer.tint(clock(row.ended or time.time()), 'soft')} {text} {spent}{again}")


def _raise_early(run: Run) -> None:
    """What broke before anything ran is an error of the call, not a failed run."""
    driver = run._driver
    if driver is not None and driver.error is not None and driver.fragments == 0:
        raise driver.error


def _conclude(
    run: Run, graph: FlowGraph, printer: Printer, output: str, *, quiet: bool, full: bool, timed_out: bool, pressed: int
) -> int:
    from dataflow.cli.failures import problem_data, report

    row = run.record
    if output != "table":
        nodes = run._store.nodes(run.id)
        document = {"run": data.run_data(row, data.totals(run.counts, nodes)), "problems": problem_data(run)}
        if output == "json":
            data.emit(document)
        else:
            data.emit_lines([{"type": "run", **document}])
    code = CODES.get(row.state, problems.EXIT_FAILED)
    if row.state in (states.FAILED, states.CRASHED):
        spent = took((row.ended or row.created) - (row.started or row.created))
        printer.line()
        printer.line(f"{printer.state(row.state, f'{row.flow} {row.state.lower()}')} in {spent}   run {row.name}")
        report(run, printer, full=full)
        if row.state == states.CRASHED:
            printer.line(f"  {row.message}")
        _closing(run, printer)
    elif row.state == states.CANCELLED:
        printer.line(f"{printer.tint('hint:', 'busy')} what was done is kept: dataflow show {row.name}")
        if timed_out:
            return problems.EXIT_TIMEOUT
        return problems.EXIT_INTERRUPTED if pressed or _cancelled_here(run) else code
    elif row.state == states.PAUSED:
        printer.line(f"{printer.tint('hint:', 'busy')} dataflow show {row.name}")
    elif output == "table":
        _print_result(run, graph, printer, quiet)
    return code


def _cancelled_here(run: Run) -> bool:
    """An inline executor takes Ctrl-C itself, and there nobody else can cancel."""
    return run._driver is not None and run._driver.work.executor.inline


def _closing(run: Run, printer: Printer) -> None:
    kept = sum(n for found in run.counts.values() for state, n in found.items() if state in states.WITH_VALUE)
    first = next(
        (row for row in run._store.task_runs(run.id, states=sorted(states.FAILURE - {states.TRIGGER_FAILED}), limit=1)),
        None,
    )
    printer.line()
    if kept:
        printer.line(f"  {kept:,} result{'' if kept == 1 else 's'} kept.")
    from dataflow.events import label

    task = f" --task '{label(first.path, first.idx)}'" if first is not None else ""
    hint = printer.tint("hint:", "busy")
    printer.line(f"  {hint} dataflow show {run.name}      logs: dataflow logs {run.name}{task}")


def _print_result(run: Run, graph: FlowGraph, printer: Printer, quiet: bool) -> None:
    """What the flow returned, where it is small; else where to find it."""
    size = 0
    for node in graph.returned:
        for row in run._store.task_runs(run.id, path=node.path):
            size += int(str((row.reference or {}).get("size") or 0))
    if size <= MOST_BYTES:
        value = run.result()
        if value is None:
            return
        text = value if isinstance(value, str) else pprint.pformat(value, width=min(width(), 120), sort_dicts=False)
        if text.count("\n") < MOST_LINES:
            Printer().line(text)
            return
    if not quiet:
        printer.line(f"{printer.tint('hint:', 'busy')} the result is large: dataflow result {run.name}")
