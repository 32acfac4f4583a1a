"""Names, without I/O: a key becomes the name of an object, and a user's target path is checked.

A key is text that *we* make, so every text is taken and escaped reversibly. A target path is text that a *user* made,
so it is kept as it is or refused.
"""

from __future__ import annotations

import os
import re
import unicodedata
from functools import lru_cache

from dataflow_storage.errors import StoreUnavailable, UnsafePath
from dataflow_storage.hashing import digest

__all__ = ["check_target", "is_hashed", "is_url", "join", "key_of", "name_of", "place_of", "record_name"]

_PLAIN = re.compile(r"[a-z0-9_-]+")
_ODD = re.compile(r"[^a-z0-9_-]")  # upper case is odd, too: some file systems cannot tell A from a
_ESCAPED = re.compile(r"(?:[a-z0-9_-]|%[0-9a-f]{2})+")
# `targets` is the folder beside the runs'; the others are devices on Windows, whatever their suffix.
_RESERVED = re.compile(r"targets|con|prn|aux|nul|(?:com|lpt)[0-9]")
_EMPTY = "%-"
_HASHED = "%%"
_LONGEST_FOLDER = 100
_LONGEST_FILE = 180  # a name may have 255 bytes on most disks; suffixes need some
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LOGIN = re.compile(r"[^/@]*:[^/@]*@")
_DRIVE = re.compile(r".:")
_LONGEST_TARGET = 230


def is_url(text: str) -> bool:
    """Say whether a text starts with a protocol.

    Examples
    --------
    >>> is_url("s3://bucket/x"), is_url("C:/x"), is_url("/tmp/x")
    (True, False, False)
    """
    return _URL.match(text) is not None


def place_of(url: str) -> str:
    """Turn a path or URL into a full one without an end slash; a local one loses its protocol.

    Raises
    ------
    StoreUnavailable
        It is a chain such as ``simplecache::s3://…``, or holds a password.
    UnsafePath
        It is a file URL of a relative path.

    Examples
    --------
    >>> place_of("file:///data/"), place_of("memory://x/"), place_of("memory://")
    ('/data', 'memory://x', 'memory://')
    """
    if "::" in url:
        raise StoreUnavailable(url, "chained URLs are not supported")
    protocol, separator, rest = url.partition("://")
    if separator and _LOGIN.match(rest):
        shown = f"{protocol}://***@{rest.partition('@')[2]}"
        raise StoreUnavailable(shown, "a URL is recorded and shown: give a password in storage_options instead")
    if separator and protocol.lower() not in ("file", "local"):
        return url.rstrip("/") if rest.strip("/") else f"{protocol}://"
    if separator and not os.path.isabs(rest):
        raise UnsafePath(url, "a file URL needs a full path, as in 'file:///data/a.json'")
    return os.path.abspath(rest if separator else os.path.expanduser(url))


def join(place: str, name: str) -> str:
    """Name something within a place.

    Examples
    --------
    >>> join("memory://", "a"), join("/data", "a")
    ('memory://a', '/data/a')
    """
    return f"{place}{'' if place.endswith('/') else '/'}{name}"


def name_of(key: str) -> str:
    """Turn a key into a relative object name without its suffix: one folder for the first part, one file for the rest.

    One folder per run, because making a folder costs more than writing a small result. No two keys share a name, not
    even on a file system that ignores case. A very long key is cut and gets its hash; then the name alone does not tell
    the key, but the object's header does.

    Parameters
    ----------
    key : str
        Any text; ``/`` separates its parts.

    Returns
    -------
    str
        A name of ``a-z 0-9 _ - % .`` with at most one ``/``.

    Examples
    --------
    >>> name_of("r7/report/clean[3]/0")
    'r7/report.clean%5b3%5d.0'
    >>> name_of("A//..")
    '%41/%-.%2e%2e'
    """
    first, slash, rest = key.partition("/")
    folder = _shorten(_escape(first), _LONGEST_FOLDER, first)
    if not slash:
        return folder
    name = rest if _PLAIN.fullmatch(rest) and not _RESERVED.fullmatch(rest) else ".".join(map(_escape, rest.split("/")))
    return f"{folder}/{_shorten(name, _LONGEST_FILE, rest)}"


@lru_cache(maxsize=1 << 14)  # a folder is listed again and again
def key_of(name: str) -> str | None:
    """Turn an object name back into its key.

    Parameters
    ----------
    name : str
        What `name_of` made.

    Returns
    -------
    str or None
        The key; None when the name is a hash or is not one of ours.

    Examples
    --------
    >>> key_of("r7/report.clean%5b3%5d.0")
    'r7/report/clean[3]/0'
    >>> key_of("Notes") is None
    True
    """
    first, slash, rest = name.partition("/")
    parts = [first, *rest.split(".")] if slash else [first]
    try:
        key = "/".join(map(_unescape, parts))
    except ValueError:  # UnicodeDecodeError is one
        return None
    return key if name_of(key) == name else None


def is_hashed(name: str) -> bool:
    """Say whether a name was cut, so that only the header knows its key."""
    return _HASHED in name


def _escape(part: str) -> str:
    if _PLAIN.fullmatch(part) and not _RESERVED.fullmatch(part):
        return part
    if not part:
        return _EMPTY
    if _RESERVED.fullmatch(part):
        return f"%{ord(part[0]):02x}{part[1:]}"
    return _ODD.sub(lambda odd: "".join(f"%{byte:02x}" for byte in odd[0].encode("utf-8", "surrogatepass")), part)


def _unescape(part: str) -> str:
    if part == _EMPTY:
        return ""
    if not _ESCAPED.fullmatch(part):
        raise ValueError(part)
    raw = re.sub(rb"%(..)", lambda code: bytes.fromhex(code[1].decode()), part.encode())
    return raw.decode("utf-8", "surrogatepass")


def _shorten(name: str, longest: int, text: str) -> str:
    if len(name) <= longest:
        return name
    return f"{name[:64]}{_HASHED}{digest([text.encode('utf-8', 'surrogatepass')])}"


def check_target(path: str) -> str:
    """Check a rendered target path by its text alone, and drop what means nothing in it (``./``, ``//``).

    Parameters
    ----------
    path : str
        A relative path with ``/``, or a full URL.

    Returns
    -------
    str
        The same path, tidied.

    Raises
    ------
    UnsafePath
        It is empty, absolute, has ``..``, a backslash, a control character, a name that is too long, or names a folder.

    Examples
    --------
    >>> check_target("./clean//a.json")
    'clean/a.json'
    >>> check_target("../a.json")
    Traceback (most recent call last):
    ...
    dataflow_storage.errors.UnsafePath: The path '../a.json' is refused: it has '..' in it. Give ...
    """
    protocol = _URL.match(path)
    names = path[protocol.end() if protocol else 0 :].split("/")
    tidy = path if protocol else "/".join(name for name in names if name not in ("", "."))
    if problem := _characters(path) or ("" if protocol else _absolute(path) or _absolute(tidy)) or _names(names):
        raise UnsafePath(path, problem)
    return tidy


def _characters(path: str) -> str:
    if not path:
        return "it is empty"
    if "\\" in path:
        return "it has a backslash in it"
    if path.isascii() and path.isprintable():
        return ""
    for character in path:
        if unicodedata.category(character) in ("Cc", "Cs"):
            return f"it has the control character {character!r} in it"
    return ""


def _absolute(path: str) -> str:
    return "it is absolute" if path.startswith("/") or _DRIVE.match(path) else ""


def _names(names: list[str]) -> str:
    if names[-1] in ("", "."):
        return "it names a folder, not a file"
    for name in names:
        # Windows drops trailing dots and spaces, so that '.. ' is '..' there.
        if name not in ("", ".") and not name.strip(". "):
            return "it has '..' in it" if name == ".." else f"it has the name {name!r} in it"
        if len(name.encode()) > _LONGEST_TARGET:
            return f"it has a name of more than {_LONGEST_TARGET} bytes in it"
    if names[-1].startswith(".") and names[-1].endswith(_RECORD):
        return "its name is that of a target's record"
    return ""


_RECORD = ".dflw.json"


def record_name(path: str) -> str:
    """Name the record of a target: a hidden file beside it, so that readers of whole folders pass it over.

    Examples
    --------
    >>> record_name("clean/a.parquet")
    'clean/.a.parquet.dflw.json'
    """
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}{_RECORD}"
