"""The places that a store reaches: the local disk, and each protocol's file system, opened when it is first used."""

from __future__ import annotations

import os
from collections.abc import Mapping

from dataflow_storage.files import Files
from dataflow_storage.local import LocalFiles
from dataflow_storage.paths import is_url

__all__ = ["TIMEOUT", "Opened"]

TIMEOUT = 30.0
"""Seconds for a small call to a storage elsewhere, with all its attempts."""


class Opened:
    """The files of every place that a store reaches.

    Parameters
    ----------
    url : str
        The store's own place.
    options : mapping
        Its `storage_options`.
    fsync : bool
        For the local disk.
    timeout : float
        For storages elsewhere, seconds.
    """

    def __init__(self, url: str, options: Mapping[str, object], *, fsync: bool, timeout: float) -> None:
        self._default = url.partition("://")[0] if is_url(url) else ""
        self._options, self._timeout = options, timeout
        self._local = LocalFiles(fsync=fsync)
        self._remote: dict[tuple[int, str], Files] = {}

    def at(self, url: str) -> Files:
        """The files that a path or URL is one of.

        Raises
        ------
        StoreUnavailable
            The protocol is unknown, or its package is not installed.
        """
        protocol, separator, _ = url.partition("://")
        if not separator:
            return self._local
        at = (os.getpid(), protocol)  # a file system that talks to a server does not survive a fork
        if at not in self._remote:
            from dataflow_storage.remote import open_fsspec

            self._remote[at] = open_fsspec(url, self._options, default=self._default, timeout=self._timeout)
        return self._remote[at]
