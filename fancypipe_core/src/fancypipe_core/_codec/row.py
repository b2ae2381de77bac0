"""Inputs that need no pickle of their own: plain ones, and whole outputs of others."""

from __future__ import annotations

from collections.abc import Sequence
from pickle import dumps
from typing import Any

from fancypipe_core._codec import unpickler
from fancypipe_core._codec.in_process import Carried
from fancypipe_core._codec.pickler import PLAIN, PROTOCOL, Packed
from fancypipe_core._model.ref import Instance, Reference
from fancypipe_core.backend import Live, Payload

__all__ = ["Coming", "Row", "row_of", "written_row_of"]


class Coming:
    """A value that is still being made: the one of `Job.after` with this index."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Row:
    """Such inputs, as long as something in them is to be put in or opened.

    Args:
        cells: The inputs: by position, then those by name.
        names: The names of the last ones.
    """

    __slots__ = ("_cells", "_names")

    def __init__(self, cells: tuple[Any, ...], names: tuple[str, ...]) -> None:
        self._cells = cells
        self._names = names

    def filled(self, given: Sequence[Any]) -> Any:
        """Return it with these in the places of references, in their order."""
        cells = self._cells
        if len(given) == len(cells):
            return self._with([*given])
        rest = iter(given)
        return self._with([next(rest) if type(one) is Reference else one for one in cells])

    def arrived(self, given: Sequence[Any]) -> Any:
        """Return it with the values that were still being made."""
        return self._with([given[one.index] if type(one) is Coming else one for one in self._cells])

    def open(self) -> Any:
        """Return `(args, kwargs, None)`; a value that stands there twice is one object."""
        carried = {id(one): one for one in self._cells if type(one) is Carried}
        opened = {key: one.open() for key, one in carried.items()}
        return self._inputs([opened.get(id(one), one) for one in self._cells])

    def _with(self, cells: list[Any]) -> Any:
        for one in cells:
            if type(one) is Carried or type(one) is Coming:
                return Row(tuple(cells), self._names)
        return self._inputs(cells) if self._names else (tuple(cells), {}, None)

    def _inputs(self, cells: list[Any]) -> Any:
        names = self._names
        if not names:
            return tuple(cells), {}, None
        first = len(cells) - len(names)
        return tuple(cells[:first]), dict(zip(names, cells[first:], strict=True)), None


_HEADS = {count: head for head, count in unpickler.ROWS.items()}


def written_row_of(instance: Instance[Any]) -> Packed | None:
    """Return the inputs of an instance written down as a row; None if they cannot be one.

    Each value is by itself, and how they go together need not be written each time.  That is more
    only where there are references.
    """
    cells = instance._args
    head = _HEADS.get(len(cells))
    if head is None or instance._kwargs:
        return None
    wants: list[Instance[Any]] = []
    known: dict[int, int] = {}
    plain: list[Payload] = []
    places: list[int] = []
    for one in cells:
        kind = type(one)
        if kind is Reference:
            place = known.setdefault(id(one), len(wants))
            if place == len(wants):
                wants.append(one)
            places.append(place)
        elif kind in PLAIN:
            plain.append(Payload(dumps(one, PROTOCOL)))
            places.append(-len(plain))
        else:
            return None
    if not wants or (type(instance) is not Reference and instance._state() is not None):
        return None
    after = len(wants) - 1  # those that are written here stand behind those that are wanted
    holes = tuple([(place if place >= 0 else after - place, None) for place in places])
    return Packed((*plain, Payload(head, (), holes)), wants)


def row_of(instance: Instance[Any]) -> Packed | None:
    """Return the inputs of an instance as a row; None if they cannot be one."""
    cells = instance._args
    kwargs = instance._kwargs
    if kwargs:
        cells = (*cells, *kwargs.values())
    wants = []
    for one in cells:
        kind = type(one)
        if kind is Reference:
            wants.append(one)
        elif kind not in PLAIN:
            return None
    if type(instance) is not Reference and instance._state() is not None:
        return None
    return Packed(Live(Row(cells, tuple(kwargs))), wants)
