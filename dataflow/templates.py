"""Path templates of targets: names and format specs only, so that a template can never walk into objects.

Names: `{flow} {run} {run_id} {task} {path} {index}` and `{params[NAME]}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

NAMES = ("flow", "run", "run_id", "task", "path", "index")
_PARAMETER = re.compile(r"params\[([A-Za-z_]\w*)\]\Z")
# What a value may not bring into a path: separators would let a parameter choose the folder.
_UNFIT = re.compile(r"[\\\x00-\x1f\x7f]")
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template.

    Examples
    --------
    >>> template = Template("clean/{flow}/{params[day]:%Y}/{index:03}.parquet")
    >>> import datetime
    >>> template.render({"flow": "etl", "index": 7}, {"day": datetime.date(2026, 11, 22)})
    'clean/etl/2026/007.parquet'
    >>> Template("{index.real}.txt")
    Traceback (most recent call last):
        ...
    ValueError: field {index.real} is not known. Fields: flow, run, run_id, task, path, index, params[NAME].
    """

    text: str

    def __post_init__(self) -> None:
        try:
            parsed = list(Formatter().parse(self.text))
        except ValueError as error:
            raise ValueError(f"it is not a template: {error}.") from error
        for literal, name, spec, conversion in parsed:
            if _UNFIT.search(literal):
                raise ValueError(f"{literal!r} has a backslash or a control character, which no path may have.")
            if name is None:
                continue
            if name not in NAMES and not _PARAMETER.match(name):
                raise ValueError(f"field {{{name}}} is not known. Fields: {', '.join(NAMES)}, params[NAME].")
            if conversion or "{" in (spec or ""):
                raise ValueError(f"field {{{name}}} takes a format spec only, no conversion or nested field.")

        if "://" not in self.text and (self.text.startswith("/") or ".." in self.text.split("/")):
            raise ValueError("a path is relative to the target root and has no '..' in it; or it is a URL.")

    @property
    def fields(self) -> frozenset[str]:
        """The names used; parameters as `params[NAME]`."""
        return frozenset(name for _, name, _, _ in Formatter().parse(self.text) if name is not None)

    @property
    def parameters(self) -> frozenset[str]:
        """The flow parameters used."""
        return frozenset(match.group(1) for name in self.fields if (match := _PARAMETER.match(name)))

    def render(self, values: Mapping[str, object], parameters: Mapping[str, object]) -> str:
        """The path.

        Raises
        ------
        ValueError
            A value has a path separator or a control character, is empty, or does not fit its format spec.
        """
        parts: list[str] = []
        for literal, name, spec, _ in Formatter().parse(self.text):
            parts.append(literal)
            if name is None:
                continue
            match = _PARAMETER.match(name)
            value = parameters[match.group(1)] if match else values[name]
            try:
                text = format(value, spec or "")
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}={value!r} does not fit {spec!r}: {error}") from error
            # A node's path may hold slashes, which are folders of ours.
            if (name != "path" and _UNSAFE.search(text)) or text in ("", ".", ".."):
                raise ValueError(f"{name}={text!r} cannot be part of a path.")
            parts.append(text)
        return "".join(parts)
