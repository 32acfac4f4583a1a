"""How each state is shown to people: a glyph, a word and a colour; never the colour alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dataflow import states


@dataclass(frozen=True, slots=True)
class Mark:
    """How one state is shown.

    Parameters
    ----------
    glyph : str
        One character.
    plain : str
        The same where only ASCII can be printed.
    word : str
        For people.
    tone : str
        One of "good", "bad", "busy", "warn", "calm": the family of colours.
    icon : str
        The glyph as an SVG path in a square of 12 by 12, since fonts differ.
    """

    glyph: str
    plain: str
    word: str
    tone: str
    icon: str


_CROSS = "M3 3l6 6M9 3l-6 6"
_RING = "M6 1.5a4.5 4.5 0 1 0 .01 0z"
MARKS: Mapping[str, Mark] = {
    states.SCHEDULED: Mark("◷", "@", "scheduled", "calm", f"{_RING}M6 3.5v2.5l2 1.5"),
    states.PENDING: Mark("○", "o", "pending", "calm", _RING),
    states.RUNNING: Mark("▶", ">", "running", "busy", "M4 2.5l5 3.5-5 3.5z"),
    states.PAUSED: Mark("‖", "=", "paused", "warn", "M4 2.5v7M8 2.5v7"),
    states.WAITING: Mark("◷", "@", "waiting", "warn", f"{_RING}M6 3.5v2.5l2 1.5"),
    states.RETRYING: Mark("↻", "~", "retrying", "warn", "M9.5 4A4 4 0 1 0 10 6.5M10 1.8V4.2H7.6"),
    states.SUCCESS: Mark("✓", "+", "success", "good", "M2.5 6.5l2.5 2.5 4.5-5.5"),
    states.CACHED: Mark("≡", "=", "cached", "good", "M2.5 3.5h7M2.5 6h7M2.5 8.5h7"),
    states.SKIPPED: Mark("↷", "-", "skipped", "calm", "M2 8a4 4 0 0 1 7.5-1.5M9.8 3.6v3H6.8"),
    states.FAILED: Mark("✕", "x", "failed", "bad", _CROSS),
    states.TIMED_OUT: Mark("✕", "x", "timed out", "bad", f"{_RING}M6 3.2v2.8h2.4"),
    states.TRIGGER_FAILED: Mark("⊗", "/", "not run", "bad", f"{_RING}M4.2 4.2l3.6 3.6M7.8 4.2l-3.6 3.6"),
    states.CRASHED: Mark("✕", "X", "crashed", "bad", "M6 2v5M6 9.2v.6"),
    states.CANCELLED: Mark("⊘", "!", "cancelled", "warn", f"{_RING}M3 9l6-6"),
}

TONES = ("bad", "warn", "busy", "good", "calm")
# Of several states in one box, the first of these that occurs is the box's.
_LOUDEST = (
    states.CRASHED,
    states.FAILED,
    states.TIMED_OUT,
    states.TRIGGER_FAILED,
    states.CANCELLED,
    states.PAUSED,
    states.RUNNING,
    states.RETRYING,
    states.WAITING,
)


def overall(counts: Mapping[str, int]) -> str | None:
    """The one state that stands for several, or None where there are none.

    >>> overall({"Success": 3, "Failed": 1}), overall({"Success": 3, "Pending": 1}), overall({"Cached": 2})
    ('Failed', 'Running', 'Cached')
    """
    found = {state for state, n in counts.items() if n}
    for state in _LOUDEST:
        if state in found:
            return state
    if states.PENDING in found:
        return states.PENDING if found == {states.PENDING} else states.RUNNING
    for state in (states.SUCCESS, states.CACHED, states.SKIPPED):
        if state in found:
            return state
    return next(iter(found), None)


def words(counts: Mapping[str, int], most: int = 3) -> str:
    """Counts of states for people, what needs attention first.

    Parameters
    ----------
    counts : mapping
        How many are in each state.
    most : int
        Name at most this many states that are not good.

    >>> words({"Success": 8316, "Failed": 17}), words({"Pending": 24}), words({"Cached": 1})
    ('8,316/8,333 · 17 failed', '24 pending', 'cached')
    """
    found = {state: n for state, n in counts.items() if n}
    if len(found) < 2:
        for state, n in found.items():
            return MARKS[state].word if n == 1 else f"{n:,} {MARKS[state].word}"
        return MARKS[states.PENDING].word
    done = sum(n for state, n in found.items() if MARKS[state].tone == "good")
    others = sorted(
        (s for s in found if MARKS[s].tone != "good"), key=lambda s: (TONES.index(MARKS[s].tone), -found[s])
    )
    told = [f"{found[state]:,} {MARKS[state].word}" for state in others]
    return " · ".join([f"{done:,}/{sum(found.values()):,}", *told[:most], *(["…"] if len(told) > most else [])])
