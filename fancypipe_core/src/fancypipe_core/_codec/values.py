"""How values are carried between tasks: as payloads, or as they are.

Both ways have the same operations, so that the graph and the runner need not know
which one the backend wants.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, ModuleType
from typing import Any, Protocol

from fancypipe_core._base import code_names
from fancypipe_core._codec import pickler, plain, unpickler
from fancypipe_core._codec.assembly import assemble, fill_live
from fancypipe_core._codec.in_process import Carried, LiveEncoder
from fancypipe_core._codec.pickler import PLAIN, PROTOCOL, Packed
from fancypipe_core._codec.row import Coming, Row, row_of, written_row_of
from fancypipe_core._codec.rows import Results, Rows, encode_rows, join, read_rows
from fancypipe_core._codec.sharing import Sharer
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.presets import Presets
from fancypipe_core._model.ref import Instance, Reference
from fancypipe_core._model.task import TaskFunction, entry, target_with
from fancypipe_core._model.temp_paths import mentions
from fancypipe_core.backend import Call, Encoded, Handle, Live, Payload

__all__ = [
    "EncodedValues",
    "LiveValues",
    "Values",
    "is_plain",
]


class Values(Protocol):
    """Carries values one way.

    Attributes:
        presets: Inputs that tasks have in place of their defaults; set before the first call.
    """

    presets: Presets | None

    def forget_contents(self) -> None:
        """The user's code has run in this process: what objects hold may have changed."""

    def call(self, definition: Definition) -> Call:
        """Return what stands for a definition in jobs; always the same one."""

    def pack_inputs(self, instance: Instance[Any]) -> Packed:
        """Take the inputs of an instance apart from the references in them."""

    def plain_inputs(self, instances: Iterable[Instance[Any]]) -> Sequence[Encoded | Live]:
        """Return bodies of inputs that are plain, see `is_plain`; the same as by `pack_inputs`."""

    def pack_result(self, value: Any) -> Packed:
        """Take what a task returned apart from the references in it."""

    def write_result(self, value: Any, /) -> Packed:
        """The first half of `pack_result`: what is large is still where it was."""

    def share(self, packed: Packed, /) -> Packed:
        """The second half: put it where it is to be.

        What nobody refers to any more is not there afterwards.
        """

    def read_back(self, value: Any, encoded: Encoded) -> None:
        """See that a packed result can be read; raises `EncodeError`."""

    def unreadable(self, instance: Instance[Any]) -> str:
        """Return a phrase that names what in an instance's inputs cannot be read back."""

    def pack_fixed(self, kwargs: dict[str, Any]) -> Packed:
        """Take the inputs that all elements of a map have apart from the references in them."""

    def pack_rows(
        self,
        start: int,
        columns: Sequence[Sequence[Any]],
        fixed: Packed | None,
        names: Callable[[], Sequence[str]],
    ) -> Packed:
        """Take the inputs of a span of elements apart from the references in them."""

    def rows(self, value: Any) -> Rows:
        """Return the elements of a span, in a worker."""

    def results(self) -> Results:
        """Return what takes the results of a span."""

    def pack_results(self, results: Results) -> Packed:
        """Take the results of a span apart from the references in them."""

    def join(self, lists: Sequence[Any], singly: bool) -> Any:
        """Return the list of the elements of all these lists; `singly`: of all these."""

    def fill(self, packed: Packed, given: Sequence[Any], coming: int = 0) -> Any:
        """Put values where references were.

        Args:
            packed: What the references were in.
            given: The values, in the order of `packed.wants`; some may be `Coming`.
            coming: How many different ones these are.
        """

    def open(self, value: Any) -> Any:
        """Return the object."""

    def open_all(self, values: Iterable[Any], made: list[Any]) -> None:
        """Add the objects to a list: as many as can be made, if that raises."""

    def named(self, value: Any, folders: Iterable[str]) -> set[str]:
        """Return those of these folders that the value names, or may name."""


def is_plain(instance: Instance[Any]) -> bool:
    """Tell whether an instance's inputs hold neither references nor surprises.

    They need not be written down before they are sent: it cannot fail, and keeps nothing.
    """
    for arg in instance._args:
        if type(arg) not in PLAIN:
            return False
    for arg in instance._kwargs.values():
        if type(arg) not in PLAIN:
            return False
    return type(instance) is Reference or instance._state() is None


_SMALL = {bytes}  # types of values of which only the head is kept


class EncodedValues:
    """Values are payloads from the task that made them to the task that uses them.

    Args:
        sharer: Puts what is large into shared memory; None where payloads leave the machine.
    """

    def __init__(self, sharer: Sharer | None = None) -> None:
        self._encoder = pickler.Encoder()
        self._sharer = sharer
        self.write_result = self._encoder.encode_result
        self.share = _as_it_is if sharer is None else sharer.shared
        self.presets: Presets | None = None
        self._calls: dict[int, tuple[Definition, Call]] = {}
        self._nameless: list[int] = []

    def forget(self) -> None:
        """Drop what is kept of code that travels by value; it may have changed."""
        self._encoder.forget()
        for key in self._nameless:
            del self._calls[key]
        self._nameless.clear()
        self.forget_contents()

    def forget_contents(self) -> None:
        if self._sharer is not None and self._sharer.known:  # each run asks; few have any
            self._sharer.forget()

    def call(self, definition: Definition) -> Call:
        definition = definition.origin  # with other options it is called the same
        known = self._calls.get(id(definition))
        if known is None:
            target = target_with(self.presets, definition.target)
            packed = self._encoder.encode_code(target, definition.main, definition.name)
            assert not isinstance(packed.body, Live)
            known = self._calls[id(definition)] = (definition, Call(definition.name, packed.body))
            if code_names.reference(definition.target) is None:
                self._nameless.append(id(definition))
        return known[1]

    def pack_inputs(self, instance: Instance[Any]) -> Packed:
        packed = written_row_of(instance)
        if packed is None:
            return self.pack_whole_inputs(instance)
        return self.share(packed) if len(packed.body) > 1 else packed  # type: ignore[arg-type]

    def pack_whole_inputs(self, instance: Instance[Any]) -> Packed:
        """As `pack_inputs`, as one payload."""
        return self.share(
            self._encoder.encode_inputs(
                instance._args, instance._kwargs, instance._state(), instance._definition.positions
            )
        )

    def plain_inputs(self, instances: Iterable[Instance[Any]]) -> Sequence[Encoded | Live]:
        return [
            (Payload(pickle.dumps((one._args, one._kwargs, None), PROTOCOL)),) for one in instances
        ]

    def pack_result(self, value: Any) -> Packed:
        return self.share(self._encoder.encode_result(value))

    def read_back(self, value: Any, encoded: Encoded) -> None:
        self._encoder.read_back(value, encoded)

    def unreadable(self, instance: Instance[Any]) -> str:
        return self._encoder.unreadable(
            instance._args, instance._kwargs, instance._state(), instance._definition.positions
        )

    def pack_fixed(self, kwargs: dict[str, Any]) -> Packed:
        return self.share(self._encoder.encode_inputs((), kwargs, None))

    def pack_rows(
        self,
        start: int,
        columns: Sequence[Sequence[Any]],
        fixed: Packed | None,
        names: Callable[[], Sequence[str]],
    ) -> Packed:
        return encode_rows(self._encoder, start, columns, fixed, names, self.share)

    def rows(self, value: Encoded) -> Rows:
        return read_rows(value, plain.load)

    def results(self) -> Results:
        return Results(self._encoder, checks=True, share=self.share)

    def pack_results(self, results: Results) -> Packed:
        return results.packed()

    def join(self, lists: Sequence[Encoded], singly: bool) -> Encoded:
        packed = join(len(lists), singly)
        assert not isinstance(packed.body, Live)
        return assemble(packed.body, _payloads(lists))

    def fill(
        self, packed: Packed, given: Sequence[Encoded | bytes | Coming], coming: int = 0
    ) -> Encoded:
        body = packed.body
        assert not isinstance(body, Live)
        if (
            body[-1].head in unpickler.ROWS
            and set(map(type, given)) == _SMALL
            and len(set(map(id, given))) == len(given)
        ):
            # The holes point where they are to: first the values come, then what is in the body.
            return (*map(Payload, given), *body)  # type: ignore[arg-type]
        return assemble(body, _payloads(given), coming)

    def open(self, value: Encoded | bytes) -> Any:
        if type(value) is bytes:
            return plain.load(value, ())
        return unpickler.decode(value, plain.load)  # type: ignore[arg-type]

    def open_all(self, values: Iterable[Encoded | bytes], made: list[Any]) -> None:
        plain.load_all(values, self.open, made)

    def named(self, value: Encoded | bytes, folders: Iterable[str]) -> set[str]:
        (payloads,) = _payloads((value,))
        return {folder for folder in folders if _names_folder(payloads, folder)}


def _payloads(values: Iterable[Any]) -> list[Any]:
    """Return encoded values as payloads, also those of which only the head is kept."""
    made: dict[int, Encoded] = {}  # one for each, which may stand there more than once
    return [
        (made.get(id(one)) or made.setdefault(id(one), (Payload(one),)))
        if type(one) is bytes
        else one
        for one in values
    ]


def _names_folder(value: Sequence[Payload | Live], folder: str) -> bool:
    """Whether a folder's name stands anywhere in a value, or may do so."""
    for part in value:
        if isinstance(part, Live):
            if _may_name(part.value, folder):
                return True
        elif any(mentions(_bytes(one), folder) for one in (part.head, *part.buffers)):
            return True
    return False


def _bytes(part: Any) -> Any:
    return part.map() if type(part) is Handle else part


def _may_name(value: Any, folder: str) -> bool:
    """Whether something that is handed on as it is may name a folder."""
    if isinstance(value, (str, bytes)):
        return mentions(value if isinstance(value, bytes) else os.fsencode(value), folder)
    if isinstance(value, FunctionType):
        return bool(value.__closure__ or value.__defaults__ or value.__kwdefaults__)
    return type(value) not in PLAIN and not isinstance(value, (type, ModuleType, TaskFunction))


_TO_OPEN = (Carried, Row)


class LiveValues:
    """Values stay in this process, for backends that share memory.

    What is plain is handed on as it is; everything else is a `Carried`.
    """

    def __init__(self, sharer: Sharer | None = None) -> None:
        self._encoder = LiveEncoder()
        self._sharer = sharer
        self.presets: Presets | None = None
        self._calls: dict[int, tuple[Definition, Call]] = {}

    def forget(self) -> None:
        """Drop what is kept of what objects hold; it may be out of date."""
        if self._sharer is not None and self._sharer.known:  # each run asks; few have any
            self._sharer.forget()

    forget_contents = forget

    def call(self, definition: Definition) -> Call:
        definition = definition.origin  # with other options it is called the same
        known = self._calls.get(id(definition))
        if known is None:
            call = Call(definition.name, Live(entry(target_with(self.presets, definition.target))))
            known = self._calls[id(definition)] = (definition, call)
        return known[1]

    def pack_inputs(self, instance: Instance[Any]) -> Packed:
        row = row_of(instance)
        if row is not None:
            return row if row.wants else Packed(self.plain_inputs((instance,))[0])
        args, kwargs, state = instance._args, instance._kwargs, instance._state()
        positions = instance._definition.positions
        return self.share(self._live(self._encoder.encode_inputs(args, kwargs, state, positions)))

    def plain_inputs(self, instances: Iterable[Instance[Any]]) -> Sequence[Encoded | Live]:
        return [Live((one._args, one._kwargs, None)) for one in instances]

    def pack_result(self, value: Any) -> Packed:
        return self.share(self.write_result(value))

    def write_result(self, value: Any, /) -> Packed:
        if type(value) in PLAIN:
            return Packed(Live(value))
        return self._live(self._encoder.encode_result(value))

    def share(self, packed: Packed, /) -> Packed:
        body = packed.body
        if self._sharer is None or type(body) is not Live or type(body.value) is not Carried:
            return packed
        written = Packed(body.value.payloads, packed.wants, packed.odd)  # type: ignore[arg-type]
        shared = self._sharer.shared(written)
        return packed if shared is written else self._live(shared)

    @staticmethod
    def _live(packed: Packed) -> Packed:
        assert not isinstance(packed.body, Live)
        return Packed(Live(Carried(packed.body)), packed.wants, packed.odd)

    def read_back(self, value: Any, encoded: Encoded) -> None:
        """Nothing was written that leaves the process."""

    def unreadable(self, instance: Instance[Any]) -> str:
        """What cannot be read back was handed on as it is."""
        return ""

    def pack_fixed(self, kwargs: dict[str, Any]) -> Packed:
        return self._encoder.encode_inputs((), kwargs, None)

    def pack_rows(
        self,
        start: int,
        columns: Sequence[Sequence[Any]],
        fixed: Packed | None,
        names: Callable[[], Sequence[str]],
    ) -> Packed:
        return self._live(encode_rows(self._encoder, start, columns, fixed, names, _as_it_is))

    def rows(self, value: Any) -> Rows:
        return read_rows(value.payloads, pickle.loads)

    def results(self) -> Results:
        return Results(self._encoder, checks=False, share=_as_it_is)

    def pack_results(self, results: Results) -> Packed:
        return self._live(results.packed())

    def join(self, lists: Sequence[Any], singly: bool) -> Carried:
        packed = join(len(lists), singly)
        assert not isinstance(packed.body, Live)
        return Carried(assemble(packed.body, [_parts_of(one) for one in lists]))

    def fill(self, packed: Packed, given: Sequence[Any], coming: int = 0) -> Any:
        assert isinstance(packed.body, Live)
        body = packed.body.value
        return body.filled(given) if type(body) is Row else fill_live(body, given, coming)

    def open(self, value: Any) -> Any:
        return value.open() if type(value) in _TO_OPEN else value

    def open_all(self, values: Iterable[Any], made: list[Any]) -> None:
        # What raises in the middle leaves those before it in the list.
        made.extend(value.open() if type(value) in _TO_OPEN else value for value in values)

    def named(self, value: Any, folders: Iterable[str]) -> set[str]:
        parts = _parts_of(value)
        return {folder for folder in folders if _names_folder(parts, folder)}


def _as_it_is(packed: Packed) -> Packed:
    return packed


def _parts_of(value: Any) -> Sequence[Payload | Live]:
    return value.payloads if type(value) is Carried else (Live(value),)
