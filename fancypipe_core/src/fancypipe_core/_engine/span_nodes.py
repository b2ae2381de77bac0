"""The nodes of a map's elements: how they are made, and written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fancypipe_core._codec.values import Values
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.machine.records import NEW, READY
from fancypipe_core._engine.node import Node
from fancypipe_core._engine.parts import Elements, Mapping, PartNode
from fancypipe_core._engine.spans import Span, pieces
from fancypipe_core._model.ref import Instance

__all__ = ["SpanNodes", "columns_of"]


class SpanNodes:
    """Makes them.

    Args:
        graph: Where they are.
        values: How values are carried.
    """

    def __init__(self, graph: Graph, values: Values) -> None:
        self._graph = graph
        self._values = values

    def make(self, made: Mapping, span: Span, columns: Sequence[list[Any]]) -> list[int]:
        """Make nodes of elements; of what cannot be written down each is one for itself."""
        if made.definition.is_module:
            return [
                self._module(made, span.start + at, row)
                for at, row in enumerate(zip(*columns, strict=True))
            ]
        node = self.add(made, span, columns)
        node.broken = self._pack(node)
        if node.broken is None or span.count == 1:
            return [node.id]
        self._graph.release([node.id])
        made.under_way -= 1
        parts = pieces(span, 2)
        return [
            one for part in parts for one in self.make(made, part, columns_of(columns, span, part))
        ]

    def add(self, made: Mapping, span: Span, columns: Sequence[list[Any]] | None) -> PartNode:
        definition = made.definition
        part = Elements(made, span, columns)
        node = self._graph.add(
            lambda number: PartNode(number, made.node, definition.name, definition.options, part)
        )
        node.call, node.site = made.call, made.where
        made.under_way += 1
        return node

    def _module(self, made: Mapping, index: int, row: tuple[Any, ...]) -> int:
        code, offset = _SOMEWHERE, 0
        if made.node.instance is not None:
            code, offset = made.node.instance._code, made.node.instance._offset
        instance: Instance[Any] = Instance(made.definition, row, made.fixed, code, offset)
        part, of = Elements(made, Span(index, 1), None), made.definition
        node = self._graph.add(
            lambda number: PartNode(number, made.node, of.name, of.options, part, instance)
        )
        made.under_way += 1
        return node.id

    def _pack(self, node: Node) -> BaseException | None:
        """Write down the inputs of a span; return why that cannot be.

        Raises:
            KeyboardInterrupt: The user pressed Ctrl-C.
        """
        part = node.part
        assert isinstance(part, Elements)
        assert part.columns is not None
        made = part.of
        try:
            packed = self._values.pack_rows(
                part.span.start, part.columns, made.packed, made.definition.positions
            )
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            return error
        fixed = len(made.packed.wants) if made.packed is not None else 0
        if part.span.count > 1 and len(packed.wants) > fixed:
            return _Refers()  # each waits for what it refers to, and for nothing else
        node.packed = packed
        if packed.wants:
            self._graph.refer(node, packed.wants, made.node.parent)
        elif node.state is NEW:
            node.state = READY  # there is nothing that it could wait for
        return None

    def become(self, node: Node, span: Span) -> None:
        """From now on a node is for a part of its elements."""
        part = node.part
        assert isinstance(node, PartNode)
        assert isinstance(part, Elements)
        assert part.columns is not None
        part.columns = columns_of(part.columns, part.span, span)
        part.span = span
        node.packed = None
        node.broken = self._pack(node)


class _Refers(Exception):
    """Elements refer to tasks, so each goes for itself."""


def columns_of(columns: Sequence[Sequence[Any]], span: Span, part: Span) -> list[list[Any]]:
    """Return of the inputs of a span those of a part of it."""
    at = part.start - span.start
    return [list(column[at : at + part.count]) for column in columns]


def _somewhere() -> None:
    """Where a module was made that a map made which a worker made."""


_SOMEWHERE = _somewhere.__code__
