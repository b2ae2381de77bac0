"""The elements of a map that are there from before, and those that come, which are kept.

Each has a key of its own; results are kept some spans together, so that an element that takes
no time costs no file.  What is kept is found by an index, which is written after it.  Of what
has run, so much is not kept yet at any moment as took a second on all workers together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from fancypipe_core._cache import elements as _format
from fancypipe_core._cache.parts import KeyParts, digest_of
from fancypipe_core._codec.rows import chosen
from fancypipe_core._codec.stored import restored, written
from fancypipe_core._engine.spans import Span
from fancypipe_core.backend import Encoded

__all__ = ["KeptElements"]

_WORK = 1.0  # seconds of work that are kept together
_LARGE = 1 << 20  # bytes likewise
_SPANS = 1024  # spans likewise
_CHAPTER = 64 << 10  # bytes of keys in a chapter of the index
_STRIDE = 1024  # elements that are looked for at once where all are there
_OPEN = 4  # packs that are held open
_TRIES = 3  # to say in the index what another run has overwritten at the same moment


class _Store(Protocol):
    def get(self, key: str) -> bytes | memoryview | None: ...

    def put(self, key: str, value: Sequence[Any], about: Any) -> bool: ...


class KeptElements:
    """Those of one map.

    Args:
        about: What the keys of all elements are made of, but for the inputs that differ.
        key_of: Returns the key of an element, given those inputs; None if it has none.
        store: Where results are.
        take: Makes of what was kept what the graph wants; None if it cannot be read.
        encode: Returns the results of a span as they are kept, given also the number of the node
            that holds its files.

    Attributes:
        stride: How many elements are best looked for at once.
        spent: Seconds that took what is not kept yet.
        there: How many elements were there.
        ran: Which others there are, as spans.
        bytes: What the results of all elements take, as they are kept.
        is_whole: Whether all that came was kept.
    """

    def __init__(
        self,
        about: KeyParts,
        key_of: Callable[[tuple[Any, ...]], bytes | None],
        store: _Store,
        take: Callable[[Encoded], Any],
        encode: Callable[[Any, int], Encoded],
    ) -> None:
        self.about = about
        self._key_of = key_of
        self._store = store
        self._take = take
        self._encode = encode
        self._kind = digest_of(about)
        self.stride = 1
        self.spent = 0.0
        self.there = self.bytes = 0
        self.ran: list[Span] = []
        self.is_whole = True
        self._under_way: dict[int, bytes] = {}  # keys, by index
        self._waiting: list[tuple[bytes, list[Any]]] = []
        self._size = 0  # bytes of those
        self._used: set[tuple[str, int]] = set()  # spans that were kept, and taken
        self._packs: OrderedDict[str, list[memoryview]] = OrderedDict()
        self._next = 0  # the chapter that is written
        self._mine: _format.Chapter = {}  # what it is to say
        self._index: dict[bytes, tuple[str, int, int]] | None = None

    # ---- what is there ----

    def look(self, start: int, columns: Sequence[Sequence[Any]]) -> Iterator[tuple[Span, Any]]:
        """Look elements up.

        Args:
            start: The index of the first.
            columns: Their inputs by position.

        Yields:
            Elements that stand together, with their values as the list that a span has; or None
            if they are not there.
        """
        index = self._read_index() if self._index is None else self._index
        keys = [self._key_of(row) for row in zip(*columns, strict=True)]
        places = [None if key is None else index.get(key) for key in keys]
        at, missing = 0, 0
        for stop in range(1, len(keys) + 1):
            if stop < len(keys) and _of_one(places[at], places[stop]):
                continue
            value = None if places[at] is None else self._found(places[at:stop])
            if value is None:
                missing += stop - at
                self._under_way.update(
                    (start + n, key) for n, key in enumerate(keys[at:stop], at) if key is not None
                )
                self._ran(Span(start + at, stop - at))
            else:
                self.there += stop - at
            yield Span(start + at, stop - at), value
            at = stop
        self.stride = 1 if missing else min(2 * self.stride, _STRIDE)

    def _ran(self, span: Span) -> None:
        if self.ran and sum(self.ran[-1]) == span.start:
            span = Span(self.ran[-1].start, self.ran.pop().count + span.count)
        self.ran.append(span)

    def _found(self, places: Sequence[Any]) -> Any:
        """Return the values of some elements of one span that was kept; None if it is gone."""
        pack, number, _ = places[0]
        try:
            spans = self._opened(pack)
            data = spans[number]
            value = chosen(restored(data), [at for _, _, at in places])
        except (ValueError, IndexError):
            return None
        if (pack, number) not in self._used:
            self._used.add((pack, number))
            self.bytes += data.nbytes
        return self._take(value)

    def _opened(self, pack: str) -> list[memoryview]:
        known = self._packs.get(pack)
        if known is None:
            data = self._store.get(pack)
            known = [] if data is None else _format.pack_read(data)
            self._packs[pack] = known
            if len(self._packs) > _OPEN:
                self._packs.popitem(last=False)
        return known

    def _read_index(self) -> dict[bytes, tuple[str, int, int]]:
        index: dict[bytes, tuple[str, int, int]] = {}
        self._index = index
        while (data := self._store.get(_format.chapter_key(self._kind, self._next))) is not None:
            for pack, spans in _format.chapter_read(data).items():
                for number, keys in enumerate(spans):
                    for at in range(0, len(keys), _format.SIZE):
                        index[keys[at : at + _format.SIZE]] = pack, number, at // _format.SIZE
            self._next += 1
        self._next = max(0, self._next - 1)  # the last one may have room
        return index

    # ---- what comes ----

    def keep(self, span: Span, value: Any, holder: int) -> None:
        """Keep what a span came to.

        Args:
            span: Which elements.
            value: Their values, as the graph has them.
            holder: The number of the node that holds its files.

        Raises:
            BaseException: Why it cannot be kept.
        """
        keys = [self._under_way.pop(at, b"") for at in range(span.start, sum(span))]
        if not all(keys):
            self.is_whole = False
            return
        parts = written(self._encode(value, holder))
        size = sum(memoryview(part).nbytes for part in parts)
        # What is small is copied, since the graph may let go of it before it is written.
        self._waiting.append((b"".join(keys), [b"".join(parts)] if size < _LARGE else parts))
        self._size += size
        self.bytes += size
        if self.spent >= _WORK or self._size >= _LARGE or len(self._waiting) >= _SPANS:
            self.flush()

    def flush(self) -> None:
        """Write what waits, and then that it is there."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        self.spent, self._size = 0.0, 0
        keys = tuple(one for one, _ in waiting)
        pack = _format.pack_key(self._kind, keys)
        if self._store.put(pack, _format.pack_of([parts for _, parts in waiting]), self.about):
            self._mine[pack] = keys
            self._say()
        else:
            self.is_whole = False

    def _say(self) -> bool:
        """Write in the index what is missing there of ours; tell whether nothing was."""
        while True:
            key = _format.chapter_key(self._kind, self._next)
            data = self._store.get(key)
            there = {} if data is None else _format.chapter_read(data)
            missing = {pack: keys for pack, keys in self._mine.items() if pack not in there}
            if not missing:
                return True
            if there and _size_of(there) + _size_of(missing) > _CHAPTER:
                self._next += 1
                self._mine = missing
                continue
            self._store.put(key, [_format.chapter_of({**there, **missing})], self.about)
            return False

    def close(self) -> None:
        """The map has ended, well or not."""
        self.flush()
        if self._mine:
            # Another run may have written the same chapter between our look and our write.
            any(self._say() for _ in range(_TRIES))
        self._under_way.clear()
        self._packs.clear()


def _of_one(one: Any, other: Any) -> bool:
    """Whether two elements are of one span that was kept; or of none both."""
    if one is None or other is None:
        return one is other
    return bool(one[:2] == other[:2])


def _size_of(chapter: _format.Chapter) -> int:
    return sum(len(keys) for spans in chapter.values() for keys in spans)
