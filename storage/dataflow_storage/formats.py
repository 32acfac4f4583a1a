"""The formats of other people's types: arrays and tables. Every foreign package is imported where it is used.

Each format is three functions: may this value be written *without loss* (``*_exact``), write it, read it back.
A value's own package is imported already, so asking about a value imports nothing.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dataflow_storage.hashing import Buffer

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

__all__ = [
    "arrow_dumps",
    "arrow_loads",
    "comes_from",
    "csv_dumps",
    "csv_loads",
    "has_rows",
    "is_array",
    "is_listing",
    "is_table",
    "npy_dumps",
    "npy_exact",
    "npy_loads",
    "parquet_dumps",
    "parquet_exact",
    "parquet_loads",
    "rows",
]


def comes_from(value: object, package: str) -> bool:
    """Say whether a value's class, or one it inherits from, is defined in a package; imports nothing.

    Examples
    --------
    >>> import decimal
    >>> comes_from(decimal.Decimal(1), "decimal"), comes_from(1, "pandas")
    (True, False)
    """
    return package in sys.modules and any(
        kind.__module__ == package or kind.__module__.startswith(f"{package}.") for kind in type(value).__mro__
    )


# --- arrays ---------------------------------------------------------------------------------------------------------

_PLAIN_KINDS = "biufcmMSU"  # one number, date or text in each place
_LONGEST_HEADER = 1 << 16  # bytes


def is_array(value: object) -> bool:
    """Say whether a value is a NumPy array or scalar that can be written without pickle and without losing a mask."""
    if not comes_from(value, "numpy"):
        return False
    import numpy as np

    if not isinstance(value, np.ndarray | np.generic) or isinstance(value, np.ma.MaskedArray):
        return False
    return not value.dtype.hasobject


def npy_exact(value: object) -> bool:
    """Say whether an array comes back from ``.npy`` with the same class, type and values."""
    import numpy as np

    if type(value) is not np.ndarray:
        return False
    dtype = value.dtype
    # Types that other packages define (bfloat16) are written as bare bytes; metadata and field offsets are dropped.
    return dtype.kind in _PLAIN_KINDS and dtype.isbuiltin != 2 and not dtype.metadata


def npy_dumps(value: object) -> list[Buffer]:
    """Write an array as ``.npy``, without copying a contiguous one."""
    import numpy as np

    array: Array = np.asanyarray(value)
    stream = io.BytesIO()
    rows = array if array.flags.c_contiguous else array.T
    if array.dtype.kind not in _PLAIN_KINDS or not array.nbytes or not rows.flags.c_contiguous:
        np.lib.format.write_array(stream, array, allow_pickle=False)
        return [stream.getvalue()]
    np.lib.format.write_array_header_2_0(stream, np.lib.format.header_data_from_array_1_0(array))
    return [stream.getvalue(), rows.reshape(-1).view(np.uint8).data]


def npy_loads(data: Buffer) -> object:
    """Read a ``.npy``; the array is writable."""
    import numpy as np

    stream = io.BytesIO(memoryview(data)[:_LONGEST_HEADER])
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    header = read.get(np.lib.format.read_magic(stream))
    shape, fortran, dtype = header(stream) if header else ((), False, np.dtype(object))
    if dtype.kind not in _PLAIN_KINDS or not dtype.itemsize or 0 in shape:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    # As that function does, but the content is copied once and not three times.
    flat = np.frombuffer(data, dtype, math.prod(shape), stream.tell()).copy()
    return flat.reshape(shape, order="F" if fortran else "C")


# --- tables ---------------------------------------------------------------------------------------------------------

_KIND = b"dataflow.kind"  # in the schema's metadata: which class to give back
# Types whose values Parquet keeps as they are, as pandas and as Arrow name them. Not categories: unused ones get lost.
_SAFE_DTYPES = re.compile(r"bool(ean)?|u?int\d+|U?Int\d+|float(32|64)|datetime64\[.+\]|str(ing)?")
_SAFE_TYPES = re.compile(
    r"bool|u?int\d+|float|double|(large_)?(string|binary)|date32\[day\]|timestamp\[[mun]s(, tz=.+)?\]"
)


def is_table(value: object) -> bool:
    """Say whether a value is a pandas DataFrame or Series or a PyArrow Table."""
    if comes_from(value, "pandas"):
        import pandas as pd

        return isinstance(value, pd.DataFrame | pd.Series)
    if comes_from(value, "pyarrow"):
        import pyarrow as pa

        return isinstance(value, pa.Table)
    return False


def parquet_exact(value: object) -> bool:
    """Say whether a table comes back from Parquet equal: class, types, index, names.

    Types that are known to keep their values are judged by a round trip of the empty table; with others, it is tried.
    """
    try:
        import pyarrow as pa
    except ImportError:  # pandas alone: its tables are pickled
        return False
    if isinstance(value, pa.Table):
        safe = all(_SAFE_TYPES.fullmatch(str(kind)) for kind in value.schema.types)
        return (safe and _survives_empty(value)) or _comes_back(value)
    import pandas as pd

    if type(value) not in (pd.DataFrame, pd.Series) or value.attrs or not value.flags.allows_duplicate_labels:  # type: ignore[attr-defined]
        return False
    if isinstance(value, pd.Series):
        if value.name is not None and type(value.name) is not str:
            return False
        value = value.to_frame("value")
    return isinstance(value, pd.DataFrame) and (_safe_frame(value) or _comes_back(value))


def _safe_frame(frame: pd.DataFrame) -> bool:
    import pandas as pd

    index, columns = frame.index, frame.columns
    flat = not isinstance(index, pd.MultiIndex) and not isinstance(columns, pd.MultiIndex)
    return (
        flat
        and columns.is_unique
        and all(type(name) is str for name in columns)
        and (index.name is None or (type(index.name) is str and index.name not in columns))
        and getattr(index, "freq", None) is None  # Parquet has no word for it
        and all(_SAFE_DTYPES.fullmatch(str(dtype)) for dtype in (*frame.dtypes, index.dtype))
        and _survives_empty(frame)
    )


def _survives_empty(table: pa.Table | pd.DataFrame) -> bool:
    import pandas as pd

    empty = table.iloc[:0] if isinstance(table, pd.DataFrame) else table.slice(0, 0)
    try:
        again = parquet_loads(b"".join(parquet_dumps(empty)))
    except Exception:  # whatever Arrow raises for a type that it does not know: not this format
        return False
    if isinstance(empty, pd.DataFrame):
        return (
            isinstance(again, pd.DataFrame)
            and type(again.index) is type(empty.index)
            and again.index.dtype == empty.index.dtype
            and list(again.index.names) == list(empty.index.names)
            and type(again.columns) is type(empty.columns)
            and again.columns.dtype == empty.columns.dtype
            and again.columns.equals(empty.columns)
            and again.columns.name == empty.columns.name
            and list(again.dtypes) == list(empty.dtypes)
        )
    return bool(again.schema.equals(empty.schema, check_metadata=True))  # type: ignore[attr-defined]


def _comes_back(table: pa.Table | pd.DataFrame) -> bool:
    """Try it: for categories, several indexes, durations, nested and decimal types."""
    import pandas as pd

    is_frame = isinstance(table, pd.DataFrame)
    if is_frame and not (table.columns.is_unique and all(type(name) is str for name in table.columns)):
        return False
    if is_frame and any(str(dtype) == "object" for dtype in (*table.dtypes, *_dtypes(table.index))):
        return False  # 1, 1.0 and True would count as equal
    try:
        again = parquet_loads(b"".join(parquet_dumps(table)))
    except Exception:  # as above
        return False
    if not is_frame:
        return bool(again.equals(table, check_metadata=True))  # type: ignore[attr-defined]
    return (
        isinstance(again, pd.DataFrame)
        and again.equals(table)
        and all(map(_same_dtype, again.dtypes, table.dtypes))
        and _same_index(again.index, table.index)
        and _same_index(again.columns, table.columns)
    )


def _dtypes(index: pd.Index) -> list[object]:
    return list(index.dtypes) if hasattr(index, "levels") else [index.dtype]


def _same_dtype(one: object, other: object) -> bool:
    # Of unordered categories, pandas calls any order the same.
    mine, theirs = getattr(one, "categories", None), getattr(other, "categories", None)
    return bool(one == other and type(one) is type(other) and (mine is None or mine.identical(theirs)))


def _same_index(one: pd.Index, other: pd.Index) -> bool:
    return (
        type(one) is type(other)
        and bool(one.identical(other))
        and all(map(_same_dtype, _dtypes(one), _dtypes(other)))
        and getattr(one, "freq", None) == getattr(other, "freq", None)
    )


def _to_arrow(value: object) -> pa.Table:
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value.replace_schema_metadata({**(value.schema.metadata or {}), _KIND: b"table"})
    import pandas as pd

    if isinstance(value, pd.Series):
        table, kind = pa.Table.from_pandas(value.to_frame("value")), ["series", value.name]
    elif isinstance(value, pd.DataFrame):
        table, kind = pa.Table.from_pandas(value), ["frame"]
    else:
        raise TypeError(f"wanted a DataFrame, a Series or a pyarrow.Table, got {type(value).__qualname__}")
    return table.replace_schema_metadata({**table.schema.metadata, _KIND: json.dumps(kind).encode()})


def _from_arrow(table: pa.Table) -> object:
    metadata = dict(table.schema.metadata or {})
    kind = metadata.pop(_KIND, b'["frame"]')  # a file that others made: a DataFrame, as pandas would read it
    table = table.replace_schema_metadata(metadata or None)
    if kind == b"table":
        return table
    frame = table.to_pandas()
    name, *rest = json.loads(kind)
    return frame["value"].rename(rest[0]) if name == "series" else frame


def parquet_dumps(value: object) -> list[Buffer]:
    """Write a DataFrame, Series or Table as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(_to_arrow(value), sink)
    return [memoryview(sink.getvalue())]


def parquet_loads(data: Buffer) -> object:
    """Read Parquet as the class that was written; a DataFrame if others wrote it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Not read_table(): that one looks for partitions and schemas beside the file.
    return _from_arrow(pq.ParquetFile(pa.BufferReader(pa.py_buffer(data))).read())


def arrow_dumps(value: object) -> list[Buffer]:
    """Write a DataFrame, Series or Table as an Arrow IPC file (Feather 2)."""
    import pyarrow as pa

    table = _to_arrow(value)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return [memoryview(sink.getvalue())]


def arrow_loads(data: Buffer) -> object:
    """Read an Arrow IPC file as the class that was written."""
    import pyarrow as pa

    return _from_arrow(pa.ipc.open_file(pa.BufferReader(pa.py_buffer(data))).read_all())


def is_listing(value: object) -> bool:
    """Say whether a value is a list of rows of any kind: a list, a tuple, a DataFrame, a Table."""
    return isinstance(value, list | tuple) or (is_table(value) and (hasattr(value, "columns")))


def has_rows(value: object) -> bool:
    """Say whether a value is a table, or a list of dicts."""
    return is_table(value) or (isinstance(value, list | tuple) and all(isinstance(row, dict) for row in value))


def rows(value: object) -> Sequence[object]:
    """Take a listing apart into its rows, those of a table as dicts."""
    if isinstance(value, list | tuple):
        return value
    found: list[object] = value.to_dict("records") if comes_from(value, "pandas") else value.to_pylist()  # type: ignore[attr-defined]
    return found


def csv_dumps(value: object) -> list[Buffer]:
    """Write a table, or a list of dicts, as CSV; an index is written only if it is more than a row number."""
    if isinstance(value, list | tuple):
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in value for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(value)
        return [text.getvalue().encode()]
    import pandas as pd

    frame = value if isinstance(value, pd.DataFrame | pd.Series) else value.to_pandas()  # type: ignore[attr-defined]
    return [frame.to_csv(index=not isinstance(frame.index, pd.RangeIndex)).encode()]


def csv_loads(data: Buffer) -> object:
    """Read CSV as a DataFrame."""
    import pandas as pd

    return pd.read_csv(io.BytesIO(data))
