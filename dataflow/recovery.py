"""What is known of a run that is taken up again: from its record, and from the results that its last driver did not
live to hear of.

Resume, retry and recovery differ only in what of that they take as known. The rest runs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from dataflow import orders, settings, states
from dataflow.bundled import read_bundle
from dataflow.events import NO_INDEX, label
from dataflow.owners import is_gone, owner
from dataflow.patience import patiently
from dataflow.result_keys import is_bundle, split_key, wanted_generation
from dataflow.signals import Answers
from dataflow.works import Known, Memory, Who
from dataflow_storage import Reference, ResultStore, RunStore
from dataflow_storage.rows import NodeRow, RunRow, TaskRunRow
from dataflow_storage.runs import RunHeld

NOT_NEEDED = "nobody needs it: what follows is there already"
RETRIED = "retried"
TAKEN_UP = "taken up again"
ROUND = 1 << 20  # more attempts than a task run has between two retries of its run
# What a retry runs again, and a resume does not: it had its chance.
SPENT = frozenset({states.FAILED, states.TIMED_OUT, states.TRIGGER_FAILED})


def lease_seconds() -> float:
    """How long a lease lasts, as configured."""
    return float(str(settings.get("runs.lease")))


def me() -> str:
    """A new owner: two drivers in this process are two owners."""
    return owner(uuid.uuid4().hex[:8])


def claim(runs: RunStore, run_id: str, *, epoch: int | None = None) -> int:
    """Become a run's owner and return the epoch: nobody else may write its record while the lease is kept.

    An owner on this machine whose process is gone has no say any more.

    Parameters
    ----------
    runs, run_id
        The record and the run.
    epoch : int, optional
        Only if this is still its epoch: nobody has taken it up since it was looked at.

    Raises
    ------
    StaleOwner
        Somebody else drives the run.
    """
    name, lease = me(), lease_seconds()
    try:
        return patiently(lambda: runs.claim(run_id, name, seconds=lease, expected_epoch=epoch))
    except RunHeld as held:
        if not is_gone(held.owner):
            raise
        gone, last = held.owner, held.current
    # In the dead owner's name its lease is ended, and then one of those who try becomes the next.
    ended = patiently(lambda: runs.claim(run_id, gone, seconds=0.0, expected_epoch=last))
    return patiently(lambda: runs.claim(run_id, name, seconds=lease, expected_epoch=ended))


@dataclass(frozen=True, kw_only=True)
class Reopening:
    """How a run is taken up again.

    Parameters
    ----------
    retry : bool
        What failed runs again, with a new budget. Else only what had not ended.
    redone : frozenset of (path, index)
        Task runs that run again although they succeeded.
    only : frozenset of (path, index), optional
        What failed stays as it is, but for these.
    anew : mapping
        For the record: from which generation on a result counts, by path or label.
    """

    retry: bool = False
    redone: frozenset[Who] = frozenset()
    only: frozenset[Who] | None = None
    anew: Mapping[str, int] = field(default_factory=dict)


RESUME = Reopening()


@dataclass(frozen=True, kw_only=True)
class Past(Memory):
    """What is known of a run.

    Parameters
    ----------
    recorded : mapping
        The state on record of each task run.
    found : mapping
        Those known that are not on record as such: their results were committed, and then the driver died.
    unneeded : frozenset
        Task runs that did not run since what would have used them was there: that may be otherwise now.
    listed : frozenset
        Paths of the nodes on record.
    anew : mapping
        From which generation on a result counts, by path or label.
    widths : mapping
        How many children maps on record have.
    retried : bool
        With a new budget.
    ordered : tuple of int
        Orders to go on, by their numbers, that are carried out with this.
    """

    recorded: Mapping[Who, str]
    found: Mapping[Who, Known]
    unneeded: frozenset[Who]
    listed: frozenset[str]
    anew: Mapping[str, int]
    widths: Mapping[str, int]
    retried: bool
    ordered: tuple[int, ...]


def recall(run: RunRow, runs: RunStore, results: ResultStore, how: Reopening = RESUME) -> Past:
    """Read what is known of a run."""
    # Before the answers: those that came with these orders are among them.
    ordered = tuple(one.seq for one in runs.orders(run.id) if one.kind == orders.RESUME)
    nodes = runs.nodes(run.id)
    widths = {node.path: node.width for node in nodes if node.kind == "map" and node.width is not None}
    # A map that once ended as a whole has children since: they stand for it.
    rows = {(row.path, row.idx): row for row in runs.task_runs(run.id) if row.idx != NO_INDEX or row.path not in widths}
    unneeded = frozenset(who for who, row in rows.items() if row.state == states.SKIPPED and row.message == NOT_NEEDED)
    known = {who: _known(row) for who, row in rows.items() if who not in unneeded and _stays(who, row, how)}
    for who in _reopened(nodes, known, rows):
        del known[who]
    anew = {**anew_of(run), **how.anew}
    found = {who: one for who, one in _committed(run.id, results, known, anew) if who not in known}
    for who in _reopened(nodes, found, rows):
        del found[who]
    open_ = {who: row for who, row in rows.items() if who not in known and who not in found}
    resumed = _answered(run, runs, open_, how)
    return Past(
        recorded={who: row.state for who, row in rows.items()},
        known=_there({**known, **found}, results),
        found=found,
        attempts={who: row.attempt for who, row in rows.items()},
        failures={} if how.retry else _failures(run, runs, open_),
        due=_due(open_, resumed, retry=how.retry),
        resumed=resumed,
        unneeded=unneeded,
        listed=frozenset(runs.counts(run.id)),
        anew=anew,
        widths=widths,
        retried=how.retry,
        ordered=ordered,
    )


def anew_of(run: RunRow) -> dict[str, int]:
    """From which generation on a result counts, by path or label, as the run's record has it."""
    told = run.details.get("anew")
    return {str(name): int(str(number)) for name, number in told.items()} if isinstance(told, Mapping) else {}


def _known(row: TaskRunRow) -> Known:
    return Known(row.state, row.message, Reference.from_dict(row.reference) if row.reference else None)


def _stays(who: Who, row: TaskRunRow, how: Reopening) -> bool:
    """Whether a task run is final, and stays so."""
    if who in how.redone:
        return False
    if how.only is not None:
        return row.state in states.FINAL and who not in how.only
    return row.state in states.SUCCESSFUL or (row.state in SPENT and not how.retry)


def _there(known: Mapping[Who, Known], results: ResultStore) -> dict[Who, Known]:
    """The same without references to what is not there any more: that is made again where somebody needs it."""
    stored = {who: one.reference for who, one in known.items() if one.reference is not None}
    there = dict(zip(stored, results.holds_many(list(stored.values())), strict=True))
    return {
        who: one if there.get(who, True) else Known(one.type, f"{one.message} (its result is gone)".strip())
        for who, one in known.items()
    }


def _reopened(nodes: Sequence[NodeRow], known: Mapping[Who, Known], rows: Mapping[Who, TaskRunRow]) -> list[Who]:
    """Subflows that ended although something in them did not: they are expanded again for that."""
    builds = {node.path for node in nodes if node.details.get("builds")}
    if not builds:
        return []
    began = {path for path, _ in rows}
    open_ = [label(*who) for who in rows if who not in known]
    open_ += [node.path for node in nodes if node.path not in began and node.width != 0]
    above: set[str] = set()
    for path in open_:
        while path:
            path = path.rpartition("/")[0]
            above.add(path)
    return [who for who in known if who[0] in builds and label(*who) in above]


def _committed(
    run_id: str, results: ResultStore, known: Mapping[Who, Known], anew: Mapping[str, int]
) -> Iterable[tuple[Who, Known]]:
    """What lies in the result store, as far as it may be news.

    A chunk of children is read also where its first child is known: a driver may have died amid its reports.
    """
    for key in results.keys(f"{run_id}/"):
        path, index, generation = split_key(key.partition("/")[2])
        if is_bundle(path):
            for one, reference in read_bundle(results, key).items():
                if (one, NO_INDEX) not in known and generation >= wanted_generation(anew, one, NO_INDEX):
                    yield (one, NO_INDEX), Known(states.SUCCESS, "committed before", reference)
            continue
        chunk = results.find_many(key) if index != NO_INDEX else None
        if chunk is not None:
            for each, reference in chunk.items():
                if each >= 0 and generation >= wanted_generation(anew, path, each):
                    yield (path, each), Known(states.SUCCESS, "committed before", reference)
        elif (path, index) not in known and generation >= wanted_generation(anew, path, index):
            single = results.find(key)
            if single is not None:
                yield (path, index), Known(states.SUCCESS, "committed before", single)


# What waited --------------------------------------------------------------------------------------------------------


def asking_number(run: RunRow, row: TaskRunRow) -> int:
    """Which asking of a task run an answer is to: its attempt, after so many retries of the run."""
    return int(str(run.details.get("retries") or 0)) * ROUND + row.attempt


def answers_to(run: RunRow, runs: RunStore) -> dict[Who, dict[int, Answers]]:
    """The answers since the last retry of the run: by task run and asking, what was given."""
    found: dict[Who, dict[int, Answers]] = {}
    for answer in runs.answers(run.id):
        if answer.attempt // ROUND == int(str(run.details.get("retries") or 0)):
            wanted, value = cast("Sequence[object]", answer.value)
            found.setdefault((answer.path, answer.idx), {})[answer.attempt] = (
                ((bool(wanted), value),) if answer.given else ()
            )
    return found


def _answered(run: RunRow, runs: RunStore, rows: Mapping[Who, TaskRunRow], how: Reopening) -> dict[Who, Answers]:
    """What a person has let go on, with all that was given."""
    found: dict[Who, Answers] = {}
    for who, answers in answers_to(run, runs).items():
        row = rows.get(who)
        if row is None:
            continue
        # What waits needs the answer to its latest question; what went on before keeps what it was told.
        if asking_number(run, row) in answers if row.state == states.PAUSED else not how.retry:
            found[who] = tuple(each for given in answers.values() for each in given)
    return found


def _due(rows: Mapping[Who, TaskRunRow], resumed: Mapping[Who, Answers], *, retry: bool) -> dict[Who, float | None]:
    """What must not go at once: an attempt whose delay is not over, and what waits for a person."""
    due: dict[Who, float | None] = {}
    for who, row in rows.items():
        if row.state == states.PAUSED and who not in resumed:
            due[who] = None
        elif not retry and row.state == states.RETRYING and (row.details or {}).get("due") is not None:
            due[who] = float(str((row.details or {})["due"]))
    return due


def _failures(run: RunRow, runs: RunStore, rows: Mapping[Who, TaskRunRow]) -> dict[Who, int]:
    """How many attempts of each have failed, since the run was last retried by a person."""
    since = float(str(run.details.get("retried") or 0.0))
    failures: dict[Who, int] = {}
    for who, row in rows.items():
        if row.attempt > 1 or (row.attempt == 1 and row.state != states.RUNNING):
            changes = runs.transitions(run.id, path=who[0], idx=who[1])
            failed = sum(change.state == states.RETRYING and change.time >= since for change in changes)
            failures[who] = min(failed, row.attempt)
    return failures
