"""The keys of instances: made once for each in a run, of those of what it refers to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from fancypipe_core import errors
from fancypipe_core._cache.parts import KeyParts, Uncacheable, digest_of
from fancypipe_core._codec import failure
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.options import Options
from fancypipe_core._model.ref import Instance

__all__ = ["InstanceKeys", "KeyMaker", "options_of"]

_FROM_FILE = "[tasks] of -configfile"


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


class _Keyed(NamedTuple):
    """An instance, so that no other has its number, and its key."""

    instance: Instance[Any]
    key: str | None
    made_of: KeyParts | Uncacheable | None


class InstanceKeys:
    """Those of a run.

    Args:
        make: Makes keys.
        given: Inputs that a file gives to tasks, by their names.
    """

    def __init__(self, make: KeyMaker, given: Mapping[str, Mapping[str, Any]] | None) -> None:
        self._make = make
        self._known: dict[int, _Keyed] = {}
        self._takes: dict[int, tuple[int, ...]] = {}  # the numbers of what each refers to
        self._given = blake2b(repr(given).encode(), digest_size=16).hexdigest() if given else ""

    def key_of(self, instance: Instance[Any]) -> str | None:
        """Return the key of an instance; None if it has none."""
        self.made_of(instance)
        return self._known[id(instance)].key

    def made_of(self, wanted: Instance[Any]) -> KeyParts | Uncacheable:
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

        options = options_of(instance)
        if not options.cache:
            return Uncacheable("its author has set cache=False"), []
        try:
            made_of = self._make.of(instance, upstream)
        except (errors.InternalError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            said = f"{failure.name_of(error)}: {failure.text_of(error)}"
            return Uncacheable(f"its key cannot be made: {said}"), []
        if taken:
            self._takes[id(instance)] = tuple(taken)
        if isinstance(made_of, Uncacheable) or missing:
            return made_of, missing
        return self.with_options(made_of, options, instance._definition.is_module), []

    def with_options(self, made_of: KeyParts, options: Options, is_module: bool) -> KeyParts:
        """Return what a key is made of, with what does not stand in the task's definition."""
        changes: dict[str, Any] = {}
        if options.version != made_of.version:
            changes["version"] = options.version
        if self._given and (is_module or len(made_of.code) > 1):
            # It may make any of those tasks.
            changes["inputs"] = {**made_of.inputs, _FROM_FILE: self._given}
        return replace(made_of, **changes) if changes else made_of

    def takes(self, instance: Instance[Any] | None) -> tuple[int, ...]:
        """Return the numbers of the instances that the key of this one was made with."""
        return self._takes.get(id(instance), ())

    def forget(self, instance: Instance[Any]) -> None:
        """Nobody wants it any more."""
        self._known.pop(id(instance), None)
        self._takes.pop(id(instance), None)

    def clear(self) -> None:
        """The run is over."""
        self._known.clear()
        self._takes.clear()


def options_of(instance: Instance[Any]) -> Options:
    """Return an instance's options; of a map those of what it calls for each element."""
    return (instance._definition.element or instance._definition).options
