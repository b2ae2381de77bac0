"""What a docstring says: a summary, and a text for each parameter.

Google, numpy and reST sections are understood.  Nothing here fails: what is
not understood is text.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

__all__ = ["Doc", "read"]

_INPUTS = (
    "Args", "Arguments", "Parameters", "Params", "Inputs", "Keyword Args", "Other Parameters",
)  # fmt: skip
_OTHERS = (
    "Attributes", "Example", "Examples", "Note", "Notes", "Outputs", "Raises", "References",
    "Return", "Returns", "See Also", "Warning", "Warnings", "Warns", "Yield", "Yields",
)  # fmt: skip


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
    from docstring_parser import ParseError, google, numpydoc, rest

    # Its own list knows fewer sections, and one line that it cannot read in any of them is an
    # error: only what is in those of inputs is read.
    sections = [google.Section(one, "param", google.SectionType.MULTIPLE) for one in _INPUTS]
    sections += [google.Section(one, "other", google.SectionType.SINGULAR) for one in _OTHERS]
    found = []
    for parse in (google.GoogleParser(sections).parse, numpydoc.parse, rest.parse):
        with suppress(ParseError):
            found.append(parse(docstring))
    best = max(found, key=lambda one: len(one.meta))
    texts = {
        name.strip(" *"): " ".join((one.description or "").split())
        for one in best.params
        if one.args[0] != "attribute"
        for name in one.arg_name.split(",")
    }
    return Doc(
        (best.description or "").strip(), {name: text for name, text in texts.items() if text}
    )
