"""The command line: `dataflow VERB`. Each verb lies in a file of its own and is loaded when it is called."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import click

from dataflow import __version__
from dataflow.cli.problems import EXIT_INTERRUPTED, Refused, told

# Verb: where it is, and its line in the help, so that the help loads none of them.
VERBS = {
    "run": ("dataflow.cli.run", "Run a flow and show how it goes."),
    "resume": ("dataflow.cli.resume", "Go on with a run that was paused, cancelled or crashed."),
    "retry": ("dataflow.cli.retry", "Run again what did not succeed of a run; the rest is kept."),
    "rerun": ("dataflow.cli.rerun", "Run the flow of a run once more, as a new run."),
    "cancel": ("dataflow.cli.cancel", "Stop a run, wherever it is driven."),
    "pause": (
        "dataflow.cli.pause",
        "Let what runs finish, and start nothing else until somebody resumes the run.",
    ),
    "approve": (
        "dataflow.cli.approve",
        "Let a task go on that waits for a person, with an answer if it wants one.",
    ),
    "recover": ("dataflow.cli.recover", "Go on with runs whose driver died."),
    "watch": ("dataflow.cli.watch", "Show how a run goes that another process drives."),
    "ls": ("dataflow.cli.ls", "List runs, newest first."),
    "show": ("dataflow.cli.show", "Show a run, a task of it, or one child of a mapped task."),
    "history": ("dataflow.cli.history", "List each change of state of a run or a task."),
    "logs": ("dataflow.cli.logs", "Print the log lines of a run or a task."),
    "result": ("dataflow.cli.result", "Print or save what a run or a task returned."),
    "explain": ("dataflow.cli.explain", "Say why a task ran again, or why it did not."),
    "cache": ("dataflow.cli.cache", "List, forget and explain cached results."),
    "results": ("dataflow.cli.results", "List stored results."),
    "prune": ("dataflow.cli.prune", "Delete old runs and their results."),
    "graph": ("dataflow.cli.graph", "Draw a flow without running it."),
    "check": ("dataflow.cli.check", "Load a file, build its flows, and say what is wrong."),
    "doctor": ("dataflow.cli.doctor", "Look at what this installation needs, and say what is wrong."),
    "completion": ("dataflow.cli.completion", "Let the shell complete verbs, options, flows, runs and tasks."),
}
ALIASES = {
    "list": "ls",
    "runs": "ls",
    "inspect": "show",
    "describe": "show",
    "log": "logs",
    "continue": "resume",
    "stop": "cancel",
}


class Verbs(click.Group):
    """A group that imports a verb when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order in which one meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, also by another name that people know it by."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in VERBS:
            return None
        command = _loaded(VERBS[name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with what may have been meant."""
        if args and not args[0].startswith("-") and args[0] not in (*VERBS, *ALIASES):
            from difflib import get_close_matches

            close = get_close_matches(args[0], [*VERBS, *ALIASES], n=1)
            hint = f"did you mean 'dataflow {close[0]}'?" if close else f"verbs: {', '.join(VERBS)}."
            raise Refused(f"no verb {args[0]!r}", hint)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """As click's; a reader that has seen enough, as in `| head`, is no failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _close_quietly()
            return 0

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with their lines, none of them loaded."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]}, subcommand_metavar="VERB …")
@click.version_option(__version__, prog_name="dataflow")
def commands() -> None:
    """Plain Python functions become one lazy graph, run on Dask, with a durable record of every state and result.

    A RUN is named by its name, the first 4 or more characters of its id, @last or @last-failed. A task of it is written
    RUN/TASK, a child of a mapped task RUN/TASK[3].
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Instead of `sys.argv`.
    """
    try:
        code = commands.main(args=arguments, prog_name="dataflow", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("\nerror: interrupted\n")
        code = EXIT_INTERRUPTED
    except Exception as error:
        code = told(error)
    sys.exit(code if isinstance(code, int) else 0)


def _loaded(name: str) -> ModuleType:
    """A module, without looking for rubbish meanwhile: what is imported stays, and looking takes a seventh of `ls`."""
    if name in sys.modules or not gc.isenabled():
        return import_module(name)
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _close_quietly() -> None:
    import os

    # Python flushes at exit, and would complain of the closed pipe again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
