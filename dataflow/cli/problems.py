"""Exit codes, and errors as people read them: what was wrong, and what to do. No traceback for a mistake."""

from __future__ import annotations

import re
import sys
import traceback

import click

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_UNREACHABLE = 4
EXIT_CANCELLED = 5
EXIT_PAUSED = 6
EXIT_TIMEOUT = 124
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
EXIT_CODES = {
    EXIT_OK: "success",
    EXIT_FAILED: "the run failed or crashed; the task asked for has no result; or `dataflow doctor` found a problem",
    EXIT_USAGE: "usage error: a wrong verb, option or parameter, or a file that cannot be loaded; nothing was run",
    EXIT_NOT_FOUND: "there is no such file, flow, run or task",
    EXIT_UNREACHABLE: "the record of runs, the results or the cluster cannot be reached, or another version made them",
    EXIT_CANCELLED: "the run was cancelled",
    EXIT_PAUSED: "the run is paused, or is not over yet",
    EXIT_TIMEOUT: "the time of --timeout passed; the run was cancelled, if this process drove it",
    EXIT_INTERRUPTED: "interrupted by Ctrl-C; the run was cancelled, if this process drove it",
    EXIT_TERMINATED: "ended by SIGTERM; the run was cancelled, if this process drove it",
}
# How those sentences of our errors begin that say what to do.
ADVICE = (
    "Did you mean|It has|It takes|Say which|Say from_|Give|Mark|Options|Check|Wait for|A run is named|Taken are"
    "|Bring it|Start a new run|Go on there"
)
HINTS = re.compile(rf"\s+(?=(?:{ADVICE})\b)")


class Refused(click.ClickException):
    """What was asked for cannot be done, and why.

    Parameters
    ----------
    message : str
        What is wrong.
    hint : str
        What to do; may be empty.
    code : int
        The exit code.
    """

    def __init__(self, message: str, hint: str = "", code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.hint, self.code = hint, code


def told(error: BaseException) -> int:
    """Print an error for people and give its exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and error.ctx is not None:
        sys.stderr.write(f"{error.ctx.get_help()}\n")
        return EXIT_USAGE
    message, hint, code = explain(error)
    sys.stderr.write(f"{_marked('error:', '31')} {message}\n")
    if hint:
        sys.stderr.write(f"{_marked('hint:', '36')} {hint}\n")
    return code


def explain(error: BaseException) -> tuple[str, str, int]:
    """What to say of an error: message, hint, exit code.

    >>> explain(Refused("no run 'oter'", "did you mean 'otter'?", 3))
    ("no run 'oter'", "did you mean 'otter'?", 3)
    """
    if isinstance(error, Refused):
        return error.message, error.hint, error.code
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return error.format_message(), "", error.exit_code
    return _ours(error)


def _usage(error: click.UsageError) -> tuple[str, str, int]:
    from difflib import get_close_matches

    message = error.format_message()
    close = getattr(error, "possibilities", None) or []
    message = message.partition(" Did you mean")[0].partition(" (Possible options")[0]
    if close:
        return _lowered(message).removesuffix("."), f"did you mean {' or '.join(sorted(close))}?", EXIT_USAGE
    kind = error.param.type if isinstance(error, click.BadParameter) and error.param is not None else None
    if isinstance(kind, click.Choice):
        near = get_close_matches(message.partition(": '")[2].partition("'")[0], [str(one) for one in kind.choices], n=1)
        if near:
            return _lowered(message).removesuffix("."), f"did you mean {near[0]!r}?", EXIT_USAGE
    message, hint = split_hint(message)
    path = error.ctx.command_path if error.ctx is not None else "dataflow"
    return _lowered(message), hint or f"{path} --help", EXIT_USAGE


def _ours(error: BaseException) -> tuple[str, str, int]:
    from dataflow import errors
    from dataflow_storage import StoreUnavailable

    if isinstance(error, errors.NoSuchRun | errors.NoSuchTask | errors.FlowNotFound):
        return (*split_hint(str(error)), EXIT_NOT_FOUND)
    if isinstance(error, errors.CodeGone):
        return _gone(error)
    if isinstance(error, errors.ParameterError):
        return (*split_hint(str(error)), EXIT_USAGE)
    if isinstance(error, errors.NotFinished):
        return (*split_hint(str(error)), EXIT_PAUSED)
    if isinstance(error, StoreUnavailable):
        return (*split_hint(str(error)), EXIT_UNREACHABLE)
    report = getattr(error, "report", None)
    if isinstance(error, errors.DataflowError) and isinstance(report, str):
        # A file of the user's: where in it is what helps.
        from dataflow.cli.failures import readable

        where = _indented("\n".join(readable(report)))
        return f"{str(error).partition(': ')[0]}\n\n{where}\n", "correct the file and try again.", EXIT_USAGE
    if isinstance(error, errors.DataflowError):
        return (*split_hint(str(error)), EXIT_USAGE)
    kind = type(error)
    if kind.__module__.startswith(("dataflow_storage", "dataflow_executors")):
        mistake = isinstance(error, ValueError | TypeError | LookupError)
        return (*split_hint(str(error)), EXIT_USAGE if mistake else EXIT_UNREACHABLE)
    text = "".join(traceback.format_exception(error))
    message = f"{kind.__name__}: {error}\n\n{_indented(text)}\n"
    return message, "this is a defect of dataflow: please report it with the lines above.", EXIT_FAILED


def _gone(error: ImportError) -> tuple[str, str, int]:
    """Code that is not there any more, or cannot be loaded: where in it, if it is still a file."""
    message, *advice = HINTS.split(str(error))
    report = getattr(error.__cause__, "report", None)
    if isinstance(report, str):
        from dataflow.cli.failures import readable

        message = f"{message.removesuffix('.')}\n\n{_indented(chr(10).join(readable(report)))}\n"
    return message.removesuffix("."), _lowered(advice[-1]) if advice else "", EXIT_USAGE


def split_hint(text: str) -> tuple[str, str]:
    """A sentence of ours in two: what is wrong, and what to do.

    >>> split_hint("flow 'etl': no parameter 'regoin'. Did you mean 'region'?")
    ("flow 'etl': no parameter 'regoin'", "did you mean 'region'?")
    """
    message, *advice = HINTS.split(text)
    best = [sentence for sentence in advice if sentence.startswith("Did you mean")]
    return _lowered(message.removesuffix(".")), _lowered(" ".join(best or advice))


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:] if not text[1:2].isupper() else text


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


def _marked(word: str, colour: str) -> str:
    from dataflow.cli.terminal import has_colour

    return f"\x1b[1;{colour}m{word}\x1b[0m" if has_colour(sys.stderr) else word
