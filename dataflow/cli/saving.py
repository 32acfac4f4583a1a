"""Results as files: the stored bytes in their own format, nothing loaded."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.cli.problems import Refused
from dataflow.cli.terminal import Printer, amount, several

if TYPE_CHECKING:
    from dataflow_storage import Reference, ResultStore

SHOWN = 10  # files that are told one by one


def save(store: ResultStore, results: Mapping[str, Reference], where: str, *, force: bool) -> list[dict[str, object]]:
    """Write results into a file, a folder or standard output, and tell on standard error what they are.

    Parameters
    ----------
    store : ResultStore
        Where they are.
    results : mapping of str to Reference
        What, by the task run's label; more than one need a folder.
    where : str
        A file; a folder, with a slash at its end; or ``-``.
    force : bool
        Replace files that are there.

    Returns
    -------
    list of dict
        Of each: `task`, `file`, `format`, `bytes`.
    """
    if where == "-":
        [(_, reference)] = results.items()
        _print(store, reference)
        _tell(f"{reference.serializer}, {amount(reference.size)}")
        return []
    is_folder = where.endswith(("/", os.sep)) or os.path.isdir(where)
    files = {
        name: os.path.join(where, file_name(name, reference)) if is_folder else where
        for name, reference in results.items()
    }
    taken = [file for file in files.values() if os.path.lexists(file)]
    if taken and not force:
        more = f", and {len(taken) - 1:,} more are" if len(taken) > 1 else ""
        raise Refused(f"{taken[0]} is there already{more}; nothing was saved", "--force replaces, or name another.")
    told = []
    for name, reference in results.items():
        try:
            store.save(reference, files[name])
        except OSError as error:
            if getattr(error, "url", None) not in (None, os.path.abspath(files[name])):
                raise  # it is the result store that fails
            raise Refused(f"{files[name]} cannot be written: {getattr(error, 'reason', error)}") from error
        told.append(
            {"task": name, "file": files[name], "format": reference.serializer, "bytes": reference.size}
        )  # fmt: skip
    for name, reference in list(results.items())[:SHOWN]:
        _tell(
            f"saved {files[name]}: {reference.serializer}, {amount(reference.size)}{_warning(files[name], reference)}"
        )
    if len(results) > SHOWN:
        size = sum(reference.size for reference in results.values())
        _tell(f"… {several(len(results), 'file')}, {amount(size)} in all")
    return told


def file_name(name: str, reference: Reference) -> str:
    """The file that a task run's result gets in a folder, such as `report.clean-3.parquet`."""
    stem = name.replace("/", ".").replace("[", "-").replace("]", "")
    return stem + (suffixes(reference) or ("",))[0]


def suffixes(reference: Reference) -> tuple[str, ...]:
    """The suffixes of files in a result's format, the usual one first; none where only its serializer knows."""
    from dataflow_storage import SerializationError
    from dataflow_storage.serializers import by_name

    if reference.target:
        return (Path(reference.url).suffix,)
    try:
        return by_name(reference.serializer).suffixes
    except SerializationError:
        return ()


def _warning(file: str, reference: Reference) -> str:
    given, usual = Path(file).suffix.lower(), suffixes(reference)
    if not given or not usual or given in usual:
        return ""
    return f" (it is not converted to {given}: a better name ends in {usual[0]})"


def _print(store: ResultStore, reference: Reference) -> None:
    with tempfile.TemporaryDirectory(prefix="dataflow-") as folder:
        file = os.path.join(folder, "result")
        store.save(reference, file)
        with open(file, "rb") as stream:
            shutil.copyfileobj(stream, sys.stdout.buffer)
    sys.stdout.flush()


def _tell(line: str) -> None:
    Printer(sys.stderr).line(line)
