"""fancypipe's backends, each in an open session."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.clusters import Cluster
from benchmarks.contenders import Contender, Entry, Node, Unable

__all__ = ["OURS", "Ours"]

_PROGRAM = """\
from fancypipe_core import run, task


@task
def noop(value):
    return value


if __name__ == "__main__":
    assert run(noop(1), {options}) == 1
"""


class Ours(Contender):
    """fancypipe on the serial backend."""

    backend = "serial"
    _folder = ""

    def open(self) -> None:
        """Start the workers."""
        from fancypipe_core import Session, task

        self._task = task
        self._tasks: dict[Callable[..., Any], Any] = {}
        self._session = Session(self.backend, **self._settings())

    def _settings(self) -> dict[str, Any]:
        return {"workers": self.workers}

    def close(self) -> None:
        """Stop them."""
        self._session.close()

    def _of(self, function: Callable[..., Any]) -> Any:
        made = self._tasks.get(function)
        if made is None:
            made = self._tasks[function] = self._task(function)
        return made

    def run(self, ref: Any) -> Any:
        """Run what is fancypipe's already."""
        return self._session.run(ref)

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """Run one task and wait for it."""
        return self._session.run(self._of(function)(arg))

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Run independent tasks."""
        made = self._of(function)
        values: list[Any] = self._session.run([made(arg) for arg in args])
        return values

    def map(self, function: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
        """Run them as one node."""
        made = self._of(function)
        if not hasattr(made, "map"):
            raise Unable("this checkout has no task.map")
        return list(self._session.run(made.map(args)))

    def graph(self, nodes: Sequence[Node], wanted: Sequence[int]) -> list[Any]:
        """Run tasks that depend on each other."""
        refs: list[Any] = []
        for node in nodes:
            made = self._of(node.function)
            refs.append(made(*[refs[need] for need in node.needs], *node.args))
        values: list[Any] = self._session.run([refs[number] for number in wanted])
        return values

    def program(self) -> str:
        """Return the source of a script."""
        settings = {"backend": self.backend, **self._settings()}
        return _PROGRAM.format(options=", ".join(f"{k}={v!r}" for k, v in settings.items()))


class OursThreads(Ours):
    """fancypipe on threads."""

    backend = "threads"


class OursProcs(Ours):
    """fancypipe on processes."""

    backend = "procs"


class OursWatched(OursProcs):
    """The same, with a journal and a page of each run."""

    def _settings(self) -> dict[str, Any]:
        self._folder = self._folder or tempfile.mkdtemp()
        return {**super()._settings(), "journal": True, "page": True, "tempdir": self._folder}

    def close(self) -> None:
        """Stop the workers, and remove what was written."""
        try:
            super().close()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


class OursRemote(Ours):
    """fancypipe with a manager and a worker of its own, on this machine."""

    backend = "remote"

    def open(self) -> None:
        """Start a manager and a worker, and a session."""
        self._cluster = Cluster(self.workers, self.delay)
        self._cluster.open()
        try:
            super().open()
        except BaseException:
            self._cluster.close()
            raise

    def _settings(self) -> dict[str, Any]:
        return {"jobmanager": self._cluster.address}

    def close(self) -> None:
        """Stop them all."""
        try:
            super().close()
        finally:
            self._cluster.close()


class OursFar(OursRemote):
    """The same, but the client is a tenth of a second away from the manager."""

    delay = 0.1

    def open(self) -> None:
        """Start them, with no way past the delay."""
        from fancypipe_core.toolkit import LocalListener

        def nobody(_: LocalListener) -> None:
            return None

        LocalListener.accept = nobody  # type: ignore[assignment,method-assign]
        super().open()


OURS: dict[str, Entry] = {
    "serial": Entry(Ours, "one thread", ours=True),
    "threads": Entry(OursThreads, "threads", ours=True, needs="fancypipe_threads"),
    "procs": Entry(OursProcs, "processes", ours=True, needs="fancypipe_procs"),
    "procs-journal": Entry(
        OursWatched, "processes", ours=True, needs="fancypipe_procs", only=("noop-cpu",)
    ),
    "remote": Entry(OursRemote, "over TCP", ours=True, needs="fancypipe_remote"),
    "remote-far": Entry(OursFar, "over TCP", ours=True, needs="fancypipe_remote", only=("sleeps",)),
}
