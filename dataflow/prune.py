"""Before a run begins: what the cache and targets have already need not run, nor what only that would have used.

Pruning goes forwards, by the inputs that are known, then backwards, from what need not run. A task run that it does not
settle (its inputs are not known yet) looks for itself, on its worker.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from dataflow import cached, canonical, keys, states
from dataflow.calls import Slot, Unit
from dataflow.definition import Definition
from dataflow.errors import RefreshError
from dataflow.events import NO_INDEX
from dataflow.graph import Graph
from dataflow.node import Flat, Node, Walk, Whole
from dataflow.outcome import Outcome
from dataflow.recovery import NOT_NEEDED
from dataflow.results import find_target
from dataflow.session import Session
from dataflow.structure import find, replace
from dataflow.task import STRICT
from dataflow.triggers import all_successful
from dataflow.works import Known, is_each
from dataflow_storage import StoreUnavailable

Who = tuple[str, int]


class _Unknown(Exception):
    """An input is not known yet."""


def check(graph: Graph, refresh: bool | tuple[str, ...]) -> None:
    """See, before anything runs, that cache keys can be made of what is known now.

    Raises
    ------
    CacheError
        Names the task and the argument, or the variable of its code, that has no digest.
    RefreshError
        There is no such task.
    """
    if isinstance(refresh, tuple) and not any(node.definition.builds for node in graph.nodes):
        names = {name for node in graph.nodes for name in (node.name, node.path)}
        for name in refresh:
            if name not in names:
                raise RefreshError(name, names)
    canonical.forget()
    checked: set[int] = set()
    for node in graph.nodes:
        if node.policy.cache is None:
            continue
        if id(node.definition) not in checked:
            checked.add(id(node.definition))
            keys.check(node.definition)
        if keys.rule_of(node.definition).key is not None:
            continue
        for index in _indices(node):
            arguments = keys.named(node.definition, node.args, node.kwargs)
            known = {name: _constant(value, index) for name, value in arguments.items() if name != STRICT}
            keys.digests(node.definition, {name: value for name, value in known.items() if value is not _OPEN})


_OPEN = object()


def _constant(value: object, index: int) -> object:
    """An argument of a task run where it does not depend on a node, else _OPEN."""
    inner = value.value if isinstance(value, Whole) else value
    if isinstance(value, Walk | Flat) and not isinstance(inner, Node):
        inner = inner[index]  # type: ignore[index]
    return _OPEN if next(find(inner, Node), None) is not None else inner


def is_keyed(graph: Graph) -> bool:
    """Whether it matters what values count as: something may be cached, or have a target."""
    return any(
        node.policy.cache is not None or node.policy.target is not None or node.definition.builds
        for node in graph.nodes
    )


def _indices(node: Node) -> Sequence[int]:
    """A node's task runs as far as they are known."""
    return range(node.width or 0) if node.mapped else (NO_INDEX,)


class Pruner:
    """Finds what need not run.

    Parameters
    ----------
    session : Session
        The driver's own.
    graph : Graph
        What is to run.
    known : mapping
        Task runs that have ended already, where the run is taken up again.
    unneeded : frozenset
        Task runs that nobody needed when it was driven last.

    State: `found`, what need not run; `_outcomes`, what is known of each task run; `_gone`, results that are not there.
    """

    def __init__(
        self, session: Session, graph: Graph, known: Mapping[Who, Known], unneeded: frozenset[Who] = frozenset()
    ) -> None:
        self._session, self._graph, self._known, self._unneeded = session, graph, known, unneeded
        self._gone: set[str] = set()
        self._shipped: dict[int, Definition] = {}  # as workers get them: with the code as it is now
        self._targets: dict[Who, Outcome | None] = {}
        self.found: dict[Who, Outcome] = {}
        self._outcomes: dict[Who, Outcome] = {}

    def prune(self) -> dict[Who, Known]:
        """What need not run, with what is known of it."""
        while not self._forwards():
            pass
        found = {who: Known(one.type, one.message, one.reference) for who, one in self.found.items()}
        return {**found, **self._backwards()} if found or self._unneeded else {}

    def tidy(self) -> None:
        """What many tasks have noted in the cache one by one becomes one object; if not now, then after another run."""
        for definition in self._shipped.values():
            if definition.policy.cache is not None and definition.policy.target is None:
                with suppress(StoreUnavailable):
                    self._session.cache.compact(keys.make(definition, self._graph.flow, {}).folder)

    def _forwards(self) -> bool:
        """Follow the inputs that are known. False: a result turned out to be gone, and with it what followed."""
        self.found = {}
        self._outcomes = {who: known.outcome for who, known in self._known.items()}
        for node in self._graph.nodes:
            for index in _indices(node):
                who = node.path, index
                if who not in self._outcomes:
                    try:
                        self._look(node, index)
                    except _Unknown:  # its worker will look
                        continue
        references = {one.reference.url: one.reference for one in self.found.values() if one.reference is not None}
        mine = [reference for reference in references.values() if not reference.target]
        there = self._session.job.store.holds_many(mine)
        gone = {reference.url for reference, is_there in zip(mine, there, strict=True) if not is_there}
        self._gone |= gone
        return not gone

    def _look(self, node: Node, index: int) -> None:
        policy, who = node.policy, (node.path, index)
        if node.definition.internal:
            stands = cached.structure(self._unit(node, index))
            if stands is not None:
                self._outcomes[who] = Outcome(states.SUCCESS, stands=stands)
        elif policy.trigger is all_successful and not node.definition.builds:
            unit = self._unit(node, index)
            if policy.target is not None:
                if who not in self._targets:
                    self._targets[who] = find_target(self._session, unit)
                outcome = self._targets[who]
            elif policy.cache is not None and policy.cache.key is None:
                outcome = cached.look(self._session, unit, cached.key_of(self._session, unit), trust=True)
            else:
                return
            if outcome is not None and (outcome.reference is None or outcome.reference.url not in self._gone):
                self.found[who] = self._outcomes[who] = outcome

    def _unit(self, node: Node, index: int) -> Unit:
        """A task run as its worker would have it."""
        ignored = keys.rule_of(node.definition).ignore
        upstream: list[Outcome | list[Outcome]] = []

        def taken(name: str, value: object) -> object:
            if name in ignored:
                return None
            if is_each(value):
                upstream.append(self._outcome((value.value.path, index)))  # type: ignore[attr-defined]
                return Slot(len(upstream) - 1)
            inner = value.value if isinstance(value, Whole) else value
            if isinstance(value, Walk | Flat):
                if isinstance(inner, Node):
                    raise _Unknown  # its items are in its value
                inner = inner[index]  # type: ignore[index]
            return replace(inner, Node, slot)

        def slot(node: Node) -> Slot:
            if not node.mapped:
                upstream.append(self._outcome((node.path, NO_INDEX)))
            elif node.width is None:
                raise _Unknown
            else:
                upstream.append([self._outcome((node.path, i)) for i in range(node.width)])
            return Slot(len(upstream) - 1)

        definition = self._shipped.get(id(node.definition))
        if definition is None:
            definition = self._shipped[id(node.definition)] = node.definition.shipped()
        names, _ = keys.names_of(definition)
        args = tuple(taken(names[i] if i < len(names) else "", value) for i, value in enumerate(node.args))
        kwargs = {name: taken(name, value) for name, value in node.kwargs.items() if name != STRICT}
        return Unit(definition, node.path, index, args, kwargs, upstream)

    def _outcome(self, who: Who) -> Outcome:
        outcome = self._outcomes.get(who)
        if outcome is None or outcome.type not in states.WITH_VALUE or keys.token(outcome) is None:
            raise _Unknown
        return outcome

    def _backwards(self) -> dict[Who, Known]:
        """What only those would have used that need not run. A target is wanted for itself."""
        unused: dict[Who, Known] = {}
        followers: dict[Node, list[Node]] = {}
        for node in self._graph.nodes:
            for up in node.upstream:
                followers.setdefault(up, []).append(node)
        returned = set(self._graph.returned)
        found = {path for path, _ in self.found}
        # What somebody only waits for is there for what it does, not for its value.
        awaited = {up for node in self._graph.nodes for up in node.wait_for}

        @functools.cache  # what follows is through when it is asked for
        def settled(node: Node, index: int | None) -> bool:
            """Whether a node, or of a map one child, need not run."""
            if (node.path, NO_INDEX) in unused:
                return True
            if node.mapped and node.width is None:
                return False
            places: Iterable[int] = _indices(node) if index is None else (index,)
            return all(
                who in self.found or who in unused or self._kept(who) for who in ((node.path, i) for i in places)
            )

        def is_used(node: Node, index: int) -> bool:
            return any(
                not settled(follower, index if node.mapped and _index_by_index(follower, node) else None)
                for follower in followers[node]
            )

        for node in reversed(self._graph.nodes):
            if node in returned or node in awaited or node not in followers or node.policy.target is not None:
                continue
            if cached.is_refreshed(self._session, node.name, node.path):
                continue
            for index in _indices(node) if node.width is not None or not node.mapped else (NO_INDEX,):
                who = node.path, index
                if who in self.found or who in self._known or is_used(node, index):
                    continue
                # A retry takes up what failed, needed or not; only what was left out before stays so.
                if (
                    not self._known
                    or who in self._unneeded
                    or any(follower.path in found for follower in followers[node])
                ):
                    unused[who] = Known(states.SKIPPED, NOT_NEEDED)
        return unused

    def _kept(self, who: Who) -> bool:
        known = self._known.get(who)
        return known is not None and (known.reference is not None or known.type not in states.WITH_VALUE)


def _index_by_index(follower: Node, node: Node) -> bool:
    """Whether each child of a map needs only its own child of another one."""
    whole = [value for value in (*follower.args, *follower.kwargs.values()) if not is_each(value)]
    inner = [value.value if isinstance(value, Whole) else value for value in whole]
    return all(up is not node for value in (*inner, follower.wait_for) for up in find(value, Node))
