"""Whether what a task needs can be met, before it is sent."""

from __future__ import annotations

from collections.abc import Callable

from fancypipe_core import errors
from fancypipe_core._engine.node import Node
from fancypipe_core.backend import Backend, BackendPlugin, Equipped, Needs

__all__ = ["NeedsCheck"]


class NeedsCheck:
    """Looks at each kind of needs once.

    Args:
        backend: Where tasks run.
        plugin: What it was made by.
        warn: Takes a sentence for the user.
    """

    def __init__(
        self, backend: Backend, plugin: BackendPlugin, warn: Callable[[str], None]
    ) -> None:
        self._backend = backend if isinstance(backend, Equipped) else None
        self._plugin = plugin
        self._warn = warn
        self._known: dict[Needs, str] = {}
        self._told: set[str] = set()

    def look(self, node: Node, needs: Needs) -> None:
        """See that a task may be sent; say once what its backend does not know.

        Raises:
            UnmetNeeds: It waits for what no worker can ever have.
        """
        why = self._known.get(needs)
        if why is None:
            why = self._known[needs] = self._lacks(node, needs)
        if why:
            raise errors.UnmetNeeds(
                f"task {node.name} needs {needs}, and {why}: nothing here can ever run it "
                f"(backend {self._plugin.name}, instance made at {node.where})"
            )

    def _lacks(self, node: Node, needs: Needs) -> str:
        unknown = sorted(needs.names - self._plugin.understands - self._told)
        self._told.update(unknown)
        for name in unknown:
            self._warn(
                f"the backend {self._plugin.name} does not know the need {name!r} (of task "
                f"{node.name}, and maybe others): its tasks run as if they did not have it"
            )
        return "" if self._backend is None else self._backend.lacks(needs)
