"""How a value is shown in a notebook: as it shows itself, or as the first of its text."""

from __future__ import annotations

import base64
from html import escape

# A result that is larger is not loaded to be shown.
MOST_BYTES = 20_000_000
MOST_TEXT = 2_000
# A notebook keeps every picture that was ever shown in it.
MOST_HTML = 200_000
_PRE = "margin:4px 0;white-space:pre-wrap;background:none"


def as_html(value: object) -> str:
    """A value as HTML: what its `_repr_html_`, `_repr_svg_` or `_repr_png_` gives, else its `repr`, cut.

    Examples
    --------
    >>> as_html([1, "<b>"])
    '<pre style="margin:4px 0;white-space:pre-wrap;background:none">[1, &#x27;&lt;b&gt;&#x27;]</pre>'
    """
    made = _own(value, "_repr_html_")
    if isinstance(made, str) and len(made) <= MOST_HTML:
        return made
    for method, kind in (("_repr_svg_", "svg+xml"), ("_repr_png_", "png")):
        made = _own(value, method)
        data = made.encode() if isinstance(made, str) else made
        if isinstance(data, bytes) and len(data) <= MOST_HTML:
            shown = base64.b64encode(data).decode()
            return f'<img alt="" style="max-width:100%" src="data:image/{kind};base64,{shown}">'
    return f'<pre style="{_PRE}">{escape(as_text(value))}</pre>'


def as_text(value: object) -> str:
    """The first of a value's `repr`."""
    try:
        told = repr(value)
    except Exception as error:  # a value that cannot be shown is still a value
        return f"<a {type(value).__name__} whose repr raises {type(error).__name__}>"
    return told if len(told) <= MOST_TEXT else f"{told[:MOST_TEXT]} … ({len(told):,} characters)"


def _own(value: object, method: str) -> object:
    """What a value's own method gives; None where it has none, or that fails."""
    if isinstance(value, type) or not callable(getattr(type(value), method, None)):
        return None
    try:
        made: object = getattr(value, method)()
    except Exception:  # then it is shown in another way
        return None
    return made
