"""The formats of pictures and pages: what a value shows of itself, as an image or as HTML."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

from dataflow_storage.formats import comes_from
from dataflow_storage.hashing import Buffer

__all__ = ["PDF", "PNG", "SVG", "Picture", "html_dumps", "is_page"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One kind of image.

    Parameters
    ----------
    name : str
        What Matplotlib calls it.
    start : bytes
        What its files start with; empty: no bytes are taken as they are.
    shown : str
        The method by which an object shows itself so in a notebook.
    metadata : mapping
        For Matplotlib: what keeps the time out of the file, so that the same figure gives the same bytes.
    """

    name: str
    start: bytes
    shown: str
    metadata: Mapping[str, None] = field(default_factory=dict, hash=False)

    def handles(self, value: object) -> bool:
        """Say whether a value is such an image, a Matplotlib figure, or shows itself as one."""
        return self._is_one(value) or _is_figure(value) or hasattr(value, self.shown)

    def dumps(self, value: object) -> list[Buffer]:
        """Write the image."""
        if _is_figure(value):
            stream = io.BytesIO()
            value.savefig(stream, format=self.name, metadata=dict(self.metadata))  # type: ignore[attr-defined]
            return [stream.getvalue()]
        shown: object = value if self._is_one(value) else getattr(value, self.shown)()
        if isinstance(shown, str) and not self.start:
            return [shown.encode()]
        if not isinstance(shown, bytes):
            raise TypeError(f"its {self.shown}() did not give {'bytes' if self.start else 'text'}")
        return [shown]

    def _is_one(self, value: object) -> bool:
        return isinstance(value, bytes) and value.startswith(self.start) if self.start else isinstance(value, str)


PNG = Picture(name="png", start=b"\x89PNG\r\n\x1a\n", shown="_repr_png_")
SVG = Picture(name="svg", start=b"", shown="_repr_svg_", metadata={"Date": None})
PDF = Picture(name="pdf", start=b"%PDF-", shown="_repr_pdf_", metadata={"CreationDate": None})


def _is_figure(value: object) -> bool:
    return comes_from(value, "matplotlib") and hasattr(value, "savefig")


def is_page(value: object) -> bool:
    """Say whether a value is text, or shows itself as HTML."""
    return isinstance(value, str) or hasattr(value, "_repr_html_")


def html_dumps(value: object) -> list[Buffer]:
    """Write text as it is, and anything else as the page that it shows in a notebook."""
    shown: object = value if isinstance(value, str) else value._repr_html_()  # type: ignore[attr-defined]
    if not isinstance(shown, str):
        raise TypeError("its _repr_html_() did not give text")
    return [shown.encode()]
