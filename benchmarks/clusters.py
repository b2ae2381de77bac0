"""What runs over TCP: fancypipe's remote backend, and dask.distributed if it is installed.

All parties are on this machine: a manager or scheduler, and one worker with so many
processes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

from benchmarks.contenders import Contender, Entry, Node, Ours

__all__ = ["CLUSTERS"]


class OursRemote(Ours):
    """fancypipe with a manager and a worker of its own."""

    def open(self) -> None:
        """Start a manager and a worker, and a session."""
        from fancypipe_core import Session, task

        self._task = task
        self._tasks: dict[Callable[..., Any], Any] = {}
        self._folder = tempfile.TemporaryDirectory()
        os.environ["XDG_CONFIG_HOME"] = self._folder.name  # a secret of its own
        self._manager = self._start("manager", "-jobmanager=127.0.0.1:0")
        address = self._says(self._manager, r"listening on (\S+?),")
        self._worker = self._start(
            "worker", f"-jobmanager={address}", f"-numworkers={self.workers}"
        )
        self._says(self._worker, "(connected to the manager)")
        self._session = Session("remote", jobmanager=address)

    def _start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "fancypipe_core.cli", *words]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def _says(self, process: subprocess.Popen[str], pattern: str) -> str:
        assert process.stderr is not None
        for line in process.stderr:
            found = re.search(pattern, line)
            if found:
                return found[1]
        raise RuntimeError(f"it ended without a word of {pattern!r}")

    def close(self) -> None:
        """Stop them all."""
        self._session.close()
        for process in (self._worker, self._manager):
            process.terminate()
            process.communicate(timeout=30)
        self._folder.cleanup()


class DaskDistributed(Contender):
    """dask.distributed with a local cluster of processes, one thread in each."""

    def open(self) -> None:
        """Start the cluster."""
        distributed = import_module("dask.distributed")
        self._cluster = distributed.LocalCluster(
            n_workers=self.workers, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self._client: Any = distributed.Client(self._cluster)

    def close(self) -> None:
        """Stop it."""
        self._client.close()
        self._cluster.close()

    def one(self, function: Callable[..., Any], arg: Any) -> Any:
        """Submit and wait."""
        return self._client.submit(function, arg, pure=False).result()

    def many(self, function: Callable[..., Any], args: Iterable[Any]) -> list[Any]:
        """Submit each, then gather."""
        futures = [self._client.submit(function, arg, pure=False) for arg in args]
        return list(self._client.gather(futures))

    def graph(self, nodes: Sequence[Node], wanted: Sequence[int]) -> list[Any]:
        """Futures are what other calls may be given."""
        futures: list[Any] = []
        for node in nodes:
            needs = [futures[need] for need in node.needs]
            futures.append(self._client.submit(node.function, *needs, *node.args, pure=False))
        return list(self._client.gather([futures[number] for number in wanted]))


CLUSTERS: dict[str, Entry] = {
    "remote": Entry(OursRemote, "over TCP", ours=True, needs="fancypipe_remote"),
    "dask.distributed": Entry(DaskDistributed, "over TCP", needs="distributed"),
}
