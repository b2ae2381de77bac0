"""A node: one task of a run, for the scheduler and for the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fancypipe_core._codec.pickler import Packed
from fancypipe_core._engine.machine.records import NEW, Record
from fancypipe_core._model.input_summary import brief_of
from fancypipe_core._model.options import Options
from fancypipe_core._model.ref import Instance
from fancypipe_core.backend import Call

__all__ = ["Broken", "Gatherer", "Node", "Pieces", "RemoteNode", "parent_of"]


class Node(Record):
    """One task of a session: what the scheduler knows of it, and what it does not.

    Attributes:
        id: Its number.
        parent: The node whose main made it; None for what the caller of `run` made.
        ordinal: Which one of its name it is below its parent, from 1.
        instance: What it was made of; None for what a worker made.
        call: What to call; for what a worker made, or once it is grown.
        options: What the task's author says of how it is to be run.
        packed: Its inputs, once grown; None for plain ones, which need no packing.
        returned: What it returned, while it waits for the references in that; of a map the
            values that have come.
        filled_by: The nodes that fill the holes of `packed` or `returned`, hole by hole.
        value: Its value, while it has one: as it is, or its payloads; the head only of one payload
            without anything else.
        site: Where it was made, for one without an instance.
        part: What it is of a map: see `_engine.parts`; None for most.
        broken: Why it cannot be sent, where that is known before it is grown.
    """

    __slots__ = (
        "call", "filled_by", "id", "instance", "options", "ordinal", "packed", "parent", "returned",
        "value",
    )  # fmt: skip

    # What few have is a slot of theirs: each slot takes 8 bytes of every task.
    broken: BaseException | None = None
    part: Any = None
    site = ""

    call: Call
    filled_by: Sequence[int]
    packed: Packed | None
    returned: Packed | Pieces | None
    value: Any

    def __init__(
        self,
        id: int,
        parent: Node | None,
        ordinal: int,
        instance: Instance[Any] | None,
        options: Options,
        is_module: bool,
    ) -> None:
        # As `Record` does: one call more for each task would cost as much as all this.
        self.state = NEW
        self.wait = self.attempt = self.losses = self.missing = self.unsent = 0
        self.held = self.root = 0
        self.retries = options.retries
        self.delayed = options.retry_delay is not None
        self.priority = options.priority
        self.needs = self.filled_by = ()
        self.users = self.packed = self.returned = self.value = None
        self.id = id
        self.parent = parent
        self.ordinal = ordinal
        self.instance = instance
        self.options = options
        self.local = is_module

    @property
    def name(self) -> str:
        """The task's name."""
        return self.instance._definition.name if self.instance is not None else self.call.label

    @property
    def step(self) -> str:
        """What its path ends with."""
        return self.name if self.ordinal == 1 else f"{self.name}[{self.ordinal}]"

    @property
    def path(self) -> str:
        """Its path from the outermost module, such as `study/volume[2]/denoise`."""
        steps = []
        node: Node | None = self
        while node is not None:
            steps.append(node.step)
            node = node.parent
        if len(steps) > 12:  # a recursion
            steps = [*steps[:6], f"...{len(steps) - 12}...", *steps[-6:]]
        return "/".join(reversed(steps))

    @property
    def where(self) -> str:
        """Where the instance was made: `file:line`."""
        return self.instance._site() if self.instance is not None else self.site

    @property
    def index(self) -> int | None:
        """Which element of a map it is; None if it is not one."""
        return None

    @property
    def brief(self) -> str:
        """Its inputs in a few words; empty where nothing is known of them."""
        return brief_of(self.instance)


class RemoteNode(Node):
    """A node of a task that a worker made."""

    __slots__ = ("site",)

    site: str


class Gatherer(Node):
    """A node that only gathers what was asked for."""

    __slots__ = ()

    hidden = True


class Pieces:
    """The values that a map has so far.

    Args:
        singly: Whether they are of single elements; else they are of lists of such.

    Attributes:
        values: For each the index of its first element, and the value.
    """

    __slots__ = ("singly", "values")

    def __init__(self, singly: bool) -> None:
        self.singly = singly
        self.values: list[tuple[int, Any]] = []


class Broken:
    """A value that could not be put together; whoever asks for it gets the error."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def parent_of(node: Node) -> int:
    """Return the number of the node that made this one; 0 for none."""
    return node.parent.id if node.parent is not None else 0
