"""What is known of a run that is taken up again: from its record, and from the results that its last driver did not
live to hear of.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from dataflow import states
from dataflow.events import NO_INDEX, label
from dataflow.owners import is_gone, owner
from dataflow.works import Known
from dataflow_storage import Reference, ResultStore, RunStore
from dataflow_storage.runs import RunHeld

LEASE_SECONDS = 60.0
_CHILD = re.compile(r"(?P<path>.*)\[(?P<index>\d+)\]\Z", re.DOTALL)
NOT_NEEDED = "nobody needs it: what follows is there already"
Who = tuple[str, int]


def claim(runs: RunStore, run_id: str) -> int:
    """Become a run's owner and return the epoch: nobody else may write its record while the lease is kept.

    An owner on this machine whose process is gone has no say any more.

    Raises
    ------
    StaleOwner
        Somebody else drives the run.
    """
    try:
        return runs.claim(run_id, owner(uuid.uuid4().hex[:8]), seconds=LEASE_SECONDS)  # two drivers here are two owners
    except RunHeld as held:
        if not is_gone(held.owner):
            raise
        return runs.claim(run_id, held.owner, seconds=LEASE_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Past:
    """What is known of a run.

    Parameters
    ----------
    recorded : mapping
        The state on record of each task run.
    known : mapping
        Task runs that succeeded.
    found : mapping
        Those among them that are not on record as such: their results were committed, and then the driver died.
    attempts : mapping
        Attempts made.
    paused : frozenset
        Task runs that wait for a person.
    unneeded : frozenset
        Task runs that did not run since what would have used them was there: that may be otherwise now.
    listed : frozenset
        Paths of the nodes on record.
    """

    recorded: Mapping[Who, str]
    known: Mapping[Who, Known]
    found: Mapping[Who, Known]
    attempts: Mapping[Who, int]
    paused: frozenset[Who]
    unneeded: frozenset[Who]
    listed: frozenset[str]


def recall(run_id: str, runs: RunStore, results: ResultStore) -> Past:
    """Read what is known of a run."""
    rows = runs.task_runs(run_id)
    known: dict[Who, Known] = {}
    unneeded = frozenset(
        (row.path, row.idx) for row in rows if row.state == states.SKIPPED and row.message == NOT_NEEDED
    )
    for row in rows:
        if row.state in states.SUCCESSFUL and (row.path, row.idx) not in unneeded:
            reference = Reference.from_dict(row.reference) if row.reference else None
            known[row.path, row.idx] = Known(row.state, row.message, reference)
    for who in _reopened(run_id, runs, known, {(row.path, row.idx): row.state for row in rows}):
        del known[who]
    found = {who: known_now for who, known_now in _committed(run_id, results, known).items() if who not in known}
    return Past(
        recorded={(row.path, row.idx): row.state for row in rows},
        known=_there({**known, **found}, results),
        found=found,
        attempts={(row.path, row.idx): row.attempt for row in rows},
        paused=frozenset((row.path, row.idx) for row in rows if row.state == states.PAUSED),
        unneeded=unneeded,
        listed=frozenset(runs.counts(run_id)),
    )


def _there(known: Mapping[Who, Known], results: ResultStore) -> dict[Who, Known]:
    """The same without references to what is not there any more: that is made again where somebody needs it."""
    stored = {who: one.reference for who, one in known.items() if one.reference is not None}
    there = dict(zip(stored, results.holds_many(list(stored.values())), strict=True))
    return {
        who: one if there.get(who, True) else Known(one.type, f"{one.message} (its result is gone)".strip())
        for who, one in known.items()
    }


def _reopened(run_id: str, runs: RunStore, known: Mapping[Who, Known], recorded: Mapping[Who, str]) -> list[Who]:
    """Subflows that ended well although something in them did not: they are expanded again for that."""
    nodes = runs.nodes(run_id)
    builds = {node.path for node in nodes if node.details.get("builds")}
    began = {path for path, _ in recorded}
    open_ = [label(*who) for who, state in recorded.items() if state not in states.SUCCESSFUL]
    open_ += [node.path for node in nodes if node.path not in began and node.width != 0]
    above: set[str] = set()
    for path in open_:
        while path:
            path = path.rpartition("/")[0]
            above.add(path)
    return [who for who in known if who[0] in builds and label(*who) in above]


def _committed(run_id: str, results: ResultStore, known: Mapping[Who, Known]) -> dict[Who, Known]:
    """What lies in the result store, as far as it may be news.

    A chunk of children is read also where its first child is known: a driver may have died amid its reports.
    """
    found: dict[Who, Known] = {}
    for key in results.keys(f"{run_id}/"):
        name = key.partition("/")[2]
        child = _CHILD.match(name)
        chunk = results.find_many(key) if child else None
        if child and chunk is not None:
            for index, reference in chunk.items():
                if index >= 0:
                    found[child["path"], index] = Known(states.SUCCESS, "committed before", reference)
        elif (name, NO_INDEX) not in known:
            single = results.find(key)
            if single is not None:
                found[name, NO_INDEX] = Known(states.SUCCESS, "committed before", single)
    return found
