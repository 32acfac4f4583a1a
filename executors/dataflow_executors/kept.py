"""Kept values of an executor of this process, by key, and which are on their way.

A task reports its success before it has returned: a fragment that needs its value may be submitted in between. It waits
for what is coming, and nobody waits for what is not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Set

from dataflow_executors.base import Key


class KeptValues:
    """Values by key.

    State: `_values`, those that are there; `_coming`, keys that a fragment in flight will give.

    Examples
    --------
    >>> kept = KeptValues()
    >>> kept.expect({"a", "b"})
    >>> kept["a"] = 3
    >>> sorted(kept.unknown({"a", "b", "c"}))
    ['c']
    >>> kept.settle({"a", "b"})
    >>> kept.take({"a", "b"})
    {'a': 3}
    """

    def __init__(self) -> None:
        self._values: dict[Key, object] = {}
        self._coming: set[Key] = set()
        self._changed = threading.Condition()

    def expect(self, keys: Set[Key]) -> None:
        """These are on their way, until they are set or settled."""
        with self._changed:
            self._coming |= keys

    def settle(self, keys: Set[Key]) -> None:
        """These come no more, if they have not."""
        with self._changed:
            self._coming -= keys
            self._changed.notify_all()

    def __setitem__(self, key: Key, value: object) -> None:
        with self._changed:
            self._values[key] = value
            self._coming.discard(key)
            self._changed.notify_all()

    def unknown(self, keys: Set[Key]) -> set[Key]:
        """Those that are neither there nor coming."""
        with self._changed:
            return keys - self._values.keys() - self._coming

    def take(self, keys: Set[Key]) -> dict[Key, object]:
        """The values, once none of them is coming; those that never came are left out."""
        with self._changed:
            self._changed.wait_for(lambda: self._coming.isdisjoint(keys))
            return self.get(keys)

    def get(self, keys: Iterable[Key]) -> dict[Key, object]:
        """The values that are there now."""
        return {key: self._values[key] for key in keys if key in self._values}

    def drop(self, keys: Iterable[Key]) -> None:
        """Keep these no longer."""
        for key in keys:
            self._values.pop(key, None)

    def __len__(self) -> int:
        return len(self._values)
