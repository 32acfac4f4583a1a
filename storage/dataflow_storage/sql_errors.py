"""What an error of a database means: the row is wrong, or the store cannot be used; and then, whether it will pass."""

from __future__ import annotations

import errno

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError

from dataflow_storage.errors import StoreUnavailable

__all__ = ["is_busy", "ours", "ours_of_system"]

_BUSY, _LOCKED = 5, 6  # SQLite's primary result codes, https://sqlite.org/rescode.html
_SQLITE_REASONS = {
    3: "it may not be written; check the permissions of the file and of its folder",
    8: "it may not be written; check the permissions of the file and of its folder, and how the disk is mounted",
    10: "the disk failed to read or write it; check the disk, then resume the run",
    11: "it is damaged; `sqlite3 FILE .recover` saves what can be read; put back a copy, or move it away for a new one",
    13: "the disk is full; free space there, then resume the run",
    14: "it cannot be opened; check that its folder exists and may be written",
    26: "it is no SQLite database, or it is damaged; name another file, or move it away and a new one is made",
}
_SQLITE_PASSING = frozenset({_BUSY, _LOCKED, 7, 10, 13, 15})  # 7: no memory; 15: too many clients came at once
# https://www.postgresql.org/docs/current/errcodes-appendix.html: connections, rollbacks, resources, locks, shutdowns,
# the system; and of the class 25 a standby that will be the primary, and a client that was stopped for too long.
_POSTGRESQL_PASSING = ("08", "40", "53", "55", "57", "58", "25006", "25P03", "25P04")
_LOCK_TIMEOUT = "55P03"
# A connection that was refused has no code, only text. All else that it may say is a server that is not up.
_NEVER_LET_IN = ("does not exist", "authentication failed", "no password supplied", "pg_hba.conf")
_SYSTEM_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def ours(name: str, error: DBAPIError, patience: float) -> Exception:
    """The error to raise instead.

    Parameters
    ----------
    name : str
        How a person calls the database.
    error : DBAPIError
        What the database said.
    patience : float
        How long it was waited for a lock, in seconds.

    Returns
    -------
    ValueError or StoreUnavailable
        The row does not fit; or the store does not work.
    """
    said = " ".join(str(error.orig).split())
    code = _sqlite_code(error)
    waited = f"has kept it locked for {patience:g} s; end that one"
    if code in (_BUSY, _LOCKED):
        reason = f"another program {waited} (`fuser FILE` names it)"
    elif code in _SQLITE_REASONS:
        reason = _SQLITE_REASONS[code]
    elif _is_misfit(error):
        return ValueError(f"A row does not fit the run store {name!r}: {said}.")
    elif _state(error) == _LOCK_TIMEOUT:
        reason = f"another client {waited}"
    else:
        return StoreUnavailable(name, f"the database says: {said}", transient=_passes(error))
    by = "SQLite" if code is not None else "PostgreSQL"
    return StoreUnavailable(name, f"{reason} ({by} says: {said})", transient=_passes(error))


def ours_of_system(name: str, error: OSError) -> StoreUnavailable:
    """The error to raise instead of one of the system."""
    return StoreUnavailable(name, f"the system says: {error}", transient=error.errno in _SYSTEM_PASSING)


def is_busy(error: DBAPIError) -> bool:
    """Whether SQLite says that somebody else is at it."""
    return _sqlite_code(error) == _BUSY


def _passes(error: DBAPIError) -> bool:
    code, state = _sqlite_code(error), _state(error)
    if code is not None:
        return code in _SQLITE_PASSING
    if state is not None:
        return state.startswith(_POSTGRESQL_PASSING)
    said = str(error.orig)
    lost = error.connection_invalidated or isinstance(error, OperationalError)
    return lost and not any(words in said for words in _NEVER_LET_IN)


def _is_misfit(error: DBAPIError) -> bool:
    """The row is wrong, not the store. A programming error without an SQLSTATE: the driver does not take the value."""
    at_driver = isinstance(error, ProgrammingError | InterfaceError) and _state(error) is None
    return (at_driver and not error.connection_invalidated) or isinstance(error, IntegrityError | DataError)


def _sqlite_code(error: DBAPIError) -> int | None:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def _state(error: DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None
