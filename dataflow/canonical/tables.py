"""pandas: frames, series, indexes, their arrays, and scalars. What counts is types, names, order and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dataflow.canonical import arrays
from dataflow.canonical.frames import Around, Encoded, Refused, Steps, frame, named, packed, text, texts
from dataflow.canonical.objects import zone_name
from dataflow.canonical.plain import items


def encoder(value: object) -> Callable[[Any, Around], Encoded] | None:
    """What encodes a value of pandas'."""
    import pandas as pd
    from pandas.api.extensions import ExtensionArray, ExtensionDtype

    if value is pd.NaT or value is pd.NA:
        return _missing
    known: tuple[tuple[type, Callable[[Any, Around], Encoded]], ...] = (
        (pd.DataFrame, _frame),
        (pd.Series, _series),
        (pd.Index, _index),
        (pd.Timestamp, _moment),
        (pd.Timedelta, _moment),
        (pd.Period, _period),
        (pd.Interval, _interval),
        (pd.offsets.BaseOffset, _offset),
        (ExtensionDtype, _dtype),
        (ExtensionArray, _array),
    )
    return next((encode for kind, encode in known if isinstance(value, kind)), None)


def _missing(value: object, around: Around) -> bytes:
    return packed(b"missing", (named(type(value)),))


def _frame(value: Any, around: Around) -> Steps:
    parts = [(yield value.columns, ".", "columns"), (yield value.index, ".", "index"), (yield from _about(value))]
    for place, label in enumerate(value.columns):
        held = value.iloc[:, place].array
        # An array of pandas' own around a NumPy one is a wrapper only.
        parts.append((yield _unwrapped(held), "[]", label))
    return packed(b"frame", parts)


def _series(value: Any, around: Around) -> Steps:
    parts = [(yield value.name, ".", "name"), (yield value.index, ".", "index"), (yield from _about(value))]
    parts.append((yield _unwrapped(value.array), ".", "values"))
    return packed(b"series", parts)


def _about(value: Any) -> Steps:
    """The class of a frame or series, its attributes, and what a class of the user's adds."""
    extra = [getattr(value, name, None) for name in type(value)._metadata if name != "name"]
    attrs = yield dict(value.attrs), ".", "attrs"
    flags = frame(b"flags", b"%d" % value.flags.allows_duplicate_labels)
    return (yield from items(b"about", extra, named(type(value)), attrs, flags))


def _index(value: Any, around: Around) -> Steps:
    import pandas as pd

    names = yield list(value.names), ".", "names"
    head = [named(type(value)), names]
    if isinstance(value, pd.RangeIndex):
        return packed(b"index", (*head, (yield range(value.start, value.stop, value.step), "", "")))
    if isinstance(value, pd.MultiIndex):
        # Codes and levels hold what was once there, too: values count.
        for level in range(value.nlevels):
            head += ((yield value.get_level_values(level).rename(None), ".", f"get_level_values({level})"),)
        return packed(b"index", (frame(b"levels", b"%d" % value.nlevels), *head))
    step = text(b"freq", str(getattr(value, "freqstr", None)))
    return packed(b"index", (*head, step, (yield _unwrapped(value.array), "", "")))


def _unwrapped(array: Any) -> Any:
    import pandas as pd

    return array.to_numpy() if type(array) is pd.arrays.NumpyExtensionArray else array


def _array(value: Any, around: Around) -> Steps:
    """An array of pandas' own, by its dtype."""
    import pandas as pd

    dtype = value.dtype
    if type(value) is pd.arrays.NumpyExtensionArray:
        return packed(b"wrapped", [(yield value.to_numpy(), "", "")])
    if isinstance(dtype, pd.StringDtype):
        return packed(b"strings", (_dtype_text(dtype), (yield from _strings(value))))
    if isinstance(dtype, pd.CategoricalDtype):
        kind = yield dtype, ".", "dtype"
        codes = yield from arrays.values(value.codes.astype("int64"))
        return packed(b"categories", (kind, codes))
    if isinstance(dtype, pd.IntervalDtype):
        kind = text(b"dtype", str(dtype))
        return packed(b"intervals", (kind, (yield value.left, ".", "left"), (yield value.right, ".", "right")))
    if isinstance(dtype, pd.PeriodDtype):
        return packed(b"periods", (text(b"dtype", str(dtype)), (yield from arrays.values(value.asi8))))
    if isinstance(value, pd.arrays.DatetimeArray | pd.arrays.TimedeltaArray):
        zone = text(b"zone", zone_name(value.tz)) if getattr(value, "tz", None) is not None else b"naive"
        return packed(
            b"times", (named(type(value)), zone, text(b"unit", value.unit), (yield from arrays.values(value.asi8)))
        )
    if isinstance(dtype, pd.ArrowDtype):
        from dataflow.canonical import arrow

        held = value.__arrow_array__()
        chunks = getattr(held, "chunks", [held])
        return packed(b"arrow", [(yield from arrow.column(held.type, chunks))])
    if isinstance(dtype, pd.SparseDtype):
        return packed(b"sparse", ((yield dtype, ".", "dtype"), (yield from arrays.values(value.to_dense()))))
    if isinstance(value, pd.arrays.IntegerArray | pd.arrays.FloatingArray | pd.arrays.BooleanArray):
        absent = value.isna()
        filled = value.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        where = yield from arrays.values(absent)
        return packed(b"nullable", (text(b"dtype", str(dtype)), where, (yield from arrays.values(filled))))
    raise Refused(value, f"its dtype {dtype} is not known here")


def _strings(value: Any) -> Steps:
    """Texts: which are missing, and the others; the same however pandas keeps them."""
    import pandas as pd

    where = yield from arrays.values(value.isna())
    if isinstance(value, pd.arrays.ArrowStringArray):
        from dataflow.canonical import arrow

        return packed(b"values", (where, arrow.texts(value.__arrow_array__())))
    return packed(b"values", (where, texts(value[~value.isna()].to_numpy(dtype=object).tolist())))


def _dtype(value: Any, around: Around) -> Steps:
    import pandas as pd

    if isinstance(value, pd.CategoricalDtype):
        ordered = frame(b"ordered", b"%d" % bool(value.ordered))
        return packed(b"category", (ordered, (yield value.categories, ".", "categories")))
    if isinstance(value, pd.ArrowDtype):
        return packed(b"arrow dtype", [(yield value.pyarrow_dtype, ".", "pyarrow_dtype")])
    if isinstance(value, pd.SparseDtype):
        return packed(
            b"sparse dtype", ((yield value.subtype, ".", "subtype"), (yield value.fill_value, ".", "fill_value"))
        )
    if type(value).__module__.partition(".")[0] != "pandas":
        raise Refused(value)
    return _dtype_text(value)


def _dtype_text(dtype: Any) -> bytes:
    import pandas as pd

    missing = str(dtype.na_value) if isinstance(dtype, pd.StringDtype) else ""
    return packed(b"dtype", (named(type(dtype)), text(b"is", str(dtype)), text(b"missing", missing)))


def _moment(value: Any, around: Around) -> bytes:
    zone = text(b"zone", zone_name(value.tz)) if getattr(value, "tz", None) is not None else b"naive"
    count = value.asm8.astype("int64").item()
    return packed(b"moment", (named(type(value)), zone, text(b"unit", value.unit), frame(b"count", b"%d" % count)))


def _period(value: Any, around: Around) -> bytes:
    return packed(b"period", (text(b"freq", value.freqstr), frame(b"ordinal", b"%d" % value.ordinal)))


def _interval(value: Any, around: Around) -> Steps:
    return items(b"interval", (value.left, value.right, value.closed))


def _offset(value: Any, around: Around) -> Steps:
    return items(b"offset", (value.n, value.normalize, dict(value.kwds)), named(type(value)))
