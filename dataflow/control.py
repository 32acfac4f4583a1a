"""What can be asked of a run from anywhere: go on, try again, once more, stop, wait, here is the answer.

A run whose driver is in this process is told directly; one that another process drives, through the record. One that
nobody drives is taken up here: what is known is left out, the rest runs.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from dataflow import answering, asking, closing, orders, states
from dataflow.assignment import Assignment
from dataflow.driven import Driven
from dataflow.engine import Driver
from dataflow.errors import CodeChanged, CodeGone, RunNotResumable
from dataflow.graph import Graph
from dataflow.orders import Order
from dataflow.outputs import stored_outputs
from dataflow.owners import is_driven, person
from dataflow.patience import patiently
from dataflow.places import choose_executor
from dataflow.preview import NodePreview, preview
from dataflow.recovery import RESUME, Reopening, claim
from dataflow.selection import reopening
from dataflow.source import difference, find_flow
from dataflow.works import Who
from dataflow_storage import Reference
from dataflow_storage.errors import StaleOwner
from dataflow_storage.rows import RunRow

POLL = 0.1  # seconds between two looks whether a driver has heard

# Taking up ------------------------------------------------------------------------------------------------------------


def resume(run: Driven, executor: object, *, as_recorded: bool) -> bool:
    """See `Run.resume`. Whether it is to be driven here; else its driver was told."""
    run._check_outside()
    row = run.record
    if row.state == states.SUCCESS:
        raise RunNotResumable(run.name, row.state, "there is nothing to resume.")
    if row.state == states.FAILED and not _is_open(run):
        raise RunNotResumable(run.name, row.state, "retry it: run.retry() runs again what did not succeed.")
    stopped = is_pausing(run, row)
    answers = {} if stopped else answering.approve_all(run, waited=row.state == states.PAUSED)
    if not _is_driven(run, row):
        take_up(run, RESUME, executor, as_recorded=as_recorded)
        return True
    if not stopped and not answers and not _is_here(run):
        now = run.record
        if (now.state, now.owner) != (row.state, row.owner):  # its driver has left since
            return resume(run, executor, as_recorded=as_recorded)
        raise RunNotResumable(run.name, row.state, f"{row.owner} drives it, and nothing in it waits for a person.")
    order = _write_down(run, Order(what=orders.RESUME, by=person(), answers=answers))
    return go_on(run, order, executor, as_recorded=as_recorded)


def is_pausing(run: Driven, row: RunRow) -> bool:
    """Whether somebody has paused the run as a whole, or told its driver to."""
    if row.state == states.PAUSED:
        return "paused" in row.details
    return "paused" in row.details or any(one.kind == orders.PAUSE for one in run._store.orders(run.id))


def _is_open(run: Driven) -> bool:
    """Whether something of a run has not had its chance: it was cancelled, or its driver broke."""
    had = states.FINAL - {states.CANCELLED, states.CRASHED}
    return any(n for told in run.counts.values() for state, n in told.items() if state not in had)


def retry(
    run: Driven, executor: object, from_: str | Sequence[str], only: str | Sequence[str], *, as_recorded: bool
) -> None:
    """See `Run.retry`."""
    row = run.record
    if row.state == states.SUCCESS and not from_:
        raise RunNotResumable(run.name, row.state, "there is nothing to retry; run the flow for a new run.")
    if _is_driven(run, row):
        raise RunNotResumable(run.name, row.state, "wait until it is over, or cancel it first.")
    graph = graph_of(run, row, as_recorded=as_recorded)
    take_up(run, reopening(row, run._store, graph, from_, only), executor, graph=graph, epoch=row.epoch)


def take_up(
    run: Driven,
    how: Reopening,
    executor: object,
    *,
    as_recorded: bool = False,
    graph: Graph | None = None,
    recovered: Mapping[str, object] | None = None,
    epoch: int | None = None,
) -> None:
    """Become a run's driver; it has not begun yet.

    Parameters
    ----------
    run : Run
        The run.
    how : Reopening
        What of it runs again.
    executor : Executor, str, Client, cluster or None
        Where; None: where it ran before.
    as_recorded : bool
        Take the graph that is on record, not the one that its code builds now.
    graph : Graph, optional
        The graph, where it was built already.
    recovered : mapping, optional
        Notes for the record, where nobody asked for it: then the driver is patient with a scheduler that is not there.
    epoch : int, optional
        The run's epoch when it was decided to take it up: nobody has driven it since, not even to its end.

    Raises
    ------
    RunNotResumable
        Somebody else drives it or has since, or its results are out of reach.
    CodeGone, CodeChanged
        Its graph cannot be built again.
    """
    row = run.record
    graph = graph or graph_of(run, row, as_recorded=as_recorded)
    _check_results(run, row)
    chosen = choose_executor(row.details.get("executor") if executor is None else executor)
    since = time.time()
    try:
        epoch = claim(run._store, run.id, epoch=row.epoch if epoch is None else epoch)
    except StaleOwner as error:
        raise RunNotResumable(run.name, run.record.state, str(error)) from error
    hooks, log_prints = run._hooks()
    row = run.record
    run._driver = Driver(
        Assignment(
            run_id=run.id,
            run_name=run.name,
            graph=graph,
            logical_time=row.created,
            executor=chosen,
            results=run._results,
            runs=run._store,
            epoch=epoch,
            how=how,
            since=since,
            hooks=hooks,
            view=run._view,
            log_prints=log_prints,
            refresh=_refresh(row.details),
            before=row.state,
            started=row.started,
            details={**{name: note for name, note in row.details.items() if name != "paused"}, **(recovered or {})},
            patient=recovered is not None,
            columns={"outputs": stored_outputs(graph), "version": _version(run, row)},
        )
    )


def graph_of(run: Driven, row: RunRow, *, as_recorded: bool) -> Graph:
    """The graph of a run: as its code builds it now, or as it is on record.

    Raises
    ------
    CodeGone
        Its code is not where it was.
    CodeChanged
        It builds another graph than the one on record.
    RunNotResumable
        It is needed, and could not be stored.
    """
    flow = None if as_recorded else find_flow(row, getattr(run._graph, "source", None))
    given = None if flow is None else _arguments(run, row)
    if flow is None or given is None:
        return run._load_graph()
    graph = flow.graph(**given)
    differs = difference(graph, run._store.nodes(run.id))
    if differs is not None:
        raise CodeChanged(run.name, differs)
    run._graph, run._source = graph, flow
    return graph


def plan(run: Driven, from_: str | Sequence[str], only: str | Sequence[str], *, retry: bool) -> list[NodePreview]:
    """See `Run.plan`."""
    row = run.record
    if not retry:
        asks = row.state == states.PAUSED and "paused" not in row.details
        plain = [one for one in answering.waiting(run) if asks and asking.WANTED not in (one.details or {})]
        return plan_to_resume(run, frozenset((one.path, one.idx) for one in plain))
    try:
        graph: Graph | None = graph_of(run, row, as_recorded=False)
    except (CodeGone, CodeChanged):  # the record has to do: it does not know which child follows which
        graph = None
    how = reopening(row, run._store, graph, from_, only)
    return preview(row, run._store, run._results, how, graph or _recorded(run))


def plan_to_resume(run: Driven, approved: frozenset[Who]) -> list[NodePreview]:
    """What would run if these task runs were approved and the run went on."""
    row = run.record
    graph = None
    if not _is_driven(run, row):
        try:
            graph = graph_of(run, row, as_recorded=False)
        except Exception:  # it is to be said what would run; why it cannot go on is said when it is to
            graph = _recorded(run)
    return preview(row, run._store, run._results, RESUME, graph, approved)


def _recorded(run: Driven) -> Graph | None:
    """The graph that is on record, where it can be read."""
    try:
        return run._load_graph()
    except Exception:  # it could not be stored, or what it needs is gone: the nodes on record must do
        return None


def _arguments(run: Driven, row: RunRow) -> dict[str, object] | None:
    """The values of the flow's parameters; None where they could not be stored."""
    if run._graph is not None:
        return dict(run._graph.parameters)
    stored = run._store.arguments(run.id)
    if stored is None:
        return None
    import cloudpickle

    try:
        return dict(cloudpickle.loads(stored))
    except Exception as error:  # the class of a value has gone
        raise CodeGone(row.flow, f"its parameters cannot be read ({type(error).__name__}: {error})") from error


def _version(run: Driven, row: RunRow) -> str | None:
    """The flow's version: another one, where its code was read anew."""
    return row.version if run._source is None else str(run._source.version)


def _check_results(run: Driven, row: RunRow) -> None:
    """What the run has stored can be reached from here: a local folder may be another machine's."""
    if row.details.get("host") in (None, socket.gethostname()):
        return
    stored = [one.reference for one in run._store.task_runs(run.id, states=[states.SUCCESS], limit=20) if one.reference]
    if stored and not any(run._results.holds_many([Reference.from_dict(one) for one in stored])):
        raise RunNotResumable(
            run.name,
            row.state,
            f"its results are in {row.results_url} of {row.details['host']}, and not here. Go on there, or keep "
            "results where every machine reaches them (dataflow.results.url).",
        )


def _refresh(details: Mapping[str, object]) -> bool | tuple[str, ...]:
    """What the run was told to make anew, when it was started."""
    told = details.get("refresh", False)
    return tuple(map(str, told)) if isinstance(told, list | tuple) else bool(told)


def rerun(run: Driven, executor: object, changes: Mapping[str, object]) -> Any:
    """See `Run.rerun`."""
    row = run.record
    flow = find_flow(row, getattr(run._graph, "source", None))
    given = None if flow is None else _arguments(run, row)
    if flow is None:
        raise CodeGone(row.flow, "it was defined in another session or in a function; run the flow itself")
    if given is None:
        raise CodeGone(row.flow, "its parameters could not be stored; run the flow itself")
    graph = flow.graph(**{**given, **changes})
    where = row.details.get("executor") if executor is None else executor
    started: Any = graph  # a flow's graph can run
    return started.submit(executor=where, results=row.results_url, rerun_of=run.id)


# Telling --------------------------------------------------------------------------------------------------------------


def cancel(run: Driven, *, now: bool, by: str = "") -> None:
    """See `Run.cancel`; `by` is who asks for it, where that is not who runs this process."""
    _stop(run, Order(what=orders.ABORT if now else orders.CANCEL, by=by or person()))


def pause(run: Driven, note: str) -> None:
    """See `Run.pause`."""
    _stop(run, Order(what=orders.PAUSE, by=person(), note=note))


def _stop(run: Driven, order: Order) -> None:
    told = uuid.uuid4().hex  # heard twice it would be two: a second cancel is an abort
    while run.record.state not in states.RUN_FINAL and not _tell(run, order, told):
        try:
            closing.stop(run._store, run.id, order)
            return
        except StaleOwner:
            continue  # somebody has just taken it up: then they are told


def _tell(run: Driven, order: Order, told: str) -> bool:
    """Tell the run's driver, wherever it is; False where there is none."""
    if run._driver is not None and _is_here(run):
        run._driver.order(order)
        return True
    if not _is_driven(run, run.record):
        return False
    _write_down(run, order, told)
    return _is_driven(run, run.record)  # one that left meanwhile has not heard


def _write_down(run: Driven, order: Order, told: str = "") -> int:
    told, value = told or uuid.uuid4().hex, orders.value_of(order)
    return patiently(lambda: run._store.order(run.id, order.what, by=order.by, value=value, id=told))


def go_on(run: Driven, order: int, executor: object, *, as_recorded: bool) -> bool:
    """See that somebody acts on an order to go on: the run's driver, or this process.

    A driver that is just leaving does not hear it; then the run is taken up here.

    Parameters
    ----------
    run : Run
        The run.
    order : int
        The order's number on record.
    executor, as_recorded
        Where, and with which graph, if it is to be driven here.

    Returns
    -------
    bool
        Whether it is to be driven here.
    """
    while any(one.seq == order for one in run._store.orders(run.id)):
        if _is_driven(run, row := run.record):
            run.wait(POLL)
            continue
        if row.state in states.RUN_FINAL:
            return False
        try:
            take_up(run, RESUME, executor, as_recorded=as_recorded)
        except RunNotResumable:
            if not _is_driven(run, run.record):
                raise
        else:
            return True
    return False


def _is_here(run: Driven) -> bool:
    return run._driver is not None and not run._driver.finished.is_set()


def _is_driven(run: Driven, row: RunRow) -> bool:
    return _is_here(run) or is_driven(row)


# Answering ------------------------------------------------------------------------------------------------------------


def approve(run: Driven, task: str, value: object, *, given: bool) -> int:
    """Write an answer down (see `answering.answer`), and the order to go on with it, whose number this returns."""
    answers = answering.answer(run, task, value, given=given)
    # On record in any case: whoever takes the run up next acts on it, also if this process ends now.
    return _write_down(run, Order(what=orders.RESUME, by=person(), answers=answers))
