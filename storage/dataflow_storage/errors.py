"""Every error the storage wing raises. Each is also the builtin that fits, keeps its ids as
attributes, and survives pickle.

An error's constructor takes ids; the sentence (what was given, what is wanted, what to do) is written here, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = [
    "AmbiguousRun",
    "ResultCorrupt",
    "ResultMissing",
    "RunNotFound",
    "SerializationError",
    "StaleOwner",
    "StorageError",
    "StoreUnavailable",
    "UnsafePath",
]


class StorageError(Exception):
    """The base of every error of this package.

    Examples
    --------
    >>> import copy
    >>> copy.copy(ResultMissing("/results/a.dflw")).url
    '/results/a.dflw'
    """

    def __reduce__(self) -> tuple[object, ...]:
        # An exception is normally rebuilt by calling its class with `args`, and `args` is the sentence, not the ids.
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(kind: type[StorageError], args: tuple[object, ...], state: Mapping[str, object]) -> StorageError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ResultMissing(StorageError, LookupError):
    """There is no object at the place a reference names.

    Parameters
    ----------
    url : str
        Where the object was looked for.
    reason : str
        What else is known, as a clause; may be empty.
    """

    def __init__(self, url: str, reason: str = "") -> None:
        self.url = url
        detail = f" ({reason})" if reason else ""
        super().__init__(
            f"No result at {url!r}{detail}. It was deleted, or this process does not see the same storage: "
            "check the store's URL, or run the task again."
        )


class ResultCorrupt(StorageError, ValueError):
    """An object is there, but it is not the one that was committed: torn, changed, or not ours.

    Parameters
    ----------
    url : str
        The object.
    reason : str
        What does not fit, as a clause.
    """

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"The object at {url!r} is not the result that was committed: {reason}. "
            "It was not loaded. Run the task again: an invalid object is replaced."
        )


class SerializationError(StorageError, TypeError):
    """A value cannot be turned into bytes, or bytes into a value.

    Parameters
    ----------
    type_name : str
        The value's type, qualified; on loading, what was to be loaded.
    serializer : str
        The serializer's name.
    reason : str
        What went wrong, as a clause.
    where : str
        The part of the value to blame, such as ``value['conn'].socket``; empty when it is not known.
    advice : str
        What to do; a general advice stands in when it is empty.
    """

    def __init__(self, type_name: str, serializer: str, reason: str, *, where: str = "", advice: str = "") -> None:
        self.type_name = type_name
        self.serializer = serializer
        self.reason = reason
        self.where = where
        blame = f" because of {where}" if where else ""
        todo = advice or (
            "Return plain data instead, choose a serializer that takes this type, or do not persist this task's result."
        )
        super().__init__(f"The serializer {serializer!r} cannot handle {type_name}{blame}: {reason}. {todo}")


class UnsafePath(StorageError, ValueError):
    """A path is refused because it could leave its root, or could not be written everywhere.

    Parameters
    ----------
    path : str
        The path as given.
    reason : str
        What is wrong with it, as a clause.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"The path {path!r} is refused: {reason}. Give a relative path of plain names, such as "
            "'clean/2026-11-22.parquet', or a full URL, such as 's3://bucket/clean.parquet'."
        )


class StoreUnavailable(StorageError, OSError):
    """The storage itself does not answer, is full, or lacks a package it needs.

    Parameters
    ----------
    url : str
        The store.
    reason : str
        What the storage said, as a clause.
    transient : bool
        Whether it may well go away by itself, or once somebody has made space: the same call can be made again.
    """

    def __init__(self, url: str, reason: str, *, transient: bool = False) -> None:
        self.url = url
        self.reason = reason
        self.transient = transient
        super().__init__(
            f"The store at {url!r} cannot be used: {reason}. Check that it exists, that it may be written, and that it "
            "has space left; what was committed before stays, so the run can be resumed."
        )


class RunNotFound(StorageError, LookupError):
    """No run has this id or name.

    Parameters
    ----------
    run : str
        The id, name or shorthand as given.
    store : str
        The run store that was asked; may be empty.
    """

    def __init__(self, run: str, store: str = "") -> None:
        self.run = run
        self.store = store
        place = f" in {store}" if store else ""
        super().__init__(
            f"No run {run!r}{place}. A run is named by its id, the first characters of its id, its name, or '@last'."
        )


class AmbiguousRun(StorageError, LookupError):
    """Several runs fit what was given.

    Parameters
    ----------
    run : str
        The name or prefix as given.
    matches : sequence of str
        The runs that fit, best first; the sentence shows five.
    """

    def __init__(self, run: str, matches: Sequence[str]) -> None:
        self.run = run
        self.matches = tuple(matches)
        shown = ", ".join(self.matches[:5]) + (", …" if len(self.matches) > 5 else "")
        super().__init__(f"{run!r} fits {len(self.matches)} runs: {shown}. Give more characters of the id.")


class StaleOwner(StorageError, RuntimeError):
    """A writer is no longer the owner of its run; nothing that it sent was written.

    Parameters
    ----------
    run : str
        The run's id.
    epoch : int
        The epoch the writer holds.
    current : int or None
        The epoch that owns the run now; None when it is not known.
    owner : str
        Who owns the run now; may be empty.
    """

    def __init__(self, run: str, epoch: int, current: int | None = None, owner: str = "") -> None:
        self.run = run
        self.epoch = epoch
        self.current = current
        self.owner = owner
        now = "" if current is None else f"; the run is now at epoch {current}"
        by = f", owned by {owner}" if owner else ""
        super().__init__(
            f"This process lost run {run!r}: it writes for epoch {epoch}{now}{by}. Nothing was written. "
            "Another process has taken the run over: follow it there, or resume the run when that one has ended."
        )
