"""One task run, from its upstreams' outcomes to its own: the steps of the wrapper, in their order."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from dataflow import cached, states
from dataflow.binding import bind
from dataflow.body import Raised, call_body
from dataflow.calls import Unit
from dataflow.definition import Policy
from dataflow.events import Expanded, TaskEvent
from dataflow.failure import describe, one_line
from dataflow.graph import Graph
from dataflow.outcome import ABSENT, DEFERRED, DEFERRED_OUTCOME, Outcome
from dataflow.reaching import is_away, put_by, reach
from dataflow.results import Committer, end
from dataflow.session import Session
from dataflow.signals import Fail, Pause, Retry, Skip
from dataflow.triggers import Manual, Upstreams

HEAVY_BYTES = 50_000
EMPTY_MAP = Outcome(states.SUCCESS)


def run_unit(session: Session, unit: Unit, committer: Committer) -> Outcome:
    """Take one task run from its upstreams' outcomes to its own."""
    if unit.upstream:
        upstream = flat(unit)
        stopped = pass_on(upstream) or skip(session, unit) or refuse(session, unit, upstream)
    else:
        stopped = _ask(session, unit)
    return stopped or _found_or_made(session, unit, committer)


def _found_or_made(session: Session, unit: Unit, committer: Committer) -> Outcome:
    """Steps 4 to 8: look for a result, and where there is none, make it."""
    try:
        while True:
            try:
                found = reach(session, unit.path, unit.index, unit.attempt, lambda: committer.find(unit))
            except Exception as error:
                if is_away(error, session):
                    return put_by(session, unit.path, unit.index, unit.attempt, error)
                # A storage that was never there: that is an attempt that failed.
                unit.attempt += 1
                failed = _after_exception(session, unit, unit.definition.policy, Raised(error, dict(describe(error))))
                if failed is not None:
                    return failed
            else:
                return found or _attempt(session, unit, committer)
    finally:
        if unit.claimed:
            cached.release(session, unit)


def flat(unit: Unit) -> list[Outcome]:
    """All outcomes that a unit waits for, each once; children of maps one by one, an empty map as one success."""
    found: dict[int, Outcome] = {}
    for upstream in unit.upstream:
        for outcome in (upstream or [EMPTY_MAP]) if isinstance(upstream, list) else [upstream]:
            found[id(outcome)] = outcome
    return list(found.values())


def pass_on(upstream: Sequence[Outcome]) -> Outcome | None:
    """Step 1: what follows a deferred task run is deferred."""
    for outcome in upstream:
        if outcome.type == DEFERRED:
            return DEFERRED_OUTCOME
    return None


def skip(session: Session, unit: Unit) -> Outcome | None:
    """Step 2: what follows a skipped task run is skipped, unless its policy says otherwise."""
    if not unit.definition.policy.skip_on_upstream_skip:
        return None
    for upstream in unit.upstream:
        # Of a mapped upstream, all children must have been skipped; what some skipped is simply left out.
        children = upstream if isinstance(upstream, list) else [upstream]
        if children and all(child.type == states.SKIPPED for child in children):
            return end(session, unit, states.SKIPPED, "an upstream was skipped")
    return None


def refuse(session: Session, unit: Unit, upstream: Sequence[Outcome]) -> Outcome | None:
    """Step 3: the trigger says no, or somebody must approve first."""
    trigger = unit.definition.policy.trigger
    try:
        counts = Upstreams.of(outcome.type for outcome in upstream)
        allowed = trigger(counts)
    except Exception as error:
        failure = describe(error)
        return end(session, unit, states.FAILED, f"its trigger raised {one_line(failure)}", details=dict(failure))
    if not allowed:
        name = getattr(trigger, "__name__", None) or repr(trigger)
        return end(
            session,
            unit,
            states.TRIGGER_FAILED,
            f"{name}: {counts.failed} failed, {counts.successful} successful of {counts.total} upstreams",
        )
    return _ask(session, unit)


def _ask(session: Session, unit: Unit) -> Outcome | None:
    if isinstance(unit.definition.policy.trigger, Manual) and not unit.resumed:
        return _defer(session, unit, states.PAUSED, "waits for approval")
    return None


def _attempt(session: Session, unit: Unit, committer: Committer) -> Outcome:
    policy = unit.definition.policy
    while True:
        unit.attempt += 1
        if session.is_cancelled():
            return DEFERRED_OUTCOME  # the driver records what did not start as cancelled
        session.begin(unit.path, unit.index, unit.attempt, alone=committer.alone)
        try:
            args, kwargs = reach(session, unit.path, unit.index, unit.attempt, lambda: bind(session, unit))
        except Exception as error:  # an upstream's result is gone, or a secret has no value
            if is_away(error, session):
                return put_by(session, unit.path, unit.index, unit.attempt, error)
            result: object = Raised(error, dict(describe(error)))
        else:
            result = call_body(session, unit, args, kwargs)
        if not session.may_commit():
            return DEFERRED_OUTCOME  # the run is not ours any more, or was stopped at once
        if not isinstance(result, Raised):
            if unit.definition.builds and isinstance(result, Graph):
                result = _expand(session, unit, result)
                if not isinstance(result, Raised):
                    return result
            else:
                outcome = committer.commit(unit, result)
                if outcome is not None:
                    if unit.definition.internal and session.job.keyed:
                        outcome.stands = cached.structure(unit)
                    return outcome
                result = committer.refusal(unit)
                if is_away(result.exception, session):
                    return put_by(session, unit.path, unit.index, unit.attempt, result.exception)
        outcome = _after_exception(session, unit, policy, result)
        if outcome is not None:
            return outcome


def _expand(session: Session, unit: Unit, graph: Graph) -> Outcome | Raised:
    """Hand what a deferred subflow built to the driver."""
    try:
        packed = graph if session.is_local else session.pack(_lightened(unit, graph))
    except Exception as error:  # something in it cannot be pickled
        return Raised(error, dict(describe(error)))
    session.emit(Expanded(unit.path, unit.index, packed), urgent=True)
    return DEFERRED_OUTCOME


def _lightened(unit: Unit, graph: Graph) -> Graph:
    """The graph with large values that came from committed upstreams named, not copied: they stay where they are."""
    from dask.sizeof import sizeof

    heavy: dict[int, Outcome] = {}
    for upstream in unit.upstream:
        for outcome in upstream if isinstance(upstream, list) else [upstream]:
            if outcome.reference is not None and outcome.value is not ABSENT and sizeof(outcome.value) > HEAVY_BYTES:
                heavy[id(outcome.value)] = Outcome(outcome.type, reference=outcome.reference)
    if heavy:
        for node in graph.nodes:
            node.args = tuple(heavy.get(id(value), value) for value in node.args)
            node.kwargs = {name: heavy.get(id(value), value) for name, value in node.kwargs.items()}
    return graph


def _after_exception(session: Session, unit: Unit, policy: Policy, raised: Raised) -> Outcome | None:
    """The outcome after an exception; None to try again at once."""
    error, failure = raised.exception, raised.failure
    if isinstance(error, Skip):
        skipped = end(session, unit, states.SKIPPED, error.message or "the task said so")
        if policy.cache is not None and policy.target is None:
            cached.remember(session, [(unit, skipped)])
        return skipped
    if isinstance(error, Pause):
        return _defer(session, unit, states.PAUSED, error.message or "the task paused", error.details)
    delay = _retry_delay(unit, policy, error, raised)
    if delay is not None:
        due = time.time() + delay
        message = error.message if isinstance(error, Retry) and error.message else one_line(failure)
        later = delay > 0
        session.emit(
            TaskEvent(
                unit.path,
                unit.index,
                states.RETRYING,
                time.time(),
                unit.attempt,
                message,
                {**failure, "due": due} if later else failure,
                worker=session.worker,
                due=due if later else None,
            ),
            urgent=later,
        )
        return DEFERRED_OUTCOME if later else None
    if raised.timed_out:
        return end(session, unit, states.TIMED_OUT, one_line(failure), details=failure)
    if raised.died:
        return end(session, unit, states.CRASHED, one_line(failure), details=failure)
    message = error.message if isinstance(error, Fail | Retry) and error.message else one_line(failure)
    return end(session, unit, states.FAILED, message, details=failure)


def _retry_delay(unit: Unit, policy: Policy, error: BaseException, raised: Raised) -> float | None:
    """Seconds until the next attempt; None where there is none."""
    if isinstance(error, Fail) or unit.attempt - unit.base > policy.retries:
        return None
    if isinstance(error, Retry):
        return policy.retry_delay(unit.attempt - unit.base) if error.delay is None else max(0.0, float(error.delay))
    try:
        if not raised.died and not isinstance(error, policy.retry_on):
            return None
        if policy.retry_if is not None and not policy.retry_if(error):
            return None
        return max(0.0, float(policy.retry_delay(unit.attempt - unit.base)))
    except Exception as broken:
        raised.failure["message"] = (
            f"{raised.failure['message']} (its retry policy raised {one_line(describe(broken))})"
        )
        return None


def _defer(
    session: Session, unit: Unit, type: str, message: str, details: Mapping[str, object] | None = None
) -> Outcome:
    session.emit(
        TaskEvent(unit.path, unit.index, type, time.time(), unit.attempt, message, details, worker=session.worker),
        urgent=True,
    )
    return DEFERRED_OUTCOME
