"""Values as stores have them, and as the graph has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fancypipe_core._base.needs import in_units
from fancypipe_core._codec.pickler import PLAIN
from fancypipe_core._codec.values import EncodedValues, Values
from fancypipe_core._model.carriage import came, this_thread, to_be_kept
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core.backend import Encoded, Live, Payload

__all__ = ["NotKept", "StoredValues"]

_MOST_OF_FILES = 256 << 20  # bytes of the files of one result


class NotKept(Exception):
    """A result cannot be kept; the text says why."""


class StoredValues:
    """Writes values down for stores, so that any backend can take them, and takes them from there.

    Args:
        values: How values are carried in this session.
        live: Whether they are carried as they are.
        files: Knows whose values name temporary files.
    """

    def __init__(self, values: Values, live: bool, files: Keeper) -> None:
        self._values = values
        self._encoder = EncodedValues() if live else None
        self._files = files

    def read(self, value: Encoded, holder: int, look: Callable[[Any], object] | None = None) -> Any:
        """Return what was kept as the graph has it.

        Args:
            value: What was kept.
            holder: The number of the node that holds its files.
            look: Is shown the value itself; it raises nothing.

        Raises:
            Exception: Whatever the user's objects raise when they are read.
        """
        # What is large is not read by that: it stays where it is until somebody needs it.
        made = (self._encoder or self._values).open(value)
        if look is not None:
            look(made)
        kept: Any = value
        if self._encoder is not None:
            body = self._values.pack_result(made).body  # each who needs it gets one of its own
            kept = body.value if isinstance(body, Live) else made
        if this_thread.came is not None:
            self._files.hold(holder, came())
        return kept

    def short(self, read: Any) -> Any:
        """Return what `read` returned as a node has it: of a lone payload without more the head."""
        if self._encoder is None:
            only = read[0]
            if len(read) == 1 and not (only.buffers or only.holes) and only.names is None:
                return only.head
        return read

    def of(self, value: Any, holder: int) -> Encoded:
        """Return a node's value as it is kept; the arguments are as for `read`.

        Raises:
            NotKept: It names files that go with the run.
            Exception: Whatever the user's objects raise when they are written down.
        """
        return self._with_files(self._encoded(value), holder)

    def of_span(self, value: Any, holder: int) -> Encoded:
        """As `of`, for the values of a span of elements."""
        if self._encoder is None:
            return self.of(value, holder)
        results = self._encoder.results()  # each by itself, as where values are written down
        for one in self._values.open(value):
            if type(one) in PLAIN:
                results.plain(one)
            else:
                results.add(one)
        packed = results.packed()
        assert isinstance(packed.body, tuple)
        return self._with_files(packed.body, holder)

    def _encoded(self, value: Any) -> Encoded:
        if self._encoder is not None:
            value = self._values.open(value)
            packed = self._encoder.pack_result(value)
            assert isinstance(packed.body, tuple)
            self._encoder.read_back(value, packed.body)
            return packed.body
        return (Payload(value),) if type(value) is bytes else value

    def _with_files(self, value: Encoded, holder: int) -> Encoded:
        """Return a value with the contents of its files, which one that is kept has in it."""
        folders = self._files.held(holder)
        if not folders:
            return value
        # A `File` is kept with its content; by any other path it goes with the run.
        value, rest = to_be_kept(value, folders, _MOST_OF_FILES)
        if (self._encoder or self._values).named(rest, folders):
            raise NotKept(
                "its result names temporary files, which go with the run: only a File or "
                f"Dir is kept, and only up to {in_units(_MOST_OF_FILES)}"
            )
        return value
