"""A manager of a session's own, which ends with it, and the command of workers for it."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fancypipe_core.errors import BackendStartError
from fancypipe_remote._auth import token

__all__ = ["OwnManager"]

_START = 30.0  # seconds in which a manager listens
_END = 10.0  # seconds to wait for what is to be done afterwards; then it goes on without us
_ALONE = 60.0  # seconds that workers seek a manager that is gone
# It ends with us, whatever becomes of us: then nothing more can be read from its input.
# Who is told to end has some seconds to put things in order; what takes longer, ends without us.
_SCRIPT = """exec 3<&0 0</dev/null
afterwards=$1; left=$2; folder=$3; shift 3
"$@" 3<&- & manager=$!
{ cat <&3; kill $manager; } & wait $manager
eval "$afterwards"
for pause in 0.1 0.2 0.3 0.5 1 1 1 1 1; do
    [ -z "$(eval "$left" 2>/dev/null)" ] && break
    sleep $pause
done
exec rm -rf "$folder"
"""


class OwnManager:
    """A manager that listens on all interfaces, and ends with this process.

    Args:
        base: A folder that its workers see; what is made in there only this user can read.
        host: This machine, as its workers call it; by default its name.
        afterwards: A command that is run when it has ended, also where this process was killed:
            what it says goes to the manager's log.
        left: A command that writes what is still to end after that, and nothing once all has: it
            is asked for some seconds.

    Attributes:
        folder: A folder of its own, removed with it.
        settings: Where it is and its secret, as the settings of clients and workers.

    Raises:
        BackendStartError: It did not start.
    """

    def __init__(
        self,
        base: Path,
        host: str = "",
        afterwards: Sequence[str] = (),
        left: Sequence[str] = (),
    ) -> None:
        base.mkdir(0o700, parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="fancypipe-", dir=base))
        secret, log = self.folder / "secret", self.folder / "manager.log"
        secret.touch(0o600)
        secret.write_text(token.generate(), "utf-8")  # a typed one costs each party 128 MiB
        command = [sys.executable, "-m", "fancypipe_core.cli", "manager", "-jobmanager=*:0"]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                ["sh", "-c", _SCRIPT, "sh", shlex.join(afterwards), shlex.join(left), self.folder,
                 *command, f"-jobauth=@{secret}"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,  # the terminal's Ctrl-C is not for it
            )  # fmt: skip
        until = time.monotonic() + _START
        while not (found := re.search(r"listening on \S+:(\d+)", log.read_text("utf-8"))):
            if self._process.poll() is not None or time.monotonic() > until:
                text = log.read_text("utf-8") if log.exists() else ""
                self.stop()
                raise BackendStartError(f"the session's own manager did not start: {text}")
            time.sleep(0.02)
        address = f"{host or socket.gethostname()}:{found[1]}"
        self.settings = {"jobmanager": address, "jobauth": f"@{secret}"}

    def worker(self, slots: int, grace: float) -> list[str]:
        """Return the command of a worker, which leaves when the session does not need it.

        Args:
            slots: How many tasks it runs at the same time.
            grace: Seconds that running tasks have when it is told to end by a SIGTERM.
        """
        options = {**self.settings, "numworkers": slots, "grace": grace, "wait": _ALONE}
        words = [f"-{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "fancypipe_core.cli", "worker", "-once", *words]

    def stop(self) -> None:
        """End it, do what is to be done afterwards, and remove its folder."""
        self.forget()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END)
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget(self) -> None:
        """Hold it no longer, for example in a fork of the client."""
        assert self._process.stdin is not None, "made with a pipe"
        self._process.stdin.close()
