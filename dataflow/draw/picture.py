"""A picture that shows itself in a notebook, and can be saved."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path


class Picture(str):
    """The text of an SVG, with the same in words.

    Parameters
    ----------
    svg : str
        The picture.
    text : str
        What it shows, where no picture can be.
    about : str
        What it is of, in a line.
    """

    __slots__ = ("about", "text")
    text: str
    about: str

    def __new__(cls, svg: str, text: str, about: str) -> Picture:
        """Make a picture."""
        made = super().__new__(cls, svg)
        made.text, made.about = text, about
        return made

    def save(self, path: str | Path) -> None:
        """Write the SVG to a file."""
        Path(path).write_text(self, encoding="utf-8")

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": image(self, self.about), "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


def image(svg: str, about: str) -> str:
    """A picture as an image with a data URI: a notebook that is not trusted strips inline SVG."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(about)}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'
