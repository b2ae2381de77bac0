"""Tab completion: what the shells are told to call, and the answers to their calls.

It is asked for as of any program that click makes: `_FANCYPIPE_COMPLETE=bash_source
fancypipe` prints what a shell is to read, and so does `fancypipe completion bash`; the
shell then calls `_FANCYPIPE_COMPLETE=bash_complete fancypipe` with the line as it stands.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence

import click

from fancypipe_core import errors
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.complete import Candidate, complete

__all__ = ["SHELLS", "answer", "asked", "source"]

_LINE = "_FANCYPIPE_LINE"
_BREAKS = "_FANCYPIPE_BREAKS"

_BASH = """\
%(function)s() {
    local candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("$candidate")
    done < <(_FANCYPIPE_LINE="${COMP_LINE:0:COMP_POINT}" _FANCYPIPE_BREAKS="$COMP_WORDBREAKS" \\
        %(variable)s=bash_complete "$1" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/:=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
    return 0
}
complete -F %(function)s %(program)s
"""

_ZSH = """\
#compdef %(program)s
%(function)s() {
    local -a whole open shown
    local candidate text
    for candidate in "${(@f)$(_FANCYPIPE_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" \\
        %(variable)s=zsh_complete "$words[1]" 2>/dev/null)}"; do
        text=${candidate%%%%$'\\t'*}
        [[ -z $text ]] && continue
        if [[ $text == *[/:=] ]]; then
            open+=("$text")
        else
            whole+=("$text")
            shown+=("${candidate/$'\\t'/  -- }")
        fi
    done
    (( ${#open} )) && compadd -S '' -a open
    (( ${#whole} )) && compadd -l -d shown -a whole
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(function)s "$@"
else
    compdef %(function)s %(program)s
fi
"""

_FISH = """\
function %(function)s
    env _FANCYPIPE_LINE=(commandline -cp | string collect) %(variable)s=fish_complete \\
        %(program)s 2>/dev/null
end
complete --no-files --command %(program)s --arguments "(%(function)s)"
"""

SHELLS = {"bash": _BASH, "fish": _FISH, "zsh": _ZSH}


def _variable(program: str) -> str:
    """Return the variable by which completion is asked for, as click calls it."""
    return f"_{re.sub('[-.]', '_', program)}_COMPLETE".upper()


def asked(program: str) -> str | None:
    """Return what a shell asks a program for, if one does."""
    return os.environ.get(_variable(program))


def source(shell: str, program: str) -> str:
    """Return what a shell is to read, so that it completes the command lines of a program.

    Raises:
        UsageError: We know nothing of that shell.
    """
    text = SHELLS.get(shell)
    if text is None:
        raise errors.UsageError(
            f"completion is there for {', '.join(SHELLS)}, and not for {shell or 'no shell'!r}; "
            f"write: {program} completion bash"
        )
    name = re.sub(r"\W", "_", program, flags=re.ASCII)
    return text % {
        "program": program,
        "function": f"_{name}_complete",
        "variable": _variable(program),
    }


def answer(
    what: str, program: str, commands: Mapping[str, click.Command], first: Sequence[str] = ()
) -> int:
    """Answer a shell.  Whatever goes wrong, it gets no candidates, and nothing else is said.

    Args:
        what: What it asks for: the shell's name and `_source` or `_complete`.
        program: Which program it completes.
        commands: The commands of our own.
        first: The words that this program stands for.

    Returns:
        The exit code.
    """
    shell, _, wish = what.partition("_")
    try:
        if wish == "source":
            _streams.write(source(shell, program).rstrip("\n"))
            return 0
        with _streams.aside():
            words, word, quoted = _split(os.environ.get(_LINE, ""))
            found = complete(commands, [*first, *words[1:]], word)
        for one in found:
            _streams.write(_written(shell, one, word, quoted))
    except errors.UsageError as error:
        _streams.say(f"fancypipe: {error}")
        return error.exit_code
    except Exception:  # noqa: BLE001 - nobody who presses a key wants to read of it
        return 1
    return 0


def _split(line: str) -> tuple[list[str], str, bool]:
    """Return the words that are whole, the one that is not, and whether a quote is open in it."""
    for closing in ("", '"', "'", "\\"):
        try:
            # What ends the line is part of the last word, which may be empty.
            words = shlex.split(f"{line}{closing}\0" if closing != "\\" else f"{line[:-1]}\0")
        except ValueError:
            continue
        return words[:-1], words[-1].removesuffix("\0"), closing in ('"', "'")
    return [], "", False


def _written(shell: str, one: Candidate, word: str, quoted: bool) -> str:
    """Return a candidate as a shell wants it."""
    if shell != "bash":
        text = re.sub(r"\s+", " ", one.help)
        return f"{one.text}\t{text}" if text else one.text
    # It replaces only what stands behind the last of these characters.
    breaks = "".join(mark for mark in os.environ.get(_BREAKS, "=:") if mark in "=:")
    start = max((word.rfind(mark) + 1 for mark in breaks), default=0)
    text = one.text[start:]
    return text if quoted else re.sub(r"([\s'\"\\$`&;|<>()*?!#\[\]{}])", r"\\\1", text)
