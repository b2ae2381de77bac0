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
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from msgspec.structs import replace

from fancypipe_core import errors
from fancypipe_core._base.needs import in_units
from fancypipe_core._cache.parts import KeyParts, Uncacheable, digest_of
from fancypipe_core._codec import failure
from fancypipe_core._codec.pickler import PLAIN
from fancypipe_core._codec.stored import restored, written
from fancypipe_core._codec.values import EncodedValues, Values
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.machine.records import NEW, READY
from fancypipe_core._engine.node import Broken, Node
from fancypipe_core._model.carriage import came, this_thread, to_be_kept
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.options import Options
from fancypipe_core._model.ref import Instance
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core.backend import Encoded, Live, Payload
from fancypipe_core.hooks import CacheEvent, CacheKey

if TYPE_CHECKING:
    from fancypipe_core._engine.kept_elements import KeptElements  # few runs have maps
    from fancypipe_core._engine.spans import Span

__all__ = ["KeyMaker", "LookedUp", "Resume", "Store"]


_MOST_OF_FILES = 256 << 20  # bytes of the files of one result
_FROM_FILE = "[tasks] of -configfile"
_LARGE = 1 << 20  # bytes; of a map that takes more only the elements are kept


class KeyMaker(Protocol):
    """Makes keys."""

    def forget(self) -> None:
        """A run begins: what was remembered of code and inputs may have changed."""

    def forget_values(self) -> None:
        """The user's code has run in this process: what objects hold may have changed."""

    def of(
        self, instance: Instance[Any], upstream: Callable[[Instance[Any]], str | None]
    ) -> KeyParts | Uncacheable:
        """Return what an instance's key is made of, given the keys of what it refers to."""

    def of_call(
        self,
        definition: Definition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        state: dict[str, Any] | None,
        upstream: Callable[[Instance[Any]], str | None],
    ) -> KeyParts | Uncacheable:
        """As `of`, for a call that has no instance."""

    def of_element(
        self, kind: bytes, row: tuple[Any, ...], upstream: Callable[[Instance[Any]], str | None]
    ) -> bytes | None:
        """Return the key of an element of a map; None if it has none."""

    def outdated(self, definition: Definition) -> str:
        """Return why a task may have run other code than its key was made of; empty if not."""


class Store(Protocol):
    """Keeps results; it raises nothing."""

    def get(self, key: str) -> bytes | memoryview | None:
        """Return what was kept; None if there is nothing."""

    def put(self, key: str, value: Sequence[Any], about: CacheKey) -> bool:
        """Keep something; tell whether it is kept."""


class _Keyed(NamedTuple):
    """An instance, so that no other has its number, and its key."""

    instance: Instance[Any]
    key: str | None
    made_of: KeyParts | Uncacheable | None


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


class _NotKept(Exception):
    """A result cannot be kept; the text says why."""


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
    ) -> None:
        self._keys = keys
        self._store = store
        self._values = values
        self._encoder = EncodedValues() if live else None
        self._files = files
        self._tell = tell
        self._warn = warn
        self._warned = False
        self._known: dict[int, _Keyed] = {}
        self._running: dict[int, KeyParts] = {}
        # By their numbers, of instances: what each refers to, and those that run each time or have
        # to do with such.  The second are kept, so that no other gets their numbers.
        self._takes: dict[int, tuple[int, ...]] = {}
        self._restless: dict[int, Instance[Any]] = {}
        self._restless_parts: set[int] = set()  # numbers of elements of which the same holds
        self._maps: dict[int, _Elements] = {}
        self._given = blake2b(repr(given).encode(), digest_size=16).hexdigest() if given else ""
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
        instance = node.instance
        if not (node.options if instance is None else _options_of(instance)).cache:
            self.runs_each_time(node)
        if instance is None:
            why = "a task that ran made it, with whose result its own is kept"
            return CacheEvent("no-key", node.id, node.path, "", None, why)
        if self.is_streamed(node):
            why = "its results are taken one by one, and not kept together"
            return CacheEvent("no-key", node.id, node.path, "", None, why)
        made_of = self._made_of(instance)
        if isinstance(made_of, Uncacheable):
            return CacheEvent("no-key", node.id, node.path, "", None, made_of.why)
        key = self._known[id(instance)].key
        assert key is not None
        is_there = self._take(node, key)
        if not is_there:
            self._running[node.id] = made_of
        return CacheEvent("hit" if is_there else "miss", node.id, node.path, key, made_of)

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
        made = self._made(node, value)
        if made is None:
            return False
        node.value = made if self._encoder is not None else _short(value)
        return True

    def _made(self, node: Node, value: Encoded) -> Any:
        """Return what was kept as the graph has values; None if it cannot be read any more."""
        values = self._encoder or self._values
        try:
            # What is large is not read by that: it stays where it is until somebody needs it.
            made = values.open(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            self._unreadable(node, error)
            return None
        if self._encoder is not None:
            body = self._values.pack_result(made).body  # each who needs it gets one of its own
            value = body.value if isinstance(body, Live) else made
        if this_thread.came is not None:
            self._files.hold(node.id, came())
        return value

    def _unreadable(self, node: Node, error: BaseException) -> None:
        self._say(
            f"the kept result of {node.path} cannot be read, so the task runs "
            f"({failure.name_of(error)}: {failure.text_of(error)}); others are not told of"
        )

    # ---- keys ----

    def key_of(self, instance: Instance[Any]) -> str | None:
        """Return the key of an instance; None if it has none."""
        self._made_of(instance)
        return self._known[id(instance)].key

    def _made_of(self, wanted: Instance[Any]) -> KeyParts | Uncacheable:
        """Return what the key of an instance is made of, and know its key."""
        # Not by recursion: a chain of needs may be as long as it likes.
        known = self._known
        stack = [wanted]
        on_the_way = {id(wanted)}
        while stack:
            instance = stack[-1]
            found = known.get(id(instance))
            if found is None or (instance is wanted and found.made_of is None):
                made_of, missing = self._try(instance)
                new = [one for one in missing if id(one) not in on_the_way]
                if new:
                    on_the_way.update(map(id, new))
                    stack += new
                    continue
                if missing:
                    made_of = Uncacheable("it waits for itself")
                key = None if isinstance(made_of, Uncacheable) else digest_of(made_of)
                kept = made_of if instance is wanted or key is None else None
                known[id(instance)] = _Keyed(instance, key, kept)
            stack.pop()
        found = known[id(wanted)]
        assert found.made_of is not None
        if not isinstance(found.made_of, Uncacheable):
            known[id(wanted)] = found._replace(made_of=None)  # it takes more than the key
        return found.made_of

    def _try(self, instance: Instance[Any]) -> tuple[KeyParts | Uncacheable, list[Instance[Any]]]:
        """Return what a key is made of, and of which others the keys have to be known first."""
        missing: list[Instance[Any]] = []
        taken: list[int] = []

        def upstream(other: Instance[Any]) -> str | None:
            taken.append(id(other))
            found = self._known.get(id(other))
            if found is None:
                missing.append(other)
                return ""
            return found.key

        options = _options_of(instance)
        if not options.cache:
            return Uncacheable("its author has set cache=False"), []
        try:
            made_of = self._keys.of(instance, upstream)
        except (errors.InternalError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            said = f"{failure.name_of(error)}: {failure.text_of(error)}"
            return Uncacheable(f"its key cannot be made: {said}"), []
        if taken:
            self._takes[id(instance)] = tuple(taken)
        if isinstance(made_of, Uncacheable) or missing:
            return made_of, missing
        return self._with_options(made_of, options, instance._definition.is_module), []

    def _with_options(self, made_of: KeyParts, options: Options, is_module: bool) -> KeyParts:
        """Return what a key is made of, with what does not stand in the task's definition."""
        changes: dict[str, Any] = {}
        if options.version != made_of.version:
            changes["version"] = options.version
        if self._given and (is_module or len(made_of.code) > 1):
            # It may make any of those tasks.
            changes["inputs"] = {**made_of.inputs, _FROM_FILE: self._given}
        return replace(made_of, **changes) if changes else made_of

    # ---- when it has run ----

    def keep(self, node: Node) -> None:
        """A node has its value: keep it, before anybody is told."""
        made_of = self._running.pop(node.id, None)
        if node.id in self._maps:
            kept = self._close(node.id)
            if kept.is_whole and kept.bytes > _LARGE:
                made_of = None  # nobody needs it twice
        if any(other in self._restless for other in self._takes.get(id(node.instance), ())):
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
            why = self._keys.outdated(node.instance._definition)
            if why:
                return why
        try:
            parts = written(self._with_files(self._encoded(node.value), node.id))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            return _said(error)
        return "" if self._store.put(digest_of(made_of), parts, made_of) else "no store took it"

    def _with_files(self, value: Encoded, holder: int) -> Encoded:
        """Return a value with the contents of its files, which one that is kept has in it.

        Raises:
            _NotKept: It names files that go with the run.
        """
        folders = self._files.held(holder)
        if not folders:
            return value
        # A `File` is kept with its content; by any other path it goes with the run.
        value, rest = to_be_kept(value, folders, _MOST_OF_FILES)
        if (self._encoder or self._values).named(rest, folders):
            raise _NotKept(
                "its result names temporary files, which go with the run: only a File or "
                f"Dir is kept, and only up to {in_units(_MOST_OF_FILES)}"
            )
        return value

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
            return self.key_of(other)

        try:
            about = self._keys.of_call(element, (), fixed, None, upstream)
        except (errors.InternalError, KeyboardInterrupt):
            raise
        except BaseException:  # noqa: BLE001 - the user's objects; of the map it is told
            return None
        if isinstance(about, Uncacheable):
            return None
        from fancypipe_core._engine.kept_elements import KeptElements

        about = replace(self._with_options(about, element.options, False), lines={})
        kind = digest_of(about).encode()
        made = KeptElements(
            about,
            lambda row: self._keys.of_element(kind, row, upstream),
            self._store,
            lambda value: self._made(node, value),
            lambda value, holder: self._with_files(self._encoded_span(value), holder),
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
        why = self._keys.outdated(of.instance._definition)
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

    def _encoded_span(self, value: Any) -> Encoded:
        if self._encoder is None:
            return self._encoded(value)
        results = self._encoder.results()  # each by itself, as where values are written down
        for one in self._values.open(value):
            if type(one) in PLAIN:
                results.plain(one)
            else:
                results.add(one)
        packed = results.packed()
        assert isinstance(packed.body, tuple)
        return packed.body

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

    def _encoded(self, value: Any) -> Encoded:
        if self._encoder is not None:
            value = self._values.open(value)  # so that any backend can take it, and files be found
            packed = self._encoder.pack_result(value)
            assert isinstance(packed.body, tuple)
            self._encoder.read_back(value, packed.body)
            return packed.body
        return (Payload(value),) if type(value) is bytes else value

    def forget(self, nodes: Iterable[Node]) -> None:
        """Nobody wants these any more."""
        for node in nodes:
            self._running.pop(node.id, None)
            if node.id in self._maps:
                self._close(node.id)
            if node.instance is not None:
                self._known.pop(id(node.instance), None)
                self._takes.pop(id(node.instance), None)

    def begin(self) -> None:
        """A run begins."""
        self._keys.forget()

    def forget_contents(self) -> None:
        """The user's code has run in this process: what objects hold may have changed."""
        self._keys.forget_values()

    def clear(self) -> None:
        """The run is over."""
        self._known.clear()
        self._running.clear()
        self._takes.clear()
        self._restless.clear()
        self._restless_parts.clear()
        self._maps.clear()

    def _say(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(text)


def _options_of(instance: Instance[Any]) -> Options:
    return (instance._definition.element or instance._definition).options


def _said(error: BaseException) -> str:
    if type(error) is _NotKept:
        return str(error)
    return f"{failure.name_of(error)}: {failure.text_of(error)}"


def _short(value: Encoded) -> Any:
    """Return a value as the graph keeps it: of one payload without anything else the head."""
    only = value[0]
    if len(value) == 1 and not (only.buffers or only.holes) and only.names is None:
        return only.head
    return value
