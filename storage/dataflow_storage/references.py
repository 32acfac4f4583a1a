"""What is known of a committed value: plain data, small when pickled, because references travel with every call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, overload

__all__ = ["Committed", "CommittedMany", "Reference", "References", "Stored", "refer"]


class Reference(NamedTuple):
    """Where a committed value is and how to know that it is that value. Plain data.

    Parameters
    ----------
    url : str
        Full path or URL of the object or file.
    serializer : str
        Name of the serializer it was written with.
    size : int
        Payload bytes.
    digest : str
        SHA-256 of the payload, hex.
    item : int or None
        Which entry of a batch; None: the object is one value.
    target : bool
        It is a plain file, not an object of ours.

    Examples
    --------
    >>> reference = Reference(url="/r/a.dflw", serializer="json", size=1, digest="00" * 32)
    >>> Reference.from_dict(reference.to_dict()) == reference
    True
    """

    url: str
    serializer: str
    size: int
    digest: str
    item: int | None = None
    target: bool = False

    def to_dict(self) -> dict[str, object]:
        """Give the reference as JSON data."""
        # Not `asdict`: it copies deeply, which costs more than writing the value.
        return {
            "url": self.url,
            "serializer": self.serializer,
            "size": self.size,
            "digest": self.digest,
            "item": self.item,
            "target": self.target,
        }

    @staticmethod
    def from_dict(data: Mapping[str, object]) -> Reference:
        """Make a reference from what `to_dict` gave.

        Raises
        ------
        TypeError
            A field is missing or unknown.
        """
        return Reference(**data)  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[object, ...]:
        # Positions instead of names, and the digest as 32 bytes.
        return _ref, (self.url, self.serializer, self.size, bytes.fromhex(self.digest), self.item, self.target)


def _ref(url: str, serializer: str, size: int, digest: bytes, item: int | None, target: bool) -> Reference:
    return Reference(url, serializer, size, digest.hex(), item, target)


class Committed(NamedTuple):
    """What became of a commit.

    Parameters
    ----------
    reference : Reference
        What is committed now.
    adopted : bool
        Somebody else had committed it before; the reference is theirs.
    """

    reference: Reference
    adopted: bool


class References(Sequence[Reference]):
    """Many references, column by column: together they are few objects, and few bytes when pickled.

    Examples
    --------
    >>> both = [Reference("/r/a.batch", "json", 1, "00" * 32, item) for item in (0, 1)]
    >>> list(References.of(both)) == both
    True
    """

    __slots__ = ("columns",)

    def __init__(self, columns: tuple[Sequence[Any], ...]) -> None:
        self.columns = columns

    @classmethod
    def of(cls, references: Iterable[Reference]) -> References:
        """Take references apart."""
        return cls(tuple(zip(*references, strict=True)) or ((),) * len(Reference._fields))

    @overload
    def __getitem__(self, place: int) -> Reference: ...
    @overload
    def __getitem__(self, place: slice) -> References: ...
    def __getitem__(self, place: int | slice) -> Reference | References:
        if isinstance(place, slice):
            return References(tuple(column[place] for column in self.columns))
        return Reference(*[column[place] for column in self.columns])

    def take(self, places: Iterable[int]) -> References:
        """Those at these places, in this order."""
        places = list(places)
        return References(tuple([column[place] for place in places] for column in self.columns))

    def __iter__(self) -> Iterator[Reference]:
        return map(Reference, *self.columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    def __reduce__(self) -> tuple[object, ...]:
        url, serializer, size, digests, item, target = self.columns
        others = [column[:1] if len(set(column)) == 1 else column for column in (url, serializer, size, item, target)]
        return _references, (len(self), bytes.fromhex("".join(digests)), others)


def _references(number: int, digests: bytes, others: Sequence[Sequence[Any]]) -> References:
    hexed = digests.hex()
    url, serializer, size, item, target = [[*column] * number if len(column) == 1 else column for column in others]
    return References((url, serializer, size, [hexed[at : at + 64] for at in range(0, len(hexed), 64)], item, target))


class CommittedMany(Mapping[int, Committed]):
    """What became of the commit of many values, by item.

    State: `references`, all of them; `places`, where in there each item is; `adopted`, items that somebody else had
    committed before.
    """

    def __init__(self) -> None:
        self._columns: tuple[list[Any], ...] = tuple([] for _ in Reference._fields)
        self.references = References(self._columns)
        self.places: dict[int, int] = {}
        self.adopted: set[int] = set()

    def extend(self, url: str, written: WrittenMany) -> None:
        """Many are committed."""
        start, size = len(self.places), len(written.items)
        self.places.update(zip(written.items, range(start, start + size), strict=True))
        new: tuple[Sequence[object], ...] = (
            [url] * size,
            written.serializers,
            written.sizes,
            written.digests,
            written.items,
            [False] * size,
        )
        for column, cells in zip(self._columns, new, strict=True):
            column.extend(cells)

    def adopt(self, url: str, written: Written, item: int) -> None:
        """Somebody else had committed this one."""
        self.places[item] = len(self.places)
        self.adopted.add(item)
        for column, cell in zip(self._columns, refer(url, written, item), strict=True):
            column.append(cell)

    def __getitem__(self, item: int) -> Committed:
        return Committed(self.references[self.places[item]], item in self.adopted)

    def __iter__(self) -> Iterator[int]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """An object of a store, as it is listed.

    Parameters
    ----------
    key : str
        What it was stored as.
    url : str
        Where it lies.
    size : int
        Bytes of the whole file.
    created : float
        When it was written, seconds since the epoch, by the clock of the writer.
    items : int
        Entries of a batch; 0: it is one value.
    meta : mapping
        What was given as `meta` when it was committed.
    references : tuple of Reference
        The value, or those of a batch.
    """

    key: str
    url: str
    size: int
    created: float
    items: int
    meta: Mapping[str, object]
    references: tuple[Reference, ...]


class Written(Protocol):
    """What a value as bytes, an object's header, a batch's entry and a target's record have in common."""

    @property
    def serializer(self) -> str:
        """Name of the serializer."""

    @property
    def size(self) -> int:
        """Payload bytes."""

    @property
    def digest(self) -> str:
        """SHA-256 of the payload, hex."""


class WrittenMany(Protocol):
    """What is written together: the same, as columns."""

    @property
    def items(self) -> Sequence[int]: ...
    @property
    def serializers(self) -> Sequence[str]: ...
    @property
    def sizes(self) -> Sequence[int]: ...
    @property
    def digests(self) -> Sequence[str]: ...


def refer(url: str, written: Written, item: int | None = None, *, target: bool = False) -> Reference:
    """Make the reference of something that is written at a place."""
    return Reference(url, written.serializer, written.size, written.digest, item, target)
