"""What travels to workers: calls, in as few bytes as they go. Plain data that `run_task` understands.

A call names its run and its definitions by token (shipped once, see `session`), and its upstreams by place: the Dask
dependencies of its task, its *sources*, are Outcomes, Batches and Bundles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dataflow.definition import Definition
from dataflow.events import NO_INDEX
from dataflow.keys import Key
from dataflow.outcome import DEFERRED_OUTCOME, Batch, Bundle, Outcome
from dataflow.signals import Answers


class Slot:
    """In an argument: the value of upstream number `place`."""

    __slots__ = ("place",)

    def __init__(self, place: int) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.place,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place})"


class Item(Slot):
    """In an argument of a map: this child's item of column number `place`."""

    __slots__ = ()


class Pointer(Slot):
    """In an item of a column: the value of the batch's upstream number `place`."""

    __slots__ = ()


class Among(NamedTuple):
    """The outcome of task run number `number` of the bundle that the source at `place` is."""

    place: int
    number: int

    def among(self, sources: Sequence[object]) -> Outcome:
        """Take it out of the sources."""
        bundle = sources[self.place]
        assert isinstance(bundle, Bundle), bundle
        return bundle.outcomes[self.number]


class Inner(NamedTuple):
    """The outcome of task run number `number` of the very bundle that a call is in."""

    number: int


@dataclass(frozen=True, slots=True)
class Children:
    """All children of a mapped upstream: from batches among the sources, later ones first, and single ones.

    Parameters
    ----------
    path : str
        The mapped node.
    width : int
        How many children it has.
    batches : tuple of int
        Which sources are Batches of it.
    known : mapping
        By index, an Outcome, or the source that is one or has one.
    each : bool
        The consumers use one child each, not all.
    """

    path: str
    width: int
    batches: tuple[int, ...]
    known: Mapping[int, Outcome | int | Among]
    each: bool = False

    def by_index(self, sources: Sequence[object]) -> dict[int, Outcome]:
        """The children that the sources have, by index."""
        children: dict[int, Outcome] = {}
        for place in self.batches:
            batch = sources[place]
            assert isinstance(batch, Batch), batch
            children.update(zip(batch.indices, batch.outcomes[self.path], strict=True))
        for index, known in self.known.items():
            outcome = known if isinstance(known, Outcome) else resolve(known, sources)
            assert isinstance(outcome, Outcome), outcome
            children[index] = outcome
        return children

    def gather(self, sources: Sequence[object]) -> list[Outcome] | dict[int, Outcome]:
        """The children: those that there are, by index, where each is used alone; else all in order."""
        children = self.by_index(sources)
        if self.each:
            return children
        # A child that no source has is still on its way: what waits for all of them is deferred.
        return [children.get(index, DEFERRED_OUTCOME) for index in range(self.width)]


# Where an upstream's outcome is: a source's number, the outcome itself, children of a map, or one of a bundle's.
Pick = int | Outcome | Children | Among | Inner


def resolve(pick: Pick, sources: Sequence[object]) -> object:
    """What a pick stands for: an outcome, or children of a map."""
    if isinstance(pick, int):
        return sources[pick]
    if isinstance(pick, Children):
        return pick.gather(sources)
    return pick.among(sources) if isinstance(pick, Among) else pick


@dataclass(frozen=True, slots=True)
class Call:
    """One task run that is not a child of a map.

    Parameters
    ----------
    run, definition : str
        Tokens.
    path : str
        The node's path.
    args, kwargs
        Constants, with a Slot for each upstream's value.
    picks : tuple of Pick, optional
        The upstreams; without it they are the sources, in order.
    attempt, base : int
        Attempts made before: in all, and up to the last retry of the run, which gives a new budget.
    resumed : bool
        Approved, or resumed after a pause.
    answers : tuple
        What was given with that, oldest first.
    kind : str
        `"run"`, or `"measure"`: learn the width of a map, whose walked values are the args.
    again : bool
        It was lost before: nobody knows what it had committed, alone or with others.
    """

    run: str
    definition: str
    path: str
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] | None = None
    picks: tuple[Pick, ...] | None = None
    attempt: int = 0
    resumed: bool = False
    base: int = 0
    answers: Answers = ()
    kind: str = "run"
    again: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        fields = [self.run, self.definition, self.path, self.args, self.kwargs, self.picks, self.attempt, self.resumed]
        fields += [self.base, self.answers, self.kind, self.again]
        for default in (False, "run", (), 0, False, 0, None, None, ()):
            if fields[-1] != default:
                break
            fields.pop()
        return Call, tuple(fields)

    def __dask_tokenize__(self) -> object:
        # A name says it all; Dask would hash every field of every call of a graph, which takes longer than to run them.
        return self.run, self.path, self.kind, self.attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleCall:
    """Some task runs that are not children of a map, one after the other; one may wait for another before it.

    Parameters
    ----------
    run : str
        Token.
    key : str
        The Dask key, to report under.
    calls : sequence of Call
        What runs.
    """

    run: str
    key: str
    calls: Sequence[Call]

    def __dask_tokenize__(self) -> object:
        return self.key

    def __reduce__(self) -> tuple[object, ...]:
        from dataflow.pickles import dumps

        return Sealed, (self.run, self.key, dumps(self.calls))


class Sealed(NamedTuple):
    """A BundleCall on its way: Dask's scheduler neither makes objects of all its calls, nor keeps those in its logs."""

    run: str
    key: str
    calls: bytes

    def open(self) -> BundleCall:
        """The call itself."""
        import cloudpickle

        return BundleCall(run=self.run, key=self.key, calls=cloudpickle.loads(self.calls))


@dataclass(frozen=True, slots=True)
class Stage:
    """A mapped node in a group of maps that run together, index by index.

    Parameters
    ----------
    path : str
        The node's path.
    definition : str
        Token.
    args, kwargs
        Constants, Slots (into `upstream`) and Items (of this stage's columns).
    upstream : tuple
        Each an int, the stage of this group that the child waits for at its own index; or a tuple of one, the place of
        its upstream among the batch's picks.
    """

    path: str
    definition: str
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    upstream: tuple[int | tuple[int], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Mapped nodes over one index that run together in batches; shipped once."""

    stages: tuple[Stage, ...]


class Held(NamedTuple):
    """A column of a map over a node: what the pick at `place`, a measured map, holds as number `column`."""

    place: int
    column: int


# A column: the items of a batch's indices in order, or where whole columns are held.
Column = Sequence[object] | Held


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchCall:
    """Some children of a group of maps.

    Parameters
    ----------
    run, group : str
        Tokens.
    key : str
        The Dask key, to report under.
    indices : sequence of int
        Which children.
    columns : mapping
        By stage, its columns.
    picks : tuple of Pick
        The upstreams.
    attempts : mapping
        Attempts made before (in all, and up to the last retry of the run) by (stage, index), where there were any.
    done : mapping
        Outcomes known already, by (stage, index): these do not run.
    pointed : bool
        Some items of columns have Pointers in them.
    resumed : mapping
        What somebody approved or resumed, by (stage, index), with what was given with that, oldest first.
    again : bool
        Some of them were lost before: nobody knows what they had committed, with which others.
    """

    run: str
    group: str
    key: str
    indices: Sequence[int]
    columns: Mapping[int, Sequence[Column]]
    picks: tuple[Pick, ...] = ()
    attempts: Mapping[tuple[int, int], tuple[int, int]] | None = None
    done: Mapping[tuple[int, int], Pick] | None = None
    pointed: bool = False
    resumed: Mapping[tuple[int, int], Answers] | None = None
    again: bool = False

    def __dask_tokenize__(self) -> object:
        return self.key


@dataclass(slots=True)
class Unit:
    """One task run, resolved on its worker: what it calls and what it waits for.

    State: of one that may be cached, `key_made`, its cache key; `claimed`, others wait for it; `why`, why it must run.
    """

    definition: Definition
    path: str
    index: int
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    upstream: list[Outcome | list[Outcome]]
    attempt: int = 0
    base: int = 0
    resumed: bool = False
    answers: Answers = ()
    again: bool = False
    key_made: Key | None = None
    claimed: bool = False
    why: str = ""

    @property
    def key(self) -> str:
        """Where its result is committed, below the run."""
        return self.path if self.index == NO_INDEX else f"{self.path}[{self.index}]"
