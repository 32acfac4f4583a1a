"""What a place for whole files must do; one file for each way of doing it: `local`, `remote`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from dataflow_storage.hashing import Buffer

__all__ = ["Files"]


class Files(Protocol):
    """What a place for files must do. Paths are full paths, or URLs of the one file system.

    `open` and `read` raise FileNotFoundError for what is not there; whatever else goes wrong is StoreUnavailable. A
    write that seems to have failed is tried again, and so is one that was done: `step` is what `faults` calls it.
    """

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading from its start."""

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """Read the bytes from `start` up to `end`, or fewer if the file ends before."""

    def create(self, path: str, parts: Sequence[Buffer], token: str, *, step: str = "results.commit") -> bool:
        """Write a file if there is none. False: there is one, and it was left alone."""

    def replace(
        self, path: str, parts: Sequence[Buffer], token: str, stamp: str = "", *, step: str = "results.replace"
    ) -> bool:
        """Write a file whether there is one or not. False: its stamp is another one by now, and it was left alone."""

    def stamp(self, path: str) -> str:
        """What `replace` can recognise a file's content by; empty where `locked` is what excludes others."""

    def locked(self, path: str) -> AbstractContextManager[object]:
        """Exclude others that lock the same path."""

    def delete(self, path: str, *, step: str = "results.delete") -> None:
        """Remove a file if there is one."""

    def names(self, folder: str) -> list[str]:
        """List what lies in a folder and its subfolders, relative to it, unsorted; hidden files may be left out."""

    def sizes(self, folder: str) -> dict[str, int]:
        """As `names`, with the bytes of each file."""

    def is_exclusive(self, path: str) -> bool:
        """Whether `create` is atomic where this path lies; else it looks first and then writes."""
