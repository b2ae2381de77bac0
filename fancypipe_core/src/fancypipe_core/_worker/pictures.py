"""Small pictures among what tasks return, for who looks on.

They are taken where the task ran, at its end: a file may be on another machine, or gone, when
somebody looks.  Only what shows by its first bytes that it is a picture is taken for one.
"""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import islice
from math import ceil
from time import monotonic
from typing import Any

from fancypipe_core._base.resources import size
from fancypipe_core._codec.pickler import NO_PICTURES
from fancypipe_core._model.files import File
from fancypipe_core._model.ref import Outputs

__all__ = ["Pictures"]

_MOST = 1 << 20  # bytes of one picture
_OF_TASK = 4 << 20  # bytes of all those that a task returns
_ITEMS = 16  # that are looked at in one collection, and pictures that are told of one task
_BURST = 32 << 20  # bytes that may be told at once; a journal takes no more of a run
_RATE = 1 << 20  # bytes a second that may be told after these
_SIDE = 1000  # pixels of what makes its picture itself; what is larger is made smaller first
_PIXELS = 50_000_000  # of a PNG: a browser needs four bytes for each, however small the file is
_SUFFIXES = (".png", ".jpg", ".jpeg", ".svg")
_PNG = b"\x89PNG\r\n\x1a\n"


class Pictures:
    """Finds pictures, and says no more than somebody could look at.

    Args:
        clock: Tells the time, in seconds; for tests.
        draws: Whether objects are asked to draw themselves, which takes time.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, *, draws: bool = True) -> None:
        self._clock = clock
        self._draws = draws
        self._left = float(_BURST)
        self._at = clock()

    def of(self, value: object, name: str = "") -> Iterator[str]:
        """Yield the texts of notes of the pictures in a value.

        Each is the picture's name, a line's end, and the picture as a `data:` address, or why
        it cannot be shown.

        Args:
            value: What a task returned: `bytes`, a `File`, what has `_repr_png_`, or
                a collection of them.
            name: What it is called.
        """
        if type(value) in NO_PICTURES:
            return
        left = _OF_TASK
        for called, found in islice(_found(value, name, 2, self._draws), _ITEMS):
            if isinstance(found, str):
                said = found
            else:
                left -= len(found)
                said = self._address(found) if left >= 0 else "not kept: the task has too many"
            if said:
                yield f"{' '.join(called.split())}\n{said}"

    def _address(self, data: bytes) -> str:
        """Return a picture as an address, or why it is none; empty if it is no picture."""
        kind = _kind_of(data)
        if not kind:
            return ""
        if len(data) > _MOST:
            return _too_large(len(data))
        if kind == "png" and _pixels(data) > _PIXELS:
            return f"too large to be shown here: {_pixels(data):,} pixels"
        now = self._clock()
        self._left = min(_BURST, self._left + (now - self._at) * _RATE)
        self._at = now
        if self._left < len(data):
            return "not kept: too many pictures came at once"
        self._left -= len(data)
        return f"data:image/{kind};base64,{b64encode(data).decode('ascii')}"


def _found(value: Any, name: str, depth: int, draws: bool) -> Iterator[tuple[str, bytes | str]]:
    """Yield names and what may be pictures, or why they are not shown."""
    kind = type(value)
    if kind is bytes:
        if _kind_of(value):
            yield name, value
    elif issubclass(kind, File):
        if value.suffix.lower() in _SUFFIXES:
            yield f"{name} {value.name}", _content(value)
    elif kind in (dict, Outputs):
        for key in islice(value, _ITEMS) if depth else ():
            yield from _found(
                value[key], f"{name} {key}" if isinstance(key, str) else name, depth - 1, draws
            )
    elif kind in (list, tuple):
        for place, item in enumerate(value[:_ITEMS] if depth else ()):
            yield from _found(item, f"{name}[{place}]", depth - 1, draws)
    elif draws and callable(getattr(kind, "_repr_png_", None)):
        made = _smaller(value)._repr_png_()
        yield name, made if isinstance(made, bytes) else ""


def _content(file: File) -> bytes | str:
    """Return a file's bytes, or why they are not shown."""
    try:
        about = os.stat(file)
        if not stat.S_ISREG(about.st_mode):
            return ""  # a pipe would not end
        if about.st_size > _MOST:
            return _too_large(about.st_size)
        with open(file, "rb") as stream:
            return stream.read(_MOST + 1)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _too_large(count: int) -> str:
    return f"too large to be shown here: {size(count)}, of {size(_MOST)} at most"


def _smaller(image: Any) -> Any:
    """Return an image of PIL's so small that its picture costs little; anything else as it is."""
    shape = getattr(image, "size", None)
    if not (type(image).__module__.startswith("PIL.") and isinstance(shape, tuple)):
        return image
    factor = ceil(max(shape) / _SIDE)
    if factor <= 1:
        return image
    wide, high = shape
    return image.resize((max(1, wide // factor), max(1, high // factor)), reducing_gap=1.0)


def _kind_of(data: bytes) -> str:
    """Return what a browser calls a picture of this kind; empty if it is none."""
    if data.startswith(_PNG):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    return "svg+xml" if head.startswith(b"<") and b"<svg" in head else ""


def _pixels(png: bytes) -> int:
    return int.from_bytes(png[16:20], "big") * int.from_bytes(png[20:24], "big")
