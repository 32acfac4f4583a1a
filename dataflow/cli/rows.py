"""The rows of the live view: which groups of task runs get one, and what it says. No terminal in here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from dataflow import states
from dataflow.cli.terminal import several, took
from dataflow.draw.marks import MARKS, overall
from dataflow.groups import Group

BAR = 20
EIGHTHS = " ▏▎▍▌▋▊▉█"
LONGEST_NAME = 40


@dataclass(kw_only=True)
class Frame:
    """A run at one moment.

    Parameters
    ----------
    groups : mapping of str to Group
        In build order.
    began, ended : mapping of str to float
        When the first task run of a group started, and when the last ended so far; seconds since the epoch.
    waits_for : mapping of str to str
        Of a group of which nothing has begun: the group that it waits for.
    now, since : float
        The moment, and when the run started.
    retries : int
        How many attempts were followed by another one.
    ended_as : str
        The run's state, where it is over or paused.
    """

    groups: Mapping[str, Group]
    began: Mapping[str, float]
    ended: Mapping[str, float]
    waits_for: Mapping[str, str] = field(default_factory=dict)
    now: float
    since: float
    retries: int = 0
    ended_as: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line: a mark, a name, a bar of so many parts of one, a count, and what else is to be said, with its tones."""

    state: str
    name: str
    share: float | None
    count: str
    facts: Sequence[tuple[str, str]]
    spent: str


def is_active(group: Group) -> bool:
    """Whether something of it is going on."""
    return 0 < group.done < group.total or group.among((states.RUNNING, states.RETRYING, states.PAUSED)) > 0


def chosen(frame: Frame, most: int) -> tuple[list[str], str]:
    """The groups that get a row, in build order, and what is said of the others.

    What is going on comes first, then what failed, then what ended last, then what is next.
    """
    groups = frame.groups
    if len(groups) <= most:
        return list(groups), ""
    order = {name: n for n, name in enumerate(groups)}

    def rank(name: str) -> tuple[int, float]:
        group = groups[name]
        if is_active(group):
            return 0, order[name]
        if group.failed:
            return 1, -frame.ended.get(name, 0.0)
        if is_over(group):
            return 2, -frame.ended.get(name, 0.0)
        return 3, order[name]

    kept = set(sorted(groups, key=rank)[: max(most - 1, 1)])
    return [name for name in groups if name in kept], _folded([groups[name] for name in groups if name not in kept])


def _folded(groups: Collection[Group]) -> str:
    over = sum(is_over(group) and not group.failed for group in groups)
    failed = sum(group.failed > 0 for group in groups)
    active = sum(is_active(group) and not group.failed for group in groups)
    rest = len(groups) - over - failed - active
    told = [(active, "running"), (failed, "failed"), (over, "finished"), (rest, "waiting")]
    return " ".join(f"+ {n} {word}" for n, word in told if n)


def is_over(group: Group) -> bool:
    """Whether all of it has ended."""
    return group.known and group.total > 0 and group.done == group.total


def row(frame: Frame, name: str) -> Row:
    """What is said of a group."""
    group = frame.groups[name]
    state = overall(group.counts) or states.PENDING
    active, over = is_active(group), is_over(group)
    if state in states.FINAL and not over:
        state = states.RUNNING
    facts = [
        (f"{group.counts[one]:,} {MARKS[one].word}", MARKS[one].tone)
        for one in (
            states.FAILED,
            states.TIMED_OUT,
            states.CRASHED,
            states.CANCELLED,
            states.RETRYING,
            states.PAUSED,
            states.CACHED,
            states.SKIPPED,
        )
        if group.counts[one]
    ]
    if over and group.counts[states.TRIGGER_FAILED]:
        facts.append(("not run" if group.total == 1 else f"{group.counts[states.TRIGGER_FAILED]:,} not run", "bad"))
    began = frame.began.get(name)
    spent = ""
    if began is not None:
        spent = took((frame.ended.get(name, frame.now) if over else frame.now) - began)
        if active and 0 < group.done < group.total and not frame.ended_as:
            left = (frame.now - began) / group.done * (group.total - group.done)
            facts.append((f"eta {took(left)}", "calm"))
    elif name in frame.waits_for and not frame.ended_as:
        facts.append((f"waiting for {frame.waits_for[name]}", "calm"))
    return Row(
        state=state,
        name=name,
        share=group.done / group.total if group.total > 1 else None,
        # As wide as it will ever be: columns do not move.
        count=f"{group.done:>{len(f'{group.total:,}')},}/{group.total:,}" if group.known else "?",
        facts=facts,
        spent=spent,
    )


def footer(frame: Frame) -> str:
    """All groups in one line."""
    counts: dict[str, int] = {}
    for group in frame.groups.values():
        for state, n in group.counts.items():
            counts[state] = counts.get(state, 0) + n
    done = sum(n for state, n in counts.items() if state in states.FINAL)
    running = counts.get(states.RUNNING, 0)
    pending = sum(counts.values()) - done - running
    told = [f"{done:,} done"]
    told += [f"{running:,} running"] if running else []
    told += [f"{pending:,} pending"] if pending else []
    told += [several(frame.retries, "retry", "retries")] if frame.retries else []
    return " · ".join(told)


def bar(share: float, *, unicode: bool) -> str:
    """A bar of `BAR` columns.

    >>> bar(0.5, unicode=False), bar(1.0, unicode=True)
    ('##########..........', '████████████████████')
    """
    eighths = int(share * BAR * 8)
    if not unicode:
        return "#" * (eighths // 8) + "." * (BAR - eighths // 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(BAR, "·")
