"""The formats of other people's types: arrays, tables and pictures. Every foreign package is imported where it is used.

Each format is three functions: may this value be written *without loss* (``*_exact``), write it, read it back.
A value's own package is imported already, so asking about a value imports nothing.
"""

from __future__ import annotations

import csv
import io
import json
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
    "csv_dumps",
    "csv_loads",
    "has_rows",
    "html_dumps",
    "is_array",
    "is_listing",
    "is_page",
    "is_picture",
    "is_table",
    "npy_dumps",
    "npy_exact",
    "npy_loads",
    "parquet_dumps",
    "parquet_exact",
    "parquet_loads",
    "png_dumps",
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

    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


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

    Values are judged by their types; everything else by a round trip of the empty table.
    """
    try:
        import pyarrow as pa
    except ImportError:  # pandas alone: its tables are pickled
        return False
    if isinstance(value, pa.Table):
        return all(_SAFE_TYPES.fullmatch(str(kind)) for kind in value.schema.types) and _survives_empty(value)
    import pandas as pd

    if type(value) not in (pd.DataFrame, pd.Series) or value.attrs or not value.flags.allows_duplicate_labels:  # type: ignore[attr-defined]
        return False
    if isinstance(value, pd.Series):
        return (value.name is None or type(value.name) is str) and _safe_frame(value.to_frame("value"))
    return isinstance(value, pd.DataFrame) and _safe_frame(value)


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


# --- pictures and pages ---------------------------------------------------------------------------------------------

_PNG = b"\x89PNG\r\n\x1a\n"


def is_picture(value: object) -> bool:
    """Say whether a value is the bytes of a PNG, a Matplotlib figure, or shows itself as PNG."""
    return (isinstance(value, bytes) and value.startswith(_PNG)) or hasattr(value, "_repr_png_") or _is_figure(value)


def _is_figure(value: object) -> bool:
    return comes_from(value, "matplotlib") and hasattr(value, "savefig")


def png_dumps(value: object) -> list[Buffer]:
    """Write a picture as PNG."""
    if isinstance(value, bytes):
        return [value]
    if _is_figure(value):
        stream = io.BytesIO()
        value.savefig(stream, format="png")  # type: ignore[attr-defined]
        return [stream.getvalue()]
    shown: object = value._repr_png_()  # type: ignore[attr-defined]
    if not isinstance(shown, bytes):
        raise TypeError("its _repr_png_() did not give bytes")
    return [shown]


def is_page(value: object) -> bool:
    """Say whether a value is text, or shows itself as HTML."""
    return isinstance(value, str) or hasattr(value, "_repr_html_")


def html_dumps(value: object) -> list[Buffer]:
    """Write text as it is, and anything else as the page that it shows in a notebook."""
    shown: object = value if isinstance(value, str) else value._repr_html_()  # type: ignore[attr-defined]
    if not isinstance(shown, str):
        raise TypeError("its _repr_html_() did not give text")
    return [shown.encode()]
