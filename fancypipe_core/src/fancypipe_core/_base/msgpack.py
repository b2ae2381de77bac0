"""Records in msgpack, with any text that Python can hold.

A name that is no UTF-8 is text with lone surrogates (as `os.fsdecode` gives it), and
msgpack has UTF-8 only.  A record with such text is written with these characters
escaped, behind a byte that no msgpack begins with; all others are written as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

__all__ = ["pack", "unpacker"]

T = TypeVar("T")

_ESCAPED = b"\xc1"  # "never used" in the specification of msgpack
_ODD = re.compile("[\ud800-\udfff\x1a]")
_ESCAPE = re.compile("\x1a([0-9a-f]{4})")

_encode = msgspec.msgpack.Encoder().encode


def pack(record: Any) -> bytes:
    """Return a record, or what is made of plain containers, as bytes."""
    try:
        return _encode(record)
    except UnicodeEncodeError:
        return _ESCAPED + _encode(_with_texts(record, _escaped))


def unpacker(kind: Any) -> Callable[[Any], Any]:
    """Return what makes a record of this kind of bytes.

    It raises `msgspec.MsgspecError` for bytes that are none.
    """
    decode = msgspec.msgpack.Decoder(kind).decode

    def unpack(data: Any) -> Any:
        try:
            if data[:1] != _ESCAPED:
                return decode(data)
            return _with_texts(decode(data[1:]), _read)
        except msgspec.MsgspecError:
            raise
        except Exception as error:  # text that is no UTF-8, nested too deep, who knows
            raise msgspec.DecodeError(f"bytes that are no record: {error}") from error

    return unpack


def _escaped(text: str) -> str:
    return _ODD.sub(lambda found: f"\x1a{ord(found[0]):04x}", text)


def _read(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a record with all its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, msgspec.Struct):
        fields = (getattr(value, name) for name in value.__struct_fields__)
        return type(value)(*(_with_texts(field, change) for field in fields))
    if isinstance(value, (list, tuple)):
        return type(value)(_with_texts(item, change) for item in value)
    if isinstance(value, dict):
        return {_with_texts(k, change): _with_texts(v, change) for k, v in value.items()}
    return value
