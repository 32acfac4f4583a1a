"""Targets: plain files in their own format, each with a record beside it that tells whether the file is ours.

Unlike an object, a target has a place that the user chose, so a later run may write it again: the last one wins. Only
the same task run of the same generation, met twice, adopts what is there. The file is written first, then its record,
so that a crash in between leaves a record that does not match: the target counts as absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dataflow_storage.errors import StoreUnavailable
from dataflow_storage.files import Files
from dataflow_storage.hashing import Buffer, digest_file
from dataflow_storage.objects import Invalid
from dataflow_storage.paths import record_name

__all__ = ["Record", "commit", "read", "valid"]

_IDENTITY = ("run", "path", "index", "generation")  # of `meta`: the same in all of them is the same task run
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """What stands beside a target.

    Parameters
    ----------
    serializer : str
        Name of the file's format.
    size : int
        Bytes of the file.
    digest : str
        SHA-256 of the file, hex.
    token : str
        Whose commit this was.
    loader : str
        As in an object's header.
    meta : mapping
        What the caller gave.
    version : int
        Of the record's own format.
    """

    serializer: str
    size: int
    digest: str
    token: str
    loader: str = ""
    meta: Mapping[str, object] = field(default_factory=dict)
    version: int = _VERSION

    def to_json(self) -> bytes:
        """Write the record."""
        return json.dumps(vars(self), default=str, separators=(",", ":")).encode()

    def same_task_run(self, other: Record) -> bool:
        """Say whether two records come from one task run of one generation."""
        return all(str(self.meta.get(name)) == str(other.meta.get(name)) for name in _IDENTITY)


def read_record(files: Files, path: str) -> Record | None:
    """Read a target's record.

    Returns
    -------
    Record or None
        None: there is none.

    Raises
    ------
    Invalid
        It is damaged.
    """
    try:
        text = files.read(record_name(path))
    except FileNotFoundError:
        return None
    try:
        record = Record(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise Invalid(f"its record is damaged: {error}") from error
    texts = (record.serializer, record.digest, record.token, record.loader)
    if record.version != _VERSION or type(record.size) is not int or not all(isinstance(text, str) for text in texts):
        raise Invalid("its record is damaged")
    return record


def valid(files: Files, path: str) -> Record | None:
    """Read a target's record and make sure that the file is the one it speaks of.

    Returns
    -------
    Record or None
        None: there is no such target, or no record of it.

    Raises
    ------
    Invalid
        The file is not the one, or the record is damaged.
    """
    record = read_record(files, path)
    if record is None:
        return None
    try:
        with files.open(path) as file:
            size, digest = digest_file(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailable(path, error.strerror or str(error)) from error
    if (size, digest) != (record.size, record.digest):
        raise Invalid("it was changed after it was committed")
    return record


def commit(files: Files, path: str, parts: Sequence[Buffer], record: Record) -> Record:
    """Write a target and its record, unless the same task run has done so.

    Returns
    -------
    Record
        The one that stands: the given one, or that of the first commit.
    """
    with files.locked(path):
        try:
            standing = read_record(files, path)
            if standing is not None and standing.same_task_run(record) and valid(files, path):
                return standing
        except Invalid:
            pass  # it does not win
        files.replace(path, parts, record.token)
        files.replace(record_name(path), [record.to_json()], record.token)
    return record


def read(files: Files, path: str) -> tuple[memoryview, str]:
    """Read a target, and from its record the loader; the content is not checked.

    Raises
    ------
    FileNotFoundError
        There is nothing.
    """
    data = memoryview(files.read(path))
    try:
        record = read_record(files, path)
    except Invalid:  # the reference knows the digest, and most serializers are known by their name
        record = None
    return data, record.loader if record else ""
