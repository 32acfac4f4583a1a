"""Targets: plain files in their own format, each with a record beside it that tells whether the file is ours.

Unlike an object, a target has a place that the user chose, so a later run may write it again: the last one wins. Only
the same task run of the same generation, met twice, adopts what is there. The file is written first, then its record,
so that a crash in between leaves a record that does not match: the target counts as absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dataflow_storage.commits import ends_at
from dataflow_storage.errors import StoreUnavailable
from dataflow_storage.files import Files
from dataflow_storage.hashing import Buffer, digest_file
from dataflow_storage.objects import Invalid
from dataflow_storage.paths import record_name
from dataflow_storage.signing import UNSIGNED, Signer

__all__ = ["Record", "commit", "holds", "read", "read_record", "valid"]

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
    created : float
        When it was written, seconds since the epoch.
    meta : mapping
        What the caller gave.
    version : int
        Of the record's own format.
    """

    serializer: str
    size: int
    digest: str
    token: str
    created: float
    loader: str = ""
    meta: Mapping[str, object] = field(default_factory=dict)
    version: int = _VERSION

    def to_json(self, signer: Signer | None = None) -> bytes:
        """Write the record, signed if somebody signs."""
        text = json.dumps(vars(self), default=str, separators=(",", ":")).encode()
        return text if signer is None else signer.sign(text)

    def same_task_run(self, other: Record) -> bool:
        """Say whether two records come from one task run of one generation."""
        return all(str(self.meta.get(name)) == str(other.meta.get(name)) for name in _IDENTITY)


def read_record(files: Files, path: str, signer: Signer | None = None) -> Record | None:
    """Read a target's record.

    Parameters
    ----------
    files : Files
        Where.
    path : str
        The target's.
    signer : Signer or None
        Who must have signed it.

    Returns
    -------
    Record or None
        None: there is none.

    Raises
    ------
    Invalid
        It is damaged, or not signed.
    """
    try:
        text = files.read(record_name(path))
    except FileNotFoundError:
        return None
    if signer is not None and not signer.has_signed(text):
        raise Invalid(f"its record does not count: {UNSIGNED}")
    try:
        fields = json.loads(text)
        fields.pop("signature", None)
        record = Record(**fields)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Invalid(f"its record is damaged: {error}") from error
    texts = (record.serializer, record.digest, record.token, record.loader)
    numbers = type(record.size) is int and record.size >= 0 and isinstance(record.created, int | float)
    if record.version != _VERSION or not numbers or not all(isinstance(text, str) for text in texts):
        raise Invalid("its record is damaged")
    return record


def valid(files: Files, path: str, signer: Signer | None = None) -> Record | None:
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
    record = read_record(files, path, signer)
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


def holds(files: Files, path: str, size: int, digest: str, signer: Signer | None = None) -> bool:
    """Say whether a target's record speaks of this content, and its file has that length; the file is not read.

    Raises
    ------
    Invalid
        The record is damaged, or not signed.
    """
    record = read_record(files, path, signer)
    try:
        return record is not None and (record.size, record.digest) == (size, digest) and ends_at(files, path, size)
    except FileNotFoundError:
        return False


def commit(files: Files, path: str, parts: Sequence[Buffer], record: Record, signer: Signer | None = None) -> Record:
    """Write a target and its record, unless the same task run has done so.

    Returns
    -------
    Record
        The one that stands: the given one, or that of the first commit.
    """
    with files.locked(path):
        try:
            standing = read_record(files, path, signer)
            if standing is not None and standing.same_task_run(record) and valid(files, path, signer):
                return standing
        except Invalid:
            pass  # it does not win
        files.replace(path, parts, record.token, step="targets.file")
        files.replace(record_name(path), [record.to_json(signer)], record.token, step="targets.record")
    return record


def read(files: Files, path: str, digest: str, signer: Signer | None = None) -> tuple[memoryview, str]:
    """Read a target, and from its record the loader; the content is not checked.

    Parameters
    ----------
    files : Files
        Where.
    path : str
        The target's.
    digest : str
        The SHA-256 that its content should have.
    signer : Signer or None
        Who must have signed the record; None: no record is needed.

    Raises
    ------
    Invalid
        The record is not signed, or is one of another content.
    FileNotFoundError
        There is nothing.
    """
    data = memoryview(files.read(path))
    try:
        record = read_record(files, path, signer)
    except Invalid:  # the reference knows the digest, and most serializers are known by their name
        if signer is not None:
            raise
        record = None
    if signer is not None and (record is None or record.digest != digest):
        raise Invalid(UNSIGNED)
    return data, record.loader if record else ""
