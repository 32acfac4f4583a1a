"""A run while it runs, read from its record: in plain lines, or in the frames of a live view.

The lines: what starts and ends, failures, retries, and a heartbeat.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from dataflow import states
from dataflow.cli.failures import place
from dataflow.cli.rows import Frame, is_over
from dataflow.cli.terminal import Printer, clean, clipped, clock, took
from dataflow.draw.marks import MARKS, overall
from dataflow.events import NO_INDEX, label
from dataflow.groups import Group, group_names, grouped
from dataflow.owners import driven_since
from dataflow.recovery import RETRIED, TAKEN_UP
from dataflow.run import Run
from dataflow_storage.rows import NodeRow, TransitionRow

if TYPE_CHECKING:
    from dataflow.cli.live import LiveView

HEARTBEAT = 30.0
# Failures and retries of one group that are told one by one; the others are counted.
MOST_TOLD = 5
LONGEST = 160


class Progress:
    """Prints what is new in a run each time it is asked.

    Parameters
    ----------
    printer : Printer or None
        Where to print; None prints nothing.
    events : callable, optional
        Called with the run and each change of state, in order.
    earlier : Run, optional
        The run, where it is to be taken up again: what happened to it so far is not told.
    view : LiveView, optional
        Draws the run; then only its first line is printed.
    level : int, optional
        Print log lines of this level and above; none by default.

    State: `_seen` and `_logged`, the last change of state and log line that were told; `_open`, of a run that is taken
    up, how many task runs of each group are to run; `_lines`, what is to be printed next: when it happened, the line,
    and the group that it says has started.
    """

    def __init__(
        self,
        printer: Printer | None,
        events: Callable[[Run, TransitionRow], None] | None = None,
        earlier: Run | None = None,
        view: LiveView | None = None,
        level: int | None = None,
    ) -> None:
        self._printer, self._events, self._view, self._level = printer, events, view, level
        self._logged = 0
        self._nodes: list[NodeRow] = []
        self._names: dict[str, str] = {}
        self._static: int | None = None
        self._seen = 0
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._told: Counter[tuple[str, str]] = Counter()
        self._closed: set[str] = set()
        self._open: Counter[str] = Counter()
        self._beat = time.monotonic()
        self._lines: list[tuple[float, str, str]] = []
        self._taken_up = earlier is not None
        self.retries = 0
        if earlier is not None:
            self._skip(earlier)

    def _skip(self, run: Run) -> None:
        """What happened so far is known."""
        # Of the run itself and of what is not mapped: the last of these is among the last of all.
        for row in run._store.transitions(run.id, idx=NO_INDEX)[-1:]:
            self._seen = row.seq
        for row in run._store.transitions(run.id, after=self._seen)[-1:]:
            self._seen = row.seq
        if self._level is not None:
            self._logged = max((line.seq for line in run._store.logs(run.id)), default=0)
        nodes = run._store.nodes(run.id)
        for group in grouped(nodes, run.counts, group_names(nodes)).values():
            self._open[group.name] = group.counts[states.PENDING]
            if group.known and group.total and group.done == group.total:
                self._closed.add(group.name)

    def start(self, run: Run, note: str = "") -> None:
        """Print the run's first line, with a note on what happens."""
        self._run = run
        given = " ".join(f"{name}={clipped(clean(str(value)), 40)}" for name, value in run.parameters.items())
        row = run.record
        if self._printer is not None and self._view is not None:
            name = self._printer.tint(row.name, "bold")
            shown = ", ".join(f"{key}={clipped(clean(repr(value)), 40)}" for key, value in run.parameters.items())
            self._view.start(f"{name}  {row.flow}({shown}){f'  {note}' if note else ''}")
        elif self._printer is not None:
            name = self._printer.tint(row.name, "bold")
            moment = time.time() if self._taken_up else driven_since(row)
            self._say(moment, f"run {name} {row.flow}{f' {given}' if given else ''}{f' ({note})' if note else ''}")
            self._flush()

    def poll(self, *, last: bool = False) -> None:
        """Print what is new.

        Parameters
        ----------
        last : bool
            Nothing will follow: what was not told yet is told now.
        """
        if self._printer is None and self._events is None:
            return
        self._tell_logs()
        counts = self._run.counts
        if self._view is not None and self._events is None:
            self._draw(counts, last=last)
            return
        transitions = self._run._store.transitions(self._run.id, after=self._seen)
        groups = self._grouped(counts, {row.path for row in transitions}, last=last)
        for row in transitions:
            self._seen = row.seq
            if self._events is not None:
                self._events(self._run, row)
            if row.path is not None and row.path in self._names:
                self._change(row, groups[self._names[row.path]])
        if self._view is not None:
            self._view.draw(self._frame(groups, last=last))
            return
        for group in groups.values():
            if self._is_over(group, groups, last):
                self._close(group)
        if self._printer is not None and time.monotonic() - self._beat >= HEARTBEAT:
            self._heartbeat(groups)
        self._flush()

    def _grouped(
        self, counts: Mapping[str, Mapping[str, int]], paths: Collection[str | None], *, last: bool
    ) -> dict[str, Group]:
        """The groups as they stand; nodes are read again where one of these paths is new."""
        if any(path is not None and path not in self._names for path in paths) or not self._nodes or last:
            self._nodes = self._run._store.nodes(self._run.id)
            if self._static is None and self._nodes:
                self._static = len(self._nodes)
            self._names = group_names(self._nodes, self._static)
        return grouped(self._nodes, counts, self._names)

    def _draw(self, counts: Mapping[str, Mapping[str, int]], *, last: bool) -> None:
        """Show how it stands; of what happened, a frame needs only the sums."""
        assert self._view is not None
        pulse = self._run._store.pulse(self._run.id, after=self._seen)
        groups = self._grouped(counts, {row.path for row in pulse}, last=last)
        for row in pulse:
            self._seen = max(self._seen, row.seq)
            self.retries += row.retries
            name = self._names.get(row.path or "")
            if name is not None:
                if row.began is not None:
                    self._began[name] = min(row.began, self._began.get(name, row.began))
                self._ended[name] = max(row.last, self._ended.get(name, row.last))
        self._view.draw(self._frame(groups, last=last))

    def _tell_logs(self) -> None:
        if self._printer is None or self._level is None:
            return
        for line in self._run._store.logs(self._run.id, level=self._level, after=self._logged):
            self._logged = line.seq
            who = label(line.path, line.idx) if line.path is not None else "run"
            told = f"{self._printer.tint(clock(line.time), 'soft')} {who}: {clean(line.message)}"
            if self._view is None:
                self._lines.append((line.time, told, ""))
            else:
                self._printer.line(told)

    def _frame(self, groups: dict[str, Group], *, last: bool) -> Frame:
        row = self._run.record
        now = (row.ended if last else None) or time.time()
        waits_for = {}
        for node in self._nodes:
            name = self._names.get(node.path)
            if name is None or name in self._began or name in waits_for:
                continue
            before = [groups[other] for other in map(self._names.get, node.upstream) if other in groups]
            waited = next((group.name for group in before if group.name != name and not is_over(group)), None)
            if waited is not None:
                waits_for[name] = waited
        return Frame(
            groups=groups,
            began=self._began,
            ended=self._ended,
            waits_for=waits_for,
            now=now,
            since=driven_since(row),
            retries=self.retries,
            ended_as=row.state if last else "",
        )

    def _change(self, row: TransitionRow, group: Group) -> None:
        assert row.path is not None
        if row.state == states.PENDING and self._taken_up and row.message in (RETRIED, TAKEN_UP):
            self._open[group.name] += 1
            self._closed.discard(group.name)
        elif row.state == states.RUNNING and group.name not in self._began:
            self._began[group.name] = row.time
            total = self._open[group.name] or group.total
            many = f" {total:,}" if group.known else ""
            self._say(row.time, f"{group.name} started{many}", starts=group.name)
        elif row.state == states.RETRYING:
            self.retries += 1
            self._one(row, group, f"retrying after attempt {row.attempt}: {clean(row.message)}")
        elif row.state in states.FAILURE and row.state != states.TRIGGER_FAILED:
            where = self._place(row)
            self._one(row, group, f"{MARKS[row.state].word}: {clean(row.message)}{where}")
        elif row.state == states.PAUSED:
            self._one(row, group, f"paused: {clean(row.message) or 'waits for approval'}")
        if row.state in states.FINAL:
            self._ended[group.name] = row.time

    def _one(self, row: TransitionRow, group: Group, what: str) -> None:
        if not group.mapped and len(group.paths) == 1 and row.state in states.FAILURE:
            return  # the group's own end says it
        self._told[group.name, row.state] += 1
        told = self._told[group.name, row.state]
        tone = MARKS[row.state].tone
        assert row.path is not None
        if told <= MOST_TOLD:
            self._say(row.time, f"{label(row.path, row.idx)} {what}", tone)
        elif told == MOST_TOLD + 1:
            self._say(row.time, f"{group.name} … further ones are counted, not listed", tone)

    def _place(self, row: TransitionRow) -> str:
        if self._printer is None or self._view is not None or row.path is None:
            return ""
        found = self._run._store.task_runs(self._run.id, path=row.path, idx=row.idx)
        where = place(found[0].details) if found else ""
        return f" ({where})" if where else ""

    def _is_over(self, group: Group, groups: dict[str, Group], last: bool) -> bool:
        if group.name in self._closed or not is_over(group):
            return False
        # What a run builds may still grow: it is over with the subflow that builds it.
        built = self._static is not None and any(node.path in group.paths for node in self._nodes[self._static :])
        parent = groups.get(group.name.partition("/")[0])
        return last or not built or parent is None or parent is group or parent.done == parent.total

    def _close(self, group: Group) -> None:
        self._closed.add(group.name)
        moment = self._ended.get(group.name, time.time())
        began = self._began.get(group.name)
        spent = f" {took(moment - began)}" if began is not None else ""
        state = overall(group.counts) or states.SUCCESS
        mark = MARKS[state]
        if not group.failed and not group.counts[states.CANCELLED]:
            notes = [f"{group.counts[s]:,} {MARKS[s].word}" for s in (states.CACHED, states.SKIPPED) if group.counts[s]]
            self._say(
                moment,
                f"{group.name} ok {group.done:,}/{group.total:,}{spent}{' ' if notes else ''}{', '.join(notes)}",
                "good",
            )
            return
        if state == states.TRIGGER_FAILED:
            return  # the report says what was not run, and why
        count = group.counts[state]
        rows = self._run._store.task_runs(self._run.id, path=group.paths[0], states=[state], limit=1)
        for path in group.paths[1:] if not rows else ():
            rows = self._run._store.task_runs(self._run.id, path=path, states=[state], limit=1)
            if rows:
                break
        message = clean(rows[0].message) if rows else ""
        where = place(rows[0].details) if rows else ""
        reason = f": {message}{f' ({where})' if where else ''}" if message else ""
        if count == 1 and self._told[group.name, state]:
            reason = ""  # it was just told of the only one
        many = f" {count:,}/{group.total:,}" if group.total > 1 else ""
        self._say(moment, f"{group.name} {mark.word}{many}{spent}{reason}", mark.tone)

    def _heartbeat(self, groups: dict[str, Group]) -> None:
        now = time.time()
        for group in groups.values():
            if group.name not in self._began or group.name in self._closed:
                continue
            facts = [f"{group.successful:,}/{group.total:,} ok"]
            facts += [f"{group.failed:,} failed"] if group.failed else []
            facts += [
                f"{group.counts[s]:,} {MARKS[s].word}" for s in (states.RETRYING, states.PAUSED) if group.counts[s]
            ]
            spent = now - self._began[group.name]
            if 0 < group.done < group.total:
                facts.append(f"eta {took(spent / group.done * (group.total - group.done))}")
            self._say(now, f"{group.name} {', '.join(facts)}")

    def _say(self, moment: float, text: str, tone: str | None = None, starts: str = "") -> None:
        if self._printer is not None and self._view is None:
            text = clipped(text, LONGEST)
            told = f"{self._printer.tint(clock(moment), 'soft')} {self._printer.tint(text, tone) if tone else text}"
            self._lines.append((moment, told, starts))

    def _flush(self) -> None:
        """Print what was gathered, in the order in which it happened."""
        if self._printer is None or not self._lines:
            return
        self._beat = time.monotonic()
        for _, told, starts in sorted(self._lines, key=lambda line: line[0]):
            if starts not in self._closed:  # else its end is told here, too
                self._printer.line(told)
        self._lines.clear()
