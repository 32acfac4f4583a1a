"""What fsspec's file systems do not say alike: conditional writes, uploads in parts, versions. A class for each kind.

The methods are coroutines, and `run` runs one to its end: on fsspec's loop, in a thread, or at once. They raise what
the client library raises; `verdicts` knows what that means. A write has a *condition*: `CREATE`, none, or the version
that it replaces.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from dataflow_storage.buffers import BufferFile, blocks
from dataflow_storage.deadlines import Attempts, call, call_async, on_loop
from dataflow_storage.errors import StoreUnavailable
from dataflow_storage.hashing import BLOCK, Buffer

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["CREATE", "LARGE", "Client", "client_of"]

T = TypeVar("T")

CREATE: Final = "*"
LARGE = 8 << 20  # bytes; up to here, one request with one copy is cheaper than several
_PARTS = 9_000  # S3 takes 10,000
_AT_ONCE = 4


class Client:
    """Any asynchronous file system of fsspec, and what the others of this module have in common.

    Parameters
    ----------
    filesystem : fsspec.AbstractFileSystem
        The open file system.
    """

    def __init__(self, filesystem: AbstractFileSystem) -> None:
        self._fs = filesystem

    def run(self, attempts: Attempts, make: Callable[[], Coroutine[object, None, T]]) -> T:
        """Run a method of this client, as often as `attempts` allows."""
        return on_loop(self._fs.loop, lambda: call_async(attempts, make), attempts.total)

    async def put(self, path: str, parts: Sequence[Buffer], condition: str, attempts: Attempts) -> None:
        """Write an object; `attempts` are those of the whole call."""
        await self._fs._pipe_file(path, b"".join(parts), mode="create" if condition == CREATE else "overwrite")

    async def get(self, path: str, start: int, end: int) -> bytes:
        """Read a range; the object may end before."""
        data: bytes = await self._fs._cat_file(path, start=start, end=end)
        return data

    async def size(self, path: str) -> int:
        """The object's bytes."""
        return int((await self._fs._info(path))["size"])

    async def stamp(self, path: str) -> str:
        """The object's version; empty where versions are not known."""
        return ""

    async def delete(self, path: str) -> None:
        """Remove an object."""
        await self._fs._rm_file(path)

    async def sizes(self, path: str) -> dict[str, int]:
        """List what lies under a path, by full names, with the bytes of each."""
        self._fs.invalidate_cache(path)  # another process may have written since
        return _sizes(await self._fs._find(path, detail=True))


class Threaded(Client):
    """A file system whose calls block."""

    def run(self, attempts: Attempts, make: Callable[[], Coroutine[object, None, T]]) -> T:
        return call(attempts, lambda: _finish(make()))

    async def put(self, path: str, parts: Sequence[Buffer], condition: str, attempts: Attempts) -> None:
        data, mode = b"".join(parts), "create" if condition == CREATE else "overwrite"
        try:
            self._fs.pipe_file(path, data, mode=mode)
        except FileNotFoundError:  # a file system with real folders
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, data, mode=mode)

    async def get(self, path: str, start: int, end: int) -> bytes:
        data: bytes = self._fs.cat_file(path, start=start, end=end)
        return data

    async def size(self, path: str) -> int:
        return int(self._fs.info(path)["size"])

    async def delete(self, path: str) -> None:
        self._fs.rm_file(path)

    async def sizes(self, path: str) -> dict[str, int]:
        self._fs.invalidate_cache(path)
        return _sizes(self._fs.find(path, detail=True))


def _sizes(found: Mapping[str, Mapping[str, object]]) -> dict[str, int]:
    return {name: int(str(about.get("size") or 0)) for name, about in found.items()}


_MEMORY = RLock()  # `memory://` is one dictionary for the process, so it has one lock for the process


class Memory(Threaded):
    """``memory://``: nothing can stall, and a lock does what a condition does elsewhere."""

    lock = _MEMORY

    def run(self, attempts: Attempts, make: Callable[[], Coroutine[object, None, T]]) -> T:
        while True:
            try:
                return _finish(make())
            except Exception as error:
                pause = attempts.failed(error)
                if not isinstance(error, StoreUnavailable):  # only a fault that was asked for says so here
                    raise
            time.sleep(pause)

    async def put(self, path: str, parts: Sequence[Buffer], condition: str, attempts: Attempts) -> None:
        with _MEMORY:
            # Asked to create, `memory://` walks over all it holds. Under the lock, looking first is as good.
            if condition == CREATE and self._fs.isfile(path):
                raise FileExistsError(path)
            self._fs.pipe_file(path, b"".join(parts))


def _finish(coroutine: Coroutine[object, None, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        coroutine.close()
    raise RuntimeError("a coroutine of a blocking file system waits")


class S3(Client):
    """Conditions are ``If-None-Match`` and ``If-Match``; of an upload in parts, the last request carries it."""

    async def put(self, path: str, parts: Sequence[Buffer], condition: str, attempts: Attempts) -> None:
        bucket, key, _ = self._fs.split_path(path)
        where = {"Bucket": bucket, "Key": key}
        size = sum(map(len, parts))
        if size <= LARGE:
            await self._fs._call_s3("put_object", Body=b"".join(parts), **where, **_s3_condition(condition))
            return
        if condition == CREATE:
            # Spares an upload, and finds our own object whose "done" got lost on the way.
            with suppress(FileNotFoundError):
                await self.size(path)
                raise FileExistsError(path)
        upload = await self._fs._call_s3("create_multipart_upload", **where)
        where["UploadId"] = upload["UploadId"]
        try:
            sent = await self._send(parts, max(LARGE, -(-size // _PARTS)), where, attempts)
            await self._fs._call_s3(
                "complete_multipart_upload", MultipartUpload={"Parts": sent}, **where, **_s3_condition(condition)
            )
        except BaseException:
            with suppress(Exception):
                await asyncio.shield(self._fs._call_s3("abort_multipart_upload", **where))
            raise

    async def _send(
        self, parts: Sequence[Buffer], block: int, where: dict[str, str], attempts: Attempts
    ) -> list[dict[str, object]]:
        async def send(number: int, body: bytes) -> dict[str, object]:
            one = attempts.part(len(body))
            answer = await call_async(
                one, lambda: self._fs._call_s3("upload_part", PartNumber=number, Body=body, **where)
            )
            return {"PartNumber": number, "ETag": answer["ETag"]}

        sent: list[dict[str, object]] = []
        under_way: set[asyncio.Task[dict[str, object]]] = set()
        try:
            for number, body in enumerate(blocks(parts, block), 1):
                if len(under_way) >= _AT_ONCE:
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    sent += [task.result() for task in done]
                under_way.add(asyncio.create_task(send(number, body)))
            sent += await asyncio.gather(*under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        return sorted(sent, key=lambda part: int(str(part["PartNumber"])))

    async def size(self, path: str) -> int:
        return int((await self._fs._info(path, refresh=True))["size"])

    async def stamp(self, path: str) -> str:
        return str((await self._fs._info(path, refresh=True))["ETag"])


def _s3_condition(condition: str) -> dict[str, str]:
    return {"IfNoneMatch": CREATE} if condition == CREATE else {"IfMatch": condition} if condition else {}


class GCS(Client):
    """The condition is the generation. Every size is one streamed request, the kind that all servers check it on."""

    async def put(self, path: str, parts: Sequence[Buffer], condition: str, attempts: Attempts) -> None:
        bucket, key, _ = self._fs.split_path(path)
        boundary = os.urandom(16).hex()  # so that no value holds it
        about = json.dumps({"name": key}).encode()
        start = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode()
            + about
            + f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        )
        body = BufferFile([start, *parts, f"\r\n--{boundary}--".encode()])
        when = {"ifGenerationMatch": "0" if condition == CREATE else condition} if condition else {}
        await self._fs._call(
            "POST",
            f"{self._fs._location}/upload/storage/v1/b/{quote(bucket)}/o",
            uploadType="multipart",
            headers={"Content-Type": f'multipart/related; boundary="{boundary}"', "Content-Length": str(len(body))},
            data=body if len(body) > BLOCK else body.read(),
            json_out=True,
            **when,
        )

    async def size(self, path: str) -> int:
        return int(str((await self._about(path))["size"]))

    async def stamp(self, path: str) -> str:
        return str((await self._about(path))["generation"])

    async def _about(self, path: str) -> dict[str, object]:
        bucket, key, _ = self._fs.split_path(path)
        about: dict[str, object] = await self._fs._call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        return about


class Azure(Client):
    """Conditions are ``If-None-Match`` and ``If-Match``; the client library uploads in blocks."""

    async def put(self, path: str, parts: Sequence[Buffer], condition: str, attempts: Attempts) -> None:
        size = sum(map(len, parts))
        body = BufferFile(parts) if size > BLOCK else b"".join(parts)
        when: dict[str, object] = {}
        if condition and condition != CREATE:
            from azure.core import MatchConditions

            when = {"etag": condition, "match_condition": MatchConditions.IfNotModified}
        await self._fs._pipe_file(
            path, body, overwrite=condition != CREATE, length=size, max_concurrency=_AT_ONCE, **when
        )

    async def size(self, path: str) -> int:
        return int((await self._fs._info(path, refresh=True))["size"])

    async def stamp(self, path: str) -> str:
        return str((await self._fs._info(path, refresh=True))["etag"])


def client_of(filesystem: AbstractFileSystem) -> Client:
    """Choose the client for a file system."""
    protocol = filesystem.protocol
    names = {protocol} if isinstance(protocol, str) else set(protocol)
    if "memory" in names:
        return Memory(filesystem)
    for name, method, kind in (("s3", "_call_s3", S3), ("gs", "_call", GCS), ("abfs", "_pipe_file", Azure)):
        if name in names and hasattr(filesystem, method):
            return kind(filesystem)
    return Client(filesystem) if filesystem.async_impl else Threaded(filesystem)
