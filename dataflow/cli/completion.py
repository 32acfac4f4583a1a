"""`dataflow completion`: let bash, zsh, fish or PowerShell complete what can stand on the command line."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import click

from dataflow import __version__, settings
from dataflow.cli import data, words
from dataflow.cli.nouns import Nouns
from dataflow.cli.problems import Refused

# Each asks `dataflow completion words` once for the fastest way to ask, and at each Tab only that.
BASH = r"""_dataflow() {
    local at; at=$(type -P dataflow) || return
    if [[ $_dataflow_at != "$at" ]]; then
        _dataflow_at=$at
        mapfile -t _dataflow_ask < <("$at" completion words 2>/dev/null)
    fi
    local IFS=$'\n'
    COMPREPLY=($("${_dataflow_ask[@]}" bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null))
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/] ]] && compopt -o nospace
}
complete -o default -F _dataflow dataflow
"""
ZSH = r"""(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_dataflow() {
    local at=$commands[dataflow] line
    [[ -n $at ]] || return
    if [[ $_dataflow_at != $at ]]; then
        typeset -g _dataflow_at=$at
        typeset -ga _dataflow_ask=("${(@f)$("$at" completion words 2>/dev/null)}")
    fi
    local -a open found told
    for line in "${(@f)$("${_dataflow_ask[@]}" zsh "$LBUFFER" 2>/dev/null)}"; do
        [[ -n $line ]] || continue
        local word=${line%%$'\t'*}
        [[ $word == *[=/] ]] && open+=("$word") && continue
        found+=("$word"); told+=("$word  ${line#*$'\t'}")
    done
    (( $#open )) && compadd -S '' -a open
    (( $#found )) && compadd -l -d told -a found
    (( $#open + $#found )) || _files
}
compdef _dataflow dataflow
"""
FISH = r"""function __dataflow_words
    set -l at (command -s dataflow); or return
    if test "$__dataflow_at" != "$at"
        set -g __dataflow_at $at
        set -g __dataflow_ask ($at completion words 2>/dev/null)
    end
    set -l found ($__dataflow_ask fish (commandline -cp) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c dataflow -f -a '(__dataflow_words)'
"""
# Of a word such as @last PowerShell would make something else: what is not plain is quoted.
POWERSHELL = r"""Register-ArgumentCompleter -Native -CommandName dataflow -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $at = (Get-Command dataflow -CommandType Application -ErrorAction Ignore | Select-Object -First 1).Source
    if (-not $at) { return }
    if ($global:DataflowAt -ne $at) {
        $global:DataflowAt = $at
        $global:DataflowAsk = @(& $at completion words 2>$null)
    }
    $length = $cursorPosition - $commandAst.Extent.StartOffset
    $line = $commandAst.Extent.Text.PadRight($length).Substring(0, $length)
    $command, $arguments = $global:DataflowAsk
    & $command @arguments powershell $line 2>$null | ForEach-Object {
        $word, $told = $_ -split "`t", 2
        if (-not $told) { $told = $word }
        $text = if ($word -match '^[\w.:/\\=-]+$') { $word } else { "'" + $word.Replace("'", "''") + "'" }
        [System.Management.Automation.CompletionResult]::new($text, $word, 'ParameterValue', $told)
    }
}
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH, "powershell": POWERSHELL}
SHELLS = click.Choice(sorted(SCRIPTS))
KINDS = {
    "FILE[:FLOW]": "FILE[:FLOW]",
    "RUN": "RUN",
    "TASK": "TASK",
    "STATE": "STATE",
    "LEVEL": "LEVEL",
    "WHERE": "WHERE",
}
KINDS |= {"RUN[/TASK]": "RUN/TASK", "[RUN[/TASK]]": "RUN/TASK", "TASK...": "TASK", "NAME=VALUE": "NAME=VALUE"}


@click.group("completion", cls=Nouns, short_help="Let the shell complete verbs, options, flows, runs and tasks.")
def command() -> None:
    """Let the shell complete verbs, options, flows and their parameters, runs and their tasks.

    Flows are read from the file that is named, which is not run. Runs are read from the record, if that is a SQLite
    file.
    """


@command.command("install", short_help="Write what the shell needs, once.")
@click.option("--shell", type=SHELLS, help="By default the one of $SHELL.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be written.")
def install(shell: str | None, dry_run: bool) -> None:
    """Write what the shell needs, once; each new shell completes then.

    \b
    Examples:
      dataflow completion install
      dataflow completion install --shell zsh --dry-run
    """
    shell = shell or _shell()
    script, start = _places(shell)
    line = f'{"." if shell == "powershell" else "source"} "{script}"'
    there = start is None or (start.exists() and line in start.read_text(encoding="utf-8").splitlines())
    told = "would write" if dry_run else "wrote"
    try:
        if not dry_run:
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(SCRIPTS[shell], encoding="utf-8")
        click.echo(f"{told} {script}")
        if start is not None and not there:
            if not dry_run:
                start.parent.mkdir(parents=True, exist_ok=True)
                with open(start, "a", encoding="utf-8") as file:
                    file.write(f"\n# completion for dataflow\n{line}\n")
            click.echo(f"{told} a line in {start}")
    except OSError as error:
        raise Refused(
            f"{error.filename} cannot be written: {error.strerror}", f"dataflow completion show {shell}"
        ) from error
    if not dry_run:
        click.echo("begin a new shell")


@command.command("show", short_help="Print the script of a shell.")
@click.argument("shell", type=SHELLS, required=False)
def show(shell: str | None) -> None:
    """Print what `install` would write, for those who keep such scripts elsewhere."""
    click.echo(SCRIPTS[shell or _shell()], nl=False)


@command.command("words", hidden=True)
def where() -> None:
    """Print, one a line, the words of the command that a shell calls at each press of Tab."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dataflow"
    table = folder / f"words-{__version__}.json"
    folder.mkdir(parents=True, exist_ok=True)
    fresh = table.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(known()), encoding="utf-8")
    fresh.replace(table)  # another shell may be reading it
    click.echo("\n".join([sys.executable, "-I", "-S", words.__file__, str(table)]))


def known() -> data.Data:
    """All verbs and options, as `dataflow.cli.words` reads them."""
    from dataflow.cli import ALIASES, VERBS, commands

    context = click.Context(commands, info_name="dataflow")
    verbs = {}
    for name in VERBS:
        found = commands.get_command(context, name)
        assert found is not None
        verbs[name] = _verb(found)
    base = {"home": settings.get("home"), "runs": settings.get("runs.url")}
    return {**base, "aliases": ALIASES, "help": "", "options": _options(commands), "verbs": verbs}


def _verb(found: click.Command) -> data.Data:
    under = found.commands if isinstance(found, click.Group) else {}
    arguments = [_kind(one) for one in found.params if isinstance(one, click.Argument)]
    return {
        "help": found.get_short_help_str(80),
        "options": _options(found),
        "arguments": arguments,
        "verbs": {name: _verb(one) for name, one in under.items() if not one.hidden},
    }


def _options(found: click.Command) -> list[data.Data]:
    told: list[data.Data] = [{"names": ["-h", "--help"], "takes": None, "help": "What it does."}]
    for one in found.params:
        if isinstance(one, click.Option) and one.opts != ["--help"]:
            takes = None if one.is_flag or one.count else _kind(one) or True
            told.append({"names": one.opts, "takes": takes, "help": one.help or ""})
    return told


def _kind(one: click.Parameter) -> object:
    """What a value is, as `dataflow.cli.words` calls it."""
    if isinstance(one.type, click.Choice):
        return list(one.type.choices)
    if "--flow" in one.opts:
        return "FLOW"
    return KINDS.get(one.metavar or one.human_readable_name.upper())


def _shell() -> str:
    name = re.sub(r"\W", "", os.path.basename(os.environ.get("SHELL", "")))
    name = "powershell" if name == "pwsh" else name
    if name not in SCRIPTS:
        raise Refused(f"there is no completion for the shell {name or 'that is not named in $SHELL'!r}", "--shell bash")
    return name


def _places(shell: str) -> tuple[Path, Path | None]:
    """Where the script goes, and the file that must read it; None where the shell finds it by itself."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    if shell == "fish":
        return config / "fish" / "completions" / "dataflow.fish", None
    own = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "dataflow"
    if shell == "powershell":
        return own / "completion.ps1", config / "powershell" / "profile.ps1"
    folder = Path(os.environ.get("ZDOTDIR") or "~") if shell == "zsh" else Path("~")
    return own / f"completion.{shell}", folder.expanduser() / f".{shell}rc"
