"""The key of a call: what it runs, and what it is given."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from fancypipe_core._base.file_digests import FileDigests
from fancypipe_core._base.msgpack import pack
from fancypipe_core._cache.bodies import Watch
from fancypipe_core._cache.code import Code, root_of
from fancypipe_core._cache.parts import KeyParts, Uncacheable
from fancypipe_core._cache.sources import Sources
from fancypipe_core._cache.things import Reached, Thing, merged
from fancypipe_core._cache.values import PLAIN, Unsound, Values
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.presets import Presets
from fancypipe_core._model.ref import Instance, Ref

__all__ = ["Keys", "Uncacheable", "Upstream"]

_MOST = 10_000  # definitions that are remembered: a run may make one for each task
Upstream = Callable[[Instance[Any]], "str | None"]
"""Gives the key of an instance that an input refers to; None if it has none."""


class _Defined(NamedTuple):
    """What is the same for all calls of a task."""

    definition: Definition  # kept, so that its id is nobody else's
    task: str
    reached: Reached
    things: list[Thing]  # what that is of
    files: tuple[str, ...]  # and where it stands
    names: tuple[str, ...]  # of the inputs by position
    places: dict[str, int]  # of the inputs that the signature names
    presets: dict[str, Any]  # inputs of calls that leave them out
    version: str


class Keys:
    """Makes keys; one for each session, used by one thread at a time.

    Args:
        files: Digests of files.
        presets: Inputs that tasks have where their callers leave them out.
        packages: The installed packages whose versions count.
    """

    def __init__(
        self,
        files: FileDigests,
        *,
        presets: Presets | None = None,
        packages: Sequence[str] = (),
    ) -> None:
        self._presets = presets
        self._packages = tuple(packages)
        self._values = Values()
        self._code = Code(self._values, files)
        self._defined: dict[int, _Defined | Uncacheable] = {}
        self._looked: dict[int, tuple[object, str]] = {}  # states of files -> who is outdated
        self._versions: dict[str, str] | None = None

    def forget(self) -> None:
        """Call it before each run: between two the user may have changed code and arrays."""
        self._values.forget()
        self._code.forget()
        self._defined.clear()
        self._looked.clear()
        self._versions = None

    def forget_values(self) -> None:
        """Call it when the user's code has run in this process: arrays may have changed."""
        self._values.forget()

    def of(self, instance: Instance[Any], upstream: Upstream) -> KeyParts | Uncacheable:
        """Return what the key of an instance is made of, or why it can have none.

        Args:
            instance: The call of a task, of a module, or of a map.
            upstream: Gives the keys of the instances that inputs refer to.
        """
        return self.of_call(
            instance._definition, instance._args, instance._kwargs, instance._state(), upstream
        )

    def of_call(
        self,
        definition: Definition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        state: dict[str, Any] | None,
        upstream: Upstream,
    ) -> KeyParts | Uncacheable:
        """As `of`, for a call that has no instance, such as an element of a map.

        Args:
            definition: The task's; of an element the task's, and not the map's.
            args: Inputs by position.
            kwargs: Inputs by name.
            state: The attributes that were set on an object of a class of tasks.
            upstream: As for `of`.
        """
        known = self._defined.get(id(definition.origin))
        if known is None:
            if len(self._defined) >= _MOST:
                self.forget()
            known = self._define(definition.origin)
        if isinstance(known, Uncacheable):
            return known
        met = _Inputs(self._code, upstream)
        inputs: dict[str, str] = {}
        name = ""
        try:
            for name, value in _named(known, args, kwargs, state):
                is_ref = type(value) not in PLAIN and isinstance(value, Ref)
                if is_ref:
                    inputs[name] = met.task(value)
                    continue
                met.has_tasks = False
                digest = self._values.digest(value, met)
                inputs[name] = f"tasks:{digest}" if met.has_tasks else digest
            name = ""
            code, lines = known.reached
            if met.needs:
                code, lines = merged(self._code.reached(met.needs), known.reached)
        except Unsound as error:
            return Uncacheable(f"input `{name}` of {definition.name}: {error.why}")
        return KeyParts(
            task=known.task,
            code=code,
            inputs=inputs,
            versions=self._said(),
            version=known.version,
            lines=lines,
        )

    def of_element(self, kind: bytes, row: tuple[Any, ...], upstream: Upstream) -> bytes | None:
        """Return the key of an element of a map; None if it has none.

        Args:
            kind: Stands for what is the same for all elements.
            row: The inputs that differ, by position.
            upstream: As for `of`.
        """
        digest = blake2b(kind, digest_size=16)
        for value in row:
            if type(value) in PLAIN:
                digest.update(self._values.plain(value))
                continue
            met = _Inputs(self._code, upstream)
            try:
                if isinstance(value, Ref):
                    told = met.task(value)
                else:
                    told = self._values.digest(value, met)
                code = self._code.reached(met.needs).code if met.needs else {}
            except Unsound:
                return None
            digest.update(pack((told, met.has_tasks, sorted(code.items()))))
        return digest.digest()

    def outdated(self, definition: Definition) -> str:
        """Return why a result of a task may not be that of its key; empty if it is.

        To be asked before a result is kept: whoever edits a file while a run goes on may have
        workers that are started later run other code than the key was made of.

        Args:
            definition: The task's, as for `of_call`.
        """
        known = self._defined.get(id(definition.origin))
        if not isinstance(known, _Defined):
            return ""
        states = Sources.states(known.files)
        looked = self._looked.get(id(known.definition))
        if looked is None or looked[0] != states:
            try:
                why = self._code.outdated(known.things)
            except Unsound as error:
                why = error.why
            looked = self._looked[id(known.definition)] = states, why
        return looked[1]

    def _define(self, definition: Definition) -> _Defined | Uncacheable:
        made: _Defined | Uncacheable
        mapped = definition.element
        one = (mapped or definition).origin
        try:
            task, roots = root_of(one, self._code)
            made = _Defined(
                definition,
                f"{task}.map" if mapped is not None else task,
                self._code.reached(roots),
                roots,
                self._code.files_of(roots),
                one.positions(),
                {name: at for at, name in enumerate(_parameters(one))},
                self._preset(one),
                str(getattr(one.options, "version", None) or ""),
            )
        except RecursionError:
            made = Uncacheable(f"{definition.name} has no key: its code is nested too deeply")
        except Unsound as error:
            made = Uncacheable(f"{definition.name} has no key: {error.why}")
        self._defined[id(definition)] = made
        return made

    def _preset(self, one: Definition) -> dict[str, Any]:
        """Return what a call is given that leaves inputs out."""
        presets = {name: value for name, value in _defaults(one) if type(value) in PLAIN}
        if self._presets is not None:
            presets |= self._presets.of(one.name, one.main, int(one.is_class))
        return presets

    def _said(self) -> dict[str, str]:
        if self._versions is None:
            self._versions = {"python": ".".join(map(str, sys.version_info[:2]))}
            if platform.python_implementation() != "CPython":
                self._versions["python"] += f" {platform.python_implementation()}"
            for package in self._packages:
                self._versions[package] = _version(package)
        return self._versions


class _Inputs(Watch):
    """What is met in inputs: code, files, and references to tasks.

    Attributes:
        has_tasks: Whether a reference was met.
    """

    def __init__(self, code: Code, upstream: Upstream) -> None:
        super().__init__(code)
        self._upstream = upstream
        self.has_tasks = False

    def task(self, ref: Ref[Any]) -> str:
        self.has_tasks = True
        origin = ref._origin()
        key = self._upstream(origin)
        if key is None:
            raise Unsound(f"it is what {origin._definition.name} gives, which has no key")
        return f"task:{key}{''.join(f'[{key!r}]' for key in ref._keys())}"


def _named(
    known: _Defined,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    state: dict[str, Any] | None,
) -> Iterator[tuple[str, Any]]:
    """Yield the inputs by name, in the order of the signature; what that has not as given."""
    names = known.names
    for at, value in enumerate(args):
        yield names[at] if at < len(names) else str(at), value
    if known.presets:
        given = {*names[: len(args)], *kwargs}
        kwargs = {**kwargs, **{k: v for k, v in known.presets.items() if k not in given}}
    if kwargs:
        places = known.places
        by_position = {*names[: len(args)]}
        for name in sorted(kwargs, key=lambda one: places.get(one, len(places))):
            # One of `**kwargs` may be called as an input by position, or as its number.
            is_other = name in by_position or name.isdecimal()
            yield f"**{name}" if is_other else name, kwargs[name]
    if state:
        for name in sorted(state):
            yield f"self.{name}", state[name]


def _parameters(one: Definition) -> tuple[str, ...]:
    code = getattr(one.main, "__code__", None)
    if code is None:
        return ()
    count: int = code.co_argcount + code.co_kwonlyargcount
    names: tuple[str, ...] = code.co_varnames[int(one.is_class) : count]
    return names


def _defaults(one: Definition) -> Iterator[tuple[str, Any]]:
    """Yield the defaults of the signature: to give one is the same call as to leave it out.

    Of those that are no plain values it is the code that tells, as of all that it refers to.
    """
    main: Any = one.main
    values = getattr(main, "__defaults__", None) or ()
    if values and getattr(main, "__code__", None) is not None:
        code = main.__code__
        yield from zip(
            code.co_varnames[code.co_argcount - len(values) : code.co_argcount], values, strict=True
        )
    yield from (getattr(main, "__kwdefaults__", None) or {}).items()


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
