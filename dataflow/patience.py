"""Asking a store once more that could not be reached for a moment: each call of its is such that twice is as once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from dataflow_storage import StoreUnavailable

R = TypeVar("R")
SECONDS = 5.0  # for a person who waits
_FIRST, _LONGEST = 0.05, 1.0  # between two tries


def patiently(
    call: Callable[[], R], seconds: float = SECONDS, still: Callable[[StoreUnavailable], bool] = lambda error: True
) -> R:
    """Call, and call again for some seconds while the store says that this may pass, and `still` that it is wanted.

    Raises
    ------
    StoreUnavailable
        It does not pass.

    Examples
    --------
    >>> patiently(lambda: 1)
    1
    """
    until, pause = time.monotonic() + seconds, _FIRST
    while True:
        try:
            return call()
        except StoreUnavailable as error:
            if not error.transient or time.monotonic() + pause > until or not still(error):
                raise
        time.sleep(pause)
        pause = min(_LONGEST, 2 * pause)
