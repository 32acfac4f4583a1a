"""Arrow: tables, arrays, scalars, schemas and types. What counts is types and values, not chunks, offsets or buffers.

A column is hashed as it lies in its buffers: which values are there, lengths, and the values that are there, joined.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataflow.canonical.frames import Around, Encoded, Refused, Steps, buffer, closed, frame, packed, text
from dataflow.canonical.plain import items

_VIEWS = {"string_view": "large_string", "binary_view": "large_binary"}


def encoder(value: object) -> Callable[[Any, Around], Encoded] | None:
    """What encodes a value of Arrow's.

    Raises
    ------
    Refused
        It is no data, but a connection or the like.
    """
    import pyarrow as pa

    known: tuple[tuple[tuple[type, ...], Callable[[Any, Around], Encoded]], ...] = (
        ((pa.Table, pa.RecordBatch), _table),
        ((pa.Array,), lambda value, around: _tagged(b"arrow array", column(value.type, [value]))),
        ((pa.ChunkedArray,), lambda value, around: _tagged(b"arrow chunked", column(value.type, value.chunks))),
        ((pa.Scalar,), lambda value, around: _tagged(b"arrow scalar", column(value.type, [pa.repeat(value, 1)]))),
        ((pa.Schema,), lambda value, around: _schema(value)),
        ((pa.Field,), lambda value, around: _field(value)),
        ((pa.DataType,), lambda value, around: kind_of(value)),
    )
    return next((encode for kinds, encode in known if isinstance(value, kinds)), None)


def _tagged(tag: bytes, steps: Steps) -> Steps:
    return packed(tag, [(yield from steps)])


def _table(value: Any, around: Around) -> Steps:
    import pyarrow as pa

    parts = [_schema(value.schema), frame(b"rows", b"%d" % value.num_rows)]
    for found in value.columns:
        chunks = found.chunks if isinstance(value, pa.Table) else [found]
        parts += ((yield from column(found.type, chunks)),)
    return packed(b"arrow table" if isinstance(value, pa.Table) else b"arrow batch", parts)


def _schema(value: Any) -> bytes:
    return packed(b"schema", (*(_field(field) for field in value), _metadata(value.metadata)))


def _field(value: Any) -> bytes:
    nullable = b"nullable" if value.nullable else b"required"
    return packed(b"field", (text(b"name", value.name), kind_of(value.type), nullable, _metadata(value.metadata)))


def _metadata(found: Mapping[bytes, bytes] | None) -> bytes:
    return packed(
        b"metadata", sorted(frame(b"key", k) + frame(b"value", _note(k, v)) for k, v in (found or {}).items())
    )


def _note(key: bytes, value: bytes) -> bytes:
    """What pandas notes, without the versions that were in use."""
    try:
        told = json.loads(value) if key == b"pandas" else None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        return value
    return json.dumps(
        {k: v for k, v in told.items() if k not in ("creator", "pandas_version")}, sort_keys=True
    ).encode()


def kind_of(kind: Any) -> bytes:
    """A type, with the parameters of an extension type."""
    import pyarrow as pa

    if not isinstance(kind, pa.BaseExtensionType):
        return text(b"arrow type", str(kind))
    try:
        told = bytes(kind.__arrow_ext_serialize__())
    except (AttributeError, NotImplementedError):  # one of Arrow's own, whose text tells its parameters
        told = str(kind).encode()
    return packed(
        b"arrow extension", (text(b"name", kind.extension_name), kind_of(kind.storage_type), frame(b"is", told))
    )


def column(kind: Any, chunks: Sequence[Any]) -> Steps:
    """A column: its type, where it has values, and the values.

    Parameters
    ----------
    kind : pyarrow.DataType
        The type.
    chunks : sequence of pyarrow.Array
        The column, in any number of pieces.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return packed(
            b"extension", (kind_of(kind), (yield from column(kind.storage_type, [c.storage for c in chunks])))
        )
    if types.is_dictionary(kind):
        order = b""
        if kind.ordered and chunks:
            unified = pa.chunked_array(chunks).unify_dictionaries().chunk(0).dictionary
            order = yield from column(kind.value_type, [unified])
        decoded = yield from column(kind.value_type, [chunk.dictionary_decode() for chunk in chunks])
        return packed(b"dictionary", (kind_of(kind), order, decoded))
    if types.is_run_end_encoded(kind):
        decoded = yield from column(kind.value_type, [pc.run_end_decode(chunk) for chunk in chunks])
        return packed(b"runs", (kind_of(kind), decoded))
    if types.is_union(kind) or types.is_map(kind) or "list_view" in str(kind):
        rows = [row for chunk in chunks for row in chunk.to_pylist()]
        return (yield from items(b"rows", rows, kind_of(kind)))

    if str(kind) in _VIEWS:
        chunks = [chunk.cast(getattr(pa, _VIEWS[str(kind)])()) for chunk in chunks]
    there = hashlib.sha256()
    has_nulls = any(chunk.null_count for chunk in chunks)
    for chunk in chunks if has_nulls else ():
        there.update(_fixed(chunk.is_valid()))
    head = packed(b"column", (kind_of(kind), frame(b"length", b"%d" % sum(map(len, chunks))), there.digest()))
    dense = [chunk.drop_null() if chunk.null_count else chunk for chunk in chunks]
    if types.is_null(kind):
        return head
    if types.is_struct(kind):
        parts = [head]
        for place in range(kind.num_fields):
            parts += ((yield from column(kind.field(place).type, [chunk.flatten()[place] for chunk in dense])),)
        return packed(b"structs", parts)
    if types.is_nested(kind):
        lengths = hashlib.sha256()
        for chunk in dense:
            lengths.update(_fixed(pc.list_value_length(chunk).cast(pa.int64())))
        inside = yield from column(kind.value_type, [chunk.flatten() for chunk in dense])
        return closed(b"lists", lengths, head, inside)
    made, lengths = hashlib.sha256(), hashlib.sha256()
    for chunk in dense:
        if _is_text(kind):
            lengths.update(_fixed(pc.binary_length(chunk).cast(pa.int64())))
            made.update(_joined(chunk))
        else:
            made.update(_fixed(chunk))
    return closed(b"values", made, head, lengths.digest())


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    tests = "string", "large_string", "string_view", "binary", "large_binary", "binary_view"
    return any(getattr(pa.types, f"is_{name}")(kind) for name in tests)


def _fixed(chunk: Any) -> memoryview:
    """The bytes of values of one width, all there; each NaN is the same."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(chunk.type):
        chunk = chunk.cast(pa.uint8())
    elif pa.types.is_float16(chunk.type):
        chunk = chunk.cast(pa.float32())
    if pa.types.is_floating(chunk.type) and pc.any(pc.is_nan(chunk)).as_py():
        chunk = pc.if_else(pc.is_nan(chunk), pa.scalar(float("nan"), chunk.type), chunk)
    try:
        width = chunk.type.bit_width // 8
    except ValueError:
        raise Refused(chunk, f"its type {chunk.type} is not known here") from None
    data = chunk.buffers()[1]
    if data is None or not width:
        return memoryview(b"")
    return memoryview(data)[chunk.offset * width : (chunk.offset + len(chunk)) * width]


def _joined(chunk: Any) -> memoryview:
    """The bytes of texts or binaries, all there, one after the other."""
    _, places, data = chunk.buffers()
    if data is None or places is None or not len(chunk):
        return memoryview(b"")
    offsets = memoryview(places).cast("q" if "large" in str(chunk.type) else "i")
    return memoryview(data)[offsets[chunk.offset] : offsets[chunk.offset + len(chunk)]]


def texts(found: Any) -> bytes:
    """Many texts as `frames.texts` encodes them: lengths, and all that are there, joined."""
    import pyarrow as pa
    import pyarrow.compute as pc

    there = (
        (found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found).drop_null().cast(pa.large_string())
    )
    lengths = _fixed(pc.binary_length(there).cast(pa.int64()))
    return packed(b"texts", (buffer(b"lengths", lengths), buffer(b"joined", _joined(there))))
