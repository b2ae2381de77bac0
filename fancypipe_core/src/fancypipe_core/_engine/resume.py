"""Takes results from before, and keeps those that come.

When the scheduler asks to look at a task, its key is looked up first.  If its result is there, the
task is done: what it would have needed is not looked at, unless others need it.  A key is made of
the keys of what the task refers to and not of their values, so it is known before anything runs.

What is kept is kept before anybody is told that the task is done: so whoever is killed after that
finds it.  A fault of a store, and a result that cannot be written down or read, costs the time to
run the task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from msgspec.structs import replace

from fancypipe_core import errors
from fancypipe_core._cache.parts import KeyParts, Uncacheable, digest_of
from fancypipe_core._codec import failure
from fancypipe_core._codec.stored import restored, written
from fancypipe_core._codec.values import Values
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.instance_keys import InstanceKeys, KeyMaker, options_of
from fancypipe_core._engine.machine.records import NEW, READY
from fancypipe_core._engine.node import Broken, Node
from fancypipe_core._engine.stored_values import NotKept, StoredValues
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.ref import Instance
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core._plugins.paths import Paths
from fancypipe_core.backend import Encoded, Live
from fancypipe_core.hooks import CacheEvent, CacheKey

if TYPE_CHECKING:
    from fancypipe_core._engine.kept_elements import KeptElements  # few runs have maps
    from fancypipe_core._engine.spans import Span

__all__ = ["LookedUp", "Resume", "Store"]

_LARGE = 1 << 20  # bytes; of a map that takes more only the elements are kept


class Store(Protocol):
    """Keeps results; it raises nothing."""

    def get(self, key: str) -> bytes | memoryview | None:
        """Return what was kept; None if there is nothing."""

    def put(self, key: str, value: Sequence[Any], about: CacheKey) -> bool:
        """Keep something; tell whether it is kept."""


class _Elements(NamedTuple):
    """A map that is under way.

    Attributes:
        node: Its node.
        kept: Its elements.
        takes: The numbers of the instances that its inputs refer to.
        why: Why no more of it is kept; empty while it is.
    """

    node: Node
    kept: KeptElements
    takes: set[int]
    why: str = ""


class LookedUp(Graph):
    """A graph whose tasks are looked up before they run: none is ready from the start."""

    def _new(self, instance: Instance[Any], parent: Node | None) -> Node:
        node = super()._new(instance, parent)
        if node.state is READY:
            node.state = NEW
            if self.fresh is not None:
                self.fresh.pop()
        return node


class Resume:
    """Looks results up, and keeps them.

    Args:
        keys: Makes keys.
        store: Where results are.
        values: How values are carried in this session.
        live: Whether they are carried as they are.
        files: Knows whose values name temporary files.
        tell: Takes what happened.
        warn: Says something to the user.
        given: Inputs that a file gives to tasks, by their names.
        show: Is shown what a node that was there has returned, for who looks on; None if nobody
            does.

    Attributes:
        graph: The kind of graph that it wants.
        keeps: Whether what comes is kept.
        is_streamed: Whether the results of a node, a map, are taken one by one.
    """

    graph = LookedUp

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        keys: KeyMaker,
        store: Store,
        values: Values,
        *,
        live: bool,
        files: Keeper,
        tell: Callable[[Sequence[CacheEvent]], None],
        warn: Callable[[str], None],
        given: Mapping[str, Mapping[str, Any]] | None = None,
        show: Callable[[Node, Any], None] | None = None,
    ) -> None:
        self._show = show
        self._paths = Paths()
        self._make = keys
        self._keys = InstanceKeys(keys, given)
        self._store = store
        self._stored = StoredValues(values, live, files)
        self._tell = tell
        self._warn = warn
        self._warned = False
        self._running: dict[int, KeyParts] = {}
        # By their numbers, the instances that run each time or have to do with such.  They are
        # kept, so that no other gets their numbers.
        self._restless: dict[int, Instance[Any]] = {}
        self._restless_parts: set[int] = set()  # numbers of elements of which the same holds
        self._maps: dict[int, _Elements] = {}
        self.keeps = True
        self.is_streamed: Callable[[Node], bool] = lambda _node: False

    # ---- before a task runs ----

    def look_up(self, nodes: Iterable[Node]) -> list[Node]:
        """Return those of these nodes whose values are there; they have them now."""
        events: list[CacheEvent] = []
        found = []
        for node in nodes:
            if not node.hidden and (node.part is None or node.instance is not None):
                event = self._looked_up(node)._replace(composes=node.local)
                events.append(event)
                if event.kind == "hit":
                    found.append(node)
        if events:
            self._tell(events)
        return found

    def _looked_up(self, node: Node) -> CacheEvent:
        instance, path = node.instance, self._paths.of(node)
        if not (node.options if instance is None else options_of(instance)).cache:
            self.runs_each_time(node)
        if instance is None:
            why = "a task that ran made it, with whose result its own is kept"
            return CacheEvent("no-key", node.id, path, "", None, why)
        if self.is_streamed(node):
            why = "its results are taken one by one, and not kept together"
            return CacheEvent("no-key", node.id, path, "", None, why)
        made_of = self._keys.made_of(instance)
        if isinstance(made_of, Uncacheable):
            return CacheEvent("no-key", node.id, path, "", None, made_of.why)
        key = self._keys.key_of(instance)
        assert key is not None, "that of what it is made of"
        is_there = self._take(node, key)
        if not is_there:
            self._running[node.id] = made_of
        return CacheEvent("hit" if is_there else "miss", node.id, path, key, made_of)

    def _take(self, node: Node, key: str) -> bool:
        """Give a node the value that is kept under a key; tell whether there is one."""
        data = self._store.get(key)
        if data is None:
            return False
        try:
            value = restored(data)
        except ValueError as error:
            self._unreadable(node, error)
            return False
        show = self._show
        read = self._read(node, value, None if show is None else partial(show, node))
        if read is None:
            return False
        node.value = self._stored.short(read.value)
        return True

    def _read(
        self, node: Node, value: Encoded, look: Callable[[Any], None] | None = None
    ) -> Live | None:
        """Return what was kept as the graph has values; None if it cannot be read any more."""
        try:
            return Live(self._stored.read(value, node.id, look))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            self._unreadable(node, error)
            return None

    def _unreadable(self, node: Node, error: BaseException) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f"the kept result of {node.path} cannot be read, so the task runs "
                f"({failure.name_of(error)}: {failure.text_of(error)}); others are not told of"
            )

    # ---- when it has run ----

    def keep(self, node: Node) -> None:
        """A node has its value: keep it, before anybody is told."""
        made_of = self._running.pop(node.id, None)
        if node.id in self._maps:
            kept = self._close(node.id)
            if kept.is_whole and kept.bytes > _LARGE:
                made_of = None  # nobody needs it twice
        if any(other in self._restless for other in self._keys.takes(node.instance)):
            self.runs_each_time(node)
        if made_of is None or not self.keeps or type(node.value) is Broken:
            return
        why = self._why_not(node, made_of)
        if why:
            key = digest_of(made_of)
            self._tell([CacheEvent("not-kept", node.id, node.path, key, None, why)])

    def _why_not(self, node: Node, made_of: KeyParts) -> str:
        """Keep a value; return why it cannot be kept, or nothing."""
        if node.instance is not None:
            if id(node.instance) in self._restless:
                return "what it is made of has cache=False, and is to run each time"
            why = self._make.outdated(node.instance._definition)
            if why:
                return why
        try:
            parts = written(self._stored.of(node.value, node.id))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            return _said(error)
        return "" if self._store.put(digest_of(made_of), parts, made_of) else "no store took it"

    # ---- elements of maps ----

    def elements(
        self, node: Node, element: Definition, fixed: dict[str, Any]
    ) -> KeptElements | None:
        """Return what knows the elements of a map; None if they cannot be told from each other.

        Args:
            node: The map's.
            element: What is called for each element.
            fixed: The inputs that all of them have.
        """
        instance = node.instance
        if instance is None or element.is_module or not element.options.cache:
            return None
        taken: set[int] = set()

        def upstream(other: Instance[Any]) -> str | None:
            taken.add(id(other))
            return self._keys.key_of(other)

        try:
            about = self._make.of_call(element, (), fixed, None, upstream)
        except (errors.InternalError, KeyboardInterrupt):
            raise
        except BaseException:  # noqa: BLE001 - the user's objects; of the map it is told
            return None
        if isinstance(about, Uncacheable):
            return None
        from fancypipe_core._engine.kept_elements import KeptElements

        about = replace(self._keys.with_options(about, element.options, False), lines={})
        kind = digest_of(about).encode()
        made = KeptElements(
            about,
            lambda row: self._make.of_element(kind, row, upstream),
            self._store,
            lambda value: read.value if (read := self._read(node, value)) is not None else None,
            self._stored.of_span,
        )
        self._maps[node.id] = _Elements(node, made, taken)
        return made

    def keep_elements(self, span: Span, value: Any, node: Node, of: Node, holder: int) -> None:
        """A span of a map has its values: keep them.

        Args:
            span: Which elements.
            value: Their values.
            node: The span's node.
            of: The map's node.
            holder: The number of the node that holds their files.
        """
        known = self._maps.get(of.id)
        if known is None or not self.keeps or known.why:
            return
        kept = known.kept
        if node.id in self._restless_parts or not known.takes.isdisjoint(self._restless):
            kept.is_whole = False
            return
        assert of.instance is not None
        why = self._make.outdated(of.instance._definition)
        try:
            if not why:
                kept.keep(span, value, holder)
                return
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            why = _said(error)
        kept.is_whole = False
        self._maps[of.id] = known._replace(why=why)

    def _close(self, number: int) -> KeptElements:
        """A map has ended, well or not: what has come is kept."""
        node, kept, _, why = self._maps.pop(number)
        kept.close()
        if kept.there or kept.ran:
            told = CacheEvent("elements", number, node.path, "", None, why, True)
            self._tell([told._replace(there=kept.there, ran=tuple(kept.ran))])
        return kept

    def end_maps(self) -> None:
        """The run ends: so do all maps."""
        for number in [*self._maps]:
            self._close(number)

    # ---- what is left out, and let go of ----

    def runs_each_time(self, node: Node) -> None:
        """A task runs each time, so what made it must: kept results of those would hide it."""
        one: Node | None = node
        while one is not None and id(one.instance) not in self._restless:
            if one.part is not None:
                self._restless_parts.add(one.id)
            if one.instance is not None:
                self._restless[id(one.instance)] = one.instance
            one = one.parent

    def forget(self, nodes: Iterable[Node]) -> None:
        """Nobody wants these any more."""
        for node in nodes:
            self._running.pop(node.id, None)
            if node.id in self._maps:
                self._close(node.id)
            if node.instance is not None:
                self._keys.forget(node.instance)

    def begin(self) -> None:
        """A run begins."""
        self._make.forget()
        self._paths.forget()

    def forget_contents(self) -> None:
        """The user's code has run in this process: what objects hold may have changed."""
        self._make.forget_values()

    def clear(self) -> None:
        """The run is over."""
        self._keys.clear()
        self._running.clear()
        self._restless.clear()
        self._restless_parts.clear()
        self._maps.clear()


def _said(error: BaseException) -> str:
    if type(error) is NotKept:
        return str(error)
    return f"{failure.name_of(error)}: {failure.text_of(error)}"
