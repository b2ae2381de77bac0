"""Programs on a terminal of their own, and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.waiting import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CTRL_C", "Terminal"]

CTRL_C = b"\x03"
SECONDS = 60.0  # that anything may take

_MARK = "FANCYPIPE_TEST_MARK"  # in the environment of all that a program starts
# A process gets its terminal as its own, with Ctrl-C and all, when it opens one as the
# leader of a new session.
_TAKE_TERMINAL = (
    "import os, signal, sys\n"
    # Started in the background, we may be told to ignore them.
    "for name in ('SIGINT', 'SIGHUP', 'SIGTERM'):\n"
    "    signal.signal(getattr(signal, name), signal.SIG_DFL)\n"
    "os.close(os.open(os.ttyname(0), os.O_RDWR))\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)


class Terminal:
    """A program on a terminal.  Use it as a context manager.

    Args:
        folder: Where it runs.  Its temporary files are in a folder `tmp` below.
        command: The program and its arguments.
        env: Variables on top of this process's own, without fancypipe's.
        stdout: Where its standard output goes; the terminal by default.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> None:
        self.seen = b""
        self.mark = uuid.uuid4().hex
        self.tmp = folder / "tmp"
        self.tmp.mkdir(exist_ok=True)
        own = {name: text for name, text in os.environ.items() if not name.startswith("FANCYPIPE_")}
        own |= {"TERM": "xterm", "TMPDIR": str(self.tmp), "HOME": str(folder), _MARK: self.mark}
        self._ours, theirs = pty.openpty()
        self._before: list[Any] | None = termios.tcgetattr(self._ours)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            cwd=folder,
            env={**own, **(env or {})},
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        wait_until(lambda: self._has_begun() or self.process.poll() is not None)

    def _has_begun(self) -> bool:
        """Whether it has its terminal, and is the program that was asked for."""
        about = Path(f"/proc/{self.process.pid}")
        try:
            terminal = (about / "stat").read_text().rpartition(")")[2].split()[4]
            return (
                terminal != "0" and _TAKE_TERMINAL.encode() not in (about / "cmdline").read_bytes()
            )
        except (OSError, IndexError):
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        if self._ours >= 0:
            os.close(self._ours)

    # ---- what the user does ----

    def press(self, keys: bytes = CTRL_C) -> None:
        """Type something."""
        os.write(self._ours, keys)

    def hang_up(self) -> None:
        """Close the terminal's window: SIGHUP."""
        os.close(self._ours)
        self._ours = -1

    def see(self, text: str) -> None:
        """Wait until this can be read."""
        until = time.monotonic() + SECONDS
        while text.encode() not in self.seen:
            assert time.monotonic() < until, f"no {text!r} in {self.text}"
            assert self._read(0.5) or self.process.poll() is None, f"no {text!r} in {self.text}"

    def _read(self, seconds: float) -> bool:
        """Take what is shown; False if no more will come."""
        if self._ours < 0:
            select.select([], [], [], 0.005)
            return False
        if not select.select([self._ours], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # how a terminal says that its other end is closed
            data = b""
        self.seen += data
        return bool(data)

    @property
    def text(self) -> str:
        """What was shown, without its colours and the picture's movements."""
        shown = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", self.seen)
        return shown.decode(errors="replace").replace("\r\n", "\n")[-5000:]

    # ---- its end ----

    def end(self) -> int:
        """Wait for the program's end, see that it left nothing, and return its exit code."""
        until = time.monotonic() + SECONDS
        while self.process.poll() is None:
            self._read(0.02)
            if time.monotonic() > until:
                raise AssertionError(f"it did not end; seen: {self.text}")
        while self._ours >= 0 and select.select([self._ours], [], [], 0)[0] and self._read(0):
            pass
        wait_until(lambda: not self.alive(), lambda: f"left are: {self._describe()}")
        left = sorted(os.listdir(self.tmp))
        assert not left, f"left in the folder for temporary files: {left}"
        if self._ours >= 0:
            assert termios.tcgetattr(self._ours) == self._before, "the terminal is not as it was"
            shown, hidden = self.seen.rfind(b"\x1b[?25h"), self.seen.rfind(b"\x1b[?25l")
            assert shown >= hidden, "the terminal has no cursor any more"
        return self.process.returncode

    def alive(self) -> list[int]:
        """Return the processes of this program that live."""
        found = []
        wanted = f"{_MARK}={self.mark}".encode()
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                        found.append(int(entry))
        return found

    def _describe(self) -> str:
        lines = []
        for pid in self.alive():
            with contextlib.suppress(OSError):
                lines.append(
                    Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                )
        return "; ".join(lines)
