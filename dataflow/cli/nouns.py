"""Groups of verbs about one thing, such as `dataflow cache ls`: by other names, too, and with what was meant."""

from __future__ import annotations

import click

from dataflow.cli.problems import Refused
from dataflow.errors import did_you_mean

ALIASES = {
    "list": "ls",
    "inspect": "show",
    "describe": "show",
    "delete": "rm",
    "remove": "rm",
    "forget": "rm",
}


class Nouns(click.Group):
    """A group whose verbs are found by other names that people know them by."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with what may have been meant."""
        given = args[0]
        name = ALIASES.get(given, given)
        if name not in self.commands and not given.startswith("-"):
            raise Refused(f"{ctx.command_path} has no verb {given!r}", self.advice(ctx, given))
        return super().resolve_command(ctx, [name, *args[1:]])

    def advice(self, ctx: click.Context, given: str) -> str:
        """What to do about a verb that is not there."""
        known = [name for name, found in self.commands.items() if not found.hidden]
        close = did_you_mean(given, known).strip()
        return close[:1].lower() + close[1:] or f"{ctx.command_path} {'|'.join(known)}"
