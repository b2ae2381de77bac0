"""How values are carried between tasks: as payloads, or as they are.

Both ways have the same five operations, so that the graph and the runner need
not know which one the backend wants.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from types import FunctionType, ModuleType
from typing import Any, Protocol

from fancypipe_core import errors
from fancypipe_core._base import code_names
from fancypipe_core._codec import pickler, plain, unpickler
from fancypipe_core._codec.in_process import Carried, LiveEncoder
from fancypipe_core._codec.pickler import PLAIN, P, Packed
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.ref import Instance
from fancypipe_core._model.task import TaskFunction, entry
from fancypipe_core._model.temp_paths import mentions
from fancypipe_core.backend import Call, Encoded, Live, Payload

__all__ = ["EncodedValues", "LiveValues", "Values", "assemble"]


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

    def unreadable(self, instance: Instance[Any]) -> str:
        """Return a phrase that names what in an instance's inputs cannot be read back."""

    def fill(self, packed: Packed, given: Sequence[Any]) -> Any:
        """Put values where references were; `given` is in the order of `packed.wants`."""

    def open(self, value: Any) -> Any:
        """Return the object."""

    def named(self, value: Any, folders: Iterable[str]) -> set[str]:
        """Return those of these folders that the value names, or may name."""


class EncodedValues:
    """Values are payloads from the task that made them to the task that uses them."""

    def __init__(self) -> None:
        self._encoder = pickler.Encoder()
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
            if code_names.reference(definition.target) is None:
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

    def unreadable(self, instance: Instance[Any]) -> str:
        return self._encoder.unreadable(
            instance._args, instance._kwargs, instance._state(), instance._definition.positions
        )

    def fill(self, packed: Packed, given: Sequence[Encoded]) -> Encoded:
        assert not isinstance(packed.body, Live)
        return assemble(packed.body, given)

    def open(self, value: Encoded) -> Any:
        return unpickler.decode(value, plain.load)

    def named(self, value: Encoded, folders: Iterable[str]) -> set[str]:
        return {folder for folder in folders if _names_folder(value, folder)}


def _names_folder(value: Sequence[Payload | Live], folder: str) -> bool:
    """Whether a folder's name stands anywhere in a value, or may do so."""
    for part in value:
        if isinstance(part, Live):
            if _may_name(part.value, folder):
                return True
        elif mentions(part.head, folder) or any(mentions(b, folder) for b in part.buffers):
            return True
    return False


def _may_name(value: Any, folder: str) -> bool:
    """Whether something that is handed on as it is may name a folder."""
    if isinstance(value, (str, bytes)):
        return mentions(value if isinstance(value, bytes) else os.fsencode(value), folder)
    if isinstance(value, FunctionType):
        return bool(value.__closure__ or value.__defaults__ or value.__kwdefaults__)
    return type(value) not in PLAIN and not isinstance(value, (type, ModuleType, TaskFunction))


def assemble(payloads: Sequence[P], given: Sequence[Sequence[P]]) -> tuple[P, ...]:
    """Make one encoded value of payloads whose holes point into `given`, then into themselves.

    Raises:
        GraphError: A named output is asked for that a value does not have.
    """
    out: list[Any] = []
    placed: dict[int, int] = {}
    places: list[tuple[int, str | None]] = []

    def place(value: Sequence[P]) -> int:
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
                if not payload.head and rest is None and len(payloads) == 1:
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
    return tuple(out)


def _pick(value: Sequence[P], name: str | None) -> tuple[Sequence[P], str | None]:
    """Return an output of an encoded value, and the name that is still to be applied."""
    root = value[-1]
    if name is None or isinstance(root, Live) or root.names is None:
        return value, name
    if name not in root.names:
        raise errors.GraphError(unpickler.no_output(name, root.names))
    at, rest = root.holes[root.names.index(name)]
    part = value[at]
    alone = isinstance(part, Live) or not part.holes
    return ((part,) if alone else value[: at + 1]), rest


class LiveValues:
    """Values stay in this process, for backends that share memory.

    What is plain is handed on as it is; everything else is a `Carried`.
    """

    def __init__(self) -> None:
        self._encoder = LiveEncoder()
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
        args, kwargs, state = instance._args, instance._kwargs, instance._state()
        if not kwargs and state is None:
            for arg in args:
                if type(arg) not in PLAIN:
                    break
            else:
                return Packed(Live((args, kwargs, None)))
        positions = instance._definition.positions
        return self._live(self._encoder.encode_inputs(args, kwargs, state, positions))

    def pack_result(self, value: Any) -> Packed:
        if type(value) in PLAIN:
            return Packed(Live(value))
        return self._live(self._encoder.encode_result(value))

    @staticmethod
    def _live(packed: Packed) -> Packed:
        assert not isinstance(packed.body, Live)
        return Packed(Live(Carried(packed.body)), packed.wants, packed.odd)

    def read_back(self, value: Any, encoded: Encoded) -> None:
        """Nothing was written that leaves the process."""

    def unreadable(self, instance: Instance[Any]) -> str:
        """What cannot be read back was handed on as it is."""
        return ""

    def fill(self, packed: Packed, given: Sequence[Any]) -> Any:
        assert isinstance(packed.body, Live)
        body = packed.body.value
        if type(body) is not Carried:
            return body
        parts = [v.payloads if type(v) is Carried else (Live(v),) for v in given]
        filled = assemble(body.payloads, parts)
        root = filled[-1]
        return root.value if type(root) is Live else Carried(filled)

    def open(self, value: Any) -> Any:
        return value.open() if type(value) is Carried else value

    def named(self, value: Any, folders: Iterable[str]) -> set[str]:
        parts = value.payloads if type(value) is Carried else (Live(value),)
        return {folder for folder in folders if _names_folder(parts, folder)}
