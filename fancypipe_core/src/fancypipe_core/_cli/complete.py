"""What may stand next on a command line of `fancypipe`: for tab completion."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import click

from fancypipe_core import errors
from fancypipe_core._base.option_names import dashed, plain
from fancypipe_core._cli import helping as _helping
from fancypipe_core._cli import options as _options
from fancypipe_core._cli import outline as _outline
from fancypipe_core._cli import plugin_commands as _plugged
from fancypipe_core._model import load as _load
from fancypipe_core._plugins import discovery
from fancypipe_core._settings import session
from fancypipe_core._settings import table as _table

__all__ = ["Candidate", "complete"]


class Candidate(NamedTuple):
    """What may stand there.

    Attributes:
        text: The whole word; one that ends in `/`, `:` or `=` goes on.
        help: What it does; may be empty.
    """

    text: str
    help: str = ""


_WITH_PIPELINE = ("config", "doctor", "graph")  # what takes a file, and behind it inputs
_Values = Callable[[str], Iterable[Candidate]]


class _Choice(NamedTuple):
    """An option: its names, its help, whether it stands alone, and what it takes."""

    names: tuple[str, ...]
    help: str
    is_flag: bool
    values: _Values


def complete(
    commands: Mapping[str, click.Command], before: Sequence[str], word: str
) -> list[Candidate]:
    """Return what may stand at the end of a command line.

    Args:
        commands: The commands of our own.
        before: The words that are whole.
        word: The beginning of the word that is not.
    """
    choices = [*_engine(), *_backends_own(before), _VERSION, _HELP]
    at = _after_options(before, 0, choices)
    if isinstance(at, _Choice):
        return _matching(at.values(word), word)
    if at == len(before):
        return _option(word, choices) or _matching(_targets(commands, word), word)
    target, at = before[at], at + 1
    words: _Values = _nothing
    if target in _WITH_PIPELINE:
        choices = [*_settings_of(commands[target]), *_backends_own(before), _HELP]
        following = _after_options(before, at, choices)
        if isinstance(following, _Choice):
            return _matching(following.values(word), word)
        if following == len(before):
            return _option(word, choices) or _matching(_files(word, ".py", names=True), word)
        inputs, words = _inputs(before[following])
        choices, at = [*inputs, *choices], following + 1
    elif target in commands:
        choices = [*_settings_of(commands[target]), _HELP]
        words = _words_of(target)
    elif _load.may_be_command(target):
        choices, words, at = _brought(target, before, at)
    else:
        inputs, words = _inputs(target)
        taken = {name for one in inputs for name in one.names}
        choices = [*inputs, *(one for one in choices[:-2] if one.names[0] not in taken), _HELP]
    while True:
        following = _after_options(before, at, choices)
        if isinstance(following, _Choice):
            return _matching(following.values(word), word)
        if following == len(before):
            break
        at = following + 1  # a word that belongs to no option
    return _option(word, choices, before) or _matching(words(word), word)


# ---- options -----------------------------------------------------------------


def _after_options(words: Sequence[str], at: int, choices: Iterable[_Choice]) -> int | _Choice:
    """Return the place of the first word that belongs to no option; the option, if one is open."""
    known = {plain(name): one for one in choices for name in one.names}
    while at < len(words) and _options.is_option(words[at]):
        name, equals, _ = words[at].partition("=")
        one = known.get(plain(name.removeprefix("-").removeprefix("-")))
        if one is not None and not one.is_flag and not equals:
            at += 1
            if at == len(words):
                return one
        at += 1
    return at


def _option(word: str, choices: Sequence[_Choice], given: Sequence[str] = ()) -> list[Candidate]:
    """Return the options that a word begins, or the values of `--option=`."""
    spelled, equals, value = word.partition("=")
    dashes = "--" if word.startswith("--") else "-"
    typed = plain(spelled.removeprefix("-").removeprefix("-"))
    if equals and word.startswith("-"):
        for one in choices:
            if typed in map(plain, one.names) and not one.is_flag:
                found = _matching(one.values(value), value)
                return [
                    found_one._replace(text=f"{spelled}={found_one.text}") for found_one in found
                ]
        return []
    if word and not word.startswith("-"):
        return []
    there = {plain(one.partition("=")[0].strip("-")) for one in given if one.startswith("-")}
    found = []
    for one in choices:
        if not there.isdisjoint(map(plain, one.names)):
            continue
        if not word and one.help != _INPUT:
            continue  # nothing was typed yet: what the task asks for, and not all that there is
        name = next((name for name in one.names if plain(name).startswith(typed)), None)
        if name is not None:
            text = dashes + name.replace("_", "-") if word else dashed(name)
            found.append(Candidate(text, one.help))
    return found


_INPUT = "an input"


def _nothing(_word: str) -> list[Candidate]:
    return []


def _of_setting(line: _table.Setting) -> _Choice:
    values: _Values = _nothing
    if line.name in ("backend", "workertype"):
        values = _backends
    elif line.is_path or line.value in ("FOLDER", "DIR"):
        values = _folders
    elif line.expected.startswith("one of "):
        values = _of(line.expected.removeprefix("one of ").replace('"', "").split(", "))
    return _Choice((*line.options, *line.off), line.help, not line.value, values)


def _of(texts: Iterable[str]) -> _Values:
    return lambda _word: [Candidate(text) for text in texts]


def _engine() -> Iterator[_Choice]:
    yield from map(_of_setting, _table.ENGINE.lines)
    yield _Choice(("dry-run",), "Say what would run, and run nothing.", True, _nothing)
    yield _Choice(("output",), "Write the result to this file.", False, _all_files)


def _backends_own(before: Sequence[str]) -> Iterator[_Choice]:
    """Yield the options of the backend that was typed, and those that choose one."""
    backend = _helping.typed_backend(before)
    table = None
    with suppress(errors.FancyPipeError):
        table = session.table_of(discovery.find(backend)) if backend else None
    yield from map(_of_setting, table.lines if table is not None else ())
    for form, text in _helping.choosing() if table is None else ():
        names = [part.split()[0].strip("-") for part in form.split(", ")]
        yield _Choice(tuple(names), text, False, _nothing)


def _settings_of(command: click.Command) -> Iterator[_Choice]:
    """Yield what one of our own commands takes."""
    lines = {line.name: line for line in _table.ENGINE.lines}
    for option in getattr(command, "options", ()):
        if option.key in lines:
            yield _of_setting(lines[option.key])
        elif option.key != "help":
            yield _Choice(option.spellings, "", option.is_flag, _nothing)


_HELP = _Choice(("help", "h"), "Show what there is.", True, _nothing)
_VERSION = _Choice(("version",), "Show the version.", True, _nothing)


# ---- what is no option -------------------------------------------------------


def _matching(candidates: Iterable[Candidate], word: str) -> list[Candidate]:
    return [one for one in candidates if one.text.startswith(word)]


def _backends(_word: str) -> Iterator[Candidate]:
    for name in discovery.installed():
        yield Candidate(name)
    for name, ours in discovery.OURS.items():
        if discovery.is_installed(name):
            yield Candidate(ours.alias, name)


def _targets(commands: Mapping[str, click.Command], word: str) -> Iterator[Candidate]:
    for name, command in commands.items():
        yield Candidate(name, command.get_short_help_str(80))
    for name, text in _plugged.listed():
        if " " not in name:
            yield Candidate(name, text)
    for owner in sorted({name.split()[0] for name, _ in _plugged.listed() if " " in name}):
        yield Candidate(owner)
    yield from _files(word, ".py", names=True)


def _brought(target: str, before: Sequence[str], at: int) -> tuple[list[_Choice], _Values, int]:
    """Return the options of a plugin's command, its words, and where its line begins."""
    with suppress(errors.FancyPipeError):
        command = _plugged.find_command(target)
        if isinstance(command, _plugged.OfPlugin):
            if at >= len(before):
                return [_HELP], _of(tuple(sorted(command.commands))), at
            command, at = command.commands.get(before[at]), at + 1
        return [*map(_of_setting, getattr(command, "lines", ())), _HELP], _nothing, at
    return [_HELP], _nothing, at


def _words_of(command: str) -> _Values:
    words = {"completion": _of(("bash", "fish", "zsh")), "report": _all_files}
    words |= dict.fromkeys(("runs", "clean"), _all_files)
    return words.get(command, _nothing)


def _inputs(target: str) -> tuple[list[_Choice], _Values]:
    """Return the inputs of the task that is meant, and what its other words may be."""
    file, name = target, ""
    if not os.path.exists(os.path.expanduser(file)) and ":" in target:
        file, _, name = target.rpartition(":")
    sketches, meant = _outline.outline(os.path.expanduser(file))
    if name:
        meant = next((one for one in sketches if one.name == name), None)
    if meant is None:
        return [], _nothing
    choices = []
    for one in meant.inputs:
        values: _Values = _of(one.choices)
        if not one.choices and one.is_path:
            values = _all_files
        names = (one.name, f"no-{one.name}") if one.is_flag else (one.name,)
        choices.append(_Choice(names, _INPUT, one.is_flag, values))
    return choices, _all_files if meant.words else _nothing


def _all_files(word: str) -> Iterator[Candidate]:
    return _files(word, "")


def _folders(word: str) -> Iterator[Candidate]:
    return _files(word, "/")


def _files(word: str, ending: str, *, names: bool = False) -> Iterator[Candidate]:
    """Yield the files that a word begins, and folders, which go on.

    Args:
        word: What was typed.
        ending: How a file's name ends; `/` for folders only.
        names: Whether the tasks of a file follow after a colon.
    """
    file, colon, _ = word.rpartition(":")
    if names and colon and os.path.isfile(os.path.expanduser(file)):
        for sketch in _outline.outline(os.path.expanduser(file))[0]:
            yield Candidate(f"{file}:{sketch.name}", "a module" if sketch.is_module else "a task")
        return
    folder, begin = os.path.split(word)
    head = word[: len(word) - len(begin)]
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda one: one.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") and not begin.startswith("."):
            continue
        is_folder = False
        with suppress(OSError):
            is_folder = entry.is_dir()
        if is_folder and entry.name != "__pycache__":
            yield Candidate(f"{head}{entry.name}/")
        elif not is_folder and ending != "/" and entry.name.endswith(ending):
            yield Candidate(f"{head}{entry.name}")
