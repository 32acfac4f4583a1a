"""Durations as people write them: `30d`, `12h`, `1h30m`."""

from __future__ import annotations

import re

import click

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


class Duration(click.ParamType[float]):
    """An option that takes a duration and gives seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds.

        >>> Duration().convert("1h30m", None, None), Duration().convert("30d", None, None)
        (5400.0, 2592000.0)
        """
        if isinstance(value, float):
            return value
        text = str(value).strip().lower()
        parts = PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            self.fail(f"{value!r} is no duration. Give a number and a unit, such as 45s, 90m, 12h or 30d.", param, ctx)
        return sum(float(number) * UNITS[unit] for number, unit in parts)
