"""Puts values where holes are, in what was written down and in what is carried as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pickle import PickleBuffer
from typing import Any

from fancypipe_core import errors
from fancypipe_core._codec import pickler, unpickler
from fancypipe_core._codec.in_process import Carried
from fancypipe_core._codec.pickler import P
from fancypipe_core._codec.row import Coming, Row
from fancypipe_core.backend import Encoded, Handle, Live, Payload

__all__ = ["assemble", "fill_in", "fill_live", "own_copy"]


def assemble(
    payloads: Sequence[P], given: Sequence[Sequence[P] | Coming], coming: int = 0
) -> tuple[P, ...]:
    """Make one encoded value of payloads whose holes point into `given`, then into themselves.

    Args:
        payloads: The value itself is the last.
        given: What goes into the holes.
        coming: How many values of `given` come later: so many of the holes that are left
            point to those, and the others behind them into the value itself.

    Raises:
        GraphError: A named output is asked for that a value does not have.
    """
    out: list[Any] = [None] * coming
    placed: dict[int, int] = {}
    places: list[tuple[int, str | None]] = []

    def place(value: Sequence[P] | Coming) -> int:
        if isinstance(value, Coming):
            return value.index
        root = value[-1]
        at = placed.get(id(root))
        if at is None:
            base = len(out)
            out.extend(pickler.shift(payload, 0, 0, base) for payload in value)
            at = placed[id(root)] = len(out) - 1
        return at

    for payload in payloads:
        if isinstance(payload, Live):
            places.append((len(out), None))
            out.append(payload)
            continue
        holes: list[tuple[int, str | None]] = []
        for index, name in payload.holes:
            if index < len(given):
                value, rest = _pick(given[index], name)
                alone = not payload.head and rest is None and len(payloads) == 1
                if alone and not isinstance(value, Coming):
                    return tuple(value)
                holes.append((place(value), rest))
            else:
                at, inner = places[index - len(given)]
                if inner is not None and name is not None:
                    raise errors.GraphError(f"output {name!r} of output {inner!r} is too deep")
                holes.append((at, inner or name))
        if payload.head:
            places.append((len(out), None))
            filled = Payload(payload.head, payload.buffers, tuple(holes), payload.names)
            out.append(filled if holes else payload)
        else:
            places.append(holes[0])
    at, name = places[-1]
    if name is not None or at != len(out) - 1:
        out.append(Payload(b"", (), ((at, name),)))
    return tuple(out[coming:] if coming else out)


def fill_in(inputs: Encoded | Live, given: Sequence[Encoded | Live]) -> Encoded | Live:
    """Return a job's inputs with the values that it came after.

    Raises:
        GraphError: A named output is asked for that a value does not have.
    """
    if isinstance(inputs, Live):
        values = [value.value if isinstance(value, Live) else value for value in given]
        body = inputs.value
        return Live(body.arrived(values) if type(body) is Row else fill_live(body, values))
    return assemble(inputs, given)  # type: ignore[arg-type]  # all values travel in one way


def own_copy(value: Encoded | Live) -> Encoded | Live:
    """Return a value whose buffers are its own; a handle is mapped anew by each reader."""
    if type(value) is not tuple or not any(payload.buffers for payload in value):
        return value
    made = []
    for one in value:
        parts = [part.raw() if type(part) is PickleBuffer else part for part in one.buffers]
        buffers = [part if type(part) is Handle else bytearray(part) for part in parts]
        made.append(Payload(one.head, tuple(buffers), one.holes, one.names))
    return tuple(made)


def fill_live(body: Any, given: Sequence[Any], coming: int = 0) -> Any:
    """Return what is carried as it is, with values in its holes; `coming` as in `assemble`."""
    if type(body) is Row:
        return body.filled(given)
    if type(body) is not Carried:
        return body
    parts = [
        v.payloads if type(v) is Carried else v if type(v) is Coming else (Live(v),) for v in given
    ]
    filled = assemble(body.payloads, parts, coming)
    root = filled[-1]
    return root.value if type(root) is Live else Carried(filled)


def _pick(value: Sequence[P] | Coming, name: str | None) -> tuple[Sequence[P] | Coming, str | None]:
    """Return an output of an encoded value, and the name that is still to be applied."""
    if isinstance(value, Coming):
        return value, name
    root = value[-1]
    if name is None or isinstance(root, Live) or root.names is None:
        return value, name
    if name not in root.names:
        raise errors.GraphError(unpickler.no_output(name, root.names))
    at, rest = root.holes[root.names.index(name)]
    part = value[at]
    alone = isinstance(part, Live) or not part.holes
    return ((part,) if alone else value[: at + 1]), rest
