"""Results by what lies in a result store alone: for a machine that does not have the record of the run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflow.bundled import by_path
from dataflow.cli.problems import EXIT_NOT_FOUND, Refused
from dataflow.cli.reference import CHILD
from dataflow.errors import did_you_mean
from dataflow.events import NO_INDEX, label
from dataflow.places import open_results
from dataflow.result_keys import is_bundle, split_key

if TYPE_CHECKING:
    from dataflow_storage import Reference, ResultStore
    from dataflow_storage.references import Stored

RUN_ID = re.compile(r"[0-9a-f]{32}")
PREFIX = re.compile(r"[0-9a-f]{4,31}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A result of a task run, as its object tells.

    Parameters
    ----------
    run, flow, path : str
        The run's id, its flow, and the node.
    index : int
        The child of a mapped node; -1: it is none.
    reference : Reference
        The result.
    stored : float
        When, seconds since the epoch.
    """

    run: str
    flow: str
    path: str
    index: int
    reference: Reference
    stored: float


def listed(store: ResultStore, run: str | None = None, task: str = "") -> Iterator[Kept]:
    """The results of a run, or of all; of a task those whose path begins like it."""
    for run_id in (run,) if run is not None else runs_in(store):
        latest: dict[tuple[str, int], tuple[int, Kept]] = {}  # a run that was retried has made some results anew
        for found in store.objects(f"{run_id}/"):
            lane, index, generation = split_key(found.key.partition("/")[2])
            for (path, item), reference in _within(found, lane, index):
                before = latest.get((path, item))
                if path.startswith(task) and (before is None or before[0] <= generation):
                    flow, stored = str(found.meta.get("flow", "")), found.created
                    kept = Kept(run=run_id, flow=flow, path=path, index=item, reference=reference, stored=stored)
                    latest[path, item] = generation, kept
        yield from (kept for _, kept in latest.values())


def _within(found: Stored, lane: str, index: int) -> Iterator[tuple[tuple[str, int], Reference]]:
    """The results in an object by task run: one, children of a map, or those of a bundle."""
    items = {each.item: each for each in found.references if each.item is not None}
    if not items:
        yield from (((lane, index), each) for each in found.references)
    elif is_bundle(lane):
        yield from (((path, NO_INDEX), each) for path, each in by_path(found.meta, items).items())
    else:
        yield from (((lane, item), each) for item, each in items.items() if item >= 0)  # below are a chunk's own notes


def runs_in(store: ResultStore) -> list[str]:
    """The ids of the runs that have results in a store, sorted."""
    firsts = {key.partition("/")[0] for key in store.keys("")}
    return sorted(first for first in firsts if RUN_ID.fullmatch(first))


def find_run(store: ResultStore, given: str) -> str:
    """The id of the run that a person means, by it or by its first 4 or more characters.

    Raises
    ------
    Refused
        There is none, or more than one.
    """
    if RUN_ID.fullmatch(given):
        return given
    if not PREFIX.fullmatch(given):
        hint = f"dataflow results ls --url {store.url} lists the runs that have results there."
        raise Refused(f"{given!r} is no run's id: a result store knows no names of runs", hint)
    found = [run_id for run_id in runs_in(store) if run_id.startswith(given)]
    if len(found) > 1:
        raise Refused(f"several runs' ids start with {given!r}", f"say which: {', '.join(found[:5])}.", EXIT_NOT_FOUND)
    if not found:
        raise Refused(f"no run whose id starts with {given!r} has results in {store.url}", "", EXIT_NOT_FOUND)
    return found[0]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a person named.

    Parameters
    ----------
    store : ResultStore
        Where it is.
    run, path : str
        The run's id, and the node.
    index : int or None
        The child of a mapped node; None: all there is of it.
    references : dict of int to Reference
        The results by index; -1 of a node that is not mapped.
    """

    store: ResultStore
    run: str
    path: str
    index: int | None
    references: dict[int, Reference]


def find(url: str, reference: str) -> Found:
    """Find what `RUN/TASK` or `RUN/TASK[i]` names in a result store.

    Raises
    ------
    Refused
        There is no such result.
    """
    store = open_results(url)
    name, _, task = reference.partition("/")
    run = find_run(store, name)
    if not task:
        tasks = sorted({kept.path for kept in listed(store, run)})
        hint = f"name a task: {', '.join(f'{name}/{task}' for task in tasks)}." if tasks else ""
        if not tasks:
            raise Refused(f"run {run} has no results in {store.url}", hint, EXIT_NOT_FOUND)
        raise Refused("what a run returned as a whole stands in the record of runs, not in its results", hint)
    child = CHILD.fullmatch(task)
    for path, index in [(task, None)] + ([(child["path"], int(child["index"]))] if child is not None else []):
        found = {kept.index: kept.reference for kept in listed(store, run, path) if kept.path == path}
        if index is None and found:
            return Found(store=store, run=run, path=path, index=None, references=found)
        if index in found:
            return Found(store=store, run=run, path=path, index=index, references={index: found[index]})
    every = list(listed(store, run))
    names = {kept.path for kept in every} | {label(kept.path, kept.index) for kept in every if child is not None}
    hint = did_you_mean(task, names).strip() or f"dataflow results ls {name} --url {store.url} lists what there is."
    message = f"there is no result of {task!r} of run {name} in {store.url}"
    raise Refused(message, hint[:1].lower() + hint[1:], EXIT_NOT_FOUND)
