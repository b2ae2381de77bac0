"""What a docstring says: a summary, and a text for each parameter.

Google, numpy and reST sections are understood.  Nothing here fails: what is
not understood is text.
"""

from __future__ import annotations

import inspect
import re
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


_EMPTY = re.compile(rf"^(?:{'|'.join(_INPUTS)}):\s*?\n(?=\s*\Z|(?:\s*\n)?\S)", re.MULTILINE)


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
    from docstring_parser import DocstringMeta, ParseError, google, numpydoc, rest

    class Google(google.GoogleParser):
        """Takes what it cannot read for text: one such line would cost all others theirs."""

        def _build_meta(self, text: str, title: str) -> DocstringMeta:
            try:
                return super()._build_meta(text, title)
            except ParseError:
                return DocstringMeta(["other"], text)

    # Its own list knows fewer sections; only what is in those of inputs is read.
    sections = [google.Section(one, "param", google.SectionType.MULTIPLE) for one in _INPUTS]
    sections += [google.Section(one, "other", google.SectionType.SINGULAR) for one in _OTHERS]
    # An empty section is an error, too.
    whole = _EMPTY.sub("", inspect.cleandoc(docstring))
    found = []
    for parse in (Google(sections).parse, numpydoc.parse, rest.parse):
        with suppress(ParseError):
            found.append(parse(whole))
    best = max(found, key=lambda one: (len(one.params), len(one.meta)))
    texts = {
        name.strip(" *"): " ".join((one.description or "").split())
        for one in best.params
        if one.args[0] != "attribute"
        for name in one.arg_name.split(",")
    }
    return Doc(
        (best.description or "").strip(), {name: text for name, text in texts.items() if text}
    )
