"""What a map can walk: things with an order and a length. One rule, at build time and when a value arrives."""

from __future__ import annotations

from collections.abc import Sequence

from dataflow.errors import MapError, MapInputError


def as_items(task: str, argument: str, value: object) -> Sequence[object]:
    """The items of something that a map walks.

    Parameters
    ----------
    task, argument : str
        For the error's sentence.
    value : list, tuple, range, other sequence, one- or more-dimensional array, or Series
        What to walk; an array along its first axis.

    Raises
    ------
    MapInputError
        It is a text, a mapping, a set, a generator, a table or nothing that can be walked.

    Examples
    --------
    >>> as_items("clean", "raw", range(3))
    range(0, 3)
    >>> as_items("clean", "raw", {"a": 1})
    Traceback (most recent call last):
        ...
    dataflow.errors.MapInputError: clean.map cannot walk argument 'raw': got dict, wanted a list, ...
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return value
    kind = type(value)
    where = f"{kind.__module__}.{kind.__qualname__}"
    if where.startswith("numpy.") and getattr(value, "ndim", 0) >= 1:
        return list(value)  # type: ignore[call-overload, no-any-return]
    if where.startswith("pandas.") and kind.__name__ in ("Series", "Index", "DatetimeIndex", "RangeIndex"):
        return list(value)  # type: ignore[call-overload, no-any-return]
    raise MapInputError(task, argument, kind.__qualname__)


def common_length(task: str, lengths: dict[str, int], *, strict: bool) -> int:
    """The one length of all that a map walks.

    Raises
    ------
    MapError
        The lengths differ and `strict` is set.

    Examples
    --------
    >>> common_length("add", {"a": 3, "b": 2}, strict=False)
    2
    >>> common_length("add", {"a": 3, "b": 2}, strict=True)
    Traceback (most recent call last):
        ...
    dataflow.errors.MapError: add.map: lengths differ: a has 3, b has 2. Give lists of one length, ...
    """
    if strict and len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise MapError(
            task,
            f"lengths differ: {told}. Give lists of one length, unmapped(...) for what is the same each time, "
            "or strict=False.",
        )
    return min(lengths.values())
