"""The plugins that keep results: a fault of one costs time, and no run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from fancypipe_core._plugins import discovery
from fancypipe_core.hooks import CacheKey

__all__ = ["Stores"]

_GET, _PUT = "fancypipe_cache_get", "fancypipe_cache_put"
_PATIENCE = 5  # faults of a store without anything good in between


class _Plugin(Protocol):
    name: str

    def implements(self, hook: str) -> bool: ...

    def call(self, hook: str, **arguments: Any) -> Any: ...


class Stores:
    """Asks one store after the other.

    One that fails is asked again: a network may be back soon. It is left alone when it only fails.

    Args:
        plugins: Those that look on; some may be stores.
        warn: Says something to the user.
    """

    def __init__(self, plugins: Iterable[_Plugin], warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._asked = {
            hook: [one for one in plugins if one.implements(hook)] for hook in (_GET, _PUT)
        }
        self._faults: dict[tuple[str, str], int] = {}
        self._said: set[tuple[str, str]] = set()

    def get(self, key: str) -> bytes | memoryview | None:
        """Return what the first that has it has; None if nobody does."""
        found: bytes | memoryview | None = self._first(_GET, _is_bytes, key=key)
        return found

    def put(self, key: str, value: Sequence[Any], about: CacheKey) -> bool:
        """Have one keep it; tell whether one does."""
        return bool(self._first(_PUT, bool, key=key, value=value, about=about))

    def _first(self, hook: str, is_it: Callable[[Any], bool], **arguments: Any) -> Any:
        for one in list(self._asked[hook]):
            try:
                answer = one.call(hook, **arguments)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it may raise anything
                self._failed(one, hook, error)
                continue
            if self._faults:
                self._faults.pop((one.name, hook), None)
            if answer is not None and is_it(answer):
                return answer
        return None

    def _failed(self, one: _Plugin, hook: str, error: BaseException) -> None:
        count = self._faults[one.name, hook] = self._faults.get((one.name, hook), 0) + 1
        what = "give" if hook == _GET else "keep"
        if (one.name, hook) not in self._said:
            self._said.add((one.name, hook))
            where = discovery.distribution_of("observer", one.name)
            self._warn(
                f"the store {one.name!r}{where} cannot {what} results: "
                f"{discovery.one_line(error)}; the run goes on"
            )
        if count >= _PATIENCE:
            self._asked[hook].remove(one)
            self._warn(f"the store {one.name!r} is not asked to {what} results any more")


def _is_bytes(answer: Any) -> bool:
    return isinstance(answer, (bytes, bytearray, memoryview))
