"""How a run stands, as one picture of HTML and the same in text: a line for each group of its task runs.

Styles stand in the tags and colours are readable on white and on black: a notebook that is not trusted strips the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from dataflow import states
from dataflow.draw.marks import MARKS, overall
from dataflow.draw.times import took
from dataflow.groups import Group
from dataflow.log_lines import log_line
from dataflow.owners import driven_since
from dataflow.report import Problem
from dataflow_storage.rows import LogRow, RunRow

# Lines for groups; what is too much is counted.
MOST_ROWS = 20
MOST_TEXT = 4_000
INKS = {"good": "#2da44e", "bad": "#e5484d", "busy": "#3b82f6", "warn": "#b7791f", "calm": "#848d97"}
_BOX = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.5"
_CELL = "padding:1px 14px 1px 0;border:0;background:none;text-align:left;vertical-align:middle;white-space:nowrap"
_MONO = "font-family:ui-monospace,Menlo,Consolas,monospace"
_PRE = f"margin:2px 0 6px 1.4em;{_MONO};font-size:12px;white-space:pre-wrap;background:none"
_SOFT = "opacity:.7"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is told of a run at one moment.

    Parameters
    ----------
    row : RunRow
        The run.
    groups : sequence of Group
        Its task runs.
    spans : mapping
        When the first task run of a path began and the last ended, in seconds since the epoch.
    waits : mapping
        By the name of a group what it waits for: names of groups that are not done.
    problems : sequence of Problem
        What went wrong.
    logs : sequence of LogRow
        The last lines.
    note : str
        What is asked of the run, such as "cancelling".
    """

    row: RunRow
    groups: Sequence[Group]
    spans: Mapping[str, tuple[float | None, float | None]]
    waits: Mapping[str, Sequence[str]]
    problems: Sequence[Problem] = ()
    logs: Sequence[LogRow] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Line:
    """One group, in words."""

    name: str
    tone: str
    glyph: str
    share: Mapping[str, float]
    told: str
    spent: str


def html(now: Standing) -> str:
    """The picture for a notebook."""
    lines, more = _lines(now)
    rows = "".join(
        f'<tr style="background:none;border:0"><td style="{_CELL};{_MONO}">{_glyph(line.glyph, line.tone)} '
        f'{escape(line.name)}</td><td style="{_CELL};width:150px">{_bar(line.share)}</td>'
        f'<td style="{_CELL}">{escape(line.told)}</td><td style="{_CELL};{_SOFT}">{escape(line.spent)}</td></tr>'
        for line in lines
    )
    rest = f'<div style="{_SOFT}">{escape(more)}</div>' if more else ""
    state = now.row.state
    head = " · ".join(
        [
            f"<b>{escape(now.row.flow)}</b>",
            f'<span style="{_MONO}">{escape(now.row.name)}</span>',
            *map(escape, _head(now)),
        ]
    )
    return (
        f'<div style="{_BOX}"><div>{_glyph(MARKS[state].glyph, MARKS[state].tone)} {head}</div>'
        f'<table style="border-collapse:collapse;margin:2px 0;border:0">{rows}</table>{rest}'
        f"{_problems(now)}{_logs(now.logs)}</div>"
    )


def text(now: Standing) -> str:
    """The same where only text can be shown."""
    lines, more = _lines(now)
    wide = max((len(line.name) for line in lines), default=0)
    told = [f"{MARKS[now.row.state].glyph} {now.row.flow} · {now.row.name} · {' · '.join(_head(now))}"]
    told += [f"  {line.glyph} {line.name:<{wide}}  {line.told}  {line.spent}".rstrip() for line in lines]
    told += [f"  {more}"] if more else []
    told += [f"  {_summary(problem)}" for problem in now.problems]
    return "\n".join(told)


def _head(now: Standing) -> list[str]:
    row = now.row
    over = row.state in states.RUN_FINAL
    word = MARKS[row.state].word
    facts = [word if row.state != states.RUNNING else _percent(now.groups)]
    if row.message and row.state != states.RUNNING and not now.problems:
        facts = [row.message] if row.message.startswith(word) else [word, row.message]
    if row.started is not None:
        spent = took((row.ended or time.time()) - driven_since(row))
        left = max((_left(group, now) for group in now.groups), default=0.0)
        facts.append(f"{spent}, about {took(left)} left" if left > 1 and not over and not now.note else spent)
    if now.note:
        facts.append(now.note)
    return facts


def _percent(groups: Sequence[Group]) -> str:
    total = sum(group.total for group in groups)
    return f"{100 * sum(group.done for group in groups) // total} %" if total else MARKS[states.RUNNING].word


def _left(group: Group, now: Standing) -> float:
    """Seconds that a group still takes, if it goes on as it did."""
    began = min((start for path in group.paths if (start := now.spans.get(path, (None, None))[0])), default=None)
    if began is None or not 0 < group.done < group.total:
        return 0.0
    return (time.time() - began) / group.done * (group.total - group.done)


def _lines(now: Standing) -> tuple[list[_Line], str]:
    """The groups that are shown, in their order, and a word on the others: what is active goes first."""

    def urgency(group: Group) -> tuple[int, float]:
        active = group.among((states.RUNNING, states.RETRYING, states.PAUSED, states.WAITING)) > 0
        partly = 0 < group.done < group.total
        ended = max((now.spans.get(path, (None, None))[1] or 0.0 for path in group.paths), default=0.0)
        return (0 if active or partly else 1 if group.failed else 2 if group.done else 3), -ended

    shown = {id(group) for group in sorted(now.groups, key=urgency)[:MOST_ROWS]}
    hidden = [group for group in now.groups if id(group) not in shown]
    done = sum(group.known and group.done == group.total for group in hidden)
    more = [f"+ {done} finished"] if done else []
    more += [f"+ {len(hidden) - done} to come"] if len(hidden) > done else []
    return [_line(group, now) for group in now.groups if id(group) in shown], ", ".join(more)


def _line(group: Group, now: Standing) -> _Line:
    state = overall(group.counts) or states.PENDING
    mark = MARKS[state]
    total = group.total
    share = {
        tone: sum(n for s, n in group.counts.items() if MARKS[s].tone == tone and s in states.FINAL | {states.RUNNING})
        / max(total, 1)
        for tone in ("good", "bad", "warn", "calm", "busy")
    }
    if state == states.PENDING and now.row.state not in states.RUN_FINAL and now.waits.get(group.name):
        told = f"waits for {', '.join(list(now.waits[group.name])[:3])}"
    else:
        good = (
            f"{group.successful:,}/{total:,}" if group.known and total else "?" if not group.known else "nothing to do"
        )
        others = [
            f"{group.counts[s]:,} {MARKS[s].word}"
            for s in MARKS
            if group.counts[s] and s not in (states.SUCCESS, states.PENDING, states.SCHEDULED)
        ]
        told = " · ".join([good, *others])
    starts = [start for path in group.paths if (start := now.spans.get(path, (None, None))[0])]
    ends = [end for path in group.paths if (end := now.spans.get(path, (None, None))[1])]
    finished = group.known and group.done == total
    spent = None if not starts else (max(ends, default=time.time()) if finished else time.time()) - min(starts)
    return _Line(group.name, mark.tone, mark.glyph, share, told, took(spent))


def _glyph(glyph: str, tone: str) -> str:
    return f'<span style="color:{INKS[tone]};{_MONO}">{glyph}</span>'


def _bar(share: Mapping[str, float]) -> str:
    parts = "".join(
        '<span style="display:inline-block;height:6px;vertical-align:top;'
        f'width:{100 * part:.1f}%;background:{INKS[tone]}"></span>'
        for tone, part in share.items()
        if part
    )
    return (
        '<div style="width:140px;height:6px;line-height:6px;font-size:0;overflow:hidden;white-space:nowrap;'
        f'border-radius:3px;background:rgba(127,127,127,.25)">{parts}</div>'
    )


def _summary(problem: Problem) -> str:
    many = f"{len(problem.indices):,} " if len(problem.indices) > 1 else ""
    tries = f", after {problem.attempts} attempts" if problem.attempts > 1 else ""
    return f"{problem.who}: {many}{MARKS[problem.state].word}{tries}: {problem.message}"


def _problems(now: Standing) -> str:
    made = []
    for problem in now.problems:
        head = f"{_glyph(MARKS[problem.state].glyph, 'bad')} {escape(_summary(problem))}"
        if problem.text:
            told = f'<pre style="{_PRE}">{escape(problem.text[-MOST_TEXT:])}</pre>'
            made.append(f"<details><summary>{head}</summary>{told}</details>")
        else:
            made.append(f"<div>{head}</div>")
    return "".join(made)


def _logs(lines: Sequence[LogRow]) -> str:
    if not lines:
        return ""
    told = escape("\n".join(log_line(line)[:300] for line in lines))
    return f'<details><summary style="{_SOFT}">last log lines</summary><pre style="{_PRE}">{told}</pre></details>'
