"""The elements of a map's span on their way to a worker, and their results on the way back.

What is of basic types goes as one pickle for all.  Of everything else each element has its
own: no element sees what another has changed, and what cannot be written down or read is
known by its index.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from fancypipe_core._codec import unpickler
from fancypipe_core._codec.pickler import PLAIN, Encoder, Packed, shift
from fancypipe_core.backend import Encoded, Live, Payload

__all__ = ["Results", "Rows", "chosen", "encode_rows", "join", "read_rows"]

_PROTOCOL = 5
_TUPLES = PLAIN | {tuple}
_PLAIN_FIXED, _OWN_FIXED = 1, 2


class Rows(NamedTuple):
    """The elements of a span, in a worker.

    Attributes:
        start: The index of the first.
        count: How many.
        args: Gives the inputs of each in turn; raises what reading one raises.
        fixed: Gives the inputs by name, for each element its own; None if there are none.
    """

    start: int
    count: int  # type: ignore[assignment]  # a tuple has a method of that name
    args: Iterator[tuple[Any, ...]]
    fixed: Callable[[], dict[str, Any]] | None


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether all of some values hold neither references nor what can be changed."""
    kinds = set(map(type, values))
    if kinds <= PLAIN:
        return True
    return kinds <= _TUPLES and all(
        PLAIN.issuperset(map(type, value)) for value in values if type(value) is tuple
    )


Share = Callable[[Packed], Packed]
"""Puts what is large of something that was written down where the other side can map it."""


class _Parts:
    """Gathers values that were written down, for one that is made of them."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._parts: list[Packed] = []

    def add(self, packed: Packed) -> int:
        """Add one; return the number of its hole."""
        self._parts.append(self._share(packed))
        return len(self._parts) - 1

    def add_shared(self, packed: Packed) -> None:
        """Add one that was shared before."""
        self._parts.append(packed)

    def packed(self, head: bytes) -> Packed:
        """Return the value whose pickle is `head`, with holes for all that was added."""
        parts = self._parts
        wants = [instance for part in parts for instance in part.wants]
        payloads: list[Any] = []
        roots: list[tuple[int, str | None]] = []
        offset = 0
        for part in parts:
            body = part.body
            assert not isinstance(body, Live)
            inner = len(wants) + len(payloads)
            payloads += [shift(one, len(part.wants), offset, inner) for one in body]
            offset += len(part.wants)
            roots.append((len(wants) + len(payloads) - 1, None))
        root = self._share(Packed((Payload(head, (), tuple(roots)),))).body
        assert not isinstance(root, Live)
        return Packed((*payloads, *root), wants)


def encode_rows(
    encoder: Encoder,
    start: int,
    columns: Sequence[Sequence[Any]],
    fixed: Packed | None,
    names: Callable[[], Sequence[str]],
    share: Share,
) -> Packed:
    """Write down the elements of a span.

    Args:
        encoder: What writes.
        start: The index of the first element.
        columns: The inputs by position, each for all elements.
        fixed: The inputs by name, as `encode_inputs` has written them, and shared; None for none.
        names: Gives the names of the inputs by position, for messages.
        share: What is done with all that was written.

    Raises:
        EncodeError: One of them cannot be written down.
    """
    parts = _Parts(share)
    count = len(columns[0])
    plain = all(map(_is_plain, columns))
    if not plain:
        for row in zip(*columns, strict=True):
            parts.add(encoder.encode_inputs(row, {}, None, names))
    kind = 0
    if fixed is not None:
        parts.add_shared(fixed)
        kind = _OWN_FIXED if fixed.odd or fixed.wants or len(fixed.body) > 1 else _PLAIN_FIXED  # type: ignore[arg-type]
    body = [list(column) for column in columns] if plain else None
    return parts.packed(pickle.dumps((start, count, body, kind), _PROTOCOL))


def read_rows(encoded: Sequence[Payload | Live], load: Callable[..., Any]) -> Rows:
    """Return the elements of a span, one after the other; as what `encode_rows` has written."""
    root = encoded[-1]
    assert isinstance(root, Payload)
    start, count, columns, kind = unpickler.decode((Payload(root.head),), load)
    places = [index for index, _ in root.holes]
    args: Iterator[tuple[Any, ...]]
    if columns is not None:
        args = zip(*columns, strict=True)
    else:
        args = (unpickler.part(encoded, place, load)[0] for place in places[:count])
    fixed = None
    if kind:

        def fixed() -> dict[str, Any]:
            kwargs: dict[str, Any] = unpickler.part(encoded, places[-1], load)[1]
            return kwargs

        if kind == _PLAIN_FIXED:
            first = fixed()
            if _is_plain(list(first.values())):
                fixed = first.copy
    return Rows(start, count, args, fixed)


class Results:
    """The results of a span's elements, written down as they come.

    Args:
        encoder: What writes.
        checks: Whether it is seen that the other side can read them.
        share: What is done with all that was written.

    Attributes:
        size: About how many bytes those have that are not of basic types.
    """

    def __init__(self, encoder: Encoder, checks: bool, share: Share) -> None:
        self._encoder = encoder
        self._checks = checks
        self._parts = _Parts(share)
        self._values: list[Any] = []
        self.plain = self._values.append  # of basic types: as it is
        self.size = 0

    def add(self, value: Any) -> None:
        """Take the next result.

        Raises:
            EncodeError: It cannot be written down, or not be read back.
        """
        if type(value) is tuple and PLAIN.issuperset(map(type, value)):
            self._values.append(value)
            return
        packed = self._encoder.encode_result(value)
        assert not isinstance(packed.body, Live)
        if packed.odd and self._checks and not packed.wants:
            self._encoder.read_back(value, packed.body)
        for payload in packed.body:
            if isinstance(payload, Payload):
                self.size += len(payload.head)
                self.size += sum(memoryview(buffer).nbytes for buffer in payload.buffers)
        self._values.append(unpickler.Hole(self._parts.add(packed)))

    def __len__(self) -> int:
        return len(self._values)

    def packed(self) -> Packed:
        """Return all of them as one list."""
        return self._parts.packed(pickle.dumps(self._values, _PROTOCOL))


def chosen(value: Encoded, places: Sequence[int]) -> Encoded:
    """Return some of a span's results as a list of their own; nothing of the user's is made.

    Args:
        value: The results, as `Results` has written them, without shared memory.
        places: Which, counted from 0.

    Raises:
        ValueError: It is no such list.
    """
    *others, root = value
    assert isinstance(root, Payload)
    assert isinstance(root.head, bytes)
    markers = [unpickler.Hole(at) for at in range(len(root.holes))]
    try:
        items = unpickler.loads(root.head, root.buffers, markers, pickle.loads)
        wanted = [items[place] for place in places]
    except Exception as error:
        raise ValueError(f"these are no results of a span ({error})") from error
    if type(items) is not list:
        raise ValueError(f"the results of a span are no {type(items).__name__}")
    if len(wanted) == len(items) and [*places] == [*range(len(items))]:
        return value
    holes: list[tuple[int, str | None]] = []
    for at, one in enumerate(wanted):
        if type(one) is unpickler.Hole:
            wanted[at] = unpickler.Hole(len(holes))
            holes.append(root.holes[one.index])
    needed = {index for index, _ in holes}
    for place in range(len(others) - 1, -1, -1):
        if place in needed:
            needed.update(index for index, _ in others[place].holes)
    moved = {old: new for new, old in enumerate(sorted(needed))}
    made = [
        Payload(
            one.head, one.buffers, tuple((moved[at], name) for at, name in one.holes), one.names
        )
        for one in (others[old] for old in moved)
    ]
    at_last = tuple((moved[index], name) for index, name in holes)
    return (*made, Payload(pickle.dumps(wanted, _PROTOCOL), (), at_last))


def join(count: int, singly: bool) -> Packed:
    """Return what so many lists come to as one, with holes for them; or so many elements."""
    parts = [unpickler.Hole(index) for index in range(count)]
    head = pickle.dumps(parts if singly else _Joined(parts), _PROTOCOL)
    return Packed((Payload(head, (), tuple((index, None) for index in range(count))),))


class _Joined:
    def __init__(self, parts: list[unpickler.Hole]) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return (unpickler.joined, (self._parts,))
