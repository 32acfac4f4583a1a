"""Does a server really create an object only where there is none? Some take the condition and ignore it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable
from threading import RLock

__all__ = ["exclusive"]

_log = logging.getLogger("dataflow.storage")
_known: dict[Hashable, bool] = {}  # what was found out in this process
_lock = RLock()


def exclusive(place: Hashable, shown: str, create: Callable[[str], bool], delete: Callable[[str], None]) -> bool:
    """Say whether only one of two can create an object; asked once per place and process, and a "no" is logged.

    Parameters
    ----------
    place : hashable
        The server and the bucket.
    shown : str
        The place's URL, for the message.
    create : callable
        Creates an object of a given name, if there is none; says whether it did.
    delete : callable
        Removes it.

    Returns
    -------
    bool

    Raises
    ------
    StoreUnavailable
        The storage failed; it will be asked again.

    Examples
    --------
    >>> objects = set()
    >>> exclusive("doctest", "x://b", lambda name: name not in objects and not objects.add(name), objects.discard)
    True
    """
    with _lock:
        if place not in _known:
            name = f".{os.urandom(8).hex()}.probe"
            try:
                # The second one decides. A first "no" is our own, told by a client that asked twice.
                create(name)
                _known[place] = not create(name)
            finally:
                _forget(name, delete)
            if not _known[place]:
                _log.warning(
                    "The storage at %r ignores the condition of a write (create only where there is nothing). Commits "
                    "there look first and then write: of two attempts at one task that race, both may commit, and the "
                    "last one wins. Use a server with conditional writes, or take care that no two attempts overlap.",
                    shown,
                )
        return _known[place]


def _forget(name: str, delete: Callable[[str], None]) -> None:
    try:
        delete(name)
    except OSError as error:  # who may write need not be allowed to delete
        _log.debug("The probe %r stays behind: %s", name, error)
