"""Values to bytes and back. A serializer is five things: a name, suffixes, may it, write, read.

Which one is used: the one the user named; for a target the one its suffix names; with ``"auto"`` the first plain format
that gives back an equal value of the same type, and pickle for everything else.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dataflow_storage import formats, pages, plain, typed
from dataflow_storage.blame import culprit, name_of_type
from dataflow_storage.errors import SerializationError
from dataflow_storage.hashing import Buffer

__all__ = ["SERIALIZERS", "Format", "Serializer", "by_name", "by_suffix", "choose", "dump", "load", "resolve"]


@runtime_checkable
class Serializer(Protocol):
    """What the store needs of a serializer; any object with these will do, if it can be pickled itself."""

    @property
    def name(self) -> str:
        """Its name, as in ``serializer="json"``."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes of files in this format, with the dot, the usual one first."""

    def handles(self, value: object, /) -> bool:
        """Say whether this value can be written."""

    def dumps(self, value: object, /) -> bytes | Sequence[Buffer]:
        """Write the value: bytes, or buffers that follow each other."""

    def loads(self, data: bytes, /) -> object:
        """Read what `dumps` wrote."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A serializer made of functions.

    Parameters
    ----------
    name : str
        Its name.
    suffixes : tuple of str
        Suffixes of its files.
    takes : str
        What it can write, for an error's sentence.
    handles, dumps, loads : callable
        As in `Serializer`.
    exact : callable or None
        Say whether a value comes back equal, with its type; None: never asked, ``"auto"`` passes this format over.
    """

    name: str
    suffixes: tuple[str, ...]
    takes: str
    handles: Callable[[object], bool]
    dumps: Callable[[object], bytes | Sequence[Buffer]]
    loads: Callable[[Buffer], object]
    exact: Callable[[object], bool] | None = None


# --- the formats ----------------------------------------------------------------------------------------------------

PICKLE = Format(
    name="pickle",
    suffixes=(".pkl", ".pickle"),
    takes="nearly everything",
    handles=plain.anything,
    dumps=plain.pickle_dumps,
    loads=pickle.loads,
)
JSON = Format(
    name="json",
    suffixes=(".json",),
    takes="what JSON has, dates, arrays, enums, dataclasses",
    handles=plain.anything,
    dumps=plain.json_dumps,
    loads=plain.json_loads,
    exact=plain.json_exact,
)
TEXT = Format(
    name="text",
    suffixes=(".txt", ".text", ".md", ".log", ".sql", ".yaml", ".yml", ".xml"),
    takes="text",
    handles=plain.is_text,
    dumps=plain.text_dumps,
    loads=plain.text_loads,
    exact=plain.text_exact,
)
BYTES = Format(
    name="bytes",
    suffixes=(".bin", ".bytes"),
    takes="bytes",
    handles=plain.is_bytes,
    dumps=plain.bytes_dumps,
    loads=bytes,
    exact=plain.bytes_exact,
)
NPY = Format(
    name="npy",
    suffixes=(".npy",),
    takes="NumPy arrays without objects or masks",
    handles=formats.is_array,
    dumps=formats.npy_dumps,
    loads=formats.npy_loads,
    exact=formats.npy_exact,
)
PARQUET = Format(
    name="parquet",
    suffixes=(".parquet", ".pq"),
    takes="a pandas DataFrame or Series, or a pyarrow.Table",
    handles=formats.is_table,
    dumps=formats.parquet_dumps,
    loads=formats.parquet_loads,
    exact=formats.parquet_exact,
)
ARROW = Format(
    name="arrow",
    suffixes=(".arrow", ".feather"),
    takes=PARQUET.takes,
    handles=formats.is_table,
    dumps=formats.arrow_dumps,
    loads=formats.arrow_loads,
)
CSV = Format(
    name="csv",
    suffixes=(".csv",),
    takes=f"{PARQUET.takes}, or a list of dicts",
    handles=formats.has_rows,
    dumps=formats.csv_dumps,
    loads=formats.csv_loads,
)
JSONL = Format(
    name="jsonl",
    suffixes=(".jsonl", ".ndjson"),
    takes="a list, a pandas DataFrame, or a pyarrow.Table",
    handles=formats.is_listing,
    dumps=plain.jsonl_dumps,
    loads=plain.jsonl_loads,
)
HTML = Format(
    name="html",
    suffixes=(".html", ".htm"),
    takes="text, or an object that shows itself as HTML in a notebook",
    handles=pages.is_page,
    dumps=pages.html_dumps,
    loads=plain.text_loads,
)
PNG = Format(
    name="png",
    suffixes=(".png",),
    takes="the bytes of a PNG, a Matplotlib figure, or an object that shows itself as PNG in a notebook",
    handles=pages.PNG.handles,
    dumps=pages.PNG.dumps,
    loads=bytes,
)
SVG = Format(
    name="svg",
    suffixes=(".svg",),
    takes="the text of an SVG, a Matplotlib figure, or an object that shows itself as SVG in a notebook",
    handles=pages.SVG.handles,
    dumps=pages.SVG.dumps,
    loads=plain.text_loads,
)
PDF = Format(
    name="pdf",
    suffixes=(".pdf",),
    takes="the bytes of a PDF, a Matplotlib figure, or an object that shows itself as PDF in a notebook",
    handles=pages.PDF.handles,
    dumps=pages.PDF.dumps,
    loads=bytes,
)
TYPED = Format(
    name="typed",
    suffixes=(),
    takes="a dataclass or pydantic value whose fields are JSON data, dates, enums, or such values again",
    handles=typed.is_typed,
    dumps=typed.typed_dumps,
    loads=typed.typed_loads,
    exact=typed.typed_exact,
)

SERIALIZERS: tuple[Format, ...] = (
    PICKLE, JSON, TEXT, BYTES, NPY, PARQUET, ARROW, CSV, JSONL, HTML, PNG, SVG, PDF, TYPED
)  # fmt: skip
"""Every format that has a name."""

_BY_NAME: Mapping[str, Format] = {each.name: each for each in SERIALIZERS}
_BY_SUFFIX: Mapping[str, Format] = {suffix: each for each in SERIALIZERS for suffix in each.suffixes}
_BY_TYPE: Mapping[type, Format] = {
    str: TEXT, bytes: BYTES, type(None): JSON, bool: JSON, int: JSON, float: JSON, list: JSON, dict: JSON
}  # fmt: skip


# --- choosing and using one -----------------------------------------------------------------------------------------


def by_name(name: str) -> Format:
    """Look a format up.

    Parameters
    ----------
    name : str
        For example ``"json"``.

    Returns
    -------
    Format

    Raises
    ------
    SerializationError
        There is none of this name.

    Examples
    --------
    >>> by_name("npy").suffixes
    ('.npy',)
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        known = ", ".join(sorted(_BY_NAME))
        raise SerializationError(
            "a value", name, "there is no serializer of this name", advice=f"Use 'auto', an object, or one of: {known}."
        ) from None


def by_suffix(path: str, value: object) -> Format:
    """Take the format that a file's suffix names; for an unknown one, text and bytes are written as they are.

    Parameters
    ----------
    path : str
        The file's name.
    value : object
        What is to be written.

    Returns
    -------
    Format

    Raises
    ------
    SerializationError
        The suffix says nothing, and neither does the value.

    Examples
    --------
    >>> by_suffix("out/a.JSON", 1).name, by_suffix("Makefile", "all:").name
    ('json', 'text')
    """
    _, dot, suffix = path.rpartition("/")[2].rpartition(".")
    found = _BY_SUFFIX.get(f".{suffix.lower()}") if dot else None
    if found is None:
        found = next((each for each in (TEXT, BYTES) if each.handles(value)), None)
    if found is None:
        raise SerializationError(
            name_of_type(value),
            "by suffix",
            f"the name {path!r} does not tell the format",
            advice=f"Name a serializer, or use one of the suffixes {', '.join(sorted(_BY_SUFFIX))}.",
        )
    return found


def choose(value: object) -> Format:
    """Pick the first plain format that gives back an equal value of the same type; else pickle.

    Examples
    --------
    >>> [choose(value).name for value in ("a", b"a", None, [1], (1,), {1: 2}, lambda: 1)]
    ['text', 'bytes', 'json', 'json', 'pickle', 'pickle', 'pickle']
    """
    found = _BY_TYPE.get(type(value))
    if found is None:
        if formats.is_array(value):
            found = NPY
        elif formats.is_table(value):
            found = PARQUET
        elif typed.is_typed(value):
            found = TYPED
    return found if found is not None and found.exact is not None and found.exact(value) else PICKLE


def resolve(spec: str | Serializer, value: object) -> Serializer:
    """Turn what a user wrote into a serializer: ``"auto"``, a name, or an object.

    Raises
    ------
    SerializationError
        A name that there is not, or an object that is no serializer.
    """
    if isinstance(spec, str):
        return choose(value) if spec == "auto" else by_name(spec)
    if type(spec) is Format or isinstance(spec, Serializer):  # asking for a protocol takes 15 µs
        return spec
    raise SerializationError(
        "a value",
        repr(spec),
        f"a {name_of_type(spec)} is no serializer",
        advice="Use 'auto', a name such as 'json', or an object with name, suffixes, handles, dumps and loads.",
    )


def dump(serializer: Serializer, value: object) -> list[Buffer]:
    """Write a value, with errors that name what is to blame.

    Parameters
    ----------
    serializer : Serializer
        How.
    value : object
        What.

    Returns
    -------
    list of bytes-like
        Buffers of bytes that follow each other.

    Raises
    ------
    SerializationError
        It cannot be written.
    """
    try:
        if not serializer.handles(value):
            takes = getattr(serializer, "takes", "other types")
            raise SerializationError(name_of_type(value), serializer.name, f"it takes {takes}")
        data = serializer.dumps(value)
        if isinstance(data, bytes):
            return [data]
        return [part if isinstance(part, bytes) else memoryview(part).cast("B") for part in data]
    except SerializationError:
        raise
    except Exception as error:  # foreign code: the value's own methods, or the format's package
        where = culprit(value) if serializer.name == PICKLE.name else ""
        raise SerializationError(name_of_type(value), serializer.name, _reason(error), where=where) from error


def load(serializer: Serializer, data: memoryview) -> object:
    """Read a value back.

    Parameters
    ----------
    serializer : Serializer
        What it was written with.
    data : memoryview
        What was written; its digest has been checked.

    Returns
    -------
    object

    Raises
    ------
    SerializationError
        The bytes are right, but they cannot be turned into a value here.
    """
    try:
        if isinstance(serializer, Format):
            return serializer.loads(data)
        return serializer.loads(bytes(data))
    except Exception as error:  # foreign code, as above
        raise SerializationError(
            "a stored value",
            serializer.name,
            f"it cannot be read here: {_reason(error)}",
            advice="The stored bytes are intact. Check that this process can import what the value is made of.",
        ) from error


def _reason(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # an error whose __str__ raises
        return type(error).__name__
