"""What a docstring says: a summary, and a text for each parameter.

Google, numpy and reST sections are understood.  Nothing here fails: what is
not understood is left out.
"""

from __future__ import annotations

import re
from inspect import cleandoc
from typing import NamedTuple

__all__ = ["Doc", "read"]

_INPUTS = (
    "Args",
    "Arguments",
    "Parameters",
    "Params",
    "Inputs",
    "Keyword Args",
    "Other Parameters",
)
_OTHERS = (
    "Attributes", "Example", "Examples", "Note", "Notes", "Outputs", "Raises", "References",
    "Return", "Returns", "See Also", "Warning", "Warnings", "Warns", "Yield", "Yields",
)  # fmt: skip
_GOOGLE = re.compile(rf"({'|'.join((*_INPUTS, *_OTHERS))}):\s*$")
_REST = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+([^:]*?)(\*{0,2}\w+)\s*:(.*)")
_FIELD = re.compile(r":\w+.*:")
_ENTRY = re.compile(r"(\*{0,2}\w+)\s*(?:\([^)]*(?:\([^)]*\)[^)]*)*\))?\s*:(?!:)\s*(.*)")


class Doc(NamedTuple):
    """What a docstring says.

    Attributes:
        text: What stands before the first section; paragraphs parted by an empty line.
        parameters: A text in one line for each parameter that has one.
    """

    text: str
    parameters: dict[str, str]

    @property
    def summary(self) -> str:
        """The first paragraph in one line."""
        return " ".join(self.text.split("\n\n", 1)[0].split())


def read(docstring: str) -> Doc:
    """Read a docstring."""
    lines = cleandoc(docstring).splitlines()
    found: dict[str, list[str]] = {}
    text: list[str] = []
    sections = False
    at = 0
    while at < len(lines):
        line = lines[at]
        following = lines[at + 1].strip() if at + 1 < len(lines) else ""
        google = _GOOGLE.match(line)
        rest = _REST.match(line)
        if len(following) >= 3 and set(following) == {"-"}:
            sections = True
            end = _numpy_end(lines, at + 2)
            if line.strip() in _INPUTS:
                _read_numpy(lines[at + 2 : end], found)
            at = end
        elif google and (not following or lines[at + 1].startswith((" ", "\t"))):
            sections = True
            end = _indented_end(lines, at + 1)
            if google[1] in _INPUTS:
                _read_google(lines[at + 1 : end], found)
            at = end
        elif rest:
            sections = True
            end = _indented_end(lines, at + 1, stop_at_empty=True)
            found[rest[2]] = [rest[3], *lines[at + 1 : end]]
            at = end
        else:
            if _FIELD.match(line):
                sections = True
            if not sections:
                text.append(line)
            at += 1
    parameters = {name.lstrip("*"): " ".join(" ".join(t).split()) for name, t in found.items()}
    return Doc("\n".join(text).strip(), {name: t for name, t in parameters.items() if t})


def _indented_end(lines: list[str], at: int, *, stop_at_empty: bool = False) -> int:
    while at < len(lines) and (
        lines[at].startswith((" ", "\t")) or (not lines[at].strip() and not stop_at_empty)
    ):
        at += 1
    return at


def _numpy_end(lines: list[str], at: int) -> int:
    while at < len(lines):
        following = lines[at + 1].strip() if at + 1 < len(lines) else ""
        if len(following) >= 3 and set(following) == {"-"} and lines[at].strip():
            return at
        at += 1
    return at


def _read_google(lines: list[str], found: dict[str, list[str]]) -> None:
    indent = min((len(s) - len(s.lstrip()) for s in lines if s.strip()), default=0)
    name = ""
    for line in lines:
        entry = _ENTRY.match(line[indent:])
        if entry and not line[:indent].strip():
            name = entry[1]
            found[name] = [entry[2]]
        elif name:
            found[name].append(line)


def _read_numpy(lines: list[str], found: dict[str, list[str]]) -> None:
    names: list[str] = []
    for line in lines:
        if line.strip() and not line.startswith((" ", "\t")):
            names = [name.strip() for name in line.partition(":")[0].split(",")]
            found.update({name: [] for name in names})
        else:
            for name in names:
                found[name].append(line)
