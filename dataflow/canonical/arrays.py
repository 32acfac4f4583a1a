"""NumPy: arrays, scalars and dtypes. What counts is dtype, shape and values, not byte order, strides or padding.

Memory is hashed where it lies; only what is not contiguous, or holds a NaN, is copied, a piece at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dataflow.canonical.frames import Around, Encoded, Hash, Steps, closed, frame, named, packed, text, texts
from dataflow.canonical.plain import attributes, items

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_PIECE = 1 << 16  # elements


def encoder(value: object) -> Callable[[Any, Around], Encoded] | None:
    """What encodes a value of NumPy's, or None for what is only called like a function."""
    import numpy as np

    if isinstance(value, np.ma.MaskedArray):
        return _masked
    if isinstance(value, np.ndarray):
        return _whole
    if isinstance(value, np.generic):
        return _scalar
    return _dtype if isinstance(value, np.dtype) else None


def _whole(value: Array, around: Around) -> Steps:
    import numpy as np

    made = yield from values(value)
    kind = type(value)
    if kind is np.ndarray:
        return made
    state = [] if kind.__module__.partition(".")[0] == "numpy" else sorted(vars(value).items())
    return (yield from attributes(b"array of", state, named(kind), made))


def _scalar(value: Any, around: Around) -> Steps:
    import numpy as np

    return packed(b"numpy scalar", [(yield from values(np.asarray(value)))])


def _dtype(value: np.dtype[Any], around: Around) -> bytes:
    foreign = "" if value.isnative else "swapped"
    return packed(b"dtype", (dtype(value), text(b"order", foreign)))


def dtype(value: np.dtype[Any]) -> bytes:
    """A dtype without its byte order, offsets and padding."""
    if value.subdtype is not None:
        base, shape = value.subdtype
        return packed(b"sub-dtype", (dtype(base), text(b"shape", repr(tuple(map(int, shape))))))
    if value.fields is not None:
        parts = [text(b"field", name) + dtype(value.fields[name][0]) for name in value.names or ()]
        return packed(b"structure", parts)
    if value.isbuiltin == 2 or value.kind == "T":  # another package's, or strings of any length
        return text(b"dtype", f"{type(value).__module__} {value.name} {getattr(value, 'na_object', '')!r}")
    return text(b"dtype", value.str[1:])  # the first character is the byte order


def values(array: Array) -> Steps:
    """An array by dtype, shape and values."""
    import numpy as np

    plain = np.asarray(array)
    head = packed(b"head", (dtype(plain.dtype), text(b"shape", repr(tuple(map(int, plain.shape))))))
    if plain.dtype.fields is not None:
        parts = [head]
        for name in plain.dtype.names or ():
            parts += ((yield from values(plain[name])),)
        return packed(b"array", parts)
    if plain.dtype.kind in "OT":
        return packed(b"array", (head, (yield from things(plain.ravel().tolist()))))
    return closed(b"array", _fed(plain), head)


def things(found: list[Any]) -> Steps:
    """Objects one by one; texts all at once."""
    if found and set(map(type, found)) == {str}:
        return texts(found)
    return (yield from items(b"objects", found))


def _fed(array: Array) -> Hash:
    import numpy as np

    made = hashlib.sha256()
    if not array.nbytes:
        return made
    if array.dtype.char in "gG":  # its padding holds anything, and its size differs between machines
        for one in array.ravel():
            made.update(frame(b"long", repr((one.real, one.imag)).encode()))
        return made
    little = array.dtype.newbyteorder("<")
    has_nan = array.dtype.kind in "fc" and bool(np.isnan(np.min(array)))
    if array.flags.c_contiguous and array.dtype == little and not has_nan:
        made.update(array.reshape(-1).view(np.uint8).data)
        return made
    walk: Any = np.nditer
    pieces = walk(
        array, ["external_loop", "buffered", "refs_ok"], [["readonly"]], op_dtypes=[little], order="C",
        casting="equiv", buffersize=_PIECE,
    )  # fmt: skip
    for piece in pieces:
        made.update((_one_nan(piece) if has_nan else np.ascontiguousarray(piece)).view(np.uint8).data)
    return made


def _one_nan(piece: Array) -> Array:
    """A copy in which every NaN has the same bits."""
    import numpy as np

    copy = np.array(piece)
    parts = copy.view(copy.real.dtype) if copy.dtype.kind == "c" else copy
    parts[np.isnan(parts)] = np.nan
    return copy


def _masked(value: Any, around: Around) -> Steps:
    import numpy as np

    if value is np.ma.masked:  # one masked place, whatever its type
        return packed(b"masked", (b"alone",))
    mask = np.ma.getmaskarray(value)
    shown = yield from _shown(np.ma.getdata(value, subok=False), mask)
    under = yield from values(mask)
    fill = yield value.fill_value, ".", "fill_value"
    return packed(b"masked", (named(type(value)), shown, under, fill))


def _shown(data: Array, mask: Array) -> Steps:
    """Data with zeros (for objects None) where it is masked."""
    import numpy as np

    if data.dtype.names:
        parts: list[bytes] = []
        for name in data.dtype.names:
            parts += text(b"field", name), (yield from _shown(data[name], mask[name]))
        return packed(b"fields", parts)
    blank: Any = None if data.dtype.kind == "O" else np.zeros((), data.dtype)
    return (yield from values(np.where(mask, blank, data).astype(data.dtype, copy=False)))
