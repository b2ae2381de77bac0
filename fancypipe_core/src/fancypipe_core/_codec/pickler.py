"""Objects to payloads and back: the one place that pickles.

A subclass of the C pickler, protocol 5.  Plain values pay nothing for what the
others need: `reducer_override` is only called for objects that are not of the
basic types (a `persistent_id` would be called for every number in a list).
Large buffers stay out of band and are not copied.  References that are met on
the way become holes, so that no value is walked twice.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pickle import PickleBuffer
from types import FunctionType, ModuleType, TracebackType
from typing import Any, TypeVar

from fancypipe_core import errors
from fancypipe_core._base import code_names, main_module
from fancypipe_core._codec import by_value, tracebacks, unencodable
from fancypipe_core._codec.plain import NOT_PLAIN, is_plain
from fancypipe_core._codec.unpickler import Hole, decode, fill, said
from fancypipe_core._model.carriage import Bare
from fancypipe_core._model.ref import Instance, Item, Outputs, Ref
from fancypipe_core.backend import Encoded, Live, Payload
from fancypipe_core.backend import Hole as Place

__all__ = [
    "NO_PICTURES",
    "NUMPY",
    "PLAIN",
    "PROTOCOL",
    "Encoder",
    "P",
    "Packed",
    "Pickler",
    "explain",
    "shift",
]

PLAIN = frozenset({int, float, str, bytes, bool, type(None), complex})
"""Types that hold neither references nor surprises."""

NO_PICTURES = PLAIN - {bytes}
"""Of these, those whose values are no pictures, whoever looks on."""

NUMPY = frozenset({"numpy", "numpy.dtypes"})
"""Modules of the classes of arrays and numbers, and of what says their type."""

P = TypeVar("P", bound=Payload | Live)

PROTOCOL = 5
_PLAIN_REDUCE: Any = object.__reduce__
_FILES = "fancypipe_core._model.files"
_SMALL_BUFFER = 4096  # bytes; below this a buffer of its own costs more than the copy
_SPECIAL = (Ref, type, FunctionType, BaseException, TracebackType, ModuleType)


class Packed:
    """What a value came to: its body, and the instances whose values it still wants.

    Attributes:
        body: Payloads, the value itself last.  Their holes point into `wants`
            and, past its end, into the payloads themselves; or the value, live.
        wants: The instances, in the order of the holes.
        odd: Whether it holds objects whose unpickling may run code of the user's.
    """

    __slots__ = ("body", "odd", "wants")

    def __init__(
        self,
        body: Encoded | Live,
        wants: Sequence[Instance[Any]] = (),
        odd: bool = False,
    ) -> None:
        self.body = body
        self.wants = wants
        self.odd = odd


def _keeper(buffers: list[PickleBuffer]) -> Callable[[PickleBuffer], bool]:
    """Return what keeps buffers out of band.

    It does not know the pickler: in a circle the values would live until the next collection.
    """

    def keep(buffer: PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _SMALL_BUFFER and type(raw.obj) is not Bare:
            return True  # write it into the pickle
        buffers.append(buffer)
        return False

    return keep


class Pickler(pickle.Pickler):
    """Writes one value down."""

    def __init__(self, file: io.BytesIO, cache: by_value.Cache) -> None:
        self.buffers: list[PickleBuffer] = []
        super().__init__(file, PROTOCOL, buffer_callback=_keeper(self.buffers))
        self.cache = cache
        self.wants: dict[tuple[int, str | None], int] = {}
        self.holes: list[Place] = []
        self.reached: list[Instance[Any]] = []
        self.odd = False
        self.plain = True

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)  # what `__class__` says may be a lie
        if self.plain and not issubclass(kind, Ref):
            self.plain = is_plain(obj)
        if not issubclass(kind, _SPECIAL):
            return self._object(obj)
        if issubclass(kind, Ref):
            return self._hole(obj)
        if issubclass(kind, type):
            if obj.__module__ == "builtins":
                return by_value.reduce_builtin(obj)
            named = code_names.reference(obj)
            if named is None:
                self.odd = True
                return by_value.reduce_class(obj, self)
            return NotImplemented if isinstance(named, str) else named
        if issubclass(kind, FunctionType):
            return self._function(obj)
        self.odd = True
        if issubclass(kind, ModuleType):
            return (_import, (obj.__name__,))
        if issubclass(kind, TracebackType):
            return tracebacks.reduce_traceback(obj)
        from tblib import pickling_support

        reduced = pickling_support.pickle_exception(obj)
        fields = unencodable.fields_of(obj)
        return (_with_fields, (*reduced[:2], fields)) if fields else reduced

    def _object(self, obj: Any) -> Any:
        kind = type(obj)
        if kind.__module__ in NUMPY:
            return by_value.reduce_ufunc(obj, self) if kind.__name__ == "ufunc" else NotImplemented
        self.odd = True
        if kind.__module__ == _FILES:
            from fancypipe_core._model import files

            return (files.made, (PickleBuffer(files.written(obj)),))
        if kind in by_value.NAMED:
            return by_value.reduce_named(obj, self)
        if kind.__module__ == "__main__" and kind.__reduce__ is not _PLAIN_REDUCE:
            # What it says may be a name, and a prompt's names are known nowhere else.
            return (
                by_value.reduce_homeless(obj)
                if main_module.main_script() is None
                else NotImplemented
            )
        return NotImplemented

    def _function(self, function: FunctionType) -> Any:
        named = code_names.reference(function)
        if named is not None:
            return NotImplemented if isinstance(named, str) else named
        from fancypipe_core._model.task import TaskFunction

        # The plain function of a task has the task's name: take it from there, if
        # the task itself can be found (it does not travel by value with it).
        module = sys.modules.get(function.__module__ or "")
        owner = getattr(module, function.__name__, None)
        own = isinstance(owner, TaskFunction) and owner.main is function
        if own and code_names.reference(owner) is not None:
            return (getattr, (owner, "main"))
        self.odd = True
        return by_value.reduce_function(function, self)

    def _hole(self, ref: Ref[Any]) -> Any:
        keys = ref._keys() if type(ref) is Item else ()
        name = keys[0] if keys and type(keys[0]) is str else None
        origin = ref._origin()
        place = (id(origin), name)
        index = self.wants.get(place)
        if index is None:
            index = self.wants[place] = len(self.holes)
            self.holes.append((len(self.reached), name))
            self.reached.append(origin)
        return (fill, (index, keys[1:] if name is not None else keys))


class Encoder:
    """Writes values down; one for each session and each worker.

    Keeps what it wrote of nameless code until `forget`, since a function may
    be an input of thousands of tasks.
    """

    def __init__(self) -> None:
        self._cache: by_value.Cache = {}
        self._kind: Any = Pickler

    def forget(self) -> None:
        """Drop what was kept: between two runs the user may have changed the code."""
        self._cache.clear()

    def encode_inputs(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        state: Any,
        names: Callable[[], Sequence[str]] = tuple,
    ) -> Packed:
        """Write down the inputs of a task: `(args, kwargs, state)`.

        Args:
            args: Positional inputs.
            kwargs: Inputs by name.
            state: A `Task` object's own attributes, or None.
            names: Gives the names of the positional inputs, for messages.

        Raises:
            EncodeError: Something in them cannot be written down; the message
                has the path to it.
        """
        if state is None and not kwargs:
            for arg in args:
                if type(arg) not in PLAIN:
                    break
            else:
                return Packed((Payload(pickle.dumps((args, kwargs, None), PROTOCOL)),))
        return self._encode(
            (args, kwargs, state), lambda: _named(args, kwargs, state, names()), "inputs"
        )

    def unreadable(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        state: Any,
        names: Callable[[], Sequence[str]],
    ) -> str:
        """Return a phrase that names what in a task's inputs cannot be read back; "" for nothing.

        Args:
            args: As for `encode_inputs`.
            kwargs: As for `encode_inputs`.
            state: As for `encode_inputs`.
            names: As for `encode_inputs`.
        """
        inputs = _named(args, kwargs, state, names())
        path, culprit = unencodable.find(inputs, "inputs", self._there_and_back)
        if culprit is inputs:
            return ""
        return (
            f"; it is {path}, a {unencodable.kind_of(culprit)}: look at its __reduce__, "
            "__setstate__, __init__ or __getattr__"
        )

    def encode_code(self, target: Any, main: Any, name: str) -> Packed:
        """Write down what a task calls.

        Args:
            target: What travels.
            main: The function in it, for messages.
            name: The task's name, for messages.

        Raises:
            EncodeError: As in `encode_inputs`.
        """
        return self._encode(target, lambda: main, name)

    def encode_result(self, value: Any, what: str = "result") -> Packed:
        """Write down what a task returned; an `Outputs` output by output.

        Args:
            value: What it returned.
            what: What it is called in messages.

        Raises:
            EncodeError: As in `encode_inputs`.
        """
        kind = type(value)
        if kind in PLAIN:
            return Packed((Payload(pickle.dumps(value, PROTOCOL)),))
        if kind is Outputs:
            return self._encode_outputs(value, what)
        if isinstance(value, Ref):
            keys = value._keys()
            if not keys or (len(keys) == 1 and type(keys[0]) is str):
                # An empty head: the value is what fills the hole.
                hole = (0, keys[0] if keys else None)
                return Packed((Payload(b"", (), (hole,)),), [value._origin()])
        return self._encode(value, lambda: value, what)

    def _encode_outputs(self, outputs: Outputs, what: str) -> Packed:
        parts = [self.encode_result(part, f"{what}[{name!r}]") for name, part in outputs.items()]
        wants = [instance for part in parts for instance in part.wants]
        payloads: list[Payload] = []
        roots: list[Place] = []
        offset = 0
        for part in parts:
            assert not isinstance(part.body, Live)
            inner = len(wants) + len(payloads)
            payloads += [shift(p, len(part.wants), offset, inner) for p in part.body]
            offset += len(part.wants)
            roots.append((len(wants) + len(payloads) - 1, None))
        frame = Outputs(**{name: Hole(index) for index, name in enumerate(outputs)})
        head = pickle.dumps(frame, PROTOCOL)
        payloads.append(Payload(head, (), tuple(roots), tuple(outputs)))
        return Packed(tuple(payloads), wants, any(part.odd for part in parts))

    def _encode(self, value: Any, shown: Callable[[], Any], what: str) -> Packed:
        try:
            return self._write(value)
        except (errors.GraphError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise explain(shown(), what, self._write, error) from error

    def _write(self, value: Any) -> Packed:
        file = io.BytesIO()
        pickler = self._kind(file, self._cache)
        try:
            pickler.dump(value)
        except by_value.NeedsValue:
            self._kind = by_value.pickler(Pickler)
            return self._write(value)
        if not pickler.plain:
            file.write(NOT_PLAIN)
        payload = Payload(file.getvalue(), tuple(pickler.buffers), tuple(pickler.holes))
        return Packed((payload,), pickler.reached, pickler.odd)

    def read_back(self, value: Any, encoded: Encoded) -> None:
        """See that the other side will be able to read a result.

        Raises:
            EncodeError: It will not; the message has the path to the culprit.
        """
        try:
            decode(encoded)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            path, culprit = unencodable.find(value, "result", self._there_and_back)
            raise errors.EncodeError(
                f"{path} can be written down, but not read back: it is a "
                f"{unencodable.kind_of(culprit)} ({said(error)}); look at its __reduce__, "
                "__setstate__ or __init__",
                path=path,
            ) from error

    def _there_and_back(self, value: Any) -> None:
        packed = self._write(value)
        assert not isinstance(packed.body, Live)
        if not packed.wants:
            decode(packed.body)


def _named(
    args: tuple[Any, ...], kwargs: dict[str, Any], state: Any, names: Sequence[str]
) -> dict[Any, Any]:
    """Return the inputs of a task by their names."""
    places = [names[i] if i < len(names) else i for i in range(len(args))]
    return {**dict(zip(places, args, strict=True)), **kwargs, **(state or {})}


def explain(
    value: Any, what: str, try_out: Callable[[Any], object], error: BaseException
) -> errors.EncodeError:
    """Return the error for a value that cannot be written down.

    Args:
        value: The value.
        what: What it is called.
        try_out: Raises for what in it cannot be written down.
        error: What it raised for the value.
    """
    if unencodable.too_deep(error):
        path, culprit = unencodable.find(value, what, try_out, deepest=1)
        return errors.EncodeError(
            f"{path} cannot be sent to another process: it is a {unencodable.kind_of(culprit)}, "
            "nested too deeply to be written down (RecursionError); pass it in a flat form, "
            "such as a list of its parts",
            path=path,
        )
    path, culprit = unencodable.find(value, what, try_out)
    return errors.EncodeError(
        f"{path} cannot be sent to another process: it is a {unencodable.kind_of(culprit)} "
        f"({said(error)}); {unencodable.advice(culprit)}",
        path=path,
    )


def shift(payload: P, wants: int, outer: int, inner: int) -> P:
    """Return a payload whose holes below `wants` are moved by `outer`, the others to `inner`."""
    if isinstance(payload, Live) or not payload.holes:
        return payload
    holes = tuple(
        (index + outer if index < wants else index - wants + inner, name)
        for index, name in payload.holes
    )
    return Payload(payload.head, payload.buffers, holes, payload.names)  # type: ignore[return-value]


def _with_fields(make: Callable[..., Any], args: tuple[Any, ...], fields: dict[str, Any]) -> Any:
    made = make(*args)
    for name, value in fields.items():
        with suppress(AttributeError, TypeError):  # it cannot be set from outside
            setattr(made, name, value)
    return made


def _import(name: str) -> ModuleType:
    import importlib

    return importlib.import_module(name)
