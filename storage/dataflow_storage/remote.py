"""Files on any fsspec file system, with deadlines and conditions. State: the open file system.

An object appears under its name in one step, or not at all. An error may hide that the write was done: then the write
is tried again, is told that the object exists, and whose it is stands in the object itself (its token).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from dataflow_storage.clients import CREATE, LARGE, Client, Memory, client_of
from dataflow_storage.deadlines import Attempts
from dataflow_storage.errors import StoreUnavailable
from dataflow_storage.faults import faultpoint
from dataflow_storage.hashing import BLOCK, Buffer
from dataflow_storage.probing import exclusive
from dataflow_storage.verdicts import Verdict, judge, say, secrets_in

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["FsspecFiles", "open_fsspec", "options_for"]

T = TypeVar("T")

_TIMEOUT = 30.0  # seconds
_LISTING = 30_000_000  # a listing gets the time of so many bytes
_AT_ONCE = 4


class FsspecFiles:
    """Files on an fsspec file system.

    Parameters
    ----------
    filesystem : fsspec.AbstractFileSystem
        The open file system.
    timeout : float
        Seconds for a small call with all its attempts; each megabyte gets more.
    secrets : frozenset of str
        What no message may show.
    """

    def __init__(
        self, filesystem: AbstractFileSystem, timeout: float = _TIMEOUT, secrets: frozenset[str] = frozenset()
    ) -> None:
        self._fs = filesystem
        self._client: Client = client_of(filesystem)
        self._timeout = timeout
        self._secrets = secrets

    # --- reading ---

    def open(self, path: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Stream(lambda start, end: self._get(path, start, end)), BLOCK))

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        if end is not None and end - start <= LARGE:
            return self._get(path, start, end) if end > start else b""
        first = self._get(path, start, start + LARGE)
        if len(first) < LARGE:
            return first
        size = self._run("read", path, lambda: self._client.size(self._path(path)))
        end = size if end is None else min(end, size)
        # A BytesIO hands over what it holds without a copy.
        whole = io.BytesIO()
        whole.write(first)
        starts = range(start + LARGE, end, LARGE)
        with ThreadPoolExecutor(_AT_ONCE, "dataflow storage read") as pool:
            for at, block in zip(
                starts, pool.map(lambda at: self._get(path, at, min(at + LARGE, end)), starts), strict=True
            ):
                whole.seek(at - start)
                whole.write(block)
        return whole.getvalue()

    def _get(self, path: str, start: int, end: int) -> bytes:
        try:
            return self._run("read", path, lambda: self._client.get(self._path(path), start, end), end - start)
        except StoreUnavailable:
            raise
        except Exception as error:
            if judge(error) is Verdict.BEYOND:
                return b""
            if judge(error) is Verdict.MISSING:
                raise FileNotFoundError(path) from None
            raise StoreUnavailable(path, say(error, self._secrets)) from error

    # --- writing ---

    def create(self, path: str, parts: Sequence[Buffer], token: str, *, step: str = "results.commit") -> bool:
        if self.is_exclusive(path):
            return self._put(path, parts, CREATE, step)
        try:
            self._get(path, 0, 1)
        except FileNotFoundError:
            return self._put(path, parts, "", step)
        return False

    def replace(
        self, path: str, parts: Sequence[Buffer], token: str, stamp: str = "", *, step: str = "results.replace"
    ) -> bool:
        return self._put(path, parts, stamp, step)

    def stamp(self, path: str) -> str:
        try:
            return self._run("look at", path, lambda: self._client.stamp(self._path(path)))
        except FileNotFoundError:
            return ""

    def is_exclusive(self, path: str) -> bool:
        """Whether `create` is atomic where this path lies; finding out takes some requests, once per process.

        Raises
        ------
        StoreUnavailable
            The storage failed.
        """
        if isinstance(self._client, Memory):
            return True
        folder = path.rpartition("/")[0]
        bucket = "/".join(path.split("/")[:3])
        return exclusive(
            (self._fs, bucket),
            bucket,
            lambda name: self._put(f"{folder}/{name}", [b"probe"], CREATE, "results.probe"),
            lambda name: self.delete(f"{folder}/{name}", step="results.probe"),
        )

    def _put(self, path: str, parts: Sequence[Buffer], condition: str, step: str) -> bool:
        size = sum(map(len, parts))
        attempts = self._attempts("write", path, size)

        async def put() -> None:
            with faultpoint(step):
                await self._client.put(self._path(path), parts, condition, attempts)

        try:
            self._client.run(attempts, put)
        except StoreUnavailable:
            raise
        except Exception as error:
            verdict = judge(error)
            if condition and verdict is Verdict.REFUSED:
                return False
            if condition not in ("", CREATE) and verdict is Verdict.MISSING:
                return False  # it was deleted meanwhile
            reason = "there is no such bucket or folder" if verdict is Verdict.MISSING else say(error, self._secrets)
            raise StoreUnavailable(path, f"cannot write it: {reason}") from error
        return True

    def locked(self, path: str) -> AbstractContextManager[object]:
        return self._client.lock if isinstance(self._client, Memory) else nullcontext()

    def delete(self, path: str, *, step: str = "results.delete") -> None:
        async def delete() -> None:
            with faultpoint(step):
                await self._client.delete(self._path(path))

        with suppress(FileNotFoundError):
            self._run("delete", path, delete)

    def names(self, folder: str) -> list[str]:
        return list(self.sizes(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        place = self._path(folder).rstrip("/")
        try:
            found = self._run("list", folder, lambda: self._client.sizes(place), _LISTING)
        except FileNotFoundError:
            return {}
        return {name[len(place) + 1 :]: size for name, size in found.items() if name.startswith(f"{place}/")}

    # --- within ---

    def _run(self, what: str, path: str, make: Callable[[], Coroutine[object, None, T]], size: int = 0) -> T:
        return self._client.run(self._attempts(what, path, size), make)

    def _attempts(self, what: str, path: str, size: int) -> Attempts:
        return Attempts(path, what, self._timeout, size, self._secrets)

    def _path(self, url: str) -> str:
        path: str = self._fs._strip_protocol(url)
        return path


class _Stream(io.RawIOBase):
    """An object as a file that is read from its start, block by block."""

    def __init__(self, fetch: Callable[[int, int], bytes]) -> None:
        self._fetch = fetch
        self._next, self._size = 0, BLOCK
        self._block = memoryview(b"")
        self._ended = False
        self._fill()  # what is not there, is not there when it is opened

    def _fill(self) -> None:
        block = self._fetch(self._next, self._next + self._size)
        self._ended = len(block) < self._size
        self._next += len(block)
        self._size = LARGE
        self._block = memoryview(block)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Buffer) -> int:  # type: ignore[override]
        if not self._block and not self._ended:
            self._fill()
        room = memoryview(target)
        piece = self._block[: len(room)]
        room[: len(piece)] = piece
        self._block = self._block[len(piece) :]
        return len(piece)


# --- opening ---------------------------------------------------------------------------------------------------------

_SAME = ({"s3", "s3a"}, {"gs", "gcs"}, {"az", "abfs", "abfss"})


def options_for(protocol: str, options: Mapping[str, object], default: str, known: frozenset[str]) -> dict[str, object]:
    """Pick the storage options of a protocol.

    Parameters
    ----------
    protocol : str
        Of the URL to open.
    options : mapping
        For `default` alone, or a mapping for each of several protocols.
    default : str
        The protocol of the store itself.
    known : frozenset of str
        All protocols.

    Returns
    -------
    dict

    Examples
    --------
    >>> known = frozenset({"s3", "s3a", "gs"})
    >>> options_for("s3a", {"s3": {"anon": True}, "gs": {}}, "gs", known)
    {'anon': True}
    >>> options_for("s3", {"anon": True}, "s3", known), options_for("gs", {"anon": True}, "s3", known)
    ({'anon': True}, {})
    """
    names = next((group for group in _SAME if protocol in group), {protocol})
    if options and all(name in known and isinstance(each, Mapping) for name, each in options.items()):
        for name in (protocol, *sorted(names)):
            mine = options.get(name)
            if isinstance(mine, Mapping):
                return dict(mine)
        return {}
    return dict(options) if default in names else {}


def open_fsspec(
    url: str, options: Mapping[str, object], *, default: str | None = None, timeout: float = _TIMEOUT
) -> FsspecFiles:
    """Open the file system of a URL.

    Parameters
    ----------
    url : str
        For example ``memory://results`` or ``s3://bucket/results``.
    options : mapping
        What fsspec calls `storage_options`, or a mapping of them by protocol.
    default : str or None
        The protocol that plain options are for; None: that of the URL.
    timeout : float
        Seconds for a small call with all its attempts.

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
    known = frozenset(fsspec.available_protocols())
    secrets = secrets_in(options)
    mine = options_for(protocol, options, protocol if default is None else default, known)
    try:
        filesystem = fsspec.filesystem(protocol, **_settled(protocol, mine, timeout))
    except Exception as error:  # unknown protocol, missing package, refused credentials: all say so
        raise StoreUnavailable(url, say(error, secrets)) from (None if secrets else error)
    if hasattr(filesystem, "retries"):  # s3fs tries five times, with pauses of its own
        filesystem.retries = 1
    policy = getattr(getattr(getattr(filesystem, "service_client", None), "_config", None), "retry_policy", None)
    if policy is not None:  # Azure's pauses are longer than our deadline
        policy.total_retries = 0
    return FsspecFiles(filesystem, timeout, secrets)


def _settled(protocol: str, options: dict[str, object], timeout: float) -> dict[str, object]:
    """Storage options with what the user left open: no listings from a cache, no retries but ours."""
    if protocol in ("s3", "s3a"):
        config = options.get("config_kwargs")
        ours = {
            "connect_timeout": timeout / 3,
            "read_timeout": timeout,
            "retries": {"total_max_attempts": 1},
            "max_pool_connections": 32,
        }
        options["config_kwargs"] = {**ours, **config} if isinstance(config, Mapping) else ours
    if any(protocol in group for group in _SAME):
        options.setdefault("use_listings_cache", False)
    return options
