"""A manager and workers as real processes, on ports of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until

__all__ = ["Cluster", "Party", "cluster", "in_force"]

LIMIT = 60.0  # seconds in which anything that must happen has happened, on a slow machine


class Party:
    """A process, and what it writes to stderr."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path
    ) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text("utf-8")

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until it has written this, and return the match."""

        def said() -> bool:
            assert self.process.poll() is None or re.search(pattern, self.text), self.text
            return re.search(pattern, self.text) is not None

        wait_until(said, f"{pattern!r} in\n{self.log}")
        found = re.search(pattern, self.text)
        assert found is not None
        return found

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(LIMIT)


class Cluster:
    """Parties that share a secret.

    Attributes:
        port: Where the manager listens; known once one was started.
        env: The environment of all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("FANCYPIPE")},
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(folder / "temporary"),  # who is killed leaves things there
        }
        (folder / "temporary").mkdir()
        self.parties: list[Party] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _start(self, name: str, *arguments: str) -> Party:
        log = self.folder / f"{name}-{len(self.parties)}.log"
        command = [sys.executable, "-m", "fancypipe_core.cli", name, *arguments]
        party = Party(command, self.env, log, self.folder)
        self.parties.append(party)
        return party

    def manager(self) -> Party:
        """Start a manager; on the same port as the last one, if there was one."""
        party = self._start("manager", f"-jobmanager=127.0.0.1:{self.port}")
        self.port = int(party.says(r"listening on 127\.0\.0\.1:(\d+)")[1])
        return party

    def worker(self, slots: int = 2, *arguments: str, joined: bool = True) -> Party:
        """Start a worker, and wait until the manager has taken it in."""
        party = self._start(
            "worker", f"-jobmanager={self.address}", f"-numworkers={slots}", *arguments
        )
        if joined:
            party.says("connected to the manager")
        return party

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "fancypipe_core.cli", *arguments]

    def run(
        self, *arguments: str, cwd: Path | None = None, limit: float = LIMIT
    ) -> subprocess.CompletedProcess[str]:
        """Run `fancypipe` to its end."""
        return self._run(self.command(*arguments), self.env, cwd, limit)

    def python(
        self, script: Path, *arguments: str, limit: float = LIMIT, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        return self._run(
            [sys.executable, str(script), *arguments], {**self.env, **variables}, None, limit
        )

    def _run(
        self, command: list[str], env: dict[str, str], cwd: Path | None, limit: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            check=False,
            env=env,
            cwd=cwd or self.folder,
            timeout=limit,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def close(self) -> None:
        for party in reversed(self.parties):
            if party.process.poll() is None:
                party.process.send_signal(signal.SIGCONT)
                party.kill()


@contextmanager
def cluster(folder: Path, workers: int = 2, slots: int = 2) -> Iterator[Cluster]:
    """Start a manager and workers; kill what is left of them in the end."""
    made = Cluster(folder)
    try:
        made.manager()
        for _ in range(workers):
            made.worker(slots)
        yield made
    finally:
        made.close()


@contextmanager
def in_force(folder: Path, workers: int = 1, slots: int = 2) -> Iterator[Cluster]:
    """Start a manager and workers, with which sessions of this process find each other."""
    with pytest.MonkeyPatch.context() as patch, cluster(folder, workers, slots) as made:
        patch.delenv("FANCYPIPE_REMOTE_JOBAUTH", raising=False)
        patch.setenv("XDG_CONFIG_HOME", made.env["XDG_CONFIG_HOME"])
        patch.setenv("FANCYPIPE_REMOTE_JOBMANAGER", made.address)
        yield made
