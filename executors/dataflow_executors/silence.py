"""Keeping `distributed` from logging what is expected."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Silence(logging.Filter):
    """Lets everything pass but what Dask's networking says.

    A filter, because cluster objects change the levels of these handlers when they open and close.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep a record."""
        return not record.name.startswith(("distributed", "tornado"))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep `distributed` from logging what is expected: connections that end while we end them."""
    handlers = _handlers()
    silence = _Silence()
    for handler in handlers:
        handler.addFilter(silence)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(silence)


def hush() -> None:
    """The same for good, in a worker process that is about to end."""
    for handler in _handlers():
        handler.addFilter(_Silence())


def _handlers() -> set[logging.Handler]:
    return {*logging.getLogger("distributed").handlers, *logging.getLogger().handlers}
