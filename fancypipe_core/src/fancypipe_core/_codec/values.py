"""How values are carried between tasks: as payloads, or as they are.

Both ways have the same five operations, so that the graph and the runner need
not know which one the backend wants.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from pickle import PickleBuffer
from types import FunctionType, ModuleType
from typing import Any, Protocol

from fancypipe_core import errors
from fancypipe_core._base import code_names
from fancypipe_core._codec import pickler, plain, unpickler
from fancypipe_core._codec.in_process import Carried, LiveEncoder
from fancypipe_core._codec.pickler import PLAIN, PROTOCOL, P, Packed
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
    "Coming",
    "EncodedValues",
    "LiveValues",
    "Values",
    "assemble",
    "fill_in",
    "is_plain",
    "own_copy",
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
        if self._sharer is not None:
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


def assemble(
    payloads: Sequence[P], given: Sequence[Sequence[P] | Coming], coming: int = 0
) -> tuple[P, ...]:
    """Make one encoded value of payloads whose holes point into `given`, then into themselves.

    Args:
        payloads: The value itself is the last.
        given: What goes into the holes.
        coming: How many values of `given` come later: so many of the holes that are left
            point to those, and the others behind them into the value itself.

    Raises:
        GraphError: A named output is asked for that a value does not have.
    """
    out: list[Any] = [None] * coming
    placed: dict[int, int] = {}
    places: list[tuple[int, str | None]] = []

    def place(value: Sequence[P] | Coming) -> int:
        if isinstance(value, Coming):
            return value.index
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
                alone = not payload.head and rest is None and len(payloads) == 1
                if alone and not isinstance(value, Coming):
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
    return tuple(out[coming:] if coming else out)


def fill_in(inputs: Encoded | Live, given: Sequence[Encoded | Live]) -> Encoded | Live:
    """Return a job's inputs with the values that it came after.

    Raises:
        GraphError: A named output is asked for that a value does not have.
    """
    if isinstance(inputs, Live):
        values = [value.value if isinstance(value, Live) else value for value in given]
        body = inputs.value
        return Live(body.arrived(values) if type(body) is Row else _filled_live(body, values))
    return assemble(inputs, given)  # type: ignore[arg-type]  # all values travel in one way


def own_copy(value: Encoded | Live) -> Encoded | Live:
    """Return a value whose buffers are its own; a handle is mapped anew by each reader."""
    if type(value) is not tuple or not any(payload.buffers for payload in value):
        return value
    made = []
    for one in value:
        parts = [part.raw() if type(part) is PickleBuffer else part for part in one.buffers]
        buffers = [part if type(part) is Handle else bytearray(part) for part in parts]
        made.append(Payload(one.head, tuple(buffers), one.holes, one.names))
    return tuple(made)


def _pick(value: Sequence[P] | Coming, name: str | None) -> tuple[Sequence[P] | Coming, str | None]:
    """Return an output of an encoded value, and the name that is still to be applied."""
    if isinstance(value, Coming):
        return value, name
    root = value[-1]
    if name is None or isinstance(root, Live) or root.names is None:
        return value, name
    if name not in root.names:
        raise errors.GraphError(unpickler.no_output(name, root.names))
    at, rest = root.holes[root.names.index(name)]
    part = value[at]
    alone = isinstance(part, Live) or not part.holes
    return ((part,) if alone else value[: at + 1]), rest


def _filled_live(body: Any, given: Sequence[Any], coming: int = 0) -> Any:
    if type(body) is Row:
        return body.filled(given)
    if type(body) is not Carried:
        return body
    parts = [
        v.payloads if type(v) is Carried else v if type(v) is Coming else (Live(v),) for v in given
    ]
    filled = assemble(body.payloads, parts, coming)
    root = filled[-1]
    return root.value if type(root) is Live else Carried(filled)


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
        if self._sharer is not None:
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
        return body.filled(given) if type(body) is Row else _filled_live(body, given, coming)

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
