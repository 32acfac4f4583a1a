"""Files on a local disk, with plain system calls. State: none.

A file is written under a temporary name (``.<token>.tmp``) and appears under its own in one step. `locked` excludes
threads and processes of all that see the disk. An error may hide that a step was done, as on a mounted share whose
answer got lost: then the step is tried again, for some seconds.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, TypeVar

from dataflow_storage.errors import StoreUnavailable, UnsafePath
from dataflow_storage.faults import faultpoint
from dataflow_storage.hashing import Buffer

__all__ = ["LocalFiles", "inside"]

# What a file system says that has no hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}
_MAYBE_DONE = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
_PASSING = {*_MAYBE_DONE, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_TIMEOUT = 5.0  # seconds
_JOIN = 1 << 20  # bytes; below it, one copy is cheaper than several writes
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


T = TypeVar("T")


class LocalFiles:
    """Files on a local disk.

    Parameters
    ----------
    fsync : bool
        Wait until the disk has it: survives a power cut, and takes milliseconds.
    link : callable
        Give a file a second name, or raise FileExistsError.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> files = LocalFiles()
    >>> files.create(f"{folder}/x", [b"a"], "1"), files.create(f"{folder}/x", [b"b"], "2")
    (True, False)
    >>> files.read(f"{folder}/x")
    b'a'
    """

    def __init__(self, *, fsync: bool = False, link: Callable[[str, str], None] = os.link) -> None:
        self._fsync = fsync
        self._link = link

    def open(self, path: str) -> BinaryIO:
        try:
            return open(path, "rb")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except OSError as error:
            raise _unavailable(path, error) from error

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        with self.open(path) as file:
            try:
                file.seek(start)
                return file.read() if end is None else file.read(max(0, end - start))
            except OSError as error:
                raise _unavailable(path, error) from error

    def create(self, path: str, parts: Sequence[Buffer], token: str, *, step: str = "results.commit") -> bool:
        return _surely("write", path, step, lambda: self._create(path, parts, token))

    def _create(self, path: str, parts: Sequence[Buffer], token: str) -> bool:
        temporary = self._write(path, parts, token)
        try:
            try:
                self._link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return self._create_without_links(path, temporary)
        finally:
            _unlink(temporary)
        self._settle(path)
        return True

    def _create_without_links(self, path: str, temporary: str) -> bool:
        with self.locked(path):
            if os.path.lexists(path):
                return False
            os.rename(temporary, path)
        self._settle(path)
        return True

    def replace(
        self, path: str, parts: Sequence[Buffer], token: str, stamp: str = "", *, step: str = "results.replace"
    ) -> bool:
        return _surely("write", path, step, lambda: self._replace(path, parts, token))

    def _replace(self, path: str, parts: Sequence[Buffer], token: str) -> bool:
        temporary = self._write(path, parts, token)
        try:
            os.replace(temporary, path)
        except OSError:
            _unlink(temporary)
            raise
        self._settle(path)
        return True

    def stamp(self, path: str) -> str:
        return ""

    def is_exclusive(self, path: str) -> bool:
        return True

    def _write(self, path: str, parts: Sequence[Buffer], token: str) -> str:
        folder = os.path.dirname(path)
        temporary = f"{folder}/.{token}.tmp"
        file = _open_new(folder, temporary)
        try:
            try:
                with faultpoint("results.temporary"):
                    for part in [b"".join(parts)] if sum(map(len, parts)) < _JOIN else parts:
                        _write_all(file, part)
                    if self._fsync:
                        os.fsync(file)
            finally:
                os.close(file)
        except BaseException:  # a full disk, or Ctrl-C
            _unlink(temporary)
            raise
        return temporary

    def _settle(self, path: str) -> None:
        if self._fsync and sys.platform != "win32":
            # The name is durable only when its folder is.
            folder = os.open(os.path.dirname(path), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextmanager
    def locked(self, path: str) -> Iterator[None]:
        folder, _, last = path.rpartition("/")
        name = f"{folder}/.{last}.lock"
        try:
            file = _lock_file(name)
        except OSError as error:
            raise _unavailable(path, error) from error
        try:
            yield
        finally:
            with suppress(PermissionError):  # Windows keeps an open file; it is empty and does no harm
                _unlink(name)
            os.close(file)  # this releases the lock

    def delete(self, path: str, *, step: str = "results.delete") -> None:
        _surely("delete", path, step, lambda: _unlink(path))
        with suppress(OSError):  # the folder is not empty, as a rule
            os.rmdir(os.path.dirname(path))

    def names(self, folder: str) -> list[str]:
        def stop(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise _unavailable(folder, error) from error

        found = []
        for place, _, files in os.walk(folder, onerror=stop):
            inner = os.path.relpath(place, folder).replace(os.sep, "/")
            found += files if inner == "." else [f"{inner}/{file}" for file in files]
        return found

    def sizes(self, folder: str) -> dict[str, int]:
        found = {}
        for name in self.names(folder):
            with suppress(FileNotFoundError):  # deleted meanwhile
                found[name] = os.stat(f"{folder}/{name}").st_size
        return found


def _open_new(folder: str, path: str) -> int:
    for _ in range(100):
        try:
            return os.open(path, _FLAGS, 0o666)
        except FileNotFoundError:
            # No folder yet, or another process has just removed the empty one, or does so now: so this is a loop.
            with suppress(FileExistsError, FileNotFoundError):
                os.makedirs(folder, exist_ok=True)
    raise OSError(errno.ENOENT, "its folder keeps disappearing", folder)


def _write_all(file: int, data: Buffer) -> None:
    written = os.write(file, data)
    while written < len(data):  # a call writes 2 GB at most
        rest = memoryview(data)[written:]
        written += os.write(file, rest)


def _surely(what: str, path: str, step: str, make: Callable[[], T]) -> T:
    """Do a step; again where an error may hide that it was done."""
    attempts = None
    while True:
        try:
            with faultpoint(step):
                return make()
        except StoreUnavailable as error:
            if not error.transient:
                raise
            failed: OSError = error
        except OSError as error:
            if error.errno not in _MAYBE_DONE:
                raise _unavailable(path, error) from error
            failed = error
        if attempts is None:
            from dataflow_storage.deadlines import Attempts  # this brings asyncio, which is rarely needed here

            attempts = Attempts(path, what, _TIMEOUT)
        time.sleep(attempts.failed(failed))


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _lock_file(name: str) -> int:
    """Open a lock file and lock it; one that its last owner removed meanwhile does not count."""
    while True:
        try:
            file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            with suppress(FileExistsError, FileNotFoundError):
                os.makedirs(os.path.dirname(name), exist_ok=True)
            continue
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file, msvcrt.LK_LOCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(name), os.fstat(file)):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _unavailable(path: str, error: BaseException) -> StoreUnavailable:
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    transient = isinstance(error, OSError) and error.errno in _PASSING
    return StoreUnavailable(path, reason, transient=transient)


def inside(root: str, path: str) -> None:
    """Refuse a local path that a symbolic link leads out of its root.

    Parameters
    ----------
    root, path : str
        Absolute paths; `path` lies under `root` by its text.

    Raises
    ------
    UnsafePath
        It does not lie under `root` on the disk.
    """
    real = os.path.realpath(root)
    if os.path.commonpath([real, os.path.realpath(path)]) != real:
        raise UnsafePath(path, f"a symbolic link leads out of {root!r}")
