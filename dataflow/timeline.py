"""A run's timeline, from its record."""

from __future__ import annotations

import time
from collections.abc import Sequence

from dataflow import states
from dataflow.draw.picture import Picture
from dataflow.draw.timeline import Span, as_text, timeline
from dataflow.errors import OptionError
from dataflow.events import label
from dataflow.groups import group_names
from dataflow_storage import RunStore
from dataflow_storage.rows import AttemptRow, RunRow

LANES = ("task", "worker")


def run_timeline(store: RunStore, run: RunRow, lanes: str) -> Picture:
    """What ran when; see `Run.timeline`."""
    if lanes not in LANES:
        raise OptionError("timeline", "lanes", lanes, " or ".join(map(repr, LANES)))
    names = group_names(store.nodes(run.id))
    attempts = [row for row in store.attempts(run.id) if row.path in names and row.started is not None]
    until = run.ended or time.time()
    if lanes == "task":
        order = list(dict.fromkeys(names.values()))
        spans = spans_of(attempts, [names[row.path] for row in attempts], until)
    else:
        spans = spans_of(attempts, [row.worker or "?" for row in attempts], until)
        spans = [span for span in spans if not span.wait]  # which hold no worker
        order = sorted({span.lane for span in spans})
    title = f"{run.flow} · {run.name}"
    return Picture(
        timeline(title, spans, lanes=order), as_text(title, spans, lanes=order), f"timeline of the run {run.name}"
    )


def spans_of(attempts: Sequence[AttemptRow], lanes: Sequence[str], until: float) -> list[Span]:
    """Attempts, and the waits between those of one task run.

    Parameters
    ----------
    attempts : sequence of AttemptRow
        By path, index and number, all of them begun.
    lanes : sequence of str
        The lane of each.
    until : float
        When what has not ended is cut off.
    """
    made: list[Span] = []
    before: AttemptRow | None = None
    for row, lane in zip(attempts, lanes, strict=True):
        assert row.started is not None
        who = label(row.path, row.idx)
        if before is not None and (before.path, before.idx) == (row.path, row.idx) and before.ended is not None:
            made.append(
                Span(
                    lane=lane,
                    label=who,
                    start=before.ended,
                    end=max(row.started, before.ended),
                    state=states.RETRYING,
                    attempt=row.attempt,
                    wait=True,
                )
            )
        end = max(row.ended if row.ended is not None else until, row.started)
        state = row.state if row.ended is not None else states.RUNNING
        made.append(Span(lane=lane, label=who, start=row.started, end=end, state=state, attempt=row.attempt))
        before = row
    return made
