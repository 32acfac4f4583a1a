"""Whole files, written atomically: on a local disk with plain system calls, elsewhere through fsspec.

Both ways have the same seven methods. State: none but the open file system. A file is written under a temporary name
(``.<token>.tmp``) and appears under its own in one step. `locked` is needed only to *replace* a file depending on
what it was: it excludes threads and processes on a local disk, threads on ``memory://``, and nobody elsewhere.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from threading import RLock
from typing import TYPE_CHECKING, BinaryIO, Protocol

from dataflow_storage.errors import StoreUnavailable, UnsafePath
from dataflow_storage.hashing import Buffer

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["Files", "FsspecFiles", "LocalFiles", "inside", "open_fsspec"]


class Files(Protocol):
    """What a place for files must do. Paths are full paths, or URLs of the one file system.

    `open` and `read` raise FileNotFoundError for what is not there; whatever else goes wrong is StoreUnavailable.
    """

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading from its start."""

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """Read the bytes from `start` up to `end`, or fewer if the file ends before."""

    def create(self, path: str, parts: Sequence[Buffer], token: str) -> bool:
        """Write a file if there is none. False: there is one, and it was left alone."""

    def replace(self, path: str, parts: Sequence[Buffer], token: str) -> None:
        """Write a file whether there is one or not."""

    def locked(self, path: str) -> AbstractContextManager[object]:
        """Exclude others that lock the same path."""

    def delete(self, path: str) -> None:
        """Remove a file if there is one."""

    def names(self, folder: str) -> list[str]:
        """List what lies in a folder and its subfolders, relative to it, unsorted; hidden files may be left out."""


# What a file system says that has no hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}
_JOIN = 1 << 20  # bytes; below it, one copy is cheaper than several writes
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


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

    def create(self, path: str, parts: Sequence[Buffer], token: str) -> bool:
        try:
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
        except OSError as error:
            raise _unavailable(path, error) from error
        return True

    def _create_without_links(self, path: str, temporary: str) -> bool:
        with self.locked(path):
            if os.path.lexists(path):
                return False
            os.rename(temporary, path)
        self._settle(path)
        return True

    def replace(self, path: str, parts: Sequence[Buffer], token: str) -> None:
        try:
            temporary = self._write(path, parts, token)
            try:
                os.replace(temporary, path)
            except OSError:
                _unlink(temporary)
                raise
            self._settle(path)
        except OSError as error:
            raise _unavailable(path, error) from error

    def _write(self, path: str, parts: Sequence[Buffer], token: str) -> str:
        folder = os.path.dirname(path)
        temporary = f"{folder}/.{token}.tmp"
        file = _open_new(folder, temporary)
        try:
            try:
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

    def delete(self, path: str) -> None:
        try:
            _unlink(path)
        except OSError as error:
            raise _unavailable(path, error) from error
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
    return StoreUnavailable(path, reason)


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


_MEMORY = RLock()  # `memory://` is one dictionary for the process, so it has one lock for the process


class FsspecFiles:
    """Files on any fsspec file system.

    Whether `create` is atomic is up to the file system's ``pipe_file(mode="create")``; on ``memory://`` a lock helps.

    Parameters
    ----------
    filesystem : fsspec.AbstractFileSystem
        The open file system.
    """

    def __init__(self, filesystem: AbstractFileSystem) -> None:
        self._fs = filesystem
        self._memory = "memory" in filesystem.protocol
        self._lock: AbstractContextManager[object] = _MEMORY if self._memory else nullcontext()

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.read(path))

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        try:
            data: bytes = self._fs.cat_file(self._path(path), start=start or None, end=end)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except Exception as error:  # each file system has errors of its own
            raise _unavailable(path, error) from error
        return data

    def create(self, path: str, parts: Sequence[Buffer], token: str) -> bool:
        try:
            with self._lock:
                # Asked to create, `memory://` walks over all it holds. Under the lock, looking first is as good.
                if self._memory and self._fs.isfile(self._path(path)):
                    return False
                self._pipe(path, parts, "overwrite" if self._memory else "create")
        except FileExistsError:
            return False
        except Exception as error:
            if _precondition_failed(error):
                return False
            raise _unavailable(path, error) from error
        return True

    def replace(self, path: str, parts: Sequence[Buffer], token: str) -> None:
        try:
            self._pipe(path, parts, "overwrite")
        except Exception as error:
            raise _unavailable(path, error) from error

    def _pipe(self, path: str, parts: Sequence[Buffer], mode: str) -> None:
        place, data = self._path(path), b"".join(parts)
        try:
            self._fs.pipe_file(place, data, mode=mode)
        except FileNotFoundError:  # a file system with real folders
            self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(place, data, mode=mode)

    def locked(self, path: str) -> AbstractContextManager[object]:
        return self._lock

    def delete(self, path: str) -> None:
        try:
            self._fs.rm_file(self._path(path))
        except FileNotFoundError:
            pass
        except Exception as error:
            raise _unavailable(path, error) from error

    def names(self, folder: str) -> list[str]:
        place = self._path(folder).rstrip("/")
        try:
            self._fs.invalidate_cache(place)  # another process may have written since
            found: list[str] = self._fs.find(place)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise _unavailable(folder, error) from error
        return [name[len(place) + 1 :] for name in found if name.startswith(f"{place}/")]

    def _path(self, url: str) -> str:
        path: str = self._fs._strip_protocol(url)
        return path


def _precondition_failed(error: BaseException) -> bool:
    """Some S3 servers answer a conditional write in a way that s3fs does not take for FileExistsError."""
    response = getattr(error.__cause__ or error, "response", None)
    return isinstance(response, dict) and response.get("Error", {}).get("Code") == "PreconditionFailed"


def open_fsspec(url: str, options: dict[str, object]) -> FsspecFiles:
    """Open the file system of a URL.

    Parameters
    ----------
    url : str
        For example ``memory://results`` or ``s3://bucket/results``.
    options : dict
        What fsspec calls `storage_options`.

    Returns
    -------
    FsspecFiles
        Its files; fsspec keeps one file system per set of options.

    Raises
    ------
    StoreUnavailable
        The protocol is unknown, or its package is not installed.
    """
    import fsspec

    protocol = url.partition("://")[0]
    try:
        return FsspecFiles(fsspec.filesystem(protocol, **options))
    except Exception as error:  # unknown protocol, missing package, refused credentials: all say so
        raise _unavailable(url, error) from error
