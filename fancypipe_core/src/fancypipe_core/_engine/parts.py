"""What nodes of a map's own stand for: the map, what takes its elements, and spans of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fancypipe_core._codec.pickler import Packed
from fancypipe_core._engine.node import Node, Pieces
from fancypipe_core._engine.spans import UNDER_WAY, Pace, Span
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.input_summary import brief, brief_of
from fancypipe_core._model.options import Options
from fancypipe_core._model.ref import Instance
from fancypipe_core.backend import Call, More

if TYPE_CHECKING:
    from fancypipe_core._engine.kept_elements import KeptElements  # few sessions keep any

__all__ = ["Elements", "Feeder", "Mapping", "Part", "PartNode"]


class Mapping:
    """A map that is under way.

    Args:
        node: Its node.
        definition: What is called for each element.
        call: What stands for that in jobs.
        columns: The inputs by position, each for all elements.
        fixed: The inputs by name.
        pace: How long elements take.

    Attributes:
        feeder: The node that takes elements when there is room.
        packed: The inputs by name, written down; None if there are none.
        length: How many elements there are; None while nobody knows.
        drawn: How many were taken.
        under_way: How many spans are.
        spans: How many have ended.
        over: Whether all elements were taken.
        eager: Whether all are taken at once: they refer to tasks, which are not to be forgotten.
        patient: Whether the others go on when one fails.
        paused: Whether the feeder waits to be told to go on.
        ended: How many elements have values, or failed.
        is_last_hope: Whether nothing is under way but what waits for this map.
        pieces: The values that are there.
        failed: The nodes of elements that failed.
        sink: Takes values that are handed out while others come; None to keep them.
        handed: How many elements were handed out.
        told: When it was told last how far it is.
        where: Where it was made: `file:line`.
        kept: Takes elements from before, and keeps those that come; None for neither.
    """

    __slots__ = (
        "call", "columns", "definition", "drawn", "eager", "ended", "failed", "feeder", "fixed",
        "handed", "is_last_hope", "kept", "length", "node", "over", "paced", "packed", "patient",
        "paused", "pieces", "sink", "spans", "told", "under_way", "where",
    )  # fmt: skip

    def __init__(
        self,
        node: Node,
        definition: Definition,
        call: Call,
        columns: Sequence[Iterator[Any]],
        fixed: dict[str, Any],
        pace: Pace,
    ) -> None:
        self.node = node
        self.definition = definition
        self.call = call
        self.columns = columns
        self.fixed = fixed
        self.paced = pace
        self.feeder: Node | None = None
        self.packed: Packed | None = None
        self.length: int | None = None
        self.drawn = self.under_way = self.ended = self.spans = self.handed = 0
        self.over = self.eager = self.paused = self.patient = self.is_last_hope = False
        self.pieces = Pieces(definition.is_module)
        self.failed: list[Node] = []
        self.sink: Callable[[tuple[Span, Any]], None] | None = None
        self.told = 0.0
        self.where = node.where
        self.kept: KeptElements | None = None

    @property
    def is_full(self) -> bool:
        """Whether so many elements were taken that some have to end first, or to be handed out."""
        return self.drawn >= UNDER_WAY + (self.ended if self.sink is None else self.handed)

    @property
    def is_to_be_taken(self) -> bool:
        """Whether nothing goes on until somebody takes what is there."""
        return self.sink is not None and self.ended > self.handed and self.is_full


class Feeder:
    """Takes elements, and makes spans of them.

    Args:
        of: The map.
    """

    __slots__ = ("of",)

    def __init__(self, of: Mapping) -> None:
        self.of = of


class Elements:
    """A span of a map.

    Args:
        of: The map.
        span: Which elements.
        columns: Their inputs by position; None for a module, which has its own instance.

    Attributes:
        told: Whether observers know of it, as of any other task.
        more: What was returned for these elements already.
    """

    __slots__ = ("columns", "more", "of", "span", "told")

    def __init__(self, of: Mapping, span: Span, columns: Sequence[Sequence[Any]] | None) -> None:
        self.of = of
        self.span = span
        self.columns = columns
        self.told = False
        self.more: More | None = None

    @property
    def step(self) -> str:
        """What the path of it ends with."""
        first, count = self.span
        return str(first) if count == 1 else f"{first}..{first + count - 1}"


Part = Feeder | Elements


class PartNode(Node):
    """A node that belongs to a map.

    Args:
        id: Its number.
        parent: The node that it stands below.
        name: Its name.
        options: How it is to be run.
        part: What it is of the map.
        instance: What it is made of, if it is a module; else None.
    """

    __slots__ = ("_name", "broken", "part", "site")

    site: str

    def __init__(
        self,
        id: int,
        parent: Node | None,
        name: str,
        options: Options,
        part: Part,
        instance: Instance[Any] | None = None,
    ) -> None:
        is_module = instance is not None or isinstance(part, Feeder)
        super().__init__(id, parent, 1, instance, options, is_module)
        self._name = name
        self.part: Part = part
        self.broken: BaseException | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self._name

    @property
    def step(self) -> str:
        part = self.part
        return part.step if isinstance(part, Elements) else super().step

    @property
    def index(self) -> int | None:
        part = self.part
        return part.span.start if isinstance(part, Elements) and part.span.count == 1 else None

    @property
    def brief(self) -> str:
        part = self.part
        if not isinstance(part, Elements) or part.columns is None or part.span.count > 1:
            return brief_of(self.instance)
        names = part.of.definition.positions()
        return brief(names, [column[0] for column in part.columns], part.of.fixed)
