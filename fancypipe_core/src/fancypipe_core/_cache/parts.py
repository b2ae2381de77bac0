"""What a key was made of, and how two of them differ, in words."""

from __future__ import annotations

import difflib
from hashlib import blake2b

import msgspec

from fancypipe_core._base.msgpack import pack

__all__ = ["KeyParts", "Uncacheable", "differences", "digest_of"]

_FORMAT = 1  # counts up when digests are made in another way: no old result is taken then
LINE = 3  # characters of a line's digest
NO_CODE = "---"  # that of a line without code


class KeyParts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the key of a call was made of, small enough for a journal.

    Attributes:
        task: The task, as `module.qualname`.
        code: For each function, class, constant and module of the project that the task reaches,
            its own digest, by `module.qualname`.  It does not cover what that refers to in turn:
            this has an entry of its own.
        inputs: For each input its digest, by name, or by position if it has no name.  What
            another task gives is `task:` with that one's key and the path in it; of what has such
            in it the digest stands after `tasks:`.
        versions: The version of Python, and of the packages that count.
        version: What the author gave as `version=`.
        lines: Where the code stands, for `differences`; no part of the key.  For each entry
            of `code` that has a source: `file:line:` and a short digest for each line.
    """

    task: str
    code: dict[str, str] = {}
    inputs: dict[str, str] = {}
    versions: dict[str, str] = {}
    version: str = ""
    lines: dict[str, str] = {}


class Uncacheable(msgspec.Struct, frozen=True):
    """The answer for a call that has no sound key.

    Attributes:
        why: In a sentence's words, without a full stop.
    """

    why: str


def digest_of(parts: KeyParts) -> str:
    """Return the key: 32 hexadecimal digits."""
    told = (
        _FORMAT,
        parts.task,
        sorted(parts.code.items()),
        # In their order: a function can see that of its `**kwargs`.
        list(parts.inputs.items()),
        sorted(parts.versions.items()),
        parts.version,
    )
    return blake2b(pack(told), digest_size=16).hexdigest()


def differences(old: KeyParts, new: KeyParts) -> list[str]:
    """Say how two calls differ, a sentence each without a full stop; empty if they do not.

    Args:
        old: What was there before.
        new: What is there now; lines are those of its files.
    """
    told = []
    if old.task != new.task:
        told.append(f"the task is `{new.task}`, it was `{old.task}`")
    told += _code(old, new)
    told += _inputs(old.inputs, new.inputs)
    for name in _names(old.versions, new.versions):
        was, now = old.versions.get(name), new.versions.get(name)
        if was is None or now is None:
            told.append(f"the version of {name} {'did not count' if was is None else 'counted'}")
        elif was != now:
            told.append(f"the version of {name} is {now}, it was {was}")
    if old.version != new.version:
        told.append(f"`version=` is {new.version!r}, it was {old.version!r}")
    return told


def _names(old: dict[str, str], new: dict[str, str]) -> list[str]:
    return list(dict.fromkeys([*new, *old]))


def _inputs(old: dict[str, str], new: dict[str, str]) -> list[str]:
    told = []
    for name in _names(old, new):
        was, now = old.get(name), new.get(name)
        if was is None:
            told.append(f"input `{name}` is new")
        elif now is None:
            told.append(f"input `{name}` is not given any more")
        elif was != now:
            told.append(f"input `{name}`{_by_whom(was, now)}")
    if not told and list(old) != list(new):
        told.append("the inputs are given in another order")
    return told


def _by_whom(was: str, now: str) -> str:
    if was.startswith("task:") and now.startswith("task:"):
        return ": the task that makes it changed"
    if was.startswith("tasks:") and now.startswith("tasks:"):
        return ": a task that makes a part of it changed, or another part"
    return " changed"


def _code(old: KeyParts, new: KeyParts) -> list[str]:
    told, vague = [], []
    changed = []
    for name in _names(old.code, new.code):
        was, now = old.code.get(name), new.code.get(name)
        if was is None:
            told.append(f"`{name}` is new in what it uses{_at(new.lines.get(name))}")
        elif now is None:
            told.append(f"`{name}` is not used any more")
        elif was != now:
            lines = _changed(old.lines.get(name, ""), new.lines.get(name, ""))
            if lines:
                changed.append((len(new.lines[name]), name, lines))
            else:
                vague.append(f"`{name}` changed{_at(new.lines.get(name))}")
    seen: set[tuple[str, int]] = set()
    # The shortest first: a class has the lines of its methods, too, and a module those of all.
    for _, name, lines in sorted(changed, key=lambda one: one[0]):
        if not seen.issuperset(lines):
            told.append(f"code of `{name}` changed: {_in_words(lines)}")
            seen.update(lines)
    # Where lines are known, an entry without one changed only since it refers to those.
    return told or vague


def _at(place: str | None) -> str:
    file, line, _ = _split(place or "")
    return f" ({file}:{line})" if file else ""


def _split(place: str) -> tuple[str, int, list[str]]:
    file, _, rest = place.rpartition(":")
    file, _, line = file.rpartition(":")
    digests = [rest[at : at + LINE] for at in range(0, len(rest), LINE)]
    return file, int(line or 0), digests


def _changed(old: str, new: str) -> list[tuple[str, int]]:
    """Return which lines changed, each with its file."""
    _, _, was = _split(old)
    file, first, now = _split(new)
    found: list[tuple[str, int]] = []
    matcher = difflib.SequenceMatcher(None, was, now, autojunk=False)
    for kind, begin, stop, start, end in matcher.get_opcodes():
        if not file or kind == "equal" or {*was[begin:stop], *now[start:end]} == {NO_CODE}:
            continue
        lines = [at for at in range(start, end) if now[at] != NO_CODE]
        # What was taken out stood before the line that is there now.
        found += [(file, first + at) for at in lines or [start]]
    return found


def _in_words(lines: list[tuple[str, int]]) -> str:
    """Say which lines, such as `lines 12 to 14, line 20 of study.py`."""
    file = lines[0][0]
    ranges: list[list[int]] = []
    for _, line in lines:
        if ranges and line == ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    told = [f"line {low}" if low == high else f"lines {low} to {high}" for low, high in ranges]
    more = f" and {len(told) - 3} more places" if len(told) > 3 else ""
    return f"{', '.join(told[:3])}{more} of {file}"
