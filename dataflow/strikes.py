"""What was lost goes again: what may have killed its worker goes alone, and what is lost too often ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from dataflow import states
from dataflow.board import Board
from dataflow.events import NO_INDEX
from dataflow.works import WAITING, Group, Known, Owner, Single, follows

MOST = 5  # times that a task run may be lost with others


class Strikes:
    """Counts how often task runs were lost.

    State: `suspects`, those that may have killed their worker: each goes alone.

    Parameters
    ----------
    board : Board
        What is known.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self.suspects: deque[Owner] = deque()

    def single(self, item: Single, blame: str | None, reason: str, *, alone: bool) -> None:
        """A task run was lost.

        Parameters
        ----------
        item : Single
            Which.
        blame : str or None
            That its worker died with it, if that did.
        reason : str
            Why else it may have been lost.
        alone : bool
            Nothing else was in flight with it.
        """
        item.strikes += 1
        self._board.put_back(item, WAITING)
        if alone or item.strikes > MOST:
            end = Known(states.CRASHED, blame or reason)
            self._board.note(item.node.path, NO_INDEX, end)
            self._board.finish(item, end)
        elif blame is not None:
            item.suspect = True
            self.suspects.append(item)
        else:
            self._board.candidates.append(item)

    def children(self, group: Group, indices: Sequence[int], blame: str | None, reason: str, *, alone: bool) -> None:
        """These of a group were lost, and wait already."""
        for index in indices:
            group.strikes[index] = group.strikes.get(index, 0) + 1
            if alone or group.strikes[index] > MOST:
                self._crash(group, index, Known(states.CRASHED, blame or reason))
            elif blame is not None:
                group.suspects.add(index)
                self.suspects.append((group, index))

    def measuring(self, group: Group, reason: str) -> None:
        """The measuring of a group was lost."""
        group.measuring = False
        group.attempt += 1
        if group.attempt > MOST:
            self._board.end_whole(group, Known(states.CRASHED, reason))
        self._board.candidates.append(group)

    def _crash(self, group: Group, index: int, end: Known) -> None:
        for part in group.parts:
            if part.known[index] is None:
                self._board.note(part.node.path, index, end)
                self._board.learn_child(group, part, index, end)
                end = follows(end)
        self._board.settle(group)
