"""A made-up world around a plan: what it says is run in any order, with any outcome, and lost at times.

No executor and no driver: the world takes fragments from the plan, runs their Dask tasks one by one as dice say, and
feeds the plan what tasks would send. On the way and in the end it checks what must hold of every plan.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from dataflow import Graph, Node, states
from dataflow.calls import BatchCall, BundleCall, Call, Inner, Pointer, resolve
from dataflow.events import NO_INDEX, BatchDone, Expanded, Measured, Split, TaskEvent, label
from dataflow.node import Flat, Walk
from dataflow.outcome import ABSENT, DEFERRED, DEFERRED_OUTCOME, Batch, Bundle, Outcome
from dataflow.plan import Plan
from dataflow.structure import find
from dataflow.works import Known, Memory, is_each
from dataflow_executors.base import Fragment
from dataflow_storage import Reference
from tests.semantics.programs import digest

STORED = Reference(url="/somewhere", serializer="json", size=1, digest="00" * 32)
LOST = "lost"
Who = tuple[str, int]


class World:
    """Runs what a plan says, one thing at a time: a task, the delivery of a message, the loss of a task.

    State: `waiting`, Dask tasks in flight by key, with their fragment; `values`, what those that are through left;
    `mail`, messages on their way, by the task that sent them; `kept`, keys that the plan asked for and did not release;
    `ended`, task runs that the plan was told of; `performed`, those whose body ended; `forgotten`, those among them
    whose message was lost and whose value was not stored; `doubtful`, keys whose messages were lost, and what was
    computed from them: these may run twice.

    Parameters
    ----------
    troubles : int
        How many tasks may be lost.
    past : mapping
        How task runs ended when the run was driven before.
    """

    def __init__(
        self,
        graph: Graph,
        dice: random.Random,
        *,
        chains: bool,
        slots: int = 1,
        troubles: int = 0,
        past: Mapping[Who, Outcome] | None = None,
    ) -> None:
        self.past = dict(past or {})
        known = {who: Known(outcome.type, "", outcome.reference) for who, outcome in self.past.items()}
        self.plan = Plan(graph, run="r", chains=chains, slots=slots, memory=Memory(known=known))
        self.dice, self.chains, self.troubles = dice, chains, troubles
        self.now = 0.0
        self.shipped: dict[str, Any] = {}
        self.nodes: dict[str, Node] = {}
        self.widths: dict[str, int] = {}
        self.fragments: dict[int, Fragment] = {}
        self.waiting: dict[str, tuple[int, Any]] = {}
        self.values: dict[str, Any] = {}
        self.blamed: dict[str, str] = {}
        self.mail: dict[str, deque[Any]] = {}
        self.kept: set[str] = set()
        self.used: dict[str, set[str]] = {}  # each key ever, with the paths of the nodes that it is for
        self.ended: dict[Who, str] = {who: outcome.type for who, outcome in self.past.items()}
        self.performed: dict[Who, Outcome] = dict(self.past)
        self.again = {who for who, outcome in self.past.items() if not outcome.reference}  # may have to be made again
        self.forgotten: set[Who] = set()
        self.doubtful: set[str] = set()
        self.failures: Counter[Who] = Counter()  # attempts that failed, as far as the plan was told
        self.put_off: Counter[Who] = Counter()
        self.paused: set[Who] = set()
        self.sent: Counter[Who] = Counter()  # how often each task run was submitted
        self.copies: dict[Who, set[str]] = {}  # keys in flight
        self.listen()

    # The driver's part ------------------------------------------------------------------------------------------------

    def live(self, most: int = 5_000) -> None:
        """Until everything has ended and nothing is on its way, or for so many steps."""
        for _ in range(most):
            if self.dice.random() < 0.6 or not self.step():
                self.submit()
                if not self.step() and not self.submit() and not self.wait():
                    self.check_end()
                    return
            assert not self.plan.is_stuck, [*self.plan.unfinished()]
        assert most < 5_000, "it never ends"

    def step(self) -> bool:
        """Something happens; False where nothing can."""
        runnable = [key for key, (_, task) in self.waiting.items() if task.dependencies <= self.values.keys()]
        busy = {number for number, _ in self.waiting.values()}
        ways: list[tuple[Callable[[Any], None], Any]] = [(self.run, key) for key in runnable]
        ways += [(self.deliver, key) for key in self.mail]
        ways += [(self.finish, number) for number in self.fragments if number not in busy]
        ways += [(self.lose, key) for key in runnable if self.troubles]
        if ways:
            way, what = self.dice.choice(ways)
            way(what)
        return bool(ways)

    def submit(self) -> bool:
        dispatch = self.plan.take(self.now)
        self.shipped.update(dispatch.shipments)
        for key in dispatch.released:
            self.kept.remove(key)  # each once, and only what was kept
        if dispatch.fragment is not None:
            self.take_in(dispatch.fragment)
        self.listen()
        return dispatch.fragment is not None

    def wait(self) -> bool:
        """Nothing happens by itself: the next timer, or a person."""
        if self.plan.next_due is not None:
            self.now = max(self.now, self.plan.next_due)
        elif self.plan.is_paused:
            assert set(self.plan.resume(dict.fromkeys(self.plan.paused, ()))) == self.paused
            self.paused.clear()
        else:
            return False
        return True

    def listen(self) -> None:
        """What the plan decided by itself."""
        news = self.plan.news()
        self.nodes.update((node.path, node) for node in news.nodes)
        self.widths.update((node.path, node.width) for node in news.nodes if node.width is not None)
        self.widths.update(news.widths)
        for event in news.events:
            self.ended.setdefault((event.path, event.index), event.type)
            self.performed[event.path, event.index] = Outcome(event.type, reference=event.reference)

    def deliver(self, key: str) -> None:
        """The driver gets the next message of a task."""
        event = self.mail[key].popleft()
        if not self.mail[key]:
            del self.mail[key]
        if isinstance(event, TaskEvent):
            who = event.path, event.index
            if event.type in states.FINAL:
                assert self.ended.setdefault(who, event.type) == event.type or who in self.again, who
            elif event.type == states.RETRYING:
                self.failures[who] += 1
            elif event.type == states.PAUSED and who not in self.ended:
                self.paused.add(who)
        self.plan.fold(event)
        self.listen()

    def finish(self, number: int) -> None:
        """Dask is through with a fragment; what it did not tell of, and will not, is lost."""
        mine = self.fragments[number].tasks.keys()
        if not self.plan.fragment_done(number) and not self.mail.keys() & mine:
            self.plan.audit(number, {key: why for key, why in self.blamed.items() if key in mine}, "lost")
            self.listen()
        if self.plan.fragment_done(number):
            del self.fragments[number]

    # Dask's part ------------------------------------------------------------------------------------------------------

    def take_in(self, fragment: Fragment) -> None:
        """A fragment is submitted."""
        for key, dask_task in fragment.tasks.items():
            assert key not in self.used
            for other in dask_task.dependencies - fragment.tasks.keys():
                assert other in self.kept, f"{key} depends on {other}, which is not kept"
                assert self.chains or other in self.values, f"{key} depends on {other}, which is not there"
        for key, dask_task in fragment.tasks.items():
            runs = [*self.runs_of(dask_task.args[0])]
            assert len(set(runs)) == len(runs), runs
            for who in runs:
                assert who not in self.ended or who in self.again, f"{who} is submitted again although it has ended"
                assert all(map(self.is_idle, self.copies.get(who, ()))), f"{who} is in flight twice"
            for who in runs:
                self.copies.setdefault(who, set()).add(key)
                self.sent[who] += 1
            self.waiting[key] = fragment.id, dask_task
            self.used[key] = self.paths_of(dask_task.args[0])
        self.kept |= fragment.keep
        self.fragments[fragment.id] = fragment

    def paths_of(self, call: Any) -> set[str]:
        if isinstance(call, BundleCall):
            return {one.path for one in call.calls}
        return {call.path} if isinstance(call, Call) else {stage.path for stage in self.shipped[call.group].stages}

    def runs_of(self, call: Any) -> Iterator[Who]:
        """The task runs that a Dask task is to run."""
        if isinstance(call, Call | BundleCall):
            yield from ((path, NO_INDEX) for path in self.paths_of(call))
            return
        for number, stage in enumerate(self.shipped[call.group].stages):
            for index in call.indices:
                if not (call.done and (number, index) in call.done):
                    yield stage.path, index

    def is_idle(self, key: str) -> bool:
        """Whether a task in flight can only pass on that something before it was put off or lost, or is doubtful."""
        if key not in self.waiting:
            return True
        others = self.waiting[key][1].dependencies
        return any(o in self.doubtful or puts_off(self.values.get(o)) for o in others) or any(
            self.is_idle(o) for o in others if o not in self.values
        )

    def lose(self, key: str) -> None:
        """A worker dies under a task; or it runs the task, but its messages are lost."""
        self.troubles -= 1
        if self.dice.random() < 0.5:
            self.doubtful.add(key)
            self.run(key)
            for event in self.mail.pop(key, ()):
                if isinstance(event, TaskEvent) and event.type in states.FINAL and event.reference is None:
                    self.forgotten.add((event.path, event.index))
            return
        _, dask_task = self.waiting.pop(key)
        self.values[key] = LOST
        for who in self.runs_of(dask_task.args[0]):
            self.copies[who].discard(key)
        if self.dice.random() < 0.5:
            self.blamed[key] = "its worker died"

    # A worker's part --------------------------------------------------------------------------------------------------

    def run(self, key: str) -> None:
        """A Dask task runs."""
        _, dask_task = self.waiting.pop(key)
        call = dask_task.args[0]
        if dask_task.dependencies & self.doubtful:
            self.doubtful.add(key)
        for who in self.runs_of(call):
            self.copies[who].discard(key)
            if key in self.doubtful:
                self.again.add(who)
        sources = [self.values[ref.key] for ref in dask_task.args[1:]]
        if LOST in sources:
            self.values[key] = LOST
            return
        mail: deque[Any] = deque()
        if isinstance(call, BatchCall):
            given_up = self.give_up(key, call.indices, lambda index: [], mail)
            self.values[key] = self.run_batch(call, sources, given_up, mail)
            mail.append(BatchDone(key, self.dice.choice([0.001, 0.5])))
        elif isinstance(call, BundleCall):
            made: list[Outcome] = []
            inner = [[pick.number for pick in one.picks or () if isinstance(pick, Inner)] for one in call.calls]
            given_up = self.give_up(key, range(len(inner)), inner.__getitem__, mail)
            for number, one in enumerate(call.calls):
                made.append(DEFERRED_OUTCOME if number in given_up else self.run_call(one, sources, made, mail))
            self.values[key] = Bundle(made)
            mail.append(BatchDone(key, self.dice.choice([0.001, 0.5])))
        else:
            self.values[key] = self.run_call(call, sources, [], mail)
        if mail:
            self.mail[key] = mail

    def give_up(
        self, key: str, numbers: Sequence[int], needs: Callable[[int], list[int]], mail: deque[Any]
    ) -> set[int]:
        """Something in a Dask task takes long, perhaps: others run what does not need that."""
        if self.dice.random() < 0.8:
            return set()
        place = self.dice.randrange(len(numbers))
        needing = {numbers[place]}
        for number in numbers[place + 1 :]:
            needing |= {number} if needing.intersection(needs(number)) else set()
        given_up = set(numbers[place + 1 :]) - needing
        if given_up:
            mail.append(Split(key, sorted(given_up)))
        return given_up

    def run_call(self, call: Call, sources: list[Any], made: list[Outcome], mail: deque[Any]) -> Outcome:
        picks = range(len(sources)) if call.picks is None else call.picks
        upstream = flat([made[p.number] if isinstance(p, Inner) else resolve(p, sources) for p in picks])
        if any(outcome.type == DEFERRED for outcome in upstream):
            return DEFERRED_OUTCOME
        return (self.measure if call.kind == "measure" else self.run_single)(call, upstream, mail)

    def run_single(self, call: Call, upstream: list[Outcome], mail: deque[Any]) -> Outcome:
        self.check_needs(self.nodes[call.path].upstream, upstream)
        return self.perform((call.path, NO_INDEX), call.attempt, call.base, mail)

    def measure(self, call: Call, upstream: list[Outcome], mail: deque[Any]) -> Outcome:
        node = self.nodes[call.path]
        columns = [value for value in (*node.args, *node.kwargs.values()) if isinstance(value, Walk | Flat)]
        walked = [value.value for value in columns if isinstance(value.value, Node) and not is_each(value)]
        self.check_needs(walked, upstream)
        assert call.kwargs is not None
        lengths: list[int] = [*call.kwargs["widths"].values()]  # type: ignore[attr-defined]
        if not self.dice.randrange(8) or (call.kwargs["strict"] and len(set(lengths)) > 1):
            self.performed[call.path, NO_INDEX] = Outcome(states.FAILED)
            mail.append(TaskEvent(call.path, NO_INDEX, states.FAILED, self.now))
            return Outcome(states.FAILED)
        drawn = digest(call.path) % 5  # the same again, should its message be lost
        width = lengths[0] if call.kwargs["strict"] and lengths else min([*lengths, drawn])
        mail.append(Measured(call.path, width, call.kwargs["key"]))
        return Outcome(DEFERRED, [])

    def run_batch(self, call: BatchCall, sources: Sequence[Any], given_up: Container[int], mail: deque[Any]) -> Batch:
        stages = self.shipped[call.group].stages
        picked = [resolve(pick, sources) for pick in call.picks]
        outcomes: dict[str, list[Outcome]] = {stage.path: [] for stage in stages}
        for position, index in enumerate(call.indices):
            made: list[Outcome] = []
            for number, stage in enumerate(stages):
                known: Any = (call.done or {}).get((number, index))
                if index in given_up:
                    made.append(DEFERRED_OUTCOME)
                elif known is not None:
                    found: Any = resolve(known, sources)
                    in_batch = isinstance(found, Batch)
                    made.append(found.outcomes[stage.path][found.indices.index(index)] if in_batch else found)
                else:
                    lists = [column for column in call.columns.get(number, ()) if isinstance(column, list)]
                    upstream = [made[p] if isinstance(p, int) else child(picked[p[0]], index) for p in stage.upstream]
                    upstream += [picked[p.place] for column in lists for p in find(column[position], Pointer)]
                    attempt, base = (call.attempts or {}).get((number, index), (0, 0))
                    made.append(self.run_child((stage.path, index), attempt, base, flat(upstream), mail))
                outcomes[stage.path].append(made[-1])
        return Batch(call.indices, outcomes)

    def run_child(self, who: Who, attempt: int, base: int, upstream: list[Outcome], mail: deque[Any]) -> Outcome:
        if any(outcome.type == DEFERRED for outcome in upstream):
            return DEFERRED_OUTCOME
        node = self.nodes[who[0]]
        needs: list[Node | Who] = [*node.wait_for]
        for value in (*node.args, *node.kwargs.values()):
            if is_each(value):
                needs.append((value.value.path, who[1]))  # type: ignore[attr-defined]
            elif isinstance(value, Walk) and isinstance(value.value, Sequence):
                needs += find(value.value[who[1]], Node)
            elif not isinstance(value, Walk | Flat):
                needs += find(value.value, Node)  # type: ignore[attr-defined]
        self.check_needs(needs, upstream)
        return self.perform(who, attempt, base, mail)

    def check_needs(self, needs: Sequence[Node | Who], upstream: Sequence[Outcome]) -> None:
        """What a body needs has ended, and its values can be had."""
        for need in needs:
            assert self.is_over(need) if isinstance(need, Node) else need in self.performed, repr(need)
        for outcome in upstream:
            assert outcome.type in states.FINAL, outcome
            assert outcome.type not in states.WITH_VALUE or outcome.value is not ABSENT or outcome.reference, outcome

    def is_over(self, node: Node) -> bool:
        if (node.path, NO_INDEX) in self.performed or not node.mapped:
            return (node.path, NO_INDEX) in self.performed
        return all((node.path, index) in self.performed for index in range(self.widths[node.path]))

    def perform(self, who: Who, attempt: int, base: int, mail: deque[Any]) -> Outcome:
        """A body runs: it ends in one way or another, is put off, or builds a graph."""
        (path, index), now = who, self.now
        node, before = self.nodes[path], self.performed.get(who)
        assert attempt - base == self.failures[who] or who in self.again, f"{who}: only a failure costs a retry"
        assert who not in self.ended or who in self.again, f"{who} runs again"
        if before is not None and before.reference:  # committed, but its message was lost
            mail.append(TaskEvent(path, index, before.type, now, attempt + 1, reference=before.reference))
            return before
        assert before is None or who in self.forgotten | self.again, f"{who} runs again"
        mail.append(TaskEvent(path, index, states.RUNNING, now, attempt + 1))
        ways = [states.SUCCESS, states.SUCCESS, states.SUCCESS, states.FAILED, states.SKIPPED]
        ways += [states.RETRYING, states.PAUSED] if self.put_off[who] < 2 else []
        way = self.dice.choice(ways) if who not in self.past else states.SUCCESS
        if way in (states.RETRYING, states.PAUSED):
            self.put_off[who] += 1
            due = now + self.dice.choice([0.5, 1.0, 1.5]) if way == states.RETRYING else None
            mail.append(TaskEvent(path, index, way, now, attempt + 1, due=due))
            return DEFERRED_OUTCOME
        if way == states.SUCCESS and node.definition.builds:
            built = node.definition.fn(digest(who) % 5, _path=label(path, index))
            if isinstance(built, Graph):
                mail.append(Expanded(path, index, built))
                return DEFERRED_OUTCOME
        value = way == states.SUCCESS
        outcome = Outcome(way, 1 if value else ABSENT, STORED if value and node.policy.persist else None)
        self.performed[who] = outcome
        self.forgotten.discard(who)
        mail.append(TaskEvent(path, index, way, now, attempt + 1, reference=outcome.reference))
        return outcome

    # What must hold in the end ----------------------------------------------------------------------------------------

    def check_end(self) -> None:
        assert self.plan.is_done, [*self.plan.unfinished()]
        assert not [*self.plan.unfinished()]
        assert self.plan.in_flight == 0
        for path, node in self.nodes.items():
            known = self.plan.known_of(node)
            for index, one in enumerate(known) if isinstance(known, list) else [(NO_INDEX, known)]:
                assert one is not None
                assert one.type == self.ended[path, index]
        for key in self.kept:  # but for outputs that are not stored
            assert any(not self.nodes[path].policy.persist for path in self.used[key]), f"{key} is kept for ever"


def puts_off(value: Any) -> bool:
    """Whether a value passes on that something is not there."""
    if isinstance(value, Batch):
        return any(outcome.type == DEFERRED for outcomes in value.outcomes.values() for outcome in outcomes)
    if isinstance(value, Bundle):
        return any(outcome.type == DEFERRED for outcome in value.outcomes)
    return value == LOST or (isinstance(value, Outcome) and value.type == DEFERRED)


def child(found: Any, index: int) -> Any:
    return found.get(index, DEFERRED_OUTCOME) if isinstance(found, dict) else found


def flat(upstream: Sequence[Any]) -> list[Outcome]:
    return [outcome for found in upstream for outcome in (found if isinstance(found, list) else [found])]
