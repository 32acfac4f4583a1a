"""What can be asked of a run from anywhere: go on, try again, once more, stop, wait, here is the answer.

A run whose driver is in this process is told directly; one that another process drives, through the record. One that
nobody drives is taken up here: what is known is left out, the rest runs.
"""

from __future__ import annotations

import getpass
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from dataflow import asking, closing, orders, states
from dataflow.assignment import Assignment
from dataflow.driven import Driven
from dataflow.engine import Driver
from dataflow.errors import CodeChanged, CodeGone, NoSuchTask, NothingAsked, RunNotResumable
from dataflow.events import NO_INDEX, label
from dataflow.graph import Graph
from dataflow.orders import Order
from dataflow.outputs import stored_outputs
from dataflow.owners import is_gone
from dataflow.patience import patiently
from dataflow.places import choose_executor
from dataflow.preview import NodePreview, preview
from dataflow.recovery import RESUME, Reopening, answers_to, asking_number, claim
from dataflow.result_keys import split_key
from dataflow.selection import reopening
from dataflow.signals import Answers
from dataflow.source import difference, find_flow
from dataflow.works import Who
from dataflow_storage import Reference
from dataflow_storage.errors import StaleOwner
from dataflow_storage.rows import RunRow, TaskRunRow


def person() -> str:
    """Who asks, for the record."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


# Taking up ------------------------------------------------------------------------------------------------------------


def resume(run: Driven, executor: object, *, as_recorded: bool) -> bool:
    """See `Run.resume`. Whether it is to be driven here; else its driver was told."""
    while True:
        here = run._driver is not None and not run._driver.finished.is_set()
        row = run.record
        if row.state == states.SUCCESS:
            raise RunNotResumable(run.name, row.state, "there is nothing to resume.")
        if row.state == states.FAILED and not _is_open(run):
            raise RunNotResumable(run.name, row.state, "retry it: run.retry() runs again what did not succeed.")
        by_person = row.state == states.PAUSED and "paused" in row.details
        answers = {} if by_person else _approve_all(run, waited=row.state == states.PAUSED)
        if not here and not answers and _is_driven(run, row):
            raise RunNotResumable(run.name, row.state, f"{row.owner} drives it, and nothing in it waits for a person.")
        if not _tell(run, Order(what=orders.RESUME, by=person(), answers=answers)):
            take_up(run, RESUME, executor, as_recorded=as_recorded)
            return True
        if not here:
            return False
        run.wait()  # it may have been pausing just then, and not have heard
        after = run.record
        if after.state != states.PAUSED or not ("paused" in after.details or _answered(run, _waiting(run))):
            return False


def _waiting(run: Driven) -> list[TaskRunRow]:
    return run._store.task_runs(run.id, states=[states.PAUSED])


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
        plain = [one for one in _waiting(run) if asks and asking.WANTED not in (one.details or {})]
        return plan_to_resume(run, frozenset((one.path, one.idx) for one in plain))
    try:
        graph: Graph | None = graph_of(run, row, as_recorded=False)
    except (CodeGone, CodeChanged):  # the record has to do: it does not know which child follows which
        graph = None
    return preview(row, run._store, run._results, reopening(row, run._store, graph, from_, only))


def plan_to_resume(run: Driven, approved: frozenset[Who]) -> list[NodePreview]:
    """What would run if these task runs were approved and the run went on."""
    return preview(run.record, run._store, run._results, RESUME, approved)


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


def cancel(run: Driven, *, now: bool) -> None:
    """See `Run.cancel`."""
    _stop(run, Order(what=orders.ABORT if now else orders.CANCEL, by=person()))


def pause(run: Driven, note: str) -> None:
    """See `Run.pause`."""
    _stop(run, Order(what=orders.PAUSE, by=person(), note=note))


def _stop(run: Driven, order: Order) -> None:
    while run.record.state not in states.RUN_FINAL and not _tell(run, order):
        try:
            closing.stop(run._store, run.id, order)
            return
        except StaleOwner:
            continue  # somebody has just taken it up: then they are told


def _tell(run: Driven, order: Order) -> bool:
    """Tell the run's driver, wherever it is; False where there is none."""
    if run._driver is not None and not run._driver.finished.is_set():
        run._driver.order(order)
        return True
    if not _is_driven(run, run.record):
        return False
    _write_down(run, order)
    return True


def _write_down(run: Driven, order: Order) -> None:
    told, value = uuid.uuid4().hex, orders.value_of(order)
    patiently(lambda: run._store.order(run.id, order.what, by=order.by, value=value, id=told))


def _is_driven(run: Driven, row: RunRow) -> bool:
    if run._driver is not None and not run._driver.finished.is_set():
        return True
    return row.owner is not None and (row.lease_until or 0.0) > time.time() and not is_gone(row.owner)


# Answering ------------------------------------------------------------------------------------------------------------


def approve(run: Driven, task: str, value: object, *, given: bool) -> None:
    """Write an answer down, and tell the driver, if there is one.

    Raises
    ------
    NothingAsked
        The task run does not wait for a person, or somebody else has answered.
    AnswerInvalid
        The answer is not what was asked for.
    """
    rows = _asked(run, task)
    fits: list[object] = []
    for row in rows:  # all of them before any is written down
        if asking.WANTED in (row.details or {}) and not given:
            raise NothingAsked(
                label(row.path, row.idx), f"it asks for a value: {_question(row)}. Give value= (--value)."
            )
        fits.append(asking.fit(row.details, value) if given else None)
    answers: dict[Who, Answers] = {}
    late: NothingAsked | None = None
    for row, fit in zip(rows, fits, strict=True):
        try:
            answers[row.path, row.idx] = _answer(run, row, fit, given=given, must_win=True)
        except NothingAsked as error:  # somebody else was faster with this one
            late = error
    if late is not None and not answers:
        raise late
    order = Order(what=orders.RESUME, by=person(), answers=answers)
    # On record in any case: whoever takes the run up next acts on it, also if this process ends now.
    _write_down(run, order)


def goes_on(run: Driven) -> bool:
    """Whether somebody drives the run who acts on what was approved; a driver that is just pausing does not."""
    if run._driver is not None and not run._driver.finished.is_set():
        run.wait()
        return run.record.state != states.PAUSED or not _answered(
            run, run._store.task_runs(run.id, states=[states.PAUSED])
        )
    return _is_driven(run, run.record)


def _asked(run: Driven, task: str) -> list[TaskRunRow]:
    nodes = {node.path: node for node in run._store.nodes(run.id)}
    path, index = (task, None) if task in nodes else split_key(task)[:2]
    if path not in nodes:
        raise NoSuchTask(run.name, task, list(nodes))
    rows = run._store.task_runs(run.id, path=path, idx=index if index != NO_INDEX else None)
    waiting = [row for row in rows if row.state == states.PAUSED]
    if not waiting:
        found = rows[0].state if rows else states.PENDING
        asked = [label(row.path, row.idx) for row in run._store.task_runs(run.id, states=[states.PAUSED], limit=5)]
        hint = f"waiting are: {', '.join(asked)}." if asked else "nothing in this run waits for a person."
        raise NothingAsked(task, f"it is {found}; {hint}")
    return waiting


def _approve_all(run: Driven, *, waited: bool) -> dict[Who, Answers]:
    """Approve what waits for a person and needs no value."""
    rows = _waiting(run)
    plain = [row for row in rows if asking.WANTED not in (row.details or {})]
    if waited and rows and not plain and not _answered(run, rows):
        first = rows[0]
        raise NothingAsked(
            label(first.path, first.idx), f"it asks for a value: {_question(first)}. Say run.approve(task, value=...)."
        )
    return {(row.path, row.idx): _answer(run, row, None, given=False, must_win=False) for row in plain}


def _answered(run: Driven, rows: Sequence[TaskRunRow]) -> bool:
    """Whether one of these was answered, and nobody has gone on with it yet."""
    record = run.record
    answers = answers_to(record, run._store)
    return any(asking_number(record, row) in answers.get((row.path, row.idx), {}) for row in rows)


def _question(row: TaskRunRow) -> str:
    wanted = (row.details or {}).get(asking.WANTED)
    name = f" ({wanted['name']})" if isinstance(wanted, Mapping) else ""
    return f"{row.message!r}{name}"


def _answer(run: Driven, row: TaskRunRow, value: object, *, given: bool, must_win: bool) -> Answers:
    """Answer one task run; all that was ever given to it."""
    number = asking_number(run.record, row)
    token = uuid.uuid4().hex
    wanted = asking.WANTED in (row.details or {})
    stands = patiently(
        lambda: run._store.answer(
            run.id, row.path, row.idx, number, by=person(), token=token, value=[wanted, value], given=given
        )
    )
    if must_win and stands.token != token:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stands.time))
        raise NothingAsked(label(row.path, row.idx), f"{stands.by} has answered already, at {when}.")
    given_so_far = answers_to(run.record, run._store).get((row.path, row.idx), {})
    return tuple(each for pairs in given_so_far.values() for each in pairs)
