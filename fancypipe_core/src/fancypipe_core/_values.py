"""How values are carried between tasks: as payloads, or as they are.

Both ways have the same five operations, so that the graph and the runner need
not know which one the backend wants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fancypipe_core import _codec, _files, _names, _plain, errors
from fancypipe_core._codec import PLAIN, Packed
from fancypipe_core._ref import Instance, Item, Outputs, Ref
from fancypipe_core._task import Definition, entry
from fancypipe_core.backend import Call, Encoded, Live, Payload

__all__ = ["EncodedValues", "LiveValues", "Values", "assemble", "filled"]


class Values(Protocol):
    """Carries values one way."""

    def call(self, definition: Definition) -> Call:
        """Return what stands for a definition in jobs; always the same one."""

    def pack_inputs(self, instance: Instance[Any]) -> Packed:
        """Take the inputs of an instance apart from the references in them."""

    def pack_result(self, value: Any) -> Packed:
        """Take what a task returned apart from the references in it."""

    def read_back(self, value: Any, encoded: Encoded) -> None:
        """See that a packed result can be read; raises `EncodeError`."""

    def fill(self, packed: Packed, given: Sequence[Any]) -> Any:
        """Put values where references were; `given` is in the order of `packed.wants`."""

    def open(self, value: Any) -> Any:
        """Return the object."""


class EncodedValues:
    """Values are payloads from the task that made them to the task that uses them."""

    def __init__(self) -> None:
        self._encoder = _codec.Encoder()
        self._calls: dict[int, tuple[Definition, Call]] = {}
        self._nameless: list[int] = []

    def forget(self) -> None:
        """Drop what is kept of code that travels by value; it may have changed."""
        self._encoder.forget()
        for key in self._nameless:
            del self._calls[key]
        self._nameless.clear()

    def call(self, definition: Definition) -> Call:
        known = self._calls.get(id(definition))
        if known is None:
            packed = self._encoder.encode_code(definition.target, definition.main, definition.name)
            assert not isinstance(packed.body, Live)
            known = self._calls[id(definition)] = (definition, Call(definition.name, packed.body))
            if _names.reference(definition.target) is None:
                self._nameless.append(id(definition))
        return known[1]

    def pack_inputs(self, instance: Instance[Any]) -> Packed:
        return self._encoder.encode_inputs(
            instance._args, instance._kwargs, instance._state(), instance._definition.positions
        )

    def pack_result(self, value: Any) -> Packed:
        return self._encoder.encode_result(value)

    def read_back(self, value: Any, encoded: Encoded) -> None:
        self._encoder.read_back(value, encoded)

    def fill(self, packed: Packed, given: Sequence[Encoded]) -> Encoded:
        assert not isinstance(packed.body, Live)
        return assemble(packed.body, given)

    def open(self, value: Encoded) -> Any:
        return _codec.decode(value, _plain.load)


def assemble(payloads: Sequence[Payload], given: Sequence[Encoded]) -> Encoded:
    """Make one encoded value of payloads whose holes point into `given`, then into themselves.

    Raises:
        GraphError: A named output is asked for that a value does not have.
    """
    out: list[Payload] = []
    placed: dict[int, int] = {}
    places: list[tuple[int, str | None]] = []

    def place(value: Encoded) -> int:
        root = value[-1]
        at = placed.get(id(root))
        if at is None:
            base = len(out)
            out.extend(_codec.shift(payload, 0, 0, base) for payload in value)
            at = placed[id(root)] = len(out) - 1
        return at

    for payload in payloads:
        holes: list[tuple[int, str | None]] = []
        for index, name in payload.holes:
            if index < len(given):
                value, rest = _pick(given[index], name)
                if not payload.head and rest is None and len(payloads) == 1:
                    return value
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
    return tuple(out)


def _pick(value: Encoded, name: str | None) -> tuple[Encoded, str | None]:
    """Return an output of an encoded value, and the name that is still to be applied."""
    root = value[-1]
    if name is None or root.names is None:
        return value, name
    if name not in root.names:
        raise errors.GraphError(_codec.no_output(name, root.names))
    at, rest = root.holes[root.names.index(name)]
    part = value[at]
    return ((part,) if not part.holes else value[: at + 1]), rest


class LiveValues:
    """Values are the objects themselves, for backends that share memory."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[Definition, Call]] = {}

    def forget(self) -> None:
        """Nothing is kept that could be out of date."""

    def call(self, definition: Definition) -> Call:
        known = self._calls.get(id(definition))
        if known is None:
            call = Call(definition.name, Live(entry(definition.target)))
            known = self._calls[id(definition)] = (definition, call)
        return known[1]

    def pack_inputs(self, instance: Instance[Any]) -> Packed:
        inputs = (instance._args, instance._kwargs, instance._state())
        if not instance._kwargs and inputs[2] is None:
            for arg in instance._args:
                if type(arg) not in PLAIN:
                    break
            else:
                return Packed(Live(inputs))
        return self._pack(inputs)

    def pack_result(self, value: Any) -> Packed:
        if type(value) in PLAIN:
            return Packed(Live(value))
        return self._pack(value)

    def _pack(self, value: Any) -> Packed:
        refs: list[Ref[Any]] = []
        files: list[str] = []
        _search(value, refs, files)
        return Packed(Live(value), [ref._origin() for ref in refs], files)

    def read_back(self, value: Any, encoded: Encoded) -> None:
        """Nothing was written."""

    def fill(self, packed: Packed, given: Sequence[Any]) -> Any:
        assert isinstance(packed.body, Live)
        if not packed.wants:
            return packed.body.value
        values = {id(instance): value for instance, value in zip(packed.wants, given, strict=True)}

        def look_up(ref: Ref[Any]) -> Any:
            value = values[id(ref._origin())]
            for key in ref._keys() if type(ref) is Item else ():
                value = _codec.item(value, key)
            return value

        return filled(packed.body.value, look_up)

    def open(self, value: Any) -> Any:
        return value


def _search(value: Any, refs: list[Ref[Any]], files: list[str]) -> None:
    """Find the references in plain containers.  Arrays and other leaves are not walked."""
    stack = [value]
    seen: set[int] = set()
    while stack:
        value = stack.pop()
        kind = type(value)
        if kind in PLAIN:
            continue
        if isinstance(value, Ref):
            refs.append(value)
        elif isinstance(value, (list, tuple, set, frozenset, dict, Outputs)):
            if id(value) not in seen:
                seen.add(id(value))
                if isinstance(value, dict):
                    stack.extend(value.keys())
                    stack.extend(value.values())
                elif isinstance(value, Outputs):
                    stack.extend(value.values())
                else:
                    stack.extend(value)
        elif isinstance(value, _files.TempPath):
            files.append(str(value))
        elif hasattr(kind, "__dataclass_fields__") and id(value) not in seen:
            seen.add(id(value))
            stack.extend(
                getattr(value, name) for name in kind.__dataclass_fields__ if hasattr(value, name)
            )
    # In the order in which they were written: what is first is demanded first.
    refs.reverse()


def filled(value: Any, look_up: Callable[[Ref[Any]], Any]) -> Any:
    """Return `value` with what `look_up` says where references were."""
    return _replace(value, look_up, {})


def _replace(value: Any, look_up: Callable[[Ref[Any]], Any], done: dict[int, Any]) -> Any:
    """Return `value` with references replaced; what holds none comes back as it is."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, Ref):
        return look_up(value)
    if not isinstance(value, (list, tuple, set, frozenset, dict, Outputs)) and not hasattr(
        kind, "__dataclass_fields__"
    ):
        return value
    if id(value) in done:
        return done[id(value)]
    done[id(value)] = value  # a container that holds itself stays as it is
    result = _rebuilt(value, look_up, done)
    done[id(value)] = result
    return result


def _rebuilt(value: Any, look_up: Callable[[Ref[Any]], Any], done: dict[int, Any]) -> Any:
    kind = type(value)
    if isinstance(value, dict):
        items = [(_replace(k, look_up, done), _replace(v, look_up, done)) for k, v in value.items()]
        if all(k is k0 and v is v0 for (k, v), (k0, v0) in zip(items, value.items(), strict=True)):
            return value
        if kind is dict:
            return dict(items)
        copy = value.copy()  # keeps a default factory and the like
        copy.clear()
        copy.update(items)
        return copy
    if isinstance(value, Outputs):
        return Outputs(**{k: _replace(v, look_up, done) for k, v in value.items()})
    if isinstance(value, (list, tuple, set, frozenset)):
        made = [_replace(item, look_up, done) for item in value]
        if all(new is old for new, old in zip(made, value, strict=True)):
            return value
        if hasattr(value, "_fields"):  # a named tuple
            return kind(*made)
        return kind(made)
    old = {name: getattr(value, name) for name in kind.__dataclass_fields__ if hasattr(value, name)}
    new = {name: _replace(item, look_up, done) for name, item in old.items()}
    if all(new[name] is old[name] for name in old):
        return value
    result = object.__new__(kind)
    if hasattr(value, "__dict__"):
        result.__dict__.update(value.__dict__)
    for name, item in new.items():
        object.__setattr__(result, name, item)  # also where it is frozen
    return result
