"""A task's value in a few words, and how many bytes values take: for who looks on."""

from __future__ import annotations

import pickle
from typing import Any

from fancypipe_core._codec.in_process import Carried
from fancypipe_core._codec.plain import names_nothing
from fancypipe_core._model.input_summary import value_in_words
from fancypipe_core.backend import Encoded, Handle, Live, Payload

__all__ = ["bytes_of", "result_in_words"]


def bytes_of(value: Encoded | Live) -> int | None:
    """Return the bytes of an encoded value; None for one that is not."""
    if isinstance(value, Live):
        return None
    first = value[0]
    if len(value) == 1 and not first.buffers and type(first.head) is bytes:
        return len(first.head)
    return sum(_size(part) for one in value for part in (one.head, *one.buffers))


def _size(part: Any) -> int:
    return part.size if isinstance(part, Handle) else memoryview(part).nbytes


def result_in_words(value: Any, live: bool) -> str:
    """Return a node's value in a few words; empty where that would take long, or run code.

    Args:
        value: As nodes have it: as it is, as payloads, or as the head of the one payload.
        live: Whether it is as it is.
    """
    if type(value) is Carried:
        only = value.payloads[0] if len(value.payloads) == 1 else None
        value = only.head if type(only) is Payload and not (only.buffers or only.holes) else b""
    elif live:
        return value_in_words(value)
    if type(value) is not bytes or not names_nothing(value):
        return ""
    try:
        return value_in_words(pickle.loads(value))
    except Exception:  # noqa: BLE001 - it is only said beside something else
        return ""
