"""A manager and a worker of fancypipe on this machine, and what stands between."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

__all__ = ["Cluster"]

_LIMIT = 30  # seconds for a party to come up, or to end


class Cluster:
    """A manager and one worker, on free ports, with a secret of their own.

    While it is open, the variables of this process say where that secret is.

    Args:
        workers: How many tasks the worker runs at a time.
        delay: Seconds that each byte is on its way between client and manager, each way.

    Attributes:
        address: What a client is to connect to.
    """

    def __init__(self, workers: int, delay: float = 0.0) -> None:
        self.address = ""
        self._workers = workers
        self._delay = delay
        self._stack = ExitStack()

    def open(self) -> None:
        """Start them; return when the worker is connected."""
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End them, and remove what they have left."""
        self._stack.close()

    def _open(self) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        before = os.environ.get("XDG_CONFIG_HOME")
        self._stack.callback(_set, "XDG_CONFIG_HOME", before)
        _set("XDG_CONFIG_HOME", str(folder))
        ours = "fancypipe_core.cli"
        listening = r"listening on (\S+?),"
        self.address = self._start(folder, listening, ours, "manager", "-jobmanager=127.0.0.1:0")
        words = ["worker", f"-jobmanager={self.address}", f"-numworkers={self._workers}"]
        self._start(folder, "(connected to the manager)", ours, *words)
        if self._delay:
            relay = ["benchmarks.relay", self.address, str(self._delay)]
            self.address = self._start(folder, listening, *relay)

    def _start(self, folder: Path, pattern: str, *words: str) -> str:
        """Start a module; return the group of the pattern in what it says."""
        log = folder / f"{words[0]}-{words[1]}.log".replace(":", "-")
        with log.open("wb") as file:
            process = subprocess.Popen([sys.executable, "-m", *words], stderr=file)
        self._stack.callback(_end, process)
        until = monotonic() + _LIMIT
        while monotonic() < until and process.poll() is None:
            found = re.search(pattern, log.read_text("utf-8"))
            if found:
                return found[1]
            sleep(0.01)
        raise RuntimeError(f"{' '.join(words)} did not say {pattern!r}:\n{log.read_text('utf-8')}")


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
