"""Places for results: what a store is tested on. A bucket here behaves as object stores do."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec import AbstractFileSystem

from dataflow_storage import ResultStore


class Bucket(AbstractFileSystem):  # type: ignore[misc]
    """Objects without folders; a refused conditional write says so in the way that `refusal` names."""

    protocol = "bucket"
    cachable = False
    objects: ClassVar[dict[str, bytes]] = {}
    lock = threading.Lock()
    refusal: ClassVar[str] = "exists"
    loses_replies: ClassVar[bool] = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: object) -> None:
        with self.lock:
            if mode == "create" and path in self.objects:
                if self.refusal == "exists":
                    raise FileExistsError(path)
                cause = OSError("At least one of the pre-conditions you specified did not hold")
                cause.response = {"Error": {"Code": "PreconditionFailed"}}  # type: ignore[attr-defined]
                raise OSError(22, "Bad request") from cause
            self.objects[path] = bytes(value)
        if self.loses_replies and mode == "create":
            raise FileExistsError(path)  # what a client says that sent the request twice

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: object) -> bytes:
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path][start:end]

    def info(self, path: str, **options: object) -> dict[str, object]:
        return {"name": path, "size": len(self.cat_file(path)), "type": "file"}

    def rm_file(self, path: str) -> None:
        self.objects.pop(path, None)

    def find(self, path: str, detail: bool = False, **options: object) -> list[str] | dict[str, dict[str, object]]:
        found = sorted(name for name in self.objects if name.startswith(f"{path}/"))
        return {name: {"name": name, "size": len(self.objects[name])} for name in found} if detail else found


fsspec.register_implementation("bucket", Bucket, clobber=True)


@dataclass(frozen=True)
class Place:
    """A store's URL, and what lies there behind the store's back."""

    url: str
    options: Mapping[str, object] = field(default_factory=dict, repr=False)

    def store(self, **options: Any) -> ResultStore:
        return ResultStore(self.url, self.options, **options)

    def read(self, url: str) -> bytes:
        if "://" in url:
            return bytes(self._files(url).cat_file(url.removeprefix("bucket://")))
        return Path(url).read_bytes()

    def write(self, url: str, data: bytes) -> None:
        if "://" in url:
            self._files(url).pipe_file(url.removeprefix("bucket://"), data)
        else:
            Path(url).write_bytes(data)

    def _files(self, url: str) -> AbstractFileSystem:
        return fsspec.filesystem(url.partition(":")[0], **self.options)
