"""Places for results: what a store is tested on. A bucket here behaves as object stores do."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import fsspec
from fsspec import AbstractFileSystem


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

    def rm_file(self, path: str) -> None:
        self.objects.pop(path, None)

    def find(self, path: str, **options: object) -> list[str]:
        return sorted(name for name in self.objects if name.startswith(f"{path}/"))


fsspec.register_implementation("bucket", Bucket, clobber=True)


@dataclass(frozen=True)
class Place:
    """A store's URL, and what lies there behind the store's back."""

    url: str

    def read(self, url: str) -> bytes:
        if "://" in url:
            return bytes(fsspec.filesystem(url.partition(":")[0]).cat_file(url.removeprefix("bucket://")))
        return Path(url).read_bytes()

    def write(self, url: str, data: bytes) -> None:
        if "://" in url:
            fsspec.filesystem(url.partition(":")[0]).pipe_file(url.removeprefix("bucket://"), data)
        else:
            Path(url).write_bytes(data)
