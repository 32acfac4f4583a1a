"""A worker's look at the cache: is there a result for these inputs, and does another run make it right now?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from logging import WARNING

from dataflow import canonical, keys, states
from dataflow.calls import Slot, Unit
from dataflow.context import Secret
from dataflow.events import NO_INDEX, LogLine, label
from dataflow.keys import Key
from dataflow.outcome import Outcome
from dataflow.owners import is_gone, owner
from dataflow.reaching import reach
from dataflow.result_keys import wanted_generation
from dataflow.session import Session
from dataflow.structure import replace
from dataflow_storage import Entry, Reference, StoreUnavailable

CLAIM_SECONDS = 600.0  # so long a machine that went down amid a body may hold up others
POLL_SECONDS = 0.05
NO_RESULT = "no result of this code and these inputs"


def key_of(session: Session, unit: Unit, values: Mapping[str, object] | None = None) -> Key:
    """The cache key of a task run whose upstreams are known.

    Parameters
    ----------
    session, unit
        The task run.
    values : mapping, optional
        The arguments with the values in them, for `cache(key=...)`.

    Raises
    ------
    CacheError
        An argument has no digest.
    """
    definition = unit.definition
    if keys.rule_of(definition).key is not None:
        inputs = keys.by_function(definition, values or {})
    else:
        arguments = keys.named(definition, unit.args, unit.kwargs)
        inputs = keys.digests(definition, arguments, lambda value: _special(unit, value))
    return keys.make(definition, session.job.flow, inputs)


def _special(unit: Unit, value: object) -> bytes | None:
    if isinstance(value, Slot):
        upstream = unit.upstream[value.place]
        if not isinstance(upstream, list):
            return _token(upstream)
        leave_out = unit.definition.policy.skip_on_upstream_skip
        return keys.tokens([_token(child) for child in upstream if not (leave_out and child.type == states.SKIPPED)])
    if isinstance(value, Outcome):
        return _token(value)
    return f"secret {value.name}".encode() if isinstance(value, Secret) else None


def _token(outcome: Outcome) -> bytes:
    found = keys.token(outcome)
    return f"value {canonical.digest(outcome.value)}".encode() if found is None else found


def structure(unit: Unit) -> bytes | None:
    """What the value of an operation of ours counts as."""
    return keys.structure(unit.definition, [*unit.args, *unit.kwargs.values()], lambda value: _special(unit, value))


def is_refreshed(session: Session, name: str, path: str, index: int = NO_INDEX) -> bool:
    """Whether the run was told to make a task, or what stands at a path, anew: when it began, or by a retry."""
    refresh = session.job.refresh
    told = refresh is True or (refresh is not False and bool({name, path} & set(refresh)))
    return told or wanted_generation(session.job.anew, path, index) > 0


def look(session: Session, unit: Unit, key: Key, *, trust: bool = False, fresh: bool = False) -> Outcome | None:
    """The outcome that the cache has; else None, and `unit.why` says why there is none.

    Parameters
    ----------
    session, unit, key
        The task run.
    trust : bool
        Do not look whether the result is still there.
    fresh : bool
        Somebody may have come to an end just now.
    """
    unit.key_made = key
    if is_refreshed(session, unit.definition.name, unit.path, unit.index):
        unit.why = "the run was told to refresh it"
        return None
    entry = session.cache.find(key.folder, key.hex, fresh=fresh)
    if entry is None:
        unit.why = NO_RESULT
        return None
    unit.why = denied(entry, keys.rule_of(unit.definition).expires, time.time())
    reference = entry.reference
    if not unit.why and reference is None:
        return Outcome(states.SKIPPED, message=entry.skipped)
    if not unit.why and reference is not None and not trust and not _holds(session, reference):
        unit.why = f"the result that run {entry.run[:8]} made is not there any more"
    return None if unit.why else Outcome(states.CACHED, reference=reference, message=told(entry))


def _holds(session: Session, reference: Reference) -> bool:
    if reference.url not in session.held and session.job.store.holds(reference):
        session.held.add(reference.url)
    return reference.url in session.held


def denied(entry: Entry, expires: float | None, now: float) -> str:
    """Why an entry must not be used; empty where it may."""
    age = now - entry.created
    return f"the result is {age:.0f} s old, and expires after {expires:.0f} s" if expires and age > expires else ""


def told(entry: Entry) -> str:
    """What a state says of where its result comes from."""
    return f"made by {entry.path} of run {entry.run[:8]}"


def wait_for_others(session: Session, unit: Unit, key: Key) -> Outcome | None:
    """Claim the key, or wait while another run computes it. The outcome that it made, or None: ours to make."""
    mine, pause = owner(f"{session.token}:{unit.key}"), POLL_SECONDS
    while not session.cache.claim(key.hex, mine, CLAIM_SECONDS, is_gone):
        if session.is_cancelled():
            return None
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)
        found = look(session, unit, key)
        if found is not None:
            return found
    unit.claimed = True
    return look(session, unit, key, fresh=True)  # it may have been made since the last look


def release(session: Session, unit: Unit) -> None:
    """Whatever became of it: nobody need wait for this task run any more."""
    if unit.claimed and unit.key_made is not None:
        unit.claimed = False
        with suppress(StoreUnavailable):  # then it ends by itself, after a while
            session.cache.release(unit.key_made.hex)


def remember(session: Session, made: Sequence[tuple[Unit, Outcome]]) -> None:
    """Put what was committed, or had nothing to do, into the cache."""
    folders: dict[str, tuple[Mapping[str, object], list[Entry]]] = {}
    for unit, outcome in made:
        if unit.key_made is None or (outcome.reference is None and outcome.type != states.SKIPPED):
            continue
        entry = Entry(
            key=unit.key_made.hex,
            inputs=unit.key_made.inputs,
            reference=outcome.reference,
            created=time.time(),
            run=session.job.run_id,
            path=label(unit.path, unit.index),
            why=unit.why,
            skipped=outcome.message if outcome.reference is None else "",
            expires=keys.rule_of(unit.definition).expires,
        )
        folders.setdefault(unit.key_made.folder, (unit.key_made.identity, []))[1].append(entry)
    for folder, (identity, entries) in folders.items():
        unit = made[0][0]
        try:
            note = partial(session.cache.add, folder, identity, entries)
            reach(session, unit.path, unit.index, unit.attempt, note)
        except StoreUnavailable as error:  # the results are safe: only, they will be made again
            message = f"the cache could not note this result: {error}"
            session.emit(LogLine(unit.path, unit.index, unit.attempt, time.time(), WARNING, __name__, message))


def by_values(unit: Unit, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
    """The arguments' values by name, for `cache(key=...)`; secrets are not shown to it."""
    return keys.named(unit.definition, [_hidden(value) for value in args], {n: _hidden(v) for n, v in kwargs.items()})


def _hidden(value: object) -> object:
    return replace(value, Secret, repr)
